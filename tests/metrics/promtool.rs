//! The linter that everybody else's exporters pass reads the text format 0.0.4.

use std::io::Write;
use std::process::{Command, Stdio};

use lvs_agent::metrics::Format;
use lvs_agent::model::View;

use crate::{exposition, views};

#[test]
fn promtool_has_nothing_to_say() {
    for view in [views::rich(), views::unreadable(), views::proc_only(), views::twins(1, 3)] {
        let (good, said) = check_metrics(&exposition(view, Format::Text004));
        assert!(good && said.is_empty(), "{said}");
    }
}

/// That silence means something.
#[test]
fn promtool_objects_to_a_bad_name_and_to_a_broken_line() {
    let text = exposition(View { snapshot: None, ..views::unreadable() }, Format::Text004);
    for broken in [
        format!("{text}# HELP x y\n# TYPE x counter\nx 1\n"),
        format!("{text}lvs_agent_ledger_entries{{a=\"b\" 1\n"),
    ] {
        let (good, said) = check_metrics(&broken);
        assert!(!good && !said.is_empty());
    }
}

fn check_metrics(text: &str) -> (bool, String) {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool cannot be run; `apt-get install prometheus` brings it, and tests/run does so");
    let mut stdin = promtool.stdin.take().expect("piped");
    stdin.write_all(text.as_bytes()).expect("promtool reads all before it speaks");
    drop(stdin);
    let output = promtool.wait_with_output().expect("promtool ends");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}
