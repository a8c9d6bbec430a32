//! Slow start: the way back in steps, with crashes, operators, reloads and disks in between.

use std::time::Duration;

use super::event::{Event, Note};
use super::ledger::{Entry, EntryState, Ledger};
use super::world::{World, key, policy, service};
use crate::model::{
    Direction, Floor, HandEffect, HandOrder, HandRequest, HeldReason, Mode, Mono, Policy, ReadFailure,
    RealServerView, ServerState, SlowStart, Verdict, Weight, WriteOutcome,
};

const SECOND: Duration = Duration::from_secs(1);
const TENTH: Duration = Duration::from_millis(100);

/// Ten steps, one a second, for a weight of 10 or more.
fn slow() -> Policy {
    let mut policy = policy(Floor::DEFAULT, Mode::Enforce);
    policy.services[0].slow_start = 9 * SECOND;
    policy
}

/// 1 of two is out, and the other is well.
fn one_out(weights: &[u32]) -> World {
    let mut world = World::new(slow(), weights);
    world.settle();
    world.fail(1);
    world.settle();
    assert_eq!(world.weights()[0], 0);
    world
}

/// 1 is on its ramp, at this step of ten.
fn climbing(step: u32) -> World {
    let mut world = one_out(&[10, 10]);
    world.heal(1);
    until(&mut world, step);
    world
}

fn until(world: &mut World, weight: u32) {
    let limit = world.now.mono + 60 * SECOND;
    while world.weights()[0] != weight {
        world.run(TENTH);
        assert!(world.now.mono < limit, "{:?} and not {weight}", world.weights());
    }
}

fn entry(world: &World) -> Option<Entry> {
    world.disk.as_ref().and_then(|l| l.entries.get(&(service(), key(1))).copied())
}

fn entries(world: &World) -> usize {
    world.disk.as_ref().map_or(0, |l| l.entries.len())
}

/// What was written to server 1 since this many writes.
fn writes(world: &World, since: usize) -> Vec<(u32, u32)> {
    world.written[since..].iter().filter(|w| w.0 == 1).map(|w| (w.1, w.2)).collect()
}

fn by_hand(world: &mut World, order: HandOrder) -> HandEffect {
    let request = HandRequest { servers: key(1).to_string().parse().unwrap(), service: None, order };
    world.send(Event::Hand { id: 1, request });
    world.answers.pop().expect("an answer").expect("done")[0].effect
}

const DRAIN: HandOrder = HandOrder::Drain { said: None, force: false };
const UNDRAIN: HandOrder = HandOrder::Undrain { ignore_checks: false };

#[test]
fn it_climbs_in_ten_steps_over_the_time_each_recorded_first() {
    let mut policy = slow();
    policy.poll_interval = 1000 * SECOND; // no poll helps
    let mut world = World::new(policy, &[10, 10]);
    world.settle();
    world.fail(1);
    world.settle();
    let before = world.written.len();
    world.heal(1);
    until(&mut world, 1);
    let began = world.now.mono;
    let mut steps = vec![];
    while world.weights()[0] < 10 {
        let weight = world.weights()[0];
        world.run(TENTH);
        if world.weights()[0] != weight {
            let tenths = world.now.mono.since(began).as_millis().div_ceil(100);
            steps.push((world.weights()[0], tenths as u64));
        }
    }
    let expected: Vec<(u32, u64)> = (2..=10).map(|step| (step, 10 * (u64::from(step) - 1))).collect();
    let late =
        |((w, at), (want, due)): (&(u32, u64), &(u32, u64))| w == want && (*due..=due + 1).contains(at);
    assert!(steps.iter().zip(&expected).all(late) && steps.len() == 9, "{steps:?}");
    let climbed: Vec<(u32, u32)> = (0..10).map(|step| (step, step + 1)).collect();
    assert_eq!(writes(&world, before), climbed);
    world.settle();
    assert_eq!((entries(&world), world.weights()), (0, vec![10, 10]));
    let view = world.view();
    let changes = &view.services[0].managed.as_ref().unwrap().weight_changes;
    let count = |direction| changes.get(&direction).copied().unwrap_or(0);
    assert_eq!([Direction::Drain, Direction::Restore, Direction::Adjust].map(count), [1, 1, 9]);
    assert!(!world.notes.iter().any(|n| matches!(n, Note::ChangedByOthers { .. })));
}

