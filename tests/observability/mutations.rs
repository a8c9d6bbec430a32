//! The tests of the rules are tested: a rule changed by a little must fail its tests.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use regex::Regex;

use crate::promtool::promtool;
use crate::rules::{RECORDS, RULES, seconds};
use crate::{files, read};

/// promtool is a process of its own each time; more of them than cores only wait for one another.
const PROMTOOLS: usize = 2;

/// One changed rule: whose test is to notice it, what was changed, and the file with it.
struct Mutant {
    alert: String,
    change: String,
    text: String,
}

#[test]
fn every_small_change_of_a_rule_fails_its_tests() {
    let mutants: Vec<Mutant> = files("alerts", "yml").iter().flat_map(|path| mutants(&read(path))).collect();
    // Enough of them that a rule's shape that the patterns do not know is noticed.
    for rule in RULES.iter() {
        let number = mutants.iter().filter(|mutant| mutant.alert == rule.alert).count();
        assert!(number >= 4 || rule.expr == "vector(1)", "{}: only {number} changes", rule.alert);
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let tests: Vec<PathBuf> =
        mutants.iter().enumerate().map(|(at, mutant)| laid_out(directory.path(), at, mutant)).collect();
    let rules = tests.iter().map(|test| test.with_file_name("rules.yml").into_os_string());
    promtool(["check", "rules"].map(Into::into).into_iter().chain(rules))
        .unwrap_or_else(|said| panic!("a changed rule is none: {said}"));
    let (next, survivors) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..PROMTOOLS {
            scope.spawn(|| {
                while let Some((mutant, test)) = next_of(&next, &mutants, &tests) {
                    if promtool(["test".as_ref(), "rules".as_ref(), test.as_os_str()]).is_ok() {
                        let survivor = format!("{}: {}", mutant.alert, mutant.change);
                        survivors.lock().expect("no thread panics while it holds it").push(survivor);
                    }
                }
            });
        }
    });
    let mut survivors = survivors.into_inner().expect("no thread panicked");
    survivors.sort();
    assert!(survivors.is_empty(), "of {}, no test fails when\n{}", mutants.len(), survivors.join("\n"));
}

fn next_of<'m>(
    next: &AtomicUsize,
    mutants: &'m [Mutant],
    tests: &'m [PathBuf],
) -> Option<(&'m Mutant, &'m PathBuf)> {
    let at = next.fetch_add(1, Ordering::Relaxed);
    mutants.get(at).zip(tests.get(at))
}

/// Its rules and its test, in a directory of its own; the path of the test.
fn laid_out(directory: &Path, at: usize, mutant: &Mutant) -> PathBuf {
    let own = directory.join(at.to_string());
    std::fs::create_dir(&own).expect("a directory");
    std::fs::write(own.join("rules.yml"), &mutant.text).expect("the rules");
    let test = own.join("test.yml");
    let text =
        read(&test_of(&mutant.alert)).replace("rule_files: [../lvs-agent.yml]", "rule_files: [rules.yml]");
    std::fs::write(&test, text).expect("the test");
    test
}

fn test_of(alert: &str) -> PathBuf {
    crate::root().join(format!("alerts/tests/{alert}.yml"))
}

/// What stands in the first group becomes each of the others. Flags are 0 or 1 and counts are never below 0, so `>=` for
/// `==` or `!=` for `> 0` would change nothing.
const REPLACEMENTS: &[(&str, &[&str])] = &[
    (" (==) ", &["!="]),
    (" (!=) ", &["=="]),
    (" (<) ", &["<=", ">"]),
    // Not against 6.5, 0.0144 and 0.006: the other side comes from rates, which are never exactly that.
    (r" (>) (?:[^60]|0\.[^0]|0$|0\n|0 )", &[">="]),
    (" (>) ", &["<"]),
    (" (and) ", &["unless"]),
    (" (unless) ", &["and"]),
    (r"\s(or)\s", &["and", "unless"]),
    (r"(?:[<>=] )(0)(?:\s|$)", &["1"]),
    (r"(?:[<>=] )(1)(?:\s|$)", &["0", "2"]),
    (r"(?:[<>] )(0\.75)\b", &["0.6", "0.9"]),
    (r"(?:[<>] )(0\.8)\b", &["0.7", "0.85"]),
    (r"(?:[<>] )(0\.9)\b", &["0.85", "0.93"]),
    (r"(?:[<>] )(6\.5)\b", &["6", "7.5"]),
    (r"(?:[<>] )(0\.0144)\b", &["0.0110", "0.0180"]),
    (r"(?:[<>] )(0\.006)\b", &["0.005", "0.007"]),
    (r"(?:\(|, )(0\.95),", &["0.5"]),
    (r"(?:\()(0\.99),", &["0.95"]),
    (r"\((5) \* ", &["4", "6"]),
    (r"\+ (21) \* 86400", &["20", "22"]),
    (r"\+ (3) \* 86400", &["2", "4"]),
    (r", (60)\)", &["45", "75"]),
    (r"\[(5m)\]", &["3m", "15m"]),
    (r"\[(10m)\]", &["5m", "15m"]),
    (r"\[(30m)\]", &["15m", "45m"]),
    (r"\[(1h)\]", &["30m", "2h"]),
    (r"\[(6h)\]", &["3h", "12h"]),
    (r"offset (1d)", &["12h"]),
    (r"\b(max) ", &["min"]),
    (r"\b(min) ", &["max"]),
    (r"\b(sum) ", &["min"]),
];

