//! Real servers that were taken out and added again between two reads (trap 6), and what only looks so.

use std::time::Duration;

use super::event::{Event, Note};
use super::ledger::LapseReason;
use super::service::tests::dest;
use super::world::{World, key, service};
use crate::model::{
    Counters, DestPattern, DrainedBy, Forwarding, HandOrder, HandRequest, HeldReason, Weight, WriteOutcome,
};

const SECOND: Duration = Duration::from_secs(1);

/// Three servers, added in this order, of a service that has had clients.
fn world() -> World {
    let mut world = World::shop(&[5, 6, 7]);
    world.table.get_mut(&service()).unwrap().counters = counters(1000);
    places(&mut world, &[3, 2, 1]);
    world.settle();
    world
}

/// And 1 fails, is drained, and everybody knows it.
fn one_out() -> World {
    let mut world = world();
    world.fail(1);
    world.settle();
    assert_eq!(world.weights(), [0, 6, 7]);
    world.written.clear();
    world
}

fn counters(connections: u64) -> Option<Counters> {
    Some(Counters { connections, incoming_packets: 5 * connections, ..Counters::default() })
}

/// The newest first.
fn places(world: &mut World, order: &[u8]) {
    for row in &mut world.table.get_mut(&service()).unwrap().destinations {
        row.place = order.iter().position(|n| key(*n) == row.key).map(|place| place as u32);
    }
}

fn add_again(world: &mut World, n: u8, weight: u32, order: &[u8]) {
    world.edit(n, weight);
    places(world, order);
}

/// Somebody builds the service anew, each server with this weight, in the old order.
fn build_anew(world: &mut World, weights: [u32; 3]) {
    world.table.get_mut(&service()).unwrap().counters = counters(0);
    for (n, weight) in (1..).zip(weights) {
        world.edit(n, weight);
    }
}

fn entries(world: &World) -> usize {
    world.disk.as_ref().map_or(0, |l| l.entries.len())
}

fn lapsed(world: &World) -> Option<(Weight, LapseReason)> {
    let ledger = world.disk.as_ref()?;
    ledger.lapsed.get(&(service(), key(1))).map(|(entry, reason)| (entry.owed, *reason))
}

/// How often somebody's raise was answered by a drain: never more than twice in ten minutes, but for
/// servers that are new each time.
fn drains(world: &World) -> Vec<(u8, u32, u32)> {
    world.written.iter().filter(|(_, _, to)| *to == 0).copied().collect()
}

#[test]
fn added_again_it_is_drained_at_once_and_each_time_if_it_still_fails() {
    let mut world = one_out();
    for weight in [8, 9, 10] {
        world.edit(2, 6);
        // In front of the others; then the others again before the next time.
        add_again(&mut world, 1, weight, &[1, 3, 2]);
        world.run(2 * SECOND); // the next poll sees it: no fresh failures are waited for
        assert_eq!(world.weights(), [0, 6, 7]);
        assert_eq!(world.server(1).owed, Some(Weight(weight)));
        places(&mut world, &[3, 2, 1]); // as if these two had been added again
        world.settle();
    }
    assert_eq!(drains(&world), [(1, 8, 0), (1, 9, 0), (1, 10, 0)], "no tug of war");
    assert!(world.disk.as_ref().unwrap().raises.is_empty());
    let noted = |n: &&Note| matches!(n, Note::AddedAgain { found: Weight(8), expected: Weight(0), .. });
    assert_eq!(world.notes.iter().filter(noted).count(), 1);
    world.heal(1);
    world.settle();
    assert_eq!((world.weights(), entries(&world)), (vec![10, 6, 7], 0));
}

