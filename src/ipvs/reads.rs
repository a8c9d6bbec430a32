//! The reads that a table is made of, each whole or a failure.

use nix::errno::Errno;

use crate::model::{IpvsInfo, RealServer, ServiceKey, SyncDaemon, Timeouts, VirtualServer};

use super::abi;
use super::port::Room;
use super::rows::{self, RowError};
use super::transaction::{DONE, Failure, Link};

/// GET_SERVICE requests in one send: their answers (360 bytes and an acknowledgement each) fit any buffer.
const PIPELINED: usize = 50;
/// How often a dump is made until the kernel does not call it interrupted.
const DUMP_ATTEMPTS: u32 = 3;

/// All services of one dump.
#[derive(Debug, Default)]
pub struct ServiceDump {
    /// Sorted by key, unique, without their destinations.
    pub services: Vec<VirtualServer>,
    /// IP protocols of services that cannot be named, and that IPVS does not schedule either.
    pub foreign_protocols: Vec<u16>,
}

impl Link {
    pub async fn settings(&mut self) -> Result<(IpvsInfo, Timeouts), Failure> {
        let mut info = None;
        self.queue(abi::GET_INFO, |_| {})?;
        let mut results = Vec::new();
        let answer = |_, body: &[u8]| {
            info = Some(rows::info(body)?);
            Ok(())
        };
        self.exchange(abi::GET_INFO, Room::Answers, &mut results, answer).await?;
        let info = info.ok_or_else(|| unanswered(abi::GET_INFO, &results))?;

        let mut timeouts = None;
        self.queue(abi::GET_CONFIG, |_| {})?;
        let answer = |_, body: &[u8]| {
            timeouts = Some(rows::timeouts(body)?);
            Ok(())
        };
        self.exchange(abi::GET_CONFIG, Room::Answers, &mut results, answer).await?;
        let timeouts = timeouts.ok_or_else(|| unanswered(abi::GET_CONFIG, &results))?;
        Ok((info, timeouts))
    }

    pub async fn daemons(&mut self) -> Result<Vec<SyncDaemon>, Failure> {
        let mut attempt = 1;
        loop {
            let mut daemons = Vec::new();
            let row = |body: &[u8]| {
                daemons.push(rows::daemon(rows::nested(body, abi::CMD_ATTR_DAEMON)?)?);
                Ok(())
            };
            let result = self.dump(abi::GET_DAEMON, |_| {}, row).await;
            if self.again(&result, &mut attempt) {
                continue;
            }
            result?;
            daemons.sort_by_key(|daemon| daemon.role);
            daemons.dedup_by_key(|daemon| daemon.role);
            return Ok(daemons);
        }
    }

    /// The services of one dump, which may miss some that live: a dump resumes by index (trap 3).
    pub async fn services(&mut self) -> Result<ServiceDump, Failure> {
        let mut attempt = 1;
        loop {
            let mut found = ServiceDump::default();
            let row = |body: &[u8]| match rows::service(rows::nested(body, abi::CMD_ATTR_SERVICE)?) {
                Ok(service) => {
                    found.services.push(service);
                    Ok(())
                }
                Err(RowError::Protocol(number)) => {
                    found.foreign_protocols.push(number);
                    Ok(())
                }
                Err(error) => Err(error),
            };
            let result = self.dump(abi::GET_SERVICE, |_| {}, row).await;
            if self.again(&result, &mut attempt) {
                continue;
            }
            result?;
            let rows = found.services.len();
            found.services.sort_by_key(|service| service.key);
            found.services.dedup_by_key(|service| service.key);
            if found.services.len() < rows {
                self.telemetry.lock().dumps_interrupted += 1;
            }
            return Ok(found);
        }
    }

    /// The destinations of one service, sorted and unique; none if there is no such service (trap 4).
    /// `see` gets each row also as the kernel sent it.
    pub async fn destinations(
        &mut self,
        service: ServiceKey,
        capacity: usize,
        mut see: impl FnMut(&RealServer, &[u8]),
    ) -> Result<Vec<RealServer>, Failure> {
        let family = service.family();
        let mut attempt = 1;
        loop {
            let mut found = Vec::with_capacity(capacity);
            let row = |body: &[u8]| {
                let nest = rows::nested(body, abi::CMD_ATTR_DEST)?;
                let mut dest = rows::destination(nest, family)?;
                dest.place = u32::try_from(found.len()).ok();
                see(&dest, nest);
                found.push(dest);
                Ok(())
            };
            let result = self.dump(abi::GET_DEST, |w| rows::put_service_id(w, service), row).await;
            if self.again(&result, &mut attempt) {
                continue;
            }
            result?;
            let rows = found.len();
            // The sort is stable: of a row that was sent twice the first place counts.
            found.sort_by_key(|dest| dest.key);
            found.dedup_by_key(|dest| dest.key);
            if found.len() < rows {
                self.telemetry.lock().dumps_interrupted += 1;
            }
            return Ok(found);
        }
    }

    /// The destinations of a second dump, and those that only the first one had: of these nobody knows
    /// where they stand.
    pub fn both(first: Vec<RealServer>, second: Vec<RealServer>) -> Vec<RealServer> {
        let mut dests = second;
        dests.extend(first.into_iter().map(|dest| RealServer { place: None, ..dest }));
        // The sort is stable: of two readings of a row the later one stays.
        dests.sort_by_key(|dest| dest.key);
        dests.dedup_by_key(|dest| dest.key);
        dests
    }

    /// Asks for each of these services by its key: `None` where the kernel has none.
    pub async fn services_by_key(
        &mut self,
        keys: &[ServiceKey],
    ) -> Result<Vec<Option<VirtualServer>>, Failure> {
        let mut found = Vec::with_capacity(keys.len());
        let mut results = Vec::new();
        for keys in keys.chunks(PIPELINED) {
            let start = found.len();
            found.resize(start + keys.len(), None);
            for key in keys {
                self.queue(abi::GET_SERVICE, |w| rows::put_service_id(w, *key))?;
            }
            let answer = |at: usize, body: &[u8]| {
                found[start + at] = Some(rows::service(rows::nested(body, abi::CMD_ATTR_SERVICE)?)?);
                Ok(())
            };
            self.exchange(abi::GET_SERVICE, Room::Answers, &mut results, answer).await?;
            for (at, result) in results.iter().enumerate() {
                match (result, &found[start + at]) {
                    (Some(Errno::ESRCH), _) => found[start + at] = None,
                    (Some(DONE), Some(_)) => {}
                    _ => return Err(unanswered(abi::GET_SERVICE, &results[at..])),
                }
            }
        }
        Ok(found)
    }

    /// True if the dump is to be made again; counts.
    fn again(&self, result: &Result<(), Failure>, attempt: &mut u32) -> bool {
        let interrupted = matches!(result, Err(Failure::Interrupted(_)));
        let again = interrupted && *attempt < DUMP_ATTEMPTS;
        if interrupted {
            *attempt += 1;
            let mut telemetry = self.telemetry.lock();
            telemetry.dumps_interrupted += 1;
            telemetry.dumps_retried += u64::from(again);
        }
        again
    }
}

/// The failure of a request whose acknowledgement is an error, or that has one but no answer.
fn unanswered(command: abi::Command, results: &[Option<Errno>]) -> Failure {
    let errno = results.first().copied().flatten().filter(|errno| *errno != DONE).unwrap_or(Errno::EPROTO);
    Failure::Refused { command: command.name, errno }
}
