//! One HTTP/2 exchange over a stream of ours: on TLS what ALPN agreed on, on plain TCP by prior
//! knowledge (RFC 9113, 3.3).
//!
//! The h2 crate frames, within limits of its own on header blocks and of the stream's meter on all that
//! is received; its connection is driven by the same task. It is used without hyper, which would want to
//! spawn. A server that ends the exchange in HTTP/2's words (GOAWAY, RST_STREAM) gave a bad response.

use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::pin;
use std::task::Poll;

use ::http::header::{CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue};
use ::http::response::Parts;
use ::http::{Request, Uri, Version, uri};
use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::http::{
    self, Body, HEAD_LIMIT_BYTES, judge_body, judge_head, judge_share, keeps_body, unusable, with_share,
};
use super::meter::{Meter, Metered};
use super::reason::Stop;
use super::trust::{Alpn, Session};
use super::{Trace, grpc, tcp, tls};
use crate::model::{Close, FailReason, GrpcOptions, HttpOptions, Target};

/// So much of a body comes before we have looked at the head, which with it stays within the limit of
/// what comes before a body.
const WINDOW_BYTES: u32 = 32 * 1024;

/// What is wanted of the server.
pub(super) enum Asked<'a> {
    Page(Request<()>, &'a HttpOptions),
    Health(grpc::Call, &'a GrpcOptions),
}

impl Asked<'_> {
    /// An http check's request, in this version.
    pub fn page(options: &HttpOptions, addr: IpAddr, port: u16, tls: bool) -> Result<Asked<'_>, Stop> {
        let (method, path) = http::method_and_path(options)?;
        let mut request = Request::new(());
        let mut unfit = Ok(());
        http::headers(options, addr, port, tls, true, |name, value| {
            match (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                (Ok(name), Ok(value)) => drop(request.headers_mut().append(name, value)),
                (Ok(_), Err(_)) | (Err(_), _) => unfit = Err(unusable(name, value)),
            }
        })?;
        unfit?;
        request.headers_mut().remove(CONNECTION);
        let host = request.headers_mut().remove(HOST);
        let authority = host.as_ref().map_or(&b""[..], |host| host.as_bytes());
        *request.method_mut() = method;
        *request.uri_mut() = uri(tls, authority, path)?;
        *request.version_mut() = Version::HTTP_2;
        Ok(Asked::Page(request, options))
    }

    pub fn health<'a>(options: &'a GrpcOptions, target: &Target, tls: bool) -> Result<Asked<'a>, Stop> {
        Ok(Asked::Health(grpc::Call::new(options, target, tls)?, options))
    }

    async fn of<S>(self, stream: &mut S, trace: &mut Trace) -> Result<String, Stop>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        match self {
            Asked::Page(request, options) => {
                let head = |head: &Parts| judge_head(head, options).map(|()| keeps_body(options));
                let answer = exchange(stream, request, None, head, trace).await?;
                let said = judge_body(&answer.head, &answer.body, options)?;
                trace.share = judge_share(&answer.head, options)?;
                Ok(with_share(said, trace.share))
            }
            Asked::Health(call, options) => call.make(stream, options, trace).await,
        }
    }
}

/// The whole of it on a fresh connection; a pass says what came back.
pub(super) async fn probe(
    mut stream: TcpStream,
    session: Option<Session>,
    asked: Asked<'_>,
    close: Close,
    trace: &mut Trace,
) -> Result<String, Stop> {
    let Some(session) = session else {
        let ended = asked.of(&mut stream, trace).await;
        tcp::close(stream, close);
        return ended;
    };
    let mut stream = tls::handshake(session, stream, close, trace).await?;
    let ended = match require_alpn(stream.get_ref().1.alpn_protocol()) {
        Ok(()) => asked.of(&mut stream, trace).await,
        Err(stop) => Err(stop),
    };
    tls::close(stream, close).await;
    ended
}

/// What came back, whole or to the limit of a body.
pub(super) struct Answer {
    pub head: Parts,
    pub body: Body,
    pub trailers: Option<HeaderMap>,
}

/// `:scheme`, `:authority` and `:path`.
pub(super) fn uri(tls: bool, authority: &[u8], path: &str) -> Result<Uri, Stop> {
    let scheme = if tls { uri::Scheme::HTTPS } else { uri::Scheme::HTTP };
    Uri::builder().scheme(scheme).authority(authority).path_and_query(path).build().map_err(|e| {
        Stop::local(format!("host `{}` cannot be sent: {e}", String::from_utf8_lossy(authority)))
    })
}

/// A server without ALPN is not known to speak HTTP/2 over TLS (RFC 9113, 3.2).
fn require_alpn(agreed: Option<&[u8]>) -> Result<(), Stop> {
    match agreed {
        Some(agreed) if agreed == Alpn::Http2.as_bytes() => Ok(()),
        Some(_) | None => {
            Err(Stop::fail(FailReason::BadResponse, "the server did not choose HTTP/2 (h2) in TLS (ALPN)"))
        }
    }
}

