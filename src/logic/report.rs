//! What is known and decided, as one [`View`].

use std::collections::BTreeMap;

use super::controller::Controller;
use super::health::{Health, Last};
use super::ledger::{TakenBy, WishKind};
use super::probes::Probes;
use super::service::{Binding, DestState, ServiceState, target_of};
use crate::model::ProbeRefused;
use crate::model::{
    Check, CheckView, DestKey, Drained, DrainedBy, HeldReason, LastProbe, MachineryView, ManagedView, Now,
    Phase, RealServer, RealServerView, ServerState, ServiceKey, ServicePolicy, ServiceView, SkipReason,
    Target, Verdict, View, VirtualServer, Weight,
};
use std::sync::Arc;
use std::time::Duration;

impl Controller {
    pub(super) fn view(&mut self, now: Now) -> View {
        self.generation += 1;
        let snapshot = self.snapshot.clone().filter(|_| !self.stale(now.mono));
        let services =
            snapshot.iter().flat_map(|s| &s.services).map(|service| self.service_view(service, now));
        let services: Vec<ServiceView> = services.collect();
        View {
            now,
            generation: self.generation,
            policy: self.policy.clone(),
            config: self.config,
            ready: self.ready(now),
            snapshot,
            read_failure: self.read_failure.clone(),
            overdue: false,
            services,
            ledger: self.keeper.view(),
            vips: self.vips.view(self.policy.vip_sharing),
            machinery: MachineryView {
                probes_in_flight: self.probes.in_flight(),
                probes_in_flight_limit: self.probes.in_flight_limit(),
                probes_skipped: self
                    .skipped
                    .iter()
                    .chain(self.probes.skipped())
                    .map(|(why, n)| (*why, *n))
                    .collect(),
                schedule_lag: self.probes.schedule_lag(),
                reconcile_duration: self.reconcile_duration,
                last_reconcile: self.last_reconcile,
                decision_apply_duration: self.decision_apply_duration,
                drift: self.drift.clone(),
            },
        }
    }

    /// What is known now, for whoever cannot wait for the read that is under way.
    pub fn view_at_once(&mut self, now: Now) -> View {
        View { overdue: self.reading.is_some(), ..self.view(now) }
    }

    /// What a probe by hand has to probe: the named check, or all of them.
    pub fn hand_targets(
        &self,
        service: ServiceKey,
        dest: DestKey,
        check: Option<&str>,
    ) -> Result<Vec<(Arc<Check>, Target)>, ProbeRefused> {
        let snapshot = self.snapshot.as_ref().ok_or_else(|| {
            let failure = self.read_failure.as_ref();
            ProbeRefused::NoTable(
                failure.map_or_else(|| "it was not read yet".to_owned(), ToString::to_string),
            )
        })?;
        let found = snapshot.service(&service).ok_or(ProbeRefused::NoService(service))?;
        let row = found.destination(&dest).ok_or(ProbeRefused::NoDest(service, dest))?;
        let policy = self.policy.service_for(&service).and_then(|at| self.policy.services.get(at));
        let checks = &policy.ok_or(ProbeRefused::Unmanaged(service))?.checks;
        if checks.is_empty() {
            return Err(ProbeRefused::NoChecks(service));
        }
        let wanted: Vec<_> = checks.iter().filter(|c| check.is_none_or(|name| c.name == name)).collect();
        if wanted.is_empty() {
            let names: Vec<&str> = checks.iter().map(|c| c.name.as_str()).collect();
            return Err(ProbeRefused::NoCheck(
                service,
                check.unwrap_or_default().to_owned(),
                names.join(", "),
            ));
        }
        let target = |check: &Arc<Check>| {
            let target = target_of(&service, row, check);
            target
                .map(|t| (check.clone(), t))
                .ok_or_else(|| ProbeRefused::NoPort(service, check.name.clone()))
        };
        wanted.into_iter().map(target).collect()
    }

    /// Configuration loaded, a whole table read, each target probed once or its time for it over.
    fn ready(&self, now: Now) -> Result<(), String> {
        let Some(first_read) = self.first_read else {
            let why = self.read_failure.as_ref().map_or_else(|| "not yet".to_owned(), ToString::to_string);
            return Err(format!("no whole read of the IPVS table: {why}"));
        };
        if let Some(failure) = &self.read_failure {
            return Err(failure.to_string());
        }
        if self.probes.each_probed() || now.mono.since(first_read) > self.probes.longest_round() {
            Ok(())
        } else {
            Err("the first round of probes is under way".to_owned())
        }
    }

    fn service_view(&self, service: &VirtualServer, now: Now) -> ServiceView {
        let state = self.services.get(&service.key);
        let policy = state.and_then(|s| s.policy).and_then(|at| self.policy.services.get(at));
        let name = policy.and_then(|p| p.name.clone()).unwrap_or_else(|| service.key.to_string());
        let managed = state.zip(policy).map(|(state, policy)| self.managed_view(service, state, policy, now));
        ServiceView { key: service.key, name, managed }
    }

