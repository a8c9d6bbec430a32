//! The tables.

use std::io;

use super::compare::{Disagreement, Seen};
use super::{Director, label, named};
use crate::cli::Screen;
use crate::cli::screen::{Paint, age, printable, took};
use crate::status::{
    CertificateStatus, CheckStatus, RealServerStatus, Status, TripwireStatus, VirtualServerStatus,
};

/// Longest quotation of what a probe found; all of it is in the JSON.
const MAX_DETAIL_CHARS: usize = 100;

/// From so many days on nobody needs to know whose certificate it is (IpvsTlsCertificateExpiresSoon).
const SOON_DAYS: i64 = 21;

pub(super) fn status(status: &Status, note: Option<&str>, screen: &mut Screen<'_>) -> io::Result<()> {
    head(status, note, screen)?;
    if status.snapshot_age_seconds.is_none() {
        return Ok(());
    }
    if status.virtual_servers.is_empty() {
        return writeln!(screen.out, "\nThe IPVS table is empty.");
    }
    let services: Vec<(&VirtualServerStatus, Vec<Row>)> =
        status.virtual_servers.iter().map(|s| (s, rows(s))).collect();
    let widths = Row::widths(services.iter().flat_map(|(_, rows)| rows));
    for (at, (service, rows)) in services.iter().enumerate() {
        writeln!(screen.out)?;
        service_line(service, screen)?;
        if let Some(hint) = failure_hint(service) {
            let hint = screen.paint(Paint::Warn, &printable(&hint));
            writeln!(screen.out, "  {hint}")?;
        }
        if at == 0 {
            Row::titles().write(&widths, screen)?;
        }
        for row in rows {
            row.write(&widths, screen)?;
        }
    }
    writeln!(screen.out)?;
    summary(status, screen)
}

/// Every director's table, then where they differ.
pub(super) fn directors(
    directors: &[Director],
    disagreements: &[Disagreement],
    screen: &mut Screen<'_>,
) -> io::Result<()> {
    for director in directors {
        let title = screen.paint(Paint::Bold, &format!("=== {} ===", printable(&director.agent)));
        writeln!(screen.out, "{title}")?;
        match (&director.status, &director.error) {
            (Some(answer), _) => status(answer, None, screen)?,
            (None, error) => {
                let error = printable(error.as_deref().unwrap_or("it did not answer"));
                let text = screen.paint(Paint::Bad, &format!("NOT READ: {error}"));
                writeln!(screen.out, "{text}")?;
            }
        }
        writeln!(screen.out)?;
    }
    let title = screen.paint(Paint::Bold, "=== where they disagree ===");
    writeln!(screen.out, "{title}")?;
    let with_table = |d: &&Director| d.status.as_ref().is_some_and(|s| s.snapshot_age_seconds.is_some());
    let compared = directors.iter().filter(with_table).count();
    if compared < 2 {
        return writeln!(
            screen.out,
            "Nothing to compare: {compared} of {} directors has a table to show.",
            directors.len()
        );
    }
    if disagreements.is_empty() {
        return writeln!(screen.out, "Nowhere: {compared} directors, the same verdicts and weights.");
    }
    for disagreement in disagreements {
        let service = named(&disagreement.name, disagreement.virtual_server);
        writeln!(screen.out, "{}  {}", printable(&service), disagreement.real_server)?;
        let width = disagreement.directors.iter().map(|s| s.agent.chars().count()).max().unwrap_or(0);
        for seen in &disagreement.directors {
            seen_line(seen, width, screen)?;
        }
    }
    Ok(())
}

fn seen_line(seen: &Seen, width: usize, screen: &mut Screen<'_>) -> io::Result<()> {
    let (text, paint) = match &seen.real_server {
        None => ("not in its table".to_owned(), Paint::Warn),
        Some(opinion) => {
            let owed = opinion.owed_weight.map_or("unknown".to_owned(), |w| w.to_string());
            let verdict = verdict_text(&opinion.verdict);
            (format!("{verdict}, weight {}, owed {owed}", opinion.weight), verdict_paint(&opinion.verdict))
        }
    };
    let agent = printable(&seen.agent);
    writeln!(screen.out, "  {agent:width$}  {}", screen.paint(paint, &text))
}

fn head(status: &Status, note: Option<&str>, screen: &mut Screen<'_>) -> io::Result<()> {
    if let Some(note) = note {
        let note = screen.paint(Paint::Warn, &printable(note));
        writeln!(screen.out, "{note}")?;
    } else {
        let mode = printable(&status.mode);
        write!(screen.out, "lvs-agent {}, {mode}", printable(&status.version))?;
        match status.snapshot_age_seconds {
            Some(seconds) => writeln!(screen.out, ", table read {} ago", age(seconds))?,
            None => writeln!(screen.out, ", no table")?,
        }
    }
    let troubles = [
        ("IPVS", &status.ipvs.error),
        ("LEDGER", &status.ledger.error),
        ("NOT READY", &status.not_ready_reason),
    ];
    for (what, text) in troubles {
        if let Some(text) = text {
            let line = screen.paint(Paint::Bad, &format!("{what}: {}", printable(text)));
            writeln!(screen.out, "{line}")?;
        }
    }
    Ok(())
}

