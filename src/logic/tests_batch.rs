//! The limit on the changes of one cycle: who goes first, what waits, and what may come in between.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::batch::{CHANGES_PER_CYCLE, Due, Turns};
use super::event::{Event, Note};
use super::world::{World, key, policy, virtual_server};
use crate::model::{
    Direction, Floor, HeldReason, Match, Mode, Protocol, ServiceKey, Verdict, Weight, WeightChange,
};

const SECOND: Duration = Duration::from_secs(1);

fn vip(n: u8) -> ServiceKey {
    format!("10.0.0.{n}:80/tcp").parse().unwrap()
}

fn due(service: u8, direction: Direction, dests: std::ops::RangeInclusive<u8>) -> Vec<Due> {
    let change = |n| WeightChange { service: vip(service), dest: key(n), from: Weight(5), to: Weight(0) };
    dests.map(|n| (change(n), direction)).collect()
}

/// Services of the picked changes, with how many each.
fn shares(turns: &mut Turns, due: &BTreeMap<ServiceKey, Vec<Due>>, room: usize) -> Vec<(String, usize)> {
    let picked = turns.share(due, |_| 1, room);
    assert!(picked.len() <= room);
    let mut shares: BTreeMap<ServiceKey, usize> = BTreeMap::new();
    picked.keys().for_each(|(service, _)| *shares.entry(*service).or_default() += 1);
    shares.into_iter().map(|(service, n)| (service.to_string(), n)).collect()
}

fn share(service: u8, n: usize) -> (String, usize) {
    (vip(service).to_string(), n)
}

#[test]
fn what_fits_goes_whole() {
    let due = BTreeMap::from([
        (vip(1), due(1, Direction::Drain, 1..=250)),
        (vip(2), [due(2, Direction::Restore, 1..=2), due(2, Direction::Adjust, 3..=4)].concat()),
        (vip(3), vec![]),
    ]);
    assert_eq!(shares(&mut Turns::default(), &due, 254), [share(1, 250), share(2, 4)]);
}

#[test]
fn restores_go_first_and_steps_of_a_ramp_last() {
    let all = [
        due(1, Direction::Drain, 1..=3),
        due(1, Direction::Restore, 4..=5),
        due(1, Direction::Adjust, 6..=7),
    ];
    let due = BTreeMap::from([(vip(1), all.concat()), (vip(2), due(2, Direction::Restore, 1..=1))]);
    let directions = |room| {
        let picked = Turns::default().share(&due, |_| 1, room);
        picked.values().map(|(_, direction)| *direction).collect::<BTreeSet<_>>()
    };
    assert_eq!(directions(3), BTreeSet::from([Direction::Restore]));
    assert_eq!(directions(6), BTreeSet::from([Direction::Restore, Direction::Drain]));
    assert_eq!(directions(7).len(), 3);
}

#[test]
fn the_longest_failing_of_a_service_is_not_left_behind() {
    let mut drains = due(1, Direction::Drain, 1..=9);
    drains.reverse(); // the planner's order
    let picked = Turns::default().share(&BTreeMap::from([(vip(1), drains)]), |_| 1, 2);
    assert_eq!(picked.keys().map(|(_, dest)| *dest).collect::<Vec<_>>(), [key(8), key(9)]);
}

#[test]
fn a_big_service_leaves_room_for_the_small_ones_and_takes_what_they_leave() {
    let due = BTreeMap::from([
        (vip(1), due(1, Direction::Drain, 1..=250)),
        (vip(2), due(2, Direction::Drain, 1..=7)),
        (vip(3), due(3, Direction::Drain, 1..=120)),
    ]);
    let mut turns = Turns::default();
    assert_eq!(shares(&mut turns, &due, 207), [share(1, 100), share(2, 7), share(3, 100)]);
    assert_eq!(shares(&mut turns, &due, 300), [share(1, 193), share(2, 7), share(3, 100)]);
}

#[test]
fn what_costs_the_kernel_more_takes_up_more() {
    let due = BTreeMap::from([
        (vip(1), due(1, Direction::Drain, 1..=250)),
        (vip(2), due(2, Direction::Drain, 1..=250)),
    ]);
    let cost = |service: &ServiceKey| if *service == vip(1) { 5 } else { 1 };
    for (room, dear, cheap) in [(500, 100, 0), (600, 100, 100), (700, 120, 100), (703, 121, 100), (5, 1, 0)] {
        let picked = Turns::default().share(&due, cost, room);
        let of_the_dear = picked.keys().filter(|(service, _)| *service == vip(1)).count();
        assert_eq!((of_the_dear, picked.len() - of_the_dear), (dear, cheap), "room for {room}");
    }
}

#[test]
fn nobody_starves_however_much_the_others_want() {
    let due: BTreeMap<_, _> = (1..=5).map(|n| (vip(n), due(n, Direction::Drain, 1..=200))).collect();
    let mut turns = Turns::default();
    let mut served: BTreeMap<String, usize> = BTreeMap::new();
    // All want as much again each time; one turn fits.
    for _ in 0..20 {
        shares(&mut turns, &due, 100).into_iter().for_each(|(s, n)| *served.entry(s).or_default() += n);
    }
    assert_eq!(served.into_values().collect::<Vec<_>>(), [400; 5]);
}

