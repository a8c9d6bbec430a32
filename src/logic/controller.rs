//! The one owner of the agent's state: events in, commands out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::alarms::Alarms;
use super::batch::{CHANGES_PER_CYCLE, Turns};
use super::event::{Command, Event, Note, TargetId};
use super::guard::Suspicion;
use super::hand::Pending;
use super::keeper::Keeper;
use super::ledger::{Ledger, Origin};
use super::pause::Watch;
use super::probes::Probes;
use super::service::{ServiceState, count};
use super::share::Wants;
use super::source_ports::PortWatch;
use super::stop::Stop;
use super::vips::Vips;
use crate::model::{
    ConfigFacts, DestKey, Direction, DriftKind, Histogram, Mono, Now, Policy, ProbeLimit, ProbeReport,
    ReadFailure, ServiceKey, SkipReason, Snapshot, SourcePorts, Verdict, Wall, WeightChange,
};

/// A snapshot older than this many polls is neither written on nor exported.
pub const POLLS_FRESH: u32 = 3;

/// What the controller is started with.
#[derive(Debug, Clone)]
pub struct Start {
    pub policy: Arc<Policy>,
    /// 48 bits, of the effective configuration.
    pub config_hash: u64,
    /// What the state file held; an error names the file and the way out.
    pub ledger: Result<Option<Ledger>, String>,
    /// The state directory could not be opened: it is tried again, and that is why there is no ledger.
    pub ledger_opens_later: bool,
    pub origin: Origin,
    /// Differs between directors: their probes must not march in step.
    pub seed: u64,
    pub probe_limit: ProbeLimit,
    /// Idle connections held for tripwires.
    pub wires_limit: usize,
    pub source_ports: SourcePorts,
}

#[derive(Debug)]
pub struct Controller {
    pub(super) policy: Arc<Policy>,
    pub(super) config: ConfigFacts,
    pub(super) keeper: Keeper,
    pub(super) probes: Probes,
    pub(super) services: BTreeMap<ServiceKey, ServiceState>,
    pub(super) snapshot: Option<Arc<Snapshot>>,
    pub(super) read_failure: Option<ReadFailure>,
    /// When the last read ended, well or not.
    pub(super) last_read: Option<Mono>,
    pub(super) reading: Option<Mono>,
    pub(super) next_read: Mono,
    pub(super) first_read: Option<Mono>,
    pub(super) cycle: Cycle,
    pub(super) changes_per_cycle: usize,
    pub(super) turns: Turns,
    /// Since when changes wait for the limit.
    pub(super) limited_since: Option<Mono>,
    /// Services that were written to and not read since: their rows in the snapshot are of before.
    pub(super) unclear: BTreeSet<ServiceKey>,
    pub(super) suspicion: Suspicion,
    pub(super) port_watch: PortWatch,
    pub(super) vips: Vips,
    /// Services to be planned anew.
    pub(super) dirty: BTreeSet<ServiceKey>,
    /// The next step of a ramp, the end of a hold-down or of flapping, by service.
    pub(super) alarms: Alarms,
    /// Ledger entries whose real server was missing from the last read; gone if missing again (trap 3).
    pub(super) absent: BTreeSet<(ServiceKey, DestKey)>,
    /// Entries that we may not touch and have said so.
    pub(super) noted_unmanaged: BTreeSet<(ServiceKey, DestKey)>,
    /// Virtual servers that the configuration names and the table lacks.
    pub(super) missing: BTreeSet<ServiceKey>,
    pub(super) drift: BTreeMap<DriftKind, u64>,
    /// Checks of real servers that are not probed, by reason; counted when it is found.
    pub(super) skipped: BTreeMap<SkipReason, u64>,
    pub(super) reconcile_duration: Histogram,
    pub(super) last_reconcile: Option<Wall>,
    pub(super) decision_apply_duration: Histogram,
    /// Drains of an earlier run that were not seen in the table yet.
    pub(super) adopting: BTreeSet<(ServiceKey, DestKey)>,
    /// Requests by hand that wait for the disk.
    pub(super) hands: Vec<Pending>,
    /// Weights of services that are not configured, wanted back by hand.
    pub(super) handing_back: BTreeSet<(ServiceKey, DestKey)>,
    /// When the present cycle began.
    pub(super) reconcile_started: Option<Mono>,
    pub(super) stop: Stop,
    view_wanted: bool,
    /// The read that the wanted view waits for has ended.
    pub(super) view_due: bool,
    pub(super) generation: u64,
    pub(super) watch: Watch,
}

/// Where the way from a plan to the kernel stands. Nothing is planned while one is under way.
#[derive(Debug, Default)]
pub(super) enum Cycle {
    #[default]
    Idle,
    /// The ledger that holds these drains is on its way to the disk.
    Saving {
        generation: u64,
        changes: Changes,
        since: Mono,
    },
    Writing {
        changes: Changes,
        since: Mono,
    },
}

pub(super) type Changes = BTreeMap<(ServiceKey, DestKey), (WeightChange, Direction)>;