fn service_line(service: &VirtualServerStatus, screen: &mut Screen<'_>) -> io::Result<()> {
    let name = screen.paint(Paint::Bold, &printable(&label(service)));
    let methods = service.forwarding.join(",");
    let methods = if methods.is_empty() { "-" } else { methods.as_str() };
    let total = service.real_servers.len();
    let usable = service.real_servers.iter().filter(|r| r.usable()).count();
    write!(screen.out, "{name}  {}  {}", printable(&service.scheduler), printable(methods))?;
    if !service.managed {
        return writeln!(screen.out, "  unmanaged, {usable} of {total} with weight above 0");
    }
    let state = match service.up {
        Some(true) => screen.paint(Paint::Good, "up"),
        Some(false) | None => screen.paint(Paint::Bad, "DOWN"),
    };
    write!(screen.out, "  {state}  {usable} of {total} usable")?;
    match service.capacity {
        Some(ratio) => write!(screen.out, ", capacity {:.0}%", ratio * 100.0)?,
        None => write!(screen.out, ", capacity unknown")?,
    }
    if let Some(floor) = service.floor {
        write!(screen.out, ", floor {floor}")?;
    }
    if service.mode.as_deref() == Some("observe") {
        write!(screen.out, ", observe: nothing is written")?;
    }
    writeln!(screen.out)
}

/// What a failing real server means here, where it is not simply that its clients are moved.
fn failure_hint(service: &VirtualServerStatus) -> Option<String> {
    let scheduler = &service.scheduler;
    let stays = service.on_failure.as_deref()? == "observe";
    match (service.refuses_at_zero, stays) {
        (false, false) => None,
        (false, true) => Some("failing real servers stay in: on-failure is observe".to_owned()),
        (true, true) => Some(format!(
            "failing real servers stay in: {scheduler} would refuse the clients of one at weight 0"
        )),
        (true, false) => {
            let mend = if scheduler == "dh" { "" } else { ": set its fallback flag" };
            Some(format!("{scheduler} refuses the clients of a real server at weight 0{mend}"))
        }
    }
}

fn summary(status: &Status, screen: &mut Screen<'_>) -> io::Result<()> {
    let all = &status.virtual_servers;
    let managed = all.iter().filter(|s| s.managed).count();
    let up = all.iter().filter(|s| s.managed && s.up == Some(true)).count();
    let plural = if all.len() == 1 { "" } else { "s" };
    write!(screen.out, "{} virtual server{plural}: {up} up", all.len())?;
    if managed > up {
        let down = screen.paint(Paint::Bad, &format!("{} DOWN", managed - up));
        write!(screen.out, ", {down}")?;
    }
    if all.len() > managed {
        write!(screen.out, ", {} unmanaged", all.len() - managed)?;
    }
    writeln!(screen.out)
}

/// One line: the aligned cells, then the last one, which may be of any width.
struct Row {
    cells: [String; 6],
    last: String,
    /// Of the verdict and of the state.
    paints: (Paint, Paint),
}

/// Which cells are numbers, aligned to the right.
const RIGHT: [bool; 6] = [false, false, true, false, true, true];

impl Row {
    fn titles() -> Row {
        let cells = ["REAL SERVER", "VERDICT", "WEIGHT/OWED", "STATE", "ACTIVE", "INACTIVE"];
        Row {
            cells: cells.map(str::to_owned),
            last: "LAST PROBE".to_owned(),
            paints: (Paint::Plain, Paint::Plain),
        }
    }

    fn widths<'a>(rows: impl Iterator<Item = &'a Row>) -> [usize; 6] {
        let mut widths = Row::titles().cells.map(|title| title.len());
        for row in rows {
            for (width, cell) in widths.iter_mut().zip(&row.cells) {
                *width = (*width).max(cell.chars().count());
            }
        }
        widths
    }

    fn write(&self, widths: &[usize; 6], screen: &mut Screen<'_>) -> io::Result<()> {
        let mut line = String::from("  ");
        for (at, cell) in self.cells.iter().enumerate() {
            let width = widths[at];
            let padded = if RIGHT[at] { format!("{cell:>width$}") } else { format!("{cell:width$}") };
            let paint = match at {
                1 => self.paints.0,
                3 => self.paints.1,
                _ => Paint::Plain,
            };
            line.push_str(&screen.paint(paint, &padded));
            line.push_str("  ");
        }
        line.push_str(&self.last);
        writeln!(screen.out, "{}", line.trim_end())
    }
}

