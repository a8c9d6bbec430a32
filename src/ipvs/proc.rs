//! The table as any user may read it: `/proc/net/ip_vs`.
//!
//! It shows less than netlink: weights and connections, but no counters of services, no thresholds, no
//! tunnel settings (a tunnel is taken for plain IPIP), no persistence engine, no scheduler flags (so
//! sh and mh look as if they had no fallback). A persistence time-out is in jiffies of an unknown rate,
//! so it is given as 0. A fwmark line hides its family: it is taken from its first real server, IPv4 if it has none; the two
//! lines of a mark that has both are told apart that way.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::SplitWhitespace;
use std::sync::Arc;

use crate::model::{
    DestKey, Family, Forwarding, IpvsInfo, Protocol, ReadFailure, RealServer, ServiceFlags, ServiceKey,
    Snapshot, TableSource, Tunnel, TunnelKind, VirtualServer, Weight, WeightChange, WriteOutcome,
    WriteReport,
};
use crate::os::Clock;

use super::{abi, procfs};

pub struct ProcTable {
    clock: Clock,
}

impl ProcTable {
    pub fn new(clock: Clock) -> ProcTable {
        ProcTable { clock }
    }

    pub fn snapshot(&self) -> Result<Snapshot, ReadFailure> {
        let started = self.clock.mono();
        let text = procfs::read(procfs::TABLE).map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                return ReadFailure::NoIpvs;
            }
            ReadFailure::Failed(format!("{}: {error}", procfs::TABLE))
        })?;
        let (info, services) = parse(&text).map_err(|fault| {
            ReadFailure::Failed(format!("{} line {}: `{}`", procfs::TABLE, fault.line, fault.text))
        })?;
        let sysctls = procfs::sysctls();
        let totals = procfs::totals(&sysctls);
        let taken = self.clock.now();
        Ok(Snapshot {
            taken,
            duration: taken.mono.since(started),
            source: TableSource::Proc,
            info,
            timeouts: None,
            daemons: Vec::new(),
            totals,
            sysctls,
            services,
        })
    }

    pub fn refuse(&self, changes: &[WeightChange]) -> WriteReport {
        let refused = || WriteOutcome::Failed("not written: writing weights needs CAP_NET_ADMIN".to_owned());
        WriteReport { results: changes.iter().map(|c| (*c, refused())).collect(), services: Vec::new() }
    }
}

/// A line that no kernel known to this version prints.
#[derive(Debug, PartialEq, Eq)]
struct LineFault {
    /// From 1.
    line: usize,
    text: String,
}

type Parsed = (Option<IpvsInfo>, Vec<Arc<VirtualServer>>);

fn parse(text: &str) -> Result<Parsed, LineFault> {
    let mut services: Vec<Block> = Vec::new();
    let mut info = None;
    for (at, line) in text.lines().enumerate() {
        let mut words = line.split_whitespace();
        let understood = match words.next() {
            None | Some("Prot") => Some(()),
            Some("IP") => header(line).map(|found| info = Some(found)),
            // The heading of the real servers' columns.
            Some("->") if at < 3 && line.contains("RemoteAddress") => Some(()),
            Some("->") => {
                dest(&mut words).zip(services.last_mut()).map(|(dest, block)| block.dests.push(dest))
            }
            Some(word) => block(word, &mut words).map(|block| services.push(block)),
        };
        if understood.is_none() {
            return Err(LineFault { line: at + 1, text: line.to_owned() });
        }
    }
    let mut table = BTreeMap::new();
    for block in services {
        let service = block.service();
        // The read of a file resumes by position too: a repeated service is the same one.
        table.entry(service.key).or_insert_with(|| Arc::new(service));
    }
    Ok((info, table.into_values().collect()))
}

/// `IP Virtual Server version 1.2.1 (size=4096)`
fn header(line: &str) -> Option<IpvsInfo> {
    let (version, size) = line.strip_prefix("IP Virtual Server version ")?.split_once(" (size=")?;
    let mut parts = version.split('.').map(|part| part.parse::<u8>().ok());
    let version = u32::from_be_bytes([0, parts.next()??, parts.next()??, parts.next()??]);
    Some(IpvsInfo { version, connection_table_size: size.strip_suffix(')')?.parse().ok()? })
}

/// A virtual server's line and what follows it.
struct Block {
    id: Id,
    scheduler: String,
    flags: u32,
    netmask: Option<u32>,
    dests: Vec<RealServer>,
}

