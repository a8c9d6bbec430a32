//! Views made by hand: every shape that a row can have.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use lvs_agent::metrics::Machinery;
use lvs_agent::model::*;

/// 24 November 2025, 16:00 UTC.
pub const NOW: Now = Now { mono: Mono::from_start(Duration::from_secs(3600)), wall: Wall(1_764_000_000.5) };

/// Everything at once: both families, all protocols and fwmarks on one address and port, every way
/// to forward, managed and not, up, down, unknown, drained, held, and names that need escaping.
pub fn rich() -> View {
    let web = check("web", CheckKind::Http(http_options()));
    let port = check("port", CheckKind::Tcp);
    // Nothing in here may end a label, a line or an escape.
    let weird = check("a \"quoted\" back\\slash and a\nnew line", CheckKind::Tcp);
    let services = vec![
        (service("10.10.0.100:53/tcp", "rr", 0, vec![masq("10.10.0.21:53", 1)]), None),
        (
            service("10.10.0.100:53/udp", "sh", 0x4 | 0x8 | 0x10, vec![masq("10.10.0.21:53", 1)]),
            Some(quiet("10.10.0.100:53/udp", Mode::Observe, &[])),
        ),
        shop(&web, &port),
        (
            VirtualServer {
                persistence_engine: Some("sip".to_owned()),
                ..service("10.10.0.100:5060/udp", "wlc", 0x1 | 0x20, vec![local("10.10.0.100:5060", 1)])
            },
            Some(ServiceView {
                name: "voice \"A\\B\"\nsecond line".to_owned(),
                ..quiet("10.10.0.100:5060/udp", Mode::Enforce, &[])
            }),
        ),
        (
            service("10.10.0.101:80/tcp", "dh", 0, Vec::new()),
            Some(quiet("10.10.0.101:80/tcp", Mode::Enforce, &[])),
        ),
        (
            service(
                "[2001:db8::1]:443/tcp",
                "wrr",
                0,
                vec![tunnel("10.10.0.21:443", TunnelKind::Gue), route("[2001:db8::21]:443", 7)],
            ),
            Some(quiet("[2001:db8::1]:443/tcp", Mode::Enforce, &[weird.clone(), web.clone()])),
        ),
        (service("fwmark:7/ipv4", "rr", 0, vec![route("10.10.0.21:0", 1)]), None),
        (
            service("fwmark:7/ipv6", "mh", 0x20, vec![tunnel("[2001:db8::21]:0", TunnelKind::Other(9))]),
            Some(no_port(quiet("fwmark:7/ipv6", Mode::Enforce, &[port]))),
        ),
    ];
    let (table, managed): (Vec<_>, Vec<_>) = services.into_iter().unzip();
    let views = table
        .iter()
        .zip(managed)
        .map(|(vs, view)| {
            view.unwrap_or(ServiceView { key: vs.key, name: vs.key.to_string(), managed: None })
        })
        .collect();
    view(Some(snapshot(table)), views)
}

/// No configuration, no IPVS.
pub fn unreadable() -> View {
    View {
        policy: Arc::new(Policy::exporter_only()),
        read_failure: Some(ReadFailure::NoIpvs),
        machinery: MachineryView::default(),
        ledger: LedgerView::default(),
        ..view(None, Vec::new())
    }
}

/// The rich one after a failed read: the last rows are still there.
pub fn stale() -> View {
    View { read_failure: Some(ReadFailure::Failed("the dump was cut short".to_owned())), ..rich() }
}

/// No configuration, no CAP_NET_ADMIN: what /proc/net/ip_vs shows.
pub fn proc_only() -> View {
    let mut table = snapshot(vec![
        service("10.10.0.100:80/tcp", "wrr", 0, vec![route("10.10.0.21:80", 5), route("10.10.0.22:80", 0)]),
        service("fwmark:7/ipv4", "rr", 0, vec![masq("10.10.0.21:0", 1)]),
    ]);
    for service in &mut table.services {
        let service = Arc::make_mut(service);
        service.counters = None;
        service.destinations.iter_mut().for_each(|d| (d.counters, d.persistent_connections) = (None, 0));
    }
    let table = Snapshot {
        source: TableSource::Proc,
        info: None,
        timeouts: None,
        daemons: Vec::new(),
        totals: None,
        sysctls: vec![("run_estimation", 0)],
        ..table
    };
    let views = table
        .services
        .iter()
        .map(|s| ServiceView { key: s.key, name: s.key.to_string(), managed: None })
        .collect();
    View {
        policy: Arc::new(Policy::exporter_only()),
        machinery: MachineryView::default(),
        ..view(Some(table), views)
    }
}

