//! Scripts as the text that `text` reads.

use std::fmt::{Display, Formatter, Result};
use std::time::Duration;

use super::script::{Act, Expect, Row, Rules, Script, ServiceSetup, What, When, word_of};
use crate::logic::probes::User;
use crate::logic::world::NEVER_SUSPECT;
use crate::model::{Floor, Mono};

struct Of<'a>(&'a User);

impl Display for Of<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{} of {}", self.0.1, self.0.0)
    }
}

/// `1500ms`, `2s`.
pub struct Time(pub Duration);

impl Display for Time {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self.0.as_millis() {
            ms if ms % 1000 == 0 => write!(f, "{}s", ms / 1000),
            ms => write!(f, "{ms}ms"),
        }
    }
}

pub fn time_of(at: Mono) -> Time {
    Time(at.since_start())
}

impl Display for Script {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        if let Some(seed) = self.seed {
            writeln!(f, "seed {seed}")?;
        }
        if self.suspect_self_percent != NEVER_SUSPECT {
            writeln!(f, "suspect-self {}%", self.suspect_self_percent)?;
        }
        if self.restore_on_exit {
            writeln!(f, "restore-on-exit")?;
        }
        if let Some(changes) = self.changes_per_cycle {
            writeln!(f, "changes-per-cycle {changes}")?;
        }
        for service in &self.services {
            service.fmt(f)?;
        }
        for step in &self.steps {
            let (when, text) = match &step.what {
                What::Act(act) => (When::At, act.to_string()),
                What::Expect(when, expect) => (*when, expect.to_string()),
            };
            writeln!(f, "{:<5} {:<8} {text}", when.as_str(), time_of(step.at).to_string())?;
        }
        writeln!(f, "end   {}", time_of(self.end))
    }
}

impl Display for ServiceSetup {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "virtual-server {} {}", self.key, self.scheduler)?;
        match &self.rules {
            Some(rules) => writeln!(f, "{rules}")?,
            None => writeln!(f, " unmanaged")?,
        }
        for Row { key, weight, masquerading } in &self.rows {
            writeln!(f, "real-server {key} weight {weight}{}", if *masquerading { " masq" } else { "" })?;
        }
        Ok(())
    }
}

/// What is not as usual, each after a blank.
impl Display for Rules {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let usual = Rules::default();
        if self.floor != usual.floor {
            match self.floor {
                Floor::Count(n) => write!(f, " floor {n}")?,
                Floor::Percent(n) => write!(f, " floor {n}%")?,
            }
        }
        if self.mode != usual.mode {
            write!(f, " mode {}", self.mode)?;
        }
        if self.checks.is_empty() {
            write!(f, " checks none")?;
        } else if self.checks != usual.checks {
            let word = |port: &u16| if *port == 0 { "service".into() } else { port.to_string() };
            let ports: Vec<String> = self.checks.iter().map(word).collect();
            write!(f, " checks {}", ports.join(","))?;
        }
        if let Some(on_failure) = self.on_failure {
            write!(f, " on-failure {on_failure}")?;
        }
        if self.interval != usual.interval {
            write!(f, " interval {}", Time(self.interval))?;
        }
        if self.slow_start != usual.slow_start {
            write!(f, " slow-start {}", Time(self.slow_start))?;
        }
        if self.hold_down != usual.hold_down {
            write!(f, " hold-down {}", Time(self.hold_down))?;
        }
        if self.tripwire {
            write!(f, " tripwire")?;
        }
        Ok(())
    }
}

