//! A table: one row a thing, each query a column or a label that the others lack.

use serde_json::{Map, Value, json};

use super::Board;
use super::link::{Link, Source};
use super::panel::{Kind, Panel, Target, mappings, named, ref_id, thresholds};

#[derive(Default)]
pub struct Table {
    columns: Vec<Column>,
    sorted_by: &'static str,
    descending: bool,
    labels: Vec<&'static str>,
}

struct Column {
    /// Empty: not shown; a label is there for links all the same.
    title: &'static str,
    field: Field,
    properties: Vec<Value>,
}

enum Field {
    Label(&'static str),
    /// Of the query with this number.
    Value(usize),
}

pub fn table(title: &'static str, description: &'static str) -> Panel {
    let mut panel = Panel::new(Kind::Table(Table::default()), title, description, "none");
    let custom =
        json!({ "align": "auto", "cellOptions": { "type": "auto" }, "filterable": true, "minWidth": 80 });
    panel.set_default("custom", custom);
    panel
}

/// Columns stand in the order in which they are added; what follows one says how it looks.
impl Panel {
    /// A label of the queries.
    pub fn label(self, label: &'static str, title: &'static str) -> Panel {
        self.with_table(|table| {
            table.labels.push(label);
            table.columns.push(Column { title, field: Field::Label(label), properties: Vec::new() });
        })
    }

    pub fn column(self, title: &'static str, unit: &str, expr: impl Into<String>) -> Panel {
        let at = self.target_count();
        let properties = match unit {
            "none" => Vec::new(),
            unit => vec![json!({ "id": "unit", "value": unit })],
        };
        self.add_target(Target { expr: expr.into(), legend: "" }).with_table(|table| {
            table.columns.push(Column { title, field: Field::Value(at), properties });
        })
    }

    /// A query for its labels alone, or to make rows.
    pub fn rows(self, expr: impl Into<String>) -> Panel {
        self.column("", "none", expr)
    }

    pub fn sorted(self, title: &'static str, descending: bool) -> Panel {
        self.with_table(|table| (table.sorted_by, table.descending) = (title, descending))
    }

    pub fn digits(self, decimals: u64) -> Panel {
        self.property("decimals", json!(decimals))
    }

    pub fn words(self, texts: &[(&str, &str, &str)]) -> Panel {
        let texts: Vec<(String, &str, &str)> =
            texts.iter().map(|(value, text, color)| ((*value).to_owned(), *text, *color)).collect();
        self.property("custom.cellOptions", json!({ "type": "color-text" }))
            .property("mappings", mappings(&texts))
    }

    pub fn yes_no(self) -> Panel {
        self.words(&[("0", "no", "red"), ("1", "yes", "green")])
    }

    /// Its width, where an even share is too little.
    pub fn pixels(self, width: u64) -> Panel {
        self.property("custom.width", json!(width))
    }

    /// Figures in `color` from `from` on.
    pub fn alarming(self, from: f64, color: &str) -> Panel {
        self.property("custom.cellOptions", json!({ "type": "color-text" }))
            .property("color", json!({ "mode": "thresholds" }))
            .property("thresholds", thresholds(&[(None, "green"), (Some(from), color)]))
    }

    /// A bar from nothing to all.
    pub fn gauge(self) -> Panel {
        self.digits(0)
            .property("min", json!(0))
            .property("max", json!(1))
            .property("custom.cellOptions", json!({ "mode": "basic", "type": "gauge" }))
            .property("color", json!({ "mode": "continuous-RdYlGr" }))
    }

