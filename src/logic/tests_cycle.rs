//! What may happen between a plan, its record on disk, its write and the next read.

use std::time::Duration;

use super::event::{Event, Note};
use super::world::{World, key, service};
use crate::model::{Floor, Mode, ReadFailure, Verdict, Weight, WriteOutcome};

const SECOND: Duration = Duration::from_secs(1);

fn entries(world: &World) -> usize {
    world.disk.as_ref().map_or(0, |l| l.entries.len())
}

/// Two of three servers are out, and everybody knows it.
fn two_out() -> World {
    let mut world = World::shop(&[5, 6, 7]);
    world.settle();
    world.fail(1);
    world.fail(2);
    world.settle();
    assert_eq!((world.weights(), entries(&world)), (vec![0, 0, 7], 2));
    world
}

#[test]
fn a_save_that_ends_while_a_write_is_under_way_leaves_the_write_alone() {
    let mut world = World::shop(&[5, 6, 7]);
    world.settle();
    world.fail(1);
    world.settle();
    world.slow.extend(["save", "write"]);
    world.fail(2);
    world.run(SECOND); // 2 waits for its record …
    world.edit(1, 9);
    world.heal(1);
    world.run(2 * SECOND); // … 1 needs none any more …
    world.release_waiting("save"); // … so while 2 is written, the ledger is saved once more.
    world.release_waiting("save");
    // A read that comes before the write shows the old weight.
    world.run(2 * SECOND);
    assert_eq!(world.weights(), [9, 6, 7]);
    world.release("write");
    world.release("save");
    assert_eq!(world.weights(), [9, 0, 7]);
    world.heal(2);
    world.settle();
    assert_eq!((world.weights(), entries(&world)), (vec![9, 6, 7], 0));
}

#[test]
fn what_is_planned_is_written_only_if_it_still_holds_when_its_record_is_on_disk() {
    type Meanwhile = fn(&mut World);
    let cases: [(&str, Meanwhile); 4] = [
        ("only observed by now", |w| w.policy.services[0].mode = Mode::Observe),
        ("no longer configured", |w| w.policy.services.clear()),
        ("the floor is higher by now", |w| w.policy.services[0].floor = Floor::Count(2)),
        ("the other one is gone", |w| {
            w.table.get_mut(&service()).unwrap().destinations.truncate(1);
            w.view();
        }),
    ];
    for (case, meanwhile) in cases {
        let mut world = World::shop(&[5, 7]);
        world.settle();
        world.slow.insert("save");
        world.fail(1);
        world.settle();
        meanwhile(&mut world);
        world.reload();
        world.release("save");
        world.settle();
        assert_eq!((world.weights()[0], entries(&world)), (5, 0), "{case}");
        assert!(world.written.is_empty(), "{case}");
    }
}

#[test]
fn a_reload_judges_nothing_on_rows_that_a_write_has_made_old() {
    for read_back_fails in [true, false] {
        let mut world = World::shop(&[5, 7]);
        world.settle();
        world.slow.insert("write");
        world.fail(1);
        world.settle();
        if read_back_fails {
            // The write lands, the table cannot be read any more: the last rows show the old weight.
            world.write_outcomes.insert(key(1), WriteOutcome::Unknown("overrun".into()));
            world.read_error = Some(ReadFailure::Failed("EIO".into()));
            world.release("write");
            world.reload();
        } else {
            // The service is no longer ours while its write is under way.
            let ours = std::mem::take(&mut world.policy.services);
            world.reload();
            world.release("write");
            world.policy.services = ours;
            world.reload();
        }
        assert_eq!(world.weights(), [0, 7]);
        world.write_outcomes.clear();
        world.run(4 * SECOND);
        world.read_error = None;
        world.settle();
        assert_eq!((world.weights(), entries(&world)), (vec![0, 7], 1), "{read_back_fails}");
        world.heal(1);
        world.settle();
        assert_eq!((world.weights(), entries(&world)), (vec![5, 7], 0), "{read_back_fails}");
    }
}

#[test]
fn while_it_is_not_known_what_a_write_came_to_the_service_is_left_alone() {
    let mut world = World::shop(&[5, 7]);
    world.settle();
    world.write_outcomes.insert(key(1), WriteOutcome::Unknown("overrun".into()));
    world.slow.insert("write");
    world.fail(1);
    world.settle();
    world.read_error = Some(ReadFailure::Failed("EIO".into()));
    world.release("write");
    // 1 is out, the rows say it is in, and it passes again: 2 is the last one.
    world.heal(1);
    world.fail(2);
    world.run(4 * SECOND);
    assert_eq!(world.weights(), [0, 7]);
    world.read_error = None;
    world.write_outcomes.clear();
    world.settle();
    assert_eq!(world.weights(), [5, 0]);
}

#[test]
fn a_reload_is_no_second_look_at_the_table() {
    let mut world = two_out();
    let row = world.table.get_mut(&service()).unwrap().destinations.remove(0);
    world.run(SECOND / 2);
    world.view(); // one read without it
    world.slow.insert("read");
    world.reload();
    world.reload();
    world.table.get_mut(&service()).unwrap().destinations.insert(0, row);
    world.release("read");
    world.heal(1);
    world.settle();
    assert_eq!(world.weights(), [5, 0, 7]);
}

