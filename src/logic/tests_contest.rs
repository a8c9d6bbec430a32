//! Tugs of war (traps 2, 19, 20) over restarts, reloads and steps of the clock.

use std::sync::Arc;
use std::time::Duration;

use super::event::Event;
use super::ledger::Raise;
use super::world::{World, key, service};
use crate::model::{
    Check, CheckSpec, DestPattern, HandOrder, HandRequest, HeldReason, ScopedAddr, Verdict, Weight,
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const YEAR_S: f64 = 366.0 * 86_400.0;

/// 1 fails and is drained, and everybody knows it.
fn one_out() -> World {
    let mut world = World::shop(&[5, 7]);
    world.settle();
    world.fail(1);
    world.settle();
    assert_eq!(world.weights(), [0, 7]);
    world.written.clear();
    world
}

/// Raised over its drain, and drained again.
fn raised_once() -> World {
    let mut world = one_out();
    world.edit(1, 8);
    world.settle();
    assert_eq!((world.weights(), world.written.clone()), (vec![0, 7], vec![(1, 8, 0)]));
    world.written.clear();
    world
}

/// And raised again.
fn yielded() -> World {
    let mut world = raised_once();
    world.edit(1, 9);
    world.settle();
    assert_yields(&mut world);
    world
}

fn held(world: &mut World) -> Option<HeldReason> {
    world.server(1).held.map(|held| held.reason)
}

#[track_caller]
fn assert_yields(world: &mut World) {
    assert_eq!((world.weights(), world.written.clone()), (vec![9, 7], vec![]));
    assert_eq!((held(world), world.server(1).verdict), (Some(HeldReason::TugOfWar), Some(Verdict::Down)));
}

fn on_disk(world: &World) -> Option<Raise> {
    world.disk.as_ref().unwrap().raises.get(&(service(), key(1))).copied()
}

fn order(world: &mut World, order: HandOrder) {
    let servers = DestPattern { addr: key(1).addr, port: Some(80) };
    world.send(Event::Hand { id: 7, request: HandRequest { servers, service: None, order } });
    world.answers.pop().expect("an answer").expect("taken on");
}

#[test]
fn a_second_raise_is_the_second_one_for_the_next_process_too() {
    let mut world = raised_once();
    assert!(!on_disk(&world).unwrap().yielded);
    world.restart();
    world.settle();
    world.edit(1, 9);
    world.settle();
    assert_yields(&mut world);
    assert!(on_disk(&world).unwrap().yielded);
}

#[test]
fn what_was_raised_while_no_agent_ran_was_raised_over_its_drain() {
    // Once: a whole run of failures takes it again. Twice: left alone.
    let mut world = one_out();
    world.edit(1, 8);
    world.restart();
    world.settle();
    assert_eq!((world.weights(), world.written.clone()), (vec![0, 7], vec![(1, 8, 0)]));
    world.written.clear();
    world.edit(1, 9);
    world.restart();
    world.settle();
    assert_yields(&mut world);
}

#[test]
fn what_was_yielded_stays_so_over_restarts_until_it_is_up() {
    let mut world = yielded();
    for _ in 0..2 {
        world.run(20 * MINUTE); // no window ends it
        world.restart();
        world.settle();
        assert_yields(&mut world);
    }
    world.heal(1);
    world.settle();
    assert_eq!(on_disk(&world), None, "the window was over long ago");
    world.fail(1);
    world.settle();
    assert_eq!(world.weights(), [0, 7]);
}

#[test]
fn a_reload_that_leaves_the_verdict_open_for_a_while_does_not_end_it() {
    let mut world = yielded();
    // Another check, of which nothing is known yet.
    let spec = CheckSpec { port: Some(81), ..world.policy.services[0].checks[0].spec.as_ref().clone() };
    world.policy.services[0].checks = vec![Arc::new(Check { name: "other".into(), spec: Arc::new(spec) })];
    world.reload();
    assert_eq!(world.server(1).verdict, None);
    world.settle();
    assert_yields(&mut world);
}

#[test]
fn after_the_window_nothing_is_left_of_it() {
    let mut world = raised_once();
    world.heal(1);
    world.settle();
    assert_eq!(world.weights(), [8, 7]);
    world.run(9 * MINUTE);
    assert!(on_disk(&world).is_some());
    world.run(MINUTE);
    assert_eq!(on_disk(&world), None);
    assert!(world.controller.at_rest());
    world.fail(1);
    world.settle();
    world.edit(1, 9);
    world.settle();
    assert_eq!(world.weights(), [0, 7], "counted from the start");
}

/// Trap 49.
#[test]
fn a_step_of_the_wall_clock_neither_ends_the_window_nor_makes_it_last() {
    for step in [YEAR_S, -YEAR_S] {
        for (running, restarts) in [(true, true), (false, true), (true, false)] {
            let case = format!("{step} {running} {restarts}");
            let mut world = raised_once();
            let mut windows =
                [(9 * MINUTE, vec![9, 7]), (10 * MINUTE, vec![0, 7])].map(|(after, weights)| {
                    let mut world = std::mem::replace(&mut world, raised_once());
                    if running {
                        world.now.wall.0 += step;
                        world.run(after);
                    }
                    if restarts {
                        world.run(if running { Duration::ZERO } else { after });
                        world.now.wall.0 += if running { 0.0 } else { step };
                        world.restart();
                    }
                    (world, weights)
                });
            for (world, weights) in &mut windows {
                world.settle();
                world.edit(1, 9);
                world.settle();
                assert_eq!(world.weights(), *weights, "{case}");
            }
        }
    }
}

#[test]
fn an_order_by_hand_is_the_last_word() {
    let drain = HandOrder::Drain { said: None, force: false };
    let ignoring = HandOrder::Undrain { ignore_checks: true };
    let plain = HandOrder::Undrain { ignore_checks: false };
    let mut world = yielded();
    order(&mut world, drain);
    world.settle();
    assert_eq!((world.weights(), on_disk(&world)), (vec![0, 7], None));
    // Lifted, its checks have it, and a raise is the first one again.
    order(&mut world, plain.clone());
    world.edit(1, 6);
    world.settle();
    assert_eq!(world.weights(), [0, 7]);

    let mut world = yielded();
    order(&mut world, ignoring);
    world.settle();
    assert_eq!((on_disk(&world), held(&mut world)), (None, Some(HeldReason::IgnoreChecks)));
    order(&mut world, plain);
    world.settle();
    assert_eq!(world.weights(), [0, 7], "its checks have it again");
}

#[test]
fn a_refused_order_by_hand_leaves_it_as_it_was() {
    let mut world = yielded();
    world.save_error = Some("no space left".into());
    let servers = DestPattern { addr: key(1).addr, port: Some(80) };
    let drain = HandOrder::Drain { said: None, force: false };
    world.send(Event::Hand { id: 7, request: HandRequest { servers, service: None, order: drain } });
    assert!(world.answers.pop().unwrap().is_err());
    world.save_error = None;
    world.settle();
    assert_yields(&mut world);
}

#[test]
fn a_server_that_is_gone_takes_it_along_and_one_that_a_read_missed_does_not() {
    let mut world = yielded();
    let row = world.table.get_mut(&service()).unwrap().destinations.remove(0);
    world.run(SECOND / 2);
    world.view(); // one read without it
    world.table.get_mut(&service()).unwrap().destinations.insert(0, row.clone());
    world.settle();
    assert_yields(&mut world);
    world.table.get_mut(&service()).unwrap().destinations.remove(0);
    world.settle();
    assert_eq!(on_disk(&world), None);
    world.table.get_mut(&service()).unwrap().destinations.insert(0, row);
    world.settle();
    assert_eq!(world.weights(), [0, 7], "another one now");
}

#[test]
fn it_does_not_wait_for_the_disk_nor_anything_for_it() {
    let mut world = one_out();
    world.slow.insert("save");
    world.edit(1, 8);
    world.run(2 * SECOND); // seen, and on its way to a slow disk
    world.heal(1);
    world.settle();
    assert_eq!((world.weights(), world.server(1).owed), (vec![8, 7], Some(Weight(8))));
    world.save_error = Some("no space left".into());
    world.release("save");
    world.settle();
    world.save_error = None;
    world.settle();
    assert!(on_disk(&world).is_some(), "saved when it could be");
}

/// A check that probes elsewhere, where all is well.
fn well(world: &World, name: &str) -> Arc<Check> {
    let addr = Some(ScopedAddr { addr: [10, 9, 9, 9].into(), zone: None });
    let spec = CheckSpec { address: addr, ..world.policy.services[0].checks[0].spec.as_ref().clone() };
    Arc::new(Check { name: name.into(), spec: Arc::new(spec) })
}

#[test]
fn fresh_failures_are_counted_by_check_whatever_a_reload_makes_of_the_list() {
    let mut world = one_out();
    world.edit(1, 8);
    world.run(SECOND / 2);
    world.view(); // seen
    let before = world.probed[&key(1).addr];
    // A sound one comes first, and the pace of the failing one changes: neither is a fresh failure.
    let sound = well(&world, "sound");
    let checks = &mut world.policy.services[0].checks;
    Arc::make_mut(&mut Arc::make_mut(&mut checks[0]).spec).pace.interval = Duration::from_millis(1500);
    checks.insert(0, sound);
    world.reload();
    while world.probed[&key(1).addr] < before + 2 {
        world.run(Duration::from_millis(10));
        assert_eq!(world.weights(), [8, 7], "{} fresh failures", world.probed[&key(1).addr] - before);
    }
    world.run(2 * SECOND);
    assert_eq!((world.probed[&key(1).addr], world.weights()), (before + 3, vec![0, 7]));
}
