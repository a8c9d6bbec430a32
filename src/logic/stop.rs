//! The end of the agent: the table is left as it is or, with `restore-on-exit`, what checks took goes
//! back first (trap 18). Either way nothing else is begun.
//!
//! A crash in the middle of it is like any other: what is back in the kernel and still on record was
//! given back, what is not is the next run's to give.

use std::collections::BTreeMap;

use super::controller::{Changes, Controller};
use super::event::{Command, Note};
use super::ledger::Entry;
use super::probes::User;
use crate::model::{Direction, Mode, Mono, Now, RealServer, Weight, WeightChange};

#[derive(Debug, Default)]
pub(super) enum Stop {
    #[default]
    No,
    /// The table stays as it is.
    Leave,
    /// What checks took goes back, failing servers included.
    GiveBack {
        /// What was asked for so far, to be counted at the end.
        asked: BTreeMap<User, Weight>,
    },
}

impl Controller {
    pub(super) fn stop(&mut self) {
        if self.stopping() {
            return;
        }
        self.stop = match self.policy.restore_on_exit {
            true => Stop::GiveBack { asked: BTreeMap::new() },
            false => Stop::Leave,
        };
    }

    pub(super) fn stopping(&self) -> bool {
        match self.stop {
            Stop::No => false,
            Stop::Leave | Stop::GiveBack { .. } => true,
        }
    }

    /// The next step of giving back, if anything is left to be given back and can be now.
    pub(super) fn give_back_at_stop(&mut self, now: Now, out: &mut Vec<Command>) {
        if self.cycle.changes().is_some() || self.all_given_back() {
            return;
        }
        // As before the stop: without it a failed write or a lost table would be final.
        self.read_if_due(now, out);
        if self.stale(now.mono) {
            return;
        }
        let mut changes = Changes::new();
        for ((service, dest), entry) in self.owed_at_stop() {
            if changes.len() >= self.changes_per_cycle {
                break; // the others follow, as long as the stop may last
            }
            let change = WeightChange { service, dest, from: entry.written, to: entry.owed };
            let clear = !self.unclear.contains(&service) && !self.awaits_disk(&service);
            if clear && self.may_write(&change, now.mono) {
                changes.insert((service, dest), (change, Direction::Restore));
            }
        }
        if let Stop::GiveBack { asked } = &mut self.stop {
            asked.extend(changes.iter().map(|(user, (change, _))| (*user, change.to)));
        }
        if !changes.is_empty() {
            self.start(changes, now, out);
        }
    }

    /// Taken by checks, not wanted out by hand, ours to write, and not changed by anybody since as far
    /// as is known. What an undrain has on its way back is among it.
    fn owed_at_stop(&self) -> impl Iterator<Item = (User, Entry)> {
        let gives = matches!(self.stop, Stop::GiveBack { .. });
        let ours = move |(user, entry): &(&User, &Entry)| {
            let stands = match (&self.snapshot, self.row_at_stop(user)) {
                (None, _) => true,
                // A write whose result is not known yet: the read that is under way will tell.
                (Some(_), _) if self.unclear.contains(&user.0) => true,
                (Some(_), row) => row.is_some_and(|row| row.weight == entry.written),
            };
            gives && stands && self.mode_of(&user.0) == Some(Mode::Enforce) && !self.keeper.wished_out(user)
        };
        self.keeper.entries().filter(ours).map(|(user, entry)| (*user, *entry))
    }

    fn row_at_stop(&self, (service, dest): &User) -> Option<&RealServer> {
        self.snapshot.as_ref()?.service(service)?.destination(dest)
    }

    pub(super) fn all_given_back(&self) -> bool {
        self.owed_at_stop().next().is_none()
    }

    /// When to try again.
    pub(super) fn wake_at_stop(&self) -> Option<Mono> {
        if self.cycle.changes().is_some() || self.all_given_back() {
            return None;
        }
        let retry = |(service, dest): User| self.services.get(&service)?.dests.get(&dest)?.retry_at;
        // One that is over and was of no use (the table cannot be read) is not waited for.
        let to_come = |at: &Mono| self.watch.last.is_none_or(|last| *at > last.mono);
        let retries = self.owed_at_stop().filter_map(|(user, _)| retry(user)).filter(to_come);
        retries.chain(self.reading.is_none().then_some(self.next_read)).min()
    }

    /// True if a drain on its way to the disk would only be given back again.
    pub(super) fn drained_in_vain(&self, user: &User) -> bool {
        matches!(self.stop, Stop::GiveBack { .. }) && !self.keeper.wished_out(user)
    }

    /// What the log says last: which of the two was done, and what came of it.
    pub fn last_words(&self) -> Vec<Note> {
        let taken = self.keeper.entries().count();
        match &self.stop {
            Stop::No => Vec::new(),
            Stop::Leave => vec![Note::LeftAtStop { taken }],
            Stop::GiveBack { asked } => {
                let missed = |(user, entry): (User, Entry)| Note::NotGivenBack {
                    service: user.0,
                    dest: user.1,
                    owed: entry.owed,
                };
                let mut notes: Vec<Note> = self.owed_at_stop().map(missed).collect();
                let missed = notes.len();
                let back = |(user, owed): &(&User, &Weight)| {
                    let there = self.row_at_stop(user).is_some_and(|row| row.weight == **owed);
                    there && self.keeper.get(user).is_none()
                };
                let given = asked.iter().filter(back).count();
                notes.push(Note::GaveBackAtStop { given, missed, kept: taken.saturating_sub(missed) });
                notes
            }
        }
    }
}
