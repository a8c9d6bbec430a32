//! `ledger.json`: format 2, and format 1 where nothing of the later one is used.
//!
//! An operator may have to read it at 3 a.m.: indented, with the words of the API.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::logic::{Entry, EntryState, LapseReason, Ledger, Origin, Raise, TakenBy, Wish, WishKind};
use crate::model::{DestKey, FailReason, Mono, ServiceKey, Wall, Weight, check_said};

const FORMAT: u32 = 2;

/// Without `uptime`, `from` and `raises`; still written where neither is needed, so that earlier versions can read it.
const FORMAT_1: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: u32,
    boot_id: String,
    table: String,
    confirmed: Wall,
    /// The same by the clock of this boot, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uptime: Option<f64>,
    entries: Vec<Row>,
    #[serde(default)]
    lapsed: Vec<Row>,
    /// Left out where there are none: earlier versions of the agent can then read the file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    wishes: Vec<WishRow>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    raises: Vec<RaiseRow>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    virtual_server: ServiceKey,
    real_server: DestKey,
    owed: Weight,
    /// Left out where it is the owed weight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<Weight>,
    written: Weight,
    by: String,
    reason: Option<String>,
    since: Wall,
    state: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lapsed: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WishRow {
    virtual_server: ServiceKey,
    real_server: DestKey,
    kind: String,
    owed: Option<Weight>,
    reason: Option<String>,
    since: Wall,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RaiseRow {
    virtual_server: ServiceKey,
    real_server: DestKey,
    at: Wall,
    yielded: bool,
}

/// Only to tell a newer format from a broken file.
#[derive(Debug, Deserialize)]
struct Header {
    format: u32,
}

pub fn parse(bytes: &[u8]) -> Result<Ledger, String> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err("is empty, which no ledger ever is".to_owned());
    }
    let broken = |e: serde_json::Error| format!("cannot be understood: {e}");
    let header: Header = serde_json::from_slice(bytes).map_err(broken)?;
    if ![FORMAT_1, FORMAT].contains(&header.format) {
        return Err(format!("is of format {}, this version knows {FORMAT_1} and {FORMAT}", header.format));
    }
    let file: File = serde_json::from_slice(bytes).map_err(broken)?;
    let mut ledger = Ledger::new(Origin { boot_id: file.boot_id, table: file.table });
    ledger.confirmed = file.confirmed;
    if let Some(seconds) = file.uptime {
        let uptime = Duration::try_from_secs_f64(seconds);
        let uptime = uptime.map_err(|_| format!("was written at an impossible uptime ({seconds} s)"))?;
        ledger.uptime = Some(Mono::from_start(uptime));
    }
    for row in file.entries {
        let (key, entry) = entry(&row)?;
        if ledger.entries.insert(key, entry).is_some() {
            return Err(format!("names {} of {} twice", key.1, key.0));
        }
    }
    for row in file.lapsed {
        let word = row.lapsed.as_deref().unwrap_or_default();
        let reason = LapseReason::ALL.into_iter().find(|r| r.as_str() == word);
        let reason = reason.ok_or_else(|| format!("has a lapsed entry with an unknown reason `{word}`"))?;
        let (key, entry) = entry(&row)?;
        ledger.lapsed.insert(key, (entry, reason));
    }
    for row in file.wishes {
        let (key, wish) = wish(row)?;
        if ledger.wishes.insert(key, wish).is_some() {
            return Err(format!("has two wishes for {} of {}", key.1, key.0));
        }
    }
    for row in file.raises {
        let raise = Raise { at: row.at, yielded: row.yielded };
        ledger.raises.insert((row.virtual_server, row.real_server), raise);
    }
    Ok(ledger)
}

