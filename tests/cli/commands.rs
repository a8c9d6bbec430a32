//! `status` and `probe`: with an agent, with several, with none.

use serde_json::json;

use crate::agent::{Ended, finish, lvs_agent};
use crate::site::Site;

#[test]
fn status_as_a_table_and_as_json() {
    let site = Site::new(2);
    let agent = site.start_up();
    let out = site.ask(&["status"]).expect_code(0).out;
    let first = out.lines().next().unwrap_or_default();
    assert!(
        first.starts_with(&format!("lvs-agent {}, enforce, table read ", env!("CARGO_PKG_VERSION"))),
        "{out}"
    );
    assert!(out.contains("REAL SERVER") && out.ends_with("1 virtual server: 1 up\n"), "{out}");
    let status = site.ask(&["status", "--json"]).expect_code(0).json();
    assert_eq!(status["virtual_servers"][0]["virtual_server"], site.virtual_server());
    assert_eq!(status["virtual_servers"][0]["up"], json!(true));

    // One virtual server, by its key and by its name.
    for wanted in [site.virtual_server().as_str(), "shop"] {
        let one = site.ask(&["status", wanted, "--json"]).expect_code(0).json();
        assert_eq!(one["virtual_servers"].as_array().map(Vec::len), Some(1));
    }
    let none = site.ask(&["status", "nosuch"]).expect_code(69);
    assert!(none.err.contains("nosuch") && none.err.contains("shop"), "{none:?}");

    site.toys.answer_all(503);
    agent.wait("the service is down", || {
        (agent.status()["virtual_servers"][0]["up"] == json!(false)).then_some(())
    });
    assert!(site.ask(&["status"]).expect_code(1).out.contains("1 DOWN"));
    assert_eq!(
        site.ask(&["status", "--json"]).expect_code(1).json()["virtual_servers"][0]["up"],
        json!(false)
    );
}

#[test]
fn an_unmanaged_service_is_shown_and_is_no_alarm() {
    let site = Site::new(1);
    let mine = std::fs::read_to_string(site.table()).expect("the table");
    std::fs::write(
        site.table(),
        mine + "-A -t 10.9.9.9:443 -s rr\n-a -t 10.9.9.9:443 -r 10.9.9.1:443 -m -w 4\n",
    )
    .expect("written");
    let _agent = site.start();
    let asked = || site.ask(&["status"]);
    let out =
        crate::agent::wait_for("both", || asked().out, || Some(asked()).filter(|e| e.code == Some(0))).out;
    assert!(out.contains("10.9.9.9:443/tcp  rr  masq  unmanaged, 1 of 1 with weight above 0"), "{out}");
    assert!(out.ends_with("2 virtual servers: 1 up, 1 unmanaged\n"), "{out}");
    // It matches no service, so there is nothing to probe it with.
    let refused = site.ask(&["probe", "10.9.9.9:443/tcp", "10.9.9.1:443"]).expect_code(69);
    assert!(refused.err.contains("10.9.9.9:443/tcp"), "{refused:?}");
}

#[test]
fn two_directors_that_disagree() {
    let (one, other) = (Site::new(2), Site::new(1));
    // The other director has the same virtual server with other weights.
    std::fs::write(other.table(), one.table_of("127.0.20.100", &[5, 9])).expect("written");
    let (first, second) = (one.start_up(), other.start());
    second.wait("all are up", || (0..2).all(|at| second.verdict(at) == "up").then_some(()));
    let urls = [format!("http://{}", first.address), format!("http://{}/", second.address)];
    let ask = |more: &[&str]| -> Ended {
        let mut command = lvs_agent(&["status", "--agent", &urls[0], "--agent", &urls[1]]);
        command.args(more);
        finish(command)
    };
    let out = ask(&[]).expect_code(0).out;
    let (tables, difference) = out.split_once("=== where they disagree ===").expect("a comparison");
    assert_eq!(tables.matches("REAL SERVER").count(), 2, "{out}");
    assert!(difference.contains(&one.real_server(1)) && !difference.contains(&one.real_server(0)), "{out}");
    assert!(difference.contains("weight 3, owed 3") && difference.contains("weight 9, owed 9"), "{out}");
    let report = ask(&["--json"]).expect_code(0).json();
    assert_eq!(report["agents"].as_array().map(Vec::len), Some(2));
    assert_eq!(report["disagreements"].as_array().map(Vec::len), Some(1));
    assert_eq!(report["disagreements"][0]["real_server"], one.real_server(1));

    // One that does not answer is no reason to keep the other's answer back.
    second.stop();
    let ended = ask(&[]).expect_code(1);
    assert!(ended.out.contains("NOT READ: ") && ended.out.contains(&one.real_server(0)), "{}", ended.out);
    assert_eq!(ask(&["--json"]).json()["agents"][1]["status"], json!(null));
    first.stop();
    ask(&[]).expect_code(69);
}

