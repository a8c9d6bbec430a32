//! `[[service]]`.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::check::Named;
use super::keys;
use super::pattern;
use super::problem::{Faults, Place, quote};
use super::reader::{Bad, Placed, Reader, nearest};
use super::values::{duration, floor, mode, name, number, on_failure, percent, text};
use crate::model::{Check, Floor, Match, Mode, ServiceKey, ServicePolicy};

const MAX_SERVICES: usize = 10_000;
/// Of all services together: each is compared with those before it.
const MAX_PATTERNS: usize = 10_000;
const MAX_CHECKS_OF_A_SERVICE: usize = 16;
/// Of `slow-start` and `hold-down`.
const WAIT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);
const DEFAULT_CAPACITY_LOW_PERCENT: u8 = 50;

/// The services in file order, each with the mode that it asks for itself.
pub(super) fn read_services(
    value: &Placed<&DeValue<'_>>,
    global: Mode,
    checks: &mut BTreeMap<String, Named>,
    faults: &mut Faults,
) -> Vec<(ServicePolicy, Mode)> {
    let DeValue::Array(array) = value.value else {
        if value.value.is_table() {
            faults.doubtful(&value.place, "is one table, of which there are several: write [[service]]");
        } else {
            faults.fault(&value.place, "is no table: write [[service]] and below it the service's keys");
        }
        return Vec::new();
    };
    if array.len() > MAX_SERVICES {
        faults.fault(&value.place, format!("there are {} services: at most {MAX_SERVICES}", array.len()));
        return Vec::new();
    }
    let mut services = Vec::with_capacity(array.len());
    let mut patterns = Patterns::default();
    for (i, element) in array.iter().enumerate() {
        let place = Place { at: element.span().start, key: format!("{}[{i}]", value.place.key) };
        match element.get_ref().as_table() {
            Some(table) => {
                services.extend(read_service(place, table, global, checks, &mut patterns, faults));
            }
            None => faults.fault(&place, "is no table: write [[service]]"),
        }
    }
    if patterns.count > MAX_PATTERNS {
        let message = format!("its services have {} patterns: at most {MAX_PATTERNS}", patterns.count);
        faults.fault(&value.place, message);
    }
    services
}

fn read_service(
    place: Place,
    table: &DeTable<'_>,
    global: Mode,
    checks: &mut BTreeMap<String, Named>,
    patterns: &mut Patterns,
    faults: &mut Faults,
) -> Option<(ServicePolicy, Mode)> {
    let mut reader = Reader::new(&keys::SERVICE, place, table, faults);
    let matches = read_matches(&mut reader, patterns);
    let name = reader.optional("name", |value| name(text(value)?).map_err(Bad::Message));
    let checks = read_names(&mut reader, checks);
    let floor = reader.optional("floor", floor).unwrap_or(Floor::DEFAULT);
    let quorum = reader.optional("quorum", number(1..=u32::from(u16::MAX))).unwrap_or(1);
    let capacity_low = reader.optional("capacity-low", percent).unwrap_or(DEFAULT_CAPACITY_LOW_PERCENT);
    let on_failure = reader.optional("on-failure", on_failure);
    let slow_start = reader.optional("slow-start", duration(WAIT)).unwrap_or(Duration::ZERO);
    let hold_down = reader.optional("hold-down", duration(WAIT)).unwrap_or(Duration::ZERO);
    let own_mode = reader.optional("mode", mode).unwrap_or(Mode::Enforce);
    reader.finish();
    let policy = ServicePolicy {
        matches: matches?,
        name,
        checks: checks?,
        floor,
        quorum,
        capacity_low: f64::from(capacity_low) / 100.0,
        mode: global.weaker(own_mode),
        on_failure,
        slow_start,
        hold_down,
    };
    Some((policy, own_mode))
}

fn read_matches(reader: &mut Reader<'_, '_>, patterns: &mut Patterns) -> Option<Vec<Match>> {
    reader.require("match");
    let list = reader.list("match", |value| {
        let written = text(value)?;
        pattern::parse(written).map_err(|e| Bad::Message(format!("{}: {e}", quote(written))))
    })?;
    if list.value.is_empty() && reader.faults.none_below(&list.place) {
        reader.faults.fault(&list.place, "is empty, so that the service has no virtual server");
    }
    for pattern in &list.value {
        if let Some(earlier) = patterns.add(pattern) {
            let message = format!(
                "adds nothing: {} ({}) comes first and matches all of it",
                earlier.value, earlier.place.key
            );
            reader.faults.warn(&pattern.place, message);
        }
    }
    Some(list.value.into_iter().map(|pattern| pattern.value).collect())
}

fn read_names(reader: &mut Reader<'_, '_>, checks: &mut BTreeMap<String, Named>) -> Option<Vec<Arc<Check>>> {
    reader.require("checks");
    let names = reader.list("checks", text)?;
    if names.value.len() > MAX_CHECKS_OF_A_SERVICE {
        let message = format!("names {} checks: at most {MAX_CHECKS_OF_A_SERVICE}", names.value.len());
        reader.faults.fault(&names.place, message);
        return None;
    }
    let mut found = Vec::with_capacity(names.value.len());
    for (i, Placed { value: name, place }) in names.value.iter().enumerate() {
        if names.value[..i].iter().any(|earlier| earlier.value == *name) {
            reader.faults.fault(place, format!("{} is named twice", quote(name)));
            continue;
        }
        match checks.get_mut(*name) {
            Some(named) => {
                named.used = true;
                found.extend(named.check.clone());
            }
            None => reader.faults.doubtful(place, unknown_check(name, checks, reader.faults)),
        }
    }
    Some(found)
}

fn unknown_check(name: &str, checks: &BTreeMap<String, Named>, faults: &Faults) -> String {
    let known = checks.keys().map(String::as_str).filter(|_| faults.may_guess());
    match nearest(name, known) {
        Some(meant) => format!("there is no [check.NAME] for {}; do you mean {}?", quote(name), quote(meant)),
        None => format!("there is no [check.NAME] for {}", quote(name)),
    }
}

/// The patterns read so far, to find those that a later one repeats.
#[derive(Default)]
struct Patterns {
    count: usize,
    /// Those without a wildcard only repeat each other, and there may be thousands.
    literal: BTreeMap<ServiceKey, Placed<Match>>,
    broad: Vec<Placed<Match>>,
}

impl Patterns {
    /// The earlier pattern that covers this one, if there is one.
    fn add(&mut self, pattern: &Placed<Match>) -> Option<Placed<Match>> {
        self.count += 1;
        if self.count > MAX_PATTERNS {
            return None;
        }
        let literal = pattern.value.literal();
        let earlier = literal
            .and_then(|key| self.literal.get(&key))
            .or_else(|| self.broad.iter().find(|broad| broad.value.covers(&pattern.value)))
            .cloned();
        if earlier.is_none() {
            match literal {
                Some(key) => {
                    self.literal.insert(key, pattern.clone());
                }
                None => self.broad.push(pattern.clone()),
            }
        }
        earlier
    }
}
