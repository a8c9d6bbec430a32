//! `lvs_agent_*`: the agent's own machinery.

use std::fmt;
use std::time::Duration;

use super::catalogue as m;
use super::exposition::{Families, bare, bare_if, flag};
use super::machinery::MachineryFacts;
use super::selection::{Dropped, SeriesGroup};
use crate::model::{Mode, NetlinkTelemetry, SkipReason, View};

pub(super) fn encode(
    out: &mut Families,
    view: &View,
    facts: &MachineryFacts,
    dropped: &Dropped,
) -> fmt::Result {
    out.info(
        m::BUILD_INFO,
        [[
            ("version", env!("CARGO_PKG_VERSION")),
            ("revision", env!("LVS_AGENT_BUILD_REVISION")),
            ("rustc", env!("LVS_AGENT_BUILD_RUSTC")),
        ]],
    )?;
    configuration(out, view)?;
    collectors(out, view, facts)?;
    netlink(out, &facts.netlink)?;
    work(out, view)?;
    out.gauge(m::HTTP_REQUESTS_IN_FLIGHT, bare(facts.http_requests_in_flight))?;
    out.gauge(
        m::SERIES_DROPPED,
        SeriesGroup::ALL.map(|group| ([("group", group.as_str())], dropped.series(group))),
    )
}

fn configuration(out: &mut Families, view: &View) -> fmt::Result {
    let mode = view.policy.mode;
    out.gauge(m::MODE, Mode::ALL.map(|m| ([("mode", m.as_str())], flag(mode == Some(m)))))?;
    out.gauge(m::CONFIG_LAST_RELOAD_SUCCESSFUL, bare(flag(view.config.last_load_successful)))?;
    out.gauge(m::CONFIG_LAST_RELOAD_SUCCESS, bare(view.config.last_success.0))?;
    out.gauge(m::CONFIG_HASH, bare(view.config.hash))
}

fn collectors(out: &mut Families, view: &View, facts: &MachineryFacts) -> fmt::Result {
    let snapshot = view.snapshot.as_ref();
    let ipvs = view.read_failure.is_none() && !view.overdue && snapshot.is_some();
    out.gauge(
        m::COLLECTOR_SUCCESS,
        [("ipvs", Some(ipvs)), ("addresses", view.vips.watched), ("process", Some(facts.process.is_some()))]
            .into_iter()
            .filter_map(|(collector, worked)| Some(([("collector", collector)], flag(worked?)))),
    )?;
    let process = facts.process.as_ref().map(|process| process.duration);
    out.gauge(
        m::COLLECTOR_DURATION,
        [("ipvs", snapshot.map(|s| s.duration)), ("process", process)].into_iter().filter_map(
            |(collector, took): (_, Option<Duration>)| {
                Some(([("collector", collector)], took?.as_secs_f64()))
            },
        ),
    )?;
    out.gauge(m::SNAPSHOT_TIMESTAMP, bare_if(snapshot.map(|s| s.taken.wall.0)))
}

fn netlink(out: &mut Families, netlink: &NetlinkTelemetry) -> fmt::Result {
    out.counter(
        m::NETLINK_REQUESTS,
        netlink.requests.iter().map(|(command, n)| ([("command", *command)], *n)),
    )?;
    out.counter(
        m::NETLINK_ERRORS,
        netlink
            .errors
            .iter()
            .map(|((command, errno), n)| ([("command", *command), ("errno", errno.as_str())], *n)),
    )?;
    out.counter(m::NETLINK_DUMP_INTERRUPTED, bare(netlink.dumps_interrupted))?;
    out.counter(m::NETLINK_DUMP_RETRIES, bare(netlink.dumps_retried))?;
    out.counter(m::NETLINK_OVERRUNS, bare(netlink.overruns))?;
    out.histogram(
        m::NETLINK_DURATION,
        netlink.durations.iter().map(|(command, histogram)| ([("command", *command)], histogram)),
    )
}

fn work(out: &mut Families, view: &View) -> fmt::Result {
    let machinery = &view.machinery;
    out.gauge(m::RECONCILE_LAST_SUCCESS, bare_if(machinery.last_reconcile.map(|wall| wall.0)))?;
    out.histogram(m::RECONCILE_DURATION, bare(&machinery.reconcile_duration))?;
    out.histogram(m::DECISION_APPLY_DURATION, bare(&machinery.decision_apply_duration))?;
    out.gauge(m::LEDGER_ENTRIES, bare(view.ledger.entries))?;
    out.counter(m::LEDGER_WRITE_FAILURES, bare(view.ledger.write_failures))?;
    out.gauge(m::PROBES_IN_FLIGHT, bare(machinery.probes_in_flight))?;
    out.gauge(m::PROBES_IN_FLIGHT_LIMIT, bare(machinery.probes_in_flight_limit))?;
    out.histogram(m::PROBE_SCHEDULE_LAG, bare(&machinery.schedule_lag))?;
    out.counter(
        m::PROBES_SKIPPED,
        SkipReason::ALL.map(|reason| {
            let skipped = machinery.probes_skipped.get(&reason).copied().unwrap_or(0);
            ([("reason", reason.as_str())], skipped)
        }),
    )
}
