//! The kernel's table: whole reads, in which one absence is not a deletion.
//!
//! A dump is not a snapshot (trap 3): it resumes by index, over the services of all network namespaces,
//! so that a change elsewhere hides living rows without a sign. What was there at the last whole read
//! and is missing now is therefore asked for once more before it is left out.

use std::collections::BTreeSet;
use std::sync::Arc;

use nix::errno::Errno;
use tracing::{debug, warn};

use crate::model::{
    DestKey, IpvsInfo, ReadFailure, RealServer, ServiceKey, SharedTelemetry, Snapshot, SyncDaemon,
    TableSource, Timeouts, VirtualServer,
};
use crate::os::Clock;

use super::port::Host;
use super::transaction::{Failure, Link};

/// Whole reads tried before a failure is reported.
const READ_ATTEMPTS: u32 = 3;
/// After so many services other tasks get their turn: about a fifth of a millisecond.
pub(super) const SERVICES_PER_TURN: usize = 16;

pub struct KernelTable {
    host: Box<dyn Host>,
    pub(super) clock: Clock,
    telemetry: SharedTelemetry,
    pub(super) link: Option<Link>,
    /// The last whole read: what has to be asked for before it is believed to be gone.
    pub(super) known: Option<Vec<Arc<VirtualServer>>>,
    /// IP protocols already warned about.
    foreign_protocols: BTreeSet<u16>,
}

/// What is read over netlink.
struct Rows {
    info: IpvsInfo,
    timeouts: Timeouts,
    daemons: Vec<SyncDaemon>,
    services: Vec<Arc<VirtualServer>>,
}

impl KernelTable {
    pub fn new(host: Box<dyn Host>, clock: Clock, telemetry: SharedTelemetry) -> KernelTable {
        KernelTable { host, clock, telemetry, link: None, known: None, foreign_protocols: BTreeSet::new() }
    }

    pub async fn snapshot(&mut self) -> Result<Snapshot, ReadFailure> {
        let started = self.clock.mono();
        let rows = self.read_with_retries().await?;
        self.known = Some(rows.services.clone());
        let sysctls = self.host.sysctls();
        let totals = self.host.totals(&sysctls);
        let taken = self.clock.now();
        Ok(Snapshot {
            taken,
            duration: taken.mono.since(started),
            source: TableSource::Netlink,
            info: Some(rows.info),
            timeouts: Some(rows.timeouts),
            daemons: rows.daemons,
            totals,
            sysctls,
            services: rows.services,
        })
    }

    async fn read_with_retries(&mut self) -> Result<Rows, ReadFailure> {
        let mut attempt = 1;
        loop {
            let result = self.read().await;
            let failure = match result {
                Ok(rows) => return Ok(rows),
                Err(failure) => failure,
            };
            self.forget_link_after(&failure);
            if attempt == READ_ATTEMPTS || !worth_another_try(&failure) {
                return Err(read_failure(&failure));
            }
            debug!(%failure, attempt, "the IPVS table is read again");
            self.telemetry.lock().dumps_retried += 1;
            attempt += 1;
        }
    }

    /// A link whose family id is the one of this moment, so that no request goes to a family that took
    /// over the id of an unloaded module (trap 13).
    pub(super) async fn ready(&mut self) -> Result<&mut Link, Failure> {
        if !self.host.has_ipvs() {
            self.link = None;
            return Err(Failure::NoIpvs);
        }
        let link = match self.link.take() {
            Some(link) => link,
            None => {
                let port = self.host.open().map_err(|error| Failure::Socket("open", error))?;
                Link::new(port, self.clock, self.telemetry.clone())
            }
        };
        let link = self.link.insert(link);
        link.start_timing();
        link.resolve_family().await?;
        Ok(link)
    }

    pub(super) fn forget_link_after(&mut self, failure: &Failure) {
        if !failure.link_survives() {
            self.link = None;
        }
    }

    async fn read(&mut self) -> Result<Rows, Failure> {
        let known = self.known.clone();
        let link = self.ready().await?;
        let (info, timeouts) = link.settings().await?;
        let daemons = link.daemons().await?;
        // At the first read there is no memory; a dump of its own stands in for it.
        let known = match known {
            Some(known) => known,
            None => link.services().await?.services.into_iter().map(Arc::new).collect(),
        };
        let (mut services, foreign_protocols) = read_services(link, &known).await?;
        let mut doubtful = Vec::new();
        for (at, service) in services.iter_mut().enumerate() {
            if at % SERVICES_PER_TURN == 0 {
                tokio::task::yield_now().await;
            }
            let before = find(&known, &service.key).map_or(&[][..], |known| &known.destinations);
            service.destinations = read_destinations(link, service.key, before, &mut doubtful).await?;
        }
        drop_gone(link, &mut services, &doubtful).await?;
        link.finish_timing();
        self.warn_of_foreign_protocols(foreign_protocols);
        Ok(Rows { info, timeouts, daemons, services: services.into_iter().map(Arc::new).collect() })
    }

