//! Where a command writes.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

use super::exit;

pub struct Screen<'a> {
    pub out: &'a mut dyn Write,
    pub err: &'a mut dyn Write,
    /// See [`colour_wanted`].
    pub colour: bool,
}

/// True if `stream` is a terminal and nobody said <https://no-color.org>.
pub fn colour_wanted(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paint {
    Plain,
    Good,
    Bad,
    Warn,
    Bold,
}

impl Screen<'_> {
    /// The text in a colour, where colours are wanted.
    pub(super) fn paint(&self, paint: Paint, text: &str) -> String {
        let code = match paint {
            Paint::Plain => return text.to_owned(),
            Paint::Good => "32",
            Paint::Bad => "1;31",
            Paint::Warn => "33",
            Paint::Bold => "1",
        };
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Writes one error line; where even that fails there is nothing left to do.
    pub(super) fn complain(&mut self, text: &str) {
        let _ = writeln!(self.err, "lvs-agent: {}", printable(text));
    }

    /// `code`, unless the output could not be written. A reader that has seen enough (`| head`) is
    /// no failure.
    pub(super) fn written(&mut self, result: io::Result<()>, code: u8) -> u8 {
        match result.and_then(|()| self.out.flush()) {
            Ok(()) => code,
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => code,
            Err(error) => {
                self.complain(&format!("writing the output failed: {error}"));
                exit::FAILURE
            }
        }
    }
}

/// Text from elsewhere, made safe for a terminal: no control characters, no reordering of text.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    let harmful = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if text.contains(harmful) {
        Cow::Owned(text.chars().map(|c| if harmful(c) { '?' } else { c }).collect())
    } else {
        Cow::Borrowed(text)
    }
}

/// Seconds for people: `0.3s`, `42s`, `3m12s`, `2h05m`, `3d04h`.
pub(super) fn age(seconds: f64) -> String {
    if seconds < 10.0 {
        return format!("{:.1}s", seconds.max(0.0));
    }
    // The cast saturates.
    let whole = seconds as u64;
    match whole {
        0..60 => format!("{whole}s"),
        60..3_600 => format!("{}m{:02}s", whole / 60, whole % 60),
        3_600..86_400 => format!("{}h{:02}m", whole / 3_600, whole / 60 % 60),
        86_400.. => format!("{}d{:02}h", whole / 86_400, whole / 3_600 % 24),
    }
}

/// How long something took: `0.8ms`, `12ms`, `1.50s`.
pub(super) fn took(seconds: f64) -> String {
    let ms = seconds * 1e3;
    if ms < 10.0 {
        format!("{ms:.1}ms")
    } else if ms < 1e3 {
        format!("{ms:.0}ms")
    } else {
        format!("{seconds:.2}s")
    }
}
