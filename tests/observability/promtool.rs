//! Prometheus's own tool, without which none of this is known to be true.

use std::ffi::OsStr;
use std::process::Command;

use crate::{files, root};

/// `Err` is what it said.
pub fn promtool<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Result<(), String> {
    let output = Command::new("promtool").current_dir(root()).args(arguments).output().expect(
        "promtool cannot be run; Debian's package `prometheus` brings it (apt-get install prometheus)",
    );
    let said = [output.stdout, output.stderr].concat();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&said).into_owned()) }
}

#[test]
fn the_rules_pass_its_linter() {
    let arguments = ["check", "rules", "--lint=all", "--lint-fatal"].map(Into::into);
    promtool(arguments.into_iter().chain(files("alerts", "yml"))).unwrap_or_else(|said| panic!("{said}"));
}

#[test]
fn the_rules_pass_their_tests() {
    let arguments = ["test", "rules"].map(Into::into);
    promtool(arguments.into_iter().chain(files("alerts/tests", "yml")))
        .unwrap_or_else(|said| panic!("{said}"));
}

#[test]
fn the_scrape_configuration_is_valid() {
    promtool(["check", "config", "deploy/prometheus.yml"]).unwrap_or_else(|said| panic!("{said}"));
}
