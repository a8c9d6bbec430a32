//! `ipvs_*`: what the kernel says, and nothing of our own.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv4Addr;

use super::catalogue as m;
use super::catalogue::Metric;
use super::exposition::{Families, Labels, bare, bare_if, flag};
use super::rows::Rows;
use crate::model::{
    Counters, Family, RealServer, ServiceKey, Snapshot, SyncDaemon, SyncRole, TableSource, Timeouts, Tunnel,
    TunnelKind, View, VirtualServer,
};

type Table<'a> = Rows<'a, VirtualServer, RealServer>;

pub(super) fn encode(out: &mut Families, view: &View) -> fmt::Result {
    out.gauge(m::IPVS_UP, bare(flag(view.ipvs_up())))?;
    let Some(snapshot) = view.snapshot.as_deref() else { return Ok(()) };
    director(out, snapshot)?;
    let services = snapshot.services.iter().map(|service| (service.key, &**service));
    let table = Rows::new(services, |service| &service.destinations, |dest| dest.key);
    virtual_servers(out, &table)?;
    real_servers(out, &table, snapshot.source)
}

fn director(out: &mut Families, snapshot: &Snapshot) -> fmt::Result {
    out.info(m::IPVS_INFO, snapshot.info.map(|info| [("version", version(info.version))]))?;
    out.gauge(m::CONNECTION_TABLE_BUCKETS, bare_if(snapshot.info.map(|info| info.connection_table_size)))?;
    for (metric, read) in TRAFFIC {
        out.counter(metric, bare_if(snapshot.totals.as_ref().map(read)))?;
    }
    out.gauge(m::TIMEOUT, snapshot.timeouts.iter().flat_map(timeouts))?;
    out.info(m::SYNC_DAEMON_INFO, snapshot.daemons.iter().map(sync_daemon))?;
    // /proc shows no daemons, which does not mean that none runs.
    let roles: &[SyncRole] = match snapshot.source {
        TableSource::Netlink | TableSource::Memory => &[SyncRole::Master, SyncRole::Backup],
        TableSource::Proc => &[],
    };
    out.gauge(
        m::SYNC_DAEMON_RUNNING,
        roles.iter().map(|role| {
            ([("role", role_word(*role))], flag(snapshot.daemons.iter().any(|d| d.role == *role)))
        }),
    )?;
    let sysctls = snapshot.sysctls.iter().filter(|(name, _)| is_exported_sysctl(name));
    out.gauge(m::SYSCTL, sysctls.map(|(name, value)| ([("name", *name)], *value)))?;
    // Before 5.15 there is no run_estimation, and estimation always runs.
    let run_estimation = snapshot.sysctls.iter().find(|(name, _)| *name == "run_estimation");
    out.gauge(m::ESTIMATION_ENABLED, bare(flag(run_estimation.is_none_or(|(_, value)| *value != 0))))
}

fn virtual_servers(out: &mut Families, table: &Table) -> fmt::Result {
    out.info(
        m::VIRTUAL_SERVER_INFO,
        table.virtual_servers().map(|([v], service)| virtual_server_info(v, service)),
    )?;
    out.gauge(
        m::VIRTUAL_SERVER_PERSISTENCE_TIMEOUT,
        table
            .virtual_servers()
            .filter(|(_, service)| service.flags.persistent())
            .map(|(labels, service)| (labels, service.persistence_timeout)),
    )?;
    out.gauge(
        m::VIRTUAL_SERVER_REAL_SERVERS,
        table.virtual_servers().map(|(labels, service)| (labels, service.destinations.len())),
    )?;
    for (metric, read) in VIRTUAL_SERVER_TRAFFIC {
        out.counter(
            metric,
            table
                .virtual_servers()
                .filter_map(|(labels, service)| Some((labels, read(service.counters.as_ref()?)))),
        )?;
    }
    Ok(())
}

