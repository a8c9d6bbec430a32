//! The IPVS table as one read of it: virtual servers, real servers, counters.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{DestKey, Now, ServiceKey};

/// A weight as the kernel accepts it: 0 to 2^31 - 1 (`ip_vs_dest_user_kern.weight` is a signed int).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct Weight(pub u32);

impl Weight {
    pub const ZERO: Weight = Weight(0);
    pub const MAX: Weight = Weight(i32::MAX as u32);

    pub fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One whole read of the table. Services are sorted by key and unique; so are the destinations of each.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// When the read was finished.
    pub taken: Now,
    /// How long it took.
    pub duration: Duration,
    pub source: TableSource,
    pub info: Option<IpvsInfo>,
    pub timeouts: Option<Timeouts>,
    pub daemons: Vec<SyncDaemon>,
    /// Totals of the network namespace; `None` where the source has none.
    pub totals: Option<Counters>,
    /// `net.ipv4.vs.*`, by name; only those that exist.
    pub sysctls: Vec<(&'static str, i64)>,
    /// `Arc`, so that one service can be replaced after a write without copying the rest.
    pub services: Vec<Arc<VirtualServer>>,
}

impl Snapshot {
    pub fn service(&self, key: &ServiceKey) -> Option<&Arc<VirtualServer>> {
        let at = self.services.binary_search_by(|s| s.key.cmp(key)).ok()?;
        self.services.get(at)
    }

    /// Those that services are told apart by; the addresses behind a firewall mark are not in the table.
    pub fn virtual_addresses(&self) -> BTreeSet<IpAddr> {
        let addr = |service: &Arc<VirtualServer>| match service.key {
            ServiceKey::Address { addr, .. } => Some(addr),
            ServiceKey::Fwmark { .. } => None,
        };
        self.services.iter().filter_map(addr).collect()
    }

    /// Puts a newer reading of one service in place of the old one; unknown keys are ignored.
    pub fn replace(&mut self, service: VirtualServer) {
        if let Ok(at) = self.services.binary_search_by(|s| s.key.cmp(&service.key)) {
            self.services[at] = Arc::new(service);
        }
    }
}

/// Where the rows came from, which says what they can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableSource {
    /// Generic netlink: everything.
    Netlink,
    /// `/proc/net/ip_vs`: weights and connections only (no CAP_NET_ADMIN).
    Proc,
    /// An embedded table (`--ipvs.table`, `demo`, tests).
    Memory,
}

/// IPVS_CMD_GET_INFO.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpvsInfo {
    /// 0x010201 is 1.2.1.
    pub version: u32,
    pub connection_table_size: u32,
}

/// IPVS_CMD_GET_CONFIG, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    pub tcp: u32,
    pub tcp_fin: u32,
    pub udp: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SyncRole {
    Master,
    Backup,
}

/// One running sync daemon (IPVS_CMD_GET_DAEMON).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncDaemon {
    pub role: SyncRole,
    pub interface: String,
    pub sync_id: u32,
    pub max_len: Option<u16>,
    pub group: Option<IpAddr>,
    pub port: Option<u16>,
    pub ttl: Option<u8>,
}

/// STATS64 (or, on kernels before 4.1, STATS). Monotonic but for ZERO and a re-created service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    pub connections: u64,
    pub incoming_packets: u64,
    pub outgoing_packets: u64,
    pub incoming_bytes: u64,
    pub outgoing_bytes: u64,
}

/// A virtual server as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtualServer {
    pub key: ServiceKey,
    pub scheduler: String,
    pub flags: ServiceFlags,
    /// Seconds; meaningful where `flags.persistent()`.
    pub persistence_timeout: u32,
    /// v4: prefix length of the persistence mask, 0 to 32. v6: the kernel's prefix length.
    pub netmask_prefix: u8,
    pub persistence_engine: Option<String>,
    /// `None` where the source has none (`/proc`).
    pub counters: Option<Counters>,
    /// Sorted by key, unique.
    pub destinations: Vec<RealServer>,
}

