//! A schedule as data: the table and the configuration at the start, what happens when, and what must
//! then be true. `text` writes and reads it, `draw` makes it from a seed, `engine` runs it.

use std::net::IpAddr;
use std::time::Duration;

use crate::logic::probes::User;
use crate::logic::world::NEVER_SUSPECT;
use crate::model::{
    DestKey, DrainedBy, FailReason, Floor, HeldReason, LocalReason, Mode, Mono, OnFailure, Outcome,
    ServiceKey, Verdict,
};

/// An enum whose variants are words of the language.
macro_rules! spoken {
    ($name:ident { $($(#[$meta:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($(#[$meta])* $variant),+ }

        impl $name {
            pub const ALL: [$name; [$($name::$variant),+].len()] = [$($name::$variant),+];

            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

#[derive(Debug, Clone, PartialEq)]
pub struct Script {
    /// How long each command takes, and which ones go wrong, is drawn from it. Without one every
    /// command takes a millisecond.
    pub seed: Option<u64>,
    pub suspect_self_percent: u8,
    pub restore_on_exit: bool,
    /// `None`: as many as usual.
    pub changes_per_cycle: Option<usize>,
    pub services: Vec<ServiceSetup>,
    /// In the order of their times.
    pub steps: Vec<Step>,
    /// When trouble is over: then all that is broken is mended and everything must come back.
    pub end: Mono,
}

impl Default for Script {
    fn default() -> Script {
        Script {
            seed: None,
            suspect_self_percent: NEVER_SUSPECT,
            restore_on_exit: false,
            changes_per_cycle: None,
            services: Vec::new(),
            steps: Vec::new(),
            end: Mono::ZERO,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct ServiceSetup {
    pub key: ServiceKey,
    pub scheduler: String,
    /// `None`: no `[[service]]` matches it.
    pub rules: Option<Rules>,
    pub rows: Vec<Row>,
}

/// A real server as keepalived's configuration has it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    pub key: DestKey,
    pub weight: u32,
    pub masquerading: bool,
}

/// One `[[service]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    pub floor: Floor,
    pub mode: Mode,
    /// A tcp check for each port; 0 stands for the service's own.
    pub checks: Vec<u16>,
    pub on_failure: Option<OnFailure>,
    pub interval: Duration,
    pub slow_start: Duration,
    pub hold_down: Duration,
    /// Of all its checks.
    pub tripwire: bool,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            floor: Floor::DEFAULT,
            mode: Mode::Enforce,
            checks: vec![0],
            on_failure: None,
            interval: Duration::from_secs(1),
            slow_start: Duration::ZERO,
            hold_down: Duration::ZERO,
            tripwire: false,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub at: Mono,
    pub what: What,
    /// Of the file it was read from.
    pub line: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub enum What {
    Act(Act),
    Expect(When, Expect),
}

spoken! {
    When {
        /// Then.
        At = "at",
        /// At some moment between the step before and then.
        By = "by",
        /// All the time between the step before and then.
        Until = "until",
    }
}

/// What others do, or the machine. One whose condition does not hold (an edit of a real server that
/// is not there, a restart of a living process) is passed over.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// Every port of the real server, or one.
    Fails {
        addr: IpAddr,
        port: Option<u16>,
        outcome: Outcome,
    },
    Passes(IpAddr),
    /// It ends its idle connections.
    Trips(IpAddr),
    /// How much of its weight it says that it wants, in percent; `None`: nothing of that.
    Says(IpAddr, Option<u8>),
    Edit(User, u32),
    Delete(User),
    DeleteService(ServiceKey),
    Add(User, u32),
    /// Deleted and added again between two reads (trap 6).
    ReAdd(User, u32),
    /// The counters of a virtual server begin again, as `ipvsadm -Z` makes them.
    Zeroes(ServiceKey),
    /// keepalived reads its configuration again: the weights as it has them.
    Reload(ServiceKey),
    /// The same, by deleting and adding every real server.
    Rebuild(ServiceKey),
    Drain {
        user: User,
        force: bool,
    },
    Undrain {
        user: User,
        ignore_checks: bool,
    },
    Configure(ServiceKey, Rules),
    Unconfigure(ServiceKey),
    SuspectSelf(u8),
    /// A configuration that cannot be loaded.
    BrokenConfig,
    /// `kill -9`.
    Dies,
    /// A clean stop: what is under way is brought to its end, and then it is no more.
    Stops,
    /// `kill -9` around the n-th next command of this kind.
    DiesAround {
        moment: Moment,
        kind: Kind,
        nth: u32,
    },
    /// The machine comes up again with the table as keepalived builds it; the agent is not started yet.
    Reboots,
    Restarts,
    Faults(Fault, u8),
    NoFaults,
    /// The process stands still; then everything is overdue.
    Pauses(Duration),
    /// The wall clock is set on, or back.
    ClockSteps {
        back: bool,
        by: Duration,
    },
    /// Somebody looks at the status.
    Looks,
    /// The next dump of the table misses this row (trap 3).
    DumpLacks(User),
    /// Right before the next write is made.
    BeforeWrite(Box<Act>),
}

spoken! {
    Moment {
        Before = "before",
        /// Half of a write is made.
        Amid = "amid",
        /// It is done, and never heard of.
        After = "after",
    }
}

spoken! {
    Kind {
        Read = "read",
        Probe = "probe",
        Save = "save",
        Write = "write",
    }
}

spoken! {
    Fault {
        /// Refused or of unknown result, landed or not.
        Writes = "writes",
        WritesRefused = "writes-refused",
        /// Of unknown result, and made all the same.
        WritesLanded = "writes-landed",
        /// Of unknown result, and not made.
        WritesLost = "writes-lost",
        Reads = "reads",
        /// A row is missing, but never in two dumps in a row: that is a deletion.
        Dumps = "dumps",
        Saves = "saves",
        /// The state directory cannot be used; it is tried again.
        Opens = "opens",
        /// Inconclusive: our own lag.
        ProbesLate = "probes-late",
        /// The answer takes up to ten seconds, long enough for its target to be gone.
        ProbesSlow = "probes-slow",
        /// A tripwire's connection is refused, or ends by itself before long.
        Wires = "wires",
        /// Reads, writes and saves take up to three seconds.
        Slow = "slow",
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum Expect {
    Weight(User, u32),
    Owed(User, Option<u32>),
    Verdict(User, Option<Verdict>),
    Drained(User, Option<DrainedBy>),
    Held(User, Option<HeldReason>),
    /// Whether a tripwire is held to it.
    Armed(User, bool),
    LedgerEntries(usize),
    /// Changes of weights by the agent, from the beginning.
    Writes(usize),
    /// A line of the log, named by its kind, and how often (or at least once).
    Noted(String, Option<usize>),
    /// The last answer to a drain or undrain: `ok`, or why it was refused.
    Answered(String),
}

/// The reasons of failed and of impossible probes are different words.
pub fn outcome_of(word: &str) -> Option<Outcome> {
    let failed = FailReason::from_word(word).map(Outcome::Fail);
    failed.or(LocalReason::from_word(word).map(Outcome::Inconclusive))
}

pub fn word_of(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Pass => "pass",
        Outcome::Fail(reason) => reason.as_str(),
        Outcome::Inconclusive(reason) => reason.as_str(),
    }
}
