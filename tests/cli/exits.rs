//! What keeps the agent from starting, with its exit code; and what does not.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use lvs_agent::os;
use tempfile::TempDir;

use crate::agent::{self, Agent, finish, lvs_agent};
use crate::site::Site;

const USAGE: i32 = 2;
const UNAVAILABLE: i32 = 69;
const NO_PERMISSION: i32 = 77;
const CONFIG: i32 = 78;

#[test]
fn a_broken_configuration_names_every_fault() {
    let site = Site::new(1);
    let text = "[web]\nlisten = [\"127.0.0.1:0\"]\nlissten = 1\n\n[[service]]\nmatch = [\"10.0.0.1:80\"]\nchecks = [\"nosuch\"]\n";
    std::fs::write(site.config(), text).expect("written");
    let ended = finish(site.command()).expect_code(CONFIG);
    let file = site.config().display().to_string();
    for (place, what) in [("3:1", "lissten"), ("6:10", "10.0.0.1:80"), ("7:11", "nosuch")] {
        let fault = ended.err.lines().find(|line| line.contains(&format!("{file}:{place}")));
        assert!(fault.is_some(), "{file}:{place}\n{}", ended.err);
        assert!(ended.err.contains(what), "{what}\n{}", ended.err);
    }
    assert!(!site.path("state").exists(), "nothing was begun");
    // And the command that is there for it says the same.
    let checked = finish(lvs_agent(&["check-config", &file])).expect_code(CONFIG);
    assert_eq!(format!("lvs-agent: {}", checked.out).trim_end(), ended.err.trim_end());
}

#[test]
fn a_good_configuration_is_counted() {
    let site = Site::new(1);
    let ended = finish(lvs_agent(&["check-config", &site.config().display().to_string()])).expect_code(0);
    let last = ended.out.lines().last().unwrap_or_default();
    assert!(last.contains(": valid: 1 service, 4 checks, "), "{}", ended.out);
    assert_eq!(ended.err, "");
}

#[test]
fn files_that_are_not_there_or_not_readable_as_what_they_should_be() {
    let site = Site::new(1);
    let missing = site.path("nosuch.toml").display().to_string();
    let ended = finish(lvs_agent(&["run", "--config", &missing])).expect_code(CONFIG);
    assert!(ended.err.contains(&missing) && ended.err.contains("No such file"), "{}", ended.err);
    let ended = finish(lvs_agent(&["check-config", &missing])).expect_code(CONFIG);
    assert!(ended.out.contains(&missing), "{ended:?}");

    std::fs::write(site.table(), "-A -t 127.0.20.100:80 -s wrr\n-a nonsense\n-Q\n").expect("written");
    let ended = finish(site.command()).expect_code(CONFIG);
    let table = site.table().display().to_string();
    for part in [&table, "line 2", "line 3", "allowed:"] {
        assert!(ended.err.contains(part), "{part}: {}", ended.err);
    }
    std::fs::remove_file(site.table()).expect("removed");
    let ended = finish(site.command()).expect_code(CONFIG);
    assert!(ended.err.contains(&table), "{}", ended.err);
}

#[test]
fn a_port_in_use_is_named() {
    let site = Site::new(1);
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let mut command = site.command();
    command.args(["--web.listen-address", &address]);
    let ended = finish(command).expect_code(UNAVAILABLE);
    assert!(ended.err.contains("in use") && ended.err.contains("--web.listen-address"), "{}", ended.err);
    assert_eq!(ended.err.matches(&address).count(), 1, "named once: {}", ended.err);
    assert!(!site.socket().exists());
}

#[test]
fn a_second_agent_on_the_same_state_directory_is_told_of_the_first() {
    let site = Site::new(1);
    let agent = site.start();
    let mut command = site.command();
    command.arg("--control-socket").arg(site.path("other.sock"));
    let ended = finish(command).expect_code(UNAVAILABLE);
    assert!(ended.err.contains(&format!("(pid {})", agent.id())), "{}", ended.err);
    assert!(ended.err.contains(&site.path("state").display().to_string()), "{}", ended.err);
    assert_eq!(agent.get("/-/healthy").status, 200);
    // The lock goes with its holder, however it ends.
    agent.signal(nix::sys::signal::Signal::SIGKILL);
    agent.wait_end();
    site.start().stop();
}

#[test]
fn a_second_agent_on_the_same_control_socket_leaves_it_alone() {
    let site = Site::new(1);
    let agent = site.start_up();
    let mut command = site.command();
    command.arg("--state-dir").arg(site.path("other"));
    let ended = finish(command).expect_code(UNAVAILABLE);
    let socket = site.socket().display().to_string();
    assert!(ended.err.contains(&socket) && ended.err.contains("another agent answers"), "{}", ended.err);
    site.ask(&["status"]).expect_code(0);
    agent.stop();
    // A file that is no socket is somebody's.
    std::fs::write(site.socket(), "precious").expect("written");
    let ended = finish(site.command()).expect_code(UNAVAILABLE);
    assert!(ended.err.contains(&socket) && ended.err.contains("no socket"), "{}", ended.err);
    assert_eq!(std::fs::read_to_string(site.socket()).expect("it is there"), "precious");
}

