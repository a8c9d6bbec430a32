//! Slow start: how a weight climbs back to what is owed.

use std::time::Duration;

use crate::model::{Mono, Weight};

const MOST_STEPS: u32 = 10;

/// The steps to one owed weight; the last of them is all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ramp {
    owed: Weight,
    steps: u32,
    over: Duration,
}

impl Ramp {
    /// One step, all at once, where slow start is off or the scheduler knows only 0 and more than 0
    /// (rr, lc, dh) or only the highest weight (fo); one at half where each change of a weight sends
    /// clients elsewhere (sh, mh) (trap 34).
    pub fn new(scheduler: &str, owed: Weight, over: Duration) -> Ramp {
        let steps = match scheduler {
            _ if over.is_zero() => 1,
            "rr" | "lc" | "dh" | "fo" => 1,
            "sh" | "mh" => 2,
            _ => MOST_STEPS,
        };
        Ramp { owed, steps: steps.min(owed.0).max(1), over }
    }

    pub fn steps(&self) -> u32 {
        self.steps
    }

    /// Rounded up, so that a share of 1 is never 0 (trap 22).
    pub fn weight(&self, step: u32) -> Weight {
        let whole = u64::from(self.owed.0);
        let share = (whole * u64::from(step)).div_ceil(u64::from(self.steps));
        Weight(u32::try_from(share).unwrap_or(u32::MAX)).min(self.owed)
    }

    /// The step that a weight has reached; at least the first.
    pub fn step_of(&self, weight: Weight) -> u32 {
        let reached = u64::from(weight.0) * u64::from(self.steps) / u64::from(self.owed.0.max(1));
        u32::try_from(reached).unwrap_or(u32::MAX).clamp(1, self.steps)
    }

    /// The step that is due this long after the first.
    pub fn step_at(&self, elapsed: Duration) -> u32 {
        let gone = elapsed.as_nanos().saturating_mul(self.gaps());
        let step = gone.checked_div(self.over.as_nanos()).unwrap_or(u128::MAX).saturating_add(1);
        u32::try_from(step).unwrap_or(u32::MAX).min(self.steps)
    }

    /// When a step is due, from the first on: rounded up, so that it is due by then.
    pub fn begins(&self, step: u32) -> Duration {
        let share = self.over.as_nanos().saturating_mul(u128::from(step.clamp(1, self.steps) - 1));
        Duration::from_nanos(u64::try_from(share.div_ceil(self.gaps().max(1))).unwrap_or(u64::MAX))
    }

    fn gaps(&self) -> u128 {
        u128::from(self.steps - 1)
    }
}

/// The clock of one ramp. It knows a weight and no step: the ramp may be another one after a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Climb {
    since: Mono,
    from: Weight,
}

impl Climb {
    pub fn begun(weight: Weight, now: Mono) -> Climb {
        Climb { since: now, from: weight }
    }

    /// Nobody could look at it for that long: no step came due meanwhile (trap 49).
    pub fn paused(&mut self, gap: Duration) {
        self.since += gap;
    }

    pub fn due(&self, ramp: &Ramp, now: Mono) -> Weight {
        ramp.weight(ramp.step_at(self.elapsed(ramp, now)))
    }

    /// When the next step is due; `None` on the last.
    pub fn next(&self, ramp: &Ramp, now: Mono) -> Option<Mono> {
        let step = ramp.step_at(self.elapsed(ramp, now));
        (step < ramp.steps()).then(|| self.at(ramp, step + 1))
    }

    /// When all of it is due.
    pub fn ends(&self, ramp: &Ramp) -> Mono {
        self.at(ramp, ramp.steps())
    }

    fn at(&self, ramp: &Ramp, step: u32) -> Mono {
        self.since + ramp.begins(step).saturating_sub(self.ahead(ramp))
    }

    fn elapsed(&self, ramp: &Ramp, now: Mono) -> Duration {
        now.since(self.since) + self.ahead(ramp)
    }

