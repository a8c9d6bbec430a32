use proptest::prelude::*;

use super::*;
use crate::model::{BodyRegex, Dialogue, Expect, Speech};
use crate::probe::dialogue::{ANSWER_LIMIT_BYTES, PIECES_LIMIT};
use crate::probe::fixtures::{
    Manner, Server, answer, answer_after, answer_and_reset, answer_and_wait, banner, banner_and_listen,
    black_hole, drip, flood, hang_up, refusing, reset, silent,
};

/// The fixtures take a request up to an empty line.
const HELLO: &[u8] = b"HELLO\r\n\r\n";

fn text(send: &[u8], expect: &str) -> Dialogue {
    let expect = Expect::Text(expect.as_bytes().to_vec());
    Dialogue { speech: Speech::Own, send: send.to_vec(), expect, refusal: None, farewell: b"" }
}

fn regex(send: &[u8], expect: &str) -> Dialogue {
    Dialogue { expect: Expect::Regex(BodyRegex::new(expect).unwrap()), ..text(send, "") }
}

async fn probe(manner: Manner, dialogue: Dialogue) -> ProbeReport {
    let server = Server::start(manner).await;
    run(&target(server.addr, CheckKind::Dialogue(dialogue))).await
}

#[tokio::test]
async fn an_answer_that_fits_passes_with_its_phases_and_ends_orderly() {
    let mut server = Server::start(answer_and_wait("+PONG\r\n")).await;
    let report = run(&target(server.addr, CheckKind::Dialogue(text(HELLO, "+PONG\r\n")))).await;
    assert_passes(&report, r"answered `+PONG\r\n`");
    let phases = report.phases;
    assert!(phases.connect.is_some() && phases.processing.is_some() && phases.transfer.is_some());
    assert_eq!(phases.tls, None);
    assert_eq!(server.note_after("request: ").await.as_bytes(), HELLO);
    assert_eq!(server.note_after("end: ").await, "fin");
}

#[tokio::test]
async fn a_greeting_is_awaited_where_nothing_is_sent() {
    assert_passes(&probe(banner("220 mail ESMTP\r\n"), regex(b"", "^220 ")).await, "`220 mail ESMTP");
    let report = probe(banner("\u{ff}\0binary"), regex(b"", r"(?-u)^\xc3\xbf\x00b")).await;
    assert_passes(&report, r"\u{0}binary");
}

#[tokio::test]
async fn an_answer_in_pieces_is_one() {
    let pause = Duration::from_millis(1);
    assert_passes(&probe(drip("+PONG\r\n", pause), text(HELLO, "+PONG\r\n")).await, "answered");
}

#[tokio::test]
async fn another_answer_is_quoted() {
    let report = probe(answer("-LOADING\r\n"), text(HELLO, "+PONG\r\n")).await;
    assert_fails(&report, FailReason::BadBody, r"answered `-LOADING\r\n`, wanted `+PONG\r\n`");
    let report = probe(answer("x".repeat(200)), regex(HELLO, "^ok$")).await;
    assert_fails(&report, FailReason::BadBody, "xxx…`, wanted `^ok$`");
}

#[tokio::test]
async fn a_wrong_line_that_the_server_leaves_at_that_is_a_wrong_answer() {
    let server = Server::start(answer_and_wait("-LOADING\r\n")).await;
    let report = run_to_deadline(&target(server.addr, CheckKind::Dialogue(text(HELLO, "+PONG")))).await;
    assert_fails(&report, FailReason::BadBody, r"not what is expected within 300ms: `-LOADING\r\n`");
}

#[tokio::test]
async fn silence_and_drips_are_cut_off_by_the_deadline() {
    let server = Server::start(silent()).await;
    let report = run_to_deadline(&target(server.addr, CheckKind::Dialogue(text(HELLO, "+PONG")))).await;
    assert_fails(&report, FailReason::ResponseTimeout, "no answer within 300ms");
    let server = Server::start(drip("+PO", Duration::from_millis(20))).await;
    let report = run_to_deadline(&target(server.addr, CheckKind::Dialogue(text(HELLO, "+PONG")))).await;
    assert_fails(&report, FailReason::ResponseTimeout, "answer not complete within 300ms: `+POO");
    let server = black_hole();
    let report = run_to_deadline(&target(server.addr, CheckKind::Dialogue(text(HELLO, "+PONG")))).await;
    assert_fails(&report, FailReason::ConnectTimeout, "no connection");
}

