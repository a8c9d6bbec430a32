//! Whatever is sent to the control socket: a clear error that names the thing, and nothing changes.

use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use crate::agent::Agent;
use crate::http;
use crate::site::Site;

const DRAIN: &str = "/api/v1/drain";
const UNDRAIN: &str = "/api/v1/undrain";
const PROBE: &str = "/api/v1/probe";
const RELOAD: &str = "/-/reload";
const STATUS: &str = "/api/v1/status";

/// Of all that a request could change: what is in the table, why, what is on record, what is in force.
fn state(site: &Site, agent: &Agent) -> (Value, String, Option<f64>) {
    let mut status = agent.status();
    let rows = status["virtual_servers"][0]["real_servers"].as_array_mut().expect("rows");
    for row in rows {
        let row = row.as_object_mut().expect("an object");
        row.retain(|key, _| ["weight", "owed_weight", "held", "verdict", "drained"].contains(&key.as_str()));
        if let Some(drained) = row["drained"].as_object_mut() {
            drained.remove("since_seconds");
        }
    }
    let state = json!([status["mode"], status["ledger"], status["virtual_servers"][0]["real_servers"]]);
    let ledger = std::fs::read_to_string(site.ledger_file()).expect("the ledger");
    (state, ledger, agent.metric("lvs_agent_config_hash", &[]))
}

/// One real server out by hand, one by its checks, one up.
fn busy_site() -> (Site, Agent) {
    let site = Site::new(3);
    let agent = site.start_up();
    site.ask(&["drain", &site.real_server(0), "--reason", "a new disk"]).expect_code(0);
    site.toys.answer(1, 503);
    agent.wait_weights(&[0, 0, 1]);
    let states = || site.ledger()["entries"].as_array().expect("entries").clone();
    agent.wait("both are on record", || {
        (states().len() == 2 && states().iter().all(|entry| entry["state"] == "done")).then_some(())
    });
    (site, agent)
}

