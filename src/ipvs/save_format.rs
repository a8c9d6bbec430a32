//! Reads the text that `ipvsadm -Sn` prints (and `ipvsadm -R` takes): one `-A` line per virtual server,
//! one `-a` line per real server, plus blank lines and `#` comments.
//!
//! Every faulty line is reported, each with the allowed form. `ipvsadm -Sn` leaves thresholds out;
//! `-x` and `-y` are read all the same, because `ipvsadm -R` takes them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::{FromStr, SplitWhitespace};

use crate::model::{
    Counters, DestKey, Family, Forwarding, Protocol, RealServer, ServiceFlags, ServiceKey, Tunnel,
    TunnelKind, VirtualServer, Weight,
};

use super::abi;

/// Faults shown at once; a wrong file has one on each line.
const MAX_FAULTS: usize = 50;

const SERVICE_FORM: &str = "-A -t|-u|--sctp-service ADDR:PORT | -A -f MARK [-6], then [-s SCHEDULER] [-p [SECONDS]] \
     [-M NETMASK] [--pe NAME] [-o] [-b FLAGS]";
const DEST_FORM: &str = "-a (-t|-u|--sctp-service ADDR:PORT | -f MARK [-6]) -r ADDR:PORT [-g|-i|-m] [-w WEIGHT] \
     [-x MAX] [-y MIN] [--tun-type ipip|gue|gre [--tun-port PORT] [--tun-nocsum|--tun-csum|--tun-remcsum]]";
const ADDRESS_FORM: &str = "10.10.0.100:80 or [2001:db8::1]:80 (numbers only: `ipvsadm -Sn`)";

/// All that is wrong with a saved table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaveFormatError {
    pub faults: Vec<Fault>,
    /// Faults beyond those listed.
    pub more: usize,
}

/// One thing that is wrong, and how it is written rightly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// From 1.
    pub line: usize,
    pub what: String,
    pub allowed: String,
}

impl fmt::Display for SaveFormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the table is not in the format of `ipvsadm -Sn`:")?;
        for fault in &self.faults {
            write!(f, "\n  line {}: {}; allowed: {}", fault.line, fault.what, fault.allowed)?;
        }
        match self.more {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}

impl std::error::Error for SaveFormatError {}

/// The virtual servers of a saved table, sorted by key, each with its real servers sorted by key.
pub fn parse(text: &str) -> Result<Vec<VirtualServer>, SaveFormatError> {
    let mut table = BTreeMap::new();
    let mut error = SaveFormatError { faults: Vec::new(), more: 0 };
    for (at, line) in text.lines().enumerate() {
        if let Err((what, allowed)) = read_line(line, &mut table) {
            if error.faults.len() < MAX_FAULTS {
                error.faults.push(Fault { line: at + 1, what, allowed });
            } else {
                error.more += 1;
            }
        }
    }
    if !error.faults.is_empty() {
        return Err(error);
    }
    let services = table.into_values().map(|mut service: VirtualServer| {
        service.destinations.sort_unstable_by_key(|d| d.key);
        service
    });
    Ok(services.collect())
}

/// What is wrong, and the allowed form.
type LineFault = (String, String);

fn read_line(line: &str, table: &mut BTreeMap<ServiceKey, VirtualServer>) -> Result<(), LineFault> {
    let mut words = line.split_whitespace();
    match words.next() {
        None => Ok(()),
        Some(word) if word.starts_with('#') => Ok(()),
        Some("-A" | "--add-service") => {
            let service = service_line(&mut Words(words))?;
            let key = service.key;
            if table.contains_key(&key) {
                return Err((
                    format!("virtual server {key} is there already"),
                    "one -A line each".to_owned(),
                ));
            }
            table.insert(key, service);
            Ok(())
        }
        Some("-a" | "--add-server") => {
            let (key, dest) = dest_line(&mut Words(words))?;
            let Some(service) = table.get_mut(&key) else {
                let allowed = "the -A line of the virtual server, without fault, before its -a lines";
                return Err((format!("there is no virtual server {key} above"), allowed.to_owned()));
            };
            if service.destinations.iter().any(|d| d.key == dest.key) {
                let what = format!("{key} has the real server {} already", dest.key);
                return Err((what, "one -a line each".to_owned()));
            }
            service.destinations.push(dest);
            Ok(())
        }
        Some(other) => {
            Err((format!("`{other}` begins no line of a saved table"), "-A …, -a … or # …".to_owned()))
        }
    }
}