impl Cycle {
    pub(super) fn changes(&self) -> Option<&Changes> {
        match self {
            Cycle::Idle => None,
            Cycle::Saving { changes, .. } | Cycle::Writing { changes, .. } => Some(changes),
        }
    }
}

impl Controller {
    pub fn new(start: Start, now: Now) -> Controller {
        let mut keeper = Keeper::new(start.ledger, start.origin, now, start.policy.ledger_max_age);
        if start.ledger_opens_later {
            keeper.open_later(now.mono);
        }
        Controller {
            config: ConfigFacts {
                last_load_successful: true,
                last_success: now.wall,
                hash: start.config_hash,
            },
            policy: start.policy,
            probes: Probes::new(start.seed, start.probe_limit, start.wires_limit),
            services: BTreeMap::new(),
            snapshot: None,
            read_failure: None,
            last_read: None,
            reading: None,
            next_read: now.mono,
            first_read: None,
            cycle: Cycle::Idle,
            changes_per_cycle: CHANGES_PER_CYCLE,
            turns: Turns::default(),
            limited_since: None,
            unclear: BTreeSet::new(),
            suspicion: Suspicion::default(),
            port_watch: PortWatch::new(start.source_ports),
            vips: Vips::default(),
            dirty: BTreeSet::new(),
            alarms: Alarms::default(),
            absent: BTreeSet::new(),
            noted_unmanaged: BTreeSet::new(),
            missing: BTreeSet::new(),
            drift: BTreeMap::new(),
            skipped: BTreeMap::new(),
            reconcile_duration: Histogram::default(),
            last_reconcile: None,
            decision_apply_duration: Histogram::default(),
            adopting: keeper.entries().map(|(key, _)| *key).collect(),
            keeper,
            hands: Vec::new(),
            handing_back: BTreeSet::new(),
            reconcile_started: None,
            stop: Stop::No,
            view_wanted: false,
            view_due: false,
            generation: 0,
            watch: Watch::default(),
        }
    }

    /// Takes in one event and says what to do.
    pub fn step(&mut self, event: Event, now: Now) -> Vec<Command> {
        let mut out = Vec::new();
        self.look_for_gaps(now, &mut out);
        match event {
            Event::Tick => {}
            Event::PolicyLoaded { policy, hash, source_ports } => {
                self.port_watch = PortWatch::new(source_ports);
                self.policy_loaded(policy, hash, now, &mut out);
            }
            Event::PolicyRefused => self.config.last_load_successful = false,
            Event::TableRead(result) => self.table_read(result, now, &mut out),
            Event::ProbeEnded { id, report } => self.probe_ended(id, &report, now, &mut out),
            Event::WireArmed(wire) => self.probes.wire_armed(wire, now.mono),
            Event::WireEnded { wire, end } => self.probes.wire_ended(wire, end, now.mono),
            Event::LedgerSaved { generation, result } => self.ledger_saved(generation, result, now, &mut out),
            Event::LedgerOpened { result, again } => self.ledger_opened(result, again, now, &mut out),
            Event::WeightsSet(report) => self.weights_set(report, now, &mut out),
            Event::Hand { id, request } => self.hand(id, &request, now, &mut out),
            Event::Addresses(result) => self.vips.addresses(result, &self.policy, now, &mut out),
            Event::Stopping => self.stop(),
            Event::ViewWanted { max_age } => self.view_wanted(max_age, now, &mut out),
        }
        self.suspect(&mut out);
        if self.stopping() {
            self.give_back_at_stop(now, &mut out);
        } else {
            self.read_if_due(now, &mut out);
            self.dirty.extend(self.alarms.due(now.mono));
            self.plan_dirty(now, &mut out);
            self.probes.start_due(now.mono, &mut out);
            self.probes.arm_due(now.mono, &mut out);
        }
        self.keeper.save_if_due(now, self.policy.ledger_max_age, &mut out);
        if std::mem::take(&mut self.view_due) && std::mem::take(&mut self.view_wanted) {
            out.push(Command::Publish(Arc::new(self.view(now))));
        }
        self.watch.promised = self.next_wake();
        out
    }

    /// When to call [`Controller::step`] again with [`Event::Tick`], if nothing happens before.
    pub fn next_wake(&self) -> Option<Mono> {
        if self.stopping() {
            // Nothing new is begun, so what is due would be due for ever.
            return [self.keeper.retry_at(), self.wake_at_stop()].into_iter().flatten().min();
        }
        let read = (self.polls() && self.reading.is_none()).then_some(self.next_read);
        let keeper = [self.keeper.retry_at(), self.keeper.past_at()];
        let waits = [read, self.probes.next_due(), self.probes.next_arming(), self.alarms.next()];
        keeper.into_iter().chain(waits).flatten().min()
    }

    /// True if no write is under way, nothing waits to be given back at the end, and the disk has all
    /// that there is to have.
    pub fn at_rest(&self) -> bool {
        self.cycle.changes().is_none() && self.keeper.at_rest() && self.all_given_back()
    }

    pub fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    pub fn snapshot(&self) -> Option<&Arc<Snapshot>> {
        self.snapshot.as_ref()
    }

