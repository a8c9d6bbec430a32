//! A state directory that could not be used when the agent started, and can be now.

use std::collections::BTreeSet;

use super::controller::Controller;
use super::event::Command;
use super::ledger::Ledger;
use super::probes::User;
use crate::model::Now;

impl Controller {
    /// The state directory was tried again. Its entries are those of an earlier run: where a weight was
    /// seen above 0 since we started, the entry is over, whatever the kernel shows now. But for a part
    /// of it, a step of a ramp: that is where the earlier run left it.
    pub(super) fn ledger_opened(
        &mut self,
        result: Result<Option<Ledger>, String>,
        again: bool,
        now: Now,
        out: &mut Vec<Command>,
    ) {
        let result = result.map(|earlier| {
            earlier.map(|mut ledger| {
                let seen = |(service, dest): &User| self.services.get(service)?.dests.get(dest)?.owed;
                ledger
                    .entries
                    .retain(|user, entry| seen(user).is_none_or(|weight| entry.left_in_part(weight)));
                ledger
            })
        });
        let known: BTreeSet<User> = self.keeper.entries().map(|(user, _)| *user).collect();
        self.keeper.opened(result, now, self.policy.ledger_max_age, out);
        if again && !self.keeper.usable() {
            self.keeper.open_later(now.mono);
        }
        if self.keeper.usable() {
            let users = self.keeper.entries().map(|(user, _)| *user);
            self.adopting.extend(users.filter(|user| !known.contains(user)));
            if let Some(snapshot) = self.snapshot.clone() {
                // What the last read missed may still be there, at weight 0 (trap 3).
                self.absent = self.absent_from(&snapshot);
                self.take_in(&snapshot, now, out);
            }
        }
    }
}
