//! What holds drains beside the floor: suspicion (trap 26) and `on-failure` (trap 33).

use std::time::Duration;

use super::event::Note;
use super::guard::Tally;
use super::plan::plan;
use super::plan::tests::{DOWN, UP, changes, facts, held as held_in, server};
use super::world::{World, key, policy, service, virtual_server};
use crate::model::{Floor, HeldReason, LocalReason, Match, Mode, OnFailure, Outcome, Protocol};

const SECOND: Duration = Duration::from_secs(1);

fn held(world: &mut World, n: u8) -> Option<HeldReason> {
    world.server(n).held.map(|h| h.reason)
}

fn said(world: &World, of: impl Fn(&Note) -> bool) -> usize {
    world.notes.iter().filter(|note| of(note)).count()
}

fn suspicions(world: &World) -> (usize, usize) {
    (
        said(world, |n| matches!(n, Note::SuspectsItself(_))),
        said(world, |n| matches!(n, Note::SuspicionOver(_))),
    )
}

/// Floor 1, with a limit on the share of failing targets.
fn wary(weights: &[u32], share_percent: u8) -> World {
    let mut world = World::shop(weights);
    world.policy.suspect_self_percent = share_percent;
    world.restart();
    world.settle();
    world
}

#[test]
fn the_share_is_of_the_judged_and_of_two_at_least() {
    let suspicious = |failing, judged, share| Tally { judged, failing }.suspicious(share);
    assert!(!suspicious(0, 0, 100) && !suspicious(1, 1, 100) && suspicious(2, 2, 100));
    assert!(!suspicious(99, 100, 100) && suspicious(100, 100, 100));
    assert!(!suspicious(2, 4, 51) && suspicious(2, 4, 50) && suspicious(3, 4, 51));
    assert!(!suspicious(0, 10_000, 1) && !suspicious(99, 10_000, 1) && suspicious(100, 10_000, 1));
}

#[test]
fn when_nobody_passes_nothing_is_taken_and_the_first_pass_ends_that() {
    let mut world = wary(&[5, 6, 7], 100);
    world.policy.services[0].floor = Floor::Count(0);
    world.reload();
    for n in 1..=3 {
        world.fail(n);
        world.settle();
    }
    assert_eq!((world.weights(), suspicions(&world)), (vec![0, 0, 7], (1, 0)));
    assert_eq!(held(&mut world, 3), Some(HeldReason::SuspectSelf));
    let view = world.view();
    let managed = view.services[0].managed.as_ref().unwrap();
    assert_eq!(managed.weight_changes_held.get(&HeldReason::SuspectSelf), Some(&1));
    assert_eq!((managed.protected, managed.floor_reached), (1, false));
    // It ends with the first pass: no poll is waited for.
    world.slow.insert("read");
    world.heal(1);
    world.run(2 * SECOND);
    assert_eq!(world.weights(), [5, 0, 0], "what was held goes at once");
    assert_eq!(suspicions(&world), (1, 1));
}

#[test]
fn at_the_floor_the_reason_is_the_first_and_the_floor_is_still_reached() {
    let mut world = wary(&[5, 6], 100);
    world.fail(1);
    world.settle();
    world.fail(2);
    world.settle();
    assert_eq!((world.weights(), held(&mut world, 2)), (vec![0, 6], Some(HeldReason::SuspectSelf)));
    assert!(world.view().services[0].managed.as_ref().unwrap().floor_reached);
    world.settle();
    let once = |n: &Note| matches!(n, Note::Held { dest, .. } if *dest == key(2));
    assert_eq!(said(&world, once), 1, "held once, said once");
}

#[test]
fn a_share_holds_the_drains_of_every_service() {
    let mut world = World::shop(&[5, 6, 7, 8]);
    let other = "10.0.0.101:80/tcp".parse().unwrap();
    world.table.insert(other, virtual_server(other, &[9, 9, 9, 9]));
    world.policy.services[0].matches =
        vec![Match::Address { net: None, port: None, protocol: Protocol::Tcp }];
    world.policy.suspect_self_percent = 50;
    world.restart();
    world.settle();
    world.fail(1);
    world.settle();
    let weights = |w: &World| w.table[&other].destinations.iter().map(|d| d.weight.0).collect::<Vec<_>>();
    assert_eq!((world.weights(), weights(&world)), (vec![0, 6, 7, 8], vec![0, 9, 9, 9]));
    // Half of the four targets: eight real servers, probed in pairs.
    world.fail(2);
    world.settle();
    assert_eq!((world.weights(), weights(&world)), (vec![0, 6, 7, 8], vec![0, 9, 9, 9]));
    world.heal(1);
    world.settle();
    assert_eq!((world.weights(), weights(&world)), (vec![5, 0, 7, 8], vec![9, 0, 9, 9]));
    assert_eq!(suspicions(&world), (1, 1));
}

