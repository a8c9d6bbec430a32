//! From an alert to its dashboard: the board is there, takes every variable, and gets all that the alert knows.

use std::collections::BTreeSet;

use crate::dashboards::{Dashboard, all};
use crate::flow::{self, Value};
use crate::rules::{RULES, Rule};

fn labels(rule: &Rule) -> BTreeSet<String> {
    match flow::of_query(&rule.expr) {
        Ok(Value::Rows(rows)) => rows.labels,
        Ok(Value::Scalar) => panic!("{}: a number has no labels", rule.alert),
        Err(fault) => panic!("{}: {fault}", rule.alert),
    }
}

/// What is wrong with a link of an alert that has these labels.
fn fault(link: &str, labels: &BTreeSet<String>, dashboards: &[Dashboard]) -> Option<String> {
    let (path, variables) = link.split_once('?').unwrap_or((link, ""));
    // By uid alone: Grafana finds it whatever its title is.
    let Some(uid) = path.strip_prefix("/d/") else { return Some(format!("{path} is no dashboard's path")) };
    let Some(board) = dashboards.iter().find(|board| board.uid() == uid) else {
        return Some(format!("no dashboard has the uid {uid}"));
    };
    let mut given = BTreeSet::new();
    for pair in variables.split('&').filter(|pair| !pair.is_empty()) {
        let Some((name, value)) = pair.strip_prefix("var-").and_then(|pair| pair.split_once('=')) else {
            return Some(format!("{pair} sets no variable"));
        };
        if !board.variables().contains(&name) {
            return Some(format!("{uid} has no variable {name}"));
        }
        if value != format!("{{{{ $labels.{name} | urlquery }}}}") {
            return Some(format!("{name} is not the label of that name, escaped: {value}"));
        }
        if !given.insert(name) {
            return Some(format!("{name} is set twice"));
        }
    }
    let of_both = board.variables().into_iter().filter(|name| labels.contains(*name));
    let lost: Vec<&str> = of_both.filter(|name| !given.contains(name)).collect();
    (!lost.is_empty()).then(|| format!("{lost:?} gets lost on the way to {uid}"))
}

#[test]
fn alerts_lead_to_a_dashboard_that_takes_all_they_know() {
    let dashboards = all();
    for rule in RULES.iter() {
        let link = &rule.annotations["dashboard_url"];
        assert_eq!(fault(link, &labels(rule), &dashboards), None, "{}", rule.alert);
    }
}

#[test]
fn faults_of_alert_links_are_seen() {
    let dashboards = all();
    let labels = ["job", "instance", "virtual_server"].map(str::to_owned).into();
    let variable = |name: &str| format!("var-{name}={{{{ $labels.{name} | urlquery }}}}");
    let of = |uid: &str, names: &[&str]| {
        let variables: Vec<String> = names.iter().map(|name| variable(name)).collect();
        fault(&format!("/d/{uid}?{}", variables.join("&")), &labels, &dashboards).unwrap_or_default()
    };
    assert_eq!(of("lvs-virtual-server", &["job", "instance", "virtual_server"]), "");
    assert_eq!(of("lvs-director", &["job", "instance"]), "");
    assert_eq!(of("lvs-agent", &["job"]), "no dashboard has the uid lvs-agent");
    let unknown = of("lvs-director", &["job", "instance", "virtual_server"]);
    assert_eq!(unknown, "lvs-director has no variable virtual_server");
    let lost = of("lvs-virtual-server", &["job", "virtual_server"]);
    assert_eq!(lost, "[\"instance\"] gets lost on the way to lvs-virtual-server");
    assert!(of("lvs-director", &["job", "job", "instance"]).ends_with("twice"));
    let raw = fault("/d/lvs-overview?var-job={{ $labels.job }}", &labels, &dashboards);
    assert!(raw.is_some_and(|fault| fault.contains("escaped")));
    assert!(fault("/dashboards", &labels, &dashboards).is_some());
}
