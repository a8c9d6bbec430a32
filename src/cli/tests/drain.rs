use std::sync::Arc;

use clap::Parser;
use tokio::sync::watch;

use super::{Output, Screen, on_screen, text_of};
use crate::agent::{Handle, Request};
use crate::cli::drain::{DrainArgs, UndrainArgs, drain, undrain};
use crate::model::{
    Drained, DrainedBy, HandDone, HandEffect, ManagedView, RealServer, Snapshot, View, Wall, Weight,
};
use crate::status::samples;
use crate::web::tests::FakeExposition;
use crate::web::{Options, Web, bind_unix, serve_unix};

#[derive(clap::Parser)]
enum Command {
    Drain(DrainArgs),
    Undrain(UndrainArgs),
}

fn parse(line: &str) -> Result<Command, clap::Error> {
    Command::try_parse_from(line.split_whitespace())
}

fn drain_args(line: &str) -> DrainArgs {
    let Ok(Command::Drain(args)) = parse(line) else { panic!("{line}") };
    args
}

#[test]
fn the_arguments_are_those_of_the_contract() {
    let args = drain_args(
        "lvs-agent drain [2001:db8::21]:80 --virtual-server shop --wait=90s --reason disk --force",
    );
    assert_eq!((args.real_server.port, args.virtual_server.as_deref()), (Some(80), Some("shop")));
    assert_eq!(args.wait.map(|w| w.as_secs()), Some(90));
    assert_eq!((args.reason.as_deref(), args.force), (Some("disk"), true));
    // Without a value it does not eat the real server.
    let args = drain_args("lvs-agent drain --wait 10.10.0.21");
    assert_eq!((args.wait.map(|w| w.as_secs()), args.real_server.port), (Some(600), None));
    assert_eq!(drain_args("lvs-agent drain 10.10.0.21").wait, None);
    let Ok(Command::Undrain(args)) = parse("lvs-agent undrain 10.10.0.21:80 --ignore-checks") else {
        panic!()
    };
    assert!(args.ignore_checks);
    for bad in ["drain 10.10.0.21 --wait=0s", "drain web1", "undrain 10.10.0.21 --force"] {
        assert_eq!(parse(&format!("lvs-agent {bad}")).map(|_| ()).unwrap_err().exit_code(), 2, "{bad}");
    }
}

/// What the table shows of the one real server: weight, active, inactive, persistent connections.
type Row = (u32, u32, u32, u32);

/// The first virtual server of the rich sample with its first real server like this.
fn shown((weight, active, inactive, persistent): Row, by: Option<DrainedBy>) -> View {
    let mut view = samples::rich();
    let mut snapshot: Snapshot = view.snapshot.as_deref().unwrap().clone();
    let row: &mut RealServer = &mut Arc::make_mut(&mut snapshot.services[0]).destinations[0];
    row.weight = Weight(weight);
    (row.active_connections, row.inactive_connections, row.persistent_connections) =
        (active, inactive, persistent);
    view.snapshot = Some(Arc::new(snapshot));
    let managed: &mut ManagedView = view.services[0].managed.as_mut().unwrap();
    managed.real_servers[0].weight = Weight(weight);
    managed.real_servers[0].drained = by.map(|by| Drained { by, reason: None, since: Wall(1.0) });
    view
}

/// `drain --wait` against an agent that shows these one after the other, the last for ever.
async fn waited(line: &str, views: Vec<View>) -> Output<u8> {
    waited_through(line, views.into_iter().map(Some).collect()).await
}

