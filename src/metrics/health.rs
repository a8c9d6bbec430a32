//! `lvs_*`: what the agent saw and decided. Only managed virtual servers have rows, but for their names.

use std::borrow::Cow;
use std::fmt;

use super::catalogue as m;
use super::exposition::{Families, Labels, flag};
use super::rows::Rows;
use crate::model::{
    Check, CheckView, Direction, DriftKind, ManagedView, RealServerView, ServerState, Verdict, View,
};

type Managed<'a> = Rows<'a, ManagedView, RealServerView>;

pub(super) fn encode(out: &mut Families, view: &View) -> fmt::Result {
    out.info(
        m::LVS_VIRTUAL_SERVER_INFO,
        view.services.iter().map(|service| {
            [("virtual_server", Cow::Owned(service.key.to_string())), ("name", service.name.as_str().into())]
        }),
    )?;
    let managed = view.services.iter().filter_map(|s| Some((s.key, s.managed.as_ref()?)));
    let managed = Rows::new(managed, |service| &service.real_servers, |server| server.key);
    virtual_servers(out, &managed)?;
    refuses_at_zero(out, view)?;
    weight_changes(out, &managed)?;
    real_servers(out, &managed)?;
    checks(out, &managed)?;
    probes(out, &managed)?;
    let drift = &view.machinery.drift;
    out.counter(
        m::DRIFT,
        DriftKind::ALL.map(|kind| ([("kind", kind.as_str())], drift.get(&kind).copied().unwrap_or(0))),
    )?;
    super::vips::encode(out, &view.vips)
}

fn virtual_servers(out: &mut Families, managed: &Managed) -> fmt::Result {
    let each = || managed.virtual_servers();
    out.gauge(m::LVS_VIRTUAL_SERVER_UP, each().map(|(labels, s)| (labels, flag(s.up))))?;
    out.gauge(
        m::LVS_VIRTUAL_SERVER_REAL_SERVERS,
        each().flat_map(|([v], s)| {
            ServerState::ALL
                .map(|state| ([v, ("state", state.as_str())], s.states.get(&state).copied().unwrap_or(0)))
        }),
    )?;
    out.gauge(m::CAPACITY, each().filter_map(|(labels, s)| Some((labels, s.capacity?))))?;
    out.gauge(m::QUORUM, each().map(|(labels, s)| (labels, s.quorum)))?;
    out.gauge(m::FLOOR, each().map(|(labels, s)| (labels, s.floor)))?;
    out.gauge(m::CAPACITY_LOW, each().map(|(labels, s)| (labels, s.capacity_low)))?;
    out.gauge(m::FLOOR_REACHED, each().map(|(labels, s)| (labels, flag(s.floor_reached))))?;
    out.gauge(m::PROTECTED, each().map(|(labels, s)| (labels, s.protected)))
}

/// The one row that needs the kernel's scheduler beside the configuration.
fn refuses_at_zero(out: &mut Families, view: &View) -> fmt::Result {
    let rows = view.services.iter().filter(|service| service.managed.is_some()).filter_map(|service| {
        let in_kernel = view.snapshot.as_ref()?.service(&service.key)?;
        let labels = [("virtual_server", service.key.to_string())];
        Some((labels, flag(in_kernel.refuses_at_zero())))
    });
    out.gauge(m::REFUSES_AT_ZERO, rows)
}

fn weight_changes(out: &mut Families, managed: &Managed) -> fmt::Result {
    out.counter(
        m::WEIGHT_CHANGES,
        managed.virtual_servers().flat_map(|([v], s)| {
            Direction::ALL.map(|direction| {
                let changes = s.weight_changes.get(&direction).copied().unwrap_or(0);
                ([v, ("direction", direction.as_str())], changes)
            })
        }),
    )?;
    out.counter(
        m::WEIGHT_CHANGES_HELD,
        managed.virtual_servers().flat_map(|([v], s)| {
            s.weight_changes_held.iter().map(move |(reason, n)| ([v, ("reason", reason.as_str())], *n))
        }),
    )
}

fn real_servers(out: &mut Families, managed: &Managed) -> fmt::Result {
    let each = || managed.real_servers();
    out.gauge(
        m::CHANGE_HELD,
        each().filter_map(|([v, r], rs)| Some(([v, r, ("reason", rs.held?.reason.as_str())], 1u64))),
    )?;
    out.gauge(m::LVS_REAL_SERVER_UP, each().filter_map(|(labels, rs)| Some((labels, is_up(rs.verdict?)))))?;
    out.gauge(
        m::DRAINED,
        each().filter_map(|([v, r], rs)| Some(([v, r, ("reason", drained_reason(rs)?)], 1u64))),
    )?;
    out.gauge(m::OWED_WEIGHT, each().filter_map(|(labels, rs)| Some((labels, rs.owed?.0))))?;
    out.gauge(m::DESIRED_WEIGHT, each().map(|(labels, rs)| (labels, rs.desired.0)))?;
    out.gauge(m::FLAPPING, each().filter_map(|(labels, rs)| rs.flapping.then_some((labels, 1u64))))?;
    out.gauge(m::STATE_CHANGE, each().filter_map(|(labels, rs)| Some((labels, rs.verdict_changed?.0))))?;
    out.counter(m::TRANSITIONS, each().map(|(labels, rs)| (labels, rs.transitions)))?;
    out.counter(m::DOWNTIME, each().map(|(labels, rs)| (labels, rs.downtime.as_secs_f64())))
}

