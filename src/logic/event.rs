//! Everything that the controller can learn and everything that it can do.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::guard::Tally;
use super::ledger::{Entry, LapseReason, Ledger};
use crate::model::{
    DestKey, Direction, DriftKind, HandDone, HandRefused, HandRequest, HeldReason, LocalAddresses, OnFailure,
    Overuse, Policy, Pool, ProbeReport, ReadFailure, ServiceKey, Share, Snapshot, SourcePorts, Target,
    Verdict, View, Weight, WeightChange, WireEnd, WireTrouble, WriteReport,
};

/// Names a [`Target`] for the time it is probed; never used again for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetId(pub u64);

/// Names one connection of a target's tripwire; never used again for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WireId {
    pub target: TargetId,
    pub turn: u32,
}

#[derive(Debug, Clone)]
pub enum Event {
    /// Time has passed.
    Tick,
    /// A new configuration is in force.
    PolicyLoaded { policy: Arc<Policy>, hash: u64, source_ports: SourcePorts },
    /// A configuration could not be loaded; the old one stays.
    PolicyRefused,
    /// The answer to [`Command::ReadTable`].
    TableRead(Result<Snapshot, ReadFailure>),
    /// The answer to [`Command::Probe`].
    ProbeEnded { id: TargetId, report: ProbeReport },
    /// The answer to [`Command::ArmWire`], where the connection stands.
    WireArmed(WireId),
    /// It does not, or it has ended.
    WireEnded { wire: WireId, end: WireEnd },
    /// The answer to [`Command::SaveLedger`]: on disk (or not, and why).
    LedgerSaved { generation: u64, result: Result<(), String> },
    /// The answer to [`Command::OpenLedger`]: what an earlier run left, or why it cannot be used;
    /// `again`: it may be, later.
    LedgerOpened { result: Result<Option<Ledger>, String>, again: bool },
    /// The answer to [`Command::SetWeights`].
    WeightsSet(WriteReport),
    /// The addresses of this machine, whenever they changed; or why they cannot be followed any more.
    Addresses(Result<Arc<LocalAddresses>, String>),
    /// The agent is to end: what is under way is brought to its end, and nothing new is begun but what
    /// `restore-on-exit` asks for.
    Stopping,
    /// An operator wants a real server out, or back; answered by [`Command::AnswerHand`].
    Hand { id: u64, request: HandRequest },
    /// Somebody wants a view on a table read at most `max_age` ago.
    ViewWanted { max_age: Duration },
}

#[derive(Debug, Clone)]
pub enum Command {
    ReadTable,
    Probe {
        id: TargetId,
        target: Arc<Target>,
    },
    /// Connect and hold it; said by [`Event::WireArmed`] and [`Event::WireEnded`].
    ArmWire {
        wire: WireId,
        target: Arc<Target>,
    },
    /// Close it; nothing more is wanted of it.
    DropWire(WireId),
    /// Write, fsync, rename, fsync the directory; at most one is under way.
    SaveLedger {
        generation: u64,
        ledger: Arc<Ledger>,
    },
    /// Lock the state directory, which could not be used so far, and load the ledger.
    OpenLedger,
    /// The only way to the kernel's weights; at most one is under way.
    SetWeights(Vec<WeightChange>),
    /// Answers every [`Event::ViewWanted`] so far.
    Publish(Arc<View>),
    /// The answer to [`Event::Hand`]: what is done in each service, on disk by now; or why nothing is.
    AnswerHand {
        id: u64,
        result: Result<Vec<HandDone>, HandRefused>,
    },
    Log(Note),
}

/// The word that tests have for it.
#[cfg(test)]
pub fn kind(command: &Command) -> &'static str {
    match command {
        Command::ReadTable => "read",
        Command::Probe { .. } => "probe",
        Command::ArmWire { .. } => "arm",
        Command::DropWire(_) => "drop",
        Command::SaveLedger { .. } => "save",
        Command::OpenLedger => "open",
        Command::SetWeights(_) => "write",
        Command::Publish(_) => "publish",
        Command::AnswerHand { .. } => "answer",
        Command::Log(_) => "log",
    }
}

