//! A metric that nobody looks at is noise: each is on a dashboard or in a rule, or it is said what it is for.

use std::collections::BTreeSet;

use lvs_agent::metrics::catalogue;

use crate::catalogue::entry;
use crate::dashboards::all;
use crate::promql::scan;
use crate::rules::{RECORDS, RULES};

/// Neither drawn nor alerted on, and what it is for all the same.
const FOR_LOOKING_UP: &[(&str, &str)] = &[
    ("ipvs_info", "which kernels a fleet runs; nothing follows from the number by itself"),
    (
        "ipvs_outgoing_packets_total",
        "the whole director's replies have no forwarding to be told by (trap 11)",
    ),
    ("ipvs_outgoing_bytes_total", "the whole director's replies have no forwarding to be told by (trap 11)"),
    (
        "ipvs_virtual_server_outgoing_packets_total",
        "bytes are drawn; packets tell small replies from large ones",
    ),
    ("lvs_check_info", "rise and fall, to be joined to whatever a question is about"),
    (
        "lvs_check_connections_total",
        "how a kept connection was made; what it saves is in the CPU, which is drawn",
    ),
    ("lvs_check_reported_share_ratio", "off by default; what came of it is in the weights, which are drawn"),
    ("lvs_check_consecutive_successes", "how far a recovery is; `lvs-agent status` shows it"),
    (
        "lvs_agent_collector_success",
        "which collector of one scrape was late; what lasts, ipvs_up says and its alert",
    ),
    ("lvs_agent_collector_duration_seconds", "which collector made a scrape slow"),
    ("process_virtual_memory_bytes", "address space, not memory; a name that all exporters share"),
    ("process_threads", "bounded by the runtime; a name that all exporters share"),
];

/// By the catalogue's names.
fn used() -> BTreeSet<&'static str> {
    let dashboards = all();
    let of_boards = dashboards.iter().flat_map(|board| board.queries()).map(|(_, expr)| expr);
    let of_rules = RULES.iter().map(|rule| rule.expr.as_str());
    let of_records = RECORDS.iter().map(|record| record.expr.as_str());
    let queries = of_boards.chain(of_rules).chain(of_records);
    let selectors = queries.flat_map(|expr| scan(expr).selectors);
    selectors.filter_map(|selector| entry(&selector.metric)).map(|metric| metric.name).collect()
}

#[test]
fn every_metric_is_looked_at_or_says_what_it_is_for() {
    let used = used();
    for metric in catalogue() {
        let excuse = FOR_LOOKING_UP.iter().find(|(name, _)| *name == metric.name);
        match (used.contains(metric.name), excuse) {
            (true, None) | (false, Some(_)) => {}
            (false, None) => panic!("{}: on no dashboard, in no rule, and nobody says why", metric.name),
            (true, Some(_)) => panic!("{} needs no excuse any more", metric.name),
        }
    }
    for (name, _) in FOR_LOOKING_UP {
        assert!(catalogue().iter().any(|metric| metric.name == *name), "{name} is gone");
    }
}
