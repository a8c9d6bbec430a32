//! A strict reader of expositions: panics on whatever the formats forbid and we could write.

use std::collections::BTreeMap;

#[derive(Debug)]
pub struct Family {
    pub name: String,
    pub kind: String,
    pub help: String,
    pub unit: Option<String>,
    pub samples: Vec<Sample>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub name: String,
    pub labels: Vec<(String, String)>,
    pub value: String,
}

impl Sample {
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

pub fn parse(text: &str) -> Vec<Family> {
    let mut families: Vec<Family> = Vec::new();
    assert!(text.ends_with('\n'), "the last line is not ended");
    let text = text.strip_suffix("# EOF\n").unwrap_or(text);
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            assert!(families.iter().all(|f| f.name != name), "{name} comes twice");
            let (name, help) = (name.to_owned(), help.to_owned());
            families.push(Family { name, kind: String::new(), help, unit: None, samples: Vec::new() });
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            let family = families.last_mut().filter(|f| f.name == name && f.kind.is_empty());
            family.unwrap_or_else(|| panic!("TYPE without its HELP: {line}")).kind = kind.to_owned();
        } else if let Some((name, unit)) = line.strip_prefix("# UNIT ").and_then(|rest| rest.split_once(' '))
        {
            let family = families.last_mut().filter(|f| f.name == name && f.unit.is_none());
            assert!(name.ends_with(&format!("_{unit}")), "{line}");
            family.unwrap_or_else(|| panic!("UNIT without its TYPE: {line}")).unit = Some(unit.to_owned());
        } else {
            assert!(!line.starts_with('#'), "{line}");
            let sample = parse_sample(line);
            let family = families.last_mut().unwrap_or_else(|| panic!("no family for {line}"));
            let suffix = sample.name.strip_prefix(&family.name);
            let suffix = suffix.unwrap_or_else(|| panic!("{line} stands in family {}", family.name));
            assert!(["", "_total", "_info", "_sum", "_count", "_bucket"].contains(&suffix), "{line}");
            family.samples.push(sample);
        }
    }
    families
}

/// By metric name, as queries write it; a histogram's samples under the histogram's.
pub fn by_name(families: Vec<Family>) -> BTreeMap<String, Family> {
    families
        .into_iter()
        .map(|family| {
            let name = match family.kind.as_str() {
                "histogram" => family.name.clone(),
                _ => family.samples[0].name.clone(),
            };
            (name, family)
        })
        .collect()
}

fn parse_sample(line: &str) -> Sample {
    let name_end = line.find(['{', ' ']).unwrap_or_else(|| panic!("no value in {line}"));
    let (name, rest) = line.split_at(name_end);
    let (labels, value) = match rest.strip_prefix('{') {
        Some(rest) => parse_labels(rest, line),
        None => (Vec::new(), rest),
    };
    let value = value.strip_prefix(' ').unwrap_or_else(|| panic!("no value in {line}"));
    assert!(value.parse::<f64>().is_ok_and(f64::is_finite), "{value:?} is no value in {line}");
    Sample { name: name.to_owned(), labels, value: value.to_owned() }
}

fn parse_labels<'a>(mut rest: &'a str, line: &str) -> (Vec<(String, String)>, &'a str) {
    let mut labels = Vec::new();
    loop {
        let (name, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("no label in {line}"));
        let name_is_good = name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        assert!(name_is_good && !name.is_empty(), "label {name:?} in {line}");
        let (value, after) = parse_value(after, line);
        labels.push((name.to_owned(), value));
        match after.as_bytes().first() {
            Some(b',') => rest = &after[1..],
            Some(b'}') => return (labels, &after[1..]),
            other => panic!("{other:?} after a label in {line}"),
        }
    }
}

fn parse_value<'a>(text: &'a str, line: &str) -> (String, &'a str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.push(match chars.next().map(|(_, c)| c) {
                Some('n') => '\n',
                Some(c @ ('"' | '\\')) => c,
                other => panic!("escape {other:?} in {line}"),
            }),
            c => value.push(c),
        }
    }
    panic!("a label without end in {line}");
}
