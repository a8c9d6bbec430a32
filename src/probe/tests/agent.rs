//! Servers that say how much of their weight they want, in a line and in a header.

use super::*;
use crate::model::{AgentOptions, HttpVersion, Share};
use crate::probe::agent::LINE_LIMIT_BYTES;
use crate::probe::fixtures::http2::{Fields, answer2};
use crate::probe::fixtures::{
    Manner, Server, answer, answer_after, answer_and_reset, banner, banner_and_listen, black_hole, drip,
    flood, hang_up, refusing, reset, silent,
};

fn agent(send: &[u8]) -> CheckKind {
    CheckKind::Agent(AgentOptions { send: send.to_vec() })
}

async fn probe(manner: Manner) -> ProbeReport {
    let server = Server::start(manner).await;
    run(&target(server.addr, agent(b""))).await
}

/// The fixtures that take a request take it up to an empty line.
const ASK: &[u8] = b"web1\r\n\r\n";

async fn ask(manner: Manner) -> ProbeReport {
    let server = Server::start(manner).await;
    run(&target(server.addr, agent(ASK))).await
}

fn says(report: &ProbeReport, percent: u64) {
    assert_eq!((report.outcome, report.share), (Outcome::Pass, Some(Share::percent(percent))), "{report:?}");
}

#[tokio::test]
async fn a_line_is_a_share_with_its_phases() {
    let report = probe(banner("up 75%\n")).await;
    says(&report, 75);
    assert_passes(&report, "says `up 75%`");
    let phases = report.phases;
    assert!(phases.connect.is_some() && phases.processing.is_some() && phases.transfer.is_some());
    says(&probe(banner("drain\r\n")).await, 0);
    says(&probe(banner("ready\r")).await, 100);
    // What comes behind the line is not looked at.
    says(&probe(banner("20%\ndown\n")).await, 20);
}

#[tokio::test]
async fn what_is_to_be_sent_is_sent_first_and_the_line_may_come_in_pieces() {
    let mut server = Server::start(answer_after(6, "33%\n")).await;
    says(&run(&target(server.addr, agent(b"web1\r\n"))).await, 33);
    assert_eq!(server.note_after("request: ").await, format!("{:?}", b"web1\r\n"));
    says(&ask(drip("up 5%\n", Duration::from_millis(1))).await, 5);
    // Without it nothing is.
    let mut server = Server::start(banner_and_listen("up\n")).await;
    says(&run(&target(server.addr, agent(b""))).await, 100);
    assert_eq!(server.note_after("heard: ").await, "");
}

#[tokio::test]
async fn one_that_says_it_is_down_fails_in_its_own_words_and_has_no_share() {
    let report = probe(banner("50% stopped # \u{1b}[2Jnightly backup\n")).await;
    assert_fails(&report, FailReason::NotServing, r"says `50% stopped # \u{1b}[2Jnightly backup`");
    assert_eq!(report.share, None);
}

#[tokio::test]
async fn lines_that_are_none() {
    assert_fails(
        &probe(banner("SSH-2.0-OpenSSH_9.2\r\n")).await,
        FailReason::BadBody,
        "none of an agent's words",
    );
    assert_fails(&probe(banner("75\n")).await, FailReason::BadBody, "`75`");
    assert_fails(&probe(banner("\n")).await, FailReason::BadBody, "none of an agent's words");
    // The last digit may be missing, and the sign.
    assert_fails(&ask(answer("7")).await, FailReason::BadBody, "before the end of its line: `7`");
    assert_fails(&ask(answer("up")).await, FailReason::BadBody, "before the end of its line: `up`");
    assert_fails(&ask(hang_up()).await, FailReason::BadResponse, "without a line");
    assert_fails(&ask(answer_and_reset("u")).await, FailReason::Reset, "reset by peer");
    assert_fails(&probe(reset()).await, FailReason::Reset, "");
    let report = run(&target(refusing().addr, agent(b""))).await;
    assert_fails(&report, FailReason::ConnectRefused, "Connection refused");
}

