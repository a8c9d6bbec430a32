//! `lvs_agent::ipvs` against a real kernel: what it reads is what `ipvsadm` shows, and what it writes
//! changes nothing but weights.
//!
//! It empties and fills the kernel's IPVS table, unloads the module and needs root, so it refuses to run
//! anywhere but in the lab's user-mode kernel: `cargo test --test lab ipvs_kernel` builds it and runs it there.
//!
//! Arguments choose tests by a part of their name; `measure` prints what 1,000 services with 10 real servers each cost.

#![expect(clippy::unwrap_used, reason = "a test: what cannot go on may panic")]

use std::io::Write as _;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use lvs_agent::ipvs::Table;
use lvs_agent::model::{
    ReadFailure, SharedTelemetry, Snapshot, TableSource, VirtualServer, Weight, WeightChange, WriteOutcome,
};
use lvs_agent::os::Clock;

/// As `ipvsadm -Sn` printed it; see the file.
const RICH: &str = include_str!("../../src/ipvs/fixtures/rich.save");
const MODULES: &str = "ip_vs_rr ip_vs_wrr ip_vs_wlc ip_vs_sh ip_vs_mh ip_vs_pe_sip";
const UNLOAD: &str = "ipvsadm -C; rmmod $(lsmod | awk '/^ip_vs_/ {print $1}') ip_vs";

