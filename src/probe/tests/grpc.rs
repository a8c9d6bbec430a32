//! The health protocol of gRPC.

use super::*;
use crate::model::GrpcOptions;
use crate::probe::fixtures::http2::{
    End, Fields, GOAWAY, RST_STREAM, answer2, data, endless_frames, frame, frames, headers, settings,
};
use crate::probe::fixtures::{
    Authority, Certified, Manner, Server, Validity, answer_and_wait, refusing, self_signed, silent,
};

const NAME: &str = "shop.example.com";
const GRPC: Fields = &[("content-type", "application/grpc+proto")];
const OK: Fields = &[("grpc-status", "0")];
const SERVING: &[u8] = b"\0\0\0\0\x02\x08\x01";

fn asks(service: &str) -> GrpcOptions {
    GrpcOptions { service: service.to_owned(), host: None }
}

async fn probe(manner: Manner, service: &str) -> ProbeReport {
    let server = Server::start(manner).await;
    run(&target(server.addr, CheckKind::Grpc(asks(service)))).await
}

#[tokio::test]
async fn a_server_that_serves_passes() {
    let mut server = Server::start(answer2(200, GRPC, SERVING, Some(OK))).await;
    let report = run(&target(server.addr, CheckKind::Grpc(asks("shop.Cart")))).await;
    assert_passes(&report, "SERVING (`shop.Cart`)");
    assert!(report.phases.processing.is_some() && report.phases.transfer.is_some());
    let request = server.note_after("request: ").await;
    let url = format!("POST http://{}/grpc.health.v1.Health/Check ", server.addr);
    assert!(request.starts_with(&url), "{request}");
    for field in [
        r#""content-type": "application/grpc""#,
        r#""te": "trailers""#,
        r#""grpc-timeout": "60000m""#,
        &format!("{:?}", [&b"\0\0\0\0\x0b\x0a\x09"[..], b"shop.Cart"].concat()),
    ] {
        assert!(request.contains(field), "{field} is not in {request}");
    }
    assert_passes(&probe(answer2(200, GRPC, SERVING, Some(OK)), "").await, "SERVING");
    let host = GrpcOptions { host: Some("shop:50051".to_owned()), ..asks("") };
    assert_passes(&run(&target(server.addr, CheckKind::Grpc(host))).await, "SERVING");
    assert!(server.note_after("request: ").await.starts_with("POST http://shop:50051/grpc.health"));
}

#[tokio::test]
async fn each_way_not_to_serve_has_its_reason() {
    let status = |number: u8| [b"\0\0\0\0\x02\x08", &[number][..]].concat();
    for (number, reason, detail) in [
        (0, FailReason::NotServing, "UNKNOWN (`a`)"),
        (2, FailReason::NotServing, "NOT_SERVING (`a`)"),
        (3, FailReason::ServiceUnknown, "SERVICE_UNKNOWN (`a`)"),
        (4, FailReason::BadResponse, "serving status 4"),
    ] {
        assert_fails(&probe(answer2(200, GRPC, status(number), Some(OK)), "a").await, reason, detail);
    }
    // A message without the field: it is 0.
    let report = probe(answer2(200, GRPC, vec![0; 5], Some(OK)), "a").await;
    assert_fails(&report, FailReason::NotServing, "UNKNOWN");
}

#[tokio::test]
async fn a_call_that_fails_says_why() {
    let cases: [(Fields, FailReason, &str); 5] = [
        (
            &[("grpc-status", "5"), ("grpc-message", "unknown%20service")],
            FailReason::ServiceUnknown,
            "grpc-status 5 NOT_FOUND (`a`): unknown service",
        ),
        (&[("grpc-status", "12")], FailReason::Unimplemented, "grpc-status 12 UNIMPLEMENTED"),
        (&[("grpc-status", "14")], FailReason::GrpcStatus, "grpc-status 14 UNAVAILABLE"),
        (
            &[("grpc-status", "16"), ("grpc-message", "%1b[31m%e2%80%ae")],
            FailReason::GrpcStatus,
            r"grpc-status 16 UNAUTHENTICATED (`a`): \u{1b}[31m\u{202e}",
        ),
        (&[("grpc-status", "99")], FailReason::GrpcStatus, "grpc-status 99 unknown"),
    ];
    for (trailers, reason, detail) in cases {
        assert_fails(&probe(answer2(200, GRPC, "", Some(trailers)), "a").await, reason, detail);
    }
    // Trailers only: they are the head.
    let only: Fields = &[("content-type", "application/grpc"), ("grpc-status", "12")];
    assert_fails(&probe(answer2(200, only, "", None), "").await, FailReason::Unimplemented, "");
}

