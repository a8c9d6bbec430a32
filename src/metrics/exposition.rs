//! The only way to emit a metric: a catalogue entry and its rows.

use std::fmt;

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelValue, MetricEncoder, NoLabelSet,
};

use super::Progress;
use super::catalogue::{Kind, Metric};
use super::selection::{Counts, Dropped, Selection};
use crate::model::{BOUNDS_SECONDS, Histogram};

/// The labels of one row, in the catalogue's order.
pub(super) type Labels<'a, const N: usize, S = &'a str> = [(&'static str, S); N];

/// The row of a metric without labels.
pub(super) fn bare<V>(value: V) -> [(Labels<'static, 0>, V); 1] {
    [([], value)]
}

/// The row of a metric without labels, where there is a value.
pub(super) fn bare_if<V>(value: Option<V>) -> Option<(Labels<'static, 0>, V)> {
    value.map(|value| ([], value))
}

/// A yes or no as a gauge.
pub(super) fn flag(yes: bool) -> u64 {
    u64::from(yes)
}

/// Writes families of the catalogue, each whole and once. A family without rows is left out.
pub(super) struct Families<'e, 'p> {
    selection: &'p Selection,
    purpose: Purpose<'e, 'p>,
}

enum Purpose<'e, 'p> {
    Write { encoder: DescriptorEncoder<'e>, progress: &'p Progress, dropped: &'p Dropped },
    Count(Counts),
}

impl<'e, 'p> Families<'e, 'p> {
    pub(super) fn new(
        encoder: DescriptorEncoder<'e>,
        progress: &'p Progress,
        selection: &'p Selection,
        dropped: &'p Dropped,
    ) -> Families<'e, 'p> {
        Families { selection, purpose: Purpose::Write { encoder, progress, dropped } }
    }

    /// Writes nothing, only counts what would be written.
    pub(super) fn counting(selection: &'p Selection) -> Families<'e, 'p> {
        Families { selection, purpose: Purpose::Count(Counts::default()) }
    }

    pub(super) fn counted(self) -> Counts {
        match self.purpose {
            Purpose::Count(counts) => counts,
            Purpose::Write { .. } => Counts::default(),
        }
    }

    pub(super) fn gauge<'r, const N: usize, S: EncodeLabelValue + 'r, V: EncodeGaugeValue>(
        &mut self,
        metric: &'static Metric,
        rows: impl IntoIterator<Item = (Labels<'r, N, S>, V)>,
    ) -> fmt::Result {
        self.family(metric, Kind::Gauge, rows, |family, labels, value| {
            labelled(family, labels, |row| row.encode_gauge(value))
        })
    }

    pub(super) fn counter<'r, const N: usize, S: EncodeLabelValue + 'r, V: EncodeCounterValue>(
        &mut self,
        metric: &'static Metric,
        rows: impl IntoIterator<Item = (Labels<'r, N, S>, V)>,
    ) -> fmt::Result {
        self.family(metric, Kind::Counter, rows, |family, labels, value| {
            labelled(family, labels, |row| row.encode_counter::<NoLabelSet, V, f64>(value, None))
        })
    }

    pub(super) fn info<'r, const N: usize, S: EncodeLabelValue + 'r>(
        &mut self,
        metric: &'static Metric,
        rows: impl IntoIterator<Item = Labels<'r, N, S>>,
    ) -> fmt::Result {
        let rows = rows.into_iter().map(|labels| (labels, ()));
        self.family(metric, Kind::Info, rows, |family, labels, ()| family.encode_info(labels))
    }

    pub(super) fn histogram<'r, 'h, const N: usize, S: EncodeLabelValue + 'r>(
        &mut self,
        metric: &'static Metric,
        rows: impl IntoIterator<Item = (Labels<'r, N, S>, &'h Histogram)>,
    ) -> fmt::Result {
        self.family(metric, Kind::Histogram, rows, |family, labels, histogram| {
            let bounds = BOUNDS_SECONDS.into_iter().chain([f64::INFINITY]);
            let mut buckets = [(0.0, 0); BOUNDS_SECONDS.len() + 1];
            for ((bucket, bound), count) in buckets.iter_mut().zip(bounds).zip(histogram.buckets) {
                *bucket = (bound, count);
            }
            labelled(family, labels, |row| {
                row.encode_histogram::<NoLabelSet>(histogram.sum_seconds, histogram.count, &buckets, None)
            })
        })
    }

    fn family<'r, const N: usize, S: EncodeLabelValue + 'r, V>(
        &mut self,
        metric: &'static Metric,
        kind: Kind,
        rows: impl IntoIterator<Item = (Labels<'r, N, S>, V)>,
        write: impl Fn(&mut MetricEncoder<'_>, &Labels<'r, N, S>, &V) -> fmt::Result,
    ) -> fmt::Result {
        debug_assert_eq!(metric.kind, kind, "{}: not what the catalogue says", metric.name);
        if !self.selection.has(metric) {
            return Ok(());
        }
        let (encoder, progress) = match &mut self.purpose {
            Purpose::Count(counts) => {
                counts.add(metric, rows.into_iter().count());
                return Ok(());
            }
            Purpose::Write { dropped, .. } if dropped.has(metric) => return Ok(()),
            Purpose::Write { encoder, progress, .. } => (encoder, progress),
        };
        let mut rows = rows.into_iter().peekable();
        if rows.peek().is_none() {
            return Ok(());
        }
        progress.begin(metric);
        let (unit, kind) = (metric.unit.of_the_crate(), metric.kind.of_the_crate());
        let mut family = encoder.encode_descriptor(metric.stem(), metric.help, unit.as_ref(), kind)?;
        for (labels, value) in rows {
            debug_assert!(
                labels.iter().map(|(name, _)| name).eq(metric.labels),
                "{}: labels {:?} are not the catalogue's",
                metric.name,
                labels.each_ref().map(|(name, _)| name),
            );
            write(&mut family, &labels, &value)?;
        }
        Ok(())
    }
}

/// Has `write` encode one row with these labels; without labels the crate would write empty braces.
fn labelled<const N: usize, S: EncodeLabelValue>(
    family: &mut MetricEncoder<'_>,
    labels: &Labels<'_, N, S>,
    write: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
) -> fmt::Result {
    if N == 0 { write(family) } else { write(&mut family.encode_family(labels)?) }
}
