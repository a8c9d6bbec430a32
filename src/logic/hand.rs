//! Drains and undrains by hand: all of a request or nothing of it, and on disk before it is
//! answered or acted on. Giving back needs no record, so a plain undrain waits for no disk.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::controller::{Changes, Controller, Cycle};
use super::event::{Command, Note};
use super::ledger::{Entry, EntryState, TakenBy, Wish, WishKind};
use super::probes::User;
use crate::model::{
    DestKey, Direction, HandDone, HandEffect, HandOrder, HandRefused, HandRequest, Mode, Now, RealServer,
    ServiceKey, Share, Snapshot, Verdict, Weight, WeightChange,
};

/// Requests that wait for the disk at one time.
const PENDING_LIMIT: usize = 64;

/// A request that was taken on and is on its way to the disk.
#[derive(Debug)]
pub(super) struct Pending {
    id: u64,
    generation: u64,
    done: Vec<HandDone>,
    order: &'static str,
    said: Option<Arc<str>>,
    /// To go back to if the disk refuses: the wishes of before, and the entries that were made.
    before: Vec<(User, Option<Wish>)>,
    entries_made: Vec<User>,
}

impl Controller {
    pub(super) fn hand(&mut self, id: u64, request: &HandRequest, now: Now, out: &mut Vec<Command>) {
        match self.decide_by_hand(request, now) {
            Ok(done) => self.take_on(id, request, done, now, out),
            Err(refused) => out.push(Command::AnswerHand { id, result: Err(refused) }),
        }
    }

    /// What the request comes to for each real server it names; changes nothing.
    fn decide_by_hand(&self, request: &HandRequest, now: Now) -> Result<Vec<HandDone>, HandRefused> {
        let snapshot = self.snapshot.as_ref().filter(|_| !self.stale(now.mono)).ok_or_else(|| {
            let failure = self.read_failure.as_ref();
            HandRefused::NoTable(
                failure.map_or_else(|| "it was not read yet".to_owned(), ToString::to_string),
            )
        })?;
        if self.hands.len() >= PENDING_LIMIT {
            return Err(HandRefused::Busy(self.hands.len()));
        }
        let named = self.named(request, snapshot)?;
        match request.order {
            HandOrder::Drain { force, .. } => self.decide_drain(&named, snapshot, force),
            HandOrder::Undrain { ignore_checks } => self.decide_undrain(&named, snapshot, ignore_checks),
        }
        .and_then(|done| {
            let recorded = keeps_on_disk(&request.order) || done.iter().any(|one| self.needs_entry(one));
            match self.keeper.trouble().filter(|_| recorded) {
                Some(trouble) => Err(HandRefused::LedgerUnsaved(trouble.clone())),
                None => Ok(done),
            }
        })
    }

    /// A 0 that is not ours goes back: without a record of it a crash would make it the operator's again.
    fn needs_entry(&self, one: &HandDone) -> bool {
        let goes_back = matches!(one.effect, HandEffect::GivingBack | HandEffect::StillFailing);
        goes_back && self.record_of(one).is_none()
    }

    /// Our record of the weight that it has. That of a change from another weight which still waits for the
    /// disk is none: it goes when the disk has answered, and this weight came from others. Nor is one that
    /// an earlier request waits for: it goes if the disk refuses.
    fn record_of(&self, done: &HandDone) -> Option<&Entry> {
        let user = (done.service, done.dest);
        let waits = matches!(&self.cycle, Cycle::Saving { changes, .. } if changes.contains_key(&user));
        let unwritten = |e: &Entry| waits && e.state == EntryState::Pending && Some(e.from) != done.weight;
        let awaited = self.hands.iter().any(|pending| pending.entries_made.contains(&user));
        self.keeper.get(&user).filter(|entry| !unwritten(entry) && !awaited)
    }

    /// The real servers that the request names: those of the table, and to lift also those that are
    /// gone from it.
    fn named(&self, request: &HandRequest, snapshot: &Snapshot) -> Result<Vec<User>, HandRefused> {
        let wanted = |key: &ServiceKey| {
            request.service.as_deref().is_none_or(|text| {
                let policy = self.policy.service_for(key).and_then(|at| self.policy.services.get(at));
                text.parse() == Ok(*key) || policy.is_some_and(|p| p.name.as_deref() == Some(text))
            })
        };
        let rows = snapshot.services.iter().flat_map(|s| s.destinations.iter().map(|row| (s.key, row.key)));
        let mut all: BTreeSet<User> = rows.collect();
        if let HandOrder::Undrain { .. } = request.order {
            all.extend(self.keeper.wishes().map(|(key, _)| *key));
        }
        if let Some(text) = &request.service
            && !snapshot.services.iter().any(|s| wanted(&s.key))
            && !all.iter().any(|(service, _)| wanted(service))
        {
            return Err(HandRefused::NoService(text.clone()));
        }
        all.retain(|(service, dest)| wanted(service) && request.servers.matches(dest));
        match (all.is_empty(), &request.service) {
            (false, _) => Ok(all.into_iter().collect()),
            (true, None) => Err(HandRefused::NoDest(request.servers)),
            (true, Some(text)) => Err(HandRefused::NoDestThere(request.servers, text.clone())),
        }
    }

