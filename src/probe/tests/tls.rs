use rustls::version::{TLS12, TLS13};

use super::*;
use crate::model::{ClientCertificate, LocalReason, PemFile};
use crate::probe::Alpn;
use crate::probe::fixtures::{
    Authority, Certified, Server, Validity, answer_and_drop, answer_and_wait, banner, hang_up,
    listen_and_leave, pem_file, reset, self_signed, silent,
};

const NAME: &str = "shop.example.com";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Options that trust this authority.
fn trusting(authority: &Authority) -> TlsOptions {
    TlsOptions { ca: Some(authority.certificate_file()), ..tls_to(NAME) }
}

fn as_client(options: TlsOptions, client: &Certified) -> TlsOptions {
    let client = ClientCertificate { certificate: client.certificate_file(), key: client.key_file() };
    TlsOptions { client_certificate: Some(client), ..options }
}

async fn probe(server: &Server, options: TlsOptions) -> ProbeReport {
    run(&target(server.addr, CheckKind::Tls(options))).await
}

async fn probe_https(server: &Server, options: TlsOptions) -> ProbeReport {
    run(&target(server.addr, CheckKind::Https(get(), options))).await
}

#[tokio::test]
async fn a_good_certificate_passes_in_both_versions() {
    let authority = Authority::new("a");
    let certified = authority.issue(&[NAME], Validity::Now);
    for (version, text) in [(&TLS12, "TLS 1.2"), (&TLS13, "TLS 1.3")] {
        let mut server = Server::tls(certified.server_of(&[version], None), silent()).await;
        let report = probe(&server, trusting(&authority)).await;
        assert_passes(&report, text);
        assert!(report.phases.connect.is_some() && report.phases.tls.is_some(), "{report:?}");
        assert!(report.phases.processing.is_none() && report.phases.transfer.is_none(), "{report:?}");
        let sni = server.note_after("sni ").await;
        assert_eq!(sni, format!("Some(\"{NAME}\") alpn None"));
        // close_notify and FIN: the application sees an orderly end.
        assert_eq!(server.note_after("end: ").await, "fin");
    }
}

#[tokio::test]
async fn certificates_that_are_not_good_enough() {
    let authority = Authority::new("a");
    for (certified, reason, detail) in [
        (
            authority.issue(&["other.example.com"], Validity::Now),
            FailReason::TlsName,
            "it bears other.example.com",
        ),
        (authority.issue(&[], Validity::Now), FailReason::TlsName, "no name (subjectAltName)"),
        (authority.issue(&[NAME], Validity::Past), FailReason::TlsExpired, "expired"),
        (authority.issue(&[NAME], Validity::Future), FailReason::TlsExpired, "valid only in"),
        (Authority::new("b").issue(&[NAME], Validity::Now), FailReason::TlsUntrusted, "no trusted authority"),
        (self_signed(&[NAME], Validity::Now, false), FailReason::TlsUntrusted, "no trusted authority"),
        (self_signed(&[NAME], Validity::Now, true), FailReason::TlsUntrusted, "an authority's (CA:TRUE)"),
    ] {
        for version in [&TLS12, &TLS13] {
            let mut server = Server::tls(certified.server_of(&[version], None), answer_and_wait(OK)).await;
            assert_fails(&probe(&server, trusting(&authority)).await, reason, detail);
            let seen = server.note_after("handshake: ").await;
            assert!(seen.contains("alert"), "{seen}");
            let report = probe_https(&server, trusting(&authority)).await;
            assert_fails(&report, reason, detail);
            assert_eq!(report.phases.tls, None);
            // Any certificate will do where the check says so.
            let lax = TlsOptions { verify: false, ..tls_to(NAME) };
            assert_passes(&probe(&server, lax.clone()).await, "handshake done");
            assert_passes(&probe_https(&server, lax).await, "status 200 OK");
        }
    }
}

#[tokio::test]
async fn a_self_signed_certificate_can_be_its_own_ca_file() {
    for ca in [false, true] {
        for (names, validity, expected) in [
            (&[NAME][..], Validity::Now, Outcome::Pass),
            (&["other.example.com"][..], Validity::Now, Outcome::Fail(FailReason::TlsName)),
            (&[NAME][..], Validity::Past, Outcome::Fail(FailReason::TlsExpired)),
            (&[NAME][..], Validity::Future, Outcome::Fail(FailReason::TlsExpired)),
        ] {
            let certified = self_signed(names, validity, ca);
            let server = Server::tls(certified.server(), silent()).await;
            let options = TlsOptions { ca: Some(certified.certificate_file()), ..tls_to(NAME) };
            let report = probe(&server, options).await;
            assert_eq!(report.outcome, expected, "ca {ca}, {names:?}: {report:?}");
        }
    }
    // Another certificate of the same name, valid and CA:TRUE, is not the one to trust.
    let server = Server::tls(self_signed(&[NAME], Validity::Now, true).server(), silent()).await;
    let other = self_signed(&[NAME], Validity::Now, true);
    let options = TlsOptions { ca: Some(other.certificate_file()), ..tls_to(NAME) };
    let report = probe(&server, options).await;
    assert_fails(&report, FailReason::TlsUntrusted, "");
}

