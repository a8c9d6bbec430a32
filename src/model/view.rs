//! What the agent knows and has decided, at one moment: the one source of the metrics, the API and
//! the status table, so that they never disagree.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{
    ChainExpiry, Check, Connected, DestKey, FailReason, Histogram, LocalReason, Mode, Now, OnFailure,
    Outcome, Phase, Policy, ReadFailure, ServiceKey, Share, SkipReason, Snapshot, TripwireView, VipsView,
    Wall, Weight, words,
};

words! {
    Verdict {
        Up = "up",
        Down = "down",
    }
}

words! {
    /// The exclusive states that the real servers of a service are counted by; first match wins.
    ServerState {
        /// Weight 0 by hand: `lvs-agent drain` or an operator's 0.
        Drained = "drained",
        Down = "down",
        Unknown = "unknown",
        Up = "up",
    }
}

words! {
    /// Who took a real server out (API `drained.by`, metric `reason`).
    DrainedBy {
        Check = "check",
        /// `lvs-agent drain`.
        Operator = "operator",
        /// An operator's 0: weight 0 that we have no record of.
        External = "external",
    }
}

words! {
    /// Why a wanted change is not made; one at a time, the first that applies in this order.
    HeldReason {
        LedgerUnsaved = "ledger_unsaved",
        StaleSnapshot = "stale_snapshot",
        Observe = "observe",
        /// `lvs-agent undrain --ignore-checks`.
        IgnoreChecks = "ignore_checks",
        TugOfWar = "tug_of_war",
        SchedulerRefuses = "scheduler_refuses",
        SuspectSelf = "suspect_self",
        Floor = "floor",
        /// A flapping server, or one that has just come up, waits before it gets its weight back.
        HoldDown = "hold_down",
        /// More changes than one cycle makes; the next ones follow.
        RateLimit = "rate_limit",
    }
}

words! {
    Direction {
        Drain = "drain",
        Restore = "restore",
        Adjust = "adjust",
    }
}

words! {
    /// A difference between the table and what we wrote or were told to expect.
    DriftKind {
        Weight = "weight",
        MissingVirtualServer = "missing_virtual_server",
    }
}

/// Everything, at `now`.
#[derive(Debug, Clone)]
pub struct View {
    pub now: Now,
    /// A counter of views made, for tests and for telling two apart.
    pub generation: u64,
    pub policy: Arc<Policy>,
    pub config: ConfigFacts,
    /// `Err` says what is still missing.
    pub ready: Result<(), String>,
    /// The last whole read; `None` before the first, and once it is older than three polls.
    pub snapshot: Option<Arc<Snapshot>>,
    /// Why the last read failed; `None` if it was whole or there was none yet.
    pub read_failure: Option<ReadFailure>,
    /// The read that this view was to wait for has not ended in time.
    pub overdue: bool,
    /// One for each virtual server of `snapshot`, in its order.
    pub services: Vec<ServiceView>,
    pub ledger: LedgerView,
    pub vips: VipsView,
    pub machinery: MachineryView,
}

