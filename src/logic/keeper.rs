//! The ledger in memory beside the one on disk: what is saved, what is not, and why not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::contest::Raises;
use super::event::{Command, Note};
use super::ledger::{Entry, EntryState, LapseReason, Ledger, Origin, TakenBy, Wish, WishKind};
use crate::model::{DestKey, LedgerView, Mono, Now, ServiceKey, Weight};

/// After a failed save the next attempt waits this long.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// The ledger is written again this often per maximum age, so that a living agent's never lapses.
const CONFIRMATIONS_PER_AGE: u32 = 24;

#[derive(Debug)]
pub struct Keeper {
    ledger: Ledger,
    /// As it is now; the ledger's own are those of the last save.
    raises: Raises,
    /// Real servers of lapsed entries that the table no longer has.
    gone_since: BTreeMap<(ServiceKey, DestKey), Mono>,
    /// Counts changes; what is on disk is `saved`.
    generation: u64,
    saved: u64,
    saving: Option<u64>,
    retry_at: Mono,
    /// The file is there but cannot be used: it is left untouched and nothing is written.
    unusable: Option<String>,
    /// When to open the state directory again, which could not be used so far.
    open_at: Option<Mono>,
    /// The last save failed.
    failure: Option<String>,
    write_failures: u64,
    lapsed_noted: bool,
}

impl Keeper {
    /// `earlier`: what the state file held; an error names the file and the way out.
    pub fn new(
        earlier: Result<Option<Ledger>, String>,
        origin: Origin,
        now: Now,
        max_age: Duration,
    ) -> Keeper {
        let adopted = match earlier {
            Ok(None) => Ok((Ledger::new(origin.clone()), Raises::default())),
            Ok(Some(ledger)) => Ledger::adopt(ledger, origin.clone(), now, max_age).map(|(ledger, age)| {
                let raises = Raises::adopt(&ledger.raises, ledger.confirmed, age, now.mono);
                (ledger, raises)
            }),
            Err(error) => Err(error),
        };
        let ((ledger, raises), unusable) = match adopted {
            Ok(adopted) => (adopted, None),
            Err(error) => ((Ledger::new(origin), Raises::default()), Some(error)),
        };
        Keeper {
            ledger,
            raises,
            gone_since: BTreeMap::new(),
            generation: 0,
            saved: 0,
            saving: None,
            retry_at: Mono::ZERO,
            unusable,
            open_at: None,
            failure: None,
            write_failures: 0,
            lapsed_noted: false,
        }
    }

    pub fn entries(&self) -> impl Iterator<Item = (&(ServiceKey, DestKey), &Entry)> {
        self.ledger.entries.iter()
    }

    /// Nothing is taken and nothing wished.
    pub fn is_empty(&self) -> bool {
        self.ledger.is_empty()
    }

    pub fn get(&self, key: &(ServiceKey, DestKey)) -> Option<&Entry> {
        self.ledger.entries.get(key)
    }

    pub fn put(&mut self, key: (ServiceKey, DestKey), entry: Entry) {
        self.ledger.entries.insert(key, entry);
        self.generation += 1;
    }

    pub fn drop_entry(&mut self, key: &(ServiceKey, DestKey)) -> Option<Entry> {
        let entry = self.ledger.entries.remove(key)?;
        self.generation += 1;
        Some(entry)
    }

    pub fn mark_done(&mut self, key: &(ServiceKey, DestKey)) {
        if let Some(entry) = self.ledger.entries.get_mut(key)
            && entry.state == EntryState::Pending
        {
            entry.state = EntryState::Done;
            self.generation += 1;
        }
    }

    /// A pending write never happened: what the write before it left is what we have, if anything.
    pub fn undo(&mut self, key: &(ServiceKey, DestKey)) {
        let Some(entry) = self.ledger.entries.get_mut(key) else { return };
        if entry.state == EntryState::Done {
            return;
        }
        (entry.written, entry.state) = (entry.from, EntryState::Done);
        if entry.from == entry.owed {
            self.ledger.entries.remove(key);
        }
        self.generation += 1;
    }

    pub fn wish(&self, key: &(ServiceKey, DestKey)) -> Option<&Wish> {
        self.ledger.wishes.get(key)
    }

    pub fn wishes(&self) -> impl Iterator<Item = (&(ServiceKey, DestKey), &Wish)> {
        self.ledger.wishes.iter()
    }

