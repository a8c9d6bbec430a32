//! Faults and warnings: collected while reading, shown with their line and a caret.

use std::fmt::Write as _;

/// More faults than this are counted, not listed.
const MAX_PROBLEMS: usize = 1000;
/// Behind so many faults no more guesses are made at what was meant: each compares a name with all
/// others, and there may be thousands.
const MAX_GUESSED: usize = 50;

/// One thing that is wrong with a configuration, or worth a warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// 1-based, as is `column`, which counts characters.
    pub line: usize,
    pub column: usize,
    /// `check.web.status[0]`; empty where the text is not TOML at all.
    pub key: String,
    pub message: String,
}

impl Problem {
    /// `file:line:column: key: message`, then the line itself with a caret under the column.
    pub fn render(&self, file: &str, text: &str) -> String {
        let separator = if self.key.is_empty() { "" } else { ": " };
        let mut out =
            format!("{file}:{}:{}: {}{separator}{}\n", self.line, self.column, self.key, self.message);
        let line = text.split('\n').nth(self.line - 1).unwrap_or("").trim_end_matches('\r');
        let (shown, before_caret) = window(line, self.column - 1);
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{:>5} | {shown}", self.line);
        let _ = writeln!(out, "      | {:before_caret$}^", "");
        out
    }
}

/// The part of a line around a column (0-based), free of control characters, and where in it the
/// column stands: a line may be megabytes long, and goes to a terminal.
fn window(line: &str, column: usize) -> (String, usize) {
    const BEFORE: usize = 60;
    const WIDTH: usize = 120;
    let skip = if line.chars().take(WIDTH + 1).count() > WIDTH { column.saturating_sub(BEFORE) } else { 0 };
    let shown: String =
        line.chars().skip(skip).take(WIDTH).map(|c| if is_printable(c) { c } else { ' ' }).collect();
    (shown.trim_end().to_owned(), column - skip)
}

/// A character that shows as itself: no control character, and none that reorders or hides text
/// around it in a log or on a page (Unicode's bidirectional and zero-width ones).
pub(super) fn is_printable(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// A piece of the configuration as a message quotes it: bounded, unprintable characters escaped.
pub(super) fn quote(text: &str) -> String {
    const SHOWN: usize = 60;
    let mut out = String::from("`");
    for c in text.chars().take(SHOWN) {
        if is_printable(c) {
            out.push(c);
        } else {
            out.extend(c.escape_unicode());
        }
    }
    if text.chars().nth(SHOWN).is_some() {
        out.push('…');
    }
    out.push('`');
    out
}

/// Where something stands: the byte it begins at, and its key path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub at: usize,
    pub key: String,
}

/// Collects what is wrong.
#[derive(Debug, Default)]
pub(super) struct Faults {
    faults: Vec<Found>,
    warnings: Vec<Found>,
    unlisted: usize,
}

#[derive(Debug)]
struct Found {
    place: Place,
    message: String,
    cause: Cause,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// Not TOML.
    Syntax,
    /// Wrong by itself.
    Own,
    /// Perhaps only the effect of a line that is not TOML.
    Doubtful,
}

impl Faults {
    pub fn syntax(&mut self, at: usize, message: String) {
        self.push(Found { place: Place { at, key: String::new() }, message, cause: Cause::Syntax });
    }

    pub fn fault(&mut self, place: &Place, message: impl Into<String>) {
        self.push(Found { place: place.clone(), message: message.into(), cause: Cause::Own });
    }

    /// Something is missing, or not where it belongs: not reported where a line is not even TOML,
    /// for then it may well be that line.
    pub fn doubtful(&mut self, place: &Place, message: impl Into<String>) {
        self.push(Found { place: place.clone(), message: message.into(), cause: Cause::Doubtful });
    }

    /// False once there are so many that guesses at what was meant take too long.
    pub fn may_guess(&self) -> bool {
        self.faults.len() < MAX_GUESSED
    }

    /// True if nothing at or below this key is reported yet: an empty list is then the fault
    /// itself, and not what is left of one whose elements are wrong.
    pub fn none_below(&self, place: &Place) -> bool {
        !self.faults.iter().any(|f| f.place.key.starts_with(&place.key))
    }

    pub fn warn(&mut self, place: &Place, message: impl Into<String>) {
        if self.warnings.len() < MAX_PROBLEMS {
            self.warnings.push(Found { place: place.clone(), message: message.into(), cause: Cause::Own });
        }
    }

