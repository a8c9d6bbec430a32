//! The addresses of this host, and which of them may be sent from.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::net::{IpAddr, Ipv6Addr};

use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::InterfaceFlags;

/// The thread's own view: `/proc/net` would be the main thread's network namespace. getifaddrs()
/// does not tell an address's state, which is the last but one column here (if6_seq_show in
/// net/ipv6/addrconf.c).
const IF_INET6: &str = "/proc/thread-self/net/if_inet6";
/// A hundred thousand addresses.
const IF_INET6_LIMIT_BYTES: u64 = 8 << 20;

/// IFA_F_DADFAILED | IFA_F_DEPRECATED | IFA_F_TENTATIVE (include/uapi/linux/if_addr.h).
const UNUSABLE: u8 = 0x08 | 0x20 | 0x40;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HostAddress {
    pub addr: IpAddr,
    /// Its length in bits.
    pub prefix: u32,
    pub interface: String,
    /// On an interface that is up; neither deprecated nor tentative nor somebody else's too.
    pub usable: bool,
}

/// All of this network namespace.
pub(super) fn read() -> io::Result<Vec<HostAddress>> {
    let mut addresses: Vec<HostAddress> = getifaddrs()?.filter_map(ipv4).collect();
    let mut text = String::new();
    match File::open(IF_INET6) {
        Ok(file) => {
            file.take(IF_INET6_LIMIT_BYTES).read_to_string(&mut text)?;
        }
        // A kernel without IPv6.
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    addresses.extend(text.lines().filter_map(ipv6));
    Ok(addresses)
}

fn ipv4(found: InterfaceAddress) -> Option<HostAddress> {
    let addr = found.address?.as_sockaddr_in()?.ip();
    let prefix = found.netmask?.as_sockaddr_in()?.ip().to_bits().count_ones();
    // The name is the address's label where it has one: `eth0:vip`.
    let interface = found.interface_name.split(':').next().unwrap_or_default().to_owned();
    let usable = found.flags.contains(InterfaceFlags::IFF_UP);
    Some(HostAddress { addr: addr.into(), prefix, interface, usable })
}

/// One line: address, interface index, prefix length, scope and flags in hexadecimal, interface.
fn ipv6(line: &str) -> Option<HostAddress> {
    let mut columns = line.split_ascii_whitespace();
    let addr = columns.next().filter(|hex| hex.len() == 32)?;
    let addr = Ipv6Addr::from_bits(u128::from_str_radix(addr, 16).ok()?);
    let prefix = u32::from_str_radix(columns.nth(1)?, 16).ok()?;
    let flags = u8::from_str_radix(columns.nth(1)?, 16).ok()?;
    let interface = columns.next()?.to_owned();
    Some(HostAddress { addr: addr.into(), prefix, interface, usable: flags & UNUSABLE == 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_if_inet6() {
        let own = |addr: &str, prefix, interface: &str, usable| {
            let addr = addr.parse().unwrap();
            Some(HostAddress { addr, prefix, interface: interface.to_owned(), usable })
        };
        for (line, expected) in [
            ("00000000000000000000000000000001 01 80 10 80       lo", own("::1", 128, "lo", true)),
            ("fd000010000000000000000000000011 04 40 00 80     eth0", own("fd00:10::11", 64, "eth0", true)),
            (
                "fd000010000000000000000000000100 04 80 00 a0     eth0",
                own("fd00:10::100", 128, "eth0", false),
            ),
            (
                "fe80000000000000042a5bfffe8d0001 1f 40 20 c0 a-long-name.100",
                own("fe80::42a:5bff:fe8d:1", 64, "a-long-name.100", false),
            ),
            ("fd000010000000000000000000000012 04 40 00 c8     eth0", own("fd00:10::12", 64, "eth0", false)),
            // Temporary (RFC 8981).
            ("fd000010000000000000000000000013 04 40 00 01     eth0", own("fd00:10::13", 64, "eth0", true)),
            ("", None),
            ("fd00 04 40 00 80 eth0", None),
            ("fd000010000000000000000000000011 04 40 00", None),
        ] {
            assert_eq!(ipv6(line), expected, "{line}");
        }
    }

    #[test]
    fn this_host_has_its_loopback_address() {
        let all = read().unwrap();
        let found = all.iter().find(|a| a.addr == IpAddr::from([127, 0, 0, 1])).unwrap();
        assert_eq!((found.prefix, found.interface.as_str(), found.usable), (8, "lo", true));
    }
}
