use super::*;
use crate::model::{DnsName, DnsOptions, DnsTransport, Rcode, RecordType};
use crate::probe::dns::{DATAGRAM_LIMIT_BYTES, STRAYS_LIMIT};
use crate::probe::fixtures::{
    Datagrams, LOCALHOST, Manner, Server, black_hole, drip_to, frame_answer, hang_up_after, refusing, reset,
    silent,
};

const ADDRESS: &[u8] = b"\xc0\x0c\0\x01\0\x01\0\0\x0e\x10\0\x04\xc0\0\x02\x01";
const QUESTION_BYTES: usize = 29;

fn options(transport: DnsTransport) -> DnsOptions {
    DnsOptions {
        transport,
        name: DnsName::parse("example.com").unwrap(),
        record: RecordType::A,
        rcode: Rcode::NoError,
        answers: vec!["192.0.2.1".parse().unwrap()],
    }
}

fn udp() -> CheckKind {
    CheckKind::Dns(options(DnsTransport::Udp))
}

fn tcp() -> CheckKind {
    CheckKind::Dns(options(DnsTransport::Tcp))
}

/// One answer to the query, its flags as given.
fn reply(query: &[u8], flags: [u8; 2], records: &[&[u8]]) -> Vec<u8> {
    let mut answer = query.to_vec();
    answer[2..4].copy_from_slice(&flags);
    answer[7] = records.len() as u8;
    answer.extend(records.concat());
    answer
}

fn good(query: &[u8]) -> Vec<u8> {
    reply(query, [0x81, 0x80], &[ADDRESS])
}

fn other_id(query: &[u8]) -> Vec<u8> {
    let mut answer = good(query);
    answer[0] ^= 0xff;
    answer
}

