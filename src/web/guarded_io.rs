//! A connection that gives up on a peer which stalls: hyper bounds what it buffers, this bounds how
//! long it waits.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::Options;
use super::server::Activity;

pub(super) struct GuardedIo<S> {
    stream: S,
    activity: Arc<Activity>,
    header_timeout: Duration,
    write_timeout: Duration,
    answer_timeout: Duration,
    /// Runs from the first byte of a head until its request is counted.
    head: Option<(u64, Pin<Box<Sleep>>)>,
    /// Runs from the first byte of the answer to a request until the next request.
    answer: Option<(u64, Pin<Box<Sleep>>)>,
    /// Runs while the peer takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> GuardedIo<S> {
    pub(super) fn new(stream: S, activity: Arc<Activity>, options: &Options) -> GuardedIo<S> {
        GuardedIo {
            stream,
            activity,
            header_timeout: options.header_timeout,
            write_timeout: options.write_timeout,
            answer_timeout: options.answer_timeout,
            head: None,
            answer: None,
            stalled: None,
        }
    }

    /// `Err` once a head has been under way for too long.
    fn check_head(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Some((request, timer)) = &mut self.head else { return Ok(()) };
        if *request != self.activity.requests() {
            self.head = None;
            return Ok(());
        }
        match timer.as_mut().poll(cx) {
            Poll::Ready(()) => {
                Err(io::Error::new(io::ErrorKind::TimedOut, "the request's head took too long"))
            }
            Poll::Pending => Ok(()),
        }
    }

    /// `Err` once an answer has been under way for too long.
    fn check_answer(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let request = self.activity.requests();
        let timeout = self.answer_timeout;
        let (of, timer) = self.answer.get_or_insert_with(|| (request, Box::pin(sleep(timeout))));
        if *of != request {
            (*of, *timer) = (request, Box::pin(sleep(timeout)));
        }
        match timer.as_mut().poll(cx) {
            Poll::Ready(()) => {
                Err(io::Error::new(io::ErrorKind::TimedOut, "the client took too long over its answer"))
            }
            Poll::Pending => Ok(()),
        }
    }

    fn wrote(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if result.is_ready() {
            self.stalled = None;
            return result;
        }
        let timeout = self.write_timeout;
        let timer = self.stalled.get_or_insert_with(|| Box::pin(sleep(timeout)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing of its answer")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for GuardedIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        let result = Pin::new(&mut this.stream).poll_read(cx, buf);
        let got = buf.filled().len() > before;
        if got && this.head.is_none() && !this.activity.answering() {
            this.head = Some((this.activity.requests(), Box::pin(sleep(this.header_timeout))));
        }
        if let Err(error) = this.check_head(cx) {
            return Poll::Ready(Err(error));
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for GuardedIo<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check_answer(cx)?;
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.wrote(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check_answer(cx)?;
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.wrote(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
