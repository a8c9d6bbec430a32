//! The health protocol of gRPC (grpc.health.v1): one call of `Check`, over HTTP/2.
//!
//! Its two messages have one field each, which is little enough to be read and written here.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TE, USER_AGENT};
use http::response::Parts;
use http::{Method, Request, StatusCode, Version};
use tokio::io::{AsyncRead, AsyncWrite};

use super::Trace;
use super::http::{AGENT, default_host, status_text};
use super::http2::{self, Answer};
use super::reason::Stop;
use crate::model::{FailReason, GrpcOptions, Target};

const PATH: &str = "/grpc.health.v1.Health/Check";
const CONTENT: &str = "application/grpc";
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// A flag and a length.
const PREFIX_BYTES: usize = 5;

/// The names of the call's statuses, by number (gRPC's `doc/statuscodes.md`).
const STATUSES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];
const NOT_FOUND: u32 = 5;
const UNIMPLEMENTED: u32 = 12;

/// A call, ready to be sent.
pub(super) struct Call {
    request: Request<()>,
    message: Bytes,
}

impl Call {
    pub fn new(options: &GrpcOptions, target: &Target, tls: bool) -> Result<Call, Stop> {
        let host = || default_host(target.addr.addr, target.port, tls);
        let host = options.host.clone().unwrap_or_else(host);
        let uri = http2::uri(tls, host.as_bytes(), PATH)?;
        // At most eight digits: 10 minutes have six.
        let timeout = HeaderValue::try_from(format!("{}m", target.spec.pace.timeout.as_millis()))
            .map_err(|e| Stop::local(format!("timeout: {e}")))?;
        let mut headers = HeaderMap::with_capacity(4);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(CONTENT));
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        headers.insert(GRPC_TIMEOUT, timeout);
        let mut request = Request::new(());
        (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) = (Method::POST, uri, headers);
        *request.version_mut() = Version::HTTP_2;
        Ok(Call { request, message: framed(&health_request(&options.service)) })
    }

    /// Makes the call, judges the answer; a pass says what came back.
    pub async fn make<S>(
        self,
        stream: &mut S,
        options: &GrpcOptions,
        trace: &mut Trace,
    ) -> Result<String, Stop>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let head = |head: &Parts| judge_head(head).map(|()| true);
        let answer = http2::exchange(stream, self.request, Some(self.message), head, trace).await?;
        judge(&answer, &options.service)
    }
}

fn judge_head(head: &Parts) -> Result<(), Stop> {
    if head.status != StatusCode::OK {
        let text = format!("{}, wanted 200: not what a gRPC server answers", status_text(head.status));
        return Err(Stop::fail(FailReason::BadStatus, text));
    }
    let content = head.headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    if content.starts_with(CONTENT.as_bytes()) {
        return Ok(());
    }
    let text = format!("not a gRPC answer: content-type `{}`", String::from_utf8_lossy(content));
    Err(Stop::fail(FailReason::BadResponse, text))
}

fn judge(answer: &Answer, service: &str) -> Result<String, Stop> {
    let bad = |text: String| Stop::fail(FailReason::BadResponse, text);
    // Where there is no message, the trailers may be all there is, and then they are the head.
    let trailers = answer.trailers.as_ref().unwrap_or(&answer.head.headers);
    let status = trailers.get("grpc-status").map(HeaderValue::to_str);
    let status = match status {
        Some(Ok(digits)) => digits.parse::<u32>().map_err(|_| bad(format!("grpc-status `{digits}`")))?,
        Some(Err(_)) => return Err(bad("a grpc-status that is no text".to_owned())),
        None => return Err(bad(format!("no grpc-status within {}", answer.body))),
    };
    if status != 0 {
        return Err(refused(status, trailers.get("grpc-message"), service));
    }
    let message = unframed(&answer.body.bytes)
        .ok_or_else(|| bad(format!("not one uncompressed message: {}", answer.body)))?;
    let serving = health_response(message).ok_or_else(|| bad("not a HealthCheckResponse".to_owned()))?;
    let whose = whose(service);
    match serving {
        0 => Err(Stop::fail(FailReason::NotServing, format!("UNKNOWN{whose}"))),
        1 => Ok(format!("SERVING{whose}")),
        2 => Err(Stop::fail(FailReason::NotServing, format!("NOT_SERVING{whose}"))),
        3 => Err(Stop::fail(FailReason::ServiceUnknown, format!("SERVICE_UNKNOWN{whose}"))),
        other => Err(bad(format!("serving status {other}, which is none"))),
    }
}

/// The call itself failed.
fn refused(status: u32, message: Option<&HeaderValue>, service: &str) -> Stop {
    let reason = match status {
        NOT_FOUND => FailReason::ServiceUnknown,
        UNIMPLEMENTED => FailReason::Unimplemented,
        _ => FailReason::GrpcStatus,
    };
    let name = usize::try_from(status).ok().and_then(|at| STATUSES.get(at)).copied().unwrap_or("unknown");
    let said = message.map(|m| format!(": {}", percent_decoded(m.as_bytes()))).unwrap_or_default();
    Stop::fail(reason, format!("grpc-status {status} {name}{}{said}", whose(service)))
}

