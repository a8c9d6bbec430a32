//! The planner over single services.

use super::*;
use std::time::Duration;

pub fn server(n: u8, weight: u32, owed: u32, verdict: Option<Verdict>) -> ServerFacts {
    ServerFacts {
        key: DestKey { addr: [10, 0, 0, n].into(), port: 80 },
        weight: Weight(weight),
        owed: (owed > 0).then_some(Weight(owed)),
        due: Weight(owed),
        offer: Weight(owed),
        waits: false,
        verdict,
        lately: match verdict {
            Some(Verdict::Up) => Lately::Passing,
            Some(Verdict::Down) => Lately::Failing,
            None => Lately::Mixed,
        },
        taken: weight == 0 && owed > 0,
        wish: None,
        lifted: false,
        contested: false,
        stuck: false,
        failing_since: (verdict == Some(Verdict::Down))
            .then(|| Mono::from_start(Duration::from_secs(100 - u64::from(n)))),
        last_pass: Some(Mono::from_start(Duration::from_secs(u64::from(n)))),
    }
}

pub fn facts(servers: Vec<ServerFacts>) -> ServiceFacts {
    ServiceFacts {
        key: "10.0.0.100:80/tcp".parse().unwrap(),
        floor: Floor::DEFAULT,
        mode: Mode::Enforce,
        stale: false,
        ledger_unsaved: false,
        on_failure: OnFailure::WeightZero,
        suspect_self: false,
        missed: 0,
        servers,
    }
}

/// (last octet, from, to) of each change, in order.
pub fn changes(plan: &Plan) -> Vec<(u8, u32, u32)> {
    plan.changes.iter().map(|(c, _)| (octet(&c.dest), c.from.0, c.to.0)).collect()
}

pub fn held(plan: &Plan) -> Vec<(u8, &'static str, u32)> {
    plan.held.iter().map(|(d, h)| (octet(d), h.reason.as_str(), h.would.0)).collect()
}

fn octet(dest: &DestKey) -> u8 {
    match dest.addr {
        std::net::IpAddr::V4(a) => a.octets()[3],
        std::net::IpAddr::V6(_) => 0,
    }
}

pub const UP: Option<Verdict> = Some(Verdict::Up);
pub const DOWN: Option<Verdict> = Some(Verdict::Down);

#[test]
fn a_failed_server_goes_out_and_a_healthy_one_comes_back_with_what_it_is_owed() {
    let plan = plan(&facts(vec![server(1, 5, 5, DOWN), server(2, 0, 65535, UP), server(3, 1, 1, UP)]));
    assert_eq!(changes(&plan), [(2, 0, 65535), (1, 5, 0)]);
    assert_eq!(plan.changes[0].1, Direction::Restore);
    assert_eq!(plan.changes[1].1, Direction::Drain);
}

#[test]
fn unknown_leaves_the_kernel_as_found() {
    let plan = plan(&facts(vec![server(1, 5, 5, None), server(2, 0, 5, None), server(3, 1, 1, UP)]));
    assert_eq!(plan, Plan { floor: 1, ..Plan::default() });
}

#[test]
fn the_floor_keeps_the_last_and_the_longest_failing_goes_first() {
    // Server 3 has failed longest (failing_since falls with n).
    let plan = plan(&facts(vec![server(1, 5, 5, DOWN), server(2, 5, 5, DOWN), server(3, 5, 5, DOWN)]));
    assert_eq!(changes(&plan), [(3, 5, 0), (2, 5, 0)]);
    assert_eq!(held(&plan), [(1, "floor", 0)]);
}

#[test]
fn one_that_has_begun_to_recover_stays_in_rather_than_one_that_fails() {
    let mut facts = facts(vec![server(1, 5, 5, DOWN), server(2, 5, 5, DOWN)]);
    facts.servers[1].failing_since = None;
    facts.servers[1].lately = Lately::Passing;
    assert_eq!(changes(&plan(&facts)), [(1, 5, 0)]);
}

