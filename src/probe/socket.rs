//! The socket of a probe: source, mark, zone, and a connect whose errors tell ours from the server's.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpStream, UdpSocket};

use super::Stage;
use super::reason::Stop;
use super::source::{Sources, bind_without_port};
use crate::model::{CheckKind, CheckSpec, Close, DnsTransport, FailReason, ScopedAddr, Target};

/// The kernel's receive buffer of a probe; it doubles the figure for its own bookkeeping. A server
/// that floods us fills this much, not the megabytes that autotuning would grant.
const RECEIVE_BUFFER_BYTES: usize = 64 * 1024;

/// The same for a tripwire's connection, where nothing is expected.
const WIRE_BUFFER_BYTES: usize = 4096;

/// A socket ready to connect.
pub(super) struct Dial {
    socket: Socket,
    peer: SocketAddr,
    /// Who let the kernel choose the source; `None`: it is the check's own.
    chosen_by: Option<(Arc<Sources>, Option<u32>)>,
}

impl Dial {
    pub fn prepare(target: &Target, sources: &Arc<Sources>) -> Result<Dial, Stop> {
        let spec = &target.spec;
        let datagrams = matches!(&spec.kind, CheckKind::Dns(dns) if dns.transport == DnsTransport::Udp);
        let dial = Dial::open(target, datagrams)?;
        if !datagrams {
            tcp_options(&dial.socket, spec)?;
        }
        dial.bound(spec, sources)
    }

    /// For a connection that is held and on which nothing is said: bound and marked like a probe.
    pub fn prepare_wire(target: &Target, sources: &Arc<Sources>) -> Result<Dial, Stop> {
        let dial = Dial::open(target, false)?;
        let shrunk = dial.socket.set_recv_buffer_size(WIRE_BUFFER_BYTES);
        shrunk.map_err(|e| Stop::of_our_call("SO_RCVBUF", &e))?;
        dial.bound(&target.spec, sources)
    }

    fn open(target: &Target, datagrams: bool) -> Result<Dial, Stop> {
        let spec = &target.spec;
        let peer = socket_addr("address", &target.addr, target.port)?;
        let (ty, protocol) =
            if datagrams { (Type::DGRAM, Protocol::UDP) } else { (Type::STREAM, Protocol::TCP) };
        let socket = Socket::new(Domain::for_address(peer), ty.nonblocking(), Some(protocol))
            .map_err(|e| Stop::of_our_call("socket", &e))?;
        if let Some(mark) = spec.mark {
            socket
                .set_mark(mark)
                .map_err(|e| Stop::of_our_call(&format!("mark {mark} (SO_MARK needs CAP_NET_ADMIN)"), &e))?;
        }
        Ok(Dial { socket, peer, chosen_by: None })
    }

    fn bound(mut self, spec: &CheckSpec, sources: &Arc<Sources>) -> Result<Dial, Stop> {
        match &spec.source {
            Some(source) => bind(&self.socket, source, self.peer)?,
            None => {
                sources.bind(&self.socket, self.peer, spec.mark)?;
                self.chosen_by = Some((Arc::clone(sources), spec.mark));
            }
        }
        Ok(self)
    }

    /// What arrives later than [`Dial::begin`] is the server's.
    pub async fn connect(self) -> Result<TcpStream, Stop> {
        let (socket, to_itself) = self.begin()?;
        let stream = TcpStream::from_std(socket.into()).map_err(|e| Stop::of_our_call("epoll", &e))?;
        stream.writable().await.map_err(|e| Stop::of_our_call("epoll", &e))?;
        match stream.take_error() {
            Ok(None) if to_itself => Err(met_itself()),
            Ok(None) => Ok(stream),
            Ok(Some(error)) => Err(Stop::of_connection(&error, Stage::Connect)),
            Err(error) => Err(Stop::of_our_call("SO_ERROR", &error)),
        }
    }

    /// What connect() returns is ours (but a refusal). True: the socket is on its way to itself.
    fn begin(self) -> Result<(Socket, bool), Stop> {
        if let Err(error) = self.socket.connect(&self.peer.into())
            && error.raw_os_error() != Some(Errno::EINPROGRESS as i32)
        {
            return Err(Stop::of_connect_call(&error));
        }
        let local = self.socket.local_addr().map_err(|e| Stop::of_our_call("getsockname", &e))?.as_socket();
        if let (Some((sources, mark)), Some(local)) = (&self.chosen_by, local) {
            sources.left_from(local.ip(), self.peer.ip(), *mark)?;
        }
        let to_itself = local.is_some_and(|local| is_peer(local, self.peer));
        Ok((self.socket, to_itself))
    }

    /// Sends nothing yet. What goes wrong here is ours.
    pub fn connect_udp(self) -> Result<UdpSocket, Stop> {
        self.socket.connect(&self.peer.into()).map_err(|e| Stop::of_connect_call(&e))?;
        let socket = UdpSocket::from_std(self.socket.into()).map_err(|e| Stop::of_our_call("epoll", &e))?;
        let local = socket.local_addr().map_err(|e| Stop::of_our_call("getsockname", &e))?;
        if let Some((sources, mark)) = &self.chosen_by {
            sources.left_from(local.ip(), self.peer.ip(), *mark)?;
        }
        if is_peer(local, self.peer) { Err(met_itself()) } else { Ok(socket) }
    }
}

