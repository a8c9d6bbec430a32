//! Drains and undrains by hand, with checks, operators, crashes and reboots in between.

use std::time::Duration;

use super::event::{Event, Note};
use super::ledger::WishKind;
use super::world::{World, key, policy, service, virtual_server};
use crate::model::{
    DrainedBy, Floor, HandDone, HandEffect, HandOrder, HandRefused, HandRequest, HeldReason, Mode,
    ServerState, Verdict, Weight, WriteOutcome,
};

type Answer = Result<Vec<HandDone>, HandRefused>;

fn ask(world: &mut World, servers: &str, order: HandOrder) -> Answer {
    let request = HandRequest { servers: servers.parse().unwrap(), service: None, order };
    world.send(Event::Hand { id: 1, request });
    world.answers.pop().expect("an answer")
}

fn drain(world: &mut World, n: u8) -> Answer {
    ask(world, &key(n).to_string(), HandOrder::Drain { said: Some("a new disk".into()), force: false })
}

fn undrain(world: &mut World, n: u8) -> Answer {
    ask(world, &key(n).to_string(), HandOrder::Undrain { ignore_checks: false })
}

fn ignore_checks(world: &mut World, n: u8) -> Answer {
    ask(world, &key(n).to_string(), HandOrder::Undrain { ignore_checks: true })
}

fn effect(answer: Answer) -> HandEffect {
    let done = answer.unwrap();
    assert_eq!(done.len(), 1, "{done:?}");
    done[0].effect
}

fn records(world: &World) -> (usize, usize) {
    world.disk.as_ref().map_or((0, 0), |l| (l.entries.len(), l.wishes.len()))
}

fn settled(weights: &[u32]) -> World {
    let mut world = World::shop(weights);
    world.settle();
    world
}

#[test]
fn it_goes_out_at_once_stays_out_while_it_passes_and_comes_back_with_its_weight() {
    let mut world = settled(&[5, 7]);
    let answer = drain(&mut world, 1).unwrap();
    assert_eq!((answer[0].effect, answer[0].owed), (HandEffect::Draining, Some(Weight(5))));
    assert_eq!(world.weights(), [0, 7], "without a poll in between");
    world.settle();
    let row = world.server(1);
    assert_eq!(
        (row.state, row.verdict, row.owed),
        (ServerState::Drained, Some(Verdict::Up), Some(Weight(5)))
    );
    assert_eq!(row.drained.unwrap().by, DrainedBy::Operator);
    assert_eq!(row.said.as_deref(), Some("a new disk"));
    let view = world.view();
    let managed = view.services[0].managed.as_ref().unwrap();
    assert_eq!((managed.capacity, managed.floor), (Some(1.0), 1), "it is not in their base");

    assert_eq!(effect(undrain(&mut world, 1)), HandEffect::GivingBack);
    assert_eq!(world.weights(), [5, 7]);
    world.settle();
    assert_eq!(records(&world), (0, 0));
    assert_eq!(world.written, [(1, 5, 0), (1, 0, 5)]);
}

#[test]
fn who_drains_where_clients_are_refused_is_told() {
    for (scheduler, refused) in [("dh", true), ("sh", true), ("wlc", false)] {
        let mut world = World::shop(&[5, 7]);
        world.table.get_mut(&service()).unwrap().scheduler = scheduler.into();
        world.settle();
        let answer = drain(&mut world, 1).unwrap();
        assert_eq!((answer[0].refuses_at_zero, answer[0].text().contains("refuses")), (refused, refused));
        assert!(answer[0].text().starts_with("draining: weight 5 -> 0"), "{}", answer[0].text());
        assert_eq!(world.weights(), [0, 7], "{scheduler}");
    }
}

