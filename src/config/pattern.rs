//! The text of a `match` pattern: `ADDR[/LEN]:PORT/PROTO`, `[ADDR/LEN]:PORT/PROTO` (IPv6) or
//! `fwmark:MARK/FAMILY`, where `*` stands for the address, the port, the mark or the family.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::problem::quote;
use crate::model::{Family, Match, Net, Protocol};

/// The pattern, or what is wrong with its text.
pub(super) fn parse(text: &str) -> Result<Match, String> {
    match text.strip_prefix("fwmark:") {
        Some(rest) => fwmark(rest),
        None => address(text),
    }
}

fn fwmark(rest: &str) -> Result<Match, String> {
    let (mark, family) =
        rest.split_once('/').ok_or("has no family: write /ipv4, /ipv6 or /* at its end".to_owned())?;
    let mark = match mark {
        "*" => None,
        digits => Some(
            number(digits)
                .and_then(|n| u32::try_from(n).ok())
                .filter(|mark| *mark != 0)
                .ok_or_else(|| format!("{} is no mark: write 1 to 4294967295, or *", quote(digits)))?,
        ),
    };
    let family = match family {
        "*" => None,
        "ipv4" => Some(Family::V4),
        "ipv6" => Some(Family::V6),
        other => return Err(format!("{} is no family: write ipv4, ipv6 or *", quote(other))),
    };
    Ok(Match::Fwmark { mark, family })
}

fn address(text: &str) -> Result<Match, String> {
    let (endpoint, protocol) =
        text.rsplit_once('/').ok_or("has no protocol: write /tcp, /udp or /sctp at its end".to_owned())?;
    if protocol == "*" {
        return Err("has * for its protocol, which must be written: tcp, udp or sctp".to_owned());
    }
    let protocol: Protocol = protocol
        .parse()
        .map_err(|_| format!("{} is no protocol: write tcp, udp or sctp", quote(protocol)))?;
    let (net, port) = match endpoint.strip_prefix('[') {
        Some(rest) => {
            let (net, port) = rest
                .split_once("]:")
                .ok_or("has no port: write it after the bracket, `[2001:db8::1]:443/tcp`".to_owned())?;
            let addr = |a: &str| a.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
            (Some(prefix(net, addr, "IPv6")?), port)
        }
        None => {
            let (net, port) = endpoint
                .rsplit_once(':')
                .ok_or("has no port: write `10.10.0.100:80/tcp`, or * for any port".to_owned())?;
            if net.contains(':') {
                return Err("has an IPv6 address without brackets: write `[2001:db8::1]:443/tcp`".to_owned());
            }
            let addr = |a: &str| a.parse::<Ipv4Addr>().ok().map(IpAddr::V4);
            (if net == "*" { None } else { Some(prefix(net, addr, "IPv4")?) }, port)
        }
    };
    let port = match port {
        "*" => None,
        digits => Some(
            number(digits)
                .and_then(|n| u16::try_from(n).ok())
                .ok_or_else(|| format!("{} is no port: write 0 to 65535, or *", quote(digits)))?,
        ),
    };
    Ok(Match::Address { net, port, protocol })
}

fn prefix(text: &str, parse: impl Fn(&str) -> Option<IpAddr>, family: &str) -> Result<Net, String> {
    let (addr_text, length) = match text.split_once('/') {
        Some((addr, length)) => (addr, Some(length)),
        None => (text, None),
    };
    if addr_text.contains('%') {
        return Err(format!("{} has a zone, which no virtual server has: leave it out", quote(addr_text)));
    }
    let addr = parse(addr_text).ok_or_else(|| {
        format!("{} is no {family} address (names are not looked up, no leading zeros)", quote(addr_text))
    })?;
    let Some(length) = length else {
        return Ok(Net::host(addr));
    };
    let longest = Net::host(addr).prefix;
    let length = number(length)
        .and_then(|n| u8::try_from(n).ok())
        .filter(|n| *n <= longest)
        .ok_or_else(|| format!("{} is no prefix length: write 0 to {longest}", quote(length)))?;
    Net::new(addr, length).ok_or_else(|| {
        format!("{} has bits set behind its prefix: write {}", quote(text), masked(addr, length))
    })
}

fn masked(addr: IpAddr, length: u8) -> String {
    // A length of 0 shifts by the whole width.
    let network: IpAddr = match addr {
        IpAddr::V4(a) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            Ipv4Addr::from(u32::from(a) & mask).into()
        }
        IpAddr::V6(a) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            Ipv6Addr::from(u128::from(a) & mask).into()
        }
    };
    format!("{network}/{length}")
}

/// Decimal digits without a sign; a leading zero is refused, for others read it as octal.
fn number(text: &str) -> Option<u64> {
    let plain = !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_digit())
        && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_texts_survive_a_round_trip() {
        for text in [
            "10.10.0.100:80/tcp",
            "10.10.0.0/24:*/tcp",
            "0.0.0.0/0:*/udp",
            "*:53/udp",
            "*:*/sctp",
            "10.10.0.100:0/tcp",
            "[2001:db8::1]:443/tcp",
            "[2001:db8::/64]:*/tcp",
            "[::/0]:80/tcp",
            "fwmark:7/ipv4",
            "fwmark:*/ipv6",
            "fwmark:4294967295/*",
            "fwmark:*/*",
        ] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
        assert_eq!(parse("10.0.0.1/32:80/tcp"), parse("10.0.0.1:80/tcp"));
        assert_eq!(parse("[2001:DB8:0::1]:80/tcp").unwrap().to_string(), "[2001:db8::1]:80/tcp");
    }

    #[test]
    fn each_fault_is_named() {
        for (text, says) in [
            ("", "has no protocol"),
            ("10.10.0.100:80", "has no protocol"),
            ("10.10.0.0/24:80", "`24:80` is no protocol"),
            ("10.10.0.100:80/*", "must be written"),
            ("10.10.0.100:80/TCP", "`TCP` is no protocol"),
            ("10.10.0.100/tcp", "has no port"),
            ("[2001:db8::1]/tcp", "has no port"),
            ("2001:db8::1:80/tcp", "without brackets"),
            ("[10.0.0.1]:80/tcp", "`10.0.0.1` is no IPv6 address"),
            ("[fe80::1%eth0]:80/tcp", "has a zone"),
            ("[*]:80/tcp", "`*` is no IPv6 address"),
            ("shop.example.com:80/tcp", "`shop.example.com` is no IPv4 address"),
            ("10.10.0.010:80/tcp", "no leading zeros"),
            ("10.10.0.1/24:80/tcp", "write 10.10.0.0/24"),
            ("10.10.0.1/0:80/tcp", "write 0.0.0.0/0"),
            ("[2001:db8::1/32]:80/tcp", "write 2001:db8::/32"),
            ("10.10.0.0/33:80/tcp", "`33` is no prefix length: write 0 to 32"),
            ("10.10.0.0/024:80/tcp", "`024` is no prefix length"),
            ("10.10.0.1:080/tcp", "`080` is no port"),
            ("10.10.0.1:65536/tcp", "`65536` is no port"),
            ("10.10.0.1:+80/tcp", "`+80` is no port"),
            (" 10.10.0.1:80/tcp", "is no IPv4 address"),
            ("fwmark:7", "has no family"),
            ("fwmark:0/ipv4", "`0` is no mark"),
            ("fwmark:07/ipv4", "`07` is no mark"),
            ("fwmark:4294967296/ipv4", "is no mark"),
            ("fwmark:7/tcp", "`tcp` is no family"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
