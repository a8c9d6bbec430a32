//! The address that a probe leaves from, where its check names none: never a virtual one.
//!
//! A real server holds the virtual addresses itself (DR, TUN): what comes from one it answers to
//! itself, and a backup director's answers go to the active one. The healthy server would be judged
//! down (trap 38). The kernel knows nothing of that: it takes an IPv6 VIP that is not deprecated, or
//! an IPv4 one that is its subnet's primary address, like any other.

mod addresses;

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use super::reason::Stop;
use crate::model::Mono;
use crate::os::Clock;
use addresses::HostAddress;

/// How long a reading of the host's addresses serves.
const ADDRESSES_AGE: Duration = Duration::from_secs(5);
/// And where it proved wrong: a busy agent reads them five times a second at most.
const DOUBTED_AGE: Duration = Duration::from_millis(200);
/// How long the kernel is not asked again where its choice was no virtual address. A failover changes its
/// choice within a moment: what a connection really left from is looked at each time.
const CHOICE_AGE: Duration = Duration::from_secs(10);
/// Destinations remembered; when it is full it starts over.
const CHOICES_LIMIT: usize = 65_536;

/// Chooses the source addresses; one for all probes.
#[derive(Debug)]
pub(super) struct Sources {
    clock: Clock,
    virtual_addresses: RwLock<Arc<BTreeSet<IpAddr>>>,
    host: Mutex<Option<(Mono, Arc<[HostAddress]>)>>,
    /// When the kernel last chose an address that is not virtual, by destination and mark.
    own: Mutex<HashMap<(IpAddr, Option<u32>), Mono>>,
}

impl Sources {
    pub fn new(clock: Clock) -> Sources {
        Sources { clock, virtual_addresses: RwLock::default(), host: Mutex::new(None), own: Mutex::default() }
    }

    pub fn set_virtual_addresses(&self, addresses: BTreeSet<IpAddr>) {
        if *self.virtual_addresses() != addresses {
            *self.virtual_addresses.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(addresses);
            self.own().clear();
        }
    }

    /// What a connection that [`Sources::bind`] let through left from, if that is a virtual address after
    /// all: the kernel's choice has changed since it was asked.
    pub fn left_from(&self, source: IpAddr, peer: IpAddr, mark: Option<u32>) -> Result<(), Stop> {
        if source == peer || peer.is_loopback() || !self.virtual_addresses().contains(&source) {
            return Ok(());
        }
        self.own().remove(&(peer, mark));
        Err(Stop::local(format!(
            "the kernel has just begun to send from {source}, a virtual address: the next probe binds another"
        )))
    }

    fn own(&self) -> std::sync::MutexGuard<'_, HashMap<(IpAddr, Option<u32>), Mono>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Binds the socket to an address of the node's own where the kernel would choose a virtual one.
    pub fn bind(&self, socket: &Socket, peer: SocketAddr, mark: Option<u32>) -> Result<(), Stop> {
        let virtual_addresses = self.virtual_addresses();
        let family = |addr: &IpAddr| addr.is_ipv4() == peer.is_ipv4();
        // Ordered: IPv4 first.
        if ![virtual_addresses.first(), virtual_addresses.last()].into_iter().flatten().any(family) {
            return Ok(());
        }
        let now = self.clock.mono();
        let key = (peer.ip(), mark);
        if self.own().get(&key).is_some_and(|asked| now.since(*asked) < CHOICE_AGE) {
            return Ok(());
        }
        let chosen = kernels_choice(peer, mark)?;
        // What goes to an address of this host never leaves it.
        if peer.ip().is_loopback() || chosen == peer.ip() || !virtual_addresses.contains(&chosen) {
            let mut own = self.own();
            if own.len() >= CHOICES_LIMIT {
                own.clear();
            }
            own.insert(key, now);
            return Ok(());
        }
        for age in [ADDRESSES_AGE, DOUBTED_AGE] {
            let host = self.host_addresses(age)?;
            let Some(source) = node_address(&host, &virtual_addresses, chosen, peer.ip()) else { continue };
            match bind_without_port(socket, beside(source, peer)) {
                Ok(()) => return Ok(()),
                Err(error) if error.raw_os_error() == Some(Errno::EADDRNOTAVAIL as i32) => {}
                Err(error) => return Err(Stop::of_our_call(&format!("source {source}"), &error)),
            }
        }
        Err(no_node_address(chosen, peer))
    }

