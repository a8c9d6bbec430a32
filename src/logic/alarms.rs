//! When a service has to be looked at although nothing happens there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::{Mono, ServiceKey};

/// One moment for each service, in order: finding the next is cheap with thousands of them.
#[derive(Debug, Default)]
pub struct Alarms {
    of: BTreeMap<ServiceKey, Mono>,
    order: BTreeSet<(Mono, ServiceKey)>,
}

impl Alarms {
    /// Puts this moment, or none, in the place of the one before.
    pub fn set(&mut self, service: ServiceKey, at: Option<Mono>) {
        let before = match at {
            Some(at) => self.of.insert(service, at),
            None => self.of.remove(&service),
        };
        if let Some(before) = before {
            self.order.remove(&(before, service));
        }
        self.order.extend(at.map(|at| (at, service)));
    }

    pub fn next(&self) -> Option<Mono> {
        self.order.first().map(|(at, _)| *at)
    }

    /// All of them so much later: what they are set for is (trap 49).
    pub fn paused(&mut self, gap: Duration) {
        self.of.values_mut().for_each(|at| *at += gap);
        self.order = self.of.iter().map(|(service, at)| (*at, *service)).collect();
    }

    /// Takes out those whose time has come.
    pub fn due(&mut self, now: Mono) -> Vec<ServiceKey> {
        let mut due = Vec::new();
        while let Some((at, service)) = self.order.first().copied()
            && at <= now
        {
            self.set(service, None);
            due.push(service);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_service_has_one_alarm_and_it_rings_once() {
        let at = |n| Mono::from_start(Duration::from_secs(n));
        let [a, b]: [ServiceKey; 2] = ["10.0.0.1:80/tcp", "fwmark:7/ipv4"].map(|key| key.parse().unwrap());
        let mut alarms = Alarms::default();
        alarms.set(a, Some(at(5)));
        alarms.set(b, Some(at(3)));
        alarms.set(a, Some(at(2)));
        assert_eq!(alarms.next(), Some(at(2)));
        assert_eq!(alarms.due(at(1)), []);
        assert_eq!(alarms.due(at(9)), [a, b]);
        assert_eq!((alarms.next(), alarms.due(at(9))), (None, vec![]));
        alarms.set(b, Some(at(3)));
        alarms.paused(Duration::from_secs(7));
        assert_eq!((alarms.next(), alarms.due(at(9)).len()), (Some(at(10)), 0));
        alarms.set(b, None);
        assert_eq!(alarms.next(), None);
    }
}
