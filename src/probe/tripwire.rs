//! An idle connection to what a check probes: it is made like a probe's, and then only its end matters.
//!
//! Nothing is sent on it, and what the server says is thrown away, within a limit. It needs no
//! keepalive: a host that vanishes without a word is the probes' to find.

use std::io::ErrorKind;

use nix::errno::Errno;
use tokio::net::TcpStream;
use tokio::time::timeout_at;

use super::Prober;
use super::reason::Stop;
use super::socket::Dial;
use crate::model::{LocalReason, Target, WireEnd, WireTrouble};

/// A greeting, an error page; a server that says more than this to nobody does so for ever.
pub(super) const HEARD_LIMIT_BYTES: usize = 64 * 1024;

/// A connection that is held. Dropped, it closes in order: the server sees a client that went away.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
}

impl Prober {
    /// Connects within the check's timeout, from the address and with the mark of its probes.
    pub async fn arm(&self, target: &Target) -> Result<Wire, WireTrouble> {
        let dial = Dial::prepare_wire(target, &self.sources).map_err(|stop| trouble(&stop))?;
        let deadline = self.instant(self.clock.mono() + target.spec.pace.timeout);
        match timeout_at(deadline, dial.connect()).await {
            Ok(Ok(stream)) => Ok(Wire { stream }),
            Ok(Err(stop)) => Err(trouble(&stop)),
            Err(_) => Err(WireTrouble::Refused),
        }
    }
}

impl Wire {
    /// Waits until the server ends it.
    pub async fn ended(self) -> WireEnd {
        let mut heard_bytes = 0;
        loop {
            if self.stream.readable().await.is_err() {
                return WireEnd::NotHeld(WireTrouble::LocalError);
            }
            // Between two waits only, so that a wire at rest has no buffer.
            let mut scratch = [0; 4096];
            match self.stream.try_read(&mut scratch) {
                Ok(0) => return WireEnd::Tripped,
                Ok(bytes) => heard_bytes += bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_out_of_memory(&error) => {
                    return WireEnd::NotHeld(WireTrouble::LocalError);
                }
                Err(_) => return WireEnd::Tripped,
            }
            if heard_bytes > HEARD_LIMIT_BYTES {
                return WireEnd::NotHeld(WireTrouble::Talks);
            }
        }
    }
}

fn is_out_of_memory(error: &std::io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::ENOMEM | Errno::ENOBUFS))
}

fn trouble(stop: &Stop) -> WireTrouble {
    match stop {
        Stop::Fail(..) => WireTrouble::Refused,
        Stop::Local(LocalReason::FdLimit, _) => WireTrouble::FdLimit,
        Stop::Local(
            LocalReason::LocalError | LocalReason::NoLocalPort | LocalReason::NetworkDown | LocalReason::Late,
            _,
        ) => WireTrouble::LocalError,
    }
}
