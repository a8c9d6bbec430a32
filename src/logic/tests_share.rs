//! Servers that say how much of their weight they want.

use std::time::Duration;

use super::event::{Event, Note};
use super::ledger::{Entry, EntryState, TakenBy};
use super::world::{World, key, policy, service};
use crate::model::{
    Floor, HandEffect, HandOrder, HandRefused, HandRequest, HeldReason, Mode, OnFailure, ServerState, Share,
    Verdict, Weight,
};

const SECOND: Duration = Duration::from_secs(1);
const DRAIN: HandOrder = HandOrder::Drain { said: None, force: false };
const UNDRAIN: HandOrder = HandOrder::Undrain { ignore_checks: false };

impl World {
    fn says(&mut self, n: u8, percent: u64) {
        self.shares.insert(key(n).addr, Share::percent(percent));
    }

    fn says_nothing(&mut self, n: u8) {
        self.shares.remove(&key(n).addr);
    }
}

/// Up, and settled.
fn settled(weights: &[u32]) -> World {
    let mut world = World::shop(weights);
    world.settle();
    world
}

/// 1 of two servers with 10 each has said this.
fn saying(percent: u64) -> World {
    let mut world = settled(&[10, 10]);
    world.says(1, percent);
    world.settle();
    world
}

fn entry(world: &World, n: u8) -> Option<Entry> {
    world.disk.as_ref().and_then(|l| l.entries.get(&(service(), key(n))).copied())
}

fn by_hand(world: &mut World, n: u8, order: HandOrder) -> Result<HandEffect, HandRefused> {
    let request = HandRequest { servers: key(n).to_string().parse().unwrap(), service: None, order };
    world.send(Event::Hand { id: 1, request });
    world.answers.pop().expect("an answer").map(|done| done[0].effect)
}

fn held(world: &mut World, n: u8) -> Option<(HeldReason, u32)> {
    world.server(n).held.map(|held| (held.reason, held.would.0))
}

fn changed_by_others(world: &World) -> usize {
    world.notes.iter().filter(|note| matches!(note, Note::ChangedByOthers { .. })).count()
}

#[test]
fn a_share_is_taken_with_its_record_and_all_is_given_back() {
    let mut world = saying(50);
    assert_eq!(world.weights(), [5, 10]);
    let entry_of = entry(&world, 1).expect("a record");
    assert_eq!((entry_of.owed, entry_of.written), (Weight(10), Weight(5)));
    assert_eq!((entry_of.by, entry_of.reason, entry_of.state), (TakenBy::Check, None, EntryState::Done));
    let view = world.server(1);
    assert_eq!((view.state, view.drained, view.slow_start, view.held), (ServerState::Up, None, None, None));
    assert_eq!((view.owed, view.share), (Some(Weight(10)), Some(Share::percent(50))));
    for (percent, weight) in [(30, 3), (80, 8), (1, 1)] {
        world.says(1, percent);
        world.settle();
        assert_eq!(world.weights(), [weight, 10], "{percent}%");
        assert_eq!(entry(&world, 1).map(|e| e.owed), Some(Weight(10)), "what is owed stays the operator's");
    }
    world.says(1, 100);
    world.settle();
    assert_eq!((world.weights(), entry(&world, 1)), (vec![10, 10], None));
    // As good as 100 is to say nothing of weights any more.
    world.says(1, 50);
    world.settle();
    world.says_nothing(1);
    world.settle();
    assert_eq!((world.weights(), entry(&world, 1)), (vec![10, 10], None));
    assert_eq!(changed_by_others(&world), 0);
}

#[test]
fn one_write_a_change_and_none_for_a_change_that_is_not_worth_it() {
    let mut world = settled(&[100, 100]);
    world.says(1, 73);
    world.settle();
    let (writes, saves) = (world.written.len(), world.saves);
    for percent in [74, 73, 72, 76, 70, 73] {
        world.says(1, percent);
        world.run(3 * SECOND);
    }
    assert_eq!((world.weights()[0], world.written.len(), world.saves), (73, writes, saves));
    for (percent, weight) in [(78, 78), (99, 99), (100, 100), (97, 100)] {
        world.says(1, percent);
        world.run(3 * SECOND);
        assert_eq!(world.weights()[0], weight, "{percent}%");
    }
    assert_eq!(world.written.len(), writes + 3);
    let lines = world.notes.iter().filter(|note| matches!(note, Note::ShareChanged { .. })).count();
    assert_eq!(lines, 3, "none for each percent: a part, all, a part");
}

#[test]
fn one_that_wants_no_connections_is_out_and_well() {
    let mut world = saying(0);
    assert_eq!(world.weights(), [0, 10]);
    let view = world.server(1);
    assert_eq!((view.verdict, view.state), (Some(Verdict::Up), ServerState::Up));
    assert_eq!(view.drained.map(|d| (d.by, d.reason)), Some((crate::model::DrainedBy::Check, None)));
    assert_eq!(view.held, None);
    world.says(1, 20);
    world.settle();
    assert_eq!(world.weights(), [2, 10]);
    world.says(1, 0);
    world.settle();
    world.fail(1);
    world.settle();
    assert_eq!(world.weights(), [0, 10]);
    world.heal(1);
    world.says(1, 100);
    world.settle();
    assert_eq!((world.weights(), entry(&world, 1)), (vec![10, 10], None));
}

