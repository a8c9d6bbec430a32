//! What Prometheus would hold of a fleet of any size, made from the catalogue: each metric with rows for all of its
//! labels, over an hour in which half of the way through something fails, and some figures of the weeks before.
//!
//! Values are plausible as far as the queries of the dashboards tell them apart; they are no simulation.

use std::io::Write;

use lvs_agent::metrics::{Kind, Metric, catalogue};

/// The last moment, a full hour. The one before it lies within one block of Prometheus's, of two hours.
pub const END: u64 = 1_764_000_000 + 3600;
pub const START: u64 = END - 3600;
const HALF: u64 = END - 1800;
const WEEK: u64 = 7 * 86400;
/// Of the first: the others' directors see one virtual server only, and differently.
pub const DIRECTORS: [&str; 2] = ["10.10.0.11:10190", "10.10.0.12:10190"];

pub struct Fleet {
    pub virtual_servers: u64,
    /// In each of them.
    pub real_servers: u64,
    pub scrape_interval: u64,
}

/// One of its rows: where it is from, and what is written before the value.
struct Row {
    metric: Of,
    director: usize,
    virtual_server: u64,
    real_server: u64,
    /// Its variant among rows of the same server: a reason, a state, a bucket.
    variant: u64,
    text: String,
}

#[derive(Clone, Copy)]
enum Of {
    Agent(&'static Metric),
    Prometheus(&'static str),
}

pub fn virtual_server(at: u64) -> String {
    format!("10.10.{}.{}:80/tcp", at / 200, at % 200 + 1)
}

pub fn real_server(virtual_server: u64, at: u64) -> String {
    format!("10.{}.{}.{}:80", 20 + virtual_server / 200, virtual_server % 200, at + 1)
}

impl Fleet {
    /// The hour, as the importer reads it; how many series and samples it has.
    pub fn write_hour(&self, out: &mut impl Write) -> std::io::Result<(usize, usize)> {
        let rows = self.rows();
        let times: Vec<u64> =
            (START..=END).step_by(usize::try_from(self.scrape_interval).expect("seconds")).collect();
        for time in &times {
            // The alert fires when something has failed.
            for row in rows.iter().filter(|row| *time >= HALF || row.metric.name() != "ALERTS") {
                writeln!(out, "{} {} {time}", row.text, row.value(*time))?;
            }
        }
        writeln!(out, "# EOF")?;
        Ok((rows.len(), rows.len() * times.len()))
    }

    /// Connections as they were one, two and four weeks before: fewer each week.
    pub fn write_weeks_before(&self, out: &mut impl Write) -> std::io::Result<()> {
        let counted = ["ipvs_connections_total", "ipvs_virtual_server_connections_total"];
        let rows: Vec<Row> =
            self.rows().into_iter().filter(|row| counted.contains(&row.metric.name())).collect();
        for week in [4, 2, 1] {
            let end = END - week * WEEK;
            for time in (end - 2 * 3600..=end).step_by(600) {
                for row in &rows {
                    writeln!(out, "{} {} {time}", row.text, row.value(time))?;
                }
            }
        }
        writeln!(out, "# EOF")
    }

    fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for director in 0..DIRECTORS.len() {
            for metric in catalogue() {
                self.rows_of(Of::Agent(metric), metric.labels, director, &mut rows);
            }
            for name in ["up", "scrape_duration_seconds", "scrape_samples_scraped"] {
                self.rows_of(Of::Prometheus(name), &[], director, &mut rows);
            }
        }
        let alert = ["alertname", "alertstate", "severity", "virtual_server"];
        self.rows_of(Of::Prometheus("ALERTS"), &alert, 0, &mut rows);
        rows
    }

    fn rows_of(&self, metric: Of, labels: &[&'static str], director: usize, rows: &mut Vec<Row>) {
        let has = |label| labels.contains(&label);
        let first_only = director > 0 || metric.name() == "ALERTS";
        let virtual_servers = if has("virtual_server") && !first_only { self.virtual_servers } else { 1 };
        let real_servers = if has("real_server") { self.real_servers } else { 1 };
        for vs in 0..virtual_servers {
            for rs in (0..real_servers).filter(|rs| metric.has_row(*rs)) {
                for variant in 0..metric.variants() {
                    let mut text = format!(
                        "{}{}{{job=\"lvs-agent\",instance=\"{}\"",
                        metric.name(),
                        metric.suffix(variant),
                        DIRECTORS[director]
                    );
                    for label in labels {
                        text.push_str(&format!(
                            ",{label}=\"{}\"",
                            label_value(metric.name(), label, vs, rs, variant)
                        ));
                    }
                    if let Some(bound) = metric.bound(variant) {
                        text.push_str(&format!(",le=\"{bound}\""));
                    }
                    text.push('}');
                    rows.push(Row { metric, director, virtual_server: vs, real_server: rs, variant, text });
                }
            }
        }
    }
}

/// A few of the histograms' bounds: the queries do not name any.
const BOUNDS: [&str; 5] = ["0.001", "0.01", "0.1", "1.0", "+Inf"];

impl Of {
    fn name(self) -> &'static str {
        match self {
            Of::Agent(metric) => metric.name,
            Of::Prometheus(name) => name,
        }
    }

    fn kind(self) -> Kind {
        match self {
            Of::Agent(metric) => metric.kind,
            Of::Prometheus(_) => Kind::Gauge,
        }
    }

    /// Rows that only servers have of which there is something to say: every tenth.
    fn has_row(self, real_server: u64) -> bool {
        let sparse = ["lvs_real_server_drained", "lvs_real_server_change_held", "lvs_check_failures_total"];
        !sparse.contains(&self.name()) || real_server % 10 < 3
    }

    /// Rows of one server.
    fn variants(self) -> u64 {
        match (self.kind(), self.name()) {
            // Buckets, sum and count.
            (Kind::Histogram, "lvs_check_duration_seconds") => 2 * (BOUNDS.len() as u64 + 2),
            (Kind::Histogram, _) => BOUNDS.len() as u64 + 2,
            (_, "lvs_virtual_server_real_servers") => 4,
            (_, "lvs_weight_changes_total") => 3,
            (_, "lvs_agent_mode" | "ipvs_sync_daemon_running") => 2,
            (Kind::Counter | Kind::Gauge | Kind::Info, _) => 1,
        }
    }

    fn suffix(self, variant: u64) -> &'static str {
        match (self.kind(), variant % (BOUNDS.len() as u64 + 2)) {
            (Kind::Histogram, 5) => "_sum",
            (Kind::Histogram, 6) => "_count",
            (Kind::Histogram, _) => "_bucket",
            (Kind::Counter | Kind::Gauge | Kind::Info, _) => "",
        }
    }

