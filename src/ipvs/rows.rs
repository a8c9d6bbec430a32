//! The rows of the table, pure: attributes into the nouns, and the requests that name or change a row.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::model::{
    Counters, DestKey, Family, Forwarding, IpvsInfo, Protocol, RealServer, ServiceFlags, ServiceKey,
    SyncDaemon, SyncRole, Timeouts, Tunnel, TunnelKind, VirtualServer, Weight,
};

use super::abi;
use super::wire::{Attr, Malformed, Writer, attrs};

/// Why a row could not be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The kernel takes any number from NEW_SERVICE, but schedules only tcp, udp and sctp.
    #[error("a virtual server of IP protocol {0}")]
    Protocol(u16),
    #[error("forwarding method {0} is not known to this version")]
    Forwarding(u32),
}

/// The one attribute of a kind, out of a message.
pub fn nested(body: &[u8], kind: u16) -> Result<&[u8], Malformed> {
    for attr in attrs(body) {
        let attr = attr?;
        if attr.kind == kind {
            return Ok(attr.value);
        }
    }
    Err(Malformed("an answer without the row asked for"))
}

/// A virtual server (the content of IPVS_CMD_ATTR_SERVICE), without its destinations.
pub fn service(nest: &[u8]) -> Result<VirtualServer, RowError> {
    let (mut family, mut protocol, mut addr, mut port, mut mark) = (None, None, None, None, None);
    let (mut scheduler, mut flags, mut timeout, mut netmask, mut engine) = (None, 0, 0, None, None);
    let (mut stats, mut stats64) = (None, None);
    for attr in attrs(nest) {
        let attr = attr?;
        match attr.kind {
            abi::SVC_ATTR_AF => family = Some(self::family(attr.u16()?)?),
            abi::SVC_ATTR_PROTOCOL => protocol = Some(attr.u16()?),
            abi::SVC_ATTR_ADDR => addr = Some(attr),
            abi::SVC_ATTR_PORT => port = Some(attr.be16()?),
            abi::SVC_ATTR_FWMARK => mark = Some(attr.u32()?),
            abi::SVC_ATTR_SCHED_NAME => scheduler = Some(attr.string()),
            abi::SVC_ATTR_FLAGS => flags = attr.u32()?,
            abi::SVC_ATTR_TIMEOUT => timeout = attr.u32()?,
            abi::SVC_ATTR_NETMASK => netmask = Some(attr.u32()?),
            abi::SVC_ATTR_PE_NAME => engine = Some(attr.string()),
            abi::SVC_ATTR_STATS => stats = Some(counters(attr.value)?),
            abi::SVC_ATTR_STATS64 => stats64 = Some(counters(attr.value)?),
            _ => {}
        }
    }
    let family = family.ok_or(Malformed("a virtual server without an address family"))?;
    let key = match mark {
        Some(mark) => ServiceKey::Fwmark { mark, family },
        None => {
            let number = protocol.ok_or(Malformed("a virtual server without a protocol"))?;
            let protocol = Protocol::from_number(number).ok_or(RowError::Protocol(number))?;
            let addr = addr.ok_or(Malformed("a virtual server without an address"))?;
            let port = port.ok_or(Malformed("a virtual server without a port"))?;
            ServiceKey::Address { addr: address(&addr, family)?, port, protocol }
        }
    };
    Ok(VirtualServer {
        key,
        scheduler: scheduler.unwrap_or_default(),
        flags: ServiceFlags(flags),
        persistence_timeout: timeout,
        netmask_prefix: prefix(netmask, family),
        persistence_engine: engine.filter(|name| !name.is_empty()),
        counters: stats64.or(stats),
        destinations: Vec::new(),
    })
}

/// v4: a mask in network byte order. v6: the prefix length in host byte order.
fn prefix(netmask: Option<u32>, family: Family) -> u8 {
    match (netmask, family) {
        (Some(mask), Family::V4) => u32::from_be(mask).leading_ones() as u8,
        (None, Family::V4) => 32,
        (Some(length), Family::V6) => u8::try_from(length).unwrap_or(128).min(128),
        (None, Family::V6) => 128,
    }
}

