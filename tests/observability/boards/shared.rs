//! Panels that stand on more than one dashboard.

use super::panel::{Panel, graph, timeline};
use super::query::{replies, top};
use super::table::table;

/// Of directors there are few; should there be many, the graphs stay readable.
pub const MOST_DIRECTORS: u32 = 20;

pub fn directors_over_time() -> Panel {
    timeline(
        "Directors",
        "Whether each agent answers and can read the kernel's table, and whether its director holds the virtual addresses; at most 20 directors. While the table is unreadable no verdict changes a weight.",
        "{{instance}}",
        &[(0, "no answer", "red"), (1, "table unreadable", "orange"), (2, "standby", "blue"), (3, "active", "green")],
        top(
            MOST_DIRECTORS,
            "job, instance",
            "max by (J) (max_over_time(up[$__range] @ end()))",
            "max by (J) (up * on (J) (1 + ipvs_up + on (J) ipvs_up * on (J) lvs_director_active or on (J) 1 + ipvs_up) or up)",
        ),
    )
    .empty("No director in the selected jobs")
}

/// Direct routing has 0 here (trap 11).
pub fn replies_by_forwarding() -> Panel {
    let [masqueraded, others] = replies("ipvs_virtual_server_outgoing_bytes_total");
    graph(
        "Replies through the directors",
        "What real servers send back through the directors. Masquerading: all replies. Direct routing and tunnels: 0, and that is no fault; more means that probes go through IPVS or that a return path leads through the director.",
        "bps",
    )
    .line("masquerading", format!("8 * {masqueraded}"))
    .line("direct routing and tunnels", format!("8 * {others}"))
}

pub fn weight_changes() -> Panel {
    graph(
        "Weight changes",
        "Weights that the kernel acknowledged: drain (to 0), restore, adjust. One bar is the number in that step of the graph, of all directors.",
        "none",
    )
    .line("{{direction}}", "sum by (direction) (increase(lvs_weight_changes_total[$__rate_interval]))")
    .bars()
    .colors(&[("drain", "red"), ("restore", "green"), ("adjust", "blue")])
    .empty("None managed")
}

pub fn held_by_reason() -> Panel {
    graph(
        "Changes held now, by reason",
        "Weight changes that are wanted but held, over time: how long a reason lasts says more than how often it comes. floor: too few would be left; observe: the mode forbids it; tug_of_war: somebody else put the server back; ledger_unsaved: the disk; stale_snapshot: the table cannot be read.",
        "none",
    )
    .line("{{reason}}", "sum by (reason) (lvs_real_server_change_held)")
    .bars()
    .empty("No change is held")
}

pub fn failed_probes() -> Panel {
    graph(
        "Failed probes by reason",
        "Attempts a second, of all selected directors; one failure moves no verdict where `fall` is more than 1. connect_timeout and connect_unreachable: host or network; connect_refused: no process; response_timeout: it hangs; bad_status, bad_body, not_serving (gRPC): it says so itself; tls_*: certificates.",
        "cps",
    )
    .line("{{reason}}", "sum by (reason) (rate(lvs_check_failures_total[$__rate_interval]))")
    .stacked()
    .empty("No check failed")
}

pub fn disagreement() -> Panel {
    let among = "and on (job, virtual_server, real_server) (max by (job, virtual_server, real_server) (lvs_real_server_up)
         != min by (job, virtual_server, real_server) (lvs_real_server_up))";
    let of = |count: &str| {
        format!("topk(50, {count} by (job, virtual_server, real_server) (lvs_real_server_up) {among})")
    };
    table(
        "Where the directors disagree",
        "At most 50 real servers that one director judges up and another down: a filter or a partition between one of them and the server. A failover would change who serves.",
    )
    .size(12, 8)
    .label("job", "")
    .label("virtual_server", "Virtual server")
    .label("real_server", "Real server")
    .column("Say up", "none", of("sum"))
    .column("of directors", "none", of("count"))
    .empty("They agree")
}

/// `connections` is a counter; on the page of one virtual server it is that one's.
pub fn weeks_before(connections: &str) -> Panel {
    let rate = |offset: &str| format!("sum(rate({connections}[1h]{offset}))");
    graph(
        "Connections now and in the weeks before",
        "Connections scheduled a second on all selected directors, the mean of an hour, beside the same hour one, two and four weeks before. What Prometheus no longer has is missing.",
        "cps",
    )
    .line("now", rate(""))
    .line("a week before", rate(" offset 1w"))
    .line("2 weeks before", rate(" offset 2w"))
    .line("4 weeks before", rate(" offset 4w"))
}
