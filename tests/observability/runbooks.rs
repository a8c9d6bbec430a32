//! docs/runbooks/<Alert>.md: what somebody reads at 3 a.m. must be there and be true.

use std::collections::BTreeSet;

use regex::Regex;

use crate::rules::RULES;
use crate::{catalogue, files, read, stem};

const SECTIONS: &[&str] = &["Meaning", "Impact", "Diagnosis", "Mitigation"];
/// Commands of the program (lvs-agent --help).
const COMMANDS: &[&str] = &["run", "demo", "check-config", "status", "probe", "drain", "undrain"];

#[test]
fn each_alert_has_a_runbook_with_its_sections() {
    let named: BTreeSet<String> =
        files("docs/runbooks", "md").iter().map(|path| stem(path).to_owned()).collect();
    let alerts: BTreeSet<String> = RULES.iter().map(|rule| rule.alert.clone()).collect();
    assert_eq!(named, alerts);
    for path in files("docs/runbooks", "md") {
        let text = read(&path);
        let mut parts = text.split("\n## ");
        let title = parts.next().and_then(|head| head.lines().next());
        assert_eq!(title, Some(format!("# {}", stem(&path)).as_str()));
        let sections: Vec<(&str, &str)> = parts.filter_map(|part| part.split_once('\n')).collect();
        let headings: Vec<&str> = sections.iter().map(|(heading, _)| *heading).collect();
        assert_eq!(headings, SECTIONS, "{}", path.display());
        for (heading, body) in &sections {
            assert!(body.trim().len() > 40, "{}: {heading} says nothing", path.display());
        }
        let diagnosis = sections[2].1;
        assert!(diagnosis.contains("```sh"), "{}: no command to diagnose with", path.display());
    }
}

#[test]
fn runbooks_name_metrics_and_commands_that_exist() {
    let metric = Regex::new(r"\b(?:ipvs|lvs|process)_[a-z0-9_]+").expect("a pattern");
    let command = Regex::new(r"(?m)^(?:sudo )?lvs-agent ([a-z-]+)").expect("a pattern");
    for path in files("docs/runbooks", "md") {
        let text = read(&path);
        for name in metric.find_iter(&text).map(|found| found.as_str()) {
            let exists =
                catalogue::entry(name).is_some() || catalogue::entry(&format!("{name}_bucket")).is_some();
            assert!(exists, "{}: {name} is not exported", path.display());
        }
        // The agent's lines carry their level as text; to the journal all of them are of one priority.
        let by_priority = text.lines().any(|line| line.starts_with("journalctl") && line.contains(" -p "));
        assert!(!by_priority, "{}: journalctl -p shows nothing of the agent's", path.display());
        for (_, [verb]) in command.captures_iter(&text).map(|found| found.extract()) {
            assert!(COMMANDS.contains(&verb), "{}: lvs-agent {verb}", path.display());
        }
    }
}
