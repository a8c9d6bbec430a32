//! What the views are made of.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use lvs_agent::model::*;

use super::NOW;

pub fn snapshot(services: Vec<VirtualServer>) -> Snapshot {
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

pub fn service(key: &str, scheduler: &str, flags: u32, destinations: Vec<RealServer>) -> VirtualServer {
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
        place: None,
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

pub fn masq(key: &str, weight: u32) -> RealServer {
    dest(key, weight, Forwarding::Masq)
}

pub fn local(key: &str, weight: u32) -> RealServer {
    dest(key, weight, Forwarding::Local)
}

pub fn tunnel(key: &str, kind: TunnelKind) -> RealServer {
    let tunnel = Tunnel { kind, port: 6080, flags: 1 };
    RealServer { tunnel: Some(tunnel), ..dest(key, 3, Forwarding::Tunnel) }
}

pub fn http_options() -> HttpOptions {
    HttpOptions {
        version: lvs_agent::model::HttpVersion::V1,
        method: "GET".to_owned(),
        path: "/healthz".to_owned(),
        host: None,
        headers: Vec::new(),
        status: vec![(200, 299)],
        body: BodyMatch::Any,
        fresh_every: None,
        weight_header: None,
    }
}

pub fn check(name: &str, kind: CheckKind) -> Arc<Check> {
    let pace = Pace {
        interval: Duration::from_secs(2),
        timeout: Duration::from_millis(1500),
        fast_interval: Duration::from_millis(200),
        rise: 2,
        fall: 3,
        tripwire: false,
    };
    let spec = CheckSpec {
        kind,
        port: None,
        address: None,
        source: None,
        mark: None,
        proxy_protocol: None,
        close: Close::Rst,
        pace,
    };
    Arc::new(Check { name: name.to_owned(), spec: Arc::new(spec) })
}

/// A managed service whose real servers are yet to be given.
pub fn managed(mode: Mode, checks: &[Arc<Check>]) -> ManagedView {
    let phases = checks.iter().flat_map(|check| check.spec.kind.phases());
    ManagedView {
        mode,
        on_failure: OnFailure::WeightZero,
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
        connections: BTreeMap::new(),
        durations: phases.map(|phase| (*phase, Histogram::default())).collect(),
        checks: checks.to_vec(),
        real_servers: Vec::new(),
    }
}

pub fn unmanaged(service: &VirtualServer) -> ServiceView {
    ServiceView { key: service.key, name: service.key.to_string(), managed: None }
}

/// A managed service where all is well.
pub fn quiet(service: &VirtualServer, mode: Mode, checks: &[Arc<Check>]) -> ServiceView {
    let real_servers: Vec<_> = service.destinations.iter().map(|dest| real_server(dest, checks)).collect();
    let managed = ManagedView {
        capacity: (!real_servers.is_empty()).then_some(1.0),
        up: !real_servers.is_empty(),
        states: BTreeMap::from([(ServerState::Up, real_servers.len())]),
        real_servers,
        ..managed(mode, checks)
    };
    ServiceView { managed: Some(managed), ..unmanaged(service) }
}

/// A real server that passes its checks.
pub fn real_server(dest: &RealServer, checks: &[Arc<Check>]) -> RealServerView {
    RealServerView {
        key: dest.key,
        state: ServerState::Up,
        verdict: (!checks.is_empty()).then_some(Verdict::Up),
        weight: dest.weight,
        share: None,
        owed: Some(dest.weight),
        desired: dest.weight,
        drained: None,
        said: None,
        held: None,
        hold_left: None,
        slow_start: None,
        flapping: false,
        ignores_checks: false,
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
        share: None,
        chain: None,
        tripwire: None,
        skipped: None,
    }
}

/// Its real servers show certificates, the first of them one that has expired, and have tripwires.
pub fn presenting(mut service: ServiceView) -> ServiceView {
    let servers = service.managed.as_mut().map(|managed| &mut managed.real_servers);
    for (at, server) in servers.into_iter().flatten().enumerate() {
        for check in &mut server.checks {
            let not_after = [1_763_900_000, 1_795_600_000][at % 2];
            check.chain = Some(Arc::new(ChainExpiry { not_after, subject: "CN=shop.example.com".into() }));
            let degraded = [None, Some(WireTrouble::Closed)][at % 2];
            check.tripwire = Some(TripwireView { armed: at % 2 == 0, trips: at as u64, degraded });
        }
    }
    service
}

pub fn failing(mut server: RealServerView) -> RealServerView {
    server.verdict = Some(Verdict::Down);
    for check in &mut server.checks {
        check.verdict = Some(Verdict::Down);
        (check.consecutive_failures, check.consecutive_successes) = (5, 0);
        check.failures = BTreeMap::from([(FailReason::ConnectRefused, 5), (FailReason::BadStatus, 1)]);
    }
    server
}

/// Not judged yet: one attempt was made, and it was inconclusive.
pub fn unsettled(mut server: RealServerView) -> RealServerView {
    (server.verdict, server.verdict_changed) = (None, None);
    for check in &mut server.checks {
        check.verdict = None;
        (check.attempts, check.consecutive_successes) = (0, 0);
        check.last_conclusive = None;
    }
    server
}

pub fn no_port(mut service: ServiceView) -> ServiceView {
    let managed = service.managed.as_mut().expect("managed");
    managed.real_servers = std::mem::take(&mut managed.real_servers).into_iter().map(unsettled).collect();
    for check in managed.real_servers.iter_mut().flat_map(|server| &mut server.checks) {
        (check.skipped, check.last) = (Some(SkipReason::NoPort), None);
    }
    managed.states = BTreeMap::from([(ServerState::Unknown, managed.real_servers.len())]);
    service
}

pub fn parsed<T: FromStr<Err: Debug>>(text: &str) -> T {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error:?}"))
}

pub fn histogram(micros: &[u64]) -> Histogram {
    let mut histogram = Histogram::default();
    micros.iter().for_each(|micros| histogram.observe(Duration::from_micros(*micros)));
    histogram
}
