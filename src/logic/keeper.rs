//! The ledger in memory beside the one on disk: what is saved, what is not, and why not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::event::{Command, Note};
use super::ledger::{Entry, EntryState, Ledger, Origin, TakenBy, Wish, WishKind};
use super::service::TUG_OF_WAR_WINDOW;
use crate::model::{DestKey, LedgerView, Mono, Now, ServiceKey, Weight};

/// After a failed save the next attempt waits this long.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// The ledger is written again this often per maximum age, so that a living agent's never lapses.
const CONFIRMATIONS_PER_AGE: u32 = 24;

#[derive(Debug)]
pub struct Keeper {
    ledger: Ledger,
    /// When somebody else raised a weight over a drain by hand. Here, because a real server that one
    /// read missed is forgotten elsewhere (trap 3).
    raised: BTreeMap<(ServiceKey, DestKey), Mono>,
    /// Counts changes; what is on disk is `saved`.
    generation: u64,
    saved: u64,
    saving: Option<u64>,
    retry_at: Mono,
    /// The file is there but cannot be used: it is left untouched and nothing is written.
    unusable: Option<String>,
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
            Ok(None) => Ok(Ledger::new(origin.clone())),
            Ok(Some(ledger)) => Ledger::adopt(ledger, origin.clone(), now.wall, max_age),
            Err(error) => Err(error),
        };
        let (ledger, unusable) = match adopted {
            Ok(ledger) => (ledger, None),
            Err(error) => (Ledger::new(origin), Some(error)),
        };
        Keeper {
            ledger,
            raised: BTreeMap::new(),
            generation: 0,
            saved: 0,
            saving: None,
            retry_at: Mono::ZERO,
            unusable,
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
        self.raised.remove(&key);
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

    /// Somebody raised the weight over a drain by hand; true if for the second time, which ends it.
    pub fn raised_over_wish(&mut self, key: (ServiceKey, DestKey), now: Mono) -> bool {
        let before = self.raised.insert(key, now);
        before.is_some_and(|before| now.since(before) < TUG_OF_WAR_WINDOW)
    }

    pub fn set_taken_by(&mut self, key: &(ServiceKey, DestKey), by: TakenBy) {
        if let Some(entry) = self.ledger.entries.get_mut(key)
            && entry.by != by
        {
            entry.by = by;
            self.generation += 1;
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
        if self.unusable.is_some() || self.saving.is_some() {
            return;
        }
        let age = now.wall.0 - self.ledger.confirmed.0;
        let stale = age > (max_age / CONFIRMATIONS_PER_AGE).as_secs_f64() || age < 0.0;
        if stale && !self.ledger.entries.is_empty() {
            self.generation += 1;
        }
        // A failed save is tried again even if the change it was for is gone: success is the only
        // proof that the disk can be written again.
        let wanted = self.generation > self.saved || self.failure.is_some();
        if !wanted || (self.failure.is_some() && now.mono < self.retry_at) {
            return;
        }
        self.ledger.confirmed = now.wall;
        self.saving = Some(self.generation);
        out.push(Command::SaveLedger { generation: self.generation, ledger: Arc::new(self.ledger.clone()) });
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
        (self.failure.is_some() && self.saving.is_none()).then_some(self.retry_at)
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
