//! Alert rules, runbooks, dashboards and the scrape configuration: that they are valid, that they read what the
//! agent exports, and that the rules fire when they should and only then.
//!
//! New rules, tests, runbooks and dashboards are found by themselves. promtool is Debian's package `prometheus`,
//! amtool and Alertmanager are `prometheus-alertmanager`.
//! The dashboards are described in observability/boards; `LVS_AGENT_BLESS=1 cargo test --test observability` writes them.

use std::path::{Path, PathBuf};

#[path = "observability/alert_links.rs"]
mod alert_links;
#[path = "observability/alertmanager.rs"]
mod alertmanager;
#[path = "observability/answers.rs"]
mod answers;
#[path = "observability/asked.rs"]
mod asked;
#[path = "observability/boards/mod.rs"]
mod boards;
#[path = "observability/catalogue.rs"]
mod catalogue;
#[path = "observability/dashboards.rs"]
mod dashboards;
#[path = "observability/fleet.rs"]
mod fleet;
#[path = "observability/flow.rs"]
mod flow;
#[path = "observability/grafana.rs"]
mod grafana;
#[path = "observability/layout.rs"]
mod layout;
#[path = "observability/links.rs"]
mod links;
#[path = "observability/lint.rs"]
mod lint;
#[path = "observability/mutations.rs"]
mod mutations;
#[path = "observability/pictures.rs"]
mod pictures;
#[path = "observability/prometheus.rs"]
mod prometheus;
#[path = "observability/promql.rs"]
mod promql;
#[path = "observability/promtool.rs"]
mod promtool;
#[path = "observability/rule_tests.rs"]
mod rule_tests;
#[path = "observability/rules.rs"]
mod rules;
#[path = "observability/runbooks.rs"]
mod runbooks;
#[path = "observability/usage.rs"]
mod usage;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files of a directory of the repository with this extension, sorted; never none.
fn files(directory: &str, extension: &str) -> Vec<PathBuf> {
    let directory = root().join(directory);
    let entries = std::fs::read_dir(&directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
    let paths = entries.map(|entry| entry.expect("a directory entry").path());
    let mut found: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|e| e == extension)).collect();
    found.sort();
    assert!(!found.is_empty(), "{} has no .{extension} file", directory.display());
    found
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn stem(path: &Path) -> &str {
    path.file_stem().and_then(|name| name.to_str()).expect("a name in UTF-8")
}
