//! The accept loop and its limits.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use super::guarded_io::GuardedIo;
use super::routes::answer;
use super::stream::Body;
use super::{Access, Surface, Web};

/// A request's line and headers; the buffers of one connection.
const MAX_HEADER_BYTES: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;
/// After a failed accept (no file descriptors, say), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub(super) trait Listen: Send + Sync {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    fn next(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Listen for TcpListener {
    type Stream = TcpStream;
    async fn next(&self) -> io::Result<TcpStream> {
        let (stream, _) = self.accept().await?;
        // Only costs latency if it fails.
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }
}

impl Listen for UnixListener {
    type Stream = UnixStream;
    async fn next(&self) -> io::Result<UnixStream> {
        Ok(self.accept().await?.0)
    }
}

pub(super) async fn serve<L: Listen>(
    listener: L,
    web: Arc<Web>,
    surface: Surface,
    mut shutdown: watch::Receiver<bool>,
) -> io::Result<()> {
    let limit = web.options.max_connections.min(Semaphore::MAX_PERMITS);
    let connections = Arc::new(Connections::default());
    let places = Arc::new(Semaphore::new(limit));
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop_asked(&mut shutdown) => break,
            accepted = listener.next() => accepted,
        };
        let stream = match accepted {
            Ok(stream) => stream,
            Err(error) => {
                accept_failed(&error, &connections).await;
                continue;
            }
        };
        let Some(place) = connections.make_room(&places).await else {
            tracing::debug!(limit, "a connection was closed: all places are answering requests");
            continue;
        };
        let (id, activity) = connections.open();
        let (web, shutdown, connections) = (web.clone(), shutdown.clone(), connections.clone());
        tokio::spawn(async move {
            wrapped(stream, web, surface, activity, shutdown).await;
            connections.closed(id);
            drop(place);
        });
    }
    drop(listener);
    let all = u32::try_from(limit).unwrap_or(u32::MAX);
    if tokio::time::timeout(web.options.shutdown_grace, places.acquire_many(all)).await.is_err() {
        connections.close_all();
    }
    Ok(())
}

/// Errors of accept() are of one connection or of the moment, never of the listener.
async fn accept_failed(error: &io::Error, connections: &Connections) {
    if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) {
        return;
    }
    let closed = connections.close_longest_idle();
    tracing::warn!(%error, closed_an_idle_connection = closed, "a connection could not be accepted");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

async fn stop_asked(shutdown: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, and with it whoever could still ask.
    let _ = shutdown.wait_for(|stop| *stop).await;
}

/// In TLS, where the listener has it: a client that does not come to an end with its handshake is idle.
async fn wrapped<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    web: Arc<Web>,
    surface: Surface,
    activity: Arc<Activity>,
    mut shutdown: watch::Receiver<bool>,
) {
    let access = web.access.as_ref().filter(|_| surface == Surface::Tcp);
    let Some(tls) = access.and_then(Access::tls) else {
        return serve_connection(stream, web, surface, activity, shutdown).await;
    };
    let handshake = TlsAcceptor::from(tls).accept(stream);
    let handshake = tokio::time::timeout(web.options.header_timeout, handshake);
    let accepted = tokio::select! {
        () = activity.close.notified() => return,
        () = stop_asked(&mut shutdown) => return,
        accepted = handshake => accepted,
    };
    match accepted {
        Ok(Ok(stream)) => serve_connection(stream, web, surface, activity, shutdown).await,
        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => tracing::debug!("a TLS handshake took too long"),
    }
}

async fn serve_connection<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    web: Arc<Web>,
    surface: Surface,
    activity: Arc<Activity>,
    mut shutdown: watch::Receiver<bool>,
) {
    let options = &web.options;
    let io = GuardedIo::new(stream, activity.clone(), options);
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // `nc -N` and `socat` close their half once they have asked; who has left altogether is noticed
        // when he is written to.
        .half_close(true)
        .header_read_timeout(options.idle_timeout)
        .max_buf_size(MAX_HEADER_BYTES)
        .max_headers(MAX_HEADERS);
    let service = service_fn({
        let (web, activity) = (web.clone(), activity.clone());
        move |request: Request<Incoming>| {
            let (web, answering) = (web.clone(), Answering::new(activity.clone()));
            async move { Ok::<Response<Body>, Infallible>(answer(web, surface, request, answering).await) }
        }
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service));
    let mut stopping = false;
    loop {
        tokio::select! {
            biased;
            () = activity.close.notified() => return,
            result = connection.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(?error, "a connection ended early");
                }
                return;
            }
            () = stop_asked(&mut shutdown), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// The open connections of one listener.
#[derive(Default)]
struct Connections {
    open: Mutex<BTreeMap<u64, Arc<Activity>>>,
    /// Orders what happened on all of them.
    ticks: Arc<AtomicU64>,
}

impl Connections {
    /// A place for one more: a free one, or that of the connection idle for longest. Silent clients
    /// therefore never shut out one that asks.
    async fn make_room(&self, places: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = places.clone().try_acquire_owned() {
            return Some(place);
        }
        if !self.close_longest_idle() {
            return None;
        }
        places.clone().acquire_owned().await.ok()
    }

    fn open(&self) -> (u64, Arc<Activity>) {
        let id = self.ticks.fetch_add(1, Ordering::Relaxed);
        let activity = Arc::new(Activity::new(self.ticks.clone(), id));
        self.lock().insert(id, activity.clone());
        (id, activity)
    }

    fn closed(&self, id: u64) {
        self.lock().remove(&id);
    }

    fn close_longest_idle(&self) -> bool {
        let mut open = self.lock();
        let idle = open.iter().filter(|(_, a)| !a.answering());
        let Some((id, _)) = idle.min_by_key(|(_, a)| a.last_tick.load(Ordering::Relaxed)) else {
            return false;
        };
        let id = *id;
        if let Some(activity) = open.remove(&id) {
            activity.close.notify_one();
        }
        true
    }

    fn close_all(&self) {
        for activity in self.lock().values() {
            activity.close.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Activity>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one connection is doing.
pub(super) struct Activity {
    requests: AtomicU64,
    answering: AtomicUsize,
    ticks: Arc<AtomicU64>,
    last_tick: AtomicU64,
    close: Notify,
}

impl Activity {
    fn new(ticks: Arc<AtomicU64>, now: u64) -> Activity {
        Activity {
            requests: AtomicU64::new(0),
            answering: AtomicUsize::new(0),
            ticks,
            last_tick: AtomicU64::new(now),
            close: Notify::new(),
        }
    }

    /// How many request heads were read.
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    pub(super) fn answering(&self) -> bool {
        self.answering.load(Ordering::Relaxed) > 0
    }

    fn tick(&self) {
        self.last_tick.store(self.ticks.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// Held while a request is being answered, body included.
pub(super) struct Answering(Arc<Activity>);

impl Answering {
    fn new(activity: Arc<Activity>) -> Answering {
        activity.requests.fetch_add(1, Ordering::Relaxed);
        activity.answering.fetch_add(1, Ordering::Relaxed);
        activity.tick();
        Answering(activity)
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.tick();
        self.0.answering.fetch_sub(1, Ordering::Relaxed);
    }
}