fn service_line(words: &mut Words<'_>) -> Result<VirtualServer, LineFault> {
    let mut id = ServiceId::default();
    let mut scheduler = "wlc".to_owned();
    // The kernel sets HASHED on every service in its table.
    let mut flags = abi::SVC_F_HASHED;
    let mut timeout = None;
    let mut netmask = None;
    let mut persistence_engine = None;
    while let Some(word) = words.0.next() {
        match word {
            "-s" | "--scheduler" => scheduler = words.name(word)?,
            "-p" | "--persistent" => {
                flags |= abi::SVC_F_PERSISTENT;
                timeout = Some(words.optional_number().unwrap_or(abi::DEFAULT_PERSISTENCE_SECONDS));
            }
            "-M" | "--netmask" => netmask = Some(words.value(word, "-M 255.255.255.0, or -M 64 for IPv6")?),
            "--pe" => persistence_engine = Some(words.name(word)?),
            "-o" | "--ops" => flags |= abi::SVC_F_ONEPACKET,
            "-b" | "--sched-flags" => flags |= sched_flags(words.value(word, SCHED_FLAGS)?)?,
            other => id.option(other, words, SERVICE_FORM)?,
        }
    }
    let key = id.finish(SERVICE_FORM)?;
    let persistent = flags & abi::SVC_F_PERSISTENT != 0;
    if netmask.is_some() && !persistent {
        return Err(("-M without -p means nothing".to_owned(), SERVICE_FORM.to_owned()));
    }
    Ok(VirtualServer {
        key,
        scheduler,
        flags: ServiceFlags(flags),
        persistence_timeout: timeout.unwrap_or(0),
        netmask_prefix: prefix(netmask, key.family())?,
        persistence_engine,
        counters: Some(Counters::default()),
        destinations: Vec::new(),
    })
}

const SCHED_FLAGS: &str =
    "-b with flag-1, flag-2, flag-3, sh-fallback, sh-port, mh-fallback, mh-port, by comma";

fn sched_flags(list: &str) -> Result<u32, LineFault> {
    list.split(',').try_fold(0, |flags, name| match name {
        "flag-1" | "sh-fallback" | "mh-fallback" => Ok(flags | abi::SVC_F_SCHED1),
        "flag-2" | "sh-port" | "mh-port" => Ok(flags | abi::SVC_F_SCHED2),
        "flag-3" => Ok(flags | abi::SVC_F_SCHED3),
        _ => Err((format!("`{name}` is no scheduler flag"), SCHED_FLAGS.to_owned())),
    })
}

fn prefix(netmask: Option<&str>, family: Family) -> Result<u8, LineFault> {
    let Some(text) = netmask else {
        return Ok(match family {
            Family::V4 => 32,
            Family::V6 => 128,
        });
    };
    let bad = |allowed: &str| (format!("`-M {text}` is no netmask for {family}"), allowed.to_owned());
    match family {
        Family::V4 => {
            let mask: Ipv4Addr = text.parse().map_err(|_| bad("-M 255.255.255.0"))?;
            let bits = u32::from(mask);
            if bits.leading_ones() + bits.trailing_zeros() < 32 {
                return Err(bad("a mask whose ones come first, such as 255.255.255.0"));
            }
            Ok(bits.leading_ones() as u8)
        }
        Family::V6 => match text.parse() {
            Ok(length @ 1..=128) => Ok(length),
            Ok(_) | Err(_) => Err(bad("-M 1 to -M 128")),
        },
    }
}

