//! One real server in all its virtual servers, as all directors see it.

use super::panel::{Panel, graph, stat, timeline};
use super::query::{STATES, busiest, state, top};
use super::shared::{disagreement, failed_probes};
use super::table::table;
use super::{Board, INSTANCE, JOB, VIRTUAL_SERVERS, Variable, section};

pub const VARIABLES: &[Variable] =
    &[JOB, INSTANCE, VIRTUAL_SERVERS, Variable { label: "real_server", all: false }];
/// A row a director and virtual server.
const ROW: &str = "job, instance, virtual_server, real_server";
const LEGEND: &str = "{{virtual_server}} {{real_server}} by {{instance}}";
/// A server is in few virtual servers; should it be in many, they stay readable.
const MOST: u32 = 30;

pub fn board() -> Board {
    Board {
        uid: "lvs-real-server",
        title: "LVS / Real server",
        description: "One real server in all its virtual servers, as all directors see it.",
        variables: VARIABLES,
        sections: vec![
            section("Now", now()),
            section("Verdicts", verdicts()),
            section("Checks", checks()),
            section("Weight", weight()),
            section("Traffic", traffic()),
        ],
    }
}

/// Drawn for those with most of `rank` in the time range.
fn most(rank: &str, of: &str) -> String {
    top(MOST, ROW, rank, of)
}

/// A gauge of a real server, for those that had most of it.
fn gauge(metric: &str) -> String {
    most(
        &format!("max by (R) (max_over_time({metric}[$__range] @ end()))"),
        &format!("max by (R) ({metric})"),
    )
}

fn now() -> [Panel; 8] {
    [
        stat(
            "State",
            "The worst of its states in the selected virtual servers, on the selected directors.",
            "none",
            format!("min({})", state("job")),
        )
        .texts(STATES)
        .empty("not in the table"),
        stat(
            "Active connections",
            "In all selected virtual servers, on the director that has most.",
            "none",
            "max(sum by (J) (ipvs_real_server_active_connections))",
        )
        .decimals(0),
        stat(
            "Persistent clients",
            "Persistence templates: clients that come back to this server, at weight 0 too unless expire_quiescent_template is 1. Drained means that these are gone as well.",
            "none",
            "max(sum by (J) (ipvs_real_server_persistent_connections))",
        )
        .decimals(0),
        stat(
            "Changes of verdict",
            "Between up and down, in the time range, on the director that saw most. Many: its rise and fall are too tight, or it is at the edge of its timeout.",
            "none",
            "max(sum by (J) (increase(lvs_real_server_transitions_total[$__range])))",
        )
        .steps(&[(None, "green"), (Some(2.0), "orange"), (Some(6.0), "red")])
        .decimals(0)
        .empty("not judged"),
        stat(
            "Time down",
            "Time spent down in the time range, in the virtual server and on the director where it was longest.",
            "s",
            "max(increase(lvs_real_server_downtime_seconds_total[$__range]))",
        )
        .steps(&[(None, "green"), (Some(1.0), "orange")])
        .decimals(0)
        .empty("not judged"),
        stat(
            "Last change",
            "The last change of the verdict since the agents started.",
            "dateTimeFromNow",
            "1000 * max(lvs_real_server_state_change_timestamp_seconds)",
        )
        .empty("none yet"),
        rows_now(),
        disagreement().size(24, 4),
    ]
}

fn rows_now() -> Panel {
    let of = |expr: &str| format!("topk(100, {expr})");
    table(
        "In its virtual servers",
        "One row a virtual server and director. Out by: check, operator (lvs-agent drain), external (a weight 0 that the agent has no record of). Held: why a wanted change is not made. Flapping: more than six changes of the verdict in 30 minutes; a hold-down grows meanwhile.",
    )
    .size(24, 8)
    .label("job", "")
    .label("virtual_server", "Virtual server")
    .label("real_server", "")
    .label("instance", "Director")
    .column("Verdict", "none", of("max by (R) (lvs_real_server_up)"))
    .words(&[("0", "down", "red"), ("1", "up", "green")])
    .column("Flapping", "none", of("max by (R) (lvs_real_server_flapping)"))
    .words(&[("1", "yes", "orange")])
    .label("reason", "Out by or held")
    .rows(of("max by (R, reason) (lvs_real_server_drained or lvs_real_server_change_held)"))
    .column("Kernel", "none", of("max by (R) (ipvs_real_server_weight)"))
    .column("Wanted", "none", of("max by (R) (lvs_real_server_desired_weight)"))
    .column("Owed", "none", of("max by (R) (lvs_real_server_owed_weight)"))
    .label("forwarding", "Forwarding")
    .rows(of("max by (R, forwarding) (ipvs_real_server_info)"))
    .column("Active", "none", of("max by (R) (ipvs_real_server_active_connections)"))
    .column("Inactive", "none", of("max by (R) (ipvs_real_server_inactive_connections)"))
    .column("Persistent", "none", of("max by (R) (ipvs_real_server_persistent_connections)"))
    .column("Threshold", "none", of("max by (R) (ipvs_real_server_connection_threshold{bound=\"upper\"})"))
    .column("Changed", "dateTimeFromNow", of("1000 * max by (R) (lvs_real_server_state_change_timestamp_seconds)"))
    .empty("Not in the table of the selected directors")
}

