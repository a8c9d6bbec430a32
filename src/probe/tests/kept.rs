//! Connections that serve more than one probe.

use std::collections::BTreeMap;

use tokio::sync::Notify;
use tokio::sync::mpsc::Receiver;

use super::*;
use crate::model::{Connected, Mono, WireEnd};
use crate::probe::fixtures::{
    Authority, Manner, Server, Validity, answers, answers_then_drop, answers_until,
};
use crate::probe::{Engine, Kept, Told};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const LAST: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
const BUSY: &str = "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n";
const TOO_LATE: &str = "HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

use Connected::{Fresh, Replaced, Reused};

fn keeping(every: u32) -> HttpOptions {
    HttpOptions { fresh_every: Some(every), ..get() }
}

/// So many probes, one after the other, of one target.
async fn series(prober: &Prober, target: &Target, probes: usize) -> Vec<ProbeReport> {
    let mut kept = Kept::default();
    let mut reports = Vec::new();
    for _ in 0..probes {
        reports.push(prober.run_kept(target, &mut kept).await);
    }
    reports
}

fn over(reports: &[ProbeReport]) -> Vec<Option<Connected>> {
    reports.iter().map(|report| report.connected).collect()
}

fn accepted(server: &mut Server) -> usize {
    server.notes().iter().filter(|note| note.starts_with("accepted")).count()
}

async fn over_http(manner: Manner, every: u32, probes: usize) -> (Vec<ProbeReport>, Server) {
    let server = Server::start(manner).await;
    let target = target(server.addr, CheckKind::Http(keeping(every)));
    (series(&Prober::new(Clock::start()), &target, probes).await, server)
}

#[tokio::test]
async fn one_connection_serves_many_probes_and_every_so_many_is_a_new_one() {
    let (reports, mut server) = over_http(answers(&[OK; 9]), 3, 7).await;
    let words = [Fresh, Reused, Reused, Fresh, Reused, Reused, Fresh].map(Some);
    assert_eq!(over(&reports), words);
    reports.iter().for_each(|report| assert_passes(report, "status 200 OK, 2 bytes of body"));
    for report in &reports {
        // Nothing is measured that did not happen.
        assert_eq!(report.phases.connect.is_some(), report.connected == Some(Fresh), "{report:?}");
        assert!(report.phases.processing.is_some() && report.phases.tls.is_none(), "{report:?}");
    }
    let notes = server.notes();
    assert_eq!(notes.iter().filter(|note| note.starts_with("accepted")).count(), 3, "{notes:?}");
    assert!(!notes.iter().any(|note| note.contains("connection: close")), "{notes:?}");
}

#[tokio::test]
async fn a_connection_whose_turn_is_over_ends_with_fin() {
    let (_, mut server) = over_http(answers(&[OK; 2]), 2, 3).await;
    assert_eq!(server.note_after("end: ").await, "fin");
}

#[tokio::test]
async fn a_server_that_closed_meanwhile_has_not_failed() {
    for script in [answers_then_drop(&[OK], false), answers_then_drop(&[OK], true), answers(&[OK, TOO_LATE])]
    {
        let (reports, mut server) = over_http(script, 100, 3).await;
        assert_eq!(over(&reports), [Fresh, Replaced, Replaced].map(Some));
        reports.iter().for_each(|report| assert_passes(report, "status 200 OK"));
        assert_eq!(accepted(&mut server), 3);
    }
}

#[tokio::test]
async fn a_server_that_keeps_no_connection_is_asked_over_new_ones() {
    for answer in [LAST, "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok"] {
        let (reports, mut server) = over_http(answers(&[answer]), 100, 3).await;
        assert_eq!(over(&reports), [Some(Fresh); 3]);
        assert_eq!(accepted(&mut server), 3);
    }
}

/// A new connection that fails in the place of a kept one is a failure.
#[tokio::test]
async fn a_server_that_closed_for_good_has_failed() {
    let server = Server::start(answers_then_drop(&[OK], false)).await;
    let target = target(server.addr, CheckKind::Http(keeping(100)));
    let (prober, mut kept) = (Prober::new(Clock::start()), Kept::default());
    assert_passes(&prober.run_kept(&target, &mut kept).await, "status 200");
    drop(server);
    let report = prober.run_kept(&target, &mut kept).await;
    assert_fails(&report, FailReason::ConnectRefused, "refused");
    assert_eq!(report.connected, None, "there was none");
}

