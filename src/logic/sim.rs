//! Random schedules: every command takes its time, anything may fail, and operators, reloads and
//! deaths of the process come in between. After each act the invariants of ARCHITECTURE.md are checked.
//!
//! `LVS_AGENT_SIM_SCHEDULES=N` sets how many, `LVS_AGENT_SIM_SEED=S` runs one alone.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use super::controller::POLLS_FRESH;
use super::event::{Command, Event, Note, TargetId};
use super::ledger::EntryState;
use super::probes::User;
use super::service::tests::{dest, report, tcp_spec};
use super::world::{World, key, kind, policy, refused, virtual_server};
use crate::model::{
    Check, CheckSpec, Floor, Forwarding, LocalReason, Match, Mode, Mono, Net, Outcome, Policy, Protocol,
    ReadFailure, ServiceKey, ServicePolicy, View, Weight, WeightChange, WriteOutcome,
};

const MS: Duration = Duration::from_millis(1);
const SERVERS: u8 = 4;
const RISE: u32 = 2;
const FALL: u32 = 3;

/// splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

/// A command is carried out at one moment and heard of at a later one.
enum Job {
    Do(Command),
    Tell(Event),
}

/// What is true of a real server, whatever the agent believes.
#[derive(Debug, Default)]
struct Truth {
    /// The last weight that somebody else gave it.
    given: u32,
    zero_by_operator: bool,
    /// Raised over our drain, and how often we drained it again since the last change of its verdict.
    raised: bool,
    drained_again: u32,
}

struct Sim {
    random: Random,
    world: World,
    jobs: BTreeMap<(Mono, u64), Job>,
    jobs_made: u64,
    /// The table's task does one thing after the other.
    table_free: Mono,
    truth: BTreeMap<User, Truth>,
    sick: BTreeMap<(u8, u16), Outcome>,
    /// Chances in percent.
    bad_writes: u64,
    bad_reads: u64,
    bad_saves: u64,
    /// Passes and failures in a row, and whether they came to down.
    runs: BTreeMap<(u8, u16), (u32, u32, bool)>,
    /// When others last changed a service, and when the rows that the agent knows were read.
    disturbed: BTreeMap<ServiceKey, Mono>,
    known: BTreeMap<ServiceKey, Mono>,
    whole_read: Option<Mono>,
    /// What the write under way was decided on.
    basis: (BTreeMap<ServiceKey, Mono>, Arc<Policy>),
    writes: u64,
    commands: DefaultHasher,
}

fn vip(n: u8) -> ServiceKey {
    format!("10.0.0.{n}:80/tcp").parse().unwrap()
}

fn octet(addr: std::net::IpAddr) -> u8 {
    addr.to_string().rsplit('.').next().unwrap().parse().unwrap()
}

fn service_policy(n: u8, floor: Floor, mode: Mode, checks: &[u16], interval: u64) -> ServicePolicy {
    let mut service = policy(floor, mode).services.remove(0);
    let net = Some(Net::host([10, 0, 0, n].into()));
    service.matches = vec![Match::Address { net, port: Some(80), protocol: Protocol::Tcp }];
    let check = |port: &u16| {
        let mut spec = CheckSpec { port: Some(*port), ..tcp_spec() };
        spec.pace.interval = interval as u32 * MS;
        Arc::new(Check { name: format!("port-{port}"), spec: Arc::new(spec) })
    };
    service.checks = checks.iter().map(check).collect();
    service
}

fn healthy_policy() -> Policy {
    let services = [1, 2].map(|n| service_policy(n, Floor::DEFAULT, Mode::Enforce, &[80], 1000));
    Policy { services: services.into(), ..policy(Floor::DEFAULT, Mode::Enforce) }
}

impl Sim {
    fn new(seed: u64) -> Sim {
        let mut random = Random(seed);
        let mut world = World::new(healthy_policy(), &[]);
        world.table.clear();
        let mut truth = BTreeMap::new();
        for n in [1, 2] {
            let weights: Vec<u32> = (0..SERVERS).map(|_| random.pick(&[0, 1, 5, 5, 7, 65_535])).collect();
            world.table.insert(vip(n), virtual_server(vip(n), &weights));
            for (at, weight) in weights.iter().enumerate() {
                let fact = Truth { given: *weight, zero_by_operator: *weight == 0, ..Truth::default() };
                truth.insert((vip(n), key(at as u8 + 1)), fact);
            }
        }
        let basis = (BTreeMap::new(), world.controller.policy().clone());
        Sim {
            random,
            world,
            jobs: BTreeMap::new(),
            jobs_made: 0,
            table_free: Mono::ZERO,
            truth,
            sick: BTreeMap::new(),
            bad_writes: 0,
            bad_reads: 0,
            bad_saves: 0,
            runs: BTreeMap::new(),
            disturbed: BTreeMap::new(),
            known: BTreeMap::new(),
            whole_read: None,
            basis,
            writes: 0,
            commands: DefaultHasher::new(),
        }
    }