/// Services .101 to .10N with the real servers 1 to 3 each, at most 3 changes a cycle.
fn shops(n: u8, floor: Floor) -> World {
    let mut world = World::new(policy(floor, Mode::Enforce), &[]);
    world.table = (101..=100 + n).map(|n| (vip(n), virtual_server(vip(n), &[5, 6, 7]))).collect();
    world.policy.services[0].matches =
        vec![Match::Address { net: None, port: None, protocol: Protocol::Tcp }];
    world.restart();
    world.controller.changes_per_cycle = 3;
    world.settle();
    world
}

/// Real servers 1 and 2 fail in each, and all drains are decided in one moment.
fn mass_failure(services: u8) -> World {
    let mut world = shops(services, Floor::DEFAULT);
    world.policy.services[0].mode = Mode::Observe;
    world.reload();
    world.fail(1);
    world.fail(2);
    world.settle();
    world.policy.services[0].mode = Mode::Enforce;
    world.slow.insert("write");
    world.reload();
    world
}

/// (real servers at 0, those held by the limit) of each service.
fn out_and_waiting(world: &mut World) -> Vec<(usize, usize)> {
    let view = world.view();
    let count = |service: &crate::model::ServiceView| {
        let servers = &service.managed.as_ref().expect("managed").real_servers;
        let waits = |s: &&crate::model::RealServerView| {
            s.held.is_some_and(|held| held.reason == HeldReason::RateLimit && held.would == Weight::ZERO)
        };
        (servers.iter().filter(|s| s.weight.is_zero()).count(), servers.iter().filter(waits).count())
    };
    view.services.iter().map(count).collect()
}

fn holds(world: &mut World) -> u64 {
    let view = world.view();
    let held = |s: &crate::model::ServiceView| {
        s.managed.as_ref()?.weight_changes_held.get(&HeldReason::RateLimit).copied()
    };
    view.services.iter().filter_map(held).sum()
}

fn said(world: &World, of: impl Fn(&Note) -> bool) -> usize {
    world.notes.iter().filter(|note| of(note)).count()
}

fn entries(world: &World) -> usize {
    world.disk.as_ref().map_or(0, |l| l.entries.len())
}

#[test]
fn what_one_cycle_does_not_make_is_held_and_the_next_ones_follow_at_once() {
    let mut world = mass_failure(4);
    let at = world.now.mono;
    assert_eq!(out_and_waiting(&mut world), [(0, 0), (0, 1), (0, 2), (0, 2)]);
    assert_eq!(entries(&world), 3, "no record of what is not yet made");
    world.release_waiting("write");
    assert_eq!(out_and_waiting(&mut world), [(2, 0), (1, 0), (0, 0), (0, 2)]);
    world.release_waiting("write");
    assert_eq!(out_and_waiting(&mut world), [(2, 0), (2, 0), (2, 0), (0, 0)]);
    world.release("write");
    assert_eq!(out_and_waiting(&mut world), [(2, 0), (2, 0), (2, 0), (2, 0)]);
    assert_eq!(world.now.mono, at, "no poll is waited for");
    assert_eq!((entries(&world), world.written.len()), (8, 8));

    assert_eq!(holds(&mut world), 5, "once a hold, not once a cycle");
    assert_eq!(said(&world, |n| matches!(n, Note::Held { reason: HeldReason::RateLimit, .. })), 0);
    let one = Note::RateLimited { waiting: 5, per_cycle: 3 };
    assert_eq!(said(&world, |n| *n == one), 1);
    assert_eq!(said(&world, |n| matches!(n, Note::RateLimited { .. })), 1);
    assert_eq!(said(&world, |n| matches!(n, Note::RateLimitOver { .. })), 1);
    assert_eq!(
        world.view().machinery.decision_apply_duration.count,
        0,
        "they were only observed when decided"
    );

    world.settle();
    assert_eq!(world.written.len(), 8, "nothing is written twice");
    world.heal(1);
    world.heal(2);
    world.settle();
    assert_eq!((out_and_waiting(&mut world), entries(&world)), (vec![(0, 0); 4], 0));
    assert!(world.table.values().all(|s| s.destinations.iter().map(|d| d.weight.0).eq([5, 6, 7])));
}

#[test]
fn the_time_that_a_change_waits_for_its_turn_counts_as_ours() {
    let mut world = shops(2, Floor::DEFAULT);
    world.slow.insert("write");
    world.fail(1);
    world.fail(2);
    world.run(3 * SECOND); // the first verdict's drains are being written, the others wait
    world.release("write");
    world.settle();
    let measured = world.view().machinery.decision_apply_duration;
    assert_eq!(measured.count, 4);
}

