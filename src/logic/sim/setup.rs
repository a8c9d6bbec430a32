//! From a script's set-up to a table and a configuration.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::engine::Truth;
use super::script::{Rules, Script, ServiceSetup};
use crate::logic::probes::User;
use crate::logic::service::tests::{dest, tcp_spec};
use crate::logic::world::{NEVER_SUSPECT, World, policy, virtual_server};
use crate::model::{
    Check, CheckSpec, Counters, Floor, Forwarding, Match, Mode, Net, Policy, ServiceKey, ServicePolicy,
    VirtualServer,
};

pub fn table_of(script: &Script) -> BTreeMap<ServiceKey, VirtualServer> {
    let table = |setup: &ServiceSetup| {
        let mut vs = virtual_server(setup.key, &[]);
        vs.scheduler.clone_from(&setup.scheduler);
        vs.destinations = setup
            .rows
            .iter()
            .map(|row| {
                let forwarding = if row.masquerading { Forwarding::Masq } else { Forwarding::Route };
                dest(&row.key.to_string(), row.weight, forwarding)
            })
            .collect();
        // Added one by one, each before the others.
        for (behind, row) in vs.destinations.iter_mut().rev().enumerate() {
            row.place = u32::try_from(behind).ok();
        }
        vs.destinations.sort_by_key(|d| d.key);
        vs.counters = Some(Counters::default());
        (setup.key, vs)
    };
    script.services.iter().map(table).collect()
}

pub fn truth_of(script: &Script) -> BTreeMap<User, Truth> {
    let rows = script.services.iter().flat_map(|s| s.rows.iter().map(|row| ((s.key, row.key), row.weight)));
    rows.map(|(user, w)| (user, Truth { given: w, zero_by_operator: w == 0, ..Truth::default() })).collect()
}

pub fn service_policy(key: ServiceKey, rules: &Rules) -> ServicePolicy {
    let mut service = policy(rules.floor, rules.mode).services.remove(0);
    service.name = None;
    service.matches = vec![match key {
        ServiceKey::Address { addr, port, protocol } => {
            Match::Address { net: Some(Net::host(addr)), port: Some(port), protocol }
        }
        ServiceKey::Fwmark { mark, family } => Match::Fwmark { mark: Some(mark), family: Some(family) },
    }];
    let check = |port: &u16| {
        let mut spec = CheckSpec { port: Some(*port).filter(|port| *port != 0), ..tcp_spec() };
        spec.pace.interval = rules.interval;
        spec.pace.tripwire = rules.tripwire;
        Arc::new(Check { name: format!("port-{port}"), spec: Arc::new(spec) })
    };
    service.checks = rules.checks.iter().map(check).collect();
    service.on_failure = rules.on_failure;
    service.slow_start = rules.slow_start;
    service.hold_down = rules.hold_down;
    service
}

pub fn policy_of(script: &Script) -> Policy {
    let managed = |s: &ServiceSetup| s.rules.as_ref().map(|rules| service_policy(s.key, rules));
    Policy {
        services: script.services.iter().filter_map(managed).collect(),
        suspect_self_percent: script.suspect_self_percent,
        restore_on_exit: script.restore_on_exit,
        ..policy(Floor::DEFAULT, Mode::Enforce)
    }
}

/// Under which everything that passes gets its weight back, once its ramp has ended.
pub fn healthy_policy(script: &Script) -> Policy {
    let healthy = |s: &ServiceSetup| {
        let rules = s.rules.clone().unwrap_or_default();
        let mut rules = Rules { on_failure: None, mode: Mode::Enforce, hold_down: Duration::ZERO, ..rules };
        rules.checks = if rules.checks.is_empty() { vec![80] } else { rules.checks };
        service_policy(s.key, &rules)
    };
    Policy {
        services: script.services.iter().map(healthy).collect(),
        suspect_self_percent: NEVER_SUSPECT,
        ..policy(Floor::DEFAULT, Mode::Enforce)
    }
}

/// Of a new process.
pub fn limit_changes(script: &Script, world: &mut World) {
    if let Some(changes) = script.changes_per_cycle {
        world.controller.changes_per_cycle = changes;
    }
}
