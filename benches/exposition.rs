//! What an exposition costs beside the crate's bare encoding of the same samples through the same gzip,
//! measured in one run, so that the ratio means the same on any machine:
//! `cargo bench --bench exposition [SERIES]`, by default 100,000 and 1,000,000.

#[path = "exposition/agent.rs"]
mod agent;
#[path = "../tests/metrics/parsed.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod parsed;
#[path = "../tests/metrics/views/mod.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod views;

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use lvs_agent::metrics::{Format, Machinery, Selection, encode, encode_selected};
use lvs_agent::model::View;
use nix::time::{ClockId, clock_gettime};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

/// 8 virtual servers for each address, 10 real servers each.
const SERIES_OF_AN_ADDRESS: usize = 2017;
const REAL_SERVERS: u8 = 10;
/// The server's own: pieces of this size are compressed and handed on.
const CHUNK_BYTES: usize = 64 << 10;
const GZIP_LEVEL: u32 = 1;
/// `--web.max-requests`, unless it is set.
const SCRAPES: usize = 40;

fn main() -> io::Result<()> {
    let asked: Vec<usize> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    let sizes = if asked.is_empty() { vec![100_000, 1_000_000] } else { asked };
    let mut out = io::stdout();
    for series in sizes {
        let addresses = u16::try_from(series / SERIES_OF_AN_ADDRESS).unwrap_or(u16::MAX).max(1);
        compare(&mut out, addresses, if series > 300_000 { 5 } else { 15 })?;
    }
    Ok(())
}

fn compare(out: &mut impl Write, addresses: u16, rounds: usize) -> io::Result<()> {
    let view = Arc::new(views::numbered(views::twins(addresses, REAL_SERVERS)));
    let machinery = views::machinery();
    let scrape = Scrape { view: &view, machinery: &machinery, max_series: usize::MAX };
    // First, while nothing else is in memory: what whole gzipped scrapes take above the view.
    let one = peak_above_idle_mb(|| scrape.encode(Format::OpenMetrics, true).map(drop))?;
    let forty = peak_above_idle_mb(|| at_one_time(SCRAPES, &scrape))?;

    let mut whole = String::new();
    encode(&view, &machinery, Format::OpenMetrics, &mut whole).map_err(io::Error::other)?;
    let bytes = whole.len();
    let samples = Samples::of(&whole);
    drop(whole);
    let series: usize = samples.0.iter().map(|metric| metric.rows.len()).sum();
    let mut registry = Registry::default();
    registry.register_collector(Box::new(samples));
    let bare = |gzip| {
        let mut sink = Sink::new(gzip);
        text::encode(&mut sink, &registry).map_err(io::Error::other)?;
        sink.finish()
    };
    // As many as there are: it has to count, and leaves nothing out.
    let counted = Scrape { max_series: series, ..scrape };

    writeln!(out, "{series} series, {bytes} bytes of OpenMetrics, least CPU of {rounds} rounds")?;
    writeln!(
        out,
        "  memory above idle: one gzipped scrape {one:.1} MB, {SCRAPES} at one time {forty:.1} MB"
    )?;
    let mut agent = agent::Loop::holding(&view)?;
    let mut gzipped = f64::MAX;
    for (name, gzip) in [("gzip 1", true), ("plain", false)] {
        let costs = least_ms(
            rounds,
            [
                &|| bare(gzip),
                &|| scrape.encode(Format::OpenMetrics, gzip),
                &|| scrape.encode(Format::Text004, gzip),
                &|| counted.encode(Format::OpenMetrics, gzip),
            ],
        )?;
        if gzip {
            gzipped = costs[0];
        }
        for (what, ms) in
            ["the crate alone", "OpenMetrics", "text 0.0.4", "OpenMetrics, counted"].iter().zip(costs)
        {
            writeln!(out, "  {name:7} {what:20} {ms:9.2} ms  ratio {:.2}", ms / costs[0])?;
        }
    }
    let (ms, mb) = agent.cost_of_a_view(rounds)?;
    writeln!(out, "  the agent's view {ms:.2} ms, ratio {:.2} of gzip 1; {mb:.1} MB", ms / gzipped)
}

