//! One HTTP/1.1 exchange over a stream of ours.
//!
//! hyper parses, within limits on every part of an answer; its connection is driven by the same
//! task. A redirect is an answer like any other. The body is read to its end or to
//! [`BODY_LIMIT_BYTES`] even where nothing is looked for in it, so that an answer that breaks off
//! is seen; what lies beyond is never read. A server that closes too early gave a bad response; only
//! RST is `reset`.

use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::task::Poll;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION, USER_AGENT};
use http::response::Parts;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::meter::{Meter, Metered};
use super::reason::Stop;
use super::{Trace, agent, tls};
use crate::model::{BodyMatch, DestKey, FailReason, HttpOptions, Share};

/// As much of a body is read and searched.
pub(super) const BODY_LIMIT_BYTES: usize = 64 * 1024;
/// An answer's head (hyper's own limit of 100 header lines holds beside it), and its trailers.
pub(super) const HEAD_LIMIT_BYTES: usize = 16 * 1024;

pub(super) const AGENT: &str = concat!("lvs-agent/", env!("CARGO_PKG_VERSION"));

pub(super) type ProbeRequest = Request<Empty<Bytes>>;

/// The request of a check. `Host`, `User-Agent` and `Connection: close` give way to the check's
/// own headers; without the last of them the server may keep the connection.
pub(super) fn request(
    options: &HttpOptions,
    addr: IpAddr,
    port: u16,
    tls: bool,
    keep: bool,
) -> Result<ProbeRequest, Stop> {
    let unusable = |what: &str, value: &str| Stop::local(format!("{what} `{value}` cannot be sent"));
    let method =
        Method::from_bytes(options.method.as_bytes()).map_err(|_| unusable("method", &options.method))?;
    let uri = Uri::try_from(options.path.as_str()).map_err(|_| unusable("path", &options.path))?;
    let mut headers = HeaderMap::with_capacity(3 + options.headers.len());
    for (name, value) in &options.headers {
        let name = HeaderName::try_from(name).map_err(|_| unusable("header", name))?;
        let value = HeaderValue::try_from(value).map_err(|_| unusable(name.as_str(), value))?;
        headers.append(name, value);
    }
    if !headers.contains_key(HOST) {
        let host = options.host.clone().unwrap_or_else(|| default_host(addr, port, tls));
        headers.insert(HOST, HeaderValue::try_from(&host).map_err(|_| unusable("host", &host))?);
    }
    headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(AGENT));
    if !keep {
        headers.entry(CONNECTION).or_insert(HeaderValue::from_static("close"));
    }
    let mut request = Request::new(Empty::new());
    (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) = (method, uri, headers);
    Ok(request)
}

/// The probed address, with its port unless it is the scheme's own (RFC 9110, 4.2).
pub(super) fn default_host(addr: IpAddr, port: u16, tls: bool) -> String {
    match (addr, port, tls) {
        (IpAddr::V4(addr), 80, false) | (IpAddr::V4(addr), 443, true) => addr.to_string(),
        (IpAddr::V6(addr), 80, false) | (IpAddr::V6(addr), 443, true) => format!("[{addr}]"),
        _ => DestKey { addr, port }.to_string(),
    }
}

/// Sends the request, judges the answer; a pass says what came back.
pub(super) async fn exchange<S>(
    stream: &mut S,
    request: ProbeRequest,
    options: &HttpOptions,
    trace: &mut Trace,
) -> Result<String, Stop>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let meter = Meter::new(trace.clock);
    let io = TokioIo::new(Metered::new(&mut *stream, &meter));
    let ended = match builder().handshake::<_, Empty<Bytes>>(io).await {
        Ok((mut sender, connection)) => {
            let answer = async {
                let response = sender.send_request(request).await?;
                trace.http_status = Some(response.status().as_u16());
                trace.phases.processing = meter.head_is_done();
                let judged = judge(response, options, trace).await;
                // hyper takes another request only over a connection that has nothing more to say, and that
                // neither side's version or headers close.
                if options.fresh_every.is_some() && judged.is_ok() {
                    trace.reusable = sender.ready().await.is_ok();
                }
                judged
            };
            alongside(connection, answer).await
        }
        Err(error) => Err(Halt::Http(error)),
    };
    trace.phases.transfer = meter.transfer();
    trace.received_bytes = meter.received_bytes();
    match ended {
        Ok(detail) => Ok(detail),
        Err(Halt::Judged(stop)) => Err(stop),
        Err(Halt::Http(error)) => Err(broken(stream, &meter, &error).await),
    }
}

