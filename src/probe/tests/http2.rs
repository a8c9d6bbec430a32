//! The second version of HTTP, and what a server may make of it.

use super::*;
use crate::probe::fixtures::http2::{
    CONTINUATION, End, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, answer2, block, data, endless_frames,
    frame, frames, headers, settings,
};
use crate::probe::fixtures::{
    Authority, Manner, Server, Validity, answer_and_wait, hang_up, refusing, reset, silent,
};
use crate::probe::http::BODY_LIMIT_BYTES;
use crate::probe::meter::{ANSWER_LIMIT_BYTES, BEFORE_BODY_LIMIT_BYTES};

const NAME: &str = "shop.example.com";

fn get2() -> HttpOptions {
    HttpOptions { version: HttpVersion::V2, ..get() }
}

async fn probe(manner: Manner) -> ProbeReport {
    let server = Server::start(manner).await;
    run(&target(server.addr, CheckKind::Http(get2()))).await
}

fn ok() -> Vec<u8> {
    [settings(), headers(false, &[(":status", "200")])].concat()
}

#[tokio::test]
async fn a_good_answer_passes_with_every_phase() {
    let mut server = Server::start(answer2(200, &[("x-a", "1")], "hello", None)).await;
    let fields = [("X-Probe".to_owned(), "lvs".to_owned())].to_vec();
    let options = HttpOptions { headers: fields, body: BodyMatch::Contains("ell".to_owned()), ..get2() };
    let report = run(&target(server.addr, CheckKind::Http(options))).await;
    assert_passes(&report, "status 200 OK, 5 bytes of body");
    assert_eq!(report.http_status, Some(200));
    let phases = report.phases;
    assert!(phases.connect.is_some() && phases.processing.is_some() && phases.transfer.is_some());
    let agent = env!("CARGO_PKG_VERSION");
    let request = server.note_after("request: ").await;
    assert!(request.starts_with(&format!("GET http://{}/healthz {{", server.addr)), "{request}");
    assert!(request.contains(r#""x-probe": "lvs""#) && request.contains(agent), "{request}");
    assert!(!request.contains("connection") && !request.contains("\"host\""), "{request}");
    // GOAWAY, and then FIN.
    assert_eq!(server.note_after("left").await, "");
}

#[tokio::test]
async fn trailers_and_interim_answers_say_nothing() {
    assert_passes(&probe(answer2(204, &[], "", None)).await, "status 204 No Content, 0 bytes");
    assert_passes(&probe(answer2(200, &[], "ok", Some(&[("x-t", "1")]))).await, "2 bytes");
    let interim = headers(false, &[(":status", "103")]);
    let answer = [settings(), interim, headers(true, &[(":status", "200")])].concat();
    assert_passes(&probe(frames(answer, End::Wait)).await, "status 200 OK, 0 bytes");
}

#[tokio::test]
async fn statuses_and_bodies_are_judged_as_in_http_1() {
    let report = probe(answer2(302, &[("location", "/login")], "", None)).await;
    assert_fails(&report, FailReason::BadStatus, "status 302 Found (Location: /login), wanted 200-299");
    let options = HttpOptions { body: BodyMatch::Contains("fine".to_owned()), ..get2() };
    let server = Server::start(answer2(200, &[], "broken", None)).await;
    let report = run(&target(server.addr, CheckKind::Http(options))).await;
    assert_fails(&report, FailReason::BadBody, "6 bytes of body do not match `fine`");
}

#[tokio::test]
async fn over_tls_it_must_be_agreed_on() {
    let authority = Authority::new("a");
    let serve = |alpn: &[&str]| {
        let mut config = authority.issue(&[NAME], Validity::Now).server();
        config.alpn_protocols = alpn.iter().map(|alpn| alpn.as_bytes().to_vec()).collect();
        Server::tls(config, answer2(200, &[], "hello", None))
    };
    let options = TlsOptions { ca: Some(authority.certificate_file()), ..tls_to(NAME) };
    let https = |server: &Server| target(server.addr, CheckKind::Https(get2(), options.clone()));
    let mut server = serve(&["http/1.1", "h2"]).await;
    let report = run(&https(&server)).await;
    assert_passes(&report, "status 200 OK, 5 bytes");
    assert!(report.phases.tls.is_some() && report.chain.is_some());
    assert!(server.note_after("sni ").await.ends_with(&format!("alpn {:?}", Some(b"h2"))));
    assert!(server.note_after("request: ").await.starts_with(&format!("GET https://{}/", server.addr)));

    let report = run(&https(&serve(&["http/1.1"]).await)).await;
    assert_fails(&report, FailReason::TlsHandshake, "NoApplicationProtocol");
    let report = run(&https(&serve(&[]).await)).await;
    assert_fails(&report, FailReason::BadResponse, "did not choose HTTP/2 (h2) in TLS");
}

#[tokio::test]
async fn an_answer_in_another_protocol() {
    for text in ["HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n", "HTTP/1.0 200 OK\r\n\r\n"] {
        let report = probe(answer_and_wait(text)).await;
        assert_fails(&report, FailReason::BadResponse, "answers in HTTP/1, not in HTTP/2");
        assert_eq!(report.http_status, None);
    }
    for garbage in ["SSH-2.0-OpenSSH_9.2\r\n", "220 mail.example.com ESMTP\r\n", "\0\0\0\0\0\0\0\0\0\0\0\0"] {
        assert_fails(&probe(answer_and_wait(garbage)).await, FailReason::BadResponse, "not an HTTP/2 answer");
    }
}

#[tokio::test]
async fn a_server_that_takes_leave_in_http_2() {
    let goaway =
        |last: u32, code: u32| frame(GOAWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat());
    let report = probe(frames([settings(), goaway(0, 0)].concat(), End::Wait)).await;
    assert_fails(&report, FailReason::BadResponse, "the server ended the connection");
    let report = probe(frames([settings(), goaway(0, 11)].concat(), End::Fin)).await;
    assert_fails(&report, FailReason::BadResponse, "the server ended the connection");
    // It announces its end, and answers what it has.
    let answer = [settings(), goaway(1, 0), headers(true, &[(":status", "200")])].concat();
    assert_passes(&probe(frames(answer, End::Fin)).await, "status 200 OK");

    let reset_stream = frame(RST_STREAM, 0, 1, &7_u32.to_be_bytes());
    let report = probe(frames([settings(), reset_stream.clone()].concat(), End::Wait)).await;
    assert_fails(&report, FailReason::BadResponse, "the server reset the stream");
    let report = probe(frames([ok(), data(false, b"hel"), reset_stream].concat(), End::Wait)).await;
    assert_fails(&report, FailReason::BadResponse, "the server reset the stream");
    assert_eq!(report.http_status, Some(200));
}

#[tokio::test]
async fn connections_that_end_too_early() {
    let half = || [ok(), data(false, b"hel")].concat();
    let report = probe(frames(half(), End::Fin)).await;
    assert_fails(&report, FailReason::BadResponse, "in the middle of its answer");
    assert_fails(&probe(frames(half(), End::Reset)).await, FailReason::Reset, "Connection reset by peer");
    let report = probe(frames(settings(), End::Fin)).await;
    assert_fails(&report, FailReason::BadResponse, "in the middle of its answer");
    let report = probe(frames(Vec::new(), End::Fin)).await;
    assert_fails(&report, FailReason::BadResponse, "without an answer");
    assert_fails(&probe(reset()).await, FailReason::Reset, "Connection reset by peer");
    // It hangs up over what it has not read: FIN or RST, as the kernel has it.
    let report = probe(hang_up()).await;
    assert!(
        matches!(report.outcome, Outcome::Fail(FailReason::BadResponse | FailReason::Reset)),
        "{report:?}"
    );
    let report = run(&target(refusing().addr, CheckKind::Http(get2()))).await;
    assert_fails(&report, FailReason::ConnectRefused, "");
}

#[tokio::test]
async fn frames_that_break_the_rules() {
    let answer = |frame: Vec<u8>| frames([settings(), frame].concat(), End::Wait);
    for broken in [
        // A head without a status, and one in capitals.
        headers(true, &[("x-a", "1")]),
        headers(true, &[(":status", "200"), ("X-A", "1")]),
        // Data before the head, a frame longer than was allowed, a push that was not.
        data(true, b"hello"),
        frame(HEADERS, 5, 1, &[0; 20_000]),
        frame(5, 4, 1, &[0, 0, 0, 2, 0x88]),
        // A table index that is not there.
        frame(HEADERS, 5, 1, &[0xff, 0x70]),
        frame(SETTINGS, 0, 1, &[]),
    ] {
        assert_fails(&probe(answer(broken)).await, FailReason::BadResponse, "not an HTTP/2 answer");
    }
    let long = [ok()[..9].to_vec(), headers(false, &[(":status", "200"), ("content-length", "9")])].concat();
    let report = probe(frames([long, data(true, b"hello")].concat(), End::Wait)).await;
    assert_fails(&report, FailReason::BadResponse, "not an HTTP/2 answer");
}

#[tokio::test]
async fn what_has_no_end_is_cut_off_by_bytes() {
    let field = block(&[("x-endless", "0123456789")]);
    let head = frame(HEADERS, 0, 1, &block(&[(":status", "200")]));
    for (beginning, again) in [
        ([settings(), head].concat(), frame(CONTINUATION, 0, 1, &field)),
        ([settings(), frame(HEADERS, 0, 1, &[])].concat(), frame(CONTINUATION, 0, 1, &[])),
        (settings(), frame(PING, 0, 0, &[0; 8])),
        (settings(), settings()),
        (settings(), headers(false, &[(":status", "103")])),
        (settings(), frame(0xbe, 0, 0, &[0; 100])),
    ] {
        let mut server = Server::start(endless_frames(beginning, again.clone(), None)).await;
        let report = run(&target(server.addr, CheckKind::Http(get2()))).await;
        assert_fails(&report, FailReason::BadResponse, "");
        let sent: u64 = server.note_after("sent: ").await.parse().unwrap();
        assert!(sent < BEFORE_BODY_LIMIT_BYTES + (1 << 20), "{sent} of {again:?}");
    }
    // After the head: frames without a byte, and more bytes than they were allowed.
    for frame in [data(false, &[]), data(false, &[b'x'; 1000])] {
        let mut server = Server::start(endless_frames(ok(), frame, None)).await;
        let report = run(&target(server.addr, CheckKind::Http(get2()))).await;
        assert_fails(&report, FailReason::BadResponse, "");
        let sent: u64 = server.note_after("sent: ").await.parse().unwrap();
        assert!(sent < ANSWER_LIMIT_BYTES + (1 << 20), "{sent}");
    }
    // A long body is read to its limit, as in HTTP/1.
    let report = probe(answer2(200, &[], vec![b'x'; 1 << 20], None)).await;
    assert_passes(&report, &format!("more than {BODY_LIMIT_BYTES} bytes of body"));
    let report = probe(answer2(200, &[], vec![b'x'; BODY_LIMIT_BYTES], None)).await;
    assert_passes(&report, &format!("{BODY_LIMIT_BYTES} bytes of body"));
}

#[tokio::test]
async fn what_takes_its_time_is_cut_off_by_the_deadline() {
    let pause = Some(Duration::from_millis(20));
    for manner in [
        silent(),
        frames(settings(), End::Wait),
        endless_frames(settings(), frame(PING, 0, 0, &[0; 8]), pause),
    ] {
        let server = Server::start(manner).await;
        let report = run_to_deadline(&target(server.addr, CheckKind::Http(get2()))).await;
        assert_fails(&report, FailReason::ResponseTimeout, "no answer within");
    }
    let server = Server::start(endless_frames(ok(), data(false, b"x"), pause)).await;
    let report = run_to_deadline(&target(server.addr, CheckKind::Http(get2()))).await;
    assert_fails(&report, FailReason::ResponseTimeout, "answer not complete within");
    let authority = Authority::new("a");
    let trusting = TlsOptions { ca: Some(authority.certificate_file()), ..tls_to(NAME) };
    let https = CheckKind::Https(get2(), trusting);
    let server = Server::start(silent()).await;
    assert_fails(&run_to_deadline(&target(server.addr, https)).await, FailReason::TlsTimeout, "");
}