#[tokio::test]
async fn what_is_answered_counts_over_a_kept_connection_too() {
    let (reports, mut server) = over_http(answers(&[OK, BUSY]), 100, 3).await;
    assert_fails(&reports[1], FailReason::BadStatus, "status 503");
    // After a failure the next probe proves that it is not the connection.
    assert_eq!(over(&reports), [Fresh, Reused, Fresh].map(Some));
    assert_passes(&reports[2], "status 200");
    assert_eq!(accepted(&mut server), 2);
}

/// Bytes that answer no request: the connection is not trusted with the next one.
#[tokio::test]
async fn a_connection_with_unasked_bytes_is_given_up() {
    let more = format!("{OK}HTTP/1.1 200 OK\r\n");
    let (reports, mut server) = over_http(answers(&[&more]), 100, 3).await;
    reports.iter().for_each(|report| assert_passes(report, "status 200"));
    assert_eq!(accepted(&mut server), 3);
    assert!(!over(&reports).contains(&Some(Reused)), "{reports:?}");
}

#[tokio::test]
async fn a_silent_kept_connection_is_a_time_out_within_the_one_deadline() {
    let server = Server::start(answers(&[OK])).await;
    let mut target = target(server.addr, CheckKind::Http(keeping(100)));
    let prober = Prober::new(Clock::start());
    for _ in 0..20 {
        let mut kept = Kept::default();
        spec(&mut target).pace.timeout = AMPLE;
        prober.run_kept(&target, &mut kept).await;
        spec(&mut target).pace.timeout = SHORT;
        let report = prober.run_kept(&target, &mut kept).await;
        assert_eq!(report.connected, Some(Reused));
        if report.outcome != Outcome::Inconclusive(crate::model::LocalReason::Late) {
            assert_fails(&report, FailReason::ResponseTimeout, "no answer within 300ms");
            spec(&mut target).pace.timeout = AMPLE;
            let next = prober.run_kept(&target, &mut kept).await;
            assert_passes(&next, "status 200");
            assert_eq!(next.connected, Some(Fresh));
            return;
        }
    }
    panic!("every time-out was handled late");
}

#[tokio::test]
async fn one_handshake_serves_many_probes() {
    const NAME: &str = "shop.example.com";
    let authority = Authority::new("a");
    let certified = authority.issue(&[NAME], Validity::Now);
    let mut server = Server::tls(certified.server(), answers(&[OK; 5])).await;
    let tls = TlsOptions { ca: Some(authority.certificate_file()), ..tls_to(NAME) };
    let target = target(server.addr, CheckKind::Https(keeping(3), tls));
    let reports = series(&Prober::new(Clock::start()), &target, 5).await;
    assert_eq!(over(&reports), [Fresh, Reused, Reused, Fresh, Reused].map(Some));
    reports.iter().for_each(|report| assert_passes(report, "status 200"));
    for report in &reports {
        // The certificate is looked at whenever there is a handshake.
        let fresh = report.connected == Some(Fresh);
        assert_eq!((report.chain.is_some(), report.phases.tls.is_some()), (fresh, fresh), "{report:?}");
    }
    let handshakes = server.notes().iter().filter(|note| note.starts_with("sni")).count();
    assert_eq!(handshakes, 2);
}

#[tokio::test]
async fn without_a_place_no_connection_is_kept() {
    let mut server = Server::start(answers(&[OK; 9])).await;
    let target = target(server.addr, CheckKind::Http(keeping(100)));
    let prober = Prober::new(Clock::start()).keeping(1);
    let (mut first, mut second) = (Kept::default(), Kept::default());
    let mut words = Vec::new();
    for _ in 0..2 {
        words.push(prober.run_kept(&target, &mut first).await.connected);
        words.push(prober.run_kept(&target, &mut second).await.connected);
    }
    assert_eq!(words, [Fresh, Fresh, Reused, Fresh].map(Some));
    assert_eq!(accepted(&mut server), 3);
    // What is given back serves the next one.
    drop(first);
    prober.run_kept(&target, &mut second).await;
    assert_eq!(prober.run_kept(&target, &mut second).await.connected, Some(Reused));
}

/// By hand everything is tested, and nothing is left behind.
#[tokio::test]
async fn a_probe_by_hand_has_its_own_connection() {
    let mut server = Server::start(answers(&[OK])).await;
    let report = run(&target(server.addr, CheckKind::Http(keeping(100)))).await;
    assert_passes(&report, "status 200");
    assert_eq!(report.connected, None);
    assert!(server.note_after("request: ").await.contains("connection: close"));
    assert_eq!(server.note_after("end: ").await, "fin");
}