#[test]
fn a_held_server_goes_only_after_the_other_is_really_in() {
    // Server 1 is held in by the floor; 2 has recovered: it comes back first …
    let first = plan(&facts(vec![server(1, 5, 5, DOWN), server(2, 0, 5, UP)]));
    assert_eq!(changes(&first), [(2, 0, 5)]);
    assert_eq!(held(&first), [(1, "floor", 0)]);
    // … and once the kernel shows that, 1 goes.
    let second = plan(&facts(vec![server(1, 5, 5, DOWN), server(2, 5, 5, UP)]));
    assert_eq!(changes(&second), [(1, 5, 0)]);
}

#[test]
fn operators_zeros_are_neither_raised_nor_counted() {
    let mut zero = server(1, 0, 5, UP);
    zero.taken = false;
    // Floor 1 of a base of one: the only other server stays in.
    let plan = plan(&facts(vec![zero, server(2, 5, 5, DOWN)]));
    assert_eq!(changes(&plan), []);
    assert_eq!((plan.floor, held(&plan)), (1, vec![(2, "floor", 0)]));
}

#[test]
fn a_set_made_too_small_by_others_gets_back_the_latest_pass_first() {
    let mut facts = facts(vec![server(1, 0, 5, DOWN), server(2, 0, 5, DOWN), server(3, 0, 5, None)]);
    assert_eq!(changes(&plan(&facts)), [(3, 0, 5)]);
    facts.floor = Floor::Percent(50);
    assert_eq!(changes(&plan(&facts)), [(3, 0, 5), (2, 0, 5)]);
    // One is up: it comes back anyway and counts.
    facts.servers[0].verdict = UP;
    assert_eq!(changes(&plan(&facts)), [(1, 0, 5), (3, 0, 5)]);
}

#[test]
fn one_that_cannot_be_written_does_not_keep_the_others_out() {
    let mut facts = facts(vec![server(1, 0, 5, UP), server(2, 0, 5, DOWN), server(3, 0, 5, DOWN)]);
    assert_eq!(changes(&plan(&facts)), [(1, 0, 5)]);
    facts.servers[0].stuck = true;
    assert_eq!(changes(&plan(&facts)), [(1, 0, 5), (3, 0, 5)]);
    facts.servers[2].stuck = true;
    assert_eq!(changes(&plan(&facts)), [(1, 0, 5), (3, 0, 5), (2, 0, 5)]);
}

#[test]
fn floor_zero_lets_checks_empty_a_service() {
    let mut facts = facts(vec![server(1, 5, 5, DOWN)]);
    facts.floor = Floor::Count(0);
    assert_eq!(changes(&plan(&facts)), [(1, 5, 0)]);
}

#[test]
fn a_share_is_of_all_even_of_those_that_one_read_missed() {
    let mut facts = facts(vec![server(1, 5, 5, DOWN), server(2, 5, 5, UP)]);
    facts.floor = Floor::Percent(50);
    assert_eq!(changes(&plan(&facts)), [(1, 5, 0)]);
    facts.missed = 1;
    assert_eq!((plan(&facts).floor, changes(&plan(&facts))), (2, vec![]));
}

#[test]
fn every_guard_holds_with_its_reason_and_the_first_wins() {
    let servers = vec![server(1, 5, 5, DOWN), server(2, 0, 7, UP), server(3, 1, 1, UP)];
    let mut facts = facts(servers);
    facts.mode = Mode::Observe;
    assert_eq!(held(&plan(&facts)), [(2, "observe", 7), (1, "observe", 0)]);
    facts.stale = true;
    assert_eq!(held(&plan(&facts)), [(2, "stale_snapshot", 7), (1, "stale_snapshot", 0)]);
    facts.stale = false;
    facts.mode = Mode::Enforce;
    // Giving back needs no new entry on disk.
    facts.ledger_unsaved = true;
    assert_eq!(changes(&plan(&facts)), [(2, 0, 7)]);
    assert_eq!(held(&plan(&facts)), [(1, "ledger_unsaved", 0)]);
    facts.ledger_unsaved = false;
    facts.servers[0].contested = true;
    assert_eq!(held(&plan(&facts)), [(1, "tug_of_war", 0)]);
}

