//! How much may be done at one time.

use super::SkipReason;

/// How many probes may run at one time, and what those that miss a turn by it are counted as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeLimit {
    pub in_flight: usize,
    pub reason: SkipReason,
}

impl ProbeLimit {
    /// One that was chosen, whatever the limit of open files.
    pub fn at(in_flight: usize) -> ProbeLimit {
        ProbeLimit { in_flight, reason: SkipReason::InFlightLimit }
    }
}