#[test]
fn neither_failing_nor_recovering_undoes_it_and_undrain_leaves_a_failing_one_to_its_checks() {
    let mut world = settled(&[5, 7]);
    drain(&mut world, 1).unwrap();
    world.fail(1);
    world.settle();
    world.heal(1);
    world.settle();
    assert_eq!(world.weights(), [0, 7]);
    world.fail(1);
    world.settle();
    assert_eq!(effect(undrain(&mut world, 1)), HandEffect::StillFailing);
    world.settle();
    assert_eq!((world.weights(), records(&world)), (vec![0, 7], (1, 0)));
    assert_eq!(world.server(1).drained.map(|d| d.by), Some(DrainedBy::Check));
    world.heal(1);
    world.settle();
    assert_eq!((world.weights(), records(&world)), (vec![5, 7], (0, 0)));
}

#[test]
fn on_a_server_out_by_its_checks_it_is_added_to_that() {
    let mut world = settled(&[5, 7]);
    world.fail(1);
    world.settle();
    assert_eq!(effect(drain(&mut world, 1)), HandEffect::AddedToChecks);
    world.heal(1);
    world.settle();
    assert_eq!(world.weights(), [0, 7]);
    assert_eq!(world.server(1).drained.map(|d| d.by), Some(DrainedBy::Operator));
    assert_eq!(effect(undrain(&mut world, 1)), HandEffect::GivingBack);
    world.settle();
    assert_eq!((world.weights(), records(&world)), (vec![5, 7], (0, 0)));
}

#[test]
fn what_may_not_be_done_is_refused_and_changes_nothing() {
    let (vip, unmanaged) = (service(), "10.9.9.9:80/tcp".parse().unwrap());
    let mut world = settled(&[5, 7, 0]);
    world.table.insert(unmanaged, virtual_server(unmanaged, &[1, 1]));
    world.settle();
    let plain = || HandOrder::Drain { said: None, force: false };
    let missing = "10.0.1.9:80".parse().unwrap();
    assert_eq!(ask(&mut world, "10.0.1.9:80", plain()), Err(HandRefused::NoDest(missing)));
    assert_eq!(drain(&mut world, 1), Err(HandRefused::Unmanaged(unmanaged)), "one of its two services");
    world.table.remove(&unmanaged);
    world.settle();
    assert_eq!(drain(&mut world, 3), Err(HandRefused::External(vip, key(3))));
    assert_eq!(undrain(&mut world, 1), Err(HandRefused::NotDrained(vip, key(1))));
    assert_eq!(undrain(&mut world, 3), Err(HandRefused::OwedUnknown(vip, key(3))));
    let named = |name: &str| HandRequest {
        servers: "10.0.1.1".parse().unwrap(),
        service: Some(name.to_owned()),
        order: plain(),
    };
    world.send(Event::Hand { id: 1, request: named("nosuch") });
    assert_eq!(world.answers.pop(), Some(Err(HandRefused::NoService("nosuch".into()))));
    assert_eq!((world.weights(), records(&world), world.saves), (vec![5, 7, 0], (0, 0), 0));

    world.send(Event::Hand { id: 1, request: named("shop") });
    assert!(world.answers.pop().unwrap().is_ok());
    assert_eq!(drain(&mut world, 1), Err(HandRefused::Twice(vip, key(1))));
    assert_eq!(drain(&mut world, 2), Err(HandRefused::Nobody(vip)));
    world.settle();
    assert_eq!(world.weights(), [0, 7, 0]);
    let forced = HandOrder::Drain { said: None, force: true };
    assert_eq!(effect(ask(&mut world, "10.0.1.2", forced)), HandEffect::Draining);
    world.settle();
    assert_eq!(world.weights(), [0, 0, 0], "the floor holds no operator back");

    let mut world = World::new(policy(Floor::DEFAULT, Mode::Observe), &[5, 7]);
    world.settle();
    assert_eq!(drain(&mut world, 1), Err(HandRefused::Observe(vip)));
    world.controller = World::shop(&[]).controller;
    assert!(matches!(drain(&mut world, 1), Err(HandRefused::NoTable(_))));
}

