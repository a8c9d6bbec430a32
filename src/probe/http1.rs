//! One HTTP/1.1 exchange over a stream of ours (RFC 9112): the request in one write, the answer in as few
//! reads as it came in, within limits on every part.
//!
//! It is our own because a director makes thousands of them a second: hyper's client, which is made for
//! connections that live, cost more than all else a probe does outside the kernel. httparse reads the heads.

use ::http::StatusCode;
use ::http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::chunked::Chunks;
use super::http::{
    self, Body, HEAD_LIMIT_BYTES, Head, judge_body, judge_head, judge_share, keeps_body, with_share,
};
use super::meter::{ANSWER_LIMIT_BYTES, BEFORE_BODY_LIMIT_BYTES};
use super::reason::Stop;
use super::{Stage, Trace, tls};
use crate::model::{FailReason, HttpOptions, Mono};

/// Header lines of an answer.
const HEADERS_LIMIT: usize = 100;
/// Most answers fit; longer ones are read in larger pieces.
const FIRST_READ_BYTES: usize = 1024;
const READ_BYTES: usize = 8192;

/// A request without a body, as it goes over the wire.
#[derive(Debug)]
pub(super) struct Request {
    pub bytes: Vec<u8>,
    /// Its answer is a head alone (RFC 9110, 9.3.2).
    pub head_only: bool,
}

/// Sends the request, judges the answer; a pass says what came back.
pub(super) async fn exchange<S>(
    stream: &mut S,
    request: &Request,
    options: &HttpOptions,
    trace: &mut Trace,
) -> Result<String, Stop>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut answer = Answer::new(stream);
    let ended = answer.ask(request, options, trace).await;
    trace.phases.transfer = answer.first_byte.map(|first| trace.clock.mono().since(first));
    trace.received_bytes = answer.received_bytes;
    ended
}

/// An answer while it is being read.
struct Answer<'a, S> {
    stream: &'a mut S,
    /// Received and not looked at yet.
    unread: Vec<u8>,
    received_bytes: u64,
    first_byte: Option<Mono>,
}

impl<'a, S: AsyncRead + AsyncWrite + Unpin> Answer<'a, S> {
    fn new(stream: &'a mut S) -> Answer<'a, S> {
        Answer { stream, unread: Vec::new(), received_bytes: 0, first_byte: None }
    }

    async fn ask(
        &mut self,
        request: &Request,
        options: &HttpOptions,
        trace: &mut Trace,
    ) -> Result<String, Stop> {
        self.write(&request.bytes).await?;
        let written = trace.clock.mono();
        let head = self.head(trace).await?;
        let framing = framing(&head, request.head_only).map_err(malformed)?;
        trace.http_status = Some(head.status.as_u16());
        trace.phases.processing = self.first_byte.map(|first| first.since(written));
        judge_head(&head, options)?;
        let (body, whole) = self.body(framing, keeps_body(options), trace).await?;
        let said = judge_body(&head, &body, options)?;
        trace.share = judge_share(&head, options)?;
        trace.reusable = whole && self.unread.is_empty() && head.persists();
        Ok(with_share(said, trace.share))
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let written = match self.stream.write_all(bytes).await {
            Ok(()) => self.stream.flush().await,
            Err(error) => Err(error),
        };
        match written {
            Ok(()) => Ok(()),
            Err(error) => Err(tls::last_word(self.stream, error).await),
        }
    }

    /// The answer's own head; interim ones are passed over (RFC 9110, 15.2), but 101 is final.
    async fn head(&mut self, trace: &Trace) -> Result<ParsedHead, Stop> {
        loop {
            if let Some((head, bytes)) = parse(&self.unread).map_err(malformed)? {
                let rest = self.unread.split_off(bytes);
                let bytes = std::mem::replace(&mut self.unread, rest);
                if head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS {
                    continue;
                }
                return Ok(ParsedHead { bytes, ..head });
            }
            if self.unread.len() >= HEAD_LIMIT_BYTES || self.received_bytes >= BEFORE_BODY_LIMIT_BYTES {
                return Err(malformed(format!("no end of its head within {HEAD_LIMIT_BYTES} bytes")));
            }
            if !self.read(trace).await? {
                return Err(http::left(self.received_bytes));
            }
        }
    }

    /// What is read of the body, and whether that is all that there is of the answer, by its own framing.
    async fn body(&mut self, framing: Framing, keep: bool, trace: &Trace) -> Result<(Body, bool), Stop> {
        let mut body = Body::default();
        let mut left = framing;
        loop {
            let data = match &mut left {
                Framing::Length(0) => return Ok((body, true)),
                Framing::Length(left) => {
                    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(self.unread.len());
                    *left -= taken as u64;
                    let rest = self.unread.split_off(taken);
                    std::mem::replace(&mut self.unread, rest)
                }
                Framing::Chunked(chunks) => {
                    let (data, taken) = chunks.take(&self.unread).map_err(malformed)?;
                    self.unread.drain(..taken);
                    data
                }
                Framing::UntilClose => std::mem::take(&mut self.unread),
            };
            if !body.take(&data, keep) {
                return Ok((body, false));
            }
            match &left {
                Framing::Length(0) => return Ok((body, true)),
                Framing::Chunked(chunks) if chunks.ended() => return Ok((body, true)),
                Framing::Length(_) | Framing::Chunked(_) | Framing::UntilClose => {}
            }
            if self.received_bytes >= ANSWER_LIMIT_BYTES {
                return Err(malformed(format!("no end of it within {ANSWER_LIMIT_BYTES} bytes")));
            }
            if !self.read(trace).await? {
                return match left {
                    Framing::UntilClose => Ok((body, false)),
                    Framing::Length(_) | Framing::Chunked(_) => Err(http::left(self.received_bytes)),
                };
            }
        }
    }

    /// Adds to what is unread; false: the server closed its side. TLS without close_notify is an end like
    /// any other: many servers leave it out, and the framing tells whether something is missing.
    async fn read(&mut self, trace: &Trace) -> Result<bool, Stop> {
        let room = if self.received_bytes == 0 { FIRST_READ_BYTES } else { READ_BYTES };
        self.unread.reserve(room);
        let read = match self.stream.read_buf(&mut self.unread).await {
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => 0,
            Err(error) => return Err(tls::stop(&error, Stage::Answer)),
        };
        if read > 0 {
            self.first_byte.get_or_insert_with(|| trace.clock.mono());
            self.received_bytes += read as u64;
        }
        Ok(read > 0)
    }
}

fn malformed(what: impl std::fmt::Display) -> Stop {
    Stop::fail(FailReason::BadResponse, format!("not an HTTP/1.1 answer: {what}"))
}

#[derive(Debug)]
struct ParsedHead {
    status: StatusCode,
    /// HTTP/1.0.
    old: bool,
    bytes: Vec<u8>,
}

/// The head at the beginning of these bytes and its length; `None`: its end is not among them.
fn parse(bytes: &[u8]) -> Result<Option<(ParsedHead, usize)>, String> {
    const BEGINNING: &[u8] = b"HTTP/";
    let known = bytes.len().min(BEGINNING.len());
    if bytes[..known] != BEGINNING[..known] {
        return Err("it does not begin with HTTP/".to_owned());
    }
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_LIMIT];
    let mut response = httparse::Response::new(&mut headers);
    let length = match response.parse(bytes).map_err(|e| e.to_string())? {
        httparse::Status::Partial => return Ok(None),
        httparse::Status::Complete(length) => length,
    };
    if length > HEAD_LIMIT_BYTES {
        return Err(format!("its head is longer than {HEAD_LIMIT_BYTES} bytes"));
    }
    let code = response.code.unwrap_or_default();
    let status = StatusCode::from_u16(code).map_err(|_| format!("{code} is no status"))?;
    Ok(Some((ParsedHead { status, old: response.version == Some(0), bytes: Vec::new() }, length)))
}