#[test]
fn the_floor_keeps_one_that_wants_no_connections() {
    let mut world = saying(0);
    world.says(2, 0);
    world.settle();
    assert_eq!(world.weights(), [0, 10]);
    assert_eq!(held(&mut world, 2), Some((HeldReason::Floor, 0)));
    let writes = world.written.len();
    world.run(30 * SECOND);
    assert_eq!(world.written.len(), writes, "and nothing goes to and fro");
    world.says(1, 50);
    world.settle();
    assert_eq!(world.weights(), [5, 0]);
}

#[test]
fn an_unwilling_server_that_is_well_comes_back_for_one_that_fails_and_goes_again() {
    let mut world = saying(0);
    world.fail(2);
    world.settle();
    assert_eq!(world.weights(), [10, 0], "the failing one had the floor for itself");
    let writes = world.written.len();
    world.run(30 * SECOND);
    assert_eq!(world.written.len(), writes, "and nothing goes to and fro");
    world.heal(2);
    world.settle();
    assert_eq!(world.weights(), [0, 10]);
}

#[test]
fn without_a_floor_it_empties_the_service_and_stays_out_over_a_restart() {
    let mut world = World::new(policy(Floor::Count(0), Mode::Enforce), &[10]);
    world.settle();
    world.says(1, 0);
    world.settle();
    assert_eq!(world.weights(), [0]);
    let writes = world.written.len();
    world.restart();
    world.settle();
    world.run(30 * SECOND);
    assert_eq!((world.weights(), world.written.len()), (vec![0], writes), "its first pass says so too");
    world.says(1, 100);
    world.settle();
    assert_eq!((world.weights(), entry(&world, 1)), (vec![10], None));
}

#[test]
fn a_reduced_weight_survives_a_restart_and_a_crash_at_any_point() {
    let mut world = saying(50);
    let writes = world.written.len();
    world.restart();
    world.settle();
    assert_eq!((world.weights(), world.written.len()), (vec![5, 10], writes));
    world.says(1, 100);
    world.settle();
    assert_eq!((world.weights(), entry(&world, 1)), (vec![10, 10], None));
    for before in ["save", "write", "read"] {
        let mut world = settled(&[10, 10]);
        world.die_before = Some(before);
        world.says(1, 50);
        world.settle();
        assert!(world.dead, "{before}");
        world.restart();
        world.settle();
        assert_eq!(
            (world.weights(), entry(&world, 1).map(|e| e.owed)),
            (vec![5, 10], Some(Weight(10))),
            "{before}"
        );
        world.says(1, 100);
        world.settle();
        assert_eq!((world.weights(), entry(&world, 1)), (vec![10, 10], None), "{before}");
    }
}

#[test]
fn a_full_disk_takes_nothing_and_gives_back() {
    let mut world = settled(&[10, 10]);
    world.save_error = Some("no space".into());
    world.says(1, 50);
    world.settle();
    assert_eq!((world.weights(), held(&mut world, 1)), (vec![10, 10], Some((HeldReason::LedgerUnsaved, 5))));
    world.save_error = None;
    world.settle();
    assert_eq!(world.weights(), [5, 10]);
    world.save_error = Some("no space".into());
    world.says(1, 100);
    world.settle();
    assert_eq!(world.weights(), [10, 10]);
}

#[test]
fn an_edit_is_the_owed_weight_and_its_share_is_written_once_more() {
    let mut world = saying(50);
    world.edit(1, 20);
    world.settle();
    assert_eq!((world.weights(), world.server(1).owed), (vec![10, 10], Some(Weight(20))));
    world.edit(1, 30);
    world.settle();
    assert_eq!((world.weights(), held(&mut world, 1)), (vec![30, 10], Some((HeldReason::TugOfWar, 15))));
    // Left alone whatever it says, over a restart too, until it wants all of it.
    world.says(1, 0);
    world.settle();
    world.restart();
    world.settle();
    assert_eq!((world.weights(), held(&mut world, 1)), (vec![30, 10], Some((HeldReason::TugOfWar, 0))));
    world.says(1, 100);
    world.settle();
    assert_eq!(held(&mut world, 1), None);
    world.says(1, 50);
    world.settle();
    assert_eq!(world.weights(), [15, 10]);
}

#[test]
fn a_weight_raised_over_none_is_taken_once_more() {
    let mut world = saying(0);
    world.edit(1, 7);
    world.settle();
    assert_eq!((world.weights(), world.server(1).owed), (vec![0, 10], Some(Weight(7))));
    world.edit(1, 7);
    world.settle();
    assert_eq!((world.weights(), held(&mut world, 1)), (vec![7, 10], Some((HeldReason::TugOfWar, 0))));
    // A new verdict is another matter.
    world.fail(1);
    world.settle();
    assert_eq!(world.weights(), [0, 10]);
}

