//! TERM and INT stop, HUP reloads.

use std::os::unix::fs::PermissionsExt;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::site::Site;

#[test]
fn a_stop_leaves_the_table_and_removes_the_socket() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let site = Site::new(2);
        let agent = site.start_up();
        let mode = std::fs::metadata(site.socket()).expect("the socket").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        site.toys.answer(0, 503);
        agent.wait_weights(&[0, 3]);
        let before = std::fs::read_to_string(site.table()).expect("the table");
        agent.signal(signal);
        let ended = agent.wait_end().expect_code(0);
        let last = ended.err.lines().find(|line| line.contains("the table is left as it is"));
        assert!(last.is_some_and(|line| line.contains("\"taken\":1")), "{}", ended.err);
        assert!(!ended.err.contains("weight set: restore"), "{}", ended.err);
        assert_eq!(ended.out, "", "all that it says are log lines");
        for line in ended.err.lines() {
            let fields: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            assert!(fields["level"].is_string() && fields["message"].is_string(), "{line}");
        }
        assert!(!site.socket().exists());
        assert_eq!(site.ledger()["entries"][0]["owed"], 5);
        assert_eq!(
            std::fs::read_to_string(site.table()).expect("the table"),
            before,
            "read once, never written"
        );
    }
}

#[test]
fn restore_on_exit_gives_back_what_checks_took_and_says_so() {
    let site = Site::new(3);
    site.write_config("restore-on-exit = true", "");
    let agent = site.start_up();
    site.ask(&["drain", &site.real_server(1)]).expect_code(0);
    site.toys.answer(0, 503);
    agent.wait_weights(&[0, 0, 1]);
    let ended = agent.stop();
    let lines = |parts: &[&str]| {
        let all = ended.err.lines();
        all.filter(|line| parts.iter().all(|part| line.contains(part))).count()
    };
    let back = [&site.real_server(0), "weight set: restore", "\"from\":\"0\"", "\"to\":\"5\""];
    assert_eq!(lines(&back), 1, "{}", ended.err);
    assert_eq!(lines(&["weight set: restore"]), 1, "not what is out by hand: {}", ended.err);
    let summary = ["what checks took is given back (restore-on-exit)", "\"given\":1", "\"kept\":1"];
    assert_eq!(lines(&summary), 1, "{}", ended.err);
    assert_eq!(lines(&["the table is left as it is"]), 0, "{}", ended.err);
    let entries = site.ledger()["entries"].clone();
    assert_eq!(entries.as_array().map(Vec::len), Some(1), "{entries}");
    assert_eq!(
        (&entries[0]["real_server"], &entries[0]["by"]),
        (&json!(site.real_server(1)), &json!("operator"))
    );
}

#[test]
fn a_reload_takes_a_good_configuration_and_refuses_a_broken_one() {
    let site = Site::new(3);
    let agent = site.start_up();
    let name = |agent: &crate::agent::Agent| agent.status()["virtual_servers"][0]["name"].clone();
    let successful = "lvs_agent_config_last_reload_successful";
    assert_eq!(agent.metric(successful, &[]), Some(1.0));
    let (hash, loaded) = (agent.metric("lvs_agent_config_hash", &[]), loaded_at(&agent));

    // Two faults: both are said, the old configuration stays in force.
    site.write_config("mood = \"enforce\"", "flour = 2");
    agent.signal(Signal::SIGHUP);
    agent.wait_metric(successful, &[], 0.0);
    let line = agent.wait_log(&["the configuration cannot be loaded: the old one stays"]);
    assert!(line.contains("mood") && line.contains("flour"), "{line}");
    assert!(!line.contains("\\n") && line.contains("2 problems"), "readable in a journal: {line}");
    assert_eq!(name(&agent), "shop");
    assert_eq!(agent.metric("lvs_agent_config_hash", &[]), hash);
    assert_eq!(loaded_at(&agent), loaded, "the last success was earlier");
    site.toys.answer(2, 503);
    agent.wait_weights(&[5, 3, 0]);

    // Gone and empty are no good either.
    std::fs::write(site.config(), "").expect("written");
    agent.signal(Signal::SIGHUP);
    agent.wait("a second refusal", || (agent.log().matches("the old one stays").count() == 2).then_some(()));
    std::fs::remove_file(site.config()).expect("removed");
    agent.signal(Signal::SIGHUP);
    agent.wait("a third refusal", || (agent.log().matches("the old one stays").count() == 3).then_some(()));
    assert_eq!(name(&agent), "shop");

    // A good one is in force at once: the drained one comes back for the new floor.
    let good = site.config_text("", "floor = 3").replace("\"shop\"", "\"market\"");
    std::fs::write(site.config(), good).expect("written");
    agent.signal(Signal::SIGHUP);
    agent.wait("the new name", || (name(&agent) == "market").then_some(()));
    assert_eq!(agent.metric(successful, &[]), Some(1.0));
    assert_ne!(agent.metric("lvs_agent_config_hash", &[]), hash);
    assert!(loaded_at(&agent) > loaded);
    assert_eq!(agent.metric("lvs_virtual_server_floor", &[]), Some(3.0));
    agent.wait_weights(&[5, 3, 1]);
    agent.wait("it is held", || (agent.server(2)["held"]["reason"] == "floor").then_some(()));
    assert_eq!(agent.verdict(0), "up", "a reload forgets no verdict");
}

fn loaded_at(agent: &crate::agent::Agent) -> Option<f64> {
    agent.metric("lvs_agent_config_last_reload_success_timestamp_seconds", &[])
}

#[test]
fn a_reload_changes_the_mode_but_not_the_listeners() {
    let site = Site::new(2);
    let agent = site.start_up();
    let text = site.config_text("mode = \"observe\"", "").replace("127.0.0.1:0", "127.0.0.1:1");
    std::fs::write(site.config(), text).expect("written");
    agent.signal(Signal::SIGHUP);
    agent.wait("the mode", || (agent.status()["mode"] == "observe").then_some(()));
    agent.wait_log(&["\"level\":\"WARN\"", "change only with a restart"]);
    site.toys.answer(0, 503);
    agent.wait("it is held", || (agent.server(0)["held"]["reason"] == "observe").then_some(()));
    assert_eq!(agent.weights(), [5, 3]);
}

/// The flag still beats the file when the file is read again.
#[test]
fn a_reload_keeps_what_the_flags_say() {
    let site = Site::new(2);
    let mut command = site.command();
    command.args(["--mode", "observe"]);
    let agent = crate::agent::Agent::start(command);
    std::fs::write(site.config(), site.config_text("mode = \"enforce\"", "floor = 2")).expect("written");
    agent.signal(Signal::SIGHUP);
    agent
        .wait("the new floor", || (agent.metric("lvs_virtual_server_floor", &[]) == Some(2.0)).then_some(()));
    assert_eq!(agent.status()["mode"], json!("observe"));
}