/// Changes that change nothing, and why.
const EQUIVALENT: &[(&str, &str, &str)] = &[
    ("IpvsRealServersDown", "sum becomes min", "each sum has one row: it only takes the label `state` away"),
    ("IpvsMultipleActiveDirectors", "[2m] becomes [1m]", "its `for` and `keep_firing_for` bridge as much"),
    ("IpvsAlertingWatchdog", "keep_firing_for: becomes", "it never stops"),
];

/// Of one file: each rule with one change, with the recordings that it needs.
fn mutants(file: &str) -> Vec<Mutant> {
    let mut found = Vec::new();
    for rule in RULES.iter().filter(|rule| file.contains(&format!("- alert: {}\n", rule.alert))) {
        let text = of_file(file, &format!("      - alert: {}\n", rule.alert));
        let needs = |name: &str| rule.expr.contains(name);
        let records: Vec<&str> = RECORDS
            .iter()
            .filter(|record| needs(&record.name))
            .map(|record| of_file(file, &format!("      - record: {}\n", record.name)))
            .collect();
        let mut add = |change: String, rules: &[String]| {
            let text = format!("groups:\n  - name: mutant\n    rules:\n{}\n", rules.join("\n"));
            found.push(Mutant { alert: rule.alert.clone(), change, text });
        };
        let (head, annotations) = text.split_at(text.find("        labels:\n").expect("labels"));
        let step = seconds(line(&read(&test_of(&rule.alert)), "evaluation_interval: ").expect("an interval"));
        let originals: Vec<String> = records.iter().map(|record| (*record).to_owned()).collect();
        for (change, head) in changes(head).into_iter().chain(other_times(head, step)) {
            let equivalent =
                |(alert, same, _): &&(&str, &str, &str)| *alert == rule.alert && change.starts_with(same);
            if EQUIVALENT.iter().any(|known| equivalent(&known)) {
                continue;
            }
            add(change, &[originals.clone(), vec![format!("{head}{annotations}")]].concat());
        }
        for (at, record) in records.iter().enumerate() {
            for (change, changed) in changes(record) {
                let mut rules = originals.clone();
                rules[at] = changed;
                add(format!("recording {at}: {change}"), &[rules, vec![text.to_owned()]].concat());
            }
        }
    }
    found
}

/// The rule alone, so that the tests take no longer than they must.
fn of_file<'f>(file: &'f str, start: &str) -> &'f str {
    let rest = &file[file.find(start).unwrap_or_else(|| panic!("no {start}"))..];
    let ends = ["\n      - alert: ", "\n      - record: ", "\n  - name: ", "\n      #"];
    let end = ends.iter().filter_map(|next| rest.find(next)).min();
    &rest[..end.unwrap_or(rest.len())]
}

/// A comparison, a set operator, a number, a matcher, a range: each changed alone.
fn changes(head: &str) -> Vec<(String, String)> {
    let mut heads = Vec::new();
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
    heads
}

/// `for` and `keep_firing_for`, one evaluation shorter and longer; where there is none, one of two evaluations.
fn other_times(head: &str, step: u64) -> Vec<(String, String)> {
    let mut heads = Vec::new();
    for key in ["for: ", "keep_firing_for: "] {
        let key = format!("        {key}");
        let Some(now) = line(head, &key) else {
            let change = format!("{} becomes {}s", key.trim(), 2 * step);
            heads.push((change, format!("{head}{key}{}s\n", 2 * step)));
            continue;
        };
        for changed in [seconds(now) - step, seconds(now) + step] {
            let change = format!("{} {now} becomes {changed}s", key.trim());
            heads.push((change, head.replacen(&format!("{key}{now}"), &format!("{key}{changed}s"), 1)));
        }
    }
    heads
}

fn line<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.split_once(key)?.1.lines().next()
}

fn replaced(text: &str, range: std::ops::Range<usize>, with: &str) -> String {
    format!("{}{with}{}", &text[..range.start], &text[range.end..])
}
