use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use nix::errno::Errno;
use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert, prop_oneof, proptest};
use proptest::sample::select;
use rustls::AlertDescription;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::*;
use crate::model::BodyRegex;
use crate::probe::Trace;
use crate::probe::fixtures::{
    Manner, Server, answer, answer_and_reset, answer_and_wait, drip, flood, hang_up, reset, silent,
};
use crate::probe::http::{BODY_LIMIT_BYTES, HEAD_LIMIT_BYTES, request};
use crate::probe::http1::exchange;
use crate::probe::meter::{ANSWER_LIMIT_BYTES, BEFORE_BODY_LIMIT_BYTES};
use crate::probe::reason::Stop;

async fn probe(manner: Manner, options: HttpOptions) -> ProbeReport {
    let server = Server::start(manner).await;
    run(&target(server.addr, CheckKind::Http(options))).await
}

/// The request that the options make, as the server got it.
async fn sent(options: HttpOptions) -> (SocketAddr, String) {
    let mut server = Server::start(answer("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")).await;
    assert_passes(&run(&target(server.addr, CheckKind::Http(options))).await, "status 200 OK");
    (server.addr, server.note_after("request: ").await)
}

fn contains(text: &str) -> HttpOptions {
    HttpOptions { body: BodyMatch::Contains(text.to_owned()), ..get() }
}

#[tokio::test]
async fn a_good_answer_passes_with_every_phase() {
    let report = probe(answer("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"), get()).await;
    assert_passes(&report, "status 200 OK, 5 bytes of body");
    assert_eq!(report.http_status, Some(200));
    let phases = report.phases;
    assert!(phases.connect.is_some() && phases.processing.is_some() && phases.transfer.is_some());
    assert_eq!(phases.tls, None);
}

#[tokio::test]
async fn the_request_is_plain_and_complete() {
    let (addr, head) = sent(get()).await;
    let mut lines: Vec<&str> = head.trim_end().lines().collect();
    assert_eq!(lines.remove(0), "GET /healthz HTTP/1.1");
    lines.sort_unstable();
    // No accept-encoding: a body-match reads what was sent.
    let agent = format!("user-agent: lvs-agent/{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(lines, ["connection: close", &format!("host: {addr}"), &agent]);
}

#[tokio::test]
async fn headers_of_the_check_override_ours() {
    let headers = [("HOST", "other"), ("User-Agent", "me"), ("X-A", "1"), ("X-A", "2")];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let (method, path) = ("OPTIONS".to_owned(), "/x?y=%20z".to_owned());
    let (_, head) = sent(HttpOptions { method, path, host: Some("shop".to_owned()), headers, ..get() }).await;
    let mut lines: Vec<&str> = head.trim_end().lines().collect();
    assert_eq!(lines.remove(0), "OPTIONS /x?y=%20z HTTP/1.1");
    lines.sort_unstable();
    assert_eq!(lines, ["connection: close", "host: other", "user-agent: me", "x-a: 1", "x-a: 2"]);
    let post = HttpOptions { method: "POST".to_owned(), ..get() };
    assert!(sent(post).await.1.contains("content-length: 0\r\n"));
    let host = Some("shop.example.com:81".to_owned());
    assert!(sent(HttpOptions { host, ..get() }).await.1.contains("host: shop.example.com:81\r\n"));
}

#[test]
fn the_default_host_leaves_the_schemes_port_out() {
    let host = |addr: &str, port, tls| {
        let request = request(&get(), addr.parse().unwrap(), port, tls, false).unwrap();
        let text = String::from_utf8(request.bytes).unwrap();
        text.lines().find_map(|line| line.strip_prefix("host: ")).unwrap().to_owned()
    };
    assert_eq!(host("10.0.0.1", 80, false), "10.0.0.1");
    assert_eq!(host("10.0.0.1", 443, false), "10.0.0.1:443");
    assert_eq!(host("2001:db8::1", 443, true), "[2001:db8::1]");
    assert_eq!(host("2001:db8::1", 80, true), "[2001:db8::1]:80");
}

#[tokio::test]
async fn other_statuses_fail_and_name_themselves() {
    let report = probe(answer("HTTP/1.1 503 Nope\r\ncontent-length: 0\r\n\r\n"), get()).await;
    assert_fails(&report, FailReason::BadStatus, "status 503 Service Unavailable, wanted 200-299");
    assert_eq!(report.http_status, Some(503));

    let options = HttpOptions { status: vec![(200, 204), (301, 301)], ..get() };
    let report = probe(answer("HTTP/1.1 999 x\r\ncontent-length: 0\r\n\r\n"), options).await;
    assert_fails(&report, FailReason::BadStatus, "status 999, wanted 200-204, 301");
}

#[tokio::test]
async fn a_redirect_is_judged_and_never_followed() {
    let mut server = Server::start(answer(
        "HTTP/1.1 302 Found\r\nlocation: /login\x1b[31m\r\ncontent-length: 0\r\n\r\n".replace('\x1b', "\t"),
    ))
    .await;
    let report = run(&target(server.addr, CheckKind::Http(get()))).await;
    assert_fails(
        &report,
        FailReason::BadStatus,
        r"status 302 Found (Location: /login\t[31m), wanted 200-299",
    );
    let options = HttpOptions { status: vec![(302, 302)], ..get() };
    assert_passes(&run(&target(server.addr, CheckKind::Http(options))).await, "status 302 Found");
    let accepted = server.notes().iter().filter(|note| note.starts_with("accepted")).count();
    assert_eq!(accepted, 2);
}

#[tokio::test]
async fn answers_without_a_body() {
    let head = HttpOptions { method: "HEAD".to_owned(), ..get() };
    for (text, options) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n", head),
        ("HTTP/1.1 204 No Content\r\n\r\n", get()),
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", get()),
    ] {
        // The server does not close: the answer is complete all the same.
        assert_passes(&probe(answer_and_wait(text), options).await, "0 bytes of body");
    }
}

