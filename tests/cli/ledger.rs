//! The ledger through crashes, broken files and full disks.

use nix::sys::signal::Signal;
use serde_json::json;

use crate::agent::{Agent, finish};
use crate::site::Site;

#[test]
fn a_killed_agent_gives_back_after_its_restart_what_it_took() {
    let site = Site::new(3);
    let agent = site.start_up();
    site.toys.answer(0, 503);
    agent.wait_weights(&[0, 3, 1]);
    agent.signal(Signal::SIGKILL);
    assert_eq!(agent.wait_end().code, None);
    assert!(site.socket().exists(), "nobody was there to remove it");

    // The kernel's table would still have the 0.
    site.write_table(&[0, 3, 1]);
    let agent = site.start();
    agent.wait_log(&["an earlier run took this weight", "\"owed\":\"5\""]);
    agent.wait("it is judged", || (agent.verdict(0) == "down").then_some(()));
    let row = agent.server(0);
    assert_eq!((row["weight"].as_u64(), row["owed_weight"].as_u64()), (Some(0), Some(5)), "{row}");
    assert_eq!(row["drained"]["by"], "check", "not an operator's 0");

    site.toys.answer(0, 200);
    agent.wait_weights(&[5, 3, 1]);
    agent.wait("the ledger is empty", || (site.ledger()["entries"] == json!([])).then_some(()));
}

#[test]
fn a_stopped_agent_leaves_its_drain_on_record() {
    let site = Site::new(2);
    let agent = site.start_up();
    site.toys.answer(1, 503);
    agent.wait_weights(&[5, 0]);
    agent.stop();
    let entry = &site.ledger()["entries"][0];
    assert_eq!((&entry["state"], &entry["owed"]), (&json!("done"), &json!(3)));
}

/// A weight that somebody gave meanwhile is theirs.
#[test]
fn a_weight_set_while_the_agent_was_away_is_kept() {
    let site = Site::new(2);
    let agent = site.start_up();
    site.toys.answer(1, 503);
    agent.wait_weights(&[5, 0]);
    agent.stop();
    site.toys.answer(1, 200);
    site.write_table(&[5, 9]);
    let agent = site.start_up();
    assert_eq!(agent.weights(), [5, 9]);
    agent.wait("the entry is gone", || (site.ledger()["entries"] == json!([])).then_some(()));
    assert_eq!(agent.weights(), [5, 9]);
}

