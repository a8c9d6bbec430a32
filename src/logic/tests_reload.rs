//! Reloads under way: phases, what is known of unchanged targets, and what is pending (traps 28, 51).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::event::Event;
use super::world::{World, key};
use crate::model::{Floor, HandOrder, HandRequest, Pace, Policy, SourcePorts, Verdict};

const MS: Duration = Duration::from_millis(1);
const SERVERS: usize = 100;

impl World {
    pub fn reload(&mut self) {
        let (policy, source_ports) = (Arc::new(self.policy.clone()), SourcePorts::USUAL);
        self.send(Event::PolicyLoaded { policy, hash: 2, source_ports });
    }
}

fn many() -> World {
    let mut world = World::shop(&[1; SERVERS]);
    world.settle();
    world
}

/// How often each server was probed in each of so many steps.
fn rounds(world: &mut World, step: Duration, steps: usize) -> Vec<BTreeMap<IpAddr, usize>> {
    let mut round = || {
        world.probed.clear();
        world.run(step);
        world.probed.clone()
    };
    (0..steps).map(|_| round()).collect()
}

fn pace(policy: &mut Policy) -> &mut Pace {
    let check = Arc::make_mut(&mut policy.services[0].checks[0]);
    &mut Arc::make_mut(&mut check.spec).pace
}

/// Of ten parts of the time none has more than three times its share of the probes.
#[track_caller]
fn spread(rounds: &[BTreeMap<IpAddr, usize>]) {
    let count = |rounds: &[BTreeMap<IpAddr, usize>]| rounds.iter().flat_map(BTreeMap::values).sum();
    let counts: Vec<usize> = rounds.chunks(rounds.len() / 10).map(count).collect();
    let share = counts.iter().sum::<usize>() / counts.len();
    assert!(share > 0 && counts.iter().all(|count| *count <= 3 * share), "in lock-step: {counts:?}");
}

#[test]
fn unchanged_targets_keep_their_due_times() {
    let (mut alone, mut reloaded) = (many(), many());
    reloaded.policy.services[0].floor = Floor::Count(3);
    reloaded.policy.services[0].name = Some("market".into());
    for _ in 0..3 {
        reloaded.reload();
        let (expected, found) = (rounds(&mut alone, 10 * MS, 70), rounds(&mut reloaded, 10 * MS, 70));
        assert_eq!(found, expected);
        spread(&found);
    }
    let attempts = |world: &mut World| world.server(1).checks[0].attempts;
    assert_eq!(attempts(&mut reloaded), attempts(&mut alone));
}

/// Other counts, the same interval: as if nothing had been read again.
#[test]
fn targets_with_other_counts_keep_their_due_times() {
    let (mut alone, mut reloaded) = (many(), many());
    pace(&mut reloaded.policy).fall = 9;
    reloaded.reload();
    assert_eq!(rounds(&mut reloaded, 10 * MS, 90), rounds(&mut alone, 10 * MS, 90));
}

#[test]
fn a_changed_interval_is_spread_over_its_length() {
    for seconds in [2, 3, 5] {
        let mut world = many();
        pace(&mut world.policy).interval = Duration::from_secs(seconds);
        world.reload();
        let first = rounds(&mut world, 50 * MS * seconds as u32, 20);
        spread(&first);
        let probed: std::collections::BTreeSet<&IpAddr> = first.iter().flat_map(BTreeMap::keys).collect();
        assert_eq!(probed.len(), SERVERS, "each in the first interval of {seconds} s");
        assert_eq!(world.server(1).verdict, Some(Verdict::Up));
    }
}

/// A failing server is not given the longer interval's time.
#[test]
fn a_verdict_that_is_being_settled_does_not_wait_for_the_new_interval() {
    let mut world = World::shop(&[5, 7]);
    world.settle();
    world.fail(1);
    while world.server(1).checks[0].consecutive_failures != 1 {
        world.run(10 * MS);
    }
    pace(&mut world.policy).interval = Duration::from_secs(60);
    world.reload();
    world.run(Duration::from_millis(500));
    assert_eq!(world.weights(), [0, 7], "three failures, 100 ms apart");
}

/// A drain on its way to the disk, and one by hand, go on; a probe under way counts.
#[test]
fn what_is_pending_stays() {
    let mut world = World::shop(&[5, 6, 7]);
    world.settle();
    world.slow.insert("save");
    world.fail(1);
    world.settle();
    let order = HandOrder::Drain { said: None, force: false };
    let servers = key(2).to_string().parse().unwrap();
    world.send(Event::Hand { id: 1, request: HandRequest { servers, service: None, order } });
    assert_eq!((world.weights(), world.answers.len()), (vec![5, 6, 7], 0), "both wait for the disk");
    world.policy.services[0].quorum = 2;
    world.reload();
    world.reload();
    assert_eq!((world.weights(), world.answers.len()), (vec![5, 6, 7], 0));
    world.release("save");
    world.settle();
    assert_eq!(world.weights(), [0, 0, 7]);
    assert!(world.answers.pop().is_some_and(|answer| answer.is_ok()));

    world.slow.insert("probe");
    world.run(Duration::from_secs(2));
    let attempts = world.server(3).checks[0].attempts;
    world.reload();
    world.release_waiting("probe");
    assert_eq!(world.server(3).checks[0].attempts, attempts + 1);
}

/// A refused one changes nothing but what is said of it.
#[test]
fn a_refused_configuration_changes_nothing() {
    let (mut alone, mut refused) = (many(), many());
    for world in [&mut alone, &mut refused] {
        world.fail(7);
        world.settle();
    }
    refused.send(Event::PolicyRefused);
    assert_eq!(rounds(&mut refused, 10 * MS, 70), rounds(&mut alone, 10 * MS, 70));
    assert_eq!(refused.weights(), alone.weights());
    assert_eq!(refused.saves, alone.saves);
    assert!(!refused.view().config.last_load_successful && alone.view().config.last_load_successful);
}

/// A save takes its time, and meanwhile the service is nobody's any more: not even a step on record is
/// written there (invariant 2).
#[test]
fn a_step_that_waits_for_its_record_is_not_made_once_its_service_is_dropped() {
    let mut world = World::shop(&[10, 10]);
    world.policy.services[0].slow_start = Duration::from_secs(9);
    world.reload();
    world.settle();
    world.fail(1);
    world.settle();
    assert_eq!(world.weights(), [0, 10]);
    world.slow.insert("save");
    world.heal(1);
    world.settle();
    assert_eq!(world.weights(), [0, 10], "its first step waits");
    world.policy.services.clear();
    world.reload();
    world.release("save");
    world.settle();
    let entry = world.disk.as_ref().unwrap().entries.values().next().unwrap();
    assert_eq!((world.weights(), entry.written.0, entry.owed.0), (vec![0, 10], 0, 10));
}