/// A real server (the content of IPVS_CMD_ATTR_DEST). Kernels before 3.18 tell no family: it is the
/// virtual server's.
pub fn destination(nest: &[u8], service_family: Family) -> Result<RealServer, RowError> {
    let (mut family, mut addr, mut port, mut method, mut weight) = (service_family, None, None, None, None);
    let (mut upper, mut lower, mut active, mut inactive, mut persistent) = (0, 0, 0, 0, 0);
    let mut tunnel = Tunnel { kind: TunnelKind::Ipip, port: 0, flags: 0 };
    let (mut stats, mut stats64) = (None, None);
    for attr in attrs(nest) {
        let attr = attr?;
        match attr.kind {
            abi::DEST_ATTR_ADDR => addr = Some(attr),
            abi::DEST_ATTR_PORT => port = Some(attr.be16()?),
            abi::DEST_ATTR_FWD_METHOD => method = Some(attr.u32()?),
            abi::DEST_ATTR_WEIGHT => weight = Some(Weight(attr.u32()?)),
            abi::DEST_ATTR_U_THRESH => upper = attr.u32()?,
            abi::DEST_ATTR_L_THRESH => lower = attr.u32()?,
            abi::DEST_ATTR_ACTIVE_CONNS => active = attr.u32()?,
            abi::DEST_ATTR_INACT_CONNS => inactive = attr.u32()?,
            abi::DEST_ATTR_PERSIST_CONNS => persistent = attr.u32()?,
            abi::DEST_ATTR_ADDR_FAMILY => family = self::family(attr.u16()?)?,
            abi::DEST_ATTR_TUN_TYPE => tunnel.kind = tunnel_kind(attr.u8()?),
            abi::DEST_ATTR_TUN_PORT => tunnel.port = attr.be16()?,
            abi::DEST_ATTR_TUN_FLAGS => tunnel.flags = attr.u16()?,
            abi::DEST_ATTR_STATS => stats = Some(counters(attr.value)?),
            abi::DEST_ATTR_STATS64 => stats64 = Some(counters(attr.value)?),
            _ => {}
        }
    }
    let addr = addr.ok_or(Malformed("a real server without an address"))?;
    let forwarding = forwarding(method.ok_or(Malformed("a real server without a forwarding method"))?)?;
    Ok(RealServer {
        key: DestKey {
            addr: address(&addr, family)?,
            port: port.ok_or(Malformed("a real server without a port"))?,
        },
        place: None,
        forwarding,
        weight: weight.ok_or(Malformed("a real server without a weight"))?,
        upper_threshold: upper,
        lower_threshold: lower,
        active_connections: active,
        inactive_connections: inactive,
        persistent_connections: persistent,
        tunnel: (forwarding == Forwarding::Tunnel).then_some(tunnel),
        counters: stats64.or(stats),
    })
}

fn family(number: u16) -> Result<Family, Malformed> {
    match number {
        abi::AF_INET => Ok(Family::V4),
        abi::AF_INET6 => Ok(Family::V6),
        _ => Err(Malformed("an address family that is neither IPv4 nor IPv6")),
    }
}

/// union nf_inet_addr: 16 bytes, of which IPv4 uses the first 4.
fn address(attr: &Attr<'_>, family: Family) -> Result<IpAddr, Malformed> {
    let short = Malformed("an address too short for its family");
    match family {
        Family::V4 => attr.value.first_chunk::<4>().map(|a| Ipv4Addr::from(*a).into()).ok_or(short),
        Family::V6 => attr.value.first_chunk::<16>().map(|a| Ipv6Addr::from(*a).into()).ok_or(short),
    }
}

fn forwarding(method: u32) -> Result<Forwarding, RowError> {
    match method & abi::FWD_MASK {
        abi::FWD_MASQ => Ok(Forwarding::Masq),
        abi::FWD_LOCALNODE => Ok(Forwarding::Local),
        abi::FWD_TUNNEL => Ok(Forwarding::Tunnel),
        abi::FWD_DROUTE => Ok(Forwarding::Route),
        abi::FWD_BYPASS => Ok(Forwarding::Bypass),
        other => Err(RowError::Forwarding(other)),
    }
}

fn tunnel_kind(number: u8) -> TunnelKind {
    match number {
        abi::TUN_IPIP => TunnelKind::Ipip,
        abi::TUN_GUE => TunnelKind::Gue,
        abi::TUN_GRE => TunnelKind::Gre,
        other => TunnelKind::Other(other),
    }
}

/// STATS or STATS64: the same numbers, each u32 or u64 by its length (bytes are u64 in both).
fn counters(nest: &[u8]) -> Result<Counters, Malformed> {
    let mut counters = Counters::default();
    for attr in attrs(nest) {
        let attr = attr?;
        let field = match attr.kind {
            abi::STATS_ATTR_CONNS => &mut counters.connections,
            abi::STATS_ATTR_INPKTS => &mut counters.incoming_packets,
            abi::STATS_ATTR_OUTPKTS => &mut counters.outgoing_packets,
            abi::STATS_ATTR_INBYTES => &mut counters.incoming_bytes,
            abi::STATS_ATTR_OUTBYTES => &mut counters.outgoing_bytes,
            _ => continue,
        };
        *field = if attr.value.len() >= 8 { attr.u64()? } else { u64::from(attr.u32()?) };
    }
    Ok(counters)
}

/// The answer to GET_INFO.
pub fn info(body: &[u8]) -> Result<IpvsInfo, Malformed> {
    Ok(IpvsInfo {
        version: first(body, abi::INFO_ATTR_VERSION)?.u32()?,
        connection_table_size: first(body, abi::INFO_ATTR_CONN_TAB_SIZE)?.u32()?,
    })
}

/// The answer to GET_CONFIG.
pub fn timeouts(body: &[u8]) -> Result<Timeouts, Malformed> {
    Ok(Timeouts {
        tcp: first(body, abi::CMD_ATTR_TIMEOUT_TCP)?.u32()?,
        tcp_fin: first(body, abi::CMD_ATTR_TIMEOUT_TCP_FIN)?.u32()?,
        udp: first(body, abi::CMD_ATTR_TIMEOUT_UDP)?.u32()?,
    })
}