#[test]
fn a_ledger_that_cannot_be_understood_stops_drains_and_is_left_untouched() {
    let whole = r#"{"format": 1, "boot_id": "b", "table": "embedded", "confirmed": 1.5, "entries": []}"#;
    for (text, why) in [
        ("garbage \u{0}\n", "cannot be understood"),
        ("", "is empty"),
        (&whole[..40], "cannot be understood"),
        (r#"{"format": 3, "wishes": []}"#, "format 3"),
    ] {
        let site = Site::new(2);
        let file = site.ledger_file();
        std::fs::create_dir(site.path("state")).expect("a directory");
        std::fs::write(&file, text).expect("the ledger is written");
        let agent = site.start_up();
        site.toys.answer(1, 503);
        held_unsaved(&agent, 1);
        let error = agent.status()["ledger"]["error"].as_str().unwrap_or_default().to_owned();
        assert!(error.contains(&file.display().to_string()) && error.contains(why), "{error}");
        assert!(error.contains("move the file away"), "the way out: {error}");
        let out = site.ask(&["status"]).expect_code(0).out;
        assert!(out.contains("LEDGER: the ledger") && out.contains("held by ledger_unsaved"), "{out}");
        agent.stop();
        assert_eq!(std::fs::read_to_string(&file).expect("it is there"), text);

        // The way out works.
        std::fs::rename(&file, site.path("state/ledger.broken")).expect("moved");
        let agent = site.start();
        agent.wait_weights(&[5, 0]);
        assert_eq!(agent.status()["ledger"]["error"], json!(null));
    }
}

#[test]
fn a_ledger_that_cannot_be_read_stops_drains() {
    let site = Site::new(2);
    std::fs::create_dir_all(site.ledger_file()).expect("a directory in its place");
    let agent = site.start_up();
    site.toys.answer(1, 503);
    held_unsaved(&agent, 1);
    let error = agent.status()["ledger"]["error"].to_string();
    assert!(error.contains("ledger.json failed") && error.contains("directory"), "{error}");
}

#[test]
fn a_ledger_that_cannot_be_written_holds_drains_until_it_can() {
    let site = Site::new(3);
    let agent = site.start_up();
    site.toys.answer(2, 503);
    agent.wait_weights(&[5, 3, 0]);
    std::fs::rename(site.path("state"), site.path("away")).expect("moved");
    site.toys.answer(1, 503);
    held_unsaved(&agent, 1);
    assert!(agent.metric("lvs_agent_ledger_write_failures_total", &[]) >= Some(1.0));
    assert_eq!(agent.get("/-/healthy").status, 200);
    // What is owed is given back all the same: that takes no record.
    site.toys.answer(2, 200);
    agent.wait_weights(&[5, 3, 1]);

    std::fs::rename(site.path("away"), site.path("state")).expect("moved back");
    agent.wait_weights(&[5, 0, 1]);
    agent.wait_log(&["the ledger is saved again"]);
    assert_eq!(site.ledger()["entries"][0]["real_server"], site.real_server(1));
    assert_eq!(agent.status()["ledger"]["error"], json!(null));
}

#[test]
fn a_state_directory_that_cannot_be_used_from_the_start_stops_drains_and_nothing_else() {
    let site = Site::new(2);
    std::fs::write(site.path("state"), "in the way").expect("written");
    let agent = site.start_up();
    site.toys.answer(1, 503);
    held_unsaved(&agent, 1);
    let error = agent.status()["ledger"]["error"].as_str().unwrap_or_default().to_owned();
    let path = site.path("state").display().to_string();
    assert!(error.contains(&path) && error.contains("tried again"), "{error}");
    assert_eq!(agent.get("/-/healthy").status, 200);
    // Once it can be used, it is: locked, and with what is taken on record.
    std::fs::remove_file(site.path("state")).expect("removed");
    agent.wait_weights(&[5, 0]);
    agent.wait_log(&["the ledger is saved again"]);
    assert_eq!(agent.status()["ledger"]["error"], json!(null));
    assert_eq!(site.ledger()["entries"][0]["real_server"], site.real_server(1));
    assert!(site.path("state/lock").exists());
}

/// The lab has every point, on a real table.
#[test]
fn a_failpoint_kills_where_it_is_told_to_and_nowhere_by_accident() {
    let site = Site::new(2);
    for (text, says) in [("after_save:2", None), ("aftersave", Some("before_save, mid_save, after_save"))] {
        let mut command = site.command();
        command.env("LVS_AGENT_FAILPOINT", text);
        site.toys.answer(1, 503);
        let ended = finish(command);
        assert!(ended.err.contains("LVS_AGENT_FAILPOINT"), "{ended:?}");
        match says {
            Some(says) => assert!(ended.expect_code(78).err.contains(says)),
            None => {
                assert!(ended.code.is_none() && ended.err.contains("WARN"), "a signal: {ended:?}");
                // The second save marks the first drain done.
                assert_eq!(site.ledger()["entries"][0]["state"], "done");
            }
        }
    }
}

/// Down, in the table at its weight, and held for want of a ledger.
fn held_unsaved(agent: &Agent, at: usize) {
    agent.wait("the drain is held", || {
        (agent.server(at)["held"] == json!({"reason": "ledger_unsaved", "would": 0})).then_some(())
    });
    let row = agent.server(at);
    assert_eq!(row["verdict"], "down");
    assert_eq!(row["weight"], row["owed_weight"]);
    assert_eq!(agent.metric("lvs_real_server_change_held", &[("reason", "ledger_unsaved")]), Some(1.0));
    agent.wait_log(&["the ledger cannot be used: no weight is taken", "\"level\":\"ERROR\""]);
}