    fn warn_of_foreign_protocols(&mut self, numbers: Vec<u16>) {
        for protocol in numbers {
            if self.foreign_protocols.insert(protocol) {
                warn!(
                    protocol,
                    "a virtual server of this IP protocol is left out: IPVS schedules only tcp, udp and sctp"
                );
            }
        }
    }
}

/// One dump, plus those known services that it misses and that the kernel has when asked by key.
async fn read_services(
    link: &mut Link,
    known: &[Arc<VirtualServer>],
) -> Result<(Vec<VirtualServer>, Vec<u16>), Failure> {
    let dump = link.services().await?;
    let mut services = dump.services;
    let missing: Vec<ServiceKey> = known
        .iter()
        .map(|s| s.key)
        .filter(|key| services.binary_search_by_key(key, |s| s.key).is_err())
        .collect();
    if !missing.is_empty() {
        let hidden = link.services_by_key(&missing).await?;
        let before = services.len();
        services.extend(hidden.into_iter().flatten());
        if services.len() > before {
            link.telemetry.lock().dumps_interrupted += 1;
            services.sort_by_key(|service| service.key);
        }
    }
    Ok((services, dump.foreign_protocols))
}

/// The destinations of one service: a second dump where one of `before` is missing. Services that show
/// none are `doubtful`: a missing service gives the same answer as an empty one (trap 4).
async fn read_destinations(
    link: &mut Link,
    service: ServiceKey,
    before: &[RealServer],
    doubtful: &mut Vec<ServiceKey>,
) -> Result<Vec<RealServer>, Failure> {
    let mut found = link.destinations(service, before.len(), |_, _| {}).await?;
    let mut empty = found.is_empty();
    let missing: Vec<DestKey> =
        before.iter().map(|d| d.key).filter(|key| find_dest(&found, key).is_none()).collect();
    if !missing.is_empty() {
        link.telemetry.lock().dumps_retried += 1;
        let second = link.destinations(service, before.len(), |_, _| {}).await?;
        if missing.iter().any(|key| find_dest(&second, key).is_some()) {
            link.telemetry.lock().dumps_interrupted += 1;
        }
        // The service may have been deleted in the middle of the first dump.
        empty |= second.is_empty();
        found = Link::both(found, second);
    }
    if empty {
        doubtful.push(service);
    }
    Ok(found)
}

async fn drop_gone(
    link: &mut Link,
    services: &mut Vec<VirtualServer>,
    doubtful: &[ServiceKey],
) -> Result<(), Failure> {
    if doubtful.is_empty() {
        return Ok(());
    }
    let answers = link.services_by_key(doubtful).await?;
    let gone: BTreeSet<ServiceKey> =
        doubtful.iter().zip(&answers).filter(|(_, answer)| answer.is_none()).map(|(key, _)| *key).collect();
    services.retain(|service| !gone.contains(&service.key));
    Ok(())
}

pub(super) fn find_dest<'a>(dests: &'a [RealServer], key: &DestKey) -> Option<&'a RealServer> {
    dests.binary_search_by(|dest| dest.key.cmp(key)).ok().and_then(|at| dests.get(at))
}

pub(super) fn find<'a>(
    services: &'a [Arc<VirtualServer>],
    key: &ServiceKey,
) -> Option<&'a Arc<VirtualServer>> {
    services.binary_search_by(|s| s.key.cmp(key)).ok().and_then(|at| services.get(at))
}

/// EPERM and a missing module stay what they are; ENOENT may be a family id gone stale in between.
fn worth_another_try(failure: &Failure) -> bool {
    match failure {
        Failure::NoIpvs | Failure::Deadline(_) | Failure::Row(..) => false,
        Failure::Refused { errno, .. } => {
            matches!(errno, Errno::ENOENT | Errno::EBUSY | Errno::EINTR | Errno::EAGAIN)
        }
        Failure::Interrupted(_)
        | Failure::Overrun(_)
        | Failure::Endless(_)
        | Failure::Framing(..)
        | Failure::Socket(..) => true,
    }
}

fn read_failure(failure: &Failure) -> ReadFailure {
    match failure {
        Failure::NoIpvs => ReadFailure::NoIpvs,
        Failure::Refused { errno: Errno::EPERM, .. } => ReadFailure::NoPermission,
        Failure::Refused { .. }
        | Failure::Interrupted(_)
        | Failure::Overrun(_)
        | Failure::Deadline(_)
        | Failure::Endless(_)
        | Failure::Framing(..)
        | Failure::Row(..)
        | Failure::Socket(..) => ReadFailure::Failed(failure.to_string()),
    }
}

#[cfg(test)]
mod tests;
