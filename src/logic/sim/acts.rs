//! What operators, servers, disks and deaths do.

use std::sync::Arc;
use std::time::Duration;

use super::{SERVERS, Sim, Truth, service_policy, vip, weight_in};
use crate::logic::event::Event;
use crate::logic::ledger::EntryState;
use crate::logic::probes::User;
use crate::logic::service::tests::dest;
use crate::logic::world::{NEVER_SUSPECT, key, refused, virtual_server};
use crate::model::{
    DestPattern, Floor, Forwarding, HandOrder, HandRequest, LocalReason, Mode, OnFailure, Outcome,
    ServicePolicy, Weight,
};

impl Sim {
    pub(super) fn act(&mut self) {
        let server = self.random.below(u64::from(SERVERS)) as u8 + 1;
        let service = vip(self.random.pick(&[1, 2]));
        let user = (service, key(server));
        let act = self.random.below(27);
        self.note(format!("-- act {act} on {} of {}", user.1, user.0));
        match act {
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
            21 => self.bad_reads = self.random.pick(&[0, 0, 50, 100]),
            22 => self.bad_dumps = self.random.pick(&[0, 20]),
            23..=25 => self.ask_by_hand(user),
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

    fn ask_by_hand(&mut self, user: User) {
        let order = match self.random.below(4) {
            0 | 1 => HandOrder::Drain { said: None, force: self.random.percent(30) },
            2 => HandOrder::Undrain { ignore_checks: false },
            _ => HandOrder::Undrain { ignore_checks: true },
        };
        self.order(user, order);
    }

    pub(super) fn order(&mut self, user: User, order: HandOrder) {
        let servers = DestPattern { addr: user.1.addr, port: Some(user.1.port) };
        let request = HandRequest { servers, service: Some(user.0.to_string()), order };
        self.step(Event::Hand { id: 0, request });
        // A write under way was decided without it.
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
        let interval = random.pick(&[700, 1000]);
        for n in [1, 2] {
            let floor = random.pick(&[Floor::Count(0), Floor::Count(1), Floor::Count(2), Floor::Percent(50)]);
            let mode = random.pick(&[Mode::Enforce, Mode::Enforce, Mode::Enforce, Mode::Observe]);
            let checks: &[u16] = random.pick(&[&[80], &[80], &[80, 81], &[81], &[]]);
            if random.percent(90) {
                let on_failure = random.pick(&[None, None, None, Some(OnFailure::Observe)]);
                services
                    .push(ServicePolicy { on_failure, ..service_policy(n, floor, mode, checks, interval) });
            }
        }
        self.world.policy.services = services;
        self.world.policy.suspect_self_percent =
            self.random.pick(&[NEVER_SUSPECT, NEVER_SUSPECT, 100, 100, 50]);
        self.reload();
    }

    pub(super) fn reload(&mut self) {
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

    pub(super) fn restart(&mut self) {
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

    pub(super) fn calm(&mut self) {
        (self.bad_reads, self.bad_dumps, self.bad_saves, self.bad_writes) = (0, 0, 0, 0);
        if self.world.dead {
            self.restart();
        }
    }
}
