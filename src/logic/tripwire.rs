//! The tripwire: one idle connection to what a target probes. Its FIN or RST says that a process may
//! have died, so the probes that decide come at once instead of at their interval.
//!
//! A trip is never a verdict: `fall` probes follow one another, each as soon as the one before failed,
//! and then the usual cadence goes on where it was (trap 51: those that trip together part again).
//! Whatever they find counts like any other result. Only servers that are up have a wire: one that
//! outlives a failing server (its host was cut off, and came back) would hang there for ever.
//!
//! A wire must not do harm where a server has few places: one that stands when the first probe after it
//! fails is dropped before the second, and the next one waits.
//!
//! Servers close idle connections, too. The next wire then waits, twice as long each time, until one
//! was held for ten times that wait: so a wire costs little wherever it is of little use.
//!
//! Which connection a wire is, is the shell's affair: a connection kept for the next probe may serve as
//! well, as long as its opening and its end are told by the same two events.

use std::sync::Arc;
use std::time::Duration;

use super::event::{Command, Note, TargetId, WireId};
use super::health::Health;
use super::probes::{Activity, Probes};
use super::schedule::{Schedule, spread};
use crate::model::{Mono, Outcome, Pace, TripwireView, Verdict, WireEnd, WireTrouble};

/// Before the next wire, where the last one was held for long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// A wire that was held so many times as long as it was waited for is worth it.
const WORTH: u32 = 10;
/// Wires being connected at one time: after a mass trip they come back in single file.
const ARMING_LIMIT: usize = 64;

/// The wires of all targets.
#[derive(Debug)]
pub struct Wires {
    /// Held or being connected at one time.
    limit: usize,
    held: usize,
    arming: usize,
    waiting: Schedule,
    /// What comes of this step.
    orders: Vec<Command>,
}

/// The wire of one target.
#[derive(Debug, Clone)]
pub struct Wire {
    turn: u32,
    state: State,
    pause: Duration,
    degraded: Option<WireTrouble>,
    trips: u64,
    rush: Option<Rush>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// The server is not up.
    None,
    Waiting {
        due: Mono,
    },
    Arming,
    /// `harmless`: a probe has passed beside it.
    Armed {
        since: Mono,
        harmless: bool,
    },
    /// The probes that follow will tell what that meant. `worth`: it was held for long.
    Tripped {
        worth: bool,
    },
}

/// The probes that follow a trip.
#[derive(Debug, Clone, Copy)]
struct Rush {
    /// `fall` at first.
    left: u32,
    /// One that began before the trip is under way: it says nothing of what came after.
    older_runs: bool,
    passed: bool,
    /// When the next probe had been due.
    resume: Mono,
}

/// When the probe that follows one that has just ended may start.
#[derive(Debug, Clone, Copy)]
pub struct Next {
    pub now: Mono,
    pub fast: Mono,
    pub usual: Mono,
}

impl Wires {
    pub fn new(limit: usize) -> Wires {
        Wires { limit, held: 0, arming: 0, waiting: Schedule::default(), orders: Vec::new() }
    }

    /// What time passed without us is no time that a wire was waited for.
    pub fn paused(&mut self, gap: Duration) {
        self.waiting.shift(gap);
    }

    fn begin(&mut self) {
        self.arming += 1;
        self.held += 1;
    }

    fn end(&mut self, state: State) {
        let (held, arming) = match state {
            State::None | State::Waiting { .. } | State::Tripped { .. } => (0, 0),
            State::Arming => (1, 1),
            State::Armed { .. } => (1, 0),
        };
        self.held = self.held.saturating_sub(held);
        self.arming = self.arming.saturating_sub(arming);
    }

    /// The wire of this target is not wanted (any more).
    fn forget(&mut self, id: TargetId, wire: &mut Wire) {
        let state = std::mem::replace(&mut wire.state, State::None);
        self.end(state);
        match state {
            State::None | State::Tripped { .. } => {}
            State::Waiting { due } => self.waiting.remove(due, id),
            State::Arming | State::Armed { .. } => {
                self.orders.push(Command::DropWire(WireId { target: id, turn: wire.turn }));
            }
        }
    }
}

impl Wire {
    /// For a target that has one.
    pub fn of(pace: &Pace) -> Option<Box<Wire>> {
        pace.tripwire.then(|| {
            Box::new(Wire {
                turn: 0,
                state: State::None,
                pause: FIRST_PAUSE,
                degraded: None,
                trips: 0,
                rush: None,
            })
        })
    }

