//! What the configuration asks for.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{Check, Family, Protocol, ServiceKey, VipSharing, words};

words! {
    Mode {
        Enforce = "enforce",
        /// Everything but the writes.
        Observe = "observe",
    }
}

impl Mode {
    /// The weaker of two: observe wins.
    pub fn weaker(self, other: Mode) -> Mode {
        self.max(other)
    }
}

words! {
    /// What becomes of a real server that fails its checks.
    OnFailure {
        WeightZero = "weight-0",
        /// Failing servers stay in, and what checks took goes back.
        Observe = "observe",
    }
}

impl OnFailure {
    /// dh refuses the clients of a server at weight 0 and has no flag to move them; it hashes what may
    /// be one address, so that one server can be the whole service (trap 33).
    pub fn default_for(scheduler: &str) -> OnFailure {
        match scheduler {
            "dh" => OnFailure::Observe,
            _ => OnFailure::WeightZero,
        }
    }
}

/// The part of the configuration that decisions are made by.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// `None`: no configuration was given: exporter only.
    pub mode: Option<Mode>,
    pub poll_interval: Duration,
    /// A ledger entry that no running agent has confirmed for this long lapses.
    pub ledger_max_age: Duration,
    /// While this share of all targets (1 to 100) failed their last conclusive probe, the director is
    /// the suspect and nothing is taken (trap 26).
    pub suspect_self_percent: u8,
    /// Virtual addresses beside those of the table's services: the ones behind firewall marks.
    pub vips: BTreeSet<IpAddr>,
    pub vip_sharing: VipSharing,
    /// A clean stop gives back what checks took.
    pub restore_on_exit: bool,
    /// In file order; the first that matches a virtual server has it.
    pub services: Vec<ServicePolicy>,
}

impl Policy {
    pub const DEFAULT_POLL_INTERVAL: Duration = Duration::from_secs(2);
    pub const DEFAULT_LEDGER_MAX_AGE: Duration = Duration::from_secs(168 * 3600);
    pub const DEFAULT_SUSPECT_SELF_PERCENT: u8 = 100;

    /// Without a configuration: nothing is managed.
    pub fn exporter_only() -> Policy {
        Policy {
            mode: None,
            poll_interval: Self::DEFAULT_POLL_INTERVAL,
            ledger_max_age: Self::DEFAULT_LEDGER_MAX_AGE,
            suspect_self_percent: Self::DEFAULT_SUSPECT_SELF_PERCENT,
            vips: BTreeSet::new(),
            vip_sharing: VipSharing::Exclusive,
            restore_on_exit: false,
            services: Vec::new(),
        }
    }

    /// The first `[[service]]` that matches, if any: its index in file order.
    pub fn service_for(&self, key: &ServiceKey) -> Option<usize> {
        self.services.iter().position(|s| s.matches.iter().any(|m| m.matches(key)))
    }
}

/// One `[[service]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct ServicePolicy {
    pub matches: Vec<Match>,
    /// `None`: the virtual server's own text.
    pub name: Option<String>,
    /// All must pass. Empty: managed without verdicts.
    pub checks: Vec<Arc<Check>>,
    pub floor: Floor,
    /// Usable servers needed to count as up; for metrics and alerts only.
    pub quorum: u32,
    /// Capacity (0 to 1) below which it is called low; for alerts only.
    pub capacity_low: f64,
    /// The weaker of this and the global one holds.
    pub mode: Mode,
    /// `None`: what is best for the scheduler.
    pub on_failure: Option<OnFailure>,
    /// Over which a weight climbs back; zero: at once.
    pub slow_start: Duration,
    /// How long a passing server is kept out before its weight is given back; zero: not at all.
    pub hold_down: Duration,
}

impl ServicePolicy {
    /// What holds for a virtual server with this scheduler.
    pub fn on_failure(&self, scheduler: &str) -> OnFailure {
        self.on_failure.unwrap_or_else(|| OnFailure::default_for(scheduler))
    }
}

