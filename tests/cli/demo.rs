//! The first thing that a newcomer runs.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::agent::{Process, finish, lvs_agent, sample};
use crate::http;

struct Demo {
    process: Process,
    page: SocketAddr,
    /// Where it makes its temporary directory.
    scratch: TempDir,
}

impl Demo {
    fn start(environment: &[(&str, &str)]) -> Demo {
        let scratch = tempfile::tempdir().expect("a directory");
        let mut command = lvs_agent(&["demo"]);
        command.env("TMPDIR", scratch.path()).envs(environment.iter().copied());
        let process = Process::start(command);
        let page = process.wait("its page", || {
            printed(&process.out(), "page")?.strip_prefix("http://")?.strip_suffix("/")?.parse().ok()
        });
        Demo { process, page, scratch }
    }

    /// What stands after this word in the introduction.
    fn printed(&self, word: &str) -> String {
        self.process.wait(word, || printed(&self.process.out(), word))
    }

    /// A command line that it prints, run with this test's binary.
    fn run_printed(&self, word: &str) -> crate::agent::Ended {
        let line = self.printed(word);
        let mut words = line.split_whitespace();
        assert_eq!(words.next(), Some(env!("CARGO_BIN_EXE_lvs-agent")), "as it was called: {line}");
        let words: Vec<&str> = words.collect();
        finish(lvs_agent(&words))
    }

    fn metrics(&self) -> String {
        http::get(self.page, "/metrics").expect("the page answers").text()
    }

    fn wait_change(&self, direction: &str) {
        self.process.wait(direction, || {
            let changes = sample(&self.metrics(), "lvs_weight_changes_total", &[("direction", direction)]);
            (changes >= Some(1.0)).then_some(())
        });
    }

    fn end(self, signal: Signal) {
        assert!(!is_empty(self.scratch.path()), "its ledger lies somewhere");
        self.process.signal(signal);
        self.process.wait_end().expect_code(0);
        assert!(is_empty(self.scratch.path()), "nothing stays behind");
    }
}

fn printed(out: &str, word: &str) -> Option<String> {
    let line = out.lines().find(|line| line.trim_start().starts_with(&format!("{word} ")))?;
    Some(line.trim_start().strip_prefix(word)?.trim().to_owned())
}

fn is_empty(directory: &Path) -> bool {
    std::fs::read_dir(directory).expect("the directory").next().is_none()
}

/// Two at one time: the second takes another port, and each tells its own story.
#[test]
fn it_shows_a_drain_and_a_restore_by_itself() {
    let (demo, second) = (Demo::start(&[]), Demo::start(&[]));
    assert_ne!(demo.page, second.page);
    assert_eq!(demo.printed("metrics"), format!("http://{}/metrics", demo.page));
    let page = http::get(demo.page, "/").expect("the page").text();
    assert!(page.contains("/metrics"), "{page}");

    // Its story first: on a busy machine another server may have been late, out and back before.
    for line in ["is broken now", "is mended"] {
        demo.process.wait(line, || demo.process.out().contains(line).then_some(()));
    }
    demo.wait_change("drain");
    demo.wait_change("restore");
    demo.process.wait("all is well", || {
        demo.run_printed("status").out.contains("3 of 3 usable, capacity 100%").then_some(())
    });
    assert!(demo.run_printed("probe").expect_code(0).out.contains("pass"));
    let log = demo.process.err();
    assert!(log.contains("weight set: drain") && log.contains("weight set: restore"), "{log}");
    assert!(!log.contains("ERROR"), "{log}");

    second.wait_change("restore");
    demo.end(Signal::SIGINT);
    second.end(Signal::SIGTERM);
}

/// By hand, with the commands that it prints, long before its own story begins or ends.
#[test]
fn the_toy_servers_break_and_mend_on_request() {
    let demo = Demo::start(&[]);
    let post = |word: &str| {
        let line = demo.printed(word);
        let url = line.strip_prefix("curl -X POST http://").unwrap_or_else(|| panic!("{line}"));
        let (address, path) = url.split_once('/').expect("a path");
        let address = address.parse().expect("an address");
        http::request(address, "POST", &format!("/{path}"), "").expect("an answer").status
    };
    assert_eq!(post("break one"), 200);
    let weight =
        || sample(&demo.metrics(), "ipvs_real_server_weight", &[("real_server", &first_server(&demo))]);
    demo.process.wait("the drain", || (weight() == Some(0.0)).then_some(()));
    assert!(demo.run_printed("status").expect_code(0).out.contains("drained by check"));
    assert_eq!(post("mend it"), 200);
    demo.process.wait("the restore", || (weight() == Some(5.0)).then_some(()));
    demo.end(Signal::SIGINT);
}

fn first_server(demo: &Demo) -> String {
    let out = demo.process.out();
    let line =
        out.lines().find(|line| line.ends_with("weight 5")).expect("the first toy server").trim().to_owned();
    line.split_whitespace()
        .next()
        .and_then(|url| url.strip_prefix("http://"))
        .expect("its address")
        .to_owned()
}

/// What an operator's environment says is for `run`.
#[test]
fn the_environment_of_run_means_nothing_to_it() {
    let demo = Demo::start(&[
        ("LVS_AGENT_CONFIG", "/nosuch.toml"),
        ("LVS_AGENT_MODE", "rehearse"),
        ("LVS_AGENT_WEB_MAX_REQUESTS", "many"),
        ("LVS_AGENT_WEB_TELEMETRY_PATH", "/numbers"),
        ("LVS_AGENT_IPVS_TABLE", "/nosuch.table"),
    ]);
    assert!(demo.metrics().contains("lvs_agent_mode{mode=\"enforce\"} 1"));
    // A terminal that is closed ends it.
    demo.end(Signal::SIGHUP);
}

#[test]
fn a_flag_of_run_on_its_command_line_is_usage() {
    let mut command: Command = lvs_agent(&["demo", "--web.listen-address"]);
    command.arg("127.0.0.1:0");
    assert!(finish(command).expect_code(2).err.contains("--web.listen-address"));
}
