//! From the plan to the kernel: ledger before kernel, read back after, and every result accounted for.

use std::collections::{BTreeMap, BTreeSet};

use super::controller::{Changes, Controller, Cycle};
use super::event::{Command, Note};
use super::ledger::{Entry, EntryState, TakenBy};
use super::plan::{Plan, ServerFacts, ServiceFacts, plan};
use crate::model::{
    DestKey, Direction, DriftKind, Held, HeldReason, Mono, Now, ServiceKey, VirtualServer, Weight,
    WeightChange, WriteOutcome, WriteReport,
};

impl Controller {
    /// Plans the services that something happened to, and starts carrying the plans out.
    pub(super) fn plan_dirty(&mut self, now: Now, out: &mut Vec<Command>) {
        if self.cycle.changes().is_some() {
            return;
        }
        let Some(snapshot) = self.snapshot.clone() else { return };
        let mut plans = Vec::new();
        for key in std::mem::take(&mut self.dirty) {
            if self.awaits_disk(&key) {
                continue; // dirty again once the disk has answered
            }
            let Some(service) = snapshot.service(&key) else { continue };
            self.tend(service, now.mono, out);
            let Some(facts) = self.facts(service, now.mono) else { continue };
            let plan = plan(&facts);
            plans.push((facts, plan));
        }
        let by_hand = if self.stale(now.mono) { Changes::new() } else { self.hand_backs(&snapshot) };
        let changes = self.next_batch(by_hand, &mut plans, now.mono, out);
        for (facts, plan) in &plans {
            self.note_held(facts, plan, out);
        }
        if changes.is_empty() {
            self.cycle_done(now);
        } else {
            self.start(changes, now, out);
        }
    }

    pub(super) fn facts(&self, service: &VirtualServer, now: Mono) -> Option<ServiceFacts> {
        let state = self.services.get(&service.key)?;
        let policy = self.policy.services.get(state.policy?)?;
        let servers = service.destinations.iter().filter_map(|row| {
            let dest = state.dests.get(&row.key)?;
            let user = (service.key, row.key);
            let (entry, wish) = (self.keeper.get(&user), self.keeper.wish(&user).map(|w| w.kind));
            Some(ServerFacts {
                key: row.key,
                weight: row.weight,
                owed: dest.owed,
                due: self.due(service, policy, row, now),
                offer: self.offer(service, policy, &user, dest).unwrap_or(row.weight),
                waits: dest.held_until(policy, now).is_some(),
                verdict: dest.verdict,
                lately: dest.lately,
                // What changed while a step was on its way to the disk has not been looked at yet.
                taken: entry.is_some_and(|entry| entry.left(row.weight)),
                wish,
                lifted: wish.is_none() && entry.is_some_and(|e| e.by == TakenBy::Operator),
                contested: self.keeper.raises().yielded(&user) || dest.contested(&self.probes),
                stuck: dest.retry_at.is_some(),
                failing_since: dest.failing_since(&self.probes),
                last_pass: dest.last_pass(&self.probes),
            })
        });
        Some(ServiceFacts {
            key: service.key,
            floor: policy.floor,
            mode: policy.mode,
            stale: self.stale(now) || self.unclear.contains(&service.key),
            ledger_unsaved: !self.keeper.usable(),
            on_failure: policy.on_failure(&service.scheduler),
            suspect_self: self.suspicion.lasts,
            missed: self
                .absent
                .iter()
                .filter(|key| key.0 == service.key && self.keeper.get(key).is_some())
                .count(),
            servers: servers.collect(),
        })
    }

