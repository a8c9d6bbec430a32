//! What is on the dashboards, in few words: dashboards/*.json are written from it, and a test sees to it that they are
//! what is written here. `LVS_AGENT_BLESS=1 cargo test --test observability` writes them anew.
//!
//! Queries stand here without the matchers of the chosen targets; [`query::expand`] adds those that a metric has labels
//! for. `J`, `V` and `R` in a list of labels are a director, a virtual server and a real server on it.

use serde_json::{Value, json};

use crate::{read, root};

mod checks;
mod director;
mod link;
mod overview;
mod panel;
mod query;
mod real_server;
mod shared;
mod table;
mod variables;
mod virtual_server;

use link::Link;
use panel::Panel;

/// Grafana's grid.
const COLUMNS: u64 = 24;

pub struct Board {
    uid: &'static str,
    title: &'static str,
    description: &'static str,
    /// What of the fleet it shows.
    variables: &'static [Variable],
    sections: Vec<Section>,
}

/// A choice in the dashboard's head, called as the label that it chooses.
#[derive(Clone, Copy, PartialEq)]
pub struct Variable {
    label: &'static str,
    /// Whether it starts with all of them; else with the first, for what is about one.
    all: bool,
}

const JOB: Variable = Variable { label: "job", all: true };
const INSTANCE: Variable = Variable { label: "instance", all: true };
const VIRTUAL_SERVERS: Variable = Variable { label: "virtual_server", all: true };

struct Section {
    title: &'static str,
    panels: Vec<Panel>,
}

fn section(title: &'static str, panels: impl IntoIterator<Item = Panel>) -> Section {
    Section { title, panels: panels.into_iter().collect() }
}

fn all() -> [Board; 5] {
    [overview::board(), virtual_server::board(), real_server::board(), director::board(), checks::board()]
}

impl Board {
    fn has(&self, label: &str) -> bool {
        self.variables.iter().any(|variable| variable.label == label)
    }

    fn json(&self) -> Value {
        json!({
            "annotations": { "list": variables::annotations(self) },
            "description": self.description,
            "editable": false,
            "fiscalYearStartMonth": 0,
            "graphTooltip": 1,
            "links": Link::ALL.iter().filter(|link| link.uid() != self.uid).map(|link| link.of_head(self)).collect::<Vec<_>>(),
            "liveNow": false,
            "panels": self.panels(),
            "refresh": "30s",
            "schemaVersion": 39,
            "tags": ["ipvs", "lvs", "lvs-agent"],
            "templating": { "list": variables::templating(self) },
            "time": { "from": "now-1h", "to": "now" },
            "timepicker": {},
            "timezone": "browser",
            "title": self.title,
            "uid": self.uid,
            "version": 1,
            "weekStart": "",
        })
    }

    /// From left to right and from top to bottom, as they are listed.
    fn panels(&self) -> Vec<Value> {
        let mut placed = Vec::new();
        let mut y = 0;
        for section in &self.sections {
            placed.push(row(section.title, placed.len() as u64 + 1, y));
            let (mut x, mut line) = (0, 0);
            y += 1;
            for panel in &section.panels {
                if x + panel.width > COLUMNS {
                    y += line;
                    (x, line) = (0, 0);
                }
                let place = json!({ "h": panel.height, "w": panel.width, "x": x, "y": y });
                placed.push(panel.json(self, placed.len() as u64 + 1, place));
                x += panel.width;
                line = line.max(panel.height);
            }
            y += line;
        }
        placed
    }
}

fn row(title: &str, id: u64, y: u64) -> Value {
    json!({
        "collapsed": false,
        "gridPos": { "h": 1, "w": COLUMNS, "x": 0, "y": y },
        "id": id,
        "panels": [],
        "title": title,
        "type": "row",
    })
}

fn datasource() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

/// Keys sorted, two spaces: a difference is a change.
#[test]
fn dashboards_are_what_is_described_here() {
    for board in all() {
        let path = root().join("dashboards").join(board.uid).with_extension("json");
        let described = serde_json::to_string_pretty(&board.json()).expect("it is JSON") + "\n";
        if std::env::var_os("LVS_AGENT_BLESS").is_some() {
            std::fs::write(&path, described).expect("the file");
        } else {
            assert!(read(&path) == described, "{}: LVS_AGENT_BLESS=1 writes it anew", path.display());
        }
    }
    assert_eq!(crate::files("dashboards", "json").len(), all().len(), "a dashboard that is not described");
}
