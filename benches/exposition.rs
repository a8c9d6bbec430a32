//! What the exposition costs beside the crate's bare encoding of the same samples, measured in one
//! run, so that the ratio means the same on any machine: `cargo bench --bench exposition`.

#[path = "../tests/metrics/parsed.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod parsed;
#[path = "../tests/metrics/views/mod.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod views;

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use lvs_agent::metrics::{Format, encode};
use lvs_agent::os::Clock;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

/// 50 x 8 virtual servers, 10 real servers each, make about 100,000 series.
const ADDRESSES: u8 = 50;
const REAL_SERVERS: u8 = 10;
const ROUNDS: usize = 15;

fn main() -> io::Result<()> {
    let view = Arc::new(views::twins(ADDRESSES, REAL_SERVERS));
    let machinery = views::machinery();
    let ours = |format| {
        let mut sink = Sink::default();
        encode(&view, &machinery, format, &mut sink).map(|()| sink.bytes).map_err(io::Error::other)
    };
    let mut whole = String::new();
    encode(&view, &machinery, Format::OpenMetrics, &mut whole).map_err(io::Error::other)?;
    let samples = Samples::of(&whole);
    let series: usize = samples.0.iter().map(|metric| metric.rows.len()).sum();
    let mut registry = Registry::default();
    registry.register_collector(Box::new(samples));
    let bare = || {
        let mut sink = Sink::default();
        text::encode(&mut sink, &registry).map(|()| sink.bytes).map_err(io::Error::other)
    };

    // In turn, so that what else the machine does falls on all alike; the best of each is its own cost.
    let clock = Clock::start();
    let mut best = [Duration::MAX; 3];
    for _ in 0..ROUNDS {
        for (best, encode) in best.iter_mut().zip([
            &bare as &dyn Fn() -> io::Result<usize>,
            &|| ours(Format::OpenMetrics),
            &|| ours(Format::Text004),
        ]) {
            let start = clock.mono();
            encode()?;
            *best = clock.mono().since(start).min(*best);
        }
    }
    let [bare, open_metrics, text_004] = best.map(|time| time.as_secs_f64() * 1e3);
    let mut out = io::stdout();
    writeln!(out, "{series} series, {} bytes of OpenMetrics, best of {ROUNDS} rounds", whole.len())?;
    writeln!(out, "the crate alone  {bare:8.2} ms")?;
    writeln!(out, "OpenMetrics      {open_metrics:8.2} ms  ratio {:.2}", open_metrics / bare)?;
    writeln!(out, "text 0.0.4       {text_004:8.2} ms  ratio {:.2}", text_004 / bare)
}

/// Takes everything and keeps nothing.
#[derive(Default)]
struct Sink {
    bytes: usize,
}

impl fmt::Write for Sink {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.bytes += std::hint::black_box(text).len();
        Ok(())
    }
}

/// The samples of an exposition, ready to be encoded: nothing is left to do but that.
#[derive(Debug)]
struct Samples(Vec<Metric>);

#[derive(Debug)]
struct Metric {
    name: String,
    help: String,
    rows: Vec<(Vec<(String, String)>, Number)>,
}

#[derive(Debug)]
enum Number {
    Whole(u64),
    Real(f64),
}

impl Samples {
    fn of(exposition: &str) -> Samples {
        let mut metrics: Vec<Metric> = Vec::new();
        for family in parsed::parse(exposition) {
            for sample in family.samples {
                // The suffixes of a histogram alternate from row to row.
                let known = metrics.iter().rposition(|metric| metric.name == sample.name);
                let at = known.unwrap_or_else(|| {
                    let (name, help) = (sample.name.clone(), family.help.clone());
                    metrics.push(Metric { name, help, rows: Vec::new() });
                    metrics.len() - 1
                });
                let whole = sample.value.parse().map(Number::Whole);
                let value = whole.or_else(|_| sample.value.parse().map(Number::Real));
                metrics[at].rows.push((sample.labels, value.expect("a number")));
            }
        }
        Samples(metrics)
    }
}

impl Collector for Samples {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        for metric in &self.0 {
            let mut family =
                encoder.encode_descriptor(&metric.name, &metric.help, None, MetricType::Gauge)?;
            for (labels, value) in &metric.rows {
                let mut row = family.encode_family(labels)?;
                match value {
                    Number::Whole(value) => row.encode_gauge(value)?,
                    Number::Real(value) => row.encode_gauge(value)?,
                }
            }
        }
        Ok(())
    }
}