#[test]
fn mistakes_on_the_command_line_are_usage() {
    for (arguments, says) in [
        (&["run", "--nosuch"][..], "--nosuch"),
        (&["nosuch"], "nosuch"),
        (&[], "Usage"),
        (&["run", "--mode", "rehearse"], "`enforce` or `observe`"),
        (&["run", "--web.listen-address", "10190"], "10190"),
        (&["run", "--web.telemetry-path", "/api/v1/status"], "taken by the agent"),
        (&["run", "--web.gzip-level", "10"], "0..=9"),
        (&["run", "--log.level", "loud"], "loud"),
        (&["probe", "10.0.0.1:80", "10.0.0.2:80"], "10.0.0.1:80"),
        (&["probe", "10.0.0.1:80/tcp"], "RS"),
        (&["status", "--agent", "d2"], "http://d2:10190"),
        (&["check-config"], "FILE"),
    ] {
        let ended = finish(lvs_agent(arguments)).expect_code(USAGE);
        assert!(ended.err.contains(says), "{arguments:?}: {}", ended.err);
        assert_eq!(ended.out, "", "{arguments:?}");
    }
}

/// On the kernel's table, without the right to manage it.
#[test]
fn without_cap_net_admin_a_configuration_is_refused() {
    let site = Site::new(1);
    let plain = Unprivileged::new();
    let mut command = plain.command(&["run", "--config"]);
    command.arg(site.config());
    open_to_all(&site);
    let ended = finish(command).expect_code(NO_PERMISSION);
    assert!(ended.err.contains("CAP_NET_ADMIN"), "{}", ended.err);
    assert!(ended.err.contains("AmbientCapabilities"), "the way out: {}", ended.err);
}

/// Anybody may look at the numbers of /proc.
#[test]
fn without_a_configuration_and_without_rights_it_exports() {
    no_configuration_on_this_machine();
    let plain = Unprivileged::new();
    let agent = Agent::start(plain.command(&["run", "--web.listen-address", "127.0.0.1:0"]));
    assert_eq!(agent.metric("ipvs_up", &[]), Some(0.0));
    assert_eq!(agent.metric("lvs_agent_mode", &[]), Some(0.0));
    assert_eq!(agent.status()["mode"], "exporter");
    assert!(agent.log().contains("no CAP_NET_ADMIN"), "{}", agent.log());
    assert!(agent.log().contains("no control socket"), "{}", agent.log());
    agent.stop();
}

/// The lab has the rest of the story: the module appears, and the agent goes on by itself.
#[test]
fn without_ipvs_in_the_kernel_it_keeps_serving() {
    if has_ipvs() || !os::has_net_admin().expect("our capabilities") {
        return;
    }
    let site = Site::new(1);
    let mut managing = lvs_agent(&["run", "--config"]);
    // Observing: it takes no lock of the whole machine.
    managing.arg(site.config()).args(["--mode", "observe"]);
    let mut exporting = lvs_agent(&["run", "--web.listen-address", "127.0.0.1:0", "--control-socket"]);
    exporting.arg(site.path("exporter.sock"));
    no_configuration_on_this_machine();
    for command in [managing, exporting] {
        let agent = Agent::start(command);
        agent.wait_metric("ipvs_up", &[], 0.0);
        let ready =
            agent.wait("a reason", || Some(agent.get("/-/ready")).filter(|a| a.text().contains("IPVS")));
        assert_eq!(ready.status, 503);
        assert_eq!(agent.get("/-/healthy").status, 200);
        assert!(agent.status()["ipvs"]["error"].is_string(), "{}", agent.status());
        assert_eq!(agent.metric("lvs_agent_collector_success", &[("collector", "ipvs")]), Some(0.0));
        let socket =
            if agent.status()["mode"] == "exporter" { site.path("exporter.sock") } else { site.socket() };
        let mut status = lvs_agent(&["status", "--control-socket"]);
        status.arg(socket);
        let ended = finish(status).expect_code(UNAVAILABLE);
        assert!(ended.out.contains("no table") && ended.out.contains("IPVS: "), "{}", ended.out);
        agent.stop();
    }
    let ended = site.ask(&["status"]).expect_code(UNAVAILABLE);
    assert!(ended.err.contains("no agent answers on") && ended.err.contains("IPVS"), "{}", ended.err);
}

fn has_ipvs() -> bool {
    PathBuf::from("/proc/net/ip_vs").exists()
}

/// The agent would take it.
fn no_configuration_on_this_machine() {
    let path = lvs_agent::cli::run::DEFAULT_CONFIG;
    assert!(!PathBuf::from(path).exists(), "this test needs a machine without {path}");
}

fn open_to_all(site: &Site) {
    for path in [site.dir.path().to_owned(), site.config()] {
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("ours");
    }
}

/// Somebody who has no rights at all: this user, or nobody where this is root.
struct Unprivileged {
    /// The binary where nobody can reach it.
    copy: Option<(TempDir, PathBuf)>,
}

impl Unprivileged {
    fn new() -> Unprivileged {
        if !nix::unistd::geteuid().is_root() {
            return Unprivileged { copy: None };
        }
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).expect("ours");
        let path = dir.path().join("lvs-agent");
        // By another process: a descriptor of ours, open for writing in a child that another test
        // forks at that moment, would make it ETXTBSY.
        let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_lvs-agent")).arg(&path).status();
        assert!(copied.is_ok_and(|status| status.success()), "the binary is not copied");
        Unprivileged { copy: Some((dir, path)) }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        const NOBODY: u32 = 65534;
        let Some((_, path)) = &self.copy else { return agent::lvs_agent(arguments) };
        let mut command = Command::new(path);
        command.args(arguments).env_clear().stdin(std::process::Stdio::null());
        command.uid(NOBODY).gid(NOBODY).current_dir("/");
        command
    }
}
