//! Trips, and what follows them.

use std::sync::Arc;
use std::time::Duration;

use super::event::{Command, Event, Note, TargetId, WireId};
use super::probes::{Probes, User};
use super::service::tests::{report, tcp_target};
use super::world::{World, key, policy, refused};
use crate::model::{
    FailReason, Floor, LocalReason, Mode, Mono, Outcome, ProbeLimit, Target, TripwireView, Verdict, WireEnd,
    WireTrouble,
};

const FAIL: Outcome = Outcome::Fail(FailReason::ConnectRefused);
const LATE: Outcome = Outcome::Inconclusive(LocalReason::Late);

/// One target with a tripwire (interval 10 s, fast 100 ms, rise 2, fall 3), driven by hand.
struct Bench {
    probes: Probes,
    id: TargetId,
    now: Mono,
    notes: Vec<Note>,
}

fn user() -> User {
    ("10.0.0.1:80/tcp".parse().unwrap(), "10.0.1.1:80".parse().unwrap())
}

fn target(port: u16) -> Target {
    let mut target = tcp_target(port);
    let pace = &mut Arc::make_mut(&mut target.spec).pace;
    (pace.interval, pace.tripwire) = (Duration::from_secs(10), true);
    target
}

impl Bench {
    /// Up, its wire armed.
    fn armed() -> Bench {
        Bench::with_limit(10)
    }

    fn with_limit(wires: usize) -> Bench {
        let mut probes = Probes::new(1, ProbeLimit::at(10), wires);
        let id = probes.acquire(target(80), user(), Mono::ZERO);
        let now = probes.next_due().unwrap();
        let mut bench = Bench { probes, id, now, notes: Vec::new() };
        bench.probed(Outcome::Pass);
        bench.probed(Outcome::Pass);
        bench
    }

    fn commands(&mut self) -> Vec<Command> {
        let mut out = Vec::new();
        self.probes.start_due(self.now, &mut out);
        let mut done = self.wired();
        done.append(&mut out);
        done
    }

    /// As `commands`, without probes.
    fn wired(&mut self) -> Vec<Command> {
        let mut out = Vec::new();
        self.probes.arm_due(self.now, &mut out);
        let mut rest = Vec::new();
        for command in out {
            if let Command::Log(note) = command {
                self.notes.push(note);
                continue;
            }
            if let Command::ArmWire { wire, .. } = &command {
                self.probes.wire_armed(*wire, self.now);
            }
            rest.push(command);
        }
        rest
    }

    /// Lets the next probe begin at its time and come to this; how long it was waited for.
    fn probed(&mut self, outcome: Outcome) -> Duration {
        let due = self.probes.next_due().unwrap();
        let waited = due.since(self.now);
        self.now = self.now.max(due);
        let started = self.commands().iter().filter(|c| matches!(c, Command::Probe { .. })).count();
        assert_eq!(started, 1, "at {:?}", self.now);
        self.now += Duration::from_millis(1);
        self.probes.ended(self.id, &report(outcome, self.now), self.now);
        self.wired();
        waited
    }

    /// Its wire, which it must have.
    fn trip(&mut self) {
        let wire = self.wire().expect("a wire");
        self.probes.wire_ended(wire, WireEnd::Tripped, self.now);
    }

    fn wire(&self) -> Option<WireId> {
        self.view().armed.then_some(())?;
        let turn = self.probes.get(self.id)?.wire.as_ref()?.turn();
        Some(WireId { target: self.id, turn })
    }

    fn view(&self) -> TripwireView {
        self.probes.get(self.id).unwrap().wire.as_ref().unwrap().view(self.now)
    }

    fn verdict(&self) -> Option<Verdict> {
        self.probes.health(self.id).unwrap().verdict
    }

