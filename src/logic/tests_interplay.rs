//! Where the parts meet: ramps, holds, requests by hand, reloads, crashes and a disk that fails, two at a time.

use std::time::Duration;

use super::event::{Event, Note};
use super::ledger::{Entry, EntryState, LapseReason};
use super::world::{World, key, policy, service, virtual_server};
use crate::model::{
    Floor, HandDone, HandEffect, HandOrder, HandRefused, HandRequest, Match, Mode, Net, Policy, Protocol,
    ReadFailure, ServiceKey, Weight, WriteOutcome,
};

const SECOND: Duration = Duration::from_secs(1);

/// Ten steps, one a second, for a weight of 10 or more.
fn slow(floor: Floor) -> Policy {
    let mut policy = policy(floor, Mode::Enforce);
    policy.services[0].slow_start = 9 * SECOND;
    policy
}

/// 1 was out and is on its ramp, at this weight of ten.
fn climbing(floor: Floor, weights: &[u32], weight: u32) -> World {
    let mut world = World::new(slow(floor), weights);
    world.settle();
    world.fail(1);
    world.settle();
    world.heal(1);
    until(&mut world, weight);
    world
}

fn until(world: &mut World, weight: u32) {
    let limit = world.now.mono + 60 * SECOND;
    while world.weights()[0] != weight {
        world.run(SECOND / 10);
        assert!(world.now.mono < limit, "{:?} and not {weight}", world.weights());
    }
}

fn undrain(world: &mut World, n: u8) -> Result<Vec<HandDone>, HandRefused> {
    let order = HandOrder::Undrain { ignore_checks: false };
    let request = HandRequest { servers: key(n).to_string().parse().unwrap(), service: None, order };
    world.send(Event::Hand { id: 1, request });
    world.answers.pop().expect("an answer, whatever it is")
}

fn entry(world: &World, n: u8) -> Option<Entry> {
    world.disk.as_ref().and_then(|l| l.entries.get(&(service(), key(n))).copied())
}

#[test]
fn an_undrain_that_needs_a_record_is_refused_where_none_can_be_made_and_its_service_goes_on() {
    let mut world = World::shop(&[5, 7]);
    world.restart_with(Err("the ledger /x/ledger.json is broken".into()));
    world.settle();
    world.edit(1, 0);
    world.settle();
    let refused = undrain(&mut world, 1);
    assert!(
        matches!(&refused, Err(HandRefused::LedgerUnsaved(why)) if why.contains("broken")),
        "{refused:?}"
    );
    world.fail(2);
    world.settle();
    assert!(world.server(2).held.is_some(), "the service is planned");
    assert_eq!(world.weights(), [0, 7]);
}

#[test]
fn a_refused_undrain_of_a_lapsed_weight_does_not_forget_it() {
    let mut world = World::shop(&[5, 7]);
    world.settle();
    world.fail(1);
    world.settle();
    world.disk.as_mut().unwrap().origin.boot_id = "boot-0".into();
    world.restart();
    world.heal(1);
    world.settle();
    assert_eq!(world.weights(), [0, 7], "it lapsed");
    world.slow.insert("save");
    world.save_error = Some("no space left".into());
    let order = HandOrder::Undrain { ignore_checks: false };
    let request = HandRequest { servers: key(1).to_string().parse().unwrap(), service: None, order };
    world.send(Event::Hand { id: 1, request });
    world.release("save");
    assert!(matches!(world.answers.pop(), Some(Err(HandRefused::LedgerUnsaved(_)))));
    world.save_error = None;
    world.settle();
    world.restart();
    world.settle();
    let lapsed = world.disk.as_ref().unwrap().lapsed[&(service(), key(1))];
    assert_eq!((lapsed.0.owed, lapsed.1), (Weight(5), LapseReason::Reboot));
    assert_eq!(undrain(&mut world, 1).unwrap()[0].effect, HandEffect::GivingBack);
    world.settle();
    assert_eq!(world.weights(), [5, 7]);
    assert!(world.disk.as_ref().unwrap().lapsed.is_empty(), "it is history");
}

