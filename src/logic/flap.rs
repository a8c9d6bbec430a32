//! Flapping, and how long a server that is up again is kept waiting for its weight.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::Mono;

/// More changes of the verdict than this within the window are flapping, as one would count them by
/// `lvs_real_server_transitions_total`.
const MOST_CHANGES: usize = 6;

const WINDOW: Duration = Duration::from_secs(30 * 60);

/// 16-fold.
const MOST_DOUBLINGS: u32 = 4;

/// The last changes of one verdict between up and down.
#[derive(Debug, Default)]
pub struct Flaps {
    /// Only as many as it takes to flap.
    changes: VecDeque<Mono>,
    doublings: u32,
    /// That it flaps has been said.
    pub said: bool,
}

impl Flaps {
    pub fn changed(&mut self, now: Mono) {
        if self.changes.len() > MOST_CHANGES {
            self.changes.pop_front();
        }
        self.changes.push_back(now);
    }

    pub fn lasts(&self, now: Mono) -> bool {
        self.end().is_some_and(|end| now < end)
    }

    /// Nothing could change for that long: it is no part of the window (trap 49).
    pub fn paused(&mut self, gap: Duration) {
        self.changes.iter_mut().for_each(|change| *change += gap);
    }

    /// When it has stopped flapping, if nothing changes any more; `None`: it does not flap.
    pub fn end(&self) -> Option<Mono> {
        let earliest = self.changes.front().filter(|_| self.changes.len() > MOST_CHANGES)?;
        Some(*earliest + WINDOW)
    }

    /// Checks took its weight.
    pub fn drained(&mut self, now: Mono) {
        self.doublings = if self.lasts(now) { (self.doublings + 1).min(MOST_DOUBLINGS) } else { 0 };
    }

    /// The hold-down after the last drain, for what the configuration asks for.
    pub fn hold(&self, configured: Duration) -> Duration {
        configured.saturating_mul(1 << self.doublings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minute(n: u64) -> Mono {
        Mono::from_start(Duration::from_secs(60 * n))
    }

    #[test]
    fn more_than_six_changes_in_half_an_hour_are_flapping() {
        let mut flaps = Flaps::default();
        for n in 1..=6 {
            flaps.changed(minute(n));
            assert!(!flaps.lasts(minute(n)), "after {n}");
        }
        flaps.changed(minute(7));
        assert!(flaps.lasts(minute(7)));
        assert_eq!(flaps.end(), Some(minute(31)));
        assert!(flaps.lasts(minute(30)) && !flaps.lasts(minute(31)));
        // One more: the first no longer counts, the second does.
        flaps.changed(minute(8));
        assert_eq!(flaps.end(), Some(minute(32)));
        let mut slow = Flaps::default();
        for n in 1..20 {
            slow.changed(minute(5 * n));
            assert!(!slow.lasts(minute(5 * n)), "six in thirty minutes");
        }
    }

    #[test]
    fn the_hold_doubles_with_each_drain_while_it_flaps() {
        let mut flaps = Flaps::default();
        let base = Duration::from_secs(10);
        flaps.drained(minute(1));
        assert_eq!(flaps.hold(base), base);
        (1..=7).for_each(|n| flaps.changed(minute(n)));
        let holds: Vec<u64> = (7..13)
            .map(|n| {
                flaps.drained(minute(n));
                flaps.hold(base).as_secs()
            })
            .collect();
        assert_eq!(holds, [20, 40, 80, 160, 160, 160]);
        flaps.drained(minute(31));
        assert_eq!(flaps.hold(base), base, "it has calmed down");
        assert_eq!(flaps.hold(Duration::ZERO), Duration::ZERO);
    }
}
