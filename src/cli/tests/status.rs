use std::path::PathBuf;
use std::sync::Arc;

use tempfile::TempDir;
use tokio::sync::watch;

use super::{Output, Screen, assert_text, on_screen, text_of};
use crate::agent::Handle;
use crate::cli::ControlSocket;
use crate::cli::status::{StatusArgs, run, show};
use crate::cli::trust::TlsFiles;
use crate::model::{View, Weight};
use crate::status::{CertificateStatus, HeldStatus, SlowStartStatus, Status, TripwireStatus, samples};
use crate::web::tests::{FakeExposition, agent_showing, start};
use crate::web::{Options, Web, bind_unix, serve_unix};

fn args() -> StatusArgs {
    StatusArgs {
        virtual_server: None,
        json: false,
        agents: Vec::new(),
        tls: TlsFiles::default(),
        control: ControlSocket { socket: PathBuf::from("/nonexistent/control.sock") },
    }
}

fn shown(status: Status, args: &StatusArgs) -> Output<u8> {
    on_screen!(false, |screen| show(status, args, None, screen))
}

#[test]
fn the_table_reads_so() {
    let output = shown(Status::from(&samples::rich()), &args());
    assert_text(&output.out, include_str!("status.txt"));
    assert_eq!((output.result, output.err.as_str()), (1, ""));
    for line in output.out.lines() {
        assert_eq!(line.trim_end(), line, "trailing blanks");
    }
}

#[test]
fn the_kernels_table_alone_says_so() {
    let view = samples::rich();
    let status = Status::from_snapshot(view.snapshot.as_ref().unwrap(), view.now);
    let note = "no agent answers on /run/lvs-agent/control.sock; this is the kernel's table alone";
    let output = on_screen!(false, |screen| show(status, &args(), Some(note), screen));
    assert_text(&output.out, include_str!("kernel.txt"));
    assert_eq!(output.result, 0);
}

#[test]
fn colours_change_nothing_but_colour() {
    let status = Status::from(&samples::rich());
    let plain = shown(status.clone(), &args()).out;
    let coloured = on_screen!(true, |screen| show(status, &args(), None, screen)).out;
    assert!(coloured.contains("\x1b[1;31mDOWN"), "{coloured}");
    let mut stripped = coloured;
    for code in ["32", "1;31", "33", "1", "0"] {
        stripped = stripped.replace(&format!("\x1b[{code}m"), "");
    }
    assert_eq!(stripped, plain);
}

/// Whose it is stands there from the day on which the first alert tells of it.
#[test]
fn certificates_are_told_in_days() {
    for (days_left, text) in [
        (400, "certificate 400 days\n"),
        (21, "certificate 21 days\n"),
        (20, "certificate ends in 20 days: CN=a\n"),
        (1, "certificate ends in 1 day: CN=a\n"),
        (0, "certificate ends in 0 days: CN=a\n"),
        (-1, "certificate EXPIRED: CN=a\n"),
    ] {
        let mut status = Status::from(&samples::rich());
        let check = &mut status.virtual_servers[0].real_servers[0].checks[0];
        let subject = "CN=a".to_owned();
        check.certificate = Some(CertificateStatus { subject, not_after_timestamp_seconds: 0, days_left });
        let output = shown(status, &args());
        let whole = format!("web: pass x12, 0.3s ago in 1.2ms, {text}");
        assert!(output.out.contains(&whole), "{whole} is not in\n{}", output.out);
    }
}

#[test]
fn tripwires_stand_with_their_check() {
    for (armed, degraded, text) in [
        (true, None, "tripwire armed\n"),
        (false, None, "tripwire not armed\n"),
        (true, Some("closed".into()), "tripwire degraded, closed\n"),
    ] {
        let mut status = Status::from(&samples::rich());
        let check = &mut status.virtual_servers[0].real_servers[0].checks[0];
        check.tripwire = Some(TripwireStatus { armed, trips: 3, degraded });
        let output = shown(status, &args());
        let whole = format!("web: pass x12, 0.3s ago in 1.2ms, {text}");
        assert!(output.out.contains(&whole), "{whole} is not in\n{}", output.out);
    }
}