/// Each address (or mark) and port in every protocol and family, eight virtual servers for one, with
/// the same real servers, all managed.
pub fn twins(addresses: u8, real_servers: u8) -> View {
    let mut keys = Vec::new();
    for n in 1..=addresses {
        for protocol in ["tcp", "udp", "sctp"] {
            keys.extend([format!("10.0.0.{n}:80/{protocol}"), format!("[2001:db8::{n:x}]:80/{protocol}")]);
        }
        keys.extend([format!("fwmark:{n}/ipv4"), format!("fwmark:{n}/ipv6")]);
    }
    keys.sort_by_key(|key| parsed::<ServiceKey>(key));
    let check = check("web", CheckKind::Tcp);
    let table: Vec<VirtualServer> = keys
        .iter()
        .map(|key| {
            let dests = (1..=real_servers).map(|n| route(&format!("10.0.1.{n}:80"), u32::from(n))).collect();
            service(key, "wlc", 0, dests)
        })
        .collect();
    let views = table
        .iter()
        .map(|vs| {
            let real_servers = vs.destinations.iter().map(|d| real_server(d, std::slice::from_ref(&check)));
            let managed = ManagedView {
                real_servers: real_servers.collect(),
                ..managed(Mode::Enforce, std::slice::from_ref(&check))
            };
            ServiceView { key: vs.key, name: vs.key.to_string(), managed: Some(managed) }
        })
        .collect();
    view(Some(snapshot(table)), views)
}

/// Netlink counters of every kind.
pub fn machinery() -> Machinery {
    let telemetry = SharedTelemetry::default();
    {
        let mut netlink = telemetry.lock();
        netlink.requests.extend([("get_dest", 70), ("get_service", 10), ("set_dest", 3)]);
        netlink.errors.insert(("set_dest", "ENOENT".to_owned()), 1);
        netlink.durations.insert("get_dest", histogram(&[200, 300]));
        netlink.dumps_interrupted = 2;
        netlink.dumps_retried = 2;
        netlink.overruns = 1;
    }
    let machinery = Machinery::new(telemetry);
    machinery.http_requests_in_flight().inc();
    machinery
}

/// A service with a real server in each state a check can bring it to.
fn shop(web: &Arc<Check>, port: &Arc<Check>) -> (VirtualServer, Option<ServiceView>) {
    let key = "10.10.0.100:80/tcp";
    let up = RealServer { upper_threshold: 1000, lower_threshold: 800, ..route("10.10.0.21:80", 5) };
    let out = route("10.10.0.22:80", 0);
    let held = RealServer { upper_threshold: 500, ..route("10.10.0.23:80", 5) };
    let by_hand = route("10.10.0.24:80", 0);
    let unknown = route("10.10.0.25:80", 65535);
    let checks = [web.clone(), port.clone()];
    let server = |dest: &RealServer| real_server(dest, &checks);
    let real_servers = vec![
        server(&up),
        failing(RealServerView {
            state: ServerState::Down,
            owed: Some(Weight(5)),
            desired: Weight::ZERO,
            drained: Some(Drained {
                by: DrainedBy::Check,
                reason: Some(FailReason::ConnectRefused),
                since: Wall(NOW.wall.0 - 60.0),
            }),
            ..server(&out)
        }),
        failing(RealServerView {
            state: ServerState::Down,
            held: Some(Held { reason: HeldReason::Floor, would: Weight::ZERO }),
            ..server(&held)
        }),
        RealServerView {
            state: ServerState::Drained,
            owed: None,
            drained: Some(Drained { by: DrainedBy::External, reason: None, since: NOW.wall }),
            ..server(&by_hand)
        },
        unsettled(RealServerView { state: ServerState::Unknown, ..server(&unknown) }),
    ];
    let managed = ManagedView {
        capacity: Some(0.875),
        floor: 2,
        floor_reached: true,
        protected: 1,
        states: BTreeMap::from([
            (ServerState::Up, 1),
            (ServerState::Down, 2),
            (ServerState::Drained, 1),
            (ServerState::Unknown, 1),
        ]),
        weight_changes: BTreeMap::from([(Direction::Drain, 4), (Direction::Restore, 3)]),
        weight_changes_held: BTreeMap::from([(HeldReason::Floor, 1), (HeldReason::StaleSnapshot, 2)]),
        inconclusive: BTreeMap::from([(LocalReason::Late, 6)]),
        durations: BTreeMap::from([
            (Phase::Connect, histogram(&[300, 400, 90_000])),
            (Phase::Processing, histogram(&[2_000])),
            (Phase::Transfer, histogram(&[100])),
            (Phase::Total, histogram(&[6_000_000])),
        ]),
        real_servers,
        ..managed(Mode::Enforce, &checks)
    };
    let service = VirtualServer {
        persistence_timeout: 300,
        netmask_prefix: 24,
        ..service(key, "wrr", 0x1, vec![up, out, held, by_hand, unknown])
    };
    let view = ServiceView { key: parsed(key), name: "shop".to_owned(), managed: Some(managed) };
    (service, Some(view))
}

