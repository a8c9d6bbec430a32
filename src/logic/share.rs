//! What a real server says that it wants of its weight, and what that comes to. The weight that is owed stays
//! the operator's; this is a part of it, taken by way of the ledger like all that we take.

use super::controller::Controller;
use super::keeper::Keeper;
use super::ledger::WishKind;
use super::probes::{Probes, User};
use super::service::DestState;
use crate::model::{Mono, OnFailure, ServicePolicy, Share, Verdict, VirtualServer, Weight};

/// A smaller change than one part of so many of the owed weight is not worth a write and a record: load goes up
/// and down by a percent all the time.
const SMALLEST_PART: u64 = 20;

/// What a server with this share is to have at most. Where the scheduler knows only 0 and more than 0 (rr, lc,
/// dh) or only the highest weight (fo), a part means nothing or the wrong thing.
fn offer(scheduler: &str, owed: Weight, share: Share) -> Weight {
    match scheduler {
        "rr" | "lc" | "dh" | "fo" if share != Share::NONE => owed,
        _ => share.of(owed),
    }
}

/// Whether a change between two weights above 0 is made. All of it is: nothing of ours may stay behind.
pub fn is_worth_a_write(from: Weight, to: Weight, owed: Weight) -> bool {
    to == owed || u64::from(from.0.abs_diff(to.0)) * SMALLEST_PART >= u64::from(owed.0)
}

/// What a change of a share is, for the log: to every percent belongs no line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    Nothing,
    Part,
    All,
}

impl Wants {
    pub fn of(share: Option<Share>) -> Wants {
        match share.unwrap_or(Share::FULL) {
            Share::NONE => Wants::Nothing,
            Share::FULL => Wants::All,
            _ => Wants::Part,
        }
    }
}

impl DestState {
    /// The smallest of what its checks were told at their last pass; `None`: nobody says anything of weights.
    pub(super) fn said(&self, probes: &Probes) -> Option<Share> {
        self.healths(probes).filter_map(|(_, health)| health?.share).min()
    }

    pub(super) fn wants_all(&self) -> bool {
        Wants::of(self.share) == Wants::All
    }

    /// It is up, and would have less than it is owed.
    pub(super) fn wants_less(&self) -> bool {
        self.verdict == Some(Verdict::Up) && !self.wants_all()
    }

    /// What others did to its weight counts no more: its verdict is another one by now, or it wants all.
    /// That it is known again after a restart is no change.
    pub(super) fn ends_yielding(&self, before: Option<Verdict>) -> bool {
        match (before, self.verdict) {
            (_, Some(Verdict::Up)) if self.wants_all() => true,
            (Some(Verdict::Down), Some(Verdict::Up)) | (Some(Verdict::Up), Some(Verdict::Down)) => true,
            (Some(Verdict::Up | Verdict::Down) | None, _) => false,
        }
    }
}

impl Controller {
    /// What it said last that it wants of its weight.
    pub(super) fn share_of(&self, (service, dest): &User) -> Share {
        let dest = self.services.get(service).and_then(|state| state.dests.get(dest));
        dest.and_then(|dest| dest.share).unwrap_or(Share::FULL)
    }

    /// What it is to have at most, as far as it says; `None`: what it is owed is not known.
    pub(super) fn offer(
        &self,
        service: &VirtualServer,
        policy: &ServicePolicy,
        user: &User,
        dest: &DestState,
    ) -> Option<Weight> {
        let owed = dest.owed?;
        let ignored = self.keeper.wish(user).is_some_and(|wish| wish.kind == WishKind::IgnoreChecks);
        if ignored || policy.on_failure(&service.scheduler) == OnFailure::Observe {
            return Some(owed);
        }
        Some(offer(&service.scheduler, owed, dest.share.unwrap_or(Share::FULL)))
    }
}

/// Somebody else changed a weight that we had reduced as the server wanted. That weight is the owed one, and the
/// share of it is written once more; the second time within the window it is left to them (trap 20).
pub(super) fn changed_by_others(dest: &DestState, user: User, keeper: &mut Keeper, now: Mono) {
    if dest.wants_less() && !keeper.wished_out(&user) && keeper.raised(user, now) {
        keeper.yield_to(user, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedulers_without_parts_of_a_weight_know_all_of_it_and_none() {
        let half = Share::percent(50);
        for scheduler in ["rr", "lc", "dh", "fo"] {
            assert_eq!(offer(scheduler, Weight(10), half), Weight(10), "{scheduler}");
            assert_eq!(offer(scheduler, Weight(10), Share::NONE), Weight::ZERO, "{scheduler}");
        }
        for scheduler in ["wrr", "wlc", "sh", "mh", "sed", "nq", "lblc", "ovf"] {
            assert_eq!(offer(scheduler, Weight(10), half), Weight(5), "{scheduler}");
        }
    }

    #[test]
    fn small_changes_are_not_worth_a_write_and_the_last_one_is() {
        for (from, to, worth) in
            [(73, 74, false), (73, 77, false), (73, 78, true), (73, 68, true), (99, 100, true)]
        {
            assert_eq!(is_worth_a_write(Weight(from), Weight(to), Weight(100)), worth, "{from} -> {to}");
        }
        assert!(is_worth_a_write(Weight(3), Weight(4), Weight(19)));
        assert!(is_worth_a_write(Weight::MAX, Weight(1), Weight::MAX));
    }
}
