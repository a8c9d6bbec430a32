//! The targets: who uses them, when each is due, what is under way.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::event::{Command, TargetId};
use super::guard::Tally;
use super::health::Health;
use super::schedule::{Schedule, jittered, phase};
use super::tripwire::{Next, Wire, Wires};
use crate::model::{
    CheckSpec, DestKey, Histogram, LocalReason, Mono, Outcome, ProbeLimit, ProbeReport, ServiceKey,
    SkipReason, Target,
};

/// A real server of a service that a target's results count for.
pub type User = (ServiceKey, DestKey);

#[derive(Debug)]
pub struct TargetState {
    pub target: Arc<Target>,
    pub health: Health,
    pub users: BTreeSet<User>,
    pub(super) activity: Activity,
    /// `None`: the check has no tripwire.
    pub wire: Option<Box<Wire>>,
    probes: u64,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Activity {
    Waiting {
        due: Mono,
    },
    /// `excused`: time passed without us meanwhile, so that it cannot fail by time any more.
    Running {
        /// When its turn was: the next one is counted from there, so that a late start delays no other.
        turn: Mono,
        started: Mono,
        excused: bool,
    },
}

#[derive(Debug)]
pub struct Probes {
    pub(super) seed: u64,
    limit: ProbeLimit,
    pub(super) targets: BTreeMap<TargetId, TargetState>,
    ids: BTreeMap<Arc<Target>, TargetId>,
    next_id: u64,
    pub(super) schedule: Schedule,
    pub(super) wires: Wires,
    tally: Tally,
    /// Probes under way, those of targets that are gone included.
    in_flight: usize,
    /// Some that were due had to wait for the limit, and some still do.
    limited: bool,
    schedule_lag: Histogram,
    skipped: BTreeMap<SkipReason, u64>,
}

impl Probes {
    pub fn new(seed: u64, limit: ProbeLimit, wires_limit: usize) -> Probes {
        Probes {
            seed,
            limit,
            targets: BTreeMap::new(),
            ids: BTreeMap::new(),
            next_id: 0,
            schedule: Schedule::default(),
            wires: Wires::new(wires_limit),
            tally: Tally::default(),
            in_flight: 0,
            limited: false,
            schedule_lag: Histogram::default(),
            skipped: BTreeMap::new(),
        }
    }

    pub fn get(&self, id: TargetId) -> Option<&TargetState> {
        self.targets.get(&id)
    }

    pub fn health(&self, id: TargetId) -> Option<&Health> {
        self.targets.get(&id).map(|t| &t.health)
    }

    /// How often it has failed in a row.
    pub fn run_of_failures(&self, id: TargetId) -> u32 {
        self.health(id).map_or(0, |health| health.failures_in_a_row)
    }

    #[cfg(test)]
    pub fn targets(&self) -> impl Iterator<Item = (TargetId, &TargetState)> {
        self.targets.iter().map(|(id, state)| (*id, state))
    }

    /// Those that are gone included.
    pub fn targets_ever(&self) -> u64 {
        self.next_id
    }

