//! What keeps traffic steady when servers come back: slow start, hold-down, flapping. Here are the
//! clocks; what they come to is the plan's.

use std::time::Duration;

use super::controller::Controller;
use super::event::{Command, Note};
use super::ledger::Entry;
use super::ramp::{Climb, Ramp};
use super::service::DestState;
use super::share::is_worth_a_write;
use crate::model::{Mode, Mono, RealServer, ServicePolicy, SlowStart, Verdict, VirtualServer, Weight};

impl Controller {
    /// Starts and stops the clocks of one service, before it is planned, and sets its alarm.
    pub(super) fn tend(&mut self, service: &VirtualServer, now: Mono, out: &mut Vec<Command>) {
        let Some(state) = self.services.get_mut(&service.key) else { return };
        let Some(policy) = state.policy.and_then(|at| self.policy.services.get(at)) else { return };
        let mut alarm: Option<Mono> = None;
        for row in &service.destinations {
            let Some(dest) = state.dests.get_mut(&row.key) else { continue };
            let entry = self.keeper.get(&(service.key, row.key));
            dest.keep_climbing(entry, row.weight, now);
            let flaps = dest.flaps.lasts(now);
            if std::mem::replace(&mut dest.flaps.said, flaps) != flaps {
                out.push(Command::Log(Note::Flapping { service: service.key, dest: row.key, flaps }));
            }
            let ramp = entry.map(|entry| Ramp::new(&service.scheduler, entry.owed, policy.slow_start));
            let step = dest.climb.zip(ramp).and_then(|(climb, ramp)| climb.next(&ramp, now));
            let held = entry.filter(|_| row.weight.is_zero()).and_then(|_| dest.held_until(policy, now));
            let calm = dest.flaps.end().filter(|_| flaps);
            alarm = [alarm, step, held, calm].into_iter().flatten().min();
        }
        self.alarms.set(service.key, alarm);
    }

    /// The weight that one which we took should have by now if its checks pass: a step that has no
    /// record on disk is not taken, and in observe mode no time runs.
    pub(super) fn due(
        &self,
        service: &VirtualServer,
        policy: &ServicePolicy,
        row: &RealServer,
        now: Mono,
    ) -> Weight {
        let user = (service.key, row.key);
        let Some(entry) = self.keeper.get(&user) else { return row.weight };
        if policy.mode == Mode::Observe || !self.keeper.usable() {
            return entry.owed;
        }
        let ramp = Ramp::new(&service.scheduler, entry.owed, policy.slow_start);
        if row.weight.is_zero() {
            return ramp.weight(1);
        }
        let climb = self.services.get(&service.key).and_then(|s| s.dests.get(&row.key)?.climb);
        climb.map_or(row.weight, |climb| climb.due(&ramp, now))
    }

    /// Where on its way back a server stands that has a weight, but not yet all of it.
    pub(super) fn slow_start(
        &self,
        service: &VirtualServer,
        policy: &ServicePolicy,
        row: &RealServer,
        dest: &DestState,
        now: Mono,
    ) -> Option<SlowStart> {
        let user = (service.key, row.key);
        let entry = self.keeper.get(&user)?;
        let offer = self.offer(service, policy, &user, dest).unwrap_or(entry.owed);
        let waits = !is_worth_a_write(row.weight, offer, entry.owed);
        if row.weight.is_zero() || row.weight >= offer || waits {
            return None; // out, a drain is on its way, or it wants no more
        }
        let ramp = Ramp::new(&service.scheduler, entry.owed, policy.slow_start);
        let left = dest.climb.map(|climb| climb.ends(&ramp).since(now));
        Some(SlowStart { step: ramp.step_of(row.weight), of: ramp.steps(), left })
    }
}

impl DestState {
    /// The ramp's clock runs while the server is up and the kernel shows a step of ours. After a
    /// restart, or once a failing one that could not be taken out is up again, it goes on from there.
    fn keep_climbing(&mut self, entry: Option<&Entry>, weight: Weight, now: Mono) {
        let climbs =
            self.verdict == Some(Verdict::Up) && entry.is_some_and(|e| !weight.is_zero() && weight < e.owed);
        if !climbs {
            self.climb = None;
        } else if self.climb.is_none() {
            self.climb = Some(Climb::begun(weight, now));
        }
    }

    /// What is counted in time is so much longer (trap 49).
    pub fn paused(&mut self, gap: Duration) {
        self.flaps.paused(gap);
        self.climb.iter_mut().for_each(|climb| climb.paused(gap));
        self.held_since.iter_mut().for_each(|since| *since += gap);
    }

    /// The end of its hold-down, while that lasts: it began when the server came up.
    pub fn held_until(&self, policy: &ServicePolicy, now: Mono) -> Option<Mono> {
        let up_since = self.held_since.filter(|_| self.verdict == Some(Verdict::Up))?;
        let hold: Duration = self.flaps.hold(policy.hold_down);
        Some(up_since + hold).filter(|end| now < *end)
    }
}