#[test]
fn a_crash_after_the_last_step_is_no_change_by_others() {
    let mut world = climbing(Floor::DEFAULT, &[10, 10], 9);
    world.slow.insert("save");
    until(&mut world, 10);
    assert_eq!(entry(&world, 1).unwrap().written, Weight(9), "the disk does not know yet");
    world.slow.clear();
    world.notes.clear();
    world.restart();
    world.settle();
    assert_eq!((world.weights(), entry(&world, 1)), (vec![10, 10], None));
    assert!(!world.notes.iter().any(|n| matches!(n, Note::ChangedByOthers { .. })), "{:?}", world.notes);
}

#[test]
fn a_step_on_its_way_to_the_disk_is_not_taken_where_the_service_is_dropped_meanwhile() {
    for first in [true, false] {
        let mut world = climbing(Floor::DEFAULT, &[10, 10], if first { 0 } else { 3 });
        world.slow.insert("save");
        world.run(2 * SECOND);
        let before = (world.weights(), world.written.len());
        world.policy.services.clear();
        world.reload();
        world.release("save");
        world.settle();
        assert_eq!((world.weights(), world.written.len()), before);
        let entry = entry(&world, 1).unwrap();
        assert_eq!(
            (entry.owed, entry.written, entry.state),
            (Weight(10), Weight(before.0[0]), EntryState::Done)
        );
        assert_eq!(undrain(&mut world, 1).unwrap()[0].effect, HandEffect::GivingBack);
        world.settle();
        assert_eq!(world.weights(), [10, 10]);
    }
}

#[test]
fn a_failed_undrain_of_a_dropped_service_leaves_the_record_of_what_the_kernel_has() {
    let mut world = World::shop(&[5, 7]);
    world.settle();
    world.fail(1);
    world.settle();
    // A crash between the write and its record being done, and a configuration without the service.
    let disk = world.disk.as_mut().unwrap();
    disk.entries.get_mut(&(service(), key(1))).unwrap().state = EntryState::Pending;
    world.policy.services.clear();
    world.restart();
    world.settle();
    world.write_outcomes.insert(key(1), WriteOutcome::Failed("EBUSY".into()));
    assert_eq!(undrain(&mut world, 1).unwrap()[0].effect, HandEffect::GivingBack);
    world.settle();
    assert_eq!((world.weights()[0], entry(&world, 1).map(|e| e.owed)), (0, Some(Weight(5))));
    world.write_outcomes.clear();
    assert_eq!(undrain(&mut world, 1).unwrap()[0].effect, HandEffect::GivingBack);
    world.settle();
    assert_eq!((world.weights(), entry(&world, 1)), (vec![5, 7], None));
}

#[test]
fn in_need_a_ramp_is_not_waited_for() {
    // Floor 2: the failing 2 has to stay in, and should not get nine of ten new clients.
    let mut world = climbing(Floor::Count(2), &[10, 10, 10], 2);
    world.fail(2);
    world.fail(3);
    world.run(2 * SECOND);
    assert_eq!(world.weights()[0], 10, "{:?}", world.weights());
    assert_eq!(entry(&world, 1), None);
}

#[test]
fn a_drain_whose_result_is_not_known_is_looked_at_before_the_agent_ends() {
    let mut world =
        World::new(Policy { restore_on_exit: true, ..policy(Floor::DEFAULT, Mode::Enforce) }, &[5, 7]);
    world.settle();
    world.write_outcomes.insert(key(1), WriteOutcome::Unknown("no answer".into()));
    world.slow.insert("read");
    world.fail(1);
    world.run(SECOND);
    assert_eq!(world.weights(), [0, 7], "it landed");
    world.write_outcomes.clear();
    world.send(Event::Stopping);
    assert!(!world.controller.at_rest(), "a read is under way that will tell");
    world.release("read");
    world.run(SECOND);
    assert!(world.controller.at_rest());
    assert_eq!((world.weights(), entry(&world, 1)), (vec![5, 7], None));
}