#[test]
fn a_pass_elsewhere_lets_the_held_drains_go_at_once() {
    let mut world = World::new(policy(Floor::Count(0), Mode::Enforce), &[5, 6]);
    let other = "10.0.0.101:80/tcp".parse().unwrap();
    world.table.insert(other, virtual_server(other, &[9, 9, 9]));
    world.table.get_mut(&other).unwrap().destinations.retain(|d| d.key == key(3));
    world.policy.services[0].matches =
        vec![Match::Address { net: None, port: None, protocol: Protocol::Tcp }];
    world.policy.suspect_self_percent = 100;
    world.restart();
    world.settle();
    for n in [3, 1, 2] {
        world.fail(n);
        world.settle();
    }
    assert_eq!((world.weights(), held(&mut world, 2)), (vec![0, 6], Some(HeldReason::SuspectSelf)));
    world.slow.insert("read"); // no poll helps
    world.heal(3);
    world.run(2 * SECOND);
    assert_eq!(world.weights(), [0, 0]);
}

#[test]
fn what_came_to_no_result_is_no_failure_and_ends_none() {
    let mut world = wary(&[5, 6], 100);
    let lost = Outcome::Inconclusive(LocalReason::NetworkDown);
    world.failing.insert(key(2).addr, lost);
    world.fail(1);
    world.settle();
    assert_eq!(world.weights(), [0, 6], "2 passed last");
    world.fail(2);
    world.settle();
    world.failing.insert(key(1).addr, lost);
    world.settle();
    assert_eq!((world.weights(), held(&mut world, 2)), (vec![0, 6], Some(HeldReason::SuspectSelf)));
}

#[test]
fn targets_that_go_take_their_word_with_them() {
    let mut world = wary(&[5, 6, 7], 60);
    world.fail(1);
    world.settle();
    world.fail(2);
    world.settle();
    assert_eq!(world.weights(), [0, 6, 7], "2 of 3");
    // One failing less of two: 50 %.
    world.table.get_mut(&service()).unwrap().destinations.remove(0);
    world.settle();
    assert_eq!((world.weights(), suspicions(&world)), (vec![0, 7], (1, 1)));
    // And a reload that asks for less makes it the suspect again.
    world.heal(2);
    world.settle();
    world.policy.suspect_self_percent = 50;
    world.reload();
    world.fail(3);
    world.settle();
    assert_eq!((world.weights(), suspicions(&world)), (vec![6, 7], (2, 1)));
    // A pace of its own is no new word.
    let check = std::sync::Arc::make_mut(&mut world.policy.services[0].checks[0]);
    std::sync::Arc::make_mut(&mut check.spec).pace.interval *= 2;
    world.reload();
    assert_eq!(world.controller.probes.tally(), Tally { judged: 2, failing: 1 });
}

#[test]
fn a_drain_whose_record_is_on_its_way_is_not_made_under_suspicion() {
    let mut world = wary(&[5, 6, 7], 60);
    world.slow.insert("save");
    world.fail(1);
    world.settle();
    world.fail(2);
    world.settle();
    world.release("save");
    world.settle();
    assert_eq!(world.weights(), [5, 6, 7]);
    assert!(world.disk.as_ref().is_none_or(|l| l.entries.is_empty()));
    assert!(world.written.is_empty());
}

#[test]
fn the_first_failures_of_a_start_are_no_news() {
    let mut world = World::shop(&[5, 5, 5, 5]);
    world.policy.suspect_self_percent = 50;
    world.restart();
    world.fail(1);
    world.run(20 * SECOND);
    assert_eq!((world.weights(), suspicions(&world)), (vec![0, 5, 5, 5], (0, 0)));
}

