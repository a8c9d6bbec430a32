//! A kernel that takes its time, and the whole way of a scrape: the agent's loop, the encoder, the socket.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::agent::{self, Handle, Parts, State};
use crate::cli::exporter::{Exporter, ExporterArgs};
use crate::ipvs::fake::FakeKernel;
use crate::logic::{Origin, Start};
use crate::metrics::Machinery;
use crate::model::{Policy, SharedTelemetry, SourcePorts};
use crate::os::Clock;
use crate::probe::Prober;
use crate::web::tests::{Reply, request, send_on, soon};
use crate::web::{Options, Web, bind_tcp, serve_tcp};

const TABLE: &str = "\
-A -t 10.10.0.100:80 -s wrr
-a -t 10.10.0.100:80 -r 10.10.0.21:80 -g -w 5
-a -t 10.10.0.100:80 -r 10.10.0.22:80 -g -w 3
-A -f 7 -6 -s rr
-a -f 7 -6 -r [2001:db8::21]:0 -g -w 1
";

/// Prometheus's time-out of a scrape, whose answer must be there before it is over.
const SCRAPE_TIMEOUT: &str = "1";
const ATTEMPTS: usize = 20;

struct Exported {
    kernel: FakeKernel,
    handle: Handle,
    address: SocketAddr,
    clock: Clock,
    machinery: Machinery,
    /// Ends the server when it is dropped.
    _stop: watch::Sender<bool>,
}

/// What `lvs-agent run` puts together, without a configuration.
fn export(kernel: FakeKernel, options: Options) -> Exported {
    let (clock, telemetry) = (Clock::start(), SharedTelemetry::default());
    let policy = Arc::new(Policy::exporter_only());
    let origin = Origin { boot_id: "boot".into(), table: "netns:1".into() };
    let start = Start {
        policy,
        config_hash: 1,
        ledger: Ok(None),
        ledger_opens_later: false,
        origin,
        seed: 1,
        probe_limit: crate::model::ProbeLimit::at(10),
        wires_limit: 10,
        source_ports: SourcePorts::USUAL,
    };
    let (handle, requests) = Handle::new();
    let machinery = Machinery::new(telemetry.clone());
    let exporter = Exporter::new(machinery.clone(), &ExporterArgs::default());
    let listener = bind_tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopping) = watch::channel(false);
    tokio::spawn(serve_tcp(listener, Web::new(options, handle.clone(), Arc::new(exporter)), stopping));
    let table = kernel.agents_table(clock, telemetry);
    let state = State::new("/nonexistent".into(), None);
    let parts = Parts { clock, start, table, prober: Prober::new(clock), addresses: None, state, requests };
    tokio::spawn(agent::run(parts));
    Exported { kernel, handle, address, clock, machinery, _stop: stop }
}

async fn get(address: SocketAddr, path: &str) -> Reply {
    let stream = TcpStream::connect(address).await.unwrap();
    let headers = [("x-prometheus-scrape-timeout-seconds", SCRAPE_TIMEOUT)];
    send_on(stream, request("GET", path, &headers, "")).await.unwrap()
}

/// The value of the one row that begins so.
fn value<'a>(reply: &'a Reply, row: &str) -> Option<&'a str> {
    let mut rows = reply.text().lines().filter_map(|line| line.strip_prefix(row)?.strip_prefix(' '));
    let value = rows.next();
    assert_eq!(rows.next(), None, "{row} is not one row");
    value
}

const READ: &str = "lvs_agent_collector_success{collector=\"ipvs\"}";
const WEIGHT: &str =
    "ipvs_real_server_weight{virtual_server=\"10.10.0.100:80/tcp\",real_server=\"10.10.0.21:80\"}";
const TWIN: &str =
    "ipvs_real_server_weight{virtual_server=\"fwmark:7/ipv6\",real_server=\"[2001:db8::21]:0\"}";

