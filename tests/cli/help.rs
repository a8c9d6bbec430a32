//! What `--help` promises.

use crate::agent::{finish, lvs_agent};
use crate::golden;

const VERBS: [&str; 7] = ["run", "demo", "check-config", "status", "drain", "undrain", "probe"];

/// Each with its variable.
const RUN_FLAGS: [(&str, &str); 14] = [
    ("--web.config.file", "LVS_AGENT_WEB_CONFIG_FILE"),
    ("--metrics.max-series", "LVS_AGENT_METRICS_MAX_SERIES"),
    ("--collector.real-server-traffic", "LVS_AGENT_COLLECTOR_REAL_SERVER_TRAFFIC"),
    ("--config <FILE>", "LVS_AGENT_CONFIG"),
    ("--mode <MODE>", "LVS_AGENT_MODE"),
    ("--web.listen-address <ADDR:PORT>", "LVS_AGENT_WEB_LISTEN_ADDRESS"),
    ("--web.telemetry-path <PATH>", "LVS_AGENT_WEB_TELEMETRY_PATH"),
    ("--web.max-requests <N>", "LVS_AGENT_WEB_MAX_REQUESTS"),
    ("--web.gzip-level <LEVEL>", "LVS_AGENT_WEB_GZIP_LEVEL"),
    ("--state-dir <DIR>", "LVS_AGENT_STATE_DIR"),
    ("--control-socket <PATH>", "LVS_AGENT_CONTROL_SOCKET"),
    ("--ipvs.table <FILE>", "LVS_AGENT_IPVS_TABLE"),
    ("--log.level <LEVEL>", "LVS_AGENT_LOG_LEVEL"),
    ("--log.format <FORMAT>", "LVS_AGENT_LOG_FORMAT"),
];

fn help(arguments: &[&str]) -> String {
    let ended = finish(lvs_agent(arguments)).expect_code(0);
    assert_eq!(ended.err, "");
    ended.out
}

#[test]
fn the_overview_and_the_flags_of_run() {
    golden::compare("help.txt", &help(&["--help"]));
    golden::compare("help-run.txt", &help(&["run", "--help"]));
}

#[test]
fn every_verb_is_in_the_overview_and_has_its_own_help() {
    let overview = help(&["--help"]);
    let listed: Vec<&str> = overview
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .map_while(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(listed, [&VERBS[..], &["help"]].concat());
    for verb in VERBS {
        assert!(help(&[verb, "--help"]).contains(&format!("Usage: lvs-agent {verb}")), "{verb}");
    }
}

#[test]
fn every_flag_of_run_names_its_variable() {
    // On one line, however it was wrapped.
    let text = help(&["run", "--help"]).split_whitespace().collect::<Vec<_>>().join(" ");
    let mut listed = 0;
    for (flag, variable) in RUN_FLAGS {
        let at = text.find(flag).unwrap_or_else(|| panic!("{flag}\n{text}"));
        let section = text[at..].split("] --").next().unwrap_or_default();
        assert!(section.contains(&format!("[env: {variable}=")), "{flag}: {section}");
        listed += 1;
    }
    assert_eq!(text.matches("[env: ").count(), listed, "a flag that this list does not have");
}

#[test]
fn the_flags_of_the_other_verbs() {
    for (verb, flags) in [
        ("demo", &["--log.level", "--log.format"][..]),
        ("check-config", &["<FILE>"]),
        (
            "status",
            &[
                "[VS]",
                "--json",
                "--agent <URL>",
                "--ca-file <FILE>",
                "--client-cert <FILE>",
                "--client-key <FILE>",
                "--control-socket <PATH>",
            ],
        ),
        (
            "drain",
            &[
                "<RS>",
                "--virtual-server <VS>",
                "--wait[=<DURATION>]",
                "--reason <TEXT>",
                "--force",
                "--control-socket",
            ],
        ),
        ("undrain", &["<RS>", "--virtual-server <VS>", "--ignore-checks", "--control-socket <PATH>"]),
        (
            "probe",
            &["<VS>", "<RS>", "--check <NAME>", "--config <FILE>", "--ipvs.table <FILE>", "--control-socket"],
        ),
    ] {
        let text = help(&[verb, "--help"]);
        for flag in flags {
            assert!(text.contains(flag), "{verb}: {flag}\n{text}");
        }
    }
}

#[test]
fn the_version_is_the_packages() {
    assert_eq!(help(&["--version"]), format!("lvs-agent {}\n", env!("CARGO_PKG_VERSION")));
}
