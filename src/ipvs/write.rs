//! Writing weights, the one thing that this program changes in a kernel.
//!
//! For each service: one dump right before the write, the SET_DESTs with up to 100 in one send and an
//! acknowledgement each, one dump to read back. Nothing is asked twice unless something is amiss, so
//! 10,000 changes over 1,000 services are 3,000 round trips, and the time in which another writer could be
//! overwritten (trap 2) is that of one round trip. SET_DEST replaces the destination, so each is built
//! from the bytes just read (trap 1); what must not be written is found out before anything is sent.

use std::collections::BTreeMap;

use nix::errno::Errno;

use crate::failpoint::{self, Point};
use crate::model::{
    DestKey, Family, RealServer, ServiceKey, VirtualServer, Weight, WeightChange, WriteOutcome, WriteReport,
};

use super::abi;
use super::kernel::{KernelTable, SERVICES_PER_TURN, find, find_dest};
use super::port::Room;
use super::rows;
use super::transaction::{DONE, Failure, Link};
use super::wire::Malformed;

/// SET_DESTs in one send: their acknowledgements fit even the smallest receive buffer.
const WRITES_PER_SEND: usize = 100;

/// A change with its place in the order asked.
type Wanted<'a> = (usize, &'a WeightChange);
type Outcomes = Vec<Option<WriteOutcome>>;

impl KernelTable {
    pub async fn set_weights(&mut self, changes: &[WeightChange]) -> WriteReport {
        let mut outcomes: Outcomes = vec![None; changes.len()];
        let mut order: Vec<Wanted<'_>> = changes.iter().enumerate().collect();
        order.sort_by_key(|(_, change)| (change.service, change.dest));
        for pair in order.windows(2) {
            let ((_, first), (at, second)) = (pair[0], pair[1]);
            if (first.service, first.dest) == (second.service, second.dest) {
                outcomes[at] = Some(named_twice(second));
            }
        }
        for (at, change) in &order {
            if outcomes[*at].is_none() && change.to > Weight::MAX {
                outcomes[*at] = Some(too_heavy(change));
            }
        }
        order.retain(|(at, _)| outcomes[*at].is_none());

        let mut services = Vec::new();
        if let Err(failure) = self.ready().await.map(|_| ()) {
            self.forget_link_after(&failure);
            settle(&order, &mut outcomes, |_| not_written(&failure));
        } else {
            for (at, group) in order.chunk_by(|a, b| a.1.service == b.1.service).enumerate() {
                if at % SERVICES_PER_TURN == 0 {
                    tokio::task::yield_now().await;
                }
                services.extend(self.write_service(group, &mut outcomes).await);
            }
        }
        if let Some(link) = &mut self.link {
            link.finish_timing();
        }
        let unreached = || WriteOutcome::Failed("not reached".to_owned());
        let results = changes.iter().zip(outcomes).map(|(c, o)| (*c, o.unwrap_or_else(unreached)));
        WriteReport { results: results.collect(), services }
    }