    /// Trouble; then what is broken stays so and nothing new comes; then all is well.
    fn schedule(&mut self) -> u64 {
        let trouble = 10_000 + self.random.below(30_000);
        self.run(trouble, true);
        self.calm();
        self.run(20_000, false);
        let writes = self.writes;
        self.run(10_000, false);
        assert_eq!(self.writes, writes, "invariant 6: it writes with nothing new to know");
        self.floors_hold_at_rest();
        self.sick.clear();
        self.world.policy = healthy_policy();
        self.reload();
        self.run(20_000, false);
        self.all_is_given_back();
        self.commands.finish()
    }

    fn run(&mut self, ms: u64, trouble: bool) {
        let end = self.world.now.mono + ms as u32 * MS;
        let mut act_at = self.world.now.mono;
        let mut ticks_at_once = 0;
        loop {
            let job = self.jobs.keys().next().map(|(due, _)| *due);
            let wake = self.world.controller.next_wake().filter(|_| !self.world.dead);
            let act = trouble.then_some(act_at);
            let next = [job, wake, act].into_iter().flatten().min().unwrap_or(end);
            if next >= end {
                return self.world.advance_to(end);
            }
            ticks_at_once = if next > self.world.now.mono { 0 } else { ticks_at_once + 1 };
            assert!(ticks_at_once < 500, "a loop without end");
            self.world.advance_to(next.max(self.world.now.mono));
            if act.is_some_and(|at| at <= next) {
                self.act();
                act_at = self.world.now.mono + (20 + self.random.below(1500)) as u32 * MS;
            } else if job.is_some_and(|due| due <= next) {
                match self.jobs.pop_first().unwrap().1 {
                    Job::Do(command) => self.carry_out(command),
                    Job::Tell(event) => self.tell(event),
                }
            } else {
                self.step(Event::Tick);
            }
        }
    }

    fn step(&mut self, event: Event) {
        if self.world.dead {
            return;
        }
        for command in self.world.controller.step(event, self.world.now) {
            format!("{command:?}").len().hash(&mut self.commands);
            match command {
                Command::Log(Note::VerdictChanged { service, dest, .. }) => {
                    if let Some(truth) = self.truth.get_mut(&(service, dest)) {
                        (truth.raised, truth.drained_again) = (false, 0);
                    }
                }
                Command::Log(_) => {}
                Command::Publish(view) => conserved(&view),
                Command::SetWeights(changes) => {
                    self.may_be_written(&changes);
                    self.basis = (self.known.clone(), self.world.controller.policy().clone());
                    self.start(Command::SetWeights(changes));
                }
                Command::ReadTable | Command::Probe { .. } | Command::SaveLedger { .. } => self.start(command),
            }
        }
    }

    fn start(&mut self, command: Command) {
        let what = kind(&command);
        let under_way = |job: &Job| matches!(job, Job::Do(command) if kind(command) == what);
        assert!(what == "probe" || !self.jobs.values().any(under_way), "two at once: {what}");
        let slow = if self.random.percent(5) { 3000 } else { 100 };
        let now = self.world.now.mono;
        let from = if what == "read" || what == "write" { self.table_free.max(now) } else { now };
        let due = from + self.random.below(if what == "probe" { 550 } else { slow }) as u32 * MS;
        if what == "read" || what == "write" {
            self.table_free = due;
        }
        self.push(due, Job::Do(command));
    }

    fn push(&mut self, due: Mono, job: Job) {
        self.jobs_made += 1;
        self.jobs.insert((due, self.jobs_made), job);
    }

