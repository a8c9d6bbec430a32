//! What operators, keepalived, servers, disks and deaths do.

use std::sync::Arc;
use std::time::Duration;

use super::engine::{Sim, Truth};
use super::script::Act;
use super::setup::{service_policy, table_of, truth_of};
use crate::logic::event::Event;
use crate::logic::ledger::{EntryState, Ledger};
use crate::logic::probes::User;
use crate::logic::service::tests::dest;
use crate::logic::world::virtual_server;
use crate::model::{DestPattern, Forwarding, HandOrder, HandRequest, ServiceKey, ServicePolicy, Weight};

const EARLIER_BOOT: &str = "an earlier boot";

impl Sim<'_> {
    pub(super) fn act(&mut self, act: &Act) {
        match act {
            Act::Fails { addr, port, outcome } => drop(self.sick.insert((*addr, *port), *outcome)),
            Act::Passes(addr) => self.sick.retain(|(sick, _), _| sick != addr),
            Act::Edit(user, weight) => self.edit(*user, *weight),
            Act::Delete(user) => self.delete(*user),
            Act::DeleteService(service) => self.delete_service(service),
            Act::Add(user, weight) => self.add(*user, *weight),
            Act::Reload(service) => self.keepalived(service, false),
            Act::Rebuild(service) => self.keepalived(service, true),
            Act::Drain { user, force } => self.order(*user, HandOrder::Drain { said: None, force: *force }),
            Act::Undrain { user, ignore_checks } => {
                self.order(*user, HandOrder::Undrain { ignore_checks: *ignore_checks });
            }
            Act::Configure(service, rules) => self.configure(service, Some(service_policy(*service, rules))),
            Act::Unconfigure(service) => self.configure(service, None),
            Act::SuspectSelf(percent) => {
                self.world.policy.suspect_self_percent = *percent;
                self.reload();
            }
            Act::BrokenConfig => self.step(Event::PolicyRefused),
            Act::Dies => self.die(),
            Act::Stops => {
                self.step(Event::Stopping);
                self.die();
            }
            Act::DiesAround { moment, kind, nth } => self.deaths.push((*moment, *kind, *nth)),
            Act::Reboots => self.reboot(),
            Act::Restarts => {
                if self.world.dead {
                    self.restart();
                }
            }
            Act::Faults(fault, percent) => drop(self.faults.insert(*fault, *percent)),
            Act::NoFaults => self.faults.clear(),
            Act::Pauses(time) => self.pause(*time),
            Act::Looks => self.step(Event::ViewWanted { max_age: Duration::from_secs(1) }),
            Act::DumpLacks(user) => self.dump_lacks = Some(*user),
            Act::BeforeWrite(act) => self.before_write.push(act.as_ref().clone()),
        }
    }

    /// An operator's edit. His 0 where a record of ours stands looks like ours (no record tells the
    /// two apart), so he only sets one while a write on its way will notice.
    fn edit(&mut self, user: User, weight: u32) {
        let Some(was) = self.weight(&user) else { return };
        if was == weight || (weight == 0 && self.recorded(&user)) {
            return;
        }
        if let Some(truth) = self.truth.get_mut(&user) {
            truth.raised |= was == 0 && !truth.zero_by_operator;
            (truth.given, truth.zero_by_operator) = (weight, weight == 0);
        }
        let rows = self.world.table.get_mut(&user.0).map(|vs| &mut vs.destinations);
        if let Some(row) = rows.and_then(|rows| rows.iter_mut().find(|d| d.key == user.1)) {
            row.weight = Weight(weight);
        }
        self.disturb(user.0);
    }

    fn disturb(&mut self, service: ServiceKey) {
        self.disturbed.insert(service, self.world.now.mono);
    }

    pub(super) fn order(&mut self, user: User, order: HandOrder) {
        let servers = DestPattern { addr: user.1.addr, port: Some(user.1.port) };
        let request = HandRequest { servers, service: Some(user.0.to_string()), order };
        self.answers += 1;
        self.step(Event::Hand { id: self.answers, request });
        // A write under way was decided without it.
        self.disturb(user.0);
    }

    /// True where a 0 would be taken for ours: there is a record, and no write on its way that would
    /// find the 0 before it is made.
    fn recorded(&self, user: &User) -> bool {
        let on_disk = self.disk().is_some_and(|l| l.entries.contains_key(user));
        if self.world.dead {
            return on_disk;
        }
        let controller = &self.world.controller;
        let in_flight = controller.cycle.changes().is_some_and(|changes| changes.contains_key(user));
        match controller.keeper.get(user) {
            Some(entry) => !(in_flight && entry.state == EntryState::Pending && !self.write_unheard()),
            None => on_disk,
        }
    }

    /// What the next process will go by; of another boot it knows no weight that is ours.
    pub(super) fn disk(&self) -> Option<&Ledger> {
        self.world.disk.as_ref().filter(|ledger| ledger.origin.boot_id != EARLIER_BOOT)
    }

    fn delete(&mut self, user: User) {
        if let Some(vs) = self.world.table.get_mut(&user.0) {
            vs.destinations.retain(|d| d.key != user.1);
        }
        self.truth.remove(&user);
        self.disturb(user.0);
    }

    fn delete_service(&mut self, service: &ServiceKey) {
        self.world.table.remove(service);
        self.truth.retain(|(key, _), _| key != service);
        self.disturb(*service);
    }

    /// Added again with 0 while our record stands, it could not be told from ours either (trap 6).
    fn add(&mut self, user: User, weight: u32) {
        if self.truth.contains_key(&user) || (weight == 0 && self.recorded(&user)) {
            return;
        }
        let setup = self.script.services.iter().find(|s| s.key == user.0);
        let vs = self.world.table.entry(user.0).or_insert_with(|| {
            let mut vs = virtual_server(user.0, &[]);
            vs.scheduler = setup.map_or_else(|| "wrr".into(), |s| s.scheduler.clone());
            vs
        });
        let row = setup.and_then(|s| s.rows.iter().find(|row| row.key == user.1));
        let masquerading = row.is_some_and(|row| row.masquerading);
        let forwarding = if masquerading { Forwarding::Masq } else { Forwarding::Route };
        vs.destinations.push(dest(&user.1.to_string(), weight, forwarding));
        vs.destinations.sort_by_key(|d| d.key);
        let fact = Truth { given: weight, zero_by_operator: weight == 0, ..Truth::default() };
        self.truth.insert(user, fact);
        self.disturb(user.0);
    }

    fn keepalived(&mut self, service: &ServiceKey, rebuilds: bool) {
        let script = self.script;
        let Some(setup) = script.services.iter().find(|s| s.key == *service) else { return };
        for row in &setup.rows {
            let user = (*service, row.key);
            if rebuilds && !(row.weight == 0 && self.recorded(&user)) {
                self.delete(user);
            }
            self.add(user, row.weight);
            self.edit(user, row.weight);
        }
    }

    fn configure(&mut self, service: &ServiceKey, policy: Option<ServicePolicy>) {
        let services = &mut self.world.policy.services;
        services.retain(|s| !s.matches.iter().any(|m| m.matches(service)));
        services.extend(policy);
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

    /// Another boot: the table is keepalived's, and every entry of the ledger is of before.
    fn reboot(&mut self) {
        self.die();
        self.world.table = table_of(self.script);
        self.truth = truth_of(self.script);
        if let Some(disk) = &mut self.world.disk {
            disk.origin.boot_id = EARLIER_BOOT.into();
        }
    }

    pub(super) fn restart(&mut self) {
        self.forget_process();
        self.runs.clear();
        self.known.clear();
        self.whole_read = None;
        let disk = self.world.disk.as_ref().filter(|ledger| ledger.origin.boot_id != EARLIER_BOOT);
        for (user, truth) in &mut self.truth {
            (truth.raised, truth.drained_again) = (false, 0);
            let entry = disk.and_then(|l| l.entries.get(user));
            // Set to 0 just before our write, and we died before we could say that it was not ours.
            if let Some(entry) = entry.filter(|_| truth.zero_by_operator) {
                (truth.given, truth.zero_by_operator) = (entry.owed.0, false);
            }
        }
        self.world.restart();
        self.step(Event::Tick);
    }
}