    /// What is known of a server does not change with the pace at which it is probed.
    pub fn inherit(&mut self, earlier: &Wire) {
        (self.pause, self.degraded, self.trips) = (earlier.pause, earlier.degraded, earlier.trips);
    }

    pub fn view(&self, now: Mono) -> TripwireView {
        let since = match self.state {
            State::Armed { since, .. } => Some(since),
            State::None | State::Waiting { .. } | State::Arming | State::Tripped { .. } => None,
        };
        let lasts = since.is_some_and(|since| self.is_worth(now.since(since)));
        let degraded = self.degraded.filter(|_| !lasts);
        TripwireView { armed: since.is_some(), trips: self.trips, degraded }
    }

    /// Time that passed without us was not waited for, nor was a wire held in it.
    pub fn paused(&mut self, gap: Duration) {
        match &mut self.state {
            State::Waiting { due: moment } | State::Armed { since: moment, .. } => *moment += gap,
            State::None | State::Arming | State::Tripped { .. } => {}
        }
        if let Some(rush) = &mut self.rush {
            rush.resume += gap;
        }
    }

    /// Takes in the result of a probe; when the next one starts.
    pub fn next_probe(&mut self, outcome: Outcome, health: &Health, next: Next) -> Mono {
        let Some(rush) = &mut self.rush else { return next.usual };
        let down = health.verdict == Some(Verdict::Down);
        if std::mem::take(&mut rush.older_runs) {
            rush.resume = next.usual;
            if !down {
                return next.now;
            }
        } else {
            rush.left = rush.left.saturating_sub(1);
        }
        let again = match outcome {
            _ if down || rush.left == 0 => None,
            Outcome::Fail(_) => Some(next.now),
            Outcome::Inconclusive(_) => Some(next.fast),
            // A process that dies closes its files one after the other: it may still listen.
            Outcome::Pass => (!std::mem::replace(&mut rush.passed, true)).then_some(next.fast),
        };
        let resume = rush.resume;
        again.unwrap_or_else(|| {
            self.rush = None;
            if resume >= next.fast && !health.settling() { resume } else { next.usual }
        })
    }

    #[cfg(test)]
    pub fn turn(&self) -> u32 {
        self.turn
    }

    fn is_worth(&self, held: Duration) -> bool {
        held >= self.pause * WORTH
    }

    /// The first probe beside it failed: the server may have no place for both.
    fn is_in_the_way(&mut self, outcome: Outcome, started: Mono) -> bool {
        let State::Armed { since, harmless } = &mut self.state else { return false };
        match outcome {
            _ if started < *since || *harmless => false,
            Outcome::Pass => {
                *harmless = true;
                false
            }
            Outcome::Fail(_) => true,
            Outcome::Inconclusive(_) => false,
        }
    }
}

impl Probes {
    /// The shell holds it.
    pub fn wire_armed(&mut self, id: WireId, now: Mono) {
        let state = self.targets.get_mut(&id.target);
        let Some(wire) = state.and_then(|s| s.wire.as_mut()).filter(|wire| wire.turn == id.turn) else {
            return; // It was told to drop it.
        };
        if let State::Arming = wire.state {
            self.wires.arming = self.wires.arming.saturating_sub(1);
            wire.state = State::Armed { since: now, harmless: false };
        }
    }

    /// The shell does not hold it any more.
    pub fn wire_ended(&mut self, id: WireId, end: WireEnd, now: Mono) {
        let Some(state) = self.targets.get_mut(&id.target) else { return };
        let Some(wire) = state.wire.as_mut().filter(|wire| wire.turn == id.turn) else { return };
        self.wires.end(wire.state);
        match (wire.state, end) {
            (State::None | State::Waiting { .. } | State::Tripped { .. }, _) => {}
            (State::Armed { since, .. }, WireEnd::Tripped) => {
                let worth = wire.is_worth(now.since(since));
                if worth {
                    (wire.pause, wire.degraded) = (FIRST_PAUSE, None);
                }
                wire.state = State::Tripped { worth };
                wire.trips += 1;
                self.wires.orders.push(Command::Log(Note::Tripped { target: state.target.clone() }));
                self.probe_at_once(id.target, now);
            }
            (State::Arming, WireEnd::Tripped) => self.degrade(id.target, WireTrouble::Refused, now),
            (State::Arming | State::Armed { .. }, WireEnd::NotHeld(trouble)) => {
                self.degrade(id.target, trouble, now);
            }
        }
    }

