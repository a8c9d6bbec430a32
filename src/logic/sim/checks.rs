//! The invariants of ARCHITECTURE.md, each at the moment when it can be broken.

use super::engine::{Run, Sim};
use crate::logic::controller::POLLS_FRESH;
use crate::logic::event::TargetId;
use crate::logic::guard::Lately;
use crate::model::{HeldReason, Mode, OnFailure, Outcome, ServiceKey, Verdict, View, Weight, WeightChange};

impl Sim<'_> {
    /// At the moment when the kernel has a new weight of ours.
    pub(super) fn written(&mut self, change: &WeightChange, weight: u32) {
        let user = (change.service, change.dest);
        let by_hand = self.world.controller.keeper.wished_out(&user);
        let Some(truth) = self.truth.get_mut(&user) else { return };
        let (given, operators) = (truth.given, truth.zero_by_operator);
        if weight > 0 {
            self.require(!operators, || format!("invariant 4: an operator's 0 is raised: {change:?}"));
            let back =
                weight == given || self.may_be_a_step(change, given) || self.may_be_a_share(change, given);
            self.require(back, || format!("invariant 3: not what it took: {change:?}, {given} was"));
            return;
        }
        truth.drained_again += u32::from(std::mem::take(&mut truth.raised));
        let once = truth.drained_again <= 1;
        self.require(once, || format!("invariant 4: a second drain of what others raised: {change:?}"));
        // That its record is on disk (invariant 3) the world asserts before it makes the change.
        let known = &self.basis.0;
        let known = known.get(&change.service).copied();
        let recorded = self.disk().and_then(|l| l.entries.get(&user)).map(|entry| entry.owed.0);
        self.require(
            known <= self.disturbed.get(&change.service).copied() || recorded == Some(given),
            || format!("invariant 3: {recorded:?} is on record, {given} was: {change:?}"),
        );
        let (known, policy) = &self.basis;
        let known = known.get(&change.service).copied();
        if !by_hand
            && known > self.disturbed.get(&change.service).copied()
            && let Some(at) = policy.service_for(&change.service)
        {
            let floor = policy.services[at].floor;
            let (now_in, base) = self.in_and_base(&change.service);
            let holds = now_in >= floor.resolve(base);
            self.require(holds, || format!("invariant 1: {now_in} of {base} are left in: {change:?}"));
        }
    }

    /// Invariants 2, 6 and 7, at the moment a write is decided.
    pub(super) fn may_be_written(&mut self, changes: &[WeightChange]) {
        let policy = self.world.controller.policy().clone();
        let limit = policy.poll_interval * POLLS_FRESH;
        let fresh = self.whole_read.is_some_and(|read| self.world.now.mono.since(read) <= limit);
        self.require(fresh, || "invariant 6: a write without a fresh snapshot".into());
        let limit = self.world.controller.changes_per_cycle;
        let within = |change: &&WeightChange| policy.service_for(&change.service).is_some();
        let many = changes.iter().filter(within).count();
        self.require(many <= limit, || format!("the limit: {many} changes in one cycle of {limit}"));
        let gives_back = self.stops_by.is_some() && policy.restore_on_exit;
        for change in changes {
            self.require(change.from != change.to, || format!("invariant 6: it changes nothing: {change:?}"));
            let service = policy.service_for(&change.service).map(|at| &policy.services[at]);
            // The one exception: `undrain` gives back what the configuration dropped.
            let handed_back = service.is_none() && !change.to.is_zero();
            let managed = service.map(|s| s.mode) == Some(Mode::Enforce);
            self.require(managed || handed_back, || format!("invariant 2: nobody asked for {change:?}"));
            let wished = self.world.controller.keeper.wished_out(&(change.service, change.dest));
            let back = gives_back && (wished || change.to.is_zero());
            self.require(!back || wished && change.to.is_zero(), || {
                format!("trap 18: at the stop: {change:?}")
            });
            self.is_asked_for(change);
            if !change.to.is_zero() || wished {
                continue;
            }
            let suspects = self.nearly_all_fail();
            self.require(!suspects, || format!("trap 26: drained while nearly all fail: {change:?}"));
            let scheduler = self.world.table.get(&change.service).map_or("", |vs| &vs.scheduler);
            let keeps = service.is_some_and(|s| s.on_failure(scheduler) == OnFailure::Observe);
            self.require(!keeps, || format!("trap 33: drained where weight 0 refuses clients: {change:?}"));
            let told = |run: &Run| run.down || run.share == Some(0);
            let down = self.runs.values().any(|run| run.probed.0 == change.dest.addr && told(run));
            self.require(down, || format!("invariant 7: drained without `fall` failures: {change:?}"));
        }
    }

    /// The last words of all targets again, gone through one by one.
    fn nearly_all_fail(&self) -> bool {
        let controller = &self.world.controller;
        let (mut judged, mut failing) = (0, 0);
        for failed in controller.probes.targets().filter_map(|(_, target)| target.health.failed_last()) {
            judged += 1;
            failing += u64::from(failed);
        }
        let share = u64::from(controller.policy().suspect_self_percent);
        judged > 1 && failing * 100 >= judged * share
    }

    /// What fails and is in says why; one whose last probe passed is on its way up, even where all
    /// that follow are inconclusive.
    pub(super) fn all_that_is_kept_is_shown(&mut self) {
        if self.world.controller.snapshot.is_none() {
            return; // Without a table there is nothing to plan for, and nothing to show.
        }
        let suspects = self.nearly_all_fail();
        let mut wrong = None;
        for (key, service) in &self.world.controller.services {
            for (dest, state) in &service.dests {
                let weight = self.weight(&(*key, *dest));
                let fails = state.verdict == Some(Verdict::Down) && state.lately != Lately::Passing;
                let kept = (fails || self.is_unwilling(key, dest)) && weight.is_some_and(|w| w > 0);
                if kept && state.held.is_none() {
                    wrong = Some(format!(
                        "{dest} of {key} fails or wants to be out, is in, and nothing holds it"
                    ));
                }
                if !suspects && state.held.is_some_and(|h| h.reason == HeldReason::SuspectSelf) {
                    wrong = Some(format!("trap 26: {dest} of {key} is held by a suspicion that is over"));
                }
            }
        }
        self.require(wrong.is_none(), || wrong.unwrap_or_default());
    }

    /// Another pace is another target, which goes on from what is known (trap 28) as long as it was not
    /// probed itself: from one of those that were probed alike.
    pub(super) fn meet_targets(&mut self) {
        let probes = &self.world.controller.probes;
        let targets = probes.targets().filter(|(id, _)| self.runs.get(id).is_none_or(|run| !run.heard));
        let new: Vec<_> = targets.map(|(id, state)| (id, state.target.clone())).collect();
        for (id, target) in new {
            let probed = (target.addr.addr, target.port, target.spec.port);
            let same = self.runs.values().filter(|run| run.probed == probed);
            let share = same.clone().filter_map(|run| run.share).min();
            let fresh = Run { probed, passes: 0, failures: 0, down: false, heard: false, share: None };
            let run = same.max_by_key(|run| (run.down, run.failures)).copied().unwrap_or(fresh);
            self.runs.insert(id, Run { heard: false, share, ..run });
        }
        self.runs.retain(|id, _| probes.get(*id).is_some());
    }

    /// The verdicts again, by other code.
    pub(super) fn count(&mut self, id: TargetId, outcome: Outcome) {
        let Some(state) = self.world.controller.probes.get(id) else { return };
        let pace = state.target.spec.pace;
        let Some(run) = self.runs.get_mut(&id) else { return };
        // What came to no result told nothing.
        run.heard |= !matches!(outcome, Outcome::Inconclusive(_));
        match outcome {
            Outcome::Pass => {
                (run.passes, run.failures) = (run.passes + 1, 0);
                run.down &= run.passes < pace.rise;
            }
            Outcome::Fail(_) => {
                (run.passes, run.failures) = (0, run.failures + 1);
                run.down |= run.failures >= pace.fall;
            }
            Outcome::Inconclusive(_) => {}
        }
    }

    /// Invariant 1, as far as it is about what others did.
    pub(super) fn floors_hold_at_rest(&mut self) {
        let policy = self.world.controller.policy().clone();
        let services: Vec<ServiceKey> = self.world.table.keys().copied().collect();
        for service in services {
            let Some(rules) = policy.service_for(&service).map(|at| &policy.services[at]) else { continue };
            let (now_in, base) = self.in_and_base(&service);
            let holds = now_in >= rules.floor.resolve(base) || now_in == base;
            self.require(holds || rules.mode == Mode::Observe, || {
                format!("invariant 1: at rest {now_in} of {base} are in: {service}")
            });
        }
    }

    /// Invariants 3 and 5.
    pub(super) fn all_is_given_back(&mut self) {
        let mut wrong = None;
        for (user, truth) in &self.truth {
            let weight = self.weight(user);
            if weight != Some(truth.given) {
                wrong.get_or_insert_with(|| {
                    format!("invariant 5: {} of {} has {weight:?}: {truth:?}", user.1, user.0)
                });
            }
        }
        if let Some(ledger) = self.disk().filter(|l| !l.is_empty()) {
            wrong.get_or_insert_with(|| format!("invariant 5: left on disk: {ledger:?}"));
        }
        if !self.world.controller.at_rest() {
            wrong.get_or_insert_with(|| "invariant 5: a write or a save is still under way".into());
        }
        self.require(wrong.is_none(), || wrong.unwrap_or_default());
    }

    /// Servers in, and those that the floor counts.
    pub(super) fn in_and_base(&self, service: &ServiceKey) -> (usize, usize) {
        let (mut now_in, mut ours) = (0, 0);
        for row in self.world.table.get(service).into_iter().flat_map(|vs| &vs.destinations) {
            let user = (*service, row.key);
            if self.world.controller.keeper.wished_out(&user) {
                continue;
            }
            let operators = self.truth.get(&user).is_some_and(|truth| truth.zero_by_operator);
            now_in += usize::from(row.weight != Weight::ZERO);
            ours += usize::from(row.weight == Weight::ZERO && !operators);
        }
        (now_in, now_in + ours)
    }

    /// Each row of the snapshot is in the view, and has one state.
    pub(super) fn conserved(&mut self, view: &View) {
        let rows = view.snapshot.iter().flat_map(|s| &s.services);
        let mut whole = view.snapshot.as_ref().map_or(0, |s| s.services.len()) == view.services.len();
        for (service, shown) in rows.zip(&view.services) {
            let rows = service.destinations.len();
            whole &= service.key == shown.key;
            whole &= shown.managed.as_ref().is_none_or(|managed| {
                managed.states.values().sum::<usize>() == rows && managed.real_servers.len() == rows
            });
        }
        self.require(whole, || "the status does not show each row once".into());
    }
}