fn dest_line(words: &mut Words<'_>) -> Result<(ServiceKey, RealServer), LineFault> {
    let mut id = ServiceId::default();
    let mut server = None;
    let mut forwarding = Forwarding::Route;
    let mut weight = 1;
    let (mut upper_threshold, mut lower_threshold) = (0, 0);
    let mut tunnel = Tunnel { kind: TunnelKind::Ipip, port: 0, flags: 0 };
    let mut tunnel_options = false;
    while let Some(word) = words.0.next() {
        tunnel_options |= word.starts_with("--tun-");
        match word {
            "-r" | "--real-server" => server = Some(words.value(word, ADDRESS_FORM)?),
            "-g" | "--gatewaying" => forwarding = Forwarding::Route,
            "-i" | "--ipip" => forwarding = Forwarding::Tunnel,
            "-m" | "--masquerading" => forwarding = Forwarding::Masq,
            "-w" | "--weight" => weight = words.number(word, "-w 0 to -w 2147483647")?,
            "-x" | "--u-threshold" => upper_threshold = words.number(word, "-x CONNECTIONS")?,
            "-y" | "--l-threshold" => lower_threshold = words.number(word, "-y CONNECTIONS")?,
            "--tun-type" => tunnel.kind = tunnel_kind(words.value(word, TUNNEL_KINDS)?)?,
            "--tun-port" => tunnel.port = words.number(word, "--tun-port 1 to 65535")?,
            "--tun-nocsum" => tunnel.flags = 0,
            "--tun-csum" => tunnel.flags = abi::TUN_FLAG_CSUM,
            "--tun-remcsum" => tunnel.flags = abi::TUN_FLAG_REMCSUM,
            other => id.option(other, words, DEST_FORM)?,
        }
    }
    let service = id.finish(DEST_FORM)?;
    let server = server.ok_or_else(|| ("no real server (-r)".to_owned(), DEST_FORM.to_owned()))?;
    let dest = RealServer {
        key: dest_key(server, service)?,
        place: None,
        forwarding,
        weight: Weight(weight),
        upper_threshold,
        lower_threshold,
        active_connections: 0,
        inactive_connections: 0,
        persistent_connections: 0,
        tunnel: (forwarding == Forwarding::Tunnel).then_some(tunnel),
        counters: Some(Counters::default()),
    };
    refuse_what_the_kernel_would(service, &dest, tunnel_options)?;
    Ok((service, dest))
}

const TUNNEL_KINDS: &str = "--tun-type ipip, gue or gre";

fn tunnel_kind(name: &str) -> Result<TunnelKind, LineFault> {
    match name {
        "ipip" => Ok(TunnelKind::Ipip),
        "gue" => Ok(TunnelKind::Gue),
        "gre" => Ok(TunnelKind::Gre),
        other => Err((format!("`{other}` is no kind of tunnel"), TUNNEL_KINDS.to_owned())),
    }
}

/// `ADDR` alone means the virtual server's port, as it does for ipvsadm.
fn dest_key(text: &str, service: ServiceKey) -> Result<DestKey, LineFault> {
    if let Ok(key) = text.parse() {
        return Ok(key);
    }
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    match IpAddr::from_str(bare) {
        Ok(addr) => Ok(DestKey { addr, port: service.port().unwrap_or(0) }),
        Err(_) => Err((format!("`{text}` is no real server"), ADDRESS_FORM.to_owned())),
    }
}

/// ip_vs_add_dest() and ip_vs_genl_new_dest(): such a table cannot exist in a kernel.
fn refuse_what_the_kernel_would(
    service: ServiceKey,
    dest: &RealServer,
    tunnel_options: bool,
) -> Result<(), LineFault> {
    let key = dest.key;
    let fault = |what: String, allowed: &str| Err((what, allowed.to_owned()));
    if dest.weight > Weight::MAX {
        return fault(
            format!("weight {} of {key} is above the kernel's largest", dest.weight),
            "-w 0 to -w 2147483647",
        );
    }
    if dest.lower_threshold > dest.upper_threshold {
        return fault(format!("the lower threshold of {key} is above the upper one"), "-y at most -x");
    }
    let Some(tunnel) = dest.tunnel else {
        if tunnel_options {
            return fault(format!("tunnel options for {key}, which is no tunnel"), "-i with --tun-…");
        }
        if Family::of(key.addr) != service.family() {
            let what = format!("{key} is of another address family than {service}");
            return fault(what, "-i (only a tunnel may change the family)");
        }
        return Ok(());
    };
    if tunnel.kind == TunnelKind::Gue && tunnel.port == 0 {
        return fault(format!("the gue tunnel to {key} has no port"), "--tun-type gue --tun-port 6080");
    }
    Ok(())
}

