//! What happened to the table, against which the agent's word about it is held.

use std::collections::{BTreeMap, BTreeSet};

use super::engine::Sim;
use crate::logic::probes::User;
use crate::model::{Mono, ServiceKey, Snapshot};

/// Each until the agent has looked: a whole read of a managed service, and no write of ours on its way there.
#[derive(Debug, Default)]
pub struct Happened {
    /// Real servers that were deleted, perhaps added again since.
    deleted: BTreeMap<User, Mono>,
    /// What cannot be told from one that was deleted and added again: its virtual server's counters were
    /// zeroed, or a dump missed it (trap 6).
    alike: BTreeMap<User, Mono>,
    /// Those that were on record when this process began, or got its ledger.
    on_record: BTreeSet<User>,
}

impl Sim<'_> {
    /// To be called before it is gone from the truth.
    pub(super) fn was_deleted(&mut self, user: User) {
        self.happened.deleted.insert(user, self.world.now.mono);
    }

    pub(super) fn looks_added_again(&mut self, user: User) {
        self.happened.alike.insert(user, self.world.now.mono);
    }

    pub(super) fn was_zeroed(&mut self, service: &ServiceKey) {
        let users: Vec<User> = self.truth.keys().filter(|(key, _)| key == service).copied().collect();
        users.into_iter().for_each(|user| self.looks_added_again(user));
    }

    /// A new process, or one that can open the state directory at last.
    pub(super) fn has_a_record(&mut self) {
        let entries = self.world.disk.iter().flat_map(|ledger| ledger.entries.keys());
        self.happened.on_record.extend(entries);
    }

    /// What it may still say once it has heard of this read: with a write under way it looks later.
    pub(super) fn under_way(&self) -> BTreeSet<User> {
        let changes = self.world.controller.cycle.changes();
        changes.into_iter().flatten().map(|(user, _)| *user).collect()
    }

    pub(super) fn has_looked(&mut self, snapshot: &Snapshot, under_way: &BTreeSet<User>) {
        let policy = self.world.controller.policy().clone();
        let shown = |(service, dest): &User| {
            let there = snapshot.service(service).is_some_and(|s| s.destination(dest).is_some());
            there && policy.service_for(service).is_some()
        };
        let looked = |user: &User| !under_way.contains(user) && shown(user);
        let earlier = |at: Mono| at < snapshot.taken.mono;
        self.happened.deleted.retain(|user, at| !(earlier(*at) && looked(user)));
        self.happened.alike.retain(|user, at| !(earlier(*at) && looked(user)));
        self.happened.on_record.retain(|user| !looked(user));
    }

    /// A sign that it was added again has a cause in the world.
    pub(super) fn may_be_another(&mut self, user: &User) {
        let happened = self.happened.deleted.contains_key(user) || self.happened.alike.contains_key(user);
        self.require(happened, || format!("trap 6: {} of {} was not added again", user.1, user.0));
    }

    /// So has the end of a record, by the reason that is given.
    pub(super) fn may_be_dropped(&mut self, user: &User, why: &str) {
        let deleted = self.happened.deleted.contains_key(user);
        let begun = self.happened.on_record.contains(user);
        let given = self.truth.get(user).map(|truth| truth.given);
        let shows_given = given.is_some() && self.weight(user) == given;
        let happened = match why {
            "its weight was given back before the last run ended" => begun,
            "somebody gave the weight back" => begun || deleted || shows_given,
            gone if gone.contains("gone") => deleted,
            other => return self.require(false, || format!("an unknown reason: {other}")),
        };
        self.require(happened, || format!("the record of {} of {} is dropped: {why}", user.1, user.0));
    }
}
