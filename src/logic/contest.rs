//! Others raise weights over our drains (traps 2, 19, 20): once it is drained again after fresh
//! failures, the second time within a window it is left to them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::event::TargetId;
use super::ledger::Raise;
use super::probes::User;
use crate::model::{Mono, Now, Wall};

/// Raised twice within this time, and we yield (trap 20).
pub const TUG_OF_WAR_WINDOW: Duration = Duration::from_secs(600);

/// Who raised what lately, by the monotonic clock; the ledger has the same by the wall clock, so that
/// a restart forgets nothing. Not with the real server's state: that goes when one read misses it (trap 3).
#[derive(Debug, Default)]
pub struct Raises(BTreeMap<User, Known>);

#[derive(Debug, Clone, Copy)]
struct Known {
    at: Mono,
    yielded: bool,
}

impl Raises {
    /// Of an earlier run, which wrote them down at `written`, `ago` before now. Their ages were right
    /// then, whatever has happened to the wall clock since (trap 49).
    pub fn adopt(rows: &BTreeMap<User, Raise>, written: Wall, ago: Duration, now: Mono) -> Raises {
        let known = rows.iter().map(|(user, raise)| {
            let age = Duration::try_from_secs_f64(written.0 - raise.at.0).unwrap_or(Duration::ZERO);
            (*user, Known { at: now - age.saturating_add(ago), yielded: raise.yielded })
        });
        Raises(known.collect())
    }

    /// As the ledger writes them down.
    pub fn rows(&self, now: Now) -> BTreeMap<User, Raise> {
        let row = |known: &Known| Raise { at: now.wall_of(known.at), yielded: known.yielded };
        self.0.iter().map(|(user, known)| (*user, row(known))).collect()
    }

    /// Somebody raised it over our drain; true if for the second time within the window.
    pub fn raised(&mut self, user: User, now: Mono) -> bool {
        let before = self.0.get(&user).copied();
        let yielded = before.is_some_and(|b| b.yielded);
        self.0.insert(user, Known { at: now, yielded });
        before.is_some_and(|b| now.since(b.at) < TUG_OF_WAR_WINDOW)
    }

    /// Left alone from now on, until it passes its checks.
    pub fn yield_to(&mut self, user: User, now: Mono) {
        self.0.insert(user, Known { at: now, yielded: true });
    }

    pub fn yielded(&self, user: &User) -> bool {
        self.0.get(user).is_some_and(|known| known.yielded)
    }

    /// What was yielded to is over; a further raise within the window still is the second one.
    /// True if that changes anything.
    pub fn stop_yielding(&mut self, user: &User) -> bool {
        self.0.get_mut(user).is_some_and(|known| std::mem::take(&mut known.yielded))
    }

    /// True if there was anything to forget.
    pub fn forget(&mut self, user: &User) -> bool {
        self.0.remove(user).is_some()
    }

    pub fn users(&self) -> impl Iterator<Item = &User> {
        self.0.keys()
    }

    /// Forgets those whose window is past and that are not yielded to; true if there were any.
    pub fn forget_past(&mut self, now: Mono) -> bool {
        let before = self.0.len();
        self.0.retain(|_, known| known.yielded || now.since(known.at) < TUG_OF_WAR_WINDOW);
        self.0.len() < before
    }

    /// When there will be some to forget.
    pub fn past_at(&self) -> Option<Mono> {
        let counting = self.0.values().filter(|known| !known.yielded);
        counting.map(|known| known.at + TUG_OF_WAR_WINDOW).min()
    }

    /// Nobody was there to raise anything for that long: it counts as no time (trap 49).
    pub fn paused(&mut self, gap: Duration) {
        for known in self.0.values_mut() {
            known.at += gap;
        }
    }
}

/// The failures that have to come before a raised weight is taken again.
#[derive(Debug, Default)]
pub struct Contest {
    /// How often each target had failed in a row when the weight was raised; `None`: nothing is counted.
    runs_before: Option<BTreeMap<TargetId, u32>>,
}

impl Contest {
    /// True while failures are counted that end it.
    pub fn counts(&self) -> bool {
        self.runs_before.is_some()
    }