impl Display for Act {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Act::Fails { addr, port: None, outcome } => write!(f, "fails {addr} {}", word_of(*outcome)),
            Act::Fails { addr, port: Some(port), outcome } => {
                write!(f, "fails {addr}:{port} {}", word_of(*outcome))
            }
            Act::Trips(addr) => write!(f, "trips {addr}"),
            Act::Says(addr, Some(percent)) => write!(f, "says {addr} {percent}%"),
            Act::Says(addr, None) => write!(f, "says {addr} nothing"),
            Act::Passes(addr) => write!(f, "passes {addr}"),
            Act::Edit(user, weight) => write!(f, "operator sets {} to {weight}", Of(user)),
            Act::Delete(user) => write!(f, "operator deletes {}", Of(user)),
            Act::DeleteService(service) => write!(f, "operator deletes-service {service}"),
            Act::Add(user, weight) => write!(f, "operator adds {} weight {weight}", Of(user)),
            Act::ReAdd(user, weight) => write!(f, "operator re-adds {} weight {weight}", Of(user)),
            Act::Zeroes(service) => write!(f, "operator zeroes {service}"),
            Act::Reload(service) => write!(f, "keepalived reloads {service}"),
            Act::Rebuild(service) => write!(f, "keepalived rebuilds {service}"),
            Act::Drain { user, force } => {
                write!(f, "drain {}{}", Of(user), if *force { " force" } else { "" })
            }
            Act::Undrain { user, ignore_checks } => {
                write!(f, "undrain {}{}", Of(user), if *ignore_checks { " ignore-checks" } else { "" })
            }
            Act::Configure(service, rules) => write!(f, "configure {service}{rules}"),
            Act::Unconfigure(service) => write!(f, "unconfigure {service}"),
            Act::SuspectSelf(percent) if *percent == NEVER_SUSPECT => f.write_str("suspect-self never"),
            Act::SuspectSelf(percent) => write!(f, "suspect-self {percent}%"),
            Act::BrokenConfig => f.write_str("broken-config"),
            Act::Dies => f.write_str("dies"),
            Act::Stops => f.write_str("stops"),
            Act::DiesAround { moment, kind, nth } => write!(f, "dies {moment} {kind} {nth}"),
            Act::Reboots => f.write_str("reboots"),
            Act::Restarts => f.write_str("restarts"),
            Act::Faults(fault, percent) => write!(f, "faults {fault} {percent}%"),
            Act::NoFaults => f.write_str("faults none"),
            Act::Pauses(time) => write!(f, "pauses {}", Time(*time)),
            Act::ClockSteps { back, by } => {
                write!(f, "clock {} {}", if *back { "back" } else { "on" }, Time(*by))
            }
            Act::Looks => f.write_str("looks"),
            Act::DumpLacks(user) => write!(f, "dump-lacks {}", Of(user)),
            Act::BeforeWrite(act) => write!(f, "before-write {act}"),
        }
    }
}

impl Display for Expect {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Expect::Weight(user, weight) => write!(f, "weight {} is {weight}", Of(user)),
            Expect::Owed(user, Some(weight)) => write!(f, "owed {} is {weight}", Of(user)),
            Expect::Owed(user, None) => write!(f, "owed {} is unknown", Of(user)),
            Expect::Verdict(user, verdict) => {
                write!(f, "verdict {} is {}", Of(user), verdict.map_or("unknown", |v| v.as_str()))
            }
            Expect::Drained(user, by) => {
                write!(f, "drained {} by {}", Of(user), by.map_or("nobody", |by| by.as_str()))
            }
            Expect::Held(user, reason) => {
                write!(f, "held {} by {}", Of(user), reason.map_or("nothing", |r| r.as_str()))
            }
            Expect::Armed(user, true) => write!(f, "tripwire {} is armed", Of(user)),
            Expect::Armed(user, false) => write!(f, "tripwire {} is cut", Of(user)),
            Expect::LedgerEntries(0) => f.write_str("ledger empty"),
            Expect::LedgerEntries(entries) => write!(f, "ledger {entries}"),
            Expect::Writes(writes) => write!(f, "writes {writes}"),
            Expect::Noted(note, None) => write!(f, "noted {note}"),
            Expect::Noted(note, Some(times)) => write!(f, "noted {note} {times}"),
            Expect::Answered(word) => write!(f, "answered {word}"),
        }
    }
}
