//! The tests of the rules are tested: a rule changed by a little must fail its tests.

use std::path::Path;

use regex::Regex;

use crate::promtool::promtool;
use crate::rules::{RULES, seconds};
use crate::{files, read, stem};

/// One changed rule: what was changed, and the whole file with it.
struct Mutant {
    alert: String,
    change: String,
    text: String,
}

#[test]
fn every_small_change_of_a_rule_fails_its_tests() {
    let mut mutants = Vec::new();
    for path in files("alerts", "yml") {
        let file = read(&path);
        for rule in RULES.iter().filter(|rule| file.contains(&format!("- alert: {}\n", rule.alert))) {
            let test = read(&path.with_file_name("tests").join(format!("{}.yml", rule.alert)));
            mutants
                .extend(changes(&rule.alert, &file, &test).into_iter().map(|m| (stem(&path).to_owned(), m)));
        }
    }
    // Enough of them that a rule's shape that the patterns do not know is noticed.
    assert!(mutants.len() >= 4 * RULES.len(), "only {} changes", mutants.len());
    let half = mutants.len().div_ceil(2);
    let survivors: Vec<String> = std::thread::scope(|scope| {
        let halves: Vec<_> = mutants.chunks(half).map(|some| scope.spawn(|| survivors(some))).collect();
        halves.into_iter().flat_map(|half| half.join().expect("a thread that ends")).collect()
    });
    assert!(survivors.is_empty(), "no test fails when\n{}", survivors.join("\n"));
}

fn survivors(mutants: &[(String, Mutant)]) -> Vec<String> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    std::fs::create_dir(directory.path().join("tests")).expect("a directory");
    let survives = |(file, mutant): &&(String, Mutant)| !fails(directory.path(), file, mutant);
    mutants.iter().filter(survives).map(|(_, m)| format!("{}: {}", m.alert, m.change)).collect()
}

fn fails(directory: &Path, file: &str, mutant: &Mutant) -> bool {
    std::fs::write(directory.join(format!("{file}.yml")), &mutant.text).expect("the rules");
    let name = format!("tests/{}.yml", mutant.alert);
    let test = directory.join(&name);
    std::fs::copy(crate::root().join("alerts").join(&name), &test).expect("the test");
    let rules = directory.join(format!("{file}.yml"));
    promtool(["check".as_ref(), "rules".as_ref(), rules.as_os_str()])
        .unwrap_or_else(|said| panic!("{}: {} is no rule: {said}", mutant.alert, mutant.change));
    promtool(["test".as_ref(), "rules".as_ref(), test.as_os_str()]).is_err()
}

/// What stands in the first group becomes each of the others. Flags are 0 or 1 and counts are never below 0, so `>=` for
/// `==` or `!=` for `> 0` would change nothing.
const REPLACEMENTS: &[(&str, &[&str])] = &[
    (" (==) ", &["!="]),
    (" (!=) ", &["=="]),
    (" (<) ", &["<=", ">"]),
    (" (>) ", &[">=", "<"]),
    (" (and) ", &["unless"]),
    (" (unless) ", &["and"]),
    (" (or) ", &["and", "unless"]),
    (r"(?:[<>=] )(0)\b", &["1"]),
    (r"(?:[<>=] )(1)\b", &["0"]),
    (r"\((5) \* ", &["4", "6"]),
    (r", (60)\)", &["45", "75"]),
    (r"\[(10m)\]", &["5m", "15m"]),
];

/// Each with one change: a comparison, a set operator, a number, a matcher, the ranges, `for`, `keep_firing_for`.
fn changes(alert: &str, file: &str, test: &str) -> Vec<Mutant> {
    // The rule alone, so that the tests take no longer than they must.
    let start = file.find(&format!("      - alert: {alert}\n")).expect("the rule");
    let rest = &file[start..];
    let end =
        ["\n      - alert: ", "\n  - name: ", "\n      #"].iter().filter_map(|next| rest.find(next)).min();
    let rule = &rest[..end.unwrap_or(rest.len())];
    let (head, annotations) = rule.split_at(rule.find("        labels:\n").expect("labels"));
    let step = seconds(line(test, "evaluation_interval: ").expect("an interval"));
    let mut heads: Vec<(String, String)> = Vec::new();
    for (pattern, replacements) in REPLACEMENTS {
        let pattern = Regex::new(pattern).expect("a pattern");
        for place in pattern.captures_iter(head).filter_map(|found| found.get(1)) {
            for replacement in *replacements {
                let change = format!("{} becomes {replacement} at {}", place.as_str(), place.start());
                heads.push((change, replaced(head, place.range(), replacement)));
            }
        }
    }
    let bridge = Regex::new(r"\[2m\]").expect("a pattern");
    if bridge.is_match(head) {
        heads.push(("[2m] becomes [1m]".to_owned(), bridge.replace_all(head, "[1m]").into_owned()));
    }
    for found in Regex::new(r#"\w+(?:=|!=|=~|!~)"[^"]*"(?:, )?"#).expect("a pattern").find_iter(head) {
        heads.push((format!("{} is dropped", found.as_str()), replaced(head, found.range(), "")));
    }
    for key in ["        for: ", "keep_firing_for: "] {
        let Some(now) = line(head, key) else { continue };
        for changed in [seconds(now) - step, seconds(now) + step] {
            let change = format!("{} {now} becomes {changed}s", key.trim());
            heads.push((change, head.replacen(&format!("{key}{now}"), &format!("{key}{changed}s"), 1)));
        }
    }
    let whole = |head: &str| format!("groups:\n  - name: mutant\n    rules:\n{head}{annotations}\n");
    heads
        .into_iter()
        .map(|(change, head)| Mutant { alert: alert.to_owned(), change, text: whole(&head) })
        .collect()
}

fn line<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.split_once(key)?.1.lines().next()
}

fn replaced(text: &str, range: std::ops::Range<usize>, with: &str) -> String {
    format!("{}{with}{}", &text[..range.start], &text[range.end..])
}
