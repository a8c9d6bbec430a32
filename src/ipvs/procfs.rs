//! What the kernel tells about IPVS in `/proc` only: totals, sysctls, and whether it is there at all.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;

use crate::model::Counters;

/// The thread's own view: `/proc/net` would be the main thread's network namespace.
pub const TABLE: &str = "/proc/thread-self/net/ip_vs";
const STATS: &str = "/proc/thread-self/net/ip_vs_stats";
const STATS_PER_CPU: &str = "/proc/thread-self/net/ip_vs_stats_percpu";
const SYSCTLS: &str = "/proc/sys/net/ipv4/vs/";
const NAMESPACE: &str = "/proc/thread-self/ns/net";

/// No table is larger than this as text: 64 bytes a line, four million lines.
const MAX_BYTES: u64 = 256 << 20;

/// The sysctls worth exporting; sync_threshold holds two numbers (its period comes under a name of its own).
const SYSCTL_NAMES: [&str; 16] = [
    "am_droprate",
    "conn_reuse_mode",
    "drop_entry",
    "drop_packet",
    "expire_nodest_conn",
    "expire_quiescent_template",
    "run_estimation",
    "secure_tcp",
    "sloppy_sctp",
    "sloppy_tcp",
    "sync_persist_mode",
    "sync_ports",
    "sync_qlen_max",
    "sync_refresh_period",
    "sync_retries",
    "sync_sock_size",
];
const SYNC_VERSION: &str = "sync_version";
const SYNC_THRESHOLD: &str = "sync_threshold";
const SYNC_THRESHOLD_PERIOD: &str = "sync_threshold_period";

/// The network namespace that this thread works in.
pub fn network_namespace() -> io::Result<String> {
    Ok(format!("netns:{}", std::fs::metadata(NAMESPACE)?.ino()))
}

pub fn read(path: &str) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_BYTES).read_to_string(&mut text)?;
    if text.len() as u64 == MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "more than 256 MiB"));
    }
    Ok(text)
}

/// `net.ipv4.vs.*`: those that this kernel has.
pub fn sysctls() -> Vec<(&'static str, i64)> {
    let mut found = Vec::with_capacity(SYSCTL_NAMES.len() + 3);
    let mut path = String::with_capacity(64);
    for name in SYSCTL_NAMES.into_iter().chain([SYNC_THRESHOLD, SYNC_VERSION]) {
        path.clear();
        path.push_str(SYSCTLS);
        path.push_str(name);
        // Not there: an older kernel. Each is a short read of its own; the directory is not listed.
        let mut buffer = [0; 64];
        let Ok(length) = File::open(&path).and_then(|mut file| file.read(&mut buffer)) else { continue };
        let mut numbers = numbers(&buffer[..length]);
        if let Some(value) = numbers.next() {
            found.push((name, value));
        }
        if let (SYNC_THRESHOLD, Some(period)) = (name, numbers.next()) {
            found.push((SYNC_THRESHOLD_PERIOD, period));
        }
    }
    found
}

fn numbers(text: &[u8]) -> impl Iterator<Item = i64> {
    str::from_utf8(text).unwrap_or_default().split_whitespace().map_while(|word| word.parse().ok())
}

/// Totals of the network namespace. Without the estimator (`run_estimation=0`) the file of totals
/// stands still and the per-CPU lines go on (trap 10); those are not zeroed by `ipvsadm -Z`.
pub fn totals(sysctls: &[(&'static str, i64)]) -> Option<Counters> {
    let estimated = !sysctls.contains(&("run_estimation", 0));
    if estimated {
        return parse_totals(&read(STATS).ok()?);
    }
    parse_per_cpu(&read(STATS_PER_CPU).ok()?)
}

/// The first line of numbers, in hex.
fn parse_totals(text: &str) -> Option<Counters> {
    text.lines().find_map(|line| hex_counters(line.split_whitespace()))
}

/// The sum of the lines that begin with a CPU's number; `~` is the estimator's own sum.
fn parse_per_cpu(text: &str) -> Option<Counters> {
    let mut sum: Option<Counters> = None;
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let is_cpu = words.next().is_some_and(|word| u32::from_str_radix(word, 16).is_ok());
        let Some(cpu) = hex_counters(words).filter(|_| is_cpu) else { continue };
        let sum = sum.get_or_insert_default();
        sum.connections = sum.connections.saturating_add(cpu.connections);
        sum.incoming_packets = sum.incoming_packets.saturating_add(cpu.incoming_packets);
        sum.outgoing_packets = sum.outgoing_packets.saturating_add(cpu.outgoing_packets);
        sum.incoming_bytes = sum.incoming_bytes.saturating_add(cpu.incoming_bytes);
        sum.outgoing_bytes = sum.outgoing_bytes.saturating_add(cpu.outgoing_bytes);
    }
    sum
}

/// Exactly five hex numbers.
fn hex_counters<'a>(mut words: impl Iterator<Item = &'a str>) -> Option<Counters> {
    let mut next = || u64::from_str_radix(words.next()?, 16).ok();
    let counters = Counters {
        connections: next()?,
        incoming_packets: next()?,
        outgoing_packets: next()?,
        incoming_bytes: next()?,
        outgoing_bytes: next()?,
    };
    words.next().is_none().then_some(counters)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `cat /proc/net/ip_vs_stats` after 20 requests by curl through a DR service; the second row of numbers are rates.
    const TOTALS: &str = include_str!("fixtures/ip_vs_stats.txt");
    /// `cat /proc/net/ip_vs_stats_percpu` at the same time.
    const PER_CPU: &str = include_str!("fixtures/ip_vs_stats_percpu.txt");

    #[test]
    fn totals_are_the_first_row_in_hex() {
        let totals = parse_totals(TOTALS).unwrap();
        assert_eq!(totals.connections, 0x14);
        assert_eq!(totals.incoming_packets, 0x8c);
        assert_eq!(totals.outgoing_packets, 0);
        assert_eq!(totals.incoming_bytes, 0x22ec);
        assert_eq!(parse_totals("nothing\n"), None);
    }

    #[test]
    fn per_cpu_lines_are_summed_without_the_estimators_sum() {
        assert_eq!(parse_per_cpu(PER_CPU), parse_totals(TOTALS));
        let two = "CPU Conns\n  0  1 2 3 4 5\n  A  10 20 30 40 50\n  ~  99 99 99 99 99\n";
        let sum = parse_per_cpu(two).unwrap();
        assert_eq!((sum.connections, sum.incoming_bytes, sum.outgoing_bytes), (0x11, 0x44, 0x55));
        assert_eq!(parse_per_cpu("CPU\n"), None);
    }

    #[test]
    fn sysctls_may_hold_several_numbers() {
        assert_eq!(numbers(b"3\t50\n").collect::<Vec<_>>(), [3, 50]);
        assert_eq!(numbers(b"\n").count(), 0);
        assert_eq!(numbers(b"-1").collect::<Vec<_>>(), [-1]);
    }

    #[test]
    fn the_network_namespace_has_a_number() {
        let text = network_namespace().unwrap();
        assert!(text.strip_prefix("netns:").unwrap().parse::<u64>().unwrap() > 0, "{text}");
    }
}
