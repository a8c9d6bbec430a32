//! The queries of a dashboard as Grafana sends them. The lab's tools ask them too.

use serde_json::Value;

/// A query with what was chosen.
pub struct Asked {
    /// Its dashboard, panel and letter.
    pub which: String,
    pub expr: String,
    /// Over time, not for one moment.
    pub range: bool,
}

/// The rest is all of the fleet.
pub struct Chosen<'a> {
    /// For the dashboards that are about one.
    pub virtual_server: &'a str,
    pub real_server: &'a str,
    pub range_seconds: u64,
    pub rate_seconds: u64,
    pub step_seconds: u64,
}

/// Of the panels first, then of the annotations; panics on what is not one of our dashboards.
pub fn asked(dashboard: &Value, chosen: &Chosen<'_>) -> Vec<Asked> {
    let text = |value: &Value, key: &str| value[key].as_str().map(str::to_owned);
    let uid = text(dashboard, "uid").expect("a uid");
    let mut found = Vec::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let letter = text(target, "refId").expect("a letter");
            found.push(Asked {
                which: format!("{uid}: {} {letter}", text(panel, "title").expect("a title")),
                expr: fill(dashboard, &text(target, "expr").expect("a query"), chosen),
                range: target["range"] == true,
            });
        }
    }
    for mark in dashboard["annotations"]["list"].as_array().expect("annotations") {
        if let Some(expr) = text(mark, "expr") {
            let which = format!("{uid}: {}", text(mark, "name").expect("a name"));
            found.push(Asked { which, expr: fill(dashboard, &expr, chosen), range: true });
        }
    }
    found
}

fn fill(dashboard: &Value, expr: &str, chosen: &Chosen<'_>) -> String {
    // The longer name first: the other is its beginning.
    let expr = expr.replace("$__rate_interval", &format!("{}s", chosen.rate_seconds));
    let expr = expr.replace("$__interval", &format!("{}s", chosen.step_seconds));
    let mut expr = expr.replace("$__range", &format!("{}s", chosen.range_seconds));
    for variable in dashboard["templating"]["list"].as_array().expect("variables") {
        let name = variable["name"].as_str().expect("a name");
        let value = match (variable["includeAll"] == true, name) {
            (false, "virtual_server") => escaped(chosen.virtual_server),
            (false, "real_server") => escaped(chosen.real_server),
            (_, _) => ".+".to_owned(),
        };
        expr = expr.replace(&format!("${name}"), &value);
    }
    expr
}

/// As Grafana does where several may be chosen: for a pattern, in a string.
fn escaped(value: &str) -> String {
    regex::escape(value).replace('\\', "\\\\")
}