#[test]
fn a_stop_waits_for_the_write_under_way_and_for_nothing_else() {
    let mut world = World::shop(&[5, 7]);
    world.settle();
    world.slow.insert("write");
    world.fail(1);
    world.settle();
    world.send(Event::Stopping);
    assert!(!world.controller.at_rest());
    assert_eq!(world.controller.next_wake(), None, "what is due is never begun: no time to wake for");
    world.release("write");
    assert!(world.controller.at_rest());
    assert_eq!((world.weights(), entries(&world)), (vec![0, 7], 1));
}

#[test]
fn the_failure_that_completes_a_fresh_run_drains_at_once() {
    let mut world = World::shop(&[5, 7]);
    world.settle();
    world.fail(1);
    world.settle();
    world.edit(1, 8);
    world.run(SECOND / 2);
    world.view(); // seen
    world.slow.insert("read"); // no poll helps
    let before = world.probed[&key(1).addr];
    for fresh in 1..=3 {
        assert_eq!(world.weights(), [8, 7]);
        while world.probed[&key(1).addr] < before + fresh {
            world.run(Duration::from_millis(10));
        }
    }
    assert_eq!(world.weights(), [0, 7]);
}

#[test]
fn a_change_that_no_verdict_asked_for_has_no_delay() {
    let mut world = World::shop(&[5, 7]);
    world.settle();
    world.fail(1);
    world.settle();
    let measured = world.view().machinery.decision_apply_duration;
    assert_eq!((measured.count, measured.buckets[0]), (1, 1));
    world.restart();
    world.settle();
    // The floor brings it back, long after its verdict was found again.
    world.table.get_mut(&service()).unwrap().destinations.truncate(1);
    world.settle();
    assert_eq!(world.weights(), [5]);
    assert_eq!(world.view().machinery.decision_apply_duration.count, 0);
}

#[test]
fn a_reload_that_changes_only_the_pace_keeps_verdicts_and_counts() {
    let mut world = World::shop(&[5, 7]);
    world.settle();
    world.fail(1);
    world.settle();
    let before = world.server(1);
    let check = std::sync::Arc::make_mut(&mut world.policy.services[0].checks[0]);
    std::sync::Arc::make_mut(&mut check.spec).pace.interval *= 3;
    world.reload();
    let after = world.server(1);
    assert_eq!((after.verdict, after.transitions), (Some(Verdict::Down), before.transitions));
    assert!(after.checks[0].attempts >= before.checks[0].attempts);
}

#[test]
fn what_a_reload_brings_is_said_as_at_the_start() {
    let mut world = World::shop(&[5, 7]);
    let ours = std::mem::take(&mut world.policy.services);
    world.table.get_mut(&service()).unwrap().scheduler = "sh".into();
    world.restart();
    world.settle();
    world.policy.services = ours;
    world.reload();
    let said = |w: &World| w.notes.iter().filter(|n| matches!(n, Note::RefusesAtZero { .. })).count();
    assert_eq!(said(&world), 1);
    world.fail(1);
    world.settle();
    assert_eq!((world.weights(), said(&world)), (vec![0, 7], 1));
    // Checks that are gone will never say that it is well again.
    world.policy.services[0].checks.clear();
    world.reload();
    let held = Note::HeldButNotManaged { service: service(), dest: key(1), owed: Weight(5) };
    assert_eq!(world.notes.iter().filter(|n| **n == held).count(), 1);
}

/// A state directory that cannot be used at the start is tried again.
#[test]
fn a_ledger_that_can_be_opened_later_is_that_of_the_earlier_run() {
    let mut world = two_out();
    world.written.clear();
    let error = "locking /x/lock failed: read-only file system".to_owned();
    world.open_error = Some(error.clone());
    world.restart_with(Err(error));
    world.controller.keeper.open_later(world.now.mono);
    world.heal(1);
    world.settle();
    world.fail(3);
    world.settle();
    assert_eq!(
        (world.weights(), world.written.clone()),
        (vec![0, 0, 7], vec![]),
        "nothing is known or taken"
    );
    assert!(world.view().ledger.error.as_ref().unwrap().contains("read-only"));
    // 2 is put back by an operator, who then sets it to 0 himself: the old record of it is over.
    world.edit(2, 6);
    world.settle();
    world.edit(2, 0);
    world.settle();
    world.open_error = None;
    world.run(5 * SECOND);
    assert_eq!(world.view().ledger.error, None);
    world.heal(2);
    world.heal(3);
    world.settle();
    assert_eq!((world.weights(), entries(&world)), (vec![5, 0, 7], 0));
    let said = |note: fn(&Note) -> bool| world.notes.iter().filter(|n| note(n)).count();
    assert_eq!(said(|n| matches!(n, Note::LedgerSavedAgain)), 1);
    assert_eq!(said(|n| matches!(n, Note::LedgerUnsaved { .. })), 1, "not with each attempt");
}
