//! What is remembered of each virtual server and real server between two reads of the table.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::contest::Contest;
use super::event::TargetId;
use super::flap::Flaps;
use super::guard::Lately;
use super::health::{Health, combine};
use super::probes::Probes;
use super::ramp::Climb;
use super::signs::Sign;
use crate::model::{
    Check, Connected, Counters, DestKey, Direction, FailReason, Forwarding, Held, HeldReason, Histogram,
    LocalReason, Mono, OnFailure, Phase, ProbeReport, RealServer, ScopedAddr, ServiceKey, Share, Target,
    Verdict, Wall, Weight,
};

#[derive(Debug, Default)]
pub struct ServiceState {
    /// Which `[[service]]` has it; `None`: unmanaged.
    pub policy: Option<usize>,
    /// What this configuration makes of it has been said.
    pub introduced: bool,
    /// Only of managed services.
    pub dests: BTreeMap<DestKey, DestState>,
    /// Of the last read.
    pub counters: Option<Counters>,
    pub weight_changes: BTreeMap<Direction, u64>,
    pub weight_changes_held: BTreeMap<HeldReason, u64>,
    pub inconclusive: BTreeMap<LocalReason, u64>,
    /// What probes went over, where checks keep connections.
    pub connections: BTreeMap<Connected, u64>,
    pub durations: BTreeMap<Phase, Histogram>,
    /// As the last plan resolved it.
    pub floor: usize,
    pub floor_reached: bool,
    /// What was said of a scheduler that refuses clients at weight 0.
    pub refusal_noted: Option<OnFailure>,
}

#[derive(Debug, Default)]
pub struct DestState {
    pub checks: Vec<Binding>,
    /// The last non-zero weight that the kernel showed and we did not write.
    pub owed: Option<Weight>,
    /// Combined from the checks.
    pub verdict: Option<Verdict>,
    pub verdict_changed: Option<Mono>,
    /// When its hold-down began, pauses left out: at the last change of the verdict.
    pub held_since: Option<Mono>,
    pub lately: Lately,
    /// What it wants of its weight, as far as it says.
    pub share: Option<Share>,
    pub transitions: u64,
    /// Finished spells of being down; the present one starts at `verdict_changed`.
    pub downtime: Duration,
    pub held: Option<Held>,
    /// What the last plan wanted in the kernel instead of what is there.
    pub wanted: Option<Weight>,
    /// A write failed: not again before this.
    pub retry_at: Option<Mono>,
    /// Since when the kernel shows an operator's 0.
    pub external_since: Option<Wall>,
    pub contest: Contest,
    /// Where it stood at the last read ([`RealServer::place`]).
    pub place: Option<u32>,
    /// It looks as if it had been added again, and its weight was not looked at since.
    pub sign: Option<Sign>,
    /// The clock of its ramp, while that runs.
    pub climb: Option<Climb>,
    pub flaps: Flaps,
    /// When the probe result came that asked for a change not yet made.
    pub decided: Option<Mono>,
}

/// A check of this real server and the target that answers for it; `None`: it has no port.
#[derive(Debug, Clone)]
pub struct Binding {
    pub check: Arc<Check>,
    pub target: Option<TargetId>,
}

impl DestState {
    pub fn healths<'a>(
        &'a self,
        probes: &'a Probes,
    ) -> impl Iterator<Item = (&'a Binding, Option<&'a Health>)> {
        self.checks.iter().map(|b| (b, b.target.and_then(|id| probes.health(id))))
    }

    /// Combines the checks anew; true if the verdict changed.
    pub fn judge(&mut self, probes: &Probes, now: Mono) -> bool {
        self.lately = self.lately(probes);
        self.share = self.said(probes);
        let verdict = combine(self.healths(probes).map(|(_, health)| health.and_then(|h| h.verdict)));
        if verdict == self.verdict {
            return false;
        }
        if self.verdict.is_some() && verdict.is_some() {
            self.transitions += 1;
            self.flaps.changed(now);
        }
        if self.verdict == Some(Verdict::Down) {
            self.downtime += self.verdict_changed.map_or(Duration::ZERO, |since| now.since(since));
        }
        self.verdict = verdict;
        self.verdict_changed = Some(now);
        self.held_since = Some(now);
        self.decided = Some(now);
        if verdict == Some(Verdict::Up) {
            self.contest.end();
        }
        true
    }

    fn lately(&self, probes: &Probes) -> Lately {
        let run_is_whole = |(binding, health): (&Binding, Option<&Health>)| {
            health.is_some_and(|h| h.failures_in_a_row >= binding.check.spec.pace.fall)
        };
        let passed = |(_, health): (&Binding, Option<&Health>)| health.is_some_and(|h| h.passes_in_a_row > 0);
        if self.healths(probes).any(run_is_whole) {
            Lately::Failing
        } else if !self.checks.is_empty() && self.healths(probes).all(passed) {
            Lately::Passing
        } else {
            Lately::Mixed
        }
    }

    pub fn fail_reason(&self, probes: &Probes) -> Option<FailReason> {
        let down = |h: &&Health| h.verdict == Some(Verdict::Down);
        self.healths(probes).filter_map(|(_, h)| h).find(down).and_then(Health::fail_reason)
    }

    pub fn failing_since(&self, probes: &Probes) -> Option<Mono> {
        self.healths(probes).filter_map(|(_, h)| h?.failing_since).min()
    }

    /// When all checks had last passed.
    pub fn last_pass(&self, probes: &Probes) -> Option<Mono> {
        self.healths(probes).map(|(_, h)| h.and_then(|h| h.last_pass)).min().flatten()
    }

    /// Somebody raised the weight over our drain: failures count from here.
    pub fn raised_by_others(&mut self, probes: &Probes) {
        let runs = self.checks.iter().filter_map(|b| b.target);
        self.contest.begin(runs.map(|id| (id, probes.run_of_failures(id))));
    }

    /// True while a failing server stays in because somebody else put it there a moment ago.
    pub fn contested(&self, probes: &Probes) -> bool {
        let fresh_run = |binding: &Binding| {
            let fresh = binding.target.and_then(|id| self.contest.fresh(id, probes.run_of_failures(id)));
            fresh.is_some_and(|fresh| fresh >= binding.check.spec.pace.fall)
        };
        self.contest.counts() && !self.checks.iter().any(fresh_run)
    }
}

