//! What is the operating system's: clocks, signals, limits, capabilities, sd_notify.

use std::time::{Duration, Instant, SystemTime};

use crate::model::{Mono, Now, Wall};

/// The only reader of the system's clocks. Cheap to copy; all copies agree.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

#[expect(clippy::disallowed_methods, reason = "this is the one place where time is read")]
impl Clock {
    pub fn start() -> Clock {
        Clock { start: Instant::now() }
    }

    pub fn mono(&self) -> Mono {
        Mono::from_start(self.start.elapsed())
    }

    pub fn now(&self) -> Now {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Now { mono: self.mono(), wall: Wall(since_epoch.as_secs_f64()) }
    }

    /// The instant of a moment, for `tokio::time::sleep_until` and `timeout_at`.
    pub fn instant(&self, moment: Mono) -> Instant {
        self.start + moment.since_start()
    }
}
