//! The catalogue is what is emitted, and docs/metrics.md is the catalogue.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use lvs_agent::metrics::{Format, Kind, Metric, catalogue};

use crate::golden::compare_file;
use crate::parsed::{Family, by_name, parse};
use crate::{exposition, views};

#[test]
fn every_metric_is_emitted_and_nothing_else() {
    let emitted = by_name(parse(&exposition(views::rich(), Format::OpenMetrics)));
    let emitted: BTreeSet<&str> = emitted.keys().map(String::as_str).collect();
    let listed: BTreeSet<&str> = catalogue().iter().map(|metric| metric.name).collect();
    assert_eq!(emitted, listed);
    assert_eq!(listed.len(), catalogue().len(), "a name is listed twice");
}

#[test]
fn emitted_families_are_what_the_catalogue_says() {
    for (view, format) in [
        (views::rich(), Format::OpenMetrics),
        (views::rich(), Format::Text004),
        (views::unreadable(), Format::OpenMetrics),
        (views::proc_only(), Format::Text004),
    ] {
        let metrics: BTreeMap<&str, &Metric> = catalogue().iter().map(|m| (m.name, m)).collect();
        for (name, family) in by_name(parse(&exposition(view, format))) {
            check_family(&family, metrics[name.as_str()], format);
        }
    }
}

fn check_family(family: &Family, metric: &Metric, format: Format) {
    let kind = match (format, metric.kind) {
        (Format::Text004, Kind::Info) => Kind::Gauge,
        (Format::Text004 | Format::OpenMetrics, kind) => kind,
    };
    assert_eq!((family.kind.as_str(), family.help.as_str()), (kind.as_str(), metric.help), "{}", metric.name);
    let unit = (format == Format::OpenMetrics && metric.unit.as_str() != "1").then(|| metric.unit.as_str());
    assert_eq!(family.unit.as_deref(), unit, "{}", metric.name);
    for sample in &family.samples {
        let labels: Vec<&str> = sample.labels.iter().map(|(name, _)| name.as_str()).collect();
        let labels: Vec<&str> = labels.into_iter().filter(|name| *name != "le").collect();
        assert_eq!(labels, metric.labels, "{}", sample.name);
        match metric.kind {
            Kind::Info => assert_eq!(sample.value, "1"),
            Kind::Counter | Kind::Gauge => assert_eq!(sample.name, metric.name),
            Kind::Histogram => {}
        }
    }
}

#[test]
fn names_keep_the_conventions() {
    for metric in catalogue() {
        let Metric { name, kind, unit, labels, .. } = *metric;
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'), "{name}");
        assert!(["ipvs_", "lvs_", "process_"].iter().any(|prefix| name.starts_with(prefix)), "{name}");
        assert_eq!(name.ends_with("_total"), kind == Kind::Counter, "{name}");
        assert_eq!(name.ends_with("_info"), kind == Kind::Info, "{name}");
        let bare = name.trim_end_matches("_total");
        for (word, suffix) in [("seconds", "_seconds"), ("bytes", "_bytes"), ("ratio", "_ratio")] {
            assert_eq!(bare.ends_with(suffix), unit.as_str() == word, "{name}");
        }
        // Target labels of common scrape configurations, and what the formats keep for themselves.
        for label in labels {
            let taken = [
                "job", "instance", "service", "cluster", "env", "zone", "dc", "stage", "owner", "type", "le",
            ];
            assert!(!taken.contains(label), "{name}: {label}");
        }
    }
}

/// In OpenMetrics an info `x` and a gauge `x`, or a counter `x` and a gauge `x`, are one family.
#[test]
fn family_names_do_not_collide() {
    let families = parse(&exposition(views::rich(), Format::OpenMetrics));
    let names: BTreeSet<&str> = families.iter().map(|family| family.name.as_str()).collect();
    assert_eq!(names.len(), families.len());
    // Nor is a family's name what another one's samples are called.
    for family in &families {
        for suffix in ["_total", "_info", "_sum", "_count", "_bucket", "_created"] {
            assert!(!names.contains(format!("{}{suffix}", family.name).as_str()), "{}{suffix}", family.name);
        }
    }
}

