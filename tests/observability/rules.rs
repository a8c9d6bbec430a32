//! The conventions of the alert rules.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use lvs_agent::metrics::Kind;
use regex::Regex;
use serde::Deserialize;

use crate::promql::{Selector, scan};
use crate::{catalogue, files, read, root};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleFile {
    groups: Vec<Group>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    pub name: String,
    rules: Vec<Either>,
}

/// As it stands in the file: an alert or a recording.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Either {
    alert: Option<String>,
    record: Option<String>,
    expr: String,
    #[serde(rename = "for")]
    pending: Option<String>,
    keep_firing_for: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Debug)]
pub struct Rule {
    pub alert: String,
    pub expr: String,
    pub pending: Option<String>,
    pub keep_firing_for: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
}

#[derive(Debug)]
pub struct Record {
    pub name: String,
    pub expr: String,
}

/// The part of deploy/prometheus.yml that the rules rely on.
#[derive(Debug, Deserialize)]
struct Prometheus {
    global: Global,
    scrape_configs: Vec<Job>,
}

#[derive(Debug, Deserialize)]
struct Global {
    scrape_interval: String,
}

#[derive(Debug, Deserialize)]
struct Job {
    job_name: String,
}

pub static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    let alert = |rule: Either| {
        rule.alert.map(|alert| Rule {
            alert,
            expr: rule.expr,
            pending: rule.pending,
            keep_firing_for: rule.keep_firing_for,
            labels: rule.labels,
            annotations: rule.annotations,
        })
    };
    groups().into_iter().flat_map(|group| group.rules).filter_map(alert).collect()
});

pub static RECORDS: LazyLock<Vec<Record>> = LazyLock::new(|| {
    let record = |rule: Either| rule.record.map(|name| Record { name, expr: rule.expr });
    groups().into_iter().flat_map(|group| group.rules).filter_map(record).collect()
});

pub fn groups() -> Vec<Group> {
    let parse = |path: std::path::PathBuf| -> RuleFile {
        serde_saphyr::from_str(&read(&path)).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    };
    files("alerts", "yml").into_iter().flat_map(|path| parse(path).groups).collect()
}

pub fn seconds(duration: &str) -> u64 {
    let (number, unit) = duration.split_at(duration.len() - 1);
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => panic!("{duration}: one of s, m, h"),
    };
    number.parse::<u64>().unwrap_or_else(|e| panic!("{duration}: {e}")) * unit
}

#[test]
fn names_are_unique_and_say_whose_they_are() {
    let form = Regex::new("^Ipvs([A-Z][a-z]+)+$").expect("a pattern");
    let mut seen = BTreeSet::new();
    for group in groups() {
        assert!(group.name.starts_with("lvs-agent-"), "{}", group.name);
        assert!(seen.insert(group.name.clone()), "group {} is there twice", group.name);
    }
    for rule in RULES.iter() {
        assert!(form.is_match(&rule.alert), "{}", rule.alert);
        assert!(seen.insert(rule.alert.clone()), "{} is there twice", rule.alert);
    }
}

#[test]
fn each_rule_reads_what_is_exported() {
    for rule in RULES.iter() {
        let mut faults = catalogue::faults(&rule.expr);
        // count_values makes a label of its own.
        faults.retain(|fault| {
            fault != "no metric of it has the label hash" || !rule.expr.contains("count_values")
        });
        assert!(faults.is_empty(), "{}: {}", rule.alert, faults.join("; "));
    }
}

#[test]
fn no_rule_forgets_what_it_knew_when_a_scrape_fails() {
    // A target's `up` is there whatever the scrape brings.
    let bridged = |selector: &Selector| match catalogue::entry(&selector.metric).map(|m| m.kind) {
        Some(Kind::Gauge | Kind::Info) => {
            selector.function.as_deref().is_some_and(|f| f.ends_with("_over_time"))
        }
        Some(Kind::Counter | Kind::Histogram) => true,
        // A recording bridges by itself: its own ranges do.
        None => selector.metric == "up" || RECORDS.iter().any(|record| record.name == selector.metric),
    };
    for rule in RULES.iter() {
        for selector in &scan(&rule.expr).selectors {
            assert!(bridged(selector), "{}: {} is bare", rule.alert, selector.metric);
        }
    }
}

#[test]
fn ranges_span_four_scrapes_of_the_slowest_interval_promised() {
    // The rule file's header says 30 s.
    for rule in RULES.iter() {
        for range in scan(&rule.expr).selectors.iter().filter_map(|s| s.range.as_deref()) {
            assert!(seconds(range) >= 4 * 30, "{}: [{range}]", rule.alert);
        }
    }
    let text = read(&root().join("deploy/prometheus.yml"));
    let shipped: Prometheus = serde_saphyr::from_str(&text).expect("deploy/prometheus.yml");
    assert!(seconds(&shipped.global.scrape_interval) <= 30);
    let jobs: Vec<&str> = shipped.scrape_configs.iter().map(|job| job.job_name.as_str()).collect();
    for selector in RULES.iter().flat_map(|rule| scan(&rule.expr).selectors) {
        let job = selector.matcher("job").map(|m| m.value.as_str());
        assert!(job.is_none_or(|job| jobs.contains(&job)), "{job:?} is not scraped");
    }
}

#[test]
fn labels_say_how_urgent_it_is() {
    for rule in RULES.iter() {
        let labels: Vec<(&str, &str)> = rule.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let [("component", "ipvs"), ("severity", severity)] = labels[..] else {
            panic!("{}: component and severity, not {labels:?}", rule.alert)
        };
        assert!(["critical", "warning", "info", "none"].contains(&severity), "{}: {severity}", rule.alert);
    }
}

#[test]
fn annotations_are_complete() {
    for rule in RULES.iter() {
        let name = &rule.alert;
        let keys: Vec<&str> = rule.annotations.keys().map(String::as_str).collect();
        assert_eq!(keys, ["dashboard_url", "description", "runbook_url", "summary"], "{name}");
        let summary = &rule.annotations["summary"];
        assert!(!summary.contains("{{") && summary.ends_with('.'), "{name}: a static sentence: {summary}");
        assert!(rule.annotations["description"].ends_with(['.', '?', ')']), "{name}: sentences");
        assert_eq!(rule.annotations["runbook_url"], format!("docs/runbooks/{name}.md"));
        assert!(root().join(&rule.annotations["runbook_url"]).is_file(), "{name} has no runbook");
    }
}