/// The options that say which virtual server a line is about.
#[derive(Default)]
struct ServiceId<'a> {
    endpoint: Option<(&'a str, Protocol)>,
    mark: Option<u32>,
    v6: bool,
}

impl<'a> ServiceId<'a> {
    fn option(&mut self, word: &'a str, words: &mut Words<'a>, form: &str) -> Result<(), LineFault> {
        let protocol = match word {
            "-t" | "--tcp-service" => Protocol::Tcp,
            "-u" | "--udp-service" => Protocol::Udp,
            "--sctp-service" => Protocol::Sctp,
            "-f" | "--fwmark-service" => {
                let mark = words.number(word, "-f 1 to -f 4294967295")?;
                self.once(form)?;
                self.mark = Some(mark);
                return Ok(());
            }
            "-6" | "--ipv6" => {
                self.v6 = true;
                return Ok(());
            }
            other => return Err((format!("`{other}` is not known here"), form.to_owned())),
        };
        let endpoint = words.value(word, ADDRESS_FORM)?;
        self.once(form)?;
        self.endpoint = Some((endpoint, protocol));
        Ok(())
    }

    fn once(&self, form: &str) -> Result<(), LineFault> {
        if self.endpoint.is_some() || self.mark.is_some() {
            return Err(("more than one of -t, -u, --sctp-service and -f".to_owned(), form.to_owned()));
        }
        Ok(())
    }

    fn finish(self, form: &str) -> Result<ServiceKey, LineFault> {
        match (self.endpoint, self.mark) {
            (Some((endpoint, protocol)), _) => {
                if self.v6 {
                    return Err((
                        "-6 belongs to -f; an address shows its family".to_owned(),
                        form.to_owned(),
                    ));
                }
                let key = DestKey::from_str(endpoint)
                    .map_err(|_| (format!("`{endpoint}` is no address and port"), ADDRESS_FORM.to_owned()))?;
                Ok(ServiceKey::Address { addr: key.addr, port: key.port, protocol })
            }
            (None, Some(0)) => {
                Err(("mark 0 is no firewall mark".to_owned(), "-f 1 to -f 4294967295".to_owned()))
            }
            (None, Some(mark)) => {
                let family = if self.v6 { Family::V6 } else { Family::V4 };
                Ok(ServiceKey::Fwmark { mark, family })
            }
            (None, None) => Err(("no virtual server".to_owned(), form.to_owned())),
        }
    }
}

struct Words<'a>(SplitWhitespace<'a>);

impl<'a> Words<'a> {
    fn value(&mut self, option: &str, allowed: &str) -> Result<&'a str, LineFault> {
        self.0.next().ok_or_else(|| (format!("{option} without its value"), allowed.to_owned()))
    }

    fn number<N: FromStr>(&mut self, option: &str, allowed: &str) -> Result<N, LineFault> {
        let text = self.value(option, allowed)?;
        decimal(text).ok_or_else(|| (format!("`{option} {text}` is no number in range"), allowed.to_owned()))
    }

    /// `-p` may stand alone.
    fn optional_number(&mut self) -> Option<u32> {
        let mut ahead = self.0.clone();
        let number = decimal(ahead.next()?)?;
        self.0 = ahead;
        Some(number)
    }

    /// IP_VS_SCHEDNAME_MAXLEN and IP_VS_PENAME_MAXLEN are 16, the closing NUL included.
    fn name(&mut self, option: &str) -> Result<String, LineFault> {
        let name = self.value(option, "a name")?;
        if name.len() > 15 || name.starts_with('-') {
            return Err((format!("`{option} {name}` is no name"), "1 to 15 characters".to_owned()));
        }
        Ok(name.to_owned())
    }
}

fn decimal<N: FromStr>(text: &str) -> Option<N> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests;