    pub fn tally(&self) -> Tally {
        self.tally
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub fn in_flight_limit(&self) -> usize {
        self.limit.in_flight
    }

    pub fn schedule_lag(&self) -> Histogram {
        self.schedule_lag
    }

    /// Probes that the schedule had and that were never made, because an earlier one began too late.
    pub fn skipped(&self) -> &BTreeMap<SkipReason, u64> {
        &self.skipped
    }

    /// True once each target was probed.
    pub fn each_probed(&self) -> bool {
        self.targets.values().all(|t| t.health.last.is_some())
    }

    /// The longest that a first round takes.
    pub fn longest_round(&self) -> Duration {
        let round = |t: &TargetState| t.target.spec.pace.interval + t.target.spec.pace.timeout;
        self.targets.values().map(round).max().unwrap_or(Duration::ZERO)
    }

    /// The one target for equal wishes: probed once, shared by all its users.
    pub fn acquire(&mut self, target: Target, user: User, now: Mono) -> TargetId {
        let target = Arc::new(target);
        if let Some(id) = self.ids.get(&target) {
            let id = *id;
            if let Some(state) = self.targets.get_mut(&id) {
                state.users.insert(user);
            }
            return id;
        }
        let id = TargetId(self.next_id);
        self.next_id += 1;
        let due = now + phase(self.seed, &target);
        self.schedule.insert(due, id);
        self.ids.insert(target.clone(), id);
        let state = TargetState {
            wire: Wire::of(&target.spec.pace),
            target,
            health: Health::default(),
            users: BTreeSet::from([user]),
            activity: Activity::Waiting { due },
            probes: 0,
        };
        self.targets.insert(id, state);
        id
    }

    /// A target that differs from an earlier one only in its pace goes on from what is known (trap 28);
    /// true if this one did.
    pub fn inherit(&mut self, id: TargetId, earlier: TargetId) -> bool {
        let Some(old) = self.targets.get(&earlier).filter(|_| earlier != id) else { return false };
        let (health, activity, wire, old) =
            (old.health.clone(), old.activity, old.wire.clone(), old.target.clone());
        let Some(new) = self.targets.get_mut(&id) else { return false };
        let pace = new.target.spec.pace;
        let at_that_pace = |old: &Target| {
            let spec = Arc::new(CheckSpec { pace, ..old.spec.as_ref().clone() });
            Target { spec, ..old.clone() }
        };
        // A probe that came to no result told nothing that what is known would have to give way to.
        if new.health.last_conclusive.is_some() || at_that_pace(&old) != *new.target {
            return false;
        }
        let attempts = health.attempts + new.health.attempts;
        let begun = new.health.last.is_some();
        new.health = Health { attempts, ..health };
        if let (Some(new), Some(old), false) = (&mut new.wire, wire, begun) {
            new.inherit(&old);
        }
        self.tally.add(&new.health);
        // Another interval is spread anew; the same keeps its phase (trap 51), and a verdict that is
        // being settled does not wait for a longer one. Who was probed has a time of its own.
        let keeps_time = !begun && (old.spec.pace.interval == pace.interval || new.health.settling());
        if keeps_time
            && let (Activity::Waiting { due }, Activity::Waiting { due: drawn }) = (activity, new.activity)
        {
            self.schedule.remove(drawn, id);
            self.schedule.insert(due, id);
            new.activity = Activity::Waiting { due };
        }
        true
    }

    /// The last user to leave takes the target with it; a probe under way is forgotten when it ends.
    pub fn release(&mut self, id: TargetId, user: &User) {
        let Some(state) = self.targets.get_mut(&id) else { return };
        state.users.remove(user);
        if !state.users.is_empty() {
            return;
        }
        if let Activity::Waiting { due } = state.activity {
            self.schedule.remove(due, id);
        }
        self.tally.remove(&state.health);
        self.ids.remove(&state.target);
        self.forget_wire(id);
        self.targets.remove(&id);
    }

    pub fn next_due(&self) -> Option<Mono> {
        (self.in_flight < self.limit.in_flight).then(|| self.schedule.next_due()).flatten()
    }

    /// Starts what is due, as far as the limit of probes in flight goes; the rest waits its turn
    /// (and shows as lag). What comes a whole interval late or more has missed its turns: they are
    /// counted, never made up for, for a burst would only make the others late.
    pub fn start_due(&mut self, now: Mono, out: &mut Vec<Command>) {
        while self.in_flight < self.limit.in_flight {
            let Some((due, id)) = self.schedule.pop_due(now) else {
                self.limited = false;
                return;
            };
            let Some(state) = self.targets.get_mut(&id) else { continue };
            state.probes += 1;
            self.in_flight += 1;
            let (lag, interval) = (now.since(due), state.target.spec.pace.interval);
            self.schedule_lag.observe(lag);
            let missed = lag.as_nanos() / interval.as_nanos().max(1);
            let missed = u32::try_from(missed).unwrap_or(u32::MAX);
            if missed > 0 {
                let reason = if self.limited { self.limit.reason } else { SkipReason::Overdue };
                *self.skipped.entry(reason).or_default() += u64::from(missed);
            }
            let turn = due + interval.saturating_mul(missed);
            state.activity = Activity::Running { turn, started: now, excused: false };
            out.push(Command::Probe { id, target: state.target.clone() });
        }
        self.limited |= self.schedule.next_due().is_some_and(|due| due <= now);
    }

    /// Time passed without us: what waits goes on in its order and distances, what is under way is
    /// excused. Seen as lag once.
    pub fn paused(&mut self, gap: Duration) {
        self.schedule_lag.observe(gap);
        self.schedule.shift(gap);
        self.wires.paused(gap);
        for state in self.targets.values_mut() {
            match &mut state.activity {
                Activity::Waiting { due } => *due += gap,
                Activity::Running { turn, started, excused } => {
                    (*turn, *started, *excused) = (*turn + gap, *started + gap, true);
                }
            }
            state.wire.iter_mut().for_each(|wire| wire.paused(gap));
        }
    }

    /// What is under way cannot fail any more.
    pub fn excuse_all(&mut self) {
        for state in self.targets.values_mut() {
            if let Activity::Running { excused, .. } = &mut state.activity {
                *excused = true;
            }
        }
    }

    /// The result as it counts: a failure of a probe that time passed over without us is none.
    pub fn excused<'a>(&self, id: TargetId, report: &'a ProbeReport) -> Cow<'a, ProbeReport> {
        let activity = self.targets.get(&id).map(|t| t.activity);
        match (activity, report.outcome) {
            (Some(Activity::Running { excused: true, .. }), Outcome::Fail(reason)) => {
                let detail = format!("the agent did not run for a while during this probe: {reason}");
                let outcome = Outcome::Inconclusive(LocalReason::Late);
                Cow::Owned(ProbeReport { outcome, detail, ..report.clone() })
            }
            (Some(Activity::Running { .. } | Activity::Waiting { .. }) | None, _) => Cow::Borrowed(report),
        }
    }

