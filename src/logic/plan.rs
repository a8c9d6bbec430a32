//! What to change in one service, and what to hold, and why.
//!
//! A plan is made on the kernel's weights alone, so planning again after it was carried out gives
//! nothing (invariant 6). Drains never count on restores of the same plan: those may fail.

#[cfg(test)]
pub mod tests;

use std::cmp::Reverse;

use super::guard::Lately;
use crate::model::{
    DestKey, Direction, Floor, Held, HeldReason, Mode, Mono, OnFailure, ServiceKey, Verdict, Weight,
    WeightChange,
};

use super::ledger::WishKind;
use super::share::is_worth_a_write;

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
    pub on_failure: OnFailure,
    /// Nearly all targets fail: nothing is taken.
    pub suspect_self: bool,
    /// Real servers that we took the weight of and that the last read missed: gone only if the next
    /// one misses them too (trap 3), until then the floor counts them.
    pub missed: usize,
    pub servers: Vec<ServerFacts>,
}

impl ServiceFacts {
    /// Why nothing may be written.
    fn no_write(&self) -> Option<HeldReason> {
        let observes = self.mode == Mode::Observe;
        self.stale.then_some(HeldReason::StaleSnapshot).or(observes.then_some(HeldReason::Observe))
    }

    /// Why no weight may be taken: that needs a record on disk as well.
    fn no_drain(&self) -> Option<HeldReason> {
        self.ledger_unsaved.then_some(HeldReason::LedgerUnsaved).or(self.no_write())
    }
}

#[derive(Debug, Clone)]
pub struct ServerFacts {
    pub key: DestKey,
    /// In the kernel.
    pub weight: Weight,
    pub owed: Option<Weight>,
    /// What of it slow start allows by now, if we took it.
    pub due: Weight,
    /// What it says that it wants at most of what it is owed: all of that, or 0, or between.
    pub offer: Weight,
    /// Its hold-down is not over.
    pub waits: bool,
    pub verdict: Option<Verdict>,
    pub lately: Lately,
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

    /// What we took is given back whoever else is in, as its checks pass.
    fn comes_back(&self) -> bool {
        self.verdict == Some(Verdict::Up) && !self.waits
    }

    /// Or whatever they say, and all of it.
    fn comes_back_at_once(&self, on_failure: OnFailure) -> bool {
        self.wish == Some(WishKind::IgnoreChecks)
            || (self.lifted && self.verdict != Some(Verdict::Down))
            || on_failure == OnFailure::Observe
    }

    /// It is well, and wants no new connections.
    fn unwilling(&self) -> bool {
        self.owed.is_some() && self.offer.is_zero()
    }

    /// What it is to have by now if its checks pass.
    fn step(&self) -> Weight {
        self.due.min(self.offer)
    }

    /// Its weight is ours or what we owe. What others gave it while a record was on its way to the disk has to
    /// be looked at first: taken as it is, the record would owe the weight of before.
    fn is_known(&self) -> bool {
        self.taken || self.owed == Some(self.weight)
    }

    /// In, up, and wants less than it has.
    fn comes_down_to(&self) -> Option<Weight> {
        let heard = self.verdict == Some(Verdict::Up) && self.is_in() && self.is_known() && !self.unwilling();
        let owed = self.owed.filter(|_| heard && self.offer < self.weight)?;
        is_worth_a_write(self.weight, self.offer, owed).then_some(self.offer)
    }

    /// We took its weight, and nobody wants it out.
    fn is_ours(&self) -> bool {
        self.taken && self.owed.is_some() && !self.wanted_out()
    }

    /// On its ramp: the weight that it should have by now; in need all of it, or those that fail and
    /// have to stay in would get most of the clients.
    fn climbs_to(&self, on_failure: OnFailure, short: bool) -> Option<Weight> {
        let owed = self.owed.filter(|_| self.is_ours() && !self.weight.is_zero())?;
        let to = match self.verdict {
            _ if self.comes_back_at_once(on_failure) => self.offer,
            Some(Verdict::Up) if short => self.offer,
            Some(Verdict::Up) => self.step(),
            Some(Verdict::Down) | None => return None,
        };
        Some(to).filter(|to| *to > self.weight && is_worth_a_write(self.weight, *to, owed))
    }

