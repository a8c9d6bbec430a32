//! The invariants of ARCHITECTURE.md, each at the moment when it can be broken.

use super::{FALL, RISE, Sim, octet, weight_in};
use crate::logic::controller::POLLS_FRESH;
use crate::logic::event::TargetId;
use crate::logic::guard::Lately;
use crate::model::{HeldReason, Mode, OnFailure, Outcome, ServiceKey, Verdict, View, WeightChange};

impl Sim {
    pub(super) fn written(&mut self, change: &WeightChange, weight: u32) {
        let user = (change.service, change.dest);
        let truth = self.truth.get_mut(&user).unwrap();
        if weight > 0 {
            assert!(!truth.zero_by_operator, "invariant 4: an operator's 0 is raised: {change:?}");
            assert_eq!(weight, truth.given, "it gives back what is not owed: {change:?}");
            return;
        }
        let by_hand = self.world.controller.keeper.wished_out(&user);
        truth.drained_again += u32::from(std::mem::take(&mut truth.raised));
        assert!(truth.drained_again <= 1, "invariant 4: a second drain of what others raised: {change:?}");
        let (known, policy) = &self.basis;
        let known = known.get(&change.service).copied();
        if !by_hand && known > self.disturbed.get(&change.service).copied() {
            let floor = policy.services[policy.service_for(&change.service).unwrap()].floor;
            let (now_in, base) = self.in_and_base(&change.service);
            assert!(now_in >= floor.resolve(base), "invariant 1: {now_in} of {base} in: {change:?}");
        }
    }

    /// Invariants 2, 6 and 7, at the moment a write is decided.
    pub(super) fn may_be_written(&self, changes: &[WeightChange]) {
        let policy = self.world.controller.policy();
        let fresh = self
            .whole_read
            .is_some_and(|read| self.world.now.mono.since(read) <= policy.poll_interval * POLLS_FRESH);
        assert!(fresh, "invariant 6: a write without a fresh snapshot");
        for change in changes {
            let service = policy.service_for(&change.service).map(|at| &policy.services[at]);
            // The one exception: `undrain` gives back what the configuration dropped.
            let handed_back = service.is_none() && !change.to.is_zero();
            let managed = service.map(|s| s.mode) == Some(Mode::Enforce);
            assert!(managed || handed_back, "invariant 2: {change:?}");
            let wished = self.world.controller.keeper.wished_out(&(change.service, change.dest));
            let by_checks = change.to.is_zero() && !wished;
            assert!(!by_checks || !self.nearly_all_fail(), "trap 26: {change:?}");
            let keeps = service.is_some_and(|s| s.on_failure == Some(OnFailure::Observe));
            assert!(!by_checks || !keeps, "trap 33: {change:?}");
            let n = octet(change.dest.addr);
            let down = self.runs.iter().any(|((server, _), (_, _, down))| *server == n && *down);
            assert!(!by_checks || down, "invariant 7: drained without {FALL} failures: {change:?}");
        }
    }

    /// The last words of all targets again, gone through one by one.
    fn nearly_all_fail(&self) -> bool {
        let controller = &self.world.controller;
        let words: Vec<bool> =
            controller.probes.targets().filter_map(|target| target.health.failed_last()).collect();
        let failing = words.iter().filter(|failed| **failed).count();
        let share = f64::from(controller.policy().suspect_self_percent) / 100.0;
        words.len() > 1 && failing as f64 >= words.len() as f64 * share
    }

    /// What fails and is in says why; one whose last probe passed is on its way up, even where all
    /// that follow are inconclusive.
    pub(super) fn all_that_is_kept_is_shown(&self) {
        if self.world.controller.snapshot.is_none() {
            return; // Without a table there is nothing to plan for, and nothing to show.
        }
        let suspects = self.nearly_all_fail();
        for (key, service) in &self.world.controller.services {
            for (dest, state) in &service.dests {
                let weight = weight_in(&self.world.table, &(*key, *dest));
                let fails = state.verdict == Some(Verdict::Down) && state.lately != Lately::Passing;
                let kept = fails && weight.is_some_and(|w| w > 0);
                assert!(!kept || state.held.is_some(), "{dest} of {key} fails, is in, and nothing holds it");
                let suspected = state.held.is_some_and(|h| h.reason == HeldReason::SuspectSelf);
                assert!(!suspected || suspects, "{dest} of {key} is held by a suspicion that is over");
            }
        }
    }

    /// The verdicts again, by other code.
    pub(super) fn count(&mut self, id: TargetId, outcome: Outcome) {
        let Some(state) = self.world.controller.probes.get(id) else { return };
        let run = self.runs.entry((octet(state.target.addr.addr), state.target.port)).or_default();
        match outcome {
            Outcome::Pass => *run = (run.0 + 1, 0, run.2 && run.0 + 1 < RISE),
            Outcome::Fail(_) => *run = (0, run.1 + 1, run.2 || run.1 + 1 >= FALL),
            Outcome::Inconclusive(_) => {}
        }
    }

    /// Invariant 1, as far as it is about what others did.
    pub(super) fn floors_hold_at_rest(&self) {
        for service in self.world.table.keys() {
            let policy = self.world.controller.policy();
            let Some(policy) = policy.service_for(service).map(|at| &policy.services[at]) else { continue };
            let (now_in, base) = self.in_and_base(service);
            let holds = now_in >= policy.floor.resolve(base) || now_in == base;
            assert!(
                holds || policy.mode == Mode::Observe,
                "invariant 1 at rest: {now_in} of {base} in {service}"
            );
        }
    }

    /// Invariants 3 and 5.
    pub(super) fn all_is_given_back(&self) {
        for (user, truth) in &self.truth {
            let weight = weight_in(&self.world.table, user);
            assert_eq!(weight, Some(truth.given), "invariant 5: {} of {}: {truth:?}", user.1, user.0);
        }
        assert!(
            self.world.disk.as_ref().is_none_or(|l| l.entries.is_empty() && l.wishes.is_empty()),
            "invariant 5: {:?}",
            self.world.disk
        );
        assert!(self.world.controller.at_rest());
    }

    /// Servers in, and those that the floor counts.
    pub(super) fn in_and_base(&self, service: &ServiceKey) -> (usize, usize) {
        let rows = self.world.table.get(service).into_iter().flat_map(|vs| &vs.destinations);
        let wished =
            |row: &crate::model::RealServer| self.world.controller.keeper.wished_out(&(*service, row.key));
        let now_in = rows.clone().filter(|row| !row.weight.is_zero() && !wished(row)).count();
        let ours = rows.filter(|row| {
            row.weight.is_zero() && !self.truth[&(*service, row.key)].zero_by_operator && !wished(row)
        });
        (now_in, now_in + ours.count())
    }
}

/// Each row of the snapshot is in the view, and has one state.
pub(super) fn conserved(view: &View) {
    let rows = view.snapshot.iter().flat_map(|s| &s.services);
    for (service, shown) in rows.zip(&view.services) {
        let Some(managed) = &shown.managed else { continue };
        let states: usize = managed.states.values().sum();
        assert_eq!((service.key, service.destinations.len()), (shown.key, states));
        assert_eq!(managed.real_servers.len(), states);
    }
    assert_eq!(view.snapshot.as_ref().map_or(0, |s| s.services.len()), view.services.len());
}
