//! How a TCP connection ends.

use std::io::{ErrorKind, Read};

use socket2::{SockRef, Socket};
use tokio::net::TcpStream;

use crate::model::Close;

/// Reads of leftovers before a FIN.
const DRAIN_READS: usize = 16;

/// Ends a connection whose probe has its result. Nothing that fails here changes the result: the
/// connection then ends with the RST that `Dial::prepare` asked for.
pub(super) fn close(stream: TcpStream, mode: Close) {
    let socket = SockRef::from(&stream);
    match mode {
        Close::Rst => {}
        Close::Fin => {
            drain(&socket);
            if socket.set_linger(None).is_err() {
                tracing::debug!("a probe's connection ends with RST instead of FIN");
            }
        }
    }
}

/// Takes what has arrived: the kernel answers a close over unread bytes with RST (RFC 2525, 2.17),
/// a banner such as SSH's included.
fn drain(mut socket: &Socket) {
    let mut scratch = [0; 4096];
    for _ in 0..DRAIN_READS {
        match socket.read(&mut scratch) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}
