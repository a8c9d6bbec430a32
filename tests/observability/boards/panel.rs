//! One panel: what is queried, what it is called, how it is drawn.

use serde_json::{Map, Value, json};

use super::link::{Link, Source};
use super::query::expand;
use super::table::Table;
use super::{Board, datasource};

pub struct Panel {
    pub width: u64,
    pub height: u64,
    title: &'static str,
    description: &'static str,
    kind: Kind,
    targets: Vec<Target>,
    defaults: Map<String, Value>,
    overrides: Vec<Value>,
}

pub enum Kind {
    Stat,
    Graph,
    Timeline,
    Heatmap { unit: &'static str },
    Table(Table),
}

pub struct Target {
    pub expr: String,
    /// `{{label}}`s of the series, or its name if there is one only; of a table's column nothing.
    pub legend: &'static str,
}

/// A figure, the last one.
pub fn stat(title: &'static str, description: &'static str, unit: &str, expr: impl Into<String>) -> Panel {
    let mut panel = Panel::new(Kind::Stat, title, description, unit).size(4, 4).line("", expr);
    panel.defaults.insert("color".to_owned(), json!({ "mode": "thresholds" }));
    panel.defaults.insert("mappings".to_owned(), json!([]));
    panel.steps(&[(None, "text")])
}

/// Lines over time; each is added with [`Panel::line`].
pub fn graph(title: &'static str, description: &'static str, unit: &str) -> Panel {
    let mut panel = Panel::new(Kind::Graph, title, description, unit).size(12, 8);
    panel.defaults.insert("color".to_owned(), json!({ "mode": "palette-classic" }));
    panel.defaults.insert("custom".to_owned(), drawing("line", 0, "none"));
    panel.defaults.insert("min".to_owned(), json!(0));
    panel
}

/// A bar over time for each series, coloured by its state.
pub fn timeline(
    title: &'static str,
    description: &'static str,
    legend: &'static str,
    states: &[(i64, &str, &str)],
    expr: impl Into<String>,
) -> Panel {
    let mut panel = Panel::new(Kind::Timeline, title, description, "none").size(12, 8).line(legend, expr);
    let custom = json!({ "fillOpacity": 80, "lineWidth": 0, "spanNulls": false });
    panel.defaults.insert("color".to_owned(), json!({ "mode": "thresholds" }));
    panel.defaults.insert("custom".to_owned(), custom);
    panel.texts(states)
}

/// How many observations fell into which bucket, over time.
pub fn heatmap(title: &'static str, description: &'static str, unit: &'static str, expr: &str) -> Panel {
    let mut panel =
        Panel::new(Kind::Heatmap { unit }, title, description, unit).size(12, 8).line("{{le}}", expr);
    let hidden = json!({ "hideFrom": { "legend": false, "tooltip": false, "viz": false } });
    panel.defaults.insert("custom".to_owned(), hidden);
    panel
}

impl Panel {
    pub fn new(kind: Kind, title: &'static str, description: &'static str, unit: &str) -> Panel {
        let mut panel = Panel {
            width: 24,
            height: 8,
            title,
            description,
            kind,
            targets: Vec::new(),
            defaults: Map::new(),
            overrides: Vec::new(),
        };
        panel.defaults.insert("unit".to_owned(), json!(unit));
        panel.empty("No data")
    }

    pub fn size(mut self, width: u64, height: u64) -> Panel {
        (self.width, self.height) = (width, height);
        self
    }

    /// What is said where there is nothing.
    pub fn empty(mut self, text: &str) -> Panel {
        self.defaults.insert("noValue".to_owned(), json!(text));
        self
    }

    pub fn line(self, legend: &'static str, expr: impl Into<String>) -> Panel {
        self.add_target(Target { expr: expr.into(), legend })
    }

    pub fn add_target(mut self, target: Target) -> Panel {
        self.targets.push(target);
        self
    }

    pub fn target_count(&self) -> usize {
        self.targets.len()
    }

    pub fn set_default(&mut self, key: &str, value: Value) {
        self.defaults.insert(key.to_owned(), value);
    }

    pub fn with_table(mut self, change: impl FnOnce(&mut Table)) -> Panel {
        match &mut self.kind {
            Kind::Table(table) => change(table),
            Kind::Stat | Kind::Graph | Kind::Timeline | Kind::Heatmap { .. } => {
                panic!("{} has no columns", self.title)
            }
        }
        self
    }

