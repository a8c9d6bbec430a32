use std::collections::VecDeque;

use super::*;
use crate::logic::service::tests::{report, tcp_target};
use crate::model::{FailReason, Outcome};

fn user(n: u8) -> User {
    (format!("10.0.0.{n}:80/tcp").parse().unwrap(), "10.0.1.1:80".parse().unwrap())
}

fn at(ms: u64) -> Mono {
    Mono::from_start(Duration::from_millis(ms))
}

fn limit(in_flight: usize) -> ProbeLimit {
    ProbeLimit { in_flight, reason: SkipReason::FdReserve }
}

fn started(probes: &mut Probes, now: Mono) -> usize {
    let mut out = Vec::new();
    probes.start_due(now, &mut out);
    out.len()
}

#[test]
fn equal_targets_are_probed_once_and_live_until_their_last_user_leaves() {
    let mut probes = Probes::new(1, limit(10), 10);
    let a = probes.acquire(tcp_target(80), user(1), at(0));
    let b = probes.acquire(tcp_target(80), user(2), at(0));
    assert_eq!(a, b);
    assert_eq!(started(&mut probes, at(1000)), 1);
    probes.release(a, &user(1));
    let state = probes.ended(a, &report(Outcome::Pass, at(1001)), at(1001)).unwrap();
    assert_eq!(state.users.len(), 1);
    probes.release(a, &user(2));
    assert!(probes.get(a).is_none());
    assert_eq!(probes.next_due(), None);
    // The same wish again is a new target: nothing is known of it.
    let c = probes.acquire(tcp_target(80), user(1), at(2000));
    assert_ne!(a, c);
    assert!(probes.health(c).unwrap().last.is_none());
}

#[test]
fn a_changed_pace_keeps_what_is_known_and_anything_else_does_not() {
    let mut probes = Probes::new(1, limit(10), 10);
    let a = probes.acquire(tcp_target(80), user(1), at(0));
    started(&mut probes, at(1000));
    probes.ended(a, &report(Outcome::Pass, at(1001)), at(1001));
    let mut slower = tcp_target(80);
    let spec = Arc::make_mut(&mut slower.spec);
    spec.pace.interval *= 2;
    let b = probes.acquire(slower, user(1), at(2000));
    let c = probes.acquire(tcp_target(81), user(1), at(2000));
    for id in [b, c] {
        probes.inherit(id, a);
    }
    assert_eq!([b, c].map(|id| probes.health(id).unwrap().passes_in_a_row), [1, 0]);
}

#[test]
fn a_target_is_never_probed_twice_at_once_and_a_forgotten_probe_frees_its_place() {
    let mut probes = Probes::new(1, limit(10), 10);
    let id = probes.acquire(tcp_target(80), user(1), at(0));
    assert_eq!(started(&mut probes, at(60_000)), 1);
    assert_eq!(started(&mut probes, at(600_000)), 0);
    probes.release(id, &user(1));
    assert!(probes.ended(id, &report(Outcome::Pass, at(600_001)), at(600_001)).is_none());
    assert_eq!(probes.in_flight(), 0);
}

#[test]
fn a_settling_verdict_is_probed_at_the_fast_interval() {
    let mut probes = Probes::new(1, limit(10), 10);
    let id = probes.acquire(tcp_target(80), user(1), at(0)); // interval 1 s, fast 100 ms, rise 2, fall 3
    let mut now = probes.next_due().unwrap();
    let mut run = |probes: &mut Probes, outcome| {
        assert_eq!(started(probes, now), 1, "due at {now:?}");
        let start = now;
        probes.ended(id, &report(outcome, now), now);
        now = probes.next_due().unwrap();
        now.since(start).as_millis()
    };
    let fail = Outcome::Fail(FailReason::ConnectRefused);
    assert_eq!(run(&mut probes, Outcome::Pass), 100); // no verdict yet
    assert!((975..=1025).contains(&run(&mut probes, Outcome::Pass))); // up
    assert_eq!(run(&mut probes, fail), 100);
    assert_eq!(run(&mut probes, fail), 100);
    assert!((975..=1025).contains(&run(&mut probes, fail))); // down
    assert_eq!(run(&mut probes, Outcome::Pass), 100);
}

#[test]
fn the_limit_of_probes_in_flight_makes_the_others_wait_not_skip() {
    let mut probes = Probes::new(1, limit(2), 10);
    let ids: Vec<_> = (1..=3).map(|n| probes.acquire(tcp_target(n), user(1), at(0))).collect();
    assert_eq!(started(&mut probes, at(1000)), 2);
    assert_eq!(probes.next_due(), None);
    let first = ids.iter().find(|id| matches!(probes.get(**id).unwrap().activity, Activity::Running { .. }));
    probes.ended(*first.unwrap(), &report(Outcome::Pass, at(1500)), at(1500));
    assert_eq!(started(&mut probes, at(1500)), 1);
    assert_eq!(probes.schedule_lag().count, 3);
    assert_eq!(*probes.skipped(), BTreeMap::new(), "late, but within its interval");
}

