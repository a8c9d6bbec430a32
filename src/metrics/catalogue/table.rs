//! The entries. `snapshot` as a source means the last whole read of the IPVS table, made at
//! `lvs_agent_snapshot_timestamp_seconds`.

use super::{Kind, Metric, Stability, Unit};

const NONE: &[&str] = &[];
const V: &[&str] = &["virtual_server"];
const R: &[&str] = &["virtual_server", "real_server"];
const K: &[&str] = &["virtual_server", "check"];
const RK: &[&str] = &["virtual_server", "real_server", "check"];

/// `NAME: kind, name, labels, unit, stability, "help", "source";`: the HELP text is `help (source)`.
macro_rules! catalogue {
    ($($id:ident: $kind:ident, $name:literal, $labels:expr, $unit:ident, $stability:ident, $help:literal, $source:literal;)+) => {
        $(pub(in crate::metrics) const $id: &Metric = &Metric {
            name: $name,
            kind: Kind::$kind,
            unit: Unit::$unit,
            labels: $labels,
            help: concat!($help, " (", $source, ")"),
            source: $source,
            stability: Stability::$stability,
        };)+

        pub(super) static ALL: &[Metric] = &[$(*$id),+];
    };
}

catalogue! {
    // The kernel's.
    IPVS_UP: Gauge, "ipvs_up", NONE, One, Stable,
        "1 if the last read of the IPVS table was whole; rows of ipvs_* are of the last whole one", "result of the read";
    IPVS_INFO: Info, "ipvs_info", &["version"], One, Stable,
        "IPVS version of the kernel", "snapshot: IPVS_CMD_GET_INFO VERSION";
    CONNECTION_TABLE_BUCKETS: Gauge, "ipvs_connection_table_buckets", NONE, One, Stable,
        "Size of the connection hash table; newer kernels resize it", "snapshot: IPVS_CMD_GET_INFO CONN_TAB_SIZE";
    CONNECTIONS: Counter, "ipvs_connections_total", NONE, One, Stable,
        "Connections scheduled in this network namespace", "snapshot: /proc/net/ip_vs_stats, updated every 2 s";
    INCOMING_PACKETS: Counter, "ipvs_incoming_packets_total", NONE, One, Stable,
        "Packets received for virtual servers", "snapshot: /proc/net/ip_vs_stats, updated every 2 s";
    OUTGOING_PACKETS: Counter, "ipvs_outgoing_packets_total", NONE, One, Stable,
        "Packets sent back by masquerading real servers", "snapshot: /proc/net/ip_vs_stats, updated every 2 s";
    INCOMING_BYTES: Counter, "ipvs_incoming_bytes_total", NONE, Bytes, Stable,
        "Bytes received for virtual servers", "snapshot: /proc/net/ip_vs_stats, updated every 2 s";
    OUTGOING_BYTES: Counter, "ipvs_outgoing_bytes_total", NONE, Bytes, Stable,
        "Bytes sent back by masquerading real servers", "snapshot: /proc/net/ip_vs_stats, updated every 2 s";
    TIMEOUT: Gauge, "ipvs_timeout_seconds", &["session"], Seconds, Stable,
        "Connection timeout of the session kind: tcp, tcp_fin, udp", "snapshot: IPVS_CMD_GET_CONFIG";
    SYNC_DAEMON_INFO: Info, "ipvs_sync_daemon_info",
        &["role", "interface", "sync_id", "group", "port", "ttl", "maxlen"], One, Stable,
        "Settings of a running sync daemon; no row if none runs", "snapshot: IPVS_CMD_GET_DAEMON";
    SYNC_DAEMON_RUNNING: Gauge, "ipvs_sync_daemon_running", &["role"], One, Stable,
        "1 if the sync daemon of that role runs: master, backup; both rows wherever daemons can be read", "snapshot: IPVS_CMD_GET_DAEMON";
    SYSCTL: Gauge, "ipvs_sysctl", &["name"], One, Stable,
        "Value of net.ipv4.vs.<name>, of those that bear on scheduling, counting and synchronising",
        "snapshot: /proc/sys/net/ipv4/vs";
    ESTIMATION_ENABLED: Gauge, "ipvs_estimation_enabled", NONE, One, Stable,
        "0 if run_estimation is off: the traffic counters of virtual and real servers stand still",
        "snapshot: /proc/sys/net/ipv4/vs/run_estimation";

    VIRTUAL_SERVER_INFO: Info, "ipvs_virtual_server_info",
        &[
            "virtual_server", "protocol", "address", "port", "fwmark", "address_family", "scheduler",
            "scheduler_flags", "persistence_engine", "netmask", "one_packet",
        ], One, Stable,
        "Virtual server as the kernel has it; what it does not have is empty", "snapshot: IPVS_SVC_ATTR_*";
    VIRTUAL_SERVER_PERSISTENCE_TIMEOUT: Gauge, "ipvs_virtual_server_persistence_timeout_seconds", V, Seconds, Stable,
        "Persistence timeout; a row for persistent virtual servers only", "snapshot: IPVS_SVC_ATTR_TIMEOUT";
    VIRTUAL_SERVER_REAL_SERVERS: Gauge, "ipvs_virtual_server_real_servers", V, One, Stable,
        "Real servers in the kernel's table, whatever their weight", "snapshot: IPVS_CMD_GET_DEST";
    VIRTUAL_SERVER_CONNECTIONS: Counter, "ipvs_virtual_server_connections_total", V, One, Stable,
        "Connections scheduled; on kernels without STATS64 a 32-bit counter that wraps",
        "snapshot: STATS64 CONNS, updated every 2 s";
    VIRTUAL_SERVER_INCOMING_PACKETS: Counter, "ipvs_virtual_server_incoming_packets_total", V, One, Stable,
        "Packets received; on kernels without STATS64 a 32-bit counter that wraps",
        "snapshot: STATS64 INPKTS, updated every 2 s";
    VIRTUAL_SERVER_OUTGOING_PACKETS: Counter, "ipvs_virtual_server_outgoing_packets_total", V, One, Stable,
        "Packets sent back; 0 unless real servers masquerade; without STATS64 it wraps at 32 bits",
        "snapshot: STATS64 OUTPKTS, updated every 2 s";
    VIRTUAL_SERVER_INCOMING_BYTES: Counter, "ipvs_virtual_server_incoming_bytes_total", V, Bytes, Stable,
        "Bytes received", "snapshot: STATS64 INBYTES, updated every 2 s";
    VIRTUAL_SERVER_OUTGOING_BYTES: Counter, "ipvs_virtual_server_outgoing_bytes_total", V, Bytes, Stable,
        "Bytes sent back; 0 unless real servers masquerade", "snapshot: STATS64 OUTBYTES, updated every 2 s";

    REAL_SERVER_INFO: Info, "ipvs_real_server_info",
        &["virtual_server", "real_server", "forwarding", "address_family", "tunnel_type", "tunnel_port"], One, Stable,
        "Real server as the kernel has it; forwarding: masq, tunnel, route, local, bypass", "snapshot: IPVS_DEST_ATTR_*";
    REAL_SERVER_WEIGHT: Gauge, "ipvs_real_server_weight", R, One, Stable,
        "Weight in the kernel now", "snapshot: IPVS_DEST_ATTR_WEIGHT";
    REAL_SERVER_ACTIVE_CONNECTIONS: Gauge, "ipvs_real_server_active_connections", R, One, Stable,
        "Connections in an active state", "snapshot: IPVS_DEST_ATTR_ACTIVE_CONNS";
    REAL_SERVER_INACTIVE_CONNECTIONS: Gauge, "ipvs_real_server_inactive_connections", R, One, Stable,
        "Connections in any other state", "snapshot: IPVS_DEST_ATTR_INACT_CONNS";
    REAL_SERVER_PERSISTENT_CONNECTIONS: Gauge, "ipvs_real_server_persistent_connections", R, One, Stable,
        "Persistence templates: clients bound to the real server", "snapshot: IPVS_DEST_ATTR_PERSIST_CONNS";
    REAL_SERVER_CONNECTION_THRESHOLD: Gauge, "ipvs_real_server_connection_threshold",
        &["virtual_server", "real_server", "bound"], One, Stable,
        "Connection threshold, upper or lower; no row where it is off", "snapshot: IPVS_DEST_ATTR_U_THRESH, L_THRESH";
    REAL_SERVER_CONNECTIONS: Counter, "ipvs_real_server_connections_total", R, One, Stable,
        "Connections scheduled to the real server; on kernels without STATS64 a 32-bit counter that wraps",
        "snapshot: STATS64 CONNS, updated every 2 s";
    REAL_SERVER_INCOMING_PACKETS: Counter, "ipvs_real_server_incoming_packets_total", R, One, Stable,
        "Packets sent to the real server; on kernels without STATS64 a 32-bit counter that wraps",
        "snapshot: STATS64 INPKTS, updated every 2 s";
    REAL_SERVER_OUTGOING_PACKETS: Counter, "ipvs_real_server_outgoing_packets_total", R, One, Stable,
        "Packets from the real server; 0 unless it masquerades; without STATS64 it wraps at 32 bits",
        "snapshot: STATS64 OUTPKTS, updated every 2 s";
    REAL_SERVER_INCOMING_BYTES: Counter, "ipvs_real_server_incoming_bytes_total", R, Bytes, Stable,
        "Bytes sent to the real server", "snapshot: STATS64 INBYTES, updated every 2 s";
    REAL_SERVER_OUTGOING_BYTES: Counter, "ipvs_real_server_outgoing_bytes_total", R, Bytes, Stable,
        "Bytes from the real server; 0 unless it masquerades", "snapshot: STATS64 OUTBYTES, updated every 2 s";

    // What the agent saw and decided.
    LVS_VIRTUAL_SERVER_INFO: Info, "lvs_virtual_server_info", &["virtual_server", "name"], One, Stable,
        "Name that the configuration gives the virtual server, else its own text; managed or not", "configuration";
    LVS_VIRTUAL_SERVER_UP: Gauge, "lvs_virtual_server_up", V, One, Stable,
        "1 if at least quorum real servers are usable: weight above 0 and not judged down", "verdicts, snapshot";
    LVS_VIRTUAL_SERVER_REAL_SERVERS: Gauge, "lvs_virtual_server_real_servers", &["virtual_server", "state"], One, Stable,
        "Real servers by state, each counted once: drained (by hand: lvs-agent drain, or an operator's 0), down, unknown, up", "verdicts, snapshot";
    CAPACITY: Gauge, "lvs_virtual_server_capacity_ratio", V, Ratio, Stable,
        "Weight of the usable real servers / owed weight of all that are not out by hand; no row if nothing is owed",
        "verdicts, snapshot, ledger";
    REFUSES_AT_ZERO: Gauge, "lvs_virtual_server_refuses_at_zero", V, One, Stable,
        "1 if the scheduler refuses the clients of a real server at weight 0: dh; sh and mh without fallback",
        "snapshot: IPVS_SVC_ATTR_SCHED_NAME, FLAGS";
    QUORUM: Gauge, "lvs_virtual_server_quorum", V, One, Stable,
        "Usable real servers needed to count as up", "configuration";
    FLOOR: Gauge, "lvs_virtual_server_floor", V, One, Stable,
        "Real servers with weight above 0 that checks leave at least; a percentage is resolved to a count",
        "configuration, ledger";
    CAPACITY_LOW: Gauge, "lvs_virtual_server_capacity_low_ratio", V, Ratio, Stable,
        "Capacity below which the configuration calls it low", "configuration";
    FLOOR_REACHED: Gauge, "lvs_virtual_server_floor_reached", V, One, Stable,
        "1 while drains are withheld to keep the floor", "guard";
    PROTECTED: Gauge, "lvs_virtual_server_protected_real_servers", V, One, Stable,
        "Real servers that fail their checks but are kept in rotation", "guard";
    WEIGHT_CHANGES: Counter, "lvs_weight_changes_total", &["virtual_server", "direction"], One, Stable,
        "Weight changes that the kernel acknowledged: drain, restore, adjust", "plan";
    WEIGHT_CHANGES_HELD: Counter, "lvs_weight_changes_held_total", &["virtual_server", "reason"], One, Stable,
        "Weight changes wanted but held, once per hold; a row appears at the first of its reason", "guard";
    CHANGE_HELD: Gauge, "lvs_real_server_change_held", &["virtual_server", "real_server", "reason"], One, Stable,
        "1 while a wanted weight change is held, with the reason; no row otherwise", "guard";
    LVS_REAL_SERVER_UP: Gauge, "lvs_real_server_up", R, One, Stable,
        "Combined verdict of the checks: 1 up, 0 down; no row before the first verdict", "health";
    DRAINED: Gauge, "lvs_real_server_drained", &["virtual_server", "real_server", "reason"], One, Stable,
        "1 while out of rotation: by check, operator (lvs-agent drain) or external (an operator's 0); and while slow_start climbs back; no row otherwise", "ledger, snapshot";
    OWED_WEIGHT: Gauge, "lvs_real_server_owed_weight", R, One, Stable,
        "Weight that the owner of the table gave, remembered while drained; no row if never seen above 0",
        "ledger, snapshot";
    DESIRED_WEIGHT: Gauge, "lvs_real_server_desired_weight", R, One, Stable,
        "Weight the plan wants in the kernel now, after the guard: while held, the kernel's", "plan";
    FLAPPING: Gauge, "lvs_real_server_flapping", R, One, Stable,
        "1 while the verdict flaps (more than 6 changes in 30 minutes) and hold-downs grow; no row otherwise", "health";
    STATE_CHANGE: Gauge, "lvs_real_server_state_change_timestamp_seconds", R, Seconds, Stable,
        "Time of the last change of the verdict since the agent started", "health";
    TRANSITIONS: Counter, "lvs_real_server_transitions_total", R, One, Stable,
        "Changes of the verdict between up and down", "health";
    DOWNTIME: Counter, "lvs_real_server_downtime_seconds_total", R, Seconds, Stable,
        "Time spent down", "health";

    CHECK_INFO: Info, "lvs_check_info", &["virtual_server", "check", "kind", "rise", "fall"], One, Stable,
        "Settings of a check", "configuration";
    CHECK_UP: Gauge, "lvs_check_up", RK, One, Stable,
        "Verdict of one check: 1 up, 0 down; no row before the first verdict", "health";
    CHECK_ATTEMPTS: Counter, "lvs_check_attempts_total", RK, One, Stable,
        "Probe attempts that came to a pass or a failure", "probes";
    CHECK_FAILURES: Counter, "lvs_check_failures_total", &["virtual_server", "real_server", "check", "reason"], One, Stable,
        "Failed attempts; a row appears at the first failure of its reason", "probes";
    CHECK_INCONCLUSIVE: Counter, "lvs_check_inconclusive_total", &["virtual_server", "reason"], One, Stable,
        "Attempts that the agent itself could not carry out; they move no verdict", "probes";
    CHECK_CONNECTIONS: Counter, "lvs_check_connections_total", &["virtual_server", "connection"], One, Stable,
        "Probes of checks that keep connections, by what they went over: fresh, reused, replaced (the server had closed the kept one)",
        "probes";
    CHECK_CONSECUTIVE_FAILURES: Gauge, "lvs_check_consecutive_failures", RK, One, Stable,
        "Failures in a row", "health";
    CHECK_CONSECUTIVE_SUCCESSES: Gauge, "lvs_check_consecutive_successes", RK, One, Stable,
        "Passes in a row", "health";
    CHECK_LAST_DURATION: Gauge, "lvs_check_last_duration_seconds", RK, Seconds, Stable,
        "Duration of the last attempt that came to a pass or a failure", "probes";
    CHECK_LAST_ATTEMPT: Gauge, "lvs_check_last_attempt_timestamp_seconds", RK, Seconds, Stable,
        "Time of the last attempt that came to a pass or a failure", "probes";
    CHECK_DURATION: Histogram, "lvs_check_duration_seconds", &["virtual_server", "phase"], Seconds, Stable,
        "Duration of attempts by phase, of those phases that the checks have: connect, tls, processing, transfer, total",
        "probes";
    CHECK_TIMEOUT: Gauge, "lvs_check_timeout_seconds", K, Seconds, Stable,
        "Time a whole probe may take", "configuration";
    CHECK_INTERVAL: Gauge, "lvs_check_interval_seconds", K, Seconds, Stable,
        "Time between two probes of one real server", "configuration";
    CHECK_TLS_NOT_AFTER: Gauge, "lvs_check_tls_not_after_timestamp_seconds", RK, Seconds, Stable,
        "Earliest expiry in the certificate chain that the server presented last, accepted or not; no row before it presented one",
        "probes";
    CHECK_REPORTED_SHARE: Gauge, "lvs_check_reported_share_ratio", RK, Ratio, Stable,
        "What the server said at its last pass that it wants of its owed weight (check type agent, weight-header); no row where it says nothing", "probes";
    CHECK_TRIPWIRE_ARMED: Gauge, "lvs_check_tripwire_armed", RK, One, Stable,
        "1 while the idle connection of a tripwire is held; only where configured", "probes";
    CHECK_TRIPWIRE_TRIPS: Counter, "lvs_check_tripwire_trips_total", RK, One, Stable,
        "Times that the server ended a tripwire's connection, and was probed at once", "probes";
    CHECK_TRIPWIRE_DEGRADED: Gauge, "lvs_check_tripwire_degraded", &["virtual_server", "real_server", "check", "reason"], One, Stable,
        "1 while a tripwire is of little use, so that probes at their interval tell: closed, refused, talks, fd_limit, local_error; no row otherwise",
        "probes";
    DRIFT: Counter, "lvs_drift_detected_total", &["kind"], One, Stable,
        "Differences between the table and what we wrote or were told to expect: weight, missing_virtual_server", "plan";
    VIP_PRESENT: Gauge, "lvs_vip_present", &["vip"], One, Stable,
        "1 if the virtual address is in use on an interface of this director; a row for each one known, those elsewhere too",
        "rtnetlink; snapshot and configuration name the addresses";
    VIP_INFO: Info, "lvs_vip_info", &["vip", "interface", "sharing"], One, Stable,
        "A row for each interface that has the virtual address, one without interface if none has; sharing: exclusive, shared",
        "rtnetlink, configuration";
    VIP_TRANSITIONS: Counter, "lvs_vip_transitions_total", &["vip"], One, Stable,
        "How often the virtual address came to this director or left it: failovers between two scrapes count too", "rtnetlink";
    VIP_CHANGE: Gauge, "lvs_vip_change_timestamp_seconds", &["vip"], Seconds, Stable,
        "Time at which the virtual address last came or went; no row before the first time since the start", "rtnetlink";
    DIRECTOR_ACTIVE: Gauge, "lvs_director_active", NONE, One, Stable,
        "1 if at least one virtual address is here, none is known, or that cannot be found out; no row before the first look, nor with an embedded table",
        "rtnetlink";

    // The agent itself.
    BUILD_INFO: Info, "lvs_agent_build_info", &["version", "revision", "rustc"], One, Stable,
        "Build of the running agent", "build";
    MODE: Gauge, "lvs_agent_mode", &["mode"], One, Stable,
        "1 for the current mode: enforce, observe; both rows always, both 0 without a configuration", "configuration";
    CONFIG_LAST_RELOAD_SUCCESSFUL: Gauge, "lvs_agent_config_last_reload_successful", NONE, One, Stable,
        "1 if the last load of the configuration worked", "configuration";
    CONFIG_LAST_RELOAD_SUCCESS: Gauge, "lvs_agent_config_last_reload_success_timestamp_seconds", NONE, Seconds, Stable,
        "Time of the last successful load of the configuration", "configuration";
    CONFIG_HASH: Gauge, "lvs_agent_config_hash", NONE, One, Stable,
        "48-bit hash of the effective configuration, exact in a double", "configuration";
    COLLECTOR_SUCCESS: Gauge, "lvs_agent_collector_success", &["collector"], One, Stable,
        "1 if the collector worked at its last run: ipvs, addresses, process", "collectors";
    COLLECTOR_DURATION: Gauge, "lvs_agent_collector_duration_seconds", &["collector"], Seconds, Stable,
        "Duration of the collector's last successful run", "collectors";
    SNAPSHOT_TIMESTAMP: Gauge, "lvs_agent_snapshot_timestamp_seconds", NONE, Seconds, Stable,
        "Time at which the exported snapshot was read from the kernel", "snapshot";
    NETLINK_REQUESTS: Counter, "lvs_agent_netlink_requests_total", &["command"], One, Diagnostic,
        "Netlink requests sent", "netlink socket";
    NETLINK_ERRORS: Counter, "lvs_agent_netlink_errors_total", &["command", "errno"], One, Stable,
        "Netlink requests that failed; a row appears at the first failure of its kind", "netlink socket";
    NETLINK_DUMP_INTERRUPTED: Counter, "lvs_agent_netlink_dump_interrupted_total", NONE, One, Stable,
        "Dumps found inconsistent, by the kernel's flag or our own checks", "netlink socket";
    NETLINK_DUMP_RETRIES: Counter, "lvs_agent_netlink_dump_retries_total", NONE, One, Diagnostic,
        "Dumps repeated", "netlink socket";
    NETLINK_OVERRUNS: Counter, "lvs_agent_netlink_overruns_total", NONE, One, Stable,
        "Overruns of the receive buffer", "netlink socket: ENOBUFS";
    NETLINK_DURATION: Histogram, "lvs_agent_netlink_request_duration_seconds", &["command"], Seconds, Diagnostic,
        "Duration of netlink requests", "netlink socket";
    RECONCILE_LAST_SUCCESS: Gauge, "lvs_agent_reconcile_last_success_timestamp_seconds", NONE, Seconds, Stable,
        "Time of the last whole cycle of reading, judging and planning", "loop";
    RECONCILE_DURATION: Histogram, "lvs_agent_reconcile_duration_seconds", NONE, Seconds, Diagnostic,
        "Duration of a cycle", "loop";
    DECISION_APPLY_DURATION: Histogram, "lvs_agent_decision_apply_duration_seconds", NONE, Seconds, Stable,
        "From the deciding probe result to the acknowledgement of the kernel", "loop";
    LEDGER_ENTRIES: Gauge, "lvs_agent_ledger_entries", NONE, One, Stable,
        "Weights taken and not yet given back", "ledger";
    LEDGER_WRITE_FAILURES: Counter, "lvs_agent_ledger_write_failures_total", NONE, One, Stable,
        "Failed writes of the ledger; drains are held meanwhile", "state file";
    PROBES_IN_FLIGHT: Gauge, "lvs_agent_probes_in_flight", NONE, One, Stable,
        "Probes running", "probes";
    PROBES_IN_FLIGHT_LIMIT: Gauge, "lvs_agent_probes_in_flight_limit", NONE, One, Stable,
        "Limit of running probes", "configuration, limit of open files";
    PROBE_SCHEDULE_LAG: Histogram, "lvs_agent_probe_schedule_lag_seconds", NONE, Seconds, Stable,
        "Start of a probe minus the time it was due", "schedule";
    PROBES_SKIPPED: Counter, "lvs_agent_probes_skipped_total", &["reason"], One, Stable,
        "Probes not started: no_port, in_flight_limit, fd_reserve, overdue", "schedule";
    HTTP_REQUESTS_IN_FLIGHT: Gauge, "lvs_agent_http_requests_in_flight", NONE, One, Diagnostic,
        "HTTP requests being answered, this one included", "web";
    SERIES_DROPPED: Gauge, "lvs_agent_series_dropped", &["group"], One, Stable,
        "Series left out of this scrape by --metrics.max-series; groups go whole, the rows of single real servers first",
        "this scrape";

    PROCESS_CPU: Counter, "process_cpu_seconds_total", NONE, Seconds, Stable,
        "User and system CPU time", "/proc/self/stat";
    PROCESS_RESIDENT_MEMORY: Gauge, "process_resident_memory_bytes", NONE, Bytes, Stable,
        "Resident memory", "/proc/self/stat";
    PROCESS_VIRTUAL_MEMORY: Gauge, "process_virtual_memory_bytes", NONE, Bytes, Stable,
        "Virtual memory", "/proc/self/stat";
    PROCESS_OPEN_FDS: Gauge, "process_open_fds", NONE, One, Stable,
        "Open file descriptors", "/proc/self/fd";
    PROCESS_MAX_FDS: Gauge, "process_max_fds", NONE, One, Stable,
        "Limit of open file descriptors", "getrlimit";
    PROCESS_START_TIME: Gauge, "process_start_time_seconds", NONE, Seconds, Stable,
        "Start time since the epoch", "/proc/self/stat";
    PROCESS_THREADS: Gauge, "process_threads", NONE, One, Stable,
        "Threads", "/proc/self/stat";
}
