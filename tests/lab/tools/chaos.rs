//! Lives of an agent that end by `kill -9` at a random moment, under flapping servers and a busy operator.
//!
//! A moment rarely falls between the ledger and the kernel, so every other life is given a failpoint there, and does
//! not count if it dies of it.

mod oracle;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

use lvs_agent::failpoint;
use nix::sys::signal::Signal;
use oracle::{Oracle, Record, Records};
use serde_json::Value;

use crate::{Failure, now, table};

const SIGABRT: i32 = Signal::SIGABRT as i32;
const SIGKILL: i32 = Signal::SIGKILL as i32;
/// The operator's taste.
const WEIGHTS: [u32; 4] = [0, 3, 7, 9];
/// A life may end before the agent has read its first table, or long after many drains.
const LIFE_MS: (u64, u64) = (60, 1600);
const PAUSE_MS: (u64, u64) = (1, 60);

pub fn run(service: &str, kills: u64, seed: u64, dir: &Path, agent: &[&str]) -> Result<ExitCode, Failure> {
    let weights = weights(service)?;
    let mut chaos = Chaos {
        service,
        dir,
        agent,
        random: Random(0),
        oracle: Oracle::new(&weights),
        failing: weights.keys().map(|server| (server.clone(), false)).collect(),
        tally: Tally::default(),
    };
    let mut life = 0;
    while chaos.tally.killed < kills {
        life += 1;
        // The moments are the machine's: one life's shift must not change what the next one wants.
        chaos.random = Random(seed.wrapping_add(life << 32));
        chaos.one_life().map_err(|error| format!("life {life} of seed {seed}: {error}"))?;
    }
    writeln!(io::stderr(), "seed {seed}: {:?}", chaos.tally)?;
    for (server, weight) in chaos.oracle.owed() {
        writeln!(io::stdout(), "{server} {weight}")?;
    }
    Ok(ExitCode::SUCCESS)
}

struct Chaos<'a> {
    service: &'a str,
    dir: &'a Path,
    agent: &'a [&'a str],
    random: Random,
    oracle: Oracle,
    failing: BTreeMap<String, bool>,
    tally: Tally,
}

/// Says whether the lives were eventful; printed as it is.
#[derive(Debug, Default)]
struct Tally {
    killed: u64,
    died_at_a_failpoint: u64,
    flaps: u64,
    edits: u64,
    edits_while_no_agent_ran: u64,
    edits_to_0: u64,
    /// Servers at a death, by kernel and record.
    drained: u64,
    recorded_not_yet_taken: u64,
    taken_not_yet_done: u64,
    given_back_still_on_record: u64,
    operators_0: u64,
    /// More than one weight was possible.
    left_open: u64,
}

