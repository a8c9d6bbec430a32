//! The exposition: one [`View`] in, OpenMetrics 1.0.0 or the Prometheus text format 0.0.4 out.
//!
//! Each scrape encodes an ephemeral registry whose one collector holds one immutable view and one
//! copy of the shell's counters: families of a scrape never disagree, and the series of a removed
//! real server end with its row. Every metric is in the [`catalogue`]; nothing else can be emitted.

mod agent;
mod catalogue;
mod exposition;
mod health;
mod kernel;
mod machinery;
mod process;
mod rows;
mod selection;
mod text004;
mod vips;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::Registry;

pub use catalogue::{Kind, Metric, Stability, Unit, catalogue};
pub use machinery::Machinery;
pub use process::ProcessError;
pub use selection::{Part, Selection, SeriesGroup};

use crate::model::View;
use exposition::Families;
use machinery::MachineryFacts;
use selection::Dropped;
use text004::Text004;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// OpenMetrics 1.0.0, for every scraper that accepts it.
    OpenMetrics,
    /// The Prometheus text format 0.0.4, for everybody else.
    Text004,
}

impl Format {
    pub fn content_type(self) -> &'static str {
        match self {
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::Text004 => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("writing the metric family `{family}` failed: whoever reads the exposition took no more of it")]
pub struct EncodeError {
    /// The family that was being written.
    pub family: &'static str,
}

/// Writes the whole exposition of `view` to `out`, piece by piece: it never exists in memory.
pub fn encode(
    view: &Arc<View>,
    machinery: &Machinery,
    format: Format,
    out: &mut dyn fmt::Write,
) -> Result<(), EncodeError> {
    encode_selected(view, machinery, format, &Selection::default(), out)
}

/// As [`encode`], of what `selection` shows.
///
/// The view is shared because the crate's registry owns its collectors; it is not copied.
pub fn encode_selected(
    view: &Arc<View>,
    machinery: &Machinery,
    format: Format,
    selection: &Selection,
    out: &mut dyn fmt::Write,
) -> Result<(), EncodeError> {
    let progress = Progress::default();
    let mut registry = Registry::default();
    let mut scrape = Scrape {
        view: Arc::clone(view),
        machinery: machinery.facts(),
        progress: progress.clone(),
        selection: selection.clone(),
        dropped: Dropped::default(),
    };
    scrape.limit();
    machinery.note_dropped(&scrape.dropped, selection.max_series);
    registry.register_collector(Box::new(scrape));
    let written = match format {
        Format::OpenMetrics => text::encode(&mut { out }, &registry),
        Format::Text004 => {
            let mut adapter = Text004::new(out);
            text::encode(&mut adapter, &registry).and_then(|()| adapter.finish())
        }
    };
    written.map_err(|fmt::Error| EncodeError { family: progress.family() })
}

/// All that one scrape shows.
#[derive(Debug)]
struct Scrape {
    view: Arc<View>,
    machinery: MachineryFacts,
    progress: Progress,
    selection: Selection,
    dropped: Dropped,
}

impl Scrape {
    fn families(&self, out: &mut Families) -> fmt::Result {
        kernel::encode(out, &self.view)?;
        health::encode(out, &self.view)?;
        agent::encode(out, &self.view, &self.machinery, &self.dropped)?;
        process::encode(out, &self.machinery)
    }

    /// Finds out what has to be left out, if there may be too much at all.
    fn limit(&mut self) {
        if selection::at_most(&self.view) <= self.selection.max_series {
            return;
        }
        let mut families = Families::counting(&self.selection);
        // Counting writes nowhere, so nothing can fail.
        let _ = self.families(&mut families);
        self.dropped = families.counted().over(self.selection.max_series);
    }
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        self.families(&mut Families::new(encoder, &self.progress, &self.selection, &self.dropped))
    }
}

/// The family being written: a `fmt::Error` says nothing, so the name is kept beside it.
#[derive(Debug, Clone, Default)]
struct Progress(Arc<Mutex<Option<&'static Metric>>>);

impl Progress {
    fn begin(&self, metric: &'static Metric) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(metric);
    }

    fn family(&self) -> &'static str {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).map_or("(none)", |metric| metric.name)
    }
}