#[tokio::test]
async fn interim_answers_are_passed_over() {
    let text = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n\
                HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let report = probe(answer(text), contains("ok")).await;
    assert_passes(&report, "status 200 OK, 2 bytes");
    assert_eq!(report.http_status, Some(200));
    // 101 is a final answer, to an upgrade that nobody asked for.
    let report = probe(answer_and_wait("HTTP/1.1 101 Switching Protocols\r\n\r\n"), get()).await;
    assert_fails(&report, FailReason::BadStatus, "status 101");
}

#[tokio::test]
async fn chunked_bodies_are_joined_and_must_be_whole() {
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let whole = format!("{head}3;ext=1\r\nhel\r\n2\r\nlo\r\n0\r\nx-trailer: 1\r\n\r\n");
    assert_passes(&probe(answer_and_wait(whole), contains("hello")).await, "5 bytes of body");
    for broken in [
        "3\r\nhelXX2\r\nlo\r\n0\r\n\r\n",
        "zz\r\nhel\r\n",
        "fffffffffffffffffffff\r\nx",
        "3\r\nhel\r\n",
        "5\r\nhel",
    ] {
        let report = probe(answer(format!("{head}{broken}")), get()).await;
        assert_fails(&report, FailReason::BadResponse, "");
        assert_eq!(report.http_status, Some(200), "{broken}");
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_fails_even_if_nothing_is_looked_for() {
    let text = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello";
    let report = probe(answer(text), get()).await;
    assert_fails(&report, FailReason::BadResponse, "in the middle of its answer");
    let report = probe(answer_and_reset(text), get()).await;
    assert_fails(&report, FailReason::Reset, "Connection reset by peer");
}

#[tokio::test]
async fn an_old_server_ends_its_body_by_closing() {
    assert_passes(&probe(answer("HTTP/1.0 200 OK\r\n\r\nhello"), contains("hello")).await, "5 bytes");
}

#[tokio::test]
async fn connections_that_end_without_an_answer() {
    let report = probe(hang_up(), get()).await;
    assert_fails(&report, FailReason::BadResponse, "closed the connection without an answer");
    assert_fails(&probe(reset(), get()).await, FailReason::Reset, "Connection reset by peer");
    let report = probe(answer("HTTP/1.1 200 OK\r\ncontent-le"), get()).await;
    assert_fails(&report, FailReason::BadResponse, "in the middle of its answer");
}

#[tokio::test]
async fn what_is_not_http_is_a_bad_response() {
    for garbage in [
        "<html>hello, I am HTTP/0.9</html>",
        "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        "\0\u{1}\u{2}\u{1b}]0;owned\u{7}",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let report = probe(answer_and_wait(garbage), get()).await;
        assert_fails(&report, FailReason::BadResponse, "not an HTTP/1.1 answer");
        assert_eq!(report.http_status, None);
    }
}

#[tokio::test]
async fn silence_and_slow_drips_die_at_the_deadline() {
    let pause = Duration::from_millis(5);
    for (manner, detail) in [
        (silent(), "no answer within"),
        (drip("HTTP/1.1 200 OK\r\nx-slow: ", pause), "no answer within"),
        (drip("HTTP/1.1 200 OK\r\n\r\nbody", pause), "within"),
        (answer_and_wait("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello"), "answer not complete within"),
    ] {
        let server = Server::start(manner).await;
        let report = run_to_deadline(&target(server.addr, CheckKind::Http(get()))).await;
        assert_fails(&report, FailReason::ResponseTimeout, detail);
    }
}

#[tokio::test]
async fn a_body_is_searched_up_to_the_limit_and_no_further() {
    let page = |padding: usize, tail: &str| {
        let length = padding + tail.len();
        format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{}{tail}", "x".repeat(padding))
    };
    let fits = BODY_LIMIT_BYTES - "needle".len();
    let report = probe(answer(page(fits, "needle")), contains("needle")).await;
    assert_passes(&report, "65536 bytes of body");
    let report = probe(answer(page(fits, "needle and more")), contains("needle")).await;
    assert_passes(&report, "more than 65536 bytes of body");
    let report = probe(answer(page(fits + 1, "needle")), contains("needle")).await;
    assert_fails(
        &report,
        FailReason::BadBody,
        "nothing in the first 65536 bytes of the body matches `needle`",
    );
    let report = probe(answer(page(10, "needle")), contains("noodle")).await;
    assert_fails(&report, FailReason::BadBody, "16 bytes of body do not match `noodle`");
}

#[tokio::test]
async fn a_regex_searches_bytes() {
    let regex = |text| HttpOptions { body: BodyMatch::Regex(BodyRegex::new(text).unwrap()), ..get() };
    let mut text = b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n".to_vec();
    text.extend(b"\xff\xfestatus=ok\n");
    assert_passes(&probe(answer(text.clone()), regex(r"(?m)status=(ok|up)$")).await, "12 bytes");
    assert_fails(&probe(answer(text), regex("^status")).await, FailReason::BadBody, "`^status`");
}

/// What an endless answer may make us take: our limit, the socket's buffers (the kernel doubles
/// what it is asked for) and the blocks in flight.
#[tokio::test]
async fn endless_answers_end_at_our_limits() {
    const BUFFERS: u64 = 512 * 1024;
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let ok = Outcome::Pass;
    let bad = Outcome::Fail(FailReason::BadResponse);
    for (beginning, again, limit, outcome) in [
        ("HTTP/1.1 200 OK\r\n", "x-header: some text\r\n", HEAD_LIMIT_BYTES as u64, bad),
        ("HTTP/1.1 200 OK\r\nx: ", "xxxxxxxxxxxxxxxx", HEAD_LIMIT_BYTES as u64, bad),
        ("HTTP/1.1 200 ", "xxxxxxxxxxxxxxxx", HEAD_LIMIT_BYTES as u64, bad),
        ("", "HTTP/1.1 100 Continue\r\n\r\n", BEFORE_BODY_LIMIT_BYTES, bad),
        ("", "\r\n", BEFORE_BODY_LIMIT_BYTES, bad),
        ("HTTP/1.1 200 OK\r\n\r\n", "endless body ", BODY_LIMIT_BYTES as u64, ok),
        (chunked, "1\r\nx\r\n", 6 * BODY_LIMIT_BYTES as u64, ok),
        (chunked, "000000000000000000", ANSWER_LIMIT_BYTES, bad),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n",
            "x-trailer: 1\r\n",
            ANSWER_LIMIT_BYTES,
            bad,
        ),
    ] {
        let mut server = Server::start(flood(beginning, again)).await;
        let report = run(&target(server.addr, CheckKind::Http(get()))).await;
        assert_eq!(report.outcome, outcome, "{again:?}: {report:?}");
        let sent: u64 = server.note_after("sent: ").await.parse().unwrap();
        assert!(sent < limit + BUFFERS, "{again:?}: {sent} bytes were taken, {limit} is the limit");
    }
}

