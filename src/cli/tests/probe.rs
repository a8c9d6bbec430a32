use std::sync::Arc;

use tokio::sync::watch;

use super::{Output, Screen, assert_text, on_screen};
use crate::agent::{Handle, ProbeRefused, Request};
use crate::cli::ControlSocket;
use crate::cli::probe::{ProbeArgs, run, show};
use crate::status::{ProbeAnswer, ProbePhases, ProbeStatus};
use crate::web::tests::FakeExposition;
use crate::web::{Options, Web, bind_unix, serve_unix};

fn probe(check: &str, outcome: &'static str, reason: Option<&'static str>, detail: &str) -> ProbeStatus {
    ProbeStatus {
        check: check.to_owned(),
        target: "10.10.0.21:80".parse().unwrap(),
        outcome: outcome.into(),
        reason: reason.map(Into::into),
        detail: detail.to_owned(),
        http_status: (detail.starts_with('5')).then_some(503),
        phases: ProbePhases {
            connect_seconds: Some(0.000_41),
            processing_seconds: Some(0.0123),
            ..ProbePhases::default()
        },
        duration_seconds: 1.5,
    }
}

#[test]
fn probes_read_so_and_the_worst_counts() {
    let pass = || probe("web", "pass", None, "");
    let fail = || probe("api", "fail", Some("bad_status"), "503 is not in 200-299");
    let late = || probe("tls", "inconclusive", Some("late"), "\x1b[2J handled 300 ms late");
    let answer = ProbeAnswer { probes: vec![pass(), fail(), late()] };
    let output = on_screen!(false, |screen| show(&answer, screen));
    let golden = "\
web  10.10.0.21:80  pass
  connect 0.4ms, processing 12ms, total 1.50s
api  10.10.0.21:80  FAIL  bad_status  (503 is not in 200-299)
  connect 0.4ms, processing 12ms, total 1.50s, HTTP status 503
tls  10.10.0.21:80  inconclusive  late  (?[2J handled 300 ms late)
  connect 0.4ms, processing 12ms, total 1.50s
";
    assert_text(&output.out, golden);
    assert_eq!(output.result, 1);
    for (probes, code) in [
        (vec![pass()], 0),
        (vec![pass(), late()], 69),
        (vec![late(), fail()], 1),
        (vec![probe("web", "a word of later", None, "")], 69),
        (vec![], 69),
    ] {
        let answer = ProbeAnswer { probes };
        assert_eq!(on_screen!(false, |screen| show(&answer, screen)).result, code);
    }
}

#[tokio::test]
async fn the_running_agent_probes_or_says_why_not() {
    let dir = tempfile::tempdir().unwrap();
    let args = ProbeArgs {
        config: None,
        table: None,
        virtual_server: "10.10.0.100:80/tcp".parse().unwrap(),
        real_server: "10.10.0.21:80".parse().unwrap(),
        check: Some("web".to_owned()),
        control: ControlSocket { socket: dir.path().join("control.sock") },
    };
    let none = on_screen!(false, |screen| run(&args, screen).await);
    assert_eq!(none.result.unwrap_err().socket, args.control.socket);

    let (handle, mut requests) = Handle::new();
    let web = Web::new(Options::default(), handle, Arc::new(FakeExposition::default()));
    let (_stop, stopping) = watch::channel(false);
    tokio::spawn(serve_unix(bind_unix(&args.control.socket).unwrap(), web, stopping));
    tokio::spawn(async move {
        while let Some(request) = requests.recv().await {
            let Request::Probe { service, check, reply, .. } = request else { panic!("{request:?}") };
            let refused = ProbeRefused::NoCheck(service, check.unwrap(), "api, tls".to_owned());
            drop(reply.send(Err(refused)));
        }
    });
    let output = on_screen!(false, |screen| run(&args, screen).await);
    assert_eq!((output.result.unwrap(), output.out.as_str()), (69, ""));
    assert_eq!(output.err, "lvs-agent: 10.10.0.100:80/tcp has no check `web`; it has: api, tls\n");
}