#[tokio::test]
async fn a_line_has_an_end_within_its_limit() {
    let full = format!("up #{}", "x".repeat(LINE_LIMIT_BYTES - 4));
    assert_eq!(full.len(), LINE_LIMIT_BYTES);
    says(&ask(answer(format!("{full}\n"))).await, 100);
    let report = ask(answer(format!("{full}x\n"))).await;
    assert_fails(&report, FailReason::BadBody, "no end of a line in the first 256 bytes");
    let mut server = Server::start(flood("", "up ")).await;
    let report = run(&target(server.addr, agent(ASK))).await;
    assert_fails(&report, FailReason::BadBody, "no end of a line");
    let sent: usize = server.note_after("sent: ").await.parse().unwrap();
    assert!(sent < 1 << 20, "{sent} bytes");
}

#[tokio::test]
async fn silence_and_half_a_line_are_cut_off_by_the_deadline() {
    let server = Server::start(silent()).await;
    let report = run_to_deadline(&target(server.addr, agent(b""))).await;
    assert_fails(&report, FailReason::ResponseTimeout, "no answer within 300ms");
    let server = Server::start(banner("75")).await;
    let report = run_to_deadline(&target(server.addr, agent(b""))).await;
    assert_fails(&report, FailReason::ResponseTimeout, "answer not complete within 300ms: `75`");
    assert_eq!(report.share, None);
    let server = black_hole();
    let report = run_to_deadline(&target(server.addr, agent(b""))).await;
    assert_fails(&report, FailReason::ConnectTimeout, "no connection");
}

fn with_header(version: HttpVersion) -> CheckKind {
    CheckKind::Http(HttpOptions { version, weight_header: Some("server-weight".into()), ..get() })
}

async fn page(head: &str) -> ProbeReport {
    let server = Server::start(answer(format!("{head}\r\nContent-Length: 2\r\n\r\nok"))).await;
    run(&target(server.addr, with_header(HttpVersion::V1))).await
}

#[tokio::test]
async fn a_header_says_the_same_as_a_line() {
    let report = page("HTTP/1.1 200 OK\r\nServer-Weight: up, 40%").await;
    says(&report, 40);
    assert_passes(&report, "wants 40% of its weight");
    says(&page("HTTP/1.1 200 OK\r\nSERVER-WEIGHT: drain").await, 0);
    // Several are one list.
    says(&page("HTTP/1.1 200 OK\r\nServer-Weight: 60%\r\nServer-Weight: ready").await, 60);
    let report = page("HTTP/1.1 200 OK\r\nX-Weight: 10%").await;
    assert_eq!((report.outcome, report.share), (Outcome::Pass, None));
    let report = page("HTTP/1.1 200 OK\r\nServer-Weight: down # no disk").await;
    assert_fails(&report, FailReason::NotServing, "header server-weight: says `down # no disk`");
    let report = page("HTTP/1.1 200 OK\r\nServer-Weight: 0.5").await;
    assert_fails(&report, FailReason::BadBody, "header server-weight: `0.5`");
    let report = page("HTTP/1.1 200 OK\r\nServer-Weight:").await;
    assert_fails(&report, FailReason::BadBody, "header server-weight");
    // What the answer fails for comes first.
    let report = page("HTTP/1.1 503 Busy\r\nServer-Weight: 40%").await;
    assert_fails(&report, FailReason::BadStatus, "503");
    assert_eq!(report.share, None);
    // Nobody asked.
    let server =
        Server::start(answer("HTTP/1.1 200 OK\r\nServer-Weight: drain\r\nContent-Length: 0\r\n\r\n")).await;
    assert_eq!(run(&target(server.addr, CheckKind::Http(get()))).await.share, None);
}

#[tokio::test]
async fn so_it_does_in_http2() {
    for (value, share) in [("25%", Some(Share::percent(25))), ("down", None)] {
        let fields: Fields =
            if share.is_some() { &[("server-weight", "25%")] } else { &[("server-weight", "down")] };
        let server = Server::start(answer2(200, fields, &b"ok"[..], None)).await;
        let report = run(&target(server.addr, with_header(HttpVersion::V2))).await;
        assert_eq!(report.share, share, "{value}: {report:?}");
        assert_eq!(report.outcome == Outcome::Pass, share.is_some(), "{report:?}");
    }
}
