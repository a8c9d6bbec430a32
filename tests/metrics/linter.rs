//! `promtool check metrics`, for what a test or the running agent exports.

use std::io::Write;
use std::process::{Command, Stdio};

/// Whether it is content, and what it says.
pub fn check_metrics(text: &[u8]) -> (bool, String) {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool cannot be run; `apt-get install prometheus` brings it, and tests/run does so");
    let mut stdin = promtool.stdin.take().expect("piped");
    stdin.write_all(text).expect("promtool reads all before it speaks");
    drop(stdin);
    let output = promtool.wait_with_output().expect("promtool ends");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}
