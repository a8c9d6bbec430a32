//! Runs a script: every command takes its time, anything may fail, and after each of it the
//! invariants are checked.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::draw::Draws;
use super::happened::Happened;
use super::script::{Act, Fault, Kind, Moment, Script, What, When};
use super::setup::{healthy_policy, limit_changes, policy_of, table_of, truth_of};
use super::wires::Wires;
use crate::logic::event::{Command, Event, TargetId};
use crate::logic::probes::User;
use crate::logic::world::World;
use crate::model::{HandOrder, Mono, Outcome, Policy, ServiceKey};

pub const MS: Duration = Duration::from_millis(1);

/// After trouble: what is broken stays so, nothing new comes, and all settles.
const SETTLES: Duration = Duration::from_secs(10);
/// Then nothing more may be written.
const STAYS: Duration = Duration::from_secs(5);
/// What was broken is mended and what was configured away is back.
const MENDED: Duration = Duration::from_secs(6);
/// `rise` × interval, a cycle, a failed save's retry.
const ALL_BACK: Duration = Duration::from_secs(12);

/// A command is carried out at one moment and heard of at a later one.
pub enum Job {
    Do(Command),
    /// With the time at which it was carried out.
    Tell(Event, Mono),
}

/// What is true of a real server, whatever the agent believes.
#[derive(Debug, Default)]
pub struct Truth {
    /// The last weight that somebody else gave it.
    pub given: u32,
    pub zero_by_operator: bool,
    /// Raised over our drain, and how often we drained it again since the last change of its verdict.
    pub raised: bool,
    pub drained_again: u32,
    /// The last dump did not show it.
    pub missed: bool,
}

/// Passes and failures of one target in a row, and whether they came to down.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    /// What a target has in common with one that differs in its pace only.
    pub probed: (IpAddr, u16, Option<u16>),
    pub passes: u32,
    pub failures: u32,
    pub down: bool,
    /// It was probed itself, with a result.
    pub heard: bool,
    /// What it said at its last pass that it wants of its weight, in percent.
    pub share: Option<u8>,
}

/// One more thing to look at after each step: what is wrong, if anything.
pub type Watch = fn(&Sim) -> Option<String>;

pub struct Sim<'a> {
    pub script: &'a Script,
    pub world: World,
    pub draws: Draws,
    pub jobs: BTreeMap<(Mono, u64), Job>,
    pub jobs_made: u64,
    /// The table's task does one thing after the other.
    pub table_free: Mono,
    /// And its answers come in the order of the work.
    pub table_heard: Mono,
    pub asleep_until: Mono,
    /// A clean stop is under way, and how long it may take.
    pub stops_by: Option<Mono>,
    pub truth: BTreeMap<User, Truth>,
    pub happened: Happened,
    /// By address and port; without a port: all of them.
    pub sick: BTreeMap<(IpAddr, Option<u16>), Outcome>,
    /// Chances in percent.
    pub faults: BTreeMap<Fault, u8>,
    pub dump_was_whole: bool,
    pub dump_lacks: Option<User>,
    pub before_write: Vec<Act>,
    pub deaths: Vec<(Moment, Kind, u32)>,
    pub runs: BTreeMap<TargetId, Run>,
    /// When others last changed a service, and when the rows that the agent knows were read.
    pub disturbed: BTreeMap<ServiceKey, Mono>,
    pub known: BTreeMap<ServiceKey, Mono>,
    pub whole_read: Option<Mono>,
    /// What the write under way was decided on.
    pub basis: (BTreeMap<ServiceKey, Mono>, Arc<Policy>),
    pub writes: usize,
    /// Of these, those that no clock explains: no step of a ramp, no end of a hold-down.
    pub writes_of_events: usize,
    pub notes: BTreeMap<String, usize>,
    pub answers: u64,
    pub wires: Wires,
    /// All that the living process was told of shares, in percent.
    pub heard_shares: BTreeMap<IpAddr, BTreeSet<u8>>,
    /// Whose last verdict in the log is up.
    pub ups: BTreeSet<User>,
    next_step: usize,
    /// Which of the expectations that wait have come true.
    come_true: Vec<bool>,
    watch: Option<Watch>,
    /// The first thing that was wrong.
    pub broken: Option<String>,
    /// What was done and decided, where it is wanted.
    pub trail: Option<Vec<String>>,
}

