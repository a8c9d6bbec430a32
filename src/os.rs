//! What is the operating system's: clocks, signals, limits, capabilities, sd_notify.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::time::{ClockId, clock_gettime};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix;

use crate::model::{Mono, Now, SourcePorts, Wall};

/// The only reader of the system's clocks. Cheap to copy; all copies agree.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
    /// What the system's monotonic clock showed then.
    uptime: Duration,
}

#[expect(clippy::disallowed_methods, reason = "this is the one place where time is read")]
impl Clock {
    /// Its moments begin here.
    pub fn start() -> Clock {
        Clock { start: Instant::now(), uptime: Duration::ZERO }
    }

    /// Its moments are those of CLOCK_MONOTONIC, so that what one process writes down the next one of
    /// the same boot can read (trap 49). Where that clock cannot be read they begin here.
    pub fn since_boot() -> Clock {
        let uptime = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
        Clock { start: Instant::now(), uptime }
    }

    pub fn mono(&self) -> Mono {
        Mono::from_start(self.uptime + self.start.elapsed())
    }

    pub fn now(&self) -> Now {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Now { mono: self.mono(), wall: Wall(since_epoch.as_secs_f64()) }
    }

    /// The instant of a moment, for `tokio::time::sleep_until` and `timeout_at`.
    pub fn instant(&self, moment: Mono) -> Instant {
        self.start + moment.since_start().saturating_sub(self.uptime)
    }
}

/// Waits until there is something to read; registered with the runtime's reactor for this one wait.
#[expect(deprecated, reason = "the borrowed fd outlives its registration; the successor is an unsafe fn")]
pub async fn readable(fd: BorrowedFd<'_>) -> io::Result<()> {
    let fd = AsyncFd::with_interest(fd, Interest::READABLE)?;
    fd.readable().await?.retain_ready();
    Ok(())
}
/// Some 10,000 TLS handshakes a second.
const MOST_PROBING_THREADS: usize = 4;

/// CAP_NET_ADMIN (include/uapi/linux/capability.h).
const CAP_NET_ADMIN: u32 = 12;

/// True if this process may use IPVS's netlink commands, as far as its own capabilities tell. In a
/// user namespace of its own the kernel refuses all the same (EPERM).
pub fn has_net_admin() -> io::Result<bool> {
    let status = std::fs::read_to_string("/proc/thread-self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:")).map(str::trim);
    let mask = line.and_then(|hex| u64::from_str_radix(hex, 16).ok());
    let mask = mask.ok_or_else(|| io::Error::other("/proc/thread-self/status has no CapEff line"))?;
    Ok(mask & (1 << CAP_NET_ADMIN) != 0)
}

/// Raises the soft limit of open files to the hard one (trap 53); the limit then in force.
pub fn raise_open_files() -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

/// How many threads probe: no more than there are processors, and the rest of the agent needs little.
pub fn probing_threads() -> usize {
    if let Some(n) = std::env::var("LVX_THREADS").ok().and_then(|v| v.parse().ok()) {
        return n;
    }
    std::thread::available_parallelism().map_or(1, usize::from).clamp(1, MOST_PROBING_THREADS)
}

/// Changes at every boot: weights taken before it are not ours to give back after it.
pub fn boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// What the kernel has for each destination; the usual where that cannot be read.
pub fn source_ports() -> SourcePorts {
    let read = |name| std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}"));
    let range = match read("ip_local_port_range") {
        Ok(range) => range,
        Err(error) => {
            tracing::warn!(%error, "net.ipv4.ip_local_port_range cannot be read: its usual value is assumed");
            return SourcePorts::USUAL;
        }
    };
    // Older than Linux 2.6: none is reused.
    source_ports_of(&range, &read("tcp_tw_reuse").unwrap_or_default())
}

fn source_ports_of(range: &str, tw_reuse: &str) -> SourcePorts {
    let mut bounds = range.split_whitespace().map_while(|bound| bound.parse::<u16>().ok());
    let ports = match (bounds.next(), bounds.next()) {
        (Some(first), Some(last)) if first <= last => u32::from(last - first) + 1,
        (Some(_) | None, _) => SourcePorts::USUAL.ports,
    };
    let held = if tw_reuse.trim() == "1" { SourcePorts::TIME_WAIT_REUSED } else { SourcePorts::TIME_WAIT };
    SourcePorts { ports, held }
}

/// Differs between directors, stays the same on one: it spreads their probes.
pub fn director_seed() -> u64 {
    let host = nix::unistd::gethostname().unwrap_or_default();
    // Containers and minimal systems may have none; the name is then enough.
    let machine = std::fs::read("/etc/machine-id").unwrap_or_default();
    let bytes = host.as_encoded_bytes().iter().chain(&machine);
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// What the operator or the service manager asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    Stop,
    Reload,
}

/// SIGTERM, SIGINT and SIGHUP, from the moment this is made.
#[derive(Debug)]
pub struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    hangup: unix::Signal,
}

impl Signals {
    pub fn new() -> io::Result<Signals> {
        Ok(Signals {
            terminate: unix::signal(unix::SignalKind::terminate())?,
            interrupt: unix::signal(unix::SignalKind::interrupt())?,
            hangup: unix::signal(unix::SignalKind::hangup())?,
        })
    }

    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::Stop,
            _ = self.interrupt.recv() => Signal::Stop,
            _ = self.hangup.recv() => Signal::Reload,
        }
    }
}

/// Tells the service manager, if there is one (sd_notify(3)).
pub fn notify(state: sd_notify::NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "the service manager could not be told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_ports_are_counted_with_both_ends() {
        let of = |range, tw_reuse| {
            let SourcePorts { ports, held } = source_ports_of(range, tw_reuse);
            (ports, held.as_secs())
        };
        assert_eq!(of("32768\t60999\n", "2\n"), (SourcePorts::USUAL.ports, 60));
        assert_eq!(of("16384\t65535\n", "0\n"), (49_152, 60));
        assert_eq!(of("40000 40000", "1\n"), (1, 1));
        assert_eq!(of("60999 32768", ""), (SourcePorts::USUAL.ports, 60));
        assert_eq!(of("", ""), (SourcePorts::USUAL.ports, 60));
    }
}
