//! What linters of alert rules look for and promtool does not: rules that load, and never fire, always fire, or tell nothing.

use std::collections::{BTreeMap, BTreeSet};

use lvs_agent::metrics::Unit;
use promql_parser::parser::{BinaryExpr, Expr};
use regex::Regex;

use crate::flow::{self, OF_THE_TARGET, Rows, Value};
use crate::promql::{Matcher, scan};
use crate::rules::{RECORDS, RULES, Rule, seconds};
use crate::{catalogue, files, read, stem};

/// It fires always and for nobody: the dead man's switch.
const WATCHDOG: &str = "IpvsAlertingWatchdog";
/// It pages days before anybody is hurt: a certificate that is being replaced is no reason to.
const DAYS_AHEAD: &str = "IpvsTlsCertificateExpiresCritical";
/// Values of labels that no help text lists: the kernel's words, and the guard's reasons (docs/operations.md).
const OTHER_VALUES: &[(&str, &str)] = &[
    ("command", "set_dest"),
    ("errno", "ENOENT"),
    ("errno", "ESRCH"),
    ("reason", "observe"),
    ("job", "lvs-agent"),
];

fn rows(rule: &Rule) -> Rows {
    match flow::of_query(&rule.expr) {
        Ok(Value::Rows(rows)) => rows,
        Ok(Value::Scalar) => panic!("{}: a number is no alert", rule.alert),
        Err(fault) => panic!("{}: {fault}", rule.alert),
    }
}

/// Without it an alert cannot be routed, grouped or inhibited by where it comes from.
#[test]
fn alerts_keep_what_says_whose_they_are() {
    for rule in RULES.iter().filter(|rule| rule.alert != WATCHDOG) {
        let labels = rows(rule).labels;
        assert!(labels.contains("job"), "{}: no job among {labels:?}", rule.alert);
        // absent() knows what was asked for only.
        let of_nothing = rule.expr.contains("absent(");
        assert!(labels.contains(OF_THE_TARGET) || of_nothing, "{}: loses the target's labels", rule.alert);
    }
}

#[test]
fn templates_name_labels_that_the_expression_keeps() {
    let label = Regex::new(r"\$labels\.(\w+)").expect("a pattern");
    for rule in RULES.iter() {
        let labels = rows(rule).labels;
        let texts = rule.annotations.values().chain(rule.labels.values());
        for (_, [name]) in texts.flat_map(|text| label.captures_iter(text)).map(|found| found.extract()) {
            assert!(labels.contains(name), "{}: {name} is not among {labels:?}", rule.alert);
        }
        // What tells two alerts of one name apart is said, else both read alike.
        let said = &rule.annotations["description"];
        for name in
            ["instance", "virtual_server", "real_server"].iter().filter(|name| labels.contains(**name))
        {
            assert!(said.contains(&format!("$labels.{name} ")), "{}: does not say which {name}", rule.alert);
        }
    }
}

/// An expression without a condition fires for every row there is.
#[test]
fn alerts_have_a_condition() {
    for rule in RULES.iter().filter(|rule| rule.alert != WATCHDOG) {
        assert!(conditional(&flow::ast(&rule.expr)), "{}: no comparison with anything", rule.alert);
    }
    for (expr, good) in [
        ("ipvs_up", false),
        ("ipvs_up == bool 0", false),
        ("ipvs_up and on (job) up == 0", false),
        ("ipvs_up == 0 or lvs_agent_ledger_entries", false),
        ("count(ipvs_up == 0)", true),
        ("absent(up)", true),
    ] {
        assert_eq!(conditional(&flow::ast(expr)), good, "{expr}");
    }
}

fn conditional(expr: &Expr) -> bool {
    match expr {
        Expr::Paren(inner) => conditional(&inner.expr),
        Expr::Aggregate(aggregate) => conditional(&aggregate.expr),
        Expr::Call(call) => call.func.name == "absent",
        Expr::Binary(binary) => conditional_binary(binary),
        Expr::Unary(_)
        | Expr::Subquery(_)
        | Expr::NumberLiteral(_)
        | Expr::StringLiteral(_)
        | Expr::VectorSelector(_)
        | Expr::MatrixSelector(_)
        | Expr::Extension(_) => false,
    }
}

fn conditional_binary(binary: &BinaryExpr) -> bool {
    if binary.op.is_comparison_operator() {
        return !binary.return_bool();
    }
    match binary.op.to_string().as_str() {
        // Either side alone makes it fire.
        "or" => conditional(&binary.lhs) && conditional(&binary.rhs),
        _ => conditional(&binary.lhs),
    }
}