    /// The changes of one service; its rows as they are afterwards, if they could be read.
    async fn write_service(
        &mut self,
        group: &[Wanted<'_>],
        outcomes: &mut Outcomes,
    ) -> Option<VirtualServer> {
        let service = group.first()?.1.service;
        let before = match self.read_before(service, group).await {
            Ok(before) => before,
            Err(failure) => {
                settle(group, outcomes, |_| not_written(&failure));
                return None;
            }
        };
        let mut sets = Vec::with_capacity(group.len());
        for (at, change) in group {
            match judge(change, &before.dests) {
                Judgement::Settled(outcome) => outcomes[*at] = Some(outcome),
                Judgement::Write => sets.push((*at, *change)),
            }
        }
        if sets.is_empty() {
            return if before.exists { self.row(service, before.dests).await } else { None };
        }
        self.write(service, &sets, &before.raw, outcomes).await;
        failpoint::reach(Point::AfterWrite);
        self.read_back(service, &sets, outcomes).await
    }

    /// One dump; a second one, or the question for the service itself, where something wanted is missing.
    async fn read_before(&mut self, service: ServiceKey, group: &[Wanted<'_>]) -> Result<Before, Failure> {
        let mut attempt = 1;
        loop {
            let result = self.try_read_before(service, group).await;
            let Err(failure) = &result else { return result };
            self.forget_link_after(failure);
            // ENOENT: perhaps the family's id went stale; `ready` asks for it anew.
            let again = failure.errno() == Some(Errno::ENOENT) || self.link.is_none();
            if attempt == 2 || !again || matches!(failure, Failure::NoIpvs | Failure::Deadline(_)) {
                return result;
            }
            attempt += 1;
            self.ready().await?;
        }
    }

    async fn try_read_before(
        &mut self,
        service: ServiceKey,
        group: &[Wanted<'_>],
    ) -> Result<Before, Failure> {
        let link = self.linked().await?;
        let mut raw = BTreeMap::new();
        let mut keep = |dest: &RealServer, bytes: &[u8]| {
            if group.binary_search_by_key(&dest.key, |(_, change)| change.dest).is_ok() {
                raw.insert(dest.key, bytes.to_vec());
            }
        };
        let mut dests = link.destinations(service, 0, &mut keep).await?;
        let missing = |dests: &[RealServer]| group.iter().any(|(_, c)| find_dest(dests, &c.dest).is_none());
        if dests.is_empty() {
            let exists = link.services_by_key(&[service]).await?.iter().any(Option::is_some);
            if !exists {
                return Ok(Before { dests, raw, exists });
            }
        }
        if missing(&dests) {
            link.telemetry.lock().dumps_retried += 1;
            let second = link.destinations(service, dests.len(), &mut keep).await?;
            dests = Link::both(dests, second);
        }
        Ok(Before { dests, raw, exists: true })
    }

    /// Sends the SET_DESTs. What has no outcome afterwards was acknowledged.
    async fn write(
        &mut self,
        service: ServiceKey,
        sets: &[Wanted<'_>],
        raw: &BTreeMap<DestKey, Vec<u8>>,
        outcomes: &mut Outcomes,
    ) {
        let mut results = Vec::new();
        let mut unsure = Vec::new();
        for batch in sets.chunks(WRITES_PER_SEND) {
            let Some(link) = &mut self.link else {
                settle(batch, outcomes, |_| {
                    WriteOutcome::Failed("not sent: the netlink socket failed before".to_owned())
                });
                continue;
            };
            let sent = queue(link, service, batch, raw, outcomes);
            let result = link.exchange(abi::SET_DEST, Room::Answers, &mut results, |_, _| Ok(())).await;
            for ((at, change), result_of_one) in sent.iter().zip(&results) {
                match result_of_one {
                    Some(DONE) => {}
                    Some(Errno::ESRCH | Errno::ENOENT) => unsure.push((*at, *change)),
                    Some(errno) => outcomes[*at] = Some(refused(change, *errno)),
                    None => {
                        let why = result.as_ref().err().map_or_else(String::new, ToString::to_string);
                        outcomes[*at] = Some(WriteOutcome::Unknown(why));
                    }
                }
            }
            if let Err(failure) = result {
                self.forget_link_after(&failure);
            }
        }
        self.settle_not_found(&unsure, outcomes).await;
    }

    /// ESRCH: no such service. ENOENT: no such destination, or no such family any more (trap 5).
    async fn settle_not_found(&mut self, unsure: &[Wanted<'_>], outcomes: &mut Outcomes) {
        let Some(link) = self.link.as_mut().filter(|_| !unsure.is_empty()) else {
            settle(unsure, outcomes, |_| {
                WriteOutcome::Failed("not found, and the netlink socket failed".to_owned())
            });
            return;
        };
        match link.resolve_family().await {
            Ok(false) => settle(unsure, outcomes, |_| WriteOutcome::Gone),
            Ok(true) => settle(unsure, outcomes, |_| {
                WriteOutcome::Failed("not written: the ip_vs module was loaded anew in between".to_owned())
            }),
            Err(failure) => {
                self.forget_link_after(&failure);
                settle(unsure, outcomes, |_| not_written(&failure));
            }
        }
    }

    /// Compares what was acknowledged with what the kernel shows now.
    async fn read_back(
        &mut self,
        service: ServiceKey,
        sets: &[Wanted<'_>],
        outcomes: &mut Outcomes,
    ) -> Option<VirtualServer> {
        let group: Vec<Wanted<'_>> = sets.iter().filter(|(at, _)| outcomes[*at].is_none()).copied().collect();
        let after = match self.read_before(service, &group).await {
            Ok(after) => after,
            Err(failure) => {
                settle(&group, outcomes, |_| {
                    WriteOutcome::Unknown(format!("acknowledged, but reading it back failed: {failure}"))
                });
                return None;
            }
        };
        settle(&group, outcomes, |change| match find_dest(&after.dests, &change.dest) {
            None => WriteOutcome::Gone,
            Some(dest) if dest.weight == change.to => WriteOutcome::Written,
            Some(dest) => WriteOutcome::ReadBack(dest.weight),
        });
        if after.exists { self.row(service, after.dests).await } else { None }
    }

    /// The service with these destinations: its own attributes are those of the last whole read, or read
    /// now where there was none.
    async fn row(&mut self, service: ServiceKey, dests: Vec<RealServer>) -> Option<VirtualServer> {
        let known =
            self.known.as_deref().and_then(|known| find(known, &service)).map(|known| VirtualServer {
                destinations: Vec::new(),
                key: known.key,
                scheduler: known.scheduler.clone(),
                flags: known.flags,
                persistence_timeout: known.persistence_timeout,
                netmask_prefix: known.netmask_prefix,
                persistence_engine: known.persistence_engine.clone(),
                counters: known.counters,
            });
        let row = match known {
            Some(row) => Some(row),
            None => self.link.as_mut()?.services_by_key(&[service]).await.ok()?.pop().flatten(),
        };
        row.map(|row| VirtualServer { destinations: dests, ..row })
    }

    async fn linked(&mut self) -> Result<&mut Link, Failure> {
        if self.link.is_none() {
            return self.ready().await;
        }
        self.link.as_mut().ok_or(Failure::NoIpvs)
    }
}

/// A service as it was read for a write.
struct Before {
    dests: Vec<RealServer>,
    /// The wanted ones as the kernel sent them.
    raw: BTreeMap<DestKey, Vec<u8>>,
    exists: bool,
}

enum Judgement {
    Settled(WriteOutcome),
    Write,
}

fn judge(change: &WeightChange, dests: &[RealServer]) -> Judgement {
    match find_dest(dests, &change.dest) {
        None => Judgement::Settled(WriteOutcome::Gone),
        Some(dest) if dest.weight != change.from => Judgement::Settled(WriteOutcome::Conflict(dest.weight)),
        // A SET that changes nothing still drops the route cache and rebuilds the scheduler's table.
        Some(dest) if dest.weight == change.to => Judgement::Settled(WriteOutcome::Written),
        Some(_) => Judgement::Write,
    }
}

/// Queues one batch; those that could be built.
fn queue<'a>(
    link: &mut Link,
    service: ServiceKey,
    batch: &[Wanted<'a>],
    raw: &BTreeMap<DestKey, Vec<u8>>,
    outcomes: &mut Outcomes,
) -> Vec<Wanted<'a>> {
    let mut sent = Vec::with_capacity(batch.len());
    for (at, change) in batch {
        let queued = link.queue(abi::SET_DEST, |w| {
            rows::put_service_id(w, service);
            match raw.get(&change.dest) {
                Some(row) => rows::put_reweighted(w, row, Family::of(change.dest.addr), change.to),
                None => w.fail(Malformed("the row to be changed was not read")),
            }
        });
        match queued {
            Ok(()) => sent.push((*at, *change)),
            Err(failure) => outcomes[*at] = Some(not_written(&failure)),
        }
    }
    sent
}

fn settle(group: &[Wanted<'_>], outcomes: &mut Outcomes, outcome: impl Fn(&WeightChange) -> WriteOutcome) {
    for (at, change) in group {
        outcomes[*at] = Some(outcome(change));
    }
}

fn not_written(failure: &Failure) -> WriteOutcome {
    WriteOutcome::Failed(format!("not written: {failure}"))
}

fn refused(change: &WeightChange, errno: Errno) -> WriteOutcome {
    let WeightChange { service, dest, to, .. } = change;
    WriteOutcome::Failed(format!("the kernel refused weight {to} for {dest} of {service}: {errno}"))
}

pub fn too_heavy(change: &WeightChange) -> WriteOutcome {
    let WeightChange { service, dest, to, .. } = change;
    WriteOutcome::Failed(format!(
        "weight {to} for {dest} of {service} is above the kernel's largest, {}",
        Weight::MAX
    ))
}

pub fn named_twice(change: &WeightChange) -> WriteOutcome {
    let WeightChange { service, dest, .. } = change;
    WriteOutcome::Failed(format!("{dest} of {service} is named twice in one batch of writes"))
}

#[cfg(test)]
mod tests;
