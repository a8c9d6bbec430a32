//! A flag beats the variable, the variable beats the file.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::agent::{Agent, finish};
use crate::site::Site;

#[test]
fn where_to_listen() {
    let site = Site::new(1);
    let listens = |command: Command| {
        let agent = Agent::start(command);
        let ips: Vec<String> = agent.listeners().iter().map(|address| address.ip().to_string()).collect();
        for address in agent.listeners() {
            assert_eq!(crate::http::get(address, "/-/healthy").expect("it answers").status, 200);
        }
        agent.stop();
        ips
    };
    assert_eq!(listens(site.command()), ["127.0.0.1"]);
    let variable = |value: &str| {
        let mut command = site.command();
        command.env("LVS_AGENT_WEB_LISTEN_ADDRESS", value);
        command
    };
    assert_eq!(listens(variable("127.0.20.201:0")), ["127.0.20.201"]);
    assert_eq!(listens(variable("127.0.20.201:0,127.0.20.202:0")), ["127.0.20.201", "127.0.20.202"]);
    let mut command = variable("127.0.20.201:0");
    command.args(["--web.listen-address", "127.0.20.203:0", "--web.listen-address", "127.0.20.204:0"]);
    assert_eq!(listens(command), ["127.0.20.203", "127.0.20.204"]);
}

#[test]
fn which_mode() {
    let site = Site::new(1);
    site.write_config("mode = \"observe\"", "");
    let mode = |variable: Option<&str>, flag: Option<&str>| {
        let mut command = site.command();
        command.envs(variable.map(|value| ("LVS_AGENT_MODE", value)));
        if let Some(flag) = flag {
            command.args(["--mode", flag]);
        }
        let agent = Agent::start(command);
        let mode = agent.status()["mode"].as_str().unwrap_or_default().to_owned();
        agent.stop();
        mode
    };
    assert_eq!(mode(None, None), "observe");
    assert_eq!(mode(Some("enforce"), None), "enforce");
    assert_eq!(mode(Some("enforce"), Some("observe")), "observe");
    assert_eq!(mode(Some("observe"), Some("enforce")), "enforce");
}

#[test]
fn where_the_state_is() {
    let site = Site::new(1);
    let (variable, flag) = (site.path("variable"), site.path("flag"));
    let state = |variable: Option<&Path>, flag: Option<&Path>| {
        let mut command = site.command();
        command.envs(variable.map(|path| ("LVS_AGENT_STATE_DIR", path)));
        if let Some(flag) = flag {
            command.arg("--state-dir").arg(flag);
        }
        Agent::start(command).stop();
        let made = |name: &&str| {
            let lock = site.path(name).join("lock");
            // The next run is to make it anew.
            lock.exists() && std::fs::remove_dir_all(site.path(name)).is_ok()
        };
        ["state", "variable", "flag"].into_iter().filter(made).collect::<Vec<_>>()
    };
    assert_eq!(state(None, None), ["state"]);
    assert_eq!(state(Some(&variable), None), ["variable"]);
    assert_eq!(state(Some(&variable), Some(&flag)), ["flag"]);
}

#[test]
fn every_flag_has_a_variable() {
    let site = Site::new(1);
    let socket = site.path("of-the-variable.sock");
    let mut command = crate::agent::lvs_agent(&["run"]);
    command
        .env("LVS_AGENT_CONFIG", site.config())
        .env("LVS_AGENT_IPVS_TABLE", site.table())
        .env("LVS_AGENT_CONTROL_SOCKET", &socket)
        .env("LVS_AGENT_WEB_TELEMETRY_PATH", "/numbers")
        .env("LVS_AGENT_WEB_MAX_REQUESTS", "7")
        .env("LVS_AGENT_WEB_GZIP_LEVEL", "9")
        .env("LVS_AGENT_LOG_FORMAT", "json")
        .env("LVS_AGENT_LOG_LEVEL", "trace");
    let agent = Agent::start(command);
    agent.wait("it is up", || (agent.verdict(0) == "up").then_some(()));
    assert_eq!(agent.get("/numbers").status, 200);
    assert_eq!(agent.get("/metrics").status, 404);
    assert!(agent.get("/").text().contains("/numbers"));
    agent.wait_log(&["\"level\":\"TRACE\"", "\"message\":\"probe\""]);
    // The commands find the agent by the same variable.
    let mut status = crate::agent::lvs_agent(&["status", "--json"]);
    status.env("LVS_AGENT_CONTROL_SOCKET", &socket);
    assert_eq!(finish(status).expect_code(0).json()["mode"], "enforce");
    agent.stop();
}

#[test]
fn how_it_logs() {
    let site = Site::new(1);
    site.write_table(&[5]);
    let mut command = site.command();
    command.args(["--log.level", "warn"]);
    // Nothing says where it listens now: what it wrote shows that it came that far.
    let process = crate::agent::Process::start(command);
    process.wait("its socket", || site.socket().exists().then_some(()));
    process.wait("it answers", || crate::http::get_unix(&site.socket(), "/-/ready").ok());
    process.signal(nix::sys::signal::Signal::SIGTERM);
    let ended = process.wait_end().expect_code(0);
    assert!(ended.err.contains("WARN") && !ended.err.contains("INFO"), "{}", ended.err);
    assert!(!ended.err.contains('\x1b'), "no colours in a file: {}", ended.err);
}

/// On the one address for everybody both families come in.
#[test]
fn the_default_listener_takes_both_families() {
    let site = Site::new(1);
    let mut command = site.command();
    command.args(["--web.listen-address", "[::]:0"]);
    let agent = Agent::start(command);
    for ip in ["127.0.0.1", "::1"] {
        let address = SocketAddr::new(ip.parse().expect("an address"), agent.address.port());
        assert_eq!(crate::http::get(address, "/-/healthy").expect(ip).status, 200);
    }
    agent.stop();
}

/// Standard error is where the log goes, so it decides, and not standard output.
#[test]
fn colours_are_for_a_terminal_that_shows_the_log() {
    let site = Site::new(1);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound");
    let program = env!("CARGO_BIN_EXE_lvs-agent");
    // It logs the configuration's warnings, and then cannot listen.
    let run = format!(
        "{program} run --config {} --ipvs.table {} --web.listen-address {address}",
        site.config().display(),
        site.table().display()
    );
    let on_a_terminal = |line: &str| {
        let mut script = Command::new("script");
        script.args(["-qec", line, "/dev/null"]).env_remove("NO_COLOR").stdin(std::process::Stdio::null());
        finish(script).expect_code(69).out
    };
    let file = site.path("log");
    on_a_terminal(&format!("{run} 2>{}", file.display()));
    let log = std::fs::read_to_string(&file).expect("the log");
    assert!(log.contains("WARN") && !log.contains('\x1b'), "{log:?}");
    let seen = on_a_terminal(&format!("{run} >/dev/null"));
    assert!(seen.contains("WARN") && seen.contains('\x1b'), "{seen:?}");
    let plain = on_a_terminal(&format!("NO_COLOR=1 {run} >/dev/null"));
    assert!(plain.contains("WARN") && !plain.contains('\x1b'), "{plain:?}");
}
