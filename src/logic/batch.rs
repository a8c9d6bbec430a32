//! How much of what is due goes into one cycle, and whose turn it is.
//!
//! Every part of a plan may be made without the rest: drains count on no restore, and what waits is
//! planned anew, on the kernel's weights, before it is made. So a verdict that changes between two
//! cycles takes back whatever was not yet written.

use std::collections::{BTreeMap, VecDeque};

use super::controller::{Changes, Controller};
use super::event::{Command, Note};
use super::plan::{Plan, ServiceFacts};
use crate::model::{Direction, Held, HeldReason, Mono, ServiceKey, WeightChange};

/// Weight changes of one cycle. A cycle writes the whole ledger and plans whatever waits anew, so small
/// ones cost a mass failure a multiple of its work; and it must end before a restore that comes meanwhile
/// gets its turn, and well within the grace of a stop: so many take the kernel an eighth of a second.
pub const CHANGES_PER_CYCLE: usize = 5_000;

/// For how many one change counts. `mh` fills its whole lookup table anew after each
/// (`ip_vs_mh_reassign` in net/netfilter/ipvs/ip_vs_mh.c): a quarter of a millisecond.
fn cost(scheduler: &str) -> usize {
    if scheduler == "mh" { 5 } else { 1 }
}

/// Changes of one service before the next one has its turn: one send of the kernel's writer.
const CHANGES_PER_TURN: usize = 100;

/// What brings servers back goes first. A step of a ramp is in no hurry.
const ORDER: [Direction; 3] = [Direction::Restore, Direction::Drain, Direction::Adjust];

/// A planned change.
pub type Due = (WeightChange, Direction);

/// Whose turn it was last, for each direction: who waits longest is next, so nobody starves.
#[derive(Debug, Default)]
pub struct Turns {
    last: BTreeMap<Direction, ServiceKey>,
}

impl Turns {
    /// What fits into `room` out of `due`, which has the changes of each service in the planner's order;
    /// one of a service takes up its `cost`.
    pub fn share(
        &mut self,
        due: &BTreeMap<ServiceKey, Vec<Due>>,
        cost: impl Fn(&ServiceKey) -> usize,
        room: usize,
    ) -> Changes {
        let (mut picked, mut left) = (Changes::new(), room);
        for direction in ORDER {
            let line = |(service, due): (&ServiceKey, &Vec<Due>)| {
                let line: VecDeque<Due> = due.iter().filter(|d| d.1 == direction).copied().collect();
                (!line.is_empty()).then_some((*service, line))
            };
            let mut queue: VecDeque<(ServiceKey, VecDeque<Due>)> = due.iter().filter_map(line).collect();
            if let Some(last) = self.last.get(&direction) {
                let passed = queue.partition_point(|(service, _)| service <= last);
                queue.rotate_left(passed);
            }
            while left > 0
                && let Some((service, mut line)) = queue.pop_front()
            {
                let cost = cost(&service);
                let whole = line.len().min(CHANGES_PER_TURN.min(room.div_ceil(cost)));
                let turn = whole.min(left.div_ceil(cost));
                left = left.saturating_sub(turn * cost);
                picked.extend(line.drain(..turn).map(|due| ((service, due.0.dest), due)));
                if turn == whole {
                    self.last.insert(direction, service);
                } // else it goes on first in the next cycle
                if !line.is_empty() {
                    queue.push_back((service, line));
                }
            }
        }
        picked
    }
}

impl Controller {
    /// The changes of this cycle. What is left of `plans` is held, and planned anew in the next one.
    pub(super) fn next_batch(
        &mut self,
        by_hand: Changes,
        plans: &mut [(ServiceFacts, Plan)],
        now: Mono,
        out: &mut Vec<Command>,
    ) -> Changes {
        let due = plans.iter().map(|(facts, plan)| {
            let due = plan.changes.iter().filter(|(change, _)| self.may_write(change, now));
            (facts.key, due.copied().collect())
        });
        let due: BTreeMap<ServiceKey, Vec<Due>> = due.collect();
        let mut batch = by_hand;
        let room = self.changes_per_cycle.saturating_sub(batch.len());
        let table = self.snapshot.clone();
        let cost = |key: &ServiceKey| table.as_ref()?.service(key).map(|vs| cost(&vs.scheduler));
        batch.extend(self.turns.share(&due, |key| cost(key).unwrap_or(1), room));
        let mut waiting = 0;
        for (facts, plan) in plans {
            let waits = |(change, _): &Due| {
                !batch.contains_key(&(change.service, change.dest)) && self.may_write(change, now)
            };
            let (later, made): (Vec<Due>, _) = std::mem::take(&mut plan.changes).into_iter().partition(waits);
            plan.changes = made;
            let held =
                |(change, _): &Due| (change.dest, Held { reason: HeldReason::RateLimit, would: change.to });
            plan.held.extend(later.iter().map(held));
            if !later.is_empty() {
                self.dirty.insert(facts.key);
            }
            waiting += later.len();
        }
        self.note_waiting(waiting, now, out);
        batch
    }

    /// Said once for all of them, and once when it is over: nobody reads thousands of lines.
    fn note_waiting(&mut self, waiting: usize, now: Mono, out: &mut Vec<Command>) {
        if waiting > 0 && self.limited_since.is_none() {
            self.limited_since = Some(now);
            let per_cycle = self.changes_per_cycle;
            out.push(Command::Log(Note::RateLimited { waiting, per_cycle }));
        } else if waiting == 0
            && let Some(since) = self.limited_since.take()
        {
            out.push(Command::Log(Note::RateLimitOver { after: now.since(since) }));
        }
    }
}
