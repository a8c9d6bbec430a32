//! Requests and their answers over one port: sequence numbers, deadlines, errors, telemetry.
//!
//! A transaction ends whole or with a [`Failure`]. After a failure other than the kernel's own answer
//! the state of the socket is not known, and the link is thrown away.

use std::io;
use std::time::Duration;

use nix::errno::Errno;

use crate::model::{Mono, SharedTelemetry};
use crate::os::Clock;

use super::abi::{self, Command};
use super::port::{Datagrams, Port, Room};
use super::rows::{self, RowError};
use super::wire::{self, Malformed, Message, Writer};

/// The kernel answers at once or waits for its own mutex; nothing healthy takes this long.
const STEP_DEADLINE: Duration = Duration::from_secs(5);
/// Receive calls of one transaction: a dump of five million rows.
const MAX_STEPS: u32 = 1 << 16;
/// Equal requests in a row are timed together: reading the clock costs as much as sending one.
const TIMED_TOGETHER: u32 = 16;

/// Why a transaction failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("IPVS is not loaded")]
    NoIpvs,
    #[error("{command}: {errno}")]
    Refused { command: &'static str, errno: Errno },
    #[error("{0}: the kernel says that the table changed while it was dumped")]
    Interrupted(&'static str),
    #[error("{0}: the receive buffer overran, answers are lost")]
    Overrun(&'static str),
    #[error("{0}: no answer within {STEP_DEADLINE:?}")]
    Deadline(&'static str),
    #[error("{0}: the answer does not end")]
    Endless(&'static str),
    #[error("{0}: {1}")]
    Row(&'static str, RowError),
    #[error("{0}: {1}")]
    Framing(&'static str, Malformed),
    #[error("{0}: netlink socket: {1}")]
    Socket(&'static str, io::Error),
}

impl Failure {
    /// True if the answer was read to its end and the link can go on.
    pub fn link_survives(&self) -> bool {
        match self {
            // EBUSY: an earlier dump of ours still runs on this socket. EPERM: the kernel also looks at who
            // opened the socket, so one opened without the capability never works (trap 9).
            Failure::Refused { errno, .. } => !matches!(errno, Errno::EBUSY | Errno::EPERM),
            Failure::NoIpvs | Failure::Interrupted(_) | Failure::Row(..) => true,
            Failure::Overrun(_)
            | Failure::Deadline(_)
            | Failure::Endless(_)
            | Failure::Framing(..)
            | Failure::Socket(..) => false,
        }
    }

    pub fn errno(&self) -> Option<Errno> {
        match self {
            Failure::Refused { errno, .. } => Some(*errno),
            Failure::NoIpvs
            | Failure::Interrupted(_)
            | Failure::Row(..)
            | Failure::Overrun(_)
            | Failure::Deadline(_)
            | Failure::Endless(_)
            | Failure::Framing(..)
            | Failure::Socket(..) => None,
        }
    }
}

/// A port with the family's id of the moment.
pub struct Link {
    port: Box<dyn Port>,
    family: u16,
    seq: u32,
    request: Vec<u8>,
    queued: u32,
    datagrams: Datagrams,
    timing: Timing,
    pub telemetry: SharedTelemetry,
}

struct Timing {
    clock: Clock,
    since: Mono,
    command: &'static str,
    requests: u32,
}

impl Link {
    pub fn new(port: Box<dyn Port>, clock: Clock, telemetry: SharedTelemetry) -> Link {
        Link {
            port,
            family: 0,
            seq: 0,
            request: Vec::with_capacity(16 << 10),
            queued: 0,
            datagrams: Datagrams::new(),
            timing: Timing { clock, since: clock.mono(), command: "", requests: 0 },
            telemetry,
        }
    }

    /// Begins an operation: the time until now was nobody's.
    pub fn start_timing(&mut self) {
        self.timing.since = self.timing.clock.mono();
        self.timing.requests = 0;
    }

    /// Ends an operation: what is not yet accounted for is.
    pub fn finish_timing(&mut self) {
        let Timing { clock, since, command, requests } = self.timing;
        if requests > 0 {
            let now = clock.mono();
            let each = now.since(since) / requests;
            let mut telemetry = self.telemetry.lock();
            let histogram = telemetry.durations.entry(command).or_default();
            (0..requests).for_each(|_| histogram.observe(each));
            self.timing.since = now;
            self.timing.requests = 0;
        }
    }

    /// Asks for the id that IPVS has now, and remembers it: `true` if it is another than before.
    pub async fn resolve_family(&mut self) -> Result<bool, Failure> {
        let before = self.family;
        let mut id = None;
        self.queue(abi::GET_FAMILY, |w| w.put(abi::CTRL_ATTR_FAMILY_NAME, abi::FAMILY_NAME))?;
        let mut results = Vec::new();
        let answer = |_, body: &[u8]| {
            id = Some(rows::family_id(body)?);
            Ok(())
        };
        self.exchange(abi::GET_FAMILY, Room::Dump, &mut results, answer).await?;
        match (results.first(), id) {
            (Some(Some(Errno::ENOENT)), _) => Err(Failure::NoIpvs),
            (_, Some(id)) => {
                self.family = id;
                Ok(id != before)
            }
            (result, None) => {
                let errno = result.copied().flatten().unwrap_or(Errno::EPROTO);
                Err(Failure::Refused { command: abi::GET_FAMILY.name, errno })
            }
        }
    }

    /// Adds a request to the next [`Link::exchange`].
    pub fn queue(&mut self, command: Command, body: impl FnOnce(&mut Writer<'_>)) -> Result<(), Failure> {
        let (kind, seq) = (self.kind(command), self.seq.wrapping_add(1 + self.queued));
        wire::message(&mut self.request, kind, abi::NLM_F_ACK, seq, command, body)
            .map_err(|malformed| Failure::Row(command.name, malformed.into()))?;
        self.queued += 1;
        Ok(())
    }

    /// Sends what is queued in one go and waits until each request is acknowledged or refused.
    ///
    /// `results` holds one errno a request (`UnknownErrno`, which is 0, is success). After a failure the
    /// requests whose errno is `None` may or may not have been carried out.
    pub async fn exchange(
        &mut self,
        command: Command,
        room: Room,
        results: &mut Vec<Option<Errno>>,
        mut answer: impl FnMut(usize, &[u8]) -> Result<(), RowError>,
    ) -> Result<(), Failure> {
        let count = std::mem::take(&mut self.queued);
        results.clear();
        results.resize(count as usize, None);
        let first = self.send(command, count)?;
        let mut open = count;
        let mut row_error = None;
        for _ in 0..MAX_STEPS {
            if open == 0 {
                self.count_refusals(command, results);
                return row_error.map_or(Ok(()), |error| Err(Failure::Row(command.name, error)));
            }
            self.receive(command, room).await?;
            for message in self.answers(first, count) {
                let (at, message) = message.map_err(|malformed| Failure::Framing(command.name, malformed))?;
                if message.kind == abi::NLMSG_ERROR {
                    let errno =
                        message.errno().map_err(|malformed| Failure::Framing(command.name, malformed))?;
                    if results[at].replace(Errno::from_raw(errno)).is_none() {
                        open -= 1;
                    }
                } else if message.kind == abi::NLMSG_OVERRUN {
                    return Err(self.overrun(command));
                } else if let Err(error) = self.body(command, &message).and_then(|body| answer(at, body)) {
                    row_error.get_or_insert(error);
                }
            }
        }
        Err(Failure::Endless(command.name))
    }

    /// One whole dump, or a failure. `row` gets the attributes of each answer; where it fails the rest is
    /// still read, so that the socket stays usable.
    pub async fn dump(
        &mut self,
        command: Command,
        body: impl FnOnce(&mut Writer<'_>),
        mut row: impl FnMut(&[u8]) -> Result<(), RowError>,
    ) -> Result<(), Failure> {
        let (kind, seq) = (self.kind(command), self.seq.wrapping_add(1));
        wire::message(&mut self.request, kind, abi::NLM_F_DUMP, seq, command, body)
            .map_err(|malformed| Failure::Row(command.name, malformed.into()))?;
        let first = self.send(command, 1)?;
        let mut interrupted = false;
        let mut row_error = None;
        for _ in 0..MAX_STEPS {
            self.receive(command, Room::Dump).await?;
            for message in self.answers(first, 1) {
                let (_, message) = message.map_err(|malformed| Failure::Framing(command.name, malformed))?;
                interrupted |= message.flags & abi::NLM_F_DUMP_INTR != 0;
                match message.kind {
                    abi::NLMSG_OVERRUN => return Err(self.overrun(command)),
                    // NLMSG_DONE carries an errno where the dump ended early.
                    abi::NLMSG_DONE | abi::NLMSG_ERROR => {
                        let errno =
                            message.errno().map_err(|malformed| Failure::Framing(command.name, malformed))?;
                        if errno != 0 {
                            let errno = Errno::from_raw(errno);
                            self.count_refusals(command, &[Some(errno)]);
                            return Err(Failure::Refused { command: command.name, errno });
                        }
                        return match (interrupted, row_error) {
                            (true, _) => Err(Failure::Interrupted(command.name)),
                            (false, Some(error)) => Err(Failure::Row(command.name, error)),
                            (false, None) => Ok(()),
                        };
                    }
                    _ => {
                        if let Err(error) = self.body(command, &message).and_then(&mut row) {
                            row_error.get_or_insert(error);
                        }
                    }
                }
            }
        }
        Err(Failure::Endless(command.name))
    }

    fn kind(&self, command: Command) -> u16 {
        if command == abi::GET_FAMILY { abi::GENL_ID_CTRL } else { self.family }
    }

    /// The attributes of an answer, if it is one to this command.
    fn body<'a>(&self, command: Command, message: &Message<'a>) -> Result<&'a [u8], RowError> {
        let (answer, body) = message.generic()?;
        if message.kind != self.kind(command) || answer != command.answer {
            return Err(Malformed("an answer to something else").into());
        }
        Ok(body)
    }

    /// Sends what was written; the first sequence number of it.
    fn send(&mut self, command: Command, count: u32) -> Result<u32, Failure> {
        if self.timing.command != command.name || self.timing.requests >= TIMED_TOGETHER {
            self.finish_timing();
            self.timing.command = command.name;
        }
        self.timing.requests += count;
        *self.telemetry.lock().requests.entry(command.name).or_default() += u64::from(count);
        let first = self.seq.wrapping_add(1);
        self.seq = self.seq.wrapping_add(count);
        let sent = self.port.send(&self.request);
        self.request.clear();
        sent.map_err(|error| self.socket_failure(command, error))?;
        Ok(first)
    }

    /// At least one receive call; waits only if nothing is there.
    async fn receive(&mut self, command: Command, room: Room) -> Result<(), Failure> {
        self.datagrams.divide(room);
        let Link { port, datagrams, .. } = self;
        let received = match receive_now(port.as_ref(), datagrams) {
            Some(result) => result,
            None => {
                let wait = async {
                    loop {
                        port.readable().await?;
                        if let Some(result) = receive_now(port.as_ref(), datagrams) {
                            return result;
                        }
                    }
                };
                match tokio::time::timeout(STEP_DEADLINE, wait).await {
                    Ok(result) => result,
                    Err(_elapsed) => {
                        self.count_error(command, Errno::ETIMEDOUT);
                        return Err(Failure::Deadline(command.name));
                    }
                }
            }
        };
        received.map_err(|error| self.socket_failure(command, error))
    }

    /// The messages just received that answer the requests `first..first + count`, with their place in it.
    /// Others are late answers to an earlier transaction.
    fn answers(
        &self,
        first: u32,
        count: u32,
    ) -> impl Iterator<Item = Result<(usize, Message<'_>), Malformed>> {
        let id = self.port.id();
        let all = self.datagrams.iter().flat_map(wire::messages);
        all.filter_map(move |message| match message {
            Ok(message) => {
                let at = message.seq.wrapping_sub(first);
                (at < count && message.port_id == id).then_some(Ok((at as usize, message)))
            }
            Err(malformed) => Some(Err(malformed)),
        })
    }

    fn socket_failure(&self, command: Command, error: io::Error) -> Failure {
        match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENOBUFS) => self.overrun(command),
            errno => {
                self.count_error(command, errno.unwrap_or(Errno::EIO));
                Failure::Socket(command.name, error)
            }
        }
    }

    fn overrun(&self, command: Command) -> Failure {
        self.telemetry.lock().overruns += 1;
        self.count_error(command, Errno::ENOBUFS);
        Failure::Overrun(command.name)
    }

    fn count_refusals(&self, command: Command, results: &[Option<Errno>]) {
        for errno in results.iter().flatten().filter(|errno| **errno != DONE) {
            self.count_error(command, *errno);
        }
    }

    fn count_error(&self, command: Command, errno: Errno) {
        let mut telemetry = self.telemetry.lock();
        *telemetry.errors.entry((command.name, format!("{errno:?}"))).or_default() += 1;
    }
}

/// The errno of an acknowledgement.
pub const DONE: Errno = Errno::UnknownErrno;

/// `None` if nothing is there.
fn receive_now(port: &dyn Port, datagrams: &mut Datagrams) -> Option<io::Result<()>> {
    loop {
        match port.receive(datagrams) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return Some(result),
        }
    }
}