#[tokio::test]
async fn the_name_is_the_checks_then_the_hosts_then_the_address() {
    let authority = Authority::new("a");
    let named = |options: TlsOptions| TlsOptions { server_name: None, ..options };
    let mut server =
        Server::tls(authority.issue(&[NAME, "127.0.0.1"], Validity::Now).server(), answer_and_wait(OK)).await;
    let by_host = HttpOptions { host: Some(format!("{NAME}:8443")), ..get() };
    let kind = CheckKind::Https(by_host, named(trusting(&authority)));
    assert_passes(&run(&target(server.addr, kind)).await, "status 200");
    assert!(server.note_after("sni ").await.starts_with(&format!("Some(\"{NAME}\")")));

    // An address is verified, and never sent as SNI (RFC 6066, 3).
    assert_passes(&probe(&server, named(trusting(&authority))).await, "handshake done");
    assert!(server.note_after("sni ").await.starts_with("None"));
    let server = Server::tls(authority.issue(&[NAME], Validity::Now).server(), silent()).await;
    let report = probe(&server, named(trusting(&authority))).await;
    assert_fails(&report, FailReason::TlsName, "the certificate is not for 127.0.0.1");

    let report = probe(&server, tls_to("not a name")).await;
    assert_eq!(report.outcome, Outcome::Inconclusive(LocalReason::LocalError));
    assert!(report.detail.contains("`not a name`"), "{report:?}");
}

/// The trap of TLS 1.3: the client's handshake is done before the server has rejected it.
#[tokio::test]
async fn a_server_that_wants_a_client_certificate() {
    let (authority, clients) = (Authority::new("a"), Authority::new("clients"));
    let certified = authority.issue(&[NAME], Validity::Now);
    let good = clients.issue(&["agent"], Validity::Now);
    let stranger = Authority::new("x").issue(&["agent"], Validity::Now);
    for version in [&TLS12, &TLS13] {
        let config = certified.server_of(&[version], Some(&clients));
        let server = Server::tls(config, answer_and_wait(OK)).await;
        let none = trusting(&authority);
        let known = as_client(trusting(&authority), &good);
        let unknown = as_client(trusting(&authority), &stranger);
        for _ in 0..10 {
            assert_passes(&probe(&server, known.clone()).await, "handshake done");
            assert_passes(&probe_https(&server, known.clone()).await, "status 200");
            for report in [probe(&server, none.clone()).await, probe_https(&server, none.clone()).await] {
                assert_fails(&report, FailReason::TlsHandshake, "");
            }
            for report in [probe(&server, unknown.clone()).await, probe_https(&server, unknown.clone()).await]
            {
                assert_fails(&report, FailReason::TlsHandshake, "the server refused: TLS alert");
            }
        }
        let report = probe(&server, none).await;
        assert!(
            report.detail.contains("client certificate") || report.detail.contains("alert"),
            "{report:?}"
        );
    }
}

#[tokio::test]
async fn a_server_without_tickets_passes_whatever_it_does_next() {
    let authority = Authority::new("a");
    let certified = authority.issue(&[NAME], Validity::Now);
    for manner in [silent(), hang_up(), banner("220 mail ESMTP\r\n")] {
        let mut config = certified.server_of(&[&TLS13], None);
        config.send_tls13_tickets = 0;
        let server = Server::tls(config, manner).await;
        assert_passes(&probe(&server, trusting(&authority)).await, "TLS 1.3 handshake done");
    }
}

#[tokio::test]
async fn ports_that_do_not_speak_tls() {
    let authority = Authority::new("a");
    for (manner, reason, detail) in [
        (
            answer_and_wait("HTTP/1.1 400 Bad Request\r\n\r\n"),
            FailReason::TlsTimeout,
            "TLS handshake not done",
        ),
        (banner("HTTP/1.1 400 Bad Request\r\n\r\n"), FailReason::TlsHandshake, "does not speak TLS"),
        (
            banner("\u{15}\u{3}\u{3}\0\u{2}\u{2}\u{28}"),
            FailReason::TlsHandshake,
            "TLS alert HandshakeFailure",
        ),
        (silent(), FailReason::TlsTimeout, "TLS handshake not done within 300ms"),
        (reset(), FailReason::Reset, "TLS handshake: Connection reset by peer"),
    ] {
        let server = Server::start(manner).await;
        let target = target(server.addr, CheckKind::Tls(trusting(&authority)));
        let report = if reason == FailReason::TlsTimeout {
            run_to_deadline(&target).await
        } else {
            run(&target).await
        };
        assert_fails(&report, reason, detail);
    }
}

#[tokio::test]
async fn a_server_that_leaves_in_the_middle_of_the_handshake() {
    let server = Server::start(listen_and_leave()).await;
    let report = probe(&server, trusting(&Authority::new("a"))).await;
    assert_fails(&report, FailReason::TlsHandshake, "closed the connection during the TLS handshake");
}