#[tokio::test]
async fn the_engine_keeps_each_target_with_its_connection() {
    let mut server = Server::start(answers(&[OK; 9])).await;
    let kept = Arc::new(target(server.addr, CheckKind::Http(keeping(1000))));
    let plain = Arc::new(target(server.addr, CheckKind::Tcp));
    let prober = Prober::new(Clock::start());
    let (engine, mut reports) = Engine::start(&prober, 2, 8).unwrap();
    for round in 0..3u64 {
        // One id for each thread; both beginnings differ from the turn of a thousand.
        for id in [1, 2] {
            engine.probe(id, Arc::clone(&kept));
            engine.probe(id + 10, Arc::clone(&plain));
        }
        let mut ended = BTreeMap::new();
        while ended.len() < 4 {
            for told in reports.recv().await.unwrap() {
                let Told::Probed { id, report } = told else { panic!("{told:?}") };
                ended.insert(id, report);
            }
        }
        assert!(ended.keys().eq(&[1, 2, 11, 12]));
        for (id, report) in &ended {
            assert_eq!(report.outcome, Outcome::Pass, "{report:?}");
            let over = if round == 0 { Fresh } else { Reused };
            assert_eq!(report.connected, (*id < 10).then_some(over));
            assert!(report.started > Mono::ZERO);
        }
    }
    // A bare tcp check does not reach the server's application.
    assert_eq!(accepted(&mut server), 2);
}

/// One probe of target 1; what else is told meanwhile is unexpected.
async fn probed(engine: &Engine, told: &mut Receiver<Vec<Told>>, target: &Arc<Target>) -> ProbeReport {
    engine.probe(1, Arc::clone(target));
    match told.recv().await.unwrap().pop() {
        Some(Told::Probed { id: 1, report }) => report,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_kept_connection_is_the_tripwire_too() {
    let dies = Arc::new(Notify::new());
    let mut server = Server::start(answers_until(OK, &dies)).await;
    let target = Arc::new(target(server.addr, CheckKind::Http(keeping(1000))));
    let (engine, mut told) = Engine::start(&Prober::new(Clock::start()), 1, 8).unwrap();
    engine.arm(1, 6, &target);
    let heard = told.recv().await.unwrap();
    assert!(matches!(heard[..], [Told::NoLine { id: 1, turn: 6 }]), "nothing is kept yet: {heard:?}");

    assert_eq!(probed(&engine, &mut told, &target).await.connected, Some(Fresh));
    engine.arm(1, 7, &target);
    let heard = told.recv().await.unwrap();
    assert!(matches!(heard[..], [Told::WireArmed { id: 1, turn: 7 }]), "{heard:?}");
    for _ in 0..2 {
        assert_eq!(
            probed(&engine, &mut told, &target).await.connected,
            Some(Reused),
            "and still serves probes"
        );
    }
    dies.notify_one();
    let heard = told.recv().await.unwrap();
    assert!(matches!(heard[..], [Told::WireEnded { id: 1, turn: 7, end: WireEnd::Tripped }]), "{heard:?}");
    assert_eq!(accepted(&mut server), 1);

    let report = probed(&engine, &mut told, &target).await;
    assert_eq!((report.outcome, report.connected), (Outcome::Pass, Some(Replaced)));
    engine.arm(1, 8, &target);
    assert!(matches!(told.recv().await.unwrap()[..], [Told::WireArmed { turn: 8, .. }]));
    engine.disarm(1, 8, &target);
    dies.notify_one();
    // Nothing is told of its end.
    assert_eq!(probed(&engine, &mut told, &target).await.outcome, Outcome::Pass);
}

#[tokio::test]
async fn a_wire_that_no_probe_leaves_any_more_is_over() {
    let server = Server::start(answers(&[OK, LAST])).await;
    let target = Arc::new(target(server.addr, CheckKind::Http(keeping(1000))));
    let (engine, mut told) = Engine::start(&Prober::new(Clock::start()), 1, 8).unwrap();
    probed(&engine, &mut told, &target).await;
    engine.arm(1, 1, &target);
    assert!(matches!(told.recv().await.unwrap()[..], [Told::WireArmed { .. }]));
    engine.probe(1, Arc::clone(&target));
    let heard = told.recv().await.unwrap();
    let [Told::Probed { report, .. }, Told::WireEnded { id: 1, turn: 1, end: WireEnd::NotHeld(_) }] =
        &heard[..]
    else {
        panic!("{heard:?}")
    };
    assert_eq!(report.connected, Some(Reused));
}
