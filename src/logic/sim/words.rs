//! The words of one line, taken one by one; what is out of place is said with the form that is allowed.

use std::fmt::Display;
use std::str::{FromStr, SplitWhitespace};
use std::time::Duration;

use super::script::Script;
use crate::model::Mono;

/// Longer than any test wants to run.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

pub struct Words<'a> {
    pub words: SplitWhitespace<'a>,
    /// As far as it is read.
    pub script: &'a Script,
}

impl<'a> Words<'a> {
    pub fn done(&mut self) -> Result<(), String> {
        self.words.next().map_or(Ok(()), |word| Err(format!("`{word}` is more than belongs there")))
    }

    pub fn word(&mut self, form: &str) -> Result<&'a str, String> {
        self.words.next().ok_or_else(|| format!("the line ends too early: write {form}"))
    }

    pub fn parsed<T: FromStr>(&mut self, form: &str) -> Result<T, String> {
        let word = self.word(form)?;
        word.parse().map_err(|_| format!("`{word}` is out of place: write {form}"))
    }

    pub fn exactly(&mut self, wanted: &str, form: &str) -> Result<(), String> {
        let word = self.word(form)?;
        if word == wanted { Ok(()) } else { Err(format!("`{word}` instead of `{wanted}`: write {form}")) }
    }

    /// True if the line goes on with this word.
    pub fn then(&mut self, wanted: &str) -> bool {
        let next = self.words.clone().next() == Some(wanted);
        if next {
            self.words.next();
        }
        next
    }

    pub fn ended(&self) -> bool {
        self.words.clone().next().is_none()
    }

    pub fn one_of<T: Copy + Display>(&mut self, all: &[T], form: &str) -> Result<T, String> {
        let word = self.word(form)?;
        all.iter().find(|one| one.to_string() == word).copied().ok_or_else(|| {
            let all: Vec<String> = all.iter().map(ToString::to_string).collect();
            format!("`{word}` is none of {}: write {form}", all.join(", "))
        })
    }

    /// `None` for the word that stands for none.
    pub fn one_or<T: Copy + Display>(
        &mut self,
        none: &str,
        all: &[T],
        form: &str,
    ) -> Result<Option<T>, String> {
        if self.then(none) { Ok(None) } else { self.one_of(all, form).map(Some) }
    }

    pub fn number<T: FromStr>(&mut self, form: &str) -> Result<T, String> {
        self.parsed(form)
    }

    pub fn percent(&mut self, form: &str) -> Result<u8, String> {
        let word = self.word(form)?;
        let percent = word.strip_suffix('%').and_then(|n| n.parse().ok()).filter(|n| *n <= 100);
        percent.ok_or_else(|| format!("`{word}` is no share from 0% to 100%: write {form}"))
    }

    pub fn duration(&mut self, form: &str) -> Result<Duration, String> {
        let word = self.word(form)?;
        let digits = word.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = match &word[digits.len()..] {
            "ms" => Some(1),
            "s" => Some(1000),
            "m" => Some(60_000),
            "h" => Some(3_600_000),
            _ => None,
        };
        let ms = unit.zip(digits.parse::<u64>().ok()).and_then(|(unit, n)| n.checked_mul(unit));
        let time = ms.map(Duration::from_millis).filter(|time| *time <= LONGEST);
        time.ok_or_else(|| format!("`{word}` is no time up to 24h (200ms, 5s, 10m): write {form}"))
    }

    pub fn time(&mut self, form: &str) -> Result<Mono, String> {
        self.duration(form).map(Mono::from_start)
    }
}