    fn push(&mut self, found: Found) {
        if self.faults.len() < MAX_PROBLEMS {
            self.faults.push(found);
        } else {
            self.unlisted += 1;
        }
    }

    /// The warnings, or every fault, in the order of the text.
    pub fn into_result(self, text: &str) -> Result<Vec<Problem>, Vec<Problem>> {
        let lines = Lines::of(text);
        if self.faults.is_empty() {
            return Ok(lines.problems(self.warnings));
        }
        let broken: std::collections::BTreeSet<usize> =
            self.faults.iter().filter(|f| f.cause == Cause::Syntax).map(|f| lines.line(f.place.at)).collect();
        let mut seen_broken = std::collections::BTreeSet::new();
        let mut faults = self.faults;
        faults.sort_by_key(|f| f.place.at);
        // One fault for a line that is not TOML: what else is said of it follows from that.
        faults.retain(|f| match f.cause {
            Cause::Syntax => seen_broken.insert(lines.line(f.place.at)),
            Cause::Own => !broken.contains(&lines.line(f.place.at)),
            Cause::Doubtful => broken.is_empty(),
        });
        let mut problems = lines.problems(faults);
        if self.unlisted > 0
            && let Some(last) = problems.last().cloned()
        {
            let message = format!("{} more problems are not listed", self.unlisted);
            problems.push(Problem { key: String::new(), message, ..last });
        }
        Err(problems)
    }
}

/// Byte offsets to lines and columns.
struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    fn of(text: &'t str) -> Lines<'t> {
        let after_newlines = text.match_indices('\n').map(|(at, _)| at + 1);
        Lines { text, starts: std::iter::once(0).chain(after_newlines).collect() }
    }

    /// 1-based.
    fn line(&self, at: usize) -> usize {
        self.starts.partition_point(|start| *start <= at)
    }

    /// 1-based.
    fn column(&self, at: usize) -> usize {
        let start = self.starts[self.line(at) - 1];
        let mut end = at.min(self.text.len());
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        self.text[start..end].chars().count() + 1
    }

    fn problems(&self, mut found: Vec<Found>) -> Vec<Problem> {
        found.sort_by_key(|f| f.place.at);
        found
            .into_iter()
            .map(|f| Problem {
                line: self.line(f.place.at),
                column: self.column(f.place.at),
                key: f.place.key,
                message: f.message,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters_and_lines() {
        let text = "a = 1\nü = \"x\"\r\n\n";
        let lines = Lines::of(text);
        assert_eq!((lines.line(0), lines.column(0)), (1, 1));
        assert_eq!((lines.line(5), lines.column(5)), (1, 6), "the newline belongs to its line");
        // `=` of the second line is byte 9 and the third character.
        assert_eq!((lines.line(9), lines.column(9)), (2, 3));
        assert_eq!(lines.column(7), 1, "inside ü: its own column");
        assert_eq!((lines.line(text.len()), lines.column(text.len())), (4, 1));
        assert_eq!(Lines::of("").line(0), 1);
    }

    #[test]
    fn a_rendered_problem_shows_line_and_caret() {
        let problem = Problem { line: 2, column: 5, key: "a.b".into(), message: "is wrong".into() };
        assert_eq!(
            problem.render("f.toml", "x = 1\nb =\t\u{1b}[31m\r\n"),
            "f.toml:2:5: a.b: is wrong\n    2 | b =  [31m\n      |     ^\n"
        );
    }

    #[test]
    fn a_long_line_is_cut_around_the_caret() {
        let text = format!("{}X{}", "a".repeat(5000), "b".repeat(5000));
        let problem = Problem { line: 1, column: 5001, key: String::new(), message: "here".into() };
        let rendered = problem.render("f", &text);
        let rows: Vec<&str> = rendered.lines().collect();
        assert_eq!(rows[0], "f:1:5001: here");
        assert_eq!(rows[1].find('X'), rows[2].find('^'));
        assert_eq!(rows[1].chars().count(), 128);
    }

    #[test]
    fn quotes_are_bounded_and_harmless() {
        assert_eq!(quote("web\u{1b}\u{202e}"), "`web\\u{1b}\\u{202e}`");
        assert_eq!(quote(&"x".repeat(100)).chars().count(), 63);
    }
}
