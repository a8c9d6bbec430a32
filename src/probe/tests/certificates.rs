//! What is kept of the certificates that servers present.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::version::{TLS12, TLS13};

use super::*;
use crate::probe::fixtures::{
    Authority, Certified, Server, Validity, answer_and_wait, banner, self_signed, silent,
};

const NAME: &str = "shop.example.com";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
/// date -u -d 2021-01-01 +%s, and of the year 4000: the fixtures' `not_after`.
const PAST: i64 = 1_609_459_200;
const FAR: i64 = 64_060_588_800;

fn trusting(authority: &Authority) -> TlsOptions {
    TlsOptions { ca: Some(authority.certificate_file()), ..tls_to(NAME) }
}

async fn probes(server: &Server, options: &TlsOptions) -> [ProbeReport; 2] {
    let tls = run(&target(server.addr, CheckKind::Tls(options.clone()))).await;
    [tls, run(&target(server.addr, CheckKind::Https(get(), options.clone()))).await]
}

fn kept(report: &ProbeReport) -> Option<(i64, &str)> {
    report.chain.as_deref().map(|chain| (chain.not_after, &*chain.subject))
}

#[tokio::test]
async fn the_first_to_end_is_told_whether_the_chain_is_accepted_or_not() {
    let root = Authority::new("root");
    let fresh = root.intermediate("fresh", Validity::Now);
    let old = root.intermediate("old", Validity::Past);
    let good = fresh.issue(&[NAME], Validity::Now).behind(&fresh);
    let shop = "CN=shop.example.com";
    for (certified, outcome, detail, expected) in [
        (good, None, "", (FAR, shop)),
        (
            old.issue(&[NAME], Validity::Now).behind(&old),
            Some(FailReason::TlsExpired),
            "days ago: CN=old",
            (PAST, "CN=old"),
        ),
        (
            root.issue(&[NAME], Validity::Past),
            Some(FailReason::TlsExpired),
            "days ago: CN=shop.example.com",
            (PAST, shop),
        ),
        (
            root.issue(&["b.example.com"], Validity::Now),
            Some(FailReason::TlsName),
            "",
            (FAR, "CN=b.example.com"),
        ),
        (root.issue(&[NAME], Validity::Future), Some(FailReason::TlsExpired), "valid only in", (FAR, shop)),
        (self_signed(&[NAME], Validity::Now, true), Some(FailReason::TlsUntrusted), "", (FAR, shop)),
    ] {
        for version in [&TLS12, &TLS13] {
            let server = Server::tls(certified.server_of(&[version], None), answer_and_wait(OK)).await;
            for report in probes(&server, &trusting(&root)).await {
                assert_eq!(report.outcome, outcome.map_or(Outcome::Pass, Outcome::Fail), "{report:?}");
                assert!(report.detail.contains(detail), "`{detail}` is not in {report:?}");
                assert_eq!(kept(&report), Some(expected), "{report:?}");
            }
            let lax = TlsOptions { verify: false, ..tls_to(NAME) };
            for report in probes(&server, &lax).await {
                assert_passes(&report, "");
                assert_eq!(kept(&report), Some(expected), "{report:?}");
            }
        }
    }
}

#[tokio::test]
async fn without_a_certificate_nothing_is_told() {
    let plain = Server::start(banner("220 mail ESMTP\r\n")).await;
    let report = run(&target(plain.addr, CheckKind::Tcp)).await;
    assert_passes(&report, "connected");
    assert_eq!(report.chain, None);
    let [report, _] = probes(&plain, &tls_to(NAME)).await;
    assert_fails(&report, FailReason::TlsHandshake, "does not speak TLS");
    assert_eq!(report.chain, None);
}

#[tokio::test]
async fn servers_with_the_same_certificate_share_what_is_kept() {
    let authority = Authority::new("a");
    let certified = authority.issue(&[NAME], Validity::Now);
    let prober = Prober::new(Clock::start());
    let options = trusting(&authority);
    let mut chains = Vec::new();
    for _ in 0..2 {
        let server = Server::tls(certified.server(), silent()).await;
        let target = target(server.addr, CheckKind::Tls(options.clone()));
        chains.push(run_with(&prober, &target).await.chain.unwrap());
    }
    assert!(Arc::ptr_eq(&chains[0], &chains[1]));
    // Another one is seen by the next probe.
    let other = Server::tls(authority.issue(&[NAME], Validity::Past).server(), silent()).await;
    let report = run_with(&prober, &target(other.addr, CheckKind::Tls(options))).await;
    assert_eq!(kept(&report), Some((PAST, "CN=shop.example.com")));
}

#[tokio::test]
async fn names_are_the_servers_word_and_made_harmless() {
    let long = "n".repeat(500);
    let lax = TlsOptions { verify: false, ..tls_to(NAME) };
    for (subject, expected) in [
        (None, NAME.to_owned()),
        (Some("a\n\u{1b}[31mb"), "CN=a\\n\\u{1b}[31mb".to_owned()),
        (Some(long.as_str()), format!("CN={}…", "n".repeat(DETAIL_LIMIT_BYTES - "CN=…".len()))),
    ] {
        let server = Server::tls(Certified::called(subject, NAME).server(), silent()).await;
        let report = run(&target(server.addr, CheckKind::Tls(lax.clone()))).await;
        assert_eq!(kept(&report), Some((FAR, expected.as_str())), "{report:?}");
    }
}

/// Any bytes may come from a server.
#[test]
fn broken_certificates_are_left_out() {
    use crate::probe::verify::first_to_end;
    let pem = Authority::new("a").issue(&[NAME], Validity::Now).certificate_pem;
    let good = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    assert_eq!(first_to_end([].iter()), None);
    for at in 0..good.len() {
        let (mut flipped, cut) = (good.to_vec(), good[..at].to_vec());
        flipped[at] ^= 0xff;
        let flipped = first_to_end([CertificateDer::from(flipped)].iter());
        assert!(flipped.is_none_or(|chain| chain.subject.len() <= DETAIL_LIMIT_BYTES));
        let chain = [CertificateDer::from(cut), good.clone()];
        assert_eq!(first_to_end(chain.iter()).unwrap().not_after, FAR);
    }
}
