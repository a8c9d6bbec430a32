//! The shell's own counters, which no [`View`](crate::model::View) holds.

use prometheus_client::metrics::gauge::Gauge;

use super::process::{ProcessFacts, ProcessSource};
use crate::model::{NetlinkTelemetry, SharedTelemetry};

/// Shared between the parts of the shell that count and the exporter that reads; clones are the same.
#[derive(Debug, Clone)]
pub struct Machinery {
    telemetry: SharedTelemetry,
    http_requests_in_flight: Gauge,
    process: ProcessSource,
}

impl Machinery {
    pub fn new(telemetry: SharedTelemetry) -> Machinery {
        Machinery { telemetry, http_requests_in_flight: Gauge::default(), process: ProcessSource::new() }
    }

    /// Incremented when a request arrives, decremented when its answer is out.
    pub fn http_requests_in_flight(&self) -> &Gauge {
        &self.http_requests_in_flight
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