    /// On to the next wire; how long it was waited for.
    fn rearmed(&mut self) -> Duration {
        let due = self.probes.next_arming().expect("a wire to come");
        let waited = due.since(self.now);
        self.now = self.now.max(due);
        let armed = self.wired().iter().filter(|c| matches!(c, Command::ArmWire { .. })).count();
        assert_eq!(armed, 1, "at {:?}", self.now);
        waited
    }
}

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_trip_has_fall_probes_follow_one_another_and_they_decide() {
    let mut bench = Bench::armed();
    bench.now += 500 * MS;
    bench.trip();
    assert_eq!([bench.probed(FAIL), bench.probed(FAIL)], [Duration::ZERO; 2]);
    assert_eq!(bench.verdict(), Some(Verdict::Up));
    assert_eq!(bench.probed(FAIL), Duration::ZERO);
    assert_eq!(bench.verdict(), Some(Verdict::Down));
    assert_eq!((bench.view().armed, bench.view().trips), (false, 1));
    assert_eq!(bench.probes.next_arming(), None, "nothing is held to a server that is down");
    // And then its usual time goes on.
    assert!(bench.probed(FAIL) > 5000 * MS);
}

#[test]
fn a_trip_whose_probes_pass_changes_nothing_not_even_the_phase() {
    let mut bench = Bench::armed();
    let due = bench.probes.next_due().unwrap();
    bench.now += 500 * MS;
    bench.trip();
    assert_eq!(bench.probed(Outcome::Pass), Duration::ZERO);
    assert!(!bench.view().armed, "what it meant is not known yet");
    // A dying process may still have listened: one more look, at the fast interval.
    assert_eq!(bench.probed(Outcome::Pass), 99 * MS);
    assert_eq!((bench.verdict(), bench.probes.next_due()), (Some(Verdict::Up), Some(due)));
}

#[test]
fn the_second_look_finds_what_the_first_was_too_early_for() {
    let mut bench = Bench::armed();
    bench.trip();
    bench.probed(Outcome::Pass);
    assert_eq!([bench.probed(FAIL), bench.probed(FAIL)], [99 * MS, Duration::ZERO]);
    // Three have been; the third failure comes at the usual pace of a verdict that is being settled.
    assert_eq!(bench.probed(FAIL), 99 * MS);
    assert_eq!(bench.verdict(), Some(Verdict::Down));
}

#[test]
fn a_probe_of_before_the_trip_is_followed_by_fall_others() {
    let mut bench = Bench::armed();
    bench.now = bench.probes.next_due().unwrap();
    assert_eq!(bench.commands().len(), 1);
    bench.trip();
    bench.now += MS;
    bench.probes.ended(bench.id, &report(Outcome::Pass, bench.now), bench.now);
    assert_eq!([FAIL, FAIL, FAIL].map(|outcome| bench.probed(outcome)), [Duration::ZERO; 3]);
    assert_eq!(bench.verdict(), Some(Verdict::Down));
}

#[test]
fn what_could_not_be_tried_is_not_tried_at_once_again_and_counts_for_nothing() {
    let mut bench = Bench::armed();
    bench.trip();
    bench.probed(LATE);
    assert_eq!([LATE, LATE].map(|outcome| bench.probed(outcome)), [99 * MS; 2]);
    assert_eq!(bench.verdict(), Some(Verdict::Up));
    assert!(bench.probed(Outcome::Pass) > 5000 * MS);
}

#[test]
fn a_server_that_closes_idle_connections_is_asked_ever_more_seldom() {
    let mut bench = Bench::armed();
    let mut pauses = Vec::new();
    for _ in 0..12 {
        bench.now += 900 * MS;
        bench.trip();
        bench.probed(Outcome::Pass);
        bench.probed(Outcome::Pass);
        assert_eq!(bench.view().degraded, Some(WireTrouble::Closed));
        pauses.push(bench.rearmed().as_secs_f64());
    }
    for (n, pause) in pauses.iter().enumerate() {
        let about = (2 << n).min(300) as f64;
        assert!((0.75..=1.25).contains(&(pause / about)), "{pause} s instead of about {about}: {pauses:?}");
    }
    assert!(pauses[9..].iter().any(|pause| *pause != 300.0), "not in step: {pauses:?}");
    let said = |n: &&Note| matches!(n, Note::TripwireDegraded { .. });
    assert_eq!(bench.notes.iter().filter(said).count(), 1, "{:?}", bench.notes);
    // One that is held ten times as long as it was waited for makes up for all.
    bench.now += 2999 * 1000 * MS;
    assert_eq!(bench.view().degraded, Some(WireTrouble::Closed));
    bench.now += 1000 * MS;
    assert_eq!(bench.view(), TripwireView { armed: true, trips: 12, degraded: None });
    bench.trip();
    bench.probed(Outcome::Pass);
    bench.probed(Outcome::Pass);
    assert_eq!(bench.view().degraded, None);
    assert!(bench.rearmed() <= 1250 * MS);
}