    fn carry_out(&mut self, command: Command) {
        let world = &mut self.world;
        let random = &mut self.random;
        world.read_error = random.percent(self.bad_reads).then(|| ReadFailure::Failed("EIO".into()));
        world.save_error = random.percent(self.bad_saves).then(|| "no space".into());
        let event = match command {
            Command::SetWeights(changes) => self.write(changes),
            Command::Probe { id, target } => {
                let sick = self.sick.get(&(octet(target.addr.addr), target.port)).copied();
                let lost = random.percent(2).then_some(Outcome::Inconclusive(LocalReason::Late));
                let outcome = lost.or(sick).unwrap_or(Outcome::Pass);
                Some(Event::ProbeEnded { id, report: report(outcome, world.now.mono) })
            }
            other @ (Command::ReadTable | Command::SaveLedger { .. }) => world.carry_out(other),
            other @ (Command::Publish(_) | Command::Log(_)) => panic!("{other:?}"),
        };
        let mut heard = self.world.now.mono + self.random.below(30) as u32 * MS;
        if let Some(Event::TableRead(_) | Event::WeightsSet(_)) = &event {
            // Answers come in the order of the work.
            heard = heard.max(self.table_free);
            self.table_free = heard;
        }
        self.push(heard, Job::Tell(event.expect("an answer")));
    }

    fn write(&mut self, changes: Vec<WeightChange>) -> Option<Event> {
        self.world.write_outcomes.clear();
        for change in &changes {
            if self.random.percent(self.bad_writes) {
                let unknown = self.random.percent(60);
                let outcome = if unknown { WriteOutcome::Unknown } else { WriteOutcome::Failed };
                self.world.write_outcomes.insert(change.dest, outcome("EIO".into()));
            }
        }
        self.world.unknown_lands = self.random.percent(50);
        self.world.unknown_read_back = self.random.percent(50);
        let before = self.world.table.clone();
        let event = self.world.carry_out(Command::SetWeights(changes.clone()));
        for change in &changes {
            let weight = |table: &BTreeMap<ServiceKey, _>| weight_in(table, &(change.service, change.dest));
            let (was, is) = (weight(&before), weight(&self.world.table));
            if was != is {
                self.writes += 1;
                self.written(change, is.unwrap());
            }
        }
        event
    }

    fn written(&mut self, change: &WeightChange, weight: u32) {
        let user = (change.service, change.dest);
        let truth = self.truth.get_mut(&user).unwrap();
        if weight > 0 {
            assert!(!truth.zero_by_operator, "invariant 4: an operator's 0 is raised: {change:?}");
            assert_eq!(weight, truth.given, "it gives back what is not owed: {change:?}");
            return;
        }
        truth.drained_again += u32::from(std::mem::take(&mut truth.raised));
        assert!(truth.drained_again <= 1, "invariant 4: a second drain of what others raised: {change:?}");
        let (known, policy) = &self.basis;
        let known = known.get(&change.service).copied();
        if known > self.disturbed.get(&change.service).copied() {
            let floor = policy.services[policy.service_for(&change.service).unwrap()].floor;
            let (now_in, base) = self.in_and_base(&change.service);
            assert!(now_in >= floor.resolve(base), "invariant 1: {now_in} of {base} in: {change:?}");
        }
    }

    /// Invariants 2, 6 and 7, at the moment a write is decided.
    fn may_be_written(&self, changes: &[WeightChange]) {
        let policy = self.world.controller.policy();
        let fresh = self.whole_read.is_some_and(|read| {
            self.world.now.mono.since(read) <= policy.poll_interval * POLLS_FRESH
        });
        assert!(fresh, "invariant 6: a write without a fresh snapshot");
        for change in changes {
            let service = policy.service_for(&change.service).map(|at| &policy.services[at]);
            assert_eq!(service.map(|s| s.mode), Some(Mode::Enforce), "invariant 2: {change:?}");
            let n = octet(change.dest.addr);
            let down = self.runs.iter().any(|((server, _), (_, _, down))| *server == n && *down);
            assert!(!change.to.is_zero() || down, "invariant 7: drained without {FALL} failures: {change:?}");
        }
    }

    fn tell(&mut self, event: Event) {
        match &event {
            Event::ProbeEnded { id, report } => self.count(*id, report.outcome),
            Event::TableRead(Ok(snapshot)) => {
                self.whole_read = Some(self.world.now.mono);
                self.known = self.world.table.keys().map(|key| (*key, snapshot.taken.mono)).collect();
            }
            Event::WeightsSet(report) => {
                // Carried out before it is heard of: what came since is a disturbance of its own.
                for service in &report.services {
                    self.known.insert(service.key, self.world.now.mono - 31 * MS);
                }
            }
            _ => {}
        }
        self.step(event);
    }

