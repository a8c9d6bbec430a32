//! The idle connections of tripwires: what the shell holds, what servers do to it, and that no trip
//! becomes a storm.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::draw::Draw;
use super::engine::{Job, MS, Sim};
use super::script::Fault;
use crate::logic::event::{Command, Event, TargetId, WireId};
use crate::model::{LocalReason, Mono, Outcome, Target, WireEnd, WireTrouble};

#[derive(Debug, Default)]
pub struct Wires {
    /// Where each leads, and when the agent hears (or heard) that it stands.
    held: BTreeMap<WireId, (IpAddr, Mono)>,
    /// When a target was probed last, and how many probes its last trip still excuses.
    probed: BTreeMap<TargetId, (Mono, u32)>,
}

impl Sim<'_> {
    /// What a connection comes to that is to be held; `heard`: when the agent is told.
    pub(super) fn arm(&mut self, wire: WireId, target: &Target, heard: Mono) -> Event {
        let addr = target.addr.addr;
        let trouble = match self.outcome(addr, target.port, heard) {
            Outcome::Pass => None,
            Outcome::Fail(_) => Some(WireTrouble::Refused),
            Outcome::Inconclusive(LocalReason::FdLimit) => Some(WireTrouble::FdLimit),
            Outcome::Inconclusive(_) => Some(WireTrouble::LocalError),
        };
        if let Some(trouble) = trouble {
            return Event::WireEnded { wire, end: WireEnd::NotHeld(trouble) };
        }
        if self.goes_wrong(Fault::Wires) {
            let kinds = [
                WireEnd::NotHeld(WireTrouble::Refused),
                WireEnd::NotHeld(WireTrouble::Talks),
                WireEnd::Tripped,
                WireEnd::Tripped,
            ];
            let end = kinds[self.draws.below(Draw::Wires, kinds.len() as u64) as usize];
            if end == WireEnd::NotHeld(WireTrouble::Refused) {
                return Event::WireEnded { wire, end };
            }
            let after = (1 + self.draws.below(Draw::Wires, 3000)) as u32 * MS;
            self.push(heard + after, Job::Tell(Event::WireEnded { wire, end }, heard + after));
        }
        self.wires.held.insert(wire, (addr, heard));
        Event::WireArmed(wire)
    }

    pub(super) fn drop_wire(&mut self, wire: WireId) {
        self.wires.held.remove(&wire);
        let begun =
            |job: &Job| matches!(job, Job::Do(Command::ArmWire { wire: begun, .. }) if *begun == wire);
        self.jobs.retain(|_, job| !begun(job));
    }

    /// The server ends all idle connections: it has died, or it just does.
    pub(super) fn trip(&mut self, addr: IpAddr) {
        let now = self.world.now.mono;
        let to =
            |(wire, (peer, heard)): (&WireId, &(IpAddr, Mono))| (*peer == addr).then_some((*wire, *heard));
        let ended: Vec<(WireId, Mono)> = self.wires.held.iter().filter_map(to).collect();
        for (wire, heard) in ended {
            let at = now.max(heard) + MS;
            self.push(at, Job::Tell(Event::WireEnded { wire, end: WireEnd::Tripped }, at));
        }
    }

    pub(super) fn forget_wires(&mut self) {
        self.wires = Wires::default();
    }

    pub(super) fn is_armed(&self, addr: IpAddr) -> bool {
        self.wires.held.values().any(|(peer, _)| *peer == addr)
    }

    /// What the agent is about to hear.
    pub(super) fn wire_is_heard(&mut self, event: &Event) {
        let Event::WireEnded { wire, end } = event else { return };
        let held = self.wires.held.remove(wire).is_some();
        let Some(state) = self.world.controller.probes.get(wire.target) else { return };
        let fall = state.target.spec.pace.fall;
        if held
            && *end == WireEnd::Tripped
            && let Some((_, excused)) = self.wires.probed.get_mut(&wire.target)
        {
            *excused = fall;
        }
    }

    /// From start to start it takes a fast interval at least, but for `fall` probes after a trip (and but for the
    /// jitter of the interval).
    pub(super) fn probes_keep_their_distance(&mut self, id: TargetId, target: &Target) {
        let now = self.world.now.mono;
        let pace = target.spec.pace;
        let (last, excused) = self.wires.probed.get(&id).copied().unzip();
        let mut excused = excused.unwrap_or(0);
        if last.is_some_and(|last| now.since(last) < pace.fast_interval.min(pace.interval * 9 / 10)) {
            self.require(excused > 0, || format!("a storm: {target:?} was probed at {last:?}"));
            excused = excused.saturating_sub(1);
        }
        self.wires.probed.insert(id, (now, excused));
    }

    /// The agent and the shell agree on what is held.
    pub(super) fn wires_are_known(&mut self) {
        let probes = &self.world.controller.probes;
        let now = self.world.now.mono;
        let believed = probes.targets().filter(|(_, t)| t.wire.as_ref().is_some_and(|w| w.view(now).armed));
        let believed = believed.map(|(id, _)| id).collect::<Vec<_>>();
        let held = self.wires.held.keys().map(|wire| wire.target).collect::<Vec<_>>();
        let counted = probes.wires_held();
        self.require(believed == held && counted == held.len(), || {
            format!("wires: {held:?} are held, {believed:?} are believed to be, {counted} are counted")
        });
    }
}