#[test]
fn on_its_ramp_it_is_in_and_says_how_far_it_is() {
    let mut world = climbing(3);
    let row: RealServerView = world.server(1);
    assert_eq!(
        (row.state, row.weight, row.desired, row.owed, row.drained),
        (ServerState::Up, Weight(3), Weight(3), Some(Weight(10)), None)
    );
    let SlowStart { step, of, left } = row.slow_start.expect("slow start");
    let left = left.expect("it climbs");
    assert_eq!((step, of), (3, 10));
    assert!(left > 6 * SECOND && left <= 7 * SECOND, "{left:?}");
    let on_disk = entry(&world).unwrap();
    assert_eq!((on_disk.owed, on_disk.from, on_disk.written), (Weight(10), Weight(2), Weight(3)));
    world.run(20 * SECOND);
    assert_eq!(world.server(1).slow_start, None);
    world.slow.insert("write");
    world.fail(1);
    world.run(4 * SECOND);
    assert_eq!((world.weights()[0], world.server(1).slow_start), (10, None), "a drain is on its way");
}

#[test]
fn the_scheduler_decides_whether_there_is_a_ramp() {
    for (scheduler, expected) in [
        ("rr", vec![(0, 10)]),
        ("lc", vec![(0, 10)]),
        ("fo", vec![(0, 10)]),
        ("sh", vec![(0, 5), (5, 10)]),
        ("mh", vec![(0, 5), (5, 10)]),
    ] {
        let mut world = World::new(slow(), &[10, 10]);
        world.table.get_mut(&service()).unwrap().scheduler = scheduler.into();
        world.settle();
        world.fail(1);
        world.settle();
        let before = world.written.len();
        world.heal(1);
        world.run(20 * SECOND);
        assert_eq!((writes(&world, before), entries(&world)), (expected, 0), "{scheduler}");
    }
}

#[test]
fn weight_1_comes_back_whole_and_the_greatest_without_overflow() {
    let mut world = one_out(&[1, 1]);
    let before = world.written.len();
    world.heal(1);
    world.run(20 * SECOND);
    assert_eq!(writes(&world, before), [(0, 1)]);
    let greatest = Weight::MAX.0;
    let mut world = one_out(&[greatest, 1]);
    let before = world.written.len();
    world.heal(1);
    world.run(20 * SECOND);
    let writes = writes(&world, before);
    assert_eq!((writes[0], writes[9]), ((0, 214_748_365), (1_932_735_283, greatest)));
}

