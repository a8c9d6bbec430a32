//! Counters that the netlink worker keeps and the exporter reads.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Histogram;

/// Commands are the lower-case names of the kernel's: `get_service`, `get_dest`, `set_dest`, …
#[derive(Debug, Clone, Default)]
pub struct NetlinkTelemetry {
    pub requests: BTreeMap<&'static str, u64>,
    /// By command and errno name (`ENOENT`).
    pub errors: BTreeMap<(&'static str, String), u64>,
    pub durations: BTreeMap<&'static str, Histogram>,
    /// Dumps found inconsistent (flag or own checks).
    pub dumps_interrupted: u64,
    pub dumps_retried: u64,
    /// ENOBUFS.
    pub overruns: u64,
}

/// Shared between the worker (writes) and the exporter (reads); locked for moments only.
#[derive(Debug, Clone, Default)]
pub struct SharedTelemetry(Arc<Mutex<NetlinkTelemetry>>);

impl SharedTelemetry {
    pub fn lock(&self) -> MutexGuard<'_, NetlinkTelemetry> {
        // Plain counters: after a panic elsewhere they are still what they were.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
