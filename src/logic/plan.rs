//! What to change in one service, and what to hold, and why.
//!
//! A plan is made on the kernel's weights alone, so planning again after it was carried out gives
//! nothing (invariant 6). Drains never count on restores of the same plan: those may fail.

use std::cmp::Reverse;

use crate::model::{
    DestKey, Direction, Floor, Held, HeldReason, Mode, Mono, ServiceKey, Verdict, Weight, WeightChange,
};

use super::ledger::WishKind;

/// One service as the planner sees it.
#[derive(Debug, Clone)]
pub struct ServiceFacts {
    pub key: ServiceKey,
    pub floor: Floor,
    pub mode: Mode,
    /// The last whole read is too old to write on.
    pub stale: bool,
    /// No new entry can be put on disk.
    pub ledger_unsaved: bool,
    /// Real servers that we took the weight of and that the last read missed: gone only if the next
    /// one misses them too (trap 3), until then the floor counts them.
    pub missed: usize,
    pub servers: Vec<ServerFacts>,
}

#[derive(Debug, Clone)]
pub struct ServerFacts {
    pub key: DestKey,
    /// In the kernel.
    pub weight: Weight,
    pub owed: Option<Weight>,
    pub verdict: Option<Verdict>,
    /// We took its weight: the ledger has it.
    pub taken: bool,
    /// What an operator wants of it.
    pub wish: Option<WishKind>,
    /// A drain by hand was lifted, and its weight is not back yet.
    pub lifted: bool,
    /// Somebody else raised it over our drain: it is not drained again yet.
    pub contested: bool,
    /// The last write to it failed: what it would bring is not counted on.
    pub stuck: bool,
    pub failing_since: Option<Mono>,
    pub last_pass: Option<Mono>,
}

impl ServerFacts {
    /// Counts for the floor: a known weight, and not out by hand (`drain`, an operator's 0).
    fn in_base(&self) -> bool {
        self.owed.is_some() && (!self.weight.is_zero() || self.taken) && !self.wanted_out()
    }

    fn wanted_out(&self) -> bool {
        self.wish == Some(WishKind::Drain)
    }

    /// What we took is given back whoever else is in.
    fn comes_back(&self) -> bool {
        self.verdict == Some(Verdict::Up)
            || self.wish == Some(WishKind::IgnoreChecks)
            || (self.lifted && self.verdict != Some(Verdict::Down))
    }