    fn probe_at_once(&mut self, id: TargetId, now: Mono) {
        let Some(state) = self.targets.get_mut(&id) else { return };
        let Some(wire) = &mut state.wire else { return };
        let left = state.target.spec.pace.fall;
        let rush = |older_runs, resume| Rush { left, older_runs, passed: false, resume };
        match &mut state.activity {
            Activity::Running { .. } => wire.rush = Some(rush(true, now)),
            Activity::Waiting { due } => {
                wire.rush = Some(rush(false, *due));
                if *due > now {
                    self.schedule.remove(*due, id);
                    self.schedule.insert(now, id);
                    *due = now;
                }
            }
        }
    }

    /// After a result: whether the target is to have a wire, and what the last trip meant.
    pub(super) fn tend_wire(&mut self, id: TargetId, outcome: Outcome, started: Mono, now: Mono) {
        let Some(state) = self.targets.get_mut(&id) else { return };
        let Some(wire) = &mut state.wire else { return };
        if wire.is_in_the_way(outcome, started) {
            self.wires.forget(id, wire);
            self.degrade(id, WireTrouble::Refused, now);
        }
        let Some(state) = self.targets.get_mut(&id) else { return };
        let Some(wire) = &mut state.wire else { return };
        let passes = state.health.failures_in_a_row == 0;
        let up = state.health.verdict == Some(Verdict::Up);
        match wire.state {
            _ if !up => self.wires.forget(id, wire),
            State::Waiting { .. } | State::Arming | State::Armed { .. } => {}
            State::None if passes && wire.degraded.is_some() => self.wait(id, now),
            State::None if passes => {
                wire.state = State::Waiting { due: now };
                self.wires.waiting.insert(now, id);
            }
            State::Tripped { worth } if passes && wire.rush.is_none() => match worth {
                true => self.wait(id, now),
                false => self.degrade(id, WireTrouble::Closed, now),
            },
            State::None | State::Tripped { .. } => {}
        }
    }

    /// There is none, or none for long: the next one waits longer. Said once.
    fn degrade(&mut self, id: TargetId, trouble: WireTrouble, now: Mono) {
        let Some(state) = self.targets.get_mut(&id) else { return };
        let Some(wire) = &mut state.wire else { return };
        wire.pause = (wire.pause * 2).min(LONGEST_PAUSE);
        if wire.degraded.replace(trouble).is_none() {
            let target = state.target.clone();
            self.wires.orders.push(Command::Log(Note::TripwireDegraded { target, trouble }));
        }
        self.wait(id, now);
    }

    /// The next wire comes after a pause, which differs between servers.
    fn wait(&mut self, id: TargetId, now: Mono) {
        let Some(state) = self.targets.get_mut(&id) else { return };
        let Some(wire) = &mut state.wire else { return };
        let due = now + spread(wire.pause, self.seed, id, wire.turn);
        wire.state = State::Waiting { due };
        self.wires.waiting.insert(due, id);
    }

    /// The target goes, and its wire with it.
    pub(super) fn forget_wire(&mut self, id: TargetId) {
        if let Some(wire) = self.targets.get_mut(&id).and_then(|state| state.wire.as_mut()) {
            self.wires.forget(id, wire);
        }
    }

    pub fn next_arming(&self) -> Option<Mono> {
        (self.wires.arming < ARMING_LIMIT).then(|| self.wires.waiting.next_due()).flatten()
    }

    /// Has the wires connected whose time has come, and says what became of others.
    pub fn arm_due(&mut self, now: Mono, out: &mut Vec<Command>) {
        while self.wires.arming < ARMING_LIMIT {
            let Some((_, id)) = self.wires.waiting.pop_due(now) else { break };
            if self.wires.held >= self.wires.limit {
                self.degrade(id, WireTrouble::FdLimit, now);
                continue;
            }
            let Some(state) = self.targets.get_mut(&id) else { continue };
            let Some(wire) = &mut state.wire else { continue };
            wire.turn = wire.turn.wrapping_add(1);
            wire.state = State::Arming;
            self.wires.begin();
            let wire = WireId { target: id, turn: wire.turn };
            self.wires.orders.push(Command::ArmWire { wire, target: Arc::clone(&state.target) });
        }
        out.append(&mut self.wires.orders);
    }

    #[cfg(test)]
    pub fn wires_held(&self) -> usize {
        self.wires.held
    }
}
