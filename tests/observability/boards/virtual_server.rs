//! One virtual server: who carries it, how well, and for how long that will do.

use super::panel::{Panel, graph, heatmap, stat, timeline};
use super::query::{
    STATES, busiest, busiest_hour, capacity_without, load_without, state, top, worst_real_servers,
};
use super::shared::{failed_probes, weeks_before};
use super::table::{certificates, table};
use super::{Board, INSTANCE, JOB, Variable, section};

pub const VARIABLES: &[Variable] = &[JOB, INSTANCE, Variable { label: "virtual_server", all: false }];
const RS: &str = "job, virtual_server, real_server";

pub fn board() -> Board {
    Board {
        uid: "lvs-virtual-server",
        title: "LVS / Virtual server",
        description: "One virtual server: who carries it, how well, and for how long that will do.",
        variables: VARIABLES,
        sections: vec![
            section("Now", now()),
            section("Real servers", real_servers()),
            section("Traffic", traffic()),
            section("Checks", checks()),
            section("Capacity: what is left when servers go, and when it will not do any more", capacity()),
        ],
    }
}

fn now() -> [Panel; 9] {
    [
        stat(
            "Up",
            "Up: at least quorum real servers are usable, on each selected director.",
            "none",
            "min(lvs_virtual_server_up)",
        )
        .texts(&[(0, "DOWN", "red"), (1, "up", "green")])
        .empty("not managed")
        .size(3, 4),
        stat(
            "Capacity",
            "Usable weight of the weight that is owed, on the director that sees least, beside the share that the configuration calls low. Servers taken out by hand do not count.",
            "percentunit",
            "min(lvs_virtual_server_capacity_ratio)",
        )
        .line("low below", "max(lvs_virtual_server_capacity_low_ratio)")
        .relabel(0, "now")
        .decimals(0)
        .empty("not managed")
        .size(4, 4),
        stat(
            "Usable real servers",
            "Real servers that are up or not judged yet and have weight above 0, on the director that sees fewest, beside those needed to count as up.",
            "none",
            "min(count by (J) (ipvs_real_server_weight > 0 unless on (R) lvs_real_server_up == 0))",
        )
        .line("quorum", "max(lvs_virtual_server_quorum)")
        .relabel(0, "usable")
        .decimals(0)
        .empty("none")
        .size(4, 4),
        stat(
            "Failing but in",
            "Real servers that fail their checks and keep their weight: the floor, a held change, or a scheduler that refuses clients at weight 0.",
            "none",
            "max(lvs_virtual_server_protected_real_servers)",
        )
        .none_or("red")
        .empty("not managed")
        .size(3, 4),
        stat(
            "Active now",
            "Connections in an active state, on the director that has most. With a sync daemon the backup has copies of the master's: they are not added.",
            "none",
            "max(sum by (J) (ipvs_real_server_active_connections))",
        )
        .decimals(0)
        .size(3, 4),
        stat(
            "Connections/s",
            "Connections scheduled a second, of all selected directors.",
            "cps",
            "sum(rate(ipvs_virtual_server_connections_total[$__rate_interval]))",
        )
        .decimals(1)
        .size(3, 4),
        stat(
            "Alerts",
            "Alerts that fire for the selected virtual servers, and those that concern none.",
            "none",
            "count(ALERTS{alertstate=\"firing\", alertname=~\"Ipvs.*\", severity!=\"none\"}) or vector(0)",
        )
        .none_or("orange")
        .size(4, 4),
        settings(),
        timeline(
            "Verdict of each director",
            "Up or down as each director judges it; at most 20 rows. Two that differ: look for a filter or a partition between one of them and the real servers.",
            "{{instance}} {{virtual_server}}",
            &[(0, "down", "red"), (1, "up", "green")],
            top(
                20,
                "job, instance, virtual_server",
                "1 - min by (V) (min_over_time(lvs_virtual_server_up[$__range] @ end()))",
                "min by (V) (lvs_virtual_server_up)",
            ),
        )
        .size(12, 6)
        .empty("not managed"),
    ]
}

fn settings() -> Panel {
    table(
        "Settings",
        "As the kernel and the configuration have them. Clients that the scheduler sends to a real server at weight 0 are refused where that says yes.",
    )
    .size(12, 6)
    .label("job", "")
    .label("virtual_server", "")
    .label("name", "Name")
    .rows("topk(20, max by (job, virtual_server, name) (lvs_virtual_server_info))")
    .label("scheduler", "Scheduler")
    .label("scheduler_flags", "Flags")
    .label("persistence_engine", "Persistence")
    .rows("topk(20, max by (job, virtual_server, scheduler, scheduler_flags, persistence_engine) (ipvs_virtual_server_info))")
    .column("Persistent for", "s", "topk(20, max by (job, virtual_server) (ipvs_virtual_server_persistence_timeout_seconds))")
    .column("Floor", "none", "topk(20, max by (job, virtual_server) (lvs_virtual_server_floor))")
    .column("Quorum", "none", "topk(20, max by (job, virtual_server) (lvs_virtual_server_quorum))")
    .column("Refuses at 0", "none", "topk(20, max by (job, virtual_server) (lvs_virtual_server_refuses_at_zero))")
    .words(&[("0", "no", "green"), ("1", "yes", "orange")])
    .sorted("Name", false)
}

