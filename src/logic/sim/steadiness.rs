//! What takes its time and is no trouble: ramps, hold-downs, a stop that gives back.

use std::time::Duration;

use super::engine::{MS, Run, Sim};
use crate::logic::probes::User;
use crate::model::{DestKey, Mode, Outcome, ServiceKey, WeightChange, WriteOutcome, WriteReport};

/// As long as the agent gives a stop.
const STOP_TAKES: Duration = Duration::from_secs(5);

/// After the longest ramp: a slow disk may have kept its last step waiting.
const RAMPS_END: Duration = Duration::from_secs(5);

impl Sim<'_> {
    /// True if slow start may bring it in steps, and this is one of them; by other code than the ramp's.
    pub(super) fn may_be_a_step(&self, change: &WeightChange, owed: u32) -> bool {
        let policy = &self.basis.1;
        let slow =
            policy.service_for(&change.service).is_some_and(|at| !policy.services[at].slow_start.is_zero());
        let scheduler = self.world.table.get(&change.service).map_or("", |vs| &vs.scheduler);
        let steps: u64 = match scheduler {
            "rr" | "lc" | "dh" | "fo" => 1,
            "sh" | "mh" => 2,
            _ => 10,
        };
        let steps = steps.min(u64::from(owed));
        let share = |step: u64| (u64::from(owed) * step).div_ceil(steps);
        slow && change.to > change.from && (1..=steps).any(|step| share(step) == u64::from(change.to.0))
    }

    /// A write that comes from a clock and not from anything that happened.
    pub(super) fn comes_of_a_clock(&self, change: &WeightChange) -> bool {
        let policy = &self.basis.1;
        let holds = policy.service_for(&change.service).map(|at| policy.services[at].hold_down);
        let climbs = change.from.0 > 0 && change.to > change.from;
        climbs || (change.from.0 == 0 && holds.is_some_and(|hold| !hold.is_zero()))
    }

    pub(super) fn let_ramps_end(&mut self) {
        let longest = self.world.policy.services.iter().map(|s| s.slow_start).max().unwrap_or_default();
        let by = self.world.now.mono + longest + RAMPS_END;
        let climbs = |sim: &Sim| {
            let controller = &sim.world.controller;
            controller.services.values().any(|s| s.dests.values().any(|dest| dest.climb.is_some()))
        };
        while self.broken.is_none() && climbs(self) && self.world.now.mono < by {
            self.run_for(1000 * MS);
        }
    }

    pub(super) fn begin_stop(&mut self) {
        if !self.world.dead && self.stops_by.is_none() {
            self.stops_by = Some(self.world.now.mono + STOP_TAKES);
            self.step(crate::logic::event::Event::Stopping);
        }
    }

    pub(super) fn stop_if_done(&mut self) {
        let Some(by) = self.stops_by else { return };
        if self.world.dead {
            self.stops_by = None;
        } else if self.world.controller.at_rest() {
            self.all_is_given_back_at_the_stop();
            self.die();
        } else if self.world.now.mono >= by {
            self.die();
        }
    }

    /// `restore-on-exit`: what checks took is back, as far as anybody could know that it was taken.
    fn all_is_given_back_at_the_stop(&mut self) {
        let controller = &self.world.controller;
        let policy = controller.policy();
        if !policy.restore_on_exit || !controller.keeper.usable() {
            return;
        }
        let Some(snapshot) = controller.snapshot() else { return };
        let left = self.truth.iter().find(|((service, dest), truth)| {
            let user = (*service, *dest);
            let mode = policy.service_for(service).map(|at| policy.services[at].mode);
            let read = self.known.get(service) > self.disturbed.get(service);
            let known = read && snapshot.service(service).is_some_and(|vs| vs.destination(dest).is_some());
            let ours = mode == Some(Mode::Enforce) && known && !controller.keeper.wished_out(&user);
            let lapsed = controller.keeper.lapsed(&user).is_some();
            ours && !lapsed && self.weight(&user) != Some(truth.given)
        });
        let wrong = left.map(|(user, truth)| format!("trap 18: at the stop {user:?} is not back: {truth:?}"));
        self.require(wrong.is_none(), || wrong.unwrap_or_default());
    }

    /// In need the first pass counts, whatever the verdict says (trap 56).
    pub(super) fn need_is_met(&mut self, outcome: Outcome) {
        let controller = &self.world.controller;
        let busy = controller.cycle.changes().is_some() || self.world.dead || self.stops_by.is_some();
        if outcome != Outcome::Pass || busy || controller.stale(self.world.now.mono) {
            return;
        }
        let Some(snapshot) = controller.snapshot() else { return };
        let policy = controller.policy();
        let mut wrong = None;
        for vs in &snapshot.services {
            let enforced =
                policy.service_for(&vs.key).is_some_and(|at| policy.services[at].mode == Mode::Enforce);
            let in_need = enforced && vs.destinations.iter().all(|row| row.weight.is_zero());
            if !in_need || controller.unclear.contains(&vs.key) || controller.awaits_disk(&vs.key) {
                continue;
            }
            let back = vs.destinations.iter().find(|row| self.passes_and_is_ours((vs.key, row.key)));
            wrong = wrong
                .or(back.map(|row| format!("trap 56: {} of {} passes, and nobody is in", row.key, vs.key)));
        }
        self.require(wrong.is_none(), || wrong.unwrap_or_default());
    }

    fn passes_and_is_ours(&self, user: User) -> bool {
        let controller = &self.world.controller;
        let Some(dest) = controller.services.get(&user.0).and_then(|s| s.dests.get(&user.1)) else {
            return false;
        };
        let passes = |run: &Run| run.heard && run.passes > 0 && run.share != Some(0);
        let runs = dest.checks.iter().map(|binding| binding.target.and_then(|id| self.runs.get(&id)));
        let ours = controller.keeper.get(&user).is_some() && !controller.keeper.wished_out(&user);
        // After a failed write the next poll is soon enough.
        let waits = dest.retry_at.is_some();
        ours && !waits && !dest.checks.is_empty() && runs.into_iter().all(|run| run.is_some_and(passes))
    }

    /// Nothing is remembered of what was given back and read back.
    pub(super) fn records_end(&mut self, report: &WriteReport) {
        let controller = &self.world.controller;
        let kept = report.results.iter().find(|(change, outcome)| {
            let user = (change.service, change.dest);
            let busy = controller.cycle.changes().is_some_and(|changes| changes.contains_key(&user));
            let entry = controller.keeper.get(&user).filter(|entry| entry.owed == change.to && !busy);
            *outcome == WriteOutcome::Written && !change.to.is_zero() && entry.is_some()
        });
        let wrong = kept.map(|(change, _)| format!("invariant 5: a record outlives its restore: {change:?}"));
        self.require(wrong.is_none(), || wrong.unwrap_or_default());
    }

    /// Verdicts of a service.
    pub(super) fn verdicts(&self, service: &ServiceKey) -> Vec<(DestKey, crate::model::Verdict)> {
        let state = self.world.controller.services.get(service);
        let dests = state.into_iter().flat_map(|state| &state.dests);
        dests.filter_map(|(key, dest)| Some((*key, dest.verdict?))).collect()
    }
}
