//! What the dashboards query.

use lvs_agent::metrics::Unit;
use regex::Regex;
use serde_json::Value;

use crate::layout::text;
use crate::promql::scan;
use crate::promtool::promtool;
use crate::{catalogue, files, read, stem};

pub struct Dashboard {
    /// Of its file.
    pub name: String,
    pub json: Value,
}

pub fn all() -> Vec<Dashboard> {
    let parse = |path: std::path::PathBuf| {
        let json = serde_json::from_str(&read(&path)).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Dashboard { name: stem(&path).to_owned(), json }
    };
    files("dashboards", "json").into_iter().map(parse).collect()
}

/// A query and where it stands.
struct Target<'a> {
    which: String,
    expr: &'a str,
    panel: &'a Value,
    target: &'a Value,
}

impl Dashboard {
    pub fn uid(&self) -> &str {
        text(&self.json, "uid")
    }

    /// Where Grafana has it, as it writes the title into addresses.
    pub fn path(&self) -> String {
        let other = Regex::new("[^a-z0-9]+").expect("a pattern");
        let title = text(&self.json, "title").to_lowercase();
        format!("/d/{}/{}", self.uid(), other.replace_all(&title, "-"))
    }

    pub fn variables(&self) -> Vec<&str> {
        self.list("/templating/list").iter().map(|variable| text(variable, "name")).collect()
    }

    fn targets(&self) -> impl Iterator<Item = Target<'_>> {
        self.panels().iter().flat_map(move |panel| {
            let targets = panel["targets"].as_array().expect("targets");
            targets.iter().map(move |target| Target {
                which: format!("{}: {} {}", self.name, text(panel, "title"), text(target, "refId")),
                expr: text(target, "expr"),
                panel,
                target,
            })
        })
    }

    /// Of panels and of annotations, with where they stand.
    fn queries(&self) -> Vec<(String, &str)> {
        let annotations = self.list("/annotations/list").iter();
        let annotations = annotations.filter(|a| a.get("builtIn").is_none());
        let annotations =
            annotations.map(|a| (format!("{}: {}", self.name, text(a, "name")), text(a, "expr")));
        self.targets().map(|t| (t.which, t.expr)).chain(annotations).collect()
    }
}

#[test]
fn queries_read_what_is_exported() {
    for dashboard in all() {
        for (which, expr) in dashboard.queries() {
            let faults = catalogue::faults(expr);
            assert!(faults.is_empty(), "{which}: {}", faults.join("; "));
        }
    }
}

#[test]
fn variables_come_from_info_metrics() {
    let form = Regex::new(r"^label_values\((.+), (\w+)\)$").expect("a pattern");
    for dashboard in all() {
        for variable in &dashboard.list("/templating/list")[1..] {
            let definition = text(variable, "definition");
            let found = form.captures(definition).unwrap_or_else(|| panic!("{definition}"));
            assert_eq!(catalogue::faults(&found[1]), Vec::<String>::new(), "{definition}");
            let metric = &scan(&found[1]).selectors[0].metric;
            assert!(metric.ends_with("_info"), "{definition}: an info metric has the fewest rows");
            assert!(catalogue::labels(metric).is_some_and(|l| l.contains(&&found[2])), "{definition}");
            assert_eq!(&found[2], text(variable, "name"), "the variable is called as the label");
        }
    }
}