/// The encoder writes HELP as it is, so neither format's escapes may be needed.
#[test]
fn help_needs_no_escapes() {
    for metric in catalogue() {
        assert!(!metric.help.contains(['\n', '\\', '"']) && metric.help.is_ascii(), "{}", metric.name);
        assert!(metric.help.ends_with(&format!(" ({})", metric.source)), "{}", metric.name);
        assert!(metric.help.len() <= 200, "{}: {}", metric.name, metric.help.len());
    }
}

/// `LVS_AGENT_BLESS=1 cargo test --test metrics` writes docs/metrics.md anew.
#[test]
fn the_documentation_is_the_catalogue() {
    compare_file("docs/metrics.md", &documentation());
}

fn documentation() -> String {
    let mut text = String::from(PREAMBLE);
    for (title, prefix, about) in GROUPS {
        let _ = write!(text, "\n## {title}\n\n{about}\n\n{HEADER}");
        let group = catalogue().iter().filter(|metric| group_of(metric.name) == prefix);
        for metric in group {
            let Metric { name, kind, unit, labels, help, source, stability } = *metric;
            let help = help.strip_suffix(&format!(" ({source})")).unwrap_or(help);
            let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
            let _ = writeln!(
                text,
                "| `{name}` | {} | {} | {} | {} | {} | {} |",
                kind.as_str(),
                unit.as_str(),
                labels.join(", "),
                help.replace('|', "\\|").replace('<', "&lt;"),
                source.replace('|', "\\|").replace('*', "\\*"),
                stability.as_str()
            );
        }
    }
    text
}

fn group_of(name: &str) -> &'static str {
    // The first that fits, so the longer prefix goes first.
    ["lvs_agent_", "ipvs_", "lvs_", "process_"].into_iter().find(|p| name.starts_with(p)).expect("a group")
}

const PREAMBLE: &str = "\
# Metrics

<!-- Generated from src/metrics/catalogue/table.rs: LVS_AGENT_BLESS=1 cargo test --test metrics -->

Who says so: `ipvs_*` is the kernel, `lvs_*` what the agent saw or decided, `lvs_agent_*` and `process_*` the agent itself.

- `virtual_server` is `10.10.0.100:80/tcp`, `[2001:db8::1]:443/tcp` or `fwmark:7/ipv4`; `real_server` is `10.10.0.21:80`; `check` is the
  configured name. They are the same texts as in the configuration, the API and the log.
- All rows of one scrape are of one moment. *Snapshot* as a source is the last whole read of the IPVS table, made at
  `lvs_agent_snapshot_timestamp_seconds`. The kernel itself brings its traffic counters up to date every 2 seconds only.
- A family without rows is left out. `lvs_virtual_server_*` and `lvs_real_server_*` are there for managed virtual servers only, but for
  `lvs_virtual_server_info`, which every virtual server has.
- Real servers that reply directly (forwarding `route` and `tunnel`) have outgoing counters of 0: their replies do not pass the director.
- Rows by `reason` appear with the first event of their reason: sum before you take a rate.
- In the text format 0.0.4 an info is a gauge. Histogram bounds, in seconds: .001 .0025 .005 .01 .025 .05 .1 .25 .5 1 2.5 5.
- *stable*: name, labels and meaning change in a major release only. *diagnostic*: for finding faults of the agent; may change in any release.
";

const HEADER: &str =
    "| name | type | unit | labels | meaning | source | stability |\n|---|---|---|---|---|---|---|\n";

const GROUPS: [(&str, &str, &str); 4] = [
    ("The kernel", "ipvs_", "What the kernel holds, unchanged."),
    ("Health, weights, decisions", "lvs_", "What the agent saw and decided."),
    ("The agent", "lvs_agent_", "Its configuration and machinery."),
    ("The process", "process_", "Under the names that all exporters share."),
];