#[test]
fn all_services_of_a_server_or_none() {
    let twin = "10.0.0.101:80/tcp".parse().unwrap();
    let mut world = World::shop(&[5, 7]);
    world.policy.services[0].matches.push(crate::model::Match::Address {
        net: None,
        port: None,
        protocol: crate::model::Protocol::Tcp,
    });
    world.table.insert(twin, virtual_server(twin, &[9]));
    world.restart();
    world.settle();
    assert_eq!(drain(&mut world, 1), Err(HandRefused::Nobody(twin)));
    world.settle();
    assert_eq!((world.weights(), records(&world)), (vec![5, 7], (0, 0)));
    let forced = HandOrder::Drain { said: None, force: true };
    assert_eq!(ask(&mut world, "10.0.1.1", forced).unwrap().len(), 2);
    world.settle();
    assert_eq!((world.weights(), world.table[&twin].destinations[0].weight), (vec![0, 7], Weight(0)));
    let one = HandRequest {
        servers: "10.0.1.1".parse().unwrap(),
        service: Some(twin.to_string()),
        order: HandOrder::Undrain { ignore_checks: false },
    };
    world.send(Event::Hand { id: 2, request: one });
    world.settle();
    assert_eq!((world.weights(), world.table[&twin].destinations[0].weight), (vec![0, 7], Weight(9)));
    // Of the other one there is nothing left to lift, and that is no error.
    let effects: Vec<_> = undrain(&mut world, 1).unwrap().iter().map(|d| d.effect).collect();
    assert_eq!(effects, [HandEffect::GivingBack, HandEffect::Nothing]);
}

#[test]
fn the_floor_counts_without_those_out_by_hand() {
    let mut world = World::new(policy(Floor::Percent(50), Mode::Enforce), &[5, 6, 7, 8]);
    world.settle();
    drain(&mut world, 1).unwrap();
    drain(&mut world, 2).unwrap();
    world.fail(3);
    world.settle();
    assert_eq!(world.weights(), [0, 0, 0, 8], "one of the two that are left may go");
    world.fail(4);
    world.settle();
    assert_eq!(world.server(4).held.map(|h| h.reason), Some(HeldReason::Floor));
    assert_eq!(world.weights(), [0, 0, 0, 8]);
}

#[test]
fn killed_at_any_point_the_drain_stands_or_was_never_answered() {
    for point in ["save", "answer", "write"] {
        let mut world = settled(&[5, 7]);
        world.die_before = Some(point);
        let request = HandRequest {
            servers: key(1).to_string().parse().unwrap(),
            service: None,
            order: HandOrder::Drain { said: None, force: false },
        };
        world.send(Event::Hand { id: 1, request });
        assert!(world.dead, "{point}");
        assert_eq!(world.answers.len(), usize::from(point == "write"), "{point}");
        world.restart();
        world.settle();
        let expected = if point == "save" { [5, 7] } else { [0, 7] };
        assert_eq!(world.weights(), expected, "{point}");
        if point != "save" {
            assert_eq!(effect(undrain(&mut world, 1)), HandEffect::GivingBack);
            world.settle();
        }
        assert_eq!((world.weights(), records(&world)), (vec![5, 7], (0, 0)), "{point}");
    }
}

#[test]
fn killed_while_it_is_given_back_by_hand_it_comes_back_without_waiting_for_a_verdict() {
    let mut world = settled(&[5, 7]);
    drain(&mut world, 1).unwrap();
    world.settle();
    world.slow.insert("write");
    undrain(&mut world, 1).unwrap();
    world.dead = true;
    world.slow.clear();
    world.restart();
    world.run(Duration::ZERO);
    assert_eq!(world.server(1).verdict, None);
    assert_eq!(world.weights(), [5, 7]);
}