#[tokio::test]
async fn servers_that_leave() {
    let server = refusing();
    let report = run(&target(server.addr, CheckKind::Dialogue(text(HELLO, "+PONG")))).await;
    assert_fails(&report, FailReason::ConnectRefused, "Connection refused");
    let report = probe(hang_up(), text(HELLO, "+PONG")).await;
    assert_fails(&report, FailReason::BadResponse, "closed the connection without an answer");
    let report = probe(answer("+PO"), text(HELLO, "+PONG")).await;
    assert_fails(&report, FailReason::BadBody, "answered `+PO`, wanted `+PONG`");
    assert_fails(&probe(reset(), text(HELLO, "+PONG")).await, FailReason::Reset, ": ");
    let report = probe(answer_and_reset("+PO"), text(HELLO, "+PONG")).await;
    assert_fails(&report, FailReason::Reset, "Connection reset by peer");
}

#[tokio::test]
async fn a_flood_is_read_up_to_the_limit() {
    let mut server = Server::start(flood("", "spam ")).await;
    let report = run(&target(server.addr, CheckKind::Dialogue(text(HELLO, "ham")))).await;
    assert_fails(&report, FailReason::BadBody, "not in the answer's first ");
    let sent: usize = server.note_after("sent: ").await.parse().unwrap();
    assert!(sent < 1 << 20, "{sent} bytes");
    const { assert!(ANSWER_LIMIT_BYTES >= 4096 && PIECES_LIMIT >= 100) };
}

fn greeting(speech: Speech) -> CheckKind {
    CheckKind::Dialogue(Dialogue::greeting(speech).unwrap().unwrap())
}

#[tokio::test]
async fn smtp_awaits_the_whole_greeting_and_takes_its_leave() {
    let mut server = Server::start(banner_and_listen("220-mx\r\n220 mx ESMTP\r\n")).await;
    assert_passes(&run(&target(server.addr, greeting(Speech::Smtp))).await, "220 mx ESMTP");
    assert_eq!(server.note_after("heard: ").await, "QUIT\r\n");
    // Not before the server has spoken, and not to one that refuses.
    let mut server = Server::start(banner_and_listen("554 no service\r\n")).await;
    let report = run(&target(server.addr, greeting(Speech::Smtp))).await;
    assert_fails(&report, FailReason::BadBody, r"refused with `554 no service\r\n`");
    assert_eq!(server.note_after("heard: ").await, "");
}

#[tokio::test]
async fn databases_that_are_well_and_that_refuse() {
    let mut server = Server::start(answer_after(6, "+PONG\r\n")).await;
    assert_passes(&run(&target(server.addr, greeting(Speech::Redis))).await, "PONG");
    assert_eq!(server.note_after("request: ").await, format!("{:?}", b"PING\r\n"));
    let server = Server::start(answer_after(6, "-LOADING Redis is loading\r\n")).await;
    let report = run(&target(server.addr, greeting(Speech::Redis))).await;
    assert_fails(&report, FailReason::BadBody, "refused with `-LOADING");

    let mut server = Server::start(answer_after(8, "N")).await;
    assert_passes(&run(&target(server.addr, greeting(Speech::Postgres))).await, "answered `N`");
    assert_eq!(server.note_after("request: ").await, "[0, 0, 0, 8, 4, 210, 22, 47]");

    let server = Server::start(banner("\u{4a}\0\0\0\n8.0.36\0rest")).await;
    assert_passes(&run(&target(server.addr, greeting(Speech::Mysql))).await, "8.0.36");
    let server = Server::start(banner_and_listen(*b"\x17\0\0\0\xff\x10\x04Too many connections")).await;
    let report = run(&target(server.addr, greeting(Speech::Mysql))).await;
    assert_fails(&report, FailReason::BadBody, "Too many connections");
}

#[test]
fn the_expected_text_may_lie_anywhere() {
    let expect = Expect::Text(b"ok\r\n".to_vec());
    assert!(expect.is_in(b"ok\r\n") && expect.is_in(b"x ok\r\ny"));
    assert!(!expect.is_in(b"ok\r") && !expect.is_in(b""));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever a server says: a bounded read, an outcome that follows from it, a harmless report.
    #[test]
    fn any_answer_has_its_outcome(said in prop::collection::vec(any::<u8>(), 0..512), fits: bool) {
        let said = if fits { [&said[..], b"+PONG"].concat() } else { said };
        let holds = said.windows(5).any(|window| window == b"+PONG");
        let empty = said.is_empty();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let report = runtime.block_on(probe(answer(said), text(HELLO, "+PONG")));
        let expected = match (holds, empty) {
            (true, _) => Outcome::Pass,
            (false, true) => Outcome::Fail(FailReason::BadResponse),
            (false, false) => Outcome::Fail(FailReason::BadBody),
        };
        prop_assert_eq!(report.outcome, expected, "{:?}", report);
    }
}
