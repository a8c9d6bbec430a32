//! What a query may read: the agent's catalogue, and what Prometheus makes itself.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use lvs_agent::metrics::{Kind, Metric, catalogue};

use crate::flow;
use crate::promql::{Query, Selector, scan};
use crate::rules::{RECORDS, Record};

/// Prometheus's own: of a target, and of its alerts (whose labels are those of the rules).
const OF_PROMETHEUS: &[(&str, &[&str])] = &[
    ("up", &[]),
    ("scrape_duration_seconds", &[]),
    ("scrape_samples_scraped", &[]),
    ("ALERTS", &["alertname", "alertstate", "severity", "component", "virtual_server"]),
];
/// Those that Prometheus gives every row of a target.
pub const TARGET_LABELS: &[&str] = &["job", "instance"];

/// Labels of what our own rules record.
static RECORDED: LazyLock<BTreeMap<&str, Vec<String>>> = LazyLock::new(|| {
    let labels = |record: &'static Record| match flow::of_query(&record.expr) {
        Ok(flow::Value::Rows(rows)) => (record.name.as_str(), rows.labels.into_iter().collect()),
        Ok(flow::Value::Scalar) | Err(_) => panic!("{}: what does it record?", record.name),
    };
    RECORDS.iter().map(labels).collect()
});

/// The entry behind a name as queries write it; a histogram's three sample names too.
pub fn entry(name: &str) -> Option<&'static Metric> {
    let parts = ["_bucket", "_sum", "_count"];
    catalogue().iter().find(|metric| match metric.kind {
        Kind::Histogram => parts.iter().any(|part| name.strip_suffix(part) == Some(metric.name)),
        Kind::Counter | Kind::Gauge | Kind::Info => metric.name == name,
    })
}

/// Labels of its rows; `None` if there is neither such a metric nor such a recording.
pub fn labels(name: &str) -> Option<Vec<&'static str>> {
    match RECORDED.get(name) {
        Some(recorded) => Some(recorded.iter().map(String::as_str).collect()),
        None => scraped(name),
    }
}

/// Labels of its rows as they come from a target.
pub fn scraped(name: &str) -> Option<Vec<&'static str>> {
    let own = match entry(name) {
        Some(metric) => metric.labels.to_vec(),
        None => OF_PROMETHEUS.iter().find(|(of_prometheus, _)| *of_prometheus == name)?.1.to_vec(),
    };
    let bound = name.ends_with("_bucket").then_some("le");
    Some(own.into_iter().chain(bound).chain(TARGET_LABELS.iter().copied()).collect())
}

/// The labels that a query's metrics have, all together.
pub fn labels_of(query: &Query) -> Vec<&'static str> {
    query.selectors.iter().filter_map(|selector| labels(&selector.metric)).flatten().collect()
}

/// What is wrong with a query, apart from its syntax.
pub fn faults(text: &str) -> Vec<String> {
    let query = scan(text);
    let mut faults: Vec<String> = query.selectors.iter().flat_map(selector_faults).collect();
    let known = labels_of(&query);
    for label in query.labels.iter().filter(|label| !known.contains(&label.as_str())) {
        faults.push(format!("no metric of it has the label {label}"));
    }
    faults
}

fn selector_faults(selector: &Selector) -> Vec<String> {
    let name = &selector.metric;
    let Some(labels) = labels(name) else {
        return vec![format!("{name} is not in the catalogue")];
    };
    let unknown = selector.matchers.iter().filter(|m| !labels.contains(&m.label.as_str()));
    let mut faults: Vec<String> = unknown.map(|m| format!("{name} has no label {}", m.label)).collect();
    let function = selector.function.as_deref();
    let counts = matches!(function, Some("rate" | "irate" | "increase"));
    match entry(name).map(|metric| metric.kind) {
        Some(Kind::Counter | Kind::Histogram) if !counts => {
            faults.push(format!("{name} is a counter and stands in {function:?}"));
        }
        Some(Kind::Gauge | Kind::Info) | None if counts => {
            faults.push(format!("{name} is no counter and stands in {function:?}"));
        }
        Some(Kind::Counter | Kind::Histogram | Kind::Gauge | Kind::Info) | None => {}
    }
    faults
}

#[test]
fn faults_are_seen() {
    let of = |query: &str| faults(query).join("; ");
    assert_eq!(of("rate(ipvs_virtual_server_connections_total{virtual_server=\"x\"}[5m])"), "");
    assert_eq!(
        of("sum by (le) (rate(lvs_agent_probe_schedule_lag_seconds_bucket{le=\"1.0\", job=\"x\"}[5m]))"),
        ""
    );
    assert_eq!(of("lvs_no_such_thing == 1"), "lvs_no_such_thing is not in the catalogue");
    assert_eq!(of("ipvs_up{virtual_server=\"x\"}"), "ipvs_up has no label virtual_server");
    assert_eq!(of("sum by (vip) (ipvs_up)"), "no metric of it has the label vip");
    assert_eq!(
        of("sum(ipvs_connections_total)"),
        "ipvs_connections_total is a counter and stands in Some(\"sum\")"
    );
    assert_eq!(of("rate(ipvs_up[5m])"), "ipvs_up is no counter and stands in Some(\"rate\")");
    assert_eq!(of("lvs_check_duration_seconds"), "lvs_check_duration_seconds is not in the catalogue");
}
