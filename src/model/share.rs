//! What a server says of itself: how much of its weight it wants.

use std::fmt;

use super::Weight;

/// The part of its owed weight that a real server asks for, 0 to 100 percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Share(u8);

impl Share {
    /// No new connections.
    pub const NONE: Share = Share(0);
    pub const FULL: Share = Share(100);

    /// More than all of it is all of it.
    pub fn percent(percent: u64) -> Share {
        Share(u8::try_from(percent.min(100)).unwrap_or(100))
    }

    pub fn as_percent(self) -> u8 {
        self.0
    }

    pub fn as_ratio(self) -> f64 {
        f64::from(self.0) / 100.0
    }

    /// Rounded up, so that a part of 1 is never 0 (trap 22).
    pub fn of(self, owed: Weight) -> Weight {
        let part = (u64::from(owed.0) * u64::from(self.0)).div_ceil(100);
        Weight(u32::try_from(part).unwrap_or(u32::MAX)).min(owed)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

/// How an agent beside the server is asked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentOptions {
    /// Empty: it speaks first.
    pub send: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_a_weight_is_rounded_up_and_never_more_than_it() {
        for (percent, owed, part) in [
            (50, 10, 5),
            (50, 5, 3),
            (1, 1, 1),
            (1, 65_535, 656),
            (99, 1, 1),
            (0, 65_535, 0),
            (100, 7, 7),
            (250, 7, 7),
            (50, Weight::MAX.0, 1_073_741_824),
            (100, Weight::MAX.0, Weight::MAX.0),
        ] {
            assert_eq!(Share::percent(percent).of(Weight(owed)), Weight(part), "{percent}% of {owed}");
        }
        assert_eq!((Share::percent(u64::MAX), Share::percent(73).to_string()), (Share::FULL, "73%".into()));
        assert_eq!(Share::percent(25).as_ratio(), 0.25);
    }
}
