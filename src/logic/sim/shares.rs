//! What real servers say that they want of their weights, and what may be written for it; by other code than
//! the agent's.

use std::net::IpAddr;

use super::engine::Sim;
use crate::logic::event::TargetId;
use crate::model::{
    DestKey, Mode, OnFailure, Outcome, ProbeReport, ServiceKey, Share, Verdict, WeightChange,
};

impl Sim<'_> {
    pub(super) fn says(&mut self, addr: IpAddr, percent: Option<u8>) {
        match percent {
            Some(percent) => drop(self.world.shares.insert(addr, Share::percent(percent.into()))),
            None => drop(self.world.shares.remove(&addr)),
        }
    }

    pub(super) fn hear(&mut self, id: TargetId, report: &ProbeReport) {
        if let Some(run) = self.runs.get_mut(&id).filter(|_| report.outcome == Outcome::Pass) {
            run.share = report.share.map(Share::as_percent);
            self.heard_shares.entry(run.probed.0).or_default().extend(run.share);
        }
    }

    /// Invariant 7 for a part of a weight: somebody said so.
    pub(super) fn is_asked_for(&mut self, change: &WeightChange) {
        let owed = self.world.controller.keeper.get(&(change.service, change.dest)).map(|entry| entry.owed.0);
        let less = !change.to.is_zero() && change.to < change.from;
        let asked = !less || owed.is_some_and(|owed| self.may_be_a_share(change, owed));
        self.require(asked, || format!("invariant 7: less than it has, and nobody said so: {change:?}"));
    }

    /// True if it is the share of this weight that the server has asked for at some time.
    pub(super) fn may_be_a_share(&self, change: &WeightChange, owed: u32) -> bool {
        let scheduler = self.world.table.get(&change.service).map_or("", |vs| &vs.scheduler);
        let parts = !matches!(scheduler, "rr" | "lc" | "dh" | "fo");
        let said = self.heard_shares.get(&change.dest.addr).into_iter().flatten();
        let part = |percent: &u8| (u64::from(owed) * u64::from(*percent)).div_ceil(100);
        parts && said.into_iter().any(|percent| part(percent) == u64::from(change.to.0))
    }

    /// It is up, wants no connections, and that counts there.
    pub(super) fn is_unwilling(&self, service: &ServiceKey, dest: &DestKey) -> bool {
        let controller = &self.world.controller;
        let policy = controller.policy();
        let Some(rules) = policy.service_for(service).map(|at| &policy.services[at]) else { return false };
        let scheduler = self.world.table.get(service).map_or("", |vs| &vs.scheduler);
        let heeded = rules.mode == Mode::Enforce
            && rules.on_failure(scheduler) == OnFailure::WeightZero
            && controller.keeper.wish(&(*service, *dest)).is_none();
        let state = controller.services.get(service).and_then(|state| state.dests.get(dest));
        heeded && state.is_some_and(|s| s.verdict == Some(Verdict::Up) && s.share == Some(Share::NONE))
    }
}
