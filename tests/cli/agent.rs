//! The built binary as a child process.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use lvs_agent::os::Clock;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::http;

/// For one awaited value, on a machine where much else is going on.
const DEADLINE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The binary with these arguments, and with nothing of this process's environment but the PATH.
pub fn lvs_agent<S: AsRef<OsStr>>(arguments: &[S]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lvs-agent"));
    command.args(arguments).env_clear().stdin(Stdio::null());
    command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command
}

/// The first value that `look` finds; a panic with `context` at the deadline.
pub fn wait_for<T>(what: &str, context: impl Fn() -> String, mut look: impl FnMut() -> Option<T>) -> T {
    let clock = Clock::start();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(clock.mono().since_start() < DEADLINE, "{what}: not within {DEADLINE:?}\n{}", context());
        std::thread::sleep(LOOK_EVERY);
    }
}

#[derive(Debug)]
pub struct Ended {
    /// `None`: a signal ended it.
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ended {
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Ended {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Runs to the end, which must come by itself.
pub fn finish(command: Command) -> Ended {
    Process::start(command).wait_end()
}

/// Standard output and standard error as they come.
pub struct Process {
    child: RefCell<Child>,
    out: Captured,
    err: Captured,
}

impl Process {
    pub fn start(mut command: Command) -> Process {
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let out = Captured::of(child.stdout.take().expect("piped"));
        let err = Captured::of(child.stderr.take().expect("piped"));
        Process { child: RefCell::new(child), out, err }
    }

    pub fn id(&self) -> u32 {
        self.child.borrow().id()
    }

    pub fn out(&self) -> String {
        self.out.lines().join("\n")
    }

    pub fn err(&self) -> String {
        self.err.lines().join("\n")
    }

    /// Waits for a value that only a living program brings about.
    pub fn wait<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let context = || format!("--- out\n{}\n--- err\n{}", self.out(), self.err());
        wait_for(what, context, || {
            let ended = self.child.borrow_mut().try_wait().expect("it is our child");
            let found = look();
            assert!(found.is_some() || ended.is_none(), "{what}: {ended:?}\n{}", context());
            found
        })
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.id().try_into().expect("a pid"));
        kill(pid, signal).expect("the process is there");
    }

    pub fn wait_end(mut self) -> Ended {
        let (out, err) = (self.out.clone_handle(), self.err.clone_handle());
        let context = || format!("--- out\n{}\n--- err\n{}", out.lines().join("\n"), err.lines().join("\n"));
        let child = self.child.get_mut();
        let status = wait_for("the program ends", context, || child.try_wait().expect("it is our child"));
        Ended { code: status.code(), out: self.out.whole(), err: self.err.whole() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended.
        let child = self.child.get_mut();
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Lines of a pipe, read by a thread until its end.
struct Captured {
    lines: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl Captured {
    fn of(pipe: impl Read + Send + 'static) -> Captured {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let shared = lines.clone();
        let thread = std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                shared.lock().expect("no thread panics with it").push(line);
            }
        });
        Captured { lines, thread: Some(thread) }
    }

    fn clone_handle(&self) -> Captured {
        Captured { lines: self.lines.clone(), thread: None }
    }

    fn lines(&self) -> MutexGuard<'_, Vec<String>> {
        self.lines.lock().expect("no thread panics with it")
    }

    /// All of it, once the writer has ended.
    fn whole(&mut self) -> String {
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the reader does not panic");
        }
        self.lines().iter().map(|line| format!("{line}\n")).collect()
    }
}

/// A running `lvs-agent run`, which logs JSON.
pub struct Agent {
    process: Process,
    /// Of its first listener.
    pub address: SocketAddr,
}

impl Agent {
    pub fn start(mut command: Command) -> Agent {
        command.args(["--log.format", "json"]);
        let process = Process::start(command);
        let address = process.wait("it says where it listens", || listeners(&process.err()).first().copied());
        Agent { process, address }
    }

    /// Every address that it says it listens on.
    pub fn listeners(&self) -> Vec<SocketAddr> {
        listeners(&self.process.err())
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    pub fn log(&self) -> String {
        self.process.err()
    }

    pub fn wait<T>(&self, what: &str, look: impl FnMut() -> Option<T>) -> T {
        let context = || {
            let status = http::get(self.address, "/api/v1/status").map(|answer| answer.text());
            format!("--- status\n{status:?}\n--- log\n{}", self.log())
        };
        wait_for(what, context, look)
    }

    /// Waits for a line of the log that has all of these in it.
    pub fn wait_log(&self, parts: &[&str]) -> String {
        self.wait(&format!("a log line with {parts:?}"), || {
            self.log().lines().find(|line| parts.iter().all(|part| line.contains(part))).map(str::to_owned)
        })
    }

    pub fn get(&self, path: &str) -> http::Answer {
        http::get(self.address, path).unwrap_or_else(|error| panic!("{path}: {error}\n{}", self.log()))
    }

    pub fn status(&self) -> Value {
        serde_json::from_slice(&self.get("/api/v1/status").body).expect("JSON")
    }

    /// One real server of the first virtual server.
    pub fn server(&self, at: usize) -> Value {
        self.status()["virtual_servers"][0]["real_servers"][at].clone()
    }

    pub fn verdict(&self, at: usize) -> String {
        self.server(at)["verdict"].as_str().unwrap_or_default().to_owned()
    }

    /// In the table, of each real server of the first virtual server.
    pub fn weights(&self) -> Vec<u64> {
        let status = self.status();
        let rows = status["virtual_servers"][0]["real_servers"].as_array().expect("rows");
        rows.iter().map(|row| row["weight"].as_u64().expect("a weight")).collect()
    }

    pub fn wait_weights(&self, expected: &[u64]) {
        self.wait(&format!("weights {expected:?}"), || (self.weights() == expected).then_some(()));
    }

    /// The sum of the samples with this name and these labels; `None` if there is none.
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        sample(&self.get("/metrics").text(), name, labels)
    }

    pub fn wait_metric(&self, name: &str, labels: &[(&str, &str)], expected: f64) {
        self.wait(&format!("{name}{labels:?} {expected}"), || {
            (self.metric(name, labels) == Some(expected)).then_some(())
        });
    }

    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    pub fn wait_end(self) -> Ended {
        self.process.wait_end()
    }

    /// SIGTERM, and a clean end.
    pub fn stop(self) -> Ended {
        self.signal(Signal::SIGTERM);
        self.wait_end().expect_code(0)
    }
}

/// The sum of the samples with this name and these labels in text format 0.0.4.
pub fn sample(text: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let values: Vec<f64> = text
        .lines()
        .filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (found, rest) = series.split_once('{').unwrap_or((series, ""));
            let has = |(key, value): &(&str, &str)| rest.contains(&format!("{key}=\"{value}\""));
            (found == name && labels.iter().all(has)).then(|| value.parse().expect("a number"))
        })
        .collect();
    (!values.is_empty()).then(|| values.iter().sum())
}

fn listeners(log: &str) -> Vec<SocketAddr> {
    let fields = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let started = fields.filter(|line| line["message"] == "lvs-agent runs");
    started.filter_map(|line| line["listen"].as_str()?.parse().ok()).collect()
}
