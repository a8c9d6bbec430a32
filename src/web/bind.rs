//! Listening sockets, made so that a second start says what is in the way.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{TcpListener, UnixListener};

/// Connections that the kernel holds until we accept them.
const BACKLOG: i32 = 1024;

/// Listens on `addr`; `[::]` takes IPv4 too, and becomes `0.0.0.0` on a kernel without IPv6.
/// The error keeps its kind (`AddrInUse`, `PermissionDenied`) and names the address.
pub fn bind_tcp(addr: SocketAddr) -> io::Result<TcpListener> {
    let listen = |addr: SocketAddr| -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM.nonblocking(), None)?;
        socket.set_reuse_address(true)?;
        if addr.is_ipv6() {
            socket.set_only_v6(!addr.ip().is_unspecified())?;
        }
        socket.bind(&addr.into())?;
        socket.listen(BACKLOG)?;
        TcpListener::from_std(socket.into())
    };
    listen(addr)
        .or_else(|error| {
            let no_ipv6 = error.raw_os_error() == Some(nix::libc::EAFNOSUPPORT);
            if no_ipv6 && addr.is_ipv6() && addr.ip().is_unspecified() {
                listen((Ipv4Addr::UNSPECIFIED, addr.port()).into())
            } else {
                Err(error)
            }
        })
        .map_err(|error| named(&format!("listening on {addr}"), &error))
}

/// Listens on `path` with mode 0600 from the first moment. A stale socket, on which nobody
/// answers, is replaced; a live one or anything else at `path` is refused.
pub fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    let listening = format!("listening on {}", path.display());
    make_parent(path)?;
    remove_stale(path)?;
    let listen = || -> io::Result<UnixListener> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
        // bind() gives the file the mode of the socket's own inode, less the umask
        // (unix_bind_bsd, net/unix/af_unix.c), so it never exists with a wider one.
        let file = File::from(OwnedFd::from(socket));
        file.set_permissions(Permissions::from_mode(0o600))?;
        let socket = Socket::from(OwnedFd::from(file));
        socket.bind(&SockAddr::unix(path)?)?;
        socket.listen(BACKLOG)?;
        UnixListener::from_std(OwnedFd::from(socket).into())
    };
    listen().map_err(|error| named(&listening, &error))
}

fn make_parent(path: &Path) -> io::Result<()> {
    let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) else { return Ok(()) };
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(parent)
        .map_err(|error| named(&format!("creating the directory {}", parent.display()), &error))
}

fn remove_stale(path: &Path) -> io::Result<()> {
    let shown = path.display();
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(named(&format!("looking at {shown}"), &error)),
    };
    if !found.file_type().is_socket() {
        let text =
            format!("{shown} exists and is no socket, so it is left alone; name another control socket");
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
    }
    match UnixStream::connect(path) {
        Ok(_) => {
            let text = format!("another agent answers on {shown}; stop it, or name another control socket");
            Err(io::Error::new(io::ErrorKind::AddrInUse, text))
        }
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path)
            .map_err(|error| named(&format!("removing the stale socket {shown}"), &error)),
        Err(error) => Err(named(&format!("asking whether an agent answers on {shown}"), &error)),
    }
}

fn named(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// The file of a listening unix socket, known by its inode: after a newer agent has put its own in
/// place, it is not ours to remove.
pub(super) struct SocketFile(Option<(PathBuf, (u64, u64))>);

impl SocketFile {
    pub(super) fn of(listener: &UnixListener) -> SocketFile {
        let path = listener.local_addr().ok().and_then(|a| a.as_pathname().map(Path::to_owned));
        SocketFile(path.and_then(|path| {
            let inode = inode(&path)?;
            Some((path, inode))
        }))
    }

    pub(super) fn remove(self) {
        let Some((path, ours)) = self.0 else { return };
        if inode(&path) != Some(ours) {
            return;
        }
        if let Err(error) = fs::remove_file(&path) {
            tracing::warn!(path = %path.display(), %error, "the control socket could not be removed");
        }
    }
}

fn inode(path: &Path) -> Option<(u64, u64)> {
    let found = fs::symlink_metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}
