//! Addresses that the agent itself uses: what it listens on, probes from, and probes instead.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::problem::quote;
use crate::model::ScopedAddr;

/// Where to listen: an address, with the zone that a link-local one needs, and a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenAddr {
    pub addr: ScopedAddr,
    /// 0: any free one.
    pub port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is no address to listen on: write 127.0.0.1:10190, [::]:10190, [fe80::1%eth0]:10190 or :10190", quote(.0))]
pub struct ListenAddrError(String);

/// `127.0.0.1:10190`, `[::]:10190`, `[fe80::1%eth0]:10190`; `:10190` is `[::]:10190`.
impl FromStr for ListenAddr {
    type Err = ListenAddrError;

    fn from_str(text: &str) -> Result<ListenAddr, ListenAddrError> {
        let error = || ListenAddrError(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(error)?;
        if port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) {
            return Err(error());
        }
        let port = port.parse().map_err(|_| error())?;
        let addr = match host.strip_prefix('[') {
            Some(rest) => {
                let host = rest.strip_suffix(']').ok_or_else(error)?;
                scoped(host).ok().filter(|a| a.addr.is_ipv6()).ok_or_else(error)?
            }
            None if host.is_empty() => ScopedAddr { addr: Ipv6Addr::UNSPECIFIED.into(), zone: None },
            None => {
                let v4: Ipv4Addr = host.parse().map_err(|_| error())?;
                ScopedAddr { addr: v4.into(), zone: None }
            }
        };
        Ok(ListenAddr { addr, port })
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ListenAddr { addr: ScopedAddr { addr, zone }, port } = self;
        match (addr, zone) {
            (IpAddr::V4(a), _) => write!(f, "{a}:{port}"),
            (IpAddr::V6(a), None) => write!(f, "[{a}]:{port}"),
            (IpAddr::V6(a), Some(zone)) => write!(f, "[{a}%{zone}]:{port}"),
        }
    }
}

/// One host's address, to probe or to probe from.
pub(super) fn host(text: &str) -> Result<ScopedAddr, String> {
    let scoped = scoped(text)?;
    let addr = scoped.addr;
    let is_broadcast = addr == IpAddr::V4(Ipv4Addr::BROADCAST);
    if addr.is_unspecified() || addr.is_multicast() || is_broadcast {
        return Err(format!("{} is no address of one host", quote(text)));
    }
    if let IpAddr::V6(v6) = addr
        && let Some(v4) = v6.to_ipv4_mapped()
    {
        return Err(format!("{} is an IPv4 address in IPv6's clothes: write {v4}", quote(text)));
    }
    Ok(scoped)
}

/// An address and its zone, if it has one.
fn scoped(text: &str) -> Result<ScopedAddr, String> {
    let (addr_text, zone) = match text.split_once('%') {
        Some((addr, zone)) => (addr, Some(zone)),
        None => (text, None),
    };
    let addr: IpAddr = addr_text.parse().map_err(|_| format!("{} is no IP address", quote(text)))?;
    let zone = match zone {
        None => None,
        Some(_) if !is_link_local(addr) => {
            return Err(format!(
                "{} has a zone, which only a link-local address (fe80::/10) has",
                quote(text)
            ));
        }
        Some(zone) if is_interface_name(zone) => Some(zone.to_owned()),
        Some(zone) => return Err(format!("{} is no name of an interface", quote(zone))),
    };
    Ok(ScopedAddr { addr, zone })
}

/// fe80::/10: means something only together with an interface.
pub(super) fn is_link_local(addr: IpAddr) -> bool {
    matches!(addr, IpAddr::V6(v6) if v6.segments()[0] & 0xffc0 == 0xfe80)
}

/// What the kernel takes (dev_valid_name in net/core/dev.c; IFNAMSIZ with its terminator is 16).
fn is_interface_name(name: &str) -> bool {
    (1..=15).contains(&name.len())
        && name != "."
        && name != ".."
        && name.bytes().all(|b| b.is_ascii_graphic() && b != b'/' && b != b':' && b != b'%')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_addresses_with_ports() {
        for text in ["127.0.0.1:10190", "[::]:10190", "[fe80::1%eth0]:9", "0.0.0.0:0"] {
            assert_eq!(text.parse::<ListenAddr>().unwrap().to_string(), text);
        }
        assert_eq!(":10190".parse::<ListenAddr>().unwrap().to_string(), "[::]:10190");
        for text in [
            "",
            ":",
            "10190",
            "localhost:1",
            "::1:1",
            "[::1]",
            "[127.0.0.1]:1",
            "[::1%lo]:1",
            "1.2.3.4:65536",
            "1.2.3.4:+1",
            "[fe80::1%]:1",
        ] {
            assert!(text.parse::<ListenAddr>().is_err(), "{text}");
        }
    }

    #[test]
    fn hosts_are_single_addresses() {
        let zoned = host("fe80::1%eth0").unwrap();
        assert_eq!((zoned.addr.to_string(), zoned.zone.as_deref()), ("fe80::1".to_owned(), Some("eth0")));
        assert_eq!(host("10.0.0.2").unwrap().zone, None);
        for text in [
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "ff02::1%eth0",
            "255.255.255.255",
            "::ffff:10.0.0.1",
            "10.0.0.1%eth0",
            "fe80::1%",
            "fe80::1%sixteen-letters-",
            "web",
            "10.0.0.1/24",
            "010.0.0.1",
        ] {
            assert!(host(text).is_err(), "{text}");
        }
    }
}
