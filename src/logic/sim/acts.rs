//! What operators, keepalived, servers, disks and deaths do.

use std::sync::Arc;
use std::time::Duration;

use super::engine::{Sim, Truth};
use super::script::{Act, Fault};
use super::setup::{limit_changes, service_policy, table_of, truth_of};
use crate::logic::event::Event;
use crate::logic::ledger::{Entry, EntryState, Ledger};
use crate::logic::probes::User;
use crate::logic::service::tests::dest;
use crate::logic::world::virtual_server;
use crate::model::{
    CheckSpec, Counters, DestPattern, Forwarding, HandOrder, HandRequest, RealServer, ServiceKey,
    ServicePolicy, SourcePorts, Weight,
};

const EARLIER_BOOT: &str = "an earlier boot";

impl Sim<'_> {
    pub(super) fn act(&mut self, act: &Act) {
        match act {
            Act::Fails { addr, port, outcome } => drop(self.sick.insert((*addr, *port), *outcome)),
            Act::Trips(addr) => self.trip(*addr),
            Act::Says(addr, percent) => self.says(*addr, *percent),
            Act::Passes(addr) => self.sick.retain(|(sick, _), _| sick != addr),
            Act::Edit(user, weight) => self.edit(*user, *weight),
            Act::Delete(user) => self.delete(*user),
            Act::DeleteService(service) => self.delete_service(service),
            Act::Add(user, weight) => self.add(*user, *weight),
            Act::ReAdd(user, weight) => self.re_add(*user, *weight),
            Act::Zeroes(service) => {
                self.was_zeroed(service);
                let counters = self.world.table.get_mut(service).map(|vs| &mut vs.counters);
                counters.into_iter().for_each(|counters| *counters = Some(Counters::default()));
            }
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
            Act::Stops => self.begin_stop(),
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
            Act::ClockSteps { back, by } => {
                let seconds = by.as_secs_f64();
                self.world.now.wall.0 += if *back { -seconds } else { seconds };
            }
            Act::Looks => self.step(Event::ViewWanted { max_age: Duration::from_secs(1) }),
            Act::DumpLacks(user) => self.dump_lacks = Some(*user),
            Act::BeforeWrite(act) => self.before_write.push(act.as_ref().clone()),
        }
    }

    /// An operator's edit. To the weight that we wrote, a 0 or a step of a ramp, it looks like ours (no
    /// record tells the two apart), so he only makes one while a write on its way will notice.
    fn edit(&mut self, user: User, weight: u32) {
        let Some(was) = self.weight(&user) else { return };
        if was == weight || self.looks_ours(&user, weight) {
            return;
        }
        // Before the first look after a death it is like a write of ours that never happened, or our giving back.
        let controller = &self.world.controller;
        let like_ours = controller.adopting.contains(&user)
            && controller.keeper.get(&user).is_some_and(|entry| entry.owed == Weight(weight));
        if let Some(truth) = self.truth.get_mut(&user) {
            truth.raised |= was == 0 && !truth.zero_by_operator && !like_ours;
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

    /// True where this weight would be taken for ours: there is a record of it, and no write on its way
    /// that would find it before it is made.
    fn looks_ours(&self, user: &User, weight: u32) -> bool {
        let like = |entry: &Entry| entry.owed.0 != weight && entry.left(Weight(weight));
        let on_disk = self.disk().and_then(|l| l.entries.get(user)).is_some_and(like);
        if self.world.dead {
            return on_disk;
        }
        let controller = &self.world.controller;
        let in_flight = controller.cycle.changes().is_some_and(|changes| changes.contains_key(user));
        match controller.keeper.get(user) {
            Some(entry) if in_flight && entry.state == EntryState::Pending && !self.write_unheard() => {
                like(entry) && entry.written.0 != weight
            }
            Some(entry) => like(entry) || on_disk,
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
        self.was_deleted(user);
        self.truth.remove(&user);
        self.disturb(user.0);
    }

    /// Between two reads, so that only its place tells: unless it was the foremost. With the weight that
    /// we wrote that sign is all there is, and chance may take it away (a death, a dump that misses a
    /// row, a write of ours): then it could not be told from ours, so chance does not do it.
    fn re_add(&mut self, user: User, weight: u32) {
        let rows = self.world.table.get(&user.0).map_or(&[][..], |vs| &vs.destinations);
        let foremost = rows.iter().min_by_key(|row| row.place).is_none_or(|row| row.key == user.1);
        let tells = self.script.seed.is_none() && !foremost && !self.world.dead;
        if self.truth.contains_key(&user) && (tells || !self.looks_ours(&user, weight)) {
            self.delete(user);
            self.put_in_front(user, weight);
        }
    }

    fn delete_service(&mut self, service: &ServiceKey) {
        self.world.table.remove(service);
        let users: Vec<User> = self.truth.keys().filter(|(key, _)| key == service).copied().collect();
        users.into_iter().for_each(|user| self.was_deleted(user));
        self.truth.retain(|(key, _), _| key != service);
        self.disturb(*service);
    }

    /// Added again with 0 while our record stands, it could not be told from ours either (trap 6).
    fn add(&mut self, user: User, weight: u32) {
        if !self.truth.contains_key(&user) && !self.looks_ours(&user, weight) {
            self.put_in_front(user, weight);
        }
    }

    /// As the kernel adds it: before the others.
    fn put_in_front(&mut self, user: User, weight: u32) {
        let setup = self.script.services.iter().find(|s| s.key == user.0);
        let vs = self.world.table.entry(user.0).or_insert_with(|| {
            let mut vs = virtual_server(user.0, &[]);
            vs.scheduler = setup.map_or_else(|| "wrr".into(), |s| s.scheduler.clone());
            vs.counters = Some(Counters::default());
            vs
        });
        let row = setup.and_then(|s| s.rows.iter().find(|row| row.key == user.1));
        let masquerading = row.is_some_and(|row| row.masquerading);
        let forwarding = if masquerading { Forwarding::Masq } else { Forwarding::Route };
        for row in &mut vs.destinations {
            row.place = row.place.map(|place| place + 1);
        }
        let row = dest(&user.1.to_string(), weight, forwarding);
        vs.destinations.push(RealServer { place: Some(0), ..row });
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
            if rebuilds && !self.looks_ours(&user, row.weight) {
                self.delete(user);
            }
            self.add(user, row.weight);
            self.edit(user, row.weight);
        }
    }

    fn configure(&mut self, service: &ServiceKey, policy: Option<ServicePolicy>) {
        let ports = |p: &ServicePolicy| p.checks.iter().map(|check| check.spec.port).collect::<Vec<_>>();
        let controller = &self.world.controller;
        let earlier =
            controller.policy().service_for(service).map(|at| ports(&controller.policy().services[at]));
        let alike = earlier.is_some() && earlier == policy.as_ref().map(ports);
        // One that another service probes at the new pace has results of its own.
        let probed = |spec: &CheckSpec| controller.probes.targets().any(|(_, t)| *t.target.spec == *spec);
        let new = policy.iter().flat_map(|p| &p.checks).all(|check| !probed(&check.spec));
        let before = self.verdicts(service);
        let services = &mut self.world.policy.services;
        services.retain(|s| !s.matches.iter().any(|m| m.matches(service)));
        services.extend(policy);
        self.reload();
        let kept = self.world.dead || !alike || !new || self.verdicts(service) == before;
        self.require(kept, || {
            format!("trap 28: a reload that changes no check of {service} forgets verdicts")
        });
    }

    pub(super) fn reload(&mut self) {
        for truth in self.truth.values_mut() {
            (truth.raised, truth.drained_again) = (false, 0);
        }
        if !self.world.dead {
            let policy = Arc::new(self.world.policy.clone());
            self.step(Event::PolicyLoaded { policy, hash: 2, source_ports: SourcePorts::USUAL });
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
        self.ups.clear();
        self.heard_shares.clear();
        self.known.clear();
        self.whole_read = None;
        let opens = !self.goes_wrong(Fault::Opens);
        let disk = self.world.disk.clone().filter(|ledger| ledger.origin.boot_id != EARLIER_BOOT);
        let weights: Vec<_> = self.truth.keys().map(|user| (*user, self.weight(user))).collect();
        for (user, weight) in weights {
            let Some(truth) = self.truth.get_mut(&user) else { continue };
            if !opens || !disk.as_ref().is_some_and(|l| l.raises.contains_key(&user)) {
                (truth.raised, truth.drained_again) = (false, 0);
            }
            let Some(entry) = disk.as_ref().and_then(|l| l.entries.get(&user)) else { continue };
            let Some(weight) = weight else { continue };
            // As if we had given it back and died before that was on disk.
            truth.raised &= weight != entry.owed.0;
            // Set just before our write, and we died before we could say that it was not ours.
            if entry.left(Weight(weight)) {
                (truth.given, truth.zero_by_operator) = (entry.owed.0, false);
            }
        }
        if opens {
            self.world.restart();
        } else {
            self.world.restart_without_disk("in use");
        }
        limit_changes(self.script, &mut self.world);
        self.has_a_record();
        self.step(Event::Tick);
    }

    pub(super) fn pause(&mut self, time: Duration) {
        self.asleep_until = self.asleep_until.max(self.world.now.mono + time);
    }

    pub(super) fn die(&mut self) {
        self.world.dead = true;
        self.stops_by = None;
        self.jobs.clear();
        self.forget_wires();
    }

    /// Of what the engine keeps for the old process, nothing is left.
    pub(super) fn forget_process(&mut self) {
        self.table_free = self.world.now.mono;
        self.table_heard = self.world.now.mono;
        self.asleep_until = self.world.now.mono;
    }
}
