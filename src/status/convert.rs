//! A view (or a bare table) → the API's JSON.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::{
    CertificateStatus, CheckStatus, DrainedStatus, HeldStatus, IpvsStatus, LedgerStatus, RealServerStatus,
    SlowStartStatus, Status, TripwireStatus, VirtualServerStatus, Word,
};
use crate::model::{
    CheckView, LastProbe, ManagedView, Mode, Now, Outcome, RealServer, RealServerView, ServiceView, Share,
    Snapshot, TableSource, Verdict, View, VirtualServer, Wall,
};

/// The virtual servers of a view, converted one at a time while they are written.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a>(&'a View);

impl<'a> Status<Rows<'a>> {
    pub fn streamed(view: &'a View) -> Status<Rows<'a>> {
        head(view, Rows(view))
    }
}

impl From<&View> for Status {
    fn from(view: &View) -> Status {
        head(view, rows(view).collect())
    }
}

impl Serialize for Rows<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(rows(self.0))
    }
}

impl Status {
    /// The kernel's table alone, where no agent runs: nothing is managed, nothing is known of health.
    pub fn from_snapshot(snapshot: &Snapshot, now: Now) -> Status {
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            mode: Cow::Borrowed("exporter"),
            ready: true,
            not_ready_reason: None,
            director_active: None,
            snapshot_age_seconds: Some(now.mono.since(snapshot.taken.mono).as_secs_f64()),
            ipvs: IpvsStatus { up: snapshot.source != TableSource::Proc, error: None },
            ledger: LedgerStatus::default(),
            virtual_servers: snapshot
                .services
                .iter()
                .map(|service| virtual_server(service, service.key.to_string(), None, now))
                .collect(),
        }
    }
}

fn head<V>(view: &View, virtual_servers: V) -> Status<V> {
    let mode = view.policy.mode.map_or("exporter", Mode::as_str);
    let age = |s: &Snapshot| view.now.mono.since(s.taken.mono).as_secs_f64();
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        mode: Cow::Borrowed(mode),
        ready: view.ready.is_ok(),
        not_ready_reason: view.ready.as_ref().err().cloned(),
        director_active: view.vips.active,
        snapshot_age_seconds: view.snapshot.as_deref().map(age),
        ipvs: IpvsStatus { up: view.ipvs_up(), error: view.read_failure.as_ref().map(ToString::to_string) },
        ledger: LedgerStatus { entries: view.ledger.entries, error: view.ledger.error.clone() },
        virtual_servers,
    }
}

/// What the kernel shows decides which rows there are; what the agent knows of them is added.
fn rows(view: &View) -> impl Iterator<Item = VirtualServerStatus> {
    view.services.iter().filter_map(|known: &ServiceView| {
        let service = view.snapshot.as_deref()?.service(&known.key)?;
        Some(virtual_server(service, known.name.clone(), known.managed.as_ref(), view.now))
    })
}

fn virtual_server(
    service: &VirtualServer,
    name: String,
    managed: Option<&ManagedView>,
    now: Now,
) -> VirtualServerStatus {
    let methods: BTreeSet<&str> = service.destinations.iter().map(|d| d.forwarding.as_str()).collect();
    let known = |dest: &RealServer| {
        let servers = &managed?.real_servers;
        servers.binary_search_by(|r| r.key.cmp(&dest.key)).ok().and_then(|at| servers.get(at))
    };
    VirtualServerStatus {
        virtual_server: service.key,
        name,
        scheduler: service.scheduler.clone(),
        forwarding: methods.into_iter().map(Cow::Borrowed).collect(),
        managed: managed.is_some(),
        refuses_at_zero: service.refuses_at_zero(),
        up: managed.map(|m| m.up),
        mode: managed.map(|m| Cow::Borrowed(m.mode.as_str())),
        on_failure: managed.map(|m| Cow::Borrowed(m.on_failure.as_str())),
        quorum: managed.map(|m| m.quorum),
        floor: managed.map(|m| m.floor),
        capacity: managed.and_then(|m| m.capacity).map(finite),
        real_servers: service.destinations.iter().map(|d| real_server(d, known(d), now)).collect(),
    }
}