    /// True if it is to be out by hand.
    pub fn wished_out(&self, key: &(ServiceKey, DestKey)) -> bool {
        self.wish(key).is_some_and(|wish| wish.kind == WishKind::Drain)
    }

    /// Sets or lifts a wish; the one before.
    pub fn set_wish(&mut self, key: (ServiceKey, DestKey), wish: Option<Wish>) -> Option<Wish> {
        self.generation += 1;
        match wish {
            Some(wish) => self.ledger.wishes.insert(key, wish),
            None => self.ledger.wishes.remove(&key),
        }
    }

    /// The kernel showed a weight that is not ours where somebody wants a drain.
    pub fn owed_over_wish(&mut self, key: &(ServiceKey, DestKey), owed: Weight) {
        if let Some(wish) = self.ledger.wishes.get_mut(key)
            && wish.owed != Some(owed)
        {
            wish.owed = Some(owed);
            self.generation += 1;
        }
    }

    /// The real servers that anything but a wish is remembered of; some come twice.
    pub fn remembered(&self) -> impl Iterator<Item = (ServiceKey, DestKey)> {
        let ledger = &self.ledger;
        ledger.entries.keys().chain(ledger.lapsed.keys()).chain(self.raises.users()).copied()
    }

    /// Lapsed entries go when their real server has been gone for so long; which ones went.
    pub fn forget_gone<'a>(
        &mut self,
        gone: impl Iterator<Item = &'a (ServiceKey, DestKey)>,
        now: Mono,
        max_age: Duration,
    ) -> Vec<(ServiceKey, DestKey)> {
        let lapsed = gone.filter(|key| self.ledger.lapsed.contains_key(key));
        self.gone_since =
            lapsed.map(|key| (*key, self.gone_since.get(key).copied().unwrap_or(now))).collect();
        let too_long = self.gone_since.iter().filter(|(_, since)| now.since(**since) >= max_age);
        let forgotten: Vec<_> = too_long.map(|(key, _)| *key).collect();
        for key in &forgotten {
            self.forget_lapsed(key);
        }
        forgotten
    }

    pub fn raises(&self) -> &Raises {
        &self.raises
    }

    /// Somebody raised the weight over our drain; true if for the second time within the window.
    pub fn raised(&mut self, key: (ServiceKey, DestKey), now: Mono) -> bool {
        self.generation += 1;
        self.raises.raised(key, now)
    }

    pub fn yield_to(&mut self, key: (ServiceKey, DestKey), now: Mono) {
        self.generation += 1;
        self.raises.yield_to(key, now);
    }

    pub fn stop_yielding(&mut self, key: &(ServiceKey, DestKey)) {
        self.generation += u64::from(self.raises.stop_yielding(key));
    }

    pub fn forget_raise(&mut self, key: &(ServiceKey, DestKey)) {
        self.generation += u64::from(self.raises.forget(key));
    }

    pub fn set_taken_by(&mut self, key: &(ServiceKey, DestKey), by: TakenBy) {
        if let Some(entry) = self.ledger.entries.get_mut(key)
            && entry.by != by
        {
            entry.by = by;
            self.generation += 1;
        }
    }

    /// No longer applied by itself, but kept for whoever asks.
    pub fn lapse(&mut self, key: &(ServiceKey, DestKey), reason: LapseReason) {
        if let Some(entry) = self.drop_entry(key) {
            self.ledger.lapsed.insert(*key, (entry, reason));
        }
    }

    pub fn lapsed(&self, key: &(ServiceKey, DestKey)) -> Option<&Entry> {
        self.ledger.lapsed.get(key).map(|(entry, _)| entry)
    }

    /// Why nothing can be put on disk, if so.
    pub fn trouble(&self) -> Option<&String> {
        self.unusable.as_ref().or(self.failure.as_ref())
    }

    /// A lapsed entry is history once somebody has set a weight there.
    pub fn forget_lapsed(&mut self, key: &(ServiceKey, DestKey)) {
        if self.ledger.lapsed.remove(key).is_some() {
            self.generation += 1;
        }
    }

    /// False while no new entry can be put on disk: then nothing is taken.
    pub fn usable(&self) -> bool {
        self.unusable.is_none() && self.failure.is_none()
    }

    /// The change count that a save must reach to hold everything so far.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    pub fn is_saved(&self, generation: u64) -> bool {
        self.saved >= generation
    }

    /// Starts a save if there is something to save, none is under way, and the last failure is
    /// long enough ago.
    pub fn save_if_due(&mut self, now: Now, max_age: Duration, out: &mut Vec<Command>) {
        self.note_lapsed(out);
        self.generation += u64::from(self.raises.forget_past(now.mono));
        if self.open_at.is_some_and(|at| at <= now.mono) {
            self.open_at = None; // until the answer
            out.push(Command::OpenLedger);
        }
        if self.unusable.is_some() || self.saving.is_some() {
            return;
        }
        if self.wants_confirmation(now.mono, max_age) {
            self.generation += 1;
        }
        // A failed save is tried again even if the change it was for is gone: success is the only
        // proof that the disk can be written again.
        let wanted = self.generation > self.saved || self.failure.is_some();
        if !wanted || (self.failure.is_some() && now.mono < self.retry_at) {
            return;
        }
        (self.ledger.confirmed, self.ledger.uptime) = (now.wall, Some(now.mono));
        self.ledger.raises = self.raises.rows(now);
        self.saving = Some(self.generation);
        out.push(Command::SaveLedger { generation: self.generation, ledger: Arc::new(self.ledger.clone()) });
    }

    /// What is on disk grows old.
    fn wants_confirmation(&self, now: Mono, max_age: Duration) -> bool {
        let old = self.ledger.uptime.is_none_or(|at| now.since(at) > max_age / CONFIRMATIONS_PER_AGE);
        old && !self.ledger.entries.is_empty()
    }

    pub fn saved(&mut self, generation: u64, result: Result<(), String>, now: Mono, out: &mut Vec<Command>) {
        self.saving = None;
        match result {
            Ok(()) => {
                self.saved = self.saved.max(generation);
                if self.failure.take().is_some() {
                    out.push(Command::Log(Note::LedgerSavedAgain));
                }
            }
            Err(error) => {
                self.write_failures += 1;
                self.retry_at = now + RETRY_AFTER;
                if self.failure.as_ref() != Some(&error) {
                    out.push(Command::Log(Note::LedgerUnsaved { error: error.clone() }));
                }
                self.failure = Some(error);
            }
        }
    }

    /// True if the disk has all that can be put there.
    pub fn at_rest(&self) -> bool {
        self.saving.is_none() && (self.saved >= self.generation || !self.usable())
    }

    /// When to look again, if a save waits for its retry.
    pub fn retry_at(&self) -> Option<Mono> {
        let save = (self.failure.is_some() && self.saving.is_none()).then_some(self.retry_at);
        save.or(self.open_at)
    }

    pub fn open_later(&mut self, now: Mono) {
        self.open_at = Some(now + RETRY_AFTER);
    }

    /// It can be used from now on, or it is known better why not.
    pub fn opened(
        &mut self,
        earlier: Result<Option<Ledger>, String>,
        now: Now,
        max_age: Duration,
        out: &mut Vec<Command>,
    ) {
        let mut opened = Keeper::new(earlier, self.ledger.origin.clone(), now, max_age);
        if let Some(error) = opened.unusable {
            if self.unusable.as_ref() != Some(&error) {
                out.push(Command::Log(Note::LedgerUnsaved { error: error.clone() }));
            }
            self.unusable = Some(error);
            return;
        }
        // What came up meanwhile is newer.
        opened.ledger.entries.append(&mut self.ledger.entries);
        (self.ledger, self.raises) = (opened.ledger, opened.raises);
        self.unusable = None;
        self.lapsed_noted = false;
        self.generation += 1;
        out.push(Command::Log(Note::LedgerSavedAgain));
    }

    /// When to look again because something of it is over.
    pub fn past_at(&self) -> Option<Mono> {
        self.raises.past_at()
    }

    /// Nothing could happen for that long: it does not count.
    pub fn paused(&mut self, gap: Duration) {
        self.raises.paused(gap);
    }

    pub fn view(&self) -> LedgerView {
        LedgerView {
            entries: self.ledger.entries.len(),
            write_failures: self.write_failures,
            error: self.trouble().cloned(),
        }
    }

    fn note_lapsed(&mut self, out: &mut Vec<Command>) {
        if std::mem::replace(&mut self.lapsed_noted, true) {
            return;
        }
        if let Some(error) = &self.unusable {
            out.push(Command::Log(Note::LedgerUnsaved { error: error.clone() }));
        }
        for ((service, dest), (entry, reason)) in &self.ledger.lapsed {
            out.push(Command::Log(Note::EntryLapsed {
                service: *service,
                dest: *dest,
                owed: entry.owed,
                reason: *reason,
            }));
        }
    }
}
