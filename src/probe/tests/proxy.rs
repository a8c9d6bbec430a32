use super::*;
use crate::model::{Dialogue, Expect, ProxyProtocol, Speech};
use crate::probe::fixtures::{
    Authority, Server, Validity, answer, answer_and_wait, banner, proxied, proxied_tls, silent, unattended,
};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const LOCAL: &str = "v2 [32, 0, 0, 0]";

/// Of a bare tcp check with a header as of the others: `close` is fin.
fn with_header(server: &Server, kind: CheckKind, version: ProxyProtocol) -> Target {
    let mut target = target(server.addr, kind);
    spec(&mut target).proxy_protocol = Some(version);
    spec(&mut target).close = Close::Fin;
    target
}

fn greeting() -> CheckKind {
    let expect = Expect::Text(b"220 ".to_vec());
    CheckKind::Dialogue(Dialogue { speech: Speech::Own, send: vec![], expect, refusal: None, farewell: b"" })
}

#[tokio::test]
async fn the_header_goes_first_in_every_kind() {
    let mut server = Server::start(proxied(silent())).await;
    for version in ProxyProtocol::ALL {
        assert_passes(&run(&with_header(&server, CheckKind::Tcp, version)).await, "connected");
        assert_eq!(server.note_after("proxy: ").await.starts_with("v2"), version == ProxyProtocol::V2);
        assert_eq!(server.note_after("end: ").await, "fin");
    }

    let mut server = Server::start(proxied(banner("220 mail\r\n"))).await;
    assert_passes(&run(&with_header(&server, greeting(), ProxyProtocol::V2)).await, "220 mail");
    assert_eq!(server.note_after("proxy: ").await, LOCAL);

    let mut server = Server::start(proxied(answer_and_wait(OK))).await;
    assert_passes(&run(&with_header(&server, CheckKind::Http(get()), ProxyProtocol::V2)).await, "status 200");
    assert_eq!(server.note_after("proxy: ").await, LOCAL);
    assert!(server.note_after("request: ").await.starts_with("GET /healthz HTTP/1.1\r\n"));

    let authority = Authority::new("a");
    let certified = authority.issue(&["shop.example.com"], Validity::Now);
    let tls = TlsOptions { ca: Some(authority.certificate_file()), ..tls_to("shop.example.com") };
    let mut server = proxied_tls(certified.server(), answer_and_wait(OK)).await;
    for kind in [CheckKind::Tls(tls.clone()), CheckKind::Https(get(), tls)] {
        let passes = if matches!(kind, CheckKind::Tls(_)) { "handshake done" } else { "status 200" };
        assert_passes(&run(&with_header(&server, kind, ProxyProtocol::V1)).await, passes);
        assert!(server.note_after("proxy: ").await.starts_with("PROXY TCP4 127.0.0.1 127.0.0.1 "));
    }
}

#[tokio::test]
async fn version_1_names_the_connections_own_addresses() {
    let mut server = Server::on("::1".parse().unwrap(), proxied(banner("220 mail\r\n"))).await;
    assert_passes(&run(&with_header(&server, greeting(), ProxyProtocol::V1)).await, "220 mail");
    let header = server.note_after("proxy: ").await;
    let words: Vec<&str> = header.split([' ', '\r', '\n']).collect();
    let ["PROXY", "TCP6", "::1", "::1", from, to, ..] = words.as_slice() else { panic!("{header}") };
    assert!(from.parse::<u16>().unwrap() > 0);
    assert_eq!(*to, server.addr.port().to_string());
}

#[tokio::test]
async fn without_the_header_such_a_server_resets() {
    let server = Server::start(proxied(answer(OK))).await;
    let report = run(&target(server.addr, CheckKind::Http(get()))).await;
    assert_fails(&report, FailReason::Reset, "reset");
}

#[tokio::test]
async fn a_header_ends_the_half_open_close() {
    // The server's application is to see the header, so the connection is whole.
    let server = unattended();
    let mut target = target(server.addr, CheckKind::Tcp);
    spec(&mut target).proxy_protocol = Some(ProxyProtocol::V2);
    spec(&mut target).close = Close::Fin;
    assert_passes(&run(&target).await, "connected");
    assert_eq!(server.accept().unwrap().unwrap(), 16);
}