async fn probe_udp(answers: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> ProbeReport {
    let server = Datagrams::start(LOCALHOST, false, answers).await;
    run(&target(server.addr, udp())).await
}

#[tokio::test]
async fn a_right_answer_passes_over_udp_and_tcp() {
    for ip in [LOCALHOST, "::1".parse().unwrap()] {
        let server = Datagrams::start(ip, false, |query| vec![good(query)]).await;
        let report = run(&target(server.addr, udp())).await;
        assert_passes(&report, "NOERROR, 1 records");
        assert!(report.phases.processing.is_some() && report.phases.connect.is_none(), "{report:?}");
    }
    let mut server = Server::start(frame_answer(good)).await;
    let report = run(&target(server.addr, tcp())).await;
    assert_passes(&report, "NOERROR, 1 records");
    assert!(report.phases.processing.is_some() && report.phases.connect.is_some(), "{report:?}");
    assert_eq!(server.note_after("end: ").await, "fin");
}

#[tokio::test]
async fn the_source_address_is_bound() {
    let server = Datagrams::start(LOCALHOST, false, |query| vec![good(query)]).await;
    let mut target = target(server.addr, udp());
    spec(&mut target).source = Some(ScopedAddr { addr: "127.0.0.2".parse().unwrap(), zone: None });
    assert_passes(&run(&target).await, "NOERROR");
    spec(&mut target).source = Some(ScopedAddr { addr: "192.0.2.77".parse().unwrap(), zone: None });
    let report = run(&target).await;
    assert_eq!(report.outcome, Outcome::Inconclusive(crate::model::LocalReason::LocalError), "{report:?}");
}

#[tokio::test]
async fn silence_is_a_failure_and_a_closed_port_a_refusal() {
    let server = Datagrams::start(LOCALHOST, false, |_| Vec::new()).await;
    let report = run_to_deadline(&target(server.addr, udp())).await;
    assert_fails(&report, FailReason::ResponseTimeout, "no answer within 300ms");
    // Nobody is behind the port: ICMP says so.
    let held = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    // Connected to another, it takes nothing from us, and nobody else gets its port.
    held.connect("127.0.0.1:9").unwrap();
    let report = run(&target(held.local_addr().unwrap(), udp())).await;
    assert_fails(&report, FailReason::ConnectRefused, "");
}

#[tokio::test]
async fn an_answer_from_another_address_is_none() {
    let server = Datagrams::start(LOCALHOST, true, |query| vec![good(query)]).await;
    let report = run_to_deadline(&target(server.addr, udp())).await;
    assert_fails(&report, FailReason::ResponseTimeout, "no answer within 300ms");
}

#[tokio::test]
async fn other_ids_are_passed_over_up_to_a_limit() {
    let report = probe_udp(|query| vec![other_id(query), other_id(query), good(query)]).await;
    assert_passes(&report, "NOERROR");
    let report = probe_udp(|query| vec![other_id(query); STRAYS_LIMIT + 1]).await;
    assert_fails(&report, FailReason::BadResponse, "answers with other ids");
    let server = Server::start(frame_answer(other_id)).await;
    let report = run(&target(server.addr, tcp())).await;
    assert_fails(&report, FailReason::BadResponse, "another id");
}

#[tokio::test]
async fn garbage_and_oversized_answers() {
    for (garbage, detail) in [
        (&b""[..], "shorter than its header"),
        (b"hello", "shorter than its header"),
        (b"HTTP/1.1 400 Bad Request", "a question instead"),
    ] {
        assert_fails(&probe_udp(move |_| vec![garbage.to_vec()]).await, FailReason::BadResponse, detail);
        let server = Server::start(frame_answer(move |_| garbage.to_vec())).await;
        assert_fails(&run(&target(server.addr, tcp())).await, FailReason::BadResponse, detail);
    }
    let report = probe_udp(|query| vec![query.to_vec()]).await;
    assert_fails(&report, FailReason::BadResponse, "a question instead of an answer");
    let long = |query: &[u8]| [good(query), vec![0; DATAGRAM_LIMIT_BYTES]].concat();
    let report = probe_udp(move |query| vec![long(query)]).await;
    assert_fails(&report, FailReason::BadResponse, "more than 4096 bytes");
    let server = Server::start(frame_answer(move |query| {
        let mut answer = good(query);
        answer[QUESTION_BYTES - 16] ^= 1;
        answer
    }))
    .await;
    assert_fails(&run(&target(server.addr, tcp())).await, FailReason::BadResponse, "another question");
}

#[tokio::test]
async fn rcodes_and_answers_are_judged() {
    let report = probe_udp(|query| vec![reply(query, [0x81, 0x82], &[])]).await;
    assert_fails(&report, FailReason::BadStatus, "SERVFAIL, wanted NOERROR");
    let report = probe_udp(|query| vec![reply(query, [0x81, 0x8f], &[])]).await;
    assert_fails(&report, FailReason::BadStatus, "rcode 15, wanted NOERROR");
    let report = probe_udp(|query| vec![reply(query, [0x81, 0x80], &[])]).await;
    assert_fails(&report, FailReason::BadBody, "no 192.0.2.1 among 0 addresses");
    let report = probe_udp(|query| vec![reply(query, [0x83, 0x80], &[])]).await;
    assert_fails(&report, FailReason::BadBody, "among 0 addresses (truncated)");

    let server = Datagrams::start(LOCALHOST, false, |query| vec![reply(query, [0x83, 0x83], &[])]).await;
    let wanted = DnsOptions { rcode: Rcode::NxDomain, answers: Vec::new(), ..options(DnsTransport::Udp) };
    assert_passes(
        &run(&target(server.addr, CheckKind::Dns(wanted))).await,
        "NXDOMAIN, 0 records (truncated)",
    );
}

async fn probe_tcp(manner: Manner) -> ProbeReport {
    let server = Server::start(manner).await;
    run(&target(server.addr, tcp())).await
}

#[tokio::test]
async fn tcp_servers_that_misbehave() {
    assert_fails(&run(&target(refusing().addr, tcp())).await, FailReason::ConnectRefused, "refused");
    assert_fails(&probe_tcp(reset()).await, FailReason::Reset, ": ");
    let closed = "closed the connection before its answer was whole";
    assert_fails(&probe_tcp(hang_up_after(b"")).await, FailReason::BadResponse, closed);
    assert_fails(&probe_tcp(hang_up_after(b"\x02\0abc")).await, FailReason::BadResponse, closed);
    for manner in [silent(), drip_to(b"\x02\0", Duration::from_millis(20))] {
        let server = Server::start(manner).await;
        let report = run_to_deadline(&target(server.addr, tcp())).await;
        assert_fails(&report, FailReason::ResponseTimeout, "no answer within 300ms");
    }
    let server = black_hole();
    let report = run_to_deadline(&target(server.addr, tcp())).await;
    assert_fails(&report, FailReason::ConnectTimeout, "no connection");
}