pub fn view(snapshot: Option<Snapshot>, services: Vec<ServiceView>) -> View {
    View {
        now: NOW,
        generation: 42,
        policy: Arc::new(Policy { mode: Some(Mode::Enforce), ..Policy::exporter_only() }),
        config: ConfigFacts {
            last_load_successful: true,
            last_success: Wall(NOW.wall.0 - 3600.0),
            // The largest hash: it must arrive to the last digit.
            hash: (1 << 48) - 1,
        },
        ready: Ok(()),
        snapshot: snapshot.map(Arc::new),
        read_failure: None,
        services,
        ledger: LedgerView { entries: 1, write_failures: 2, error: None },
        machinery: MachineryView {
            probes_in_flight: 3,
            probes_in_flight_limit: 512,
            probes_skipped: BTreeMap::from([(SkipReason::NoPort, 9)]),
            schedule_lag: histogram(&[10, 20, 1_500]),
            reconcile_duration: histogram(&[7_000]),
            last_reconcile: Some(Wall(NOW.wall.0 - 0.25)),
            decision_apply_duration: histogram(&[1_000, 2_500]),
            drift: BTreeMap::from([(DriftKind::Weight, 1)]),
        },
    }
}

fn snapshot(services: Vec<VirtualServer>) -> Snapshot {
    Snapshot {
        taken: NOW,
        duration: Duration::from_micros(1500),
        source: TableSource::Netlink,
        info: Some(IpvsInfo { version: 0x010201, connection_table_size: 4096 }),
        timeouts: Some(Timeouts { tcp: 900, tcp_fin: 120, udp: 300 }),
        daemons: vec![SyncDaemon {
            role: SyncRole::Master,
            interface: "eth1".to_owned(),
            sync_id: 51,
            max_len: Some(1472),
            group: Some(parsed("224.0.0.81")),
            port: Some(8848),
            ttl: Some(1),
        }],
        totals: Some(counters(0)),
        // The last of them is none of ours.
        sysctls: vec![("run_estimation", 1), ("drop_entry", -1), ("sync_threshold", 3), ("nat_icmp_send", 1)],
        services: services.into_iter().map(Arc::new).collect(),
    }
}

fn service(key: &str, scheduler: &str, flags: u32, destinations: Vec<RealServer>) -> VirtualServer {
    let key: ServiceKey = parsed(key);
    VirtualServer {
        key,
        scheduler: scheduler.to_owned(),
        flags: ServiceFlags(flags),
        persistence_timeout: 360,
        netmask_prefix: if key.family() == Family::V4 { 32 } else { 128 },
        persistence_engine: None,
        counters: Some(counters(1)),
        destinations,
    }
}

/// Larger than an i64, and no two alike.
fn counters(offset: u64) -> Counters {
    Counters {
        connections: 1_000 + offset,
        incoming_packets: 20_000 + offset,
        outgoing_packets: 10_000 + offset,
        incoming_bytes: u64::MAX - offset,
        outgoing_bytes: (1 << 53) + 1 + offset,
    }
}

fn dest(key: &str, weight: u32, forwarding: Forwarding) -> RealServer {
    RealServer {
        key: parsed(key),
        forwarding,
        weight: Weight(weight),
        upper_threshold: 0,
        lower_threshold: 0,
        active_connections: 11,
        inactive_connections: 22,
        persistent_connections: 33,
        tunnel: None,
        counters: Some(counters(2)),
    }
}

pub fn route(key: &str, weight: u32) -> RealServer {
    dest(key, weight, Forwarding::Route)
}

fn masq(key: &str, weight: u32) -> RealServer {
    dest(key, weight, Forwarding::Masq)
}

fn local(key: &str, weight: u32) -> RealServer {
    dest(key, weight, Forwarding::Local)
}

fn tunnel(key: &str, kind: TunnelKind) -> RealServer {
    let tunnel = Tunnel { kind, port: 6080, flags: 1 };
    RealServer { tunnel: Some(tunnel), ..dest(key, 3, Forwarding::Tunnel) }
}

fn http_options() -> HttpOptions {
    HttpOptions {
        method: "GET".to_owned(),
        path: "/healthz".to_owned(),
        host: None,
        headers: Vec::new(),
        status: vec![(200, 299)],
        body: BodyMatch::Any,
    }
}

pub fn check(name: &str, kind: CheckKind) -> Arc<Check> {
    let pace = Pace {
        interval: Duration::from_secs(2),
        timeout: Duration::from_millis(1500),
        fast_interval: Duration::from_millis(200),
        rise: 2,
        fall: 3,
    };
    let spec =
        CheckSpec { kind, port: None, address: None, source: None, mark: None, close: Close::Rst, pace };
    Arc::new(Check { name: name.to_owned(), spec: Arc::new(spec) })
}

