//! The loop: turns the world into events, has the controller decide, executes its commands.
//!
//! The kernel's table belongs to one task, the ledger file to one blocking call at a time, each
//! probe to a task on one of the probing threads; all answer with an event. Nothing here decides anything.

mod handle;
mod log;
mod state;
mod tasks;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

pub use handle::*;
pub use state::State;
use tasks::{TableJob, follow_addresses, hold, spawn_table};

use crate::addresses::Watcher;
use crate::failpoint::{self, Point};
use crate::ipvs::Table;
use crate::log_lines::together;
use crate::logic::{Command, Controller, Event, Start, TargetId, WireId};
use crate::model::{HandDone, HandRefused, Mono, ReadFailure, Target, View};
use crate::os::{self, Clock};
use crate::probe::{Engine, Prober, Told};

/// How long a stop waits for what is under way, and what `restore-on-exit` asks for, to be read back and
/// put on record.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// What is due within one of these begins together: to be woken costs as much as a probe.
const SLOT: Duration = Duration::from_millis(10);
/// How long a view is shown to those who ask while it is still being shown to others.
const VIEW_SHARED: Duration = Duration::from_millis(200);

/// What the loop works with.
pub struct Parts {
    pub clock: Clock,
    pub start: Start,
    pub table: Table,
    pub prober: Prober,
    /// `None`: the table is of no machine, so that none of its addresses is here or elsewhere.
    pub addresses: Option<Watcher>,
    pub state: State,
    pub requests: mpsc::Receiver<Request>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// Somebody asked for it.
    #[error("stopped")]
    Stopped,
    /// The very first read was refused: going on would only pretend to manage anything.
    #[error(transparent)]
    NoPermission(ReadFailure),
    #[error("starting the threads for probes and the table failed: {0}")]
    NoThreads(String),
}

/// [`run`] on a thread and a runtime of its own: the loop is woken hundreds of times a second, which scrapes are neither
/// to delay nor to make dearer.
pub fn start(parts: Parts) -> io::Result<oneshot::Receiver<Ended>> {
    let (tell, ended) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("agent".to_owned()).spawn(move || {
        let ended = runtime.block_on(run(parts));
        // Waits for a ledger that is just being saved.
        drop(runtime);
        // Whoever wanted to know has ended.
        let _ = tell.send(ended);
    })?;
    Ok(ended)
}

/// Runs until [`Request::Stop`], or until it is clear that it may not do its work.
pub async fn run(parts: Parts) -> Ended {
    let Parts { clock, start, table, prober, addresses, state, mut requests } = parts;
    let managing = start.policy.mode.is_some();
    // One message at most for the table, the ledger and the addresses each; those of tripwires come on
    // top, and whoever finds it full waits.
    let (events, mut inbox) = mpsc::channel(64);
    let engine = Engine::start(&prober, os::probing_threads(), start.probe_limit.in_flight);
    let ((engine, mut probed), table) = match (engine, spawn_table(table, events.clone())) {
        (Ok(engine), Ok(table)) => (engine, table),
        (Err(error), _) | (Ok(_), Err(error)) => return Ended::NoThreads(error.to_string()),
    };
    if let Some(watcher) = addresses {
        follow_addresses(watcher, events.clone());
    }
    let mut shell = Shell {
        table,
        events,
        prober,
        engine,
        state,
        waiting: Vec::new(),
        shown: Weak::new(),
        wires: BTreeMap::new(),
        hands: BTreeMap::new(),
        hands_asked: 0,
    };
    let mut controller = Controller::new(start, clock.now());
    let mut first_read = true;
    let mut stop_by: Option<Mono> = None;
    shell.step(&mut controller, Event::Tick, clock);
    loop {
        let wake = [controller.next_wake().map(end_of_slot), stop_by].into_iter().flatten().min();
        let wake = clock.instant(wake.unwrap_or_else(|| clock.mono() + Duration::from_secs(3600)));
        tokio::select! {
            Some(event) = inbox.recv() => {
                if let Event::TableRead(result) = &event {
                    if let (true, true, Err(failure @ ReadFailure::NoPermission)) = (first_read, managing, result) {
                        return Ended::NoPermission(failure.clone());
                    }
                    first_read = false;
                    if let Ok(snapshot) = result {
                        shell.prober.set_virtual_addresses(snapshot.virtual_addresses());
                    }
                }
                shell.step(&mut controller, event, clock);
            }
            Some(told) = probed.recv() => {
                for told in told {
                    if let Some(event) = shell.heard(told) {
                        shell.step(&mut controller, event, clock);
                    }
                }
            }
            Some(request) = requests.recv(), if stop_by.is_none() => {
                if shell.answer(&mut controller, request, &mut requests, clock) {
                    stop_by = Some(clock.mono() + STOP_GRACE);
                    shell.step(&mut controller, Event::Stopping, clock);
                }
            }
            () = tokio::time::sleep_until(wake.into()) => shell.step(&mut controller, Event::Tick, clock),
        }
        if let Some(by) = stop_by
            && (controller.at_rest() || clock.mono() >= by)
        {
            controller.last_words().iter().for_each(log::note);
            return Ended::Stopped;
        }
    }
}