/// `None`: at that moment no agent answers.
async fn waited_through(line: &str, mut views: Vec<Option<View>>) -> Output<u8> {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("control.sock");
    let (handle, mut requests) = Handle::new();
    let web = Web::new(Options::default(), handle, Arc::new(FakeExposition::default()));
    let (_stop, stopping) = watch::channel(false);
    tokio::spawn(serve_unix(bind_unix(&socket).unwrap(), web, stopping));
    let (service, dest) = {
        let snapshot = samples::rich().snapshot.unwrap();
        (snapshot.services[0].key, snapshot.services[0].destinations[0].key)
    };
    tokio::spawn(async move {
        while let Some(request) = requests.recv().await {
            match request {
                Request::Hand { reply, .. } => {
                    let (effect, five) = (HandEffect::Draining, Some(Weight(5)));
                    drop(reply.send(Ok(vec![HandDone {
                        service,
                        dest,
                        effect,
                        weight: five,
                        owed: five,
                        refuses_at_zero: false,
                    }])));
                }
                Request::View { reply, .. } => {
                    let view = if views.len() > 1 { views.remove(0) } else { views[0].clone() };
                    drop(view.map(|view| reply.send(Arc::new(view))));
                }
                Request::ViewAtOnce { .. }
                | Request::Probe { .. }
                | Request::Reloaded { .. }
                | Request::Stop => panic!("{request:?}"),
            }
        }
    });
    let args = drain_args(&format!("lvs-agent drain {dest} --control-socket {} {line}", text_of(&socket)));
    on_screen!(false, |screen| drain(&args, screen).await)
}

#[tokio::test]
async fn it_waits_for_active_and_persistent_connections_and_shows_them_fall() {
    let by_hand = Some(DrainedBy::Operator);
    let views = vec![
        shown((5, 9, 3, 2), None), // the 0 is on its way
        shown((0, 4, 3, 2), by_hand),
        shown((0, 4, 3, 2), by_hand),
        shown((0, 0, 3, 1), by_hand),
        shown((0, 0, 7, 0), by_hand),
    ];
    let output = waited("--wait", views).await;
    assert_eq!((output.result, output.err.as_str()), (0, ""));
    let told: Vec<&str> = output.out.lines().map(|l| l.split("s  ").last().unwrap()).collect();
    assert!(told[0].contains("draining: weight 5 -> 0"), "{told:?}");
    assert_eq!(
        told[1..],
        [
            "weight 5, 9 active, 2 persistent, 3 inactive connections",
            "weight 0, 4 active, 2 persistent, 3 inactive connections",
            "weight 0, 0 active, 1 persistent, 3 inactive connections",
            "no active and no persistent connections are left",
        ]
    );
}

#[tokio::test]
async fn the_deadline_and_an_end_by_others_are_failures() {
    let busy = shown((0, 1, 0, 0), Some(DrainedBy::Operator));
    let late = waited("--wait=1ms", vec![busy.clone()]).await;
    assert_eq!(late.result, 1);
    assert!(late.err.contains("not empty within") && late.err.contains("1 active"), "{}", late.err);
    let ended = waited("--wait", vec![busy, shown((5, 1, 0, 0), None)]).await;
    assert_eq!(ended.result, 1);
    assert!(ended.err.contains("is no longer drained"), "{}", ended.err);
}

#[tokio::test]
async fn a_restart_of_the_agent_does_not_end_the_wait() {
    let by_hand = Some(DrainedBy::Operator);
    let busy = || Some(shown((0, 1, 0, 0), by_hand));
    let output =
        waited_through("--wait", vec![busy(), None, None, busy(), Some(shown((0, 0, 0, 0), by_hand))]).await;
    assert_eq!((output.result, output.err.as_str()), (0, ""));
    let told: Vec<&str> = output.out.lines().map(|l| l.split("s  ").last().unwrap()).collect();
    assert_eq!(told.len(), 5, "{told:?}");
    assert_eq!(told[2], "the agent's loop has ended", "said once");
    assert_eq!(told[1], told[3]);
    let gone = waited_through("--wait=1ms", vec![None]).await;
    assert_eq!(gone.result, 69);
    assert!(gone.err.contains("has ended; the drain stays"), "{}", gone.err);
}

#[tokio::test]
async fn where_no_agent_answers_it_says_so() {
    let line = "lvs-agent undrain 10.10.0.21 --control-socket /nonexistent/control.sock";
    let Ok(Command::Undrain(args)) = parse(line) else { panic!("{line}") };
    let output = on_screen!(false, |screen| undrain(&args, screen).await);
    assert_eq!((output.result, output.out.as_str()), (69, ""));
    assert!(output.err.contains("no agent answers on /nonexistent/control.sock"), "{}", output.err);
}
