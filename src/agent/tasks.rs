//! What the loop leaves to others: the kernel's table to a thread, the machine's addresses and each tripwire to a task.

use std::io;
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::addresses::Watcher;
use crate::failpoint::{self, Point};
use crate::ipvs::Table;
use crate::logic::{Event, WireId};
use crate::model::{Target, WeightChange, WireEnd};
use crate::probe::Prober;

pub(super) enum TableJob {
    Read,
    Set(Vec<WeightChange>),
}

/// The connection of one tripwire, from its beginning to its end.
pub(super) async fn hold(prober: Prober, wire: WireId, target: Arc<Target>, events: mpsc::Sender<Event>) {
    // On the heap while it lasts: there may be one of this task for each real server, at rest.
    let end = match Box::pin(prober.arm(&target)).await {
        Ok(connection) => {
            // Here and below: the loop has ended, nobody wants to know.
            let _ = events.send(Event::WireArmed(wire)).await;
            connection.ended().await
        }
        Err(trouble) => WireEnd::NotHeld(trouble),
    };
    let _ = events.send(Event::WireEnded { wire, end }).await;
}

/// The task that follows the machine's addresses.
pub(super) fn follow_addresses(mut watcher: Watcher, events: mpsc::Sender<Event>) {
    tokio::spawn(async move {
        loop {
            let addresses = watcher.next().await;
            if events.send(Event::Addresses(addresses)).await.is_err() {
                return;
            }
        }
    });
}

/// The thread that owns the table: it has one call under way at a time, for as long as the agent lives.
/// The kernel works inside the system calls, behind locks that others hold: the loop is not to wait there.
pub(super) fn spawn_table(
    mut table: Table,
    events: mpsc::Sender<Event>,
) -> io::Result<mpsc::Sender<TableJob>> {
    let (jobs, mut queue) = mpsc::channel(4);
    let work = async move {
        while let Some(job) = queue.recv().await {
            let event = match job {
                TableJob::Read => Event::TableRead(table.snapshot().await),
                TableJob::Set(changes) => {
                    failpoint::reach(Point::BeforeWrite);
                    let report = table.set_weights(&changes).await;
                    failpoint::reach(Point::AfterReadBack);
                    Event::WeightsSet(report)
                }
            };
            if events.send(event).await.is_err() {
                return;
            }
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("table".to_owned()).spawn(move || runtime.block_on(work))?;
    Ok(jobs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::TargetId;
    use crate::model::ScopedAddr;
    use crate::os::Clock;
    use crate::status::samples::check;

    #[test]
    fn a_tripwire_at_rest_is_small() {
        let addr = ScopedAddr { addr: [127, 0, 0, 1].into(), zone: None };
        let target = Arc::new(Target { spec: check("web").spec.clone(), addr, port: 80 });
        let (events, _inbox) = mpsc::channel(1);
        let wire = WireId { target: TargetId(1), turn: 1 };
        let task = hold(Prober::new(Clock::start()), wire, target, events);
        let bytes = std::mem::size_of_val(&task);
        assert!(bytes <= 1024, "{bytes} bytes");
    }
}