impl VirtualServer {
    pub fn destination(&self, key: &DestKey) -> Option<&RealServer> {
        let at = self.destinations.binary_search_by(|d| d.key.cmp(key)).ok()?;
        self.destinations.get(at)
    }

    /// True if clients hashed to a real server at weight 0 are refused instead of moved:
    /// sh and mh without their fallback flag, dh always.
    pub fn refuses_at_zero(&self) -> bool {
        match self.scheduler.as_str() {
            "sh" | "mh" => !self.flags.fallback(),
            "dh" => true,
            _ => false,
        }
    }
}

/// IP_VS_SVC_F_* (include/uapi/linux/ip_vs.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServiceFlags(pub u32);

impl ServiceFlags {
    pub fn persistent(self) -> bool {
        self.0 & 0x1 != 0
    }
    pub fn one_packet(self) -> bool {
        self.0 & 0x4 != 0
    }
    /// SCHED1: sh-fallback, mh-fallback.
    pub fn fallback(self) -> bool {
        self.0 & 0x8 != 0
    }
    /// SCHED2: sh-port, mh-port.
    pub fn sched_port(self) -> bool {
        self.0 & 0x10 != 0
    }
    /// SCHED3.
    pub fn sched3(self) -> bool {
        self.0 & 0x20 != 0
    }
}

/// A real server (destination) as the kernel has it, inside one virtual server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RealServer {
    pub key: DestKey,
    /// How many stand before it in its virtual server, where the kernel puts new ones in front; `None`
    /// where the source does not tell, or two readings disagreed.
    pub place: Option<u32>,
    pub forwarding: Forwarding,
    pub weight: Weight,
    /// 0 = off.
    pub upper_threshold: u32,
    /// 0 = off.
    pub lower_threshold: u32,
    pub active_connections: u32,
    pub inactive_connections: u32,
    pub persistent_connections: u32,
    pub tunnel: Option<Tunnel>,
    pub counters: Option<Counters>,
}

/// IP_VS_CONN_F_FWD_MASK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Forwarding {
    Masq,
    Local,
    Tunnel,
    Route,
    Bypass,
}

impl Forwarding {
    pub fn as_str(self) -> &'static str {
        match self {
            Forwarding::Masq => "masq",
            Forwarding::Local => "local",
            Forwarding::Tunnel => "tunnel",
            Forwarding::Route => "route",
            Forwarding::Bypass => "bypass",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TunnelKind {
    Ipip,
    Gue,
    Gre,
    /// A kind this version does not know, by number; it is echoed untouched.
    Other(u8),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tunnel {
    pub kind: TunnelKind,
    /// GUE's UDP port.
    pub port: u16,
    /// 1 checksum, 2 remote checksum.
    pub flags: u16,
}

/// One wanted change of one weight. `from` is what the plan was made on: where the kernel shows
/// something else just before the write, the write is not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct WeightChange {
    pub service: ServiceKey,
    pub dest: DestKey,
    pub from: Weight,
    pub to: Weight,
}

/// What became of one [`WeightChange`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteOutcome {
    /// Acknowledged, and read back as wanted.
    Written,
    /// Not written: just before the write the kernel showed this weight instead of `from`.
    Conflict(Weight),
    /// Acknowledged, but the read-back showed this weight.
    ReadBack(Weight),
    /// The service or the destination is gone.
    Gone,
    /// Not written, or the kernel refused; the text names the operation and the cause.
    Failed(String),
    /// Sent, but whether the kernel did it is not known (overrun, deadline, read-back failed).
    Unknown(String),
}

/// The results of one batch of changes, in the order asked, with the rows read back afterwards
/// (one entry per service whose read-back worked).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WriteReport {
    pub results: Vec<(WeightChange, WriteOutcome)>,
    pub services: Vec<VirtualServer>,
}

/// Why the table could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadFailure {
    #[error(
        "IPVS is not in this kernel or not loaded (no /proc/net/ip_vs); `modprobe ip_vs` loads it, the agent looks again"
    )]
    NoIpvs,
    #[error("reading the IPVS table needs CAP_NET_ADMIN in the initial user namespace")]
    NoPermission,
    #[error("reading the IPVS table failed: {0}")]
    Failed(String),
}