fn builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_LIMIT_BYTES).max_header_size(HEAD_LIMIT_BYTES);
    builder
}

/// Runs hyper's connection and our side of it in one task, until ours is done.
async fn alongside<T>(connection: impl Future, ours: impl Future<Output = T>) -> T {
    // Dropped once done, so that ours cannot wait for it for ever.
    let mut connection = pin!(Some(connection));
    let mut ours = pin!(ours);
    poll_fn(|cx| {
        if let Poll::Ready(output) = ours.as_mut().poll(cx) {
            return Poll::Ready(output);
        }
        if let Some(running) = connection.as_mut().as_pin_mut() {
            // What it ends with reaches ours through the channel between them.
            if running.poll(cx).is_ready() {
                connection.set(None);
            }
        }
        ours.as_mut().poll(cx)
    })
    .await
}

/// Why an exchange stopped.
enum Halt {
    Judged(Stop),
    Http(hyper::Error),
}

impl From<hyper::Error> for Halt {
    fn from(error: hyper::Error) -> Halt {
        Halt::Http(error)
    }
}

async fn judge(
    response: Response<Incoming>,
    options: &HttpOptions,
    trace: &mut Trace,
) -> Result<String, Halt> {
    let (head, incoming) = response.into_parts();
    judge_head(&head, options).map_err(Halt::Judged)?;
    let body = Body::read(incoming, keeps_body(options)).await?;
    let said = judge_body(&head, &body, options).map_err(Halt::Judged)?;
    trace.share = judge_share(&head, options).map_err(Halt::Judged)?;
    Ok(with_share(said, trace.share))
}

pub(super) fn judge_head(head: &Parts, options: &HttpOptions) -> Result<(), Stop> {
    let status = head.status.as_u16();
    if options.status.iter().any(|(low, high)| (*low..=*high).contains(&status)) {
        return Ok(());
    }
    Err(Stop::fail(FailReason::BadStatus, bad_status(head, options)))
}

/// How much of its weight the server wants, if its answer has the check's header for that; several of them
/// are one list (RFC 9110, 5.3).
pub(super) fn judge_share(head: &Parts, options: &HttpOptions) -> Result<Option<Share>, Stop> {
    let Some(name) = &options.weight_header else { return Ok(None) };
    let values: Vec<&[u8]> = head.headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    if values.is_empty() {
        return Ok(None);
    }
    match agent::judge(&values.join(&b',')) {
        Ok(share) => Ok(Some(share)),
        Err(Stop::Fail(reason, detail)) => Err(Stop::fail(reason, format!("header {name}: {detail}"))),
        Err(stop @ Stop::Local(..)) => Err(stop),
    }
}

pub(super) fn with_share(said: String, share: Option<Share>) -> String {
    match share {
        Some(share) => format!("{said}, wants {share} of its weight"),
        None => said,
    }
}

/// Something is looked for in the body.
pub(super) fn keeps_body(options: &HttpOptions) -> bool {
    options.body != BodyMatch::Any
}

pub(super) fn judge_body(head: &Parts, body: &Body, options: &HttpOptions) -> Result<String, Stop> {
    let (found, wanted) = match &options.body {
        BodyMatch::Any => (true, ""),
        BodyMatch::Contains(text) => (contains(&body.bytes, text.as_bytes()), text.as_str()),
        BodyMatch::Regex(regex) => (regex.is_match(&body.bytes), regex.as_str()),
    };
    if found {
        return Ok(format!("{}, {body}", status_text(head.status)));
    }
    let text = if body.cut {
        format!(
            "nothing in the first {BODY_LIMIT_BYTES} bytes of the body matches `{wanted}`; the rest is not read"
        )
    } else {
        format!("{body} do not match `{wanted}`")
    };
    Err(Stop::fail(FailReason::BadBody, text))
}

