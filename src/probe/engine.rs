//! The threads that probe, each with a runtime of its own.
//!
//! A target stays with one thread, and with it the connection that it keeps. Nothing of a probe crosses threads
//! but its beginning and its end, and both travel in batches: a wake for each would cost as much as a probe.

mod lines;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;

use self::lines::{Lines, Slot};
use super::Prober;
use super::kept::Kept;
use crate::model::{Mono, Outcome, ProbeReport, Target, WireEnd};

/// As many beginnings or ends are handled at one time.
const BATCH: usize = 256;
/// So long a pass may wait for others to be reported with.
const PATIENCE: Duration = Duration::from_millis(4);
/// While so many probes are under way in a thread, it lets answers gather for this long before it looks: to be woken
/// for each costs more than the answer, and what it measures is at most so much too long.
const MANY: usize = 16;
const GATHER: Duration = Duration::from_micros(500);
/// A thread has so many targets without TLS before the next one gets any. They share its wakings; half of its
/// time is enough to probe them once a second.
const PLAIN_TARGETS: u64 = 6000;
/// How often a thread looks for what is kept of targets that are gone.
const SWEEP: Duration = Duration::from_secs(60);

/// What is heard of the target that has this id.
#[derive(Debug)]
pub enum Told {
    Probed {
        id: u64,
        report: ProbeReport,
    },
    /// The connection that it keeps is the wire of this turn.
    WireArmed {
        id: u64,
        turn: u32,
    },
    /// It keeps none just now: the wire has to be a connection of its own.
    NoLine {
        id: u64,
        turn: u32,
    },
    WireEnded {
        id: u64,
        turn: u32,
        end: WireEnd,
    },
}

/// Carries out probes on threads of its own, until it is dropped.
pub struct Engine {
    threads: Vec<mpsc::UnboundedSender<Job>>,
}

/// Whoever asks for probes bounds their number, and with it these queues.
enum Job {
    Probe { id: u64, target: Arc<Target> },
    Arm { id: u64, turn: u32 },
    Disarm { id: u64, turn: u32 },
}

impl Engine {
    /// The reports come in batches, `room` of them at most before a thread waits.
    pub fn start(
        prober: &Prober,
        threads: usize,
        room: usize,
    ) -> io::Result<(Engine, mpsc::Receiver<Vec<Told>>)> {
        let (tell, told) = mpsc::channel(room.max(1));
        let start = |n| {
            let under_way = Arc::new(AtomicUsize::new(0));
            let watched = Arc::clone(&under_way);
            let gather = move || {
                if watched.load(Ordering::Relaxed) >= MANY {
                    std::thread::sleep(GATHER);
                }
            };
            let mut builder = tokio::runtime::Builder::new_current_thread();
            let runtime = builder.enable_all().on_thread_park(gather).build()?;
            let (jobs, queue) = mpsc::unbounded_channel();
            let work = work(Arc::new(prober.clone()), queue, tell.clone(), under_way);
            std::thread::Builder::new().name(format!("probe-{n}")).spawn(move || runtime.block_on(work))?;
            Ok(jobs)
        };
        let threads = (0..threads.max(1)).map(start).collect::<io::Result<_>>()?;
        Ok((Engine { threads }, told))
    }

    /// Begins a probe; one at a time for each id.
    pub fn probe(&self, id: u64, target: Arc<Target>) {
        let thread = self.thread(id, &target);
        self.send(thread, Job::Probe { id, target });
    }

    /// Takes the connection that this target keeps for a tripwire: it is told of as armed and, later, as ended.
    pub fn arm(&self, id: u64, turn: u32, target: &Target) {
        self.send(self.thread(id, target), Job::Arm { id, turn });
    }

    /// It is no tripwire any more, and nothing is told of it.
    pub fn disarm(&self, id: u64, turn: u32, target: &Target) {
        self.send(self.thread(id, target), Job::Disarm { id, turn });
    }

    fn thread(&self, id: u64, target: &Target) -> usize {
        let turn = if target.spec.kind.by_tls() { id } else { id / PLAIN_TARGETS };
        usize::try_from(turn % self.threads.len() as u64).unwrap_or(0)
    }

    fn send(&self, thread: usize, job: Job) {
        if self.threads[thread].send(job).is_err() {
            tracing::error!("a probing thread has ended");
        }
    }
}

/// What is heard within a thread.
#[expect(clippy::large_enum_variant, reason = "nearly all are finished probes")]
enum Happened {
    Done { id: u64, report: ProbeReport, kept: Option<Kept>, again_by: Mono },
    LineEnded { id: u64, end: WireEnd },
}