    pub fn property(self, id: &str, value: Value) -> Panel {
        self.with_table(|table| {
            let column = table.columns.last_mut().expect("a column comes first");
            column.properties.push(json!({ "id": id, "value": value }));
        })
    }
}

/// The chains that end first. Below 21 days IpvsTlsCertificateExpiresSoon tells it, below 3 the other one pages.
pub fn certificates() -> Panel {
    table(
        "Certificates that end first",
        "Whole days until the first certificate of the chain that a real server presents is over, an intermediate's too; negative once it is. At most 30, on the director that saw the older one.",
    )
    .size(12, 8)
    .label("job", "")
    .label("virtual_server", "Virtual server")
    .label("real_server", "Real server")
    .label("check", "Check")
    .column(
        "Days left",
        "none",
        "floor((bottomk(30, min by (job, virtual_server, real_server, check) (lvs_check_tls_not_after_timestamp_seconds)) - time()) / 86400)",
    )
    .digits(0)
    .property("custom.cellOptions", json!({ "type": "color-text" }))
    .property("color", json!({ "mode": "thresholds" }))
    .property("thresholds", thresholds(&[(None, "red"), (Some(3.0), "orange"), (Some(21.0), "green")]))
    .sorted("Days left", false)
    .empty("None was presented")
}

impl Table {
    /// How each column looks, and where its labels lead.
    pub fn overrides(&self, board: &Board) -> Vec<Value> {
        let with_links = self.columns.iter().filter(|column| !column.title.is_empty()).map(|column| {
            let mut properties = column.properties.clone();
            properties.extend(self.width_of(column));
            let link = match column.field {
                Field::Label(label) => Link::about(&[label], board),
                Field::Value(_) => None,
            };
            if let Some(link) = link {
                let link = link.of_data(board, Source::Row(&self.labels));
                properties.push(json!({ "id": "links", "value": [link] }));
            }
            (column.title, properties)
        });
        let shown = with_links.filter(|(_, all)| !all.is_empty()).map(|(title, all)| named(title, all));
        let hidden = self.columns.iter().filter(|column| column.title.is_empty()).filter_map(hidden_label);
        std::iter::once(empty_cells()).chain(hidden).chain(shown).collect()
    }

    /// Names need more than an even share where there are many columns.
    fn width_of(&self, column: &Column) -> Option<Value> {
        let many = self.columns.iter().filter(|column| !column.title.is_empty()).count() > 4;
        let width = match column.field {
            Field::Label("virtual_server" | "real_server") => 185,
            Field::Label("instance") => 150,
            Field::Label(_) | Field::Value(_) => return None,
        };
        many.then(|| json!({ "id": "custom.width", "value": width }))
    }

    pub fn options(&self) -> Value {
        let title = match self.sorted_by {
            "" => self.columns.iter().map(|column| column.title).find(|title| !title.is_empty()),
            title => Some(title),
        };
        json!({
            "cellHeight": "sm",
            "footer": { "countRows": false, "fields": "", "reducer": ["sum"], "show": false },
            "showHeader": true,
            "sortBy": [{ "desc": self.descending, "displayName": title.expect("a column that is shown") }],
        })
    }

    pub fn transformations(&self) -> Value {
        let several =
            self.columns.iter().filter(|column| matches!(column.field, Field::Value(_))).count() > 1;
        let (mut hidden, mut order, mut names) = (Map::new(), Map::new(), Map::new());
        hidden.insert("Time".to_owned(), json!(true));
        for column in &self.columns {
            let field = match column.field {
                Field::Label(label) => label.to_owned(),
                Field::Value(at) if several => format!("Value #{}", ref_id(at)),
                Field::Value(_) => "Value".to_owned(),
            };
            if !column.title.is_empty() {
                order.insert(field.clone(), json!(order.len()));
                names.insert(field, json!(column.title));
            } else if let Field::Value(_) = column.field {
                hidden.insert(field, json!(true));
            }
        }
        let organize = json!({
            "id": "organize",
            "options": {
                "excludeByName": hidden, "includeByName": {}, "indexByName": order, "renameByName": names,
            },
        });
        match several {
            true => json!([{ "id": "merge", "options": {} }, organize]),
            false => json!([organize]),
        }
    }
}

/// What `organize` leaves out is gone, for links too; this is there and not seen. Grafana calls it `hidden` up to 12.1.
fn hidden_label(column: &Column) -> Option<Value> {
    let properties = vec![
        json!({ "id": "custom.hidden", "value": true }),
        json!({ "id": "custom.hideFrom", "value": { "legend": false, "tooltip": false, "viz": true } }),
    ];
    match column.field {
        Field::Label(label) => Some(named(label, properties)),
        Field::Value(_) => None,
    }
}

/// Else each of them says what the whole table says when it has no row.
fn empty_cells() -> Value {
    json!({
        "matcher": { "id": "byRegexp", "options": "/.*/" },
        "properties": [{ "id": "noValue", "value": "–" }],
    })
}