fn tcp_options(socket: &Socket, spec: &CheckSpec) -> Result<(), Stop> {
    let option = |what: &str, done: io::Result<()>| done.map_err(|e| Stop::of_our_call(what, &e));
    // Whatever cuts a probe off (a time-out above all) ends it with RST: an orphaned FIN would
    // be retransmitted for minutes. An orderly close lifts this (`tcp::close`).
    option("SO_LINGER", socket.set_linger(Some(Duration::ZERO)))?;
    let bare = spec.kind == CheckKind::Tcp && spec.proxy_protocol.is_none();
    if (bare && spec.close == Close::Rst) || speaks_first(spec) {
        // Delays the ACK that would complete the handshake (tcp_rcv_synsent_state_process in
        // net/ipv4/tcp_input.c). A bare probe's RST leaves in its place, and the server's application
        // never sees the connection; a request carries it, which saves a packet and waking the server twice.
        option("TCP_QUICKACK", socket.set_tcp_quickack(false))?;
    }
    if !bare {
        option("SO_RCVBUF", socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES))?;
        option("TCP_NODELAY", socket.set_tcp_nodelay(true))?;
    }
    Ok(())
}

/// A server that greets first has to learn of the connection before we have anything to say.
fn speaks_first(spec: &CheckSpec) -> bool {
    spec.proxy_protocol.is_some()
        || match &spec.kind {
            CheckKind::Tcp => false,
            CheckKind::Dialogue(dialogue) => !dialogue.send.is_empty(),
            CheckKind::Agent(agent) => !agent.send.is_empty(),
            CheckKind::Dns(_)
            | CheckKind::Tls(_)
            | CheckKind::Http(_)
            | CheckKind::Https(..)
            | CheckKind::Grpc(_)
            | CheckKind::Grpcs(..) => true,
        }
}

/// Towards an own address and a port that nobody listens on, the kernel may choose that very port to
/// send from: TCP's simultaneous open (RFC 9293, 3.5) then connects the socket with itself, and a
/// dead server on this host would pass.
fn met_itself() -> Stop {
    Stop::fail(FailReason::ConnectRefused, "nobody listens (the connection met itself)")
}

fn is_peer(local: SocketAddr, peer: SocketAddr) -> bool {
    local.ip() == peer.ip() && local.port() == peer.port()
}

/// Binds the check's `source`.
fn bind(socket: &Socket, source: &ScopedAddr, peer: SocketAddr) -> Result<(), Stop> {
    let addr = source.addr;
    if addr.is_ipv4() != peer.is_ipv4() {
        return Err(Stop::local(format!("source {addr} and target {} differ in family", peer.ip())));
    }
    bind_without_port(socket, socket_addr("source", source, 0)?).map_err(|e| match e.raw_os_error() {
        Some(errno) if errno == Errno::EADDRNOTAVAIL as i32 => {
            Stop::local(format!("source {addr} is not an address of this host"))
        }
        _ => Stop::of_our_call(&format!("source {addr}"), &e),
    })
}

/// `option` is the check's, for the way out.
fn socket_addr(option: &str, scoped: &ScopedAddr, port: u16) -> Result<SocketAddr, Stop> {
    let addr = match scoped.addr {
        IpAddr::V4(addr) => return Ok(SocketAddrV4::new(addr, port).into()),
        IpAddr::V6(addr) => addr,
    };
    let scope = match &scoped.zone {
        Some(zone) => interface_index(zone)?,
        None if addr.is_unicast_link_local() => {
            let text = format!("{addr} is link-local: write the check's `{option}` with a zone: {addr}%eth0");
            return Err(Stop::local(text));
        }
        None => 0,
    };
    Ok(SocketAddrV6::new(addr, port, 0, scope).into())
}

/// A zone is an interface's name or number (RFC 4007, 11.2).
fn interface_index(zone: &str) -> Result<u32, Stop> {
    match (if_nametoindex(zone), zone.parse()) {
        (Ok(index), _) => Ok(index),
        (Err(_), Ok(index)) => Ok(index),
        (Err(error), Err(_)) => Err(Stop::of_our_call(&format!("zone `{zone}`"), &error.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_with_itself_is_a_refusal() {
        for addr in ["127.0.0.1:0", "[::1]:0"] {
            let addr: SocketAddr = addr.parse().unwrap();
            let socket = Socket::new(Domain::for_address(addr), Type::STREAM.nonblocking(), None).unwrap();
            socket.bind(&addr.into()).unwrap();
            let peer = socket.local_addr().unwrap().as_socket().unwrap();
            let ended = Dial { socket, peer, chosen_by: None }.connect().await;
            assert!(matches!(ended, Err(Stop::Fail(FailReason::ConnectRefused, _))), "{addr}: {ended:?}");
        }
    }
}