#[tokio::test]
async fn https_offers_http_1_1_and_has_every_phase() {
    let authority = Authority::new("a");
    let mut config = authority.issue(&[NAME], Validity::Now).server();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let mut server = Server::tls(config, answer_and_wait(OK)).await;
    let report = probe_https(&server, trusting(&authority)).await;
    assert_passes(&report, "status 200 OK, 2 bytes");
    let phases = report.phases;
    assert!([phases.connect, phases.tls, phases.processing, phases.transfer].iter().all(Option::is_some));
    let alpn = format!("alpn {:?}", Some(b"http/1.1"));
    assert!(server.note_after("sni ").await.ends_with(&alpn));
    assert!(server.note_after("request: ").await.contains(&format!("host: {}\r\n", server.addr)));
    assert_eq!(server.note_after("end: ").await, "fin");
}

#[tokio::test]
async fn an_expired_certificate_is_seen_at_once_for_no_session_is_resumed() {
    let authority = Authority::new("a");
    let prober = Prober::new(Clock::start());
    let options = trusting(&authority);
    let mut config = authority.issue(&[NAME], Validity::Now).server();
    let tickets = rustls::crypto::aws_lc_rs::Ticketer::new().unwrap();
    config.ticketer = Arc::clone(&tickets);
    let storage = Arc::clone(&config.session_storage);
    let server = Server::tls(config, answer_and_wait(OK)).await;
    let kind = CheckKind::Https(get(), options);
    assert_passes(&run_with(&prober, &target(server.addr, kind.clone())).await, "status 200");
    // The same server, its tickets still good, its certificate no longer.
    let mut config = authority.issue(&[NAME], Validity::Past).server();
    (config.ticketer, config.session_storage) = (tickets, storage);
    let server = Server::tls(config, answer_and_wait(OK)).await;
    let report = run_with(&prober, &target(server.addr, kind)).await;
    assert_fails(&report, FailReason::TlsExpired, "expired");
}

#[tokio::test]
async fn a_body_cut_by_an_end_without_close_notify_is_judged_by_its_length() {
    let authority = Authority::new("a");
    let certified = authority.issue(&[NAME], Validity::Now);
    let old = Server::tls(certified.server(), answer_and_drop("HTTP/1.0 200 OK\r\n\r\nok")).await;
    assert_passes(&probe_https(&old, trusting(&authority)).await, "2 bytes of body");
    let cut =
        Server::tls(certified.server(), answer_and_drop("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok"))
            .await;
    let report = probe_https(&cut, trusting(&authority)).await;
    assert_fails(&report, FailReason::BadResponse, "in the middle of its answer");
}

#[tokio::test]
async fn unusable_files_are_ours() {
    let authority = Authority::new("a");
    let good = authority.issue(&[NAME], Validity::Now);
    let server = Server::tls(good.server(), silent()).await;
    let key_of_another = self_signed(&[NAME], Validity::Now, false).key_pem;
    let with = |certificate: Arc<PemFile>, key: Arc<PemFile>| TlsOptions {
        client_certificate: Some(ClientCertificate { certificate, key }),
        ..trusting(&authority)
    };
    let ca = |pem: &str| TlsOptions { ca: Some(pem_file("my-ca.pem", pem)), ..tls_to(NAME) };
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (options, detail) in [
        (ca(""), "my-ca.pem: no certificate in PEM form"),
        (ca("-----BEGIN CERTIFICATE-----\n!!"), "my-ca.pem"),
        (ca(broken), "my-ca.pem: not usable as a trust anchor"),
        (with(pem_file("c.pem", ""), good.key_file()), "c.pem: no certificate"),
        (with(good.certificate_file(), pem_file("k.pem", "x")), "client key k.pem"),
        (
            with(good.certificate_file(), pem_file("k.pem", &key_of_another)),
            "client certificate certificate.pem",
        ),
    ] {
        let report = probe(&server, options).await;
        assert_eq!(report.outcome, Outcome::Inconclusive(LocalReason::LocalError), "{report:?}");
        assert!(report.detail.contains(detail), "`{detail}` is not in {report:?}");
    }
}

#[tokio::test]
async fn configurations_are_shared_and_their_number_is_bounded() {
    let trust = crate::probe::trust::Trust::new();
    let authority = Authority::new("a");
    let options = trusting(&authority);
    let addr = "127.0.0.1".parse().unwrap();
    let one = trust.session(&options, None, addr, None).await.ok().unwrap().config;
    let elsewhere = TlsOptions { server_name: None, ..options.clone() };
    let two = trust.session(&elsewhere, None, addr, None).await.ok().unwrap().config;
    assert!(Arc::ptr_eq(&one, &two));
    let http = trust.session(&options, None, addr, Some(Alpn::Http1)).await.ok().unwrap().config;
    assert!(!Arc::ptr_eq(&one, &http));
    for _ in 0..600 {
        trust.session(&trusting(&authority), None, addr, None).await.ok().unwrap();
    }
    assert!(trust.cached() <= 256, "{}", trust.cached());
}
