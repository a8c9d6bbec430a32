//! What a read of the table tells: who is there, who is managed, and who changed a weight.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::controller::Controller;
use super::event::{Command, Note, TargetId};
use super::keeper::Keeper;
use super::ledger::{Entry, EntryState, TakenBy};
use super::probes::{Probes, User};
use super::seen::{Seen, begin_anew, yield_unless_up};
use super::service::{Binding, DestState, ServiceState, target_of};
use super::share::changed_by_others;
use super::signs::Sign;
use crate::model::{
    Check, DriftKind, Mode, Mono, Now, OnFailure, ReadFailure, RealServer, ServiceKey, Share, SkipReason,
    Snapshot, Verdict, VirtualServer, Weight,
};

impl Controller {
    pub(super) fn table_read(
        &mut self,
        result: Result<Snapshot, ReadFailure>,
        now: Now,
        out: &mut Vec<Command>,
    ) {
        let started = self.reading.take().unwrap_or(now.mono);
        self.last_read = Some(now.mono);
        // A read that takes longer than the poll interval is not followed by the next at once.
        let pause = self.policy.poll_interval / 10;
        self.next_read = (started + self.policy.poll_interval).max(now.mono + pause);
        match result {
            Ok(snapshot) => {
                if self.read_failure.take().is_some() {
                    out.push(Command::Log(Note::TableBack));
                }
                self.first_read.get_or_insert(now.mono);
                let snapshot = Arc::new(snapshot);
                self.snapshot = Some(snapshot.clone());
                self.unclear.clear();
                self.take_in(&snapshot, now, out);
                self.drop_absent(&snapshot, now, out);
                self.reconcile_started = Some(started);
            }
            Err(failure) => {
                if self.read_failure.as_ref() != Some(&failure) {
                    out.push(Command::Log(Note::TableLost(failure.clone())));
                }
                self.read_failure = Some(failure);
                if self.stale(now.mono) {
                    self.snapshot = None;
                }
            }
        }
        self.view_due = true;
    }

    /// Brings what is remembered in line with a whole read, or, after a reload, with the last one.
    pub(super) fn take_in(&mut self, snapshot: &Snapshot, now: Now, out: &mut Vec<Command>) {
        let gone: Vec<ServiceKey> =
            self.services.keys().filter(|key| snapshot.service(key).is_none()).copied().collect();
        for key in gone {
            if let Some(mut state) = self.services.remove(&key) {
                release_all(&mut state, key, &mut self.probes);
            }
            self.dirty.remove(&key);
        }
        for service in &snapshot.services {
            self.take_in_service(service, now, out);
        }
        self.port_watch.look(&self.probes, out);
        self.vips.table(snapshot, &self.policy);
        self.look_after_entries(snapshot, out);
        self.note_missing(snapshot, out);
    }

