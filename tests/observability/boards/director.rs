//! The director and its agent: do they do their work, and is there room?

use super::panel::{Panel, graph, stat, timeline};
use super::query::{busiest, top};
use super::shared::{MOST_DIRECTORS as MOST, directors_over_time, replies_by_forwarding};
use super::table::table;
use super::{Board, INSTANCE, JOB, Variable, section};

pub const VARIABLES: &[Variable] = &[JOB, INSTANCE];
const D: &str = "job, instance";

pub fn board() -> Board {
    Board {
        uid: "lvs-director",
        title: "LVS / Director and agent",
        description: "The director and its agent: do they do their work, and is there room?",
        variables: VARIABLES,
        sections: vec![
            section("Now", now()),
            section("The virtual addresses", vips()),
            section("From the probe to the kernel", cycle()),
            section("Netlink", netlink()),
            section("The kernel", kernel()),
            section("The process", process()),
        ],
    }
}

/// A gauge of a director, of those that had most of it.
fn gauge(metric: &str) -> String {
    most(metric, &format!("max by (J) ({metric})"))
}

fn most(rank: &str, of: &str) -> String {
    top(MOST, D, &format!("max by (J) (max_over_time({rank}[$__range] @ end()))"), of)
}

/// A quantile of each director's histogram.
fn quantile(q: &str, histogram: &str) -> String {
    let rate = |range: &str| format!("sum by (J, le) (rate({histogram}_bucket[{range}))");
    let rank = format!("sum by (J) (rate({histogram}_count[$__range] @ end()))");
    top(MOST, D, &rank, &format!("histogram_quantile({q}, {})", rate("$__rate_interval]")))
}

fn now() -> [Panel; 10] {
    [
        stat("Answering", "Agents that Prometheus can scrape now, of the selected directors.", "none", "sum(up)")
            .line("of", "count(up)")
            .relabel(0, "answer")
            .steps(&[(None, "red"), (Some(1.0), "green")])
            .decimals(0)
            .empty("no target"),
        stat(
            "Table unreadable",
            "Directors whose last read of the kernel's table failed: the module is gone, the permission is, or netlink fails. Nothing is drained there.",
            "none",
            "count(ipvs_up == 0) or vector(0)",
        )
        .none_or("red"),
        stat(
            "Not enforcing",
            "Agents in observe mode: they judge and write nothing.",
            "none",
            "sum(lvs_agent_mode{mode=\"observe\"})",
        )
        .none_or("orange"),
        stat(
            "Failed reloads",
            "Agents whose last load of the configuration failed: they run with the old one, and the next start will fail.",
            "none",
            "count(lvs_agent_config_last_reload_successful == 0) or vector(0)",
        )
        .none_or("red"),
        stat(
            "Different configurations",
            "Configurations that the selected directors run with. More than one: after a failover the rules are others.",
            "none",
            "count(count_values(\"hash\", lvs_agent_config_hash))",
        )
        .steps(&[(None, "green"), (Some(2.0), "orange")])
        .decimals(0)
        .empty("no configuration"),
        stat(
            "Counters frozen",
            "Directors where net.ipv4.vs.run_estimation is 0: all traffic counters of virtual and real servers stand still.",
            "none",
            "count(ipvs_estimation_enabled == 0) or vector(0)",
        )
        .none_or("red"),
        directors_over_time().size(24, 5),
        agents(),
        settings(),
        timeouts(),
    ]
}

