//! The connections that a thread keeps between the probes of its targets, and which of them are watched: a
//! connection that waits for the next probe is a tripwire as well.

use std::collections::HashMap;

use tokio::sync::{mpsc, oneshot};

use super::Happened;
use crate::model::{FailReason, Mono, Outcome, WireEnd, WireTrouble};
use crate::probe::Kept;

#[derive(Default)]
pub(super) struct Lines {
    /// With the time after which nobody will want it any more.
    kept: HashMap<u64, (Slot, Mono)>,
    /// The turn of each wire that is a kept connection.
    wires: HashMap<u64, u32>,
}

/// What a target keeps.
pub(super) enum Slot {
    Still(Kept),
    /// A task of its own waits for its end.
    Watched {
        recall: oneshot::Sender<()>,
        back: oneshot::Receiver<Kept>,
    },
}

impl Slot {
    fn watched(mut kept: Kept, id: u64, happened: mpsc::UnboundedSender<Happened>) -> Slot {
        let (recall, recalled) = oneshot::channel();
        let (give, back) = oneshot::channel();
        tokio::spawn(async move {
            tokio::select! {
                biased;
                // Wanted for a probe, or by nobody any more.
                _ = recalled => {}
                end = kept.ended() => {
                    // Here and below: the thread has ended, or the target is gone.
                    let _ = happened.send(Happened::LineEnded { id, end });
                }
            }
            let _ = give.send(kept);
        });
        Slot::Watched { recall, back }
    }

    /// For the next probe.
    pub async fn take(self, id: u64) -> Kept {
        match self {
            Slot::Still(kept) => kept,
            Slot::Watched { recall, back } => {
                // An error: its end was seen, and it is on its way back.
                let _ = recall.send(());
                back.await.unwrap_or_else(|_| Kept::beginning_at(id))
            }
        }
    }
}

impl Lines {
    /// At the beginning of a probe.
    pub fn take(&mut self, id: u64) -> Slot {
        self.kept.remove(&id).map_or_else(|| Slot::Still(Kept::beginning_at(id)), |(slot, _)| slot)
    }

    /// After a probe with this outcome. What has become of the wire that it was, if that is over: one that the
    /// server cut or refused under the probe has tripped; after any other failure the next probe may make it anew.
    pub fn put(
        &mut self,
        id: u64,
        kept: Kept,
        until: Mono,
        outcome: Outcome,
        happened: &mpsc::UnboundedSender<Happened>,
    ) -> Option<(u32, WireEnd)> {
        let wired = self.wires.contains_key(&id);
        let held = kept.has_line();
        let slot = match wired && held {
            true => Slot::watched(kept, id, happened.clone()),
            false => Slot::Still(kept),
        };
        self.kept.insert(id, (slot, until));
        let end = match outcome {
            Outcome::Pass => WireEnd::NotHeld(WireTrouble::Refused),
            Outcome::Fail(FailReason::Reset | FailReason::ConnectRefused) => WireEnd::Tripped,
            Outcome::Fail(_) | Outcome::Inconclusive(_) => return None,
        };
        if held { None } else { self.ended(id, end) }
    }

    /// From now on the connection that is kept is this wire; false: there is none that waits.
    pub fn arm(&mut self, id: u64, turn: u32, happened: &mpsc::UnboundedSender<Happened>) -> bool {
        let Some((slot, until)) = self.kept.remove(&id) else { return false };
        let (slot, armed) = match slot {
            Slot::Still(kept) if kept.has_line() => (Slot::watched(kept, id, happened.clone()), true),
            // Of an earlier turn: whoever watches it tells its end.
            Slot::Watched { .. } => (slot, true),
            Slot::Still(_) => (slot, false),
        };
        self.kept.insert(id, (slot, until));
        if armed {
            self.wires.insert(id, turn);
        }
        armed
    }

    /// The connection stays, for the probes.
    pub fn disarm(&mut self, id: u64, turn: u32) {
        if self.wires.get(&id) == Some(&turn) {
            self.wires.remove(&id);
        }
    }

    /// The turn of the wire that this was, if it was one.
    pub fn ended(&mut self, id: u64, end: WireEnd) -> Option<(u32, WireEnd)> {
        self.wires.remove(&id).map(|turn| (turn, end))
    }

    /// Gives up what is kept of targets that are gone.
    pub fn sweep(&mut self, now: Mono) {
        self.kept.retain(|_, (_, until)| *until >= now);
        self.wires.retain(|id, _| self.kept.contains_key(id));
    }
}