#[tokio::test]
async fn heads_up_to_the_limit_pass_and_larger_ones_fail() {
    let head = |bytes: usize| {
        let frame = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx: \r\n\r\n".len();
        format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx: {}\r\n\r\n", "v".repeat(bytes - frame))
    };
    assert_passes(&probe(answer(head(HEAD_LIMIT_BYTES - 1)), get()).await, "status 200");
    let report = probe(answer(head(HEAD_LIMIT_BYTES + 1)), get()).await;
    assert_fails(&report, FailReason::BadResponse, "not an HTTP/1.1 answer");
    let lines = |count: usize| {
        format!("HTTP/1.1 200 OK\r\n{}content-length: 0\r\n\r\n", "x: y\r\n".repeat(count - 1))
    };
    assert_passes(&probe(answer(lines(100)), get()).await, "status 200");
    assert_fails(&probe(answer(lines(101)), get()).await, FailReason::BadResponse, "");
}

#[tokio::test]
async fn the_connection_ends_as_the_check_says() {
    let text = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    for (close, end) in [(Close::Fin, "fin"), (Close::Rst, "ConnectionReset")] {
        let mut server = Server::start(answer_and_wait(text)).await;
        let mut target = target(server.addr, CheckKind::Http(get()));
        spec(&mut target).close = close;
        assert_passes(&run(&target).await, "status 200");
        assert_eq!(server.note_after("end: ").await, end);
    }
    // A time-out ends with RST whatever the check says: a FIN would stay behind as an orphan.
    let mut server = Server::start(silent()).await;
    let report = run_to_deadline(&target(server.addr, CheckKind::Http(get()))).await;
    assert_fails(&report, FailReason::ResponseTimeout, "no answer");
    assert_eq!(server.note_after("end: ").await, "ConnectionReset");
}