    pub fn begin(&mut self, runs: impl Iterator<Item = (TargetId, u32)>) {
        self.runs_before = Some(runs.collect());
    }

    /// It is up, was drained again, or is no longer contested: what was counted is spent.
    pub fn end(&mut self) {
        self.runs_before = None;
    }

    /// The failures since the raise in a run of so many.
    pub fn fresh(&self, target: TargetId, run: u32) -> Option<u32> {
        let before = self.runs_before.as_ref()?.get(&target).copied().unwrap_or(0);
        // A run that was broken meanwhile began anew.
        Some(if run >= before { run - before } else { run })
    }

    /// The checks are others now: what a target took over from an earlier one it goes on from, and
    /// what a new one has failed so far was not for this.
    pub fn rebound(&mut self, targets: impl Iterator<Item = (TargetId, Option<TargetId>, u32)>) {
        let Some(before) = &mut self.runs_before else { return };
        let runs = targets.map(|(target, heir_of, run)| {
            let known = before.get(&target).or_else(|| before.get(&heir_of?)).copied();
            (target, known.unwrap_or(run))
        });
        *before = runs.collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user() -> User {
        ("10.0.0.1:80/tcp".parse().unwrap(), "10.0.1.1:80".parse().unwrap())
    }

    fn at(seconds: u64) -> Mono {
        Mono::from_start(Duration::from_secs(seconds))
    }

    #[test]
    fn twice_within_the_window_is_a_tug_of_war() {
        for (second, again) in [(1599, true), (1600, false)] {
            let mut raises = Raises::default();
            assert!(!raises.raised(user(), at(1000)));
            assert_eq!(raises.raised(user(), at(second)), again, "{second}");
        }
    }

    #[test]
    fn a_window_that_is_past_is_forgotten_and_what_was_yielded_to_is_not() {
        let mut raises = Raises::default();
        raises.raised(user(), at(1000));
        assert_eq!(raises.past_at(), Some(at(1600)));
        assert!(!raises.forget_past(at(1599)));
        raises.yield_to(user(), at(1100));
        assert_eq!(raises.past_at(), None);
        assert!(!raises.forget_past(at(90_000)) && raises.yielded(&user()));
        assert!(raises.stop_yielding(&user()) && !raises.stop_yielding(&user()));
        assert!(raises.forget_past(at(90_000)));
        assert_eq!(raises.users().count(), 0);
    }

    #[test]
    fn what_is_written_down_is_read_back_with_its_age_whatever_the_wall_clock_does() {
        let mut raises = Raises::default();
        raises.raised(user(), at(1000));
        let rows = raises.rows(Now { mono: at(1100), wall: Wall(5000.0) });
        assert_eq!(rows[&user()], Raise { at: Wall(4900.0), yielded: false });
        let read = Raises::adopt(&rows, Wall(5000.0), Duration::from_secs(7), at(2000));
        assert_eq!(read.past_at(), Some(at(2000 - 107 + 600)));
        // A raise from the future, in a file that somebody touched: it was just now.
        let read = Raises::adopt(&rows, Wall(1.0), Duration::ZERO, at(2000));
        assert_eq!(read.past_at(), Some(at(2600)));
    }

    #[test]
    fn fresh_failures_follow_their_targets_and_not_their_places() {
        let [a, b, c, d] = [1, 2, 3, 4].map(TargetId);
        let mut contest = Contest::default();
        assert_eq!(contest.fresh(a, 9), None);
        contest.begin([(a, 7), (b, 2)].into_iter());
        assert_eq!((contest.fresh(a, 8), contest.fresh(b, 1)), (Some(1), Some(1)));
        // `b` comes first now, `c` goes on from `a`, `d` has failed for others so far.
        contest.rebound([(b, None, 2), (c, Some(a), 7), (d, None, 5)].into_iter());
        let fresh = [(b, 2), (c, 8), (d, 6)].map(|(target, run)| contest.fresh(target, run));
        assert_eq!(fresh, [Some(0), Some(1), Some(1)]);
    }
}
