//! Whole expositions, line by line, in tests/metrics/golden.
//!
//! After a wanted change run `LVS_AGENT_BLESS=1 cargo test --test metrics` and read the difference.

use std::path::PathBuf;

use lvs_agent::metrics::Format;

use crate::{exposition, views};

#[test]
fn everything_in_openmetrics() {
    compare("rich.openmetrics", &exposition(views::rich(), Format::OpenMetrics));
}

#[test]
fn everything_in_text_004() {
    compare("rich.text004", &exposition(views::rich(), Format::Text004));
}

#[test]
fn without_ipvs() {
    compare("unreadable.openmetrics", &exposition(views::unreadable(), Format::OpenMetrics));
}

#[test]
fn from_proc_only() {
    compare("proc.openmetrics", &exposition(views::proc_only(), Format::OpenMetrics));
}

fn compare(name: &str, text: &str) {
    crate::golden::compare_file(&format!("tests/metrics/golden/{name}"), &masked(text));
}

/// Compares with a file of the repository, or writes it if `LVS_AGENT_BLESS` is set.
pub fn compare_file(path: &str, text: &str) {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("LVS_AGENT_BLESS").is_some() {
        std::fs::create_dir_all(file.parent().expect("a directory")).expect("its directory");
        std::fs::write(&file, text).unwrap_or_else(|error| panic!("{path}: {error}"));
        return;
    }
    let expected = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{path}: {error}"));
    for (number, (is, should)) in text.lines().zip(expected.lines()).enumerate() {
        assert_eq!(is, should, "{path}, line {}; LVS_AGENT_BLESS=1 writes it anew", number + 1);
    }
    assert_eq!(text.lines().count(), expected.lines().count(), "{path}; LVS_AGENT_BLESS=1 writes it anew");
}

/// What differs from run to run and build to build, replaced by `*`.
fn masked(text: &str) -> String {
    text.lines()
        .map(|line| {
            let varies = line.starts_with("process_")
                || line.starts_with("lvs_agent_collector_duration_seconds{collector=\"process\"}");
            match line.rsplit_once(' ') {
                Some((series, _)) if varies => format!("{series} *\n"),
                Some(_) if line.starts_with("lvs_agent_build_info{") => {
                    "lvs_agent_build_info{*} 1\n".to_owned()
                }
                _ => format!("{line}\n"),
            }
        })
        .collect()
}