#[test]
fn a_late_start_delays_no_later_turn() {
    let mut probes = Probes::new(1, limit(10), 10);
    let id = probes.acquire(tcp_target(80), user(1), at(0)); // interval 1 s
    let pass = |probes: &mut Probes, now: Mono| {
        assert_eq!(started(probes, now), 1);
        probes.ended(id, &report(Outcome::Pass, now), now);
        probes.next_due().unwrap()
    };
    let due = pass(&mut probes, at(1000));
    let mut due = pass(&mut probes, due); // up: from here on once a second
    let first = due;
    for _ in 0..100 {
        due = pass(&mut probes, due + Duration::from_millis(300));
    }
    let took = due.since(first).as_millis();
    assert!((99_000..=101_000).contains(&took), "{took} ms for a hundred turns, each begun 300 ms late");
}

#[test]
fn turns_that_were_missed_are_counted_and_not_made_up_for() {
    let mut probes = Probes::new(1, limit(1), 10); // interval 1 s
    let a = probes.acquire(tcp_target(1), user(1), at(0));
    let b = probes.acquire(tcp_target(2), user(1), at(0));
    assert_eq!(started(&mut probes, at(1000)), 1);
    let (first, second) = match probes.get(a).unwrap().activity {
        Activity::Running { .. } => (a, b),
        Activity::Waiting { .. } => (b, a),
    };
    // The limit kept it waiting for three intervals and a part of one.
    probes.ended(first, &report(Outcome::Pass, at(4000)), at(4000));
    assert_eq!(started(&mut probes, at(4000)), 1, "one at a time, whatever was missed");
    let missed: u64 = probes.skipped().values().sum();
    assert_eq!(probes.skipped().keys().collect::<Vec<_>>(), [&SkipReason::FdReserve]);
    assert!((3..=4).contains(&missed), "{missed}");
    // Nobody waits for the limit any more: from here on only the loop itself can be late.
    let running =
        if matches!(probes.get(first).unwrap().activity, Activity::Running { .. }) { first } else { second };
    probes.ended(running, &report(Outcome::Pass, at(4001)), at(4001));
    probes.release(if running == first { second } else { first }, &user(1));
    assert_eq!(started(&mut probes, at(4001)), 0);
    assert_eq!(started(&mut probes, at(9000)), 1);
    assert!(probes.skipped()[&SkipReason::Overdue] >= 3, "{:?}", probes.skipped());
}

/// What many that are unsettled at one time need: an agent's start, or a failure of them all.
#[test]
fn who_is_late_or_could_not_probe_does_not_hurry() {
    let mut probes = Probes::new(1, limit(10), 10);
    let id = probes.acquire(tcp_target(80), user(1), at(0)); // interval 1 s, fast 100 ms, rise 2, fall 3
    // How long after its turn the next probe comes.
    let mut run = |late_ms: u64, outcome| {
        let turn = probes.next_due().unwrap();
        let now = turn + Duration::from_millis(late_ms);
        assert_eq!(started(&mut probes, now), 1);
        probes.ended(id, &report(outcome, now), now);
        probes.next_due().unwrap().since(turn).as_millis()
    };
    let (fail, unsure) =
        (Outcome::Fail(FailReason::ConnectTimeout), Outcome::Inconclusive(LocalReason::Late));
    let usual = 975..=1025;
    assert!(usual.contains(&run(0, unsure)), "never judged, and it could not be");
    assert!(usual.contains(&run(101, Outcome::Pass)), "never judged, and late");
    assert_eq!(run(100, fail), 200, "as late as a fast one may be");
    assert!(usual.contains(&run(300, fail)), "failing, and late");
    assert_eq!(run(950, fail), 1050, "down, and never sooner than a fast one after the last");
    assert_eq!(run(0, Outcome::Pass), 100, "on time again");
}

/// All targets are unsettled when the agent starts: probed at the fast interval they ask for more than this
/// director can do, and each that is late comes out inconclusive, which settles nothing.
#[test]
fn an_overload_at_the_start_ends_by_itself() {
    const TARGETS: u16 = 1000;
    const SLOT: Duration = Duration::from_millis(5);
    let mut probes = Probes::new(1, limit(4096), 10); // interval 1 s, fast 100 ms, rise 2
    for port in 1..=TARGETS {
        probes.acquire(tcp_target(port), user(1), at(0));
    }
    // 1400 probes a second: enough for the interval, a seventh of what the fast interval asks for.
    let per_slot = 7;
    let (mut queue, mut out) = (VecDeque::new(), Vec::new());
    let mut now = at(0);
    let mut inconclusive = 0;
    while now < at(30_000) {
        now += SLOT;
        probes.start_due(now, &mut out);
        for command in out.drain(..) {
            let Command::Probe { id, .. } = command else { continue };
            queue.push_back((now, id));
        }
        for (began, id) in queue.drain(..queue.len().min(per_slot)) {
            let late = now.since(began) > Duration::from_millis(100);
            inconclusive += u32::from(late && now > at(25_000));
            let outcome = if late { Outcome::Inconclusive(LocalReason::Late) } else { Outcome::Pass };
            probes.ended(id, &report(outcome, now), now);
        }
    }
    let unsettled = probes.targets().filter(|(_, target)| target.health.settling()).count();
    assert_eq!((unsettled, inconclusive), (0, 0), "targets without a verdict, late probes after 25 s");
}
