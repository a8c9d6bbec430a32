//! For the crash tests: the process dies at a named point between the ledger and the kernel.
//!
//! `LVS_AGENT_FAILPOINT=after_save:2` ends it, as a kill would, when it comes to that point for the
//! second time. The variable is read once, by `run`; without it nothing here does anything.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

pub const VARIABLE: &str = "LVS_AGENT_FAILPOINT";

/// Where to die, in the order in which a drain comes by. A restore begins at `BeforeWrite` and saves
/// afterwards, and so does a drain for the second time, to mark its record done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    BeforeSave,
    /// The new ledger lies beside the old one, which still counts.
    MidSave,
    AfterSave,
    BeforeWrite,
    /// Acknowledged by the kernel, not read back.
    AfterWrite,
    AfterReadBack,
}

impl Point {
    pub const ALL: [Point; 6] = [
        Point::BeforeSave,
        Point::MidSave,
        Point::AfterSave,
        Point::BeforeWrite,
        Point::AfterWrite,
        Point::AfterReadBack,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Point::BeforeSave => "before_save",
            Point::MidSave => "mid_save",
            Point::AfterSave => "after_save",
            Point::BeforeWrite => "before_write",
            Point::AfterWrite => "after_write",
            Point::AfterReadBack => "after_read_back",
        }
    }
}

static ARMED: OnceLock<Armed> = OnceLock::new();

#[derive(Debug)]
struct Armed {
    point: Point,
    /// Times to come by, the fatal one included.
    left: AtomicU32,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{VARIABLE} is `{text}`: it is for crash tests only, and allowed is one of {}, or that and `:N`",
    words()
)]
pub struct NoSuchPoint {
    text: String,
}

fn words() -> String {
    Point::ALL.map(Point::as_str).join(", ")
}

/// Reads the variable; once a process, at its start.
pub fn arm() -> Result<(), NoSuchPoint> {
    let Some(text) = std::env::var_os(VARIABLE) else { return Ok(()) };
    let (point, times) = parse(&text.to_string_lossy())?;
    tracing::warn!(point = point.as_str(), times, "{VARIABLE} is set: this agent will kill itself");
    ARMED.get_or_init(|| Armed { point, left: AtomicU32::new(times) });
    Ok(())
}

/// Dies here if that is what was asked for.
pub fn reach(point: Point) {
    let Some(armed) = ARMED.get().filter(|armed| armed.point == point) else { return };
    if armed.left.fetch_sub(1, Ordering::Relaxed) == 1 {
        std::process::abort();
    }
}

fn parse(text: &str) -> Result<(Point, u32), NoSuchPoint> {
    let no_such_point = || NoSuchPoint { text: text.to_owned() };
    let (word, times) = text.split_once(':').unwrap_or((text, "1"));
    let point = Point::ALL.into_iter().find(|point| point.as_str() == word).ok_or_else(no_such_point)?;
    let times = times.parse().ok().filter(|times| *times > 0).ok_or_else(no_such_point)?;
    Ok((point, times))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_and_a_count() {
        assert_eq!(parse("before_save"), Ok((Point::BeforeSave, 1)));
        assert_eq!(parse("after_read_back:12"), Ok((Point::AfterReadBack, 12)));
        for text in
            ["", "after", "After_save", "after_save:", "after_save:0", "after_save:-1", "after_save:1:1"]
        {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(VARIABLE) && error.contains("mid_save, after_save"), "{error}");
        }
    }

    #[test]
    fn unarmed_it_does_nothing() {
        for point in Point::ALL {
            reach(point);
        }
    }
}
