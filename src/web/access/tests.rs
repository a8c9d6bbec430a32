use std::net::SocketAddr;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;

use super::passwords::Busy;
use super::*;
use crate::status::samples;
use crate::web::tests::{FakeExposition, Reply, agent_showing, request, send_on, soon};
use crate::web::{Options, Web, bind_tcp, serve_tcp};

/// `secret` and `geheim`, at the least cost there is.
const SECRET: &str = "$2b$04$1j6gMiBbW8ctEv9D3prx7OePgk1WZ87up13sWAIC5HSGY/Fv8jDi6";

/// A directory with web.yml, and a server that reads it.
struct Guarded {
    directory: tempfile::TempDir,
    addr: SocketAddr,
    _stop: watch::Sender<bool>,
}

impl Guarded {
    fn start(yaml: &str, files: &[(&str, &str)]) -> Guarded {
        let directory = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(directory.path().join(name), content).unwrap();
        }
        fs::write(directory.path().join("web.yml"), yaml).unwrap();
        let access = Access::load(&directory.path().join("web.yml")).unwrap();
        let listener = bind_tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let addr = listener.local_addr().unwrap();
        let exposition = Arc::new(FakeExposition::default());
        let agent = agent_showing(samples::plain(1));
        let web = Web::guarded(Options::default(), agent, exposition, Some(access));
        let (stop, stopping) = watch::channel(false);
        tokio::spawn(serve_tcp(listener, web, stopping));
        Guarded { directory, addr, _stop: stop }
    }

    /// As an editor does it: another file takes the place.
    fn rewrite(&self, name: &str, content: &str) {
        let new = self.directory.path().join("new");
        fs::write(&new, content).unwrap();
        fs::rename(new, self.directory.path().join(name)).unwrap();
    }

    async fn get(&self, path: &str, credentials: Option<&str>) -> Reply {
        let header = credentials.map(basic);
        let headers: Vec<(&str, &str)> =
            header.iter().map(|value| ("authorization", value.as_str())).collect();
        let stream = TcpStream::connect(self.addr).await.unwrap();
        send_on(stream, request("GET", path, &headers, "")).await.unwrap()
    }

    /// Over TLS, trusting this certificate, showing that one.
    async fn get_tls(&self, trusted: &Pair, shown: Option<&Pair>) -> Result<Reply, String> {
        let mut roots = RootCertStore::empty();
        roots.add(trusted.certificate()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(roots);
        let config = match shown {
            Some(pair) => builder.with_client_auth_cert(vec![pair.certificate()], pair.key()).unwrap(),
            None => builder.with_no_client_auth(),
        };
        let stream = TcpStream::connect(self.addr).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        let stream = stream.map_err(|error| error.to_string())?;
        send_on(stream, request("GET", "/metrics", &[], "")).await.map_err(|error| error.to_string())
    }
}

fn basic(credentials: &str) -> String {
    use base64::Engine as _;
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(credentials))
}

struct Pair {
    certificate: String,
    key: String,
}

impl Pair {
    fn new() -> Pair {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        Pair { certificate: made.cert.pem(), key: made.signing_key.serialize_pem() }
    }

    fn certificate(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap()
    }
}

fn users(hash: &str) -> String {
    format!(
        "basic_auth_users:\n  alice: {hash}\nhttp_server_config:\n  headers:\n    X-Frame-Options: deny\n"
    )
}

const TLS: &str = "tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n";

#[tokio::test]
async fn only_the_right_password_reads() {
    let server = Guarded::start(&users(SECRET), &[]);
    for path in ["/metrics", "/api/v1/status", "/", "/-/healthy", "/nowhere"] {
        let reply = server.get(path, None).await;
        assert_eq!(
            (reply.status, reply.header("www-authenticate")),
            (StatusCode::UNAUTHORIZED, Some("Basic"))
        );
        assert_eq!(reply.text(), "unauthorized\n");
    }
    for wrong in ["alice:Secret", "alice:", "bob:secret", ":", "alice"] {
        assert_eq!(server.get("/metrics", Some(wrong)).await.status, StatusCode::UNAUTHORIZED, "{wrong}");
    }
    for _ in 0..3 {
        let reply = server.get("/metrics", Some("alice:secret")).await;
        assert_eq!((reply.status, reply.header("x-frame-options")), (StatusCode::OK, Some("deny")));
    }
}

