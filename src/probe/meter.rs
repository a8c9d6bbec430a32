//! A stream that counts the bytes that pass, limits them, and keeps the error that h2 would wrap.

use std::io;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// All that comes before the answer's head is complete: the head, any number of 1xx answers before
/// it, and what the last reads held of the body.
pub(super) const BEFORE_BODY_LIMIT_BYTES: u64 = 64 * 1024;
/// The whole answer: a body within its limit and a generous framing, such as chunks of one byte.
pub(super) const ANSWER_LIMIT_BYTES: u64 = 1024 * 1024;

/// "HTTP/"
const BEGINNING_BYTES: usize = 5;

/// What passed. Shared with the stream inside h2's connection; never contended, for both are
/// polled by one task.
#[derive(Default)]
pub(super) struct Meter {
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    received_bytes: u64,
    head_done: bool,
    ended: bool,
    /// The answer's first bytes.
    beginning: [u8; BEGINNING_BYTES],
    fault: Option<io::Error>,
}

impl Meter {
    /// The answer's head is whole.
    pub fn head_is_done(&self) {
        self.seen().head_done = true;
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
    }

    /// Keeps the error; h2 gets one of its kind.
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
        Poll::Ready(written.map_err(|e| self.meter.fault(e)))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(Pin::new(&mut *self.stream).poll_flush(cx));
        Poll::Ready(flushed.map_err(|e| self.meter.fault(e)))
    }

    /// How the connection ends is the check's `close`, not h2's.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