impl View {
    /// `ipvs_up`: the last read was whole, and by netlink (or of an embedded table).
    pub fn ipvs_up(&self) -> bool {
        self.read_failure.is_none()
            && self.snapshot.as_ref().is_some_and(|s| s.source != super::TableSource::Proc)
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConfigFacts {
    pub last_load_successful: bool,
    pub last_success: Wall,
    /// 48 bits, exact in a double.
    pub hash: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LedgerView {
    /// Weights taken and not yet given back.
    pub entries: usize,
    pub write_failures: u64,
    /// Why drains are held, if the ledger cannot be read or written: names the file and the way out.
    pub error: Option<String>,
}

/// The controller's own counters (the shell's are in `metrics`).
#[derive(Debug, Clone, Default)]
pub struct MachineryView {
    pub probes_in_flight: usize,
    pub probes_in_flight_limit: usize,
    pub probes_skipped: BTreeMap<SkipReason, u64>,
    pub schedule_lag: Histogram,
    pub reconcile_duration: Histogram,
    pub last_reconcile: Option<Wall>,
    pub decision_apply_duration: Histogram,
    pub drift: BTreeMap<DriftKind, u64>,
}

#[derive(Debug, Clone)]
pub struct ServiceView {
    pub key: ServiceKey,
    /// The configured name, else the key's text.
    pub name: String,
    /// `None`: no `[[service]]` matches; exported, not managed.
    pub managed: Option<ManagedView>,
}

#[derive(Debug, Clone)]
pub struct ManagedView {
    pub mode: Mode,
    /// As the configuration or the scheduler has it.
    pub on_failure: OnFailure,
    /// At least `quorum` real servers are usable: weight > 0 in the kernel and not down.
    pub up: bool,
    pub quorum: u32,
    /// Resolved to a count.
    pub floor: usize,
    pub capacity_low: f64,
    /// Weight of the usable servers / owed weight of all that are not out by hand; `None` where
    /// nothing is owed.
    pub capacity: Option<f64>,
    /// Drains are withheld to keep the floor.
    pub floor_reached: bool,
    /// Real servers that fail their checks but are kept in rotation.
    pub protected: usize,
    pub states: BTreeMap<ServerState, usize>,
    pub weight_changes: BTreeMap<Direction, u64>,
    pub weight_changes_held: BTreeMap<HeldReason, u64>,
    pub inconclusive: BTreeMap<LocalReason, u64>,
    /// Empty where no check keeps connections.
    pub connections: BTreeMap<Connected, u64>,
    /// Only the phases that the checks of this service have.
    pub durations: BTreeMap<Phase, Histogram>,
    pub checks: Vec<Arc<Check>>,
    /// One for each destination, in the snapshot's order.
    pub real_servers: Vec<RealServerView>,
}

#[derive(Debug, Clone)]
pub struct RealServerView {
    pub key: DestKey,
    pub state: ServerState,
    /// `None`: not settled yet.
    pub verdict: Option<Verdict>,
    /// What it says that it wants of what it is owed; `None`: it says nothing of weights.
    pub share: Option<Share>,
    /// In the kernel now.
    pub weight: Weight,
    /// `None`: never seen above 0.
    pub owed: Option<Weight>,
    /// The plan after the guard.
    pub desired: Weight,
    pub drained: Option<Drained>,
    /// What the operator gave as the reason of his drain.
    pub said: Option<Arc<str>>,
    pub held: Option<Held>,
    /// What is left of its hold-down, while that is why it is held.
    pub hold_left: Option<Duration>,
    /// It has a weight, but not yet all that it is owed.
    pub slow_start: Option<SlowStart>,
    /// More changes of the verdict lately than a server should have; hold-downs grow.
    pub flapping: bool,
    /// `undrain --ignore-checks`: it stays in whatever its checks say.
    pub ignores_checks: bool,
    pub verdict_changed: Option<Wall>,
    pub transitions: u64,
    pub downtime: Duration,
    /// One for each check of the service, in its order.
    pub checks: Vec<CheckView>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drained {
    pub by: DrainedBy,
    /// What the checks said when it was taken out.
    pub reason: Option<FailReason>,
    pub since: Wall,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    pub reason: HeldReason,
    pub would: Weight,
}

/// How far a weight has climbed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlowStart {
    pub step: u32,
    pub of: u32,
    /// Until it has all of it; `None`: it is not up, and does not climb.
    pub left: Option<Duration>,
}

#[derive(Debug, Clone)]
pub struct CheckView {
    pub check: Arc<Check>,
    pub verdict: Option<Verdict>,
    pub consecutive_failures: u32,
    pub consecutive_successes: u32,
    /// Probes that came to a pass or a failure.
    pub attempts: u64,
    pub failures: BTreeMap<FailReason, u64>,
    /// The last attempt of any outcome.
    pub last: Option<LastProbe>,
    /// The last attempt that came to a pass or a failure.
    pub last_conclusive: Option<LastProbe>,
    /// What the server said at its last pass that it wants of its weight.
    pub share: Option<Share>,
    /// The certificates that the server presented last.
    pub chain: Option<Arc<ChainExpiry>>,
    /// `None`: it has none.
    pub tripwire: Option<TripwireView>,
    /// Why it is not probed at all.
    pub skipped: Option<SkipReason>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct LastProbe {
    pub outcome: Outcome,
    pub duration: Duration,
    /// When it ended.
    pub at: Wall,
    pub detail: Arc<str>,
    pub http_status: Option<u16>,
}