    /// Remembers what is wanted and what is held; counts and logs each hold once.
    fn note_held(&mut self, facts: &ServiceFacts, plan: &Plan, out: &mut Vec<Command>) {
        self.note_suspicion(facts.key, plan.held.iter().map(|(_, held)| held.reason), out);
        let Some(state) = self.services.get_mut(&facts.key) else { return };
        state.floor = plan.floor;
        state.floor_reached = plan.floor_reached;
        let held: BTreeMap<_, Held> = plan.held.iter().copied().collect();
        let wanted: BTreeMap<_, Weight> = plan.changes.iter().map(|(c, _)| (c.dest, c.to)).collect();
        for server in &facts.servers {
            let Some(dest) = state.dests.get_mut(&server.key) else { continue };
            dest.wanted = wanted.get(&server.key).copied();
            let now_held = held.get(&server.key).copied();
            let too_slow = now_held.is_some_and(|held| held.reason == HeldReason::RateLimit);
            if dest.wanted.is_none() && !too_slow {
                // The verdict asked for nothing, or what it asked for had to wait: that says nothing
                // about how fast we are.
                dest.decided = None;
            }
            if now_held == dest.held {
                continue;
            }
            dest.held = now_held;
            let Some(Held { reason, would }) = now_held else { continue };
            *state.weight_changes_held.entry(reason).or_default() += 1;
            if reason == HeldReason::RateLimit {
                continue; // all of them are said in one line
            }
            out.push(Command::Log(Note::Held {
                service: facts.key,
                dest: server.key,
                reason,
                from: server.weight,
                would,
            }));
        }
    }

    /// A write that just failed waits for the next poll.
    pub(super) fn may_write(&self, change: &WeightChange, now: Mono) -> bool {
        let dest = self.services.get(&change.service).and_then(|s| s.dests.get(&change.dest));
        dest.is_some_and(|dest| dest.retry_at.is_none_or(|at| at <= now))
    }

    pub(super) fn start(&mut self, changes: Changes, now: Now, out: &mut Vec<Command>) {
        let since = self.reconcile_started.take().unwrap_or(now.mono);
        let mut recorded = false;
        for (key, (change, direction)) in &changes {
            if let Some(entry) = self.record(change, *direction, now) {
                recorded = true;
                self.keeper.put(*key, entry);
            }
        }
        if recorded {
            let generation = self.keeper.generation();
            self.cycle = Cycle::Saving { generation, changes, since };
        } else {
            self.write(changes, since, out);
        }
    }

    /// What has to be on disk before this write: it leaves less in the kernel than is owed.
    fn record(&self, change: &WeightChange, direction: Direction, now: Now) -> Option<Entry> {
        let key = (change.service, change.dest);
        let before = self.keeper.get(&key).copied();
        let (from, written, state) = (change.from, change.to, EntryState::Pending);
        match direction {
            Direction::Adjust if change.to < change.from => {
                // As the server itself wants it.
                let (owed, by, since) = (change.from, TakenBy::Check, now.wall);
                let new = Entry { owed, from, written, by, reason: None, since, state };
                Some(before.map_or(new, |entry| Entry { from, written, state, ..entry }))
            }
            Direction::Restore | Direction::Adjust => {
                let entry = before.filter(|entry| entry.owed != change.to)?;
                Some(Entry { from, written, state, ..entry })
            }
            Direction::Drain => {
                let by_hand = self.keeper.wished_out(&key);
                let dest = self.services.get(&key.0).and_then(|s| s.dests.get(&key.1));
                let reason = dest.and_then(|d| d.fail_reason(&self.probes)).filter(|_| !by_hand);
                let by = if by_hand { TakenBy::Operator } else { TakenBy::Check };
                // On its ramp: more is owed than the kernel shows.
                let owed = before.map_or(change.from, |entry| entry.owed);
                Some(Entry { owed, from, written, by, reason, since: now.wall, state })
            }
        }
    }

    fn write(&mut self, changes: Changes, since: Mono, out: &mut Vec<Command>) {
        if changes.is_empty() {
            self.cycle = Cycle::Idle;
            return;
        }
        out.push(Command::SetWeights(changes.values().map(|(change, _)| *change).collect()));
        self.cycle = Cycle::Writing { changes, since };
    }