    /// The name of a stat's query beside others.
    pub fn relabel(mut self, at: usize, legend: &'static str) -> Panel {
        self.targets[at].legend = legend;
        self
    }

    /// May go below 0.
    pub fn signed(mut self) -> Panel {
        self.defaults.remove("min");
        self
    }

    pub fn decimals(mut self, decimals: u64) -> Panel {
        self.defaults.insert("decimals".to_owned(), json!(decimals));
        self
    }

    pub fn max(mut self, most: u64) -> Panel {
        self.defaults.insert("max".to_owned(), json!(most));
        self
    }

    /// From which value on which colour.
    pub fn steps(mut self, steps: &[(Option<f64>, &str)]) -> Panel {
        self.defaults.insert("thresholds".to_owned(), thresholds(steps));
        self
    }

    /// Good at 0, and `color` from 1 on.
    pub fn none_or(self, color: &str) -> Panel {
        self.steps(&[(None, "green"), (Some(1.0), color)]).texts_only(&[(0, "none", "green")]).decimals(0)
    }

    /// Texts for values, and the same colours for what lies between.
    pub fn texts(self, texts: &[(i64, &str, &str)]) -> Panel {
        let steps: Vec<(Option<f64>, &str)> = texts
            .iter()
            .enumerate()
            .map(|(at, (value, _, color))| ((at > 0).then_some(*value as f64), *color))
            .collect();
        self.steps(&steps).texts_only(texts)
    }

    fn texts_only(mut self, texts: &[(i64, &str, &str)]) -> Panel {
        let texts: Vec<(String, &str, &str)> =
            texts.iter().map(|(value, text, color)| (value.to_string(), *text, *color)).collect();
        self.defaults.insert("mappings".to_owned(), mappings(&texts));
        self
    }

    pub fn stacked(mut self) -> Panel {
        self.defaults.insert("custom".to_owned(), drawing("line", 25, "normal"));
        self
    }

    pub fn bars(mut self) -> Panel {
        self.defaults.insert("custom".to_owned(), drawing("bars", 80, "normal"));
        self
    }

    pub fn colors(mut self, colors: &[(&str, &str)]) -> Panel {
        for (series, color) in colors {
            let fixed = json!({ "id": "color", "value": { "fixedColor": color, "mode": "fixed" } });
            self.overrides.push(named(series, vec![fixed]));
        }
        self
    }

    /// A line that others are held against, dashed.
    pub fn limit(mut self, series: &str) -> Panel {
        let properties = vec![
            json!({ "id": "color", "value": { "fixedColor": "red", "mode": "fixed" } }),
            json!({ "id": "custom.lineStyle", "value": { "dash": [10, 10], "fill": "dash" } }),
            json!({ "id": "custom.fillOpacity", "value": 0 }),
        ];
        self.overrides.push(named(series, properties));
        self
    }

    pub fn json(&self, board: &Board, id: u64, place: Value) -> Value {
        let mut defaults = self.defaults.clone();
        let mut overrides = self.overrides.clone();
        let legend = self.targets.first().map_or("", |target| target.legend);
        if let Some(link) = Link::about(&labels_of(legend), board) {
            defaults
                .insert("links".to_owned(), json!([link.of_data(board, Source::Series(&labels_of(legend)))]));
        }
        if let Kind::Table(table) = &self.kind {
            overrides.extend(table.overrides(board));
        }
        let mut panel = json!({
            "datasource": datasource(),
            "description": self.description,
            "fieldConfig": { "defaults": defaults, "overrides": overrides },
            "gridPos": place,
            "id": id,
            "options": self.options(),
            "targets": self.targets(board),
            "title": self.title,
            "type": self.kind.id(),
        });
        if let Kind::Table(table) = &self.kind {
            panel["transformations"] = table.transformations();
        }
        panel
    }

    /// Beside a graph a legend shows three times as many rows as below it; long names leave no room for the graph.
    fn has_short_names(&self) -> bool {
        self.width > 12 || self.targets.iter().all(|target| labels_of(target.legend).len() < 2)
    }

