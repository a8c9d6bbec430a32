//! How commands are carried out: when, with what faults, and what is heard of them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::draw::Draw;
use super::engine::{Job, MS, Sim};
use super::script::{Fault, Moment};
use crate::logic::event::{Command, Event};
use crate::logic::probes::User;
use crate::logic::service::tests::report;
use crate::logic::world::kind;
use crate::model::{
    FailReason, LocalReason, Mono, Outcome, ProbeReport, ReadFailure, Snapshot, WeightChange, WriteOutcome,
};

impl Sim<'_> {
    pub fn start(&mut self, command: Command) {
        let what = kind(&command);
        if let Command::Probe { id, target } = &command {
            self.probes_keep_their_distance(*id, target);
        }
        let many = what == "probe" || what == "arm";
        let same = |job: &Job| match (job, &command) {
            (Job::Do(Command::Probe { id, .. }), Command::Probe { id: started, .. }) => id == started,
            (Job::Do(Command::ArmWire { wire, .. }), Command::ArmWire { wire: begun, .. }) => wire == begun,
            (Job::Do(other), _) => !many && kind(other) == what,
            (Job::Tell(..), _) => false,
        };
        let twice = self.jobs.values().any(same);
        self.require(!twice, || format!("trap 52: two at once: {what}"));
        let now = self.world.now.mono;
        let table = what == "read" || what == "write";
        let from = if table { self.table_free.max(now) } else { now };
        let due = from + self.takes(many);
        if table {
            self.table_free = due;
        }
        self.push(due, Job::Do(command));
    }

    fn takes(&mut self, probe: bool) -> Duration {
        let (fault, most, slow) =
            if probe { (Fault::ProbesSlow, 550, 10_000) } else { (Fault::Slow, 100, 3000) };
        let most = match (self.goes_wrong(fault), self.script.seed) {
            (true, _) => slow,
            (false, Some(_)) => most,
            (false, None) => return MS,
        };
        self.draws.below(if probe { Draw::ProbeTakes } else { Draw::CommandTakes }, most) as u32 * MS
    }

    pub fn push(&mut self, due: Mono, job: Job) {
        self.jobs_made += 1;
        self.jobs.insert((due, self.jobs_made), job);
    }

    pub fn goes_wrong(&mut self, fault: Fault) -> bool {
        match self.faults.get(&fault) {
            None | Some(0) => false,
            Some(chance) => self.draws.below(Draw::Fault(fault), 100) < u64::from(*chance),
        }
    }

    /// The death that comes with this command.
    fn death(&mut self, what: &str) -> Option<Moment> {
        let at = self.deaths.iter_mut().position(|(_, kind, left)| {
            *left = left.saturating_sub(u32::from(kind.as_str() == what));
            *left == 0
        })?;
        Some(self.deaths.remove(at).0)
    }

    pub fn carry_out(&mut self, mut command: Command, due: Mono) {
        let death = self.death(kind(&command));
        match (death, &mut command) {
            (None | Some(Moment::After), _) => {}
            (Some(Moment::Amid), Command::SetWeights(changes)) => changes.truncate(changes.len().div_ceil(2)),
            (Some(Moment::Before | Moment::Amid), _) => return self.die(),
        }
        self.world.read_error = self.goes_wrong(Fault::Reads).then(|| ReadFailure::Failed("EIO".into()));
        self.world.open_error = self.goes_wrong(Fault::Opens).then(|| "in use".into());
        self.world.save_error = self.goes_wrong(Fault::Saves).then(|| "no space".into());
        let now = self.world.now.mono;
        let pause = self.script.seed.map_or(0, |_| self.draws.below(Draw::HeardAfter, 30));
        let mut heard = now + pause as u32 * MS;
        let event = match command {
            Command::ArmWire { wire, target } => Some(self.arm(wire, &target, heard)),
            Command::SetWeights(changes) => self.write(changes),
            Command::Probe { id, target } => {
                let outcome = self.outcome(target.addr.addr, target.port, due);
                Some(Event::ProbeEnded { id, report: self.report(target.addr.addr, outcome) })
            }
            Command::ReadTable => {
                self.traffic_goes_on();
                let mut event = self.world.carry_out(Command::ReadTable);
                if let Some(Event::TableRead(Ok(snapshot))) = &mut event {
                    self.miss_rows(snapshot);
                }
                event
            }
            Command::SaveLedger { .. } | Command::OpenLedger => self.world.carry_out(command),
            Command::DropWire(_) | Command::Publish(_) | Command::AnswerHand { .. } | Command::Log(_) => None,
        };
        if death.is_some() {
            return self.die();
        }
        if let Some(event) = event {
            if matches!(event, Event::TableRead(_) | Event::WeightsSet(_)) {
                heard = heard.max(self.table_heard);
                self.table_heard = heard;
            }
            self.push(heard, Job::Tell(event, now));
        }
    }

    pub fn outcome(&mut self, addr: IpAddr, port: u16, due: Mono) -> Outcome {
        let sick = self.sick.get(&(addr, Some(port))).or(self.sick.get(&(addr, None)));
        let outcome = sick.copied().unwrap_or(Outcome::Pass);
        let timed_out = [FailReason::ConnectTimeout, FailReason::TlsTimeout, FailReason::ResponseTimeout];
        // A time-out that is handled late is our own lag (trap 50); a pass is a pass.
        let lag = due < self.asleep_until && timed_out.iter().any(|reason| outcome == Outcome::Fail(*reason));
        if lag || self.goes_wrong(Fault::ProbesLate) {
            return Outcome::Inconclusive(LocalReason::Late);
        }
        outcome
    }

    fn report(&self, addr: IpAddr, outcome: Outcome) -> ProbeReport {
        let share = self.world.shares.get(&addr).copied().filter(|_| outcome == Outcome::Pass);
        ProbeReport { detail: String::new(), share, ..report(outcome, self.world.now.mono) }
    }

    fn traffic_goes_on(&mut self) {
        for counters in self.world.table.values_mut().filter_map(|vs| vs.counters.as_mut()) {
            counters.connections += 1;
            counters.incoming_packets += 3;
            counters.incoming_bytes += 300;
        }
    }

    /// A dump that missed a row which others' changes hid from it (trap 3).
    fn miss_rows(&mut self, snapshot: &mut Snapshot) {
        let missed = self.dump_lacks.take_if(|_| self.dump_was_whole);
        if let Some((service, dest)) = missed
            && let Ok(at) = snapshot.services.binary_search_by(|s| s.key.cmp(&service))
        {
            Arc::make_mut(&mut snapshot.services[at]).destinations.retain(|row| row.key != dest);
        }
        let misses = self.dump_was_whole && missed.is_none() && self.goes_wrong(Fault::Dumps);
        self.dump_was_whole = missed.is_none() && !misses;
        if !misses || snapshot.services.is_empty() {
            return;
        }
        let at = self.draws.below(Draw::Missed, snapshot.services.len() as u64) as usize;
        let rows = snapshot.services[at].destinations.len();
        if self.draws.below(Draw::Missed, 100) < 20 || rows < 2 {
            snapshot.services.remove(at);
        } else {
            let row = self.draws.below(Draw::Missed, rows as u64) as usize;
            Arc::make_mut(&mut snapshot.services[at]).destinations.remove(row);
        }
    }

    fn write(&mut self, changes: Vec<WeightChange>) -> Option<Event> {
        for act in std::mem::take(&mut self.before_write) {
            self.act(&act);
        }
        self.world.write_outcomes.clear();
        let kinds: [fn(String) -> WriteOutcome; 2] = [WriteOutcome::Failed, WriteOutcome::Unknown];
        for change in &changes {
            let outcome = if self.goes_wrong(Fault::WritesRefused) {
                kinds[0]
            } else if self.goes_wrong(Fault::WritesLanded) || self.goes_wrong(Fault::WritesLost) {
                kinds[1]
            } else if self.goes_wrong(Fault::Writes) {
                kinds[usize::from(self.draws.below(Draw::WriteResult, 100) < 60)]
            } else {
                continue;
            };
            self.world.write_outcomes.insert(change.dest, outcome("EIO".into()));
        }
        let told = |fault| self.faults.get(&fault).is_some_and(|chance| *chance > 0);
        let (landed, lost) = (told(Fault::WritesLanded), told(Fault::WritesLost));
        self.world.unknown_lands = landed || (!lost && self.draws.below(Draw::WriteResult, 2) == 0);
        self.world.unknown_read_back = self.draws.below(Draw::WriteResult, 2) == 0;
        let before: Vec<_> = changes.iter().map(|c| self.weight(&(c.service, c.dest))).collect();
        let event = self.world.carry_out(Command::SetWeights(changes.clone()));
        for (change, was) in changes.iter().zip(before) {
            let is = self.weight(&(change.service, change.dest));
            if let Some(is) = is.filter(|_| was != is) {
                self.writes += 1;
                self.writes_of_events += usize::from(!self.comes_of_a_clock(change));
                self.written(change, is);
            }
        }
        event
    }

    pub fn weight(&self, user: &User) -> Option<u32> {
        self.world.table.get(&user.0)?.destination(&user.1).map(|row| row.weight.0)
    }

    /// True while what was written is not heard of yet.
    pub fn write_unheard(&self) -> bool {
        self.jobs.values().any(|job| matches!(job, Job::Tell(Event::WeightsSet(_), _)))
    }

    pub fn tell(&mut self, event: Event, carried_out: Mono) {
        if self.world.dead {
            return;
        }
        let (mut passed, mut report, mut read) = (None, None, None);
        match &event {
            Event::ProbeEnded { id, report } => {
                self.count(*id, report.outcome);
                self.hear(*id, report);
                passed = Some(report.outcome);
            }
            Event::TableRead(Ok(snapshot)) => {
                self.whole_read = Some(self.world.now.mono);
                self.known = snapshot.services.iter().map(|s| (s.key, snapshot.taken.mono)).collect();
                read = Some((snapshot.clone(), self.under_way()));
                let mut missed = Vec::new();
                for ((service, dest), truth) in &mut self.truth {
                    let there = snapshot.service(service).is_some_and(|s| s.destination(dest).is_some());
                    if there && truth.missed {
                        // With another weight than ours it looks like one that was added again (trap 6).
                        (truth.raised, truth.drained_again) = (false, 0);
                    }
                    truth.missed = !there;
                    missed.extend((!there).then_some((*service, *dest)));
                }
                missed.into_iter().for_each(|user| self.looks_added_again(user));
            }
            Event::WeightsSet(set) => {
                report = Some(set.clone());
                // What came between is a disturbance of its own.
                for service in &set.services {
                    self.known.insert(service.key, carried_out);
                }
            }
            Event::LedgerOpened { .. } => self.has_a_record(),
            Event::WireArmed(_) | Event::WireEnded { .. } => self.wire_is_heard(&event),
            Event::Tick
            | Event::PolicyLoaded { .. }
            | Event::PolicyRefused
            | Event::TableRead(Err(_))
            | Event::LedgerSaved { .. }
            | Event::Addresses(_)
            | Event::Stopping
            | Event::Hand { .. }
            | Event::ViewWanted { .. } => {}
        }
        self.step(event);
        if let Some((snapshot, under_way)) = read {
            self.has_looked(&snapshot, &under_way);
        }
        if let Some(outcome) = passed {
            self.need_is_met(outcome);
        }
        if let Some(report) = report {
            self.records_end(&report);
        }
    }
}
