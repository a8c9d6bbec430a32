//! Decisions as the controller makes them, event by event, in a small world.

use std::time::Duration;

use super::event::{Event, Note};
use super::ledger::LapseReason;
use super::world::{VIP, World, key, policy, refused, service, virtual_server};
use crate::model::{
    DrainedBy, DriftKind, FailReason, Floor, HeldReason, LocalReason, Mode, Outcome, ReadFailure,
    ServerState, Verdict, Weight, WriteOutcome,
};

const SECOND: Duration = Duration::from_secs(1);

fn held(world: &mut World, n: u8) -> Option<(HeldReason, u32)> {
    world.server(n).held.map(|h| (h.reason, h.would.0))
}

fn entries(world: &World) -> usize {
    world.disk.as_ref().map_or(0, |l| l.entries.len())
}

#[test]
fn a_failed_server_is_drained_and_gets_exactly_its_weight_back() {
    for weight in [1, 5, 65_535, Weight::MAX.0] {
        let mut world = World::shop(&[weight, 7, 7]);
        world.settle();
        assert_eq!((world.weights(), world.saves), (vec![weight, 7, 7], 0));
        world.fail(1);
        world.settle();
        assert_eq!(world.weights(), [0, 7, 7]);
        let drained = world.server(1).drained.unwrap();
        assert_eq!((drained.by, drained.reason), (DrainedBy::Check, Some(FailReason::ConnectRefused)));
        assert_eq!(world.server(1).owed, Some(Weight(weight)));
        world.heal(1);
        world.settle();
        assert_eq!(world.weights(), [weight, 7, 7]);
        assert_eq!(world.written, [(1, weight, 0), (1, 0, weight)]);
        assert_eq!(world.view().machinery.drift.get(&DriftKind::Weight), None, "both were ours");
        assert_eq!(entries(&world), 0);
    }
}

#[test]
fn one_sample_decides_nothing_and_neither_does_a_restart() {
    let mut world = World::shop(&[5, 5]);
    world.fail(1);
    world.run(SECOND); // the first failure comes within the interval, the verdict 200 ms later
    let probes = world.probed.get(&key(1).addr).copied().unwrap_or(0);
    assert!((1..3).contains(&probes) == (world.server(1).verdict.is_none()), "{probes} probes");
    world.settle();
    assert_eq!(world.weights(), [0, 5]);
    world.restart();
    world.run(Duration::ZERO);
    assert_eq!(world.server(1).verdict, None);
    assert_eq!(world.weights(), [0, 5]);
}

#[test]
fn inconclusive_probes_move_nothing() {
    let mut world = World::shop(&[5, 5]);
    world.settle();
    for n in 1..=2 {
        world.failing.insert(key(n).addr, Outcome::Inconclusive(LocalReason::FdLimit));
    }
    world.settle();
    assert_eq!(world.weights(), [5, 5]);
    assert_eq!(world.server(1).verdict, Some(Verdict::Up));
    assert!(world.written.is_empty());
}

#[test]
fn an_operators_zero_is_left_alone_and_his_other_weights_become_the_owed_ones() {
    let mut world = World::shop(&[5, 5]);
    world.settle();
    world.edit(1, 0);
    world.edit(2, 9);
    world.settle();
    assert_eq!(world.weights(), [0, 9]);
    assert_eq!(world.server(1).drained.map(|d| d.by), Some(DrainedBy::External));
    assert_eq!(world.server(1).state, ServerState::Drained);
    // Failing and recovering changes nothing about it.
    world.fail(1);
    world.settle();
    world.heal(1);
    world.settle();
    assert_eq!(world.weights(), [0, 9]);
    // Neither does a restart.
    world.restart();
    world.settle();
    assert_eq!(world.weights(), [0, 9]);
    assert_eq!(world.server(1).owed, None, "never seen above 0 by this agent");
    world.fail(2);
    world.settle();
    assert_eq!(held(&mut world, 2), Some((HeldReason::Floor, 0)));
    assert!(world.written.is_empty());
}

