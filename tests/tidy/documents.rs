//! The documents speak of what is there.

use std::process::Command;

use crate::{files, read, root};

#[test]
fn the_readme_names_every_verb_and_the_quick_start() {
    let readme = read("README.md");
    let help =
        Command::new(env!("CARGO_BIN_EXE_lvs-agent")).arg("--help").output().expect("the program runs");
    let help = String::from_utf8(help.stdout).expect("text");
    let verbs: Vec<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .map_while(|line| line.split_whitespace().next())
        .filter(|verb| *verb != "help")
        .collect();
    assert!(verbs.len() >= 5, "{help}");
    let blocks = code_blocks(&readme);
    for verb in verbs {
        let shown = blocks.iter().flat_map(|block| block.lines()).any(|line| {
            let mut words = line.split_whitespace().skip_while(|word| !matches!(*word, "lvs-agent" | "--"));
            words.next().is_some() && words.next() == Some(verb)
        });
        assert!(shown, "README.md shows no `lvs-agent {verb}`");
    }
    let start = readme
        .split("## Quick start")
        .nth(1)
        .expect("a quick start")
        .split("\n## ")
        .next()
        .unwrap_or_default();
    let block = code_blocks(start).into_iter().next().expect("its commands");
    let commands: Vec<&str> =
        block.lines().map(|line| line.split('#').next().unwrap_or_default().trim()).collect();
    assert_eq!(commands.len(), 2, "exactly two: {commands:?}");
    assert!(commands[0].starts_with("cargo run") && commands[0].ends_with("-- demo"), "{commands:?}");
    // The second passes every test, and CI runs the same.
    assert!(root().join(commands[1]).is_file(), "{commands:?}");
    assert!(read(".ci/run").contains(commands[1]), "CI does not run {}", commands[1]);
}

fn code_blocks(markdown: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = markdown.lines();
    while lines.by_ref().any(|line| line.starts_with("```")) {
        let block: Vec<&str> = lines.by_ref().take_while(|line| !line.starts_with("```")).collect();
        blocks.push(block.join("\n"));
    }
    blocks
}

/// Links to files of the repository, and to headings within them.
#[test]
fn links_of_the_documents_resolve() {
    let mut links = 0;
    let mut dead = Vec::new();
    for file in files().iter().filter(|file| file.ends_with(".md")) {
        let text = without_code(&read(file));
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            links += 1;
            let (path, heading) = target.split_once('#').unwrap_or((target, ""));
            let found = match path {
                "" => root().join(file),
                path => root().join(file).parent().expect("a directory").join(path),
            };
            let there = if heading.is_empty() {
                found.exists()
            } else {
                std::fs::read_to_string(&found).is_ok_and(|text| headings(&text).any(|h| h == heading))
            };
            if !there {
                dead.push(format!("{file}: {target}"));
            }
        }
    }
    assert!(links >= 5, "{links} links found");
    assert!(dead.is_empty(), "{}", dead.join("\n"));
}

fn without_code(markdown: &str) -> String {
    let mut inside = false;
    let kept = markdown.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        inside ^= fence;
        !inside && !fence
    });
    kept.collect::<Vec<_>>().join("\n")
}

/// As forges make anchors of them: lower case, blanks to hyphens, no punctuation.
fn headings(markdown: &str) -> impl Iterator<Item = String> {
    let text = without_code(markdown);
    let lines: Vec<String> = text.lines().filter(|line| line.starts_with('#')).map(str::to_owned).collect();
    lines.into_iter().map(|line| {
        let words = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        words.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
    })
}
