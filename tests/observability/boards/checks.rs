//! What the checks say, what was decided, and what was not done and why.

use super::panel::{Panel, graph, heatmap, stat, timeline};
use super::query::top;
use super::shared::{disagreement, failed_probes, held_by_reason, weight_changes};
use super::table::{certificates, table};
use super::{Board, INSTANCE, JOB, VIRTUAL_SERVERS, Variable, section};

pub const VARIABLES: &[Variable] = &[JOB, INSTANCE, VIRTUAL_SERVERS];

pub fn board() -> Board {
    Board {
        uid: "lvs-checks",
        title: "LVS / Checks and decisions",
        description: "What the checks say, what was decided, and what was not done and why.",
        variables: VARIABLES,
        sections: vec![
            section("Now", now()),
            section("Checks", checks()),
            section("Decisions", decisions()),
            section("Who is out, and who ought to be", tables()),
        ],
    }
}

fn now() -> [Panel; 7] {
    [
        stat(
            "Judged",
            "Real servers with a verdict, each counted once for every virtual server it is in.",
            "none",
            "count(max by (job, virtual_server, real_server) (lvs_real_server_up))",
        )
        .size(3, 4)
        .decimals(0)
        .empty("none managed"),
        stat(
            "Down",
            "Judged down by at least one director.",
            "none",
            "count(min by (job, virtual_server, real_server) (lvs_real_server_up) == 0) or vector(0)",
        )
        .size(3, 4)
        .none_or("orange"),
        stat(
            "Flapping",
            "Real servers whose verdict changed more than six times in 30 minutes, on at least one director: their hold-downs grow.",
            "none",
            "count(max by (job, virtual_server, real_server) (lvs_real_server_flapping)) or vector(0)",
        )
        .size(3, 4)
        .none_or("red"),
        stat(
            "Directors disagree",
            "Real servers that one director judges up and another down.",
            "none",
            "count(max by (job, virtual_server, real_server) (lvs_real_server_up)
             != min by (job, virtual_server, real_server) (lvs_real_server_up)) or vector(0)",
        )
        .size(4, 4)
        .none_or("red"),
        stat(
            "Changes held",
            "Weight changes that are wanted and not made, on all directors; the table below says which and why.",
            "none",
            "count(lvs_real_server_change_held) or vector(0)",
        )
        .size(4, 4)
        .none_or("orange"),
        stat(
            "Stale verdicts",
            "Checks whose last attempt is more than five intervals ago: too little CPU, or the limit of probes in flight.",
            "none",
            "count(time() - lvs_check_last_attempt_timestamp_seconds
             > on (V, check) group_left () 5 * lvs_check_interval_seconds) or vector(0)",
        )
        .size(3, 4)
        .none_or("red"),
        stat(
            "Failed probes",
            "Share of all attempts in the last minutes, servers that are down included.",
            "percentunit",
            "sum(rate(lvs_check_failures_total[$__rate_interval])) / (sum(rate(lvs_check_attempts_total[$__rate_interval])) > 0)",
        )
        .size(4, 4)
        .steps(&[(None, "green"), (Some(0.01), "orange"), (Some(0.1), "red")])
        .decimals(2)
        .empty("none"),
    ]
}