    pub(super) fn ledger_saved(
        &mut self,
        generation: u64,
        result: Result<(), String>,
        now: Now,
        out: &mut Vec<Command>,
    ) {
        let was_usable = self.keeper.usable();
        let failed = result.is_err();
        self.keeper.saved(generation, result.clone(), now.mono, out);
        self.hands_saved(&result, out);
        if self.keeper.usable() != was_usable {
            self.dirty_all();
        }
        match std::mem::take(&mut self.cycle) {
            Cycle::Saving { generation, changes, since } if failed || self.keeper.is_saved(generation) => {
                let changes = self.still_due(changes, !failed, now.mono);
                self.write(changes, since, out);
            }
            // Another save than the one that is waited for, or none is: a write may be under way.
            other @ (Cycle::Idle | Cycle::Saving { .. } | Cycle::Writing { .. }) => self.cycle = other,
        }
    }

    /// The save took its time: only what would be planned again now is written, and nothing without
    /// its record on disk. The records of the others go, and their services are planned anew.
    fn still_due(&mut self, changes: Changes, recorded: bool, now: Mono) -> Changes {
        let services: BTreeSet<ServiceKey> = changes.keys().map(|(service, _)| *service).collect();
        let rows = self.snapshot.iter().flat_map(|s| services.iter().filter_map(|key| s.service(key)));
        let plans = rows.filter_map(|row| self.facts(row, now)).map(|facts| plan(&facts));
        let wanted: Changes = plans
            .flat_map(|p| p.changes)
            .map(|(c, direction)| ((c.service, c.dest), (c, direction)))
            .collect();
        let mut due = Changes::new();
        for (key, change) in changes {
            match self.still(&key, change, wanted.get(&key), recorded) {
                Some(change) => drop(due.insert(key, change)),
                None => self.keeper.undo(&key),
            }
        }
        self.dirty.extend(services);
        due
    }

    /// What has become of a planned change by now. A step that a slow disk has made late is taken all
    /// the same, as long as no less is wanted: else the ramp would never begin.
    fn still(
        &self,
        key: &(ServiceKey, DestKey),
        planned: (WeightChange, Direction),
        wanted: Option<&(WeightChange, Direction)>,
        recorded: bool,
    ) -> Option<(WeightChange, Direction)> {
        let (change, direction) = planned;
        let whole = |change: &WeightChange| self.keeper.get(key).is_some_and(|e| e.owed == change.to);
        let on_disk = recorded && self.keeper.get(key).is_some_and(|e| e.written == change.to);
        if self.mode_of(&key.0).is_none() {
            // No plan is made there: only what an undrain gives back is written.
            let lifted = self.keeper.get(key).is_some_and(|e| e.by == TakenBy::Operator);
            return (lifted && direction == Direction::Restore).then_some(planned);
        }
        if direction == Direction::Drain && self.drained_in_vain(key) {
            return None;
        }
        let same = |w: &&(WeightChange, Direction)| w.1 == direction && w.0.from == change.from;
        let wanted = wanted.filter(same)?;
        if change.to < change.from && wanted.0.to > change.from {
            return None; // no longer less, but more
        }
        if whole(&wanted.0) {
            return Some(*wanted);
        }
        (wanted.0.to >= change.to && on_disk).then_some(planned)
    }

    pub(super) fn weights_set(&mut self, report: WriteReport, now: Now, out: &mut Vec<Command>) {
        let (changes, since) = match std::mem::take(&mut self.cycle) {
            Cycle::Writing { changes, since } => (changes, since),
            other @ (Cycle::Idle | Cycle::Saving { .. }) => {
                self.cycle = other;
                return;
            }
        };
        for (change, outcome) in &report.results {
            let Some((_, direction)) = changes.get(&(change.service, change.dest)) else { continue };
            self.account(change, *direction, outcome, now, out);
            if matches!(outcome, WriteOutcome::Written | WriteOutcome::ReadBack(_) | WriteOutcome::Unknown(_))
                && let Some(dest) =
                    self.services.get_mut(&change.service).and_then(|s| s.dests.get_mut(&change.dest))
            {
                dest.forget_signs();
            }
        }
        let read_back = |key: &ServiceKey| report.services.iter().any(|service| service.key == *key);
        self.unclear.extend(changes.keys().map(|(service, _)| *service).filter(|key| !read_back(key)));
        self.show(report.services, now, out);
        self.reconcile_started = Some(since);
        if !self.unclear.is_empty() {
            self.start_read(now.mono, out);
        }
    }

