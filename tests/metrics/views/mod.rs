//! Views made by hand: every shape that a row can have.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lvs_agent::metrics::Machinery;
use lvs_agent::model::*;

mod parts;
use parts::*;

/// 24 November 2025, 16:00 UTC.
pub const NOW: Now = Now { mono: Mono::from_start(Duration::from_secs(3600)), wall: Wall(1_764_000_000.5) };

/// Everything at once: both families, all protocols and fwmarks on one address and port, every way
/// to forward, managed and not, up, down, unknown, drained, held, and names that need escaping.
pub fn rich() -> View {
    let web = check("web", CheckKind::Http(http_options()));
    let port = check("port", CheckKind::Tcp);
    // Nothing in here may end a label, a line or an escape.
    let weird = check("a \"quoted\" back\\slash and a\nnew line", CheckKind::Tcp);
    let dns = service("10.10.0.100:53/tcp", "rr", 0, vec![masq("10.10.0.21:53", 1)]);
    let dns_udp = service("10.10.0.100:53/udp", "sh", 0x4 | 0x8 | 0x10, vec![masq("10.10.0.21:53", 1)]);
    let (shop, shop_view) = shop(&web, &port);
    let voice = VirtualServer {
        persistence_engine: Some("sip".to_owned()),
        ..service("10.10.0.100:5060/udp", "wlc", 0x1 | 0x20, vec![local("10.10.0.100:5060", 1)])
    };
    let voice_name = "voice \"A\\B\"\nsecond line".to_owned();
    let empty = service("10.10.0.101:80/tcp", "dh", 0, Vec::new());
    let six = vec![tunnel("10.10.0.21:443", TunnelKind::Gue), route("[2001:db8::21]:443", 7)];
    let six = service("[2001:db8::1]:443/tcp", "wrr", 0, six);
    let mark = service("fwmark:7/ipv4", "rr", 0, vec![route("10.10.0.21:0", 1)]);
    let mark_six = vec![tunnel("[2001:db8::21]:0", TunnelKind::Other(9))];
    let mark_six = service("fwmark:7/ipv6", "mh", 0x20, mark_six);
    let views = vec![
        unmanaged(&dns),
        quiet(&dns_udp, Mode::Observe, &[]),
        shop_view,
        ServiceView { name: voice_name, ..quiet(&voice, Mode::Enforce, &[]) },
        quiet(&empty, Mode::Enforce, &[]),
        presenting(quiet(&six, Mode::Enforce, &[weird, web])),
        unmanaged(&mark),
        no_port(quiet(&mark_six, Mode::Enforce, &[port])),
    ];
    view(Some(snapshot(vec![dns, dns_udp, shop, voice, empty, six, mark, mark_six])), views)
}

/// No configuration, no IPVS.
pub fn unreadable() -> View {
    View {
        policy: Arc::new(Policy::exporter_only()),
        read_failure: Some(ReadFailure::NoIpvs),
        machinery: MachineryView::default(),
        vips: VipsView { active: Some(true), watched: Some(false), rows: Vec::new() },
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
    let views = table.services.iter().map(|service| unmanaged(service)).collect();
    View {
        policy: Arc::new(Policy::exporter_only()),
        machinery: MachineryView::default(),
        ..view(Some(table), views)
    }
}

/// Each address (or mark) and port in every protocol and family, eight virtual servers for one, with
/// the same real servers, all managed.
pub fn twins(addresses: u16, real_servers: u8) -> View {
    let mut keys = Vec::new();
    for n in 1..=addresses {
        for protocol in ["tcp", "udp", "sctp"] {
            let four = std::net::Ipv4Addr::from(0x0a00_0000 + u32::from(n));
            keys.extend([format!("{four}:80/{protocol}"), format!("[2001:db8::{n:x}]:80/{protocol}")]);
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
    let views = table.iter().map(|vs| quiet(vs, Mode::Enforce, std::slice::from_ref(&check))).collect();
    view(Some(snapshot(table)), views)
}

/// With a value of its own for every number of every real server.
pub fn numbered(mut view: View) -> View {
    let snapshot = Arc::make_mut(view.snapshot.as_mut().expect("a snapshot"));
    let mut next = 0_u32;
    let mut number = || {
        next += 1;
        next
    };
    for service in &mut snapshot.services {
        for dest in &mut Arc::make_mut(service).destinations {
            dest.weight = Weight(number());
            dest.active_connections = number();
            dest.inactive_connections = number();
            dest.persistent_connections = number();
            dest.counters = Some(Counters {
                connections: number().into(),
                incoming_packets: number().into(),
                outgoing_packets: number().into(),
                incoming_bytes: number().into(),
                outgoing_bytes: number().into(),
            });
        }
    }
    view
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

/// Its first check is told so.
fn saying(percent: u64, mut checks: Vec<CheckView>) -> Vec<CheckView> {
    checks[0].share = Some(Share::percent(percent));
    checks
}

/// A service with a real server in each state a check can bring it to.
fn shop(web: &Arc<Check>, port: &Arc<Check>) -> (VirtualServer, ServiceView) {
    let key = "10.10.0.100:80/tcp";
    let up = RealServer { upper_threshold: 1000, lower_threshold: 800, ..route("10.10.0.21:80", 5) };
    let out = route("10.10.0.22:80", 0);
    let held = RealServer { upper_threshold: 500, ..route("10.10.0.23:80", 5) };
    let by_hand = route("10.10.0.24:80", 0);
    let unknown = route("10.10.0.25:80", 65535);
    let checks = [web.clone(), port.clone()];
    let server = |dest: &RealServer| real_server(dest, &checks);
    let real_servers = vec![
        RealServerView {
            owed: Some(Weight(16)),
            slow_start: Some(SlowStart { step: 3, of: 10, left: None }),
            share: Some(Share::percent(75)),
            checks: saying(75, server(&up).checks),
            ..server(&up)
        },
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
            flapping: true,
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
        connections: BTreeMap::from([
            (Connected::Fresh, 12),
            (Connected::Reused, 108),
            (Connected::Replaced, 2),
        ]),
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
    let view = ServiceView { key: service.key, name: "shop".to_owned(), managed: Some(managed) };
    (service, view)
}

/// One address on two interfaces, one elsewhere.
fn vips() -> VipsView {
    let vip = |addr: &str, interfaces: &[&str]| VipView {
        addr: parsed(addr),
        interfaces: interfaces.iter().map(|name| (*name).into()).collect(),
        sharing: VipSharing::Exclusive,
        transitions: 0,
        changed: None,
    };
    let moved = VipView { transitions: 3, changed: Some(Wall(NOW.wall.0 - 30.0)), ..vip("2001:db8::1", &[]) };
    VipsView {
        active: Some(true),
        watched: Some(true),
        rows: vec![vip("10.10.0.100", &["eth0", "lo"]), moved],
    }
}

fn view(snapshot: Option<Snapshot>, services: Vec<ServiceView>) -> View {
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
        overdue: false,
        services,
        ledger: LedgerView { entries: 1, write_failures: 2, error: None },
        vips: vips(),
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