#[test]
fn wrong_wishes_are_refused_by_name_and_change_nothing() {
    let (site, agent) = busy_site();
    let (by_hand, by_check, up) = (site.real_server(0), site.real_server(1), site.real_server(2));
    let vs = site.virtual_server();
    let rs = |server: &str| json!({"real_server": server}).to_string();
    let of = |vs: &str, server: &str| json!({"virtual_server": vs, "real_server": server}).to_string();
    let before = state(&site, &agent);
    for (path, body, status, says) in [
        // Wrong names.
        (DRAIN, rs("127.0.20.77:1"), 404, "127.0.20.77:1"),
        (DRAIN, of("nosuch", &up), 404, "there is no virtual server `nosuch`"),
        (DRAIN, of("127.0.20.100:1/tcp", &up), 404, "`127.0.20.100:1/tcp`"),
        (DRAIN, of(&"x".repeat(60_000), &up), 404, "xxx…`"),
        (DRAIN, of(&vs, "127.0.20.77"), 404, "127.0.20.77"),
        (UNDRAIN, rs("127.0.20.77"), 404, "127.0.20.77"),
        (UNDRAIN, of("nosuch", &up), 404, "`nosuch`"),
        (PROBE, of("127.0.20.100:1/tcp", &up), 404, "127.0.20.100:1/tcp"),
        (PROBE, of(&vs, "127.0.20.77:1"), 404, "127.0.20.77:1"),
        (PROBE, of("shop", &up), 400, "no probe request"),
        (PROBE, json!({"virtual_server": vs, "real_server": up, "check": "wob"}).to_string(), 404, "web"),
        // What is no name at all.
        (DRAIN, rs("web1"), 400, "`web1` is no real server"),
        (DRAIN, rs(""), 400, "is no real server"),
        (DRAIN, rs("127.0.20.3:99999"), 400, "127.0.20.3:99999"),
        (DRAIN, rs("127.0.20.0/24"), 400, "127.0.20.0/24"),
        (UNDRAIN, rs(&"9".repeat(10_000)), 400, "is no real server"),
        (UNDRAIN, rs("\u{1b}[2J"), 400, "is no real server"),
        // What cannot be done now.
        (DRAIN, rs(&by_hand), 409, "is drained by hand already"),
        (DRAIN, rs(&up), 409, "--force"),
        (UNDRAIN, rs(&up), 409, "is not drained by hand"),
        (UNDRAIN, rs(&by_check), 409, "--ignore-checks"),
        // Other things than those that it takes.
        (DRAIN, json!({"real_server": up, "forse": true}).to_string(), 400, "unknown field `forse`"),
        (DRAIN, json!({"real_server": up, "x".repeat(50_000): 1}).to_string(), 400, "unknown field `xxx"),
        (DRAIN, json!({"real_server": up, "force": "yes"}).to_string(), 400, "expected a boolean"),
        (DRAIN, json!({"real_server": up, "wait": "10m"}).to_string(), 400, "unknown field `wait`"),
        (DRAIN, json!({"real_server": up, "reason": "two\nlines"}).to_string(), 400, "control character"),
        (DRAIN, json!({"real_server": up, "reason": "x".repeat(201)}).to_string(), 400, "201 bytes"),
        (UNDRAIN, json!({"real_server": by_hand, "reason": "x"}).to_string(), 400, "unknown field `reason`"),
        (UNDRAIN, json!({"real_server": [by_hand]}).to_string(), 400, "expected a string"),
        (
            UNDRAIN,
            format!("{{\"real_server\":\"{by_hand}\",\"real_server\":\"{up}\"}}"),
            400,
            "duplicate field",
        ),
        (UNDRAIN, format!("{}{}", rs(&by_hand), rs(&up)), 400, "trailing characters"),
        (PROBE, "null".to_owned(), 400, "no probe request"),
        (RELOAD, rs(&up), 400, "takes no body"),
        // What is not even JSON, or too much of it.
        (DRAIN, String::new(), 400, "EOF while parsing"),
        (UNDRAIN, "real_server=127.0.20.1".to_owned(), 400, "no undrain request"),
        (DRAIN, "\u{0}\u{0}".to_owned(), 400, "no drain request"),
        (DRAIN, "[".repeat(60_000), 400, "no drain request"),
        (PROBE, format!("{{\"virtual_server\":{}", "{\"a\":".repeat(10_000)), 400, "no probe request"),
        (
            UNDRAIN,
            format!("{{\"real_server\":\"{by_hand}\",\"x\":{}1{}}}", "[".repeat(500), "]".repeat(500)),
            400,
            "no undrain request",
        ),
        (DRAIN, format!("{}{}", rs(&up), " ".repeat(70_000)), 413, "65536 bytes"),
        (RELOAD, " ".repeat(70_000), 413, "65536 bytes"),
    ] {
        let length = format!("Content-Length: {}\r\n", body.len());
        let answer = http::post_unix(&site.socket(), path, &length, body.as_bytes()).expect("an answer");
        let shown: String = body.chars().take(120).collect();
        assert_eq!(answer.status, status, "{path} {shown}: {}", answer.text());
        let parsed: Value = serde_json::from_slice(&answer.body).expect("JSON");
        let error = parsed["error"].as_str().unwrap_or_default();
        assert!(error.contains(says), "{path} {shown}: {error}");
        assert!(answer.body.len() < 700 && !error.contains('\u{1b}'), "{path} {shown}: {error}");
    }
    assert_eq!(state(&site, &agent), before);
    // And what is right is taken, from the same socket.
    site.ask(&["undrain", &by_hand]).expect_code(0);
    agent.wait_weights(&[5, 0, 1]);
}

