//! What the agent could not try is never the server's failure.

use super::*;
use crate::model::{LocalReason, Mono};
use crate::probe::Stage;
use crate::probe::Trace;
use crate::probe::fixtures::{Server, silent};
use crate::probe::reason::Stop;

#[track_caller]
fn assert_local(report: &ProbeReport, reason: LocalReason, detail: &str) {
    assert_eq!(report.outcome, Outcome::Inconclusive(reason), "{report:?}");
    assert!(report.detail.contains(detail), "`{detail}` is not in {report:?}");
}

#[tokio::test]
async fn addresses_that_cannot_be_used() {
    let server = Server::start(silent()).await;
    let from = |source: &str| {
        let mut target = target(server.addr, CheckKind::Tcp);
        spec(&mut target).source = Some(ScopedAddr { addr: source.parse().unwrap(), zone: None });
        target
    };
    let report = run(&from("192.0.2.77")).await;
    assert_local(&report, LocalReason::LocalError, "source 192.0.2.77 is not an address of this host");
    let report = run(&from("::1")).await;
    assert_local(&report, LocalReason::LocalError, "differ in family");

    let link_local: SocketAddr = "[fe80::1]:80".parse().unwrap();
    let report = run(&target(link_local, CheckKind::Tcp)).await;
    assert_local(&report, LocalReason::LocalError, "fe80::1 is link-local: write the check's `address`");
    let mut target = target(link_local, CheckKind::Tcp);
    target.addr.zone = Some("no-such-if0".to_owned());
    assert_local(&run(&target).await, LocalReason::LocalError, "zone `no-such-if0`");
}

#[tokio::test]
async fn requests_that_cannot_be_sent() {
    let server = Server::start(silent()).await;
    for (options, detail) in [
        (HttpOptions { method: "GE T".to_owned(), ..get() }, "method `GE T`"),
        (HttpOptions { path: "/a b".to_owned(), ..get() }, "path `/a b`"),
        (HttpOptions { host: Some("a\nb".to_owned()), ..get() }, r"host `a\nb`"),
        (HttpOptions { headers: vec![("a b".to_owned(), "x".to_owned())], ..get() }, "header `a b`"),
    ] {
        for version in HttpVersion::ALL {
            let options = HttpOptions { version, ..options.clone() };
            let report = run(&target(server.addr, CheckKind::Http(options))).await;
            assert_local(&report, LocalReason::LocalError, detail);
        }
    }
}

#[test]
fn a_time_out_handled_late_is_ours_and_its_stage_names_it_otherwise() {
    let mut trace = Trace::begin(Clock::start());
    let timeout = Duration::from_secs(1);
    let (on_time, late) = (Duration::from_millis(100), Duration::from_millis(101));
    for (stage, reason) in [
        (Stage::Connect, FailReason::ConnectTimeout),
        (Stage::Tls, FailReason::TlsTimeout),
        (Stage::Answer, FailReason::ResponseTimeout),
    ] {
        trace.stage = stage;
        assert!(matches!(trace.timed_out(on_time, timeout), Err(Stop::Fail(word, _)) if word == reason));
        assert!(matches!(trace.timed_out(late, timeout), Err(Stop::Local(LocalReason::Late, _))));
    }
    trace.stage = Stage::Farewell;
    assert!(trace.timed_out(on_time, timeout).is_ok());
    assert!(trace.started >= Mono::ZERO);
}

/// The one thread of this test stands still for a while, as in a paused machine.
async fn stand_still(after: Duration, time: Duration) {
    tokio::time::sleep(after).await;
    std::thread::sleep(time);
}

/// Trap 50: the deadline itself may well be handled in time.
#[tokio::test]
async fn a_probe_that_we_left_alone_in_the_middle_has_not_waited() {
    let server = Server::start(silent()).await;
    let mut target = target(server.addr, CheckKind::Http(get()));
    spec(&mut target).pace.timeout = SHORT;
    let (report, ()) = tokio::join!(run(&target), stand_still(SHORT / 5, SHORT / 2));
    assert_local(&report, LocalReason::Late, "late meanwhile");
}

#[tokio::test]
async fn an_answer_that_came_while_we_stood_still_is_one() {
    let server = Server::start(crate::probe::fixtures::silent()).await;
    let mut target = target(server.addr, CheckKind::Tcp);
    spec(&mut target).pace.timeout = SHORT;
    let (report, ()) = tokio::join!(run(&target), stand_still(Duration::ZERO, SHORT * 2));
    assert_passes(&report, "connected");
}

/// Thousands run at once: what one costs while it waits.
#[test]
fn a_probe_in_flight_is_small() {
    let prober = Prober::new(Clock::start());
    let target = target("127.0.0.1:1".parse().unwrap(), CheckKind::Tcp);
    let size = std::mem::size_of_val(&prober.run(&target));
    assert!(size <= 2048, "{size} bytes");
}