#[test]
fn what_need_gives_back_is_whole_at_once() {
    let mut world = one_out(&[10, 10]);
    world.fail(2);
    world.settle();
    let before = world.written.len();
    world.heal(1);
    world.run(20 * SECOND);
    assert_eq!(writes(&world, before), [(0, 10)], "its first pass ends the need");
    // And the one that comes after it climbs.
    let before = world.written.len();
    world.heal(2);
    world.run(20 * SECOND);
    let second: Vec<u32> = world.written[before..].iter().filter(|w| w.0 == 2).map(|w| w.2).collect();
    assert_eq!(second, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    // A deletion leaves too few, and what checks took comes back although it fails.
    let mut world = one_out(&[10, 10]);
    world.table.get_mut(&service()).unwrap().destinations.truncate(1);
    let before = world.written.len();
    world.settle();
    assert_eq!(writes(&world, before), [(0, 10)]);
}

#[test]
fn it_counts_as_in_for_the_floor() {
    let mut world = World::new(slow(), &[10, 10, 10]);
    world.policy.services[0].floor = Floor::Count(2);
    world.reload();
    world.settle();
    world.fail(1);
    world.settle();
    world.heal(1);
    until(&mut world, 2);
    world.fail(3);
    world.run(2 * SECOND);
    assert_eq!(world.weights()[1..], [10, 0], "1 is in with its step, so that 3 may go");
    world.fail(1);
    world.run(3 * SECOND);
    let row = world.server(1);
    assert_eq!(row.held.map(|h| h.reason), Some(HeldReason::Floor));
    let step = row.weight.0;
    assert!(step > 1 && step < 10, "{step}");
    world.run(20 * SECOND);
    assert_eq!(world.weights(), [step, 10, 0], "a failing one does not climb");
    assert_eq!(world.server(1).slow_start.unwrap().left, None);
    world.heal(1);
    let before = world.written.len();
    world.run(20 * SECOND);
    assert_eq!(writes(&world, before).first(), Some(&(step, step + 1)), "it goes on from there");
    assert_eq!((world.weights()[0], entries(&world)), (10, 1));
}

#[test]
fn one_that_fails_on_its_ramp_goes_from_its_step_and_is_owed_all() {
    let mut world = climbing(4);
    world.fail(1);
    world.run(2 * SECOND);
    let on_disk = entry(&world).unwrap();
    assert_eq!((world.weights()[0], on_disk.owed, on_disk.written), (0, Weight(10), Weight::ZERO));
    assert!(on_disk.from >= Weight(4) && on_disk.from < Weight(10));
    let row = world.server(1);
    assert_eq!((row.owed, row.slow_start), (Some(Weight(10)), None));
    let before = world.written.len();
    world.heal(1);
    world.run(20 * SECOND);
    assert_eq!(writes(&world, before)[0], (0, 1), "from the beginning again");
    assert_eq!((world.weights()[0], entries(&world)), (10, 0));
}

#[test]
fn an_edit_from_outside_ends_it() {
    let mut world = climbing(4);
    world.edit(1, 7);
    let before = world.written.len();
    world.run(20 * SECOND);
    assert_eq!((writes(&world, before), world.weights()[0], entries(&world)), (vec![], 7, 0));
    assert_eq!(world.server(1).owed, Some(Weight(7)));
    // An operator's 0 is his, over a restart too.
    let mut world = climbing(4);
    world.edit(1, 0);
    let before = world.written.len();
    world.run(20 * SECOND);
    let row = world.server(1);
    assert_eq!(row.drained.map(|d| d.by.as_str()), Some("external"));
    assert_eq!((row.owed, row.state), (Some(Weight(10)), ServerState::Drained));
    world.restart();
    world.run(20 * SECOND);
    assert_eq!((writes(&world, before), world.weights()[0], entries(&world)), (vec![], 0, 0));
    // Right before a step is written.
    for weight in [0, 3, 8] {
        let mut world = climbing(4);
        world.edits_before_write.push((1, weight));
        world.run(20 * SECOND);
        assert_eq!((world.weights()[0], entries(&world)), (weight, 0));
    }
}

#[test]
fn by_hand_it_goes_out_from_its_step_and_comes_back_whole() {
    let mut world = climbing(4);
    assert_eq!(by_hand(&mut world, DRAIN), HandEffect::Draining);
    assert_eq!(world.weights()[0], 0);
    let wish = world.disk.as_ref().unwrap().wishes[&(service(), key(1))].clone();
    assert_eq!((wish.owed, entry(&world).unwrap().owed), (Some(Weight(10)), Weight(10)));
    world.run(20 * SECOND);
    assert_eq!(world.weights()[0], 0);
    let before = world.written.len();
    assert_eq!(by_hand(&mut world, UNDRAIN), HandEffect::GivingBack);
    world.run(20 * SECOND);
    assert_eq!((writes(&world, before), entries(&world)), (vec![(0, 10)], 0));
}

#[test]
fn undrain_on_the_ramp_gives_the_rest_at_once() {
    let mut world = climbing(4);
    assert_eq!(by_hand(&mut world, UNDRAIN), HandEffect::GivingBack);
    assert_eq!(world.weights()[0], 10);
    world.settle();
    assert_eq!(entries(&world), 0);
    let mut world = climbing(4);
    let ignore = HandOrder::Undrain { ignore_checks: true };
    assert_eq!(by_hand(&mut world, ignore), HandEffect::IgnoringChecks);
    assert_eq!(world.weights()[0], 10);
}

/// Every save and write of a ramp, and what comes right after each write.
#[test]
fn killed_at_any_point_every_weight_comes_back() {
    let mut deaths = 0;
    for kind in ["save", "write", "log"] {
        for tenths in 0..160 {
            let mut world = one_out(&[10, 10]);
            world.heal(1);
            world.run(tenths * TENTH);
            world.die_before = Some(kind);
            world.run(20 * SECOND);
            if !world.dead {
                continue;
            }
            deaths += 1;
            let left = world.weights()[0];
            for fails in [false, true] {
                let mut next = World::new(slow(), &[left, 10]);
                (next.now, next.disk) = (world.now, world.disk.clone());
                next.restart();
                if fails {
                    next.fail(1);
                    next.settle();
                    let owed = entry(&next).map(|e| (e.owed, e.written));
                    assert_eq!((next.weights()[0], owed), (0, Some((Weight(10), Weight::ZERO))));
                    next.heal(1);
                } else {
                    // Until somebody has judged it, it is left as it was found.
                    next.run(Duration::from_millis(5));
                    assert_eq!(next.weights()[0], left, "{kind} after {tenths}");
                }
                next.run(25 * SECOND);
                let what = format!("{kind} after {tenths}, left {left}, fails: {fails}");
                assert_eq!((next.weights()[0], entries(&next)), (10, 0), "{what}");
                let fell = next.written.iter().any(|w| w.2 < w.1 && w.2 > 0);
                assert!(!fell, "{what}: {:?}", next.written);
            }
        }
    }
    assert!(deaths > 250, "{deaths}");
}

#[test]
fn a_restart_goes_on_from_the_step_it_finds() {
    let mut world = climbing(4);
    world.restart();
    let before = world.written.len();
    world.slow.insert("probe");
    world.run(5 * SECOND);
    assert_eq!(world.weights()[0], 4, "no verdict yet: as it was found");
    assert_eq!(world.server(1).slow_start, Some(SlowStart { step: 4, of: 10, left: None }));
    world.release("probe");
    world.run(20 * SECOND);
    assert_eq!(writes(&world, before), [(4, 5), (5, 6), (6, 7), (7, 8), (8, 9), (9, 10)]);
    assert_eq!(entries(&world), 0);
}

#[test]
fn without_a_disk_the_whole_weight_goes_back_in_one_write() {
    // From the first step on …
    let mut world = one_out(&[10, 10]);
    let before = world.written.len();
    world.save_error = Some("disk full".into());
    world.heal(1);
    world.run(3 * SECOND);
    assert_eq!(writes(&world, before), [(0, 10)]);
    world.save_error = None;
    world.settle();
    assert_eq!((entries(&world), world.weights()[0]), (0, 10));
    // … and in the middle.
    let mut world = climbing(4);
    let before = world.written.len();
    world.save_error = Some("disk full".into());
    world.run(3 * SECOND);
    assert_eq!(writes(&world, before), [(4, 10)]);
    world.restart();
    world.save_error = None;
    world.settle();
    assert_eq!((entries(&world), world.weights()[0]), (0, 10));
}

#[test]
fn a_disk_slower_than_the_steps_delays_them_and_stops_nothing() {
    let mut world = climbing(2);
    world.slow.insert("save");
    let before = world.written.len();
    world.run(3 * SECOND);
    assert_eq!(writes(&world, before), [], "no step without its record");
    for _ in 0..20 {
        world.release_waiting("save");
        world.run(Duration::from_millis(1500));
    }
    let writes = writes(&world, before);
    assert_eq!(writes.first(), Some(&(2, 3)), "the step that was recorded");
    assert!(writes.len() < 8, "{writes:?}");
    assert_eq!(writes.last().map(|w| w.1), Some(10));
    world.release("save");
    world.settle();
    assert_eq!(entries(&world), 0);
}

#[test]
fn a_step_whose_save_has_waited_until_all_is_due_is_written_whole() {
    let mut world = climbing(2);
    world.slow.insert("save");
    let before = world.written.len();
    world.run(15 * SECOND);
    world.release("save");
    assert_eq!(writes(&world, before), [(2, 10)]);
    world.settle();
    assert_eq!((entries(&world), world.weights()[0]), (0, 10));
}

#[test]
fn a_reload_can_end_it_or_hold_it_up() {
    let reloaded = |change: fn(&mut World)| {
        let mut world = climbing(4);
        let before = world.written.len();
        change(&mut world);
        world.reload();
        world.run(20 * SECOND);
        (writes(&world, before), entries(&world), world)
    };
    let (off, left, _) = reloaded(|w| w.policy.services[0].slow_start = Duration::ZERO);
    assert_eq!((off, left), (vec![(4, 10)], 0));
    let (takes_nothing, left, _) =
        reloaded(|w| w.policy.services[0].on_failure = Some(crate::model::OnFailure::Observe));
    assert_eq!((takes_nothing, left), (vec![(4, 10)], 0));
    let (scheduler, left, _) = reloaded(|w| w.table.get_mut(&service()).unwrap().scheduler = "lc".into());
    assert_eq!((scheduler, left), (vec![(4, 10)], 0));
    let (observed, left, mut world) = reloaded(|w| w.policy.services[0].mode = Mode::Observe);
    assert_eq!((observed, left), (vec![], 1));
    let held = world.server(1).held.expect("held");
    assert_eq!((held.reason, held.would), (HeldReason::Observe, Weight(10)));
    let holds = world.notes.iter().filter(|n| matches!(n, Note::Held { .. })).count();
    assert_eq!(holds, 1, "said once");
    world.policy.services[0].mode = Mode::Enforce;
    world.reload();
    world.run(20 * SECOND);
    assert_eq!((world.weights()[0], entries(&world)), (10, 0));
}

#[test]
fn reloads_in_between_do_not_make_it_longer() {
    let mut world = climbing(1);
    let began = world.now.mono;
    while world.weights()[0] < 10 {
        world.run(3 * TENTH);
        world.reload();
    }
    assert!(world.now.mono.since(began) < 10 * SECOND);
}

#[test]
fn what_is_no_longer_configured_stays_at_its_step_until_undrain() {
    for die_before in [None, Some("write")] {
        let mut world = climbing(4);
        world.die_before = die_before;
        world.run(2 * SECOND);
        let left = world.weights()[0];
        let ours = std::mem::take(&mut world.policy.services);
        if die_before.is_some() {
            assert_eq!(entry(&world).unwrap().state, EntryState::Pending);
            world.restart();
        }
        world.reload();
        world.run(20 * SECOND);
        let on_disk = entry(&world).unwrap();
        assert_eq!((world.weights()[0], on_disk.written, on_disk.owed), (left, Weight(left), Weight(10)));
        if die_before.is_some() {
            assert_eq!(by_hand(&mut world, UNDRAIN), HandEffect::GivingBack);
        } else {
            world.policy.services = ours;
            world.reload();
        }
        world.run(20 * SECOND);
        assert_eq!((world.weights()[0], entries(&world)), (10, 0), "{die_before:?}");
    }
}

#[test]
fn a_server_that_goes_takes_its_ramp_along_and_one_that_a_read_missed_does_not() {
    for polls in [0, 3] {
        let mut world = climbing(4);
        let vs = world.table.get_mut(&service()).unwrap();
        let row = vs.destinations.remove(0);
        world.view();
        world.run(2 * polls * SECOND);
        let vs = world.table.get_mut(&service()).unwrap();
        vs.destinations.insert(0, row);
        world.run(20 * SECOND);
        let expected = if polls == 0 { 10 } else { 4 };
        assert_eq!((world.weights()[0], entries(&world)), (expected, 0), "{polls}");
    }
}

#[test]
fn a_step_that_fails_is_tried_again_and_forgets_nothing() {
    let mut world = climbing(4);
    world.write_outcomes.insert(key(1), WriteOutcome::Failed("EBUSY".into()));
    world.run(3 * SECOND);
    assert_eq!((world.weights()[0], entry(&world).unwrap().written), (4, Weight(4)));
    world.write_outcomes.clear();
    world.run(20 * SECOND);
    assert_eq!((world.weights()[0], entries(&world)), (10, 0));
    for (lands, read_back) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut world = climbing(4);
        (world.unknown_lands, world.unknown_read_back) = (lands, read_back);
        world.write_outcomes.insert(key(1), WriteOutcome::Unknown("overrun".into()));
        world.run(Duration::from_millis(1100));
        world.read_error = Some(ReadFailure::Failed("EIO".into()));
        world.run(2 * SECOND);
        world.read_error = None;
        world.write_outcomes.clear();
        world.run(20 * SECOND);
        assert_eq!((world.weights()[0], entries(&world)), (10, 0), "{lands} {read_back}");
        let others = world.notes.iter().any(|n| matches!(n, Note::ChangedByOthers { .. }));
        assert!(!others, "{lands} {read_back}");
    }
}