#[test]
fn the_floor_keeps_the_last_one_in_until_another_recovers() {
    let mut world = World::shop(&[1, 2, 3]);
    world.settle();
    for n in 1..=3 {
        world.fail(n);
    }
    world.settle();
    assert_eq!(world.weights().iter().filter(|w| **w > 0).count(), 1);
    let last = world.weights().iter().position(|w| *w > 0).unwrap() as u8 + 1;
    assert_eq!(held(&mut world, last), Some((HeldReason::Floor, 0)));
    let view = world.view();
    let managed = view.services[0].managed.as_ref().unwrap();
    assert_eq!((managed.floor, managed.floor_reached, managed.protected), (1, true, 1));
    assert_eq!((managed.up, managed.capacity), (false, Some(0.0)));
    assert!(managed.capacity.is_some_and(f64::is_sign_positive), "0%, not -0%");
    let other = if last == 1 { 2 } else { 1 };
    world.heal(other);
    world.settle();
    let expected: Vec<u32> = (1..=3).map(|n| if n == other { u32::from(n) } else { 0 }).collect();
    assert_eq!(world.weights(), expected);
    for n in 1..=3 {
        world.heal(n);
    }
    world.settle();
    assert_eq!((world.weights(), entries(&world)), (vec![1, 2, 3], 0));
}

#[test]
fn deleting_the_last_one_in_brings_back_what_checks_took() {
    let mut world = World::shop(&[1, 2]);
    world.settle();
    world.fail(1);
    world.settle();
    world.fail(2);
    world.settle();
    assert_eq!(world.weights(), [0, 2]);
    world.table.get_mut(&service()).unwrap().destinations.retain(|d| d.key == key(1));
    world.settle();
    assert_eq!(world.weights(), [1]);
    assert_eq!(held(&mut world, 1), Some((HeldReason::Floor, 0)));
}

#[test]
fn killed_at_any_point_the_weight_comes_back() {
    // Before the record, between record and write, between write and its confirmation.
    for (point, out_after) in [("save", 5), ("write", 5), ("publish", 0)] {
        let mut world = World::shop(&[5, 5]);
        world.settle();
        world.fail(1);
        world.die_before = Some(point);
        world.settle();
        assert_eq!(world.dead, point != "publish");
        assert_eq!(world.weights(), [out_after, 5], "killed before {point}");
        world.restart();
        world.settle();
        assert_eq!(world.weights(), [0, 5], "it still fails");
        world.restart();
        world.heal(1);
        world.settle();
        assert_eq!((world.weights(), entries(&world)), (vec![5, 5], 0), "killed before {point}");
    }
}

#[test]
fn killed_while_giving_back_it_is_given_back() {
    let mut world = World::shop(&[5, 5]);
    world.settle();
    world.fail(1);
    world.settle();
    world.heal(1);
    world.die_before = Some("write");
    world.settle();
    assert_eq!(world.weights(), [0, 5]);
    world.restart();
    world.die_before = Some("save"); // written, the record still there
    world.settle();
    assert_eq!(world.weights(), [5, 5]);
    assert_eq!(entries(&world), 1);
    world.restart();
    world.settle();
    assert_eq!((world.weights(), entries(&world)), (vec![5, 5], 0));
}

#[test]
fn a_pending_record_of_a_write_that_never_happened_is_dropped() {
    let mut world = World::shop(&[5, 5]);
    world.settle();
    world.fail(1);
    world.die_before = Some("write");
    world.settle();
    assert_eq!(entries(&world), 1);
    world.heal(1);
    world.restart();
    world.settle();
    assert_eq!((world.weights(), entries(&world)), (vec![5, 5], 0));
    assert!(world.written.is_empty());
    assert_eq!(world.view().machinery.drift.get(&DriftKind::Weight), None, "nobody else was here");
}

#[test]
fn what_somebody_raised_while_we_were_away_is_theirs() {
    let mut world = World::shop(&[5, 5]);
    world.settle();
    world.fail(1);
    world.settle();
    world.edit(1, 8);
    world.heal(1);
    world.restart();
    world.settle();
    assert_eq!((world.weights(), entries(&world)), (vec![8, 5], 0));
    assert_eq!(world.server(1).owed, Some(Weight(8)));
}