/// What a check probes for a real server, or `None` where it has no port.
///
/// DR and TUN deliver to the service's port whatever the destination's says (trap 8), masquerading
/// to the destination's.
pub fn target_of(service: &ServiceKey, dest: &RealServer, check: &Check) -> Option<Target> {
    let delivered = match dest.forwarding {
        Forwarding::Masq | Forwarding::Bypass => Some(dest.key.port).filter(|port| *port != 0),
        Forwarding::Route | Forwarding::Tunnel | Forwarding::Local => service.port(),
    };
    let port = check.spec.port.or(delivered)?;
    let addr = match &check.spec.address {
        Some(addr) => addr.clone(),
        None => ScopedAddr { addr: dest.key.addr, zone: None },
    };
    Some(Target { spec: check.spec.clone(), addr, port })
}

/// Adds a finished probe to what its service exports.
pub fn count(state: &mut ServiceState, report: &ProbeReport, phases: &[Phase]) {
    if let Some(connected) = report.connected {
        *state.connections.entry(connected).or_default() += 1;
    }
    match report.outcome {
        crate::model::Outcome::Inconclusive(reason) => *state.inconclusive.entry(reason).or_default() += 1,
        crate::model::Outcome::Pass | crate::model::Outcome::Fail(_) => {
            for phase in phases {
                let histogram = state.durations.entry(*phase).or_default();
                if let Some(duration) = report.phases.get(*phase) {
                    histogram.observe(duration);
                }
            }
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::model::{CheckKind, CheckSpec, Close, Outcome, Pace, Phases};

    /// Interval 1 s, fast 100 ms, rise 2, fall 3.
    pub fn tcp_spec() -> CheckSpec {
        CheckSpec {
            kind: CheckKind::Tcp,
            port: None,
            address: None,
            source: None,
            mark: None,
            proxy_protocol: None,
            close: Close::Rst,
            pace: Pace {
                interval: Duration::from_secs(1),
                timeout: Duration::from_millis(500),
                fast_interval: Duration::from_millis(100),
                rise: 2,
                fall: 3,
                tripwire: false,
            },
        }
    }

    pub fn tcp_target(port: u16) -> Target {
        let addr = ScopedAddr { addr: [10, 0, 1, 1].into(), zone: None };
        Target { spec: Arc::new(tcp_spec()), addr, port }
    }

    pub fn report(outcome: Outcome, ended: Mono) -> ProbeReport {
        ProbeReport {
            outcome,
            phases: Phases { total: Duration::from_millis(1), ..Phases::default() },
            connected: None,
            http_status: None,
            share: None,
            chain: None,
            detail: "as the test says".into(),
            started: ended,
            ended,
        }
    }

    pub fn dest(text: &str, weight: u32, forwarding: Forwarding) -> RealServer {
        RealServer {
            key: text.parse().unwrap(),
            place: None,
            forwarding,
            weight: Weight(weight),
            upper_threshold: 0,
            lower_threshold: 0,
            active_connections: 0,
            inactive_connections: 0,
            persistent_connections: 0,
            tunnel: None,
            counters: None,
        }
    }

    #[test]
    fn the_probed_port_follows_the_forwarding_method() {
        let check = |port| Check { name: "c".into(), spec: Arc::new(CheckSpec { port, ..tcp_spec() }) };
        let port = |service: &str, forwarding, port| {
            let dest = dest("10.0.1.1:8080", 1, forwarding);
            target_of(&service.parse().unwrap(), &dest, &check(port)).map(|t| t.port)
        };
        assert_eq!(port("10.0.0.1:80/tcp", Forwarding::Route, None), Some(80));
        assert_eq!(port("10.0.0.1:80/tcp", Forwarding::Tunnel, None), Some(80));
        assert_eq!(port("10.0.0.1:80/tcp", Forwarding::Masq, None), Some(8080));
        assert_eq!(port("10.0.0.1:80/tcp", Forwarding::Route, Some(99)), Some(99));
        assert_eq!(port("10.0.0.1:0/tcp", Forwarding::Route, None), None);
        assert_eq!(port("fwmark:7/ipv4", Forwarding::Route, None), None);
        assert_eq!(port("fwmark:7/ipv4", Forwarding::Route, Some(25)), Some(25));
        assert_eq!(port("fwmark:7/ipv4", Forwarding::Masq, None), Some(8080));
    }

    #[test]
    fn an_overridden_address_is_probed_instead() {
        let instead = ScopedAddr { addr: "fe80::1".parse().unwrap(), zone: Some("eth0".into()) };
        let spec = CheckSpec { address: Some(instead.clone()), ..tcp_spec() };
        let check = Check { name: "c".into(), spec: Arc::new(spec) };
        let service = "10.0.0.1:80/tcp".parse().unwrap();
        let target = target_of(&service, &dest("10.0.1.1:80", 1, Forwarding::Route), &check).unwrap();
        assert_eq!(target.addr, instead);
    }
}
