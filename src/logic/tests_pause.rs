//! What is counted in time does not count a pause (trap 49).

use std::time::Duration;

use super::event::Event;
use super::world::{World, policy};
use crate::model::{Floor, Mode};

const SECOND: Duration = Duration::from_secs(1);

/// The process does not run for so long; the clocks do.
fn pause(world: &mut World, gap: Duration) {
    let woken = world.controller.next_wake().unwrap().max(world.now.mono) + gap;
    world.advance_to(woken);
}

#[test]
fn a_pause_is_no_part_of_a_hold_down() {
    let mut policy = policy(Floor::DEFAULT, Mode::Enforce);
    policy.services[0].hold_down = 30 * SECOND;
    let mut world = World::new(policy, &[5, 7]);
    world.settle();
    world.fail(1);
    world.settle();
    world.heal(1);
    world.settle();
    let left = |world: &mut World| world.server(1).hold_left.expect("it is held");
    let before = left(&mut world);
    pause(&mut world, 3600 * SECOND);
    world.send(Event::Tick);
    let after = left(&mut world);
    assert!(before.saturating_sub(after) < 3 * SECOND, "{before:?} -> {after:?}");
    world.run(after - SECOND);
    assert_eq!(world.weights(), [0, 7]);
    world.run(2 * SECOND);
    assert_eq!(world.weights(), [5, 7]);
}

#[test]
fn a_pause_is_no_part_of_a_ramp() {
    let mut policy = policy(Floor::DEFAULT, Mode::Enforce);
    policy.services[0].slow_start = 180 * SECOND;
    let mut world = World::new(policy, &[10, 7]);
    world.settle();
    world.fail(1);
    world.settle();
    world.heal(1);
    world.settle();
    assert_eq!(world.weights(), [1, 7]);
    let left = |world: &mut World| world.server(1).slow_start.and_then(|s| s.left).expect("it climbs");
    let before = left(&mut world);
    pause(&mut world, 3600 * SECOND);
    world.run(SECOND);
    let after = left(&mut world);
    assert!(before.saturating_sub(after) < 4 * SECOND, "{before:?} -> {after:?}");
    assert_eq!(world.weights(), [1, 7], "no step came due meanwhile");
    world.run(15 * SECOND);
    assert_eq!(world.weights(), [2, 7]);
}

#[test]
fn a_pause_is_no_part_of_the_window_for_flapping() {
    let mut world = World::shop(&[5, 7]);
    world.settle();
    for _ in 0..4 {
        world.fail(1);
        world.settle();
        world.heal(1);
        world.settle();
    }
    assert!(world.server(1).flapping);
    let promised = world.controller.alarms.next().expect("when it is over");
    pause(&mut world, 3600 * SECOND);
    world.settle();
    assert!(world.server(1).flapping);
    let later = world.controller.alarms.next().expect("when it is over").since(promised);
    assert_eq!(later, 3600 * SECOND);
    world.run(1800 * SECOND);
    assert!(!world.server(1).flapping);
}
