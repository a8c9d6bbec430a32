//! Connections that outlive a probe: `connection = "reuse"`.
//!
//! A probe over the connection that the last one left costs a write and a read. Every so many probes one makes a
//! connection of its own, so that accept and handshake stay tested. A server may close an idle connection
//! whenever it likes (RFC 9112, 9.5): that is no failure, and the probe goes on over a new one within its
//! deadline. What the server answered counts, over whichever connection it came.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::reason::Stop;
use super::{Prober, Trace, http, http1, tcp, tls};
use crate::model::{CheckKind, Close, Connected, HttpOptions, ProbeReport, Target, WireEnd, WireTrouble};

/// 408: the server has waited too long for a request on an idle connection, and closes it (RFC 9110, 15.5.9).
const REQUEST_TIMEOUT: u16 = 408;

/// What a target keeps between its probes. Belongs to the runtime that the last probe ran on.
#[derive(Default)]
pub struct Kept {
    probes: u32,
    line: Option<Line>,
}

impl Kept {
    /// Targets begin at different places of their round, or all would connect in the same second.
    pub fn beginning_at(place: u64) -> Kept {
        Kept { probes: (place % 1000) as u32, line: None }
    }

    pub(super) fn has_line(&self) -> bool {
        self.line.is_some()
    }

    /// Waits until the server ends the connection that is kept; cancelled, it is as it was.
    pub(super) async fn ended(&mut self) -> WireEnd {
        let Some(line) = &mut self.line else { return WireEnd::NotHeld(WireTrouble::LocalError) };
        loop {
            if line.stream.socket().readable().await.is_err() {
                return WireEnd::NotHeld(WireTrouble::LocalError);
            }
            match line.stream.look() {
                Poll::Pending => {}
                Poll::Ready(Ok(0) | Err(_)) => return WireEnd::Tripped,
                // Bytes that belong to no request.
                Poll::Ready(Ok(_)) => return WireEnd::NotHeld(WireTrouble::Talks),
            }
        }
    }
}

/// A connection without a request on it.
pub(super) struct Line {
    stream: Stream,
    _place: Place,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// How many connections may be kept: each holds an open file.
#[derive(Debug)]
pub(super) struct Places {
    free: AtomicUsize,
    said: AtomicBool,
}

impl Places {
    pub fn new(limit: usize) -> Arc<Places> {
        Arc::new(Places { free: AtomicUsize::new(limit), said: AtomicBool::new(false) })
    }

    fn take(self: &Arc<Places>) -> Option<Place> {
        let taken = self.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| free.checked_sub(1));
        if taken.is_err() && !self.said.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "the limit of open files leaves no room for more kept connections: some checks with `connection = \"reuse\"` make new ones (raise LimitNOFILE)"
            );
        }
        taken.is_ok().then(|| Place(Arc::clone(self)))
    }
}

struct Place(Arc<Places>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.free.fetch_add(1, Ordering::Relaxed);
    }
}

/// What of a finished exchange can be kept, and is to be.
pub(super) trait Leave {
    fn into_stream(self) -> StreamOf;
}

/// An opaque stream, so that the enum stays this file's own.
pub(super) struct StreamOf(Stream);

impl Leave for TcpStream {
    fn into_stream(self) -> StreamOf {
        StreamOf(Stream::Plain(self))
    }
}

impl Leave for TlsStream<TcpStream> {
    fn into_stream(self) -> StreamOf {
        StreamOf(Stream::Tls(Box::new(self)))
    }
}

/// After an exchange: the stream is kept for the next probe, or ends as the check says.
pub(super) async fn leave(stream: impl Leave, close: Close, trace: &mut Trace) {
    let StreamOf(mut stream) = stream.into_stream();
    let reusable = trace.reusable && stream.is_quiet();
    let place = if reusable { trace.places.as_ref().and_then(Places::take) } else { None };
    match place {
        Some(place) => trace.left = Some(Line { stream, _place: place }),
        None => stream.close(close).await,
    }
}

impl Stream {
    async fn close(self, mode: Close) {
        match self {
            Stream::Plain(stream) => tcp::close(stream, mode),
            Stream::Tls(stream) => tls::close(*stream, mode).await,
        }
    }

    /// Nothing has come since the last answer: no end, no error, no byte that belongs to no request.
    fn is_quiet(&mut self) -> bool {
        self.look().is_pending()
    }