#[test]
fn raised_over_a_drain_it_is_drained_once_more_after_fresh_failures_and_then_yielded_to() {
    let mut world = World::shop(&[5, 5]);
    world.settle();
    world.fail(1);
    world.settle();
    world.written.clear();
    world.edit(1, 8);
    world.send(Event::Tick);
    world.settle();
    assert_eq!((world.weights(), world.written.clone()), (vec![0, 5], vec![(1, 8, 0)]));
    assert_eq!(world.server(1).owed, Some(Weight(8)));
    world.edit(1, 9);
    world.settle();
    assert_eq!(world.weights(), [9, 5]);
    assert_eq!(held(&mut world, 1), Some((HeldReason::TugOfWar, 0)));
    assert_eq!(world.view().machinery.drift[&DriftKind::Weight], 2);
    // Held is said once, not per cycle.
    let said = |w: &World| w.notes.iter().filter(|n| matches!(n, Note::Held { .. })).count();
    let before = said(&world);
    world.settle();
    assert_eq!(said(&world), before);
    // A change of the verdict ends the yielding.
    world.heal(1);
    world.settle();
    world.fail(1);
    world.settle();
    assert_eq!((world.weights(), world.server(1).owed), (vec![0, 5], Some(Weight(9))));
}

#[test]
fn after_a_raise_only_fresh_failures_count() {
    let mut world = World::shop(&[5, 5]);
    world.settle();
    world.fail(1);
    world.settle();
    world.edit(1, 8);
    world.run(Duration::from_secs(2)); // the next poll sees it; a failing server is probed once a second
    assert_eq!(held(&mut world, 1), Some((HeldReason::TugOfWar, 0)));
    assert_eq!(world.weights(), [8, 5]);
    world.run(Duration::from_secs(4));
    assert_eq!(world.weights(), [0, 5]);
}

#[test]
fn a_change_between_plan_and_write_is_not_overwritten() {
    // To 0: an operator's drain. To 9: the owed weight from now on; the verdict stands, so it goes out.
    for (edited, owed, finally, records) in [(0, 5, 0, 0), (9, 9, 0, 1)] {
        let mut world = World::shop(&[5, 5]);
        world.settle();
        world.edits_before_write.push((1, edited));
        world.fail(1);
        world.settle();
        assert_eq!(world.weights(), [finally, 5]);
        assert_eq!((entries(&world), world.server(1).owed), (records, Some(Weight(owed))));
        world.heal(1);
        world.settle();
        assert_eq!(world.weights(), [edited, 5]);
    }
}

#[test]
fn a_restore_does_not_overwrite_what_somebody_gave_meanwhile() {
    let mut world = World::shop(&[5, 5]);
    world.settle();
    world.fail(1);
    world.settle();
    world.edits_before_write.push((1, 3));
    world.heal(1);
    world.settle();
    assert_eq!((world.weights(), entries(&world)), (vec![3, 5], 0));
}

#[test]
fn a_refused_write_is_tried_again_at_the_next_poll_not_in_a_loop() {
    let mut world = World::shop(&[5, 5]);
    world.settle();
    world.write_outcomes.insert(key(1), WriteOutcome::Failed("set_dest: EINVAL".into()));
    world.fail(1);
    world.run(Duration::from_secs(10));
    assert_eq!(world.weights(), [5, 5]);
    assert_eq!(world.server(1).desired, Weight::ZERO, "the drift alert compares with what is wanted");
    let failures = world.notes.iter().filter(|n| matches!(n, Note::WriteFailed { .. })).count();
    assert!((3..=6).contains(&failures), "{failures} attempts in 10 s at a poll interval of 2 s");
    world.write_outcomes.clear();
    world.settle();
    assert_eq!((world.weights(), entries(&world)), (vec![0, 5], 1));
}

#[test]
fn a_write_of_unknown_result_is_settled_by_reading() {
    let mut world = World::shop(&[5, 5]);
    world.settle();
    world.write_outcomes.insert(key(1), WriteOutcome::Unknown("set_dest: ENOBUFS".into()));
    world.fail(1);
    world.run(Duration::from_millis(1600));
    world.write_outcomes.clear();
    world.settle();
    assert_eq!((world.weights(), entries(&world)), (vec![0, 5], 1));
    world.heal(1);
    world.settle();
    assert_eq!((world.weights(), entries(&world)), (vec![5, 5], 0));
}

