//! The main job: a failing server is drained, a mended one gets its weight back.

use nix::sys::signal::Signal;
use serde_json::json;

use crate::agent::Agent;
use crate::site::Site;

#[test]
fn a_failing_server_is_drained_and_gets_its_weight_back() {
    let site = Site::new(3);
    let agent = site.start_up();
    assert_eq!(agent.weights(), [5, 3, 1]);
    let ready = agent.wait("it is ready", || Some(agent.get("/-/ready")).filter(|a| a.status == 200));
    assert_eq!(ready.text(), "ready\n");

    site.toys.answer(1, 503);
    agent.wait_weights(&[5, 0, 1]);
    let row = agent.server(1);
    assert_eq!(row["verdict"], "down");
    assert_eq!(row["owed_weight"], 3);
    assert_eq!((&row["drained"]["by"], &row["drained"]["reason"]), (&json!("check"), &json!("bad_status")));
    assert_eq!(row["checks"][0]["reason"], "bad_status");
    assert!(row["checks"][0]["consecutive"].as_u64() >= Some(2), "{row}");
    drained_in_the_metrics(&site, &agent);
    drained_in_the_ledger(&site, &agent);
    drained_on_the_terminal(&site);

    site.toys.answer(1, 200);
    agent.wait_weights(&[5, 3, 1]);
    assert_eq!(agent.server(1)["drained"], json!(null));
    agent.wait("the ledger is empty", || (site.ledger()["entries"] == json!([])).then_some(()));
    agent.wait_metric("lvs_agent_ledger_entries", &[], 0.0);
    assert_eq!(agent.metric("lvs_weight_changes_total", &[("direction", "restore")]), Some(1.0));
    assert_eq!(agent.metric("lvs_real_server_drained", &[]), None);
    let out = site.ask(&["status"]).expect_code(0).out;
    assert!(out.contains("up  3 of 3 usable, capacity 100%"), "{out}");
}

fn drained_in_the_metrics(site: &Site, agent: &Agent) {
    let server = site.real_server(1);
    let labels = [("real_server", server.as_str())];
    assert_eq!(agent.metric("ipvs_real_server_weight", &labels), Some(0.0));
    assert_eq!(agent.metric("lvs_real_server_owed_weight", &labels), Some(3.0));
    assert_eq!(agent.metric("lvs_real_server_up", &labels), Some(0.0));
    assert_eq!(agent.metric("lvs_real_server_drained", &[labels[0], ("reason", "check")]), Some(1.0));
    assert_eq!(agent.metric("lvs_real_server_drained", &[]), Some(1.0), "the others are not");
    assert_eq!(agent.metric("lvs_weight_changes_total", &[("direction", "drain")]), Some(1.0));
    assert_eq!(agent.metric("lvs_agent_ledger_entries", &[]), Some(1.0));
    assert_eq!(agent.metric("lvs_virtual_server_up", &[]), Some(1.0));
}

fn drained_in_the_ledger(site: &Site, agent: &Agent) {
    let entry = agent.wait("the entry is done", || {
        let entry = site.ledger()["entries"][0].clone();
        (entry["state"] == "done").then_some(entry)
    });
    let ledger = site.ledger();
    assert_eq!((&ledger["format"], &ledger["table"]), (&json!(2), &json!("embedded")));
    assert_eq!(ledger["entries"].as_array().map(Vec::len), Some(1));
    assert_eq!(entry["virtual_server"], site.virtual_server());
    assert_eq!(entry["real_server"], site.real_server(1));
    assert_eq!((&entry["owed"], &entry["written"]), (&json!(3), &json!(0)));
    assert_eq!((&entry["by"], &entry["reason"]), (&json!("check"), &json!("bad_status")));
}

fn drained_on_the_terminal(site: &Site) {
    let out = site.ask(&["status"]).expect_code(0).out;
    let row = out.lines().find(|line| line.contains(&site.real_server(1))).unwrap_or_default();
    for part in ["DOWN", " 0/3 ", "drained by check for", ": bad_status", "web: bad_status x"] {
        assert!(row.contains(part), "{part}: {out}");
    }
    assert!(out.contains(&format!("shop {}", site.virtual_server())), "{out}");
    assert!(out.contains("up  2 of 3 usable, capacity 67%, floor 1"), "{out}");
    assert!(!out.contains('\x1b'), "no colours on a pipe: {out:?}");
}

#[test]
fn a_killed_server_is_refused_and_drained() {
    let mut site = Site::new(3);
    let agent = site.start_up();
    site.toys.kill(2);
    agent.wait_weights(&[5, 3, 0]);
    assert_eq!(agent.server(2)["drained"]["reason"], "connect_refused");
}

