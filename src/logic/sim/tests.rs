use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::draw;
use super::engine::{Sim, play, told};
use super::script::{Act, Script, What};
use super::shrink::shrink;
use super::text::parse;
use crate::os::Clock;

/// For a developer; tests/run asks for more.
const SCHEDULES: u64 = 2000;

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn say(text: &str) {
    let _ = std::io::stderr().write_all(format!("{text}\n").as_bytes());
}

/// Beside the directory that this test was built into.
fn left_behind(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let directory = test.ancestors().nth(3).unwrap().join("tmp");
    std::fs::create_dir_all(&directory).unwrap();
    directory.join(name)
}

#[test]
fn the_invariants_hold_on_random_schedules() {
    if let Some(seed) = variable("LVS_AGENT_SIM_SEED") {
        let script = draw::script(seed.parse().unwrap());
        let (played, trail) = told(&script);
        return assert!(played.is_ok(), "{script}\n{}\n{played:?}", trail.join("\n"));
    }
    let schedules = variable("LVS_AGENT_SIM_SCHEDULES").map_or(SCHEDULES, |n| n.parse().unwrap());
    let (next, failed) = (AtomicU64::new(0), Mutex::new(None));
    let clock = Clock::start();
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while let Some(seed) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|s| *s < schedules) {
                    let Err(wrong) = play(&draw::script(seed), None) else { continue };
                    // The first one is enough, and the others may stop.
                    next.store(schedules, Ordering::Relaxed);
                    failed.lock().unwrap().get_or_insert((seed, wrong));
                }
            });
        }
    });
    let took = clock.mono().since_start().as_secs_f64();
    if let Some((seed, wrong)) = failed.into_inner().unwrap() {
        let (small, wrong) = shrink(&draw::script(seed), &wrong, None);
        let path = left_behind(&format!("seed_{seed}.txt"));
        std::fs::write(&path, format!("# Seed {seed}: {wrong}\n{small}")).unwrap();
        panic!("seed {seed}: {wrong}\nshrunk, ready for tests/scenarios: {}\n{small}", path.display());
    }
    let rate = schedules as f64 / took;
    say(&format!("{schedules} random schedules in {took:.1} s: {rate:.0} per second on {cores} cores"));
}

/// Invariant 8.
#[test]
fn the_same_schedule_has_the_same_commands() {
    for seed in 0..20 {
        let script = draw::script(seed);
        let [first, second] = [0, 1].map(|_| told(&script).1);
        assert!(first.len() > 50, "{} commands and acts", first.len());
        assert!(first == second, "seed {seed}");
    }
}

#[test]
fn scripts_survive_their_text() {
    for seed in 0..200 {
        let script = draw::script(seed);
        let text = script.to_string();
        let mut read = parse(&text).unwrap_or_else(|wrong| panic!("seed {seed}: {wrong:?}\n{text}"));
        for step in &mut read.steps {
            step.line = 0;
        }
        assert_eq!(read, script, "seed {seed}");
    }
}

/// Every kind of act is drawn, and every moment of death around every kind of command.
#[test]
fn what_can_happen_is_drawn() {
    let mut seen = std::collections::BTreeSet::new();
    for step in (0..300).flat_map(|seed| draw::script(seed).steps) {
        if let What::Act(act) = &step.what {
            seen.insert(super::expect::name(act));
            if let Act::DiesAround { moment, kind, .. } = act {
                seen.insert(format!("{moment} {kind}"));
            }
        }
    }
    // 30 kinds of acts, and 3 moments around 4 kinds of commands.
    assert_eq!(seen.len(), 30 + 12, "{seen:?}");
}

fn scenarios() -> Vec<(String, String)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let entries = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<(String, String)> = entries
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .map(|path| {
            (path.file_name().unwrap().display().to_string(), std::fs::read_to_string(&path).unwrap())
        })
        .collect();
    files.sort();
    assert!(files.len() > 20, "{} in {}", files.len(), directory.display());
    files
}

