//! Hold-down and flapping: what is up again waits, unless it is needed.

use std::time::Duration;

use super::event::{Event, Note};
use super::world::{World, key, policy, service};
use crate::model::{
    Floor, HandEffect, HandOrder, HandRequest, HeldReason, Mode, Mono, Policy, Verdict, Weight,
};

const SECOND: Duration = Duration::from_secs(1);
const HOLD: Duration = Duration::from_secs(30);

fn holding() -> Policy {
    let mut policy = policy(Floor::DEFAULT, Mode::Enforce);
    policy.services[0].hold_down = HOLD;
    policy
}

/// 1 of three is out; the others are well.
fn one_out(policy: Policy) -> World {
    let mut world = World::new(policy, &[10, 10, 10]);
    world.settle();
    world.fail(1);
    world.settle();
    assert_eq!(world.weights(), [0, 10, 10]);
    world
}

/// 1 has just come up, and waits.
fn waiting() -> World {
    let mut world = one_out(holding());
    world.heal(1);
    becomes(&mut world, Verdict::Up);
    world
}

fn becomes(world: &mut World, verdict: Verdict) -> Mono {
    let limit = world.now.mono + 60 * SECOND;
    while verdict_of(world) != Some(verdict) {
        world.run(Duration::from_millis(10));
        assert!(world.now.mono < limit);
    }
    world.now.mono
}

fn verdict_of(world: &World) -> Option<Verdict> {
    world.controller.services[&service()].dests[&key(1)].verdict
}

/// How long it takes until 1 has its weight.
fn until_back(world: &mut World) -> Duration {
    let began = world.now.mono;
    while world.weights()[0] == 0 {
        world.run(Duration::from_millis(100));
        assert!(world.now.mono.since(began) < 3600 * SECOND, "never");
    }
    world.now.mono.since(began)
}

fn held(world: &mut World) -> Option<(HeldReason, Weight)> {
    world.server(1).held.map(|h| (h.reason, h.would))
}

fn by_hand(world: &mut World, order: HandOrder) -> HandEffect {
    let request = HandRequest { servers: key(1).to_string().parse().unwrap(), service: None, order };
    world.send(Event::Hand { id: 1, request });
    world.answers.pop().expect("an answer").expect("done")[0].effect
}

/// Down and up again, so many times; the verdict changes twice each time.
fn flap(world: &mut World, times: usize) {
    for _ in 0..times {
        world.fail(1);
        becomes(world, Verdict::Down);
        world.heal(1);
        becomes(world, Verdict::Up);
    }
}

fn flapping_notes(world: &World) -> Vec<bool> {
    let flaps = |note: &Note| if let Note::Flapping { flaps, .. } = note { Some(*flaps) } else { None };
    world.notes.iter().filter_map(flaps).collect()
}

#[test]
fn it_waits_from_when_it_is_up_and_says_so_once() {
    let mut policy = holding();
    policy.poll_interval = 1000 * SECOND; // no poll helps
    let mut world = one_out(policy);
    world.heal(1);
    becomes(&mut world, Verdict::Up);
    world.run(10 * SECOND);
    assert_eq!(held(&mut world), Some((HeldReason::HoldDown, Weight(10))));
    let left = world.server(1).hold_left.expect("its end is known");
    assert!(left > 19 * SECOND && left <= 20 * SECOND, "{left:?}");
    assert_eq!(world.server(1).desired, Weight::ZERO);
    world.run(Duration::from_millis(19_800));
    assert_eq!(world.weights()[0], 0);
    world.run(Duration::from_millis(300));
    assert_eq!(world.weights()[0], 10);
    let row = world.server(1);
    assert_eq!((row.held, row.hold_left, row.flapping), (None, None, false));
    let view = world.view();
    let counted = &view.services[0].managed.as_ref().unwrap().weight_changes_held;
    assert_eq!(counted.get(&HeldReason::HoldDown), Some(&1));
    let said = world.notes.iter().filter(|n| matches!(n, Note::Held { reason: HeldReason::HoldDown, .. }));
    assert_eq!(said.count(), 1);
}

#[test]
fn failing_again_it_waits_anew() {
    let mut world = waiting();
    world.run(20 * SECOND);
    flap(&mut world, 1);
    let waited = until_back(&mut world);
    assert!(waited > 29 * SECOND && waited < 31 * SECOND, "{waited:?}");
}

#[test]
fn what_it_would_write_is_the_first_step_of_its_ramp() {
    let mut policy = holding();
    policy.services[0].slow_start = 9 * SECOND;
    let mut world = one_out(policy);
    world.heal(1);
    world.run(5 * SECOND);
    assert_eq!(held(&mut world), Some((HeldReason::HoldDown, Weight(1))));
    until_back(&mut world);
    assert_eq!(world.weights()[0], 1);
    world.run(11 * SECOND);
    assert_eq!(world.weights()[0], 10);
}