impl Chaos<'_> {
    fn one_life(&mut self) -> Result<(), Failure> {
        let log = OpenOptions::new().create(true).append(true).open(self.dir.join("agent.log"))?;
        let (program, arguments) = self.agent.split_first().ok_or("which agent?")?;
        let mut agent = Command::new(program);
        agent.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        if self.random.below(2) == 0 {
            let point = failpoint::Point::ALL[self.random.below(failpoint::Point::ALL.len() as u64) as usize];
            agent.env(failpoint::VARIABLE, format!("{}:{}", point.as_str(), 1 + self.random.below(3)));
        }
        let mut agent = agent.spawn()?;
        let lived = self.until_its_end(&mut agent);
        agent.kill()?;
        let status = agent.wait()?;
        lived?;
        match status.signal() {
            Some(SIGKILL) => self.tally.killed += 1,
            Some(SIGABRT) => self.tally.died_at_a_failpoint += 1,
            _ => return Err(format!("the agent ended by itself: {status}").into()),
        }
        self.post_mortem()?;
        for _ in 0..self.random.below(3) {
            if self.random.below(2) == 0 {
                self.flap()?;
            } else {
                self.edit(false)?;
            }
        }
        Ok(())
    }

    /// Until it has died, or its time has come.
    fn until_its_end(&mut self, agent: &mut Child) -> Result<(), Failure> {
        let life = Duration::from_millis(self.random.between(LIFE_MS));
        let born = now();
        while born.elapsed() < life && agent.try_wait()?.is_none() {
            match self.random.below(10) {
                0..4 => self.flap()?,
                4 => self.edit(true)?,
                _ => self.look()?,
            }
            let left = life.saturating_sub(born.elapsed());
            thread::sleep(Duration::from_millis(self.random.between(PAUSE_MS)).min(left));
        }
        Ok(())
    }

    fn flap(&mut self) -> Result<(), Failure> {
        let server = self.any_server();
        let fails = !self.failing[&server];
        let ip = server.split(':').next().unwrap_or_default();
        fs::write(self.dir.join("as").join(ip), if fails { "unavailable" } else { "good" })?;
        self.failing.insert(server, fails);
        self.tally.flaps += 1;
        Ok(())
    }

    /// The operator looks, and edits where what he does has a meaning.
    fn edit(&mut self, agent_runs: bool) -> Result<(), Failure> {
        let (server, to) = (self.any_server(), WEIGHTS[self.random.below(WEIGHTS.len() as u64) as usize]);
        let sees = weights(self.service)?[&server];
        self.oracle.seen(&server, sees)?;
        if !self.oracle.may_edit(&server, sees, to) {
            return Ok(());
        }
        let service = self.service.trim_end_matches("/tcp");
        let done = Command::new("ipvsadm")
            .args(["-e", "-t", service, "-r", &server, "-g", "-w", &to.to_string()])
            .status()?;
        if !done.success() {
            return Err(format!("ipvsadm: {done}").into());
        }
        self.oracle.edited(&server, to, agent_runs);
        self.tally.edits += 1;
        self.tally.edits_while_no_agent_ran += u64::from(!agent_runs);
        self.tally.edits_to_0 += u64::from(to == 0);
        Ok(())
    }

    fn look(&self) -> Result<(), Failure> {
        for (server, weight) in weights(self.service)? {
            self.oracle.seen(&server, weight)?;
        }
        Ok(())
    }

    fn post_mortem(&mut self) -> Result<(), Failure> {
        let records = records(self.service, self.dir)?;
        for (server, weight) in weights(self.service)? {
            let record = records.get(&server).copied();
            let open = self.oracle.died(&server, weight, record)?;
            let tally = &mut self.tally;
            tally.left_open += u64::from(open);
            match (weight, record) {
                (0, Some(Record { done: true, .. })) => tally.drained += 1,
                (0, Some(Record { done: false, .. })) => tally.taken_not_yet_done += 1,
                (0, None) => tally.operators_0 += 1,
                (_, Some(Record { done: true, .. })) => tally.given_back_still_on_record += 1,
                (_, Some(Record { done: false, .. })) => tally.recorded_not_yet_taken += 1,
                (_, None) => {}
            }
        }
        Ok(())
    }

    fn any_server(&mut self) -> String {
        let servers: Vec<&String> = self.oracle.servers().collect();
        servers[self.random.below(servers.len() as u64) as usize].clone()
    }
}

/// Of the service's real servers, in the kernel.
fn weights(service: &str) -> Result<BTreeMap<String, u32>, Failure> {
    let table = table::read()?;
    Ok(table.into_iter().filter(|(key, _)| key.0 == service).map(|(key, weight)| (key.1, weight)).collect())
}

/// What the ledger on disk says is owed. Only of a dead agent: it is then a whole one or none.
fn records(service: &str, dir: &Path) -> Result<Records, Failure> {
    let file: PathBuf = dir.join("state/ledger.json");
    let text = match fs::read_to_string(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Records::new()),
        read => read?,
    };
    let ledger: Value =
        serde_json::from_str(&text).map_err(|e| format!("{}: {e}\n{text}", file.display()))?;
    let entries = ledger["entries"].as_array().ok_or("a ledger without entries")?;
    let mut records = Records::new();
    for entry in entries.iter().filter(|entry| entry["virtual_server"] == service) {
        let server = entry["real_server"].as_str().ok_or("an entry without its server")?;
        let owed = entry["owed"].as_u64().and_then(|owed| u32::try_from(owed).ok());
        let owed = owed.ok_or("an entry without its weight")?;
        records.insert(server.to_owned(), Record { owed, done: entry["state"] == "done" });
    }
    Ok(records)
}

/// SplitMix64: the same seed, the same wishes of servers and operator.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn between(&mut self, (from, to): (u64, u64)) -> u64 {
        from + self.below(to - from)
    }
}
