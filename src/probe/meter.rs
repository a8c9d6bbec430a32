//! A stream that notes when bytes pass, counts them, and keeps the error that hyper would wrap.

use std::io;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::model::Mono;
use crate::os::Clock;

/// All that comes before the answer's head is complete: the head, any number of 1xx answers before
/// it (hyper swallows them without end), and what the last reads held of the body.
pub(super) const BEFORE_BODY_LIMIT_BYTES: u64 = 64 * 1024;
/// The whole answer: a body within its limit and a generous framing. hyper accepts chunks of one
/// byte and zeros without end in front of a chunk's size.
pub(super) const ANSWER_LIMIT_BYTES: u64 = 1024 * 1024;

/// "HTTP/"
const BEGINNING_BYTES: usize = 5;

/// What passed. Shared with the stream inside hyper's connection; never contended, for both are
/// polled by one task.
pub(super) struct Meter {
    clock: Clock,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    written: Option<Mono>,
    first_byte: Option<Mono>,
    received_bytes: u64,
    head_done: bool,
    ended: bool,
    /// The answer's first bytes.
    beginning: [u8; BEGINNING_BYTES],
    fault: Option<io::Error>,
}

impl Meter {
    pub fn new(clock: Clock) -> Meter {
        Meter { clock, seen: Mutex::default() }
    }

    /// The answer's head is whole. Processing: from the request's last byte to the answer's first.
    pub fn head_is_done(&self) -> Option<Duration> {
        let mut seen = self.seen();
        seen.head_done = true;
        seen.written.zip(seen.first_byte).map(|(written, first)| first.since(written))
    }

    pub fn received_bytes(&self) -> u64 {
        self.seen().received_bytes
    }

    /// The answer begins as one in HTTP/1 does.
    pub fn begins_as_http1(&self) -> bool {
        self.seen().beginning == *b"HTTP/"
    }

    /// The server closed its side.
    pub fn has_ended(&self) -> bool {
        self.seen().ended
    }

    /// The stream's first error.
    pub fn take_fault(&self) -> Option<io::Error> {
        self.seen().fault.take()
    }

    /// From the answer's first byte to now.
    pub fn transfer(&self) -> Option<Duration> {
        let now = self.clock.mono();
        self.seen().first_byte.map(|first| now.since(first))
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None`: the answer may go on.
    fn over_limit(&self) -> Option<io::Error> {
        let seen = self.seen();
        let what = if !seen.head_done && seen.received_bytes >= BEFORE_BODY_LIMIT_BYTES {
            format!("no end of the answer's head within {BEFORE_BODY_LIMIT_BYTES} bytes")
        } else if seen.received_bytes >= ANSWER_LIMIT_BYTES {
            format!("no end of the answer within {ANSWER_LIMIT_BYTES} bytes")
        } else {
            return None;
        };
        Some(io::Error::other(what))
    }

    fn received(&self, bytes: &[u8]) {
        let now = self.clock.mono();
        let mut seen = self.seen();
        if bytes.is_empty() {
            seen.ended = true;
            return;
        }
        let known = usize::try_from(seen.received_bytes).unwrap_or(usize::MAX).min(BEGINNING_BYTES);
        for (kept, byte) in seen.beginning[known..].iter_mut().zip(bytes) {
            *kept = *byte;
        }
        seen.received_bytes += bytes.len() as u64;
        seen.first_byte.get_or_insert(now);
    }

    fn wrote(&self) {
        let now = self.clock.mono();
        let mut seen = self.seen();
        if seen.first_byte.is_none() {
            seen.written = Some(now);
        }
    }

    /// Keeps the error; hyper gets one of its kind.
    fn fault(&self, error: io::Error) -> io::Error {
        let kind = error.kind();
        self.seen().fault.get_or_insert(error);
        kind.into()
    }
}

pub(super) struct Metered<'a, S> {
    stream: &'a mut S,
    meter: &'a Meter,
}

impl<'a, S> Metered<'a, S> {
    pub fn new(stream: &'a mut S, meter: &'a Meter) -> Metered<'a, S> {
        Metered { stream, meter }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<'_, S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(error) = self.meter.over_limit() {
            return Poll::Ready(Err(self.meter.fault(error)));
        }
        let before = buf.filled().len();
        match ready!(Pin::new(&mut *self.stream).poll_read(cx, buf)) {
            Ok(()) => {
                self.meter.received(&buf.filled()[before..]);
                Poll::Ready(Ok(()))
            }
            // TLS without close_notify: many servers leave it out. An end like any other, for the
            // answer's own framing tells whether something is missing.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.meter.received(&[]);
                Poll::Ready(Ok(()))
            }
            Err(error) => Poll::Ready(Err(self.meter.fault(error))),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<'_, S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut *self.stream).poll_write(cx, buf));
        self.meter.wrote();
        Poll::Ready(written.map_err(|e| self.meter.fault(e)))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(Pin::new(&mut *self.stream).poll_flush(cx));
        Poll::Ready(flushed.map_err(|e| self.meter.fault(e)))
    }

    /// How the connection ends is the check's `close`, not hyper's.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