    /// The verdicts again, by other code.
    fn count(&mut self, id: TargetId, outcome: Outcome) {
        let Some(state) = self.world.controller.probes.get(id) else { return };
        let run = self.runs.entry((octet(state.target.addr.addr), state.target.port)).or_default();
        match outcome {
            Outcome::Pass => *run = (run.0 + 1, 0, run.2 && run.0 + 1 < RISE),
            Outcome::Fail(_) => *run = (0, run.1 + 1, run.2 || run.1 + 1 >= FALL),
            Outcome::Inconclusive(_) => {}
        }
    }

    fn act(&mut self) {
        let server = self.random.below(u64::from(SERVERS)) as u8 + 1;
        let service = vip(self.random.pick(&[1, 2]));
        let user = (service, key(server));
        match self.random.below(22) {
            0..=4 => drop(self.sick.insert((server, self.random.pick(&[80, 80, 81])), refused())),
            5 => {
                let lost = Outcome::Inconclusive(LocalReason::NetworkDown);
                self.sick.insert((server, 80), lost);
            }
            6..=8 => self.sick.retain(|(n, _), _| *n != server),
            9..=10 => self.edit(user, 0),
            11..=13 => {
                let weight = self.random.pick(&[1, 5, 8, 65_535]);
                self.edit(user, weight);
            }
            14 => self.delete(user),
            15 => self.add(user),
            16..=17 => self.random_reload(),
            18 => self.die(),
            19 => self.bad_writes = self.random.pick(&[0, 0, 30, 100]),
            20 => self.bad_saves = self.random.pick(&[0, 0, 50, 100]),
            _ if self.random.percent(50) => self.bad_reads = self.random.pick(&[0, 0, 50, 100]),
            _ => self.step(Event::ViewWanted { max_age: Duration::from_secs(1) }),
        }
        if self.world.dead && self.random.percent(60) {
            self.restart();
        }
    }

    /// An operator's edit. His 0 where a record of ours stands looks like ours (no record tells the
    /// two apart), so he only sets one while a write on its way will notice.
    fn edit(&mut self, user: User, weight: u32) {
        let Some(was) = weight_in(&self.world.table, &user) else { return };
        if was == weight || (weight == 0 && self.recorded(&user)) {
            return;
        }
        let truth = self.truth.get_mut(&user).unwrap();
        truth.raised |= was == 0 && !truth.zero_by_operator;
        (truth.given, truth.zero_by_operator) = (weight, weight == 0);
        let vs = self.world.table.get_mut(&user.0).unwrap();
        vs.destinations.iter_mut().find(|d| d.key == user.1).unwrap().weight = Weight(weight);
        self.disturbed.insert(user.0, self.world.now.mono);
    }

    fn recorded(&self, user: &User) -> bool {
        let on_disk = self.world.disk.as_ref().is_some_and(|l| l.entries.contains_key(user));
        if self.world.dead {
            return on_disk;
        }
        let controller = &self.world.controller;
        let in_flight = controller.cycle.changes().is_some_and(|changes| changes.contains_key(user));
        match controller.keeper.get(user) {
            Some(entry) => !(in_flight && entry.state == EntryState::Pending),
            None => on_disk,
        }
    }

    fn delete(&mut self, user: User) {
        if let Some(vs) = self.world.table.get_mut(&user.0) {
            vs.destinations.retain(|d| d.key != user.1);
            if vs.destinations.is_empty() || self.random.percent(10) {
                self.world.table.remove(&user.0);
                self.truth.retain(|(service, _), _| *service != user.0);
            }
        }
        self.truth.remove(&user);
        self.disturbed.insert(user.0, self.world.now.mono);
    }

    /// Added again with 0 while our record stands, it could not be told from ours either (trap 6).
    fn add(&mut self, user: User) {
        if self.truth.contains_key(&user) {
            return;
        }
        let weight = if self.recorded(&user) { 5 } else { self.random.pick(&[0, 1, 5, 9]) };
        let vs = self.world.table.entry(user.0).or_insert_with(|| virtual_server(user.0, &[]));
        vs.destinations.push(dest(&user.1.to_string(), weight, Forwarding::Route));
        vs.destinations.sort_by_key(|d| d.key);
        let fact = Truth { given: weight, zero_by_operator: weight == 0, ..Truth::default() };
        self.truth.insert(user, fact);
        self.disturbed.insert(user.0, self.world.now.mono);
    }

    fn random_reload(&mut self) {
        let random = &mut self.random;
        let mut services = Vec::new();
        for n in [1, 2] {
            let floor = random.pick(&[Floor::Count(0), Floor::Count(1), Floor::Count(2), Floor::Percent(50)]);
            let mode = random.pick(&[Mode::Enforce, Mode::Enforce, Mode::Enforce, Mode::Observe]);
            let checks: &[u16] = random.pick(&[&[80], &[80], &[80, 81], &[81], &[]]);
            if random.percent(90) {
                services.push(service_policy(n, floor, mode, checks, random.pick(&[700, 1000])));
            }
        }
        self.world.policy.services = services;
        self.reload();
    }