/// Traps 6 and 21.
#[test]
fn added_again_as_a_standby_it_is_never_raised_but_its_weight_stays_known() {
    let mut world = one_out();
    add_again(&mut world, 1, 0, &[1, 3, 2]);
    world.settle();
    assert_eq!((entries(&world), lapsed(&world)), (0, Some((Weight(5), LapseReason::AddedAgain))));
    let said = Note::EntryLapsed {
        service: service(),
        dest: key(1),
        owed: Weight(5),
        reason: LapseReason::AddedAgain,
    };
    assert_eq!(world.notes.iter().filter(|n| **n == said).count(), 1);
    world.heal(1);
    world.settle();
    assert_eq!((world.weights(), world.written.clone()), (vec![0, 6, 7], vec![]));
    assert_eq!(world.server(1).drained.map(|d| d.by), Some(DrainedBy::External));
    world.restart();
    world.settle();
    assert_eq!(world.weights(), [0, 6, 7]);
    // Whoever knows better may still have it.
    let servers = DestPattern { addr: key(1).addr, port: Some(80) };
    let order = HandOrder::Undrain { ignore_checks: false };
    world.send(Event::Hand { id: 1, request: HandRequest { servers, service: None, order } });
    world.settle();
    assert_eq!((world.weights(), lapsed(&world)), (vec![5, 6, 7], None));
}

#[test]
fn another_one_that_is_added_or_taken_out_or_missed_is_no_sign() {
    let mut world = one_out();
    let newcomer = dest("10.0.1.4:80", 4, Forwarding::Route);
    world.table.get_mut(&service()).unwrap().destinations.push(newcomer);
    places(&mut world, &[4, 3, 2, 1]);
    world.settle();
    let row = world.table.get_mut(&service()).unwrap().destinations.remove(1);
    world.run(SECOND / 2);
    world.view(); // one read without 2
    world.table.get_mut(&service()).unwrap().destinations.insert(1, row);
    world.settle();
    world.table.get_mut(&service()).unwrap().destinations.remove(2);
    places(&mut world, &[4, 2, 1]);
    world.settle();
    assert_eq!((entries(&world), lapsed(&world)), (1, None));
    world.heal(1);
    world.settle();
    assert_eq!(world.weights(), [5, 6, 4]);
}

/// Somebody zeroes the counters, which changes no real server: what we took stays ours.
#[test]
fn zeroed_counters_lose_no_weight_and_end_no_tug_of_war() {
    let mut world = one_out();
    world.table.get_mut(&service()).unwrap().counters = counters(0);
    world.settle();
    assert_eq!((entries(&world), lapsed(&world)), (1, None));
    world.heal(1);
    world.settle();
    assert_eq!(world.weights(), [5, 6, 7]);

    let mut world = one_out();
    for weight in [8, 9] {
        world.edit(1, weight);
        world.settle();
    }
    assert_eq!(world.server(1).held.map(|h| h.reason), Some(HeldReason::TugOfWar));
    world.table.get_mut(&service()).unwrap().counters = counters(0);
    world.settle();
    assert_eq!(world.weights(), [9, 6, 7]);
}

#[test]
fn in_a_service_that_was_built_anew_what_fails_is_drained_at_once_each_time() {
    let mut world = one_out();
    for round in 1..=3 {
        build_anew(&mut world, [5, 6, 7]);
        world.run(2 * SECOND);
        assert_eq!(world.weights(), [0, 6, 7]);
        world.table.get_mut(&service()).unwrap().counters = counters(1000);
        world.settle();
        assert_eq!(drains(&world).len(), round, "no tug of war");
    }
}

#[test]
fn one_that_a_read_missed_and_that_has_another_weight_since_is_no_tug_of_war() {
    let mut world = one_out();
    for weight in [8, 9, 10] {
        let row = world.table.get_mut(&service()).unwrap().destinations.remove(0);
        world.run(SECOND / 2);
        world.view(); // one read without it
        world.table.get_mut(&service()).unwrap().destinations.insert(0, row);
        world.edit(1, weight);
        world.settle();
        assert_eq!((world.weights(), world.server(1).owed), (vec![0, 6, 7], Some(Weight(weight))));
    }
    assert!(world.disk.as_ref().unwrap().raises.is_empty());
}

#[test]
fn a_raise_without_a_sign_still_is_one() {
    let mut world = one_out();
    world.table.get_mut(&service()).unwrap().counters = counters(1001);
    world.edit(1, 8);
    world.run(2 * SECOND);
    assert_eq!(world.weights(), [8, 6, 7], "fresh failures are waited for");
    assert_eq!(world.disk.as_ref().unwrap().raises.len(), 1);
}