    pub fn read_failure(&self) -> Option<&ReadFailure> {
        self.read_failure.as_ref()
    }

    /// Services are managed, or what was taken of earlier ones is still out.
    fn attends(&self) -> bool {
        !self.policy.services.is_empty() || !self.keeper.is_empty()
    }

    /// The table is polled where something is attended to, and read once in any case; else when asked.
    fn polls(&self) -> bool {
        self.attends() || self.last_read.is_none()
    }

    pub(super) fn read_if_due(&mut self, now: Now, out: &mut Vec<Command>) {
        if self.polls() && self.next_read <= now.mono {
            self.start_read(now.mono, out);
        }
    }

    pub(super) fn start_read(&mut self, now: Mono, out: &mut Vec<Command>) {
        if self.reading.is_none() {
            self.reading = Some(now);
            out.push(Command::ReadTable);
        }
    }

    fn view_wanted(&mut self, max_age: Duration, now: Now, out: &mut Vec<Command>) {
        self.view_wanted = true;
        self.view_due = self.last_read.is_some_and(|read| now.mono.since(read) <= max_age);
        if !self.view_due {
            self.start_read(now.mono, out);
        }
    }

    fn policy_loaded(&mut self, policy: Arc<Policy>, hash: u64, now: Now, out: &mut Vec<Command>) {
        self.policy = policy;
        self.config = ConfigFacts { last_load_successful: true, last_success: now.wall, hash };
        self.vips.take_up(&self.policy);
        self.missing.clear();
        self.noted_unmanaged.clear();
        let policy = self.policy.clone();
        for (key, state) in &mut self.services {
            state.policy = policy.service_for(key);
            state.introduced = false;
        }
        if let Some(snapshot) = self.snapshot.clone() {
            self.take_in(&snapshot, now, out);
        }
        self.next_read = now.mono;
    }

    fn probe_ended(&mut self, id: TargetId, report: &ProbeReport, now: Now, out: &mut Vec<Command>) {
        let report = &*self.probes.excused(id, report);
        let Some(target) = self.probes.ended(id, report, now.mono) else { return };
        let users: Vec<_> = target.users.iter().copied().collect();
        let phases = target.target.spec.kind.phases();
        let mut counted = None;
        for (service, dest) in users {
            let Some(state) = self.services.get_mut(&service) else { continue };
            // Users are sorted by service: a service that uses the target twice counts it once.
            if counted.replace(service) != Some(service) {
                count(state, report, phases);
            }
            let Some(dest_state) = state.dests.get_mut(&dest) else { continue };
            let (before, said) = (dest_state.lately, dest_state.share);
            let verdict_before = dest_state.verdict;
            let changed = dest_state.judge(&self.probes, now.mono);
            if dest_state.share != said {
                self.dirty.insert(service);
                if dest_state.verdict == Some(Verdict::Up) {
                    dest_state.decided.get_or_insert(now.mono);
                }
                if Wants::of(said) != Wants::of(dest_state.share) {
                    let share = dest_state.share;
                    out.push(Command::Log(Note::ShareChanged { service, dest, share }));
                }
            }
            if (changed || dest_state.share != said) && dest_state.ends_yielding(verdict_before) {
                self.keeper.stop_yielding(&(service, dest));
            }
            if changed {
                self.dirty.insert(service);
                if let Some(verdict) = dest_state.verdict {
                    let cause = cause(&self.probes, id, report);
                    out.push(Command::Log(Note::VerdictChanged { service, dest, verdict, cause }));
                }
            } else if dest_state.lately != before && dest_state.verdict != Some(Verdict::Up) {
                // In need the first pass counts, and then a whole run of failures (trap 56).
                dest_state.decided.get_or_insert(now.mono);
                self.dirty.insert(service);
            } else if dest_state.contest.counts() {
                // Enough fresh failures may have come together with this one.
                self.dirty.insert(service);
            }
        }
    }

    /// The last whole read is too old to be written on or shown.
    pub(super) fn stale(&self, now: Mono) -> bool {
        let limit = self.policy.poll_interval * POLLS_FRESH;
        match &self.snapshot {
            None => true,
            // Where nothing is attended to nothing is polled: a scrape reads anew, and what it got is fresh.
            Some(_) if !self.attends() && self.read_failure.is_none() => {
                // Unless the kernel does not answer.
                self.reading.is_some_and(|since| now.since(since) > limit)
            }
            Some(snapshot) => now.since(snapshot.taken.mono) > limit,
        }
    }
}

/// The deciding probe in words.
fn cause(probes: &Probes, id: TargetId, report: &ProbeReport) -> String {
    let kind = probes.get(id).map_or("", |t| t.target.spec.kind.as_str());
    let word = match report.outcome {
        crate::model::Outcome::Pass => "pass",
        crate::model::Outcome::Fail(reason) => reason.as_str(),
        crate::model::Outcome::Inconclusive(reason) => reason.as_str(),
    };
    if report.detail.is_empty() {
        format!("{kind}: {word}")
    } else {
        format!("{kind}: {word}: {}", report.detail)
    }
}
