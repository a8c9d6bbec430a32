//! From one dashboard to the next: every link has a target, and takes along what was chosen.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;
use serde_json::Value;

use crate::dashboards::{Dashboard, all, unseen};
use crate::layout::text;

/// A link and where it stands.
struct Link<'a> {
    which: String,
    url: &'a str,
    /// The panel of a link in its data.
    panel: Option<&'a Value>,
}

fn links<'a>(dashboard: &'a Dashboard) -> Vec<Link<'a>> {
    let of = |which: String, links: &'a Value, panel: Option<&'a Value>| {
        links.as_array().into_iter().flatten().map(move |link| Link {
            which: format!("{which}: {}", text(link, "title")),
            url: text(link, "url"),
            panel,
        })
    };
    let mut found: Vec<Link<'a>> = of(dashboard.name.clone(), &dashboard.json["links"], None).collect();
    for panel in dashboard.panels() {
        let which = format!("{}: {}", dashboard.name, text(panel, "title"));
        let config = &panel["fieldConfig"];
        found.extend(of(which.clone(), &config["defaults"]["links"], Some(panel)));
        for property in properties(panel).filter(|(_, property)| property["id"] == "links") {
            found.extend(of(which.clone(), &property.1["value"], Some(panel)));
        }
    }
    found
}

/// Of a panel's fields: the field's name and the property.
fn properties(panel: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let overrides = panel["fieldConfig"]["overrides"].as_array().expect("overrides");
    overrides.iter().flat_map(|field| {
        let properties = field["properties"].as_array().expect("properties");
        properties.iter().map(|property| (text(&field["matcher"], "options"), property))
    })
}

/// What is wrong with a link.
fn fault(link: &Link<'_>, from: &Dashboard, dashboards: &[Dashboard]) -> Option<String> {
    let (path, query) = link.url.split_once('?')?;
    let Some(target) = dashboards.iter().find(|dashboard| dashboard.path() == path) else {
        return Some(format!("no dashboard is at {path}"));
    };
    let kept = Regex::new(r"^\$\{(\w+):queryparam\}$").expect("a pattern");
    let read = Regex::new(r"^var-(\w+)=\$\{__(data\.fields|field\.labels)\.(\w+):percentencode\}$")
        .expect("a pattern");
    let mut given = BTreeSet::new();
    for part in query.split('&') {
        if let Some(found) = kept.captures(part) {
            if !from.variables().contains(&&found[1]) {
                return Some(format!("{part}: this dashboard has no such variable"));
            }
            given.insert(found[1].to_owned());
        } else if let Some(found) = read.captures(part) {
            let panel = link.panel?;
            if found[1] != found[3] || !has_label(panel, &found[2], &found[3]) {
                return Some(format!("{part}: the panel has no such label"));
            }
            given.insert(found[1].to_owned());
        } else if part != "${__url_time_range}" {
            return Some(part.to_owned());
        }
    }
    if link.panel.is_some() != query.contains("${__url_time_range}") {
        return Some("the time range".to_owned());
    }
    if let Some(unknown) = given.iter().find(|name| !target.variables().contains(&name.as_str())) {
        return Some(format!("the target has no variable {unknown}"));
    }
    let shared = target.variables().into_iter().filter(|name| from.variables().contains(name));
    let lost: Vec<&str> = shared.filter(|name| !given.contains(*name)).collect();
    (!lost.is_empty()).then(|| format!("{lost:?} gets lost"))
}

/// Whether rows of a table have the column, or all series of a graph the label.
fn has_label(panel: &Value, source: &str, label: &str) -> bool {
    let targets = panel["targets"].as_array().expect("targets");
    let by = Regex::new(&format!(r"by \([^)]*\b{label}\b")).expect("a pattern");
    match source {
        "data.fields" => {
            text(panel, "type") == "table"
                // What a transformation leaves out is gone for links too.
                && (renamed(panel).contains_key(label) || unseen(panel).contains(&label))
                && targets.iter().all(|target| by.is_match(text(target, "expr")))
        }
        _ => {
            text(panel, "type") != "table"
                && text(&targets[0], "legendFormat").contains(&format!("{{{{{label}}}}}"))
        }
    }
}

fn organize(panel: &Value) -> &Value {
    let transformations = panel["transformations"].as_array().expect("transformations");
    &transformations.iter().find(|one| one["id"] == "organize").expect("names for its columns")["options"]
}

fn renamed(panel: &Value) -> BTreeMap<&str, &str> {
    let names = organize(panel)["renameByName"].as_object().expect("names");
    names.iter().map(|(field, name)| (field.as_str(), name.as_str().expect("a name"))).collect()
}

#[test]
fn links_lead_to_dashboards_and_take_the_choice_along() {
    let dashboards = all();
    for dashboard in &dashboards {
        let links = links(dashboard);
        assert!(links.len() >= 4, "{}: {} links", dashboard.name, links.len());
        for link in &links {
            assert_eq!(fault(link, dashboard, &dashboards), None, "{}", link.which);
        }
        for head in dashboard.list("/links") {
            assert_eq!(head["keepTime"], true, "{}: {}", dashboard.name, text(head, "title"));
        }
    }
}

#[test]
fn each_dashboard_is_reached_from_each() {
    let dashboards = all();
    assert_eq!(dashboards.len(), 5);
    for start in &dashboards {
        let mut reached = BTreeSet::from([start.uid()]);
        let mut next = vec![start];
        while let Some(dashboard) = next.pop() {
            for link in links(dashboard) {
                let path = link.url.split('?').next();
                let target = dashboards.iter().find(|other| Some(other.path().as_str()) == path);
                next.extend(target.filter(|target| reached.insert(target.uid())));
            }
        }
        assert_eq!(reached.len(), dashboards.len(), "from {}: {reached:?}", start.name);
    }
}

/// A name on a page that has a page of its own leads there.
#[test]
fn names_in_tables_are_links() {
    let pages = [
        ("virtual_server", "lvs-virtual-server"),
        ("real_server", "lvs-real-server"),
        ("instance", "lvs-director"),
    ];
    for dashboard in all() {
        for panel in dashboard.panels().into_iter().filter(|panel| text(panel, "type") == "table") {
            let names = renamed(panel);
            for (label, page) in pages.iter().filter(|(_, page)| *page != dashboard.uid()) {
                let Some(column) = names.get(label) else { continue };
                let linked =
                    properties(panel).any(|(field, property)| field == *column && property["id"] == "links");
                assert!(
                    linked,
                    "{}: {}: {column} does not lead to {page}",
                    dashboard.name,
                    text(panel, "title")
                );
            }
        }
    }
}

#[test]
fn faults_of_links_are_seen() {
    let dashboards = all();
    let from = dashboards.iter().find(|dashboard| dashboard.uid() == "lvs-overview").expect("the overview");
    let of = |url: &str| fault(&Link { which: String::new(), url, panel: None }, from, &dashboards);
    let all = "${datasource:queryparam}&${job:queryparam}&${instance:queryparam}";
    assert_eq!(of(&format!("/d/lvs-director/lvs-director-and-agent?{all}")), None);
    assert!(of(&format!("/d/lvs-director/lvs-director?{all}")).is_some(), "another name");
    assert!(
        of("/d/lvs-director/lvs-director-and-agent?${job:queryparam}").is_some(),
        "the directors get lost"
    );
    let unknown = format!("/d/lvs-director/lvs-director-and-agent?{all}&${{virtual_server:queryparam}}");
    assert!(of(&unknown).is_some(), "the target has no such variable");
}