    fn decide_drain(
        &self,
        named: &[User],
        snapshot: &Snapshot,
        force: bool,
    ) -> Result<Vec<HandDone>, HandRefused> {
        let mut done = Vec::new();
        for user in named {
            let (service, dest) = *user;
            match self.mode_of(&service) {
                None => return Err(HandRefused::Unmanaged(service)),
                Some(Mode::Observe) => return Err(HandRefused::Observe(service)),
                Some(Mode::Enforce) => {}
            }
            if self.keeper.wished_out(user) {
                return Err(HandRefused::Twice(service, dest));
            }
            let Some(row) = row(snapshot, user) else { continue };
            let entry = self.keeper.get(user);
            let (effect, owed) = match (row.weight.is_zero(), entry) {
                // On its ramp more is owed than it has.
                (false, entry) => (HandEffect::Draining, entry.map_or(row.weight, |entry| entry.owed)),
                (true, None) => return Err(HandRefused::External(service, dest)),
                (true, Some(entry)) => match entry.by {
                    TakenBy::Check => (HandEffect::AddedToChecks, entry.owed),
                    TakenBy::Operator => (HandEffect::Draining, entry.owed),
                },
            };
            let refuses_at_zero = snapshot.service(&service).is_some_and(|s| s.refuses_at_zero());
            let (weight, owed) = (Some(row.weight), Some(owed));
            done.push(HandDone { service, dest, effect, weight, owed, refuses_at_zero });
        }
        let services: BTreeSet<ServiceKey> = named.iter().map(|user| user.0).collect();
        let emptied = services.into_iter().find(|key| !self.somebody_stays(key, named, snapshot));
        match emptied.filter(|_| !force) {
            Some(service) => Err(HandRefused::Nobody(service)),
            None => Ok(done),
        }
    }

    /// True if a real server that is not named has a weight above 0, once the write under way has landed.
    fn somebody_stays(&self, service: &ServiceKey, named: &[User], snapshot: &Snapshot) -> bool {
        let rows = snapshot.service(service).into_iter().flat_map(|s| &s.destinations);
        rows.map(|row| ((*service, row.key), row.weight)).any(|(user, weight)| {
            let change = self.cycle.changes().and_then(|changes| changes.get(&user));
            let weight = change.map_or(weight, |(change, _)| change.to.min(weight));
            !weight.is_zero() && !named.contains(&user) && !self.keeper.wished_out(&user)
        })
    }

    fn decide_undrain(
        &self,
        named: &[User],
        snapshot: &Snapshot,
        ignore_checks: bool,
    ) -> Result<Vec<HandDone>, HandRefused> {
        let mut done = Vec::new();
        let mut why_not = None;
        for user in named {
            let (service, dest) = *user;
            let row = row(snapshot, user);
            let effect = self.undrain_effect(user, row, ignore_checks).unwrap_or_else(|refused| {
                why_not.get_or_insert(refused);
                HandEffect::Nothing
            });
            let (weight, owed) = (row.map(|r| r.weight), self.owed_of(user));
            let refuses_at_zero = snapshot.service(&service).is_some_and(|s| s.refuses_at_zero());
            done.push(HandDone { service, dest, effect, weight, owed, refuses_at_zero });
        }
        // Somewhere there was nothing to lift: no harm. Nowhere: a mistake, or a misunderstanding.
        match why_not.filter(|_| done.iter().all(|d| d.effect == HandEffect::Nothing)) {
            Some(refused) => Err(refused),
            None => Ok(done),
        }
    }