#[test]
fn on_a_stale_table_no_step_is_written() {
    let mut world = climbing(2);
    world.read_error = Some(ReadFailure::Failed("EIO".into()));
    world.run(7 * SECOND);
    let weight = world.weights()[0];
    assert!(weight < 9, "{weight}");
    world.run(20 * SECOND);
    assert_eq!(world.weights()[0], weight);
    world.read_error = None;
    world.run(20 * SECOND);
    assert_eq!((world.weights()[0], entries(&world)), (10, 0));
}

#[test]
fn one_that_lapsed_on_its_ramp_is_kept_and_given_by_undrain() {
    let mut world = climbing(4);
    let mut old: Ledger = world.disk.clone().unwrap();
    (old.confirmed.0, old.uptime) = (old.confirmed.0 - 1e7, None);
    world.restart_with(Ok(Some(old)));
    world.settle();
    let lapsed = world.controller.keeper.lapsed(&(service(), key(1))).map(|entry| entry.owed);
    assert_eq!((world.weights()[0], lapsed), (4, Some(Weight(10))));
    assert_eq!(by_hand(&mut world, UNDRAIN), HandEffect::GivingBack);
    world.settle();
    assert_eq!((world.weights()[0], entries(&world)), (10, 0));
}

#[test]
fn at_rest_no_wake_is_due_and_between_steps_only_the_next() {
    let mut world = climbing(10);
    world.settle();
    assert_eq!(world.controller.alarms.next(), None);
    let mut world = climbing(4);
    let next: Mono = world.controller.alarms.next().expect("the next step");
    assert!(next > world.now.mono && next <= world.now.mono + SECOND);
    world.fail(1);
    world.run(2 * SECOND);
    assert_eq!(world.controller.services[&service()].dests[&key(1)].verdict, Some(Verdict::Down));
    assert_eq!(world.controller.alarms.next(), None, "down: nothing to wait for");
}