/// In turn, so that what else the machine does falls on all alike; the least of each is its own.
fn least_ms<const N: usize>(
    rounds: usize,
    encoders: [&dyn Fn() -> io::Result<usize>; N],
) -> io::Result<[f64; N]> {
    let mut least = [f64::MAX; N];
    for _ in 0..rounds {
        for (least, encode) in least.iter_mut().zip(encoders) {
            let before = cpu_seconds()?;
            encode()?;
            *least = least.min((cpu_seconds()? - before) * 1e3);
        }
    }
    Ok(least)
}

#[derive(Clone, Copy)]
struct Scrape<'a> {
    view: &'a Arc<View>,
    machinery: &'a Machinery,
    max_series: usize,
}

impl Scrape<'_> {
    fn encode(&self, format: Format, gzip: bool) -> io::Result<usize> {
        let mut sink = Sink::new(gzip);
        let mut selection = Selection::default();
        selection.max_series = self.max_series;
        encode_selected(self.view, self.machinery, format, &selection, &mut sink)
            .map_err(io::Error::other)?;
        sink.finish()
    }
}

/// As many gzipped scrapes of one view, each on a thread of its own as the server has them.
fn at_one_time(scrapes: usize, scrape: &Scrape) -> io::Result<()> {
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..scrapes).map(|_| scope.spawn(|| scrape.encode(Format::OpenMetrics, true))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("it ends").map(drop))
    })
}

/// The most that was in memory while `work` ran, above what was there before.
fn peak_above_idle_mb(work: impl FnOnce() -> io::Result<()>) -> io::Result<f64> {
    let idle = memory_kib("VmRSS:")?;
    // Linux resets the peak (proc(5), clear_refs).
    std::fs::write("/proc/self/clear_refs", "5")?;
    work()?;
    Ok(memory_kib("VmHWM:")?.saturating_sub(idle) as f64 / 1024.0)
}

/// Of this thread: on a busy machine the clock on the wall says nothing.
fn cpu_seconds() -> io::Result<f64> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    Ok(time.tv_sec() as f64 + time.tv_nsec() as f64 / 1e9)
}

/// A line of /proc/self/status.
fn memory_kib(field: &str) -> io::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok());
    kib.ok_or_else(|| io::Error::other(format!("/proc/self/status has no {field}")))
}

/// As the server's answer: collected to pieces, compressed, gone.
struct Sink {
    buffer: Vec<u8>,
    to: To,
}

enum To {
    Nowhere(Counted),
    Gzip(GzEncoder<Counted>),
}

#[derive(Default)]
struct Counted(usize);

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += std::hint::black_box(bytes).len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink {
    fn new(gzip: bool) -> Sink {
        let to = match gzip {
            true => To::Gzip(GzEncoder::new(Counted::default(), Compression::new(GZIP_LEVEL))),
            false => To::Nowhere(Counted::default()),
        };
        Sink { buffer: Vec::with_capacity(CHUNK_BYTES), to }
    }

    fn pass_on(&mut self) -> io::Result<()> {
        match &mut self.to {
            To::Nowhere(counted) => counted.write_all(&self.buffer)?,
            To::Gzip(encoder) => encoder.write_all(&self.buffer)?,
        }
        self.buffer.clear();
        Ok(())
    }

    fn finish(mut self) -> io::Result<usize> {
        self.pass_on()?;
        match self.to {
            To::Nowhere(counted) => Ok(counted.0),
            To::Gzip(encoder) => encoder.finish().map(|counted| counted.0),
        }
    }
}

impl fmt::Write for Sink {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut bytes = text.as_bytes();
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK_BYTES - self.buffer.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() == CHUNK_BYTES {
                self.pass_on().map_err(|_| fmt::Error)?;
            }
        }
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
