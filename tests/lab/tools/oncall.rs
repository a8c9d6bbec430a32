//! Plays everybody whom Alertmanager tells, and shows what they read.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

use crate::{Failure, epoch_us, now};

const TIMEOUT: Duration = Duration::from_secs(10);
const PULSE: Duration = Duration::from_millis(100);
const MAX_HEAD: usize = 16 << 10;
const MAX_BODY: usize = 1 << 20;

/// Each notification becomes a file `0001.json`, and then a line `FILE EPOCH_MS PATH TITLE` of the file `list`;
/// `late` says how late the machine is.
pub fn listen(addr: &str, directory: &str) -> Result<ExitCode, Failure> {
    let directory = Path::new(directory);
    fs::create_dir_all(directory)?;
    let listener = TcpListener::bind(addr)?;
    let late = directory.join("late");
    std::thread::spawn(move || pulse(&late));
    let mut list = fs::File::create(directory.join("list"))?;
    let mut number = 0;
    for stream in listener.incoming() {
        let mut stream = stream?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        let status = match take(&mut stream) {
            Ok((path, told)) => {
                let at_ms = epoch_us() / 1000;
                number += 1;
                let file = format!("{number:04}.json");
                fs::write(directory.join(&file), told.to_string())?;
                writeln!(list, "{file} {at_ms} {path} {}", title(&told))?;
                "200 OK"
            }
            Err(why) => {
                writeln!(io::stderr(), "no notification: {why}")?;
                "400 Bad Request"
            }
        };
        // A sender who is gone has its answer all the same.
        let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    Ok(ExitCode::SUCCESS)
}

/// Keeps in the file how many milliseconds a thread that only sleeps has been late in all: that long this kernel's processor was taken
/// away, and no bound on what runs on it can hold. Ends where the file cannot be written.
fn pulse(file: &Path) {
    let mut late = Duration::ZERO;
    let mut last = now();
    while fs::write(file, format!("{:08}\n", late.as_millis())).is_ok() {
        std::thread::sleep(PULSE);
        let beyond = last.elapsed().saturating_sub(PULSE);
        last = now();
        // A little is what scheduling costs.
        late += if beyond < PULSE { Duration::ZERO } else { beyond };
    }
}

/// One request: where to, and what it tells.
fn take(stream: &mut TcpStream) -> Result<(String, Value), Failure> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 16 << 10];
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
        let read = stream.read(&mut chunk)?;
        if read == 0 || bytes.len() > MAX_HEAD {
            return Err("no end of its head".into());
        }
        bytes.extend_from_slice(&chunk[..read]);
    };
    let head = String::from_utf8(bytes[..head_end].to_vec())?;
    let path = head.split(' ').nth(1).ok_or("no path")?.to_owned();
    let length: usize = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .ok_or("no length")?
        .1
        .trim()
        .parse()?;
    if length > MAX_BODY {
        return Err(format!("{length} bytes").into());
    }
    let mut body = bytes[head_end + 4..].to_vec();
    let had = body.len();
    body.resize(length.max(had), 0);
    stream.read_exact(&mut body[had..])?;
    Ok((path, serde_json::from_slice(&body)?))
}

/// Prints one as its reader sees it: what all its alerts share, then each alert with what is its own.
pub fn read(file: &str) -> Result<ExitCode, Failure> {
    let told: Value = serde_json::from_str(&fs::read_to_string(file)?)?;
    let mut out = format!("{}\n", title(&told));
    let (labels, annotations) = (&told["commonLabels"], &told["commonAnnotations"]);
    describe(&mut out, "", labels, &Value::Null);
    describe(&mut out, "", annotations, &Value::Null);
    let mut alerts: Vec<&Value> = told["alerts"].as_array().into_iter().flatten().collect();
    alerts.sort_by_key(|alert| alert["labels"].to_string());
    for alert in alerts {
        out.push_str(&format!("- {}\n", text(&alert["status"])));
        describe(&mut out, "  ", &alert["labels"], labels);
        describe(&mut out, "  ", &alert["annotations"], annotations);
    }
    if told["truncatedAlerts"] != 0 {
        out.push_str(&format!("and {} more\n", told["truncatedAlerts"]));
    }
    io::stdout().write_all(out.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// What Alertmanager itself makes of it for a pager; a webhook has none, so its status and its group.
fn title(told: &Value) -> String {
    if let Some(summary) = told["payload"]["summary"].as_str() {
        return format!("{} {summary}", text(&told["event_action"]));
    }
    let group = told["groupLabels"].as_object().into_iter().flatten();
    let group: Vec<&str> = group.map(|(_, value)| text(value)).collect();
    format!("{} {}", text(&told["status"]), group.join(" "))
}

/// The members that `known` has not.
fn describe(out: &mut String, indent: &str, members: &Value, known: &Value) {
    for (name, value) in members.as_object().into_iter().flatten() {
        if known[name] != *value {
            out.push_str(&format!("{indent}{name}: {}\n", text(value)));
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
