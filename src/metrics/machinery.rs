//! The shell's own counters, which no [`View`](crate::model::View) holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use prometheus_client::metrics::gauge::Gauge;

use super::process::{ProcessFacts, ProcessSource};
use super::selection::Dropped;
use crate::model::{NetlinkTelemetry, SharedTelemetry};

/// Shared between the parts of the shell that count and the exporter that reads; clones are the same.
#[derive(Debug, Clone)]
pub struct Machinery {
    telemetry: SharedTelemetry,
    http_requests_in_flight: Gauge,
    process: ProcessSource,
    /// The limit of series bites, and the log has it.
    dropping: Arc<AtomicBool>,
}

impl Machinery {
    pub fn new(telemetry: SharedTelemetry) -> Machinery {
        Machinery {
            telemetry,
            http_requests_in_flight: Gauge::default(),
            process: ProcessSource::new(),
            dropping: Arc::default(),
        }
    }

    /// Incremented when a request arrives, decremented when its answer is out.
    pub fn http_requests_in_flight(&self) -> &Gauge {
        &self.http_requests_in_flight
    }

    /// Says once that series are left out, until none are.
    pub(super) fn note_dropped(&self, dropped: &Dropped, limit: usize) {
        let total = dropped.total();
        if !self.dropping.swap(total > 0, Ordering::Relaxed) && total > 0 {
            let groups = dropped.groups();
            tracing::warn!(
                series = total,
                groups,
                limit,
                "there are more series than --metrics.max-series: whole groups are left out"
            );
        }
    }

    /// A copy of everything, for one scrape.
    pub(super) fn facts(&self) -> MachineryFacts {
        MachineryFacts {
            netlink: self.telemetry.lock().clone(),
            http_requests_in_flight: self.http_requests_in_flight.get(),
            process: self.process.read(),
        }
    }
}

#[derive(Debug)]
pub(super) struct MachineryFacts {
    pub(super) netlink: NetlinkTelemetry,
    pub(super) http_requests_in_flight: i64,
    /// `None`: could not be read; the reason is in the log.
    pub(super) process: Option<ProcessFacts>,
}
