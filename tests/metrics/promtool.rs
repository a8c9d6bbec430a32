//! The linter that everybody else's exporters pass reads the text format 0.0.4.

use lvs_agent::metrics::Format;
use lvs_agent::model::View;

use crate::linter::check_metrics;
use crate::{exposition, views};

#[test]
fn promtool_has_nothing_to_say() {
    for view in [views::rich(), views::unreadable(), views::proc_only(), views::twins(1, 3)] {
        let (good, said) = check_metrics(exposition(view, Format::Text004).as_bytes());
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
        let (good, said) = check_metrics(broken.as_bytes());
        assert!(!good && !said.is_empty());
    }
}