/// `or vector(0)` makes a row without labels out of nothing, and an alert that never resolves or never matches.
#[test]
fn nothing_is_made_up() {
    let made_up = Regex::new(r"\bvector\(|\bbool\b|\blabel_replace\(|\bscalar\(").expect("a pattern");
    let absent = Regex::new(r#"absent(_over_time)?\((?:up\{job="[^"]+"\})?"#).expect("a pattern");
    for (name, expr) in expressions() {
        assert!(name == WATCHDOG || !made_up.is_match(expr), "{name}: {expr}");
        // absent() of a row that one director alone has is silent as long as another has it.
        for found in absent.find_iter(expr) {
            assert!(found.as_str().ends_with("\"}"), "{name}: absent() is for the whole job: {expr}");
        }
    }
}

#[test]
fn times_are_sane() {
    for rule in RULES.iter() {
        let (name, severity) = (&rule.alert, rule.labels["severity"].as_str());
        let pending = rule.pending.as_deref().map(seconds);
        let kept = rule.keep_firing_for.as_deref().map(seconds);
        // Two evaluations at least, or it is one sample that pages.
        assert!(pending.is_none_or(|s| (30..=24 * 3600).contains(&s)), "{name}: for {pending:?}");
        assert!(kept.is_none_or(|s| (120..=1800).contains(&s)), "{name}: keep_firing_for {kept:?}");
        // Whoever is paged has minutes; a range looks back by itself.
        let patient = severity != "critical" || name == DAYS_AHEAD;
        assert!(patient || pending.is_some_and(|s| s <= 120), "{name}: for {pending:?}");
        let longest = scan(&rule.expr).selectors.iter().filter_map(|s| s.range.as_deref().map(seconds)).max();
        let looks_back = longest.is_some_and(|s| s >= 600);
        assert!(pending.is_some() || looks_back || name == WATCHDOG, "{name}: fires on one sample");
    }
}

#[test]
fn no_rule_is_there_twice() {
    let mut seen = BTreeMap::new();
    for (name, expr) in expressions() {
        let canonical = flow::ast(expr).to_string();
        if let Some(other) = seen.insert(canonical, name) {
            panic!("{name} and {other} ask the same");
        }
    }
}

/// A typing error in a matcher is a rule that never fires.
#[test]
fn matchers_name_values_that_exist() {
    for (name, expr) in expressions() {
        for selector in &scan(expr).selectors {
            let help = catalogue::entry(&selector.metric).map_or("", |metric| metric.help);
            for matcher in selector.matchers.iter().filter(|m| m.label != "virtual_server") {
                for value in values(matcher) {
                    let word = Regex::new(&format!(r"\b{}\b", regex::escape(value))).expect("a pattern");
                    let known =
                        OTHER_VALUES.contains(&(matcher.label.as_str(), value)) || word.is_match(help);
                    assert!(known, "{name}: does {} have {}=\"{value}\"?", selector.metric, matcher.label);
                }
            }
        }
    }
}

/// Of a matcher's pattern, which is one value or some with `|` between them.
fn values(matcher: &Matcher) -> impl Iterator<Item = &str> {
    let pattern = matcher.operator.ends_with('~');
    assert_eq!(pattern, matcher.value.contains('|'), "{matcher:?}: = for one value, =~ for several");
    matcher.value.split('|')
}

/// `0.7` of what? `90061` of which? The reader is woken up, not asked to reckon.
#[test]
fn values_are_told_in_their_unit() {
    let value = Regex::new(r"\{\{ \$value( \| [^}]+?)? \}\}").expect("a pattern");
    for rule in RULES.iter() {
        let unit = rows(rule).unit;
        for found in value.captures_iter(&rule.annotations["description"]) {
            let how = found.get(1).map_or("", |how| how.as_str());
            let fits = match unit {
                Unit::Ratio => how == " | humanizePercentage",
                Unit::Seconds => how == " | humanizeDuration" || how == " | humanizeTimestamp",
                Unit::Bytes => how == " | humanize1024",
                Unit::One => ["", " | humanize", " | printf \"%.0f\""].contains(&how),
            };
            assert!(fits, "{}: {unit:?} as {how:?}", rule.alert);
        }
    }
}

#[test]
fn recordings_are_named_after_what_they_keep_and_are_used() {
    let form = Regex::new("^([a-z_]+):([a-z0-9_]+):([a-z]+[0-9]+[smh])$").expect("a pattern");
    let used: BTreeSet<String> =
        RULES.iter().flat_map(|rule| scan(&rule.expr).selectors).map(|selector| selector.metric).collect();
    let dashboards: String = files("dashboards", "json").iter().map(|path| read(path)).collect();
    for record in RECORDS.iter() {
        let name = &record.name;
        let parts = form.captures(name).unwrap_or_else(|| panic!("{name}: level:metric:operation"));
        let Ok(Value::Rows(rows)) = flow::of_query(&record.expr) else { panic!("{name}: no rows") };
        for label in rows.labels.iter().filter(|label| !["job", OF_THE_TARGET].contains(&label.as_str())) {
            assert!(parts[1].contains(label.as_str()), "{name}: its level does not say {label}");
        }
        let metric = &scan(&record.expr).selectors[0].metric;
        assert_eq!(metric.trim_end_matches("_total"), &parts[2], "{name}");
        assert!(used.contains(name) || dashboards.contains(name.as_str()), "{name} is used by nothing");
    }
}

/// The list in docs/alerts.md is what people choose by.
#[test]
fn the_table_of_alerts_is_true() {
    let row =
        Regex::new(r"(?m)^\| \[(\w+)\]\(runbooks/(\w+)\.md\) \| (\w+) \| ([^|]+) \|").expect("a pattern");
    let text = read(&crate::root().join("docs/alerts.md"));
    let listed: BTreeMap<String, (String, String)> = row
        .captures_iter(&text)
        .map(|found| {
            assert_eq!(found[1], found[2], "its own runbook");
            (found[1].to_owned(), (found[3].to_owned(), found[4].trim().to_owned()))
        })
        .collect();
    let shipped: BTreeMap<String, (String, String)> = RULES
        .iter()
        .map(|rule| {
            let pending = rule.pending.clone().unwrap_or_else(|| "–".into());
            (rule.alert.clone(), (rule.labels["severity"].clone(), pending))
        })
        .collect();
    assert_eq!(listed, shipped);
}

/// Alerts and recordings.
fn expressions() -> impl Iterator<Item = (&'static str, &'static str)> {
    let alerts = RULES.iter().map(|rule| (rule.alert.as_str(), rule.expr.as_str()));
    alerts.chain(RECORDS.iter().map(|record| (record.name.as_str(), record.expr.as_str())))
}

#[test]
fn alerts_live_in_files_of_rules_only() {
    for path in files("alerts", "yml") {
        assert!(stem(&path).starts_with("lvs-agent"), "{}: installed beside others' rules", path.display());
    }
}
