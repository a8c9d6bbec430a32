//! The threads that probe, each with a runtime of its own.
//!
//! A target stays with one thread, and with it the connection that it keeps. Nothing of a probe crosses threads
//! but its beginning and its end, and both travel in batches: a wake for each would cost as much as a probe.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;

use super::Prober;
use super::kept::Kept;
use crate::model::{Mono, Outcome, ProbeReport, Target};

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

/// The finished probe of the target that has this id.
pub struct Ended {
    pub id: u64,
    pub report: ProbeReport,
}

/// Carries out probes on threads of its own, until it is dropped.
pub struct Engine {
    threads: Vec<mpsc::UnboundedSender<Job>>,
}

/// Whoever asks for probes bounds their number, and with it these queues.
struct Job {
    id: u64,
    target: Arc<Target>,
}

impl Engine {
    /// The reports come in batches, `room` of them at most before a thread waits.
    pub fn start(
        prober: &Prober,
        threads: usize,
        room: usize,
    ) -> io::Result<(Engine, mpsc::Receiver<Vec<Ended>>)> {
        let (ended, reports) = mpsc::channel(room.max(1));
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
            let work = work(Arc::new(prober.clone()), queue, ended.clone(), under_way);
            std::thread::Builder::new().name(format!("probe-{n}")).spawn(move || runtime.block_on(work))?;
            Ok(jobs)
        };
        let threads = (0..threads.max(1)).map(start).collect::<io::Result<_>>()?;
        Ok((Engine { threads }, reports))
    }

    /// Begins a probe; one at a time for each id.
    pub fn probe(&self, id: u64, target: Arc<Target>) {
        let turn = if target.spec.kind.by_tls() { id } else { id / PLAIN_TARGETS };
        let at = usize::try_from(turn % self.threads.len() as u64).unwrap_or(0);
        if self.threads[at].send(Job { id, target }).is_err() {
            tracing::error!("a probing thread has ended");
        }
    }
}

/// A probe's end, within its thread.
struct Done {
    ended: Ended,
    kept: Option<Kept>,
    again_by: Mono,
}

async fn work(
    prober: Arc<Prober>,
    mut jobs: mpsc::UnboundedReceiver<Job>,
    reports: mpsc::Sender<Vec<Ended>>,
    under_way: Arc<AtomicUsize>,
) {
    let (done, mut results) = mpsc::unbounded_channel();
    let (mut starting, mut finished) = (Vec::with_capacity(BATCH), Vec::with_capacity(BATCH));
    let mut kept: HashMap<u64, (Kept, Mono)> = HashMap::new();
    let mut swept = prober.clock.mono();
    let mut ready = Ready::default();
    loop {
        tokio::select! {
            _ = results.recv_many(&mut finished, BATCH) => {
                let others = under_way.fetch_sub(finished.len(), Ordering::Relaxed) - finished.len();
                for Done { ended, kept: line, again_by } in finished.drain(..) {
                    if let Some(line) = line {
                        kept.insert(ended.id, (line, again_by));
                    }
                    ready.add(ended, prober.clock.mono());
                }
                if others == 0 {
                    ready.at_once();
                }
            }
            taken = jobs.recv_many(&mut starting, BATCH) => {
                if taken == 0 {
                    return;
                }
                under_way.fetch_add(taken, Ordering::Relaxed);
                for Job { id, target } in starting.drain(..) {
                    let line = target.spec.kind.fresh_every().map(|_| {
                        kept.remove(&id).map_or_else(|| Kept::beginning_at(id), |(kept, _)| kept)
                    });
                    tokio::spawn(one(Arc::clone(&prober), id, target, line, done.clone()));
                }
                let now = prober.clock.mono();
                if now.since(swept) >= SWEEP {
                    swept = now;
                    kept.retain(|_, (_, again_by)| *again_by >= now);
                }
            }
            () = tokio::time::sleep_until(prober.instant(ready.by)), if !ready.ended.is_empty() => {}
        }
        // Whoever wanted them has ended.
        if ready.by <= prober.clock.mono()
            && !ready.ended.is_empty()
            && reports.send(ready.take()).await.is_err()
        {
            return;
        }
    }
}

/// Reports on their way out. To hand one over wakes a thread, which costs as much as a third of a probe: passes wait
/// a moment for others. What did not pass waits for nothing, and nothing waits where no other probe is under way.
#[derive(Default)]
struct Ready {
    ended: Vec<Ended>,
    by: Mono,
}

impl Ready {
    fn add(&mut self, ended: Ended, now: Mono) {
        if self.ended.is_empty() {
            self.by = now + PATIENCE;
        }
        let passed = ended.report.outcome == Outcome::Pass;
        self.ended.push(ended);
        if !passed || self.ended.len() >= BATCH {
            self.at_once();
        }
    }

    fn at_once(&mut self) {
        self.by = Mono::default();
    }

    fn take(&mut self) -> Vec<Ended> {
        let room = self.ended.len();
        std::mem::replace(&mut self.ended, Vec::with_capacity(room))
    }
}

async fn one(
    prober: Arc<Prober>,
    id: u64,
    target: Arc<Target>,
    mut kept: Option<Kept>,
    done: mpsc::UnboundedSender<Done>,
) {
    let report = match &mut kept {
        Some(kept) => prober.run_kept(&target, kept).await,
        None => prober.run(&target).await,
    };
    tracing::trace!(target = %target.addr.addr, port = target.port, outcome = ?report.outcome, detail = report.detail, "probe");
    // A target that is probed no more gives back what it kept.
    let again_by = report.ended + target.spec.pace.interval * 2 + SWEEP;
    // The thread has ended: nobody wants the result.
    let _ = done.send(Done { ended: Ended { id, report }, kept, again_by });
}