/// Another check that goes on passing: it is the servers that fail, not the director.
fn ports_pass(site: &Site, service: &str) {
    let text = site.config_text("", service).replace(r#"checks = ["web"]"#, r#"checks = ["web", "port"]"#);
    std::fs::write(site.config(), text).expect("the configuration is written");
}

#[test]
fn when_nobody_passes_the_director_is_the_suspect() {
    let site = Site::new(3);
    site.write_config("", "floor = 0");
    let agent = site.start_up();
    site.toys.answer(0, 503);
    agent.wait_weights(&[0, 3, 1]);
    site.toys.answer(1, 503);
    agent.wait_weights(&[0, 0, 1]);
    site.toys.answer(2, 503);
    agent.wait("held", || {
        (agent.server(2)["held"] == json!({"reason": "suspect_self", "would": 0})).then_some(())
    });
    agent.wait_log(&["this director is the suspect", "\"failing\":3", "\"targets\":3"]);
    agent.wait_metric("lvs_real_server_change_held", &[("reason", "suspect_self")], 1.0);
    assert_eq!(agent.metric("lvs_weight_changes_held_total", &[("reason", "suspect_self")]), Some(1.0));
    assert_eq!(agent.weights(), [0, 0, 1]);
    site.toys.answer(0, 200);
    agent.wait_weights(&[5, 0, 0]);
    agent.wait_log(&["enough targets pass again"]);
}

#[test]
fn a_scheduler_that_refuses_clients_at_weight_0_keeps_its_failing_servers() {
    let site = Site::new(2);
    let table = site.table_of("127.0.20.100", &[5, 3]).replace("-s wrr", "-s dh");
    std::fs::write(site.table(), table).expect("the table is written");
    let agent = site.start_up();
    agent.wait_log(&["failing real servers stay in rotation here", "\"scheduler\":\"dh\""]);
    site.toys.answer(0, 503);
    agent.wait("held", || {
        (agent.server(0)["held"] == json!({"reason": "scheduler_refuses", "would": 0})).then_some(())
    });
    assert_eq!(agent.weights(), [5, 3]);
    let status = agent.status();
    let service = &status["virtual_servers"][0];
    assert_eq!((&service["refuses_at_zero"], &service["on_failure"]), (&json!(true), &json!("observe")));
    let out = site.ask(&["status"]).expect_code(0).out;
    assert!(out.contains("failing real servers stay in: dh would refuse"), "{out}");

    site.write_config("", "on-failure = \"weight-0\"");
    agent.signal(Signal::SIGHUP);
    agent.wait_weights(&[0, 3]);
    agent.wait_log(&["this scheduler refuses the clients", "\"scheduler\":\"dh\""]);
}

#[test]
fn the_last_server_stays_in() {
    let site = Site::new(3);
    ports_pass(&site, "");
    let agent = site.start_up();
    site.toys.answer_all(503);
    let held = agent.wait("one is held by the floor", || {
        let held = (0..3).find(|at| agent.server(*at)["held"] == json!({"reason": "floor", "would": 0}))?;
        (agent.weights().iter().filter(|w| **w == 0).count() == 2).then_some(held)
    });
    agent.wait("all are down", || (0..3).all(|at| agent.verdict(at) == "down").then_some(()));
    let weights = agent.weights();
    assert_eq!(weights[held], [5, 3, 1][held], "at its full weight: {weights:?}");
    assert_eq!(agent.metric("lvs_virtual_server_floor_reached", &[]), Some(1.0));
    assert_eq!(agent.metric("lvs_virtual_server_protected_real_servers", &[]), Some(1.0));
    assert_eq!(agent.metric("lvs_real_server_change_held", &[("reason", "floor")]), Some(1.0));
    assert_eq!(agent.metric("lvs_weight_changes_held_total", &[("reason", "floor")]), Some(1.0));
    assert_eq!(agent.metric("lvs_weight_changes_total", &[("direction", "drain")]), Some(2.0));
    assert_eq!(agent.metric("lvs_virtual_server_up", &[]), Some(0.0));
    let ended = site.ask(&["status"]).expect_code(1);
    assert!(ended.out.contains("held by floor, would be 0"), "{}", ended.out);
    assert!(ended.out.contains("DOWN  0 of 3 usable"), "{}", ended.out);

    // Held in only for want of another: one that comes back takes its place.
    let other = (held + 1) % 3;
    site.toys.answer(other, 200);
    agent.wait("the held one goes", || (agent.weights()[held] == 0).then_some(()));
    assert_eq!(agent.weights()[other], [5, 3, 1][other]);
    site.toys.answer_all(200);
    agent.wait_weights(&[5, 3, 1]);
    agent.wait_metric("lvs_virtual_server_floor_reached", &[], 0.0);
    site.ask(&["status"]).expect_code(0);
}

#[test]
fn a_floor_of_zero_lets_checks_empty_a_service() {
    let site = Site::new(2);
    ports_pass(&site, "floor = 0");
    let agent = site.start_up();
    site.toys.answer_all(503);
    agent.wait_weights(&[0, 0]);
    assert_eq!(agent.metric("lvs_virtual_server_floor_reached", &[]), Some(0.0));
    site.ask(&["status", "shop"]).expect_code(1);
}

#[test]
fn an_operators_zero_is_left_alone() {
    let site = Site::new(3);
    site.write_table(&[5, 0, 1]);
    let agent = site.start_up();
    assert_eq!(agent.server(1)["drained"]["by"], "external");
    assert_eq!(agent.server(1)["owed_weight"], json!(null));
    // A round of another server's troubles later it is still at 0.
    site.toys.answer(0, 503);
    agent.wait_weights(&[0, 0, 1]);
    site.toys.answer(0, 200);
    agent.wait_weights(&[5, 0, 1]);
    let passes = |agent: &Agent| agent.server(1)["checks"][0]["consecutive"].as_u64();
    agent.wait("many more passes", || (passes(&agent) >= Some(10)).then_some(()));
    assert_eq!(agent.weights(), [5, 0, 1]);
    let out = site.ask(&["status"]).expect_code(0).out;
    assert!(out.contains("weight 0 by hand") && out.contains(" 0/? "), "{out}");
}

#[test]
fn observing_writes_nothing_and_says_what_it_would() {
    for asked in ["file", "service", "variable", "flag"] {
        let site = Site::new(2);
        let mut command = site.command();
        match asked {
            "file" => site.write_config("mode = \"observe\"", ""),
            "service" => site.write_config("", "mode = \"observe\""),
            "variable" => drop(command.env("LVS_AGENT_MODE", "observe")),
            _ => drop(command.args(["--mode", "observe"])),
        }
        let agent = Agent::start(command);
        agent.wait("it is up", || (agent.verdict(0) == "up").then_some(()));
        site.toys.answer(0, 503);
        agent.wait(&format!("{asked}: held"), || {
            (agent.server(0)["held"] == json!({"reason": "observe", "would": 0})).then_some(())
        });
        assert_eq!(agent.verdict(0), "down");
        assert_eq!(agent.weights(), [5, 3], "{asked}");
        assert_eq!(agent.metric("lvs_real_server_change_held", &[("reason", "observe")]), Some(1.0));
        assert_eq!(agent.metric("lvs_real_server_desired_weight", &[]), Some(8.0), "as the table's");
        assert_eq!(agent.metric("lvs_weight_changes_total", &[]).unwrap_or(0.0), 0.0, "{asked}");
        agent.wait_log(&["would set the weight, but observes only", "\"would\":\"0\""]);
        let mode = if asked == "service" { "enforce" } else { "observe" };
        assert_eq!(agent.status()["mode"], mode);
        assert_eq!(agent.metric("lvs_agent_mode", &[("mode", mode)]), Some(1.0));
        assert_eq!(agent.metric("lvs_agent_mode", &[]), Some(1.0), "one mode only");
        assert!(site.ask(&["status"]).expect_code(0).out.contains("observe: nothing is written"));
        let ended = agent.stop();
        assert!(!ended.err.contains("weight set"), "{}", ended.err);
        assert!(!site.ledger_file().exists(), "{asked}: nothing was taken");
    }
}

#[test]
fn services_share_the_probes_of_one_address() {
    let site = Site::new(1);
    let both = site.table_of("127.0.20.100", &[5]) + &site.table_of("127.0.20.101", &[7]);
    std::fs::write(site.table(), both).expect("the table is written");
    let agent = site.start_up();
    let attempts = |address: &str| {
        let service = format!("{address}:{}/tcp", site.toys.port);
        agent.metric("lvs_check_attempts_total", &[("virtual_server", &service)]).unwrap_or(0.0)
    };
    agent.wait("a number of probes", || (attempts("127.0.20.101") >= 20.0).then_some(()));
    let asked = site.toys.requests(0) as f64;
    let (first, second) = (attempts("127.0.20.100"), attempts("127.0.20.101"));
    assert!(first >= 20.0 && second >= 20.0, "{first}, {second}");
    assert!(asked <= first.max(second) + 1.0, "asked {asked} times for {first} and {second} attempts");

    // And one verdict is both services': each is held by its own floor.
    site.toys.answer(0, 503);
    agent.wait_metric("lvs_real_server_change_held", &[("reason", "floor")], 2.0);
    assert_eq!(agent.metric("lvs_real_server_up", &[]), Some(0.0));
}
