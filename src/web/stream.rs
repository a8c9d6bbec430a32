//! Answers that are written while they are sent: the producer runs on a blocking thread and is held
//! back by the client's pace, so the whole text never exists in memory.

use std::fmt;
use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::mpsc;

/// Text is handed on (and compressed) in pieces of this size.
const CHUNK_BYTES: usize = 64 * 1024;
/// Pieces between the producer and the connection.
const QUEUE: usize = 2;

enum Piece {
    Data(Bytes),
    Failed(String),
    /// Without it the producer died, and what was sent is not the whole.
    End,
}

/// The body of every answer. What it `keeps` is dropped with it.
pub(super) struct Body {
    content: Content,
    _keeps: Box<dyn Send + Sync>,
}

enum Content {
    Whole(Option<Bytes>),
    /// The answer to a HEAD request whose length is not known.
    Unknown,
    Stream(Stream),
}

impl Body {
    pub(super) fn whole(bytes: impl Into<Bytes>) -> Body {
        Body::of(Content::Whole(Some(bytes.into())))
    }

    pub(super) fn unknown_length() -> Body {
        Body::of(Content::Unknown)
    }

    pub(super) fn stream(stream: Stream) -> Body {
        Body::of(Content::Stream(stream))
    }

    pub(super) fn keeping(self, keeps: impl Send + Sync + 'static) -> Body {
        Body { content: self.content, _keeps: Box::new((self._keeps, keeps)) }
    }

    fn of(content: Content) -> Body {
        Body { content, _keeps: Box::new(()) }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match &mut self.content {
            Content::Whole(bytes) => Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            Content::Unknown => Poll::Ready(None),
            Content::Stream(stream) => stream.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Whole(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Content::Unknown | Content::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Content::Unknown | Content::Stream(_) => SizeHint::default(),
        }
    }
}

pub(super) struct Stream {
    first: Option<Piece>,
    rest: mpsc::Receiver<Piece>,
    ended: bool,
}

impl Stream {
    /// Starts the producer and waits for its first piece, so that an early failure can still
    /// become an answer of its own.
    pub(super) async fn start(
        gzip_level: Option<u32>,
        produce: impl FnOnce(&mut Chunker) -> Result<(), String> + Send + 'static,
    ) -> Result<Stream, String> {
        let (sender, mut rest) = mpsc::channel(QUEUE);
        tokio::task::spawn_blocking(move || run(&sender, gzip_level, produce));
        match rest.recv().await {
            Some(Piece::Failed(error)) => Err(error),
            None => Err("the answer's producer ended before its first byte".to_owned()),
            first @ Some(Piece::Data(_) | Piece::End) => Ok(Stream { first, rest, ended: false }),
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let piece = match self.first.take() {
            Some(piece) => Some(piece),
            None => match self.rest.poll_recv(cx) {
                Poll::Ready(piece) => piece,
                Poll::Pending => return Poll::Pending,
            },
        };
        let error = match piece {
            Some(Piece::Data(bytes)) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
            Some(Piece::End) => {
                self.ended = true;
                return Poll::Ready(None);
            }
            Some(Piece::Failed(error)) => error,
            None => "the answer's producer ended early".to_owned(),
        };
        self.ended = true;
        tracing::error!(error, "an answer broke off");
        Poll::Ready(Some(Err(io::Error::other(error))))
    }
}

fn run(
    sender: &mpsc::Sender<Piece>,
    gzip_level: Option<u32>,
    produce: impl FnOnce(&mut Chunker) -> Result<(), String>,
) {
    let mut out = Chunker::new(sender.clone(), gzip_level);
    let finished = match produce(&mut out) {
        Ok(()) => out.finish().map_err(|e| e.to_string()),
        Err(error) => {
            out.abandon();
            Err(error)
        }
    };
    let last = match finished {
        Ok(()) => Piece::End,
        Err(error) => Piece::Failed(error),
    };
    // A failure here means that the client has gone: nobody is left to tell.
    let _ = sender.blocking_send(last);
}

/// Collects small writes into pieces; fails once the client has gone.
pub(super) struct Chunker {
    buffer: Vec<u8>,
    sink: Sink,
}

enum Sink {
    Plain(ToClient),
    Gzip(GzEncoder<ToClient>),
}

impl Chunker {
    fn new(sender: mpsc::Sender<Piece>, gzip_level: Option<u32>) -> Chunker {
        let client = ToClient { sender, muted: false };
        let sink = match gzip_level {
            None => Sink::Plain(client),
            Some(level) => Sink::Gzip(GzEncoder::new(client, Compression::new(level.min(9)))),
        };
        Chunker { buffer: Vec::with_capacity(CHUNK_BYTES), sink }
    }

    fn push(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let room = CHUNK_BYTES - self.buffer.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() == CHUNK_BYTES {
                self.pass_on()?;
            }
        }
        Ok(())
    }

    fn pass_on(&mut self) -> io::Result<()> {
        match &mut self.sink {
            Sink::Plain(client) => client.write_all(&self.buffer)?,
            Sink::Gzip(encoder) => encoder.write_all(&self.buffer)?,
        }
        self.buffer.clear();
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        self.pass_on()?;
        match self.sink {
            Sink::Plain(_) => Ok(()),
            Sink::Gzip(encoder) => encoder.finish().map(drop),
        }
    }

    /// Sends nothing more: a gzip encoder writes its trailer even when it is dropped.
    fn abandon(mut self) {
        match &mut self.sink {
            Sink::Plain(client) => client.muted = true,
            Sink::Gzip(encoder) => encoder.get_mut().muted = true,
        }
    }
}

impl fmt::Write for Chunker {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes()).map_err(|_| fmt::Error)
    }
}

impl io::Write for Chunker {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct ToClient {
    sender: mpsc::Sender<Piece>,
    muted: bool,
}

impl io::Write for ToClient {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() || self.muted {
            return Ok(bytes.len());
        }
        match self.sender.blocking_send(Piece::Data(Bytes::copy_from_slice(bytes))) {
            Ok(()) => Ok(bytes.len()),
            Err(_) => Err(io::Error::new(io::ErrorKind::BrokenPipe, "the client has gone")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