fn contains(body: &[u8], text: &[u8]) -> bool {
    text.is_empty() || body.windows(text.len()).any(|window| window == text)
}

pub(super) fn status_text(status: StatusCode) -> String {
    match status.canonical_reason() {
        Some(reason) => format!("status {} {reason}", status.as_str()),
        None => format!("status {}", status.as_str()),
    }
}

/// "status 302 Found (Location: /login), wanted 200-299"
fn bad_status(head: &Parts, options: &HttpOptions) -> String {
    let location = match head.headers.get(LOCATION) {
        Some(to) if head.status.is_redirection() => {
            let to: String = String::from_utf8_lossy(to.as_bytes()).chars().take(100).collect();
            format!(" (Location: {to})")
        }
        Some(_) | None => String::new(),
    };
    let wanted: Vec<String> = options
        .status
        .iter()
        .map(|(low, high)| if low == high { low.to_string() } else { format!("{low}-{high}") })
        .collect();
    format!("{}{location}, wanted {}", status_text(head.status), wanted.join(", "))
}

/// What was read of a body.
#[derive(Default)]
pub(super) struct Body {
    /// Kept only where something is looked for.
    pub bytes: Vec<u8>,
    length: usize,
    /// There is more than the limit.
    pub cut: bool,
}

impl Body {
    async fn read(mut incoming: Incoming, keep: bool) -> Result<Body, hyper::Error> {
        let mut body = Body::default();
        while let Some(frame) = incoming.frame().await {
            // Trailers end the body and say nothing of it.
            let Ok(data) = frame?.into_data() else { continue };
            if !body.take(&data, keep) {
                break;
            }
        }
        Ok(body)
    }

    /// Adds what came; false: no more is to be read.
    pub fn take(&mut self, data: &[u8], keep: bool) -> bool {
        let room = BODY_LIMIT_BYTES - self.length;
        let taken = data.len().min(room);
        if keep {
            self.bytes.extend_from_slice(&data[..taken]);
        }
        self.length += taken;
        self.cut = data.len() > room;
        !self.cut
    }
}

impl std::fmt::Display for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let more = if self.cut { "more than " } else { "" };
        write!(f, "{more}{} bytes of body", self.length)
    }
}

/// The exchange broke.
async fn broken<S>(stream: &mut S, meter: &Meter, error: &hyper::Error) -> Stop
where
    S: AsyncRead + Unpin,
{
    if let Some(fault) = stream_fault(stream, meter).await {
        return fault;
    }
    if error.is_user() {
        return Stop::local(format!("the request cannot be sent: {error}"));
    }
    if let Some(left) = left(meter) {
        return left;
    }
    let text = match std::error::Error::source(error) {
        Some(cause) => format!("not an HTTP/1.1 answer: {error}: {cause}"),
        None => format!("not an HTTP/1.1 answer: {error}"),
    };
    Stop::fail(FailReason::BadResponse, text)
}

/// The stream's own error says more than the parser's, and an alert of the server that is still unread
/// more than that.
pub(super) async fn stream_fault<S>(stream: &mut S, meter: &Meter) -> Option<Stop>
where
    S: AsyncRead + Unpin,
{
    let fault = meter.take_fault()?;
    let last_word = poll_fn(|cx| {
        let mut scratch = [0; 256];
        Poll::Ready(match Pin::new(&mut *stream).poll_read(cx, &mut ReadBuf::new(&mut scratch)) {
            Poll::Ready(Err(error)) if tls::is_alert(&error) => Some(error),
            Poll::Ready(_) | Poll::Pending => None,
        })
    });
    Some(tls::stop(&last_word.await.unwrap_or(fault), super::Stage::Answer))
}

/// The server closed its side too early.
pub(super) fn left(meter: &Meter) -> Option<Stop> {
    let text = match meter.received_bytes() {
        0 => "the server closed the connection without an answer".to_owned(),
        received if meter.has_ended() => {
            format!("the server closed the connection in the middle of its answer, after {received} bytes")
        }
        _ => return None,
    };
    Some(Stop::fail(FailReason::BadResponse, text))
}
