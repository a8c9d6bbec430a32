//! What a scrape shows: the parts it asks for, and what the limit of series leaves of them.

use std::collections::{BTreeMap, BTreeSet};

use super::catalogue::{Kind, Metric};
use crate::model::{BOUNDS_SECONDS, View, words};

words! {
    /// The parts that `collect[]` and `exclude[]` name.
    Part {
        /// The kernel's table, but for the traffic of single real servers.
        Ipvs = "ipvs",
        /// The five counters of each real server: by far the most that a big table adds.
        RealServerTraffic = "real_server_traffic",
        /// Verdicts, weights, decisions.
        Checks = "checks",
        /// Who holds the virtual addresses.
        Addresses = "addresses",
        Agent = "agent",
        Process = "process",
    }
}

words! {
    /// What is left out where there are too many series, in this order, each whole: a family of which
    /// some rows are missing would lie. What no group holds is bounded by itself and always there.
    SeriesGroup {
        RealServerTraffic = "real_server_traffic",
        /// Of each check of each real server.
        Checks = "checks",
        CheckDurations = "check_durations",
        /// Verdicts and weights of each real server.
        RealServerHealth = "real_server_health",
        RealServers = "real_servers",
        /// The symptoms that pages come from go last.
        VirtualServers = "virtual_servers",
    }
}

/// What of the catalogue one scrape shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    excluded: BTreeSet<Part>,
    /// More series than this lose whole groups.
    pub max_series: usize,
}

impl Default for Selection {
    /// Everything.
    fn default() -> Selection {
        Selection { excluded: BTreeSet::new(), max_series: usize::MAX }
    }
}

impl Selection {
    pub fn exclude(&mut self, part: Part) {
        self.excluded.insert(part);
    }

    /// Leaves only these of what was there.
    pub fn keep_only(&mut self, parts: &BTreeSet<Part>) {
        self.excluded.extend(Part::ALL.into_iter().filter(|part| !parts.contains(part)));
    }

    /// Shows what both show.
    pub fn and(&self, other: &Selection) -> Selection {
        Selection {
            excluded: self.excluded.union(&other.excluded).copied().collect(),
            max_series: self.max_series.min(other.max_series),
        }
    }

    pub(super) fn has(&self, metric: &Metric) -> bool {
        !self.excluded.contains(&part(metric))
    }
}

fn part(metric: &Metric) -> Part {
    let starts = |prefix| metric.name.starts_with(prefix);
    if starts("process_") {
        Part::Process
    } else if starts("lvs_agent_") {
        Part::Agent
    } else if starts("lvs_vip_") || starts("lvs_director_") {
        Part::Addresses
    } else if starts("lvs_") {
        Part::Checks
    } else if starts("ipvs_real_server_") && metric.kind == Kind::Counter {
        Part::RealServerTraffic
    } else {
        Part::Ipvs
    }
}

impl SeriesGroup {
    pub(super) fn of(metric: &Metric) -> Option<SeriesGroup> {
        let has = |label| metric.labels.contains(&label);
        if part(metric) == Part::RealServerTraffic {
            Some(SeriesGroup::RealServerTraffic)
        } else if has("real_server") && has("check") {
            Some(SeriesGroup::Checks)
        } else if has("virtual_server") && metric.kind == Kind::Histogram {
            Some(SeriesGroup::CheckDurations)
        } else if has("real_server") && metric.name.starts_with("lvs_") {
            Some(SeriesGroup::RealServerHealth)
        } else if has("real_server") {
            Some(SeriesGroup::RealServers)
        } else if has("virtual_server") || has("vip") {
            Some(SeriesGroup::VirtualServers)
        } else {
            None
        }
    }
}

/// Series by the group that they would go with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Counts(BTreeMap<Option<SeriesGroup>, usize>);

impl Counts {
    pub(super) fn add(&mut self, metric: &Metric, rows: usize) {
        let each = match metric.kind {
            Kind::Counter | Kind::Gauge | Kind::Info => 1,
            // The bounds, +Inf, sum and count.
            Kind::Histogram => BOUNDS_SECONDS.len() + 3,
        };
        *self.0.entry(SeriesGroup::of(metric)).or_default() += rows * each;
    }

    /// The groups that go so that the rest is within the limit, with their series.
    pub(super) fn over(&self, max_series: usize) -> Dropped {
        let mut total: usize = self.0.values().sum();
        let mut dropped = Dropped::default();
        for group in SeriesGroup::ALL {
            if total <= max_series {
                break;
            }
            let series = self.0.get(&Some(group)).copied().unwrap_or(0);
            total -= series;
            dropped.0.insert(group, series);
        }
        dropped
    }
}

/// What the limit leaves out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Dropped(BTreeMap<SeriesGroup, usize>);

impl Dropped {
    pub(super) fn has(&self, metric: &Metric) -> bool {
        !self.0.is_empty() && SeriesGroup::of(metric).is_some_and(|group| self.0.contains_key(&group))
    }

    pub(super) fn series(&self, group: SeriesGroup) -> usize {
        self.0.get(&group).copied().unwrap_or(0)
    }

    pub(super) fn total(&self) -> usize {
        self.0.values().sum()
    }

    pub(super) fn groups(&self) -> String {
        let words: Vec<&str> = self.0.keys().map(|group| group.as_str()).collect();
        words.join(", ")
    }
}

/// No view has more series than this. Counting them takes a quarter of what writing them does (benches/exposition.rs,
/// "counted"), and this next to nothing.
pub(super) fn at_most(view: &View) -> usize {
    /// Info, weight, three kinds of connections, two thresholds, five counters; eight of health and one
    /// for each reason of a drain or a hold.
    const REAL_SERVER: usize = 12 + 10;
    const CHECK_OF_REAL_SERVER: usize = 7;
    /// Info twice, the kernel's seven, and at most thirty of health.
    const VIRTUAL_SERVER: usize = 2 + 7 + 30;
    const CHECK: usize = 3;
    const VIP: usize = 3;
    /// Netlink commands and their histograms, sysctls, the agent, the process.
    const THE_REST: usize = 2000;
    let histogram = BOUNDS_SECONDS.len() + 3;
    let in_table = view.snapshot.iter().flat_map(|snapshot| &snapshot.services);
    let real_servers: usize = in_table.map(|service| service.destinations.len()).sum();
    let managed = view.services.iter().filter_map(|service| service.managed.as_ref());
    let managed: usize = managed
        .map(|service| {
            let checks = service.real_servers.iter().flat_map(|server| &server.checks);
            let checks: usize = checks.map(|check| CHECK_OF_REAL_SERVER + check.failures.len()).sum();
            let by_reason = service.weight_changes_held.len() + service.inconclusive.len();
            checks + by_reason + service.checks.len() * CHECK + service.durations.len() * histogram
        })
        .sum();
    let vips: usize = view.vips.rows.iter().map(|vip| VIP + vip.interfaces.len().max(1)).sum();
    THE_REST + real_servers * REAL_SERVER + view.services.len() * VIRTUAL_SERVER + managed + vips
}