fn end_of_slot(due: Mono) -> Mono {
    let (since_start, slot) = (due.since_start(), SLOT.as_nanos());
    let over = since_start.as_nanos() % slot;
    let wait = if over == 0 { 0 } else { slot - over };
    due + Duration::from_nanos(u64::try_from(wait).unwrap_or(0))
}

/// The executing side of the loop.
struct Shell {
    events: mpsc::Sender<Event>,
    table: mpsc::Sender<TableJob>,
    /// For probes by hand.
    prober: Prober,
    engine: Engine,
    state: State,
    wires: BTreeMap<WireId, Held>,
    /// Who waits for the next view.
    waiting: Vec<oneshot::Sender<Arc<View>>>,
    /// The last view published, while somebody still has it.
    shown: Weak<View>,
    /// Who waits for the answer to a request by hand.
    hands: BTreeMap<u64, oneshot::Sender<Result<Vec<HandDone>, HandRefused>>>,
    hands_asked: u64,
}

/// Who holds a wire.
enum Held {
    Task(AbortHandle),
    /// It is the connection that the target keeps for its probes.
    Engine(Arc<Target>),
}

impl Shell {
    /// What a probing thread said, as the controller hears it.
    fn heard(&mut self, told: Told) -> Option<Event> {
        let wire = |id, turn| WireId { target: TargetId(id), turn };
        match told {
            Told::Probed { id, report } => Some(Event::ProbeEnded { id: TargetId(id), report }),
            Told::WireArmed { id, turn } => Some(Event::WireArmed(wire(id, turn))),
            Told::WireEnded { id, turn, end } => Some(Event::WireEnded { wire: wire(id, turn), end }),
            Told::NoLine { id, turn } => {
                let wire = wire(id, turn);
                if let Some(Held::Engine(target)) = self.wires.remove(&wire) {
                    self.hold(wire, target);
                }
                None
            }
        }
    }

    fn hold(&mut self, wire: WireId, target: Arc<Target>) {
        let held = tokio::spawn(hold(self.prober.clone(), wire, target, self.events.clone()));
        self.wires.insert(wire, Held::Task(held.abort_handle()));
    }

    fn step(&mut self, controller: &mut Controller, event: Event, clock: Clock) {
        if let Event::WireEnded { wire, .. } = &event {
            self.wires.remove(wire);
        }
        let commands = controller.step(event, clock.now());
        let _lines = together();
        for command in commands {
            self.execute(command);
        }
    }

    fn execute(&mut self, command: Command) {
        match command {
            Command::ReadTable => self.send_table(TableJob::Read),
            Command::SetWeights(changes) => self.send_table(TableJob::Set(changes)),
            Command::Probe { id, target } => self.engine.probe(id.0, target),
            Command::ArmWire { wire, target } if target.spec.kind.fresh_every().is_some() => {
                self.engine.arm(wire.target.0, wire.turn, &target);
                self.wires.insert(wire, Held::Engine(target));
            }
            Command::ArmWire { wire, target } => self.hold(wire, target),
            Command::DropWire(wire) => match self.wires.remove(&wire) {
                Some(Held::Task(held)) => held.abort(),
                Some(Held::Engine(target)) => self.engine.disarm(wire.target.0, wire.turn, &target),
                None => {}
            },
            Command::SaveLedger { generation, ledger } => {
                let (state, events) = (self.state.clone(), self.events.clone());
                tokio::task::spawn_blocking(move || {
                    failpoint::reach(Point::BeforeSave);
                    let result = state.save(&ledger);
                    failpoint::reach(Point::AfterSave);
                    let _ = events.blocking_send(Event::LedgerSaved { generation, result });
                });
            }
            Command::OpenLedger => {
                let (state, events) = (self.state.clone(), self.events.clone());
                tokio::task::spawn_blocking(move || {
                    let (result, again) = state.open();
                    let _ = events.blocking_send(Event::LedgerOpened { result, again });
                });
            }
            Command::Publish(view) => {
                self.shown = Arc::downgrade(&view);
                for reply in self.waiting.drain(..) {
                    // Whoever asked has gone.
                    let _ = reply.send(view.clone());
                }
            }
            Command::AnswerHand { id, result } => {
                // Whoever asked may have gone; what was taken on stays so.
                self.shown = Weak::new();
                if let Some(reply) = self.hands.remove(&id) {
                    let _ = reply.send(result);
                }
            }
            Command::Log(note) => log::note(&note),
        }
    }