fn real_server(dest: &RealServer, known: Option<&RealServerView>, now: Now) -> RealServerStatus {
    RealServerStatus {
        real_server: dest.key,
        verdict: verdict(known.and_then(|k| k.verdict)),
        weight: dest.weight,
        owed_weight: known.and_then(|k| k.owed),
        drained: known.and_then(|k| k.drained).map(|d| DrainedStatus {
            by: Cow::Borrowed(d.by.as_str()),
            reason: d.reason.map(|r| Cow::Borrowed(r.as_str())).or_else(|| said(known)),
            since_seconds: age(now, d.since),
        }),
        held: known.and_then(held),
        slow_start: known.and_then(|k| k.slow_start).map(|s| SlowStartStatus {
            step: s.step,
            of: s.of,
            ends_in_seconds: s.left.map(seconds),
        }),
        share_percent: known.and_then(|k| k.share).map(Share::as_percent),
        flapping: known.is_some_and(|k| k.flapping),
        ignores_checks: known.is_some_and(|k| k.ignores_checks),
        active_connections: dest.active_connections,
        inactive_connections: dest.inactive_connections,
        persistent_connections: dest.persistent_connections,
        checks: known.map_or(Vec::new(), |k| k.checks.iter().map(|c| check(c, now)).collect()),
    }
}

fn held(known: &RealServerView) -> Option<HeldStatus> {
    let held = known.held?;
    let ends_in_seconds = known.hold_left.map(seconds);
    Some(HeldStatus { reason: Cow::Borrowed(held.reason.as_str()), would: held.would, ends_in_seconds })
}

/// The operator's own words.
fn said(known: Option<&RealServerView>) -> Option<Word> {
    known.and_then(|k| k.said.as_deref()).map(|text| Cow::Owned(text.to_owned()))
}

fn check(view: &CheckView, now: Now) -> CheckStatus {
    let last = view.last.as_ref();
    CheckStatus {
        check: view.check.name.clone(),
        verdict: verdict(view.verdict),
        outcome: last.map(|l| outcome_word(l.outcome)),
        reason: last.and_then(|l| reason_word(l.outcome)),
        detail: last.map(|l| l.detail.to_string()),
        duration_seconds: last.map(|l| seconds(l.duration)),
        last_probe_age_seconds: last.map(|l| age(now, l.at)),
        consecutive: view.last_conclusive.as_ref().map_or(0, |l: &LastProbe| match l.outcome {
            Outcome::Pass => view.consecutive_successes,
            Outcome::Fail(_) => view.consecutive_failures,
            Outcome::Inconclusive(_) => 0,
        }),
        skipped: view.skipped.map(|s| Cow::Borrowed(s.as_str())),
        certificate: view.chain.as_deref().map(|chain| CertificateStatus {
            subject: chain.subject.to_string(),
            not_after_timestamp_seconds: chain.not_after,
            days_left: chain.days_left(now.wall),
        }),
        tripwire: view.tripwire.map(|wire| TripwireStatus {
            armed: wire.armed,
            trips: wire.trips,
            degraded: wire.degraded.map(|why| Cow::Borrowed(why.as_str())),
        }),
        share_percent: view.share.map(Share::as_percent),
    }
}

fn verdict(verdict: Option<Verdict>) -> Word {
    Cow::Borrowed(verdict.map_or("unknown", Verdict::as_str))
}

pub(super) fn outcome_word(outcome: Outcome) -> Word {
    Cow::Borrowed(match outcome {
        Outcome::Pass => "pass",
        Outcome::Fail(_) => "fail",
        Outcome::Inconclusive(_) => "inconclusive",
    })
}

pub(super) fn reason_word(outcome: Outcome) -> Option<Word> {
    match outcome {
        Outcome::Pass => None,
        Outcome::Fail(reason) => Some(Cow::Borrowed(reason.as_str())),
        Outcome::Inconclusive(reason) => Some(Cow::Borrowed(reason.as_str())),
    }
}

pub(super) fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

/// Zero where the wall clock was set back in between; whole microseconds, since a double that counts
/// from 1970 holds no more.
fn age(now: Now, moment: Wall) -> f64 {
    let age = finite(now.wall.0 - moment.0).max(0.0);
    (age * 1e6).round() / 1e6
}

/// JSON has no infinity and no NaN; both would come out as null.
fn finite(value: f64) -> f64 {
    if value.is_finite() { value } else { 0.0 }
}