/// How many real servers with weight > 0 checks leave at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Floor {
    Count(u32),
    /// 0 to 100, of the base; rounded up.
    Percent(u8),
}

impl Floor {
    pub const DEFAULT: Floor = Floor::Count(1);

    /// The count it comes to for a base of this many real servers; never more than the base.
    pub fn resolve(self, base: usize) -> usize {
        match self {
            Floor::Count(n) => base.min(n as usize),
            Floor::Percent(p) => (base * usize::from(p.min(100))).div_ceil(100),
        }
    }
}

impl fmt::Display for Floor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Floor::Count(n) => n.fmt(f),
            Floor::Percent(p) => write!(f, "{p}%"),
        }
    }
}

/// A pattern over virtual servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    Address {
        /// `None`: any, of both families.
        net: Option<Net>,
        /// `None`: any, 0 too.
        port: Option<u16>,
        protocol: Protocol,
    },
    Fwmark {
        mark: Option<u32>,
        family: Option<Family>,
    },
}

impl Match {
    pub fn matches(&self, key: &ServiceKey) -> bool {
        match (self, key) {
            (
                Match::Address { net, port, protocol },
                ServiceKey::Address { addr, port: p, protocol: proto },
            ) => {
                protocol == proto
                    && port.is_none_or(|port| port == *p)
                    && net.is_none_or(|net| net.contains(*addr))
            }
            (Match::Fwmark { mark, family }, ServiceKey::Fwmark { mark: m, family: f }) => {
                mark.is_none_or(|mark| mark == *m) && family.is_none_or(|family| family == *f)
            }
            (Match::Address { .. }, ServiceKey::Fwmark { .. })
            | (Match::Fwmark { .. }, ServiceKey::Address { .. }) => false,
        }
    }

    /// The one virtual server a pattern without wildcards names.
    pub fn literal(&self) -> Option<ServiceKey> {
        match *self {
            Match::Address { net: Some(net), port: Some(port), protocol } if net.is_host() => {
                Some(ServiceKey::Address { addr: net.addr, port, protocol })
            }
            Match::Fwmark { mark: Some(mark), family: Some(family) } => {
                Some(ServiceKey::Fwmark { mark, family })
            }
            Match::Address { .. } | Match::Fwmark { .. } => None,
        }
    }

    /// True if every virtual server that `other` matches is matched by `self` too.
    pub fn covers(&self, other: &Match) -> bool {
        match (self, other) {
            (
                Match::Address { net, port, protocol },
                Match::Address { net: other_net, port: other_port, protocol: other_protocol },
            ) => {
                protocol == other_protocol
                    && port.is_none_or(|p| *other_port == Some(p))
                    && net
                        .is_none_or(|n| other_net.is_some_and(|o| n.prefix <= o.prefix && n.contains(o.addr)))
            }
            (Match::Fwmark { mark, family }, Match::Fwmark { mark: other_mark, family: other_family }) => {
                mark.is_none_or(|m| *other_mark == Some(m)) && family.is_none_or(|f| *other_family == Some(f))
            }
            (Match::Address { .. }, Match::Fwmark { .. }) | (Match::Fwmark { .. }, Match::Address { .. }) => {
                false
            }
        }
    }
}

/// An address prefix; host bits are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Net {
    pub addr: IpAddr,
    pub prefix: u8,
}

impl Net {
    pub fn host(addr: IpAddr) -> Net {
        Net { addr, prefix: if addr.is_ipv4() { 32 } else { 128 } }
    }

    /// `None` if the prefix is longer than the address or host bits are set.
    pub fn new(addr: IpAddr, prefix: u8) -> Option<Net> {
        let net = Net { addr, prefix };
        (prefix <= Net::host(addr).prefix && net.bits(addr) == net.whole_bits(addr)).then_some(net)
    }

    pub fn is_host(&self) -> bool {
        self.prefix == Net::host(self.addr).prefix
    }

