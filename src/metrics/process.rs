//! `process_*`: the names that every exporter shares, from /proc/self.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::{SysconfVar, sysconf};

use super::catalogue as m;
use super::exposition::{Families, bare};
use super::machinery::MachineryFacts;
use crate::os::Clock;

pub(super) fn encode(out: &mut Families, facts: &MachineryFacts) -> fmt::Result {
    let Some(facts) = &facts.process else { return Ok(()) };
    out.counter(m::PROCESS_CPU, bare(facts.cpu_seconds))?;
    out.gauge(m::PROCESS_RESIDENT_MEMORY, bare(facts.resident_bytes))?;
    out.gauge(m::PROCESS_VIRTUAL_MEMORY, bare(facts.virtual_bytes))?;
    out.gauge(m::PROCESS_OPEN_FDS, bare(facts.open_fds))?;
    out.gauge(m::PROCESS_MAX_FDS, bare(facts.max_fds))?;
    out.gauge(m::PROCESS_START_TIME, bare(facts.start_seconds))?;
    out.gauge(m::PROCESS_THREADS, bare(facts.threads))
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct ProcessFacts {
    cpu_seconds: f64,
    resident_bytes: u64,
    virtual_bytes: u64,
    open_fds: u64,
    max_fds: u64,
    /// Since the epoch.
    start_seconds: f64,
    threads: u64,
    /// How long it took to find this out.
    pub(super) duration: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    #[error("reading {path}")]
    Read { path: &'static str, source: std::io::Error },
    #[error("{path} has no {field}")]
    Format { path: &'static str, field: &'static str },
    #[error("asking for {what}")]
    Ask { what: &'static str, source: nix::Error },
}

const STAT: &str = "/proc/self/stat";
const FDS: &str = "/proc/self/fd";
const SYSTEM_STAT: &str = "/proc/stat";

#[derive(Debug, Clone)]
pub(super) struct ProcessSource {
    clock: Clock,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Seconds since the epoch at boot, as first read: it moves with the wall clock, and a process
    /// starts once.
    boot_seconds: OnceLock<u64>,
    failing: AtomicBool,
}

impl ProcessSource {
    pub(super) fn new() -> ProcessSource {
        ProcessSource { clock: Clock::start(), shared: Arc::default() }
    }

    /// `None` if it fails, which is logged once until it works again.
    pub(super) fn read(&self) -> Option<ProcessFacts> {
        let read = self.try_read();
        let was_failing = self.shared.failing.swap(read.is_err(), Ordering::Relaxed);
        match read {
            Ok(facts) => Some(facts),
            Err(error) => {
                if !was_failing {
                    tracing::warn!(error = &error as &dyn std::error::Error, "no process_* metrics");
                }
                None
            }
        }
    }

    fn try_read(&self) -> Result<ProcessFacts, ProcessError> {
        let started = self.clock.mono();
        let text =
            std::fs::read_to_string(STAT).map_err(|source| ProcessError::Read { path: STAT, source })?;
        let stat = Stat::parse(&text)?;
        let ticks_per_second = ask(SysconfVar::CLK_TCK, "the length of a clock tick")? as f64;
        let page_bytes = ask(SysconfVar::PAGE_SIZE, "the page size")?;
        let (max_fds, _) = getrlimit(Resource::RLIMIT_NOFILE)
            .map_err(|source| ProcessError::Ask { what: "the limit of open files", source })?;
        Ok(ProcessFacts {
            cpu_seconds: stat.cpu_ticks as f64 / ticks_per_second,
            resident_bytes: stat.resident_pages * page_bytes,
            virtual_bytes: stat.virtual_bytes,
            open_fds: open_fds()?,
            max_fds,
            start_seconds: self.boot_seconds()? as f64 + stat.start_ticks as f64 / ticks_per_second,
            threads: stat.threads,
            duration: self.clock.mono().since(started),
        })
    }

    fn boot_seconds(&self) -> Result<u64, ProcessError> {
        if let Some(seconds) = self.shared.boot_seconds.get() {
            return Ok(*seconds);
        }
        let read = |source| ProcessError::Read { path: SYSTEM_STAT, source };
        for line in BufReader::new(File::open(SYSTEM_STAT).map_err(read)?).lines() {
            if let Some(seconds) =
                line.map_err(read)?.strip_prefix("btime ").and_then(|s| s.trim().parse().ok())
            {
                return Ok(*self.shared.boot_seconds.get_or_init(|| seconds));
            }
        }
        Err(ProcessError::Format { path: SYSTEM_STAT, field: "btime" })
    }
}

fn ask(variable: SysconfVar, what: &'static str) -> Result<u64, ProcessError> {
    let answer = sysconf(variable).map_err(|source| ProcessError::Ask { what, source })?;
    answer
        .and_then(|value| u64::try_from(value).ok())
        .ok_or(ProcessError::Ask { what, source: nix::Error::EINVAL })
}

fn open_fds() -> Result<u64, ProcessError> {
    let entries = std::fs::read_dir(FDS).map_err(|source| ProcessError::Read { path: FDS, source })?;
    // One of them is the directory being read.
    Ok((entries.count() as u64).saturating_sub(1))
}

/// The fields of /proc/self/stat that are exported (proc(5)).
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    start_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    fn parse(text: &str) -> Result<Stat, ProcessError> {
        // The command's name, field 2, may hold anything, so count from its last parenthesis.
        let (_, rest) =
            text.rsplit_once(") ").ok_or(ProcessError::Format { path: STAT, field: "command name" })?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let field = |number: usize, field| {
            let value = fields.get(number - 3).and_then(|value| value.parse::<u64>().ok());
            value.ok_or(ProcessError::Format { path: STAT, field })
        };
        Ok(Stat {
            cpu_ticks: field(14, "utime")?.saturating_add(field(15, "stime")?),
            threads: field(20, "num_threads")?,
            start_ticks: field(22, "starttime")?,
            virtual_bytes: field(23, "vsize")?,
            resident_pages: field(24, "rss")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_with_a_hostile_name_is_read() {
        let line = "14387 (a) R 1 (b) R 14371 14371 8636 0 -1 4194304 100 0 0 0 7 5 0 0 20 0 3 0 130337 3133440 390 \
                    18446744073709551615 94584799588352 94584799608233";
        let stat = Stat::parse(line).unwrap();
        assert_eq!(
            stat,
            Stat {
                cpu_ticks: 12,
                threads: 3,
                start_ticks: 130_337,
                virtual_bytes: 3_133_440,
                resident_pages: 390
            }
        );
        assert_eq!(Stat::parse("1 (a) R 1 2 3").unwrap_err().to_string(), "/proc/self/stat has no utime");
    }

    #[test]
    fn this_process_is_described() {
        let source = ProcessSource::new();
        let before = source.try_read().unwrap();
        let held: Vec<File> = (0..10).map(|_| File::open(STAT).unwrap()).collect();
        let after = source.try_read().unwrap();
        // Tests beside this one open and close files too, so only the limits are certain.
        assert!(after.open_fds >= 10 && after.open_fds <= after.max_fds, "{after:?}");
        assert!(after.threads >= 1);
        assert!(after.resident_bytes > 0 && after.resident_bytes < after.virtual_bytes);
        assert!(after.cpu_seconds >= before.cpu_seconds);
        assert_eq!(after.start_seconds, before.start_seconds);
        let age = Clock::start().now().wall.0 - after.start_seconds;
        assert!((-2.0..86_400.0).contains(&age), "started {age} s ago");
        drop(held);
    }
}
