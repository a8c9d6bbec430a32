use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::agent::{HandProbe, ProbeRefused, Request as AgentRequest};
use crate::model::{FailReason, Mono, Outcome, Phases, ProbeReport};
use crate::status::{ApiError, ProbeAnswer};

const PROBE: &str = "/api/v1/probe";
const ASKED: &str = r#"{"virtual_server":"10.10.0.100:80/tcp","real_server":"10.10.0.21:80","check":null}"#;

impl Control {
    /// Asks for a probe and has the loop answer it.
    async fn probe(&mut self, result: Result<Vec<HandProbe>, ProbeRefused>) -> Reply {
        let path = self.dir.path().join("control.sock");
        let answered = async {
            let request = soon("the request for a probe", self.requests.recv()).await.unwrap();
            let AgentRequest::Probe { service, dest, check, reply } = request else { panic!("{request:?}") };
            assert_eq!(format!("{service} {dest} {check:?}"), "10.10.0.100:80/tcp 10.10.0.21:80 None");
            drop(reply.send(result));
        };
        tokio::join!(ask_unix(&path, "POST", "/api/v1/probe", ASKED), answered).0
    }
}

fn report() -> ProbeReport {
    ProbeReport {
        outcome: Outcome::Fail(FailReason::BadStatus),
        phases: Phases {
            connect: Some(Duration::from_micros(500)),
            tls: None,
            processing: Some(Duration::from_millis(2)),
            transfer: None,
            total: Duration::from_millis(3),
        },
        connected: None,
        http_status: Some(503),
        share: None,
        chain: None,
        detail: "503 is not in 200-299".to_owned(),
        started: Mono::ZERO,
        ended: Mono::ZERO,
    }
}

#[tokio::test]
async fn a_probe_by_hand_is_told_in_full() {
    let mut control = Control::start();
    let probe = HandProbe {
        check: samples::check("web"),
        target: "10.10.0.21:8080".parse().unwrap(),
        report: report(),
    };
    let reply = control.probe(Ok(vec![probe])).await;
    assert_eq!(reply.status, StatusCode::OK);
    let golden =
        r#"{"probes":[{"check":"web","target":"10.10.0.21:8080","outcome":"fail","reason":"bad_status","#
            .to_owned()
            + r#""detail":"503 is not in 200-299","http_status":503,"#
            + r#""phases":{"connect_seconds":0.0005,"processing_seconds":0.002},"duration_seconds":0.003}]}"#;
    assert_eq!(reply.text(), golden);
    let parsed: ProbeAnswer = serde_json::from_str(&golden).unwrap();
    assert_eq!(parsed.probes[0].phases.tls_seconds, None);
}

#[tokio::test]
async fn refusals_have_their_codes() {
    let mut control = Control::start();
    let (service, dest) = ("10.10.0.100:80/tcp".parse().unwrap(), "10.10.0.21:80".parse().unwrap());
    let web = || "web".to_owned();
    for (refused, code) in [
        (ProbeRefused::NoService(service), 404),
        (ProbeRefused::NoDest(service, dest), 404),
        (ProbeRefused::NoCheck(service, web(), web()), 404),
        (ProbeRefused::Unmanaged(service), 409),
        (ProbeRefused::NoChecks(service), 409),
        (ProbeRefused::NoPort(service, web()), 422),
        (ProbeRefused::NoTable("no".to_owned()), 503),
    ] {
        let text = refused.to_string();
        let reply = control.probe(Err(refused)).await;
        assert_eq!(reply.status, code, "{text}");
        assert_eq!(serde_json::from_slice::<ApiError>(&reply.body).unwrap().error, text);
    }
}

#[tokio::test]
async fn bad_bodies_do_nothing() {
    let mut control = Control::start();
    for body in [
        "",
        "{",
        "[]",
        r#"{"virtual_server":"10.10.0.100:80/tcp"}"#,
        r#"{"virtual_server":"shop","real_server":"10.10.0.21:80"}"#,
        r#"{"virtual_server":"10.10.0.100:80/tcp","real_server":"10.10.0.21:80","chekc":"web"}"#,
        r#"{"virtual_server":"10.10.0.100:80/tcp","real_server":"10.10.0.21:80","check":7}"#,
    ] {
        let reply = control.ask("POST", PROBE, body).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{body}");
        let error = serde_json::from_slice::<ApiError>(&reply.body).unwrap().error;
        assert!(error.contains("no probe request"), "{error}");
    }
    let nested = "[".repeat(60_000);
    assert_eq!(control.ask("POST", PROBE, &nested).await.status, StatusCode::BAD_REQUEST);
    for method in ["GET", "HEAD", "PUT"] {
        let reply = control.ask(method, PROBE, "").await;
        assert_eq!((reply.status, reply.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, Some("POST")));
    }
    assert!(control.requests.try_recv().is_err(), "the agent was asked");
}

#[tokio::test]
async fn huge_bodies_are_refused_announced_or_not() {
    let mut control = Control::start();
    for head in [
        "Content-Length: 70000\r\n\r\n".to_owned(),
        format!("Transfer-Encoding: chunked\r\n\r\n11170\r\n{}\r\n0\r\n\r\n", " ".repeat(70_000)),
    ] {
        let mut stream = UnixStream::connect(control.dir.path().join("control.sock")).await.unwrap();
        // The server may answer and close before it has taken all of it.
        let _ =
            stream.write_all(format!("POST /api/v1/probe HTTP/1.1\r\nHost: x\r\n{head}").as_bytes()).await;
        let mut answer = [0; 1024];
        let n = soon("the answer", stream.read(&mut answer)).await.unwrap();
        let text = String::from_utf8_lossy(&answer[..n]);
        assert!(text.starts_with("HTTP/1.1 413") && text.contains("over 65536 bytes"), "{text}");
    }
    assert!(control.requests.try_recv().is_err(), "the agent was asked");
}

#[tokio::test]
async fn a_probe_without_end_and_a_dead_loop_are_told() {
    let mut control =
        Control::with(Options { probe_timeout: Duration::from_millis(20), ..Options::default() });
    let reply = control.ask("POST", PROBE, ASKED).await;
    assert_eq!(reply.status, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(reply.text(), r#"{"error":"the probes did not end within 0.02 s"}"#);
    control.requests.close();
    while control.requests.try_recv().is_ok() {}
    let reply = control.ask("POST", PROBE, ASKED).await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(reply.text(), r#"{"error":"the agent's loop has ended"}"#);
}
