//! TLS: the handshake, what its errors mean, and how a TLS connection ends.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, ProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::reason::Stop;
use super::trust::Session;
use super::verify::{self, CA_AS_SERVER};
use super::{Stage, Trace, tcp};
use crate::model::{ChainExpiry, Close, FailReason};

/// How long a server that is done with the handshake may keep us waiting for the last word on it.
const FAREWELL: Duration = Duration::from_millis(200);

/// The handshake as the whole check.
pub(super) async fn probe(
    session: Session,
    stream: TcpStream,
    mode: Close,
    trace: &mut Trace,
) -> Result<String, Stop> {
    let mut stream = handshake(session, stream, mode, trace).await?;
    trace.enter(Stage::Farewell);
    let accepted = farewell(&mut stream).await;
    let version = match stream.get_ref().1.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
        Some(_) | None => "TLS 1.2",
    };
    close(stream, mode).await;
    accepted.map(|()| format!("{version} handshake done"))
}

pub(super) async fn handshake(
    session: Session,
    stream: TcpStream,
    mode: Close,
    trace: &mut Trace,
) -> Result<TlsStream<TcpStream>, Stop> {
    trace.stage = Stage::Tls;
    let connecting = TlsConnector::from(session.config).connect(session.name, stream).into_fallible();
    let (ended, chain) = verify::observed(connecting).await;
    trace.chain = chain;
    match ended {
        Ok(stream) => {
            trace.phases.tls = Some(trace.enter(Stage::Answer));
            Ok(stream)
        }
        Err((error, stream)) => {
            // An alert of ours is on its way: the server's log then names the cause.
            tcp::close(stream, mode);
            let mut stop = stop(&error, Stage::Tls);
            if let (Stop::Fail(_, detail), Some(whose)) = (&mut stop, expired(&error, trace.chain.as_deref()))
            {
                detail.push_str(": ");
                detail.push_str(whose);
            }
            Err(stop)
        }
    }
}

/// The server's last word on a handshake.
///
/// In TLS 1.3 the client is done before the server has looked at the client's certificate, and a
/// rejection comes only afterwards. So we say close_notify at once and read on: a server reads it
/// only after it has accepted us, and the answer to it (close_notify, end of stream) is its
/// acknowledgement. A session ticket or any data are too, for they are sent after the acceptance.
/// A server that rejects us sends its alert ahead of all of these. The one that does neither, but
/// simply waits, costs [`FAREWELL`] and passes.
async fn farewell(stream: &mut TlsStream<TcpStream>) -> Result<(), Stop> {
    // A TLS 1.2 server's Finished comes after its verdict on us.
    if stream.get_ref().1.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
        return Ok(());
    }
    stream.get_mut().1.send_close_notify();
    let last_word = timeout(FAREWELL, poll_fn(|cx| poll_last_word(stream, cx))).await;
    last_word.unwrap_or(Ok(())).map_err(|error| stop(&error, Stage::Farewell))
}

fn poll_last_word(stream: &mut TlsStream<TcpStream>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    // Not being able to write is no answer: the reason, if there is one, is to be read.
    let _ = Pin::new(&mut *stream).poll_flush(cx);
    let mut scratch = [0; 64];
    match Pin::new(&mut *stream).poll_read(cx, &mut ReadBuf::new(&mut scratch)) {
        Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
        Poll::Ready(ended) => Poll::Ready(ended),
        Poll::Pending if stream.get_ref().1.tls13_tickets_received() > 0 => Poll::Ready(Ok(())),
        Poll::Pending => Poll::Pending,
    }
}

/// Says close_notify, as far as it can be sent without waiting, and ends the connection.
pub(super) async fn close(mut stream: TlsStream<TcpStream>, mode: Close) {
    stream.get_mut().1.send_close_notify();
    poll_fn(|cx| {
        // The result of the probe stands whatever happens to the farewell.
        let _ = Pin::new(&mut stream).poll_flush(cx);
        Poll::Ready(())
    })
    .await;
    tcp::close(stream.into_inner().0, mode);
}

/// What an error of a stream, TLS or plain, says of the probe.
pub(super) fn stop(error: &io::Error, stage: Stage) -> Stop {
    if let Some(error) = rustls_error(error) {
        let reason = match stage {
            Stage::Answer if !matches!(error, rustls::Error::AlertReceived(_)) => FailReason::BadResponse,
            Stage::Connect | Stage::Tls | Stage::Farewell | Stage::Answer => reason(error),
        };
        return Stop::Fail(reason, describe(error));
    }
    if error.kind() == io::ErrorKind::UnexpectedEof && stage != Stage::Answer {
        let text = "the server closed the connection during the TLS handshake";
        return Stop::fail(FailReason::TlsHandshake, text);
    }
    if error.raw_os_error().is_none() && stage == Stage::Answer {
        return Stop::fail(FailReason::BadResponse, error.to_string());
    }
    Stop::of_connection(error, stage)
}