fn vips() -> [Panel; 5] {
    [
        stat(
            "Active directors",
            "Directors that hold at least one virtual address, or know of none.",
            "none",
            "sum(lvs_director_active)",
        )
        .steps(&[(None, "red"), (Some(1.0), "green")])
        .decimals(0)
        .empty("not known")
        .size(4, 6),
        stat(
            "Addresses nowhere",
            "Virtual addresses that no selected director holds: their clients reach nobody.",
            "none",
            "count(max by (job, vip) (lvs_vip_present) == 0) or vector(0)",
        )
        .none_or("red")
        .size(4, 6),
        stat(
            "Addresses held twice",
            "Virtual addresses on more than one director that are not shared on purpose: split brain.",
            "none",
            "count(count by (job, vip) (lvs_vip_present == 1) > 1
             unless on (job, vip) lvs_vip_info{sharing=\"shared\"}) or vector(0)",
        )
        .none_or("red")
        .size(4, 6),
        table("Addresses", "Each virtual address on each director: at most 100 rows.")
            .size(12, 6)
            .label("job", "")
            .label("vip", "Address")
            .label("instance", "Director")
            .column("Here", "none", "topk(100, max by (J, vip) (lvs_vip_present))")
            .words(&[("0", "no", "blue"), ("1", "yes", "green")])
            .label("interface", "Interface")
            .label("sharing", "Sharing")
            .rows("topk(100, max by (J, vip, interface, sharing) (lvs_vip_info))")
            .column(
                "Moves",
                "none",
                "topk(100, max by (J, vip) (increase(lvs_vip_transitions_total[$__range])))",
            )
            .digits(0)
            .column(
                "Moved",
                "dateTimeFromNow",
                "topk(100, 1000 * max by (J, vip) (lvs_vip_change_timestamp_seconds))",
            )
            .empty("No address is known"),
        addresses(),
    ]
}

/// One row an address and director.
fn addresses() -> Panel {
    let row = "job, instance, vip";
    timeline(
        "Who holds which address",
        "Where each virtual address was. Two directors at once: split brain, unless it is shared on purpose. None: clients reach nobody. At most 24 rows, those that moved first.",
        "{{vip}} at {{instance}}",
        &[(0, "elsewhere", "blue"), (1, "here", "green")],
        top(
            24,
            row,
            &format!("max by ({row}) (increase(lvs_vip_transitions_total[$__range] @ end()))"),
            &format!("max by ({row}) (lvs_vip_present)"),
        ),
    )
    .size(24, 12)
    .empty("No address is known, or none can be found out")
}

fn agents() -> Panel {
    table("Agents", "One row a director. Configured: the last load of the configuration, and whether it worked. Snapshot and last cycle: how long ago. Taken: weights that the agent owes to the owner of the table. Failed saves: of the ledger, in the time range.")
        .size(24, 7)
        .label("job", "")
        .label("instance", "Director")
        .column("Answers", "none", "max by (J) (up)")
        .yes_no()
        .column("Readable", "none", "max by (J) (ipvs_up)")
        .yes_no()
        .label("mode", "Mode")
        .words(&[("observe", "observe", "orange"), ("enforce", "enforce", "green")])
        .rows("max by (J, mode) (lvs_agent_mode == 1)")
        .label("version", "Version")
        .label("revision", "Revision")
        .rows("max by (J, version, revision) (lvs_agent_build_info)")
        .column("Started", "dateTimeFromNow", "1000 * max by (J) (process_start_time_seconds)")
        .column(
            "Configured",
            "dateTimeFromNow",
            "1000 * max by (J) (lvs_agent_config_last_reload_success_timestamp_seconds)",
        )
        .column("Reloaded", "none", "max by (J) (lvs_agent_config_last_reload_successful)")
        .yes_no()
        .column("Config hash", "none", "max by (J) (lvs_agent_config_hash)")
        .digits(0)
        .pixels(150)
        .column("Snapshot", "s", "max by (J) (time() - lvs_agent_snapshot_timestamp_seconds)")
        .digits(1)
        .column("Last cycle", "s", "max by (J) (time() - lvs_agent_reconcile_last_success_timestamp_seconds)")
        .digits(1)
        .column("Taken", "none", "max by (J) (lvs_agent_ledger_entries)")
        .column(
            "Failed saves",
            "none",
            "max by (J) (increase(lvs_agent_ledger_write_failures_total[$__range]))",
        )
        .digits(0)
        .alarming(0.5, "red")
        .empty("No director in the selected jobs")
}

fn settings() -> Panel {
    table(
        "Settings of the kernel",
        "net.ipv4.vs.*, those that bear on scheduling, counting and synchronising. A setting with two rows differs between the directors, and stands at the top; lvs-agent doctor says which bite.",
    )
    .size(12, 8)
    .label("name", "Setting")
    .label("value", "Value")
    .column("Directors", "none", "count_values by (name) (\"value\", ipvs_sysctl)")
    .sorted("Directors", false)
    .empty("The settings cannot be read")
}

fn cycle() -> [Panel; 8] {
    [
        graph(
            "Age of the snapshot",
            "How old the kernel's table is that is exported and judged. It grows where the kernel cannot be read or the agent hangs; without managed services the table is read when scraped.",
            "s",
        )
        .line("{{instance}}", top(MOST, D, "max by (J) (max_over_time(up[$__range] @ end()))", "max by (J) (time() - lvs_agent_snapshot_timestamp_seconds)")),
        graph("Since the last whole cycle", "Reading, judging and planning. It stands at the poll interval; growing means that nothing is decided any more.", "s")
            .line("{{instance}}", top(MOST, D, "max by (J) (max_over_time(up[$__range] @ end()))", "max by (J) (time() - lvs_agent_reconcile_last_success_timestamp_seconds)")),
        graph("From the deciding probe to the kernel, p99", "The agent's own promise: from the probe result that settles a verdict to the kernel's acknowledgement, the ledger's fsync included.", "s")
            .line("{{instance}}", quantile("0.99", "lvs_agent_decision_apply_duration_seconds"))
            .empty("No weight was changed"),
        graph("Duration of a cycle, p99", "Reading the table, judging, planning.", "s")
            .line("{{instance}}", quantile("0.99", "lvs_agent_reconcile_duration_seconds")),
        graph("Lag of the probes, p99", "Start of a probe minus the time it was due. Above a second: too little CPU, or the limit of probes in flight.", "s")
            .line("{{instance}}", quantile("0.99", "lvs_agent_probe_schedule_lag_seconds")),
        graph("Probes in flight against the limit", "The share of the limit that is used. At 100 % probes wait, and verdicts with them.", "percentunit")
            .line("{{instance}}", most("lvs_agent_probes_in_flight", "max by (J) (lvs_agent_probes_in_flight / lvs_agent_probes_in_flight_limit)")),
        graph("Probes not started", "By reason, a second: no_port (the check needs a port), in_flight_limit, fd_reserve (descriptors), overdue (the one before still runs).", "cps")
            .line("{{reason}}", "sum by (reason) (rate(lvs_agent_probes_skipped_total[$__rate_interval]))")
            .stacked()
            .empty("All were started"),
        graph("Weights taken", "Entries of the ledger: weights taken and not yet given back.", "none")
            .line("{{instance}}", gauge("lvs_agent_ledger_entries")),
    ]
}

fn netlink() -> [Panel; 4] {
    [
        graph("Requests", "Netlink requests a second by command. Reads grow with the number of virtual servers.", "cps")
            .line("{{command}}", "sum by (command) (rate(lvs_agent_netlink_requests_total[$__rate_interval]))"),
        graph("Failed requests", "By command and error, a second. set_dest with ENOENT or ESRCH: the server was removed meanwhile.", "cps")
            .line("{{command}} {{errno}}", "sum by (command, errno) (rate(lvs_agent_netlink_errors_total[$__rate_interval]))")
            .empty("None failed"),
        graph("Duration of requests, p99", "By command. A slow kernel: a large table, or a busy machine.", "s").line(
            "{{command}}",
            "histogram_quantile(0.99, sum by (command, le) (rate(lvs_agent_netlink_request_duration_seconds_bucket[$__rate_interval])))",
        ),
        graph("Dumps that had to be repeated", "Interrupted: the table changed while it was read. Overruns: the receive buffer was too small for it.", "cps")
            .line("interrupted", "sum(rate(lvs_agent_netlink_dump_interrupted_total[$__rate_interval]))")
            .line("repeated", "sum(rate(lvs_agent_netlink_dump_retries_total[$__rate_interval]))")
            .line("overruns", "sum(rate(lvs_agent_netlink_overruns_total[$__rate_interval]))"),
    ]
}

fn kernel() -> [Panel; 7] {
    [
        graph("Connections", "Connections scheduled a second by each director, all virtual servers together.", "cps")
            .line("{{instance}}", busiest(MOST, D, "ipvs_connections_total")),
        graph(
            "Load of the connection table",
            "Connection entries for each bucket of the hash table: at 100 % one in each. Far above that look-ups get longer; load ip_vs with a larger conn_tab_bits.",
            "percentunit",
        )
        .line(
            "{{instance}}",
            top(
                MOST,
                D,
                "max by (J) (max_over_time(ipvs_connection_table_buckets[$__range] @ end()))",
                "(sum by (J) (ipvs_real_server_active_connections) + sum by (J) (ipvs_real_server_inactive_connections)
                 + sum by (J) (ipvs_real_server_persistent_connections)) / on (J) ipvs_connection_table_buckets",
            ),
        ),
        graph("Incoming traffic", "What clients send through each director.", "bps")
            .line("{{instance}}", format!("8 * {}", busiest(MOST, D, "ipvs_incoming_bytes_total"))),
        replies_by_forwarding(),
        graph("Incoming packets", "Packets received for virtual servers by each director, a second.", "pps")
            .line("{{instance}}", busiest(MOST, D, "ipvs_incoming_packets_total")),
        graph("Drift", "Differences between the table and what the agents wrote or were told to expect. weight: somebody else changed one; missing_virtual_server: the configuration names one that the kernel does not have.", "none")
            .line("{{kind}}", "sum by (kind) (increase(lvs_drift_detected_total[$__rate_interval]))")
            .bars(),
        sync_daemons(),
    ]
}