fn real_servers(out: &mut Families, table: &Table, source: TableSource) -> fmt::Result {
    out.info(
        m::REAL_SERVER_INFO,
        table.real_servers().map(|([v, r], server)| real_server_info(v, r, server)),
    )?;
    out.gauge(m::REAL_SERVER_WEIGHT, table.real_servers().map(|(labels, rs)| (labels, rs.weight.0)))?;
    out.gauge(
        m::REAL_SERVER_ACTIVE_CONNECTIONS,
        table.real_servers().map(|(labels, rs)| (labels, rs.active_connections)),
    )?;
    out.gauge(
        m::REAL_SERVER_INACTIVE_CONNECTIONS,
        table.real_servers().map(|(labels, rs)| (labels, rs.inactive_connections)),
    )?;
    // /proc does not show them.
    if source != TableSource::Proc {
        out.gauge(
            m::REAL_SERVER_PERSISTENT_CONNECTIONS,
            table.real_servers().map(|(labels, rs)| (labels, rs.persistent_connections)),
        )?;
    }
    out.gauge(
        m::REAL_SERVER_CONNECTION_THRESHOLD,
        table.real_servers().flat_map(|([v, r], rs)| {
            [("upper", rs.upper_threshold), ("lower", rs.lower_threshold)]
                .into_iter()
                .filter(|(_, threshold)| *threshold != 0)
                .map(move |(bound, threshold)| ([v, r, ("bound", bound)], threshold))
        }),
    )?;
    for (metric, read) in REAL_SERVER_TRAFFIC {
        out.counter(
            metric,
            table.real_servers().filter_map(|(labels, rs)| Some((labels, read(rs.counters.as_ref()?)))),
        )?;
    }
    Ok(())
}

type Traffic = [(&'static Metric, fn(&Counters) -> u64); 5];

const TRAFFIC: Traffic = [
    (m::CONNECTIONS, |c| c.connections),
    (m::INCOMING_PACKETS, |c| c.incoming_packets),
    (m::OUTGOING_PACKETS, |c| c.outgoing_packets),
    (m::INCOMING_BYTES, |c| c.incoming_bytes),
    (m::OUTGOING_BYTES, |c| c.outgoing_bytes),
];

const VIRTUAL_SERVER_TRAFFIC: Traffic = [
    (m::VIRTUAL_SERVER_CONNECTIONS, |c| c.connections),
    (m::VIRTUAL_SERVER_INCOMING_PACKETS, |c| c.incoming_packets),
    (m::VIRTUAL_SERVER_OUTGOING_PACKETS, |c| c.outgoing_packets),
    (m::VIRTUAL_SERVER_INCOMING_BYTES, |c| c.incoming_bytes),
    (m::VIRTUAL_SERVER_OUTGOING_BYTES, |c| c.outgoing_bytes),
];

const REAL_SERVER_TRAFFIC: Traffic = [
    (m::REAL_SERVER_CONNECTIONS, |c| c.connections),
    (m::REAL_SERVER_INCOMING_PACKETS, |c| c.incoming_packets),
    (m::REAL_SERVER_OUTGOING_PACKETS, |c| c.outgoing_packets),
    (m::REAL_SERVER_INCOMING_BYTES, |c| c.incoming_bytes),
    (m::REAL_SERVER_OUTGOING_BYTES, |c| c.outgoing_bytes),
];

/// 0x010201 is 1.2.1.
fn version(number: u32) -> String {
    format!("{}.{}.{}", number >> 16 & 0xff, number >> 8 & 0xff, number & 0xff)
}

fn timeouts(timeouts: &Timeouts) -> [(Labels<'static, 1>, u32); 3] {
    [("tcp", timeouts.tcp), ("tcp_fin", timeouts.tcp_fin), ("udp", timeouts.udp)]
        .map(|(session, seconds)| ([("session", session)], seconds))
}

fn sync_daemon(daemon: &SyncDaemon) -> Labels<'_, 7, Cow<'_, str>> {
    [
        ("role", role_word(daemon.role).into()),
        ("interface", daemon.interface.as_str().into()),
        ("sync_id", daemon.sync_id.to_string().into()),
        ("group", text(daemon.group)),
        ("port", text(daemon.port)),
        ("ttl", text(daemon.ttl)),
        ("maxlen", text(daemon.max_len)),
    ]
}

fn role_word(role: SyncRole) -> &'static str {
    match role {
        SyncRole::Master => "master",
        SyncRole::Backup => "backup",
    }
}

/// Those that bear on scheduling, counting and synchronising; the rest of the directory is tuning.
fn is_exported_sysctl(name: &str) -> bool {
    const EXPORTED: [&str; 10] = [
        "run_estimation",
        "expire_nodest_conn",
        "expire_quiescent_template",
        "conn_reuse_mode",
        "drop_entry",
        "drop_packet",
        "secure_tcp",
        "am_droprate",
        "sloppy_tcp",
        "sloppy_sctp",
    ];
    EXPORTED.contains(&name) || name.starts_with("sync_")
}

fn virtual_server_info<'a>(
    (_, virtual_server): (&'static str, &'a str),
    service: &'a VirtualServer,
) -> Labels<'a, 11, Cow<'a, str>> {
    let (protocol, address, port, fwmark) = match service.key {
        ServiceKey::Address { addr, port, protocol } => {
            (protocol.as_str().into(), text(Some(addr)), text(Some(port)), "".into())
        }
        ServiceKey::Fwmark { mark, family: _ } => ("".into(), "".into(), "".into(), text(Some(mark))),
    };
    [
        ("virtual_server", virtual_server.into()),
        ("protocol", protocol),
        ("address", address),
        ("port", port),
        ("fwmark", fwmark),
        ("address_family", service.key.family().as_str().into()),
        ("scheduler", service.scheduler.as_str().into()),
        ("scheduler_flags", scheduler_flags(service)),
        ("persistence_engine", service.persistence_engine.as_deref().unwrap_or("").into()),
        ("netmask", netmask(service)),
        ("one_packet", text(Some(service.flags.one_packet()))),
    ]
}

/// In ipvsadm's words: `sh-fallback,sh-port`; by number where the scheduler gives them no name.
fn scheduler_flags(service: &VirtualServer) -> Cow<'static, str> {
    let names = match service.scheduler.as_str() {
        "sh" => ["sh-fallback", "sh-port", "flag-3"],
        "mh" => ["mh-fallback", "mh-port", "flag-3"],
        _ => ["flag-1", "flag-2", "flag-3"],
    };
    let flags = service.flags;
    let set = [flags.fallback(), flags.sched_port(), flags.sched3()];
    let names: Vec<&str> = names.into_iter().zip(set).filter(|(_, set)| *set).map(|(name, _)| name).collect();
    names.join(",").into()
}