    /// Puts the rows that were read back in the place of the older ones and looks at them as at a read.
    fn show(&mut self, services: Vec<VirtualServer>, now: Now, out: &mut Vec<Command>) {
        for service in services {
            self.take_in_service(&service, now, out);
            if let Some(snapshot) = &mut self.snapshot {
                std::sync::Arc::make_mut(snapshot).replace(service);
            }
        }
    }

    /// One result of a write.
    fn account(
        &mut self,
        change: &WeightChange,
        direction: Direction,
        outcome: &WriteOutcome,
        now: Now,
        out: &mut Vec<Command>,
    ) {
        let key = (change.service, change.dest);
        let drain = direction == Direction::Drain;
        match outcome {
            WriteOutcome::Written | WriteOutcome::ReadBack(_) => {
                self.note_written(change, direction, now, out);
                if self.keeper.get(&key).is_some_and(|entry| entry.owed != change.to) {
                    self.keeper.mark_done(&key);
                } else {
                    self.keeper.drop_entry(&key);
                }
                // A read-back of something else is then seen as what it is: somebody else's change.
            }
            WriteOutcome::Conflict(found) => {
                if !drain {
                    // A step that was not made: what somebody else gave shows in the row read back as
                    // theirs, even if it is the weight that the step was to bring.
                    self.keeper.undo(&key);
                } else {
                    self.keeper.drop_entry(&key);
                    *self.drift.entry(DriftKind::Weight).or_default() += 1;
                    let (service, dest) = key;
                    let (expected, found) = (change.from, *found);
                    out.push(Command::Log(Note::ChangedByOthers { service, dest, expected, found }));
                }
                // Against somebody who writes faster than we do, the next poll is soon enough.
                self.not_before_the_next_poll(change, now);
            }
            WriteOutcome::Gone => {
                self.keeper.drop_entry(&key);
                let why = "the real server is gone";
                out.push(Command::Log(Note::EntryDropped {
                    service: change.service,
                    dest: change.dest,
                    why,
                }));
            }
            WriteOutcome::Failed(cause) => {
                self.keeper.undo(&key);
                self.write_failed(change, cause, now, out);
            }
            // Its record stays until a read tells what the kernel has.
            WriteOutcome::Unknown(cause) => self.write_failed(change, cause, now, out),
        }
    }

    fn write_failed(&mut self, change: &WeightChange, cause: &str, now: Now, out: &mut Vec<Command>) {
        out.push(Command::Log(Note::WriteFailed { change: *change, cause: cause.to_owned() }));
        self.not_before_the_next_poll(change, now);
    }

    fn not_before_the_next_poll(&mut self, change: &WeightChange, now: Now) {
        let service = self.services.get_mut(&change.service);
        if let Some(dest) = service.and_then(|s| s.dests.get_mut(&change.dest)) {
            dest.retry_at = Some(now.mono + self.policy.poll_interval / 2);
        }
    }

    fn note_written(
        &mut self,
        change: &WeightChange,
        direction: Direction,
        now: Now,
        out: &mut Vec<Command>,
    ) {
        out.push(Command::Log(Note::WeightChanged { change: *change, direction }));
        let Some(state) = self.services.get_mut(&change.service) else { return };
        *state.weight_changes.entry(direction).or_default() += 1;
        let Some(dest) = state.dests.get_mut(&change.dest) else { return };
        dest.retry_at = None;
        if direction == Direction::Drain {
            dest.contest.end();
            if !self.keeper.wished_out(&(change.service, change.dest)) {
                dest.flaps.drained(now.mono);
            }
        }
        if let Some(decided) = dest.decided.take() {
            self.decision_apply_duration.observe(now.mono.since(decided));
        }
    }

    fn cycle_done(&mut self, now: Now) {
        if let Some(since) = self.reconcile_started.take() {
            self.reconcile_duration.observe(now.mono.since(since));
            self.last_reconcile = Some(now.wall);
        }
    }

    fn dirty_all(&mut self) {
        let managed = self.services.iter().filter(|(_, s)| s.policy.is_some()).map(|(key, _)| *key);
        self.dirty.extend(managed);
    }
}