#[test]
fn a_contested_server_leaves_the_room_to_the_others() {
    let mut facts = facts(vec![server(1, 5, 5, DOWN), server(2, 5, 5, DOWN)]);
    facts.servers[1].contested = true;
    assert_eq!(changes(&plan(&facts)), [(1, 5, 0)]);
}

#[test]
fn out_by_hand_goes_whatever_the_floor_says_and_never_comes_back_by_itself() {
    let mut facts = facts(vec![server(1, 5, 5, UP), server(2, 0, 5, UP), server(3, 5, 5, DOWN)]);
    facts.servers[0].wish = Some(WishKind::Drain);
    facts.servers[1].wish = Some(WishKind::Drain);
    // The floor's base is server 3 alone, so that stays.
    assert_eq!(changes(&plan(&facts)), [(1, 5, 0)]);
    assert_eq!((plan(&facts).floor, held(&plan(&facts))), (1, vec![(3, "floor", 0)]));
    facts.ledger_unsaved = true;
    assert_eq!(held(&plan(&facts)), [(1, "ledger_unsaved", 0), (3, "ledger_unsaved", 0)]);
}

#[test]
fn ignored_checks_keep_a_server_in_and_bring_it_back() {
    let mut facts = facts(vec![server(1, 5, 5, DOWN), server(2, 0, 5, DOWN), server(3, 5, 5, UP)]);
    for server in &mut facts.servers[..2] {
        server.wish = Some(WishKind::IgnoreChecks);
    }
    assert_eq!(changes(&plan(&facts)), [(2, 0, 5)]);
    assert_eq!(held(&plan(&facts)), [(1, "ignore_checks", 0)]);
}

#[test]
fn a_lifted_drain_comes_back_unless_its_checks_fail() {
    for (verdict, expected) in [(None, vec![(1, 0, 5)]), (UP, vec![(1, 0, 5)]), (DOWN, vec![])] {
        let mut facts = facts(vec![server(1, 0, 5, verdict), server(2, 5, 5, UP)]);
        facts.servers[0].lifted = true;
        assert_eq!(changes(&plan(&facts)), expected, "{verdict:?}");
    }
}

#[test]
fn a_ramp_goes_on_while_the_server_is_up_and_need_gives_all_of_it() {
    let ramping = |verdict| {
        let mut s = server(1, 3, 10, verdict);
        (s.taken, s.due) = (true, Weight(4));
        s
    };
    let others = || server(2, 10, 10, UP);
    let going = plan(&facts(vec![ramping(UP), others()]));
    assert_eq!((changes(&going), going.changes[0].1), (vec![(1, 3, 4)], Direction::Adjust));
    assert_eq!(changes(&plan(&facts(vec![ramping(None), others()]))), []);
    assert_eq!(changes(&plan(&facts(vec![ramping(DOWN), others()]))), [(1, 3, 0)]);
    let back = |floor| {
        let mut first = server(1, 0, 10, UP);
        // Up, whatever its last probe said.
        (first.due, first.lately) = (Weight(1), Lately::Mixed);
        let mut facts = facts(vec![first, others()]);
        facts.floor = Floor::Count(floor);
        changes(&plan(&facts))
    };
    assert_eq!((back(1), back(2)), (vec![(1, 0, 1)], vec![(1, 0, 10)]));
}

