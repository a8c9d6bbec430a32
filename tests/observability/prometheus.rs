//! A Prometheus of its own for a test, on a port of the kernel's choice.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lvs_agent::os::Clock;
use serde_json::Value;

/// For its start, on a machine where much else is going on.
const DEADLINE: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub struct Prometheus {
    child: Child,
    address: Option<SocketAddr>,
}

impl Prometheus {
    /// With the blocks in `directory`/data; scrapes nothing.
    pub fn start(clock: &Clock, directory: &Path) -> Prometheus {
        Prometheus::configured(clock, directory, "global: {}\n")
    }

    pub fn configured(clock: &Clock, directory: &Path, text: &str) -> Prometheus {
        let configuration = directory.join("prometheus.yml");
        std::fs::write(&configuration, text).expect("the configuration");
        let log = directory.join("log");
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", configuration.display()))
            .arg(format!("--storage.tsdb.path={}", directory.join("data").display()))
            // The fixture's time is a fixed one, long ago.
            .args(["--storage.tsdb.retention.time=100y", "--web.listen-address=127.0.0.1:0"])
            .args(["--log.level=info", "--log.format=json"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).expect("its log"))
            .spawn()
            .expect(
                "prometheus cannot be run; `apt-get install prometheus` brings it, and tests/run does so",
            );
        // From here on it is ended whatever happens.
        let mut prometheus = Prometheus { child, address: None };
        let deadline = clock.mono().since_start() + DEADLINE;
        loop {
            let said = std::fs::read_to_string(&log).expect("its log");
            if said.contains("Server is ready to receive web requests") {
                prometheus.address = listening_address(&said);
                return prometheus;
            }
            let ended = prometheus.child.try_wait().expect("its state");
            assert!(ended.is_none() && clock.mono().since_start() < deadline, "{ended:?}: {said}");
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// HTTP/1.0, so that the answer ends where the connection does.
    pub fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Value {
        let query: Vec<String> =
            parameters.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let mut stream = TcpStream::connect(self.address.expect("it listens")).expect("Prometheus listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        write!(stream, "GET {path}?{} HTTP/1.0\r\nHost: localhost\r\n\r\n", query.join("&"))
            .expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (_, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {body:.500}"))
    }
}

fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

/// Its port is the kernel's choice, and it says which.
fn listening_address(log: &str) -> Option<SocketAddr> {
    let entries = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let listening = entries.into_iter().find(|entry| entry["msg"] == "Listening on")?;
    listening["address"].as_str()?.parse().ok()
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended by itself, which the test has seen by then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
