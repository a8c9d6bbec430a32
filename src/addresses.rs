//! The addresses of this machine, from rtnetlink's events: who holds a virtual address is known the
//! moment it moves, and nothing is polled.
//!
//! ```text
//! Watcher ── port.rs   one rtnetlink socket, subscribed to both families
//!        └── wire.rs   the pure codec
//! ```
//!
//! A dump says what there is; changes are applied to it as they come. Where something was lost (an
//! overrun, ENOBUFS, the kernel's own doubt in mid-dump) a new dump tells.

mod port;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::model::LocalAddresses;

use port::{Host, Machine, Port};
use wire::{Malformed, Message, Origin};

/// More than one datagram of the kernel's ever holds (NLMSG_GOODSIZE, and 32 KiB for dumps).
const BUFFER: usize = 64 << 10;
/// A machine with more addresses is none that this was made for; memory stays bounded.
const MOST_ADDRESSES: usize = 65_536;
/// Datagrams taken in before the result is handed on: a storm of changes delays nothing for ever.
const MOST_DATAGRAMS: usize = 1024;
/// The kernel answers a dump at once.
const DUMP_DEADLINE: Duration = Duration::from_secs(5);
/// Dumps in a row that lost something, before a new socket is tried.
const DOUBTFUL_DUMPS: u32 = 8;
/// Before a new socket is tried.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// Why the addresses are not known.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("rtnetlink: {operation}: {source}")]
    Socket { operation: &'static str, source: io::Error },
    #[error("rtnetlink: {0}")]
    Malformed(#[from] Malformed),
    #[error("rtnetlink: the dump of the addresses was refused: {0}")]
    Refused(io::Error),
    #[error("rtnetlink: the dump of the addresses did not end within {DUMP_DEADLINE:?}")]
    Deadline,
    #[error("rtnetlink: {DOUBTFUL_DUMPS} dumps of the addresses in a row were not whole")]
    Restless,
    #[error("this machine has more than {MOST_ADDRESSES} addresses")]
    TooMany,
}

/// Follows the addresses of the network namespace that it was made in.
pub struct Watcher {
    host: Box<dyn Host>,
    link: Option<Link>,
    /// What was last handed on; `None` after a failure, so that the next success is news.
    told: Option<Arc<LocalAddresses>>,
    /// Failures in a row.
    failures: u32,
}

impl Watcher {
    pub fn machine() -> Watcher {
        Watcher::on(Box::new(Machine))
    }

    fn on(host: Box<dyn Host>) -> Watcher {
        Watcher { host, link: None, told: None, failures: 0 }
    }

    /// Waits for news: the first time, whenever an address came, went or changed its interface, and
    /// when they can no longer be followed (the text says why; it is tried again).
    pub async fn next(&mut self) -> Result<Arc<LocalAddresses>, String> {
        loop {
            match self.advance().await {
                Ok(addresses) => {
                    self.failures = 0;
                    if self.told.as_deref() != Some(&addresses) {
                        let addresses = Arc::new(addresses);
                        self.told = Some(addresses.clone());
                        return Ok(addresses);
                    }
                }
                Err(failure) => {
                    self.link = None;
                    self.failures = self.failures.saturating_add(1);
                    match self.failures {
                        // What befell one socket may not befall the next.
                        1 => {}
                        2 => {
                            self.told = None;
                            return Err(failure.to_string());
                        }
                        _ => tokio::time::sleep(RETRY_PAUSE).await,
                    }
                }
            }
        }
    }

    /// Until something was taken in and the picture is whole.
    async fn advance(&mut self) -> Result<LocalAddresses, Failure> {
        let link = match &mut self.link {
            Some(link) => link,
            None => {
                let port =
                    self.host.open().map_err(|source| Failure::Socket { operation: "open", source })?;
                let mut link = Link::new(port);
                link.start_dump()?;
                self.link.insert(link)
            }
        };
        link.wait().await?;
        for _ in 0..MOST_DATAGRAMS {
            if !link.take_in()? {
                break;
            }
        }
        while link.dumping() {
            tokio::time::timeout(DUMP_DEADLINE, link.wait()).await.map_err(|_| Failure::Deadline)??;
            link.take_in()?;
        }
        Ok(named(&link.addresses, self.host.as_ref()))
    }
}

/// The usable addresses with the names of their interfaces.
fn named(addresses: &BTreeMap<(IpAddr, u32), bool>, host: &dyn Host) -> LocalAddresses {
    let mut names: BTreeMap<u32, Option<Arc<str>>> = BTreeMap::new();
    let mut all = LocalAddresses::new();
    for ((addr, index), _) in addresses.iter().filter(|(_, usable)| **usable) {
        let name = names.entry(*index).or_insert_with(|| host.interface(*index).map(Into::into));
        // An interface that has gone takes its addresses along: the message about that is on its way.
        if let Some(name) = name {
            all.entry(*addr).or_default().insert(name.clone());
        }
    }
    all
}

/// One socket and what it has told.
struct Link {
    port: Box<dyn Port>,
    buffer: Vec<u8>,
    seq: u32,
    /// By address and interface: whether it is usable.
    addresses: BTreeMap<(IpAddr, u32), bool>,
    dump: Option<Dump>,
    doubtful_dumps: u32,
}

/// A dump under way. A change in the midst of it may come before or after the row that it makes wrong, so
/// changes go over the rows at its end: each later one is told too, so that the last word is right.
#[derive(Default)]
struct Dump {
    rows: BTreeMap<(IpAddr, u32), bool>,
    /// `None`: removed.
    changes: BTreeMap<(IpAddr, u32), Option<bool>>,
    /// Rows or changes were lost.
    doubtful: bool,
}

impl Link {
    fn new(port: Box<dyn Port>) -> Link {
        Link {
            port,
            buffer: vec![0; BUFFER],
            seq: 0,
            addresses: BTreeMap::new(),
            dump: None,
            doubtful_dumps: 0,
        }
    }

    fn dumping(&self) -> bool {
        self.dump.is_some()
    }

    fn start_dump(&mut self) -> Result<(), Failure> {
        // 0 is the sequence number of changes that nobody asked for.
        self.seq = self.seq.wrapping_add(1).max(1);
        self.dump = Some(Dump::default());
        let sent = self.port.send(&wire::dump_request(self.seq));
        sent.map_err(|source| Failure::Socket { operation: "send", source })
    }

    async fn wait(&self) -> Result<(), Failure> {
        self.port.readable().await.map_err(|source| Failure::Socket { operation: "wait", source })
    }

    /// One datagram; false if there is none.
    fn take_in(&mut self) -> Result<bool, Failure> {
        let length = match self.port.receive(&mut self.buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(true),
            // What was lost is not known: only a new dump tells.
            Err(error) if error.raw_os_error() == Some(nix::libc::ENOBUFS) => {
                self.doubt()?;
                return Ok(true);
            }
            Err(source) => return Err(Failure::Socket { operation: "receive", source }),
        };
        let messages: Vec<_> = wire::messages(&self.buffer[..length], self.port.id()).collect();
        for message in messages {
            self.apply(message?)?;
        }
        Ok(true)
    }

    fn apply(&mut self, message: Message) -> Result<(), Failure> {
        match message {
            Message::Set { addr, interface, usable, of: Origin::Dump { seq, whole } } => {
                if let (Some(dump), true) = (&mut self.dump, seq == self.seq) {
                    dump.doubtful |= !whole;
                    dump.rows.insert((addr, interface), usable);
                    if dump.rows.len() > MOST_ADDRESSES {
                        return Err(Failure::TooMany);
                    }
                }
            }
            Message::Set { addr, interface, usable, of: Origin::Change } => {
                self.change((addr, interface), Some(usable))?;
            }
            Message::Removed { addr, interface } => self.change((addr, interface), None)?,
            Message::Done { seq, whole } if seq == self.seq => self.dump_ended(whole)?,
            Message::Refused { seq, errno } if seq == self.seq => {
                return Err(Failure::Refused(io::Error::from_raw_os_error(errno)));
            }
            Message::Overrun => self.doubt()?,
            Message::Done { .. } | Message::Refused { .. } | Message::Other => {}
        }
        Ok(())
    }

    fn change(&mut self, key: (IpAddr, u32), usable: Option<bool>) -> Result<(), Failure> {
        if let Some(dump) = &mut self.dump {
            dump.changes.insert(key, usable);
        } else if let Some(usable) = usable {
            self.addresses.insert(key, usable);
        } else {
            self.addresses.remove(&key);
        }
        let changes = self.dump.as_ref().map_or(0, |dump| dump.changes.len());
        if self.addresses.len().max(changes) > MOST_ADDRESSES { Err(Failure::TooMany) } else { Ok(()) }
    }

    fn doubt(&mut self) -> Result<(), Failure> {
        match &mut self.dump {
            Some(dump) => {
                dump.doubtful = true;
                Ok(())
            }
            None => self.start_dump(),
        }
    }

    fn dump_ended(&mut self, whole: bool) -> Result<(), Failure> {
        let Some(dump) = self.dump.take() else { return Ok(()) };
        if dump.doubtful || !whole {
            self.doubtful_dumps += 1;
            return if self.doubtful_dumps == DOUBTFUL_DUMPS {
                Err(Failure::Restless)
            } else {
                self.start_dump()
            };
        }
        self.doubtful_dumps = 0;
        self.addresses = dump.rows;
        for (key, usable) in dump.changes {
            self.change(key, usable)?;
        }
        Ok(())
    }
}