fn whose(service: &str) -> String {
    if service.is_empty() { String::new() } else { format!(" (`{service}`)") }
}

/// A grpc-message: what is not printable ASCII is `%XX`; what is not well-formed stays as it is.
fn percent_decoded(text: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let decoded = after
            .get(..2)
            .filter(|digits| byte == b'%' && digits.iter().all(u8::is_ascii_hexdigit))
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(decoded.unwrap_or(byte));
        rest = if decoded.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// One message, not compressed.
fn framed(message: &[u8]) -> Bytes {
    let mut bytes = Vec::with_capacity(PREFIX_BYTES + message.len());
    bytes.push(0);
    bytes.extend_from_slice(&(message.len() as u32).to_be_bytes());
    bytes.extend_from_slice(message);
    bytes.into()
}

fn unframed(bytes: &[u8]) -> Option<&[u8]> {
    let (prefix, message) = bytes.split_first_chunk::<PREFIX_BYTES>()?;
    let [compressed, length @ ..] = *prefix;
    let whole = usize::try_from(u32::from_be_bytes(length)) == Ok(message.len());
    (compressed == 0 && whole).then_some(message)
}

/// `message HealthCheckRequest { string service = 1; }`
fn health_request(service: &str) -> Vec<u8> {
    if service.is_empty() {
        return Vec::new();
    }
    let mut message = vec![1 << 3 | LENGTH];
    put_varint(&mut message, service.len() as u64);
    message.extend_from_slice(service.as_bytes());
    message
}

/// `message HealthCheckResponse { ServingStatus status = 1; }`: the status, which is 0 if it is not
/// there; other fields are passed over. `None`: not a message.
fn health_response(mut message: &[u8]) -> Option<u64> {
    let mut status = 0;
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        match (tag >> 3, (tag & 7) as u8) {
            (1, VARINT) => status = varint(&mut message)?,
            (_, VARINT) => drop(varint(&mut message)?),
            (_, FIXED_64) => message = message.get(8..)?,
            (_, FIXED_32) => message = message.get(4..)?,
            (_, LENGTH) => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                message = message.get(length..)?;
            }
            (_, _) => return None,
        }
    }
    Some(status)
}

const VARINT: u8 = 0;
const FIXED_64: u8 = 1;
const LENGTH: u8 = 2;
const FIXED_32: u8 = 5;

/// Seven bits a byte, the lowest first; at most 64 of them.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn messages_are_as_protoc_writes_them() {
        // printf 'service: "shop.Cart"' | protoc --encode=grpc.health.v1.HealthCheckRequest health.proto
        assert_eq!(health_request("shop.Cart"), b"\x0a\x09shop.Cart");
        assert_eq!(framed(&health_request("a"))[..], b"\0\0\0\0\x03\x0a\x01a"[..]);
        assert_eq!(framed(&health_request(""))[..], [0; 5]);
        let long = health_request(&"x".repeat(200));
        assert_eq!((&long[..3], long.len()), (&b"\x0a\xc8\x01"[..], 203));
        for (message, status) in [
            (&b"\x08\x01"[..], Some(1)),
            (b"", Some(0)),
            (b"\x08\x02\x08\x01", Some(1)),
            // Fields of another version: a varint, fixed ones, text.
            (b"\x10\x80\x01\x19\0\0\0\0\0\0\0\0\x25\0\0\0\0\x2a\x02hi\x08\x03", Some(3)),
            // A negative number takes ten bytes.
            (b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", Some(u64::MAX)),
            (b"\x08", None),
            (b"\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", None),
            (b"\x2a\x05hi", None),
            (b"\x0b", None),
            (b"\x19\0\0", None),
        ] {
            assert_eq!(health_response(message), status, "{message:?}");
        }
    }

    #[test]
    fn a_frame_is_one_whole_message() {
        assert_eq!(unframed(b"\0\0\0\0\x02\x08\x01"), Some(&b"\x08\x01"[..]));
        assert_eq!(unframed(b"\0\0\0\0\0"), Some(&b""[..]));
        for bytes in
            [&b""[..], b"\0\0\0\0", b"\x01\0\0\0\0", b"\0\0\0\0\x01", b"\0\0\0\0\0\0", b"\0\xff\xff\xff\xff"]
        {
            assert_eq!(unframed(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn a_status_message_is_percent_encoded() {
        assert_eq!(percent_decoded(b"no%20such%3a%E2%82%AC 100%"), "no such:€ 100%");
        assert_eq!(percent_decoded(b"%zz%4"), "%zz%4");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = health_response(&bytes);
            let _ = unframed(&bytes);
            let _ = percent_decoded(&bytes);
        }

        #[test]
        fn a_status_survives(status in 0..u64::MAX, service in "[a-z.]{1,300}") {
            let mut message = vec![1 << 3];
            put_varint(&mut message, status);
            prop_assert_eq!(health_response(&message), Some(status));
            // A request read as a response: the text is passed over.
            prop_assert_eq!(health_response(&health_request(&service)), Some(0));
        }
    }
}
