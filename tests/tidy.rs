//! Rules of the house that are tests: what is pure, who imports whom, how long a file is, what must
//! not lie about, and that the documents speak of what is there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

#[path = "tidy/documents.rs"]
mod documents;

const LONGEST_FILE: usize = 400;

/// Longer, and why; the second figure is where patience ends.
const LONG_FILES: [(&str, usize, &str); 5] = [
    ("src/cli/run.rs", 450, "one start, from the flags to the clean stop, in the order in which it happens"),
    ("src/logic/tests.rs", 560, "scenarios over one simulated world"),
    ("src/logic/tests_hand.rs", 560, "scenarios over one simulated world, with an operator's hand in them"),
    ("src/logic/tests_ramp.rs", 560, "scenarios over one simulated world, with a weight on its way back"),
    ("tests/lab/ipvs_kernel.rs", 460, "one program, run whole inside the lab's kernel"),
];

/// Files of a pure module that touch the world all the same, and why.
const IMPURE: [(&str, &str); 2] = [
    ("src/config.rs", "`load` reads the file; `parse` gets a function that reads the others"),
    ("src/metrics/process.rs", "the collector of this process: /proc/self"),
];

/// What the pure modules do without, and who does it for them.
const WORLD: [(&str, &str); 16] = [
    ("std::fs", "files are state_file's, config::load's and web's"),
    ("std::env", "the environment is read by the flags, in cli"),
    ("std::process", "os"),
    ("std::thread", "the runtime is main's"),
    ("std::io::stdin", "nothing is asked"),
    ("std::os::", "os"),
    ("TcpStream", "sockets are probe's, web's and ipvs's"),
    ("TcpListener", "sockets are probe's, web's and ipvs's"),
    ("UdpSocket", "sockets are probe's, web's and ipvs's"),
    ("UnixStream", "sockets are probe's, web's and ipvs's"),
    ("ToSocketAddrs", "names are not resolved"),
    ("tokio", "nothing waits here: decisions are functions"),
    ("Instant", "`now` is handed in; os::Clock reads it"),
    ("SystemTime", "`now` is handed in; os::Clock reads it"),
    ("nix::", "the kernel is the shell's"),
    ("rand::", "the seed is handed in"),
];

const PURE: [&str; 4] = ["model", "logic", "config", "metrics"];

/// Who may import whom: `config → model ← logic`, the shell sees all, nobody sees the shell. An arrow
/// that nobody uses any more is to go from here.
const ARROWS: [(&str, &[&str]); 18] = [
    ("model", &[]),
    ("logic", &["model"]),
    ("config", &["model"]),
    ("metrics", &["model"]),
    ("os", &["model"]),
    ("failpoint", &[]),
    ("log_lines", &[]),
    ("ipvs", &["failpoint", "model", "os"]),
    ("tls", &[]),
    ("probe", &["model", "os", "tls"]),
    ("state_file", &["failpoint", "logic", "model"]),
    ("addresses", &["model", "os"]),
    (
        "agent",
        &["addresses", "failpoint", "ipvs", "log_lines", "logic", "model", "os", "probe", "state_file"],
    ),
    ("status", &["agent", "model"]),
    ("web", &["agent", "metrics", "model", "status", "tls"]),
    ("logging", &["cli", "log_lines"]),
    (
        "cli",
        &[
            "addresses",
            "agent",
            "config",
            "ipvs",
            "logging",
            "logic",
            "metrics",
            "model",
            "os",
            "probe",
            "state_file",
            "status",
            "web",
        ],
    ),
    ("demo", &["cli", "config", "ipvs", "logging", "model", "os"]),
];

/// Imports of single files against their module's arrows, and why.
const AGAINST: [(&str, &str, &str); 1] =
    [("src/metrics/process.rs", "os", "the collector of this process takes the time it needs")];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// What git tracks; in a tree without git, all that is not built.
fn files() -> Vec<String> {
    let git = Command::new("git")
        .arg("-C")
        .arg(root())
        .args(["ls-files", "-co", "--exclude-standard", "-z"])
        .output();
    let listed = git
        .ok()
        .filter(|output| output.status.success())
        .and_then(|output| String::from_utf8(output.stdout).ok());
    let mut files: Vec<String> = match listed {
        Some(listed) => listed.split_terminator('\0').map(str::to_owned).collect(),
        None => walk(&root()),
    };
    files.retain(|file| root().join(file).is_file());
    files.sort();
    assert!(files.iter().any(|file| file == "tests/tidy.rs"), "this file is not among {} files", files.len());
    files
}

fn walk(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        match (path.is_dir(), name) {
            (true, "target" | ".git" | "node_modules") => {}
            (true, _) => found.extend(walk(&path)),
            (false, _) => {
                let relative = path.strip_prefix(root()).expect("below the root");
                found.push(relative.display().to_string());
            }
        }
    }
    found
}