#[test]
fn without_a_ledger_on_disk_nothing_is_taken_but_all_is_given_back() {
    let mut world = World::shop(&[5, 5, 5]);
    world.settle();
    world.fail(1);
    world.settle();
    world.save_error = Some("no space left".into());
    world.fail(2);
    world.settle();
    assert_eq!(world.weights(), [0, 5, 5]);
    assert_eq!(held(&mut world, 2), Some((HeldReason::LedgerUnsaved, 0)));
    assert!(world.view().ledger.error.as_ref().unwrap().contains("no space left"));
    assert!(world.view().ledger.write_failures > 0);
    world.heal(1);
    world.settle();
    assert_eq!(world.weights(), [5, 5, 5]);
    world.save_error = None;
    world.settle();
    assert_eq!((world.weights(), entries(&world)), (vec![5, 0, 5], 1));
    assert_eq!(world.view().ledger.error, None);
    assert_eq!(held(&mut world, 2), None);
}

#[test]
fn an_unusable_ledger_file_stops_every_drain_and_is_never_written_over() {
    let mut world = World::shop(&[5, 5]);
    world.settle();
    world.fail(1);
    world.settle();
    let before = world.disk.clone();
    world.restart_with(Err("/x/ledger.json: line 1: expected value".into()));
    world.heal(1);
    world.fail(2);
    world.settle();
    assert_eq!(world.weights(), [0, 5]);
    assert_eq!(world.disk, before);
    assert!(world.view().ledger.error.as_ref().unwrap().contains("/x/ledger.json"));
    assert_eq!(world.server(1).drained.map(|d| d.by), Some(DrainedBy::External));
}

#[test]
fn entries_of_another_boot_lapse_and_are_said() {
    let mut world = World::shop(&[5, 5]);
    world.settle();
    world.fail(1);
    world.settle();
    let mut ledger = world.disk.clone().unwrap();
    ledger.origin.boot_id = "boot-0".into();
    world.heal(1);
    world.restart_with(Ok(Some(ledger)));
    world.settle();
    assert_eq!(world.weights(), [0, 5], "a 0 of another boot is not ours to raise");
    let lapsed =
        Note::EntryLapsed { service: service(), dest: key(1), owed: Weight(5), reason: LapseReason::Reboot };
    assert!(world.notes.contains(&lapsed));
    // Once somebody sets a weight the record is history.
    world.edit(1, 3);
    world.settle();
    assert!(world.disk.as_ref().unwrap().lapsed.is_empty());
}

#[test]
fn a_living_agents_record_never_grows_old() {
    let mut world = World::shop(&[5, 5]);
    world.settle();
    world.fail(1);
    world.settle();
    let before = world.disk.as_ref().unwrap().confirmed;
    world.policy.ledger_max_age = Duration::from_secs(240);
    world.restart();
    world.run(Duration::from_secs(30));
    let confirmed = world.disk.as_ref().unwrap().confirmed;
    assert!(confirmed.0 > before.0 && world.now.wall.0 - confirmed.0 <= 12.0, "{confirmed:?}");
}

#[test]
fn observe_writes_nothing_and_shows_what_it_would_do() {
    let mut world = World::new(policy(Floor::DEFAULT, Mode::Observe), &[5, 5]);
    world.settle();
    world.fail(1);
    world.settle();
    assert_eq!((world.weights(), world.saves), (vec![5, 5], 0));
    assert_eq!(held(&mut world, 1), Some((HeldReason::Observe, 0)));
    assert_eq!(world.server(1).desired, Weight(5), "after the guard: the kernel's");
    assert_eq!(world.server(1).state, ServerState::Down);
}

#[test]
fn what_we_took_stays_taken_when_the_service_is_no_longer_ours() {
    let mut world = World::shop(&[5, 5]);
    world.settle();
    world.fail(1);
    world.settle();
    world.heal(1);
    world.policy.services.clear();
    world.reload();
    world.settle();
    world.view();
    assert_eq!((world.weights(), entries(&world)), (vec![0, 5], 1));
    let said = Note::HeldButNotManaged { service: service(), dest: key(1), owed: Weight(5) };
    assert_eq!(world.notes.iter().filter(|n| **n == said).count(), 1);
    world.edit(1, 6);
    world.run(SECOND);
    world.view();
    assert_eq!(entries(&world), 0, "somebody gave it back");
}