    fn reload(&mut self) {
        for truth in self.truth.values_mut() {
            (truth.raised, truth.drained_again) = (false, 0);
        }
        if !self.world.dead {
            self.step(Event::PolicyLoaded { policy: Arc::new(self.world.policy.clone()), hash: 2 });
        }
    }

    fn die(&mut self) {
        if self.random.percent(30) {
            self.step(Event::Stopping);
        }
        self.world.dead = true;
        self.jobs.clear();
    }

    fn restart(&mut self) {
        self.table_free = self.world.now.mono;
        self.runs.clear();
        self.known.clear();
        self.whole_read = None;
        for (user, truth) in &mut self.truth {
            (truth.raised, truth.drained_again) = (false, 0);
            let entry = self.world.disk.as_ref().and_then(|l| l.entries.get(user));
            // Set to 0 just before our write, and we died before we could say that it was not ours.
            if let Some(entry) = entry.filter(|_| truth.zero_by_operator) {
                (truth.given, truth.zero_by_operator) = (entry.owed.0, false);
            }
        }
        self.world.restart();
        self.step(Event::Tick);
    }

    fn calm(&mut self) {
        (self.bad_reads, self.bad_saves, self.bad_writes) = (0, 0, 0);
        if self.world.dead {
            self.restart();
        }
    }

    /// Servers in, and those that the floor counts.
    fn in_and_base(&self, service: &ServiceKey) -> (usize, usize) {
        let rows = self.world.table.get(service).into_iter().flat_map(|vs| &vs.destinations);
        let now_in = rows.clone().filter(|row| !row.weight.is_zero()).count();
        let ours = rows.filter(|row| row.weight.is_zero() && !self.truth[&(*service, row.key)].zero_by_operator);
        (now_in, now_in + ours.count())
    }

    /// Invariant 1, as far as it is about what others did.
    fn floors_hold_at_rest(&self) {
        for service in self.world.table.keys() {
            let policy = self.world.controller.policy();
            let Some(policy) = policy.service_for(service).map(|at| &policy.services[at]) else { continue };
            let (now_in, base) = self.in_and_base(service);
            let holds = now_in >= policy.floor.resolve(base) || now_in == base;
            assert!(holds || policy.mode == Mode::Observe, "invariant 1 at rest: {now_in} of {base} in {service}");
        }
    }

    /// Invariants 3 and 5.
    fn all_is_given_back(&self) {
        for (user, truth) in &self.truth {
            let weight = weight_in(&self.world.table, user);
            assert_eq!(weight, Some(truth.given), "invariant 5: {} of {}: {truth:?}", user.1, user.0);
        }
        assert!(self.world.disk.as_ref().is_none_or(|l| l.entries.is_empty()), "invariant 5: {:?}", self.world.disk);
        assert!(self.world.controller.at_rest());
    }
}

fn weight_in(table: &BTreeMap<ServiceKey, crate::model::VirtualServer>, user: &User) -> Option<u32> {
    table.get(&user.0)?.destination(&user.1).map(|row| row.weight.0)
}

/// Each row of the snapshot is in the view, and has one state.
fn conserved(view: &View) {
    let rows = view.snapshot.iter().flat_map(|s| &s.services);
    for (service, shown) in rows.zip(&view.services) {
        let Some(managed) = &shown.managed else { continue };
        let states: usize = managed.states.values().sum();
        assert_eq!((service.key, service.destinations.len()), (shown.key, states));
        assert_eq!(managed.real_servers.len(), states);
    }
    assert_eq!(view.snapshot.as_ref().map_or(0, |s| s.services.len()), view.services.len());
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn the_invariants_hold_on_random_schedules() {
    if let Some(seed) = variable("LVS_AGENT_SIM_SEED") {
        Sim::new(seed).schedule();
        return;
    }
    for seed in 0..variable("LVS_AGENT_SIM_SCHEDULES").unwrap_or(1000) {
        let outcome = std::panic::catch_unwind(|| {
            let commands = Sim::new(seed).schedule();
            // Invariant 8.
            assert!(seed % 50 != 0 || Sim::new(seed).schedule() == commands, "not the same commands again");
        });
        assert!(outcome.is_ok(), "LVS_AGENT_SIM_SEED={seed} shows it");
    }
}