#[test]
fn a_server_that_takes_no_further_connection_is_no_reason_to_probe() {
    let mut bench = Bench::armed();
    let due = bench.probes.next_due();
    bench.now += 20_000 * MS;
    let wire = bench.wire().unwrap();
    bench.probes.wire_ended(wire, WireEnd::NotHeld(WireTrouble::Refused), bench.now);
    assert_eq!(bench.probes.next_due(), due);
    assert_eq!(bench.view(), TripwireView { armed: false, trips: 0, degraded: Some(WireTrouble::Refused) });
    assert!(bench.rearmed() > 1400 * MS);
}

/// With room for one connection only, the wire would keep the probes out.
#[test]
fn a_wire_that_is_in_the_way_of_probes_is_dropped_at_the_first_failure() {
    let mut bench = Bench::armed();
    bench.probed(FAIL);
    assert_eq!(bench.view(), TripwireView { armed: false, trips: 0, degraded: Some(WireTrouble::Refused) });
    assert_eq!(bench.probes.wires_held(), 0);
    bench.probed(Outcome::Pass);
    bench.rearmed();
    // Beside this one a probe passes: what fails later does not come of it.
    bench.probed(Outcome::Pass);
    bench.probed(FAIL);
    assert!(bench.view().armed);
    assert_eq!(bench.verdict(), Some(Verdict::Up));
}

#[test]
fn past_the_limit_there_are_probes_only_and_it_shows() {
    let bench = Bench::with_limit(0);
    assert_eq!(bench.view().degraded, Some(WireTrouble::FdLimit));
    assert!(!bench.view().armed);
    let due = bench.probes.next_arming().expect("it is tried again");
    assert!(due > bench.now);
}

#[test]
fn what_is_said_of_an_earlier_wire_is_not_heard() {
    let mut bench = Bench::armed();
    let first = bench.wire().unwrap();
    bench.now += 20_000 * MS;
    bench.trip();
    bench.probed(Outcome::Pass);
    bench.probed(Outcome::Pass);
    bench.rearmed();
    let due = bench.probes.next_due();
    bench.probes.wire_ended(first, WireEnd::Tripped, bench.now);
    assert_eq!((bench.view().armed, bench.view().trips, bench.probes.next_due()), (true, 1, due));
    assert_eq!(bench.probes.wires_held(), 1);
    // The target goes: its wire is dropped, and gives its place back.
    bench.probes.release(bench.id, &user());
    let dropped = bench.wired();
    assert!(matches!(dropped[..], [Command::DropWire(wire)] if wire != first), "{dropped:?}");
    assert_eq!(bench.probes.wires_held(), 0);
}

#[test]
fn wires_are_connected_a_few_at_a_time() {
    let mut probes = Probes::new(1, ProbeLimit::at(1000), 1000);
    let ids: Vec<TargetId> = (1..=200).map(|port| probes.acquire(target(port), user(), Mono::ZERO)).collect();
    let mut now = Mono::from_start(Duration::from_secs(10));
    let mut arms = Vec::new();
    for _ in 0..2 {
        let mut out = Vec::new();
        probes.start_due(now, &mut out);
        for id in &ids {
            probes.ended(*id, &report(Outcome::Pass, now), now);
        }
        probes.arm_due(now, &mut arms);
        now += 100 * MS;
    }
    assert_eq!(arms.len(), 64);
    assert_eq!(probes.next_arming(), None);
    let Some(Command::ArmWire { wire, .. }) = arms.first() else { panic!("{arms:?}") };
    probes.wire_armed(*wire, now);
    probes.arm_due(now, &mut arms);
    assert_eq!(arms.len(), 65);
}