#[test]
fn it_outlasts_a_restart_and_a_reboot() {
    let mut world = settled(&[5, 7]);
    drain(&mut world, 1).unwrap();
    world.settle();
    world.restart();
    world.settle();
    assert_eq!((world.weights(), world.server(1).owed), (vec![0, 7], Some(Weight(5))));
    // The table of after the boot is somebody's configuration: its weight is the owed one.
    for (found, owed) in [(9, 9), (0, 5)] {
        let mut ledger = world.disk.clone().unwrap();
        ledger.origin.boot_id = "boot-0".into();
        let mut rebooted = settled(&[5, 7]);
        rebooted.edit(1, found);
        rebooted.restart_with(Ok(Some(ledger)));
        rebooted.settle();
        assert_eq!(rebooted.weights(), [0, 7]);
        let row = rebooted.server(1);
        assert_eq!((row.owed, row.drained.map(|d| d.by)), (Some(Weight(owed)), Some(DrainedBy::Operator)));
        assert!(!rebooted.notes.iter().any(|n| matches!(n, Note::EntryLapsed { .. })), "it still is wanted");
        undrain(&mut rebooted, 1).unwrap();
        rebooted.settle();
        assert_eq!((rebooted.weights(), records(&rebooted)), (vec![owed, 7], (0, 0)));
    }
}

/// Trap 20, for drains by hand: a keepalived reload, say.
#[test]
fn a_weight_raised_over_it_is_drained_again_once_and_then_ends_it() {
    let mut world = settled(&[5, 7]);
    drain(&mut world, 1).unwrap();
    world.settle();
    world.edit(1, 8);
    world.run(Duration::from_secs(2));
    assert_eq!((world.weights(), world.server(1).owed), (vec![0, 7], Some(Weight(8))), "at once");
    world.edit(1, 9);
    world.settle();
    assert_eq!((world.weights(), records(&world)), (vec![9, 7], (0, 0)));
    let ended = |n: &&Note| matches!(n, Note::HandDrainEnded { found: Weight(9), .. });
    assert_eq!(world.notes.iter().filter(ended).count(), 1);
    // It can be asked for anew.
    world.run(Duration::from_secs(700));
    drain(&mut world, 1).unwrap();
    world.settle();
    world.edit(1, 4);
    world.settle();
    assert_eq!((world.weights(), records(&world)), (vec![0, 7], (1, 1)));
}

#[test]
fn ended_by_others_on_a_failing_server_its_checks_yield_too() {
    let mut world = settled(&[5, 7]);
    drain(&mut world, 1).unwrap();
    world.fail(1);
    world.settle();
    for weight in [8, 9] {
        world.edit(1, weight);
        world.settle();
    }
    assert_eq!(world.weights(), [9, 7]);
    assert_eq!(world.server(1).held.map(|h| h.reason), Some(HeldReason::TugOfWar));
}

#[test]
fn ignored_checks_keep_a_failing_server_in_visibly_until_told_otherwise() {
    let mut world = settled(&[5, 7]);
    world.fail(1);
    world.settle();
    assert_eq!(undrain(&mut world, 1), Err(HandRefused::OutByChecks(service(), key(1))));
    assert_eq!(effect(ignore_checks(&mut world, 1)), HandEffect::GivingBack);
    for _ in 0..2 {
        world.settle();
        assert_eq!(world.weights(), [5, 7]);
        assert_eq!(
            world.server(1).held.map(|h| (h.reason, h.would)),
            Some((HeldReason::IgnoreChecks, Weight(0)))
        );
        assert_eq!(world.disk.as_ref().unwrap().wishes[&(service(), key(1))].kind, WishKind::IgnoreChecks);
        world.restart();
    }
    assert_eq!(ignore_checks(&mut world, 1), Err(HandRefused::NoTable("it was not read yet".into())));
    world.settle();
    assert_eq!(ignore_checks(&mut world, 1), Err(HandRefused::IgnoredAlready(service(), key(1))));
    // It is seen while it passes, too.
    world.heal(1);
    world.settle();
    assert_eq!((world.server(1).held, world.server(1).ignores_checks), (None, true));
    assert!(!world.server(2).ignores_checks);
    world.fail(1);
    world.settle();
    assert_eq!(world.weights(), [5, 7]);
    // A plain undrain gives it back to its checks.
    assert_eq!(effect(undrain(&mut world, 1)), HandEffect::Lifted);
    world.settle();
    assert!(!world.server(1).ignores_checks);
    assert_eq!((world.weights(), records(&world)), (vec![0, 7], (1, 0)));
    // And `drain` takes the place of a wish to keep it in.
    ignore_checks(&mut world, 1).unwrap();
    world.settle();
    drain(&mut world, 1).unwrap();
    world.settle();
    assert_eq!(world.weights(), [0, 7]);
    assert_eq!(world.disk.as_ref().unwrap().wishes[&(service(), key(1))].kind, WishKind::Drain);
}

