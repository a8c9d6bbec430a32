//! A small world to run the controller in: a table, servers that pass or fail, a disk, one clock.
//! Commands are carried out at once; what can go wrong is switched on by the tests.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::controller::{Controller, Start};
pub use super::event::kind;
use super::event::{Command, Event, Note, WireId};
use super::ledger::{Ledger, Origin};
use super::service::tests::{dest, report, tcp_spec};
use crate::model::{
    Check, DestKey, FailReason, Floor, Forwarding, HandDone, HandRefused, Match, Mode, Mono, Net, Now,
    Outcome, Policy, ProbeReport, ReadFailure, RealServerView, ServiceFlags, ServiceKey, ServicePolicy,
    Share, Snapshot, SourcePorts, TableSource, View, VirtualServer, Wall, Weight, WeightChange, WriteOutcome,
    WriteReport,
};

/// In these worlds all of a few servers fail, and it is the servers.
pub const NEVER_SUSPECT: u8 = u8::MAX;

pub const VIP: &str = "10.0.0.100:80/tcp";

pub struct World {
    pub controller: Controller,
    pub now: Now,
    pub table: BTreeMap<ServiceKey, VirtualServer>,
    /// Real servers that fail their probes, with the reason; what they want of their weights.
    pub failing: BTreeMap<std::net::IpAddr, Outcome>,
    pub shares: BTreeMap<std::net::IpAddr, Share>,
    pub disk: Option<Ledger>,
    pub save_error: Option<String>,
    /// Why the state directory cannot be opened.
    pub open_error: Option<String>,
    pub read_error: Option<ReadFailure>,
    /// What writes come to instead of being made, by real server.
    pub write_outcomes: BTreeMap<DestKey, WriteOutcome>,
    /// Somebody's edits that come right before our next write: real server, weight.
    pub edits_before_write: Vec<(u8, u32)>,
    /// Commands of these kinds wait until they are released.
    pub slow: BTreeSet<&'static str>,
    waiting: Vec<Command>,
    /// Whether a write of unknown result lands, and whether its service is read back.
    pub unknown_lands: bool,
    pub unknown_read_back: bool,
    /// Dies right before the next command of this kind is carried out.
    pub die_before: Option<&'static str>,
    pub dead: bool,
    /// Every change that reached the table.
    pub written: Vec<(u8, u32, u32)>,
    pub saves: usize,
    pub reads: usize,
    pub probed: BTreeMap<std::net::IpAddr, usize>,
    pub notes: Vec<Note>,
    /// What the shell holds.
    pub wires: BTreeSet<WireId>,
    /// Of requests by hand.
    pub answers: Vec<Result<Vec<HandDone>, HandRefused>>,
    pub policy: Policy,
    view: Option<Arc<View>>,
}

pub fn key(n: u8) -> DestKey {
    DestKey { addr: [10, 0, 1, n].into(), port: 80 }
}

pub fn service() -> ServiceKey {
    VIP.parse().unwrap()
}

pub fn refused() -> Outcome {
    Outcome::Fail(FailReason::ConnectRefused)
}

/// One service with a tcp check (interval 1 s, fast 100 ms, rise 2, fall 3).
pub fn policy(floor: Floor, mode: Mode) -> Policy {
    let vip = Net::host([10, 0, 0, 100].into());
    Policy {
        mode: Some(mode),
        services: vec![ServicePolicy {
            matches: vec![Match::Address {
                net: Some(vip),
                port: Some(80),
                protocol: crate::model::Protocol::Tcp,
            }],
            name: Some("shop".into()),
            checks: vec![Arc::new(Check { name: "web".into(), spec: Arc::new(tcp_spec()) })],
            floor,
            quorum: 1,
            capacity_low: 0.5,
            mode,
            on_failure: None,
            slow_start: Duration::ZERO,
            hold_down: Duration::ZERO,
        }],
        suspect_self_percent: NEVER_SUSPECT,
        ..Policy::exporter_only()
    }
}

pub fn virtual_server(key: ServiceKey, weights: &[u32]) -> VirtualServer {
    let row = |(n, weight): (usize, &u32)| dest(&format!("10.0.1.{}:80", n + 1), *weight, Forwarding::Route);
    VirtualServer {
        key,
        scheduler: "wrr".into(),
        flags: ServiceFlags(2),
        persistence_timeout: 0,
        netmask_prefix: 32,
        persistence_engine: None,
        counters: None,
        destinations: weights.iter().enumerate().map(row).collect(),
    }
}

fn origin() -> Origin {
    Origin { boot_id: "boot-1".into(), table: "netns:1".into() }
}