    fn undrain_effect(
        &self,
        user: &User,
        row: Option<&RealServer>,
        ignore_checks: bool,
    ) -> Result<HandEffect, HandRefused> {
        let (wish, entry) = (self.keeper.wish(user), self.keeper.get(user));
        let not_drained = HandRefused::NotDrained(user.0, user.1);
        let lifted = if wish.is_some() { Ok(HandEffect::Lifted) } else { Err(not_drained) };
        let Some(row) = row else { return lifted };
        let mode = self.mode_of(&user.0);
        match mode {
            None if ignore_checks => return Err(HandRefused::Unmanaged(user.0)),
            None if wish.is_none() && entry.is_none() => return Err(HandRefused::Unmanaged(user.0)),
            Some(Mode::Observe) if ignore_checks || wish.is_none() => {
                return Err(HandRefused::Observe(user.0));
            }
            None | Some(Mode::Observe | Mode::Enforce) => {}
        }
        let may_write = mode.or(self.policy.mode) == Some(Mode::Enforce);
        if !row.weight.is_zero() {
            let ignored = wish.is_some_and(|w| w.kind == WishKind::IgnoreChecks);
            let recorded = entry.or_else(|| self.keeper.lapsed(user));
            let climbs = recorded.is_some_and(|entry| !entry.written.is_zero());
            let goes_on = self.verdict_of(user) != Some(Verdict::Down) && self.share_of(user) == Share::FULL;
            return match (ignore_checks, ignored) {
                (true, false) => Ok(HandEffect::IgnoringChecks),
                (true, true) => Err(HandRefused::IgnoredAlready(user.0, user.1)),
                // The rest of its weight at once.
                (false, _) if climbs && may_write && goes_on => Ok(HandEffect::GivingBack),
                (false, _) => lifted,
            };
        }
        if !may_write {
            return Ok(HandEffect::NotWritten);
        }
        if mode.is_none() {
            return if entry.is_some() { Ok(HandEffect::GivingBack) } else { lifted };
        }
        if self.owed_of(user).is_none() {
            let unknown = HandRefused::OwedUnknown(user.0, user.1);
            return lifted.map_err(|_| unknown);
        }
        let unwilling = self.share_of(user) == Share::NONE;
        Ok(match (ignore_checks, wish, entry) {
            (true, _, _) => HandEffect::GivingBack,
            // Not out by hand: its checks have it. Passing ones that wait for a hold-down wait no longer.
            (false, None, Some(_)) if unwilling || self.verdict_of(user) != Some(Verdict::Up) => {
                return Err(HandRefused::OutByChecks(user.0, user.1));
            }
            (false, _, _) if unwilling || self.verdict_of(user) == Some(Verdict::Down) => {
                HandEffect::StillFailing
            }
            (false, _, _) => HandEffect::GivingBack,
        })
    }

    fn take_on(
        &mut self,
        id: u64,
        request: &HandRequest,
        done: Vec<HandDone>,
        now: Now,
        out: &mut Vec<Command>,
    ) {
        let (kind, said, order) = match &request.order {
            HandOrder::Drain { said, .. } => (Some(WishKind::Drain), said.clone(), "drain"),
            HandOrder::Undrain { ignore_checks: true } => (Some(WishKind::IgnoreChecks), None, "undrain"),
            HandOrder::Undrain { ignore_checks: false } => (None, None, "undrain"),
        };
        let (mut before, mut entries_made) = (Vec::new(), Vec::new());
        for one in done.iter().filter(|d| d.effect != HandEffect::Nothing) {
            let user = (one.service, one.dest);
            let wish = kind.map(|kind| Wish { kind, owed: one.owed, said: said.clone(), since: now.wall });
            before.push((user, self.keeper.set_wish(user, wish.filter(|_| one.weight.is_some()))));
            if kind != Some(WishKind::Drain) && self.put_on_the_way_back(one, now) {
                entries_made.push(user);
            }
            self.dirty.insert(one.service);
        }
        let generation = self.keeper.generation();
        let pending = Pending { id, generation, done, order, said, before, entries_made };
        if keeps_on_disk(&request.order) || !pending.entries_made.is_empty() {
            self.hands.push(pending);
        } else {
            self.confirm(pending, out);
        }
    }

    /// The entry of what an undrain gives back; true if there was none before: an operator's 0.
    fn put_on_the_way_back(&mut self, done: &HandDone, now: Now) -> bool {
        let user = (done.service, done.dest);
        let by = match done.effect {
            HandEffect::GivingBack | HandEffect::NotWritten => TakenBy::Operator,
            HandEffect::StillFailing => TakenBy::Check,
            HandEffect::Draining
            | HandEffect::AddedToChecks
            | HandEffect::IgnoringChecks
            | HandEffect::Lifted
            | HandEffect::Nothing => return false,
        };
        if self.mode_of(&done.service).is_none() {
            self.handing_back.insert(user);
        }
        if self.record_of(done).is_some() {
            self.keeper.set_taken_by(&user, by);
            return false;
        }
        let Some(owed) = done.owed.filter(|_| done.effect != HandEffect::NotWritten) else { return false };
        let (written, state) = (done.weight.unwrap_or(Weight::ZERO), EntryState::Done);
        self.keeper.put(user, Entry { owed, from: owed, written, by, reason: None, since: now.wall, state });
        if let Some(dest) = self.services.get_mut(&user.0).and_then(|s| s.dests.get_mut(&user.1)) {
            // If it was added again just now, that one is meant.
            dest.forget_signs();
            (dest.owed, dest.external_since) = (Some(owed), None);
        }
        true
    }