/// The 0 that the read-back shows is ours, whenever the server was added.
#[test]
fn added_again_between_the_read_and_our_write_its_zero_is_ours() {
    for unknown in [false, true] {
        let mut world = world();
        world.slow.insert("write");
        world.fail(1);
        world.run(SECOND * 2);
        places(&mut world, &[1, 3, 2]);
        if unknown {
            world.write_outcomes.insert(key(1), WriteOutcome::Unknown("overrun".into()));
        }
        world.view(); // seen on its way
        world.release("write");
        world.write_outcomes.clear();
        world.settle();
        assert_eq!((world.weights(), entries(&world), lapsed(&world)), (vec![0, 6, 7], 1, None));
        world.heal(1);
        world.settle();
        assert_eq!(world.weights(), [5, 6, 7], "unknown: {unknown}");
    }
}

#[test]
fn a_drain_by_hand_goes_on_for_one_that_is_added_again() {
    let mut world = world();
    let servers = DestPattern { addr: key(1).addr, port: Some(80) };
    let drain = HandOrder::Drain { said: None, force: false };
    world.send(Event::Hand { id: 1, request: HandRequest { servers, service: None, order: drain } });
    world.settle();
    for (weight, order) in [(8, [1, 3, 2]), (9, [3, 2, 1]), (4, [1, 3, 2])] {
        places(&mut world, &[3, 2, 1]);
        world.settle();
        add_again(&mut world, 1, weight, &order);
        if order[0] == 1 {
            world.run(2 * SECOND);
            assert_eq!((world.weights(), world.server(1).owed), (vec![0, 6, 7], Some(Weight(weight))));
        }
        world.settle();
    }
    let ended = world.notes.iter().any(|n| matches!(n, Note::HandDrainEnded { .. }));
    assert_eq!((world.weights(), ended), (vec![0, 6, 7], false));
}

/// A crash between a restore and the save that forgets it.
#[test]
fn what_the_last_run_gave_back_itself_is_nobody_elses_change() {
    let mut world = one_out();
    world.heal(1);
    world.slow.insert("save");
    world.settle();
    assert_eq!((world.weights(), entries(&world)), (vec![5, 6, 7], 1));
    world.slow.clear();
    world.restart();
    world.settle();
    assert_eq!(entries(&world), 0);
    assert!(!world.notes.iter().any(|n| matches!(n, Note::ChangedByOthers { .. })), "{:?}", world.notes);
    assert!(world.view().machinery.drift.is_empty());
    let why = "its weight was given back before the last run ended";
    assert!(world.notes.contains(&Note::EntryDropped { service: service(), dest: key(1), why }));
    // Later, and with another weight, it is somebody else's.
    world.fail(1);
    world.settle();
    world.edit(1, 5);
    world.settle();
    assert_eq!(world.view().machinery.drift.len(), 1);
}

#[test]
fn lapsed_entries_of_servers_that_stay_gone_are_forgotten_in_the_end() {
    let mut world = one_out();
    let mut ledger = world.disk.clone().unwrap();
    ledger.origin.boot_id = "boot-0".into();
    let row = world.table.get_mut(&service()).unwrap().destinations.remove(0);
    let max_age = 3600 * SECOND;
    world.policy.ledger_max_age = max_age;
    world.restart_with(Ok(Some(ledger)));
    world.settle();
    // Back before it was too long, it counts anew.
    world.run(max_age - 60 * SECOND);
    world.table.get_mut(&service()).unwrap().destinations.insert(0, row);
    world.run(120 * SECOND);
    world.table.get_mut(&service()).unwrap().destinations.remove(0);
    world.run(max_age - 60 * SECOND);
    assert!(world.controller.keeper.lapsed(&(service(), key(1))).is_some());
    world.run(120 * SECOND);
    assert!(world.controller.keeper.lapsed(&(service(), key(1))).is_none());
    assert!(world.disk.as_ref().unwrap().lapsed.is_empty(), "and on disk");
    let dropped = |n: &&Note| matches!(n, Note::EntryDropped { why, .. } if why.contains("maximum age"));
    assert_eq!(world.notes.iter().filter(dropped).count(), 1);
}