    /// How many bytes have come, 0 for the end.
    ///
    /// Nobody is woken by what comes later. The waker of the task that polled last would stay with the
    /// socket, and keep all of that task's memory for as long as the connection is kept.
    fn look(&mut self) -> Poll<io::Result<usize>> {
        let mut cx = Context::from_waker(Waker::noop());
        let mut scratch = [0; 16];
        let mut buf = ReadBuf::new(&mut scratch);
        let polled = match self {
            Stream::Plain(stream) => Pin::new(stream).poll_read(&mut cx, &mut buf),
            Stream::Tls(stream) => Pin::new(&mut **stream).poll_read(&mut cx, &mut buf),
        };
        polled.map_ok(|()| buf.filled().len())
    }

    fn socket(&self) -> &TcpStream {
        match self {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => stream.get_ref().0,
        }
    }

    async fn exchange(
        &mut self,
        request: &http1::Request,
        options: &HttpOptions,
        trace: &mut Trace,
    ) -> Result<String, Stop> {
        match self {
            Stream::Plain(stream) => Box::pin(http1::exchange(stream, request, options, trace)).await,
            Stream::Tls(stream) => Box::pin(http1::exchange(&mut **stream, request, options, trace)).await,
        }
    }
}

impl Prober {
    /// One probe, over the connection that the last one left where the check keeps it.
    pub async fn run_kept(&self, target: &Target, kept: &mut Kept) -> ProbeReport {
        let Some((options, tls, every)) = keeps(target) else { return self.run(target).await };
        let turn = kept.probes.is_multiple_of(every);
        kept.probes = kept.probes.wrapping_add(1);
        let mut connected = Connected::Fresh;
        let started = self.clock.mono();
        if let Some(mut line) = kept.line.take() {
            if turn {
                line.stream.close(target.spec.close).await;
            } else if line.stream.is_quiet() {
                match self.over(line, target, options, tls).await {
                    Ok((mut report, left)) => {
                        kept.line = left;
                        report.connected = Some(Connected::Reused);
                        return report;
                    }
                    Err(Closed) => connected = Connected::Replaced,
                }
            } else {
                connected = Connected::Replaced;
            }
        }
        let (mut report, left) = self.fresh(target, Some(started), Some(Arc::clone(&self.places))).await;
        kept.line = left;
        report.connected = report.phases.connect.map(|_| connected);
        report
    }

    async fn over(
        &self,
        mut line: Line,
        target: &Target,
        options: &HttpOptions,
        tls: bool,
    ) -> Result<(ProbeReport, Option<Line>), Closed> {
        let timeout = target.spec.pace.timeout;
        let mut trace = Trace::over_kept(self.clock);
        let deadline = trace.started + timeout;
        let ended = match http::request(options, target.addr.addr, target.port, tls, true) {
            Ok(request) => {
                let attempt = line.stream.exchange(&request, options, &mut trace);
                self.watched(pin!(attempt), deadline, timeout).await
            }
            Err(stop) => Ok(Err(stop)),
        };
        let in_vain = trace.received_bytes == 0 || trace.http_status == Some(REQUEST_TIMEOUT);
        if let Ok(Err(Stop::Fail(..))) = &ended
            && in_vain
        {
            return Err(Closed);
        }
        let left = if trace.reusable && line.stream.is_quiet() { Some(line) } else { None };
        let ended = match ended {
            Ok(ended) => ended,
            Err(lag) => trace.timed_out(lag, timeout),
        };
        Ok((trace.report(ended, self.clock.mono()), left))
    }
}

/// The server closed the kept connection before it answered.
struct Closed;

/// Options, whether by TLS, and how many probes a round has; `None`: each has a connection of its own.
fn keeps(target: &Target) -> Option<(&HttpOptions, bool, u32)> {
    let (options, tls) = match &target.spec.kind {
        CheckKind::Http(options) => (options, false),
        CheckKind::Https(options, _) => (options, true),
        CheckKind::Tcp
        | CheckKind::Dialogue(_)
        | CheckKind::Agent(_)
        | CheckKind::Dns(_)
        | CheckKind::Tls(_)
        | CheckKind::Grpc(_)
        | CheckKind::Grpcs(..) => return None,
    };
    options.fresh_every.map(|every| (options, tls, every.max(1)))
}
