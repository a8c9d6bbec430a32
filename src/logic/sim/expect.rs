//! What a script expects, held against what is.

use std::fmt::Debug;

use super::engine::Sim;
use super::script::Expect;
use crate::logic::probes::User;
use crate::model::RealServerView;

/// `VerdictChanged { … }` → `verdict-changed`.
pub fn name(of: &(impl Debug + ?Sized)) -> String {
    let text = format!("{of:?}");
    let mut name = String::new();
    for c in text.chars().take_while(|c| c.is_alphanumeric()) {
        if c.is_uppercase() && !name.is_empty() {
            name.push('-');
        }
        name.extend(c.to_lowercase());
    }
    name
}

impl Sim<'_> {
    /// What is instead, if it is not as expected.
    pub(super) fn unmet(&mut self, expect: &Expect) -> Option<String> {
        let (met, is) = match expect {
            Expect::Weight(user, weight) => {
                let is = self.weight(user);
                (is == Some(*weight), format!("it is {}", is.map_or("gone".into(), |w| w.to_string())))
            }
            Expect::Owed(user, owed) => {
                let is = self.shown(user).and_then(|s| s.owed).map(|w| w.0);
                (is == *owed, format!("it is {}", is.map_or("unknown".into(), |w| w.to_string())))
            }
            Expect::Verdict(user, verdict) => {
                let is = self.shown(user).and_then(|s| s.verdict);
                (is == *verdict, format!("it is {}", is.map_or("unknown", |v| v.as_str())))
            }
            Expect::Drained(user, by) => {
                let is = self.shown(user).and_then(|s| s.drained).map(|d| d.by);
                (is == *by, format!("it is by {}", is.map_or("nobody", |by| by.as_str())))
            }
            Expect::Held(user, reason) => {
                let is = self.shown(user).and_then(|s| s.held).map(|h| h.reason);
                (is == *reason, format!("it is by {}", is.map_or("nothing", |by| by.as_str())))
            }
            Expect::Armed(user, armed) => {
                let is = self.is_armed(user.1.addr);
                (is == *armed, format!("it is {}", if is { "armed" } else { "cut" }))
            }
            Expect::LedgerEntries(entries) => {
                let is = self.world.disk.as_ref().map_or(0, |l| l.entries.len());
                (is == *entries, format!("it has {is}"))
            }
            Expect::Writes(writes) => (self.writes == *writes, format!("they are {}", self.writes)),
            Expect::Noted(note, times) => {
                let is = self.notes.get(note).copied().unwrap_or(0);
                let met = times.map_or(is > 0, |times| times == is);
                (met, format!("{is} times; the log has {:?}", self.notes))
            }
            Expect::Answered(word) => {
                let is = match self.world.answers.last() {
                    None => "nothing".to_owned(),
                    Some(Ok(_)) => "ok".to_owned(),
                    Some(Err(refused)) => name(refused),
                };
                (is == *word, format!("it was {is}"))
            }
        };
        (!met).then_some(is)
    }

    fn shown(&mut self, user: &User) -> Option<RealServerView> {
        let view = self.world.controller.view(self.world.now);
        let service = view.services.into_iter().find(|s| s.key == user.0)?;
        service.managed?.real_servers.into_iter().find(|s| s.key == user.1)
    }
}
