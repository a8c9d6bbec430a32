//! Drains and undrains over the control socket.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::agent::Request as AgentRequest;
use crate::model::{HandDone, HandEffect, HandOrder, HandRefused, HandRequest, Weight};
use crate::status::{ApiError, HandAnswer};

const DRAIN: &str = "/api/v1/drain";
const UNDRAIN: &str = "/api/v1/undrain";
const RELOAD: &str = "/-/reload";

impl Control {
    async fn post(&self, path: &str, body: &str) -> Reply {
        self.ask("POST", path, body).await
    }

    /// Asks, and has the loop answer; the reply, and what the loop was asked.
    async fn answered(
        &mut self,
        path: &str,
        body: &str,
        result: Result<Vec<HandDone>, HandRefused>,
    ) -> (Reply, HandRequest) {
        let socket = self.dir.path().join("control.sock");
        let answer = async {
            let asked = soon("the request", self.requests.recv()).await.unwrap();
            let AgentRequest::Hand { request, reply } = asked else { panic!("{asked:?}") };
            drop(reply.send(result));
            request
        };
        tokio::join!(ask_unix(&socket, "POST", path, body), answer)
    }
}

fn done() -> HandDone {
    HandDone {
        service: "10.10.0.100:80/tcp".parse().unwrap(),
        dest: "10.10.0.21:80".parse().unwrap(),
        effect: HandEffect::Draining,
        weight: Some(Weight(5)),
        owed: Some(Weight(5)),
        refuses_at_zero: false,
    }
}

#[tokio::test]
async fn what_is_asked_arrives_and_what_is_done_is_told() {
    let mut control = Control::start();
    let body = r#"{"real_server":"10.10.0.21","virtual_server":"shop","reason":"a new disk","force":true}"#;
    let (reply, asked) = control.answered(DRAIN, body, Ok(vec![done()])).await;
    assert_eq!(reply.status, StatusCode::OK);
    let golden = r#"{"changes":[{"virtual_server":"10.10.0.100:80/tcp","real_server":"10.10.0.21:80","#
        .to_owned()
        + r#""effect":"draining","text":"draining: weight 5 -> 0","weight":5,"owed_weight":5}]}"#;
    assert_eq!(reply.text(), golden);
    assert_eq!(serde_json::from_str::<HandAnswer>(&golden).unwrap().changes[0].effect, "draining");
    let order = HandOrder::Drain { said: Some("a new disk".into()), force: true };
    assert_eq!((asked.servers.to_string().as_str(), asked.service.as_deref()), ("10.10.0.21", Some("shop")));
    assert_eq!(asked.order, order);

    let body = r#"{"real_server":"10.10.0.21:80","ignore_checks":true}"#;
    let (_, asked) = control.answered(UNDRAIN, body, Ok(vec![])).await;
    assert_eq!((asked.servers.port, asked.service), (Some(80), None));
    assert_eq!(asked.order, HandOrder::Undrain { ignore_checks: true });
}

