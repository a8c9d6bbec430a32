//! Whether what we see can be trusted, and what a real server's last results say beside its verdict.

use std::collections::BTreeSet;

use super::controller::Controller;
use super::event::{Command, Note};
use super::health::Health;
use crate::model::{HeldReason, ServiceKey};

/// With fewer targets than this, one dead server would be a dead director.
const FEWEST_TARGETS: usize = 2;

/// The last conclusive probes of all targets, counted as they come: thousands of targets are not
/// gone through at each result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Targets with a conclusive probe.
    pub judged: usize,
    /// Those whose last one failed.
    pub failing: usize,
}

impl Tally {
    pub fn add(&mut self, health: &Health) {
        let failed = health.failed_last();
        self.judged += usize::from(failed.is_some());
        self.failing += usize::from(failed == Some(true));
    }

    pub fn remove(&mut self, health: &Health) {
        let failed = health.failed_last();
        self.judged -= usize::from(failed.is_some());
        self.failing -= usize::from(failed == Some(true));
    }

    /// So many fail at once that the director is the suspect (trap 26).
    pub fn suspicious(self, share_percent: u8) -> bool {
        self.judged >= FEWEST_TARGETS && self.failing * 100 >= self.judged * usize::from(share_percent)
    }
}

/// While it lasts no weight is taken.
#[derive(Debug, Default)]
pub struct Suspicion {
    pub lasts: bool,
    said: bool,
    /// Services with drains that wait for its end.
    waiting: BTreeSet<ServiceKey>,
}

impl Controller {
    /// Looks anew at what all targets said last.
    pub(super) fn suspect(&mut self, out: &mut Vec<Command>) {
        let tally = self.probes.tally();
        let lasts = tally.suspicious(self.policy.suspect_self_percent);
        if std::mem::replace(&mut self.suspicion.lasts, lasts) && !lasts {
            self.dirty.extend(std::mem::take(&mut self.suspicion.waiting));
            if std::mem::take(&mut self.suspicion.said) {
                out.push(Command::Log(Note::SuspicionOver(tally)));
            }
        }
    }

    /// Said once, when the first drain waits for it: that the first two targets of a start fail, or
    /// one probe of each, means nothing yet.
    pub(super) fn note_suspicion(
        &mut self,
        service: ServiceKey,
        mut held: impl Iterator<Item = HeldReason>,
        out: &mut Vec<Command>,
    ) {
        if !held.any(|reason| reason == HeldReason::SuspectSelf) {
            self.suspicion.waiting.remove(&service);
            return;
        }
        self.suspicion.waiting.insert(service);
        if !std::mem::replace(&mut self.suspicion.said, true) {
            out.push(Command::Log(Note::SuspectsItself(self.probes.tally())));
        }
    }
}

/// What the last results of all checks of a real server come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lately {
    /// Each check passed last.
    Passing,
    /// Neither: some failed, but none of them `fall` times in a row, or there is no result.
    #[default]
    Mixed,
    /// A check has failed `fall` times in a row and not passed since.
    Failing,
}
