//! Is every virtual server up, on all directors, and what are the agents doing about it?

use super::panel::{Panel, graph, stat, timeline};
use super::query::{busiest, capacity_without, load_without, weekly_mean};
use super::shared::{
    directors_over_time, failed_probes, held_by_reason, replies_by_forwarding, weeks_before, weight_changes,
};
use super::table::table;
use super::{Board, INSTANCE, JOB, VIRTUAL_SERVERS, Variable, section};

pub const VARIABLES: &[Variable] = &[JOB, INSTANCE, VIRTUAL_SERVERS];
const VS: &str = "job, virtual_server";

pub fn board() -> Board {
    Board {
        uid: "lvs-overview",
        title: "LVS / Fleet overview",
        description: "Is every virtual server up, on all directors, and what are the agents doing about it?",
        variables: VARIABLES,
        sections: vec![
            section("Now", now()),
            section("Health", health()),
            section("Traffic", traffic()),
            section("Capacity: what is left when servers go, and when it will not do any more", capacity()),
        ],
    }
}

fn now() -> [Panel; 9] {
    let count = |title, description, expr: &str, color| {
        stat(title, description, "none", format!("sum({expr})")).none_or(color).empty("none managed")
    };
    [
        stat(
            "Directors answering",
            "Agents that Prometheus can scrape now. A director whose agent is silent goes on forwarding with the weights of that moment.",
            "none",
            "sum(up)",
        )
        .steps(&[(None, "red"), (Some(1.0), "green")])
        .decimals(0)
        .empty("no target"),
        count("Directors silent", "Agents that Prometheus cannot scrape now.", "up == bool 0", "red")
            .empty("no target"),
        count(
            "Virtual servers down",
            "Virtual servers with fewer usable real servers than their quorum on at least one director. Managed ones only: others are not judged.",
            "max by (job, virtual_server) (lvs_virtual_server_up == bool 0)",
            "red",
        ),
        count(
            "Real servers down",
            "Real servers that fail their checks, each counted once for every virtual server it is in. Taken out by hand does not count.",
            "max by (job, virtual_server) (lvs_virtual_server_real_servers{state=\"down\"})",
            "orange",
        ),
        count(
            "Floors reached",
            "Virtual servers where failing real servers stay in rotation, because too few would be left.",
            "max by (job, virtual_server) (lvs_virtual_server_floor_reached)",
            "red",
        ),
        count(
            "Weights that drift",
            "Real servers whose weight in the kernel is not the one the agent wants: a write that failed or was undone. For a moment it is normal.",
            "lvs_real_server_desired_weight != bool ipvs_real_server_weight",
            "red",
        ),
        table(
            "Firing alerts",
            "Alerts of lvs-agent that fire now, those of the selected virtual servers and those that concern none. docs/runbooks has a page for each.",
        )
        .size(10, 8)
        .label("severity", "Severity")
        .pixels(100)
        .words(&[("critical", "critical", "red"), ("warning", "warning", "orange"), ("info", "info", "blue")])
        .label("alertname", "Alert")
        .pixels(230)
        .label("virtual_server", "Virtual server")
        .label("instance", "Director")
        .rows(
            "topk(100, max by (alertname, severity, instance, virtual_server)
             (ALERTS{alertstate=\"firing\", alertname=~\"Ipvs.*\", severity!=\"none\"}))",
        )
        .empty("No alert fires"),
        directors(),
        virtual_servers(),
    ]
}

fn directors() -> Panel {
    table(
        "Directors",
        "One row a director. Mode is empty where the agent has no configuration and only exports. Snapshot: the age of what was read from the kernel. Taken: weights that the agent owes to the owner of the table.",
    )
    .size(14, 8)
    .label("job", "")
    .label("instance", "Director")
    .column("Answers", "none", "max by (J) (up)")
    .yes_no()
    .column("Active", "none", "max by (J) (lvs_director_active)")
    .words(&[("0", "standby", "blue"), ("1", "active", "green")])
    .column("Readable", "none", "max by (J) (ipvs_up)")
    .yes_no()
    .label("mode", "Mode")
    .words(&[("observe", "observe", "orange"), ("enforce", "enforce", "green")])
    .rows("max by (J, mode) (lvs_agent_mode == 1)")
    .label("version", "Version")
    .rows("max by (J, version) (lvs_agent_build_info)")
    .column("Snapshot", "s", "max by (J) (time() - lvs_agent_snapshot_timestamp_seconds)")
    .digits(1)
    .column("Taken", "none", "max by (J) (lvs_agent_ledger_entries)")
    .empty("No director in the selected jobs")
}

/// The worst first, then the busiest: nobody reads the thousandth row.
fn virtual_servers() -> Panel {
    let busy = "sum by (job, virtual_server) (rate(ipvs_virtual_server_connections_total[$__rate_interval]))";
    let lost = "1e9 * (1 - min by (job, virtual_server) (lvs_virtual_server_capacity_ratio))";
    let worst = format!("topk(200, {busy} + {lost} or {busy})");
    let of = |expr: &str| format!("{expr} and on ({VS}) {worst}");
    table(
        "Virtual servers",
        "One row a virtual server, over all selected directors: the worst verdict of them and the sum of their traffic; at most 200, those with the least capacity left first. Verdicts are empty where the virtual server is not managed. Out is what masqueraded real servers send back; replies of direct routing and tunnels do not pass the director.",
    )
    .size(24, 10)
    .label("job", "")
    .label("name", "Name")
    .label("virtual_server", "Virtual server")
    .rows(of("max by (job, virtual_server, name) (lvs_virtual_server_info)"))
    .column("Up", "none", of("min by (job, virtual_server) (lvs_virtual_server_up)"))
    .yes_no()
    .column("Real servers up", "none", of("min by (job, virtual_server) (lvs_virtual_server_real_servers{state=\"up\"})"))
    .column("of", "none", of("max by (job, virtual_server) (ipvs_virtual_server_real_servers)"))
    .column("Capacity", "percentunit", of("min by (job, virtual_server) (lvs_virtual_server_capacity_ratio)"))
    .gauge()
    .column("Failing but in", "none", of("max by (job, virtual_server) (lvs_virtual_server_protected_real_servers)"))
    .alarming(1.0, "red")
    .column(
        "Connections/s",
        "cps",
        of("sum by (job, virtual_server) (rate(ipvs_virtual_server_connections_total[$__rate_interval]))"),
    )
    .digits(1)
    .column(
        "In",
        "bps",
        of("8 * sum by (job, virtual_server) (rate(ipvs_virtual_server_incoming_bytes_total[$__rate_interval]))"),
    )
    .column(
        "Out (masq)",
        "bps",
        of("8 * sum by (job, virtual_server) (rate(ipvs_real_server_outgoing_bytes_total[$__rate_interval])
            and on (R) ipvs_real_server_info{forwarding=\"masq\"})"),
    )
    .column(
        "Last change",
        "dateTimeFromNow",
        of("1000 * max by (job, virtual_server) (lvs_real_server_state_change_timestamp_seconds)"),
    )
    .sorted("Capacity", false)
    .empty("No virtual server")
}

fn health() -> [Panel; 6] {
    [
        timeline(
            "Virtual servers that were down",
            "The virtual servers that were down at some moment of the time range, on any director; at most 40.",
            "{{virtual_server}}",
            &[(0, "down", "red"), (1, "up", "green")],
            "min by (job, virtual_server) (lvs_virtual_server_up) and on (job, virtual_server)
             topk(40, min by (job, virtual_server) (min_over_time(lvs_virtual_server_up[$__range] @ end())) == 0)",
        )
        .empty("None was down"),
        directors_over_time(),
        graph(
            "Real servers by state",
            "Every real server of a managed virtual server is in one state: up, down, unknown (no verdict yet), drained (weight 0 by hand). Of each virtual server the director that sees most counts.",
            "none",
        )
        .line("{{state}}", "sum by (state) (max by (job, virtual_server, state) (lvs_virtual_server_real_servers))")
        .stacked()
        .colors(&[("up", "green"), ("down", "red"), ("unknown", "yellow"), ("drained", "blue")])
        .empty("None managed"),
        weight_changes(),
        held_by_reason(),
        failed_probes(),
    ]
}

fn traffic() -> [Panel; 4] {
    [
        graph(
            "Connections",
            "Connections scheduled a second, the 20 busiest virtual servers of the time range. Stands still where net.ipv4.vs.run_estimation is 0.",
            "cps",
        )
        .line("{{virtual_server}}", busiest(20, VS, "ipvs_virtual_server_connections_total")),
        graph(
            "Incoming traffic",
            "What clients send through the directors, the 20 busiest virtual servers of the time range.",
            "bps",
        )
        .line("{{virtual_server}}", format!("8 * {}", busiest(20, VS, "ipvs_virtual_server_incoming_bytes_total"))),
        graph(
            "Incoming packets",
            "Packets received for virtual servers a second, the 20 busiest of the time range.",
            "pps",
        )
        .line("{{virtual_server}}", busiest(20, VS, "ipvs_virtual_server_incoming_packets_total")),
        replies_by_forwarding(),
    ]
}

fn capacity() -> [Panel; 3] {
    let narrow = format!("bottomk(50, {})", capacity_without(1));
    let of = |expr: String| format!("{expr} and on ({VS}) {narrow}");
    let busy = format!("topk(50, {})", weekly_mean(0));
    let grown = |expr: String| format!("{expr} and on ({VS}) {busy}");
    [
        table(
            "Headroom",
            "The 50 virtual servers with the least capacity left if their heaviest real server goes: the share of the owed weight that is usable now, without the heaviest one and without the heaviest two, as the director sees it that sees least, and by how much the others' load grows. Below the threshold IpvsVirtualServerCapacityLow pages.",
        )
        .size(24, 10)
        .label("job", "")
        .label("virtual_server", "Virtual server")
        .column("Capacity now", "percentunit", of("min by (job, virtual_server) (lvs_virtual_server_capacity_ratio)".to_owned()))
        .gauge()
        .column("One lost", "percentunit", of(capacity_without(1)))
        .gauge()
        .column("Two lost", "percentunit", of(capacity_without(2)))
        .gauge()
        .column("Threshold", "percentunit", of("max by (job, virtual_server) (lvs_virtual_server_capacity_low_ratio)".to_owned()))
        .digits(0)
        .column("Load on the rest, one lost", "percentunit", of(load_without(1)))
        .digits(0)
        .column("Load on the rest, two lost", "percentunit", of(load_without(2)))
        .digits(0)
        .sorted("One lost", false)
        .empty("No virtual server is managed"),
        weeks_before("ipvs_connections_total").size(12, 10),
        table(
            "Growth",
            "Connections a second of the 50 busiest virtual servers: the mean of the last seven days, of the seven before, and what it comes to in four and in twelve weeks if each adds as much as the last one did. Needs two weeks of data; the page of a virtual server has its busiest hours.",
        )
        .size(12, 10)
        .label("job", "")
        .label("virtual_server", "Virtual server")
        .column("Last 7 days", "cps", grown(weekly_mean(0)))
        .digits(1)
        .column("7 days before", "cps", grown(weekly_mean(1)))
        .digits(1)
        .column("In 4 weeks", "cps", grown(format!("({0} + 4 * ({0} - {1}))", weekly_mean(0), weekly_mean(1))))
        .digits(1)
        .column("In 12 weeks", "cps", grown(format!("({0} + 12 * ({0} - {1}))", weekly_mean(0), weekly_mean(1))))
        .digits(1)
        .sorted("In 12 weeks", true)
        .empty("Two weeks of data are needed"),
    ]
}