#[test]
fn every_scenario_goes_as_it_says() {
    let only = variable("LVS_AGENT_SCENARIO");
    let mut wrong = Vec::new();
    for (name, text) in scenarios() {
        if only.as_ref().is_some_and(|part| !name.contains(part)) {
            continue;
        }
        let played = match parse(&text) {
            Err(lines) => Err(lines.join("\n")),
            Ok(script) if only.is_none() => play(&script, None),
            Ok(script) => {
                let (played, trail) = told(&script);
                say(&trail.join("\n"));
                played
            }
        };
        wrong.extend(played.err().map(|error| format!("tests/scenarios/{name}: {error}")));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Without its drains, no scenario that expects a weight of 0 from us may pass: the expectations look.
#[test]
fn scenarios_fail_when_they_should() {
    let shop = "virtual-server 10.0.0.1:80/tcp wrr\nreal-server 10.0.1.1:80 weight 5\n\
                real-server 10.0.1.2:80 weight 5\nat 5s fails 10.0.1.1 connect_refused\n";
    let wrong_of = |lines: &str| play(&parse(&format!("{shop}{lines}")).unwrap(), None).unwrap_err();
    for (lines, expected) in [
        (
            "at 5s weight 10.0.1.1:80 is 5\nat 20s weight 10.0.1.1:80 is 5",
            "line 6: expected `weight 10.0.1.1:80",
        ),
        ("by 20s weight 10.0.1.2:80 is 0", "it is 5"),
        ("until 20s weight 10.0.1.1:80 is 5", "it is 0"),
        ("at 20s weight 10.0.1.1:80 is 0, because operator", "it is by check"),
        ("at 20s held 10.0.1.1:80 by floor", "it is by nothing"),
        ("at 20s verdict 10.0.1.1:80 is up", "it is down"),
        ("at 20s owed 10.0.1.1:80 is 4", "it is 5"),
        ("at 20s ledger empty", "it has 1"),
        ("at 20s writes 2", "they are 1"),
        ("at 20s noted table-lost", "0 times"),
        ("at 20s answered ok", "it was nothing"),
    ] {
        let wrong = wrong_of(lines);
        assert!(wrong.contains(expected), "{lines}: {wrong}");
    }
    assert_eq!(play(&parse(&format!("{shop}by 9s weight 10.0.1.1:80 is 0")).unwrap(), None), Ok(()));
}

#[test]
fn bad_lines_are_named_with_the_form_that_is_allowed() {
    let shop = "virtual-server 10.0.0.1:80/tcp wrr\nreal-server 10.0.1.1:80 weight 5\n";
    for (line, expected) in [
        ("whenever 5s dies", "`whenever` begins no line"),
        ("at soon dies", "`soon` is no time"),
        ("at 99h dies", "up to 24h"),
        ("at 5s explodes", "`explodes` is not known: after `at 5s` stands one of"),
        ("at 5s dies before lunch", "`lunch` is none of read, probe, save, write"),
        ("at 5s fails 10.0.1.1", "the line ends too early: write fails"),
        ("at 5s fails 10.0.1.1 boredom", "`boredom` is no reason"),
        ("at 5s fails web1 connect_refused", "`web1` is no address"),
        ("at 5s operator sets 10.0.1.1:80 at 5", "`at` instead of `to`"),
        ("at 5s operator sets 10.0.1.1:80 to -1", "`-1` is out of place"),
        ("at 5s operator sets 10.0.1.1:80 to 5 please", "`please` is more than belongs there"),
        ("at 5s drain 10.0.1.1:80 of 10.0.0.9:80/tcp", "no line `virtual-server 10.0.0.9:80/tcp …` above"),
        ("at 5s configure 10.0.0.1:80/tcp flor 2", "`flor` is no setting"),
        ("at 5s configure 10.0.0.1:80/tcp floor 120%", "`120%` is no floor"),
        ("at 5s configure 10.0.0.1:80/tcp checks http", "`http` is no port"),
        ("at 5s faults saves often", "`often` is no share"),
        ("by 5s dies", "`dies` cannot be awaited"),
        ("by 5s weight 10.0.1.1:80 is 0, because rain", "`rain` is none of check, operator, external"),
        ("by 5s held 10.0.1.1:80 by hand", "`hand` is none of ledger_unsaved"),
        ("real-server 10.0.1.1:80 weight 5", "is there already"),
        ("virtual-server 10.0.0.1:80/tcp rr", "is there already"),
        ("virtual-server [2001:db8::1]:80/tcp rr", "only IPv4 here"),
        ("at 5s dies\nat 4s restarts", "line 4: 4s comes before the line above, at 5s"),
        ("at 5s dies\nend 5s", "`end` comes after the last step"),
        (
            "virtual-server 10.0.0.2:80/tcp rr\nat 5s drain 10.0.1.1:80",
            "of which virtual server? write 10.0.1.1:80 of",
        ),
    ] {
        let wrong = parse(&format!("{shop}{line}")).expect_err(line).join("\n");
        assert!(wrong.contains(expected), "{line}: {wrong}");
    }
    let two = parse(&format!("{shop}nonsense\nat 1s nonsense\n")).unwrap_err();
    assert!(two.len() == 2 && two[0].starts_with("line 3:") && two[1].starts_with("line 4:"), "{two:?}");
    assert!(parse("# nothing").unwrap_err()[0].starts_with("there is no virtual server"));
}

/// Planted: that two real servers of a service are never out by checks at once. It takes two failures and time.
#[test]
fn a_failing_schedule_is_shrunk_to_what_it_takes() {
    fn planted(sim: &Sim) -> Option<String> {
        let first = sim.script.services.first().map(|s| s.key);
        let ours = sim.truth.iter().filter(|(user, t)| first == Some(user.0) && !t.zero_by_operator);
        let out = ours.filter(|(user, _)| sim.weight(user) == Some(0));
        (out.count() >= 2).then(|| "planted: two are out".to_owned())
    }
    let found = (0..200).map(draw::script).find_map(|s| Some((play(&s, Some(planted)).err()?, s)));
    let (wrong, script) = found.expect("a schedule in which two are out");
    let (small, wrong) = shrink(&script, &wrong, Some(planted));
    assert!(wrong.starts_with("planted: two are out"), "{wrong}");
    assert!(small.steps.len() <= 4 && script.steps.len() > 8, "{} steps:\n{small}", script.steps.len());
    assert_eq!((small.seed, small.services.len()), (None, 1), "{small}");
    assert!(
        small.services[0].rows.len() <= 3 && small.end.since_start() < Duration::from_secs(20),
        "{small}"
    );
    // As a file it fails in the same way.
    let read: Script = parse(&small.to_string()).unwrap();
    assert!(play(&read, Some(planted)).unwrap_err().starts_with("planted"), "{small}");
}
