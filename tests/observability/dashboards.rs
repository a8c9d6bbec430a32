//! What the dashboards query.

use lvs_agent::metrics::{Kind, Unit};
use regex::Regex;
use serde_json::Value;

use crate::layout::text;
use crate::promql::{Selector, scan};
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
        self.panels().into_iter().flat_map(move |panel| {
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
    pub fn queries(&self) -> Vec<(String, &str)> {
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
fn what_happened_is_marked_on_all_of_them() {
    for dashboard in all() {
        let marks = dashboard.list("/annotations/list").iter().filter(|mark| mark.get("builtIn").is_none());
        let mut metrics: Vec<(&str, String)> = marks
            .map(|mark| (text(mark, "name"), scan(text(mark, "expr")).selectors[0].metric.clone()))
            .collect();
        metrics.sort_unstable();
        let expected = [
            ("Drains", "lvs_weight_changes_total"),
            ("Failovers", "lvs_vip_transitions_total"),
            ("Firing alerts", "ALERTS"),
            ("Reloads", "lvs_agent_config_last_reload_success_timestamp_seconds"),
            ("Starts of the agent", "process_start_time_seconds"),
        ];
        assert_eq!(metrics, expected.map(|(name, metric)| (name, metric.to_owned())), "{}", dashboard.name);
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
        let plain =
            expr.replace("$__rate_interval", "1m").replace("$__range", "1h").replace("$__interval", "30s");
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
                let of_a_server = catalogue::labels(metric).is_some_and(|l| l.contains(&"real_server"));
                let by_real_server = dashboard.variables().contains(&"real_server");
                assert!(
                    !of_a_server || !by_real_server || chosen("real_server", "$real_server"),
                    "{which}: {metric}"
                );
                let of_one = catalogue::labels(metric).is_some_and(|l| l.contains(&"virtual_server"));
                let by_variable = dashboard.variables().contains(&"virtual_server");
                let value = if metric == "ALERTS" { "$virtual_server|" } else { "$virtual_server" };
                assert!(!of_one || !by_variable || chosen("virtual_server", value), "{which}: {metric}");
            }
        }
    }
}

/// How busy it was in the weeks before does not depend on how often is scraped.
const OF_CAPACITY: [&str; 2] = ["1h", "1w"];

#[test]
fn rates_follow_the_scrape_interval() {
    for dashboard in all() {
        for (which, expr) in dashboard.queries() {
            for range in scan(expr).selectors.into_iter().filter_map(|selector| selector.range) {
                let follows = ["$__rate_interval", "$__range"].contains(&range.as_str());
                assert!(follows || OF_CAPACITY.contains(&range.as_str()), "{which}: [{range}]");
            }
        }
    }
}

/// Grafana slows down beyond some hundred series, and nobody reads them: with 10,000 real servers too.
#[test]
fn panels_have_a_limit() {
    for dashboard in all() {
        for target in dashboard.targets() {
            let expr = target.expr;
            let limited = match text(target.panel, "type") {
                "stat" => one_row(expr),
                "table" => few_rows(expr) || limit(expr).is_some_and(|most| most <= 200),
                _ => one_row(expr) || few_rows(expr) || stays_limited(expr),
            };
            assert!(limited, "{}: {expr}", target.which);
        }
    }
}

fn one_row(expr: &str) -> bool {
    Regex::new(r"^(?:\d+ \* |histogram_quantile\([\d.]+, )?(?:sum|min|max|count)(?:\(| by \(le\))")
        .expect("a pattern")
        .is_match(expr)
}

/// Rows by what there is little of; directors are few, but a graph of them has a limit all the same.
fn few_rows(expr: &str) -> bool {
    let outermost =
        Regex::new(r"^(?:\d+ \* |histogram_quantile\([\d.]+, )?\w+ by \(([^)]*)\)").expect("a pattern");
    let graph = expr.contains("$__rate_interval");
    outermost
        .captures(expr)
        .is_some_and(|found| !(found[1].contains("_server") || graph && found[1].contains("instance")))
}

fn limit(expr: &str) -> Option<u32> {
    let limit = Regex::new(r"\b(?:top|bottom)k\((\d+), ").expect("a pattern");
    limit.captures(expr).and_then(|found| found[1].parse().ok())
}

/// The few that stay the same at each step: chosen at the end of the range.
fn stays_limited(expr: &str) -> bool {
    let chosen = Regex::new(r" and on \([^)]*\) (topk\((\d+), .*)$").expect("a pattern");
    chosen.captures(expr).is_some_and(|found| {
        let most: u32 = found[2].parse().expect("a number");
        most <= 50 && scan(&found[1]).selectors.len() == found[1].matches("@ end()").count()
    })
}

#[test]
fn limits_are_seen() {
    assert!(!few_rows("sum by (job, real_server) (x)") && few_rows("sum by (reason) (x)"));
    assert!(!one_row("ipvs_real_server_weight") && one_row("8 * sum(x)"));
    assert!(stays_limited("sum by (a) (x) and on (a) topk(20, sum by (a) (x @ end()))"));
    // The twenty of each step are other ones: hundreds in all.
    assert!(!stays_limited("topk(20, x)") && !stays_limited("x and on (a) topk(20, y)"));
}

/// A series is called by its labels, or by a word if it is the only one.
#[test]
fn legends_name_the_series() {
    for dashboard in all() {
        for target in dashboard.targets().filter(|t| t.target["range"] == true) {
            let legend = text(target.target, "legendFormat");
            let labels: Vec<&str> =
                legend.split("{{").skip(1).filter_map(|rest| rest.split("}}").next()).collect();
            assert!(
                !legend.is_empty() && (!labels.is_empty() || one_row(target.expr)),
                "{}: {legend}",
                target.which
            );
            for label in labels {
                let kept = Regex::new(&format!(r"by \([^)]*\b{label}\b")).expect("a pattern");
                assert!(kept.is_match(target.expr), "{}: {legend}", target.which);
            }
        }
    }
}

/// The replies of direct routing and tunnels do not pass the director: their counters of 0 look like an outage, and
/// more than 0 is a finding (trap 11). So no sum over both.
#[test]
fn outgoing_traffic_is_told_by_forwarding() {
    let mut found = 0;
    for (which, expr) in all().iter().flat_map(Dashboard::queries) {
        let query = scan(expr);
        if query.selectors.iter().any(|s| s.metric.contains("_outgoing_")) {
            found += 1;
            let forwarding = |s: &Selector| s.matcher("forwarding").map(|m| m.value.clone());
            match query.selectors.iter().find_map(forwarding).as_deref() {
                Some("masq") => {}
                Some("masq|route|tunnel") => assert!(expr.contains("sum by (forwarding) ("), "{which}"),
                other => panic!("{which}: {other:?}"),
            }
        }
    }
    assert!(found >= 5, "{found} panels show replies");
}

#[test]
fn units_fit_the_metrics() {
    let chosen = Regex::new(r" and on \([^)]*\) (?:top|bottom)k\(.*$").expect("a pattern");
    for dashboard in all() {
        for target in dashboard.targets() {
            let Some(unit) = unit(&target) else { continue };
            // Not how its rows are chosen.
            let expr = &chosen.replace(target.expr, "");
            let selectors = scan(expr).selectors;
            let Some(metric) = catalogue::entry(&selectors[0].metric) else { continue };
            let divided = expr.contains(" / ");
            let fits = match metric.unit {
                _ if expr.starts_with("count") => unit == "none",
                Unit::Bytes if metric.kind == Kind::Gauge => unit == "bytes",
                Unit::Bytes => unit == "bps" && expr.starts_with("8 * "),
                Unit::Ratio => unit == "percentunit",
                Unit::Seconds
                    if metric.name.ends_with("_timestamp_seconds")
                        || metric.name.ends_with("_start_time_seconds") =>
                {
                    (unit == "s" && expr.contains("time() - "))
                        || (unit == "dateTimeFromNow" && expr.contains("1000 * "))
                        // Days left.
                        || (unit == "none" && expr.contains(" - time()) / 86400"))
                }
                Unit::Seconds if metric.kind == Kind::Counter && expr.contains("rate(") => {
                    unit == "percentunit"
                }
                Unit::Seconds => unit == "s" || (divided && unit == "percentunit"),
                Unit::One if divided => unit == "percentunit",
                Unit::One if expr.contains("rate(") => {
                    unit == if metric.name.contains("packets") { "pps" } else { "cps" }
                }
                Unit::One => unit == "none",
            };
            assert!(fits, "{}: {} in {unit}", target.which, metric.name);
        }
    }
}

/// Of the panel, or in a table of the column that the query fills; none if it only has labels.
fn unit<'a>(target: &Target<'a>) -> Option<&'a str> {
    let default = text(&target.panel["fieldConfig"]["defaults"], "unit");
    let only = target.panel["targets"].as_array().is_some_and(|targets| targets.len() == 1);
    let field = if only { "Value".to_owned() } else { format!("Value #{}", text(target.target, "refId")) };
    let organize =
        target.panel["transformations"].as_array().and_then(|all| all.iter().find(|t| t["id"] == "organize"));
    let Some(organize) = organize else { return Some(default) };
    let column = organize["options"]["renameByName"][&field].as_str()?;
    let overrides = target.panel["fieldConfig"]["overrides"].as_array().expect("overrides");
    let of_column = overrides.iter().filter(|o| o["matcher"]["options"] == column);
    let properties = of_column.filter_map(|o| o["properties"].as_array()).flatten();
    properties.filter(|p| p["id"] == "unit").find_map(|p| p["value"].as_str()).or(Some(default))
}

