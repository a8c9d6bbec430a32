//! The shape of a dashboard: what Grafana needs to load it as it is and to leave it alone.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::dashboards::{Dashboard, all};

const COLUMNS: u64 = 24;

#[test]
fn dashboards_are_as_provisioning_wants_them() {
    let mut uids = BTreeSet::new();
    for dashboard in all() {
        let (name, json) = (&dashboard.name, &dashboard.json);
        assert_eq!(dashboard.uid(), name, "the uid is the file's name, and stays");
        assert!(dashboard.uid().len() <= 40 && uids.insert(dashboard.uid().to_owned()), "{name}");
        assert_eq!(json["editable"], false, "{name}: the file is the source of truth");
        assert_eq!(json["schemaVersion"], 39, "{name}");
        assert_eq!(json["graphTooltip"], 1, "{name}: one crosshair for all panels");
        assert_eq!(json["timezone"], "browser", "{name}");
        assert!(["now-1h", "now-6h"].contains(&json["time"]["from"].as_str().expect("a time")), "{name}");
        let refresh = json["refresh"].as_str().expect("a refresh");
        assert!(crate::rules::seconds(refresh) >= 30, "{name}: {refresh}");
        assert!(json["tags"].as_array().is_some_and(|tags| tags.contains(&"lvs".into())), "{name}");
        assert!(json["title"].as_str().is_some_and(|title| title.starts_with("LVS / ")), "{name}");
        // What an export adds, and what belongs to one Grafana.
        for key in ["id", "__inputs", "__requires", "__elements"] {
            assert!(json.get(key).is_none(), "{name}: {key}");
        }
    }
}

#[test]
fn datasources_and_targets_are_chosen_by_variables() {
    for dashboard in all() {
        let name = &dashboard.name;
        let [datasource, others @ ..] = dashboard.list("/templating/list") else {
            panic!("{name}: no variables")
        };
        assert_eq!(text(datasource, "name"), "datasource", "{name}: first, the others need it");
        assert_eq!(text(datasource, "type"), "datasource", "{name}");
        assert_eq!(text(datasource, "query"), "prometheus", "{name}");
        assert_eq!(text(datasource, "label"), "Data source", "{name}");
        assert_eq!(&dashboard.variables()[1..3], ["job", "instance"], "{name}");
        for variable in others {
            let which = format!("{name}: {}", text(variable, "name"));
            assert_eq!(text(variable, "type"), "query", "{which}");
            assert_eq!(text(&variable["datasource"], "uid"), "${datasource}", "{which}");
            assert_eq!(variable["multi"], true, "{which}");
            // What is about one starts with the first; an empty choice matches what lacks the label.
            match variable["includeAll"].as_bool().expect("yes or no") {
                true => assert_eq!(text(variable, "allValue"), ".+", "{which}"),
                false => {
                    assert!(["virtual_server", "real_server"].contains(&text(variable, "name")), "{which}")
                }
            }
            assert_eq!(variable["refresh"], 2, "{which}: new servers appear when the time range changes");
            assert!(!text(variable, "label").is_empty(), "{which}");
            assert_eq!(variable["query"]["query"], variable["definition"], "{which}");
        }
    }
}

#[test]
fn panels_have_their_place() {
    for dashboard in all() {
        let mut ids = BTreeSet::new();
        let mut taken = BTreeSet::new();
        for panel in dashboard.list("/panels") {
            let which = format!("{}: {}", dashboard.name, text(panel, "title"));
            assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{which}: its id is there twice");
            let [x, y, w, h] =
                ["x", "y", "w", "h"].map(|k| panel["gridPos"][k].as_u64().expect("a place in the grid"));
            assert!(w > 0 && h > 0 && x + w <= COLUMNS, "{which}");
            for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                assert!(taken.insert(cell), "{which} overlaps another at {cell:?}");
            }
        }
    }
}

#[test]
fn panels_say_what_they_show() {
    let units = ["none", "short", "cps", "pps", "bps", "Bps", "bytes", "s", "percentunit", "dateTimeFromNow"];
    for dashboard in all() {
        for panel in dashboard.panels() {
            let title = text(panel, "title");
            let which = format!("{}: {title}", dashboard.name);
            assert!(!title.is_empty() && text(panel, "description").len() > 20, "{which}");
            assert_eq!(text(&panel["datasource"], "uid"), "${datasource}", "{which}");
            let defaults = &panel["fieldConfig"]["defaults"];
            assert!(units.contains(&text(defaults, "unit")), "{which}: {}", text(defaults, "unit"));
            assert!(!text(defaults, "noValue").is_empty(), "{which}: what is said where there is nothing");
            assert!(panel["targets"].as_array().is_some_and(|targets| !targets.is_empty()), "{which}");
        }
    }
}

pub fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no text {key} in {value:.200}"))
}

impl Dashboard {
    /// Without the rows that stand between them.
    pub fn panels(&self) -> Vec<&Value> {
        self.list("/panels").iter().filter(|panel| text(panel, "type") != "row").collect()
    }

    pub fn list(&self, pointer: &str) -> &[Value] {
        let found = self.json.pointer(pointer).and_then(Value::as_array);
        found.unwrap_or_else(|| panic!("{}: no list at {pointer}", self.name))
    }
}