/// A managed service whose real servers are yet to be given.
fn managed(mode: Mode, checks: &[Arc<Check>]) -> ManagedView {
    let phases = checks.iter().flat_map(|check| check.spec.kind.phases());
    ManagedView {
        mode,
        up: true,
        quorum: 1,
        floor: 1,
        capacity_low: 0.5,
        capacity: Some(1.0),
        floor_reached: false,
        protected: 0,
        states: BTreeMap::new(),
        weight_changes: BTreeMap::new(),
        weight_changes_held: BTreeMap::new(),
        inconclusive: BTreeMap::new(),
        durations: phases.map(|phase| (*phase, Histogram::default())).collect(),
        checks: checks.to_vec(),
        real_servers: Vec::new(),
    }
}

/// A managed service where nothing has happened yet.
fn quiet(key: &str, mode: Mode, checks: &[Arc<Check>]) -> ServiceView {
    let dests: &[RealServer] = match key {
        "10.10.0.100:53/udp" => &[masq("10.10.0.21:53", 1)],
        "10.10.0.100:5060/udp" => &[local("10.10.0.100:5060", 1)],
        "[2001:db8::1]:443/tcp" => {
            &[tunnel("10.10.0.21:443", TunnelKind::Gue), route("[2001:db8::21]:443", 7)]
        }
        "fwmark:7/ipv6" => &[tunnel("[2001:db8::21]:0", TunnelKind::Other(9))],
        _ => &[],
    };
    let real_servers: Vec<_> = dests.iter().map(|dest| real_server(dest, checks)).collect();
    let managed = ManagedView {
        capacity: (!dests.is_empty()).then_some(1.0),
        up: !dests.is_empty(),
        states: BTreeMap::from([(ServerState::Up, real_servers.len())]),
        real_servers,
        ..managed(mode, checks)
    };
    ServiceView { key: parsed(key), name: key.to_owned(), managed: Some(managed) }
}

/// A real server that passes its checks.
pub fn real_server(dest: &RealServer, checks: &[Arc<Check>]) -> RealServerView {
    RealServerView {
        key: dest.key,
        state: ServerState::Up,
        verdict: (!checks.is_empty()).then_some(Verdict::Up),
        weight: dest.weight,
        owed: Some(dest.weight),
        desired: dest.weight,
        drained: None,
        held: None,
        verdict_changed: (!checks.is_empty()).then_some(Wall(NOW.wall.0 - 120.0)),
        transitions: 2,
        downtime: Duration::from_millis(61_250),
        checks: checks.iter().map(passing).collect(),
    }
}

fn passing(check: &Arc<Check>) -> CheckView {
    let last = LastProbe {
        outcome: Outcome::Pass,
        duration: Duration::from_micros(1250),
        at: Wall(NOW.wall.0 - 1.0),
        detail: "connected".into(),
        http_status: None,
    };
    CheckView {
        check: check.clone(),
        verdict: Some(Verdict::Up),
        consecutive_failures: 0,
        consecutive_successes: 12,
        attempts: 100,
        failures: BTreeMap::new(),
        last: Some(last.clone()),
        last_conclusive: Some(last),
        skipped: None,
    }
}

fn failing(mut server: RealServerView) -> RealServerView {
    server.verdict = Some(Verdict::Down);
    for check in &mut server.checks {
        check.verdict = Some(Verdict::Down);
        (check.consecutive_failures, check.consecutive_successes) = (5, 0);
        check.failures = BTreeMap::from([(FailReason::ConnectRefused, 5), (FailReason::BadStatus, 1)]);
    }
    server
}

/// Not judged yet: one attempt was made, and it was inconclusive.
fn unsettled(mut server: RealServerView) -> RealServerView {
    (server.verdict, server.verdict_changed) = (None, None);
    for check in &mut server.checks {
        check.verdict = None;
        (check.attempts, check.consecutive_successes) = (0, 0);
        check.last_conclusive = None;
    }
    server
}

fn no_port(mut service: ServiceView) -> ServiceView {
    let managed = service.managed.as_mut().expect("managed");
    managed.real_servers = std::mem::take(&mut managed.real_servers).into_iter().map(unsettled).collect();
    for check in managed.real_servers.iter_mut().flat_map(|server| &mut server.checks) {
        (check.skipped, check.last) = (Some(SkipReason::NoPort), None);
    }
    managed.states = BTreeMap::from([(ServerState::Unknown, managed.real_servers.len())]);
    service
}

fn parsed<T: FromStr<Err: Debug>>(text: &str) -> T {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error:?}"))
}

pub fn histogram(micros: &[u64]) -> Histogram {
    let mut histogram = Histogram::default();
    micros.iter().for_each(|micros| histogram.observe(Duration::from_micros(*micros)));
    histogram
}
