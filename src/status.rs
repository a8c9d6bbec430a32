//! The JSON of the API: `/api/v1/status`, `/api/v1/probe`, `/api/v1/drain`, `/api/v1/undrain` and
//! `/-/reload`, as the agent writes it and as the commands read it, from this agent or from one of another version.
//!
//! Stable and additive. Words of closed enums travel as text and unknown fields are ignored, so that
//! directors of different versions can be compared in the middle of an upgrade.

mod convert;
mod hand;
mod probe;
mod reload;
#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::model::{DestKey, ServiceKey, Weight};

pub use convert::Rows;
pub use hand::*;
pub use probe::*;
pub use reload::ReloadAnswer;

/// A word of a closed enum of some version of the agent.
pub type Word = Cow<'static, str>;

/// The answer of `/api/v1/status`. `V` is the list of virtual servers: [`Rows`] writes them one by
/// one straight from a view, so that a big table is never in memory a second time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status<V = Vec<VirtualServerStatus>> {
    pub version: String,
    /// `enforce`, `observe` or `exporter`.
    pub mode: Word,
    #[serde(default)]
    pub ready: bool,
    /// What is still missing, unless ready.
    #[serde(default)]
    pub not_ready_reason: Option<String>,
    /// At least one virtual address is on this director, or none is known; `None`: not known yet.
    #[serde(default)]
    pub director_active: Option<bool>,
    /// `None`: there is no table.
    pub snapshot_age_seconds: Option<f64>,
    #[serde(default)]
    pub ipvs: IpvsStatus,
    #[serde(default)]
    pub ledger: LedgerStatus,
    pub virtual_servers: V,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct IpvsStatus {
    pub up: bool,
    /// Why the last read failed.
    #[serde(default)]
    pub error: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LedgerStatus {
    /// Weights taken and not yet given back.
    pub entries: usize,
    #[serde(default)]
    pub error: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VirtualServerStatus {
    pub virtual_server: ServiceKey,
    pub name: String,
    pub scheduler: String,
    /// The forwarding methods of its real servers, sorted, each once.
    pub forwarding: Vec<Word>,
    pub managed: bool,
    /// The scheduler refuses the clients of a real server at weight 0 instead of moving them.
    #[serde(default)]
    pub refuses_at_zero: bool,
    /// `None` where unmanaged; so are all the others that may be missing here.
    pub up: Option<bool>,
    #[serde(default)]
    pub mode: Option<Word>,
    /// What becomes of a failing real server: `weight-0` or `observe`.
    #[serde(default)]
    pub on_failure: Option<Word>,
    #[serde(default)]
    pub quorum: Option<u32>,
    pub floor: Option<usize>,
    /// Weight of the usable servers / owed weight of all that are not out by hand.
    #[serde(default)]
    pub capacity: Option<f64>,
    pub real_servers: Vec<RealServerStatus>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RealServerStatus {
    pub real_server: DestKey,
    /// `up`, `down` or `unknown`.
    pub verdict: Word,
    /// In the kernel.
    pub weight: Weight,
    /// `None`: never seen above 0, or unmanaged.
    pub owed_weight: Option<Weight>,
    pub drained: Option<DrainedStatus>,
    pub held: Option<HeldStatus>,
    /// In with a part of its owed weight.
    #[serde(default)]
    pub slow_start: Option<SlowStartStatus>,
    /// What it says that it wants of its owed weight, in percent; only where it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share_percent: Option<u8>,
    /// More than 6 changes of the verdict in 30 minutes.
    #[serde(default)]
    pub flapping: bool,
    /// `undrain --ignore-checks`: it stays in whatever its checks say.
    #[serde(default)]
    pub ignores_checks: bool,
    pub active_connections: u32,
    pub inactive_connections: u32,
    pub persistent_connections: u32,
    #[serde(default)]
    pub checks: Vec<CheckStatus>,
}

impl RealServerStatus {
    /// Takes new connections: weight > 0 and not judged down.
    pub fn usable(&self) -> bool {
        !self.weight.is_zero() && self.verdict != "down"
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DrainedStatus {
    pub by: Word,
    /// What the checks said when it was taken out, or what the operator gave as his reason.
    pub reason: Option<Word>,
    pub since_seconds: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeldStatus {
    pub reason: Word,
    /// The weight it would get.
    pub would: Weight,
    /// Only where time alone ends it: `hold_down`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_in_seconds: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SlowStartStatus {
    pub step: u32,
    pub of: u32,
    /// `None`: it is not up, and stays at this step.
    pub ends_in_seconds: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckStatus {
    pub check: String,
    pub verdict: Word,
    /// Of the last probe: `pass`, `fail` or `inconclusive`; `None` before the first.
    #[serde(default)]
    pub outcome: Option<Word>,
    /// Why the last probe did not pass.
    pub reason: Option<Word>,
    /// What exactly it found, for people.
    #[serde(default)]
    pub detail: Option<String>,
    pub duration_seconds: Option<f64>,
    pub last_probe_age_seconds: Option<f64>,
    /// How many conclusive probes in a row came to what the last of them did.
    pub consecutive: u32,
    /// Why it is not probed at all.
    #[serde(default)]
    pub skipped: Option<Word>,
    /// The certificates that the server presented last; only where it presented some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateStatus>,
    /// Only where the check has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tripwire: Option<TripwireStatus>,
    /// What the server said at its last pass; only where it says such things.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share_percent: Option<u8>,
}

/// The idle connection whose end has the server probed at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TripwireStatus {
    /// It is held now.
    pub armed: bool,
    pub trips: u64,
    /// Why it is of little use: `closed`, `refused`, `talks`, `fd_limit`, `local_error`.
    pub degraded: Option<Word>,
}

/// Of the chain as presented, the certificate that ends first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateStatus {
    pub subject: String,
    pub not_after_timestamp_seconds: i64,
    /// Whole days, rounded down: negative once it has expired.
    pub days_left: i64,
}
