//! Scripts from text: every line is read for itself, and every wrong one is named with the form that
//! is allowed. docs/scenarios.md describes the language.

use std::net::IpAddr;

use super::engine::MS;
use super::print::time_of;
use super::script::{
    Act, Expect, Fault, Kind, Moment, Row, Rules, Script, ServiceSetup, Step, What, When, outcome_of,
};
use super::words::Words;
use crate::logic::probes::User;
use crate::logic::world::NEVER_SUSPECT;
use crate::model::{
    DestKey, DrainedBy, Family, Floor, HeldReason, Mode, Mono, OnFailure, Outcome, ServiceKey, Verdict,
};

const LINES: &str = "a line begins with seed, suspect-self, restore-on-exit, changes-per-cycle, virtual-server, real-server, at, by, until or end";
const SERVICE: &str = "virtual-server 10.0.0.1:80/tcp wrr [unmanaged | floor 1|50% | mode enforce|observe | \
     checks none|80,81,service | on-failure weight-0|observe | interval 1s | \
     slow-start 10s | hold-down 30s | tripwire]…";
const ROW: &str = "real-server 10.0.1.1:80 weight 5 [masq], after its virtual-server";
const ACTS: &str = "after `at 5s` stands one of: fails, passes, trips, says, operator, keepalived, drain, undrain, configure, \
     unconfigure, suspect-self, broken-config, dies, stops, reboots, restarts, faults, pauses, clock, looks, dump-lacks, \
     before-write; or what is expected: weight, owed, verdict, drained, held, tripwire, ledger, writes, noted, answered";
const EXPECTED: &str = "after `by 5s` and `until 5s` stands what is expected: weight, owed, verdict, drained, held, \
     tripwire, ledger, writes, noted, answered";

/// Every wrong line: its number, what is wrong, and the form that is allowed.
pub fn parse(text: &str) -> Result<Script, Vec<String>> {
    let mut script = Script::default();
    let mut end = None;
    let mut wrong = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = Words { words: line.split_whitespace(), script: &script };
        let Some(first) = words.words.next() else { continue };
        match words.line(first, at + 1).and_then(|read| words.done().map(|()| read)) {
            Ok(Line::Seed(seed)) => script.seed = Some(seed),
            Ok(Line::SuspectSelf(percent)) => script.suspect_self_percent = percent,
            Ok(Line::RestoreOnExit) => script.restore_on_exit = true,
            Ok(Line::ChangesPerCycle(changes)) => script.changes_per_cycle = Some(changes),
            Ok(Line::Service(service)) => script.services.push(service),
            Ok(Line::Row(row)) => script.services.last_mut().into_iter().for_each(|s| s.rows.push(row)),
            Ok(Line::Steps(steps)) => script.steps.extend(steps),
            Ok(Line::End(time)) => end = Some(time),
            Err(error) => wrong.push(format!("line {}: {error}", at + 1)),
        }
    }
    let last = script.steps.last().map_or(Mono::ZERO, |step| step.at);
    script.end = end.unwrap_or(last + 1000 * MS);
    if script.services.is_empty() {
        wrong.push(format!("there is no virtual server: write {SERVICE}"));
    }
    if script.end <= last {
        wrong.push(format!("`end` comes after the last step, which is at {}", time_of(last)));
    }
    if wrong.is_empty() { Ok(script) } else { Err(wrong) }
}

enum Line {
    Seed(u64),
    SuspectSelf(u8),
    RestoreOnExit,
    ChangesPerCycle(usize),
    Service(ServiceSetup),
    Row(Row),
    Steps(Vec<Step>),
    End(Mono),
}

