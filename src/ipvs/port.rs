//! One netlink socket, and the host it belongs to: the only place of this module with system calls.
//!
//! The socket is not registered with the runtime's reactor. The kernel answers generic netlink
//! synchronously, inside send and recv, so the data is there when send returns; a registered socket would
//! wake the reactor's thread for each answer. Only if there is nothing to read is it registered, for that
//! one wait. recvmmsg takes the last data of a dump and its DONE in one call: two system calls a dump,
//! the fewest there can be.

use std::future::Future;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::pin::Pin;

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_GENERIC};
use nix::sys::socket::{MsgFlags, MultiHeaders, NetlinkAddr, recvmmsg, setsockopt, sockopt};

use crate::model::Counters;

use super::procfs;

/// Acknowledgements take 768 bytes of it each: this holds more than a thousand.
const RECEIVE_BUFFER: usize = 1 << 20;
const USER_BUFFER: usize = 128 << 10;

/// Where a table is found. Replaced in tests by a kernel of our own making.
pub trait Host: Send + Sync {
    /// True if IPVS is loaded. Asked first, because resolving the netlink family loads the module.
    fn has_ipvs(&self) -> bool;
    fn open(&self) -> io::Result<Box<dyn Port>>;
    fn sysctls(&self) -> Vec<(&'static str, i64)>;
    fn totals(&self, sysctls: &[(&'static str, i64)]) -> Option<Counters>;
}

/// A connected generic netlink socket; no call of it waits but `readable`.
pub trait Port: Send + Sync {
    /// The id by which the kernel addresses this socket.
    fn id(&self) -> u32;
    fn send(&self, request: &[u8]) -> io::Result<()>;
    /// Every datagram that is there, up to what fits; `WouldBlock` if there is none.
    fn receive(&self, into: &mut Datagrams) -> io::Result<()>;
    fn readable(&self) -> Pin<Box<dyn Future<Output = io::Result<()>> + Send + '_>>;
}

/// Room for the datagrams of one receive call, and those that came.
pub struct Datagrams {
    buffer: Vec<u8>,
    room: usize,
    lengths: Vec<usize>,
}

/// How the buffer is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// Four of 32 KiB, the most that the kernel puts into one datagram of a dump. It packs up to the
    /// largest room seen on the socket.
    Dump,
    /// Sixteen of 8 KiB: an error answer holds the whole request, which is far below that.
    Answers,
}

impl Datagrams {
    pub fn new() -> Datagrams {
        Datagrams { buffer: vec![0; USER_BUFFER], room: 0, lengths: Vec::new() }
    }

    pub fn divide(&mut self, room: Room) {
        self.lengths.clear();
        self.room = match room {
            Room::Dump => 32 << 10,
            Room::Answers => 8 << 10,
        };
    }

    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.buffer.chunks_exact(self.room).zip(&self.lengths).map(|(room, length)| &room[..*length])
    }

    #[cfg(test)]
    pub fn push(&mut self, datagram: &[u8]) -> bool {
        let start = self.lengths.len() * self.room;
        if start + self.room > self.buffer.len() {
            return false;
        }
        assert!(datagram.len() <= self.room, "the kernel's datagrams fit");
        self.buffer[start..start + datagram.len()].copy_from_slice(datagram);
        self.lengths.push(datagram.len());
        true
    }
}

/// The machine itself.
pub struct Machine;

impl Host for Machine {
    fn has_ipvs(&self) -> bool {
        std::fs::exists(procfs::TABLE).unwrap_or(false)
    }

    fn open(&self) -> io::Result<Box<dyn Port>> {
        Ok(Box::new(NetlinkPort::open()?))
    }

    fn sysctls(&self) -> Vec<(&'static str, i64)> {
        procfs::sysctls()
    }

    fn totals(&self, sysctls: &[(&'static str, i64)]) -> Option<Counters> {
        procfs::totals(sysctls)
    }
}

struct NetlinkPort {
    socket: Socket,
    id: u32,
}

impl NetlinkPort {
    fn open() -> io::Result<NetlinkPort> {
        let mut socket = Socket::new(NETLINK_GENERIC)?;
        socket.set_non_blocking(true)?;
        let id = socket.bind_auto()?.port_number();
        // Connected to the kernel (port 0): what other processes send is refused to them.
        socket.connect(&SocketAddr::new(0, 0))?;
        if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
            // Without CAP_NET_ADMIN the kernel caps it at rmem_max; batches are small enough for that.
            setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER)?;
        }
        Ok(NetlinkPort { socket, id })
    }
}

impl Port for NetlinkPort {
    fn id(&self) -> u32 {
        self.id
    }

    fn send(&self, request: &[u8]) -> io::Result<()> {
        let sent = self.socket.send(request, 0)?;
        if sent == request.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    fn receive(&self, into: &mut Datagrams) -> io::Result<()> {
        into.lengths.clear();
        let mut rooms: Vec<_> =
            into.buffer.chunks_exact_mut(into.room).map(|room| [IoSliceMut::new(room)]).collect();
        // Holds raw pointers, so it is not kept across an await; small beside the system call.
        let mut headers = MultiHeaders::<NetlinkAddr>::preallocate(rooms.len(), None);
        let received =
            recvmmsg(self.socket.as_raw_fd(), &mut headers, rooms.iter_mut(), MsgFlags::MSG_DONTWAIT, None)?;
        for datagram in received {
            if datagram.flags.contains(MsgFlags::MSG_TRUNC) {
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, "a netlink datagram was truncated"));
            }
            let from_kernel = datagram.address.is_some_and(|sender| sender.pid() == 0);
            into.lengths.push(if from_kernel { datagram.bytes } else { 0 });
        }
        Ok(())
    }

    fn readable(&self) -> Pin<Box<dyn Future<Output = io::Result<()>> + Send + '_>> {
        Box::pin(crate::os::readable(self.socket.as_fd()))
    }
}