#[test]
fn undrain_raises_an_operators_zero_and_a_lapsed_entry_if_it_knows_the_weight() {
    let mut world = settled(&[5, 7]);
    world.edit(1, 0);
    world.settle();
    assert_eq!(effect(undrain(&mut world, 1)), HandEffect::GivingBack);
    world.settle();
    assert_eq!((world.weights(), records(&world)), (vec![5, 7], (0, 0)));

    world.fail(1);
    world.settle();
    let mut ledger = world.disk.clone().unwrap();
    ledger.origin.boot_id = "boot-0".into();
    world.heal(1);
    world.restart_with(Ok(Some(ledger)));
    world.settle();
    assert_eq!(world.weights(), [0, 7]);
    assert_eq!(effect(undrain(&mut world, 1)), HandEffect::GivingBack);
    world.settle();
    assert_eq!((world.weights(), records(&world)), (vec![5, 7], (0, 0)));
    assert!(world.disk.as_ref().unwrap().lapsed.is_empty());
}

#[test]
fn a_disk_that_refuses_leaves_everything_as_it_was() {
    let mut world = settled(&[5, 7]);
    world.save_error = Some("no space left".into());
    for again in [false, true] {
        let refused = drain(&mut world, 1).unwrap_err();
        assert_eq!(refused, HandRefused::LedgerUnsaved("no space left".into()), "{again}");
        world.run(Duration::from_millis(10));
        assert_eq!((world.weights(), records(&world)), (vec![5, 7], (0, 0)));
        assert_eq!(world.server(1).drained, None);
    }
    world.save_error = None;
    world.settle();
    assert_eq!((world.weights(), records(&world)), (vec![5, 7], (0, 0)), "it is not made up for later");
    drain(&mut world, 1).unwrap();
    world.settle();
    // Giving back needs no disk.
    world.save_error = Some("no space left".into());
    assert_eq!(effect(undrain(&mut world, 1)), HandEffect::GivingBack);
    world.settle();
    assert_eq!(world.weights(), [5, 7]);
}

#[test]
fn nothing_is_done_before_the_wish_is_on_disk() {
    let mut world = settled(&[5, 7]);
    world.fail(1);
    world.settle();
    world.slow.insert("save");
    let order = HandOrder::Undrain { ignore_checks: true };
    let request = HandRequest { servers: "10.0.1.1".parse().unwrap(), service: None, order };
    world.send(Event::Hand { id: 7, request });
    world.settle();
    assert_eq!((world.weights(), world.answers.len()), (vec![0, 7], 0));
    world.release("save");
    assert_eq!((world.weights(), world.answers.len()), (vec![5, 7], 1));
}

#[test]
fn without_checks_drains_by_hand_work() {
    let mut world = World::shop(&[5, 7]);
    world.policy.services[0].checks.clear();
    world.restart();
    world.settle();
    drain(&mut world, 1).unwrap();
    world.settle();
    world.restart();
    world.settle();
    assert_eq!(world.weights(), [0, 7]);
    assert!(!world.notes.iter().any(|n| matches!(n, Note::HeldButNotManaged { .. })));
    undrain(&mut world, 1).unwrap();
    world.settle();
    assert_eq!((world.weights(), records(&world)), (vec![5, 7], (0, 0)));
}