impl Words<'_> {
    fn line(&mut self, first: &str, number: usize) -> Result<Line, String> {
        match first {
            "seed" => Ok(Line::Seed(self.number("seed 7")?)),
            "suspect-self" => Ok(Line::SuspectSelf(self.percent("suspect-self 100%")?)),
            "restore-on-exit" => Ok(Line::RestoreOnExit),
            "changes-per-cycle" => match self.number("changes-per-cycle 2")? {
                0 => Err("with 0 changes per cycle nothing ever happens: write changes-per-cycle 2".into()),
                changes => Ok(Line::ChangesPerCycle(changes)),
            },
            "virtual-server" => self.service().map(Line::Service),
            "real-server" => self.row().map(Line::Row),
            "end" => Ok(Line::End(self.time("end 30s")?)),
            word => match When::ALL.into_iter().find(|when| when.as_str() == word) {
                Some(when) => self.steps(when, number).map(Line::Steps),
                None => Err(format!("`{word}` begins no line: {LINES}")),
            },
        }
    }

    fn service_key(&mut self, form: &str) -> Result<ServiceKey, String> {
        let key: ServiceKey = self.parsed(form)?;
        if key.family() == Family::V6 { Err(format!("{key}: only IPv4 here")) } else { Ok(key) }
    }

    fn known_service(&mut self, form: &str) -> Result<ServiceKey, String> {
        let key = self.service_key(form)?;
        let known = self.script.services.iter().any(|s| s.key == key);
        if known { Ok(key) } else { Err(format!("there is no line `virtual-server {key} …` above")) }
    }

    /// `10.0.1.1:80 of 10.0.0.1:80/tcp`; the virtual server may be left out where there is one only.
    fn user(&mut self, form: &str) -> Result<User, String> {
        let dest: DestKey = self.parsed(form)?;
        if self.then("of") {
            return Ok((self.known_service(form)?, dest));
        }
        match &self.script.services[..] {
            [only] => Ok((only.key, dest)),
            _ => Err(format!("{dest} of which virtual server? write {dest} of 10.0.0.1:80/tcp")),
        }
    }

    fn service(&mut self) -> Result<ServiceSetup, String> {
        let key = self.service_key(SERVICE)?;
        if self.script.services.iter().any(|s| s.key == key) {
            return Err(format!("{key} is there already"));
        }
        let scheduler = self.word(SERVICE)?.to_owned();
        let rules = if self.then("unmanaged") { None } else { Some(self.rules()?) };
        Ok(ServiceSetup { key, scheduler, rules, rows: Vec::new() })
    }

    fn rules(&mut self) -> Result<Rules, String> {
        let mut rules = Rules::default();
        while let Some(word) = self.words.next() {
            match word {
                "floor" => {
                    let word = self.word(SERVICE)?;
                    let percent = word.strip_suffix('%').map(|n| n.parse().ok().filter(|n| *n <= 100));
                    let floor = match percent {
                        Some(percent) => percent.map(Floor::Percent),
                        None => word.parse().ok().map(Floor::Count),
                    };
                    rules.floor = floor.ok_or_else(|| format!("`{word}` is no floor: write {SERVICE}"))?;
                }
                "mode" => rules.mode = self.one_of(&Mode::ALL, SERVICE)?,
                "checks" => rules.checks = self.checks()?,
                "on-failure" => rules.on_failure = Some(self.one_of(&OnFailure::ALL, SERVICE)?),
                "slow-start" => rules.slow_start = self.duration(SERVICE)?,
                "hold-down" => rules.hold_down = self.duration(SERVICE)?,
                "tripwire" => rules.tripwire = true,
                "interval" => rules.interval = self.duration(SERVICE)?.max(100 * MS),
                other => return Err(format!("`{other}` is no setting: write {SERVICE}")),
            }
        }
        Ok(rules)
    }

    fn checks(&mut self) -> Result<Vec<u16>, String> {
        let word = self.word(SERVICE)?;
        if word == "none" {
            return Ok(Vec::new());
        }
        let port = |word: &str| match word {
            "service" => Ok(0),
            _ => word.parse().map_err(|_| format!("`{word}` is no port: write {SERVICE}")),
        };
        word.split(',').map(port).collect()
    }

    fn row(&mut self) -> Result<Row, String> {
        let key: DestKey = self.parsed(ROW)?;
        self.exactly("weight", ROW)?;
        let row = Row { key, weight: self.number(ROW)?, masquerading: self.then("masq") };
        match self.script.services.last() {
            None => Err(format!("no virtual server yet: write {ROW}")),
            Some(s) if s.rows.iter().any(|row| row.key == key) => Err(format!("{key} is there already")),
            Some(_) if key.addr.is_ipv6() => Err(format!("{key}: only IPv4 here")),
            Some(_) => Ok(row),
        }
    }

    fn steps(&mut self, when: When, line: usize) -> Result<Vec<Step>, String> {
        let at = self.time(&format!("{when} 5s …"))?;
        if let Some(before) = self.script.steps.last().filter(|before| before.at > at) {
            let (before, at) = (time_of(before.at), time_of(at));
            return Err(format!("{at} comes before the line above, at {before}: times only go forward"));
        }
        let word = self.word(if when == When::At { ACTS } else { EXPECTED })?;
        let whats = match (self.expect(word)?, when) {
            (Some(expected), _) => expected.into_iter().map(|e| What::Expect(when, e)).collect(),
            (None, When::At) => match self.act(word)? {
                Some(act) => vec![What::Act(act)],
                None => return Err(format!("`{word}` is not known: {ACTS}")),
            },
            (None, When::By | When::Until) => return Err(format!("`{word}` cannot be awaited: {EXPECTED}")),
        };
        Ok(whats.into_iter().map(|what| Step { at, what, line }).collect())
    }

    fn expect(&mut self, word: &str) -> Result<Option<Vec<Expect>>, String> {
        let expect = match word {
            "weight" => return self.expect_weight().map(Some),
            "owed" => {
                let form = "owed 10.0.1.1:80 is 5|unknown";
                let user = self.user_is(form)?;
                Expect::Owed(user, if self.then("unknown") { None } else { Some(self.number(form)?) })
            }
            "verdict" => {
                let form = "verdict 10.0.1.1:80 is up|down|unknown";
                Expect::Verdict(self.user_is(form)?, self.one_or("unknown", &Verdict::ALL, form)?)
            }
            "drained" => {
                let form = "drained 10.0.1.1:80 by check|operator|external|nobody";
                let user = self.user(form)?;
                self.exactly("by", form)?;
                Expect::Drained(user, self.one_or("nobody", &DrainedBy::ALL, form)?)
            }
            "held" => {
                let form = "held 10.0.1.1:80 by floor|tug_of_war|…|nothing";
                let user = self.user(form)?;
                self.exactly("by", form)?;
                Expect::Held(user, self.one_or("nothing", &HeldReason::ALL, form)?)
            }
            "tripwire" => {
                let form = "tripwire 10.0.1.1:80 is armed|cut";
                let user = self.user_is(form)?;
                Expect::Armed(user, self.one_of(&["armed", "cut"], form)? == "armed")
            }
            "ledger" if self.then("empty") => Expect::LedgerEntries(0),
            "ledger" => Expect::LedgerEntries(self.number("ledger empty, or ledger 2 (entries on disk)")?),
            "writes" => Expect::Writes(self.number("writes 3 (from the beginning)")?),
            "noted" => {
                let form = "noted verdict-changed [2]";
                let note = self.word(form)?.to_owned();
                Expect::Noted(note, if self.ended() { None } else { Some(self.number(form)?) })
            }
            "answered" => Expect::Answered(self.word("answered ok|twice|nobody|…")?.to_owned()),
            _ => return Ok(None),
        };
        Ok(Some(vec![expect]))
    }

    fn user_is(&mut self, form: &str) -> Result<User, String> {
        let user = self.user(form)?;
        self.exactly("is", form)?;
        Ok(user)
    }

    /// With who drained it, two expectations in one line.
    fn expect_weight(&mut self) -> Result<Vec<Expect>, String> {
        let form = "weight 10.0.1.1:80 is 0[, because check|operator|external]";
        let user = self.user_is(form)?;
        let word = self.word(form)?;
        let number = word.trim_end_matches(',');
        let weight = number.parse().map_err(|_| format!("`{number}` is no weight: write {form}"))?;
        let mut expected = vec![Expect::Weight(user, weight)];
        if word.ends_with(',') || !self.ended() {
            self.exactly("because", form)?;
            expected.push(Expect::Drained(user, Some(self.one_of(&DrainedBy::ALL, form)?)));
        }
        Ok(expected)
    }

    fn act(&mut self, word: &str) -> Result<Option<Act>, String> {
        Ok(Some(match word {
            "fails" => self.fails()?,
            "trips" => Act::Trips(self.parsed("trips 10.0.1.1")?),
            "passes" => Act::Passes(self.parsed("passes 10.0.1.1")?),
            "says" => {
                let form = "says 10.0.1.1 50%, or says 10.0.1.1 nothing";
                let addr = self.parsed(form)?;
                Act::Says(addr, if self.then("nothing") { None } else { Some(self.percent(form)?) })
            }
            "operator" => self.operator()?,
            "keepalived" => {
                let form = "keepalived reloads|rebuilds 10.0.0.1:80/tcp";
                match self.one_of(&["reloads", "rebuilds"], form)? {
                    "reloads" => Act::Reload(self.known_service(form)?),
                    _ => Act::Rebuild(self.known_service(form)?),
                }
            }
            "drain" => {
                Act::Drain { user: self.user("drain 10.0.1.1:80 [force]")?, force: self.then("force") }
            }
            "undrain" => Act::Undrain {
                user: self.user("undrain 10.0.1.1:80 [ignore-checks]")?,
                ignore_checks: self.then("ignore-checks"),
            },
            "configure" => {
                Act::Configure(self.known_service("configure 10.0.0.1:80/tcp floor 2")?, self.rules()?)
            }
            "unconfigure" => Act::Unconfigure(self.known_service("unconfigure 10.0.0.1:80/tcp")?),
            "suspect-self" if self.then("never") => Act::SuspectSelf(NEVER_SUSPECT),
            "suspect-self" => Act::SuspectSelf(self.percent("suspect-self 100%|never")?),
            "broken-config" => Act::BrokenConfig,
            "dies" if self.ended() => Act::Dies,
            "dies" => {
                let form = "dies, or dies before|amid|after read|probe|save|write [2]";
                let (moment, kind) = (self.one_of(&Moment::ALL, form)?, self.one_of(&Kind::ALL, form)?);
                let nth: u32 = if self.ended() { 1 } else { self.number(form)? };
                Act::DiesAround { moment, kind, nth: nth.max(1) }
            }
            "stops" => Act::Stops,
            "reboots" => Act::Reboots,
            "restarts" => Act::Restarts,
            "faults" if self.then("none") => Act::NoFaults,
            "faults" => {
                let form = "faults none, or faults saves 100%";
                Act::Faults(self.one_of(&Fault::ALL, form)?, self.percent(form)?)
            }
            "pauses" => Act::Pauses(self.duration("pauses 30s")?),
            "clock" => {
                let form = "clock on|back 1h";
                let back = self.one_of(&["on", "back"], form)? == "back";
                Act::ClockSteps { back, by: self.duration(form)? }
            }
            "looks" => Act::Looks,
            "dump-lacks" => Act::DumpLacks(self.user("dump-lacks 10.0.1.1:80")?),
            "before-write" => {
                let word = self.word("before-write operator sets 10.0.1.1:80 to 5")?;
                let act = self.act(word)?.ok_or_else(|| format!("`{word}` is not known: {ACTS}"))?;
                Act::BeforeWrite(Box::new(act))
            }
            _ => return Ok(None),
        }))
    }

    fn fails(&mut self) -> Result<Act, String> {
        let form = "fails 10.0.1.1|10.0.1.1:80 connect_refused|fd_limit|…";
        let word = self.word(form)?;
        let (addr, port) = match (word.parse::<IpAddr>(), word.parse::<DestKey>()) {
            (Ok(addr), _) => (addr, None),
            (_, Ok(DestKey { addr, port })) => (addr, Some(port)),
            _ => return Err(format!("`{word}` is no address: write {form}")),
        };
        let word = self.word(form)?;
        let outcome: Outcome =
            outcome_of(word).ok_or_else(|| format!("`{word}` is no reason: write {form}"))?;
        Ok(Act::Fails { addr, port, outcome })
    }

    fn operator(&mut self) -> Result<Act, String> {
        let form = "operator sets 10.0.1.1:80 to 5, operator deletes 10.0.1.1:80, operator adds|re-adds 10.0.1.1:80 weight 5, \
             or operator zeroes|deletes-service 10.0.0.1:80/tcp";
        let words = ["sets", "deletes", "adds", "re-adds", "zeroes", "deletes-service"];
        Ok(match self.one_of(&words, form)? {
            "sets" => {
                let user = self.user(form)?;
                self.exactly("to", form)?;
                Act::Edit(user, self.number(form)?)
            }
            "deletes" => Act::Delete(self.user(form)?),
            "adds" => {
                let user = self.user(form)?;
                self.exactly("weight", form)?;
                Act::Add(user, self.number(form)?)
            }
            "re-adds" => {
                let user = self.user(form)?;
                self.exactly("weight", form)?;
                Act::ReAdd(user, self.number(form)?)
            }
            "zeroes" => Act::Zeroes(self.known_service(form)?),
            _ => Act::DeleteService(self.known_service(form)?),
        })
    }
}