/// Rust files with what is compiled into the program of them: (path, code).
fn program() -> Vec<(String, String)> {
    let mut texts: BTreeMap<String, String> = files()
        .into_iter()
        .filter(|file| file.starts_with("src/") && file.ends_with(".rs"))
        .map(|file| (file.clone(), read(&file)))
        .collect();
    let test_only: Vec<String> = texts.iter().flat_map(|(file, text)| test_modules(file, text)).collect();
    texts.retain(|file, _| {
        let module = file.trim_end_matches(".rs");
        !test_only.iter().any(|only| module == only || module.starts_with(&format!("{only}/")))
    });
    assert!(texts.len() > 60, "{} files", texts.len());
    texts.into_iter().map(|(file, text)| (file, code(&text))).collect()
}

/// `src/logic.rs` with `#[cfg(test)] mod sim;` → `src/logic/sim`.
fn test_modules(file: &str, text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let module = |pair: &[&str]| {
        let name = words(pair[1]).last().filter(|_| pair[1].contains("mod ") && pair[1].ends_with(';'))?;
        (pair[0] == "#[cfg(test)]").then(|| format!("{}/{name}", file.trim_end_matches(".rs")))
    };
    lines.windows(2).filter_map(module).collect()
}

/// Without comments and without what is only built for tests. The rest keeps its lines.
fn code(text: &str) -> String {
    let mut out = String::new();
    // Within an item that is only built for tests; rustfmt ends it at the margin.
    let mut left_out = false;
    for line in text.lines() {
        if line.starts_with("#[cfg(test)]") {
            left_out = true;
        } else if left_out {
            left_out =
                line.starts_with("#[") || !(line == "}" || line.ends_with(';') && !line.starts_with(' '));
        } else {
            // No string of the program has a comment's beginning after a blank.
            let comment = if line.trim_start().starts_with("//") { Some(0) } else { line.find(" // ") };
            out.push_str(&line[..comment.unwrap_or(line.len())]);
        }
        out.push('\n');
    }
    out
}

