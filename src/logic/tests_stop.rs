//! The agent's end, with and without `restore-on-exit` (trap 18).

use std::time::Duration;

use super::event::{Event, Note};
use super::world::{World, key, policy, service};
use crate::model::{Floor, HandOrder, HandRequest, Mode, Policy, ReadFailure, Weight, WriteOutcome};

/// Three servers, of which the first two are out by their checks.
fn two_taken() -> World {
    let mut world =
        World::new(Policy { restore_on_exit: true, ..policy(Floor::DEFAULT, Mode::Enforce) }, &[5, 6, 7]);
    world.settle();
    world.fail(1);
    world.fail(2);
    world.settle();
    assert_eq!(world.weights(), [0, 0, 7]);
    world
}

fn drain(world: &mut World, n: u8) {
    let order = HandOrder::Drain { said: None, force: true };
    let servers = key(n).to_string().parse().unwrap();
    world.send(Event::Hand { id: 1, request: HandRequest { servers, service: None, order } });
    assert!(world.answers.pop().unwrap().is_ok());
}

/// Stops, and gives it as long as the agent would.
fn stop(world: &mut World) -> Vec<Note> {
    world.send(Event::Stopping);
    world.run(Duration::from_secs(5));
    world.controller.last_words()
}

fn entries(world: &World) -> usize {
    world.disk.as_ref().map_or(0, |ledger| ledger.entries.len())
}

fn gave_back(given: usize, missed: usize, kept: usize) -> Note {
    Note::GaveBackAtStop { given, missed, kept }
}

fn not_given_back(n: u8, owed: u32) -> Note {
    Note::NotGivenBack { service: service(), dest: key(n), owed: Weight(owed) }
}

#[test]
fn by_default_the_table_stays_as_it_is() {
    let mut world = two_taken();
    world.policy.restore_on_exit = false;
    world.reload();
    assert_eq!(stop(&mut world), [Note::LeftAtStop { taken: 2 }]);
    assert_eq!((world.weights(), entries(&world)), (vec![0, 0, 7], 2));
}

#[test]
fn what_checks_took_goes_back_though_it_fails_and_the_records_go() {
    let mut world = two_taken();
    let probes = world.probed.clone();
    world.send(Event::Stopping);
    assert!(world.controller.at_rest(), "at once");
    assert_eq!((world.weights(), entries(&world)), (vec![5, 6, 7], 0));
    assert_eq!(stop(&mut world), [gave_back(2, 0, 0)]);
    assert_eq!(world.weights(), [5, 6, 7], "and it is not taken again");
    assert_eq!(world.probed, probes, "nothing else is begun");
    assert_eq!(world.controller.next_wake(), None);

    // The next run begins afresh.
    world.restart();
    world.settle();
    assert_eq!(world.weights(), [0, 0, 7]);
}

#[test]
fn a_drain_by_hand_stays_and_so_does_what_checks_took_beneath_it() {
    let mut world = two_taken();
    drain(&mut world, 2);
    assert_eq!(stop(&mut world), [gave_back(1, 0, 1)]);
    assert_eq!((world.weights(), entries(&world)), (vec![5, 0, 7], 1));
    world.restart();
    world.heal(2);
    world.settle();
    assert_eq!(world.weights(), [0, 0, 7], "1 fails still, 2 is out by hand");
}

#[test]
fn neither_observe_nor_what_is_no_longer_configured_is_written() {
    for observe in [true, false] {
        let mut world = two_taken();
        match observe {
            true => world.policy.services[0].mode = Mode::Observe,
            false => world.policy.services.clear(),
        }
        world.reload();
        assert_eq!(stop(&mut world), [gave_back(0, 0, 2)], "observe: {observe}");
        assert_eq!((world.weights(), entries(&world)), (vec![0, 0, 7], 2));
    }
}

#[test]
fn what_others_changed_is_theirs() {
    let mut world = two_taken();
    // One seen by the last read, one that comes right before the write.
    world.edit(1, 9);
    world.edits_before_write = vec![(2, 4)];
    assert_eq!(stop(&mut world), [gave_back(0, 0, 0)]);
    assert_eq!((world.weights(), entries(&world)), (vec![9, 4, 7], 0));
    assert!(!world.written.iter().any(|(_, from, to)| *from == 0 && *to > 0), "{:?}", world.written);
}

/// Missing from one read it may come back: its record is the next run's to drop or to use (trap 3).
#[test]
fn what_is_missing_from_the_table_is_not_waited_for() {
    let mut world = two_taken();
    world.table.get_mut(&service()).unwrap().destinations.remove(0);
    let reads = world.reads;
    while world.reads == reads {
        world.run(Duration::from_millis(10));
    }
    assert_eq!(entries(&world), 2, "one read says nothing yet");
    world.send(Event::Stopping);
    assert!(world.controller.at_rest(), "there is nothing more to be done");
    assert_eq!(stop(&mut world), [gave_back(1, 0, 1)]);
    assert_eq!((world.weights(), entries(&world)), (vec![6, 7], 1));
}

#[test]
fn an_operators_zero_is_never_raised() {
    let mut world = two_taken();
    world.edit(3, 0);
    world.settle();
    // The floor has given one back meanwhile; its failing is no reason to keep the other.
    stop(&mut world);
    assert_eq!((world.weights(), entries(&world)), (vec![5, 6, 0], 0));
}

