//! `POST /-/reload` on the control socket: as HUP, with an answer.

use serde_json::{Value, json};

use crate::agent::Agent;
use crate::http::{self, Answer};
use crate::site::Site;

const PATH: &str = "/-/reload";

fn reload(site: &Site) -> Answer {
    http::post_unix(&site.socket(), PATH, "", b"").expect("an answer")
}

fn parsed(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {}", answer.text()))
}

fn floor(agent: &Agent) -> Option<f64> {
    agent.metric("lvs_virtual_server_floor", &[])
}

const SUCCESSFUL: &str = "lvs_agent_config_last_reload_successful";

#[test]
fn it_answers_when_the_new_configuration_is_in_force() {
    let site = Site::new(3);
    let agent = site.start_up();
    site.toys.answer(0, 503);
    agent.wait_weights(&[0, 3, 1]);
    site.write_config("", "floor = 3");
    let answer = reload(&site);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.headers.contains("content-type: application/json"), "{}", answer.headers);
    let hash = agent.metric("lvs_agent_config_hash", &[]).expect("a hash");
    let mut told = parsed(&answer);
    let warnings = told["warnings"].take();
    // Those of this configuration, which check-config has too.
    assert_eq!(warnings.as_array().map(Vec::len), Some(4), "{warnings}");
    assert_eq!(
        told,
        json!({"mode": "enforce", "services": 1, "config_hash": hash as u64, "changed": true, "warnings": null})
    );
    // Not soon: now.
    assert_eq!(floor(&agent), Some(3.0));
    assert_eq!(agent.server(0)["verdict"], "down", "what is known is kept");
    agent.wait_weights(&[5, 3, 1]);
    agent.wait_log(&["the configuration is reloaded", "\"changed\":true"]);

    let again = parsed(&reload(&site));
    assert_eq!((&again["changed"], &again["config_hash"]), (&json!(false), &json!(hash as u64)));
}

#[test]
fn every_problem_is_told_as_check_config_tells_it_and_the_old_one_stays() {
    let site = Site::new(2);
    let agent = site.start_up();
    let hash = agent.metric("lvs_agent_config_hash", &[]);
    let good = std::fs::read_to_string(site.config()).expect("the configuration");
    for (text, says) in [
        (site.config_text("mood = \"enforce\"", "flour = 2"), &["mood", "flour", "2 problems"][..]),
        (format!("{good}\n[[service]\n"), &["config.toml:"]),
        (String::new(), &["the file is empty"]),
        (" \n\t\n".to_owned(), &["the file is empty"]),
    ] {
        std::fs::write(site.config(), &text).expect("written");
        let answer = reload(&site);
        assert_eq!(answer.status, 422, "{}", answer.text());
        let error = parsed(&answer)["error"].as_str().unwrap_or_default().to_owned();
        let checked = crate::agent::finish(crate::agent::lvs_agent(&[
            "check-config",
            &site.config().display().to_string(),
        ]));
        assert_eq!(error.trim_end(), checked.expect_code(78).out.trim_end());
        assert!(says.iter().all(|part| error.contains(part)), "{error}");
        assert_eq!(agent.metric(SUCCESSFUL, &[]), Some(0.0), "before the answer");
        assert_eq!(agent.metric("lvs_agent_config_hash", &[]), hash);
    }
    std::fs::remove_file(site.config()).expect("removed");
    let answer = reload(&site);
    let error = parsed(&answer)["error"].to_string();
    assert!(answer.status == 422 && error.contains("cannot read the configuration"), "{error}");
    assert_eq!(agent.log().matches("the old one stays").count(), 5);
    site.toys.answer(1, 503);
    agent.wait_weights(&[5, 0]);

    std::fs::write(site.config(), good).expect("written");
    assert_eq!(reload(&site).status, 200);
    assert_eq!(agent.metric(SUCCESSFUL, &[]), Some(1.0));
    assert_eq!(agent.weights(), [5, 0]);
}

#[test]
fn what_waits_for_a_restart_and_what_is_odd_is_among_the_warnings() {
    let site = Site::new(2);
    let _agent = site.start_up();
    let text = site
        .config_text("", "")
        .replace("127.0.0.1:0", "127.0.0.1:1")
        .replace("timeout = \"10s\"", "timeout = \"11s\"");
    std::fs::write(site.config(), text + "[check.unused]\ntype = \"tcp\"\n").expect("written");
    let answer = parsed(&reload(&site));
    let warnings = answer["warnings"].to_string();
    assert!(warnings.contains("change only with a restart"), "{warnings}");
    assert!(
        warnings.contains("line ") && warnings.contains("check.unused: no service uses this check"),
        "{warnings}"
    );
}

#[test]
fn over_tcp_and_by_get_there_is_none() {
    let site = Site::new(1);
    let agent = site.start_up();
    let over_tcp = http::request(agent.address, "POST", PATH, "").expect("an answer");
    assert_eq!(over_tcp.status, 404, "{}", over_tcp.text());
    let by_get = http::get_unix(&site.socket(), PATH).expect("an answer");
    assert_eq!((by_get.status, by_get.headers.contains("allow: post")), (405, true));
    let with_body =
        http::post_unix(&site.socket(), PATH, "Content-Length: 8\r\n", b"mode = 1").expect("an answer");
    assert_eq!(with_body.status, 400, "{}", with_body.text());
    assert!(with_body.text().contains("reads its own file again"), "{}", with_body.text());
    assert!(!agent.log().contains("reloaded"));
}

/// Started without a configuration it takes none, and the other way round.
#[test]
fn an_exporter_stays_one() {
    let site = Site::new(1);
    let mut command =
        crate::agent::lvs_agent(&["run", "--web.listen-address", "127.0.0.1:0", "--control-socket"]);
    command.arg(site.socket()).arg("--ipvs.table").arg(site.table());
    let agent = Agent::start(command);
    let answer = reload(&site);
    assert_eq!((answer.status, &parsed(&answer)["mode"]), (200, &json!("exporter")));
    agent.stop();
}