    fn ahead(&self, ramp: &Ramp) -> Duration {
        ramp.begins(ramp.step_of(self.from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THIRTY: Duration = Duration::from_secs(30);

    fn weights(scheduler: &str, owed: u32) -> Vec<u32> {
        let ramp = Ramp::new(scheduler, Weight(owed), THIRTY);
        (1..=ramp.steps()).map(|step| ramp.weight(step).0).collect()
    }

    #[test]
    fn it_climbs_from_a_tenth_rounded_up_to_all_of_it() {
        assert_eq!(weights("wrr", 10), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        assert_eq!(weights("wlc", 15), [2, 3, 5, 6, 8, 9, 11, 12, 14, 15]);
        assert_eq!(weights("sed", 3), [1, 2, 3]);
        assert_eq!(weights("wrr", 1), [1]);
        let greatest = weights("wrr", Weight::MAX.0);
        assert_eq!((greatest[0], greatest[8], greatest[9]), (214_748_365, 1_932_735_283, 2_147_483_647));
    }

    #[test]
    fn it_knows_the_scheduler() {
        for scheduler in ["rr", "lc", "dh", "fo"] {
            assert_eq!(weights(scheduler, 10), [10], "{scheduler}");
        }
        for scheduler in ["sh", "mh"] {
            assert_eq!(weights(scheduler, 11), [6, 11], "{scheduler}");
            assert_eq!(weights(scheduler, 1), [1], "{scheduler}");
        }
        assert_eq!(Ramp::new("wrr", Weight(10), Duration::ZERO).steps(), 1);
    }

    #[test]
    fn the_steps_are_spread_over_the_time() {
        let ramp = Ramp::new("wrr", Weight(100), Duration::from_secs(9));
        for step in 1..=10 {
            assert_eq!(ramp.begins(step), Duration::from_secs(u64::from(step) - 1));
        }
        assert_eq!(ramp.step_at(Duration::from_millis(999)), 1);
        assert_eq!(ramp.step_at(Duration::from_millis(8_999)), 9);
        assert_eq!(ramp.step_at(Duration::from_secs(3600)), 10);
        let half = Ramp::new("sh", Weight(100), Duration::from_secs(9));
        assert_eq!((half.begins(1), half.begins(2)), (Duration::ZERO, Duration::from_secs(9)));
    }

    #[test]
    fn a_ramp_goes_on_where_it_is_found() {
        let ramp = Ramp::new("wrr", Weight(10), Duration::from_secs(9));
        let now = Mono::from_start(Duration::from_secs(2));
        let climb = Climb::begun(Weight(4), now);
        assert_eq!(climb.due(&ramp, now), Weight(4));
        assert_eq!(climb.next(&ramp, now), Some(now + Duration::from_secs(1)));
        assert_eq!(climb.due(&ramp, now + Duration::from_secs(1)), Weight(5));
        assert_eq!(climb.ends(&ramp), now + Duration::from_secs(6));
        assert_eq!(climb.next(&ramp, now + Duration::from_secs(6)), None);
        // Another ramp by now: sh has its half, and waits for the rest.
        let half = Ramp::new("sh", Weight(10), Duration::from_secs(9));
        assert_eq!((climb.due(&half, now), climb.ends(&half)), (Weight(5), now + Duration::from_secs(9)));
        let off = Ramp::new("wrr", Weight(10), Duration::ZERO);
        assert_eq!((climb.due(&off, now), climb.next(&off, now)), (Weight(10), None));
    }

    proptest::proptest! {
        /// No step is 0 or too much, none is less than the one before, and each is due when it is said
        /// to be: else a wake-up would find nothing to do, for ever.
        #[test]
        fn steps_rise_and_are_due_when_they_begin(owed in 1u32..=Weight::MAX.0, over_ns in 0u64..=3_600_000_000_000, scheduler in 0usize..3) {
            let ramp = Ramp::new(["wrr", "sh", "rr"][scheduler], Weight(owed), Duration::from_nanos(over_ns));
            proptest::prop_assert!(ramp.steps() >= 1 && ramp.steps() <= MOST_STEPS);
            let mut before = Weight::ZERO;
            for step in 1..=ramp.steps() {
                let weight = ramp.weight(step);
                proptest::prop_assert!(weight > before, "{step}: {weight} after {before}");
                proptest::prop_assert_eq!(ramp.step_of(weight), step);
                proptest::prop_assert!(ramp.step_at(ramp.begins(step)) >= step);
                before = weight;
            }
            proptest::prop_assert_eq!(before, Weight(owed));
        }
    }
}