/// A decision or an observation that goes to the log.
#[derive(Debug, Clone, PartialEq)]
pub enum Note {
    VerdictChanged {
        service: ServiceKey,
        dest: DestKey,
        verdict: Verdict,
        cause: String,
    },
    /// A real server wants all of its weight, or no longer, or none of it any more.
    ShareChanged {
        service: ServiceKey,
        dest: DestKey,
        /// `None`: it says nothing of weights any more.
        share: Option<Share>,
    },
    /// The connection of a tripwire ended by the server's doing: it is probed at once.
    Tripped {
        target: Arc<Target>,
    },
    /// A tripwire is of little use: from now on probes alone tell, mostly.
    TripwireDegraded {
        target: Arc<Target>,
        trouble: WireTrouble,
    },
    WeightChanged {
        change: WeightChange,
        direction: Direction,
    },
    WriteFailed {
        change: WeightChange,
        cause: String,
    },
    Held {
        service: ServiceKey,
        dest: DestKey,
        reason: HeldReason,
        from: Weight,
        would: Weight,
    },
    /// More changes are due than one cycle makes; the next ones make the others.
    RateLimited {
        waiting: usize,
        per_cycle: usize,
    },
    /// The last of them are being made.
    RateLimitOver {
        after: Duration,
    },
    /// Somebody else changed a weight that we had a say in.
    ChangedByOthers {
        service: ServiceKey,
        dest: DestKey,
        expected: Weight,
        found: Weight,
    },
    /// The real server was taken out and added again, with another weight than the one we wrote (trap 6).
    AddedAgain {
        service: ServiceKey,
        dest: DestKey,
        expected: Weight,
        found: Weight,
    },
    /// We were woken so much later than asked for: stopped, starved or paused.
    Paused {
        gap: Duration,
    },
    /// The wall clock went that much further than time, or back.
    ClockStepped {
        seconds: f64,
    },
    /// A verdict has begun to flap, or stopped.
    Flapping {
        service: ServiceKey,
        dest: DestKey,
        flaps: bool,
    },
    /// The table is read again, after failures.
    TableBack,
    TableLost(ReadFailure),
    /// A virtual address came to this director, or left it.
    VipMoved {
        addr: IpAddr,
        present: bool,
    },
    AddressesLost(String),
    AddressesBack,
    Drift {
        kind: DriftKind,
        service: ServiceKey,
    },
    /// A check has no port to probe there.
    NoPort {
        service: ServiceKey,
        check: String,
    },
    /// Weight 0 refuses clients under this service's scheduler, and what is done about failing servers.
    RefusesAtZero {
        service: ServiceKey,
        scheduler: String,
        on_failure: OnFailure,
    },
    /// Probes of one destination may use up the ports to leave from.
    FewSourcePorts(Overuse<Pool>),
    /// Nearly all targets fail at once: no weight is taken until that is over (trap 26).
    SuspectsItself(Tally),
    SuspicionOver(Tally),
    LedgerUnsaved {
        error: String,
    },
    LedgerSavedAgain,
    /// What an earlier run took is still out and is given back when its checks pass.
    Adopted {
        service: ServiceKey,
        dest: DestKey,
        entry: Entry,
    },
    /// An entry was dropped because somebody gave the weight back, or the server is gone.
    EntryDropped {
        service: ServiceKey,
        dest: DestKey,
        why: &'static str,
    },
    EntryLapsed {
        service: ServiceKey,
        dest: DestKey,
        owed: Weight,
        reason: LapseReason,
    },
    /// A request by hand was taken on.
    ByHand {
        done: HandDone,
        /// `drain` or `undrain`.
        order: &'static str,
        said: Option<Arc<str>>,
    },
    /// Somebody else raised a weight over a drain by hand twice, and so ended it.
    HandDrainEnded {
        service: ServiceKey,
        dest: DestKey,
        found: Weight,
    },
    /// The agent ends, and this many weights stay taken.
    LeftAtStop {
        taken: usize,
    },
    /// `restore-on-exit`: so many weights were given back, could not be, and were not to be.
    GaveBackAtStop {
        given: usize,
        missed: usize,
        kept: usize,
    },
    /// It should have been given back at the end.
    NotGivenBack {
        service: ServiceKey,
        dest: DestKey,
        owed: Weight,
    },
    /// We hold a weight of a service that is no longer configured, or is now in observe mode.
    HeldButNotManaged {
        service: ServiceKey,
        dest: DestKey,
        owed: Weight,
    },
}
