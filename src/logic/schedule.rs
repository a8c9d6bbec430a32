//! When each target is probed next.

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use super::event::TargetId;
use crate::model::{Mono, Target};

/// At most this share of an interval is added to or taken from it, so that targets which meet by
/// chance part again (trap 51). Both ways together stay within 5 %.
const JITTER_PER_MILLE: u64 = 25;

/// The targets that wait for their time, earliest first.
#[derive(Debug, Default)]
pub struct Schedule {
    waiting: BTreeSet<(Mono, TargetId)>,
}

impl Schedule {
    pub fn insert(&mut self, due: Mono, id: TargetId) {
        self.waiting.insert((due, id));
    }

    pub fn remove(&mut self, due: Mono, id: TargetId) {
        self.waiting.remove(&(due, id));
    }

    /// All of them so much later.
    pub fn shift(&mut self, by: Duration) {
        self.waiting =
            std::mem::take(&mut self.waiting).into_iter().map(|(due, id)| (due + by, id)).collect();
    }

    pub fn next_due(&self) -> Option<Mono> {
        self.waiting.first().map(|(due, _)| *due)
    }

    /// Takes the earliest target that is due, if any.
    pub fn pop_due(&mut self, now: Mono) -> Option<(Mono, TargetId)> {
        let first = *self.waiting.first()?;
        (first.0 <= now).then(|| {
            self.waiting.remove(&first);
            first
        })
    }
}

/// Where in its interval a target's first probe lies: a hash of director and target, so that the
/// probes of one director spread and two directors do not march in step (trap 51).
pub fn phase(seed: u64, target: &Target) -> Duration {
    scale(target.spec.pace.interval, hash(&(seed, target)) % 1000, 1000)
}

/// The interval with the jitter of the `count`-th probe of this target.
pub fn jittered(interval: Duration, seed: u64, id: TargetId, count: u64) -> Duration {
    let spread = hash(&(seed, id, count)) % (2 * JITTER_PER_MILLE + 1);
    scale(interval, 1000 - JITTER_PER_MILLE + spread, 1000)
}

/// A duration that differs between targets and from time to time, by a quarter at most.
pub fn spread(duration: Duration, seed: u64, id: TargetId, count: u32) -> Duration {
    scale(duration, 750 + hash(&(seed, id, count)) % 501, 1000)
}

fn scale(duration: Duration, numerator: u64, denominator: u64) -> Duration {
    let nanos = duration.as_nanos() * u128::from(numerator) / u128::from(denominator);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// FNV-1a: the same on every machine and in every version, which `DefaultHasher` does not promise.
struct Fnv(u64);

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        // One round of mixing: FNV's low bits alone are weak, and a remainder is taken of them.
        let mut x = self.0;
        x ^= x >> 33;
        x = x.wrapping_mul(0xff51_afd7_ed55_8ccd);
        x ^ (x >> 33)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

fn hash(value: &impl Hash) -> u64 {
    let mut fnv = Fnv(0xcbf2_9ce4_8422_2325);
    value.hash(&mut fnv);
    fnv.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::service::tests::tcp_target;

    #[test]
    fn phases_spread_over_the_interval_and_differ_by_director() {
        let phases: Vec<u128> =
            (0..1000u16).map(|port| phase(1, &tcp_target(1000 + port)).as_millis()).collect();
        // Ten slots of a 1 s interval: none empty, none with more than twice its share.
        for slot in 0..10 {
            let n = phases.iter().filter(|p| **p / 100 == slot).count();
            assert!((50..=200).contains(&n), "slot {slot} has {n}");
        }
        let differing =
            (0..1000u16).filter(|p| phase(1, &tcp_target(*p)) != phase(2, &tcp_target(*p))).count();
        assert!(differing > 900, "{differing}");
    }

    #[test]
    fn jitter_stays_within_its_bounds_and_keeps_the_mean() {
        let interval = Duration::from_secs(1);
        let all: Vec<f64> = (0..2000).map(|n| jittered(interval, 7, TargetId(3), n).as_secs_f64()).collect();
        assert!(all.iter().all(|j| (0.975..=1.025).contains(j)));
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        assert!((mean - 1.0).abs() < 0.002, "{mean}");
    }

    #[test]
    fn due_targets_come_in_order_and_only_when_due() {
        let at = |ms| Mono::from_start(Duration::from_millis(ms));
        let mut schedule = Schedule::default();
        schedule.insert(at(20), TargetId(1));
        schedule.insert(at(10), TargetId(2));
        assert_eq!(schedule.pop_due(at(9)), None);
        assert_eq!(schedule.pop_due(at(25)), Some((at(10), TargetId(2))));
        assert_eq!(schedule.next_due(), Some(at(20)));
        schedule.remove(at(20), TargetId(1));
        assert_eq!(schedule.pop_due(at(25)), None);
    }
}