#[tokio::test]
async fn what_is_no_grpc_answer() {
    let report = probe(answer2(404, &[], "no", None), "").await;
    assert_fails(&report, FailReason::BadStatus, "status 404 Not Found, wanted 200");
    assert_eq!(report.http_status, Some(404));
    let report = probe(answer2(200, &[("content-type", "text/html")], "<html>", None), "").await;
    assert_fails(&report, FailReason::BadResponse, "content-type `text/html`");
    for (body, trailers, detail) in [
        (SERVING.to_vec(), None, "no grpc-status within 7 bytes of body"),
        (SERVING.to_vec(), Some(&[("grpc-status", "fine")][..]), "grpc-status `fine`"),
        (b"\x01\0\0\0\0".to_vec(), Some(OK), "not one uncompressed message"),
        ([SERVING, SERVING].concat(), Some(OK), "not one uncompressed message"),
        (Vec::new(), Some(OK), "not one uncompressed message"),
        (b"\0\0\0\0\x01\x0b".to_vec(), Some(OK), "not a HealthCheckResponse"),
        (vec![b'x'; 100_000], Some(OK), "no grpc-status within more than 65536 bytes"),
    ] {
        assert_fails(&probe(answer2(200, GRPC, body, trailers), "").await, FailReason::BadResponse, detail);
    }
    let report = probe(answer_and_wait("HTTP/1.1 505 HTTP Version Not Supported\r\n\r\n"), "").await;
    assert_fails(&report, FailReason::BadResponse, "answers in HTTP/1");
}

#[tokio::test]
async fn servers_that_break_off() {
    let head = || [settings(), headers(false, &[(":status", "200"), GRPC[0]])].concat();
    let answer = [head(), data(false, SERVING)].concat();
    let report = probe(frames(answer.clone(), End::Fin), "").await;
    assert_fails(&report, FailReason::BadResponse, "in the middle of its answer");
    assert_fails(&probe(frames(answer.clone(), End::Reset), "").await, FailReason::Reset, "");
    let reset = frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes());
    let report = probe(frames([answer, reset].concat(), End::Wait), "").await;
    assert_fails(&report, FailReason::BadResponse, "the server reset the stream");
    let report = probe(frames([settings(), frame(GOAWAY, 0, 0, &[0; 8])].concat(), End::Wait), "").await;
    assert_fails(&report, FailReason::BadResponse, "the server ended the connection");
    assert_fails(
        &run(&target(refusing().addr, CheckKind::Grpc(asks("")))).await,
        FailReason::ConnectRefused,
        "",
    );
    let pause = Some(Duration::from_millis(20));
    for manner in [silent(), endless_frames(head(), data(false, b"\0"), pause)] {
        let server = Server::start(manner).await;
        let report = run_to_deadline(&target(server.addr, CheckKind::Grpc(asks("")))).await;
        assert_fails(&report, FailReason::ResponseTimeout, "within 300ms");
    }
}

#[tokio::test]
async fn over_tls_with_the_certificate_verified() {
    let authority = Authority::new("a");
    let options = TlsOptions { ca: Some(authority.certificate_file()), ..tls_to(NAME) };
    let serve = |certified: Certified| {
        let mut config = certified.server();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Server::tls(config, answer2(200, GRPC, SERVING, Some(OK)))
    };
    let ask = |server: &Server| target(server.addr, CheckKind::Grpcs(asks(""), options.clone()));
    let server = serve(authority.issue(&[NAME], Validity::Now)).await;
    let report = run(&ask(&server)).await;
    assert_passes(&report, "SERVING");
    assert!(report.phases.tls.is_some() && report.chain.is_some());
    for (certified, reason) in [
        (authority.issue(&["other.example.com"], Validity::Now), FailReason::TlsName),
        (authority.issue(&[NAME], Validity::Past), FailReason::TlsExpired),
        (self_signed(&[NAME], Validity::Now, false), FailReason::TlsUntrusted),
    ] {
        let server = serve(certified).await;
        assert_fails(&run(&ask(&server)).await, reason, "");
    }
    let server = Server::start(silent()).await;
    assert_fails(&run_to_deadline(&ask(&server)).await, FailReason::TlsTimeout, "");
}
