//! Numbers of the kernel's interface: include/uapi/linux/{netlink,genetlink,ip_vs}.h.

// Netlink messages.
pub const NLMSG_ERROR: u16 = 2;
pub const NLMSG_DONE: u16 = 3;
pub const NLMSG_OVERRUN: u16 = 4;
pub const NLM_F_REQUEST: u16 = 0x1;
pub const NLM_F_ACK: u16 = 0x4;
/// On an answer: the dump was interrupted by a change.
pub const NLM_F_DUMP_INTR: u16 = 0x10;
pub const NLM_F_DUMP: u16 = 0x300;
/// NLA_F_NESTED and NLA_F_NET_BYTEORDER are flags within the type.
pub const NLA_TYPE_MASK: u16 = 0x3fff;

// Generic netlink's controller.
pub const GENL_ID_CTRL: u16 = 16;
pub const CTRL_CMD_GETFAMILY: u8 = 3;
pub const CTRL_ATTR_FAMILY_ID: u16 = 1;
pub const CTRL_ATTR_FAMILY_NAME: u16 = 2;

pub const FAMILY_NAME: &[u8] = b"IPVS\0";
pub const FAMILY_VERSION: u8 = 1;

/// A command with its name in the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Command {
    pub number: u8,
    pub name: &'static str,
    /// The command that its answers carry.
    pub answer: u8,
}

pub const GET_FAMILY: Command = Command { number: CTRL_CMD_GETFAMILY, name: "get_family", answer: 1 };
pub const GET_SERVICE: Command = Command { number: 4, name: "get_service", answer: 1 };
pub const SET_DEST: Command = Command { number: 6, name: "set_dest", answer: 6 };
pub const GET_DEST: Command = Command { number: 8, name: "get_dest", answer: 5 };
pub const GET_DAEMON: Command = Command { number: 11, name: "get_daemon", answer: 9 };
pub const GET_CONFIG: Command = Command { number: 13, name: "get_config", answer: 12 };
pub const GET_INFO: Command = Command { number: 15, name: "get_info", answer: 14 };

// IPVS_CMD_ATTR_*
pub const CMD_ATTR_SERVICE: u16 = 1;
pub const CMD_ATTR_DEST: u16 = 2;
pub const CMD_ATTR_DAEMON: u16 = 3;
pub const CMD_ATTR_TIMEOUT_TCP: u16 = 4;
pub const CMD_ATTR_TIMEOUT_TCP_FIN: u16 = 5;
pub const CMD_ATTR_TIMEOUT_UDP: u16 = 6;

// IPVS_INFO_ATTR_*
pub const INFO_ATTR_VERSION: u16 = 1;
pub const INFO_ATTR_CONN_TAB_SIZE: u16 = 2;

// IPVS_SVC_ATTR_*
pub const SVC_ATTR_AF: u16 = 1;
pub const SVC_ATTR_PROTOCOL: u16 = 2;
pub const SVC_ATTR_ADDR: u16 = 3;
pub const SVC_ATTR_PORT: u16 = 4;
pub const SVC_ATTR_FWMARK: u16 = 5;
pub const SVC_ATTR_SCHED_NAME: u16 = 6;
pub const SVC_ATTR_FLAGS: u16 = 7;
pub const SVC_ATTR_TIMEOUT: u16 = 8;
pub const SVC_ATTR_NETMASK: u16 = 9;
pub const SVC_ATTR_STATS: u16 = 10;
pub const SVC_ATTR_PE_NAME: u16 = 11;
pub const SVC_ATTR_STATS64: u16 = 12;

// IPVS_DEST_ATTR_*
pub const DEST_ATTR_ADDR: u16 = 1;
pub const DEST_ATTR_PORT: u16 = 2;
pub const DEST_ATTR_FWD_METHOD: u16 = 3;
pub const DEST_ATTR_WEIGHT: u16 = 4;
pub const DEST_ATTR_U_THRESH: u16 = 5;
pub const DEST_ATTR_L_THRESH: u16 = 6;
pub const DEST_ATTR_ACTIVE_CONNS: u16 = 7;
pub const DEST_ATTR_INACT_CONNS: u16 = 8;
pub const DEST_ATTR_PERSIST_CONNS: u16 = 9;
pub const DEST_ATTR_STATS: u16 = 10;
pub const DEST_ATTR_ADDR_FAMILY: u16 = 11;
pub const DEST_ATTR_STATS64: u16 = 12;
pub const DEST_ATTR_TUN_TYPE: u16 = 13;
pub const DEST_ATTR_TUN_PORT: u16 = 14;
pub const DEST_ATTR_TUN_FLAGS: u16 = 15;

// IPVS_STATS_ATTR_*, the same numbers in STATS and STATS64. The rates (6 to 10) are not read.
pub const STATS_ATTR_CONNS: u16 = 1;
pub const STATS_ATTR_INPKTS: u16 = 2;
pub const STATS_ATTR_OUTPKTS: u16 = 3;
pub const STATS_ATTR_INBYTES: u16 = 4;
pub const STATS_ATTR_OUTBYTES: u16 = 5;

// IPVS_DAEMON_ATTR_*
pub const DAEMON_ATTR_STATE: u16 = 1;
pub const DAEMON_ATTR_MCAST_IFN: u16 = 2;
pub const DAEMON_ATTR_SYNC_ID: u16 = 3;
pub const DAEMON_ATTR_SYNC_MAXLEN: u16 = 4;
pub const DAEMON_ATTR_MCAST_GROUP: u16 = 5;
pub const DAEMON_ATTR_MCAST_GROUP6: u16 = 6;
/// Host byte order, unlike all other ports.
pub const DAEMON_ATTR_MCAST_PORT: u16 = 7;
pub const DAEMON_ATTR_MCAST_TTL: u16 = 8;
pub const STATE_MASTER: u32 = 1;
pub const STATE_BACKUP: u32 = 2;

pub const AF_INET: u16 = 2;
pub const AF_INET6: u16 = 10;

// IP_VS_SVC_F_*
pub const SVC_F_PERSISTENT: u32 = 0x1;
pub const SVC_F_HASHED: u32 = 0x2;
pub const SVC_F_ONEPACKET: u32 = 0x4;
pub const SVC_F_SCHED1: u32 = 0x8;
pub const SVC_F_SCHED2: u32 = 0x10;
pub const SVC_F_SCHED3: u32 = 0x20;
/// `ipvsadm -p` without a number.
pub const DEFAULT_PERSISTENCE_SECONDS: u32 = 360;

// IP_VS_CONN_F_FWD_MASK and its values.
pub const FWD_MASK: u32 = 7;
pub const FWD_MASQ: u32 = 0;
pub const FWD_LOCALNODE: u32 = 1;
pub const FWD_TUNNEL: u32 = 2;
pub const FWD_DROUTE: u32 = 3;
pub const FWD_BYPASS: u32 = 4;

// IP_VS_CONN_F_TUNNEL_TYPE_* and IP_VS_TUNNEL_ENCAP_FLAG_*
pub const TUN_IPIP: u8 = 0;
pub const TUN_GUE: u8 = 1;
pub const TUN_GRE: u8 = 2;
pub const TUN_FLAG_CSUM: u16 = 1;
pub const TUN_FLAG_REMCSUM: u16 = 2;
