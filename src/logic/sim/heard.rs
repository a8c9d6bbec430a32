//! What the agent says it saw, as far as it ends what the invariants would hold against it: said without a cause in
//! the world, it is wrong itself.

use super::engine::Sim;
use super::script::What;
use crate::logic::event::Note;
use crate::logic::ledger::LapseReason;
use crate::model::{DestKey, HandDone, HandEffect, ServiceKey, Share, Verdict};

impl Sim<'_> {
    pub(super) fn logged(&mut self, note: &Note) {
        if let Note::VerdictChanged { service, dest, verdict, .. } = note {
            let user = (*service, *dest);
            let was_up = self.ups.remove(&user);
            if *verdict == Verdict::Up {
                self.ups.insert(user);
            }
            // After a restart it is known again that it is down, which is no change.
            if was_up || *verdict == Verdict::Up {
                self.begin_anew(service, dest);
            }
        }
        if let Note::ShareChanged { service, dest, share } = note
            && share.is_none_or(|share| share == Share::FULL)
        {
            self.begin_anew(service, dest);
        }
        // Zeroed counters and a raise between two reads look like a virtual server that was built anew.
        if let Note::AddedAgain { service, dest, .. } = note {
            self.may_be_another(&(*service, *dest));
            self.begin_anew(service, dest);
        }
        if let Note::EntryLapsed { service, dest, reason: LapseReason::AddedAgain, .. } = note {
            self.may_be_another(&(*service, *dest));
        }
        if let Note::EntryDropped { service, dest, why } = note {
            self.may_be_dropped(&(*service, *dest), why);
        }
        if let Note::HandDrainEnded { service, dest, .. } = note
            && self.is_up(service, dest)
        {
            self.begin_anew(service, dest); // its later failures are another matter
        }
        // At the first look after a death a raise to just what is owed is like our own giving back.
        if let Note::EntryDropped { service, dest, .. } = note
            && let Some(truth) = self.truth.get_mut(&(*service, *dest))
        {
            truth.raised = false;
        }
        if let Note::ByHand { done, .. } = note {
            self.by_hand(done);
        }
        if self.script.steps.iter().any(|step| matches!(step.what, What::Expect(..))) {
            *self.notes.entry(super::expect::name(note)).or_default() += 1;
        }
    }

    /// What others raised before counts no more.
    fn begin_anew(&mut self, service: &ServiceKey, dest: &DestKey) {
        if let Some(truth) = self.truth.get_mut(&(*service, *dest)) {
            (truth.raised, truth.drained_again) = (false, 0);
        }
    }

    fn is_up(&self, service: &ServiceKey, dest: &DestKey) -> bool {
        let state = self.world.controller.services.get(service).and_then(|state| state.dests.get(dest));
        state.is_some_and(|dest| dest.verdict == Some(Verdict::Up))
    }

    /// An undrain raises an operator's 0 too: to a weight that he gave before.
    fn by_hand(&mut self, done: &HandDone) {
        let Some(truth) = self.truth.get_mut(&(done.service, done.dest)) else { return };
        if done.effect != HandEffect::Nothing {
            // The operator has the last word, whatever others raised before.
            (truth.raised, truth.drained_again) = (false, 0);
        }
        let back = matches!(done.effect, HandEffect::GivingBack | HandEffect::StillFailing);
        if let Some(owed) = done.owed.filter(|_| back && truth.zero_by_operator) {
            (truth.given, truth.zero_by_operator) = (owed.0, false);
        }
    }
}