/// Runs it to its end; what was wrong first, if anything.
pub fn play(script: &Script, watch: Option<Watch>) -> Result<(), String> {
    run(script, watch, false).map(drop).map_err(|(wrong, _)| wrong)
}

/// The same with all that was done and decided.
pub fn told(script: &Script) -> (Result<(), String>, Vec<String>) {
    match run(script, None, true) {
        Ok(trail) => (Ok(()), trail),
        Err((wrong, trail)) => (Err(wrong), trail),
    }
}

fn run(script: &Script, watch: Option<Watch>, told: bool) -> Result<Vec<String>, (String, Vec<String>)> {
    // The core itself may panic, which is as wrong as anything.
    let played = std::panic::catch_unwind(|| {
        let mut sim = Sim::new(script, watch, told);
        sim.schedule();
        (sim.broken.take(), sim.trail.take().unwrap_or_default())
    });
    match played {
        Ok((None, trail)) => Ok(trail),
        Ok((Some(broken), trail)) => Err((broken, trail)),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or(panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err((format!("panic: {}", text.unwrap_or_default()), Vec::new()))
        }
    }
}

impl<'a> Sim<'a> {
    fn new(script: &'a Script, watch: Option<Watch>, told: bool) -> Sim<'a> {
        let mut world = World::new(policy_of(script), &[]);
        world.table = table_of(script);
        limit_changes(script, &mut world);
        let basis = (BTreeMap::new(), world.controller.policy().clone());
        Sim {
            script,
            world,
            draws: Draws::new(script.seed.unwrap_or(0)),
            jobs: BTreeMap::new(),
            jobs_made: 0,
            table_free: Mono::ZERO,
            table_heard: Mono::ZERO,
            asleep_until: Mono::ZERO,
            stops_by: None,
            truth: truth_of(script),
            happened: Happened::default(),
            sick: BTreeMap::new(),
            faults: BTreeMap::new(),
            dump_was_whole: true,
            dump_lacks: None,
            before_write: Vec::new(),
            deaths: Vec::new(),
            runs: BTreeMap::new(),
            disturbed: BTreeMap::new(),
            known: BTreeMap::new(),
            whole_read: None,
            basis,
            writes: 0,
            writes_of_events: 0,
            notes: BTreeMap::new(),
            answers: 0,
            wires: Wires::default(),
            heard_shares: BTreeMap::new(),
            ups: BTreeSet::new(),
            next_step: 0,
            come_true: vec![false; script.steps.len()],
            watch,
            broken: None,
            trail: told.then(Vec::new),
        }
    }

    /// The script; then what is broken stays so and nothing new comes; then all is well.
    fn schedule(&mut self) {
        self.run_until(self.script.end);
        self.calm();
        self.run_for(SETTLES);
        let writes = self.writes_of_events;
        self.run_for(STAYS);
        self.require(self.writes_of_events == writes, || {
            "invariant 6: it writes with nothing new to know".into()
        });
        self.floors_hold_at_rest();
        self.all_that_is_kept_is_shown();
        self.sick.clear();
        self.world.shares.clear();
        self.world.policy = healthy_policy(self.script);
        self.reload();
        self.run_for(MENDED);
        self.lift_all();
        self.run_for(ALL_BACK);
        self.let_ramps_end();
        self.all_is_given_back();
        self.wires_are_known();
    }

    /// Remembers the first thing that is wrong; nothing more is done then.
    pub fn require(&mut self, holds: bool, wrong: impl FnOnce() -> String) {
        if !holds && self.broken.is_none() {
            let at = self.world.now.mono.since_start();
            self.broken = Some(format!("{} (at {at:?})", wrong()));
        }
    }

    pub fn note(&mut self, text: impl FnOnce() -> String) {
        let at = self.world.now.mono.since_start();
        if let Some(trail) = &mut self.trail {
            trail.push(format!("{at:?} {}", text()));
        }
    }

    pub fn run_for(&mut self, time: Duration) {
        self.run_until(self.world.now.mono + time);
    }

    fn run_until(&mut self, end: Mono) {
        let mut turns_at_once = 0;
        while self.broken.is_none() {
            let job = self.jobs.keys().next().map(|(due, _)| (*due).max(self.asleep_until));
            let wake = self.world.controller.next_wake().filter(|_| !self.world.dead);
            let wake = wake.map(|wake| wake.max(self.asleep_until));
            let step = self.script.steps.get(self.next_step).map(|step| step.at);
            let by = self.stops_by;
            let next = [job, wake, step, by].into_iter().flatten().min().unwrap_or(end);
            if next >= end {
                return self.world.advance_to(end.max(self.world.now.mono));
            }
            turns_at_once = if next > self.world.now.mono { 0 } else { turns_at_once + 1 };
            self.require(turns_at_once < 500, || "a loop without end".into());
            self.world.advance_to(next.max(self.world.now.mono));
            if step.is_some_and(|at| at <= next) {
                self.next_of_script();
            } else if job.is_some_and(|due| due <= next) {
                match self.jobs.pop_first() {
                    Some(((due, _), Job::Do(command))) => self.carry_out(command, due),
                    Some((_, Job::Tell(event, carried_out))) => self.tell(event, carried_out),
                    None => {}
                }
            } else {
                self.step(Event::Tick);
            }
            self.stop_if_done();
            self.look();
        }
    }

    fn next_of_script(&mut self) {
        let script = self.script;
        let step = &script.steps[self.next_step];
        match &step.what {
            What::Act(act) => {
                self.note(|| format!("-- {act}"));
                self.act(act);
            }
            What::Expect(when, expect) => {
                let wrong = match when {
                    When::At | When::Until => self.unmet(expect),
                    When::By if self.come_true[self.next_step] => None,
                    When::By => self.unmet(expect),
                };
                self.require(wrong.is_none(), || {
                    format!("line {}: expected `{expect}`: {}", step.line, wrong.unwrap_or_default())
                });
            }
        }
        self.next_step += 1;
    }

    /// After each turn: what the script waits for, and what the watch looks at.
    fn look(&mut self) {
        let script = self.script;
        let waiting = &script.steps[self.next_step..];
        for (at, step) in waiting.iter().take_while(|step| step.at == waiting[0].at).enumerate() {
            match &step.what {
                What::Expect(When::By, expect) if !self.come_true[self.next_step + at] => {
                    self.come_true[self.next_step + at] = self.unmet(expect).is_none();
                }
                What::Expect(When::Until, expect) => {
                    let wrong = self.unmet(expect);
                    self.require(wrong.is_none(), || {
                        format!("line {}: expected `{expect}`: {}", step.line, wrong.unwrap_or_default())
                    });
                }
                What::Act(_) | What::Expect(When::At | When::By, _) => {}
            }
        }
        if let Some(wrong) = self.watch.and_then(|watch| watch(self)) {
            self.require(false, || wrong);
        }
    }

    pub fn step(&mut self, event: Event) {
        if self.world.dead {
            return;
        }
        let binds = matches!(event, Event::TableRead(_) | Event::PolicyLoaded { .. } | Event::WeightsSet(_));
        let commands = self.world.controller.step(event, self.world.now);
        if binds {
            self.meet_targets();
        }
        for command in commands {
            if !matches!(command, Command::Publish(_)) {
                self.note(|| format!("{command:?}"));
            }
            match command {
                Command::Log(note) => self.logged(&note),
                Command::AnswerHand { result, .. } => self.world.answers.push(result),
                Command::Publish(view) => self.conserved(&view),
                Command::SetWeights(changes) => {
                    self.may_be_written(&changes);
                    self.basis = (self.known.clone(), self.world.controller.policy().clone());
                    self.start(Command::SetWeights(changes));
                }
                Command::DropWire(wire) => self.drop_wire(wire),
                Command::ReadTable
                | Command::Probe { .. }
                | Command::ArmWire { .. }
                | Command::SaveLedger { .. }
                | Command::OpenLedger => self.start(command),
            }
        }
    }

    /// All that was asked for by hand is taken back.
    fn lift_all(&mut self) {
        let wishes: Vec<User> = self.world.controller.keeper.wishes().map(|(user, _)| *user).collect();
        for user in wishes {
            self.order(user, HandOrder::Undrain { ignore_checks: false });
        }
    }

    /// All faults are over, and a dead process is started again.
    fn calm(&mut self) {
        self.faults.clear();
        self.deaths.clear();
        self.before_write.clear();
        self.dump_lacks = None;
        if self.stops_by.is_some() {
            self.die();
        }
        if self.world.dead {
            self.restart();
        }
        let soon = self.world.now.mono + 1000 * MS;
        let late: Vec<(Mono, u64)> = self.jobs.range((soon, 0)..).map(|(key, _)| *key).collect();
        for key in late {
            if let Some(job) = self.jobs.remove(&key) {
                self.push(soon, job);
            }
        }
        self.table_free = self.table_free.min(soon);
    }
}
