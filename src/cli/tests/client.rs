use std::sync::Arc;

use clap::Parser;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::cli::client::{AgentUrl, remote_status};
use crate::cli::probe::ProbeArgs;
use crate::cli::status::StatusArgs;
use crate::cli::trust::Trust;
use crate::status::{Status, samples};

#[test]
fn an_agents_url_is_strict_and_keeps_its_secret() {
    for (text, shown) in [
        ("http://d2:10190", "http://d2:10190"),
        ("https://[2001:db8::2]:10190/", "https://[2001:db8::2]:10190"),
        ("https://admin:s3cret@d2/lvs/", "https://d2/lvs"),
    ] {
        let url: AgentUrl = text.parse().unwrap();
        assert_eq!(url.to_string(), shown);
        assert!(!format!("{url:?}").contains("s3cret"));
    }
    for text in ["d2:10190", "d2", "", "ftp://d2", "unix:/run/x.sock", "http://d2/?x=1", "http://d2/#x"] {
        let error = text.parse::<AgentUrl>().unwrap_err();
        assert!(error.contains("http://d2:10190"), "{text}: {error}");
    }
}

#[derive(clap::Parser)]
enum Command {
    Status(StatusArgs),
    Probe(ProbeArgs),
}

#[test]
fn the_arguments_are_those_of_the_contract() {
    let parse = |line: &str| Command::try_parse_from(line.split_whitespace());
    let line = "lvs-agent status shop --json --agent http://d1:10190 --agent https://u:p@d2:10190 --control-socket /s";
    let Ok(Command::Status(status)) = parse(line) else { panic!("{line}") };
    assert_eq!((status.virtual_server.as_deref(), status.json), (Some("shop"), true));
    assert_eq!(
        status.agents.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["http://d1:10190", "https://d2:10190"]
    );
    assert_eq!(status.control.socket.to_str(), Some("/s"));
    let line = "lvs-agent probe fwmark:7/ipv4 10.10.0.21:80 --check web --control-socket /s";
    let Ok(Command::Probe(probe)) = parse(line) else { panic!("{line}") };
    assert_eq!(probe.virtual_server.to_string(), "fwmark:7/ipv4");
    assert_eq!((probe.real_server.port, probe.check.as_deref()), (80, Some("web")));
    for (line, told) in [
        ("lvs-agent probe shop 10.10.0.21:80", "`shop` is no virtual server: write 10.10.0.100:80/tcp"),
        ("lvs-agent probe 10.10.0.100:80/tcp 10.10.0.21", "`10.10.0.21` is no real server"),
        ("lvs-agent status --agent d2:10190", "write http://d2:10190"),
    ] {
        let Err(error) = parse(line) else { panic!("{line}") };
        assert!(error.to_string().contains(told), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// A server that answers one request with these bytes; its URL, and what it was asked.
async fn answering(answer: String) -> (AgentUrl, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://ad%40min:s3cret@{}/lvs/", listener.local_addr().unwrap());
    let asked = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = read_head(&mut stream).await;
        stream.write_all(answer.as_bytes()).await.unwrap();
        head
    });
    (url.parse().unwrap(), asked)
}

#[tokio::test]
async fn another_director_is_asked_with_its_password() {
    let status = Status::from(&samples::rich());
    let body = serde_json::to_string(&status).unwrap();
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let (url, asked) = answering(answer).await;
    assert_eq!(remote_status(&url, &Trust::default()).await.unwrap(), status);
    let head = asked.await.unwrap();
    assert!(head.starts_with("GET /lvs/api/v1/status HTTP/1.1\r\n"), "{head}");
    // ad@min:s3cret
    assert!(head.to_ascii_lowercase().contains("authorization: basic ywrabwluonmzy3jlda==\r\n"), "{head}");
}

#[tokio::test]
async fn bad_answers_are_told() {
    for (answer, told) in [
        ("HTTP/1.1 401 Unauthorized\r\nContent-Length: 3\r\n\r\nno\n", "it answered 401 Unauthorized: no"),
        (
            "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
            "it answered 302 Found",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
            "its answer is no status of an lvs-agent: missing field",
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}", "error"),
        ("rubbish\r\n\r\n", "error"),
    ] {
        let (url, _asked) = answering(answer.to_owned()).await;
        let error = remote_status(&url, &Trust::default()).await.unwrap_err();
        assert!(error.contains(told), "{answer:?}: {error}");
        assert!(!error.contains("s3cret"), "{error}");
    }
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: AgentUrl = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_head(&mut stream).await;
        let blanks = vec![b' '; 1 << 20];
        let mut sent = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        while sent.is_ok() {
            sent = stream.write_all(&blanks).await;
        }
    });
    let error = remote_status(&url, &Trust::default()).await.unwrap_err();
    let limits = ["its answer is over 67108864 bytes", "it did not answer within 5 s"];
    assert!(limits.contains(&error.as_str()), "{error}");
}

#[tokio::test]
async fn an_untrusted_certificate_is_refused() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        acceptor.accept(stream).await.is_ok()
    });
    let url: AgentUrl = format!("https://localhost:{port}").parse().unwrap();
    let error = remote_status(&url, &Trust::default()).await.unwrap_err();
    assert!(error.to_lowercase().contains("certificate"), "{error}");
    assert!(!served.await.unwrap(), "the handshake was finished");
}