/// As ipvsadm takes it: dotted for IPv4, a prefix length for IPv6.
fn netmask(service: &VirtualServer) -> Cow<'static, str> {
    let prefix = u32::from(service.netmask_prefix);
    match service.key.family() {
        Family::V4 => {
            let mask = u32::MAX.checked_shl(32u32.saturating_sub(prefix)).unwrap_or(0);
            text(Some(Ipv4Addr::from(mask)))
        }
        Family::V6 => text(Some(prefix)),
    }
}

fn real_server_info<'a>(
    (_, virtual_server): (&'static str, &'a str),
    (_, real_server): (&'static str, &'a str),
    server: &'a RealServer,
) -> Labels<'a, 6, Cow<'a, str>> {
    let (tunnel_type, tunnel_port) = server.tunnel.map_or(("".into(), "".into()), tunnel);
    [
        ("virtual_server", virtual_server.into()),
        ("real_server", real_server.into()),
        ("forwarding", server.forwarding.as_str().into()),
        ("address_family", Family::of(server.key.addr).as_str().into()),
        ("tunnel_type", tunnel_type),
        ("tunnel_port", tunnel_port),
    ]
}

fn tunnel(tunnel: Tunnel) -> (Cow<'static, str>, Cow<'static, str>) {
    match tunnel.kind {
        TunnelKind::Ipip => ("ipip".into(), "".into()),
        TunnelKind::Gue => ("gue".into(), text(Some(tunnel.port))),
        TunnelKind::Gre => ("gre".into(), "".into()),
        TunnelKind::Other(number) => (text(Some(number)), text(Some(tunnel.port))),
    }
}

/// An empty label is no label.
fn text(value: Option<impl ToString>) -> Cow<'static, str> {
    value.map_or(Cow::Borrowed(""), |value| Cow::Owned(value.to_string()))
}
