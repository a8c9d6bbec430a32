//! A real Prometheus answers every query of the dashboards, soon enough, and not with nothing.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use lvs_agent::os::Clock;

use crate::asked::{Asked, Chosen, asked};
use crate::dashboards::all;
use crate::fleet::{self, Fleet};
use crate::prometheus::Prometheus;
use crate::promtool::promtool;

/// At the latest; the aim is a second.
const SLOWEST: Duration = Duration::from_secs(5);
/// Grafana's for an hour in a panel of half the width.
const STEP: u64 = 30;

const SMALL: Fleet = Fleet { virtual_servers: 3, real_servers: 12, scrape_interval: 60 };

#[test]
fn every_query_returns_data() {
    let answers = Answers::of(&SMALL);
    let empty: Vec<&String> =
        answers.0.iter().filter(|(_, answer)| answer.rows.is_empty()).map(|(which, _)| which).collect();
    assert!(empty.is_empty(), "nothing from {} of {}: {empty:#?}", empty.len(), answers.0.len());
}

/// The arithmetic, by hand: of the 12 real servers of the first virtual server two fail (weights 6 and 6) and one is out
/// by hand; the others have 62 together, the heaviest two 9 each. 74 is owed. The second director sees none fail.
#[test]
fn the_answers_are_right() {
    let answers = Answers::of(&SMALL);
    let expected: [(&str, &[f64]); 12] = [
        ("lvs-virtual-server: Capacity, and with servers lost B", &[(62.0 - 9.0) / 74.0]),
        ("lvs-virtual-server: Capacity, and with servers lost C", &[(62.0 - 18.0) / 74.0]),
        ("lvs-virtual-server: Load on the rest A", &[62.0 / 53.0]),
        ("lvs-virtual-server: Load on the rest B", &[62.0 / 44.0]),
        ("lvs-virtual-server: Usable real servers A", &[9.0]),
        // Two down, one out by hand, nine up.
        ("lvs-virtual-server: Real servers A", &[1.0, 1.0, 2.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0]),
        ("lvs-real-server: State A", &[1.0]),
        ("lvs-overview: Virtual servers down A", &[1.0]),
        ("lvs-overview: Directors answering A", &[2.0]),
        ("lvs-checks: Directors disagree A", &[2.0]),
        ("lvs-director: Not enforcing A", &[1.0]),
        ("lvs-director: Different configurations A", &[2.0]),
    ];
    for (which, values) in expected {
        let mut found = answers.0[which].rows.clone();
        found.sort_by(f64::total_cmp);
        let near = found.len() == values.len() && found.iter().zip(values).all(|(a, b)| (a - b).abs() < 1e-9);
        assert!(near, "{which}: {found:?}, not {values:?}");
    }
    // More each week: the projection lies above what is, and further on further.
    let [now, before, four, twelve] =
        ["A", "B", "C", "D"].map(|query| answers.0[&format!("lvs-virtual-server: Growth {query}")].rows[0]);
    assert!(before < now && now < four && four < twelve, "{before} {now} {four} {twelve}");
    assert!((four - (now + 4.0 * (now - before))).abs() < 1e-6, "{before} {now} {four}");
}

/// 100 virtual servers with 100 real servers each.
#[test]
fn ten_thousand_real_servers_are_answered_for_in_time() {
    let fleet = Fleet { virtual_servers: 100, real_servers: 100, scrape_interval: 300 };
    let answers = Answers::of(&fleet);
    answers.report();
    for (which, answer) in &answers.0 {
        assert!(!answer.rows.is_empty(), "{which}: nothing");
        // More is no panel but a wall.
        assert!(answer.rows.len() <= 200, "{which}: {} rows", answer.rows.len());
        assert!(answer.took < SLOWEST, "{which}: {:?}", answer.took);
    }
}

struct Answer {
    rows: Vec<f64>,
    took: Duration,
}

