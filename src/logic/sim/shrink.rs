//! A failing script made as small as it goes: acts first, then faults, delays, the set-up and times.

use std::time::Duration;

use super::engine::{MS, Watch, play};
use super::script::{Act, Rules, Script, What};
use crate::logic::world::NEVER_SUSPECT;
use crate::model::Mono;

/// A script takes milliseconds; somebody waits for the answer.
const MOST_RUNS: usize = 4000;

/// The smallest one found that fails as `script` does, and how it fails.
pub fn shrink(script: &Script, wrong: &str, watch: Option<Watch>) -> (Script, String) {
    let mut shrinker = Shrinker {
        best: script.clone(),
        wrong: wrong.to_owned(),
        class: class(wrong).to_owned(),
        watch,
        runs: 0,
    };
    loop {
        let before = shrinker.best.clone();
        shrinker.fewer_acts();
        shrinker.plainer();
        shrinker.rounder_times();
        if shrinker.best == before || shrinker.runs >= MOST_RUNS {
            return (shrinker.best, shrinker.wrong);
        }
    }
}

/// `invariant 5: …` fails as another `invariant 5: …` does.
fn class(wrong: &str) -> &str {
    wrong.split(':').next().unwrap_or_default()
}

struct Shrinker {
    best: Script,
    wrong: String,
    class: String,
    watch: Option<Watch>,
    runs: usize,
}

impl Shrinker {
    /// Takes it if it fails in the same way.
    fn attempt(&mut self, mut candidate: Script) -> bool {
        let last = candidate.steps.last().map_or(Mono::ZERO, |step| step.at);
        candidate.end = candidate.end.max(last + MS);
        if self.runs >= MOST_RUNS || candidate == self.best {
            return false;
        }
        self.runs += 1;
        match play(&candidate, self.watch) {
            Err(wrong) if class(&wrong) == self.class => {
                (self.best, self.wrong) = (candidate, wrong);
                true
            }
            Err(_) | Ok(()) => false,
        }
    }

    /// Delta debugging: leaves out ever smaller pieces.
    fn fewer_acts(&mut self) {
        let mut piece = self.best.steps.len().div_ceil(2);
        while piece > 0 {
            let mut at = 0;
            while at < self.best.steps.len() {
                let mut candidate = self.best.clone();
                candidate.steps.drain(at..(at + piece).min(candidate.steps.len()));
                if !self.attempt(candidate) {
                    at += piece;
                }
            }
            piece /= 2;
        }
    }

    fn plainer(&mut self) {
        self.change(|script| script.seed = None);
        self.change(|script| script.suspect_self_percent = NEVER_SUSPECT);
        self.change(|script| script.restore_on_exit = false);
        self.change(|script| script.changes_per_cycle = None);
        for at in (0..self.best.services.len()).rev() {
            self.change(|script| {
                script.services.remove(at);
            });
        }
        for at in 0..self.best.services.len() {
            self.change(|script| script.services[at].rules = Some(Rules::default()));
            self.change(|script| script.services[at].scheduler = "wrr".into());
            for row in (0..self.best.services[at].rows.len()).rev() {
                self.change(|script| {
                    script.services[at].rows.remove(row);
                });
            }
            for row in 0..self.best.services[at].rows.len() {
                self.change(|script| script.services[at].rows[row].weight = 5);
            }
        }
        for at in 0..self.best.steps.len() {
            for plain in plainer_acts(&self.best.steps[at].what) {
                self.change(|script| script.steps[at].what = What::Act(plain));
            }
        }
    }

    /// Everything earlier, and at whole seconds where that is enough.
    fn rounder_times(&mut self) {
        self.change(|script| script.end = script.steps.last().map_or(Mono::ZERO, |s| s.at) + 1000 * MS);
        for at in 0..self.best.steps.len() {
            let before = if at == 0 { Mono::ZERO } else { self.best.steps[at - 1].at };
            let gap = self.best.steps[at].at.since(before);
            let whole = Mono::from_start(Duration::from_secs(self.best.steps[at].at.since_start().as_secs()));
            for earlier in [gap, gap / 2, self.best.steps[at].at.since(whole)] {
                let earlier = Duration::from_millis(earlier.as_millis() as u64);
                self.change(|script| {
                    for step in script.steps.iter_mut().skip(at) {
                        step.at = (step.at - earlier).max(before);
                    }
                    script.end = script.end - earlier;
                });
            }
        }
    }

    fn change(&mut self, change: impl FnOnce(&mut Script)) {
        let mut candidate = self.best.clone();
        change(&mut candidate);
        self.attempt(candidate);
    }
}

/// The same kind of thing with less in it.
fn plainer_acts(what: &What) -> Vec<Act> {
    match what {
        What::Act(Act::Edit(user, weight)) if *weight > 0 => vec![Act::Edit(*user, 5)],
        What::Act(Act::ReAdd(user, weight)) if *weight > 0 => vec![Act::ReAdd(*user, 5), Act::Edit(*user, 5)],
        What::Act(Act::Add(user, weight)) if *weight > 0 => vec![Act::Add(*user, 5)],
        What::Act(Act::Configure(service, _)) => vec![Act::Configure(*service, Rules::default())],
        What::Act(Act::Faults(fault, percent)) if *percent > 0 => vec![Act::Faults(*fault, 100)],
        What::Act(Act::Pauses(_)) => vec![Act::Pauses(Duration::from_secs(10))],
        What::Act(Act::Fails { addr, outcome, .. }) => {
            vec![Act::Fails { addr: *addr, port: None, outcome: *outcome }]
        }
        What::Act(Act::BeforeWrite(act)) => vec![act.as_ref().clone()],
        What::Act(_) | What::Expect(..) => Vec::new(),
    }
}