type Test = (&'static str, fn(&tokio::runtime::Runtime));
const TESTS: [Test; 10] = [
    ("reads_what_ipvsadm_saved", reads_what_ipvsadm_saved),
    ("changes_nothing_but_weights", changes_nothing_but_weights),
    ("conflict_gone_and_no_change", conflict_gone_and_no_change),
    ("whole_services_in_batches", whole_services_in_batches),
    ("module_away_and_back", module_away_and_back),
    ("without_privilege", without_privilege),
    ("totals_without_the_estimator", totals_without_the_estimator),
    ("namespaces_are_told_apart", namespaces_are_told_apart),
    ("no_false_absence_while_others_edit", no_false_absence_while_others_edit),
    ("measure", measure),
];

fn main() -> ExitCode {
    let mut out = std::io::stdout();
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    if !cpu.contains("User Mode Linux") {
        let line = "ipvs_kernel: not run: it empties the kernel's IPVS table, so it needs the lab's kernel (tests/lab)";
        let _ = writeln!(out, "{line}");
        return ExitCode::FAILURE;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let chosen: Vec<String> = std::env::args().skip(1).collect();
    if chosen == ["as-nobody"] {
        as_nobody(&runtime);
        return ExitCode::SUCCESS;
    }
    for (name, test) in TESTS {
        if !chosen.is_empty() && !chosen.iter().any(|part| name.contains(part.as_str())) {
            continue;
        }
        sh(&format!("ip link set lo up; modprobe -a {MODULES}; ipvsadm -C"));
        // A failed assertion panics: the process ends with its message and a status above 0.
        let _ = writeln!(out, "running {name}");
        let _ = out.flush();
        test(&runtime);
    }
    let _ = writeln!(out, "all ok");
    ExitCode::SUCCESS
}

fn reads_what_ipvsadm_saved(runtime: &tokio::runtime::Runtime) {
    restore(RICH);
    sh("ipvsadm -e -t 10.0.0.100:80 -r 10.0.0.12:80 -g -w 65535 -x 1000 -y 500");
    let (mut table, telemetry) = kernel();
    let read = runtime.block_on(table.snapshot()).unwrap();
    assert_eq!(read.source, TableSource::Netlink);
    let mut saved = from_save(&saved());
    for dest in &mut saved.iter_mut().find(|s| s.key.to_string() == "10.0.0.100:80/tcp").unwrap().destinations
    {
        if dest.key.to_string() == "10.0.0.12:80" {
            (dest.upper_threshold, dest.lower_threshold) = (1000, 500);
        }
    }
    assert_eq!(rows(&read), saved);
    assert_eq!(saved.len(), 10);
    // The kernel puts new ones in front: RICH adds .19 last, .1 first.
    let web = read.services.iter().find(|s| s.key.to_string() == "10.0.0.100:80/tcp").unwrap();
    let place = |dest: &str| web.destinations.iter().find(|d| d.key.to_string() == dest).unwrap().place;
    assert_eq!((place("10.0.0.19:80"), place("10.0.0.11:80")), (Some(0), Some(8)));

    assert_eq!(read.info.unwrap().version, 0x010201);
    assert_eq!(read.timeouts.map(|t| (t.tcp, t.tcp_fin, t.udp)), Some((900, 120, 300)));
    assert!(read.totals.is_some());
    assert!(read.sysctls.contains(&("run_estimation", 1)), "{:?}", read.sysctls);
    assert!(read.sysctls.contains(&("sync_threshold", 3)), "{:?}", read.sysctls);
    assert_eq!(read.daemons, []);
    let errors = telemetry.lock().errors.clone();
    assert!(errors.is_empty(), "{errors:?}");

    // Daemons cannot run beside destinations of another family.
    sh("ipvsadm -C; ip link add d0 type dummy; ip link set d0 up; ip addr add 10.0.0.1/24 dev d0; \
        ipvsadm --start-daemon master --mcast-interface d0 --syncid 7; \
        ipvsadm --start-daemon backup --mcast-interface d0 --syncid 8");
    let daemons = runtime.block_on(table.snapshot()).unwrap().daemons;
    assert_eq!(
        daemons.iter().map(|d| (d.interface.as_str(), d.sync_id)).collect::<Vec<_>>(),
        [("d0", 7), ("d0", 8)]
    );
    sh("ipvsadm --stop-daemon master; ipvsadm --stop-daemon backup; ip link del d0");
    assert_eq!(runtime.block_on(table.snapshot()).unwrap().daemons, []);
}

fn changes_nothing_but_weights(runtime: &tokio::runtime::Runtime) {
    restore(RICH);
    sh("ipvsadm -e -t 10.0.0.100:80 -r 10.0.0.12:80 -g -w 65535 -x 1000 -y 500");
    let thresholds = sh("ipvsadm -Ln --thresholds");
    let (mut table, _) = kernel();
    let mut expected = from_save(&saved());
    for weight in [0, 1, 65535, 2147483647, 7] {
        let before = runtime.block_on(table.snapshot()).unwrap();
        let changes: Vec<WeightChange> =
            all_dests(&before).map(|c| WeightChange { to: Weight(weight), ..c }).collect();
        assert_eq!(changes.len(), 18);
        let report = runtime.block_on(table.set_weights(&changes));
        for (change, outcome) in &report.results {
            assert_eq!(*outcome, WriteOutcome::Written, "{change:?}");
        }
        for dest in expected.iter_mut().flat_map(|s| &mut s.destinations) {
            dest.weight = Weight(weight);
        }
        assert_eq!(from_save(&saved()), expected, "ipvsadm -Sn after weight {weight}");
        let fresh = runtime.block_on(table.snapshot()).unwrap();
        for row in &report.services {
            assert_eq!(
                Some(row),
                fresh.service(&row.key).map(|s| &**s),
                "the rows read back are the kernel's"
            );
        }
        assert_eq!(report.services.len(), 8, "one for each service with destinations");
    }
    let text =
        |t: &str| t.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>();
    assert_eq!(text(&sh("ipvsadm -Ln --thresholds")), text(&thresholds));
}

fn conflict_gone_and_no_change(runtime: &tokio::runtime::Runtime) {
    restore(RICH);
    let (mut table, telemetry) = kernel();
    runtime.block_on(table.snapshot()).unwrap();
    sh("ipvsadm -e -t 10.0.0.100:80 -r 10.0.0.11:80 -g -w 9");
    sh("ipvsadm -d -t 10.0.0.100:80 -r 10.0.0.12:80");
    sh("ipvsadm -D -u 10.0.0.100:53");
    sh("ipvsadm -D -f 7 -6; ipvsadm -A -f 7 -6 -s rr");
    let before = saved();
    let changes = [
        change("10.0.0.100:80/tcp", "10.0.0.11:80", 1, 0),
        change("10.0.0.100:80/tcp", "10.0.0.12:80", 65535, 0),
        change("10.0.0.100:53/udp", "10.0.0.11:53", 1, 0),
        change("fwmark:7/ipv6", "[fd00::11]:0", 1, 0),
        change("fwmark:7/ipv4", "10.0.0.11:0", 1, 1),
        change("10.0.0.100:80/tcp", "10.0.0.13:8080", 5, 1 << 31),
        change("10.0.0.100:80/tcp", "10.0.0.19:80", 1, 0),
    ];
    let report = runtime.block_on(table.set_weights(&changes));
    let outcomes: Vec<_> = report.results.iter().map(|(_, outcome)| outcome.clone()).collect();
    assert_eq!(
        outcomes[..5],
        [
            WriteOutcome::Conflict(Weight(9)),
            WriteOutcome::Gone,
            WriteOutcome::Gone,
            WriteOutcome::Gone,
            WriteOutcome::Written
        ]
    );
    assert!(matches!(&outcomes[5], WriteOutcome::Failed(why) if why.contains("2147483647")), "{outcomes:?}");
    assert_eq!(outcomes[6], WriteOutcome::Conflict(Weight(0)));
    assert_eq!(saved(), before, "nothing was written, and nothing came back");
    assert_eq!(telemetry.lock().requests.get("set_dest"), None);
    let after = runtime.block_on(table.snapshot()).unwrap();
    assert_eq!(rows(&after), from_save(&before), "confirmed absences are gone");
}

/// More than one batch in one service, with every acknowledgement.
fn whole_services_in_batches(runtime: &tokio::runtime::Runtime) {
    let mut save = String::from("-A -t 10.0.0.100:80 -s wrr\n");
    for n in 0..250 {
        save += &format!("-a -t 10.0.0.100:80 -r 10.1.{}.{}:80 -g -w 5\n", n / 200, n % 200 + 1);
    }
    restore(&save);
    let (mut table, telemetry) = kernel();
    let before = runtime.block_on(table.snapshot()).unwrap();
    let changes: Vec<WeightChange> =
        all_dests(&before).map(|c| WeightChange { to: Weight(0), ..c }).collect();
    assert_eq!(changes.len(), 250);
    let report = runtime.block_on(table.set_weights(&changes));
    assert!(report.results.iter().all(|(_, outcome)| *outcome == WriteOutcome::Written), "{report:?}");
    let telemetry = telemetry.lock();
    assert_eq!(telemetry.requests["set_dest"], 250);
    assert_eq!(telemetry.requests["get_dest"], 3, "one read, one before the write, one after it");
    assert_eq!(telemetry.durations["set_dest"].count, 250);
    assert_eq!(saved().matches("-w 0").count(), 250);
}

fn module_away_and_back(runtime: &tokio::runtime::Runtime) {
    restore(RICH);
    let (mut table, _) = kernel();
    runtime.block_on(table.snapshot()).unwrap();
    for round in 0..3 {
        sh(UNLOAD);
        assert_eq!(runtime.block_on(table.snapshot()), Err(ReadFailure::NoIpvs));
        let write = change("10.0.0.100:80/tcp", "10.0.0.11:80", 1, 0);
        let report = runtime.block_on(table.set_weights(&[write]));
        assert!(matches!(report.results[0].1, WriteOutcome::Failed(_)), "{report:?}");
        let (mut fresh, _) = kernel();
        assert_eq!(runtime.block_on(fresh.snapshot()), Err(ReadFailure::NoIpvs));
        assert!(!std::path::Path::new("/proc/net/ip_vs").exists(), "asking must not load the module");

        sh(&format!("modprobe -a {MODULES}"));
        restore(RICH);
        if round == 1 {
            // The first call after a reload is a write.
            let report = runtime.block_on(table.set_weights(&[write]));
            assert_eq!(report.results[0].1, WriteOutcome::Written);
        }
        let read = runtime.block_on(table.snapshot()).unwrap();
        assert_eq!(rows(&read), from_save(&saved()));

        // Away and back between two calls: another family id, no error to be seen.
        sh(&format!("{UNLOAD}; modprobe -a {MODULES}"));
        restore(RICH);
        let read = runtime.block_on(table.snapshot()).unwrap();
        assert_eq!(rows(&read), from_save(&saved()));
    }
}

fn without_privilege(_: &tokio::runtime::Runtime) {
    restore(RICH);
    let me = std::env::current_exe().unwrap();
    let out = sh(&format!("setpriv --reuid 65534 --regid 65534 --clear-groups {} as-nobody", me.display()));
    assert!(out.contains("as nobody: ok"), "{out}");
}

/// The other half of `without_privilege`.
fn as_nobody(runtime: &tokio::runtime::Runtime) {
    let (mut table, _) = kernel();
    assert_eq!(runtime.block_on(table.snapshot()), Err(ReadFailure::NoPermission));
    let write = change("10.0.0.100:80/tcp", "10.0.0.11:80", 1, 0);
    let report = runtime.block_on(table.set_weights(&[write]));
    assert!(matches!(&report.results[0].1, WriteOutcome::Failed(why) if why.contains("EPERM")), "{report:?}");

    let mut proc = Table::proc_only(Clock::start());
    let read = runtime.block_on(proc.snapshot()).unwrap();
    assert_eq!(read.source, TableSource::Proc);
    assert_eq!(read.services.len(), 10);
    let dest = &read.service(&"10.0.0.100:80/tcp".parse().unwrap()).unwrap().destinations[1];
    assert_eq!((dest.key.to_string().as_str(), dest.weight.0), ("10.0.0.11:80", 1));
    let report = runtime.block_on(proc.set_weights(&[write]));
    assert!(matches!(&report.results[0].1, WriteOutcome::Failed(why) if why.contains("CAP_NET_ADMIN")));
    let _ = writeln!(std::io::stdout(), "as nobody: ok");
}

fn totals_without_the_estimator(runtime: &tokio::runtime::Runtime) {
    // Connections from this machine to itself, through a masquerading service on loopback.
    sh("ip addr replace 10.9.0.100/32 dev lo; ipvsadm -A -t 10.9.0.100:80 -s rr; \
        ipvsadm -a -t 10.9.0.100:80 -r 127.0.0.1:9 -m; sysctl -qw net.ipv4.vs.run_estimation=0");
    let (mut table, _) = kernel();
    let before = runtime.block_on(table.snapshot()).unwrap().totals.unwrap();
    for _ in 0..3 {
        let refused =
            std::net::TcpStream::connect_timeout(&"10.9.0.100:80".parse().unwrap(), Duration::from_secs(1));
        assert!(refused.is_err());
    }
    let after = runtime.block_on(table.snapshot()).unwrap();
    sh("sysctl -qw net.ipv4.vs.run_estimation=1; ip addr del 10.9.0.100/32 dev lo");
    assert_eq!(after.totals.unwrap().connections - before.connections, 3, "the per-CPU counters go on");
    assert!(after.sysctls.contains(&("run_estimation", 0)));
}

fn namespaces_are_told_apart(_: &tokio::runtime::Runtime) {
    let (table, _) = kernel();
    let inode = sh("stat -Lc %i /proc/self/ns/net");
    assert_eq!(table.identity().unwrap(), format!("netns:{}", inode.trim()));
}

/// Others add and delete services and destinations, here and in another network namespace, while the
/// table is read over and over: what is never touched is in every snapshot.
fn no_false_absence_while_others_edit(runtime: &tokio::runtime::Runtime) {
    let mut save = String::new();
    for n in 1..=200 {
        save += &format!("-A -t 10.2.0.{n}:80 -s rr\n");
        for d in 1..=3 {
            save += &format!("-a -t 10.2.0.{n}:80 -r 10.3.{d}.{n}:80 -g -w 1\n");
        }
    }
    restore(&save);
    let mut many = String::from("-A -t 10.4.0.1:80 -s rr\n");
    for n in 0..600 {
        many += &format!("-a -t 10.4.0.1:80 -r 10.5.{}.{}:80 -g -w 1\n", n / 200, n % 200 + 1);
    }
    restore(&many);
    let passing: String = (1..=150).map(|n| format!("-A -t 10.6.0.{n}:80 -s rr\n")).collect();
    let away: String = (1..=150).map(|n| format!("-D -t 10.6.0.{n}:80\n")).collect();
    let dests: String = (1..=150).map(|n| format!("-a -t 10.4.0.1:80 -r 10.7.0.{n}:80 -g\n")).collect();
    let undests: String = (1..=150).map(|n| format!("-d -t 10.4.0.1:80 -r 10.7.0.{n}:80\n")).collect();
    for (name, text) in [("add", format!("{passing}{dests}")), ("del", format!("{away}{undests}"))] {
        std::fs::write(format!("/run/{name}.save"), text).unwrap();
    }
    sh("ip netns del other 2>/dev/null; ip netns add other; ip -n other link set lo up");
    let hammer = "while [ -e /run/hammer ]; do ipvsadm -R </run/add.save 2>/dev/null; ipvsadm -R </run/del.save 2>/dev/null; done";
    std::fs::write("/run/hammer", "").unwrap();
    let mut children = [
        Command::new("bash").args(["-c", hammer]).spawn().unwrap(),
        Command::new("bash").args(["-c", &format!("{{ echo -A -t 10.4.0.1:80; }} | ip netns exec other ipvsadm -R; ip netns exec other bash -c '{hammer}'")]).spawn().unwrap(),
    ];
    let (mut table, telemetry) = kernel();
    let first = runtime.block_on(table.snapshot()).unwrap();
    let (mut seen_passing, mut snapshots) = (0, 0);
    while snapshots < 60 {
        let read = runtime.block_on(table.snapshot()).unwrap();
        snapshots += 1;
        for service in from_save(&save) {
            let row = read.service(&service.key).unwrap_or_else(|| panic!("{} is missing", service.key));
            assert_eq!(row.destinations.len(), 3, "{}", service.key);
        }
        let many = read.service(&"10.4.0.1:80/tcp".parse().unwrap()).unwrap();
        let steady = many.destinations.iter().filter(|d| d.key.to_string().starts_with("10.5.")).count();
        assert_eq!(steady, 600);
        seen_passing += read.services.iter().filter(|s| s.key.to_string().starts_with("10.6.")).count();
    }
    std::fs::remove_file("/run/hammer").unwrap();
    children.iter_mut().for_each(|child| assert!(child.wait().unwrap().success()));
    assert!(seen_passing > 0, "the other writer was at work");
    let telemetry = telemetry.lock();
    let line = format!(
        "  {snapshots} snapshots, {} services at first, {seen_passing} passing rows; inconsistent dumps {}, repeated {}",
        first.services.len(),
        telemetry.dumps_interrupted,
        telemetry.dumps_retried
    );
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// 1,000 services x 10 destinations: the calls are counted, the times printed.
fn measure(runtime: &tokio::runtime::Runtime) {
    let mut save = String::new();
    for n in 0..1000 {
        let vip = format!("10.{}.{}.1:80", 16 + n / 250, n % 250);
        save += &format!("-A -t {vip} -s wrr\n");
        for d in 1..=10 {
            save += &format!("-a -t {vip} -r 10.200.{d}.{}:80 -g -w 5\n", n % 250 + 1);
        }
    }
    restore(&save);
    let (mut table, telemetry) = kernel();
    let mut line = String::from("  1,000 x 10: read");
    let mut last = None;
    for _ in 0..4 {
        let read = runtime.block_on(table.snapshot()).unwrap();
        line += &format!(" {:.0} ms", read.duration.as_secs_f64() * 1e3);
        last = Some(read);
    }
    let read = last.unwrap();
    assert_eq!(telemetry.lock().requests["get_dest"], 4000);
    assert_eq!(telemetry.lock().requests["get_service"], 5, "and one more at the first read");
    let changes: Vec<WeightChange> = all_dests(&read).map(|c| WeightChange { to: Weight(0), ..c }).collect();
    let clock = Clock::start();
    let report = runtime.block_on(table.set_weights(&changes));
    line += &format!("; 10,000 weights {:.0} ms", clock.mono().since_start().as_secs_f64() * 1e3);
    assert!(report.results.iter().all(|(_, outcome)| *outcome == WriteOutcome::Written));
    assert_eq!((report.results.len(), report.services.len()), (10_000, 1_000));
    assert_eq!(telemetry.lock().requests["get_dest"], 6000, "one read and one read-back a service");
    assert_eq!(telemetry.lock().requests["set_dest"], 10_000);
    assert_eq!(telemetry.lock().requests["get_service"], 5);
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn kernel() -> (Table, SharedTelemetry) {
    let telemetry = SharedTelemetry::default();
    (Table::kernel(Clock::start(), telemetry.clone()), telemetry)
}

fn change(service: &str, dest: &str, from: u32, to: u32) -> WeightChange {
    WeightChange {
        service: service.parse().unwrap(),
        dest: dest.parse().unwrap(),
        from: Weight(from),
        to: Weight(to),
    }
}

/// A change to the weight that it has, of every destination.
fn all_dests(snapshot: &Snapshot) -> impl Iterator<Item = WeightChange> {
    snapshot.services.iter().flat_map(|s| {
        s.destinations.iter().map(|d| WeightChange {
            service: s.key,
            dest: d.key,
            from: d.weight,
            to: d.weight,
        })
    })
}

/// What `ipvsadm -Sn` says, as rows: the oracle that is not ours.
fn from_save(text: &str) -> Vec<VirtualServer> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut table = Table::memory(text, Clock::start()).unwrap();
    rows(&runtime.block_on(table.snapshot()).unwrap())
}

/// As `ipvsadm -Sn` has them: that sorts, so it tells no row's place in the dump.
fn rows(snapshot: &Snapshot) -> Vec<VirtualServer> {
    let mut rows: Vec<VirtualServer> = snapshot.services.iter().map(|s| (**s).clone()).collect();
    for dest in rows.iter_mut().flat_map(|s| &mut s.destinations) {
        dest.place = None;
    }
    rows
}

fn saved() -> String {
    sh("ipvsadm -Sn")
}

fn restore(save: &str) {
    let mut child = Command::new("ipvsadm").arg("-R").stdin(Stdio::piped()).spawn().unwrap();
    let lines: String = save.lines().filter(|l| !l.starts_with('#')).map(|l| format!("{l}\n")).collect();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "ipvsadm -R");
}

fn sh(command: &str) -> String {
    let out = Command::new("bash").args(["-c", command]).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{command}: {errors}");
    text
}
