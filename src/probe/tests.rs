//! Each kind of probe against the zoo on loopback.

mod agent;
mod certificates;
mod dialogue;
mod dns;
mod grpc;
mod http;
mod http2;
mod kept;
mod own_side;
mod proxy;
mod tcp;
mod tls;
mod tripwire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::Prober;
use crate::model::{
    BodyMatch, CheckKind, CheckSpec, Close, DETAIL_LIMIT_BYTES, FailReason, HttpOptions, HttpVersion,
    Outcome, Pace, ProbeReport, ScopedAddr, Target, TlsOptions,
};
use crate::os::Clock;

/// For probes that are to end before it, however busy the machine.
const AMPLE: Duration = Duration::from_secs(60);
/// For probes that are to be cut off by it.
const SHORT: Duration = Duration::from_millis(300);

fn target(addr: SocketAddr, kind: CheckKind) -> Target {
    let close = match kind {
        CheckKind::Tcp => Close::Rst,
        CheckKind::Dialogue(_)
        | CheckKind::Agent(_)
        | CheckKind::Dns(_)
        | CheckKind::Tls(_)
        | CheckKind::Http(_)
        | CheckKind::Https(..)
        | CheckKind::Grpc(_)
        | CheckKind::Grpcs(..) => Close::Fin,
    };
    let pace =
        Pace { interval: AMPLE, timeout: AMPLE, fast_interval: AMPLE, rise: 1, fall: 1, tripwire: false };
    let spec = CheckSpec {
        kind,
        port: None,
        address: None,
        source: None,
        mark: None,
        proxy_protocol: None,
        close,
        pace,
    };
    Target { spec: Arc::new(spec), addr: ScopedAddr { addr: addr.ip(), zone: None }, port: addr.port() }
}

fn spec(target: &mut Target) -> &mut CheckSpec {
    Arc::make_mut(&mut target.spec)
}

fn get() -> HttpOptions {
    HttpOptions {
        version: HttpVersion::V1,
        method: "GET".to_owned(),
        path: "/healthz".to_owned(),
        host: None,
        headers: Vec::new(),
        status: vec![(200, 299)],
        body: BodyMatch::Any,
        fresh_every: None,
        weight_header: None,
    }
}

fn tls_to(name: &str) -> TlsOptions {
    TlsOptions { server_name: Some(name.to_owned()), verify: true, ca: None, client_certificate: None }
}

/// One probe with a prober of its own, and what holds for every report.
async fn run(target: &Target) -> ProbeReport {
    run_with(&Prober::new(Clock::start()), target).await
}

async fn run_with(prober: &Prober, target: &Target) -> ProbeReport {
    let (prober, target) = (prober.clone(), target.clone());
    // A task of its own shows that the future can move between threads.
    let report = tokio::spawn(async move { prober.run(&target).await }).await.unwrap();
    assert!(!report.detail.is_empty() && report.detail.len() <= DETAIL_LIMIT_BYTES, "{report:?}");
    assert!(!report.detail.contains(char::is_control), "{report:?}");
    assert!(report.started <= report.ended, "{report:?}");
    assert_eq!(report.phases.total, report.ended.since(report.started), "{report:?}");
    let phases = report.phases;
    let parts = [phases.connect, phases.tls, phases.processing, phases.transfer];
    assert!(parts.into_iter().flatten().sum::<Duration>() <= phases.total, "{report:?}");
    report
}

/// A probe whose deadline is to cut it off. On a busy machine the deadline may be handled late,
/// which the probe itself notices: it is then tried again.
async fn run_to_deadline(target: &Target) -> ProbeReport {
    for _ in 0..20 {
        let mut target = target.clone();
        spec(&mut target).pace.timeout = SHORT;
        let report = run(&target).await;
        if report.outcome != Outcome::Inconclusive(crate::model::LocalReason::Late) {
            return report;
        }
    }
    panic!("every time-out was handled late");
}

#[track_caller]
fn assert_fails(report: &ProbeReport, reason: FailReason, detail: &str) {
    assert_eq!(report.outcome, Outcome::Fail(reason), "{report:?}");
    assert!(report.detail.contains(detail), "`{detail}` is not in {report:?}");
}

#[track_caller]
fn assert_passes(report: &ProbeReport, detail: &str) {
    assert_eq!(report.outcome, Outcome::Pass, "{report:?}");
    assert!(report.detail.contains(detail), "`{detail}` is not in {report:?}");
}
