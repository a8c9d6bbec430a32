//! An http check's request, and what its answer is judged by, in whichever version it goes over the wire.
//!
//! A redirect is an answer like any other. The body is read to its end or to [`BODY_LIMIT_BYTES`] even where
//! nothing is looked for in it, so that an answer that breaks off is seen; what lies beyond is never read.
//! A server that closes too early gave a bad response; only RST is `reset`.

use std::net::IpAddr;

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, LOCATION, USER_AGENT};
use http::response::Parts;
use http::{Method, StatusCode};

use super::reason::Stop;
use super::{agent, http1};
use crate::model::{BodyMatch, DestKey, FailReason, HttpOptions, Share};

/// As much of a body is read and searched.
pub(super) const BODY_LIMIT_BYTES: usize = 64 * 1024;
/// An answer's head.
pub(super) const HEAD_LIMIT_BYTES: usize = 16 * 1024;

pub(super) const AGENT: &str = concat!("lvs-agent/", env!("CARGO_PKG_VERSION"));

/// The request of a check, for HTTP/1.1.
pub(super) fn request(
    options: &HttpOptions,
    addr: IpAddr,
    port: u16,
    tls: bool,
    keep: bool,
) -> Result<http1::Request, Stop> {
    let (method, path) = method_and_path(options)?;
    let mut bytes = Vec::with_capacity(256);
    for part in [method.as_str(), " ", path, " HTTP/1.1\r\n"] {
        bytes.extend_from_slice(part.as_bytes());
    }
    headers(options, addr, port, tls, keep, |name, value| {
        // As it goes over the wire in every version.
        bytes.extend(name.bytes().map(|b| b.to_ascii_lowercase()));
        for part in [": ", value, "\r\n"] {
            bytes.extend_from_slice(part.as_bytes());
        }
    })?;
    bytes.extend_from_slice(b"\r\n");
    Ok(http1::Request { bytes, head_only: method == Method::HEAD })
}

pub(super) fn method_and_path(options: &HttpOptions) -> Result<(Method, &str), Stop> {
    let (method, path) = (&options.method, &options.path);
    if path.is_empty() || !path.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(unusable("path", path));
    }
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| unusable("method", method))?;
    Ok((method, path))
}

pub(super) fn unusable(what: &str, value: &str) -> Stop {
    Stop::local(format!("{what} `{value}` cannot be sent"))
}

/// All headers of a request, each fit to be sent. `host`, `user-agent` and `connection: close` give way to the
/// check's own; without the last of them the server may keep the connection.
pub(super) fn headers(
    options: &HttpOptions,
    addr: IpAddr,
    port: u16,
    tls: bool,
    keep: bool,
    mut put: impl FnMut(&str, &str),
) -> Result<(), Stop> {
    for (name, value) in &options.headers {
        if !is_token(name) {
            return Err(unusable("header", name));
        }
        if !is_field_value(value) {
            return Err(unusable(name, value));
        }
        put(name, value);
    }
    let missing = |wanted: &HeaderName| {
        !options.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(wanted.as_str()))
    };
    if missing(&HOST) {
        match &options.host {
            Some(host) if is_field_value(host) => put(HOST.as_str(), host),
            Some(host) => return Err(unusable("host", host)),
            None => put(HOST.as_str(), &default_host(addr, port, tls)),
        }
    }
    if missing(&USER_AGENT) {
        put(USER_AGENT.as_str(), AGENT);
    }
    if !keep && missing(&CONNECTION) {
        put(CONNECTION.as_str(), "close");
    }
    // A method that usually has a body says that there is none (RFC 9110, 8.6).
    if matches!(options.method.as_str(), "POST" | "PUT" | "PATCH") && missing(&CONTENT_LENGTH) {
        put(CONTENT_LENGTH.as_str(), "0");
    }
    Ok(())
}

/// RFC 9110, 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// RFC 9110, 5.5.
fn is_field_value(text: &str) -> bool {
    text.bytes().all(|b| b == b'\t' || (b >= b' ' && b != 0x7f))
}

/// The probed address, with its port unless it is the scheme's own (RFC 9110, 4.2).
pub(super) fn default_host(addr: IpAddr, port: u16, tls: bool) -> String {
    match (addr, port, tls) {
        (IpAddr::V4(addr), 80, false) | (IpAddr::V4(addr), 443, true) => addr.to_string(),
        (IpAddr::V6(addr), 80, false) | (IpAddr::V6(addr), 443, true) => format!("[{addr}]"),
        _ => DestKey { addr, port }.to_string(),
    }
}

/// What judges look at in the head of an answer of either version.
pub(super) trait Head {
    fn status(&self) -> StatusCode;
    /// Of all headers of this name.
    fn values(&self, name: &str) -> Vec<&[u8]>;
}

impl Head for Parts {
    fn status(&self) -> StatusCode {
        self.status
    }

    fn values(&self, name: &str) -> Vec<&[u8]> {
        self.headers.get_all(name).iter().map(HeaderValue::as_bytes).collect()
    }
}

pub(super) fn judge_head(head: &impl Head, options: &HttpOptions) -> Result<(), Stop> {
    let status = head.status().as_u16();
    if options.status.iter().any(|(low, high)| (*low..=*high).contains(&status)) {
        return Ok(());
    }
    Err(Stop::fail(FailReason::BadStatus, bad_status(head, options)))
}

/// How much of its weight the server wants, if its answer has the check's header for that; several of them
/// are one list (RFC 9110, 5.3).
pub(super) fn judge_share(head: &impl Head, options: &HttpOptions) -> Result<Option<Share>, Stop> {
    let Some(name) = &options.weight_header else { return Ok(None) };
    let values = head.values(name);
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

pub(super) fn judge_body(head: &impl Head, body: &Body, options: &HttpOptions) -> Result<String, Stop> {
    let (found, wanted) = match &options.body {
        BodyMatch::Any => (true, ""),
        BodyMatch::Contains(text) => (contains(&body.bytes, text.as_bytes()), text.as_str()),
        BodyMatch::Regex(regex) => (regex.is_match(&body.bytes), regex.as_str()),
    };
    if found {
        return Ok(format!("{}, {body}", status_text(head.status())));
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
fn bad_status(head: &impl Head, options: &HttpOptions) -> String {
    let location = match head.values(LOCATION.as_str()).first() {
        Some(to) if head.status().is_redirection() => {
            let to: String = String::from_utf8_lossy(to).chars().take(100).collect();
            format!(" (Location: {to})")
        }
        Some(_) | None => String::new(),
    };
    let wanted: Vec<String> = options
        .status
        .iter()
        .map(|(low, high)| if low == high { low.to_string() } else { format!("{low}-{high}") })
        .collect();
    format!("{}{location}, wanted {}", status_text(head.status()), wanted.join(", "))
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

/// The server closed its side too early.
pub(super) fn left(received_bytes: u64) -> Stop {
    let text = match received_bytes {
        0 => "the server closed the connection without an answer".to_owned(),
        received => {
            format!("the server closed the connection in the middle of its answer, after {received} bytes")
        }
    };
    Stop::fail(FailReason::BadResponse, text)
}
