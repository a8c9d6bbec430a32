//! Identities as the kernel keys them (`ip_vs_service_find`, `ip_vs_lookup_dest` in
//! net/netfilter/ipvs/ip_vs_ctl.c), and the one text form of each.

use std::cmp::Ordering;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub fn of(addr: IpAddr) -> Family {
        match addr {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Family::V4 => "ipv4",
            Family::V6 => "ipv6",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The protocols that IPVS schedules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        }
    }

    /// The IP protocol number (IANA).
    pub fn number(self) -> u16 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        }
    }

    pub fn from_number(number: u16) -> Option<Protocol> {
        match number {
            6 => Some(Protocol::Tcp),
            17 => Some(Protocol::Udp),
            132 => Some(Protocol::Sctp),
            _ => None,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Protocol {
    type Err = KeyError;
    fn from_str(s: &str) -> Result<Protocol, KeyError> {
        match s {
            "tcp" => Ok(Protocol::Tcp),
            "udp" => Ok(Protocol::Udp),
            "sctp" => Ok(Protocol::Sctp),
            _ => Err(KeyError::Protocol(s.to_owned())),
        }
    }
}

/// A virtual server: (family, protocol, address, port) or (family, firewall mark).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ServiceKey {
    Address { addr: IpAddr, port: u16, protocol: Protocol },
    Fwmark { mark: u32, family: Family },
}

/// IPv4 before IPv6, then by value: as `IpAddr` orders them, in a fraction of the time.
fn rank(addr: IpAddr) -> (Family, u128) {
    match addr {
        IpAddr::V4(addr) => (Family::V4, addr.to_bits().into()),
        IpAddr::V6(addr) => (Family::V6, addr.to_bits()),
    }
}

/// By address, port and protocol, then those by mark. Maps are searched by it, for thousands of keys in one
/// decision.
impl Ord for ServiceKey {
    fn cmp(&self, other: &ServiceKey) -> Ordering {
        let parts = |key: &ServiceKey| match *key {
            ServiceKey::Address { addr, port, protocol } => (false, rank(addr), u32::from(port), protocol),
            ServiceKey::Fwmark { mark, family } => (true, (family, mark.into()), 0, Protocol::Tcp),
        };
        parts(self).cmp(&parts(other))
    }
}

impl PartialOrd for ServiceKey {
    fn partial_cmp(&self, other: &ServiceKey) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl ServiceKey {
    pub fn family(self) -> Family {
        match self {
            ServiceKey::Address { addr, .. } => Family::of(addr),
            ServiceKey::Fwmark { family, .. } => family,
        }
    }

    /// The port that clients connect to; `None` for a fwmark service and for "any port".
    pub fn port(self) -> Option<u16> {
        match self {
            ServiceKey::Address { port: 0, .. } | ServiceKey::Fwmark { .. } => None,
            ServiceKey::Address { port, .. } => Some(port),
        }
    }
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServiceKey::Address { addr: IpAddr::V4(a), port, protocol } => {
                write!(f, "{a}:{port}/{protocol}")
            }
            ServiceKey::Address { addr: IpAddr::V6(a), port, protocol } => {
                write!(f, "[{a}]:{port}/{protocol}")
            }
            ServiceKey::Fwmark { mark, family } => write!(f, "fwmark:{mark}/{family}"),
        }
    }
}

impl FromStr for ServiceKey {
    type Err = KeyError;
    fn from_str(s: &str) -> Result<ServiceKey, KeyError> {
        let bad = || KeyError::Service(s.to_owned());
        if let Some(rest) = s.strip_prefix("fwmark:") {
            let (mark, family) = rest.split_once('/').ok_or_else(bad)?;
            let mark: u32 = mark.parse().map_err(|_| bad())?;
            let family = match family {
                "ipv4" => Family::V4,
                "ipv6" => Family::V6,
                _ => return Err(bad()),
            };
            if mark == 0 {
                return Err(bad());
            }
            return Ok(ServiceKey::Fwmark { mark, family });
        }
        let (endpoint, protocol) = s.rsplit_once('/').ok_or_else(bad)?;
        let protocol = protocol.parse().map_err(|_| bad())?;
        let (addr, port) = split_endpoint(endpoint).ok_or_else(bad)?;
        Ok(ServiceKey::Address { addr, port, protocol })
    }
}

/// A real server inside one virtual server. The family is the address's own: a tunnel destination
/// may have another than its service's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DestKey {
    pub addr: IpAddr,
    pub port: u16,
}

/// By address and port.
impl Ord for DestKey {
    fn cmp(&self, other: &DestKey) -> Ordering {
        (rank(self.addr), self.port).cmp(&(rank(other.addr), other.port))
    }
}

