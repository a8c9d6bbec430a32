//! What the loop leaves to others: the kernel's table to a thread, the machine's addresses to a task.

use std::io;

use tokio::sync::mpsc;

use crate::addresses::Watcher;
use crate::failpoint::{self, Point};
use crate::ipvs::Table;
use crate::logic::Event;
use crate::model::WeightChange;

pub(super) enum TableJob {
    Read,
    Set(Vec<WeightChange>),
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