#[test]
fn what_is_no_longer_configured_is_given_back_by_undrain_alone() {
    for by_hand in [true, false] {
        let mut world = settled(&[5, 7]);
        if by_hand {
            drain(&mut world, 1).unwrap();
        } else {
            world.fail(1);
        }
        world.settle();
        let ours = std::mem::take(&mut world.policy.services);
        world.reload();
        world.settle();
        assert_eq!(world.weights(), [0, 7]);
        assert_eq!(drain(&mut world, 2), Err(HandRefused::Unmanaged(service())));
        assert_eq!(effect(undrain(&mut world, 1)), HandEffect::GivingBack);
        world.settle();
        world.view();
        assert_eq!((world.weights(), records(&world)), (vec![5, 7], (0, 0)), "{by_hand}");
        assert_eq!(undrain(&mut world, 1), Err(HandRefused::Unmanaged(service())));
        world.policy.services = ours;
    }
}

#[test]
fn a_write_that_fails_for_an_unmanaged_service_is_not_repeated_in_a_loop() {
    let mut world = settled(&[5, 7]);
    drain(&mut world, 1).unwrap();
    world.settle();
    world.policy.services.clear();
    world.reload();
    world.write_outcomes.insert(key(1), WriteOutcome::Failed("set_dest: EINVAL".into()));
    undrain(&mut world, 1).unwrap();
    world.settle();
    let failures = world.notes.iter().filter(|n| matches!(n, Note::WriteFailed { .. })).count();
    assert_eq!((failures, world.weights()), (1, vec![0, 7]));
    world.write_outcomes.clear();
    undrain(&mut world, 1).unwrap();
    world.settle();
    assert_eq!(world.weights(), [5, 7]);
}

#[test]
fn in_observe_an_undrain_lifts_and_says_how_to_give_back() {
    let mut world = settled(&[5, 7]);
    drain(&mut world, 1).unwrap();
    world.settle();
    world.policy.services[0].mode = Mode::Observe;
    world.reload();
    let answer = undrain(&mut world, 1).unwrap();
    assert_eq!(answer[0].effect, HandEffect::NotWritten);
    assert!(
        answer[0].text().contains("ipvsadm -e -t 10.0.0.100:80 -r 10.0.1.1:80 -w 5"),
        "{}",
        answer[0].text()
    );
    world.settle();
    assert_eq!((world.weights(), records(&world).1), (vec![0, 7], 0));
    assert_eq!(undrain(&mut world, 1), Err(HandRefused::Observe(service())));
    world.policy.services[0].mode = Mode::Enforce;
    world.reload();
    world.settle();
    assert_eq!((world.weights(), records(&world)), (vec![5, 7], (0, 0)));
}

#[test]
fn a_wish_for_a_server_that_is_gone_is_kept_until_it_is_lifted() {
    let mut world = settled(&[5, 7]);
    drain(&mut world, 1).unwrap();
    world.settle();
    let mut row = world.table.get_mut(&service()).unwrap().destinations.remove(0);
    world.settle();
    assert_eq!(records(&world), (0, 1));
    // Added again it is drained again, with its new weight on record.
    row.weight = Weight(3);
    world.table.get_mut(&service()).unwrap().destinations.insert(0, row);
    world.settle();
    assert_eq!((world.weights(), world.server(1).owed), (vec![0, 7], Some(Weight(3))));
    world.table.get_mut(&service()).unwrap().destinations.remove(0);
    world.settle();
    assert_eq!(effect(undrain(&mut world, 1)), HandEffect::Lifted);
    world.settle();
    assert_eq!(records(&world), (0, 0));
}

#[test]
fn a_drain_that_comes_while_the_weight_is_given_back_wins() {
    let mut world = settled(&[5, 7]);
    world.fail(1);
    world.settle();
    world.slow.insert("write");
    world.heal(1);
    world.settle();
    drain(&mut world, 1).unwrap();
    world.release("write");
    world.settle();
    assert_eq!((world.weights(), records(&world)), (vec![0, 7], (1, 1)));
    undrain(&mut world, 1).unwrap();
    world.settle();
    assert_eq!((world.weights(), records(&world)), (vec![5, 7], (0, 0)));
}
