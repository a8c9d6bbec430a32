//! A histogram of durations with the fixed bounds of all this program's histograms.

use std::time::Duration;

/// Upper bounds, seconds; the last bucket (+Inf) is implied.
pub const BOUNDS_SECONDS: [f64; 12] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Histogram {
    /// Not cumulative; the last one counts what exceeds every bound.
    pub buckets: [u64; BOUNDS_SECONDS.len() + 1],
    pub sum_seconds: f64,
    pub count: u64,
}

impl Histogram {
    pub fn observe(&mut self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket =
            BOUNDS_SECONDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS_SECONDS.len());
        self.buckets[bucket] += 1;
        self.sum_seconds += seconds;
        self.count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_inclusive_and_the_rest_is_counted() {
        let mut h = Histogram::default();
        h.observe(Duration::from_millis(1));
        h.observe(Duration::from_micros(1001));
        h.observe(Duration::from_secs(60));
        assert_eq!((h.buckets[0], h.buckets[1], h.buckets[12], h.count), (1, 1, 1, 3));
        assert!((h.sum_seconds - 60.002_001).abs() < 1e-9);
    }
}
