//! Reads one table: takes the keys that are known, then complains of all others.

use std::collections::BTreeSet;

use toml::de::{DeTable, DeValue};

use super::keys::{CheckType, Key, SECTIONS, Section};
use super::problem::{Faults, Place, quote};

/// Why a value cannot be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Bad {
    /// A value of another kind (a number for a text).
    Kind,
    /// It is what this says; the allowed form is added.
    Form(String),
    /// The whole message.
    Message(String),
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Placed<T> {
    pub value: T,
    pub place: Place,
}

/// One table while it is read. `finish` must end it.
pub(super) struct Reader<'t, 'f> {
    section: &'static Section,
    /// Of the table itself: its key path, and where a missing key is reported.
    place: Place,
    table: &'t DeTable<'t>,
    taken: BTreeSet<&'static str>,
    /// Once known, keys of other types are not read.
    check_type: Option<CheckType>,
    pub faults: &'f mut Faults,
}

impl<'t, 'f> Reader<'t, 'f> {
    pub fn new(
        section: &'static Section,
        place: Place,
        table: &'t DeTable<'t>,
        faults: &'f mut Faults,
    ) -> Reader<'t, 'f> {
        Reader { section, place, table, taken: BTreeSet::new(), check_type: None, faults }
    }

    /// From here on, keys that do not belong to this type are faults.
    pub fn set_check_type(&mut self, check_type: CheckType) {
        self.check_type = Some(check_type);
    }

    /// The value, `None` if it is not written or not right (which is then reported).
    pub fn optional<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&'t DeValue<'t>) -> Result<T, Bad>,
    ) -> Option<T> {
        self.placed(name, read).map(|placed| placed.value)
    }

    /// As `placed`; that it is not written is a fault.
    pub fn required<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&'t DeValue<'t>) -> Result<T, Bad>,
    ) -> Option<Placed<T>> {
        self.require(name);
        self.placed(name, read)
    }

    /// As `optional`, with the value's place for later complaints.
    pub fn placed<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&'t DeValue<'t>) -> Result<T, Bad>,
    ) -> Option<Placed<T>> {
        let (key, found) = self.take(name)?;
        match read(found.value) {
            Ok(value) => Some(Placed { value, place: found.place }),
            Err(bad) => {
                self.faults.fault(&found.place, explain(bad, found.value, key.form));
                None
            }
        }
    }

    /// A list, each element read by itself; `None` if it is not written or not a list. Elements
    /// that are not right are reported and left out.
    pub fn list<T>(
        &mut self,
        name: &'static str,
        mut read: impl FnMut(&'t DeValue<'t>) -> Result<T, Bad>,
    ) -> Option<Placed<Vec<Placed<T>>>> {
        let (key, found) = self.take(name)?;
        let DeValue::Array(array) = found.value else {
            self.faults.fault(&found.place, explain(Bad::Kind, found.value, key.form));
            return None;
        };
        let mut list = Vec::with_capacity(array.len());
        for (i, element) in array.iter().enumerate() {
            let place = Place { at: element.span().start, key: format!("{}[{i}]", found.place.key) };
            match read(element.get_ref()) {
                Ok(value) => list.push(Placed { value, place }),
                Err(bad) => self.faults.fault(&place, explain(bad, element.get_ref(), key.form)),
            }
        }
        Some(Placed { value: list, place: found.place })
    }

    /// A table below this one.
    pub fn table(&mut self, name: &'static str) -> Option<Placed<&'t DeTable<'t>>> {
        self.placed(name, |value| value.as_table().ok_or(Bad::Kind))
    }

    /// Reports that a key which must be there is not.
    pub fn require(&mut self, name: &'static str) {
        if self.table.get(name).is_none() {
            let form = self.section.key(name).map_or("", |key| key.form);
            let place = Place { at: self.place.at, key: join(&self.place.key, name) };
            self.faults.doubtful(&place, format!("is missing: write {form}"));
        }
    }

    pub fn is_written(&self, name: &str) -> bool {
        self.table.get(name).is_some()
    }

    /// Every key that nothing asked for is a fault.
    pub fn finish(self) {
        for (key, _) in self.table {
            let name: &str = key.get_ref();
            if !self.taken.contains(name) {
                let place = Place { at: key.span().start, key: join(&self.place.key, name) };
                self.faults.fault(&place, unknown(self.section, name));
            }
        }
    }

    fn take(&mut self, name: &'static str) -> Option<(&'static Key, Placed<&'t DeValue<'t>>)> {
        self.taken.insert(name);
        let key = self.section.key(name)?;
        let (written, value) = self.table.get_key_value(name)?;
        let mut place = Place { at: value.span().start, key: join(&self.place.key, name) };
        if let Some(check_type) = self.check_type
            && !key.only.is_empty()
            && !key.only.contains(&check_type)
        {
            place.at = written.span().start;
            let types: Vec<&str> = key.only.iter().map(|t| t.as_str()).collect();
            self.faults.fault(
                &place,
                format!("does not belong to a check of type {check_type}, only to {}", and(&types)),
            );
            return None;
        }
        if value.get_ref().is_table() {
            // The span of a table is its header's; the name in it is what the reader looks for.
            place.at = written.span().start;
        }
        Some((key, Placed { value: value.get_ref(), place }))
    }
}

