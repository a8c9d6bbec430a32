//! What one test stands on: a directory, toy real servers, a table and a configuration.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::agent::{self, Agent, Ended};
use crate::toys::Toys;

/// Of the real servers, in their order.
pub const WEIGHTS: [u32; 3] = [5, 3, 1];

pub struct Site {
    pub dir: TempDir,
    pub toys: Toys,
}

impl Site {
    /// Up to three real servers of one virtual server, which the check `web` and a floor of 1 manage.
    pub fn new(servers: u8) -> Site {
        let site = Site { dir: tempfile::tempdir().expect("a directory"), toys: Toys::start(servers) };
        site.write_table(&WEIGHTS);
        site.write_config("", "");
        site
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn config(&self) -> PathBuf {
        self.path("config.toml")
    }

    pub fn table(&self) -> PathBuf {
        self.path("table")
    }

    pub fn socket(&self) -> PathBuf {
        self.path("control.sock")
    }

    pub fn ledger_file(&self) -> PathBuf {
        self.path("state/ledger.json")
    }

    pub fn virtual_server(&self) -> String {
        format!("127.0.20.100:{}/tcp", self.toys.port)
    }

    pub fn real_server(&self, at: usize) -> String {
        self.toys.address(at).to_string()
    }

    /// As `ipvsadm -Sn` prints it.
    pub fn write_table(&self, weights: &[u32]) {
        std::fs::write(self.table(), self.table_of("127.0.20.100", weights)).expect("the table is written");
    }

    pub fn table_of(&self, address: &str, weights: &[u32]) -> String {
        let service = format!("{address}:{}", self.toys.port);
        let mut text = format!("-A -t {service} -s wrr\n");
        for (at, weight) in (0..self.toys.len()).zip(weights) {
            text.push_str(&format!("-a -t {service} -r {} -g -w {weight}\n", self.real_server(at)));
        }
        text
    }

    /// `top`: keys of the top level; `service`: further keys of the one service.
    pub fn write_config(&self, top: &str, service: &str) {
        let text = self.config_text(top, service);
        std::fs::write(self.config(), text).expect("the configuration is written");
    }

    /// The time-out is generous, because the machine that runs the tests is busy: a toy server that is
    /// late would be a failed one.
    pub fn config_text(&self, top: &str, service: &str) -> String {
        let dir = self.dir.path().display();
        format!(
            r#"{top}
[web]
listen = ["127.0.0.1:0"]
[state]
directory = "{dir}/state"
[control]
socket = "{dir}/control.sock"
[ipvs]
poll-interval = "200ms"

[defaults]
interval = "100ms"
timeout = "10s"
fast-interval = "50ms"
rise = 2
fall = 2

[check.web]
type = "http"
path = "/healthz"
host = "shop.example.com"

[check.broken]
type = "http"
path = "/broken"

[check.port]
type = "tcp"

[check.elsewhere]
type = "tcp"
source = "192.0.2.1"

[[service]]
match = ["127.0.20.0/24:*/tcp"]
name = "shop"
checks = ["web"]
{service}
"#
        )
    }

    /// `lvs-agent run` with this configuration and table.
    pub fn command(&self) -> Command {
        let mut command = agent::lvs_agent(&["run", "--config"]);
        command.arg(self.config()).arg("--ipvs.table").arg(self.table());
        command
    }

    pub fn start(&self) -> Agent {
        Agent::start(self.command())
    }

    /// Started, and every real server judged up.
    pub fn start_up(&self) -> Agent {
        let agent = self.start();
        agent.wait("all are up", || (0..self.toys.len()).all(|at| agent.verdict(at) == "up").then_some(()));
        agent
    }

    /// Another command of the binary, with this site's control socket.
    pub fn ask(&self, arguments: &[&str]) -> Ended {
        let mut command = agent::lvs_agent(arguments);
        command.arg("--control-socket").arg(self.socket());
        agent::finish(command)
    }

    pub fn ledger(&self) -> Value {
        let text = std::fs::read_to_string(self.ledger_file()).expect("the ledger is there");
        serde_json::from_str(&text).expect("the ledger is JSON")
    }
}
