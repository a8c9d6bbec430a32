//! Pauses and clocks (traps 49, 50), and starts with nothing known (trap 27).

use std::sync::Arc;
use std::time::Duration;

use super::event::{Event, Note};
use super::world::{World, key, policy, service, virtual_server};
use crate::model::{
    Check, CheckSpec, DrainedBy, Floor, HeldReason, LocalReason, Mode, Policy, Verdict, Weight, WeightChange,
};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
const YEAR_S: f64 = 366.0 * 86_400.0;

/// The process does not run for so long; the clocks do.
fn pause(world: &mut World, gap: Duration) {
    let woken = world.controller.next_wake().unwrap().max(world.now.mono) + gap;
    world.advance_to(woken);
}

fn probes(world: &World) -> usize {
    world.probed.values().sum()
}

fn late(world: &mut World, n: u8) -> bool {
    let check = &world.server(n).checks[0];
    check.last.as_ref().is_some_and(|last| {
        last.outcome == crate::model::Outcome::Inconclusive(LocalReason::Late)
            && last.detail.contains("did not run")
    })
}

fn said(world: &World, what: fn(&Note) -> bool) -> usize {
    world.notes.iter().filter(|note| what(note)).count()
}

#[test]
fn after_a_pause_what_is_due_keeps_its_distances() {
    let weights: Vec<u32> = vec![5; 50];
    let mut world = World::shop(&weights);
    world.settle();
    let interval = |world: &mut World| {
        let before = probes(world);
        let at_once = {
            world.send(Event::Tick);
            probes(world) - before
        };
        world.run(SECOND);
        (at_once, probes(world) - before)
    };
    assert!((45..=55).contains(&interval(&mut world).1));
    pause(&mut world, 3600 * SECOND);
    let (at_once, in_a_second) = interval(&mut world);
    assert!(at_once <= 3, "{at_once} of 50 at once");
    assert!((45..=55).contains(&in_a_second), "{in_a_second} in a second");
    assert_eq!(
        world.notes.iter().filter(|n| matches!(n, Note::Paused { gap } if *gap == 3600 * SECOND)).count(),
        1
    );
    let lag = world.view().machinery.schedule_lag;
    assert!(lag.sum_seconds >= 3600.0, "seen as lag");
}

#[test]
fn a_busy_moment_is_no_pause() {
    let mut world = World::shop(&[5, 7]);
    world.settle();
    pause(&mut world, 999 * MS);
    world.settle();
    assert_eq!(said(&world, |n| matches!(n, Note::Paused { .. })), 0);
}

#[test]
fn a_probe_that_a_pause_ran_over_cannot_fail_by_it() {
    let mut world = World::shop(&[5, 7]);
    world.settle();
    world.fail(1);
    world.fail(2);
    world.slow.insert("probe");
    for _ in 0..20 {
        world.run(2 * SECOND); // both are under way …
        pause(&mut world, 30 * SECOND);
        world.send(Event::Tick);
        world.release_waiting("probe"); // … and end with a failure afterwards
        assert!(late(&mut world, 1) && late(&mut world, 2));
    }
    assert_eq!((world.weights(), world.server(1).verdict), (vec![5, 7], Some(Verdict::Up)));
    assert_eq!(world.server(1).checks[0].consecutive_failures, 0);
    // What fails afterwards does count.
    world.release("probe");
    world.settle();
    assert_eq!(world.weights(), [0, 7]);
}

#[test]
fn a_pass_is_a_pass_whenever_it_is_heard_of() {
    let mut world = World::shop(&[5, 7]);
    world.settle();
    world.slow.insert("probe");
    world.run(SECOND);
    let before = world.server(1).checks[0].consecutive_successes;
    pause(&mut world, 30 * SECOND);
    world.send(Event::Tick);
    world.release("probe");
    assert!(world.server(1).checks[0].consecutive_successes > before);
}

#[test]
fn nothing_is_written_on_rows_of_before_a_pause() {
    let mut world = World::shop(&[5, 7]);
    world.settle();
    world.slow.insert("read");
    world.fail(1);
    pause(&mut world, 60 * SECOND);
    world.run(5 * SECOND);
    let held = world.controller.services[&service()].dests[&key(1)].held;
    assert_eq!((world.weights(), held.map(|h| h.reason)), (vec![5, 7], Some(HeldReason::StaleSnapshot)));
    world.release("read");
    world.settle();
    assert_eq!(world.weights(), [0, 7]);
}