    /// Brings one service in line with a newer reading of it.
    pub(super) fn take_in_service(&mut self, service: &VirtualServer, now: Now, out: &mut Vec<Command>) {
        let policy = &self.policy;
        let state = self.services.entry(service.key).or_insert_with(|| ServiceState {
            policy: policy.service_for(&service.key),
            ..ServiceState::default()
        });
        let Some(managed) = state.policy.and_then(|at| policy.services.get(at)) else {
            // Without checks nothing else ever ends the yielding.
            for row in &service.destinations {
                self.keeper.stop_yielding(&(service.key, row.key));
            }
            release_all(state, service.key, &mut self.probes);
            return;
        };
        let new = !std::mem::replace(&mut state.introduced, true);
        let decides = managed.mode == Mode::Enforce && !managed.checks.is_empty();
        let refuses = (decides && service.refuses_at_zero()).then(|| managed.on_failure(&service.scheduler));
        let known = std::mem::replace(&mut state.refusal_noted, refuses);
        if let Some(on_failure) = refuses
            && (new || known != refuses)
        {
            let scheduler = service.scheduler.clone();
            out.push(Command::Log(Note::RefusesAtZero { service: service.key, scheduler, on_failure }));
        }
        release_missing(state, service, &mut self.probes);
        if !self.unclear.contains(&service.key) {
            state.look_for_signs(service);
        }
        let (mut no_port, mut told) = (BTreeSet::new(), Vec::new());
        for row in &service.destinations {
            let user = (service.key, row.key);
            let dest = state
                .dests
                .entry(row.key)
                .or_insert_with(|| DestState { place: row.place, ..DestState::default() });
            if let Some(heirs) = rebind(dest, user, row, &managed.checks, &mut self.probes, now.mono) {
                dest.judge(&self.probes, now.mono);
                told.extend(heirs);
                for binding in dest.checks.iter().filter(|b| b.target.is_none()) {
                    *self.skipped.entry(SkipReason::NoPort).or_default() += 1;
                    no_port.insert(binding.check.name.clone());
                }
            }
            let wants_all = dest.verdict == Some(Verdict::Up) && dest.wants_all();
            if wants_all || dest.checks.is_empty() {
                self.keeper.stop_yielding(&user);
            }
            let in_flight = self.cycle.changes().is_some_and(|changes| changes.contains_key(&user));
            if !in_flight && !self.unclear.contains(&service.key) {
                if self.absent.contains(&user) {
                    dest.sign = dest.sign.max(Some(Sign::Missed));
                }
                let first = self.adopting.remove(&user);
                let seen = observe(dest, user, row.weight, first, &mut self.keeper, &self.probes, now);
                if seen.is_drift() {
                    *self.drift.entry(DriftKind::Weight).or_default() += 1;
                }
                out.extend(seen.note(user, row.weight).map(Command::Log));
            }
        }
        if new {
            for check in no_port {
                out.push(Command::Log(Note::NoPort { service: service.key, check }));
            }
        }
        self.dirty.insert(service.key);
        for id in told {
            self.judge_users(id, now.mono);
        }
    }

    /// What a target goes on from is news to all who share it.
    fn judge_users(&mut self, id: TargetId, now: Mono) {
        for (service, dest) in self.probes.get(id).into_iter().flat_map(|target| &target.users) {
            let dest = self.services.get_mut(service).and_then(|state| state.dests.get_mut(dest));
            if dest.is_some_and(|dest| dest.judge(&self.probes, now)) {
                self.dirty.insert(*service);
            }
        }
    }

    /// Entries that we may not act on are said once, and dropped when somebody gave the weight back.
    fn look_after_entries(&mut self, snapshot: &Snapshot, out: &mut Vec<Command>) {
        let mut given_back = Vec::new();
        let (mut never_written, mut landed) = (Vec::new(), Vec::new());
        for (key, entry) in self.keeper.entries() {
            let (service, dest) = *key;
            let Some(vs) = snapshot.service(&service) else { continue };
            let Some(row) = vs.destination(&dest) else { continue };
            let state = self.services.get(&service).filter(|s| s.policy.is_some());
            let in_flight = self.cycle.changes().is_some_and(|changes| changes.contains_key(key));
            if in_flight || self.unclear.contains(&service) {
                // The row is of before the write.
            } else if state.is_none() && entry.state == EntryState::Pending && row.weight == entry.from {
                never_written.push(*key);
            } else if state.is_none() && row.weight != entry.written {
                given_back.push(*key);
            } else {
                if state.is_none() && entry.state == EntryState::Pending {
                    landed.push(*key);
                }
                if state.is_none_or(|s| !self.may_give_back(s, &vs.scheduler, entry))
                    && self.noted_unmanaged.insert(*key)
                {
                    out.push(Command::Log(Note::HeldButNotManaged { service, dest, owed: entry.owed }));
                }
            }
        }
        for key in landed {
            self.keeper.mark_done(&key);
        }
        for key in never_written {
            self.keeper.undo(&key);
        }
        for key in given_back {
            self.drop_entry(key, "somebody gave the weight back", out);
        }
    }