/// One that passes, one that fails, and one that can never be made.
fn every_outcome(site: &Site) {
    let checks = r#"checks = ["web", "broken", "elsewhere"]"#;
    let text = site.config_text("", "").replace(r#"checks = ["web"]"#, checks);
    std::fs::write(site.config(), text).expect("written");
}

#[test]
fn probe_through_the_agent() {
    let site = Site::new(1);
    every_outcome(&site);
    let agent = site.start();
    agent.wait("two checks are settled", || {
        let checks = agent.server(0)["checks"].clone();
        (checks[0]["verdict"] == "up" && checks[1]["verdict"] == "down").then_some(())
    });
    let by_hand = probes(&site, &|arguments| site.ask(arguments)) as f64;
    // It moves no verdict and no metric: the agent counts its own attempts, the server all requests.
    let attempts = agent.metric("lvs_check_attempts_total", &[]).expect("attempts");
    let requests = site.toys.requests(0) as f64;
    assert!(requests >= attempts + by_hand, "{requests} requests, {attempts} attempts, {by_hand} by hand");
    let checks = agent.server(0)["checks"].clone();
    let verdicts: Vec<&str> = (0..3).filter_map(|at| checks[at]["verdict"].as_str()).collect();
    assert_eq!(verdicts, ["up", "down", "unknown"]);
    assert_eq!(
        (&checks[2]["outcome"], &checks[2]["reason"]),
        (&json!("inconclusive"), &json!("local_error"))
    );
}

#[test]
fn probe_without_an_agent() {
    let site = Site::new(1);
    every_outcome(&site);
    let (config, table) = (site.config().display().to_string(), site.table().display().to_string());
    let ask =
        |arguments: &[&str]| site.ask(&[arguments, &["--config", &config, "--ipvs.table", &table]].concat());
    probes(&site, &ask);
    let (service, server) = (site.virtual_server(), site.real_server(0));
    let said = ask(&["probe", &service, &server, "--check", "web"]).expect_code(0).err;
    assert!(said.contains("no agent answers on"), "{said}");
    assert!(said.contains("probed from here by the configuration file"), "{said}");
    assert!(!site.path("state").exists(), "it leaves nothing behind");

    let nothing = site.ask(&["probe", &service, &server]).expect_code(69);
    assert!(nothing.err.contains("--config"), "{nothing:?}");
    site.ask(&["probe", &service, &server, "--config", &table]).expect_code(78);
}

/// What `probe` says, whoever makes the probe: 0 pass, 1 fail, 69 inconclusive or refused. Returns how
/// many HTTP requests it made.
fn probes(site: &Site, ask: &dyn Fn(&[&str]) -> Ended) -> usize {
    let (service, server) = (site.virtual_server(), site.real_server(0));
    let probe = |check: &str| ask(&["probe", &service, &server, "--check", check]);
    let passed = probe("web").expect_code(0).out;
    assert!(passed.starts_with(&format!("web  {server}  pass")), "{passed}");
    for part in ["connect ", "processing ", "total ", "HTTP status 200"] {
        assert!(passed.contains(part), "{part}: {passed}");
    }
    let failed = probe("broken").expect_code(1).out;
    assert!(failed.contains("FAIL  bad_status") && failed.contains("HTTP status 503"), "{failed}");
    let inconclusive = probe("elsewhere").expect_code(69).out;
    assert!(inconclusive.contains("inconclusive  local_error"), "{inconclusive}");
    // All of them, two lines each; one that failed is the answer.
    assert_eq!(ask(&["probe", &service, &server]).expect_code(1).out.lines().count(), 6);

    let elsewhere = site.virtual_server().replace("20.100", "20.99");
    for (arguments, says) in [
        ([service.as_str(), "127.0.20.77:1", "web"], "127.0.20.77:1"),
        ([elsewhere.as_str(), server.as_str(), "web"], elsewhere.as_str()),
        ([service.as_str(), server.as_str(), "nosuch"], "web, broken, elsewhere"),
    ] {
        let [service, server, check] = arguments;
        let refused = ask(&["probe", service, server, "--check", check]).expect_code(69);
        assert!(refused.err.contains(says), "{says}: {refused:?}");
        assert_eq!(refused.out, "");
    }
    4
}