#[test]
fn a_pause_is_no_part_of_the_tug_of_war_window() {
    let mut world = World::shop(&[5, 7]);
    world.settle();
    world.fail(1);
    world.settle();
    world.edit(1, 8);
    world.settle();
    assert_eq!(world.weights(), [0, 7]);
    pause(&mut world, 3600 * SECOND);
    world.settle();
    world.edit(1, 9);
    world.settle();
    assert_eq!(world.weights(), [9, 7]);
    assert_eq!(world.server(1).held.map(|h| h.reason), Some(HeldReason::TugOfWar));
}

#[test]
fn pauses_are_said_once_a_minute() {
    let mut world = World::shop(&[5, 7]);
    world.settle();
    for _ in 0..10 {
        pause(&mut world, 2 * SECOND);
        world.run(SECOND);
    }
    assert_eq!(said(&world, |n| matches!(n, Note::Paused { .. })), 1);
    world.run(60 * SECOND);
    pause(&mut world, 2 * SECOND);
    world.run(SECOND);
    assert_eq!(said(&world, |n| matches!(n, Note::Paused { .. })), 2);
}

/// The monotonic clock stands still in a suspended machine, the wall clock does not.
#[test]
fn a_suspended_machine_is_noticed_and_excuses_the_probes_under_way() {
    let mut world = World::shop(&[5, 7]);
    world.settle();
    world.fail(1);
    world.slow.insert("probe");
    world.run(SECOND);
    world.now.wall.0 += 3600.0;
    world.send(Event::Tick);
    world.release("probe");
    assert!(late(&mut world, 1));
    assert_eq!(
        said(&world, |n| matches!(n, Note::ClockStepped { seconds } if (*seconds - 3600.0).abs() < 1.0)),
        1
    );
}

#[test]
fn no_step_of_the_wall_clock_moves_a_weight_or_lapses_a_record() {
    for step in [YEAR_S, -YEAR_S] {
        let mut world = World::shop(&[5, 7]);
        world.settle();
        world.fail(1);
        world.settle();
        world.written.clear();
        for _ in 0..3 {
            world.now.wall.0 += step;
            world.settle();
            world.restart();
            world.settle();
            world.now.wall.0 -= step;
            world.restart(); // at once: nothing was saved since
            world.settle();
        }
        assert_eq!((world.weights(), world.written.len()), (vec![0, 7], 0));
        assert_eq!(said(&world, |n| matches!(n, Note::EntryLapsed { .. })), 0);
        world.heal(1);
        world.settle();
        assert_eq!(world.weights(), [5, 7]);
    }
}

/// A record grows old by time alone: nobody vouched for it for so long.
#[test]
fn a_record_that_no_agent_confirmed_for_too_long_lapses_whatever_the_wall_clock_says() {
    for step in [0.0, -YEAR_S] {
        let mut world = World::shop(&[5, 7]);
        world.policy.ledger_max_age = 3600 * SECOND;
        world.restart();
        world.settle();
        world.fail(1);
        world.settle();
        let ended = world.now.mono;
        world.heal(1);
        world.advance_to(ended + 3600 * SECOND + 200 * SECOND);
        world.now.wall.0 += step;
        world.restart();
        world.settle();
        assert_eq!(world.weights(), [0, 7]);
        assert_eq!(said(&world, |n| matches!(n, Note::EntryLapsed { .. })), 1);
    }
}

// ---- trap 27 ----

/// Every write, and what was known of the server at that moment.
fn runs_before_writes(world: &mut World, time: Duration) -> Vec<(WeightChange, u32, u32)> {
    let mut writes = Vec::new();
    let end = world.now.mono + time;
    while world.now.mono < end {
        let before = world.written.len();
        world.run(10 * MS);
        for (n, from, to) in world.written.get(before..).unwrap_or_default().to_vec() {
            let check = world.server(n).checks[0].clone();
            let change =
                WeightChange { service: service(), dest: key(n), from: Weight(from), to: Weight(to) };
            writes.push((change, check.consecutive_failures, check.consecutive_successes));
        }
    }
    writes
}