/// The answer to CTRL's GETFAMILY: the id that IPVS has now.
pub fn family_id(body: &[u8]) -> Result<u16, Malformed> {
    first(body, abi::CTRL_ATTR_FAMILY_ID)?.u16()
}

fn first(body: &[u8], kind: u16) -> Result<Attr<'_>, Malformed> {
    let found = attrs(body).find(|attr| attr.is_err() || attr.is_ok_and(|a| a.kind == kind));
    found.ok_or(Malformed("an answer without the value asked for"))?
}

/// A sync daemon (the content of IPVS_CMD_ATTR_DAEMON).
pub fn daemon(nest: &[u8]) -> Result<SyncDaemon, Malformed> {
    let (mut state, mut interface, mut sync_id) = (None, None, 0);
    let (mut max_len, mut group, mut port, mut ttl) = (None, None, None, None);
    for attr in attrs(nest) {
        let attr = attr?;
        match attr.kind {
            abi::DAEMON_ATTR_STATE => state = Some(attr.u32()?),
            abi::DAEMON_ATTR_MCAST_IFN => interface = Some(attr.string()),
            abi::DAEMON_ATTR_SYNC_ID => sync_id = attr.u32()?,
            abi::DAEMON_ATTR_SYNC_MAXLEN => max_len = Some(attr.u16()?),
            abi::DAEMON_ATTR_MCAST_GROUP => group = Some(address(&attr, Family::V4)?),
            abi::DAEMON_ATTR_MCAST_GROUP6 => group = Some(address(&attr, Family::V6)?),
            abi::DAEMON_ATTR_MCAST_PORT => port = Some(attr.u16()?),
            abi::DAEMON_ATTR_MCAST_TTL => ttl = Some(attr.u8()?),
            _ => {}
        }
    }
    let role = match state {
        Some(abi::STATE_MASTER) => SyncRole::Master,
        Some(abi::STATE_BACKUP) => SyncRole::Backup,
        Some(_) | None => return Err(Malformed("a sync daemon that is neither master nor backup")),
    };
    let interface = interface.ok_or(Malformed("a sync daemon without an interface"))?;
    Ok(SyncDaemon { role, interface, sync_id, max_len, group, port, ttl })
}

/// The attribute that names a virtual server in a request.
pub fn put_service_id(writer: &mut Writer<'_>, key: ServiceKey) {
    writer.nest(abi::CMD_ATTR_SERVICE, |nest| {
        let family = match key.family() {
            Family::V4 => abi::AF_INET,
            Family::V6 => abi::AF_INET6,
        };
        nest.put(abi::SVC_ATTR_AF, &family.to_ne_bytes());
        match key {
            ServiceKey::Fwmark { mark, .. } => nest.put(abi::SVC_ATTR_FWMARK, &mark.to_ne_bytes()),
            ServiceKey::Address { addr, port, protocol } => {
                nest.put(abi::SVC_ATTR_PROTOCOL, &protocol.number().to_ne_bytes());
                nest.put(abi::SVC_ATTR_ADDR, &inet_addr(addr));
                nest.put(abi::SVC_ATTR_PORT, &port.to_be_bytes());
            }
        }
    });
}

/// A destination as SET_DEST wants it: every settable attribute of the row just read, byte for byte and
/// in its order, unknown ones included; only the weight is new.
///
/// SET_DEST replaces the whole destination (trap 1), so what is left out here would be reset there.
pub fn put_reweighted(writer: &mut Writer<'_>, row: &[u8], family: Family, weight: Weight) {
    let mut has_family = false;
    writer.nest(abi::CMD_ATTR_DEST, |nest| {
        for attr in attrs(row) {
            match attr {
                Err(malformed) => nest.fail(malformed),
                Ok(attr) => match attr.kind {
                    abi::DEST_ATTR_ACTIVE_CONNS
                    | abi::DEST_ATTR_INACT_CONNS
                    | abi::DEST_ATTR_PERSIST_CONNS
                    | abi::DEST_ATTR_STATS
                    | abi::DEST_ATTR_STATS64 => {}
                    abi::DEST_ATTR_WEIGHT => nest.put(abi::DEST_ATTR_WEIGHT, &weight.0.to_ne_bytes()),
                    kind => {
                        has_family |= kind == abi::DEST_ATTR_ADDR_FAMILY;
                        nest.raw(&attr);
                    }
                },
            }
        }
        // Trap 7: always sent. A kernel that does not tell it does not know it either and skips it.
        if !has_family {
            let number = if family == Family::V4 { abi::AF_INET } else { abi::AF_INET6 };
            nest.put(abi::DEST_ATTR_ADDR_FAMILY, &number.to_ne_bytes());
        }
    });
}

fn inet_addr(addr: IpAddr) -> [u8; 16] {
    match addr {
        IpAddr::V6(addr) => addr.octets(),
        IpAddr::V4(addr) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&addr.octets());
            bytes
        }
    }
}

#[cfg(test)]
mod tests;