#[test]
fn an_operators_zero_over_a_share_stays() {
    let mut world = saying(50);
    world.edit(1, 0);
    world.settle();
    assert_eq!((world.weights(), entry(&world, 1)), (vec![0, 10], None));
    world.says(1, 100);
    world.settle();
    assert_eq!(world.weights(), [0, 10]);
}

#[test]
fn a_drain_by_hand_over_a_share_knows_the_whole_weight() {
    let mut world = saying(50);
    assert_eq!(by_hand(&mut world, 1, DRAIN), Ok(HandEffect::Draining));
    world.settle();
    assert_eq!((world.weights(), entry(&world, 1).map(|e| e.owed)), (vec![0, 10], Some(Weight(10))));
    assert_eq!(by_hand(&mut world, 1, UNDRAIN), Ok(HandEffect::GivingBack));
    world.settle();
    assert_eq!((world.weights(), entry(&world, 1).map(|e| e.by)), (vec![5, 10], Some(TakenBy::Check)));
    world.says(1, 0);
    world.settle();
    assert_eq!(by_hand(&mut world, 1, UNDRAIN), Err(HandRefused::OutByChecks(service(), key(1))));
    assert_eq!(by_hand(&mut world, 1, DRAIN), Ok(HandEffect::AddedToChecks));
    assert_eq!(by_hand(&mut world, 1, UNDRAIN), Ok(HandEffect::StillFailing));
    world.settle();
    assert_eq!(world.weights(), [0, 10]);
    world.says(1, 100);
    world.settle();
    assert_eq!((world.weights(), entry(&world, 1)), (vec![10, 10], None));
}

#[test]
fn ignored_checks_ignore_the_share() {
    let mut world = saying(0);
    let ignore = HandOrder::Undrain { ignore_checks: true };
    assert_eq!(by_hand(&mut world, 1, ignore), Ok(HandEffect::GivingBack));
    world.settle();
    assert_eq!((world.weights(), entry(&world, 1)), (vec![10, 10], None));
    assert_eq!(by_hand(&mut world, 1, UNDRAIN), Ok(HandEffect::Lifted));
    world.settle();
    assert_eq!(world.weights(), [0, 10]);
}

#[test]
fn observe_shows_what_it_would_do() {
    let mut world = World::new(policy(Floor::DEFAULT, Mode::Observe), &[10, 10, 10]);
    world.settle();
    world.says(1, 50);
    world.says(2, 0);
    world.settle();
    assert_eq!(world.weights(), [10, 10, 10]);
    assert_eq!(held(&mut world, 1), Some((HeldReason::Observe, 5)));
    assert_eq!(held(&mut world, 2), Some((HeldReason::Observe, 0)));
}

#[test]
fn schedulers_without_parts_know_only_none_of_it_and_observed_failures_nothing() {
    let mut world = settled(&[10, 10]);
    world.table.get_mut(&service()).unwrap().scheduler = "rr".into();
    world.settle();
    world.says(1, 50);
    world.settle();
    assert_eq!(world.weights(), [10, 10]);
    world.says(1, 0);
    world.settle();
    assert_eq!(world.weights(), [0, 10]);
    world.policy.services[0].on_failure = Some(OnFailure::Observe);
    world.reload();
    world.settle();
    assert_eq!((world.weights(), entry(&world, 1)), (vec![10, 10], None));
}

#[test]
fn slow_start_climbs_to_the_share() {
    let mut policy = policy(Floor::DEFAULT, Mode::Enforce);
    policy.services[0].slow_start = 9 * SECOND;
    let mut world = World::new(policy, &[10, 10]);
    world.settle();
    world.fail(1);
    world.settle();
    world.says(1, 40);
    world.heal(1);
    world.run(30 * SECOND);
    let climbed: Vec<(u32, u32)> = world.written.iter().filter(|w| w.0 == 1).map(|w| (w.1, w.2)).collect();
    assert_eq!(climbed, [(10, 0), (0, 1), (1, 2), (2, 3), (3, 4)]);
    assert_eq!(world.server(1).slow_start, None, "it has what it wants");
    world.says(1, 100);
    world.settle();
    assert_eq!((world.weights(), entry(&world, 1)), (vec![10, 10], None));
}

#[test]
fn a_stop_leaves_a_share_or_gives_it_back() {
    let mut world = saying(50);
    world.send(Event::Stopping);
    world.run(SECOND);
    assert_eq!((world.weights(), entry(&world, 1).is_some()), (vec![5, 10], true));
    let mut world = saying(50);
    world.policy.restore_on_exit = true;
    world.reload();
    world.settle();
    world.send(Event::Stopping);
    world.run(SECOND);
    assert_eq!((world.weights(), entry(&world, 1)), (vec![10, 10], None));
}

#[test]
fn a_failing_server_keeps_what_it_has_and_comes_back_with_its_share() {
    let mut world = saying(50);
    world.fail(1);
    world.settle();
    assert_eq!((world.weights(), entry(&world, 1).map(|e| e.owed)), (vec![0, 10], Some(Weight(10))));
    world.heal(1);
    world.settle();
    assert_eq!(world.weights(), [5, 10]);
}