    fn targets(&self, board: &Board) -> Vec<Value> {
        let instant = matches!(self.kind, Kind::Stat | Kind::Table(_));
        let target = |(at, target): (usize, &Target)| {
            let mut json = json!({
                "datasource": datasource(),
                "editorMode": "code",
                "expr": expand(&target.expr, board),
                "instant": instant,
                "range": !instant,
                "refId": ref_id(at),
            });
            match self.kind {
                Kind::Table(_) => json["format"] = json!("table"),
                Kind::Heatmap { .. } => json["format"] = json!("heatmap"),
                Kind::Stat | Kind::Graph | Kind::Timeline => {}
            }
            if !target.legend.is_empty() {
                json["legendFormat"] = json!(target.legend);
            }
            json
        };
        self.targets.iter().enumerate().map(target).collect()
    }

    fn options(&self) -> Value {
        match &self.kind {
            Kind::Stat => json!({
                "colorMode": "background",
                "graphMode": "none",
                "justifyMode": "auto",
                "orientation": "auto",
                "reduceOptions": { "calcs": ["lastNotNull"], "fields": "", "values": false },
                "textMode": if self.targets.len() > 1 { "value_and_name" } else { "auto" },
            }),
            Kind::Graph => json!({
                "legend": {
                    "calcs": ["lastNotNull", "max"],
                    "displayMode": "table",
                    "placement": if self.has_short_names() { "right" } else { "bottom" },
                    "showLegend": true,
                    "sortBy": "Last *",
                    "sortDesc": true,
                },
                "tooltip": { "mode": "multi", "sort": "desc" },
            }),
            Kind::Timeline => json!({
                "alignValue": "left",
                "legend": { "displayMode": "list", "placement": "bottom", "showLegend": true },
                "mergeValues": true,
                "rowHeight": 0.9,
                "showValue": "never",
                "tooltip": { "mode": "single", "sort": "none" },
            }),
            Kind::Heatmap { unit } => json!({
                "calculate": false,
                "cellGap": 1,
                "cellValues": { "unit": "none" },
                "color": {
                    "exponent": 0.5, "fill": "dark-blue", "mode": "scheme", "reverse": false,
                    "scale": "exponential", "scheme": "Blues", "steps": 64,
                },
                "exemplars": { "color": "rgba(255,0,255,0.7)" },
                "filterValues": { "le": 1e-9 },
                "legend": { "show": true },
                "rowsFrame": { "layout": "auto" },
                "tooltip": { "mode": "single", "showColorScale": false, "yHistogram": false },
                "yAxis": { "axisPlacement": "left", "reverse": false, "unit": unit },
            }),
            Kind::Table(table) => table.options(),
        }
    }
}

impl Kind {
    fn id(&self) -> &'static str {
        match self {
            Kind::Stat => "stat",
            Kind::Graph => "timeseries",
            Kind::Timeline => "state-timeline",
            Kind::Heatmap { .. } => "heatmap",
            Kind::Table(_) => "table",
        }
    }
}

/// As Grafana counts them.
pub fn ref_id(at: usize) -> String {
    char::from(b'A' + u8::try_from(at).expect("fewer than 26 queries")).to_string()
}

pub fn named(name: &str, properties: Vec<Value>) -> Value {
    json!({ "matcher": { "id": "byName", "options": name }, "properties": properties })
}

pub fn thresholds(steps: &[(Option<f64>, &str)]) -> Value {
    let steps: Vec<Value> =
        steps.iter().map(|(from, color)| json!({ "color": color, "value": from })).collect();
    json!({ "mode": "absolute", "steps": steps })
}

pub fn mappings(texts: &[(String, &str, &str)]) -> Value {
    let options: Map<String, Value> = texts
        .iter()
        .enumerate()
        .map(|(index, (value, text, color))| {
            (value.clone(), json!({ "color": color, "index": index, "text": text }))
        })
        .collect();
    json!([{ "options": options, "type": "value" }])
}

fn drawing(style: &str, fill: u64, stacking: &str) -> Value {
    json!({
        "drawStyle": style,
        "fillOpacity": fill,
        "lineWidth": 1,
        // Those alone: a value between two gaps is no line.
        "showPoints": "auto",
        "spanNulls": false,
        "stacking": { "group": "A", "mode": stacking },
    })
}

/// `{{a}} on {{b}}` → a, b.
fn labels_of(legend: &str) -> Vec<&str> {
    legend.split("{{").skip(1).filter_map(|rest| rest.split("}}").next()).collect()
}
