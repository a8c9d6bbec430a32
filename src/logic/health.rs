//! Probe results of one target → its verdict.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{ChainExpiry, FailReason, Mono, Outcome, Pace, ProbeReport, Share, Verdict};

/// What is known of one target.
#[derive(Debug, Clone, Default)]
pub struct Health {
    /// `None` until `rise` passes or `fall` failures in a row were seen.
    pub verdict: Option<Verdict>,
    pub passes_in_a_row: u32,
    pub failures_in_a_row: u32,
    pub attempts: u64,
    pub failures: BTreeMap<FailReason, u64>,
    pub last: Option<Last>,
    pub last_conclusive: Option<Last>,
    pub last_pass: Option<Mono>,
    /// What it said at its last pass that it wants of its weight.
    pub share: Option<Share>,
    /// The certificates it presented last; a probe that came to none leaves them.
    pub chain: Option<Arc<ChainExpiry>>,
    /// The start of the present run of failures.
    pub failing_since: Option<Mono>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Last {
    pub outcome: Outcome,
    pub duration: Duration,
    pub ended: Mono,
    pub detail: Arc<str>,
    pub http_status: Option<u16>,
}

impl Health {
    /// Counts one result.
    ///
    /// A pass ends a run of failures and the other way round (trap 54); an inconclusive result
    /// neither counts nor ends one.
    pub fn record(&mut self, report: &ProbeReport, pace: &Pace) {
        let last = Last {
            outcome: report.outcome,
            duration: report.phases.total,
            ended: report.ended,
            detail: report.detail.as_str().into(),
            http_status: report.http_status,
        };
        self.last = Some(last.clone());
        if let Some(chain) = &report.chain {
            self.chain = Some(Arc::clone(chain));
        }
        match report.outcome {
            Outcome::Inconclusive(_) => return,
            Outcome::Pass => {
                self.failures_in_a_row = 0;
                self.failing_since = None;
                self.passes_in_a_row = self.passes_in_a_row.saturating_add(1);
                self.last_pass = Some(report.ended);
                self.share = report.share;
            }
            Outcome::Fail(reason) => {
                self.passes_in_a_row = 0;
                self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
                self.failing_since.get_or_insert(report.ended);
                *self.failures.entry(reason).or_default() += 1;
            }
        }
        self.attempts += 1;
        self.last_conclusive = Some(last);
        if self.failures_in_a_row >= pace.fall {
            self.verdict = Some(Verdict::Down);
        } else if self.passes_in_a_row >= pace.rise {
            self.verdict = Some(Verdict::Up);
        }
    }

    /// True while a verdict is being settled: there is none, or the last results speak against it.
    pub fn settling(&self) -> bool {
        match self.verdict {
            None => true,
            Some(Verdict::Up) => self.failures_in_a_row > 0,
            Some(Verdict::Down) => self.passes_in_a_row > 0,
        }
    }

    /// Whether the last conclusive probe failed; `None` before the first.
    pub fn failed_last(&self) -> Option<bool> {
        self.last_conclusive.as_ref().map(|last| matches!(last.outcome, Outcome::Fail(_)))
    }

    /// Why it fails now.
    pub fn fail_reason(&self) -> Option<FailReason> {
        match self.last_conclusive.as_ref()?.outcome {
            Outcome::Fail(reason) => Some(reason),
            Outcome::Pass | Outcome::Inconclusive(_) => None,
        }
    }
}

/// The verdict of several checks: down if one is down, up if all are up, else unknown.
pub fn combine(verdicts: impl IntoIterator<Item = Option<Verdict>>) -> Option<Verdict> {
    let mut any = false;
    let mut unknown = false;
    for verdict in verdicts {
        any = true;
        match verdict {
            Some(Verdict::Down) => return Some(Verdict::Down),
            Some(Verdict::Up) => {}
            None => unknown = true,
        }
    }
    (any && !unknown).then_some(Verdict::Up)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{LocalReason, Phases};

    const PACE: Pace = Pace {
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        fast_interval: Duration::from_millis(100),
        rise: 2,
        fall: 3,
        tripwire: false,
    };
    const PASS: Outcome = Outcome::Pass;
    const FAIL: Outcome = Outcome::Fail(FailReason::ConnectRefused);
    const LOST: Outcome = Outcome::Inconclusive(LocalReason::FdLimit);

    fn after(outcomes: &[Outcome]) -> Health {
        let mut health = Health::default();
        for outcome in outcomes {
            let report = ProbeReport {
                outcome: *outcome,
                phases: Phases::default(),
                connected: None,
                http_status: None,
                share: None,
                chain: None,
                detail: String::new(),
                started: Mono::ZERO,
                ended: Mono::ZERO,
            };
            health.record(&report, &PACE);
        }
        health
    }

    #[test]
    fn a_verdict_needs_its_count_in_a_row() {
        assert_eq!(after(&[PASS]).verdict, None);
        assert_eq!(after(&[PASS, PASS]).verdict, Some(Verdict::Up));
        assert_eq!(after(&[FAIL, FAIL]).verdict, None);
        assert_eq!(after(&[FAIL, FAIL, FAIL]).verdict, Some(Verdict::Down));
        // Trap 54: sporadic failures do not add up.
        assert_eq!(after(&[PASS, PASS, FAIL, FAIL, PASS, FAIL, FAIL]).verdict, Some(Verdict::Up));
        assert_eq!(after(&[FAIL, FAIL, FAIL, PASS, FAIL, PASS]).verdict, Some(Verdict::Down));
    }

    #[test]
    fn inconclusive_results_neither_count_nor_reset() {
        assert_eq!(after(&[LOST; 20]).verdict, None);
        assert_eq!(after(&[LOST; 20]).attempts, 0);
        assert_eq!(after(&[FAIL, FAIL, LOST, LOST, FAIL]).verdict, Some(Verdict::Down));
        assert_eq!(after(&[PASS, PASS, LOST, LOST, LOST, LOST]).verdict, Some(Verdict::Up));
    }

    #[test]
    fn the_certificates_seen_last_stay_known() {
        let chain = |not_after| Some(Arc::new(ChainExpiry { not_after, subject: "CN=a".into() }));
        let mut health = Health::default();
        for (outcome, seen, known) in [
            (PASS, chain(7), chain(7)),
            (FAIL, None, chain(7)),
            (FAIL, chain(9), chain(9)),
            (LOST, None, chain(9)),
            (LOST, chain(8), chain(8)),
        ] {
            let mut report = crate::logic::service::tests::report(outcome, Mono::ZERO);
            report.chain = seen;
            health.record(&report, &PACE);
            assert_eq!(health.chain, known);
        }
    }

    #[test]
    fn settling_is_until_rise_or_fall_decides() {
        assert!(after(&[]).settling());
        assert!(!after(&[PASS, PASS]).settling());
        assert!(after(&[PASS, PASS, FAIL]).settling());
        assert!(!after(&[PASS, PASS, FAIL, PASS]).settling());
        assert!(!after(&[FAIL, FAIL, FAIL]).settling());
        assert!(after(&[FAIL, FAIL, FAIL, PASS]).settling());
    }

    #[test]
    fn one_down_check_is_enough_and_unknown_decides_nothing() {
        use Verdict::{Down, Up};
        assert_eq!(combine([Some(Up), Some(Up)]), Some(Up));
        assert_eq!(combine([None, Some(Down)]), Some(Down));
        assert_eq!(combine([None, Some(Up)]), None);
        assert_eq!(combine([]), None);
    }
}
