//! The head of each dashboard: what can be chosen, and what is marked in all graphs.

use serde_json::{Value, json};

use super::query::expand;
use super::{Board, Variable, datasource};

pub fn templating(board: &Board) -> Vec<Value> {
    let datasource = json!({
        "current": {},
        "hide": 0,
        "includeAll": false,
        "label": "Data source",
        "multi": false,
        "name": "datasource",
        "options": [],
        "query": "prometheus",
        "refresh": 1,
        "regex": "",
        "skipUrlSync": false,
        "type": "datasource",
    });
    let others = board.variables.iter().map(|variable| choice(board, *variable));
    std::iter::once(datasource).chain(others).collect()
}

/// Each narrows those behind it.
fn choice(board: &Board, variable: Variable) -> Value {
    let (metric, title) = match variable.label {
        "job" => ("lvs_agent_build_info", "Job"),
        "instance" => ("lvs_agent_build_info", "Director"),
        "virtual_server" => ("ipvs_virtual_server_info", "Virtual server"),
        "real_server" => ("ipvs_real_server_info", "Real server"),
        other => panic!("no variable is called {other}"),
    };
    let before: Vec<String> = board
        .variables
        .iter()
        .take_while(|other| other.label != variable.label)
        .map(|other| format!("{0}=~\"${0}\"", other.label))
        .collect();
    let selector =
        if before.is_empty() { metric.to_owned() } else { format!("{metric}{{{}}}", before.join(", ")) };
    let definition = format!("label_values({selector}, {})", variable.label);
    let current = match variable.all {
        true => json!({ "selected": true, "text": ["All"], "value": ["$__all"] }),
        false => json!({}),
    };
    let mut choice = json!({
        "current": current,
        "datasource": datasource(),
        "definition": definition,
        "hide": 0,
        "includeAll": variable.all,
        "label": title,
        "multi": true,
        "name": variable.label,
        "options": [],
        "query": { "query": definition, "refId": "StandardVariableQuery" },
        "refresh": 2,
        "regex": "",
        "skipUrlSync": false,
        "sort": 1,
        "type": "query",
    });
    if variable.all {
        choice["allValue"] = json!(".+");
    }
    choice
}

const FIRING: &str = "ALERTS{alertstate=\"firing\", alertname=~\"Ipvs.*\", severity!=\"none\"}";

pub fn annotations(board: &Board) -> Vec<Value> {
    let of_virtual_servers = board.has("virtual_server");
    let built_in = json!({
        "builtIn": 1,
        "datasource": { "type": "grafana", "uid": "-- Grafana --" },
        "enable": true,
        "hide": true,
        "iconColor": "rgba(0, 211, 255, 1)",
        "name": "Annotations & Alerts",
        "type": "dashboard",
    });
    let annotation = |name, color, expr: &str, title, text, tags| {
        json!({
            "datasource": datasource(),
            "enable": true,
            "expr": expand(expr, board),
            "iconColor": color,
            "name": name,
            "step": "30s",
            "tagKeys": tags,
            "textFormat": text,
            "titleFormat": title,
            "useValueForTime": false,
        })
    };
    // Of a whole fleet there are many: by director, and one click away.
    let one = of_virtual_servers && !board.variables.contains(&super::VIRTUAL_SERVERS);
    let by = if one { "job, virtual_server" } else { "J" };
    let drained = |before: &str| {
        format!(
            "sum by ({by}) (increase(lvs_weight_changes_total{{direction=\"drain\"}}[$__rate_interval]{before})) > 0"
        )
    };
    let mut drains = annotation(
        "Drains",
        "orange",
        &format!("({}) unless ({})", drained(""), drained(" offset $__interval")),
        "drained",
        "{{virtual_server}} {{instance}}",
        "",
    );
    drains["enable"] = json!(one);
    vec![
        built_in,
        annotation(
            "Firing alerts",
            "red",
            // The moment at which it begins: for as long as they fire, ten of them would paint a graph red.
            &format!("{FIRING} unless {FIRING} offset $__interval"),
            "{{alertname}}",
            "{{virtual_server}} {{instance}}",
            "severity",
        ),
        drains,
        annotation(
            "Reloads",
            "blue",
            "changes(lvs_agent_config_last_reload_success_timestamp_seconds[$__rate_interval]) > 0",
            "configuration loaded",
            "{{instance}}",
            "",
        ),
        annotation(
            "Failovers",
            "yellow",
            "max by (job) (increase(lvs_vip_transitions_total[$__rate_interval])) > 0",
            "virtual addresses moved",
            "{{job}}",
            "",
        ),
        annotation(
            "Starts of the agent",
            "purple",
            "changes(process_start_time_seconds[$__rate_interval]) > 0",
            "lvs-agent started",
            "{{instance}}",
            "",
        ),
    ]
}
