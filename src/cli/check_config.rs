//! `lvs-agent check-config FILE`: every problem of a configuration at once.

use std::error::Error;
use std::io::{self, Write};
use std::path::Path;

use crate::config::{self, Config, LoadError, Problem};

const VALID: u8 = 0;
const CANNOT_WRITE: u8 = 1;
const FAULTS: u8 = 78;

/// Says what is wrong with the file, or what is in it; the exit code: 0 valid (perhaps with
/// warnings), 78 not, 1 if `out` could not be written.
pub fn run(path: &Path, out: &mut dyn Write) -> u8 {
    let (written, code) = match config::load(path) {
        Ok(config) => (valid(path, &config, out), VALID),
        Err(error) => (faults(&error, out), FAULTS),
    };
    match written.and_then(|()| out.flush()) {
        Ok(()) => code,
        Err(_) => CANNOT_WRITE,
    }
}

fn valid(path: &Path, config: &Config, out: &mut dyn Write) -> io::Result<()> {
    let file = path.display().to_string();
    // Only to show the lines; if it is gone by now, the warnings go without.
    let text = if config.warnings.is_empty() { Ok(String::new()) } else { std::fs::read_to_string(path) };
    let text = text.unwrap_or_default();
    for warning in &config.warnings {
        write!(out, "warning: {}", Problem::render(warning, &file, &text))?;
    }
    let count = |n: usize, noun: &str| format!("{n} {noun}{}", if n == 1 { "" } else { "s" });
    let (services, checks) = (count(config.policy.services.len(), "service"), count(config.checks, "check"));
    write!(out, "{file}: valid: {services}, {checks}")?;
    if !config.warnings.is_empty() {
        write!(out, ", {}", count(config.warnings.len(), "warning"))?;
    }
    writeln!(out)
}

fn faults(error: &LoadError, out: &mut dyn Write) -> io::Result<()> {
    write!(out, "{error}")?;
    let mut cause = error.source();
    while let Some(error) = cause {
        write!(out, ": {error}")?;
        cause = error.source();
    }
    writeln!(out)
}