/// Through the whole core.
#[test]
fn a_trip_takes_a_weight_long_before_the_next_probe_was_due() {
    let mut policy = policy(Floor::DEFAULT, Mode::Enforce);
    let mut check = policy.services[0].checks[0].as_ref().clone();
    let pace = &mut Arc::make_mut(&mut check.spec).pace;
    (pace.interval, pace.tripwire) = (Duration::from_secs(60), true);
    policy.services[0].checks = vec![Arc::new(check)];
    let mut world = World::new(policy, &[5, 5]);
    world.run(Duration::from_secs(100));
    assert_eq!(world.wires.len(), 2);
    let addr = key(1).addr;
    world.failing.insert(addr, refused());
    world.run(Duration::from_secs(1));
    assert_eq!(world.weights(), [5, 5]);
    let probed = world.probed.clone();
    let probes = &world.controller.probes;
    let leads_to = |wire: &&WireId| probes.get(wire.target).unwrap().target.addr.addr == addr;
    let wire = *world.wires.iter().find(leads_to).unwrap();
    world.wires.remove(&wire);
    world.send(Event::WireEnded { wire, end: WireEnd::Tripped });
    assert_eq!(world.weights(), [0, 5]);
    assert_eq!(world.probed[&addr] - probed[&addr], 3);
    let server = world.server(1);
    assert_eq!(server.checks[0].tripwire, Some(TripwireView { armed: false, trips: 1, degraded: None }));
}

/// Everything is reset at once, as by a switch that starts anew.
#[test]
fn a_mass_trip_keeps_to_the_limit_in_flight_and_to_fall_probes_each() {
    let (limit, targets) = (10, 60);
    let mut probes = Probes::new(1, ProbeLimit::at(limit), 1000);
    let ids: Vec<TargetId> =
        (1..=targets).map(|port| probes.acquire(target(port), user(), Mono::ZERO)).collect();
    // All that is due, as it comes: how many probes that takes.
    let all_due = |probes: &mut Probes, now: Mono, outcome: Outcome| {
        let (mut total, mut out) = (0, Vec::new());
        loop {
            probes.start_due(now, &mut out);
            let ran: Vec<TargetId> = out
                .drain(..)
                .filter_map(|command| if let Command::Probe { id, .. } = command { Some(id) } else { None })
                .collect();
            assert!(ran.len() <= limit && probes.in_flight() == ran.len());
            if ran.is_empty() {
                return total;
            }
            total += ran.len();
            for id in ran {
                probes.ended(id, &report(outcome, now), now);
            }
            probes.arm_due(now, &mut out);
            for command in out.drain(..) {
                if let Command::ArmWire { wire, .. } = command {
                    probes.wire_armed(wire, now);
                }
            }
        }
    };
    // Each in its turn, until all are up for long.
    let now = Mono::from_start(Duration::from_secs(100));
    while let Some(due) = probes.next_due().filter(|due| *due < now) {
        all_due(&mut probes, due, Outcome::Pass);
    }
    let turn = probes.next_due().unwrap();
    let armed: Vec<WireId> = ids.iter().map(|id| WireId { target: *id, turn: 1 }).collect();
    assert_eq!(probes.wires_held(), ids.len());
    for wire in armed {
        probes.wire_ended(wire, WireEnd::Tripped, now);
    }
    assert_eq!(all_due(&mut probes, now, FAIL), 3 * ids.len());
    assert!(ids.iter().all(|id| probes.health(*id).unwrap().verdict == Some(Verdict::Down)));
    assert!(probes.next_due().unwrap() >= turn, "the usual cadence goes on where it was");
}

#[test]
fn a_wire_takes_little_memory() {
    let bytes = std::mem::size_of::<super::tripwire::Wire>();
    assert!(bytes <= 128, "{bytes} bytes");
}