    fn is_sound(&self) -> bool {
        self.is_in() && self.verdict != Some(Verdict::Down)
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
    /// Failing servers stay in for want of others.
    pub floor_reached: bool,
}

pub fn plan(facts: &ServiceFacts) -> Plan {
    let base = facts.servers.iter().filter(|s| s.in_base()).count() + facts.missed;
    let floor = facts.floor.resolve(base);
    let now_in = facts.servers.iter().filter(|s| s.is_in()).count();
    let mut plan = Plan { floor, ..Plan::default() };

    let back = give_back(facts, floor, now_in);
    for (server, to) in &back {
        plan.add(facts.key, server, *to, Direction::Restore, facts.no_write());
    }
    for server in facts.servers.iter().filter(|s| held_down(s) && !back.iter().any(|(b, _)| b.key == s.key)) {
        let reason = facts.no_write().unwrap_or(HeldReason::HoldDown);
        plan.add(facts.key, server, server.step(), Direction::Restore, Some(reason));
    }
    let short = short(facts, floor, |s| s.verdict != Some(Verdict::Down));
    for server in &facts.servers {
        if let Some(to) = server.climbs_to(facts.on_failure, short) {
            plan.add(facts.key, server, to, Direction::Adjust, facts.no_write());
        } else if let Some(to) = server.comes_down_to() {
            let contested = server.contested.then_some(HeldReason::TugOfWar);
            plan.add(facts.key, server, to, Direction::Adjust, facts.no_drain().or(contested));
        }
    }

    // An operator's wish is no check's: the floor does not hold it.
    for server in facts.servers.iter().filter(|s| s.wanted_out() && !s.weight.is_zero() && s.is_known()) {
        plan.add(facts.key, server, Weight::ZERO, Direction::Drain, facts.no_drain());
    }

    let mut room = now_in.saturating_sub(floor);
    for server in take_out(facts, short) {
        let reason = if let Some(reason) = facts.no_drain() {
            Some(reason)
        } else if server.wish == Some(WishKind::IgnoreChecks) {
            Some(HeldReason::IgnoreChecks)
        } else if server.contested {
            Some(HeldReason::TugOfWar)
        } else if facts.on_failure == OnFailure::Observe {
            Some(HeldReason::SchedulerRefuses)
        } else if facts.suspect_self {
            plan.floor_reached |= room == 0;
            Some(HeldReason::SuspectSelf)
        } else if room == 0 || (short && server.lately != Lately::Failing) {
            plan.floor_reached = true;
            Some(HeldReason::Floor)
        } else {
            room -= 1;
            None
        };
        plan.add(facts.key, server, Weight::ZERO, Direction::Drain, reason);
    }

    // Those that are well go last, and as long as enough others are sound: else one that wants no
    // connections would make room for one that fails.
    let mut sound = facts.servers.iter().filter(|s| s.is_sound()).count().saturating_sub(floor);
    for server in unwilling(facts) {
        let reason = if let Some(reason) = facts.no_drain() {
            Some(reason)
        } else if server.contested {
            Some(HeldReason::TugOfWar)
        } else if facts.suspect_self {
            Some(HeldReason::SuspectSelf)
        } else if room == 0 || sound == 0 {
            plan.floor_reached = true;
            Some(HeldReason::Floor)
        } else {
            (room, sound) = (room - 1, sound - 1);
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

/// Too few sound servers are in: fewer than the floor, or none. Until that is over one pass is enough
/// to come back (trap 56), and only a whole run of failures takes out what is in: a server that passes
/// every other time would else go in and out with each result (trap 55).
fn short(facts: &ServiceFacts, floor: usize, sound: impl Fn(&ServerFacts) -> bool) -> bool {
    facts.servers.iter().filter(|s| s.is_in() && sound(s)).count() < floor.max(1)
}

/// What we took and give back: those that are up again, in need those that pass, all where checks are
/// to take nothing, and, while fewer than the floor would be in, those that passed last (trap 24: the
/// resulting set counts, whoever made it too small). In need each gets all of its weight at once, and
/// no hold-down counts.
fn give_back(facts: &ServiceFacts, floor: usize, now_in: usize) -> Vec<(&ServerFacts, Weight)> {
    let passes = |s: &ServerFacts| s.lately == Lately::Passing;
    // One that came back at its first pass is enough for the others to wait for their verdict.
    let short = short(facts, floor, |s| s.verdict != Some(Verdict::Down) || passes(s));
    let taken = facts.servers.iter().filter_map(|s| Some((s, s.owed.filter(|_| out_by_us(s))?)));
    let whole = |s: &ServerFacts| s.comes_back_at_once(facts.on_failure) || (short && passes(s));
    let sound = |s: &&ServerFacts| s.is_in() && (s.verdict != Some(Verdict::Down) || passes(s));
    let mut back = Vec::new();
    let mut others = Vec::new();
    for (server, owed) in taken {
        if server.unwilling() {
            others.push((server, owed));
        } else if whole(server) {
            back.push((server, server.offer));
        } else if server.comes_back() {
            back.push((server, if short { server.offer } else { server.step() }));
        } else {
            others.push((server, owed));
        }
    }
    let coming = back.iter().filter(|(s, _)| !s.stuck).count();
    let mut missing = floor.saturating_sub(now_in + coming);
    // One that is well, though unwilling, rather than one that fails: enough of them to let that go.
    let mut unsound = floor.saturating_sub(facts.servers.iter().filter(sound).count() + coming);
    others.sort_by_key(|(s, _)| (Reverse(s.last_pass), s.key));
    for (server, owed) in others {
        let well = server.unwilling() && (passes(server) || server.verdict == Some(Verdict::Up));
        if missing == 0 && !(well && unsound > 0) {
            continue;
        }
        missing = missing.saturating_sub(usize::from(!server.stuck));
        unsound = unsound.saturating_sub(usize::from(!server.stuck && well));
        back.push((server, owed));
    }
    back
}

fn out_by_us(server: &ServerFacts) -> bool {
    server.is_ours() && server.weight.is_zero()
}

/// Up again, and kept waiting for a while.
fn held_down(server: &ServerFacts) -> bool {
    out_by_us(server) && server.waits && server.verdict == Some(Verdict::Up) && !server.unwilling()
}

/// What fails and is in, the longest failing first. One on its way up is not taken out for the last
/// few passes; while too few sound ones are in, it shows as kept.
fn take_out(facts: &ServiceFacts, short: bool) -> Vec<&ServerFacts> {
    let fails = |s: &&ServerFacts| {
        let fails = s.verdict == Some(Verdict::Down) && (short || s.lately != Lately::Passing);
        fails && s.is_in() && s.is_known()
    };
    let mut failing: Vec<&ServerFacts> = facts.servers.iter().filter(fails).collect();
    // One that has begun to pass again (`None`) goes last.
    failing.sort_by_key(|s| (s.failing_since.is_none(), s.failing_since, s.key));
    failing
}

/// What is in and would rather not be.
fn unwilling(facts: &ServiceFacts) -> Vec<&ServerFacts> {
    let wants_out =
        |s: &&ServerFacts| s.unwilling() && s.is_in() && s.is_known() && s.verdict == Some(Verdict::Up);
    facts.servers.iter().filter(wants_out).collect()
}