#[test]
fn a_stop_that_cannot_go_on_waits_and_does_not_spin() {
    let mut world =
        World::new(Policy { restore_on_exit: true, ..policy(Floor::DEFAULT, Mode::Enforce) }, &[5, 7]);
    world.settle();
    world.fail(1);
    world.settle();
    world.heal(1);
    world.write_outcomes.insert(key(1), WriteOutcome::Failed("EBUSY".into()));
    world.run(2 * SECOND);
    world.read_error = Some(ReadFailure::NoPermission);
    world.run(20 * SECOND);
    world.send(Event::Stopping);
    let wake = world.controller.next_wake();
    assert!(wake.is_none_or(|at| at > world.now.mono), "{wake:?} is not after {:?}", world.now.mono);
}

#[test]
fn a_ramp_of_an_earlier_run_goes_on_once_the_state_directory_can_be_opened() {
    for edited in [None, Some(4), Some(0)] {
        let mut world = climbing(Floor::DEFAULT, &[10, 10], 3);
        world.restart_with(Err("the state directory is not there".into()));
        world.open_error = Some("the state directory is not there".into());
        world.controller.keeper.open_later(world.now.mono);
        world.settle();
        assert_eq!(world.weights(), [3, 10], "without its record it is left as found");
        if let Some(weight) = edited {
            world.edit(1, weight);
            world.settle();
        }
        world.open_error = None;
        world.run(20 * SECOND);
        assert_eq!(world.weights()[0], edited.unwrap_or(10), "{edited:?}");
        assert_eq!(entry(&world, 1), None);
    }
}

#[test]
fn what_a_dropped_service_gets_back_by_hand_waits_for_a_table_that_is_not_old() {
    let other: ServiceKey = "10.0.0.101:80/tcp".parse().unwrap();
    let mut world = World::new(policy(Floor::DEFAULT, Mode::Enforce), &[5, 7]);
    let mut second = world.policy.services[0].clone();
    second.matches = vec![Match::Address {
        net: Some(Net::host([10, 0, 0, 101].into())),
        port: Some(80),
        protocol: Protocol::Tcp,
    }];
    world.policy.services.push(second);
    world.table.insert(other, virtual_server(other, &[1, 1, 1]));
    world.restart();
    world.settle();
    world.fail(1);
    world.settle();
    world.policy.services.remove(0);
    world.reload();
    world.settle();
    // A drain of the other service waits for a slow disk, and then the table cannot be read any more.
    world.slow.insert("save");
    world.fail(3);
    world.run(2 * SECOND);
    let order = HandOrder::Undrain { ignore_checks: false };
    let servers = key(1).to_string().parse().unwrap();
    let service = Some(service().to_string());
    world.send(Event::Hand { id: 1, request: HandRequest { servers, service, order } });
    assert_eq!(world.answers.pop().unwrap().unwrap()[0].effect, HandEffect::GivingBack);
    world.slow.insert("read");
    world.run(20 * SECOND);
    world.release("save");
    world.run(SECOND);
    assert_eq!(world.weights(), [0, 7], "nothing is written on an old table");
    world.release("read");
    world.settle();
    assert_eq!(world.weights(), [5, 7]);
}

/// The record of the drain was on its way to the disk when an operator set 0 himself.
#[test]
fn an_undrain_gives_back_a_zero_that_came_before_our_write() {
    let mut world = World::shop(&[5, 7]);
    world.settle();
    world.slow.insert("save");
    let order = HandOrder::Drain { said: None, force: false };
    world.send(Event::Hand {
        id: 1,
        request: HandRequest { servers: key(1).to_string().parse().unwrap(), service: None, order },
    });
    world.release_waiting("save"); // what was asked for is on disk, the record of the weight is not
    world.edit(1, 0);
    world.run(5 * SECOND);
    assert_eq!((world.weights(), world.written.len()), (vec![0, 7], 0));
    let order = HandOrder::Undrain { ignore_checks: false };
    world.answers.clear();
    world.send(Event::Hand {
        id: 2,
        request: HandRequest { servers: key(1).to_string().parse().unwrap(), service: None, order },
    });
    world.release("save");
    let answer = world.answers.pop().expect("once it is on disk").unwrap();
    assert_eq!((answer[0].effect, answer[0].owed), (HandEffect::GivingBack, Some(Weight(5))));
    world.settle();
    assert_eq!(world.weights(), [5, 7]);
}