impl Exported {
    /// One that came before its time-out was over: another process may have had the machine meanwhile.
    async fn scrape_in_time(&self) -> Reply {
        let timeout = Duration::from_secs_f64(SCRAPE_TIMEOUT.parse().unwrap());
        for _ in 0..ATTEMPTS {
            let begun = self.clock.mono();
            let reply = get(self.address, "/metrics").await;
            assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
            if self.clock.mono().since(begun) < timeout {
                return reply;
            }
        }
        panic!("none of {ATTEMPTS} scrapes was answered within {timeout:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kernel_that_hangs_costs_a_scrape_its_freshness_and_not_its_deadline() {
    // Each scrape reads anew; what is no scrape waits a moment only.
    let (max_view_age, view_timeout) = (Duration::ZERO, Duration::from_millis(100));
    let options = Options { max_view_age, view_timeout, ..Options::default() };
    let exported = export(FakeKernel::new(TABLE), options);
    let fresh = exported.scrape_in_time().await;
    assert_eq!((value(&fresh, READ), value(&fresh, "ipvs_up")), (Some("1"), Some("1")));
    assert_eq!((value(&fresh, WEIGHT), value(&fresh, TWIN)), (Some("5"), Some("1")));

    exported.kernel.state().services[0].destinations[0].weight.0 = 4;
    let held = exported.kernel.hold_next_read();
    let late = exported.scrape_in_time().await;
    assert_eq!(value(&late, READ), Some("0"), "{}", late.text());
    // What there is, and when it was read.
    assert_eq!((value(&late, WEIGHT), value(&late, TWIN)), (Some("5"), Some("1")));
    let of_the_read = "lvs_agent_snapshot_timestamp_seconds";
    assert_eq!(value(&late, of_the_read), value(&fresh, of_the_read));
    // Nor is anybody else kept waiting for ever.
    let ready = get(exported.address, "/-/ready").await;
    assert_eq!(
        (ready.status, ready.text()),
        (StatusCode::SERVICE_UNAVAILABLE, "not ready: the kernel does not answer\n")
    );
    assert_eq!(get(exported.address, "/-/healthy").await.status, StatusCode::OK);
    let status: serde_json::Value =
        serde_json::from_slice(&get(exported.address, "/api/v1/status").await.body).unwrap();
    assert_eq!(status["virtual_servers"][0]["real_servers"][0]["weight"], 5);

    drop(held);
    let again = soon("a fresh scrape", async {
        loop {
            let reply = get(exported.address, "/metrics").await;
            if value(&reply, READ) == Some("1") {
                return reply;
            }
        }
    })
    .await;
    assert_eq!((value(&again, WEIGHT), value(&again, "ipvs_up")), (Some("4"), Some("1")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kernel_that_never_answered_is_reported_as_such() {
    let kernel = FakeKernel::new(TABLE);
    let _held = kernel.hold_next_read();
    let exported = export(kernel, Options::default());
    let reply = exported.scrape_in_time().await;
    assert_eq!((value(&reply, READ), value(&reply, "ipvs_up")), (Some("0"), Some("0")));
    assert_eq!(value(&reply, WEIGHT), None);
    assert_eq!(value(&reply, "lvs_agent_config_last_reload_successful"), Some("1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forty_scrapes_at_one_time_are_one_read() {
    const SCRAPES: i64 = 40;
    let kernel = FakeKernel::new(TABLE);
    let held = kernel.hold_next_read();
    let hour = Duration::from_secs(3600);
    let options = Options { max_view_age: hour, ..Options::default() };
    let exported = export(kernel, options);
    let mut scrapes = JoinSet::new();
    for _ in 0..SCRAPES {
        let stream = TcpStream::connect(exported.address).await.unwrap();
        let patient = [("x-prometheus-scrape-timeout-seconds", "120")];
        scrapes.spawn(send_on(stream, request("GET", "/metrics", &patient, "")));
    }
    let in_flight = || exported.machinery.http_requests_in_flight().get();
    soon("all of them", async {
        while in_flight() < SCRAPES {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(held);
    let mut seen = std::collections::BTreeSet::new();
    while let Some(reply) = scrapes.join_next().await {
        let reply = reply.unwrap().unwrap();
        assert_eq!(
            (reply.status, value(&reply, READ), value(&reply, WEIGHT)),
            (StatusCode::OK, Some("1"), Some("5"))
        );
        seen.insert(value(&reply, "lvs_agent_snapshot_timestamp_seconds").map(str::to_owned));
    }
    assert_eq!(seen.len(), 1, "one snapshot: {seen:?}");
    assert_eq!(exported.kernel.reads(), 1);
}

/// It is large where there are many real servers, and slow readers hold it for long.
#[tokio::test]
async fn who_asks_while_a_view_is_being_shown_gets_the_same() {
    let exported = export(FakeKernel::new(TABLE), Options::default());
    let hour = Duration::from_secs(3600);
    let view = |max_age| soon("a view", exported.handle.view(max_age));
    // Another process may have had the machine in between.
    let mut attempts = 0..ATTEMPTS;
    let shared = loop {
        assert!(attempts.next().is_some(), "none of {ATTEMPTS} pairs shared a view");
        let (first, second) = (view(hour).await.unwrap(), view(hour).await.unwrap());
        if Arc::ptr_eq(&first, &second) {
            break first;
        }
    };
    // Not where something newer is wanted, nor after a request that may have changed what is known.
    let newer = view(Duration::ZERO).await.unwrap();
    assert!(newer.generation > shared.generation);
    soon("a refused reload", exported.handle.reloaded(None)).await.unwrap();
    let after = view(hour).await.unwrap();
    assert!(after.generation > newer.generation && !after.config.last_load_successful);
    // Nor is it kept for anybody.
    let kept = Arc::downgrade(&after);
    drop((after, newer, shared));
    assert!(kept.upgrade().is_none());
}
