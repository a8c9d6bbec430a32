//! The HTTP surface: metrics, readiness and the API, read only over TCP; the unix socket has the
//! same and may also ask for a probe, a drain, an undrain or a reload.
//!
//! The other end is the network: whatever it sends, memory, connections, requests and time are
//! bounded, and one bad client never keeps the others from their scrape.

mod access;
mod api;
mod bind;
mod exposition;
mod guarded_io;
mod index;
mod reload;
mod routes;
mod server;
mod stream;
#[cfg(test)]
pub(crate) mod tests;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};

use crate::agent::Handle;
use crate::metrics::{Format, Selection};
use crate::model::View;

pub use access::{Access, AccessError};
pub use bind::{bind_tcp, bind_unix};
pub use reload::{ReloadAsked, ReloadRefused, Reloads};
pub use routes::check_telemetry_path;

/// Turns a view into the text that Prometheus reads, and counts requests.
pub trait Exposition: Send + Sync + 'static {
    /// Writes the whole exposition; stops at the first error of `out` (the client has gone).
    fn encode(
        &self,
        view: &Arc<View>,
        format: Format,
        selection: &Selection,
        out: &mut dyn fmt::Write,
    ) -> Result<(), String>;
    fn request_started(&self);
    /// Once for each `request_started`, when the answer is written or its client gone.
    fn request_ended(&self);
}

/// What the flags set, and the limits that they do not.
#[derive(Debug, Clone)]
pub struct Options {
    /// `--web.telemetry-path`; see [`check_telemetry_path`].
    pub telemetry_path: String,
    /// `--web.max-requests`: requests answered at one time over TCP; 0 leaves it at `max_connections`.
    pub max_requests: usize,
    /// `--web.gzip-level`, 0 to 9.
    pub gzip_level: u32,
    /// How old a table an answer may show without asking for a new read.
    pub max_view_age: Duration,
    /// Open at one time on each listener; the one idle for longest makes room for a new one.
    pub max_connections: usize,
    /// From a request's first byte to the end of its head.
    pub header_timeout: Duration,
    /// For a request's whole body.
    pub body_timeout: Duration,
    /// Between two requests of one connection.
    pub idle_timeout: Duration,
    /// A client that takes nothing of its answer for this long is cut off.
    pub write_timeout: Duration,
    /// From the first byte of an answer to its last: a client that sips is cut off too.
    pub answer_timeout: Duration,
    /// For a view where the request does not say otherwise (Prometheus's own default time-out).
    pub view_timeout: Duration,
    /// For one probe by hand, all its checks together.
    pub probe_timeout: Duration,
    /// For answers under way when the server stops.
    pub shutdown_grace: Duration,
    /// `None`: there is no configuration to read again.
    pub reloads: Option<Reloads>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            telemetry_path: "/metrics".to_owned(),
            max_requests: 40,
            gzip_level: 1,
            max_view_age: Duration::from_secs(2),
            max_connections: 512,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(120),
            write_timeout: Duration::from_secs(30),
            answer_timeout: Duration::from_secs(120),
            view_timeout: Duration::from_secs(10),
            probe_timeout: Duration::from_secs(300),
            shutdown_grace: Duration::from_secs(2),
            reloads: None,
        }
    }
}

/// What all listeners share.
pub struct Web {
    options: Options,
    agent: Handle,
    exposition: Arc<dyn Exposition>,
    /// `--web.config.file`, for the TCP listeners.
    access: Option<Access>,
    /// The unix socket has places of its own: a storm of scrapes never locks the operator out.
    tcp_requests: Arc<Semaphore>,
    unix_requests: Arc<Semaphore>,
}

impl Web {
    pub fn new(options: Options, agent: Handle, exposition: Arc<dyn Exposition>) -> Arc<Web> {
        Web::guarded(options, agent, exposition, None)
    }

    /// With `--web.config.file`, if there is one.
    pub fn guarded(
        options: Options,
        agent: Handle,
        exposition: Arc<dyn Exposition>,
        access: Option<Access>,
    ) -> Arc<Web> {
        let places = match options.max_requests {
            0 => options.max_connections,
            limit => limit,
        };
        Arc::new(Web {
            tcp_requests: Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS))),
            unix_requests: Arc::new(Semaphore::new(UNIX_REQUESTS)),
            options,
            agent,
            exposition,
            access,
        })
    }
}

/// Requests answered at one time on the unix socket.
const UNIX_REQUESTS: usize = 16;

/// Which routes a listener has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Surface {
    /// Reads only: nothing that writes or probes.
    Tcp,
    Unix,
}

/// Serves until `shutdown` is true (or its sender gone), then lets the answers under way end.
pub async fn serve_tcp(
    listener: TcpListener,
    web: Arc<Web>,
    shutdown: watch::Receiver<bool>,
) -> io::Result<()> {
    server::serve(listener, web, Surface::Tcp, shutdown).await
}

/// Like [`serve_tcp`], with the `POST`s; removes its socket from the file system at the end.
pub async fn serve_unix(
    listener: UnixListener,
    web: Arc<Web>,
    shutdown: watch::Receiver<bool>,
) -> io::Result<()> {
    let file = bind::SocketFile::of(&listener);
    let result = server::serve(listener, web, Surface::Unix, shutdown).await;
    file.remove();
    result
}