/// `src/logic/plan.rs` → `logic`; `None` for main.rs and lib.rs.
fn top_module(file: &str) -> Option<&str> {
    let path = file.strip_prefix("src/")?;
    let top = path.split('/').next()?.trim_end_matches(".rs");
    (!matches!(top, "main" | "lib")).then_some(top)
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// The word itself, where it is one; else the text.
fn uses(line: &str, forbidden: &str) -> bool {
    if forbidden.contains(':') { line.contains(forbidden) } else { words(line).any(|word| word == forbidden) }
}

#[test]
fn the_pure_modules_touch_nothing() {
    let mut excused = BTreeSet::new();
    let mut wrong = Vec::new();
    for (file, code) in program() {
        if !top_module(&file).is_some_and(|top| PURE.contains(&top)) {
            continue;
        }
        for (number, line) in code.lines().enumerate() {
            for (forbidden, instead) in WORLD.iter().filter(|(forbidden, _)| uses(line, forbidden)) {
                match IMPURE.iter().find(|(path, _)| *path == file) {
                    Some((path, _)) => drop(excused.insert(*path)),
                    None => wrong.push(format!("{file}:{}: {forbidden} ({instead})", number + 1)),
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for (path, _) in IMPURE {
        assert!(excused.contains(path), "{path} needs no excuse any more");
    }
}

#[test]
fn imports_follow_the_arrows() {
    let mut seen: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (file, code) in program() {
        let Some(top) = top_module(&file) else { continue };
        let mut imports = imports(&file, &code);
        for (_, import, _) in AGAINST.iter().filter(|(path, ..)| *path == file) {
            assert!(imports.remove(*import), "{file} needs no excuse for {import} any more");
        }
        assert!(!code.contains("lvs_agent::"), "{file}: the library's own name inside it");
        seen.entry(top.to_owned()).or_default().extend(imports.into_iter().filter(|import| import != top));
    }
    let allowed: BTreeMap<String, BTreeSet<String>> = ARROWS
        .iter()
        .map(|(from, to)| ((*from).to_owned(), to.iter().map(|to| (*to).to_owned()).collect()))
        .collect();
    for (from, to) in &seen {
        let may =
            allowed.get(from).unwrap_or_else(|| panic!("src/{from} is new: say in ARROWS whom it may see"));
        let extra: Vec<&String> = to.difference(may).collect();
        assert!(extra.is_empty(), "{from} imports {extra:?}, against the arrow");
        let unused: Vec<&String> = may.difference(to).collect();
        assert!(unused.is_empty(), "{from} does not import {unused:?} any more");
    }
    assert_eq!(seen.len(), allowed.len(), "a module of ARROWS is gone");
}

/// The top modules that a file names, by `crate::` or by enough `super::`.
fn imports(file: &str, code: &str) -> BTreeSet<String> {
    let depth = file.trim_start_matches("src/").split('/').count();
    let one_line = code.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut found = BTreeSet::new();
    for prefix in ["crate::".to_owned(), "super::".repeat(depth)] {
        for (at, _) in one_line.match_indices(&prefix) {
            // Not the tail of a longer path.
            if one_line[..at].ends_with("::") {
                continue;
            }
            let rest = &one_line[at + prefix.len()..];
            match rest.strip_prefix('{') {
                None => found.extend(words(rest).next().map(str::to_owned)),
                Some(group) => found.extend(heads(group)),
            }
        }
    }
    found
}

/// `agent::{self, Ended}, config, model::View};…` → agent, config, model.
fn heads(group: &str) -> Vec<String> {
    let (mut depth, mut head, mut heads) = (0, String::new(), Vec::new());
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => heads.push(std::mem::take(&mut head)),
            _ if depth == 0 => head.push(c),
            _ => {}
        }
    }
    heads.push(head);
    heads.iter().filter_map(|head| words(head).next()).map(str::to_owned).collect()
}

/// That the two tests above see what they look for.
#[test]
fn the_readers_of_source_read() {
    let text = "use crate::{\n    agent::{self, Ended},\n    web,\n};\nuse super::super::os::Clock;\n\
                // crate::demo\nlet x = 1; // crate::cli\nfn f(p: crate::probe::Prober) {}\n\
                #[cfg(test)]\nmod tests {\n    use crate::ipvs;\n}\n#[cfg(test)]\nmod more;\nuse super::model;\n";
    let code = code(text);
    assert!(
        !code.contains("demo") && !code.contains("cli") && !code.contains("ipvs") && !code.contains("more"),
        "{code}"
    );
    let expect = |file: &str, modules: &[&str]| {
        assert_eq!(imports(file, &code), modules.iter().map(|m| (*m).to_owned()).collect(), "{file}");
    };
    expect("src/logic/plan.rs", &["agent", "os", "probe", "web"]);
    expect("src/logic.rs", &["agent", "model", "probe", "super", "web"]);
    let test_modules = test_modules("src/logic.rs", "mod a;\n#[cfg(test)]\npub(crate) mod sim;\nmod b;\n");
    assert_eq!(test_modules, ["src/logic/sim"]);
    assert!(uses("use std::time::{Duration, Instant};", "Instant") && !uses("fn instantly()", "Instant"));
    assert!(uses("std::fs::read(path)", "std::fs") && !uses("std::time::Duration", "std::fs"));
}

#[test]
fn no_file_is_too_long() {
    for file in files().iter().filter(|file| file.ends_with(".rs")) {
        let lines = read(file).lines().count();
        let excuse = LONG_FILES.iter().find(|(path, ..)| path == file);
        match excuse {
            None => assert!(lines <= LONGEST_FILE, "{file} has {lines} lines: divide it"),
            Some((_, most, _)) => {
                assert!(lines <= *most, "{file} has {lines} lines, more than its excuse: divide it");
                assert!(lines > LONGEST_FILE, "{file} needs no excuse any more");
            }
        }
    }
    for (path, ..) in LONG_FILES {
        assert!(root().join(path).is_file(), "{path} is gone");
    }
}

#[test]
fn nothing_is_left_for_later_and_no_machine_is_named() {
    // Put together, so that this file is not among the finds.
    let later = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("X", "XX"),
        concat!("unimpl", "emented!"),
        concat!("to", "do!"),
    ];
    let paths = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];
    let mut wrong = Vec::new();
    let mut read_as_text = 0;
    for file in files() {
        // A lock file has hashes of any letters.
        if file == "Cargo.lock" {
            continue;
        }
        let Ok(text) = std::fs::read_to_string(root().join(&file)) else { continue };
        read_as_text += 1;
        for (number, line) in text.lines().enumerate() {
            let left = later
                .iter()
                .find(|word| if word.ends_with('!') { line.contains(**word) } else { uses(line, word) });
            let path = paths.iter().find(|path| {
                // Not the middle of a longer path, as in /run/lab/…
                line.match_indices(**path).any(|(at, _)| {
                    !line[..at]
                        .ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '}' | ')'))
                })
            });
            for found in left.into_iter().chain(path) {
                wrong.push(format!("{file}:{}: {found}", number + 1));
            }
        }
    }
    assert!(read_as_text > 100, "{read_as_text} files");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_built_is_not_tracked() {
    assert!(
        read(".gitignore").lines().any(|line| matches!(line, "target/" | "/target/" | "/target" | "target"))
    );
    let built = files().into_iter().find(|file| file.starts_with("target/"));
    assert_eq!(built, None);
}
