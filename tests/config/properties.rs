//! Whatever the text is.

use proptest::prelude::*;

use super::{parse, rendered};

/// Every problem and warning stands within the text, and its report is fit for a terminal.
fn check(text: &str) -> Result<(), TestCaseError> {
    let problems = match parse(text) {
        Ok(config) => config.warnings,
        Err(problems) => {
            prop_assert!(!problems.is_empty());
            problems
        }
    };
    let lines: Vec<&str> = text.split('\n').collect();
    for problem in &problems {
        prop_assert!((1..=lines.len()).contains(&problem.line), "{problem:?}");
        let characters = lines[problem.line - 1].chars().count();
        prop_assert!((1..=characters + 1).contains(&problem.column), "{problem:?}");
    }
    prop_assert!(problems.is_sorted_by_key(|p| (p.line, p.column)), "{problems:?}");
    let report = rendered(&problems, "f.toml", text);
    prop_assert!(report.chars().all(|c| c == '\n' || !c.is_control()), "{report:?}");
    Ok(())
}

/// Pieces of which configurations are made, in any order.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("[check.web]\n"),
        Just("[[service]]\n"),
        Just("[defaults]\n"),
        Just("[web]\n"),
        Just("type = \"http\"\n"),
        Just("checks = [\"web\"]\n"),
        Just("match = [\"*:*/tcp\", \"fwmark:1/ipv4\"]\n"),
        Just("interval = "),
        Just("status = [200, \"300-200\"]\n"),
        Just("headers = { A = \"b\" }\n"),
        Just("\"2s\"\n"),
        Just("\"\"\"\n"),
        Just("# ü\r\n"),
        Just("\u{1b}\u{0}"),
        Just("[["),
        Just("{ a = "),
        Just("= 1e400\n"),
        Just("-0x80\n"),
        Just("1979-05-27\n"),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_text_panics(text in "(?s).{0,200}") {
        check(&text)?;
    }

    #[test]
    fn no_sequence_of_pieces_panics(text in pieces()) {
        check(&text)?;
    }

    #[test]
    fn no_damage_to_a_good_text_panics(
        from in 0..4000usize,
        length in 0..40usize,
        with in "[\\[\\]{}=\",\n#a0%\u{fc}\u{0}]{0,6}",
    ) {
        let text = include_str!("good/full.toml");
        let at = |i: usize| (0..=i.min(text.len())).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
        check(&format!("{}{with}{}", &text[..at(from)], &text[at(from + length)..]))?;
    }
}