    pub fn contains(&self, addr: IpAddr) -> bool {
        Family::of(addr) == Family::of(self.addr) && self.bits(addr) == self.bits(self.addr)
    }

    fn whole_bits(&self, addr: IpAddr) -> u128 {
        match addr {
            IpAddr::V4(a) => u128::from(u32::from(a)) << 96,
            IpAddr::V6(a) => u128::from(a),
        }
    }

    fn bits(&self, addr: IpAddr) -> u128 {
        let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
        self.whole_bits(addr) & mask
    }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Match::Address { net, port, protocol } => {
                match net {
                    None => f.write_str("*")?,
                    Some(n) => {
                        let text =
                            if n.is_host() { n.addr.to_string() } else { format!("{}/{}", n.addr, n.prefix) };
                        match n.addr {
                            IpAddr::V4(_) => f.write_str(&text)?,
                            IpAddr::V6(_) => write!(f, "[{text}]")?,
                        }
                    }
                }
                match port {
                    None => write!(f, ":*/{protocol}"),
                    Some(port) => write!(f, ":{port}/{protocol}"),
                }
            }
            Match::Fwmark { mark, family } => {
                match mark {
                    None => f.write_str("fwmark:*/")?,
                    Some(mark) => write!(f, "fwmark:{mark}/")?,
                }
                match family {
                    None => f.write_str("*"),
                    Some(family) => family.fmt(f),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(addr: &str, prefix: u8) -> Net {
        Net::new(addr.parse().unwrap(), prefix).unwrap()
    }

    #[test]
    fn floor_rounds_percent_up_and_caps_a_count() {
        assert_eq!(Floor::Percent(50).resolve(3), 2);
        assert_eq!(Floor::Percent(1).resolve(3), 1);
        assert_eq!(Floor::Percent(100).resolve(3), 3);
        assert_eq!(Floor::Percent(0).resolve(3), 0);
        assert_eq!(Floor::Count(5).resolve(3), 3);
        assert_eq!(Floor::Count(0).resolve(3), 0);
        assert_eq!(Floor::Count(1).resolve(0), 0);
    }

    #[test]
    fn prefixes_contain_what_they_should() {
        assert!(net("10.10.0.0", 24).contains("10.10.0.255".parse().unwrap()));
        assert!(!net("10.10.0.0", 24).contains("10.10.1.0".parse().unwrap()));
        assert!(net("0.0.0.0", 0).contains("255.1.2.3".parse().unwrap()));
        assert!(!net("0.0.0.0", 0).contains("::1".parse().unwrap()));
        assert!(net("2001:db8::", 32).contains("2001:db8:ffff::1".parse().unwrap()));
        assert_eq!(Net::new("10.10.0.1".parse().unwrap(), 24), None);
        assert_eq!(Net::new("10.10.0.0".parse().unwrap(), 33), None);
    }

    #[test]
    fn a_pattern_matches_its_own_kind_only() {
        let any_tcp = Match::Address { net: None, port: None, protocol: Protocol::Tcp };
        assert!(any_tcp.matches(&"[2001:db8::1]:0/tcp".parse().unwrap()));
        assert!(!any_tcp.matches(&"10.0.0.1:53/udp".parse().unwrap()));
        assert!(!any_tcp.matches(&"fwmark:7/ipv4".parse().unwrap()));
        let mark = Match::Fwmark { mark: None, family: Some(Family::V4) };
        assert!(mark.matches(&"fwmark:7/ipv4".parse().unwrap()));
        assert!(!mark.matches(&"fwmark:7/ipv6".parse().unwrap()));
        assert_eq!(any_tcp.to_string(), "*:*/tcp");
        assert_eq!(mark.to_string(), "fwmark:*/ipv4");
        assert!(any_tcp.covers(&Match::Address {
            net: Some(net("10.0.0.0", 8)),
            port: Some(80),
            protocol: Protocol::Tcp
        }));
    }
}