#[test]
fn a_hold_down_is_held_unless_the_floor_wants_it() {
    let mut facts = facts(vec![server(1, 0, 10, UP), server(2, 10, 10, UP)]);
    (facts.servers[0].waits, facts.servers[0].due) = (true, Weight(1));
    let waiting = plan(&facts);
    assert_eq!((changes(&waiting), held(&waiting)), (vec![], vec![(1, "hold_down", 1)]));
    facts.floor = Floor::Count(2);
    let needed = plan(&facts);
    assert_eq!((changes(&needed), held(&needed)), (vec![(1, 0, 10)], vec![]));
    // Nor does it delay that where the last probe happened to fail: by the floor alone.
    facts.servers[0].lately = Lately::Mixed;
    assert_eq!(changes(&plan(&facts)), [(1, 0, 10)]);
    facts.servers[0].lately = Lately::Passing;
    // The reasons that come first.
    facts.floor = Floor::DEFAULT;
    facts.mode = Mode::Observe;
    assert_eq!(held(&plan(&facts)), [(1, "observe", 1)]);
}

fn offering(n: u8, weight: u32, owed: u32, offer: u32, verdict: Option<Verdict>) -> ServerFacts {
    let mut s = server(n, weight, owed, verdict);
    (s.offer, s.taken) = (Weight(offer), weight != owed);
    s
}

#[test]
fn an_offer_below_the_weight_is_taken_and_one_above_it_given() {
    let others = || server(9, 10, 10, UP);
    let one = |s: ServerFacts| facts(vec![s, others()]);
    for (s, expected) in [
        (offering(1, 10, 10, 5, UP), vec![(1, 10, 5)]),
        (offering(1, 5, 10, 5, UP), vec![]),
        (offering(1, 3, 10, 5, UP), vec![(1, 3, 5)]),
        (offering(1, 0, 10, 5, UP), vec![(1, 0, 5)]),
        (offering(1, 5, 10, 10, UP), vec![(1, 5, 10)]),
        (offering(1, 10, 10, 0, UP), vec![(1, 10, 0)]),
        (offering(1, 0, 10, 0, UP), vec![]),
        // What is not up keeps what it has, or fails.
        (offering(1, 10, 10, 5, None), vec![]),
        (offering(1, 10, 10, 5, DOWN), vec![(1, 10, 0)]),
        (offering(1, 10, 10, 0, None), vec![]),
    ] {
        assert_eq!(changes(&plan(&one(s.clone()))), expected, "{s:?}");
    }
    let mut unseen = offering(1, 8, 10, 5, UP);
    unseen.taken = false;
    assert_eq!(changes(&plan(&one(unseen.clone()))), [], "somebody else's weight is looked at first");
    unseen.verdict = DOWN;
    assert_eq!(changes(&plan(&one(unseen))), [], "or the record would owe the weight of before");
}

#[test]
fn an_offer_is_held_for_its_reasons() {
    let both = || facts(vec![offering(1, 10, 10, 5, UP), offering(2, 10, 10, 0, UP), server(3, 9, 9, UP)]);
    let with = |change: fn(&mut ServiceFacts)| {
        let mut facts = both();
        change(&mut facts);
        held(&plan(&facts))
    };
    assert_eq!(with(|f| f.mode = Mode::Observe), [(1, "observe", 5), (2, "observe", 0)]);
    assert_eq!(with(|f| f.ledger_unsaved = true), [(1, "ledger_unsaved", 5), (2, "ledger_unsaved", 0)]);
    let contested = with(|f| f.servers.iter_mut().for_each(|s| s.contested = true));
    assert_eq!(contested, [(1, "tug_of_war", 5), (2, "tug_of_war", 0)]);
    assert_eq!(with(|f| f.suspect_self = true), [(2, "suspect_self", 0)]);
    assert_eq!(with(|f| f.floor = Floor::Count(3)), [(2, "floor", 0)]);
    let mut waiting = facts(vec![offering(1, 0, 10, 0, UP), server(2, 9, 9, UP)]);
    waiting.servers[0].waits = true;
    assert_eq!(held(&plan(&waiting)), [], "it waits for nothing but itself");
}