    fn is_in(&self) -> bool {
        self.in_base() && !self.weight.is_zero()
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    pub changes: Vec<(WeightChange, Direction)>,
    pub held: Vec<(DestKey, Held)>,
    /// The floor as a count.
    pub floor: usize,
}

pub fn plan(facts: &ServiceFacts) -> Plan {
    let base = facts.servers.iter().filter(|s| s.in_base()).count() + facts.missed;
    let floor = facts.floor.resolve(base);
    let now_in = facts.servers.iter().filter(|s| s.is_in()).count();
    let mut plan = Plan { floor, ..Plan::default() };

    let back = give_back(facts, floor.saturating_sub(now_in));
    for server in back {
        let Some(owed) = server.owed else { continue };
        let reason = if facts.stale {
            Some(HeldReason::StaleSnapshot)
        } else if facts.mode == Mode::Observe {
            Some(HeldReason::Observe)
        } else {
            None
        };
        plan.add(facts.key, server, owed, Direction::Restore, reason);
    }

    // An operator's wish is no check's: the floor does not hold it.
    for server in facts.servers.iter().filter(|s| s.wanted_out() && !s.weight.is_zero()) {
        let reason = if facts.ledger_unsaved {
            Some(HeldReason::LedgerUnsaved)
        } else if facts.stale {
            Some(HeldReason::StaleSnapshot)
        } else if facts.mode == Mode::Observe {
            Some(HeldReason::Observe)
        } else {
            None
        };
        plan.add(facts.key, server, Weight::ZERO, Direction::Drain, reason);
    }

    let mut room = now_in.saturating_sub(floor);
    for server in take_out(facts) {
        let reason = if facts.ledger_unsaved {
            Some(HeldReason::LedgerUnsaved)
        } else if facts.stale {
            Some(HeldReason::StaleSnapshot)
        } else if facts.mode == Mode::Observe {
            Some(HeldReason::Observe)
        } else if server.wish == Some(WishKind::IgnoreChecks) {
            Some(HeldReason::IgnoreChecks)
        } else if server.contested {
            Some(HeldReason::TugOfWar)
        } else if room == 0 {
            Some(HeldReason::Floor)
        } else {
            room -= 1;
            None
        };
        plan.add(facts.key, server, Weight::ZERO, Direction::Drain, reason);
    }
    plan
}

impl Plan {
    fn add(
        &mut self,
        service: ServiceKey,
        server: &ServerFacts,
        to: Weight,
        direction: Direction,
        held: Option<HeldReason>,
    ) {
        match held {
            Some(reason) => self.held.push((server.key, Held { reason, would: to })),
            None => {
                let change = WeightChange { service, dest: server.key, from: server.weight, to };
                self.changes.push((change, direction));
            }
        }
    }
}

/// What we took and give back: those that are up again, and, while fewer than the floor would be
/// in, those that passed last (trap 24: the resulting set counts, whoever made it too small).
fn give_back(facts: &ServiceFacts, mut missing: usize) -> Vec<&ServerFacts> {
    let ours = |s: &&ServerFacts| s.taken && s.weight.is_zero() && s.owed.is_some() && !s.wanted_out();
    let taken = || facts.servers.iter().filter(ours);
    let mut back: Vec<&ServerFacts> = taken().filter(|s| s.comes_back()).collect();
    missing = missing.saturating_sub(back.iter().filter(|s| !s.stuck).count());
    let mut others: Vec<&ServerFacts> = taken().filter(|s| !s.comes_back()).collect();
    others.sort_by_key(|s| (Reverse(s.last_pass), s.key));
    for server in others {
        if missing == 0 {
            break;
        }
        missing -= usize::from(!server.stuck);
        back.push(server);
    }
    back
}

/// What fails and is in, the longest failing first.
fn take_out(facts: &ServiceFacts) -> Vec<&ServerFacts> {
    let mut failing: Vec<&ServerFacts> =
        facts.servers.iter().filter(|s| s.verdict == Some(Verdict::Down) && s.is_in()).collect();
    // One that has begun to pass again (`None`) goes last.
    failing.sort_by_key(|s| (s.failing_since.is_none(), s.failing_since, s.key));
    failing
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn server(n: u8, weight: u32, owed: u32, verdict: Option<Verdict>) -> ServerFacts {
        ServerFacts {
            key: DestKey { addr: [10, 0, 0, n].into(), port: 80 },
            weight: Weight(weight),
            owed: (owed > 0).then_some(Weight(owed)),
            verdict,
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

    fn facts(servers: Vec<ServerFacts>) -> ServiceFacts {
        ServiceFacts {
            key: "10.0.0.100:80/tcp".parse().unwrap(),
            floor: Floor::DEFAULT,
            mode: Mode::Enforce,
            stale: false,
            ledger_unsaved: false,
            missed: 0,
            servers,
        }
    }

    /// (last octet, from, to) of each change, in order.
    fn changes(plan: &Plan) -> Vec<(u8, u32, u32)> {
        plan.changes.iter().map(|(c, _)| (octet(&c.dest), c.from.0, c.to.0)).collect()
    }

    fn held(plan: &Plan) -> Vec<(u8, &'static str, u32)> {
        plan.held.iter().map(|(d, h)| (octet(d), h.reason.as_str(), h.would.0)).collect()
    }

    fn octet(dest: &DestKey) -> u8 {
        match dest.addr {
            std::net::IpAddr::V4(a) => a.octets()[3],
            std::net::IpAddr::V6(_) => 0,
        }
    }

    const UP: Option<Verdict> = Some(Verdict::Up);
    const DOWN: Option<Verdict> = Some(Verdict::Down);

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

    proptest::proptest! {
        /// Invariants 1 and 6: carried out, a plan keeps the floor, and the next one adds nothing
        /// but what waited for a restore to land.
        #[test]
        fn plans_keep_the_floor_and_come_to_rest(
            raw in proptest::collection::vec((0u32..3, 0u32..3, 0u8..3, proptest::bool::ANY), 0..8),
            floor in 0u32..10, percent in proptest::bool::ANY,
        ) {
            let mut facts = facts(raw.iter().enumerate().map(|(n, (weight, owed, verdict, taken))| {
                let mut s = server(n as u8, *weight, if *weight > 0 { *weight } else { *owed }, [None, UP, DOWN][*verdict as usize]);
                s.taken = *taken && *weight == 0 && *owed > 0;
                s
            }).collect());
            facts.floor = if percent { Floor::Percent((floor * 11).min(100) as u8) } else { Floor::Count(floor) };
            for _ in 0..4 {
                let in_before = facts.servers.iter().filter(|s| s.is_in()).count();
                let plan = plan(&facts);
                for (change, _) in &plan.changes {
                    let server = facts.servers.iter_mut().find(|s| s.key == change.dest).unwrap();
                    proptest::prop_assert_eq!(change.from, server.weight);
                    proptest::prop_assert_ne!(change.from, change.to);
                    server.taken = change.to.is_zero();
                    server.weight = change.to;
                }
                let now_in = facts.servers.iter().filter(|s| s.is_in()).count();
                proptest::prop_assert!(now_in >= plan.floor.min(in_before) || now_in >= in_before);
                // What we took and is not up is never kept while the floor is missed.
                let ours_out = facts.servers.iter().filter(|s| s.taken).count();
                proptest::prop_assert!(now_in >= plan.floor || ours_out == 0);
            }
            proptest::prop_assert_eq!(plan(&facts).changes, vec![]);
        }
    }
}