impl Head for ParsedHead {
    fn status(&self) -> StatusCode {
        self.status
    }

    fn values(&self, name: &str) -> Vec<&[u8]> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_LIMIT];
        let mut response = httparse::Response::new(&mut headers);
        if response.parse(&self.bytes).is_err() {
            // It was parsed before.
            return Vec::new();
        }
        let named = response.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
        named.map(|header| header.value).collect()
    }
}

impl ParsedHead {
    /// The members of a header that is a list, in lower case.
    fn list(&self, name: &str) -> Vec<String> {
        let members = |value: &[u8]| {
            let text = String::from_utf8_lossy(value).to_ascii_lowercase();
            text.split(',').map(|member| member.trim().to_owned()).collect::<Vec<_>>()
        };
        self.values(name).into_iter().flat_map(members).collect()
    }

    /// The connection would take another request (RFC 9112, 9.3).
    fn persists(&self) -> bool {
        let said = self.list(CONNECTION.as_str());
        let says = |word| said.iter().any(|member| member == word);
        self.status != StatusCode::SWITCHING_PROTOCOLS && !says("close") && (!self.old || says("keep-alive"))
    }
}

/// Where an answer ends.
#[derive(Debug)]
enum Framing {
    /// Bytes to come.
    Length(u64),
    Chunked(Chunks),
    UntilClose,
}

/// RFC 9112, 6.3.
fn framing(head: &ParsedHead, head_only: bool) -> Result<Framing, String> {
    let status = head.status;
    let none = status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
        || head_only;
    if none {
        return Ok(Framing::Length(0));
    }
    let codings = head.list(TRANSFER_ENCODING.as_str());
    if let Some(last) = codings.last() {
        return match (head.old, last.as_str()) {
            (true, _) => Err("a transfer coding in HTTP/1.0".to_owned()),
            (false, "chunked") => Ok(Framing::Chunked(Chunks::default())),
            (false, _) => Ok(Framing::UntilClose),
        };
    }
    let lengths = head.list(CONTENT_LENGTH.as_str());
    let Some(first) = lengths.first() else { return Ok(Framing::UntilClose) };
    if lengths.iter().any(|other| other != first) {
        return Err(format!("it has two lengths, {}", lengths.join(" and ")));
    }
    // A sign is no part of a length.
    let digits = first.bytes().all(|b| b.is_ascii_digit());
    let length = first.parse().ok().filter(|_| digits);
    length.map(Framing::Length).ok_or_else(|| format!("`{first}` is no length"))
}