    fn managed_view(
        &self,
        service: &VirtualServer,
        state: &ServiceState,
        policy: &ServicePolicy,
        now: Now,
    ) -> ManagedView {
        let rows = service.destinations.iter().filter_map(|row| Some((row, state.dests.get(&row.key)?)));
        let servers: Vec<RealServerView> =
            rows.map(|(row, dest)| self.server_view(service, policy, row, dest, now)).collect();
        let mut states: BTreeMap<ServerState, usize> = ServerState::ALL.map(|s| (s, 0)).into();
        for server in &servers {
            *states.entry(server.state).or_default() += 1;
        }
        let usable = |s: &&RealServerView| !s.weight.is_zero() && s.verdict != Some(Verdict::Down);
        let phases: Vec<Phase> = Phase::ALL
            .into_iter()
            .filter(|p| policy.checks.iter().any(|c| c.spec.kind.phases().contains(p)))
            .collect();
        ManagedView {
            mode: policy.mode,
            on_failure: policy.on_failure(&service.scheduler),
            up: servers.iter().filter(usable).count() >= policy.quorum as usize,
            quorum: policy.quorum,
            floor: state.floor,
            capacity_low: policy.capacity_low,
            capacity: capacity(&servers),
            floor_reached: state.floor_reached,
            protected: servers
                .iter()
                .filter(|s| s.verdict == Some(Verdict::Down) && !s.weight.is_zero())
                .count(),
            states,
            weight_changes: state.weight_changes.clone(),
            weight_changes_held: state.weight_changes_held.clone(),
            inconclusive: state.inconclusive.clone(),
            connections: state.connections.clone(),
            durations: phases
                .iter()
                .map(|p| (*p, state.durations.get(p).copied().unwrap_or_default()))
                .collect(),
            checks: policy.checks.clone(),
            real_servers: servers,
        }
    }

    fn server_view(
        &self,
        service: &VirtualServer,
        policy: &ServicePolicy,
        row: &RealServer,
        dest: &DestState,
        now: Now,
    ) -> RealServerView {
        let user = (service.key, row.key);
        let entry = self.keeper.get(&user);
        let asked = self.keeper.wish(&user);
        let wish = asked.filter(|w| w.kind == WishKind::Drain);
        let drained = match (wish, entry, row.weight.is_zero()) {
            (Some(wish), _, true) => {
                Some(Drained { by: DrainedBy::Operator, reason: None, since: wish.since })
            }
            (None, Some(entry), true) => {
                // On its way back by hand, unless its checks fail.
                let lifted = entry.by == TakenBy::Operator && dest.verdict != Some(Verdict::Down);
                let by = if lifted { DrainedBy::Operator } else { DrainedBy::Check };
                Some(Drained { by, reason: entry.reason, since: entry.since })
            }
            (None, None, true) => {
                let since = dest.external_since.unwrap_or(now.wall);
                Some(Drained { by: DrainedBy::External, reason: None, since })
            }
            (_, _, false) => None,
        };
        let state = match (drained, dest.verdict) {
            (Some(Drained { by: DrainedBy::External | DrainedBy::Operator, .. }), _) => ServerState::Drained,
            (_, Some(Verdict::Down)) => ServerState::Down,
            (_, None) => ServerState::Unknown,
            (_, Some(Verdict::Up)) => ServerState::Up,
        };
        let down_now = match (dest.verdict, dest.verdict_changed) {
            (Some(Verdict::Down), Some(since)) => now.mono.since(since),
            (Some(Verdict::Down | Verdict::Up) | None, _) => Duration::ZERO,
        };
        RealServerView {
            key: row.key,
            state,
            verdict: dest.verdict,
            share: dest.share,
            weight: row.weight,
            owed: dest.owed,
            desired: dest.wanted.unwrap_or(row.weight),
            drained,
            said: wish.and_then(|w| w.said.clone()),
            held: dest.held,
            hold_left: dest
                .held_until(policy, now.mono)
                .filter(|_| dest.held.is_some_and(|held| held.reason == HeldReason::HoldDown))
                .map(|end| end.since(now.mono)),
            slow_start: self.slow_start(service, policy, row, dest, now.mono),
            flapping: dest.flaps.lasts(now.mono),
            ignores_checks: asked.is_some_and(|w| w.kind == WishKind::IgnoreChecks),
            verdict_changed: dest.verdict.and(dest.verdict_changed).map(|at| now.wall_of(at)),
            transitions: dest.transitions,
            downtime: dest.downtime + down_now,
            checks: dest.checks.iter().map(|b| check_view(b, &self.probes, now)).collect(),
        }
    }
}

/// Weight of the usable servers / owed weight of all that are not out by hand.
fn capacity(servers: &[RealServerView]) -> Option<f64> {
    let sum = |of: &dyn Fn(&RealServerView) -> Option<Weight>| -> f64 {
        // Not `sum`: that of nothing is -0.0.
        servers.iter().filter_map(of).fold(0.0, |sum, w| sum + f64::from(w.0))
    };
    let owed = sum(&|s| s.owed.filter(|_| s.state != ServerState::Drained));
    let usable = sum(&|s| (s.verdict != Some(Verdict::Down)).then_some(s.weight));
    (owed > 0.0).then_some(usable / owed)
}

fn check_view(binding: &Binding, probes: &Probes, now: Now) -> CheckView {
    let unknown = Health::default();
    let target = binding.target.and_then(|id| probes.get(id));
    let health_known = target.map_or(&unknown, |t| &t.health);
    let last = |last: &Option<Last>| {
        last.as_ref().map(|last| LastProbe {
            outcome: last.outcome,
            duration: last.duration,
            at: now.wall_of(last.ended),
            detail: last.detail.clone(),
            http_status: last.http_status,
        })
    };
    CheckView {
        check: binding.check.clone(),
        verdict: health_known.verdict,
        consecutive_failures: health_known.failures_in_a_row,
        consecutive_successes: health_known.passes_in_a_row,
        attempts: health_known.attempts,
        failures: health_known.failures.clone(),
        last: last(&health_known.last),
        last_conclusive: last(&health_known.last_conclusive),
        share: health_known.share,
        chain: health_known.chain.clone(),
        tripwire: target.and_then(|t| t.wire.as_ref()).map(|wire| wire.view(now.mono)),
        skipped: binding.target.is_none().then_some(SkipReason::NoPort),
    }
}