/// Sends a request; `judge_head` says what is wrong with the answer's head, or whether the body's bytes
/// are to be kept.
pub(super) async fn exchange<S>(
    stream: &mut S,
    request: Request<()>,
    payload: Option<Bytes>,
    judge_head: impl FnOnce(&Parts) -> Result<bool, Stop>,
    trace: &mut Trace,
) -> Result<Answer, Stop>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let meter = Meter::default();
    let sent = trace.clock.mono();
    let ended = match builder().handshake::<_, Bytes>(Metered::new(&mut *stream, &meter)).await {
        Ok((sender, connection)) => {
            let ours = async {
                let (head, incoming) = ask(sender, request, payload).await?;
                trace.http_status = Some(head.status.as_u16());
                meter.head_is_done();
                trace.phases.processing = Some(trace.clock.mono().since(sent));
                let keep = judge_head(&head).map_err(Halt::Judged)?;
                let (body, trailers) = read(incoming, keep).await?;
                Ok(Answer { head, body, trailers })
            };
            alongside(connection, ours).await
        }
        Err(error) => Err(Halt::Http2(error)),
    };
    // The server's first bytes are its settings, which say nothing of the answer.
    trace.phases.transfer = trace.phases.processing.map(|took| trace.clock.mono().since(sent + took));
    match ended {
        Ok(answer) => Ok(answer),
        Err(Halt::Judged(stop)) => Err(stop),
        Err(Halt::Http2(error)) => Err(broken(stream, &meter, &error).await),
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    // More is refused by stream or connection, CONTINUATION frames without end included.
    builder.max_header_list_size(HEAD_LIMIT_BYTES as u32).enable_push(false);
    builder.initial_window_size(WINDOW_BYTES);
    builder
}

/// Why an exchange stopped.
enum Halt {
    Judged(Stop),
    Http2(h2::Error),
}

impl From<h2::Error> for Halt {
    fn from(error: h2::Error) -> Halt {
        Halt::Http2(error)
    }
}

async fn ask(
    mut sender: SendRequest<Bytes>,
    request: Request<()>,
    payload: Option<Bytes>,
) -> Result<(Parts, h2::RecvStream), h2::Error> {
    let (response, mut body) = sender.send_request(request, payload.is_none())?;
    if let Some(payload) = payload {
        body.send_data(payload, true)?;
    }
    Ok(response.await?.into_parts())
}

async fn read(mut incoming: h2::RecvStream, keep: bool) -> Result<(Body, Option<HeaderMap>), h2::Error> {
    let mut body = Body::default();
    while let Some(data) = incoming.data().await {
        let data = data?;
        incoming.flow_control().release_capacity(data.len())?;
        if !body.take(&data, keep) {
            return Ok((body, None));
        }
    }
    Ok((body, incoming.trailers().await?))
}

/// Runs the connection and our side of it in one task, until ours is done; then says so.
async fn alongside<T>(connection: impl Future, ours: impl Future<Output = T>) -> T {
    let mut connection = pin!(connection);
    let mut running = true;
    let output = {
        let mut ours = pin!(ours);
        poll_fn(|cx| {
            if let Poll::Ready(output) = ours.as_mut().poll(cx) {
                return Poll::Ready(output);
            }
            // What it ends with reaches ours through the stream between them.
            running = running && connection.as_mut().poll(cx).is_pending();
            ours.as_mut().poll(cx)
        })
        .await
    };
    // With ours its last handle is gone: it takes leave (GOAWAY), as far as that goes without waiting.
    if running {
        poll_fn(|cx| {
            let _ = connection.as_mut().poll(cx);
            Poll::Ready(())
        })
        .await;
    }
    output
}

/// The exchange broke.
async fn broken<S>(stream: &mut S, meter: &Meter, error: &h2::Error) -> Stop
where
    S: AsyncRead + Unpin,
{
    if meter.begins_as_http1() {
        return Stop::fail(FailReason::BadResponse, "the server answers in HTTP/1, not in HTTP/2");
    }
    if error.is_remote() {
        let what = if error.is_go_away() { "ended the connection" } else { "reset the stream" };
        return Stop::fail(FailReason::BadResponse, format!("the server {what}: {error}"));
    }
    if let Some(fault) = meter.take_fault() {
        return tls::last_word(stream, fault).await;
    }
    let received_bytes = meter.received_bytes();
    if !error.is_library() && (received_bytes == 0 || meter.has_ended()) {
        return http::left(received_bytes);
    }
    Stop::fail(FailReason::BadResponse, format!("not an HTTP/2 answer: {error}"))
}