/// Whose certificate has expired: not always the server's own, but also one that issued it.
fn expired<'c>(error: &io::Error, chain: Option<&'c ChainExpiry>) -> Option<&'c str> {
    use rustls::Error::InvalidCertificate;
    let InvalidCertificate(CertificateError::ExpiredContext { not_after, .. }) = rustls_error(error)? else {
        return None;
    };
    let of_this = |chain: &&ChainExpiry| u64::try_from(chain.not_after) == Ok(not_after.as_secs());
    chain.filter(of_this).map(|chain| &*chain.subject)
}

/// Writing or reading broke with this. An alert of the server that is still unread says more.
pub(super) async fn last_word<S>(stream: &mut S, fault: io::Error) -> Stop
where
    S: AsyncRead + Unpin,
{
    let alert = poll_fn(|cx| {
        let mut scratch = [0; 256];
        Poll::Ready(match Pin::new(&mut *stream).poll_read(cx, &mut ReadBuf::new(&mut scratch)) {
            Poll::Ready(Err(error)) if is_alert(&error) => Some(error),
            Poll::Ready(_) | Poll::Pending => None,
        })
    });
    stop(&alert.await.unwrap_or(fault), Stage::Answer)
}

/// The server told us in TLS why it ends.
fn is_alert(error: &io::Error) -> bool {
    matches!(rustls_error(error), Some(rustls::Error::AlertReceived(_)))
}

fn rustls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

fn reason(error: &rustls::Error) -> FailReason {
    use CertificateError as C;
    let rustls::Error::InvalidCertificate(certificate) = error else { return FailReason::TlsHandshake };
    if matches!(certificate, C::NotValidForName | C::NotValidForNameContext { .. }) {
        FailReason::TlsName
    } else if matches!(
        certificate,
        C::Expired | C::ExpiredContext { .. } | C::NotValidYet | C::NotValidYetContext { .. }
    ) {
        FailReason::TlsExpired
    } else {
        FailReason::TlsUntrusted
    }
}

fn describe(error: &rustls::Error) -> String {
    use rustls::Error::{AlertReceived, InvalidCertificate, InvalidMessage};
    if let InvalidCertificate(certificate) = error
        && let Some(text) = describe_certificate(certificate)
    {
        return text;
    }
    if let AlertReceived(AlertDescription::CertificateRequired) = error {
        return "the server wants a client certificate".to_owned();
    }
    if let AlertReceived(alert) = error {
        return format!("the server refused: TLS alert {alert:?}");
    }
    if let InvalidMessage(_) = error {
        return format!("the server does not speak TLS on this port: {error}");
    }
    error.to_string()
}

/// What is wrong with a certificate, where rustls's own text can be bettered.
#[expect(clippy::wildcard_enum_match_arm, reason = "not our enum: whatever it grows has rustls's text")]
fn describe_certificate(error: &CertificateError) -> Option<String> {
    use CertificateError as C;
    let text = match error {
        C::ExpiredContext { time, not_after } => {
            format!("the certificate expired {} ago", span(*time, *not_after))
        }
        C::NotValidYetContext { time, not_before } => {
            format!("the certificate is valid only in {}", span(*not_before, *time))
        }
        C::NotValidForNameContext { expected, presented } => {
            let presented = match presented.as_slice() {
                [] => "no name (subjectAltName)".to_owned(),
                names => names.iter().map(|name| plain(name)).collect::<Vec<_>>().join(", "),
            };
            format!("the certificate is not for {}: it bears {presented}", expected.to_str())
        }
        C::UnknownIssuer => "no trusted authority issued the certificate".to_owned(),
        C::Other(other) if other.0.to_string() == CA_AS_SERVER => {
            "the server's certificate is an authority's (CA:TRUE); trust it by `ca-file`".to_owned()
        }
        C::Other(other) => format!("the certificate cannot be used: {}", other.0),
        _ => return None,
    };
    Some(text)
}

/// `DnsName("shop.example.com")`, as webpki puts it, without the wrapping.
fn plain(name: &str) -> &str {
    let inner = name.strip_prefix("DnsName(\"").and_then(|rest| rest.strip_suffix("\")"));
    inner.unwrap_or(name)
}

/// The time between two moments in the largest fitting unit.
fn span(later: UnixTime, earlier: UnixTime) -> String {
    let seconds = later.as_secs().saturating_sub(earlier.as_secs());
    match seconds {
        0..3_600 => format!("{} min", seconds / 60),
        3_600..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}