impl World {
    pub fn new(policy: Policy, weights: &[u32]) -> World {
        let now = Now { mono: Mono::ZERO, wall: Wall(1_000_000.0) };
        let table = BTreeMap::from([(service(), virtual_server(service(), weights))]);
        World {
            controller: start(&policy, Ok(None), now),
            now,
            table,
            failing: BTreeMap::new(),
            shares: BTreeMap::new(),
            disk: None,
            save_error: None,
            open_error: None,
            read_error: None,
            write_outcomes: BTreeMap::new(),
            edits_before_write: Vec::new(),
            slow: BTreeSet::new(),
            waiting: Vec::new(),
            unknown_lands: true,
            unknown_read_back: false,
            die_before: None,
            dead: false,
            written: Vec::new(),
            saves: 0,
            reads: 0,
            probed: BTreeMap::new(),
            notes: Vec::new(),
            wires: BTreeSet::new(),
            answers: Vec::new(),
            policy,
            view: None,
        }
    }

    /// One service, floor 1, enforcing.
    pub fn shop(weights: &[u32]) -> World {
        World::new(policy(Floor::DEFAULT, Mode::Enforce), weights)
    }

    /// A new process: nothing but the disk and the table is left of the old one.
    pub fn restart(&mut self) {
        let earlier = Ok(self.disk.clone());
        self.restart_with(earlier);
    }

    /// A new process that cannot use the state directory yet.
    pub fn restart_without_disk(&mut self, error: &str) {
        self.restart_with(Err(error.into()));
        self.controller.keeper.open_later(self.now.mono);
    }

    pub fn restart_with(&mut self, earlier: Result<Option<Ledger>, String>) {
        self.dead = false;
        self.die_before = None;
        self.controller = start(&self.policy, earlier, self.now);
    }

    pub fn fail(&mut self, n: u8) {
        self.failing.insert(key(n).addr, refused());
    }

    pub fn heal(&mut self, n: u8) {
        self.failing.remove(&key(n).addr);
    }

    /// An operator's `ipvsadm -e -w`.
    pub fn edit(&mut self, n: u8, weight: u32) {
        let vs = self.table.get_mut(&service()).unwrap();
        vs.destinations.iter_mut().find(|d| d.key == key(n)).unwrap().weight = Weight(weight);
    }

    pub fn weights(&self) -> Vec<u32> {
        self.table[&service()].destinations.iter().map(|d| d.weight.0).collect()
    }

    /// Until all is settled: many intervals and polls.
    pub fn settle(&mut self) {
        self.run(Duration::from_secs(10));
    }

    pub fn run(&mut self, time: Duration) {
        let end = self.now.mono + time;
        self.send(Event::Tick);
        while !self.dead
            && let Some(wake) = self.controller.next_wake()
            && wake <= end
        {
            self.advance_to(wake.max(self.now.mono));
            self.send(Event::Tick);
        }
        self.advance_to(end);
    }

    pub fn view(&mut self) -> Arc<View> {
        self.view = None;
        self.send(Event::ViewWanted { max_age: Duration::ZERO });
        self.view.clone().expect("a view")
    }

    pub fn server(&mut self, n: u8) -> RealServerView {
        let view = self.view();
        let managed = view.services[0].managed.as_ref().expect("managed");
        managed.real_servers.iter().find(|s| s.key == key(n)).expect("the real server").clone()
    }