impl PartialOrd for DestKey {
    fn partial_cmp(&self, other: &DestKey) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for DestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.addr {
            IpAddr::V4(a) => write!(f, "{a}:{}", self.port),
            IpAddr::V6(a) => write!(f, "[{a}]:{}", self.port),
        }
    }
}

impl FromStr for DestKey {
    type Err = KeyError;
    fn from_str(s: &str) -> Result<DestKey, KeyError> {
        let (addr, port) = split_endpoint(s).ok_or_else(|| KeyError::Dest(s.to_owned()))?;
        Ok(DestKey { addr, port })
    }
}

fn split_endpoint(s: &str) -> Option<(IpAddr, u16)> {
    let (addr, port) = match s.strip_prefix('[') {
        Some(rest) => {
            let (addr, port) = rest.split_once("]:")?;
            (IpAddr::V6(addr.parse::<Ipv6Addr>().ok()?), port)
        }
        None => {
            let (addr, port) = s.split_once(':')?;
            (IpAddr::V4(addr.parse::<Ipv4Addr>().ok()?), port)
        }
    };
    if port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((addr, port.parse().ok()?))
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("`{0}` is no protocol: tcp, udp or sctp")]
    Protocol(String),
    #[error("`{0}` is no virtual server: write 10.10.0.100:80/tcp, [2001:db8::1]:443/udp or fwmark:7/ipv4")]
    Service(String),
    #[error("`{0}` is no real server: write 10.10.0.21:80 or [2001:db8::21]:80")]
    Dest(String),
}

/// Serialised as their text, so that the API, the ledger and the labels never differ.
macro_rules! serde_as_text {
    ($type:ty) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = String::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
serde_as_text!(ServiceKey);
serde_as_text!(DestKey);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_the_order_of_their_parts() {
        let sorted: Vec<ServiceKey> = [
            "9.0.0.1:80/tcp",
            "10.0.0.1:79/udp",
            "10.0.0.1:80/tcp",
            "10.0.0.1:80/udp",
            "10.0.1.0:0/tcp",
            "[::1]:1/tcp",
            "[2001:db8::1]:80/tcp",
            "[2001:db8::1:0:0:0]:80/tcp",
            "fwmark:9/ipv4",
            "fwmark:10/ipv4",
            "fwmark:1/ipv6",
        ]
        .map(|text| text.parse().unwrap())
        .into();
        let mut keys = sorted.clone();
        keys.reverse();
        keys.sort();
        assert_eq!(keys, sorted);
        let sorted: Vec<DestKey> = ["9.0.0.9:1", "10.0.0.1:80", "10.0.0.1:81", "[::1]:0", "[fd00::1]:0"]
            .map(|text| text.parse().unwrap())
            .into();
        let mut keys = sorted.clone();
        keys.reverse();
        keys.sort();
        assert_eq!(keys, sorted);
        assert!(keys.iter().all(|a| keys.iter().all(|b| (a.cmp(b) == Ordering::Equal) == (a == b))));
    }

    #[test]
    fn texts_survive_a_round_trip() {
        for text in [
            "10.10.0.100:80/tcp",
            "10.10.0.100:0/udp",
            "[2001:db8::1]:443/sctp",
            "fwmark:7/ipv4",
            "fwmark:4294967295/ipv6",
        ] {
            assert_eq!(text.parse::<ServiceKey>().unwrap().to_string(), text);
        }
        for text in ["10.10.0.21:80", "[2001:db8::21]:8080", "10.10.0.21:0"] {
            assert_eq!(text.parse::<DestKey>().unwrap().to_string(), text);
        }
        // RFC 5952: the one canonical form.
        assert_eq!(
            "[2001:DB8:0:0::1]:1/tcp".parse::<ServiceKey>().unwrap().to_string(),
            "[2001:db8::1]:1/tcp"
        );
    }

    #[test]
    fn bad_texts_are_named() {
        for text in [
            "10.10.0.100:80",
            "10.10.0.100/tcp",
            "10.10.0.100:80/icmp",
            "2001:db8::1:80/tcp",
            "fwmark:0/ipv4",
            "fwmark:7/tcp",
            "fwmark:x/ipv4",
            "10.10.0.100:+80/tcp",
            "10.10.0.100:65536/tcp",
            "",
        ] {
            let error = text.parse::<ServiceKey>().unwrap_err();
            assert!(error.to_string().contains(&format!("`{text}`")), "{error}");
        }
        for text in ["10.10.0.21", "10.10.0.21:", "[10.10.0.21]:80", "host:80"] {
            assert!(text.parse::<DestKey>().is_err(), "{text}");
        }
    }
}