enum Id {
    Key(ServiceKey),
    Mark(u32),
}

/// `TCP  0A000064:0050 wrr persistent 36000 FFFFFFFF`, `UDP  0A000064:0035 rr ops`, `FWM  00000007 sh`
fn block(protocol: &str, words: &mut SplitWhitespace<'_>) -> Option<Block> {
    let id = words.next()?;
    let id = match protocol {
        "FWM" => Id::Mark(u32::from_str_radix(id, 16).ok()?),
        "TCP" => address_service(id, Protocol::Tcp)?,
        "UDP" => address_service(id, Protocol::Udp)?,
        "SCTP" => address_service(id, Protocol::Sctp)?,
        _ => return None,
    };
    let scheduler = words.next()?.to_owned();
    let mut block = Block { id, scheduler, flags: abi::SVC_F_HASHED, netmask: None, dests: Vec::new() };
    while let Some(word) = words.next() {
        match word {
            "ops" => block.flags |= abi::SVC_F_ONEPACKET,
            "persistent" => {
                block.flags |= abi::SVC_F_PERSISTENT;
                words.next()?.parse::<u64>().ok()?;
                block.netmask = Some(u32::from_str_radix(words.next()?, 16).ok()?);
            }
            _ => return None,
        }
    }
    Some(block)
}

fn address_service(text: &str, protocol: Protocol) -> Option<Id> {
    let DestKey { addr, port } = endpoint(text)?;
    Some(Id::Key(ServiceKey::Address { addr, port, protocol }))
}

impl Block {
    fn service(mut self) -> VirtualServer {
        let key = match self.id {
            Id::Key(key) => key,
            Id::Mark(mark) => {
                let family = self.dests.first().map_or(Family::V4, |dest| Family::of(dest.key.addr));
                ServiceKey::Fwmark { mark, family }
            }
        };
        self.dests.sort_by_key(|dest| dest.key);
        self.dests.dedup_by_key(|dest| dest.key);
        let netmask_prefix = match (key.family(), self.netmask) {
            (Family::V4, mask) => mask.map_or(32, |mask| mask.leading_ones() as u8),
            // Printed through ntohl() although it is a prefix length in host byte order.
            (Family::V6, length) => length.map_or(128, |l| u8::try_from(u32::from_be(l)).unwrap_or(128)),
        };
        VirtualServer {
            key,
            scheduler: self.scheduler,
            flags: ServiceFlags(self.flags),
            persistence_timeout: 0,
            netmask_prefix,
            persistence_engine: None,
            counters: None,
            destinations: self.dests,
        }
    }
}

/// `  -> 0A00000B:0050      Route   1      0          0`
fn dest(words: &mut SplitWhitespace<'_>) -> Option<RealServer> {
    let key = endpoint(words.next()?)?;
    let forwarding = match words.next()? {
        "Masq" => Forwarding::Masq,
        "Local" => Forwarding::Local,
        "Tunnel" => Forwarding::Tunnel,
        "Route" => Forwarding::Route,
        "Bypass" => Forwarding::Bypass,
        _ => return None,
    };
    let mut number = || words.next()?.parse().ok();
    let tunnel = Tunnel { kind: TunnelKind::Ipip, port: 0, flags: 0 };
    Some(RealServer {
        key,
        place: None,
        forwarding,
        weight: Weight(number()?),
        upper_threshold: 0,
        lower_threshold: 0,
        active_connections: number()?,
        inactive_connections: number()?,
        persistent_connections: 0,
        tunnel: (forwarding == Forwarding::Tunnel).then_some(tunnel),
        counters: None,
    })
}

/// `0A000064:0050` or `[fd00:0000:0000:0000:0000:0000:0000:0100]:01BC`
fn endpoint(text: &str) -> Option<DestKey> {
    let (addr, port) = text.rsplit_once(':')?;
    let addr = match addr.strip_prefix('[') {
        Some(v6) => IpAddr::V6(v6.strip_suffix(']')?.parse::<Ipv6Addr>().ok()?),
        None => IpAddr::V4(Ipv4Addr::from(u32::from_str_radix(addr, 16).ok()?)),
    };
    Some(DestKey { addr, port: u16::from_str_radix(port, 16).ok()? })
}

#[cfg(test)]
mod tests;
