//! A process without privileges and without file descriptors: what it cannot try is inconclusive.
//! Alone in its binary and in one test, for both belong to the whole process.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use lvs_agent::model::{
    CheckKind, CheckSpec, Close, LocalReason, Outcome, Pace, ProbeReport, ScopedAddr, Target,
};
use lvs_agent::os::Clock;
use lvs_agent::probe::Prober;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Uid, setuid};

fn target(addr: SocketAddr, mark: Option<u32>) -> Target {
    let second = Duration::from_secs(60);
    let pace =
        Pace { interval: second, timeout: second, fast_interval: second, rise: 1, fall: 1, tripwire: false };
    let (kind, close) = (CheckKind::Tcp, Close::Rst);
    let spec =
        CheckSpec { kind, port: None, address: None, source: None, mark, proxy_protocol: None, close, pace };
    Target { spec: Arc::new(spec), addr: ScopedAddr { addr: addr.ip(), zone: None }, port: addr.port() }
}

#[test]
fn no_privileges_and_no_descriptors_are_ours() {
    let nobody = Uid::from_raw(65_534);
    if Uid::effective().is_root() {
        // Takes every capability with it.
        setuid(nobody).unwrap();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let prober = Prober::new(Clock::start());
    let probe = |target: &Target| -> ProbeReport { runtime.block_on(prober.run(target)) };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    assert_eq!(probe(&target(addr, None)).outcome, Outcome::Pass);

    let report = probe(&target(addr, Some(7)));
    assert_eq!(report.outcome, Outcome::Inconclusive(LocalReason::LocalError));
    assert_eq!(report.detail, "mark 7 (SO_MARK needs CAP_NET_ADMIN): Operation not permitted");

    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 64, hard).unwrap();
    let mut taken = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        taken.push(file);
    }
    let report = probe(&target(addr, None));
    assert_eq!(report.outcome, Outcome::Inconclusive(LocalReason::FdLimit));
    assert!(report.detail.starts_with("socket: "), "{report:?}");

    // With descriptors to spare it goes on as before.
    drop(taken);
    assert_eq!(probe(&target(addr, None)).outcome, Outcome::Pass);
}
