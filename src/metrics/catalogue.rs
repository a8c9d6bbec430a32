//! The one list of every metric: what is not here cannot be emitted, and docs/metrics.md is this.

mod table;

use prometheus_client::metrics::MetricType;
use prometheus_client::registry;

pub(super) use table::*;

/// Every metric, in the order of the exposition.
pub fn catalogue() -> &'static [Metric] {
    table::ALL
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// As queries write it. Of a histogram without `_bucket`, `_sum` and `_count`.
    pub name: &'static str,
    pub kind: Kind,
    pub unit: Unit,
    /// In the order of the rows.
    pub labels: &'static [&'static str],
    /// The HELP text; ends with the source in parentheses. Neither format's escapes occur in it.
    pub help: &'static str,
    /// Where the value comes from.
    pub source: &'static str,
    pub stability: Stability,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    /// Always 1; what it tells is in the labels. A gauge in the text format 0.0.4.
    Info,
    Histogram,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A count, a flag, or another plain number.
    One,
    Seconds,
    Bytes,
    /// 0 to 1.
    Ratio,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stability {
    /// Name, labels and meaning change in a major release only.
    Stable,
    /// For finding faults of the agent itself; may change with its inside in any release.
    Diagnostic,
}

impl Metric {
    /// The name without what the crate appends: `_total`, `_info` and the unit.
    pub(super) fn stem(&self) -> &'static str {
        let family = match self.kind {
            Kind::Counter => self.name.strip_suffix("_total"),
            Kind::Info => self.name.strip_suffix("_info"),
            Kind::Gauge | Kind::Histogram => None,
        }
        .unwrap_or(self.name);
        self.unit.suffix().and_then(|suffix| family.strip_suffix(suffix)).unwrap_or(family)
    }
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Info => "info",
            Kind::Histogram => "histogram",
        }
    }

    pub(super) fn of_the_crate(self) -> MetricType {
        match self {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
            Kind::Info => MetricType::Info,
            Kind::Histogram => MetricType::Histogram,
        }
    }
}

impl Unit {
    pub fn as_str(self) -> &'static str {
        match self {
            Unit::One => "1",
            Unit::Seconds => "seconds",
            Unit::Bytes => "bytes",
            Unit::Ratio => "ratio",
        }
    }

    fn suffix(self) -> Option<&'static str> {
        match self {
            Unit::One => None,
            Unit::Seconds => Some("_seconds"),
            Unit::Bytes => Some("_bytes"),
            Unit::Ratio => Some("_ratio"),
        }
    }

    pub(super) fn of_the_crate(self) -> Option<registry::Unit> {
        match self {
            Unit::One => None,
            Unit::Seconds => Some(registry::Unit::Seconds),
            Unit::Bytes => Some(registry::Unit::Bytes),
            Unit::Ratio => Some(registry::Unit::Other("ratio".to_owned())),
        }
    }
}

impl Stability {
    pub fn as_str(self) -> &'static str {
        match self {
            Stability::Stable => "stable",
            Stability::Diagnostic => "diagnostic",
        }
    }
}
