//! The embedded table: the same seam and the same rules as the kernel's, in memory.

use std::sync::Arc;
use std::time::Duration;

use crate::model::{
    Counters, Snapshot, TableSource, VirtualServer, Weight, WeightChange, WriteOutcome, WriteReport,
};
use crate::os::Clock;

pub struct MemoryTable {
    /// Sorted by key, unique; so are the destinations of each.
    services: Vec<Arc<VirtualServer>>,
    clock: Clock,
}

impl MemoryTable {
    pub fn new(services: Vec<VirtualServer>, clock: Clock) -> MemoryTable {
        MemoryTable { services: services.into_iter().map(Arc::new).collect(), clock }
    }

    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            taken: self.clock.now(),
            duration: Duration::ZERO,
            source: TableSource::Memory,
            info: None,
            timeouts: None,
            daemons: Vec::new(),
            totals: Some(Counters::default()),
            sysctls: Vec::new(),
            services: self.services.clone(),
        }
    }

    pub fn set_weights(&mut self, changes: &[WeightChange]) -> WriteReport {
        let mut touched: Vec<usize> = Vec::new();
        let mut results = Vec::with_capacity(changes.len());
        for (at, change) in changes.iter().enumerate() {
            let twice = changes[..at].iter().any(|c| c.service == change.service && c.dest == change.dest);
            let outcome =
                if twice { super::write::named_twice(change) } else { self.set(change, &mut touched) };
            results.push((*change, outcome));
        }
        touched.sort_unstable();
        touched.dedup();
        let services = touched.iter().map(|at| (*self.services[*at]).clone()).collect();
        WriteReport { results, services }
    }

    fn set(&mut self, change: &WeightChange, touched: &mut Vec<usize>) -> WriteOutcome {
        if change.to > Weight::MAX {
            return super::write::too_heavy(change);
        }
        let Ok(at) = self.services.binary_search_by(|s| s.key.cmp(&change.service)) else {
            return WriteOutcome::Gone;
        };
        touched.push(at);
        let service = Arc::make_mut(&mut self.services[at]);
        let Ok(dest) = service.destinations.binary_search_by(|d| d.key.cmp(&change.dest)) else {
            return WriteOutcome::Gone;
        };
        let dest = &mut service.destinations[dest];
        if dest.weight != change.from {
            return WriteOutcome::Conflict(dest.weight);
        }
        dest.weight = change.to;
        WriteOutcome::Written
    }
}

#[cfg(test)]
mod tests {
    use crate::ipvs::Table;
    use crate::model::{TableSource, Weight, WeightChange, WriteOutcome};
    use crate::os::Clock;

    const TABLE: &str = "-A -t 10.0.0.100:80 -s wrr\n\
        -a -t 10.0.0.100:80 -r 10.0.0.12:80 -g -w 5\n\
        -a -t 10.0.0.100:80 -r 10.0.0.11:80 -g -w 1\n\
        -A -f 7 -6 -s rr\n";

    fn change(service: &str, dest: &str, from: u32, to: u32) -> WeightChange {
        WeightChange {
            service: service.parse().unwrap(),
            dest: dest.parse().unwrap(),
            from: Weight(from),
            to: Weight(to),
        }
    }

    #[tokio::test]
    async fn weights_change_only_where_the_plan_still_holds() {
        let mut table = Table::memory(TABLE, Clock::start()).unwrap();
        let vip = "10.0.0.100:80/tcp";
        let changes = [
            change(vip, "10.0.0.12:80", 5, 0),
            change(vip, "10.0.0.11:80", 2, 0),
            change(vip, "10.0.0.13:80", 1, 0),
            change("10.0.0.100:81/tcp", "10.0.0.11:80", 1, 0),
            change("fwmark:7/ipv6", "[fd00::11]:0", 1, 0),
            change(vip, "10.0.0.12:80", 0, 9),
            change(vip, "10.0.0.11:80", 1, 1 << 31),
        ];
        let report = table.set_weights(&changes).await;
        let outcomes: Vec<_> = report.results.iter().map(|(_, outcome)| outcome.clone()).collect();
        assert_eq!(
            outcomes[..5],
            [
                WriteOutcome::Written,
                WriteOutcome::Conflict(Weight(1)),
                WriteOutcome::Gone,
                WriteOutcome::Gone,
                WriteOutcome::Gone
            ]
        );
        assert!(matches!(&outcomes[5], WriteOutcome::Failed(why) if why.contains("twice")), "{outcomes:?}");
        assert!(matches!(&outcomes[6], WriteOutcome::Failed(why) if why.contains("twice")), "{outcomes:?}");
        assert_eq!(report.results.iter().map(|(c, _)| *c).collect::<Vec<_>>(), changes);

        let keys: Vec<_> = report.services.iter().map(|s| s.key.to_string()).collect();
        assert_eq!(keys, [vip, "fwmark:7/ipv6"]);
        let after = table.snapshot().await.unwrap();
        assert_eq!(after.source, TableSource::Memory);
        let weights: Vec<_> =
            after.services[0].destinations.iter().map(|d| (d.key.to_string(), d.weight.0)).collect();
        assert_eq!(weights, [("10.0.0.11:80".to_owned(), 1), ("10.0.0.12:80".to_owned(), 0)]);
        assert_eq!(*after.services[0], report.services[0]);
        assert_eq!(table.identity().unwrap(), "embedded");
    }

    #[tokio::test]
    async fn the_largest_weight_is_the_kernels() {
        let mut table = Table::memory(TABLE, Clock::start()).unwrap();
        let too_much = change("10.0.0.100:80/tcp", "10.0.0.11:80", 1, 1 << 31);
        let report = table.set_weights(&[too_much]).await;
        assert!(matches!(&report.results[0].1, WriteOutcome::Failed(why) if why.contains("2147483647")));
        let most = change("10.0.0.100:80/tcp", "10.0.0.11:80", 1, (1 << 31) - 1);
        assert_eq!(table.set_weights(&[most]).await.results[0].1, WriteOutcome::Written);
    }
}