#[test]
fn promtool_takes_every_query() {
    let variable = Regex::new(r"\$\w+").expect("a pattern");
    let mut rules = String::from("groups:\n- name: queries\n  rules:\n");
    for (at, (_, expr)) in all().iter().flat_map(Dashboard::queries).enumerate() {
        let plain = expr.replace("$__rate_interval", "1m").replace("$__range", "1h");
        let plain = variable.replace_all(&plain, ".+").into_owned();
        rules.push_str(&format!("  - record: dashboard:query:{at}\n    expr: {}\n", Value::from(plain)));
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("queries.yml");
    std::fs::write(&path, rules).expect("the rules");
    promtool(["check".as_ref(), "rules".as_ref(), path.as_os_str()]).unwrap_or_else(|said| panic!("{said}"));
}

/// Two jobs, two data centres, one Prometheus: a panel shows what was chosen.
#[test]
fn queries_keep_to_the_chosen_targets() {
    for dashboard in all() {
        for (which, expr) in dashboard.queries() {
            for selector in scan(expr).selectors {
                let chosen = |label: &str, value: &str| {
                    selector.matcher(label).is_some_and(|m| m.operator == "=~" && m.value == value)
                };
                let metric = &selector.metric;
                assert!(chosen("job", "$job"), "{which}: {metric}");
                // Not every alert is one director's: the last target may be gone.
                assert!(metric == "ALERTS" || chosen("instance", "$instance"), "{which}: {metric}");
                let of_one = catalogue::labels(metric).is_some_and(|l| l.contains(&"virtual_server"));
                let by_variable = dashboard.variables().contains(&"virtual_server");
                let value = if metric == "ALERTS" { "$virtual_server|" } else { "$virtual_server" };
                assert!(!of_one || !by_variable || chosen("virtual_server", value), "{which}: {metric}");
            }
        }
    }
}

#[test]
fn rates_follow_the_scrape_interval() {
    for dashboard in all() {
        for (which, expr) in dashboard.queries() {
            for range in scan(expr).selectors.into_iter().filter_map(|selector| selector.range) {
                assert!(["$__rate_interval", "$__range"].contains(&range.as_str()), "{which}: [{range}]");
            }
        }
    }
}

/// Grafana slows down beyond some hundred series, and nobody reads them.
#[test]
fn graphs_have_a_limit() {
    let outermost = Regex::new(r"^\w+ by \(([^)]*)\)").expect("a pattern");
    for dashboard in all() {
        for target in
            dashboard.targets().filter(|t| ["timeseries", "state-timeline"].contains(&text(t.panel, "type")))
        {
            let limited = target.expr.starts_with("topk(");
            let labels = outermost.captures(target.expr).map(|found| found[1].to_owned());
            let few = labels.as_ref().is_some_and(|l| !l.contains("_server") && !l.contains("instance"));
            assert!(limited || few, "{}: {}", target.which, target.expr);
            let legend = text(target.target, "legendFormat");
            assert!(legend.starts_with("{{") && legend.ends_with("}}"), "{}: {legend}", target.which);
            assert!(target.expr.contains(legend.trim_matches(['{', '}'])), "{}: {legend}", target.which);
        }
    }
}

/// The replies of direct routing and tunnels do not pass the director: their counters of 0 look like an outage.
#[test]
fn outgoing_traffic_is_that_of_masqueraded_servers() {
    for (which, expr) in all().iter().flat_map(Dashboard::queries) {
        let selectors = scan(expr).selectors;
        if selectors.iter().any(|s| s.metric.contains("_outgoing_")) {
            let masq = selectors.iter().filter_map(|s| s.matcher("forwarding")).any(|m| m.value == "masq");
            assert!(masq, "{which}");
        }
    }
}

#[test]
fn units_fit_the_metrics() {
    for dashboard in all() {
        for target in dashboard.targets() {
            let unit = unit(&target);
            let selectors = scan(target.expr).selectors;
            let Some(metric) = catalogue::entry(&selectors[0].metric) else { continue };
            let fits = match metric.unit {
                Unit::Bytes => unit == "bps" && target.expr.contains("8 * "),
                Unit::Ratio => unit == "percentunit",
                Unit::Seconds if metric.name.ends_with("_timestamp_seconds") => {
                    (unit == "s" && target.expr.contains("time() - "))
                        || (unit == "dateTimeFromNow" && target.expr.starts_with("1000 * "))
                }
                Unit::Seconds => unit == "s",
                Unit::One if target.expr.contains("rate(") => {
                    unit == if metric.name.contains("packets") { "pps" } else { "cps" }
                }
                Unit::One => unit == "none",
            };
            assert!(fits, "{}: {} in {unit}", target.which, metric.name);
        }
    }
}

/// Of the panel, or in a table of the column that the query fills.
fn unit<'a>(target: &Target<'a>) -> &'a str {
    let default = text(&target.panel["fieldConfig"]["defaults"], "unit");
    let field = format!("Value #{}", text(target.target, "refId"));
    let organize =
        target.panel["transformations"].as_array().and_then(|all| all.iter().find(|t| t["id"] == "organize"));
    let Some(column) = organize.and_then(|o| o["options"]["renameByName"][&field].as_str()) else {
        return default;
    };
    let overrides = target.panel["fieldConfig"]["overrides"].as_array().expect("overrides");
    let of_column = overrides.iter().filter(|o| o["matcher"]["options"] == column);
    let properties = of_column.filter_map(|o| o["properties"].as_array()).flatten();
    properties.filter(|p| p["id"] == "unit").find_map(|p| p["value"].as_str()).unwrap_or(default)
}

/// A column that is renamed by one transformation and styled by another's name is not styled.
#[test]
fn columns_that_are_styled_are_there() {
    for dashboard in all() {
        for panel in dashboard.panels().iter().filter(|p| text(p, "type") == "table") {
            let which = format!("{}: {}", dashboard.name, text(panel, "title"));
            let transformations = panel["transformations"].as_array().expect("transformations");
            let organize = transformations.iter().find(|t| t["id"] == "organize").expect("organize");
            let renamed = organize["options"]["renameByName"].as_object().expect("names");
            let columns: Vec<&str> = renamed.values().filter_map(Value::as_str).collect();
            for name in panel["fieldConfig"]["overrides"].as_array().expect("overrides") {
                let name = text(&name["matcher"], "options");
                assert!(columns.contains(&name), "{which}: {name}");
            }
            for sorted in panel["options"]["sortBy"].as_array().expect("a sorting") {
                let name = text(sorted, "displayName");
                assert!(columns.contains(&name), "{which}: sorted by {name}");
            }
            // Each query's value is a column or hidden, else it shows as "Value #C".
            let hidden = organize["options"]["excludeByName"].as_object().expect("names");
            let targets = panel["targets"].as_array().expect("targets");
            for target in targets.iter().filter(|_| targets.len() > 1) {
                let field = format!("Value #{}", text(target, "refId"));
                assert!(renamed.contains_key(&field) || hidden.contains_key(&field), "{which}: {field}");
            }
        }
    }
}
