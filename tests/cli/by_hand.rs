//! `drain` and `undrain`, from the command line to the ledger and back.

use nix::sys::signal::Signal;
use serde_json::json;

use crate::site::Site;

fn wishes(site: &Site) -> usize {
    site.ledger()["wishes"].as_array().map_or(0, Vec::len)
}

#[test]
fn out_by_hand_and_back() {
    let site = Site::new(3);
    let agent = site.start_up();
    let server = site.real_server(1);
    let out = site.ask(&["drain", &server, "--reason", "a new disk", "--wait=50s"]).expect_code(0).out;
    let first = out.lines().next().unwrap_or_default();
    assert_eq!(first, format!("{}  {server}  draining: weight 3 -> 0", site.virtual_server()));
    assert!(out.trim_end().ends_with("no active and no persistent connections are left"), "{out}");
    assert_eq!(agent.weights(), [5, 0, 1]);

    let row = agent.server(1);
    assert_eq!(
        (&row["drained"]["by"], &row["drained"]["reason"]),
        (&json!("operator"), &json!("a new disk"))
    );
    assert_eq!((&row["verdict"], &row["owed_weight"]), (&json!("up"), &json!(3)));
    assert_eq!(agent.metric("lvs_real_server_drained", &[("reason", "operator")]), Some(1.0));
    assert_eq!(agent.metric("lvs_virtual_server_real_servers", &[("state", "drained")]), Some(1.0));
    assert_eq!(agent.metric("lvs_virtual_server_capacity_ratio", &[]), Some(1.0));
    let shown = site.ask(&["status"]).expect_code(0).out;
    assert!(shown.contains("drained by operator for") && shown.contains(": a new disk"), "{shown}");
    agent.wait_log(&["drain by hand", "\"effect\":\"draining\"", "a new disk"]);

    // A passing check does not undo it, and neither does kill -9.
    let passes = |agent: &crate::agent::Agent| agent.server(1)["checks"][0]["consecutive"].as_u64();
    let before = passes(&agent);
    agent.wait("more passes", || (passes(&agent) >= before.map(|n| n + 5)).then_some(()));
    assert_eq!(agent.weights(), [5, 0, 1]);
    agent.signal(Signal::SIGKILL);
    agent.wait_end();
    let wish = site.ledger()["wishes"][0].clone();
    assert_eq!(
        (&wish["kind"], &wish["owed"], &wish["reason"]),
        (&json!("drain"), &json!(3), &json!("a new disk"))
    );
    assert_eq!(site.ledger()["entries"][0]["by"], "operator");
    site.write_table(&[5, 0, 1]);
    let agent = site.start_up();
    assert_eq!(agent.weights(), [5, 0, 1]);
    assert_eq!(agent.server(1)["drained"]["by"], "operator");

    let out = site.ask(&["undrain", &server]).expect_code(0).out;
    assert_eq!(out, format!("{}  {server}  giving back weight 3\n", site.virtual_server()));
    agent.wait_weights(&[5, 3, 1]);
    agent.wait("nothing is left of it", || {
        (site.ledger()["entries"] == json!([]) && wishes(&site) == 0).then_some(())
    });
}

#[test]
fn what_cannot_be_done_is_said_and_changes_nothing() {
    let site = Site::new(2);
    let agent = site.start_up();
    let (first, second) = (site.real_server(0), site.real_server(1));
    for (arguments, says) in [
        (
            vec!["drain", "127.0.20.77:1"],
            "no virtual server of the IPVS table has a real server 127.0.20.77:1",
        ),
        (vec!["drain", &first, "--virtual-server", "nosuch"], "there is no virtual server `nosuch`"),
        (vec!["undrain", &first], "is not drained by hand"),
    ] {
        let refused = site.ask(&arguments).expect_code(1);
        assert!(refused.err.contains(says) && refused.out.is_empty(), "{says}: {refused:?}");
    }
    for (arguments, says) in [
        (vec!["drain", "web1"], "`web1` is no real server"),
        (vec!["drain", &first, "--reason", "two\nlines"], "control character"),
        (vec!["drain", &first, "--wait=soon"], "90s, 10m, 1h"),
        (vec!["undrain"], "<RS>"),
    ] {
        let refused = site.ask(&arguments).expect_code(2);
        assert!(refused.err.contains(says), "{says}: {refused:?}");
    }
    assert_eq!(agent.weights(), [5, 3]);
    assert!(!site.ledger_file().exists(), "nothing was asked for");

    site.ask(&["drain", &first, "--virtual-server", "shop"]).expect_code(0);
    agent.wait_weights(&[0, 3]);
    assert!(site.ask(&["drain", &first]).expect_code(1).err.contains("is drained by hand already"));
    let last = site.ask(&["drain", &second]).expect_code(1).err;
    assert!(last.contains("would be left with no real server") && last.contains("--force"), "{last}");
    site.ask(&["drain", &second, "--force"]).expect_code(0);
    agent.wait_weights(&[0, 0]);
    // The address alone is all its ports; each toy has an address of its own.
    let address = second.split(':').next().unwrap_or_default();
    site.ask(&["undrain", address]).expect_code(0);
    agent.wait_weights(&[0, 3]);
    agent.stop();
    let none = site.ask(&["drain", &second]).expect_code(69);
    assert!(none.err.contains("no agent answers on"), "{none:?}");
}

#[test]
fn ignored_checks_keep_a_failing_server_in() {
    let site = Site::new(2);
    let agent = site.start_up();
    let server = site.real_server(1);
    site.toys.answer(1, 503);
    agent.wait_weights(&[5, 0]);
    let refused = site.ask(&["undrain", &server]).expect_code(1).err;
    assert!(refused.contains("is out by its checks") && refused.contains("--ignore-checks"), "{refused}");
    site.ask(&["undrain", &server, "--ignore-checks"]).expect_code(0);
    agent.wait_weights(&[5, 3]);
    let held = json!({"reason": "ignore_checks", "would": 0});
    agent.wait("it says why it stays", || (agent.server(1)["held"] == held).then_some(()));
    assert_eq!(agent.metric("lvs_real_server_change_held", &[("reason", "ignore_checks")]), Some(1.0));
    assert_eq!(site.ledger()["wishes"][0]["kind"], "ignore_checks");

    let out = site.ask(&["undrain", &server]).expect_code(0).out;
    assert!(out.contains("lifted"), "{out}");
    agent.wait_weights(&[5, 0]);
    assert_eq!(agent.server(1)["drained"]["by"], "check");
    // Drained by hand on top of that: passing checks alone no longer bring it back.
    assert!(site.ask(&["drain", &server]).expect_code(0).out.contains("out by its checks already"));
    site.toys.answer(1, 200);
    agent.wait("it is up", || (agent.verdict(1) == "up").then_some(()));
    assert_eq!(agent.weights(), [5, 0]);
    site.ask(&["undrain", &server]).expect_code(0);
    agent.wait_weights(&[5, 3]);
}