#[test]
fn a_verdict_between_two_cycles_takes_back_what_is_not_yet_written() {
    let mut world = mass_failure(4);
    world.heal(1);
    world.run(5 * SECOND); // while the first cycle writes
    world.release_waiting("write");
    let under_way = world.written.len();
    world.release("write");
    world.settle();
    assert!(world.table.values().all(|s| s.destinations.iter().map(|d| d.weight.0).eq([5, 0, 7])));
    assert_eq!(under_way, 3);
    assert!(world.written[..under_way].contains(&(1, 5, 0)), "{:?}", world.written);
    assert!(!world.written[under_way..].contains(&(1, 5, 0)), "{:?}", world.written);
    assert_eq!(entries(&world), 4);
}

#[test]
fn what_brings_servers_back_overtakes_the_drains_that_wait() {
    let mut world = mass_failure(4);
    world.release_waiting("write"); // 101 and half of 102 are out; 102, 103 are being written
    world.heal(1);
    world.run(5 * SECOND);
    world.written.clear();
    world.release_waiting("write"); // what was under way
    let under_way = world.written.len();
    world.release_waiting("write");
    assert_eq!(under_way, 3);
    let next: Vec<_> = world.written[under_way..].iter().map(|(n, _, to)| (*n, *to)).collect();
    assert_eq!(next, [(1, 5), (1, 5), (1, 5)], "the restores first, the last drain after them");
    world.release("write");
    world.settle();
    assert!(world.table.values().all(|s| s.destinations.iter().map(|d| d.weight.0).eq([5, 0, 7])));
}

#[test]
fn each_cycle_alone_keeps_the_floor() {
    let mut world = shops(3, Floor::Count(2));
    world.controller.changes_per_cycle = 1;
    world.slow.insert("write");
    let mut random = 7_u32;
    for _ in 0..200 {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let n = 1 + (random >> 20) as u8 % 3;
        if random >> 30 == 0 {
            world.fail(n)
        } else {
            world.heal(n)
        }
        world.run(SECOND);
        world.release_waiting("write");
        for service in world.table.values() {
            let inside = service.destinations.iter().filter(|d| !d.weight.is_zero()).count();
            assert!(inside >= 2, "{service:?}");
        }
    }
    assert!(world.written.len() > 20, "{}", world.written.len());
}

#[test]
fn a_death_between_two_cycles_loses_nothing() {
    let mut world = mass_failure(4);
    world.release_waiting("write");
    world.slow.clear();
    world.restart();
    world.settle();
    assert_eq!(out_and_waiting(&mut world), [(2, 0); 4]);
    world.restart();
    world.heal(1);
    world.heal(2);
    world.settle();
    assert_eq!((out_and_waiting(&mut world), entries(&world)), (vec![(0, 0); 4], 0));
}

#[test]
fn a_stop_begins_no_further_cycle() {
    let mut world = mass_failure(4);
    world.send(Event::Stopping);
    world.release("write");
    assert!(world.controller.at_rest());
    assert_eq!((world.written.len(), entries(&world)), (3, 3));
}

#[test]
fn a_disk_that_fails_in_between_holds_what_waits_for_that_reason() {
    let mut world = mass_failure(4);
    world.save_error = Some("no space".into());
    world.release_waiting("write");
    world.release_waiting("write");
    assert_eq!(world.written.len(), 3);
    let view = world.view();
    let reasons = view.services.iter().flat_map(|s| &s.managed.as_ref().unwrap().real_servers);
    let reasons: BTreeSet<_> = reasons.filter_map(|s| s.held.map(|held| held.reason)).collect();
    assert_eq!(reasons, BTreeSet::from([HeldReason::LedgerUnsaved]));
    assert_eq!(said(&world, |n| matches!(n, Note::RateLimitOver { .. })), 1);
    world.save_error = None;
    world.slow.clear();
    world.settle();
    assert_eq!(out_and_waiting(&mut world), [(2, 0); 4]);
}

#[test]
fn thousands_are_made_in_cycles_of_the_limit() {
    let mut world = World::new(policy(Floor::Percent(50), Mode::Enforce), &[]);
    world.table = (1..=50).map(|n| (vip(n), virtual_server(vip(n), &[9; 100]))).collect();
    world.table.values_mut().for_each(|vs| vs.scheduler = "mh".into()); // each change counts for five
    world.policy.services[0].matches =
        vec![Match::Address { net: None, port: None, protocol: Protocol::Tcp }];
    world.policy.services[0].mode = Mode::Observe;
    world.restart();
    world.settle();
    (1..=50).for_each(|n| world.fail(n));
    world.settle();
    world.policy.services[0].mode = Mode::Enforce;
    let saves = world.saves;
    world.reload();
    assert_eq!(out_and_waiting(&mut world), [(50, 0); 50]);
    assert_eq!(holds(&mut world), 2500 - CHANGES_PER_CYCLE as u64 / 5);
    let cycles = (5 * 2500_usize).div_ceil(CHANGES_PER_CYCLE);
    assert_eq!(world.saves - saves, cycles + 1, "one for each cycle, and one that says that all is done");
    let all = world.view();
    let verdicts = all.services.iter().flat_map(|s| &s.managed.as_ref().unwrap().real_servers);
    assert_eq!(verdicts.filter(|s| s.verdict == Some(Verdict::Down)).count(), 2500);
}