#[test]
fn what_is_no_request_is_refused_and_changes_nothing() {
    let (site, agent) = busy_site();
    let before = state(&site, &agent);
    let post = |path: &str, headers: &str, rest: &str| {
        format!("POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n{rest}").into_bytes()
    };
    let wish = json!({"real_server": site.real_server(0)}).to_string();
    let length = format!("Content-Length: {}\r\n", wish.len());
    let typed = |kind: &str| post(UNDRAIN, &format!("{length}Content-Type: {kind}\r\n"), &wish);
    let plain = |method: &str, path: &str| {
        format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").into_bytes()
    };
    let endless = format!("10000\r\n{}\r\n", " ".repeat(0x10000)).repeat(16);
    let headers: String = (0..100).map(|n| format!("X-{n}: x\r\n")).collect();
    for (what, bytes, statuses, says) in [
        (
            "a form",
            typed("application/x-www-form-urlencoded"),
            &[415][..],
            "`application/x-www-form-urlencoded`",
        ),
        ("a text", typed("text/plain; charset=utf-8"), &[415], "only `application/json` is taken"),
        ("no type", typed(""), &[415], "application/json"),
        ("nothing there", plain("POST", "/api/v1/drian"), &[404], "POST /api/v1/drain"),
        ("nothing below", plain("POST", "/api/v1/drain/"), &[404], "POST /api/v1/undrain"),
        ("above the root", plain("POST", "/../api/v1/drain"), &[404], "no such page"),
        ("another version", plain("POST", "/api/v2/undrain"), &[404], "POST /-/reload"),
        ("a drain by GET", plain("GET", DRAIN), &[405], "only POST"),
        ("an undrain by DELETE", plain("DELETE", UNDRAIN), &[405], "only POST"),
        ("a probe by PUT", plain("PUT", PROBE), &[405], "only POST"),
        ("a reload by OPTIONS", plain("OPTIONS", RELOAD), &[405], "only POST"),
        ("a status by POST", plain("POST", STATUS), &[405], "only GET, HEAD"),
        ("a page by POST", plain("POST", "/"), &[405], "only GET, HEAD"),
        ("a tunnel", plain("CONNECT", "x:1"), &[404, 405], ""),
        (
            "a body without end",
            post(UNDRAIN, "Transfer-Encoding: chunked\r\n", &endless),
            &[413],
            "65536 bytes",
        ),
        ("a longer length", post(UNDRAIN, "Content-Length: 99999999999\r\n", ""), &[413], "65536 bytes"),
        ("two lengths", post(UNDRAIN, &format!("{length}Content-Length: 1\r\n"), &wish), &[400], ""),
        ("no number", post(UNDRAIN, "Content-Length: many\r\n", &wish), &[400], ""),
        ("a bad chunk", post(UNDRAIN, "Transfer-Encoding: chunked\r\n", "zz\r\n"), &[400], ""),
        ("a huge header", post(UNDRAIN, &format!("X: {}\r\n", "x".repeat(40_000)), &wish), &[431], ""),
        ("many headers", post(UNDRAIN, &headers, &wish), &[431], ""),
        ("a huge path", plain("POST", &format!("/{}", "x".repeat(40_000))), &[414, 431], ""),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03garbage\r\n\r\n".to_vec(), &[400], ""),
        ("garbage", b"\x00\xff\xfe drain everything\r\n\r\n".to_vec(), &[400], ""),
    ] {
        let answer = http::raw_unix(&site.socket(), &bytes).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(statuses.contains(&answer.status), "{what}: {} {}", answer.status, answer.text());
        assert!(answer.text().contains(says), "{what}: {}", answer.text());
    }
    assert_eq!(state(&site, &agent), before);
    let json = post(UNDRAIN, &format!("{length}Content-Type: application/json; charset=utf-8\r\n"), &wish);
    assert_eq!(http::raw_unix(&site.socket(), &json).expect("an answer").status, 200);
}

#[test]
fn a_crowd_on_the_socket_shuts_no_operator_out() {
    let (site, agent) = busy_site();
    let before = state(&site, &agent);
    // More than it keeps open at one time.
    let crowd: Vec<UnixStream> =
        (0..600).map(|_| UnixStream::connect(site.socket()).expect("connected")).collect();
    let refused = site.ask(&["drain", &site.real_server(0)]).expect_code(1);
    assert!(refused.err.contains("is drained by hand already"), "{refused:?}");
    site.ask(&["status"]).expect_code(0);
    assert_eq!(state(&site, &agent), before);
    drop(crowd);
    site.ask(&["undrain", &site.real_server(0)]).expect_code(0);
    agent.wait_weights(&[5, 0, 1]);
}