#[tokio::test]
async fn a_change_counts_at_once_and_a_broken_file_opens_nothing() {
    let server = Guarded::start(&users(SECRET), &[]);
    let status = async || server.get("/metrics", Some("alice:secret")).await.status;
    assert_eq!(status().await, StatusCode::OK);
    // The remembered password goes with its hash.
    server.rewrite("web.yml", &users(&bcrypt::hash("geheim", 4).unwrap()));
    assert_eq!(status().await, StatusCode::UNAUTHORIZED);
    assert_eq!(server.get("/metrics", Some("alice:geheim")).await.status, StatusCode::OK);
    server.rewrite("web.yml", "basic_auth_users: [\n");
    assert_eq!(server.get("/metrics", None).await.status, StatusCode::INTERNAL_SERVER_ERROR);
    fs::remove_file(server.directory.path().join("web.yml")).unwrap();
    assert_eq!(server.get("/metrics", None).await.status, StatusCode::INTERNAL_SERVER_ERROR);
    server.rewrite("web.yml", "");
    assert_eq!(server.get("/metrics", None).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_new_certificate_is_shown_at_once() {
    let (old, new) = (Pair::new(), Pair::new());
    let server = Guarded::start(TLS, &[("cert.pem", &old.certificate), ("key.pem", &old.key)]);
    assert_eq!(server.get_tls(&old, None).await.unwrap().status, StatusCode::OK);
    server.rewrite("key.pem", &new.key);
    // Half of it is there: the old one is still shown, to say that something is broken.
    assert_eq!(server.get_tls(&old, None).await.unwrap().status, StatusCode::INTERNAL_SERVER_ERROR);
    server.rewrite("cert.pem", &new.certificate);
    assert_eq!(server.get_tls(&new, None).await.unwrap().status, StatusCode::OK);
    assert!(server.get_tls(&old, None).await.is_err(), "the old one is trusted no more");
}

#[tokio::test]
async fn clients_are_asked_for_certificates() {
    let (own, stranger) = (Pair::new(), Pair::new());
    let files = [("cert.pem", own.certificate.as_str()), ("key.pem", own.key.as_str())];
    let with = |kind: &str, more: &str| format!("{TLS}  client_auth_type: {kind}\n{more}");
    let ca = "  client_ca_file: cert.pem\n";
    // Without one, one of ours, one of a stranger's.
    for (yaml, expected) in [
        (with("RequestClientCert", ""), [true, true, true]),
        (with("RequireAnyClientCert", ""), [false, true, true]),
        (with("VerifyClientCertIfGiven", ca), [true, true, false]),
        (with("RequireAndVerifyClientCert", ca), [false, true, false]),
    ] {
        let server = Guarded::start(&yaml, &files);
        for (shown, expected) in [None, Some(&own), Some(&stranger)].into_iter().zip(expected) {
            let reply = server.get_tls(&own, shown).await;
            let passed = reply.as_ref().is_ok_and(|reply| reply.status == StatusCode::OK);
            assert_eq!(passed, expected, "{yaml}: {:?}", reply.err());
        }
    }
}

#[tokio::test]
async fn a_client_that_stops_in_its_handshake_is_cut_off_and_harms_nobody() {
    let pair = Pair::new();
    let server = Guarded::start(TLS, &[("cert.pem", &pair.certificate), ("key.pem", &pair.key)]);
    let mut plain = TcpStream::connect(server.addr).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut plain, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let closed = tokio::io::AsyncReadExt::read_to_end(&mut plain, &mut answer);
    let _ = soon("the end of plain HTTP", closed).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    let silent: Vec<TcpStream> = {
        let mut all = Vec::new();
        for _ in 0..600 {
            all.push(TcpStream::connect(server.addr).await.unwrap());
        }
        all
    };
    assert_eq!(server.get_tls(&pair, None).await.unwrap().status, StatusCode::OK);
    drop(silent);
}

#[tokio::test]
async fn what_has_passed_is_not_computed_again_and_what_failed_is_not_remembered() {
    let passwords = Passwords::default();
    let users = vec![("alice".to_owned(), SECRET.to_owned())];
    let check = async |user: &str, password: &str| {
        passwords.check(&users, user.to_owned(), password.to_owned()).await
    };
    assert_eq!(check("alice", "wrong").await, Ok(false));
    assert_eq!(check("nobody", "secret").await, Ok(false), "the right password of somebody else");
    assert_eq!(passwords.remembered(), 0);
    assert_eq!(check("alice", "secret").await, Ok(true));
    assert_eq!(check("alice", "secret").await, Ok(true));
    assert_eq!(passwords.remembered(), 1);
}

/// While one hash that takes seconds is computed, sixteen wait, and the next are told to come again; those
/// who have passed before do not wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_guesses_is_turned_away() {
    let passwords = Arc::new(Passwords::default());
    let slow = SECRET.replace("$04$", "$12$");
    let users = Arc::new(vec![("alice".to_owned(), SECRET.to_owned()), ("slow".to_owned(), slow)]);
    assert_eq!(passwords.check(&users, "alice".into(), "secret".into()).await, Ok(true));
    let mut guesses = tokio::task::JoinSet::new();
    for n in 0..40 {
        let (passwords, users) = (passwords.clone(), users.clone());
        guesses.spawn(async move { passwords.check(&users, "slow".into(), format!("guess {n}")).await });
    }
    let first = soon("the first that is turned away", guesses.join_next()).await.unwrap().unwrap();
    assert_eq!(first, Err(Busy));
    let passed = passwords.check(&users, "alice".into(), "secret".into());
    assert_eq!(tokio::time::timeout(Duration::from_millis(500), passed).await, Ok(Ok(true)));
}