/// A row for each real server, and one more for each further check of it.
fn rows(service: &VirtualServerStatus) -> Vec<Row> {
    let mut rows = Vec::new();
    for server in &service.real_servers {
        let mut probes = server.checks.iter().map(probe_text);
        let weight = if service.managed {
            let owed = server.owed_weight.map_or("?".to_owned(), |w| w.to_string());
            format!("{}/{owed}", server.weight)
        } else {
            server.weight.to_string()
        };
        let (state, state_paint) = state_text(server);
        rows.push(Row {
            cells: [
                server.real_server.to_string(),
                verdict_text(&server.verdict),
                weight,
                state,
                server.active_connections.to_string(),
                server.inactive_connections.to_string(),
            ],
            last: probes.next().unwrap_or_else(|| "-".to_owned()),
            paints: (verdict_paint(&server.verdict), state_paint),
        });
        rows.extend(probes.map(|last| Row {
            cells: std::array::from_fn(|_| String::new()),
            last,
            paints: (Paint::Plain, Paint::Plain),
        }));
    }
    rows
}

/// What is wrong stands out without colour too.
fn verdict_text(verdict: &str) -> String {
    if verdict == "down" { "DOWN".to_owned() } else { printable(verdict).into_owned() }
}

fn verdict_paint(verdict: &str) -> Paint {
    match verdict {
        "down" => Paint::Bad,
        "up" => Paint::Good,
        _ => Paint::Plain,
    }
}

fn state_text(server: &RealServerStatus) -> (String, Paint) {
    let mut parts = Vec::new();
    if let Some(drained) = &server.drained {
        let reason = drained.reason.as_ref().map_or(String::new(), |r| format!(": {r}"));
        let since = age(drained.since_seconds);
        parts.push(match drained.by.as_ref() {
            "external" => format!("weight 0 by hand, for {since}"),
            by => format!("drained by {by} for {since}{reason}"),
        });
    }
    if let Some(held) = &server.held {
        let left = held.ends_in_seconds.map_or(String::new(), |left| format!(", for another {}", age(left)));
        parts.push(format!("held by {}, would be {}{left}", held.reason, held.would));
    }
    if let Some(ramp) = &server.slow_start {
        let left = ramp.ends_in_seconds.map_or(String::new(), |left| format!(", whole in {}", age(left)));
        parts.push(format!("slow start, step {} of {}{left}", ramp.step, ramp.of));
    }
    match server.share_percent {
        Some(0) => parts.push("wants no new connections".to_owned()),
        Some(percent @ 1..100) => parts.push(format!("wants {percent}% of its weight")),
        Some(_) | None => {}
    }
    // Failing it is held, and that says so.
    if server.ignores_checks && server.held.as_ref().is_none_or(|held| held.reason != "ignore_checks") {
        parts.push("its checks are ignored until drain or undrain".to_owned());
    }
    if server.flapping {
        parts.push("flapping".to_owned());
    }
    match parts.is_empty() {
        true => ("-".to_owned(), Paint::Plain),
        false => (printable(&parts.join("; ")).into_owned(), Paint::Warn),
    }
}

fn probe_text(check: &CheckStatus) -> String {
    let mut text = format!("{}: ", check.check);
    match (&check.skipped, check.last_probe_age_seconds) {
        (Some(why), _) => text.push_str(&format!("not probed, {why}")),
        (None, None) => text.push_str("no probe yet"),
        (None, Some(seconds)) => {
            let outcome = check.outcome.as_deref();
            match (outcome, &check.reason) {
                (Some("inconclusive"), Some(reason)) => text.push_str(&format!("inconclusive, {reason}")),
                (_, Some(reason)) => text.push_str(&format!("{reason} x{}", check.consecutive)),
                (_, None) => text.push_str(&format!("pass x{}", check.consecutive)),
            }
            text.push_str(&format!(", {} ago", age(seconds)));
            if let Some(duration) = check.duration_seconds {
                text.push_str(&format!(" in {}", took(duration)));
            }
            let detail = check.detail.as_deref().filter(|d| !d.is_empty() && check.reason.is_some());
            if let Some(detail) = detail {
                text.push_str(&format!(" ({})", shortened(detail)));
            }
            if let Some(certificate) = &check.certificate {
                text.push_str(&format!(", {}", certificate_text(certificate)));
            }
            if let Some(wire) = &check.tripwire {
                text.push_str(&format!(", tripwire {}", tripwire_text(wire)));
            }
        }
    }
    printable(&text).into_owned()
}

fn tripwire_text(wire: &TripwireStatus) -> String {
    match (&wire.degraded, wire.armed) {
        (Some(why), _) => format!("degraded, {why}"),
        (None, true) => "armed".to_owned(),
        (None, false) => "not armed".to_owned(),
    }
}

/// Whose it is only where there is something to do: it may be an intermediate's.
fn certificate_text(certificate: &CertificateStatus) -> String {
    let (days, whose) = (certificate.days_left, shortened(&certificate.subject));
    let plural = if days == 1 { "" } else { "s" };
    match days {
        ..0 => format!("certificate EXPIRED: {whose}"),
        0..SOON_DAYS => format!("certificate ends in {days} day{plural}: {whose}"),
        SOON_DAYS.. => format!("certificate {days} days"),
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_DETAIL_CHARS) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}...", &text[..end]),
    }
}