/// `a, b and c`
fn and(words: &[&str]) -> String {
    match words {
        [before @ .., last] if !before.is_empty() => format!("{} and {last}", before.join(", ")),
        _ => words.concat(),
    }
}

/// A key path, quoted where TOML would quote.
pub(super) fn join(path: &str, name: &str) -> String {
    let bare = !name.is_empty()
        && name.len() <= 64
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    let name = if bare { name.to_owned() } else { format!("\"{}\"", quote(name).trim_matches('`')) };
    if path.is_empty() { name } else { format!("{path}.{name}") }
}

/// The nearest of the known words, if one is near enough to be meant.
pub(super) fn nearest<'w>(word: &str, known: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    let far = (word.chars().count() / 3).clamp(1, 3);
    known
        .filter(|k| k.chars().count().abs_diff(word.chars().count()) <= far)
        .map(|k| (distance(word, k), k))
        .filter(|(d, _)| *d <= far)
        .min()
        .map(|(_, k)| k)
}

fn explain(bad: Bad, value: &DeValue<'_>, form: &str) -> String {
    match bad {
        Bad::Kind => format!("is {}: write {form}", kind(value)),
        Bad::Form(what) => format!("{what}: write {form}"),
        Bad::Message(message) => message,
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn unknown(section: &'static Section, name: &str) -> String {
    if section.later.contains(&name) {
        return "is not in this version".to_owned();
    }
    if let Some(meant) = nearest(name, section.keys.iter().map(|key| key.name)) {
        return format!("is not a key here; do you mean `{meant}`?");
    }
    let homes: Vec<&str> = SECTIONS.iter().filter(|s| s.key(name).is_some()).map(|s| s.title).collect();
    if !homes.is_empty() {
        return format!("is not a key here; it belongs to {}", homes.join(" or "));
    }
    let known: Vec<&str> = section.keys.iter().map(|key| key.name).collect();
    format!("is not a key here; the keys of {} are: {}", section.title, known.join(", "))
}

/// Levenshtein's distance, a swap of neighbours counted as one.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let substituted = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = substituted.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_the_one_meant() {
        let keys = ["interval", "fast-interval", "timeout", "rise", "fall"];
        assert_eq!(nearest("fast_interval", keys.into_iter()), Some("fast-interval"));
        assert_eq!(nearest("itnerval", keys.into_iter()), Some("interval"));
        assert_eq!(nearest("riise", keys.into_iter()), Some("rise"));
        assert_eq!(nearest("weight", keys.into_iter()), None);
        assert_eq!(distance("ab", "ba"), 1);
        assert_eq!(distance("", "abc"), 3);
    }

    #[test]
    fn paths_are_quoted_as_in_toml() {
        assert_eq!(join("", "mode"), "mode");
        assert_eq!(join("check", "web shop"), "check.\"web shop\"");
        assert_eq!(join("check", ""), "check.\"\"");
        assert_eq!(join("check", "a\u{7}"), "check.\"a\\u{7}\"");
    }
}