fn checks() -> [Panel; 9] {
    let failing = |range: &str| {
        format!(
            "sum by (job, virtual_server) (rate(lvs_check_failures_total[{range}))
             / (sum by (job, virtual_server) (rate(lvs_check_attempts_total[{range})) > 0)"
        )
    };
    [
        failed_probes(),
        graph(
            "Probes that could not be carried out",
            "By reason, a second: the agent's own descriptors, ports, network or lateness. They move no verdict.",
            "cps",
        )
        .line("{{reason}}", "sum by (reason) (rate(lvs_check_inconclusive_total[$__rate_interval]))")
        .stacked()
        .empty("All were carried out"),
        graph(
            "Where probes fail most",
            "The share of attempts that fail, the 20 virtual servers with most of it in the time range.",
            "percentunit",
        )
        .line(
            "{{virtual_server}}",
            top(20, "job, virtual_server", &failing("$__range] @ end()"), &format!("({})", failing("$__rate_interval]"))),
        )
        .max(1)
        .empty("No check failed"),
        graph(
            "Slowest virtual servers, p95",
            "Whole probes, the 20 slowest by their mean in the time range.",
            "s",
        )
        .line(
            "{{virtual_server}}",
            top(
                20,
                "job, virtual_server",
                "sum by (job, virtual_server) (rate(lvs_check_duration_seconds_sum{phase=\"total\"}[$__range] @ end()))
                 / (sum by (job, virtual_server) (rate(lvs_check_duration_seconds_count{phase=\"total\"}[$__range] @ end())) > 0)",
                "histogram_quantile(0.95, sum by (job, virtual_server, le) (rate(lvs_check_duration_seconds_bucket{phase=\"total\"}[$__rate_interval])))",
            ),
        ),
        heatmap(
            "Duration of probes",
            "How long whole probes took, all selected virtual servers together.",
            "s",
            "sum by (le) (increase(lvs_check_duration_seconds_bucket{phase=\"total\"}[$__rate_interval]))",
        ),
        slowest(),
        tripwires(),
        trips(),
        certificates().size(24, 7),
    ]
}

fn tripwires() -> Panel {
    graph(
        "Tripwires",
        "Idle connections whose end has a server probed at once, of all selected directors. Not held: the server is down, or the next try is awaited. Of little use: the server closes idle connections soon (closed), takes no second one (refused), or we cannot hold it; its failures are then found by probes at their interval, mostly.",
        "none",
    )
    .line("held", "sum(lvs_check_tripwire_armed)")
    .line("not held", "sum(1 - lvs_check_tripwire_armed)")
    .line("of little use: {{reason}}", "sum by (reason) (lvs_check_tripwire_degraded)")
    .colors(&[("held", "green"), ("not held", "orange")])
    .empty("No check has a tripwire")
}

fn trips() -> Panel {
    let tripped = |range: &str| {
        format!("sum by (job, virtual_server) (increase(lvs_check_tripwire_trips_total[{range}))")
    };
    graph(
        "Trips",
        "Connections of tripwires that servers ended in each step of the graph: the 20 virtual servers with most in the time range. Each had the server probed at once; what that came to is in the failed probes. Many without failures: the server closes idle connections.",
        "none",
    )
    .line(
        "{{virtual_server}}",
        top(20, "job, virtual_server", &tripped("$__range] @ end()"), &tripped("$__rate_interval]")),
    )
    .bars()
    .empty("Nothing tripped")
}

fn slowest() -> Panel {
    let probe = "job, virtual_server, real_server, check";
    let slow = format!("topk(30, max by ({probe}) (lvs_check_last_duration_seconds))");
    table("Slowest real servers", "By their last probe, on the director where it took longest; at most 30.")
        .size(12, 8)
        .label("job", "")
        .label("virtual_server", "Virtual server")
        .label("real_server", "Real server")
        .label("check", "Check")
        .column("Last probe", "s", slow.clone())
        .column(
            "Of its timeout",
            "percentunit",
            format!(
                "max by ({probe}) (lvs_check_last_duration_seconds / on (V, check) group_left () lvs_check_timeout_seconds)
                 and on ({probe}) {slow}"
            ),
        )
        .gauge()
        .property("color", serde_json::json!({ "mode": "continuous-GrYlRd" }))
        .sorted("Last probe", true)
        .empty("No check")
}

fn decisions() -> [Panel; 6] {
    let changed = |of: &str| format!("sum by ({of}) (increase(lvs_weight_changes_total[$__range]))");
    [
        weight_changes(),
        graph("Changes that were held", "Holds that began in each step of the graph, by reason; one that goes on is counted once.", "none")
            .line("{{reason}}", "sum by (reason) (increase(lvs_weight_changes_held_total[$__rate_interval]))")
            .bars()
            .empty("No change was held"),
        timeline(
            "Floors",
            "Virtual servers whose floor was reached at some moment of the time range: failing servers stayed in rotation. At most 40.",
            "{{virtual_server}}",
            &[(0, "above", "green"), (1, "reached", "red")],
            "max by (job, virtual_server) (lvs_virtual_server_floor_reached) and on (job, virtual_server)
             topk(40, max by (job, virtual_server) (max_over_time(lvs_virtual_server_floor_reached[$__range] @ end())) == 1)",
        )
        .empty("No floor was reached"),
        held_by_reason(),
        table("Weight changes", "The virtual servers with most of them in the time range, of all directors; at most 50.")
            .label("job", "")
            .label("virtual_server", "Virtual server")
            .label("direction", "Direction")
            .column("Changes", "none", format!("topk(50, {} > 0)", changed("job, virtual_server, direction")))
            .digits(0)
            .sorted("Changes", true)
            .size(12, 8)
            .empty("No weight was changed"),
        table(
            "Unsteady real servers",
            "Those whose verdict changed most often in the time range, on the director that saw most changes; at most 50. More than six in 30 minutes is flapping: then each drain doubles its hold-down.",
        )
        .label("job", "")
        .label("virtual_server", "Virtual server")
        .label("real_server", "Real server")
        .column(
            "Changes of verdict",
            "none",
            "topk(50, max by (job, virtual_server, real_server) (increase(lvs_real_server_transitions_total[$__range])) > 0)",
        )
        .digits(0)
        .column("Flapping", "none", "topk(50, max by (job, virtual_server, real_server) (lvs_real_server_flapping))")
        .words(&[("1", "yes", "orange")])
        .sorted("Changes of verdict", true)
        .size(12, 8)
        .empty("No verdict changed"),
    ]
}

fn tables() -> [Panel; 3] {
    let out = "topk(100, max by (R, reason) (lvs_real_server_drained))";
    let of = |expr: &str| format!("{expr} and on (R) {out}");
    [
        table(
            "Out of rotation",
            "At most 100. By check, operator (lvs-agent drain) or external (a weight 0 that the agent has no record of, which is left alone). Empty when no connection is left, persistent ones included.",
        )
        .size(24, 8)
        .label("job", "")
        .label("virtual_server", "Virtual server")
        .label("real_server", "Real server")
        .label("instance", "Director")
        .label("reason", "By")
        .rows(out)
        .column("Owed weight", "none", of("max by (R) (lvs_real_server_owed_weight)"))
        .column("Active", "none", of("max by (R) (ipvs_real_server_active_connections)"))
        .column("Inactive", "none", of("max by (R) (ipvs_real_server_inactive_connections)"))
        .column("Persistent", "none", of("max by (R) (ipvs_real_server_persistent_connections)"))
        .column("Verdict changed", "dateTimeFromNow", of("1000 * max by (R) (lvs_real_server_state_change_timestamp_seconds)"))
        .sorted("By", false)
        .empty("Everybody is in"),
        table(
            "Changes held",
            "At most 100: weight changes that are wanted and not made, and why. docs/operations.md has what to do about each reason.",
        )
        .size(12, 8)
        .label("job", "")
        .label("virtual_server", "Virtual server")
        .label("real_server", "Real server")
        .label("instance", "Director")
        .label("reason", "Reason")
        .rows("topk(100, max by (R, reason) (lvs_real_server_change_held))")
        .empty("No change is held"),
        disagreement(),
    ]
}