fn real_servers() -> [Panel; 2] {
    let worst = worst_real_servers(100);
    let of = |expr: &str| format!("{expr} and on ({RS}) {worst}");
    [
        timeline(
            "Real servers",
            "What each real server was, the worst view of the selected directors: up, not judged, out by hand (weight 0 of lvs-agent drain or of an operator), down, or failing but kept in rotation. At most 40, those that were down longest first.",
            "{{real_server}}",
            STATES,
            format!("{} and on ({RS}) {}", state(RS), worst_real_servers(40)),
        )
        .size(24, 10)
        .empty("No real server"),
        table(
            "Real servers",
            "At most 100, those that were down longest in the time range first. Kernel: the weight now; wanted: what the plan wants; owed: what the owner of the table gave. A share of connections far from the share of weight: persistence, long connections, or a server that just came back.",
        )
        .size(24, 10)
        .label("job", "")
        .label("virtual_server", "")
        .label("real_server", "Real server")
        .column("State", "none", of(&state(RS)))
        .words(&[
            ("0", "fails, kept in", "purple"),
            ("1", "down", "red"),
            ("2", "out by hand", "blue"),
            ("3", "not judged", "yellow"),
            ("4", "up", "green"),
        ])
        .label("reason", "Out by")
        .rows(of("max by (job, virtual_server, real_server, reason) (lvs_real_server_drained)"))
        .column("Kernel", "none", of("min by (job, virtual_server, real_server) (ipvs_real_server_weight)"))
        .column("Wanted", "none", of("min by (job, virtual_server, real_server) (lvs_real_server_desired_weight)"))
        .column("Owed", "none", of("max by (job, virtual_server, real_server) (lvs_real_server_owed_weight)"))
        .column("Active", "none", of("max by (job, virtual_server, real_server) (ipvs_real_server_active_connections)"))
        .column("Inactive", "none", of("max by (job, virtual_server, real_server) (ipvs_real_server_inactive_connections)"))
        .column("Persistent", "none", of("max by (job, virtual_server, real_server) (ipvs_real_server_persistent_connections)"))
        .column(
            "Conn. share",
            "percentunit",
            of("sum by (job, virtual_server, real_server) (rate(ipvs_real_server_connections_total[$__rate_interval]))
                / on (job, virtual_server) group_left () (sum by (job, virtual_server) (rate(ipvs_real_server_connections_total[$__rate_interval])) > 0)"),
        )
        .digits(1)
        .column(
            "Weight share",
            "percentunit",
            of("min by (job, virtual_server, real_server) (ipvs_real_server_weight / on (V) group_left () (sum by (V) (ipvs_real_server_weight) > 0))"),
        )
        .digits(1)
        .column("Failed", "none", of("sum by (job, virtual_server, real_server) (increase(lvs_check_failures_total[$__range]))"))
        .digits(0)
        .column("Last probe", "s", of("max by (job, virtual_server, real_server) (time() - lvs_check_last_attempt_timestamp_seconds)"))
        .digits(1)
        .sorted("State", false)
        .empty("No real server"),
    ]
}

fn traffic() -> [Panel; 6] {
    let out = |counter: &str, range: &str, at: &str| {
        format!(
            "sum by ({RS}) (rate({counter}[{range}]{at}) and on (R) ipvs_real_server_info{{forwarding=\"masq\"}}{at})"
        )
    };
    let masqueraded = |counter: &str| {
        top(20, RS, &out(counter, "$__range", " @ end()"), &out(counter, "$__rate_interval", ""))
    };
    [
        graph("Connections", "Connections scheduled a second, the 20 busiest real servers of the time range.", "cps")
            .line("{{real_server}}", busiest(20, RS, "ipvs_real_server_connections_total"))
            .stacked(),
        graph(
            "Open connections",
            "Connection entries of all real servers, on the director that has most. Inactive ones wait to end; persistent are clients bound to a real server. In direct routing the director sees one half of each connection, and more of them count as inactive.",
            "none",
        )
        .line("active", "max(sum by (J) (ipvs_real_server_active_connections))")
        .line("inactive", "max(sum by (J) (ipvs_real_server_inactive_connections))")
        .line("persistent", "max(sum by (J) (ipvs_real_server_persistent_connections))"),
        graph("Incoming traffic", "What clients send to the 20 busiest real servers of the time range.", "bps")
            .line("{{real_server}}", format!("8 * {}", busiest(20, RS, "ipvs_real_server_incoming_bytes_total")))
            .stacked(),
        graph(
            "Replies through the director (masquerading)",
            "What the 20 busiest masqueraded real servers send back. Empty in direct routing and tunnels: their replies do not pass the director, and that is no fault.",
            "bps",
        )
        .line("{{real_server}}", format!("8 * {}", masqueraded("ipvs_real_server_outgoing_bytes_total")))
        .stacked()
        .empty("No real server masquerades"),
        graph("Incoming packets", "Packets sent to the 20 busiest real servers of the time range, a second.", "pps")
            .line("{{real_server}}", busiest(20, RS, "ipvs_real_server_incoming_packets_total")),
        graph(
            "Replies seen by forwarding",
            "Packets of real servers that pass the director, a second. Masquerading must have some; direct routing and tunnels have 0. More than that is a finding: probes through IPVS, or a return path that leads through the director.",
            "pps",
        )
        .line(
            "{{forwarding}}",
            "sum by (forwarding) (rate(ipvs_real_server_outgoing_packets_total[$__rate_interval])
             * on (R) group_left (forwarding) ipvs_real_server_info{forwarding=~\"masq|route|tunnel\"})",
        ),
    ]
}

fn checks() -> [Panel; 5] {
    let quantile = |q: &str| {
        format!(
            "histogram_quantile({q}, sum by (le) (rate(lvs_check_duration_seconds_bucket{{phase=\"total\"}}[$__rate_interval])))"
        )
    };
    [
        heatmap(
            "Duration of probes",
            "How long whole probes took, of all selected directors. A second band near the timeout warns before servers fail.",
            "s",
            "sum by (le) (increase(lvs_check_duration_seconds_bucket{phase=\"total\"}[$__rate_interval]))",
        ),
        graph(
            "Duration of probes and the timeout",
            "The median, the slowest 5 % and the slowest 1 %, against the shortest timeout of its checks.",
            "s",
        )
        .line("p50", quantile("0.5"))
        .line("p95", quantile("0.95"))
        .line("p99", quantile("0.99"))
        .line("timeout", "min(lvs_check_timeout_seconds)")
        .limit("timeout"),
        graph(
            "Duration by phase, p95",
            "Where the time goes: connect is the network and the backlog, tls the handshake, processing the application up to its first byte, transfer the rest.",
            "s",
        )
        .line(
            "{{phase}}",
            "histogram_quantile(0.95, sum by (phase, le) (rate(lvs_check_duration_seconds_bucket{phase!=\"total\"}[$__rate_interval])))",
        ),
        failed_probes(),
        certificates().size(24, 7),
    ]
}

fn capacity() -> [Panel; 5] {
    [
        graph(
            "Capacity, and with servers lost",
            "The share of the owed weight that is usable, and what would be left of it without the heaviest real server and without the heaviest two, on the director that sees least; the least of the selected virtual servers. Below the line IpvsVirtualServerCapacityLow pages.",
            "percentunit",
        )
        .line("now", "min(lvs_virtual_server_capacity_ratio)")
        .line("one lost", format!("min({})", capacity_without(1)))
        .line("two lost", format!("min({})", capacity_without(2)))
        .line("low", "max(lvs_virtual_server_capacity_low_ratio)")
        .limit("low")
        .max(1)
        .empty("not managed"),
        graph(
            "Load on the rest",
            "By how much the connections of the other real servers grow when the heaviest one or two go: 150 % is half as much again. Nothing is drawn where nobody would be left.",
            "percentunit",
        )
        .line("one lost", format!("max({})", load_without(1)))
        .line("two lost", format!("max({})", load_without(2)))
        .empty("Nobody would be left"),
        graph(
            "Connection threshold",
            "Active and inactive connections against the upper threshold, the 20 real servers nearest to it. At 100 % the kernel schedules none to it any more.",
            "percentunit",
        )
        .line(
            "{{real_server}}",
            top(
                20,
                RS,
                &used("max_over_time", "[$__range]", " @ end()"),
                &used("", "", ""),
            ),
        )
        .empty("No real server has a threshold"),
        weeks_before("ipvs_virtual_server_connections_total"),
        growth(),
    ]
}

fn used(over: &str, range: &str, at: &str) -> String {
    let connections = |kind: &str| format!("{over}(ipvs_real_server_{kind}_connections{range}{at})");
    format!(
        "max by ({RS}) (({} + {}) / on (R) ipvs_real_server_connection_threshold{{bound=\"upper\"}}{at})",
        connections("active"),
        connections("inactive")
    )
}

fn growth() -> Panel {
    let projected =
        |weeks: u32| format!("topk(20, {0} + {weeks} * ({0} - {1}))", busiest_hour(0), busiest_hour(1));
    table(
        "Growth",
        "Connections a second in the busiest hour of the last seven days and of the seven before, and what it comes to in four and in twelve weeks if each adds as much as the last one did. Needs two weeks of data.",
    )
    .size(24, 5)
    .label("job", "")
    .label("virtual_server", "Virtual server")
    .column("Busiest hour, last 7 days", "cps", format!("topk(20, {})", busiest_hour(0)))
    .digits(1)
    .column("7 days before", "cps", format!("topk(20, {})", busiest_hour(1)))
    .digits(1)
    .column("In 4 weeks", "cps", projected(4))
    .digits(1)
    .column("In 12 weeks", "cps", projected(12))
    .digits(1)
    .sorted("In 12 weeks", true)
    .empty("Two weeks of data are needed")
}
