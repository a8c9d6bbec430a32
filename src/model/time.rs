//! Time as the decisions see it: a monotonic clock to decide by, a wall clock only to write down.

use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

/// A point on the monotonic clock: the time since an arbitrary start before the first event.
///
/// Made by the shell (`os::Clock`), compared and added to by everybody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mono(Duration);

impl Mono {
    pub const ZERO: Mono = Mono(Duration::ZERO);

    pub const fn from_start(since_start: Duration) -> Mono {
        Mono(since_start)
    }

    pub const fn since_start(self) -> Duration {
        self.0
    }

    /// The time from `earlier` to `self`; zero if `earlier` is later.
    pub fn since(self, earlier: Mono) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Mono {
    type Output = Mono;
    fn add(self, rhs: Duration) -> Mono {
        Mono(self.0.saturating_add(rhs))
    }
}

impl AddAssign<Duration> for Mono {
    fn add_assign(&mut self, rhs: Duration) {
        *self = *self + rhs;
    }
}

impl Sub<Duration> for Mono {
    type Output = Mono;
    fn sub(self, rhs: Duration) -> Mono {
        Mono(self.0.saturating_sub(rhs))
    }
}

/// Seconds since the Unix epoch, for files, metrics and logs; no decision compares two of them
/// but the ledger's maximum age, which has to survive a restart.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Wall(pub f64);

/// Both clocks, read together.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Now {
    pub mono: Mono,
    pub wall: Wall,
}

impl Now {
    /// The wall-clock time of an earlier moment of the monotonic clock, as the wall clock stands now.
    pub fn wall_of(self, moment: Mono) -> Wall {
        Wall(self.wall.0 - self.mono.since(moment).as_secs_f64())
    }
}