    fn virtual_addresses(&self) -> Arc<BTreeSet<IpAddr>> {
        self.virtual_addresses.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// As read `age` ago at most. Read under the lock, so that one reading serves all that wait.
    fn host_addresses(&self, age: Duration) -> Result<Arc<[HostAddress]>, Stop> {
        let mut host = self.host.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.mono();
        if let Some((read, addresses)) = &*host
            && now.since(*read) < age
        {
            return Ok(addresses.clone());
        }
        let addresses: Arc<[HostAddress]> =
            addresses::read().map_err(|e| Stop::of_our_call("reading the host's addresses", &e))?.into();
        *host = Some((now, addresses.clone()));
        Ok(addresses)
    }
}

/// Leaves the port to connect(): one chosen at bind() would have to be unique over all destinations.
pub(super) fn bind_without_port(socket: &Socket, source: SocketAddr) -> io::Result<()> {
    setsockopt(socket, sockopt::IpBindAddressNoPort, &true)?;
    socket.bind(&source.into())
}

/// The source that the kernel's routes and rules give: connect() of a UDP socket looks it up and
/// sends nothing.
fn kernels_choice(peer: SocketAddr, mark: Option<u32>) -> Result<IpAddr, Stop> {
    let what = "asking for the source address";
    let ours = |error: io::Error| Stop::of_our_call(what, &error);
    let socket = Socket::new(Domain::for_address(peer), Type::DGRAM, Some(Protocol::UDP)).map_err(ours)?;
    if let Some(mark) = mark {
        socket.set_mark(mark).map_err(ours)?;
    }
    socket.connect(&peer.into()).map_err(|e| Stop::of_connect_call(&e))?;
    let local = socket.local_addr().map_err(ours)?.as_socket();
    local.map(|local| local.ip()).ok_or_else(|| Stop::local(format!("{what}: the kernel named none")))
}

/// Our own set-up, so it never counts against the server.
fn no_node_address(chosen: IpAddr, peer: SocketAddr) -> Stop {
    let target = peer.ip();
    Stop::local(format!(
        "the kernel would send from {chosen}, a virtual address, and no other here suits {target}: write the check's `source`"
    ))
}

/// With the interface that a link-local address needs, which is the peer's.
fn beside(source: IpAddr, peer: SocketAddr) -> SocketAddr {
    match (source, peer) {
        (IpAddr::V6(source), SocketAddr::V6(peer)) => SocketAddrV6::new(source, 0, 0, peer.scope_id()).into(),
        (IpAddr::V6(_), SocketAddr::V4(_)) | (IpAddr::V4(_), _) => SocketAddr::new(source, 0),
    }
}

/// The best address to send from in place of `chosen`, a virtual one: in the target's subnet, else
/// on the interface that holds `chosen`, else on lo, where a routed host keeps its own; then the
/// longest common prefix (RFC 6724, rule 8). One of another network is none: the answer may not
/// find its way back, and that would be taken for the server's failure.
fn node_address(
    host: &[HostAddress],
    virtual_addresses: &BTreeSet<IpAddr>,
    chosen: IpAddr,
    target: IpAddr,
) -> Option<IpAddr> {
    let holders: BTreeSet<&str> =
        host.iter().filter(|a| a.addr == chosen).map(|a| a.interface.as_str()).collect();
    let link_local = is_link_local(target);
    let rank = |own: &HostAddress| {
        let common = common_prefix(own.addr, target)?;
        let on_link = common >= own.prefix;
        let beside_it = holders.contains(own.interface.as_str());
        // fe80::/64 is every interface's.
        let reaches = if link_local { beside_it } else { on_link || beside_it || own.interface == "lo" };
        let fits = own.usable && !own.addr.is_loopback() && is_link_local(own.addr) == link_local;
        let its_own = !virtual_addresses.contains(&own.addr);
        (reaches && fits && its_own).then_some((on_link, beside_it, common, Reverse(own.addr)))
    };
    let best = host.iter().filter_map(rank).max()?;
    Some(best.3.0)
}

fn is_link_local(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(addr) => addr.is_link_local(),
        IpAddr::V6(addr) => addr.is_unicast_link_local(),
    }
}

/// In bits; `None`: of two families.
fn common_prefix(one: IpAddr, other: IpAddr) -> Option<u32> {
    match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => Some((one.to_bits() ^ other.to_bits()).leading_zeros()),
        (IpAddr::V6(one), IpAddr::V6(other)) => Some((one.to_bits() ^ other.to_bits()).leading_zeros()),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
    }
}

#[cfg(test)]
mod tests;
