//! In need the first success counts (trap 56), and nothing goes in and out with each result (trap 55).

use std::time::Duration;

use super::event::Event;
use super::guard::Lately;
use super::plan::plan;
use super::plan::tests::{DOWN, UP, changes, facts, held as held_in, server};
use super::world::{World, key, policy, refused, service};
use crate::model::{Floor, HeldReason, Mode, Verdict, Weight};

const SECOND: Duration = Duration::from_secs(1);

fn held(world: &mut World, n: u8) -> Option<HeldReason> {
    world.server(n).held.map(|h| h.reason)
}

/// Without a read of the table.
fn verdict(world: &World, n: u8) -> Option<Verdict> {
    world.controller.services[&service()].dests[&key(n)].verdict
}

/// Probes of one server until its count has grown by so many.
fn probes(world: &mut World, n: u8, many: usize) {
    let count = |w: &World| w.probed.get(&key(n).addr).copied().unwrap_or(0);
    let until = count(world) + many;
    while count(world) < until {
        world.run(Duration::from_millis(10));
    }
}

/// 1 was taken, 2 is held in by the floor.
fn last_one_fails() -> World {
    let mut world = World::shop(&[5, 6]);
    world.settle();
    world.fail(1);
    world.settle();
    world.fail(2);
    world.settle();
    assert_eq!((world.weights(), held(&mut world, 2)), (vec![0, 6], Some(HeldReason::Floor)));
    world
}

#[test]
fn while_the_floor_holds_the_first_pass_brings_a_server_back() {
    let mut world = last_one_fails();
    world.slow.insert("read"); // no poll helps
    world.heal(1);
    probes(&mut world, 1, 1);
    assert_eq!(world.weights(), [5, 0], "one pass of two");
    assert_eq!(verdict(&world, 1), DOWN);
    let measured = world.controller.decision_apply_duration;
    assert_eq!(measured.count, 2, "a drain and the way back; the other drain had to wait");
    world.release("read");
    world.settle();
    assert_eq!((verdict(&world, 1), world.weights()), (UP, vec![5, 0]));
}

#[test]
fn with_a_sound_server_in_the_verdict_is_waited_for() {
    let mut world = World::shop(&[5, 6]);
    world.settle();
    world.fail(1);
    world.settle();
    world.heal(1);
    probes(&mut world, 1, 1);
    assert_eq!(world.weights(), [0, 6]);
    probes(&mut world, 1, 1);
    assert_eq!(world.weights(), [5, 6]);
}

#[test]
fn with_all_out_the_first_pass_counts_too() {
    let mut world = World::new(policy(Floor::Count(0), Mode::Enforce), &[5, 6]);
    world.settle();
    world.fail(1);
    world.fail(2);
    world.settle();
    assert_eq!(world.weights(), [0, 0]);
    world.heal(2);
    probes(&mut world, 2, 1);
    assert_eq!(world.weights(), [0, 6]);
}

#[test]
fn one_that_came_back_at_once_goes_only_after_a_whole_run_of_failures() {
    for floor in [0, 1] {
        let mut world = World::new(policy(Floor::Count(floor), Mode::Enforce), &[5, 6]);
        world.settle();
        world.fail(1);
        world.fail(2);
        world.settle();
        world.written.clear();
        // It passes and fails in turn, with the other in step or against it.
        for against in [false, true] {
            for _ in 0..20 {
                world.heal(1);
                if against {
                    world.fail(2);
                } else {
                    world.heal(2);
                }
                probes(&mut world, 1, 1);
                world.fail(1);
                if against {
                    world.heal(2);
                } else {
                    world.fail(2);
                }
                probes(&mut world, 1, 1);
            }
        }
        let written = world.written.len();
        assert!(written < 12, "floor {floor}: {written} writes in 80 turns");
        world.fail(2);
        world.settle();
        let left = usize::try_from(floor).unwrap();
        assert_eq!(world.weights().iter().filter(|w| **w > 0).count(), left, "floor {floor}");
    }
}

#[test]
fn what_passes_is_not_taken_out_for_the_last_pass_that_it_lacks() {
    // Both were given back at their first pass; then one has its verdict.
    let mut facts = facts(vec![server(1, 5, 5, UP), server(2, 5, 5, DOWN)]);
    facts.servers[1].lately = Lately::Passing;
    facts.servers[1].failing_since = None;
    assert_eq!((changes(&plan(&facts)), held_in(&plan(&facts))), (vec![], vec![]));
    // Its next failure takes it out again: it has been judged down all the time.
    facts.servers[1].lately = Lately::Mixed;
    assert_eq!(changes(&plan(&facts)), [(2, 5, 0)]);
}

#[test]
fn after_a_restart_one_pass_is_nothing_while_others_are_in_and_unknown() {
    let mut facts = facts(vec![server(1, 0, 5, None), server(2, 5, 5, None)]);
    facts.servers[0].lately = Lately::Passing;
    assert_eq!(changes(&plan(&facts)), []);
    facts.servers[1] = server(2, 5, 5, DOWN);
    assert_eq!(changes(&plan(&facts)), [(1, 0, 5)]);
    // An operator's 0 never.
    facts.servers[0].taken = false;
    assert_eq!(changes(&plan(&facts)), []);
}

#[test]
fn a_floor_of_more_holds_until_so_many_are_sound() {
    let mut facts = facts(vec![server(1, 0, 5, DOWN), server(2, 5, 5, DOWN), server(3, 5, 5, UP)]);
    facts.servers[0].lately = Lately::Passing;
    assert_eq!(changes(&plan(&facts)), [(2, 5, 0)], "3 is enough for a floor of 1");
    facts.floor = Floor::Count(2);
    assert_eq!((changes(&plan(&facts)), held_in(&plan(&facts))), (vec![(1, 0, 5)], vec![(2, "floor", 0)]));
    facts.servers[0].weight = Weight(5);
    facts.servers[0].taken = false;
    facts.servers[0].failing_since = None;
    let next = plan(&facts);
    assert_eq!((changes(&next), held_in(&next)), (vec![(2, 5, 0)], vec![(1, "floor", 0)]));
    assert!(next.floor_reached);
}

#[test]
fn both_checks_must_pass_for_the_first_success() {
    let mut world = last_one_fails();
    let mut second = world.policy.services[0].checks[0].as_ref().clone();
    second.name = "other".into();
    std::sync::Arc::make_mut(&mut second.spec).address =
        Some(crate::model::ScopedAddr { addr: [10, 0, 9, 9].into(), zone: None });
    world.policy.services[0].checks.push(second.into());
    world.failing.insert([10, 0, 9, 9].into(), refused());
    world.reload();
    world.settle();
    world.heal(1);
    world.settle();
    assert_eq!(world.weights(), [0, 6]);
    world.failing.remove(&std::net::IpAddr::from([10, 0, 9, 9]));
    world.send(Event::Tick);
    world.run(2 * SECOND);
    assert_eq!(world.weights(), [5, 0]);
}