    /// Without checks only an operator ever says that a real server may come back, unless they are to
    /// take nothing.
    fn may_give_back(&self, state: &ServiceState, scheduler: &str, entry: &Entry) -> bool {
        let policy = state.policy.and_then(|at| self.policy.services.get(at));
        policy.is_some_and(|p| {
            let decides = !p.checks.is_empty() || p.on_failure(scheduler) == OnFailure::Observe;
            p.mode == Mode::Enforce && (decides || entry.by == TakenBy::Operator)
        })
    }

    /// What is remembered of real servers that are gone is dropped once two reads in a row agree (trap 3).
    fn drop_absent(&mut self, snapshot: &Snapshot, now: Now, out: &mut Vec<Command>) {
        let absent = self.absent_from(snapshot);
        for key in absent.intersection(&self.absent).copied().collect::<Vec<_>>() {
            self.drop_entry(key, "the real server is gone", out);
            self.keeper.forget_raise(&key);
        }
        let gone = absent.intersection(&self.absent);
        for (service, dest) in self.keeper.forget_gone(gone, now.mono, self.policy.ledger_max_age) {
            let why = "it lapsed, and the real server has been gone for the ledger's maximum age";
            out.push(Command::Log(Note::EntryDropped { service, dest, why }));
        }
        self.absent = absent;
    }

    pub(super) fn absent_from(&self, snapshot: &Snapshot) -> BTreeSet<User> {
        let there =
            |(service, dest): &User| snapshot.service(service).is_some_and(|s| s.destination(dest).is_some());
        self.keeper.remembered().filter(|user| !there(user)).collect()
    }

    fn drop_entry(&mut self, key: User, why: &'static str, out: &mut Vec<Command>) {
        if self.keeper.drop_entry(&key).is_some() {
            out.push(Command::Log(Note::EntryDropped { service: key.0, dest: key.1, why }));
        }
    }

    /// Virtual servers that the configuration names and the table lacks: drift, not an error.
    fn note_missing(&mut self, snapshot: &Snapshot, out: &mut Vec<Command>) {
        let literals = self.policy.services.iter().flat_map(|s| s.matches.iter().filter_map(|m| m.literal()));
        let missing: BTreeSet<ServiceKey> = literals.filter(|key| snapshot.service(key).is_none()).collect();
        for service in missing.difference(&self.missing) {
            let kind = DriftKind::MissingVirtualServer;
            *self.drift.entry(kind).or_default() += 1;
            out.push(Command::Log(Note::Drift { kind, service: *service }));
        }
        self.missing = missing;
    }
}