    /// The controller has one read and one write under way at most, so there is always room.
    fn send_table(&self, job: TableJob) {
        if self.table.try_send(job).is_err() {
            tracing::error!("the table's task takes no more work");
        }
    }

    /// Scrapes at one time show one view: that of 40,000 real servers takes megabytes and milliseconds.
    /// What was asked for by hand is in every view that is given out after its answer.
    fn shown(&self, max_age: Duration, clock: Clock) -> Option<Arc<View>> {
        let view = self.shown.upgrade()?;
        let age = clock.mono().since(view.now.mono);
        (age < VIEW_SHARED.min(max_age)).then_some(view)
    }

    /// Answers a request; true if it is the end.
    fn answer(
        &mut self,
        controller: &mut Controller,
        request: Request,
        more: &mut mpsc::Receiver<Request>,
        clock: Clock,
    ) -> bool {
        match request {
            Request::View { .. } | Request::ViewAtOnce { .. } => {
                // All that wait by now share one view.
                let (mut wanted, mut at_once) = (None::<Duration>, Vec::new());
                let (mut next, mut other) = (Some(request), None);
                while let Some(request) = next.take().or_else(|| more.try_recv().ok()) {
                    match request {
                        Request::View { max_age, reply } => {
                            if let Some(view) = self.shown(max_age, clock) {
                                // Whoever asked has gone.
                                let _ = reply.send(view);
                                continue;
                            }
                            // While the kernel does not answer, those who asked before have given up.
                            self.waiting.retain(|waiting| !waiting.is_closed());
                            wanted = Some(wanted.map_or(max_age, |age| age.min(max_age)));
                            self.waiting.push(reply);
                        }
                        Request::ViewAtOnce { reply } => at_once.push(reply),
                        Request::Probe { .. }
                        | Request::Hand { .. }
                        | Request::Reloaded { .. }
                        | Request::Stop => {
                            other = Some(request);
                            break;
                        }
                    }
                }
                if !at_once.is_empty() {
                    let view = Arc::new(controller.view_at_once(clock.now()));
                    for reply in at_once {
                        // Whoever asked has gone.
                        let _ = reply.send(view.clone());
                    }
                }
                if let Some(max_age) = wanted {
                    self.step(controller, Event::ViewWanted { max_age }, clock);
                }
                other.is_some_and(|request| self.answer(controller, request, more, clock))
            }
            Request::Probe { service, dest, check, reply } => {
                let targets = controller.hand_targets(service, dest, check.as_deref());
                let prober = self.prober.clone();
                tokio::spawn(async move {
                    let answer = match targets {
                        Ok(targets) => Ok(probe_by_hand(&prober, targets).await),
                        Err(refused) => Err(refused),
                    };
                    let _ = reply.send(answer);
                });
                false
            }
            Request::Hand { request, reply } => {
                self.hands_asked += 1;
                let id = self.hands_asked;
                self.hands.insert(id, reply);
                self.step(controller, Event::Hand { id, request }, clock);
                false
            }
            Request::Reloaded { reloaded, reply } => {
                self.shown = Weak::new();
                let event = match reloaded {
                    Some(Reloaded { policy, hash, source_ports }) => {
                        Event::PolicyLoaded { policy, hash, source_ports }
                    }
                    None => Event::PolicyRefused,
                };
                self.step(controller, event, clock);
                let _ = reply.send(());
                false
            }
            Request::Stop => true,
        }
    }
}

/// One probe of each, one after the other.
pub async fn probe_by_hand(
    prober: &Prober,
    targets: Vec<(Arc<crate::model::Check>, crate::model::Target)>,
) -> Vec<HandProbe> {
    let mut done = Vec::with_capacity(targets.len());
    for (check, target) in targets {
        let report = prober.run(&target).await;
        let target = crate::model::DestKey { addr: target.addr.addr, port: target.port };
        done.push(HandProbe { check, target, report });
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_waits_for_the_end_of_its_slot() {
        let at = |us| Mono::from_start(Duration::from_micros(us));
        for (due, begins) in [(0, 0), (1, 10_000), (9999, 10_000), (10_000, 10_000), (10_001, 20_000)] {
            assert_eq!(end_of_slot(at(due)), at(begins), "{due} us");
        }
    }
}