fn wish(row: WishRow) -> Result<((ServiceKey, DestKey), Wish), String> {
    let kind = WishKind::ALL.into_iter().find(|kind| kind.as_str() == row.kind);
    let kind =
        kind.ok_or_else(|| format!("has a wish for {} of an unknown kind `{}`", row.real_server, row.kind))?;
    if row.owed.is_some_and(|owed| owed.is_zero() || owed > Weight::MAX) {
        return Err(format!("has a wish for {} with an impossible weight", row.real_server));
    }
    if let Some(said) = &row.reason {
        check_said(said).map_err(|why| format!("has a wish for {}: {why}", row.real_server))?;
    }
    let wish = Wish { kind, owed: row.owed, said: row.reason.map(Into::into), since: row.since };
    Ok(((row.virtual_server, row.real_server), wish))
}

fn entry(row: &Row) -> Result<((ServiceKey, DestKey), Entry), String> {
    let unknown =
        |what, word: &str| format!("has an entry of {} with an unknown {what} `{word}`", row.real_server);
    let reason = match row.reason.as_deref() {
        None => None,
        Some(word) => Some(FailReason::from_word(word).ok_or_else(|| unknown("reason", word))?),
    };
    let state = match row.state.as_str() {
        "pending" => EntryState::Pending,
        "done" => EntryState::Done,
        other => return Err(unknown("state", other)),
    };
    let by = TakenBy::ALL.into_iter().find(|by| by.as_str() == row.by);
    let by = by.ok_or_else(|| unknown("`by`", &row.by))?;
    let from = row.from.unwrap_or(row.owed);
    if row.owed.is_zero() || [row.owed, from, row.written].iter().any(|weight| *weight > Weight::MAX) {
        return Err(format!("has an entry of {} with an impossible weight", row.real_server));
    }
    let entry = Entry { owed: row.owed, from, written: row.written, by, reason, since: row.since, state };
    Ok(((row.virtual_server, row.real_server), entry))
}

pub fn render(ledger: &Ledger) -> std::io::Result<Vec<u8>> {
    let entries = ledger.entries.iter().map(|(key, entry)| row(key, entry, None));
    let lapsed = ledger.lapsed.iter().map(|(key, (entry, reason))| row(key, entry, Some(*reason)));
    let climbs = |entry: &Entry| entry.from != entry.owed;
    let later = ledger.uptime.is_some()
        || !ledger.raises.is_empty()
        || ledger.entries.values().any(climbs)
        || ledger.lapsed.values().any(|(entry, _)| climbs(entry));
    let file = File {
        format: if later { FORMAT } else { FORMAT_1 },
        boot_id: ledger.origin.boot_id.clone(),
        table: ledger.origin.table.clone(),
        confirmed: ledger.confirmed,
        uptime: ledger.uptime.map(|at| at.since_start().as_secs_f64()),
        entries: entries.collect(),
        lapsed: lapsed.collect(),
        wishes: ledger.wishes.iter().map(wish_row).collect(),
        raises: ledger.raises.iter().map(raise_row).collect(),
    };
    let mut bytes = serde_json::to_vec_pretty(&file)?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn wish_row(((service, dest), wish): (&(ServiceKey, DestKey), &Wish)) -> WishRow {
    WishRow {
        virtual_server: *service,
        real_server: *dest,
        kind: wish.kind.as_str().to_owned(),
        owed: wish.owed,
        reason: wish.said.as_deref().map(str::to_owned),
        since: wish.since,
    }
}

fn raise_row(((service, dest), raise): (&(ServiceKey, DestKey), &Raise)) -> RaiseRow {
    RaiseRow { virtual_server: *service, real_server: *dest, at: raise.at, yielded: raise.yielded }
}

fn row((service, dest): &(ServiceKey, DestKey), entry: &Entry, lapsed: Option<LapseReason>) -> Row {
    let state = match entry.state {
        EntryState::Pending => "pending",
        EntryState::Done => "done",
    };
    Row {
        virtual_server: *service,
        real_server: *dest,
        owed: entry.owed,
        from: Some(entry.from).filter(|from| *from != entry.owed),
        written: entry.written,
        by: entry.by.as_str().to_owned(),
        reason: entry.reason.map(|r| r.as_str().to_owned()),
        since: entry.since,
        state: state.to_owned(),
        lapsed: lapsed.map(|r| r.as_str().to_owned()),
    }
}