/// Compares the kernel's weight with what we know (traps 15, 17, 20).
fn observe(
    dest: &mut DestState,
    user: User,
    weight: Weight,
    first: bool,
    keeper: &mut Keeper,
    probes: &Probes,
    now: Now,
) -> Seen {
    let entry = keeper.get(&user).copied();
    if let Some(sign) = dest.sign.take()
        && sign.tells(weight, entry.as_ref())
    {
        return begin_anew(dest, user, weight, entry, keeper, now);
    }
    let Some(entry) = entry else {
        if weight.is_zero() {
            dest.external_since.get_or_insert(now.wall);
            dest.owed = dest.owed.or(keeper.wish(&user).and_then(|wish| wish.owed));
        } else {
            dest.external_since = None;
            dest.owed = Some(weight);
            // One that lapsed on its ramp is still where we left it: more is owed than that.
            if keeper.lapsed(&user).is_none_or(|entry| entry.written != weight) {
                keeper.forget_lapsed(&user);
            }
            keeper.owed_over_wish(&user, weight);
        }
        return Seen::Nothing;
    };
    dest.external_since = None;
    dest.owed = Some(entry.owed);
    if weight == entry.written {
        keeper.mark_done(&user);
        let limited = dest.wants_less() && (dest.share == Some(Share::NONE) || !weight.is_zero());
        if keeper.wish(&user).is_none() && (limited || dest.verdict == Some(Verdict::Down)) {
            // On its way back by hand, and failing or content: from now on its checks have it.
            keeper.set_taken_by(&user, TakenBy::Check);
        }
        return if first { Seen::Adopted(entry) } else { Seen::Nothing };
    }
    if entry.state == EntryState::Pending && weight == entry.from {
        // The write never happened (trap 17); whether to make it is decided anew.
        keeper.undo(&user);
        keeper.owed_over_wish(&user, entry.owed);
        return Seen::Nothing;
    }
    keeper.drop_entry(&user);
    if weight.is_zero() {
        // Taken out by hand on its ramp.
        dest.external_since = Some(now.wall);
        return Seen::ByOthers { expected: entry.written };
    }
    dest.owed = Some(weight);
    keeper.owed_over_wish(&user, weight);
    if first && weight == entry.owed && !keeper.wished_out(&user) {
        return Seen::GivenBack;
    }
    if !entry.written.is_zero() {
        // The ramp ends; it was in, so that nothing was raised over a drain.
        changed_by_others(dest, user, keeper, now.mono);
        return Seen::ByOthers { expected: entry.written };
    }
    if keeper.wished_out(&user) {
        if keeper.raised(user, now.mono) {
            keeper.set_wish(user, None);
            yield_unless_up(dest, user, keeper, now.mono);
            return Seen::HandDrainEnded;
        }
    } else if dest.verdict == Some(Verdict::Down) || (dest.verdict.is_none() && entry.by == TakenBy::Check) {
        // Not known yet, after a restart: a raise over our drain all the same.
        if keeper.raised(user, now.mono) {
            yield_unless_up(dest, user, keeper, now.mono);
        } else {
            dest.raised_by_others(probes);
        }
    } else {
        changed_by_others(dest, user, keeper, now.mono);
    }
    Seen::ByOthers { expected: entry.written }
}

/// Binds a real server to the targets of its checks: those that go on from what earlier ones knew, if any
/// binding changed.
fn rebind(
    dest: &mut DestState,
    user: User,
    row: &RealServer,
    checks: &[Arc<Check>],
    probes: &mut Probes,
    now: Mono,
) -> Option<Vec<TargetId>> {
    let bound = |binding: &Binding, probes: &Probes| {
        let wanted = target_of(&user.0, row, &binding.check);
        let current = binding.target.and_then(|id| probes.get(id)).map(|t| t.target.as_ref());
        wanted.as_ref() == current
    };
    let same = dest.checks.len() == checks.len()
        && dest.checks.iter().zip(checks).all(|(b, check)| b.check == *check && bound(b, probes));
    if same {
        return None;
    }
    let old = std::mem::take(&mut dest.checks);
    for check in checks {
        let target = target_of(&user.0, row, check).map(|target| probes.acquire(target, user, now));
        dest.checks.push(Binding { check: check.clone(), target });
    }
    // After the new ones, so that a target both use keeps its state.
    let mut heirs = BTreeMap::new();
    for id in old.into_iter().filter_map(|b| b.target) {
        for new in dest.checks.iter().filter_map(|b| b.target) {
            if probes.inherit(new, id) {
                heirs.insert(new, id);
            }
        }
        if !dest.checks.iter().any(|b| b.target == Some(id)) {
            probes.release(id, &user);
        }
    }
    let targets = dest.checks.iter().filter_map(|b| b.target);
    dest.contest.rebound(targets.map(|id| (id, heirs.get(&id).copied(), probes.run_of_failures(id))));
    Some(heirs.into_keys().collect())
}

fn release_missing(state: &mut ServiceState, service: &VirtualServer, probes: &mut Probes) {
    state.dests.retain(|key, dest| {
        let there = service.destination(key).is_some();
        if !there {
            release(dest, (service.key, *key), probes);
        }
        there
    });
}

fn release_all(state: &mut ServiceState, service: ServiceKey, probes: &mut Probes) {
    for (key, dest) in std::mem::take(&mut state.dests) {
        release(&dest, (service, key), probes);
    }
}

fn release(dest: &DestState, user: User, probes: &mut Probes) {
    for id in dest.checks.iter().filter_map(|b| b.target) {
        probes.release(id, &user);
    }
}
