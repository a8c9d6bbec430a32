//! Questions to an HTTP server: a body, a metric, a JSON value, the time it took.

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

use crate::{Failure, now};

const TIMEOUT: Duration = Duration::from_secs(60);
const MAX_BODY: u64 = 256 << 20;

pub fn get(url: &str, accept: &str) -> Result<ExitCode, Failure> {
    io::stdout().write_all(fetch(url, accept)?.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Prints `MILLISECONDS BYTES`, the bytes as they came over the wire.
pub fn time(url: &str, encoding: &str) -> Result<ExitCode, Failure> {
    let start = now();
    let answer = exchange(url, &format!("Accept-Encoding: {encoding}\r\n"))?;
    let elapsed = start.elapsed().as_millis();
    if !answer.starts_with(b"HTTP/1.1 200 ") && !answer.starts_with(b"HTTP/1.0 200 ") {
        return Err(String::from_utf8_lossy(&answer).into());
    }
    writeln!(io::stdout(), "{elapsed} {}", answer.len())?;
    Ok(ExitCode::SUCCESS)
}

pub fn metric(url: &str, name: &str, labels: &[&str]) -> Result<ExitCode, Failure> {
    let wanted: Vec<String> = labels
        .iter()
        .map(|label| {
            let (name, value) =
                label.split_once('=').ok_or_else(|| format!("`{label}` is not LABEL=VALUE"))?;
            Ok(format!("{name}=\"{value}\""))
        })
        .collect::<Result<_, String>>()?;
    let body = fetch(url, "*/*")?;
    let rows: Vec<&str> = body.lines().filter(|line| is_sample(line, name, &wanted)).collect();
    let value = match rows[..] {
        [] => "absent",
        [row] => row.rsplit(' ').next().unwrap_or_default(),
        _ => return Err(format!("{} samples match:\n{}", rows.len(), rows.join("\n")).into()),
    };
    writeln!(io::stdout(), "{value}")?;
    Ok(ExitCode::SUCCESS)
}

fn is_sample(line: &str, name: &str, wanted: &[String]) -> bool {
    let Some(rest) = line.strip_prefix(name) else { return false };
    let labels = match rest.split_once('}') {
        Some((labels, _)) if rest.starts_with('{') => &labels[1..],
        _ if rest.starts_with(' ') => "",
        _ => return false,
    };
    // Values in the lab hold no comma and no quote.
    wanted.iter().all(|label| labels.split(',').any(|l| l == label))
}

/// A segment names a member of an object, or the element of an array whose `virtual_server`, `real_server` or
/// `check` it is.
pub fn json(source: &str, segments: &[&str]) -> Result<ExitCode, Failure> {
    let text =
        if source.starts_with("http://") { fetch(source, "*/*")? } else { fs::read_to_string(source)? };
    let document: Value = serde_json::from_str(&text)?;
    let found = segments.iter().try_fold(&document, |value, segment| match value {
        Value::Object(members) => members.get(*segment),
        Value::Array(elements) => elements.iter().find(|element| {
            ["virtual_server", "real_server", "check"].iter().any(|key| element[*key] == **segment)
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    });
    match found {
        None => writeln!(io::stdout(), "absent")?,
        Some(Value::String(text)) => writeln!(io::stdout(), "{text}")?,
        Some(other) => writeln!(io::stdout(), "{other}")?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The body of an answer with status 200.
pub fn fetch(url: &str, accept: &str) -> Result<String, Failure> {
    let answer = String::from_utf8(exchange(url, &format!("Accept: {accept}\r\n"))?)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("the answer has no end of headers")?;
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        return Err(format!("{status}: {body}").into());
    }
    Ok(body.to_owned())
}

/// By HTTP/1.0: the answer is not chunked and ends with the connection.
fn exchange(url: &str, headers: &str) -> Result<Vec<u8>, Failure> {
    let rest = url.strip_prefix("http://").ok_or_else(|| format!("`{url}` does not begin with http://"))?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut stream = TcpStream::connect(authority)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    write!(stream, "GET /{path} HTTP/1.0\r\nHost: {authority}\r\n{headers}\r\n")?;
    let mut answer = Vec::new();
    stream.take(MAX_BODY).read_to_end(&mut answer)?;
    Ok(answer)
}
