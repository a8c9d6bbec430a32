//! Many weights at once: a bare loop that sets them, and how long the agent took for as many.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use lvs_agent::ipvs::Table;
use lvs_agent::model::{SharedTelemetry, Weight, WeightChange, WriteOutcome};
use lvs_agent::os::Clock;

use crate::{Failure, now, table};

/// The log is looked at this seldom, to leave the one CPU to the agent.
const PAUSE: Duration = Duration::from_millis(100);
const DAY_US: i64 = 86_400_000_000;

/// The kernel's part of a mass drain and nothing else: for each service the rows right before the write, the
/// SET_DESTs, the rows after. Prints the milliseconds; an error unless `count` weights were written and read back.
pub fn set_weights(prefix: &str, from: u32, to: u32, count: usize) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut table = Table::kernel(Clock::start(), SharedTelemetry::default());
    let snapshot = runtime.block_on(table.snapshot())?;
    let dests = snapshot.services.iter().flat_map(|s| s.destinations.iter().map(|dest| (s.key, dest)));
    let ours = dests.filter(|(_, d)| d.weight == Weight(from) && d.key.to_string().starts_with(prefix));
    let changes: Vec<WeightChange> = ours
        .map(|(service, d)| WeightChange { service, dest: d.key, from: d.weight, to: Weight(to) })
        .collect();
    let began = now();
    let report = runtime.block_on(table.set_weights(&changes));
    let took = began.elapsed();
    let written = report.results.iter().filter(|(_, outcome)| *outcome == WriteOutcome::Written).count();
    if written != count {
        return Err(format!("{written} of {count} weights were written").into());
    }
    writeln!(io::stdout(), "{}", took.as_millis())?;
    Ok(ExitCode::SUCCESS)
}

/// Waits until the agent's log has `count` drains, and prints the milliseconds from the end of the probe that decided
/// them, which let the suspicion against the director itself end, to the first and to the last. An error unless the
/// kernel then shows 0 for `count` real servers that begin with `prefix`, and for no others.
pub fn drained(log: &str, prefix: &str, count: usize, limit: Duration) -> Result<ExitCode, Failure> {
    let began = now();
    let mut log = BufReader::new(File::open(log)?);
    let (mut line, mut passed, mut decided, mut drains) = (String::new(), None, None, Vec::new());
    while drains.len() < count {
        // Only what is new is read: this kernel has one CPU, and the agent needs it.
        if log.read_line(&mut line)? == 0 || !line.ends_with('\n') {
            if began.elapsed() > limit {
                return Err(format!("{} of {count} drains after {limit:?}", drains.len()).into());
            }
            thread::sleep(PAUSE);
            continue;
        }
        if line.contains("weight set: drain") {
            drains.push(time_of_day(&line).ok_or_else(|| format!("no time in `{line}`"))?);
        } else if line.contains("outcome=Pass") {
            passed = time_of_day(&line);
        } else if line.contains("enough targets pass again") {
            decided = passed;
        }
        line.clear();
    }
    let decided = decided.ok_or("no probe passed before the suspicion ended")?;
    let table = table::read()?;
    let out = table.iter().filter(|(_, weight)| **weight == 0);
    let (ours, others): (Vec<_>, Vec<_>) = out.partition(|((_, server), _)| server.starts_with(prefix));
    if (ours.len(), others.len()) != (count, 0) {
        let (ours, others) = (ours.len(), others.len());
        return Err(format!("at weight 0 are {ours} of {count}, and {others} others").into());
    }
    let ms = |at: Option<&i64>| at.map(|at| (at - decided).rem_euclid(DAY_US) / 1000).ok_or("no drain");
    writeln!(io::stdout(), "{} {}", ms(drains.first())?, ms(drains.last())?)?;
    Ok(ExitCode::SUCCESS)
}

/// Microseconds since midnight, of a line that begins with a time like `2026-01-31T23:59:59.123456Z`.
fn time_of_day(line: &str) -> Option<i64> {
    let (_, time) = line.split_whitespace().next()?.strip_suffix('Z')?.split_once('T')?;
    let mut parts = time.split([':', '.']).map(|part| part.parse::<i64>().ok());
    let mut next = || parts.next().flatten();
    let (hours, minutes, seconds, micros) = (next()?, next()?, next()?, next()?);
    Some(((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + micros)
}