    /// Takes in a result; the target's state if it is still wanted.
    pub fn ended(&mut self, id: TargetId, report: &ProbeReport, now: Mono) -> Option<&TargetState> {
        self.in_flight = self.in_flight.saturating_sub(1);
        let state = self.targets.get_mut(&id)?;
        let pace = state.target.spec.pace;
        self.tally.remove(&state.health);
        state.health.record(report, &pace);
        self.tally.add(&state.health);
        let (turn, started) = match state.activity {
            Activity::Running { turn, started, .. } => (turn, started),
            Activity::Waiting { due } => (due, due),
        };
        // A verdict that is being settled goes from start to start, and else from turn to turn; one
        // probe at a time, so never before this one's end (trap 52), nor sooner than a fast one after
        // a start that was late.
        let fast_interval = pace.fast_interval.min(pace.interval);
        let fast = (started + fast_interval).max(now);
        let usual = if state.health.settling() && keeps_up(report, started.since(turn), fast_interval) {
            fast
        } else {
            (turn + jittered(pace.interval, self.seed, id, state.probes)).max(fast)
        };
        let next = Next { now, fast, usual };
        let wire = state.wire.as_mut();
        let due = wire.map_or(usual, |wire| wire.next_probe(report.outcome, &state.health, next));
        state.activity = Activity::Waiting { due };
        self.schedule.insert(due, id);
        self.tend_wire(id, report.outcome, started, now);
        self.targets.get(&id)
    }
}

/// Only who keeps up may hurry. A probe that began late, or that could not be made, says that there is more to
/// do than can be done; to try again sooner than at the interval would make that worse, and it would last.
fn keeps_up(report: &ProbeReport, lag: Duration, fast_interval: Duration) -> bool {
    lag <= fast_interval && !matches!(report.outcome, Outcome::Inconclusive(_))
}

#[cfg(test)]
mod tests;
