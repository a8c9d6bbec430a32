//! A real Prometheus scrapes both formats and takes every sample, with the right types.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use lvs_agent::metrics::{Format, Kind, Machinery, catalogue, encode};
use lvs_agent::model::View;
use lvs_agent::os::Clock;

use crate::parsed::{by_name, parse};
use crate::views;
use server::Prometheus;

#[path = "../observability/prometheus.rs"]
#[expect(dead_code, reason = "other tests start it without a target")]
mod server;

/// For the whole test, on a machine where much else is going on.
const DEADLINE: Duration = Duration::from_secs(120);
/// Between two looks at what Prometheus knows.
const LOOK_EVERY: Duration = Duration::from_millis(100);

#[test]
fn prometheus_takes_every_sample_of_both_formats() {
    let clock = Clock::start();
    let exporter = Exporter::start(views::rich());
    let directory = tempfile::tempdir().expect("a temporary directory");
    let prometheus = Prometheus::configured(&clock, directory.path(), &exporter.scraped_twice());
    for (job, format) in [("openmetrics", Format::OpenMetrics), ("text", Format::Text004)] {
        let expected = exporter.samples(format);
        let value = |name: &str| value(&prometheus, &format!("{name}{{job=\"{job}\"}}"));
        let scraped = wait_for(&clock, || {
            let up = value("up").filter(|up| *up == 1.0);
            if up.is_none() && clock.mono().since_start() > DEADLINE / 2 {
                return Err(format!("{job}: {}", prometheus.ask("/api/v1/targets", &[])));
            }
            Ok(up.and_then(|_| value("scrape_samples_scraped")))
        });
        assert_eq!(scraped, expected as f64, "{job}");
        // None was dropped as a duplicate.
        let kept = wait_for(&clock, || Ok(value("scrape_samples_post_metric_relabeling")));
        assert_eq!(kept, expected as f64, "{job}");
        // And all are there to be queried.
        let query = format!("count({{job=\"{job}\",__name__=~\"ipvs_.*|lvs_.*|process_.*\"}})");
        let stored = wait_for(&clock, || Ok(self::value(&prometheus, &query)));
        assert_eq!(stored, expected as f64, "{job}: series stored");
        assert_eq!(value("ipvs_up"), Some(1.0), "{job}");
        check_types(&prometheus, job, format);
    }
}

/// The value of a query that has one result.
fn value(prometheus: &Prometheus, query: &str) -> Option<f64> {
    let answer = prometheus.ask("/api/v1/query", &[("query", query)]);
    answer["data"]["result"][0]["value"][1].as_str().and_then(|text| text.parse().ok())
}

/// Kinds and units as Prometheus understood them.
fn check_types(prometheus: &Prometheus, job: &str, format: Format) {
    let target = format!("{{job=\"{job}\"}}");
    let answer = prometheus.ask("/api/v1/targets/metadata", &[("match_target", &target)]);
    let rows = answer["data"].as_array().expect("metadata");
    let known: BTreeMap<&str, (&str, &str)> = rows
        .iter()
        .map(|row| {
            let text = |field: &str| row[field].as_str().expect("a text");
            (text("metric"), (text("type"), text("unit")))
        })
        .collect();
    assert_eq!(known.len(), catalogue().len(), "{job}");
    for metric in catalogue() {
        // In OpenMetrics metadata belong to the family, in 0.0.4 to the sample's name.
        let (name, kind, unit) = match (format, metric.kind) {
            (Format::OpenMetrics, Kind::Counter) => {
                (metric.name.trim_end_matches("_total"), "counter", metric.unit.as_str())
            }
            (Format::OpenMetrics, Kind::Info) => (metric.name.trim_end_matches("_info"), "info", "1"),
            (Format::OpenMetrics, Kind::Gauge | Kind::Histogram) => {
                (metric.name, metric.kind.as_str(), metric.unit.as_str())
            }
            (Format::Text004, Kind::Info) => (metric.name, "gauge", "1"),
            (Format::Text004, Kind::Counter | Kind::Gauge | Kind::Histogram) => {
                (metric.name, metric.kind.as_str(), "1")
            }
        };
        let unit = if unit == "1" { "" } else { unit };
        assert_eq!(known.get(name), Some(&(kind, unit)), "{job}: {name}");
    }
}

fn wait_for<T>(clock: &Clock, mut look: impl FnMut() -> Result<Option<T>, String>) -> T {
    loop {
        match look() {
            Ok(Some(value)) => return value,
            Ok(None) => assert!(clock.mono().since_start() < DEADLINE, "Prometheus has no value yet"),
            Err(why) => panic!("{why}"),
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// `/metrics` gives what Accept asks for, `/text` always 0.0.4: Prometheus 2.42 cannot be told not
/// to accept OpenMetrics.
struct Exporter {
    address: SocketAddr,
    view: Arc<View>,
    machinery: Machinery,
}

impl Exporter {
    fn start(view: View) -> Exporter {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
        let address = listener.local_addr().expect("its address");
        let exporter = Exporter { address, view: Arc::new(view), machinery: views::machinery() };
        let (view, machinery) = (exporter.view.clone(), exporter.machinery.clone());
        // Ends with the process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A scraper that hangs up early comes again.
                let _ = serve(&stream, &view, &machinery);
            }
        });
        exporter
    }

    /// Prometheus's configuration: a job for each format.
    fn scraped_twice(&self) -> String {
        let mut text = "global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n".to_owned();
        for (job, path) in [("openmetrics", "/metrics"), ("text", "/text")] {
            let targets = format!("[{{targets: ['{}']}}]", self.address);
            text += &format!("- job_name: {job}\n  metrics_path: {path}\n  static_configs: {targets}\n");
        }
        text
    }

    fn samples(&self, format: Format) -> usize {
        let mut text = String::new();
        encode(&self.view, &self.machinery, format, &mut text).expect("a string takes everything");
        by_name(parse(&text)).values().map(|family| family.samples.len()).sum()
    }
}

fn serve(mut stream: &TcpStream, view: &Arc<View>, machinery: &Machinery) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut request = BufReader::new(stream.take(64 * 1024)).lines();
    let first = request.next().transpose()?.unwrap_or_default();
    let mut wants_open_metrics = false;
    for line in request {
        let line = line?.to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        wants_open_metrics |= line.starts_with("accept:") && line.contains("application/openmetrics-text");
    }
    let format = match first.split(' ').nth(1) {
        Some("/metrics") if wants_open_metrics => Format::OpenMetrics,
        _ => Format::Text004,
    };
    let mut text = String::new();
    encode(view, machinery, format, &mut text).expect("a string takes everything");
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
        format.content_type(),
        text.len()
    )
}