#[tokio::test]
async fn refusals_have_their_codes() {
    let mut control = Control::start();
    let HandDone { service, dest, .. } = done();
    let servers: crate::model::DestPattern = "10.10.0.21".parse().unwrap();
    for (refused, code) in [
        (HandRefused::NoDest(servers), 404),
        (HandRefused::NoDestThere(servers, "shop".into()), 404),
        (HandRefused::NoService("shop".into()), 404),
        (HandRefused::Unmanaged(service), 409),
        (HandRefused::Observe(service), 409),
        (HandRefused::External(service, dest), 409),
        (HandRefused::Twice(service, dest), 409),
        (HandRefused::Nobody(service), 409),
        (HandRefused::NotDrained(service, dest), 409),
        (HandRefused::IgnoredAlready(service, dest), 409),
        (HandRefused::OutByChecks(service, dest), 409),
        (HandRefused::OwedUnknown(service, dest), 409),
        (HandRefused::LedgerUnsaved("no space".into()), 503),
        (HandRefused::NoTable("no".into()), 503),
        (HandRefused::Busy(64), 503),
    ] {
        let text = refused.to_string();
        let (reply, _) = control.answered(DRAIN, r#"{"real_server":"10.10.0.21"}"#, Err(refused)).await;
        assert_eq!(reply.status, code, "{text}");
        assert_eq!(serde_json::from_slice::<ApiError>(&reply.body).unwrap().error, text);
    }
}

#[tokio::test]
async fn bad_bodies_reach_nobody() {
    let mut control = Control::start();
    let long = format!(r#"{{"real_server":"10.10.0.21","reason":"{}"}}"#, "x".repeat(201));
    for (path, body, told) in [
        (DRAIN, "", "no drain request"),
        (DRAIN, "[]", "no drain request"),
        (UNDRAIN, "{", "no undrain request"),
        (DRAIN, r#"{"virtual_server":"shop"}"#, "missing field `real_server`"),
        (DRAIN, r#"{"real_server":"web1"}"#, "`web1` is no real server"),
        (DRAIN, r#"{"real_server":"10.10.0.21","forse":true}"#, "unknown field `forse`"),
        (DRAIN, r#"{"real_server":"10.10.0.21","force":"yes"}"#, "no drain request"),
        (DRAIN, r#"{"real_server":"10.10.0.21","ignore_checks":true}"#, "unknown field `ignore_checks`"),
        (UNDRAIN, r#"{"real_server":"10.10.0.21","force":true}"#, "unknown field `force`"),
        (DRAIN, r#"{"real_server":"10.10.0.21","reason":"two\nlines"}"#, "control character"),
        (DRAIN, r#"{"real_server":"10.10.0.21","reason":""}"#, "1 to 200"),
        (DRAIN, &long, "201 bytes"),
    ] {
        let reply = control.post(path, body).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{body}");
        let error = serde_json::from_slice::<ApiError>(&reply.body).unwrap().error;
        assert!(error.contains(told), "{body}: {error}");
    }
    let huge = control.post(DRAIN, &" ".repeat(70_000)).await;
    assert_eq!(huge.status, StatusCode::PAYLOAD_TOO_LARGE);
    let socket = control.dir.path().join("control.sock");
    for path in [DRAIN, UNDRAIN] {
        let reply = ask_unix(&socket, "GET", path, "").await;
        assert_eq!((reply.status, reply.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, Some("POST")));
    }
    assert!(control.requests.try_recv().is_err(), "the agent was asked");
}

/// However little comes, and however often.
#[tokio::test]
async fn a_body_that_never_ends_is_given_up() {
    let mut control =
        Control::with(Options { body_timeout: Duration::from_millis(50), ..Options::default() });
    for path in [DRAIN, UNDRAIN, "/api/v1/probe", RELOAD] {
        for announced in ["Content-Length: 60000", "Transfer-Encoding: chunked"] {
            let mut stream = UnixStream::connect(control.dir.path().join("control.sock")).await.unwrap();
            let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\n{announced}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            let (mut reading, mut writing) = stream.into_split();
            let drip = tokio::spawn(async move {
                // Valid in a chunked body, and bytes of a plain one; ends when the other side has closed.
                while writing.write_all(b"1\r\n \r\n").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
            let mut answer = [0; 1024];
            let n = soon("the answer", reading.read(&mut answer)).await.unwrap();
            let text = String::from_utf8_lossy(&answer[..n]);
            assert!(text.starts_with("HTTP/1.1 408"), "{path}: {text}");
            assert!(text.contains("the body did not arrive within 0.05 s"), "{path}: {text}");
            drip.abort();
        }
    }
    assert!(control.requests.try_recv().is_err(), "the agent was asked");
}

#[tokio::test]
async fn a_reload_is_answered_by_whoever_reads_the_file() {
    let (reloads, mut asked) = Reloads::new();
    let control = Control::with(Options { reloads: Some(reloads), ..Options::default() });
    let socket = control.dir.path().join("control.sock");
    let answer = crate::status::ReloadAnswer {
        mode: "enforce".into(),
        services: 3,
        config_hash: 7,
        changed: true,
        warnings: vec!["line 3: mode: old".to_owned()],
    };
    let golden =
        r#"{"mode":"enforce","services":3,"config_hash":7,"changed":true,"warnings":["line 3: mode: old"]}"#;
    for (result, status, told) in [
        (Ok(answer), 200, golden),
        (Err(ReloadRefused::Faults("a\nb".into())), 422, r#"{"error":"a\nb"}"#),
        (Err(ReloadRefused::NotNow("gone".into())), 409, r#"{"error":"gone"}"#),
        (Err(ReloadRefused::Ended("over".into())), 503, r#"{"error":"over"}"#),
    ] {
        let answered = async {
            let reply = soon("the request", asked.recv()).await.unwrap();
            drop(reply.send(result));
        };
        let (reply, ()) = tokio::join!(ask_unix(&socket, "POST", RELOAD, ""), answered);
        assert_eq!((reply.status.as_u16(), reply.text()), (status, told));
    }
    drop(asked);
    let reply = control.post(RELOAD, "{}").await;
    assert_eq!((reply.status.as_u16(), reply.text()), (503, r#"{"error":"the agent is about to end"}"#));
    // The demo has none.
    let reply = Control::start().post(RELOAD, "").await;
    assert_eq!(reply.status, StatusCode::CONFLICT);
    assert!(reply.text().contains("no configuration file"), "{}", reply.text());
}

#[tokio::test]
async fn over_tcp_there_is_nothing_that_writes() {
    let server = start_plain();
    for path in [DRAIN, UNDRAIN, RELOAD] {
        assert_eq!(server.ask("POST", path, &[]).await.status, StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn a_dead_loop_is_told() {
    let mut control = Control::start();
    control.requests.close();
    let reply = control.post(DRAIN, r#"{"real_server":"10.10.0.21"}"#).await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(reply.text(), r#"{"error":"the agent's loop has ended"}"#);
}