fn verdicts() -> [Panel; 2] {
    [
        timeline(
            "State by virtual server and director",
            "Whether the directors agree, and since when they do. At most 30 rows, those that were down longest first.",
            LEGEND,
            STATES,
            most("sum by (R) (1 - avg_over_time(lvs_real_server_up[$__range] @ end()) or 0 * ipvs_real_server_weight @ end())", &state("R")),
        )
        .size(12, 9)
        .empty("Not in the table"),
        timeline(
            "Checks",
            "The verdict of each check, the worst of the selected directors; one that is down takes the server out. At most 30 rows.",
            "{{check}} of {{virtual_server}} at {{real_server}}",
            &[(0, "down", "red"), (1, "up", "green")],
            top(
                MOST,
                "job, virtual_server, real_server, check",
                "1 - min by (job, virtual_server, real_server, check) (avg_over_time(lvs_check_up[$__range] @ end()))",
                "min by (job, virtual_server, real_server, check) (lvs_check_up)",
            ),
        )
        .size(12, 9)
        .empty("No check"),
    ]
}

fn checks() -> [Panel; 4] {
    let probe = "job, virtual_server, real_server, check";
    let per_probe = |metric: &str| {
        top(
            20,
            probe,
            &format!("max by ({probe}) (max_over_time({metric}[$__range] @ end()))"),
            &format!("max by ({probe}) ({metric})"),
        )
    };
    let legend = "{{check}} of {{virtual_server}} at {{real_server}}";
    [
        graph(
            "Duration of the last probe",
            "Of the director where it took longest, against the shortest timeout of its checks; the 20 slowest.",
            "s",
        )
        .line(legend, per_probe("lvs_check_last_duration_seconds"))
        .line("timeout", "min(lvs_check_timeout_seconds)")
        .limit("timeout"),
        failed_probes(),
        graph("Failures in a row", "At `fall` the verdict is down. A saw-tooth below it is a server that is flaky and never down.", "none")
            .line(legend, per_probe("lvs_check_consecutive_failures")),
        graph("Probes", "Attempts a second that came to a pass or a failure; the 20 most frequent. While a verdict is being settled there are more of them.", "cps")
            .line(legend, busiest(20, probe, "lvs_check_attempts_total")),
    ]
}

fn weight() -> [Panel; 3] {
    [
        graph(
            "Weight in the kernel",
            "By virtual server and director. 0: nothing new is scheduled to it.",
            "none",
        )
        .line(LEGEND, gauge("ipvs_real_server_weight")),
        graph(
            "Wanted less kernel's weight",
            "Not 0 for longer than a moment: writes fail, or somebody else undoes them.",
            "none",
        )
        .line(
            LEGEND,
            most(
                "max by (R) (max_over_time(ipvs_real_server_weight[$__range] @ end()))",
                "max by (R) (lvs_real_server_desired_weight - ipvs_real_server_weight)",
            ),
        )
        .signed(),
        graph(
            "Owed weight",
            "What the owner of the table gave; it is given back on recovery. A step is somebody's edit.",
            "none",
        )
        .line(LEGEND, gauge("lvs_real_server_owed_weight"))
        .size(24, 7),
    ]
}

fn traffic() -> [Panel; 6] {
    let out = |range: &str, at: &str| {
        format!(
            "sum by (R) (rate(ipvs_real_server_outgoing_bytes_total[{range}]{at})
             and on (R) ipvs_real_server_info{{forwarding=\"masq\"}}{at})"
        )
    };
    [
        graph("Connections", "Connections scheduled to it a second, by virtual server and director.", "cps")
            .line(LEGEND, busiest(MOST, ROW, "ipvs_real_server_connections_total"))
            .stacked(),
        graph("Active connections", "By virtual server and director; with a sync daemon the backup has copies of the master's.", "none")
            .line(LEGEND, gauge("ipvs_real_server_active_connections")),
        graph("Inactive connections", "Entries that wait to end. A server at weight 0 is empty when these, the active and the persistent ones are gone.", "none")
            .line(LEGEND, gauge("ipvs_real_server_inactive_connections")),
        graph("Incoming traffic", "What clients send to it, by virtual server and director.", "bps")
            .line(LEGEND, format!("8 * {}", busiest(MOST, ROW, "ipvs_real_server_incoming_bytes_total")))
            .stacked(),
        graph(
            "Replies through the director (masquerading)",
            "What it sends back where it masquerades. Empty in direct routing and tunnels: its replies do not pass the director, and that is no fault.",
            "bps",
        )
        .line(LEGEND, format!("8 * {}", most(&out("$__range", " @ end()"), &out("$__rate_interval", ""))))
        .stacked()
        .empty("It does not masquerade"),
        graph("Incoming packets", "Packets sent to it a second, by virtual server and director.", "pps")
            .line(LEGEND, busiest(MOST, ROW, "ipvs_real_server_incoming_packets_total")),
    ]
}