    pub fn send(&mut self, event: Event) {
        // In the order of the work: a read that came before a write is heard of before it.
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for command in self.controller.step(event, self.now) {
                if self.dead {
                    return;
                }
                events.extend(self.execute(command));
            }
        }
    }

    pub fn advance_to(&mut self, to: Mono) {
        self.now.wall.0 += to.since(self.now.mono).as_secs_f64();
        self.now.mono = to;
    }

    /// Carries out what has waited of this kind; what comes next is no longer slow.
    pub fn release(&mut self, slow: &'static str) {
        self.slow.remove(slow);
        self.release_waiting(slow);
    }

    /// Carries out what has waited of this kind; what comes next waits again.
    pub fn release_waiting(&mut self, slow: &'static str) {
        let (released, waiting) =
            std::mem::take(&mut self.waiting).into_iter().partition(|c| kind(c) == slow);
        self.waiting = waiting;
        for command in released {
            if let Some(event) = self.carry_out(command) {
                self.send(event);
            }
        }
    }

    fn execute(&mut self, command: Command) -> Option<Event> {
        let kind = kind(&command);
        if self.die_before == Some(kind) {
            self.dead = true;
            return None;
        }
        if self.slow.contains(kind) {
            self.waiting.push(command);
            return None;
        }
        self.carry_out(command)
    }

    pub fn carry_out(&mut self, command: Command) -> Option<Event> {
        match command {
            Command::ReadTable => {
                self.reads += 1;
                Some(Event::TableRead(self.read_error.clone().map_or_else(|| Ok(self.snapshot()), Err)))
            }
            Command::Probe { id, target } => {
                *self.probed.entry(target.addr.addr).or_default() += 1;
                let outcome = self.failing.get(&target.addr.addr).copied().unwrap_or(Outcome::Pass);
                let share = self.shares.get(&target.addr.addr).copied();
                let report = ProbeReport { share, ..report(outcome, self.now.mono) };
                Some(Event::ProbeEnded { id, report })
            }
            Command::ArmWire { wire, .. } => {
                self.wires.insert(wire);
                Some(Event::WireArmed(wire))
            }
            Command::DropWire(wire) => {
                self.wires.remove(&wire);
                None
            }
            Command::SaveLedger { generation, ledger } => {
                let result = self.save_error.clone().map_or(Ok(()), Err);
                if result.is_ok() {
                    self.saves += 1;
                    self.disk = Some(ledger.as_ref().clone());
                }
                Some(Event::LedgerSaved { generation, result })
            }
            Command::OpenLedger => {
                let result = self.open_error.clone().map_or_else(|| Ok(self.disk.clone()), Err);
                Some(Event::LedgerOpened { result, again: self.open_error.is_some() })
            }
            Command::SetWeights(changes) => Some(Event::WeightsSet(self.set(&changes))),
            Command::Publish(view) => {
                self.view = Some(view);
                None
            }
            Command::AnswerHand { result, .. } => {
                self.answers.push(result);
                None
            }
            Command::Log(note) => {
                self.notes.push(note);
                None
            }
        }
    }

    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            taken: self.now,
            duration: Duration::ZERO,
            source: TableSource::Memory,
            info: None,
            timeouts: None,
            daemons: vec![],
            totals: None,
            sysctls: vec![],
            services: self.table.values().cloned().map(Arc::new).collect(),
        }
    }

    fn set(&mut self, changes: &[WeightChange]) -> WriteReport {
        for (n, weight) in std::mem::take(&mut self.edits_before_write) {
            self.edit(n, weight);
        }
        let mut written = WriteReport::default();
        let mut touched = BTreeSet::new();
        for change in changes {
            let outcome = self.set_one(change);
            touched.insert(change.service);
            written.results.push((*change, outcome));
        }
        for (change, outcome) in &written.results {
            if matches!(outcome, WriteOutcome::Unknown(_)) && !self.unknown_read_back {
                touched.remove(&change.service);
            }
        }
        written.services = touched.iter().filter_map(|key| self.table.get(key)).cloned().collect();
        written
    }

    fn set_one(&mut self, change: &WeightChange) -> WriteOutcome {
        let vs = self.table.get_mut(&change.service);
        let Some(row) = vs.and_then(|vs| vs.destinations.iter_mut().find(|d| d.key == change.dest)) else {
            return WriteOutcome::Gone;
        };
        if row.weight != change.from {
            return WriteOutcome::Conflict(row.weight);
        }
        let outcome = self.write_outcomes.get(&change.dest).cloned().unwrap_or(WriteOutcome::Written);
        match outcome {
            WriteOutcome::Unknown(_) if !self.unknown_lands => {}
            WriteOutcome::Written | WriteOutcome::Unknown(_) => {
                // The ledger comes before the kernel, always (invariant 3): but for what is owed.
                let on_disk = self.disk.as_ref().and_then(|l| l.entries.get(&(change.service, change.dest)));
                assert!(on_disk.is_some() || !change.to.is_zero(), "a weight was taken before its record");
                if let Some(entry) = on_disk.filter(|entry| entry.owed != change.to) {
                    let recorded = (entry.from, entry.written);
                    assert_eq!(recorded, (change.from, change.to), "written before its record");
                }
                row.weight = change.to;
                let std::net::IpAddr::V4(addr) = change.dest.addr else { panic!("v4 only") };
                self.written.push((addr.octets()[3], change.from.0, change.to.0));
            }
            WriteOutcome::ReadBack(weight) => row.weight = weight,
            WriteOutcome::Conflict(_) | WriteOutcome::Gone | WriteOutcome::Failed(_) => {}
        }
        outcome
    }
}

fn start(policy: &Policy, ledger: Result<Option<Ledger>, String>, now: Now) -> Controller {
    let start = Start {
        policy: Arc::new(policy.clone()),
        config_hash: 1,
        ledger,
        ledger_opens_later: false,
        origin: origin(),
        seed: 1,
        probe_limit: crate::model::ProbeLimit::at(100),
        wires_limit: 100,
        source_ports: SourcePorts::USUAL,
    };
    Controller::new(start, now)
}
