//! Time that passed without us (trap 49): the process was stopped or starved, its machine paused.
//!
//! A gap shows as a wake that comes much later than it was asked for. Nothing could be probed, read or
//! held back in it, so it counts for nothing: what is due keeps its order and distances instead of
//! coming all at once, a probe under way cannot fail by it, and what is counted in time (a window, a
//! hold-down, a ramp) is so much longer. What we know grows old all the same: a snapshot of before the gap is stale.
//!
//! A suspended machine's monotonic clock stands still, so no wake is late then, and nothing is due
//! earlier either; only the probes under way may fail by it. It shows as a wall clock that jumped.

use std::time::Duration;

use super::controller::Controller;
use super::event::{Command, Note};
use crate::model::{Mono, Now};

/// A wake as late as this is no busy moment any more.
const GAP: Duration = Duration::from_secs(1);

/// A wall clock that went so much further than ours was set, or the machine slept.
const STEP_S: f64 = 2.0;

/// Each is said this often at most.
const SAID_EVERY: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(super) struct Watch {
    /// When we asked to be woken, at the end of the last step.
    pub promised: Option<Mono>,
    /// The last step.
    pub last: Option<Now>,
    gap_said: Option<Mono>,
    step_said: Option<Mono>,
}

impl Controller {
    /// Looks whether time has passed without us.
    pub(super) fn look_for_gaps(&mut self, now: Now, out: &mut Vec<Command>) {
        let gap = self.watch.promised.map_or(Duration::ZERO, |promised| now.mono.since(promised));
        if gap >= GAP {
            self.probes.paused(gap);
            self.keeper.paused(gap);
            self.alarms.paused(gap);
            for service in self.services.values_mut() {
                service.dests.values_mut().for_each(|dest| dest.paused(gap));
            }
            say(&mut self.watch.gap_said, now.mono, Note::Paused { gap }, out);
        }
        if let Some(last) = self.watch.last.replace(now) {
            let seconds = (now.wall.0 - last.wall.0) - now.mono.since(last.mono).as_secs_f64();
            if seconds >= STEP_S {
                self.probes.excuse_all();
            }
            if seconds.abs() >= STEP_S {
                say(&mut self.watch.step_said, now.mono, Note::ClockStepped { seconds }, out);
            }
        }
    }
}

fn say(said: &mut Option<Mono>, now: Mono, note: Note, out: &mut Vec<Command>) {
    if said.is_none_or(|said| now.since(said) >= SAID_EVERY) {
        *said = Some(now);
        out.push(Command::Log(note));
    }
}
