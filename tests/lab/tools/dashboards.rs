//! Every query of the dashboards, put to a Prometheus.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::Value;

use crate::query::fetch;
use crate::{Failure, epoch_us, now};

#[path = "../../observability/asked.rs"]
mod asked;

use asked::{Asked, Chosen, asked};

/// The last minute of a Prometheus that scrapes each second.
const RANGE_S: u64 = 60;
const RATE_S: u64 = 30;
const STEP_S: u64 = 1;

/// Prints `MILLISECONDS ROWS WHICH` for each; rows without a number do not count.
pub fn ask(url: &str, directory: &str, virtual_server: &str, real_server: &str) -> Result<ExitCode, Failure> {
    let chosen = Chosen {
        virtual_server,
        real_server,
        range_seconds: RANGE_S,
        rate_seconds: RATE_S,
        step_seconds: STEP_S,
    };
    let end = u64::try_from(epoch_us() / 1_000_000)?;
    let files: Result<Vec<PathBuf>, io::Error> =
        fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut files = files?;
    files.sort();
    for file in files {
        let dashboard: Value = serde_json::from_str(&fs::read_to_string(file)?)?;
        for query in asked(&dashboard, &chosen) {
            let began = now();
            let rows = rows(url, &query, end)?;
            writeln!(io::stdout(), "{} {rows} {}", began.elapsed().as_millis(), query.which)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn rows(url: &str, query: &Asked, end: u64) -> Result<usize, Failure> {
    let text = encoded(&query.expr);
    let path = match query.range {
        true => format!("query_range?query={text}&start={}&end={end}&step=1", end - RANGE_S),
        false => format!("query?query={text}&time={end}"),
    };
    let answer =
        fetch(&format!("{url}/api/v1/{path}"), "*/*").map_err(|why| format!("{}: {why}", query.which))?;
    let answer: Value = serde_json::from_str(&answer)?;
    let rows = answer["data"]["result"].as_array().ok_or("an answer without a result")?;
    Ok(rows.iter().filter(|row| has_number(row)).count())
}

fn has_number(row: &Value) -> bool {
    let one = std::slice::from_ref(&row["value"]);
    let samples = row["values"].as_array().map_or(one, Vec::as_slice);
    samples.iter().any(|sample| sample[1].as_str().is_some_and(|value| value != "NaN"))
}

fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}