#[test]
fn ramps_hold_downs_and_flapping_stand_in_the_state() {
    let mut status = Status::from(&samples::rich());
    let servers = &mut status.virtual_servers[0].real_servers;
    let ramp = |ends_in_seconds| Some(SlowStartStatus { step: 3, of: 10, ends_in_seconds });
    servers[0].slow_start = ramp(Some(21.0));
    servers[1].held =
        Some(HeldStatus { reason: "hold_down".into(), would: Weight(1), ends_in_seconds: Some(75.0) });
    servers[1].flapping = true;
    servers[2].ignores_checks = true;
    (servers[2].share_percent, servers[1].share_percent) = (Some(100), Some(0));
    servers[0].share_percent = Some(50);
    servers[3].ignores_checks = true;
    servers[3].held =
        Some(HeldStatus { reason: "ignore_checks".into(), would: Weight(0), ends_in_seconds: None });
    servers[3].slow_start = ramp(None);
    let out = shown(status, &args()).out;
    let line = |server: &str| out.lines().find(|l| l.contains(server)).unwrap().to_owned();
    assert!(
        line("10.10.0.21:80").contains("  slow start, step 3 of 10, whole in 21s; wants 50% of its weight  "),
        "{out}"
    );
    assert!(line("10.10.0.23:80").contains("; its checks are ignored until drain or undrain  "), "{out}");
    // What says that it is held says this too.
    assert!(
        line("10.10.0.24:80").contains("  held by ignore_checks, would be 0; slow start, step 3 of 10  "),
        "{out}"
    );
    let expected = "; held by hold_down, would be 1, for another 1m15s; wants no new connections; flapping  ";
    assert!(line("10.10.0.22:80").contains(expected), "{out}");
}

#[test]
fn one_virtual_server_is_picked_by_name_or_key() {
    let status = Status::from(&samples::rich());
    let picked = |wanted: &str| {
        let args = StatusArgs { virtual_server: Some(wanted.to_owned()), ..args() };
        shown(status.clone(), &args)
    };
    for wanted in ["shop", "10.10.0.100:80/tcp"] {
        let output = picked(wanted);
        assert_eq!(output.result, 0, "{}", output.err);
        assert!(output.out.contains("shop 10.10.0.100:80/tcp") && !output.out.contains("2001:db8"));
        assert!(output.out.ends_with("1 virtual server: 1 up\n"), "{}", output.out);
    }
    // Another spelling of the same key.
    assert_eq!(picked("[2001:DB8:0::1]:443/tcp").result, 1);
    let output = picked("shoop");
    assert_eq!((output.result, output.out.as_str()), (69, ""));
    let said = "lvs-agent: there is no virtual server `shoop`; there are: shop 10.10.0.100:80/tcp, \
                10.10.0.101:53/udp, api [2001:db8::1]:443/tcp, fwmark:7/ipv4\n";
    assert_eq!(output.err, said);
}

#[test]
fn the_code_says_if_all_is_up() {
    let code = |view: &View| shown(Status::from(view), &args()).result;
    let mut view = samples::rich();
    assert_eq!(code(&view), 1);
    view.services[2].managed.as_mut().unwrap().up = true;
    assert_eq!(code(&view), 0);
    view.snapshot = None;
    assert_eq!(code(&view), 69);
    let empty = samples::view(Vec::new(), Some(samples::snapshot(Vec::new())));
    let output = shown(Status::from(&empty), &args());
    assert_text(&output.out, "lvs-agent VERSION, enforce, table read 0.4s ago\n\nThe IPVS table is empty.\n");
    assert_eq!(output.result, 0);
}

#[test]
fn text_from_elsewhere_cannot_command_the_terminal() {
    let mut status = Status::from(&samples::rich());
    let evil = "\x1b[2J\r\n\u{202e}\u{9b}31m";
    status.version = evil.to_owned();
    status.mode = evil.into();
    status.not_ready_reason = Some(evil.to_owned());
    status.ledger.error = Some(evil.to_owned());
    let service = &mut status.virtual_servers[0];
    service.name = evil.to_owned();
    service.scheduler = evil.to_owned();
    service.forwarding = vec![evil.into()];
    let server = &mut service.real_servers[1];
    server.verdict = evil.into();
    server.drained.as_mut().unwrap().by = evil.into();
    server.checks[0].check = evil.to_owned();
    server.checks[0].reason = Some(evil.into());
    server.checks[0].detail = Some(evil.repeat(50));
    let out = shown(status, &args()).out;
    let bad = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    assert!(!out.contains(bad), "{out:?}");
    // The ledger's error has a line of its own; none of the others was broken in two.
    assert_eq!(out.lines().count(), include_str!("status.txt").lines().count() + 1);
}

struct Local {
    dir: TempDir,
    _stop: watch::Sender<bool>,
}

impl Local {
    fn start(agent: Handle) -> Local {
        let dir = tempfile::tempdir().unwrap();
        let (stop, stopping) = watch::channel(false);
        let web = Web::new(Options::default(), agent, Arc::new(FakeExposition::default()));
        let listener = bind_unix(&dir.path().join("control.sock")).unwrap();
        tokio::spawn(serve_unix(listener, web, stopping));
        Local { dir, _stop: stop }
    }

    fn args(&self) -> StatusArgs {
        StatusArgs { control: ControlSocket { socket: self.dir.path().join("control.sock") }, ..args() }
    }
}