fn checks(out: &mut Families, managed: &Managed) -> fmt::Result {
    out.info(
        m::CHECK_INFO,
        configured_checks(managed).map(|([v, k], check)| {
            let own = |(name, value): (&'static str, &str)| (name, Cow::Owned(value.to_owned()));
            let spec = &check.spec;
            [
                own(v),
                own(k),
                ("kind", spec.kind.as_str().into()),
                ("rise", spec.pace.rise.to_string().into()),
                ("fall", spec.pace.fall.to_string().into()),
            ]
        }),
    )?;
    out.gauge(
        m::CHECK_TIMEOUT,
        configured_checks(managed).map(|(labels, check)| (labels, check.spec.pace.timeout.as_secs_f64())),
    )?;
    out.gauge(
        m::CHECK_INTERVAL,
        configured_checks(managed).map(|(labels, check)| (labels, check.spec.pace.interval.as_secs_f64())),
    )?;
    out.counter(
        m::CHECK_INCONCLUSIVE,
        managed.virtual_servers().flat_map(|([v], s)| {
            s.inconclusive.iter().map(move |(reason, n)| ([v, ("reason", reason.as_str())], *n))
        }),
    )?;
    out.counter(
        m::CHECK_CONNECTIONS,
        managed.virtual_servers().flat_map(|([v], s)| {
            s.connections.iter().map(move |(over, n)| ([v, ("connection", over.as_str())], *n))
        }),
    )?;
    out.histogram(
        m::CHECK_DURATION,
        managed.virtual_servers().flat_map(|([v], s)| {
            s.durations.iter().map(move |(phase, histogram)| ([v, ("phase", phase.as_str())], histogram))
        }),
    )
}

fn probes(out: &mut Families, managed: &Managed) -> fmt::Result {
    let each = || check_results(managed);
    out.gauge(m::CHECK_UP, each().filter_map(|(labels, c)| Some((labels, is_up(c.verdict?)))))?;
    out.counter(m::CHECK_ATTEMPTS, each().map(|(labels, c)| (labels, c.attempts)))?;
    out.counter(
        m::CHECK_FAILURES,
        each().flat_map(|([v, r, k], c)| {
            c.failures.iter().map(move |(reason, n)| ([v, r, k, ("reason", reason.as_str())], *n))
        }),
    )?;
    out.gauge(m::CHECK_CONSECUTIVE_FAILURES, each().map(|(labels, c)| (labels, c.consecutive_failures)))?;
    out.gauge(m::CHECK_CONSECUTIVE_SUCCESSES, each().map(|(labels, c)| (labels, c.consecutive_successes)))?;
    let last = || each().filter_map(|(labels, c)| Some((labels, c.last_conclusive.as_ref()?)));
    out.gauge(m::CHECK_LAST_DURATION, last().map(|(labels, probe)| (labels, probe.duration.as_secs_f64())))?;
    out.gauge(m::CHECK_LAST_ATTEMPT, last().map(|(labels, probe)| (labels, probe.at.0)))?;
    out.gauge(
        m::CHECK_TLS_NOT_AFTER,
        each().filter_map(|(labels, c)| Some((labels, c.chain.as_ref()?.not_after))),
    )?;
    let shares = each().filter_map(|(labels, c)| Some((labels, c.share?.as_ratio())));
    out.gauge(m::CHECK_REPORTED_SHARE, shares)?;
    let tripwires = || each().filter_map(|(labels, c)| Some((labels, c.tripwire?)));
    out.gauge(m::CHECK_TRIPWIRE_ARMED, tripwires().map(|(labels, wire)| (labels, flag(wire.armed))))?;
    out.counter(m::CHECK_TRIPWIRE_TRIPS, tripwires().map(|(labels, wire)| (labels, wire.trips)))?;
    out.gauge(
        m::CHECK_TRIPWIRE_DEGRADED,
        tripwires()
            .filter_map(|([v, r, k], wire)| Some(([v, r, k, ("reason", wire.degraded?.as_str())], 1u64))),
    )
}

fn configured_checks<'r>(managed: &'r Managed<'r>) -> impl Iterator<Item = (Labels<'r, 2>, &'r Check)> {
    managed.virtual_servers().flat_map(|([v], service)| {
        service.checks.iter().map(move |check| ([v, ("check", check.name.as_str())], &**check))
    })
}

fn check_results<'r>(managed: &'r Managed<'r>) -> impl Iterator<Item = (Labels<'r, 3>, &'r CheckView)> {
    managed.real_servers().flat_map(|([v, r], server)| {
        server.checks.iter().map(move |c| ([v, r, ("check", c.check.name.as_str())], c))
    })
}

/// Out, or on its way back with a part of its weight.
fn drained_reason(server: &RealServerView) -> Option<&'static str> {
    let climbing = server.slow_start.map(|_| "slow_start");
    server.drained.map(|drained| drained.by.as_str()).or(climbing)
}

fn is_up(verdict: Verdict) -> u64 {
    match verdict {
        Verdict::Up => 1,
        Verdict::Down => 0,
    }
}
