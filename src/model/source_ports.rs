//! How many connections a second there are source ports for (trap 41).
//!
//! A *pool* is the ports for connections from one source address to one destination address and port: nothing
//! but the source port tells those apart, and it is taken for as long as the connection's TIME_WAIT lasts.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::{CheckKind, CheckSpec, Close, DnsTransport, ScopedAddr, Target};

/// What the kernel has for each pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourcePorts {
    pub ports: u32,
    /// How long a connection that we closed by FIN keeps its port.
    pub held: Duration,
}

impl SourcePorts {
    /// TCP_TIMEWAIT_LEN (include/net/tcp.h).
    pub const TIME_WAIT: Duration = Duration::from_secs(60);
    /// With `net.ipv4.tcp_tw_reuse=1` a port in TIME_WAIT is taken again after a second (tcp_twsk_unique in
    /// net/ipv4/tcp_ipv4.c). Its default, 2, is for loopback addresses alone.
    pub const TIME_WAIT_REUSED: Duration = Duration::from_secs(1);
    /// Where nobody changed `net.ipv4.ip_local_port_range`, 32768 to 60999.
    pub const USUAL: SourcePorts = SourcePorts { ports: 28_232, held: SourcePorts::TIME_WAIT };

    /// Connections a second of one pool that can go on for ever.
    pub fn per_second(&self) -> f64 {
        f64::from(self.ports) / self.held.as_secs_f64()
    }
}

/// Which ports a connection takes one of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pool {
    /// `None`: the kernel's choice, which is one for each destination.
    pub source: Option<ScopedAddr>,
    pub addr: ScopedAddr,
    pub port: u16,
}

impl Pool {
    pub fn of(target: &Target) -> Pool {
        Pool { source: target.spec.source.clone(), addr: target.addr.clone(), port: target.port }
    }
}

/// `10.0.0.21:443`, `[fe80::21%eth0]:443 from fe80::1%eth0`.
impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.addr.zone, self.addr.addr) {
            (Some(zone), IpAddr::V6(addr)) => write!(f, "[{addr}%{zone}]:{}", self.port)?,
            (Some(_) | None, addr) => SocketAddr::new(addr, self.port).fmt(f)?,
        }
        match &self.source {
            None => Ok(()),
            Some(ScopedAddr { addr, zone: None }) => write!(f, " from {addr}"),
            Some(ScopedAddr { addr, zone: Some(zone) }) => write!(f, " from {addr}%{zone}"),
        }
    }
}

impl CheckSpec {
    /// Connections a second of one target that we may close by FIN. At its fastest: a server at the edge, right
    /// and wrong by turns, keeps its verdict from being settled for as long as it likes.
    pub fn fins_per_second(&self) -> f64 {
        let datagrams = matches!(&self.kind, CheckKind::Dns(dns) if dns.transport == DnsTransport::Udp);
        if datagrams || self.close == Close::Rst {
            return 0.0;
        }
        let fastest = self.pace.fast_interval.min(self.pace.interval);
        let one_of = f64::from(self.kind.fresh_every().unwrap_or(1).max(1));
        1.0 / (fastest.as_secs_f64() * one_of)
    }
}

/// Pools that may be asked for more than they have.
#[derive(Debug, Clone, PartialEq)]
pub struct Overuse<P> {
    pub worst: P,
    /// Of the worst one: what it may be asked for, and what it has.
    pub per_second: f64,
    pub at_most: f64,
    /// How many are overused.
    pub pools: usize,
}

impl<P: Ord> Overuse<P> {
    /// Sums what each pool is asked for; `None`: there is enough for all.
    pub fn find(uses: impl IntoIterator<Item = (P, f64)>, ports: SourcePorts) -> Option<Overuse<P>> {
        let mut asked: BTreeMap<P, f64> = BTreeMap::new();
        for (pool, per_second) in uses {
            *asked.entry(pool).or_default() += per_second;
        }
        let at_most = ports.per_second();
        asked.retain(|_, per_second| *per_second > at_most);
        let pools = asked.len();
        let (worst, per_second) = asked.into_iter().max_by(|a, b| a.1.total_cmp(&b.1))?;
        Some(Overuse { worst, per_second, at_most, pools })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_is_overused_by_the_sum_of_its_checks() {
        assert_eq!(SourcePorts::USUAL.per_second().floor(), 470.0);
        let ports = SourcePorts { ports: 600, held: SourcePorts::TIME_WAIT };
        let find = |uses: &[(&'static str, f64)]| Overuse::find(uses.iter().copied(), ports);
        assert_eq!(find(&[("a", 5.0), ("b", 10.0), ("a", 5.0)]), None, "just enough");
        let uses = [("a", 5.0), ("b", 10.0), ("c", 10.5), ("a", 6.0), ("b", 0.0)];
        let overuse = Overuse { worst: "a", per_second: 11.0, at_most: 10.0, pools: 2 };
        assert_eq!(find(&uses), Some(overuse));
        let reused = SourcePorts { held: SourcePorts::TIME_WAIT_REUSED, ..ports };
        assert_eq!(Overuse::find(uses, reused), None);
    }

    #[test]
    fn a_pool_is_written_with_the_source_that_was_asked_for() {
        let scoped = |addr: &str, zone: Option<&str>| ScopedAddr {
            addr: addr.parse().unwrap(),
            zone: zone.map(str::to_owned),
        };
        let pool = |source, addr| Pool { source, addr, port: 443 }.to_string();
        assert_eq!(pool(None, scoped("10.0.0.21", None)), "10.0.0.21:443");
        assert_eq!(pool(None, scoped("2001:db8::21", None)), "[2001:db8::21]:443");
        let link_local = scoped("fe80::21", Some("eth0"));
        let source = scoped("fe80::1", Some("eth0"));
        assert_eq!(pool(Some(source), link_local), "[fe80::21%eth0]:443 from fe80::1%eth0");
    }
}