/// TLS 1.3 again: the rejection of our certificate and the reset behind it may both be there before
/// the request is written. What counts is the server's word, not that writing failed.
#[tokio::test]
async fn an_alert_says_more_than_the_reset_that_follows_it() {
    struct Rejected {
        written: bool,
    }
    impl AsyncRead for Rejected {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context, _: &mut ReadBuf) -> Poll<io::Result<()>> {
            if !self.written {
                return Poll::Pending;
            }
            let alert = rustls::Error::AlertReceived(AlertDescription::CertificateRequired);
            Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, alert)))
        }
    }
    impl AsyncWrite for Rejected {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context, _: &[u8]) -> Poll<io::Result<usize>> {
            self.written = true;
            Poll::Ready(Err(io::Error::from_raw_os_error(Errno::ECONNRESET as i32)))
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }
    let mut trace = Trace::begin(Clock::start());
    let options = get();
    let request = request(&options, "127.0.0.1".parse().unwrap(), 443, true, false).unwrap();
    let ended = exchange(&mut Rejected { written: false }, &request, &options, &mut trace).await;
    assert_eq!(ended, Err(Stop::fail(FailReason::TlsHandshake, "the server wants a client certificate")));
}

/// Pieces of answers, to be put together in every wrong way.
const PIECES: [&str; 16] = [
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.0 204 No Content\r\n",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\r\n",
    "HTTP/1.1 ",
    "content-length: 3\r\n",
    "content-length: 18446744073709551615\r\n",
    "content-length: 18446744073709551616\r\n",
    "transfer-encoding: chunked\r\n",
    "connection: upgrade\r\nupgrade: h2c\r\n",
    "\r\n",
    "3\r\nabc\r\n",
    "0\r\n\r\n",
    "ffffffffffffffff\r\n",
    "abc",
    ": \n\0\r",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever a server says: an answer or a failure of its own, and no panic.
    #[test]
    fn any_answer_is_judged(
        pieces in vec(
            prop_oneof![4 => select(&PIECES).prop_map(|piece| piece.as_bytes().to_vec()), 1 => vec(any::<u8>(), 0..40)],
            0..12,
        ),
        head in any::<bool>(),
    ) {
        let bytes = pieces.concat();
        let method = if head { "HEAD" } else { "GET" }.to_owned();
        let options = HttpOptions { method, status: vec![(100, 999)], ..contains("abc") };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let ended = runtime.block_on(async {
            let (mut ours, mut theirs) = tokio::io::duplex(64 * 1024);
            theirs.write_all(&bytes).await.unwrap();
            theirs.shutdown().await.unwrap();
            let mut trace = Trace::begin(Clock::start());
            let request = request(&options, "127.0.0.1".parse().unwrap(), 80, false, false).unwrap();
            exchange(&mut ours, &request, &options, &mut trace).await
        });
        match ended {
            Ok(_) => prop_assert!(bytes.starts_with(b"HTTP/1.")),
            Err(Stop::Fail(reason, _)) => {
                prop_assert!(matches!(reason, FailReason::BadResponse | FailReason::BadBody), "{reason}");
            }
            Err(Stop::Local(reason, detail)) => prop_assert!(false, "{reason}: {detail}"),
        }
    }
}
