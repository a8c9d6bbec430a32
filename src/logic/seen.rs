//! What one weight in the kernel meant, and what follows for what is remembered.

use super::event::Note;
use super::keeper::Keeper;
use super::ledger::{Entry, LapseReason};
use super::probes::User;
use super::service::DestState;
use crate::model::{Mono, Now, Verdict, Weight};

pub(super) enum Seen {
    Nothing,
    /// The drain of an earlier run still stands.
    Adopted(Entry),
    /// An earlier run gave it back, and ended before that was on disk.
    GivenBack,
    /// Somebody else changed what we wrote.
    ByOthers {
        expected: Weight,
    },
    /// And did so over a drain by hand, again.
    HandDrainEnded,
    /// It is another one by now, with a weight of its own (trap 6).
    AddedAgain {
        expected: Weight,
    },
    /// With the weight that we wrote to the one before it.
    AddedAgainAtOurs {
        owed: Weight,
    },
}

impl Seen {
    pub(super) fn is_drift(&self) -> bool {
        match self {
            Seen::Nothing | Seen::Adopted(_) | Seen::GivenBack => false,
            Seen::ByOthers { .. }
            | Seen::HandDrainEnded
            | Seen::AddedAgain { .. }
            | Seen::AddedAgainAtOurs { .. } => true,
        }
    }

    pub(super) fn note(self, (service, dest): User, found: Weight) -> Option<Note> {
        match self {
            Seen::Nothing => None,
            Seen::Adopted(entry) => Some(Note::Adopted { service, dest, entry }),
            Seen::GivenBack => {
                let why = "its weight was given back before the last run ended";
                Some(Note::EntryDropped { service, dest, why })
            }
            Seen::ByOthers { expected } => Some(Note::ChangedByOthers { service, dest, expected, found }),
            Seen::HandDrainEnded => Some(Note::HandDrainEnded { service, dest, found }),
            Seen::AddedAgain { expected } => Some(Note::AddedAgain { service, dest, expected, found }),
            Seen::AddedAgainAtOurs { owed } => {
                Some(Note::EntryLapsed { service, dest, owed, reason: LapseReason::AddedAgain })
            }
        }
    }
}

/// Another real server by now: its weight is the one that somebody configured, a 0 a standby's
/// (trap 21), and nothing of what was between us and others about the one before counts.
pub(super) fn begin_anew(
    dest: &mut DestState,
    user: User,
    weight: Weight,
    entry: Option<Entry>,
    keeper: &mut Keeper,
    now: Now,
) -> Seen {
    dest.contest.end();
    keeper.forget_raise(&user);
    if weight.is_zero() {
        dest.owed = None;
        dest.external_since.get_or_insert(now.wall);
    } else {
        dest.owed = Some(weight);
        dest.external_since = None;
        keeper.forget_lapsed(&user);
        keeper.owed_over_wish(&user, weight);
    }
    match entry {
        None => Seen::Nothing,
        // Its wish knows the weight, and goes on.
        Some(entry) if weight != entry.written || keeper.wished_out(&user) => {
            keeper.drop_entry(&user);
            Seen::AddedAgain { expected: entry.written }
        }
        Some(entry) => {
            keeper.lapse(&user, LapseReason::AddedAgain);
            Seen::AddedAgainAtOurs { owed: entry.owed }
        }
    }
}

/// Left to others until its checks pass; without checks, or while they do, there is nothing to leave.
pub(super) fn yield_unless_up(dest: &DestState, user: User, keeper: &mut Keeper, now: Mono) {
    if dest.verdict != Some(Verdict::Up) && !dest.checks.is_empty() {
        keeper.yield_to(user, now);
    }
}
