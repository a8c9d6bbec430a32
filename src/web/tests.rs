//! The server over real sockets, with an agent's loop and an exposition made for the test.

mod api;
mod hand;
mod limits;
mod routes;
mod sockets;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::*;
use crate::agent;
use crate::status::samples;

/// Everything that a test waits for comes long before this, on the busiest machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Fails the test instead of hanging it.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} did not come"))
}

/// One line for each real server, `lines` times over.
pub(crate) struct FakeExposition {
    pub lines: usize,
    /// Fail after so many lines, by a panic if `panics`.
    pub fail_at: Option<usize>,
    pub panics: bool,
    pub written_bytes: AtomicUsize,
    /// Of the last request.
    pub selection: std::sync::Mutex<Option<Selection>>,
    pub in_flight: watch::Sender<usize>,
    /// How each encoding ended.
    pub ended: watch::Sender<Vec<Result<(), String>>>,
}

impl Default for FakeExposition {
    fn default() -> FakeExposition {
        FakeExposition {
            lines: 1,
            fail_at: None,
            panics: false,
            written_bytes: AtomicUsize::new(0),
            selection: std::sync::Mutex::default(),
            in_flight: watch::channel(0).0,
            ended: watch::channel(Vec::new()).0,
        }
    }
}

impl FakeExposition {
    fn write(&self, view: &View, format: Format, out: &mut dyn fmt::Write) -> Result<(), String> {
        writeln!(out, "# {format:?}").map_err(|e| e.to_string())?;
        for n in 0..self.lines {
            if self.fail_at == Some(n) {
                assert!(!self.panics, "the encoder fell");
                return Err("the encoder stumbled".to_owned());
            }
            for service in &view.snapshot.as_ref().unwrap().services {
                for dest in &service.destinations {
                    let line = format!("weight{{real_server=\"{}\",n=\"{n}\"}} {}\n", dest.key, dest.weight);
                    out.write_str(&line).map_err(|e| e.to_string())?;
                    self.written_bytes.fetch_add(line.len(), Ordering::Relaxed);
                }
            }
        }
        out.write_str("# EOF\n").map_err(|e| e.to_string())
    }

    pub(crate) async fn wait_idle(&self) {
        soon("the end of all requests", self.in_flight.subscribe().wait_for(|n| *n == 0)).await.unwrap();
    }
}

impl Exposition for FakeExposition {
    fn encode(
        &self,
        view: &Arc<View>,
        format: Format,
        selection: &Selection,
        out: &mut dyn fmt::Write,
    ) -> Result<(), String> {
        *self.selection.lock().unwrap() = Some(selection.clone());
        let result = self.write(view, format, out);
        self.ended.send_modify(|all| all.push(result.clone()));
        result
    }
    fn request_started(&self) {
        self.in_flight.send_modify(|n| *n += 1);
    }
    fn request_ended(&self) {
        self.in_flight.send_modify(|n| *n -= 1);
    }
}

/// A loop that answers every request for a view with `view`.
pub(crate) fn agent_showing(view: View) -> agent::Handle {
    let (handle, mut requests) = agent::Handle::new();
    let view = Arc::new(view);
    tokio::spawn(async move {
        while let Some(request) = requests.recv().await {
            match request {
                agent::Request::View { reply, .. } | agent::Request::ViewAtOnce { reply } => {
                    drop(reply.send(view.clone()));
                }
                agent::Request::Probe { .. }
                | agent::Request::Hand { .. }
                | agent::Request::Reloaded { .. }
                | agent::Request::Stop => {
                    panic!("nobody should ask for this")
                }
            }
        }
    });
    handle
}

/// A loop that hands the requests to the test.
pub(crate) fn agent_in_hand() -> (agent::Handle, mpsc::Receiver<agent::Request>) {
    agent::Handle::new()
}

pub(crate) fn answer_view(request: agent::Request, view: &Arc<View>) -> Duration {
    let agent::Request::View { max_age, reply } = request else { panic!("not a view: {request:?}") };
    drop(reply.send(view.clone()));
    max_age
}

pub(crate) struct Server {
    pub addr: SocketAddr,
    pub exposition: Arc<FakeExposition>,
    pub stop: watch::Sender<bool>,
    pub task: JoinHandle<io::Result<()>>,
}

pub(crate) fn start(options: Options, agent: agent::Handle, exposition: FakeExposition) -> Server {
    let listener = bind_tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    start_on(listener, options, agent, exposition)
}

pub(crate) fn start_on(
    listener: TcpListener,
    options: Options,
    agent: agent::Handle,
    exposition: FakeExposition,
) -> Server {
    let addr = listener.local_addr().unwrap();
    let exposition = Arc::new(exposition);
    let web = Web::new(options, agent, exposition.clone());
    let (stop, stopping) = watch::channel(false);
    let task = tokio::spawn(serve_tcp(listener, web, stopping));
    Server { addr, exposition, stop, task }
}

pub(crate) fn start_plain() -> Server {
    start(Options::default(), agent_showing(samples::plain(3)), FakeExposition::default())
}

pub(crate) struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Reply {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|v| v.to_str().unwrap())
    }
}

/// One request on a connection of its own; `Err` where the answer broke off.
pub(crate) async fn send_on(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<Reply, hyper::Error> {
    soon("the answer", async {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let response = sender.send_request(request).await?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await?.to_bytes().to_vec();
        Ok(Reply { status: parts.status, headers: parts.headers, body })
    })
    .await
}

pub(crate) fn request(
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::new(Bytes::from(body.to_owned()))).unwrap()
}

impl Server {
    pub(crate) async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
        let stream = TcpStream::connect(self.addr).await.unwrap();
        send_on(stream, request(method, path, headers, "")).await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, &[]).await
    }
}

pub(crate) async fn ask_unix(socket: &Path, method: &str, path: &str, body: &str) -> Reply {
    let stream = UnixStream::connect(socket).await.unwrap();
    send_on(stream, request(method, path, &[], body)).await.unwrap()
}

/// A control socket whose loop's requests come to the test.
struct Control {
    dir: tempfile::TempDir,
    requests: mpsc::Receiver<agent::Request>,
    _stop: watch::Sender<bool>,
}

impl Control {
    fn start() -> Control {
        Control::with(Options::default())
    }

    fn with(options: Options) -> Control {
        let dir = tempfile::tempdir().unwrap();
        let (handle, requests) = agent_in_hand();
        let web = Web::new(options, handle, Arc::new(FakeExposition::default()));
        let (stop, stopping) = watch::channel(false);
        let listener = bind_unix(&dir.path().join("control.sock")).unwrap();
        tokio::spawn(serve_unix(listener, web, stopping));
        Control { dir, requests, _stop: stop }
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> Reply {
        ask_unix(&self.dir.path().join("control.sock"), method, path, body).await
    }
}
