//! A rich view, made by hand, that the tests of the API, the server and the commands share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::model::*;

pub(crate) const NOW: Now = Now { mono: Mono::from_start(Duration::from_secs(1000)), wall: Wall(5000.0) };

pub(crate) fn check(name: &str) -> Arc<Check> {
    let pace = Pace {
        interval: Duration::from_secs(2),
        timeout: Duration::from_secs(1),
        fast_interval: Duration::from_millis(200),
        rise: 2,
        fall: 3,
        tripwire: false,
    };
    let spec = CheckSpec {
        kind: CheckKind::Tcp,
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

pub(crate) fn destination(key: &str, weight: u32, active: u32, inactive: u32) -> RealServer {
    RealServer {
        key: key.parse().unwrap(),
        place: None,
        forwarding: Forwarding::Route,
        weight: Weight(weight),
        upper_threshold: 0,
        lower_threshold: 0,
        active_connections: active,
        inactive_connections: inactive,
        persistent_connections: 2,
        tunnel: None,
        counters: None,
    }
}

pub(crate) fn virtual_server(key: &str, scheduler: &str, destinations: Vec<RealServer>) -> VirtualServer {
    VirtualServer {
        key: key.parse().unwrap(),
        scheduler: scheduler.to_owned(),
        flags: ServiceFlags::default(),
        persistence_timeout: 0,
        netmask_prefix: 32,
        persistence_engine: None,
        counters: None,
        destinations,
    }
}

pub(crate) fn snapshot(services: Vec<VirtualServer>) -> Snapshot {
    let taken = Now { mono: Mono::from_start(Duration::from_millis(999_600)), wall: Wall(4999.6) };
    Snapshot {
        taken,
        duration: Duration::from_millis(3),
        source: TableSource::Netlink,
        info: None,
        timeouts: None,
        daemons: Vec::new(),
        totals: None,
        sysctls: Vec::new(),
        services: services.into_iter().map(Arc::new).collect(),
    }
}

fn probe(outcome: Outcome, ago: f64, detail: &str) -> LastProbe {
    LastProbe {
        outcome,
        duration: Duration::from_micros(1250),
        at: Wall(NOW.wall.0 - ago),
        detail: detail.into(),
        http_status: None,
    }
}

/// A check whose last probe came to `outcome`.
fn checked(
    name: &str,
    verdict: Option<Verdict>,
    outcome: Outcome,
    run: u32,
    ago: f64,
    detail: &str,
) -> CheckView {
    let last = probe(outcome, ago, detail);
    CheckView {
        check: check(name),
        verdict,
        consecutive_failures: if matches!(outcome, Outcome::Fail(_)) { run } else { 0 },
        consecutive_successes: if outcome == Outcome::Pass { run } else { 0 },
        attempts: 20,
        failures: BTreeMap::new(),
        last: Some(last.clone()),
        last_conclusive: Some(last),
        share: None,
        chain: None,
        tripwire: None,
        skipped: None,
    }
}

fn real_server(key: &str, weight: u32, owed: Option<u32>, checks: Vec<CheckView>) -> RealServerView {
    let verdict = checks.first().and_then(|c| c.verdict);
    RealServerView {
        key: key.parse().unwrap(),
        state: match verdict {
            Some(Verdict::Up) => ServerState::Up,
            Some(Verdict::Down) => ServerState::Down,
            None => ServerState::Unknown,
        },
        verdict,
        weight: Weight(weight),
        share: None,
        owed: owed.map(Weight),
        desired: Weight(weight),
        drained: None,
        said: None,
        held: None,
        hold_left: None,
        slow_start: None,
        flapping: false,
        ignores_checks: false,
        verdict_changed: None,
        transitions: 0,
        downtime: Duration::ZERO,
        checks,
    }
}

fn managed(up: bool, capacity: Option<f64>, real_servers: Vec<RealServerView>) -> ManagedView {
    ManagedView {
        mode: Mode::Enforce,
        on_failure: OnFailure::WeightZero,
        up,
        quorum: 1,
        floor: 1,
        capacity_low: 0.5,
        capacity,
        floor_reached: false,
        protected: 0,
        states: BTreeMap::new(),
        weight_changes: BTreeMap::new(),
        weight_changes_held: BTreeMap::new(),
        inconclusive: BTreeMap::new(),
        connections: BTreeMap::new(),
        durations: BTreeMap::new(),
        checks: vec![check("web")],
        real_servers,
    }
}

/// A view of these services, whole and fresh.
pub(crate) fn view(services: Vec<ServiceView>, snapshot: Option<Snapshot>) -> View {
    View {
        now: NOW,
        generation: 7,
        policy: Arc::new(Policy { mode: Some(Mode::Enforce), ..Policy::exporter_only() }),
        config: ConfigFacts { last_load_successful: true, last_success: Wall(1.0), hash: 1 },
        ready: Ok(()),
        snapshot: snapshot.map(Arc::new),
        read_failure: None,
        overdue: false,
        services,
        ledger: LedgerView::default(),
        vips: VipsView { active: Some(true), ..VipsView::default() },
        machinery: MachineryView::default(),
    }
}

/// One managed service with every kind of real server, one that is down, one unmanaged.
pub(crate) fn rich() -> View {
    let refused = Outcome::Fail(FailReason::ConnectRefused);
    let up = |ago| checked("web", Some(Verdict::Up), Outcome::Pass, 12, ago, "200 OK");
    let down = |run, ago| checked("web", Some(Verdict::Down), refused, run, ago, "Connection refused");

    let mut drained = real_server("10.10.0.22:80", 0, Some(5), vec![down(31, 0.1)]);
    drained.drained =
        Some(Drained { by: DrainedBy::Check, reason: Some(FailReason::ConnectRefused), since: Wall(4936.5) });
    let mut by_hand = real_server("10.10.0.23:80", 0, None, vec![up(1.5)]);
    by_hand.drained = Some(Drained { by: DrainedBy::External, reason: None, since: Wall(1000.0) });
    let mut late = up(0.2);
    late.check = check("tls");
    let subject = "CN=shop.example.com".into();
    late.chain = Some(Arc::new(ChainExpiry { not_after: 5000 + 12 * 86_400 + 3600, subject }));
    late.last = Some(probe(Outcome::Inconclusive(LocalReason::Late), 0.2, "handled 300 ms late"));
    let two_checks = vec![up(0.3), late];
    let mut unsettled = real_server("10.10.0.24:80", 5, Some(5), vec![up(0.3)]);
    unsettled.verdict = None;
    unsettled.checks[0].verdict = None;
    unsettled.checks[0].last = None;
    unsettled.checks[0].last_conclusive = None;
    unsettled.checks[0].consecutive_successes = 0;
    let shop = vec![real_server("10.10.0.21:80", 5, Some(5), two_checks), drained, by_hand, unsettled];

    let mut last_one = real_server("[2001:db8::21]:443", 1, Some(1), vec![down(3, 0.4)]);
    last_one.held = Some(Held { reason: HeldReason::Floor, would: Weight(0) });
    let mut no_port = up(0.0);
    no_port.verdict = None;
    no_port.last = None;
    no_port.last_conclusive = None;
    no_port.skipped = Some(SkipReason::NoPort);
    let mark = vec![real_server("10.10.0.31:0", 1, Some(1), vec![no_port])];

    let mut masq = destination("10.10.0.42:53", 3, 0, 0);
    masq.forwarding = Forwarding::Masq;
    let services = vec![
        virtual_server(
            "10.10.0.100:80/tcp",
            "wrr",
            vec![
                destination("10.10.0.21:80", 5, 120, 3),
                destination("10.10.0.22:80", 0, 1, 44),
                destination("10.10.0.23:80", 0, 0, 0),
                destination("10.10.0.24:80", 5, 7, 0),
            ],
        ),
        virtual_server("10.10.0.101:53/udp", "rr", vec![destination("10.10.0.41:53", 1, 0, 9), masq]),
        virtual_server("[2001:db8::1]:443/tcp", "wlc", vec![destination("[2001:db8::21]:443", 1, 4, 0)]),
        virtual_server("fwmark:7/ipv4", "sh", vec![destination("10.10.0.31:0", 1, 0, 0)]),
    ];
    let known = |key: &str, name: &str, managed| ServiceView {
        key: key.parse().unwrap(),
        name: name.to_owned(),
        managed,
    };
    let views = vec![
        known("10.10.0.100:80/tcp", "shop", Some(managed(true, Some(2.0 / 3.0), shop))),
        known("10.10.0.101:53/udp", "10.10.0.101:53/udp", None),
        known("[2001:db8::1]:443/tcp", "api", Some(managed(false, Some(0.0), vec![last_one]))),
        known("fwmark:7/ipv4", "fwmark:7/ipv4", Some(managed(true, None, mark))),
    ];
    let mut view = view(views, Some(snapshot(services)));
    view.ready = Err("10 targets have no result yet".to_owned());
    view.read_failure = Some(ReadFailure::Failed("the dump of 10.10.0.100:80/tcp was cut short".to_owned()));
    view.ledger = LedgerView { entries: 1, write_failures: 0, error: None };
    view
}

/// What most tests of the server need: one service with as many real servers.
pub(crate) fn plain(real_servers: u16) -> View {
    let destinations = (1..=real_servers).map(|n| {
        let [high, low] = n.to_be_bytes();
        destination(&format!("10.1.{high}.{low}:80"), 5, u32::from(n), 0)
    });
    let service = virtual_server("10.10.0.100:80/tcp", "wrr", destinations.collect());
    let known = ServiceView { key: service.key, name: "shop".to_owned(), managed: None };
    view(vec![known], Some(snapshot(vec![service])))
}