fn sync_daemons() -> Panel {
    table(
        "Sync daemons",
        "Who sends copies of its connections and who takes them. Without a master on the active director and a backup on the other a failover cuts connections. Weights are not synchronised.",
    )
    .size(24, 6)
    .label("job", "")
    .label("instance", "Director")
    .label("role", "Role")
    .column("Runs", "none", "topk(40, max by (J, role) (ipvs_sync_daemon_running))")
    .words(&[("0", "no", "blue"), ("1", "yes", "green")])
    .label("interface", "Interface")
    .label("sync_id", "Sync id")
    .rows("topk(40, max by (J, role, interface, sync_id) (ipvs_sync_daemon_info))")
    .empty("The daemons cannot be read")
}

fn timeouts() -> Panel {
    table(
        "Timeouts",
        "How long the kernel keeps an idle connection, by kind. They should be the same on all directors.",
    )
    .size(12, 8)
    .label("job", "")
    .label("instance", "Director")
    .label("session", "Session")
    .column("Timeout", "s", "topk(60, max by (J, session) (ipvs_timeout_seconds))")
    .empty("The timeouts cannot be read")
}

fn process() -> [Panel; 7] {
    [
        graph("CPU", "User and system time: 100 % is one core.", "percentunit")
            .line("{{instance}}", busiest(MOST, D, "process_cpu_seconds_total")),
        graph("Memory", "Resident memory of the agent.", "bytes")
            .line("{{instance}}", gauge("process_resident_memory_bytes")),
        graph(
            "File descriptors",
            "Against the limit. Near 100 % probes are not started, and are not counted as failures.",
            "percentunit",
        )
        .line("{{instance}}", most("process_open_fds", "max by (J) (process_open_fds / process_max_fds)")),
        graph(
            "HTTP requests in flight",
            "Being answered, the scrape itself included. Many: slow or hanging clients.",
            "none",
        )
        .line("{{instance}}", gauge("lvs_agent_http_requests_in_flight")),
        graph(
            "Duration of scrapes",
            "As Prometheus measures it. Keep it well below the scrape timeout.",
            "s",
        )
        .line("{{instance}}", gauge("scrape_duration_seconds")),
        graph(
            "Series left out",
            "By the limit --metrics.max-series, by group; the rows of single real servers go first.",
            "none",
        )
        .line("{{group}}", "sum by (group) (lvs_agent_series_dropped)")
        .empty("None is left out"),
        graph(
            "Samples of a scrape",
            "About 25 for each real server and 100 for each virtual server.",
            "none",
        )
        .line("{{instance}}", gauge("scrape_samples_scraped"))
        .size(24, 7),
    ]
}