/// By where the query stands.
struct Answers(BTreeMap<String, Answer>);

impl Answers {
    fn of(fleet: &Fleet) -> Answers {
        let clock = Clock::start();
        let directory = tempfile::tempdir().expect("a temporary directory");
        import(directory.path(), "hour", |out| {
            let (series, samples) = fleet.write_hour(out)?;
            say(&format!("{series} series, {samples} samples"));
            Ok(())
        });
        import(directory.path(), "weeks", |out| fleet.write_weeks_before(out));
        say(&format!("imported after {:.1} s", clock.mono().since_start().as_secs_f64()));
        let prometheus = Prometheus::start(&clock, directory.path());
        let chosen = Chosen {
            virtual_server: &fleet::virtual_server(0),
            real_server: &fleet::real_server(0, 1),
            range_seconds: fleet::END - fleet::START,
            rate_seconds: 4 * fleet.scrape_interval,
            step_seconds: STEP,
        };
        let mut answers = BTreeMap::new();
        for dashboard in all() {
            for asked in asked(&dashboard.json, &chosen) {
                let before = clock.mono();
                let rows = ask(&prometheus, &asked);
                answers.insert(
                    asked.which,
                    Answer { rows, took: clock.mono().since_start() - before.since_start() },
                );
            }
        }
        Answers(answers)
    }

    /// In CI's output.
    fn report(&self) {
        let mut by_time: Vec<(&String, &Answer)> = self.0.iter().collect();
        by_time.sort_by_key(|(_, answer)| std::cmp::Reverse(answer.took));
        let total: Duration = by_time.iter().map(|(_, answer)| answer.took).sum();
        let late = by_time.iter().filter(|(_, answer)| answer.took >= Duration::from_secs(1)).count();
        say(&format!("{} queries in {:.1} s, {late} of them above 1 s", by_time.len(), total.as_secs_f64()));
        for (which, answer) in by_time {
            say(&format!("{:.3} s, {} rows: {which}", answer.took.as_secs_f64(), answer.rows.len()));
        }
    }
}

fn say(text: &str) {
    // Past the harness, which keeps what a test that passes prints to itself.
    writeln!(std::io::stdout(), "    > dashboards: {text}").expect("stdout");
}

/// The last value of each row that it answers with, if it is a number.
fn ask(prometheus: &Prometheus, asked: &Asked) -> Vec<f64> {
    let (start, end) = (fleet::START, fleet::END);
    let answer = match asked.range {
        true => prometheus.ask(
            "/api/v1/query_range",
            &[
                ("query", &asked.expr),
                ("start", &start.to_string()),
                ("end", &end.to_string()),
                ("step", &STEP.to_string()),
            ],
        ),
        false => prometheus.ask("/api/v1/query", &[("query", &asked.expr), ("time", &end.to_string())]),
    };
    assert_eq!(answer["status"], "success", "{}: {}: {answer}", asked.which, asked.expr);
    let rows = answer["data"]["result"].as_array().expect("rows");
    rows.iter()
        .map(|row| row["values"].as_array().map_or(&row["value"], |all| all.last().expect("a value")))
        .filter_map(|value| value[1].as_str()?.parse().ok())
        .filter(|value: &f64| !value.is_nan())
        .collect()
}

fn import(directory: &Path, name: &str, write: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>) {
    let text = directory.join(name);
    let mut out = BufWriter::new(File::create(&text).expect("a file"));
    write(&mut out).and_then(|()| out.flush()).expect("room in the temporary directory");
    let data = directory.join("data");
    promtool([
        "tsdb".as_ref(),
        "create-blocks-from".as_ref(),
        "openmetrics".as_ref(),
        "--quiet".as_ref(),
        text.as_os_str(),
        data.as_os_str(),
    ])
    .unwrap_or_else(|said| panic!("{name}: {said}"));
    std::fs::remove_file(&text).expect("what is imported is not needed any more");
}