/// A label that is no column stands between them under its own name; a column that is renamed by one transformation and
/// styled by another's name is not styled.
#[test]
fn columns_that_are_styled_are_there() {
    let by = Regex::new(r" by \(([^)]*)\)").expect("a pattern");
    for dashboard in all() {
        for panel in dashboard.panels().iter().filter(|p| text(p, "type") == "table") {
            let which = format!("{}: {}", dashboard.name, text(panel, "title"));
            let transformations = panel["transformations"].as_array().expect("transformations");
            let organize = transformations.iter().find(|t| t["id"] == "organize").expect("organize");
            let renamed = organize["options"]["renameByName"].as_object().expect("names");
            let columns: Vec<&str> = renamed.values().filter_map(Value::as_str).collect();
            let (of_all, named): (Vec<&Value>, Vec<&Value>) = panel["fieldConfig"]["overrides"]
                .as_array()
                .expect("overrides")
                .iter()
                .partition(|o| o["matcher"]["id"] == "byRegexp");
            // A cell without a value does not say what the whole table says.
            assert!(of_all.len() == 1 && of_all[0]["properties"][0]["id"] == "noValue", "{which}");
            let unseen = unseen(panel);
            for name in named.iter().map(|o| text(&o["matcher"], "options")) {
                assert!(columns.contains(&name) || unseen.contains(&name), "{which}: {name}");
            }
            for sorted in panel["options"]["sortBy"].as_array().expect("a sorting") {
                let name = text(sorted, "displayName");
                assert!(columns.contains(&name), "{which}: sorted by {name}");
            }
            // Each query's value is a column or hidden, else it shows as "Value #C".
            let hidden = organize["options"]["excludeByName"].as_object().expect("names");
            let targets = panel["targets"].as_array().expect("targets");
            for target in targets {
                let value = match targets.len() {
                    1 => "Value".to_owned(),
                    _ => format!("Value #{}", text(target, "refId")),
                };
                // What the outermost aggregation keeps, which is written first.
                let kept =
                    by.captures(text(target, "expr")).unwrap_or_else(|| panic!("{which}: rows by what?"));
                for field in kept[1].split(", ").chain([value.as_str()]) {
                    let known = renamed.contains_key(field) || hidden.contains_key(field);
                    assert!(known || unseen.contains(&field), "{which}: {field}");
                }
            }
        }
    }
}

/// Labels of a table that are there for its links, and not seen.
pub fn unseen(panel: &Value) -> Vec<&str> {
    let overrides = panel["fieldConfig"]["overrides"].as_array().expect("overrides");
    let hidden = |o: &&Value| {
        let properties = o["properties"].as_array().expect("properties");
        properties.iter().any(|p| p["id"] == "custom.hideFrom" && p["value"]["viz"] == true)
    };
    overrides.iter().filter(hidden).map(|o| text(&o["matcher"], "options")).collect()
}
