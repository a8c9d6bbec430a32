//! That every alert has tests worth the name: alerts/tests/<Alert>.yml, which promtool runs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;

use crate::promql::scan;
use crate::rules::RULES;
use crate::{catalogue, files, read, stem};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TestFile {
    rule_files: Vec<String>,
    #[expect(dead_code, reason = "promtool's; here it is only allowed")]
    evaluation_interval: String,
    tests: Vec<Test>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Test {
    name: String,
    #[expect(dead_code, reason = "promtool's; here it is only allowed")]
    interval: String,
    input_series: Vec<Series>,
    #[serde(default)]
    alert_rule_test: Vec<Case>,
    #[serde(default)]
    #[expect(dead_code, reason = "promtool's; here it is only allowed")]
    promql_expr_test: Vec<Recorded>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Series {
    series: String,
    values: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    #[expect(dead_code, reason = "promtool's; here it is only allowed")]
    eval_time: String,
    alertname: String,
    exp_alerts: Vec<Expected>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "promtool compares them; here they are only allowed")]
struct Recorded {
    expr: String,
    eval_time: String,
    exp_samples: Vec<Sample>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "promtool compares them; here they are only allowed")]
struct Sample {
    labels: String,
    value: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "promtool compares them; here they are only counted")]
struct Expected {
    exp_labels: BTreeMap<String, String>,
    exp_annotations: BTreeMap<String, String>,
}

fn parse(path: &Path) -> TestFile {
    serde_saphyr::from_str(&read(path)).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn each_alert_has_a_test_file_and_each_test_file_an_alert() {
    let tested: BTreeSet<String> =
        files("alerts/tests", "yml").iter().map(|path| stem(path).to_owned()).collect();
    let alerts: BTreeSet<String> = RULES.iter().map(|rule| rule.alert.clone()).collect();
    assert_eq!(tested, alerts);
}

/// At least four situations, some in which it fires and some in which it must not though it looks like it, and
/// both sides of `for` in one of them.
#[test]
fn each_alert_is_tested_both_ways() {
    for path in files("alerts/tests", "yml") {
        let (alert, file) = (stem(&path), parse(&path));
        assert!(file.tests.len() >= 4, "{alert}: {} situations", file.tests.len());
        let names: BTreeSet<&str> = file.tests.iter().map(|test| test.name.as_str()).collect();
        assert_eq!(names.len(), file.tests.len(), "{alert}: two situations have one name");
        for rules in &file.rule_files {
            assert!(path.with_file_name(rules).is_file(), "{alert}: {rules}");
        }
        for case in file.tests.iter().flat_map(|test| &test.alert_rule_test) {
            assert_eq!(case.alertname, alert, "the file's own alert");
        }
        let fires = |test: &Test| test.alert_rule_test.iter().any(|case| !case.exp_alerts.is_empty());
        let silent = |test: &Test| test.alert_rule_test.iter().any(|case| case.exp_alerts.is_empty());
        let look_alikes: Vec<&Test> =
            file.tests.iter().filter(|test| !test.alert_rule_test.is_empty() && !fires(test)).collect();
        // The dead man's switch is never to be silent.
        let always = RULES.iter().any(|rule| rule.alert == alert && rule.labels["severity"] == "none");
        assert!(
            always || file.tests.iter().any(|test| fires(test) && silent(test)),
            "{alert}: never crosses its `for`"
        );
        assert!(always || look_alikes.len() >= 2, "{alert}: look-alikes in which it is silent");
        for test in look_alikes {
            assert!(test.name.starts_with("silent"), "{alert}: {} never fires", test.name);
        }
        let gap = |test: &Test| {
            test.input_series.iter().any(|s| s.values.contains('_') || s.values.contains("stale"))
        };
        assert!(file.tests.iter().any(gap), "{alert}: no situation with a failed scrape");
    }
}

/// A test on series that no agent exports proves nothing.
#[test]
fn tests_feed_what_the_agent_exports() {
    // One more label of the target than Prometheus gives: alerts must carry it.
    let of_the_target = ["job", "instance", "site"];
    for path in files("alerts/tests", "yml") {
        let file = parse(&path);
        for series in file.tests.iter().flat_map(|test| &test.input_series) {
            let scanned = scan(&series.series);
            let [selector] = &scanned.selectors[..] else { panic!("{}", series.series) };
            let known = catalogue::labels(&selector.metric);
            let mut known = known.unwrap_or_else(|| panic!("{}: no such metric", series.series));
            known.push("site");
            let given: BTreeSet<&str> = selector.matchers.iter().map(|m| m.label.as_str()).collect();
            assert_eq!(given, known.into_iter().collect(), "{}: {}", stem(&path), series.series);
            assert!(of_the_target.iter().all(|label| given.contains(label)), "{}", series.series);
        }
    }
}