#[test]
fn one_absence_is_not_a_deletion() {
    let mut world = World::shop(&[5, 5]);
    world.settle();
    world.fail(1);
    world.settle();
    let row = world.table.get_mut(&service()).unwrap().destinations.remove(0);
    world.view(); // one read without it
    assert_eq!(entries(&world), 1);
    world.table.get_mut(&service()).unwrap().destinations.insert(0, row);
    world.heal(1);
    world.settle();
    assert_eq!((world.weights(), entries(&world)), (vec![5, 5], 0));

    world.fail(1);
    world.settle();
    world.table.get_mut(&service()).unwrap().destinations.remove(0);
    world.settle();
    assert_eq!(entries(&world), 0);
    // Added again with 0, it is the operator's.
    world.table.insert(service(), virtual_server(service(), &[0, 5]));
    world.heal(1);
    world.settle();
    assert_eq!(world.weights(), [0, 5]);
}

#[test]
fn a_failed_read_keeps_the_rows_for_three_polls_and_writes_nothing_on_older_ones() {
    let mut world = World::shop(&[5, 5]);
    world.settle();
    world.read_error = Some(ReadFailure::Failed("get_service: EIO".into()));
    world.fail(1);
    world.run(Duration::from_secs(3));
    assert_eq!(world.weights(), [0, 5], "6 s old at most: fresh enough");
    let view = world.view();
    assert!(!view.ipvs_up() && view.snapshot.is_some());
    world.run(Duration::from_secs(5));
    assert!(world.view().snapshot.is_none());
    world.heal(1);
    world.settle();
    assert_eq!(world.weights(), [0, 5]);
    world.read_error = None;
    world.settle();
    assert_eq!(world.weights(), [5, 5]);
    assert!(world.notes.contains(&Note::TableBack));
}

#[test]
fn scrapes_share_a_read_and_without_a_configuration_only_they_read() {
    let mut world = World::new(crate::model::Policy::exporter_only(), &[5, 5]);
    world.run(Duration::from_secs(60));
    assert_eq!(world.reads, 1, "the first read, then none until asked");
    let two = Duration::from_secs(2);
    world.send(Event::ViewWanted { max_age: two });
    world.send(Event::ViewWanted { max_age: two });
    world.run(SECOND);
    world.send(Event::ViewWanted { max_age: two });
    assert_eq!(world.reads, 2);
    assert_eq!(world.view().services[0].name, VIP);
    assert!(world.view().services[0].managed.is_none());
}

#[test]
fn readiness_says_what_is_missing() {
    let mut world = World::shop(&[5]);
    world.read_error = Some(ReadFailure::NoIpvs);
    world.run(SECOND);
    assert!(world.view().ready.as_ref().unwrap_err().contains("modprobe ip_vs"));
    world.read_error = None;
    world.controller = {
        world.restart();
        std::mem::replace(&mut world.controller, World::shop(&[5]).controller)
    };
    world.run(Duration::ZERO);
    assert!(world.view().ready.as_ref().unwrap_err().contains("first round"));
    world.run(SECOND);
    assert_eq!(world.view().ready, Ok(()));
}

#[test]
fn one_probe_serves_two_services_that_decide_for_themselves() {
    let mut world = World::shop(&[5, 5]);
    let twin = "10.0.0.101:80/tcp".parse().unwrap();
    world.table.insert(twin, virtual_server(twin, &[9]));
    world.policy.services[0].matches.push(crate::model::Match::Address {
        net: None,
        port: None,
        protocol: crate::model::Protocol::Tcp,
    });
    world.restart();
    world.settle();
    let probes = world.probed[&key(1).addr];
    assert!((9..=12).contains(&probes), "{probes} probes in 10 s at 1 s");
    world.failing.insert(key(1).addr, refused());
    world.settle();
    assert_eq!(world.weights(), [0, 5]);
    assert_eq!(world.table[&twin].destinations[0].weight, Weight(9), "held by its own floor");
}