#[test]
fn after_a_start_no_weight_moves_before_its_server_has_its_results_in_a_row() {
    let mut world = World::shop(&[5, 6, 7, 8]);
    world.fail(1);
    world.fail(2);
    world.restart();
    let writes = runs_before_writes(&mut world, 10 * SECOND);
    assert_eq!(writes.len(), 2);
    for (change, failures, _) in &writes {
        assert!(change.to.is_zero() && *failures >= 3, "{change:?} after {failures} failures");
    }
    // And the other way round, for the process that finds them taken.
    world.heal(1);
    world.heal(2);
    world.restart();
    let writes = runs_before_writes(&mut world, 10 * SECOND);
    assert_eq!(writes.len(), 2);
    for (change, _, passes) in &writes {
        assert!(!change.to.is_zero() && *passes >= 2, "{change:?} after {passes} passes");
    }
    assert_eq!(world.weights(), [5, 6, 7, 8]);
}

#[test]
fn what_is_not_known_leaves_the_kernel_as_it_was_found() {
    let lost = crate::model::Outcome::Inconclusive(LocalReason::NetworkDown);
    let mut world = World::shop(&[5, 6, 7]);
    world.settle();
    world.fail(1);
    world.settle();
    world.edit(2, 0);
    world.written.clear();
    for n in 1..=3 {
        world.failing.insert(key(n).addr, lost);
    }
    world.restart();
    world.run(600 * SECOND);
    assert_eq!((world.weights(), world.written.len()), (vec![0, 0, 7], 0));
    let [first, second] = [1, 2].map(|n| world.server(n));
    assert_eq!((first.verdict, first.owed), (None, Some(Weight(5))));
    assert_eq!(first.drained.map(|d| d.by), Some(DrainedBy::Check));
    assert_eq!((second.verdict, second.drained.map(|d| d.by)), (None, Some(DrainedBy::External)));
    world.failing.clear();
    world.settle();
    assert_eq!(world.weights(), [5, 0, 7]);
}

fn other_check(world: &World) -> Arc<Check> {
    let spec = CheckSpec { port: Some(81), ..world.policy.services[0].checks[0].spec.as_ref().clone() };
    Arc::new(Check { name: "other".into(), spec: Arc::new(spec) })
}

#[test]
fn after_a_reload_with_new_checks_their_own_results_decide() {
    let mut world = World::shop(&[5, 6, 7]);
    world.settle();
    world.fail(1);
    world.settle();
    world.heal(1);
    world.fail(2);
    world.policy.services[0].checks = vec![other_check(&world)];
    world.reload();
    assert_eq!([1, 2, 3].map(|n| world.server(n).verdict), [None; 3]);
    world.written.clear();
    let writes = runs_before_writes(&mut world, 10 * SECOND);
    assert_eq!(writes.len(), 2);
    for (change, failures, passes) in &writes {
        let enough = if change.to.is_zero() { *failures >= 3 } else { *passes >= 2 };
        assert!(enough, "{change:?} after {failures} failures, {passes} passes");
    }
    assert_eq!(world.weights(), [5, 0, 7]);
}

#[test]
fn a_check_that_is_added_must_pass_before_anything_goes_back() {
    let mut world = World::shop(&[5, 6, 7]);
    world.settle();
    world.fail(1);
    world.settle();
    // The old one passes from now on; of the new one nothing is ever known.
    let mut unknown = other_check(&world);
    let spec = Arc::make_mut(&mut Arc::make_mut(&mut unknown).spec);
    spec.address = Some(crate::model::ScopedAddr { addr: [10, 9, 9, 9].into(), zone: None });
    world.failing.insert([10, 9, 9, 9].into(), crate::model::Outcome::Inconclusive(LocalReason::FdLimit));
    world.policy.services[0].checks.push(unknown);
    world.reload();
    world.heal(1);
    world.written.clear();
    world.run(60 * SECOND);
    assert_eq!((world.weights(), world.written.len()), (vec![0, 6, 7], 0));
    world.failing.clear();
    world.settle();
    assert_eq!(world.weights(), [5, 6, 7]);
}

/// A service that comes into the table, or into the configuration, later.
#[test]
fn a_service_that_is_adopted_later_starts_cold() {
    for by_reload in [false, true] {
        let mut world = World::new(policy(Floor::DEFAULT, Mode::Enforce), &[]);
        world.table.clear();
        let ours = world.policy.clone();
        if by_reload {
            world.policy = Policy { services: vec![], ..ours.clone() };
        }
        world.fail(1);
        world.restart();
        world.settle();
        world.table.insert(service(), virtual_server(service(), &[5, 6]));
        if by_reload {
            world.policy = ours;
            world.reload();
        }
        let writes = runs_before_writes(&mut world, 10 * SECOND);
        assert_eq!((writes.len(), world.weights()), (1, vec![0, 6]), "{by_reload}");
        assert!(writes[0].1 >= 3, "{} failures", writes[0].1);
    }
}