#[test]
fn a_drain_on_its_way_to_the_disk_is_not_made() {
    let mut world = two_taken();
    let written = world.written.len();
    world.heal(1);
    world.settle();
    world.slow.insert("save");
    world.fail(1);
    world.settle();
    assert_eq!(world.weights(), [5, 0, 7], "its record is on its way");
    world.send(Event::Stopping);
    assert!(!world.controller.at_rest());
    world.release("save");
    world.release("save");
    assert_eq!(stop(&mut world), [gave_back(1, 0, 0)]);
    assert_eq!((world.weights(), entries(&world)), (vec![5, 6, 7], 0));
    assert_eq!(world.written[written..], [(1, 0, 5), (2, 0, 6)]);
}

#[test]
fn a_write_that_fails_is_tried_again_and_stays_on_record_if_it_never_lands() {
    for lasting in [false, true] {
        let mut world = two_taken();
        world.write_outcomes.insert(key(2), WriteOutcome::Failed("EIO".into()));
        world.send(Event::Stopping);
        assert_eq!(world.weights(), [5, 0, 7]);
        assert!(!world.controller.at_rest());
        if lasting {
            assert_eq!(stop(&mut world), [not_given_back(2, 6), gave_back(1, 1, 0)]);
            assert_eq!((world.weights(), entries(&world)), (vec![5, 0, 7], 1));
            world.heal(2);
            world.write_outcomes.clear();
            world.restart();
            world.settle();
        } else {
            world.write_outcomes.clear();
            assert_eq!(stop(&mut world), [gave_back(2, 0, 0)]);
        }
        assert_eq!((world.weights()[1], entries(&world)), (6, usize::from(lasting)), "1 fails still");
    }
}

/// The write is not answered: what is in the kernel then, a read tells.
#[test]
fn a_write_of_unknown_result_is_read_before_it_is_made_again() {
    for lands in [true, false] {
        let mut world = two_taken();
        world.write_outcomes.insert(key(2), WriteOutcome::Unknown("time-out".into()));
        world.unknown_lands = lands;
        world.send(Event::Stopping);
        world.write_outcomes.clear();
        assert_eq!(stop(&mut world), [gave_back(2, 0, 0)]);
        assert_eq!((world.weights(), entries(&world)), (vec![5, 6, 7], 0));
        let times = world.written.iter().filter(|w| **w == (2, 0, 6)).count();
        assert_eq!(times, 1, "lands: {lands}: {:?}", world.written);
    }
}

#[test]
fn without_a_fresh_table_nothing_is_written_and_all_stays_on_record() {
    let mut world = two_taken();
    world.read_error = Some(ReadFailure::Failed("EIO".into()));
    world.settle();
    assert_eq!(stop(&mut world), [not_given_back(1, 5), not_given_back(2, 6), gave_back(0, 2, 0)]);
    assert_eq!((world.weights(), entries(&world)), (vec![0, 0, 7], 2));

    // It comes back in time.
    let mut world = two_taken();
    world.read_error = Some(ReadFailure::Failed("EIO".into()));
    world.settle();
    world.send(Event::Stopping);
    world.read_error = None;
    assert_eq!(stop(&mut world), [gave_back(2, 0, 0)]);
    assert_eq!(world.weights(), [5, 6, 7]);
}

/// Started and stopped again before the first read: what an earlier run took goes back all the same.
#[test]
fn what_an_earlier_run_took_is_read_first() {
    let mut world = two_taken();
    world.restart();
    world.slow.insert("read");
    world.send(Event::Tick);
    world.send(Event::Stopping);
    assert_eq!(world.weights(), [0, 0, 7]);
    world.release("read");
    assert_eq!(stop(&mut world), [gave_back(2, 0, 0)]);
    assert_eq!((world.weights(), entries(&world)), (vec![5, 6, 7], 0));
}

#[test]
fn a_crash_anywhere_in_between_loses_nothing() {
    for die_before in ["write", "save"] {
        let mut world = two_taken();
        world.die_before = Some(die_before);
        world.send(Event::Stopping);
        assert!(world.dead);
        assert_eq!(entries(&world), 2, "{die_before}: all is on record still");
        world.restart();
        world.heal(1);
        world.heal(2);
        world.settle();
        assert_eq!((world.weights(), entries(&world)), (vec![5, 6, 7], 0), "{die_before}");
    }
}

/// The records could not be removed: the next run sees that the weights are back.
#[test]
fn a_full_disk_at_the_end_is_no_reason_to_wait() {
    let mut world = two_taken();
    world.save_error = Some("no space".into());
    assert_eq!(stop(&mut world), [gave_back(2, 0, 0)]);
    assert!(world.controller.at_rest());
    assert_eq!((world.weights(), entries(&world)), (vec![5, 6, 7], 2));
    world.save_error = None;
    world.restart();
    world.heal(1);
    world.heal(2);
    world.settle();
    assert_eq!((world.weights(), entries(&world)), (vec![5, 6, 7], 0));
}

/// Each write of it ends before the next begins, as those of any other cycle.
#[test]
fn the_limit_of_one_cycle_holds_at_the_end_too() {
    let mut policy = Policy { restore_on_exit: true, ..policy(Floor::DEFAULT, Mode::Enforce) };
    policy.poll_interval = Duration::from_secs(1000); // no poll helps
    let mut world = World::new(policy, &[5, 6, 7, 8]);
    world.settle();
    (1..=3).for_each(|n| world.fail(n));
    world.settle();
    assert_eq!(world.weights(), [0, 0, 0, 8]);
    world.controller.changes_per_cycle = 2;
    world.slow.insert("write");
    world.send(Event::Stopping);
    world.release_waiting("write");
    assert_eq!((world.weights(), world.controller.at_rest()), (vec![5, 6, 0, 8], false));
    world.release_waiting("write");
    assert_eq!((world.weights(), entries(&world)), (vec![5, 6, 7, 8], 0));
    assert_eq!(world.controller.last_words(), [gave_back(3, 0, 0)]);
}