    fn bound(self, variant: u64) -> Option<&'static str> {
        let at = usize::try_from(variant).expect("a few") % (BOUNDS.len() + 2);
        if self.kind() == Kind::Histogram { BOUNDS.get(at).copied() } else { None }
    }
}

fn label_value(metric: &str, label: &str, vs: u64, rs: u64, variant: u64) -> String {
    let one_of = |values: &[&str]| values[usize::try_from(variant).expect("a few") % values.len()].to_owned();
    match (metric, label) {
        (_, "virtual_server") => virtual_server(vs),
        (_, "real_server") => real_server(vs, rs),
        (_, "check") => "web".to_owned(),
        ("lvs_virtual_server_info", "name") => format!("shop {vs}"),
        (_, "state") => one_of(&["up", "down", "unknown", "drained"]),
        (_, "direction") => one_of(&["drain", "restore", "adjust"]),
        (_, "mode") => one_of(&["enforce", "observe"]),
        (_, "role") => one_of(&["master", "backup"]),
        // A whole histogram of each.
        (_, "phase") => ["connect", "total"][usize::from(variant > BOUNDS.len() as u64 + 1)].to_owned(),
        // The first virtual server masquerades.
        (_, "forwarding") => if vs == 0 { "masq" } else { "route" }.to_owned(),
        (_, "bound") => "upper".to_owned(),
        (_, "scheduler") => "wrr".to_owned(),
        ("lvs_real_server_drained", "reason") => if rs % 10 == 2 { "operator" } else { "check" }.to_owned(),
        ("lvs_real_server_change_held", "reason") => "floor".to_owned(),
        ("lvs_check_failures_total", "reason") => "connect_refused".to_owned(),
        (_, "alertname") => "IpvsVirtualServerDown".to_owned(),
        (_, "alertstate") => "firing".to_owned(),
        (_, "severity") => "critical".to_owned(),
        ("ipvs_sysctl", "name") => "run_estimation".to_owned(),
        (_, other) => format!("a {other}"),
    }
}

impl Row {
    fn value(&self, time: u64) -> u64 {
        let first = self.director == 0;
        let late = time >= HALF;
        // Of ten real servers one fails, one is out by hand; the second director does not see it.
        let fails = first && late && self.real_server % 10 == 1;
        let by_hand = self.real_server % 10 == 2;
        match (self.metric.kind(), self.metric.name()) {
            (Kind::Counter, _) => self.counted(time),
            (Kind::Histogram, _) => self.counted(time) * (self.variant % 7 + 1),
            (_, "lvs_real_server_up" | "lvs_check_up") => u64::from(!fails),
            (_, "ipvs_real_server_weight" | "lvs_real_server_desired_weight") if fails || by_hand => 0,
            (_, "lvs_virtual_server_up") => u64::from(!(first && late && self.virtual_server == 1)),
            (_, "lvs_virtual_server_floor_reached") => u64::from(late && self.virtual_server == 0),
            (_, "lvs_agent_mode") => u64::from((self.variant == 0) == first),
            (_, "ipvs_sync_daemon_running") => u64::from((self.variant == 0) == first),
            (_, "lvs_agent_config_hash") => 1 + self.director as u64,
            (_, "ipvs_connection_table_buckets" | "process_max_fds" | "lvs_agent_probes_in_flight_limit") => {
                4096
            }
            (_, "ipvs_real_server_connection_threshold") => 1000,
            (_, name)
                if name.ends_with("_start_time_seconds") || name.contains("reload_success_timestamp") =>
            {
                if late {
                    HALF
                } else {
                    START - 100
                }
            }
            (_, "lvs_real_server_state_change_timestamp_seconds") => HALF,
            (_, name) if name.ends_with("_timestamp_seconds") => time - 1,
            (_, name) if name.starts_with("ipvs_real_server_") || name.ends_with("owed_weight") => {
                5 + self.real_server % 5
            }
            (_, "lvs_real_server_desired_weight") => 5 + self.real_server % 5,
            (Kind::Gauge | Kind::Info, _) => 1,
        }
    }

    /// Since long before the first week that is looked at, and more each week; some faster than others.
    fn counted(&self, time: u64) -> u64 {
        let since = time - (END - 5 * WEEK);
        (since + since * since / (20 * WEEK)) * (1 + (self.real_server + 3 * self.virtual_server) % 7)
    }
}