async fn work(
    prober: Arc<Prober>,
    mut jobs: mpsc::UnboundedReceiver<Job>,
    tell: mpsc::Sender<Vec<Told>>,
    under_way: Arc<AtomicUsize>,
) {
    let (happened, mut results) = mpsc::unbounded_channel();
    let (mut starting, mut finished) = (Vec::with_capacity(BATCH), Vec::with_capacity(BATCH));
    let mut lines = Lines::default();
    let mut swept = prober.clock.mono();
    let mut ready = Ready::default();
    loop {
        tokio::select! {
            _ = results.recv_many(&mut finished, BATCH) => {
                for one in finished.drain(..) {
                    let (id, wire) = match one {
                        Happened::LineEnded { id, end } => (id, lines.ended(id, end)),
                        Happened::Done { id, report, kept, again_by } => {
                            under_way.fetch_sub(1, Ordering::Relaxed);
                            let outcome = report.outcome;
                            ready.add(Told::Probed { id, report }, prober.clock.mono());
                            let put = |kept| lines.put(id, kept, again_by, outcome, &happened);
                            (id, kept.and_then(put))
                        }
                    };
                    if let Some((turn, end)) = wire {
                        ready.add(Told::WireEnded { id, turn, end }, prober.clock.mono());
                    }
                }
                if under_way.load(Ordering::Relaxed) == 0 {
                    ready.at_once();
                }
            }
            taken = jobs.recv_many(&mut starting, BATCH) => {
                if taken == 0 {
                    return;
                }
                for job in starting.drain(..) {
                    match job {
                        Job::Probe { id, target } => {
                            under_way.fetch_add(1, Ordering::Relaxed);
                            let kept = target.spec.kind.fresh_every().map(|_| lines.take(id));
                            tokio::spawn(one(Arc::clone(&prober), id, target, kept, happened.clone()));
                        }
                        Job::Arm { id, turn } => {
                            let told = match lines.arm(id, turn, &happened) {
                                true => Told::WireArmed { id, turn },
                                false => Told::NoLine { id, turn },
                            };
                            ready.add(told, prober.clock.mono());
                        }
                        Job::Disarm { id, turn } => lines.disarm(id, turn),
                    }
                }
                let now = prober.clock.mono();
                if now.since(swept) >= SWEEP {
                    swept = now;
                    lines.sweep(now);
                }
            }
            () = tokio::time::sleep_until(prober.instant(ready.by)), if !ready.told.is_empty() => {}
        }
        // Whoever wanted them has ended.
        if ready.by <= prober.clock.mono() && !ready.told.is_empty() && tell.send(ready.take()).await.is_err()
        {
            return;
        }
    }
}

/// Reports on their way out. To hand one over wakes a thread, which costs as much as a third of a probe: passes wait
/// a moment for others. What did not pass waits for nothing, and nothing waits where no other probe is under way.
#[derive(Default)]
struct Ready {
    told: Vec<Told>,
    by: Mono,
}

impl Ready {
    fn add(&mut self, told: Told, now: Mono) {
        if self.told.is_empty() {
            self.by = now + PATIENCE;
        }
        let may_wait = matches!(&told, Told::Probed { report, .. } if report.outcome == Outcome::Pass);
        self.told.push(told);
        if !may_wait || self.told.len() >= BATCH {
            self.at_once();
        }
    }

    fn at_once(&mut self) {
        self.by = Mono::default();
    }

    fn take(&mut self) -> Vec<Told> {
        let room = self.told.len();
        std::mem::replace(&mut self.told, Vec::with_capacity(room))
    }
}

async fn one(
    prober: Arc<Prober>,
    id: u64,
    target: Arc<Target>,
    slot: Option<Slot>,
    happened: mpsc::UnboundedSender<Happened>,
) {
    let (report, kept) = match slot {
        Some(slot) => {
            let mut kept = slot.take(id).await;
            (prober.run_kept(&target, &mut kept).await, Some(kept))
        }
        None => (prober.run(&target).await, None),
    };
    tracing::trace!(target = %target.addr.addr, port = target.port, outcome = ?report.outcome, detail = report.detail, "probe");
    // A target that is probed no more gives back what it kept.
    let again_by = report.ended + target.spec.pace.interval * 2 + SWEEP;
    // The thread has ended: nobody wants the result.
    let _ = happened.send(Happened::Done { id, report, kept, again_by });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{FailReason, LocalReason, Phases};

    #[test]
    fn passes_wait_for_others_and_nothing_else_does() {
        let now = Mono::from_start(Duration::from_secs(5));
        let (phases, detail) = (Phases::default(), String::new());
        let report = ProbeReport {
            outcome: Outcome::Pass,
            phases,
            connected: None,
            http_status: None,
            share: None,
            chain: None,
            detail,
            started: now,
            ended: now,
        };
        let probed = |outcome| Told::Probed { id: 1, report: ProbeReport { outcome, ..report.clone() } };
        let mut ready = Ready::default();
        ready.add(probed(Outcome::Pass), now);
        assert_eq!(ready.by, now + PATIENCE);
        ready.add(probed(Outcome::Pass), now + PATIENCE / 2);
        assert_eq!((ready.by, ready.told.len()), (now + PATIENCE, 2), "the first one's time counts");
        for urgent in [
            probed(Outcome::Fail(FailReason::Reset)),
            probed(Outcome::Inconclusive(LocalReason::Late)),
            Told::WireEnded { id: 1, turn: 1, end: WireEnd::Tripped },
        ] {
            let mut ready = Ready::default();
            ready.add(probed(Outcome::Pass), now);
            ready.add(urgent, now);
            assert!(ready.by <= now && ready.take().len() == 2 && ready.told.is_empty());
        }
        (0..BATCH).for_each(|_| ready.add(probed(Outcome::Pass), now));
        assert!(ready.by <= now, "as many as one message holds");
    }
}
