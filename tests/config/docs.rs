//! The manual and the shipped example say what the code does.

use std::path::Path;

use lvs_agent::config::{Fallback, Key, SECTIONS, Section};
use lvs_agent::model::Mode;

use super::valid;

fn repository(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The beginning of a key's row in its section's table.
fn row(section: &Section, key: &Key) -> String {
    let default = match key.default {
        Fallback::Required => "required".to_owned(),
        Fallback::Value(toml) => format!("`{toml}`"),
        Fallback::Otherwise(words) => words.to_owned(),
    };
    let types: Vec<&str> = key.only.iter().map(|t| t.as_str()).collect();
    match (section.title, types.as_slice()) {
        ("[check.NAME]", []) => format!("| `{}` | all | {} | {default} | ", key.name, key.form),
        ("[check.NAME]", types) => {
            format!("| `{}` | {} | {} | {default} | ", key.name, types.join(", "), key.form)
        }
        _ => format!("| `{}` | {} | {default} | ", key.name, key.form),
    }
}

#[test]
fn the_manual_has_every_key_with_its_form_and_default() {
    let manual = repository("docs/configuration.md");
    let mut missing = String::new();
    for section in SECTIONS {
        let heading = match section.title {
            "the top level" => "\n## Top level\n".to_owned(),
            title => format!("\n## `{title}`\n"),
        };
        let Some((_, rest)) = manual.split_once(&heading) else {
            missing.push_str(&heading);
            continue;
        };
        let part = rest.split("\n## ").next().unwrap_or_default();
        for key in section.keys {
            let row = row(section, key);
            if !part.contains(&row) {
                missing.push_str(&format!("in {}: {row}\n", section.title));
            }
        }
        let documented = part.lines().filter_map(|l| l.strip_prefix("| `")?.split('`').next());
        for name in documented {
            assert!(section.keys.iter().any(|key| key.name == name), "{}: no key {name}", section.title);
        }
    }
    assert!(missing.is_empty(), "docs/configuration.md lacks:\n{missing}");
}

#[test]
fn the_examples_of_the_manual_are_valid_and_without_warnings() {
    let manual = repository("docs/configuration.md");
    let examples: Vec<&str> =
        manual.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(examples.len() >= 3, "{} examples", examples.len());
    for example in examples {
        let local = example
            .replace("/etc/ssl/internal/ca.pem", "generated/ca.pem")
            .replace("/etc/ssl/internal/probe.pem", "generated/client.pem")
            .replace("/etc/ssl/internal/probe.key", "generated/client.key");
        let config = valid(&local);
        assert_eq!(config.warnings, [], "{example}");
        assert!(!config.policy.services.is_empty(), "{example}");
    }
}

#[test]
fn the_shipped_configuration_observes() {
    let text = repository("deploy/config.toml");
    let config = valid(&text);
    assert_eq!(config.policy.mode, Some(Mode::Observe));
    assert_eq!(config.warnings, []);
    // Its commented lines are an example: they work once the marks are taken away.
    let example: String = text
        .lines()
        .map(|line| line.strip_prefix("#").filter(|rest| !rest.starts_with(' ')).unwrap_or(line))
        .map(|line| format!("{line}\n"))
        .collect();
    let config = valid(&example);
    assert!(!config.policy.services.is_empty());
    assert_eq!(config.warnings, []);
}