fn scheduled(scheduler: &str, on_failure: Option<OnFailure>) -> World {
    let mut world = World::shop(&[5, 6]);
    world.table.get_mut(&service()).unwrap().scheduler = scheduler.into();
    world.policy.services[0].on_failure = on_failure;
    world.restart();
    world.settle();
    world
}

fn refusals(world: &World) -> Vec<OnFailure> {
    let mut found = Vec::new();
    for note in &world.notes {
        if let Note::RefusesAtZero { on_failure, .. } = note {
            found.push(*on_failure);
        }
    }
    found
}

#[test]
fn what_a_failure_comes_to_follows_the_scheduler_unless_it_is_said() {
    use OnFailure::{Observe, WeightZero};
    let cases = [
        ("wrr", None, 0, vec![]),
        ("wrr", Some(Observe), 5, vec![]),
        ("sh", None, 0, vec![WeightZero]),
        ("mh", Some(Observe), 5, vec![Observe]),
        ("dh", None, 5, vec![Observe]),
        ("dh", Some(WeightZero), 0, vec![WeightZero]),
    ];
    for (scheduler, on_failure, weight, warned) in cases {
        let mut world = scheduled(scheduler, on_failure);
        world.fail(1);
        world.settle();
        let case = format!("{scheduler}, {on_failure:?}");
        assert_eq!(world.weights(), [weight, 6], "{case}");
        let reason = (weight > 0).then_some(HeldReason::SchedulerRefuses);
        assert_eq!(held(&mut world, 1), reason, "{case}");
        assert_eq!(refusals(&world), warned, "{case}");
        world.reload();
        assert_eq!(refusals(&world).len(), 2 * warned.len(), "{case}: a reload says it again");
        world.heal(1);
        world.settle();
        assert_eq!((world.weights(), held(&mut world, 1)), (vec![5, 6], None), "{case}");
    }
}

#[test]
fn what_was_taken_before_goes_back_though_it_fails() {
    let mut world = scheduled("wrr", None);
    world.fail(1);
    world.settle();
    assert_eq!(world.weights(), [0, 6]);
    // The operator changes the scheduler under us.
    world.table.get_mut(&service()).unwrap().scheduler = "dh".into();
    world.settle();
    assert_eq!((world.weights(), refusals(&world)), (vec![5, 6], vec![OnFailure::Observe]));
    assert!(world.disk.as_ref().unwrap().entries.is_empty());
    assert_eq!(held(&mut world, 1), Some(HeldReason::SchedulerRefuses));
    world.policy.services[0].on_failure = Some(OnFailure::WeightZero);
    world.reload();
    world.settle();
    assert_eq!(world.weights(), [0, 6]);
    // Under `mode = "observe"` nothing is written, not even back.
    world.policy.services[0].on_failure = None;
    world.policy.services[0].mode = Mode::Observe;
    world.reload();
    world.settle();
    assert_eq!((world.weights(), held(&mut world, 1)), (vec![0, 6], Some(HeldReason::Observe)));
}

#[test]
fn without_checks_too_nothing_stays_taken_where_checks_take_nothing() {
    let mut world = scheduled("wrr", None);
    world.fail(1);
    world.settle();
    world.policy.services[0].checks.clear();
    world.policy.services[0].on_failure = Some(OnFailure::Observe);
    world.reload();
    world.settle();
    assert_eq!(world.weights(), [5, 6]);
    assert_eq!(said(&world, |n| matches!(n, Note::HeldButNotManaged { .. })), 0);
}

#[test]
fn on_failure_comes_before_suspicion_and_both_before_the_floor() {
    let mut facts = facts(vec![server(1, 5, 5, DOWN)]);
    assert_eq!(held_in(&plan(&facts)), [(1, "floor", 0)]);
    facts.suspect_self = true;
    assert_eq!(held_in(&plan(&facts)), [(1, "suspect_self", 0)]);
    facts.on_failure = OnFailure::Observe;
    assert_eq!(held_in(&plan(&facts)), [(1, "scheduler_refuses", 0)]);
    facts.servers[0].contested = true;
    assert_eq!(held_in(&plan(&facts)), [(1, "tug_of_war", 0)]);
    facts.servers = vec![server(1, 0, 5, UP)];
    facts.on_failure = OnFailure::WeightZero;
    assert_eq!(changes(&plan(&facts)), [(1, 0, 5)], "suspicion gives back");
}