#[test]
fn the_unwilling_go_last_and_come_back_for_those_that_fail() {
    // Room for one: the failing one has it.
    let go = facts(vec![offering(1, 10, 10, 0, UP), server(2, 10, 10, DOWN)]);
    assert_eq!((changes(&plan(&go)), held(&plan(&go))), (vec![(2, 10, 0)], vec![(1, "floor", 0)]));
    // One that fails and cannot be taken makes no room for one that is well.
    let mut contested = go.clone();
    contested.servers[1].contested = true;
    assert_eq!(held(&plan(&contested)), [(2, "tug_of_war", 0), (1, "floor", 0)]);
    let back = facts(vec![offering(1, 0, 10, 0, UP), offering(2, 0, 10, 0, UP), server(3, 10, 10, DOWN)]);
    assert_eq!(changes(&plan(&back)), [(2, 0, 10)], "one is enough");
    let mut emptied = back;
    emptied.floor = Floor::Count(0);
    assert_eq!(changes(&plan(&emptied)), [(3, 10, 0)], "nobody has to be in");
}

proptest::proptest! {
    /// Invariants 1 and 6: carried out, a plan keeps the floor, and the next one adds nothing
    /// but what waited for a restore to land.
    #[test]
    fn plans_keep_the_floor_and_come_to_rest(
        raw in proptest::collection::vec((0u32..3, 0u32..3, 0u8..6, proptest::bool::ANY, 0u8..4, 0u32..4), 0..8),
        floor in 0u32..10, percent in proptest::bool::ANY,
    ) {
        let mut facts = facts(raw.iter().enumerate().map(|(n, (weight, owed, verdict, taken, way, share))| {
            let mut s = server(n as u8, *weight, if *weight > 0 { *weight } else { *owed }, [None, UP, DOWN][*verdict as usize % 3]);
            if *verdict >= 3 {
                s.lately = [Lately::Passing, Lately::Mixed, Lately::Passing][*verdict as usize % 3];
            }
            s.taken = *taken && *weight == 0 && *owed > 0;
            s.waits = *way == 1;
            if *way > 1 && (s.taken || *taken && *weight > 0) {
                // On a ramp to three times as much, or at its foot; its next step is due.
                s.owed = Some(Weight(3 * weight.max(owed)));
                s.due = Weight(weight + u32::from(*way) - 1);
                s.taken = true;
            }
            // A half, none, or all of it.
            s.offer = s.owed.map_or(s.weight, |owed| Weight([owed.0.div_ceil(2), 0, owed.0, owed.0][*share as usize]));
            s
        }).collect());
        facts.floor = if percent { Floor::Percent((floor * 11).min(100) as u8) } else { Floor::Count(floor) };
        for _ in 0..4 {
            let in_before = facts.servers.iter().filter(|s| s.is_in()).count();
            let plan = plan(&facts);
            // Restores may fail, or wait for a later cycle: the drains alone keep the floor too.
            let drains = plan.changes.iter().filter(|(change, _)| change.to.is_zero()).count();
            proptest::prop_assert!(drains == 0 || in_before - drains >= plan.floor);
            for (change, _) in &plan.changes {
                let server = facts.servers.iter_mut().find(|s| s.key == change.dest).unwrap();
                proptest::prop_assert_eq!(change.from, server.weight);
                proptest::prop_assert_ne!(change.from, change.to);
                server.taken = server.owed != Some(change.to);
                server.weight = change.to;
            }
            let now_in = facts.servers.iter().filter(|s| s.is_in()).count();
            proptest::prop_assert!(now_in >= plan.floor.min(in_before) || now_in >= in_before);
            // What we took and is not up is never kept while the floor is missed.
            let ours_out = facts.servers.iter().filter(|s| s.taken && s.weight.is_zero()).count();
            proptest::prop_assert!(now_in >= plan.floor || ours_out == 0);
        }
        proptest::prop_assert_eq!(plan(&facts).changes, vec![]);
    }
}