    /// The disk has answered: what it has is confirmed; if it refused, nothing was asked for.
    pub(super) fn hands_saved(&mut self, result: &Result<(), String>, out: &mut Vec<Command>) {
        for pending in std::mem::take(&mut self.hands) {
            let services: Vec<ServiceKey> = pending.done.iter().map(|d| d.service).collect();
            match result {
                Ok(()) if !self.keeper.is_saved(pending.generation) => {
                    self.hands.push(pending);
                    continue;
                }
                Ok(()) => self.confirm(pending, out),
                Err(error) => self.take_back(pending, error, out),
            }
            self.dirty.extend(services);
        }
    }

    /// It is on disk, or needs not be: whoever raised what before, the operator has the last word.
    fn confirm(&mut self, pending: Pending, out: &mut Vec<Command>) {
        for user in &pending.entries_made {
            self.keeper.forget_lapsed(user);
        }
        for done in pending.done.iter().filter(|d| d.effect != HandEffect::Nothing) {
            let user = (done.service, done.dest);
            self.keeper.forget_raise(&user);
            if let Some(dest) = self.services.get_mut(&user.0).and_then(|s| s.dests.get_mut(&user.1)) {
                dest.contest.end();
            }
            let note = Note::ByHand { done: *done, order: pending.order, said: pending.said.clone() };
            out.push(Command::Log(note));
        }
        out.push(Command::AnswerHand { id: pending.id, result: Ok(pending.done) });
    }

    fn take_back(&mut self, pending: Pending, error: &str, out: &mut Vec<Command>) {
        for user in &pending.entries_made {
            self.keeper.drop_entry(user);
        }
        for (user, wish) in pending.before.into_iter().rev() {
            self.keeper.set_wish(user, wish);
        }
        let refused = HandRefused::LedgerUnsaved(error.to_owned());
        out.push(Command::AnswerHand { id: pending.id, result: Err(refused) });
    }

    /// True while a request about this service is on its way to the disk: it is not planned until
    /// the disk has answered, so that a refused one leaves no trace.
    pub(super) fn awaits_disk(&self, service: &ServiceKey) -> bool {
        self.hands.iter().any(|pending| pending.done.iter().any(|d| d.service == *service))
    }

    /// Weights of services that are no longer configured, which somebody wants back: tried once.
    pub(super) fn hand_backs(&mut self, snapshot: &Snapshot) -> Changes {
        let mut changes = Changes::new();
        for user in std::mem::take(&mut self.handing_back) {
            let Some(entry) = self.keeper.get(&user).filter(|_| self.mode_of(&user.0).is_none()) else {
                continue;
            };
            if row(snapshot, &user).is_some_and(|row| row.weight == entry.written) {
                let (service, dest) = user;
                let change = WeightChange { service, dest, from: entry.written, to: entry.owed };
                changes.insert(user, (change, Direction::Restore));
            }
        }
        changes
    }

    /// `None`: unmanaged.
    pub(super) fn mode_of(&self, service: &ServiceKey) -> Option<Mode> {
        let at = self.policy.service_for(service)?;
        self.policy.services.get(at).map(|policy| policy.mode)
    }

    fn verdict_of(&self, (service, dest): &User) -> Option<Verdict> {
        self.services.get(service)?.dests.get(dest)?.verdict
    }

    /// The weight that it should get, from whatever remembers it.
    fn owed_of(&self, user: &User) -> Option<Weight> {
        let entry = self.keeper.get(user).or_else(|| self.keeper.lapsed(user)).map(|entry| entry.owed);
        let seen = || self.services.get(&user.0)?.dests.get(&user.1)?.owed;
        entry.or_else(seen).or_else(|| self.keeper.wish(user)?.owed)
    }
}

/// What must outlast a crash right after the answer.
fn keeps_on_disk(order: &HandOrder) -> bool {
    match order {
        HandOrder::Drain { .. } => true,
        HandOrder::Undrain { ignore_checks } => *ignore_checks,
    }
}

fn row<'a>(snapshot: &'a Snapshot, (service, dest): &(ServiceKey, DestKey)) -> Option<&'a RealServer> {
    snapshot.service(service)?.destination(dest)
}