#[tokio::test]
async fn the_running_agent_is_asked() {
    let local = Local::start(agent_showing(samples::rich()));
    let output = on_screen!(false, |screen| run(&local.args(), screen).await);
    assert_eq!(output.result.unwrap(), 1);
    assert_text(&output.out, include_str!("status.txt"));

    let json = StatusArgs { json: true, ..local.args() };
    let output = on_screen!(false, |screen| run(&json, screen).await);
    let expected = serde_json::to_string(&Status::from(&samples::rich())).unwrap();
    assert_eq!((output.result.unwrap(), output.out), (1, format!("{expected}\n")));

    let one = StatusArgs { virtual_server: Some("shop".to_owned()), ..json };
    let output = on_screen!(false, |screen| run(&one, screen).await);
    let parsed: Status = serde_json::from_str(&output.out).unwrap();
    assert_eq!((output.result.unwrap(), parsed.virtual_servers.len()), (0, 1));
}

#[tokio::test]
async fn no_agent_is_a_case_of_its_own() {
    let none = on_screen!(false, |screen| run(&args(), screen).await);
    assert_eq!(none.result.unwrap_err().to_string(), "no agent answers on /nonexistent/control.sock");
    assert_eq!((none.out.as_str(), none.err.as_str()), ("", ""));

    let dir = tempfile::tempdir().unwrap();
    let stale = StatusArgs { control: ControlSocket { socket: dir.path().join("control.sock") }, ..args() };
    drop(bind_unix(&stale.control.socket).unwrap());
    let none = on_screen!(false, |screen| run(&stale, screen).await).result.unwrap_err();
    assert_eq!(none.socket, stale.control.socket);

    // One that answers, but has nothing to say.
    let (handle, requests) = Handle::new();
    drop(requests);
    let local = Local::start(handle);
    let output = on_screen!(false, |screen| run(&local.args(), screen).await);
    assert_eq!(output.result.unwrap(), 69);
    assert_eq!(output.err, "lvs-agent: the agent's loop has ended\n");
    assert!(!output.err.contains(&text_of(dir.path())));
}

/// Two directors: the other has not drained .22, has no .24 and owes .21 another weight.
fn directors() -> (View, View) {
    let mut one = samples::rich();
    one.services[2].managed.as_mut().unwrap().up = true;
    let mut two = one.clone();
    let mut table = samples::snapshot(Vec::new());
    table.services = one.snapshot.as_ref().unwrap().services.clone();
    let shop = Arc::make_mut(&mut table.services[0]);
    shop.destinations[1].weight = Weight(5);
    shop.destinations.pop();
    two.snapshot = Some(Arc::new(table));
    two.services[0].managed.as_mut().unwrap().real_servers[0].owed = None;
    (one, two)
}

#[tokio::test]
async fn directors_are_compared() {
    let (one, two) = directors();
    let serve =
        |view: &View| start(Options::default(), agent_showing(view.clone()), FakeExposition::default());
    let (first, second) = (serve(&one), serve(&two));
    let url = |addr: std::net::SocketAddr| format!("http://{addr}").parse().unwrap();
    let both = StatusArgs {
        agents: vec![url(first.addr), url(second.addr)],
        virtual_server: Some("shop".to_owned()),
        ..args()
    };
    let output = on_screen!(false, |screen| run(&both, screen).await);
    let text =
        output.out.replace(&first.addr.to_string(), "d1:10190").replace(&second.addr.to_string(), "d2:10190");
    assert_text(&text, include_str!("directors.txt"));
    assert_eq!(output.result.unwrap(), 0);

    let json = StatusArgs { json: true, ..both.clone() };
    let output = on_screen!(false, |screen| run(&json, screen).await);
    let report: serde_json::Value = serde_json::from_str(&output.out).unwrap();
    assert_eq!(report["agents"][1]["status"]["virtual_servers"][0]["name"], "shop");
    assert_eq!(report["disagreements"].as_array().unwrap().len(), 3);
    assert_eq!(report["disagreements"][2]["directors"][1]["real_server"], serde_json::Value::Null);

    // The same director twice agrees with itself.
    let same = StatusArgs { agents: vec![url(first.addr), url(first.addr)], ..both.clone() };
    let output = on_screen!(false, |screen| run(&same, screen).await);
    assert!(output.out.ends_with("Nowhere: 2 directors, the same verdicts and weights.\n"), "{}", output.out);

    // One that does not answer fails the command, and hides nothing of the other.
    let dead = crate::web::bind_tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let dead_addr = dead.local_addr().unwrap();
    drop(dead);
    let half = StatusArgs { agents: vec![url(dead_addr), url(first.addr)], ..both.clone() };
    let output = on_screen!(false, |screen| run(&half, screen).await);
    assert_eq!(output.result.unwrap(), 1);
    assert!(output.out.starts_with(&format!("=== http://{dead_addr} ===\nNOT READ: ")), "{}", output.out);
    assert!(
        output.out.contains("Connection refused") && output.out.contains("10.10.0.21:80"),
        "{}",
        output.out
    );
    assert!(output.out.ends_with("Nothing to compare: 1 of 2 directors has a table to show.\n"));

    let none = StatusArgs { agents: vec![url(dead_addr)], ..both };
    let output = on_screen!(false, |screen| run(&none, screen).await);
    assert_eq!(output.result.unwrap(), 69);
}