#[test]
fn it_never_delays_what_the_floor_and_need_give_back() {
    // Need: nobody sound is left, and the one that waits is.
    let mut world = waiting();
    world.fail(2);
    world.fail(3);
    world.run(4 * SECOND);
    assert_eq!(world.weights(), [10, 0, 0], "at once, and the others could go");
    // The floor, for a list change.
    let mut policy = holding();
    policy.services[0].floor = Floor::Count(2);
    let mut world = one_out(policy);
    world.heal(1);
    becomes(&mut world, Verdict::Up);
    world.table.get_mut(&service()).unwrap().destinations.truncate(2);
    world.run(4 * SECOND);
    assert_eq!(world.weights(), [10, 10]);
    // The first pass, before there is a verdict to wait after.
    let mut world = one_out(holding());
    world.fail(2);
    world.fail(3);
    world.run(5 * SECOND);
    world.heal(1);
    world.run(Duration::from_millis(1100));
    assert_eq!(world.weights()[0], 10);
}

#[test]
fn it_never_delays_a_drain() {
    let mut world = waiting();
    world.fail(2);
    world.run(4 * SECOND);
    assert_eq!(world.weights(), [0, 0, 10]);
}

#[test]
fn an_operator_does_not_wait() {
    for ignore_checks in [false, true] {
        let mut world = waiting();
        assert_eq!(by_hand(&mut world, HandOrder::Undrain { ignore_checks }), HandEffect::GivingBack);
        assert_eq!(world.weights()[0], 10, "{ignore_checks}");
    }
    // Nor for a drain of his own.
    let mut world = waiting();
    let drain = HandOrder::Drain { said: None, force: false };
    assert_eq!(by_hand(&mut world, drain), HandEffect::AddedToChecks);
    assert_eq!(held(&mut world), None);
    world.run(60 * SECOND);
    assert_eq!(world.weights()[0], 0);
    assert_eq!(by_hand(&mut world, HandOrder::Undrain { ignore_checks: false }), HandEffect::GivingBack);
    assert_eq!(world.weights()[0], 10);
}

#[test]
fn a_reload_can_end_it_and_a_restart_begins_it_anew() {
    let mut world = waiting();
    world.policy.services[0].hold_down = Duration::ZERO;
    world.reload();
    assert_eq!(world.weights()[0], 10);
    let mut world = waiting();
    world.run(20 * SECOND);
    world.restart();
    let waited = until_back(&mut world);
    assert!(waited > 29 * SECOND && waited < 34 * SECOND, "{waited:?}");
    assert_eq!(world.weights()[0], 10);
}

#[test]
fn observed_it_is_held_for_that() {
    let mut world = waiting();
    world.policy.services[0].mode = Mode::Observe;
    world.reload();
    assert_eq!(held(&mut world), Some((HeldReason::Observe, Weight(10))));
    assert_eq!(world.server(1).hold_left, None);
    world.run(60 * SECOND);
    assert_eq!(world.weights()[0], 0);
}

#[test]
fn a_full_disk_does_not_make_it_longer_or_shorter() {
    let mut world = waiting();
    world.save_error = Some("disk full".into());
    let waited = until_back(&mut world);
    assert!(waited > 29 * SECOND && waited < 31 * SECOND, "{waited:?}");
}

#[test]
fn flapping_is_seen_said_once_and_over_after_half_an_hour() {
    let mut world = World::new(holding(), &[10, 10, 10]);
    world.settle();
    flap(&mut world, 3);
    assert!(!world.server(1).flapping, "six changes");
    world.fail(1);
    let seventh = becomes(&mut world, Verdict::Down);
    assert!(world.server(1).flapping);
    world.heal(1);
    flap(&mut world, 4);
    assert_eq!(flapping_notes(&world), [true]);
    assert!(!world.server(2).flapping);
    world.run(31 * 60 * SECOND);
    assert!(world.now.mono > seventh);
    assert_eq!(flapping_notes(&world), [true, false]);
    assert!(!world.server(1).flapping);
    assert_eq!((world.weights(), world.controller.alarms.next()), (vec![10, 10, 10], None));
}

#[test]
fn each_drain_while_it_flaps_doubles_the_wait_up_to_16_fold() {
    let mut policy = holding();
    policy.services[0].hold_down = 2 * SECOND;
    let mut world = World::new(policy, &[10, 10, 10]);
    world.settle();
    let mut waits = vec![];
    for _ in 0..10 {
        world.fail(1);
        becomes(&mut world, Verdict::Down);
        world.run(SECOND);
        assert_eq!(world.weights()[0], 0, "a drain waits for nothing");
        world.heal(1);
        becomes(&mut world, Verdict::Up);
        waits.push(until_back(&mut world).as_millis().div_ceil(1000));
    }
    // The seventh change of the verdict is the fourth drain.
    assert_eq!(waits, [2, 2, 2, 4, 8, 16, 32, 32, 32, 32]);
    // Calm for half an hour, and all is forgotten.
    world.run(31 * 60 * SECOND);
    flap(&mut world, 1);
    assert_eq!(until_back(&mut world).as_millis().div_ceil(1000), 2);
}

#[test]
fn without_hold_down_a_flapping_server_is_only_shown() {
    let mut world = World::shop(&[10, 10, 10]);
    world.settle();
    flap(&mut world, 5);
    assert!(world.server(1).flapping);
    assert_eq!((world.weights()[0], held(&mut world)), (10, None));
    assert_eq!(flapping_notes(&world), [true]);
}
