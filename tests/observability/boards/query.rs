//! Queries as people write them, and as a dashboard needs them.

use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::Board;
use crate::catalogue;

/// A text, or a metric and its matchers, or a letter that stands for labels.
static PARTS: LazyLock<Regex> = LazyLock::new(|| {
    let metric = r"(?P<metric>\b(?:up|ALERTS|(?:ipvs|lvs|process|scrape)_\w+)\b)(?:\{(?P<own>[^}]*)\})?";
    Regex::new(&format!(r#""[^"]*"|{metric}|\b(?P<labels>[JVR])\b"#)).expect("a pattern")
});

/// Adds the matchers of the dashboard's variables to each metric that has their labels.
pub fn expand(query: &str, board: &Board) -> String {
    let flat = query.split_whitespace().collect::<Vec<_>>().join(" ");
    let expanded =
        PARTS.replace_all(&flat, |found: &Captures| match (found.name("metric"), found.name("labels")) {
            (Some(metric), _) => {
                selector(metric.as_str(), found.name("own").map_or("", |own| own.as_str()), board)
            }
            (None, Some(letter)) => labels(letter.as_str()).to_owned(),
            (None, None) => found[0].to_owned(),
        });
    expanded.into_owned()
}

fn labels(letter: &str) -> &'static str {
    match letter {
        "J" => "job, instance",
        "V" => "job, instance, virtual_server",
        _ => "job, instance, virtual_server, real_server",
    }
}

fn selector(metric: &str, own: &str, board: &Board) -> String {
    let known = catalogue::labels(metric).unwrap_or_else(|| panic!("{metric} is not in the catalogue"));
    let mut matchers: Vec<String> = Vec::new();
    for label in ["job", "instance", "virtual_server", "real_server"] {
        // Not every alert is of one director or of one virtual server.
        let (value, skipped) = match (metric, label) {
            ("ALERTS", "instance" | "real_server") => ("", true),
            ("ALERTS", "virtual_server") => ("|", false),
            _ => ("", false),
        };
        if board.has(label) && known.contains(&label) && !skipped {
            matchers.push(format!("{label}=~\"${label}{value}\""));
        }
    }
    matchers.extend((!own.is_empty()).then(|| own.to_owned()));
    format!("{metric}{{{}}}", matchers.join(", "))
}

/// Of a graph's series those that count most over the whole time range: the same ones at each of its steps. `rank`
/// has the labels `by` and is taken at the range's end.
pub fn top(most: u32, by: &str, rank: &str, of: &str) -> String {
    format!("{of} and on ({by}) topk({most}, {rank})")
}

/// The busiest, by a counter's rate.
pub fn busiest(most: u32, by: &str, counter: &str) -> String {
    let rate = |range: &str| format!("sum by ({by}) (rate({counter}[{range}))");
    top(most, by, &rate("$__range] @ end()"), &rate("$__rate_interval]"))
}

/// Replies that pass the directors, of virtual servers with masqueraded real servers and of the others: direct routing
/// and tunnels alone. Who masquerades is looked up once, at the end of the range.
pub fn replies(counter: &str) -> [String; 2] {
    ["and", "unless"].map(|which| {
        format!(
            "sum(rate({counter}[$__rate_interval])
             {which} on (V) max by (V) (ipvs_real_server_info{{forwarding=\"masq\"}} @ end()))"
        )
    })
}

/// Real servers with the worst first: those that were down for long, then those that had weight 0.
pub fn worst_real_servers(most: u32) -> String {
    let weight_was_0 = "(min_over_time(ipvs_real_server_weight[$__range] @ end()) == bool 0)";
    format!(
        "topk({most}, sum by (job, virtual_server, real_server)
         (1 - avg_over_time(lvs_real_server_up[$__range] @ end()) + {weight_was_0} or {weight_was_0}))"
    )
}

/// One figure a real server, the worst of its directors first: 0 fails its checks and has weight, 1 fails and is out,
/// 2 is out by hand, 3 is not judged, 4 is up.
pub fn state(by: &str) -> String {
    format!(
        "min by ({by}) (0 * lvs_real_server_drained{{reason=~\"operator|external\"}} + 2
         or on (R) 4 * (lvs_real_server_up == 1)
         or on (R) 1 + (lvs_real_server_up == 0 and on (R) ipvs_real_server_weight == 0)
         or on (R) lvs_real_server_up
         or on (R) 0 * ipvs_real_server_weight + 3)"
    )
}

/// As [`state`] has them.
pub const STATES: &[(i64, &str, &str)] = &[
    (0, "fails, kept in", "purple"),
    (1, "down", "red"),
    (2, "out by hand", "blue"),
    (3, "not judged", "yellow"),
    (4, "up", "green"),
];

/// What is left of a virtual server's weight when its heaviest `lost` usable real servers go, on the director that sees
/// least.
pub fn capacity_without(lost: u32) -> String {
    format!(
        "min by (job, virtual_server) ((sum by (V) ({USABLE}) - sum by (V) (topk by (V) ({lost}, {USABLE})))
         / sum by (V) ({OWED}))"
    )
}

/// By how much the others' load grows.
pub fn load_without(lost: u32) -> String {
    format!(
        "max by (job, virtual_server) (sum by (V) ({USABLE})
         / (sum by (V) ({USABLE}) - sum by (V) (topk by (V) ({lost}, {USABLE})) > 0))"
    )
}

/// Weight above 0, not down, of a virtual server that is managed.
const USABLE: &str = "(ipvs_real_server_weight > 0 and on (V) lvs_virtual_server_capacity_ratio \
     unless on (R) lvs_real_server_up == 0)";
/// What the owner of the table gave to those that are not out by hand.
const OWED: &str =
    "(lvs_real_server_owed_weight unless on (R) lvs_real_server_drained{reason=~\"operator|external\"})";

/// Connections a second of a virtual server over all directors in the busiest hour of seven days.
pub fn busiest_hour(weeks_ago: u32) -> String {
    let offset = match weeks_ago {
        0 => String::new(),
        weeks => format!(" offset {weeks}w"),
    };
    format!(
        "max_over_time(sum by (job, virtual_server) (rate(ipvs_virtual_server_connections_total[1h]))[1w:1h]{offset})"
    )
}

/// The mean of seven days: of many virtual servers, where the busiest hour of each takes too long.
pub fn weekly_mean(weeks_ago: u32) -> String {
    let offset = match weeks_ago {
        0 => String::new(),
        weeks => format!(" offset {weeks}w"),
    };
    format!("sum by (job, virtual_server) (rate(ipvs_virtual_server_connections_total[1w]{offset}))")
}
