//! The rtnetlink socket: the only place of this module with system calls.

use std::future::Future;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::pin::Pin;

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::sys::socket::{MsgFlags, setsockopt, sockopt};

use super::wire;

/// Some 10,000 changes, which a keepalived that moves as many addresses makes in a moment.
const RECEIVE_BUFFER: usize = 1 << 20;

/// Where addresses are found. Replaced in tests by a kernel of our own making.
pub(super) trait Host: Send + Sync {
    /// Subscribed to changes from its first moment.
    fn open(&self) -> io::Result<Box<dyn Port>>;
    /// The name of an interface; `None`: it has gone.
    fn interface(&self, index: u32) -> Option<String>;
}

/// An rtnetlink socket; no call of it waits but `readable`.
pub(super) trait Port: Send + Sync {
    /// The id by which the kernel addresses this socket.
    fn id(&self) -> u32;
    fn send(&self, request: &[u8]) -> io::Result<()>;
    /// One datagram of the kernel's: its length. `WouldBlock` if there is none, `FileTooLarge` if it
    /// does not fit.
    fn receive(&self, into: &mut [u8]) -> io::Result<usize>;
    fn readable(&self) -> Pin<Box<dyn Future<Output = io::Result<()>> + Send + '_>>;
}

/// The machine itself.
pub(super) struct Machine;

impl Host for Machine {
    fn open(&self) -> io::Result<Box<dyn Port>> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.set_non_blocking(true)?;
        if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
            // Without CAP_NET_ADMIN the kernel caps it at rmem_max; an overrun is answered by a dump.
            setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER)?;
        }
        socket.bind(&SocketAddr::new(0, wire::GROUPS))?;
        let mut own = SocketAddr::new(0, 0);
        socket.get_address(&mut own)?;
        Ok(Box::new(RoutePort { socket, id: own.port_number() }))
    }

    fn interface(&self, index: u32) -> Option<String> {
        let name = nix::net::if_::if_indextoname(index).ok()?;
        Some(name.to_string_lossy().into_owned())
    }
}

struct RoutePort {
    socket: Socket,
    id: u32,
}

impl Port for RoutePort {
    fn id(&self) -> u32 {
        self.id
    }

    fn send(&self, request: &[u8]) -> io::Result<()> {
        let sent = self.socket.send_to(request, &SocketAddr::new(0, 0), 0)?;
        if sent == request.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    fn receive(&self, into: &mut [u8]) -> io::Result<usize> {
        let mut iov = [io::IoSliceMut::new(into)];
        let received = nix::sys::socket::recvmsg::<nix::sys::socket::NetlinkAddr>(
            self.socket.as_raw_fd(),
            &mut iov,
            None,
            MsgFlags::MSG_DONTWAIT,
        )?;
        if received.flags.contains(MsgFlags::MSG_TRUNC) {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "a netlink datagram was truncated"));
        }
        // Other processes may send to a socket that is not connected.
        let from_kernel = received.address.is_some_and(|sender| sender.pid() == 0);
        Ok(if from_kernel { received.bytes } else { 0 })
    }

    fn readable(&self) -> Pin<Box<dyn Future<Output = io::Result<()>> + Send + '_>> {
        Box::pin(crate::os::readable(self.socket.as_fd()))
    }
}
