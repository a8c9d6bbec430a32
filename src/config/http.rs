//! The keys of a check that speaks HTTP.

use toml::de::DeValue;

use super::agent;
use super::problem::{Place, quote};
use super::reader::{Bad, Placed, Reader, join};
use super::values::{number, text, word};
use crate::model::{BodyMatch, BodyRegex, HttpOptions, HttpVersion};

/// Of a connection that nobody makes anew nobody knows whether it can be made: at most 999 in a row are kept ones.
const FRESH_EVERY: std::ops::RangeInclusive<u32> = 2..=1000;
const DEFAULT_FRESH_EVERY: u32 = 10;

const MAX_HEADERS: usize = 32;
const MAX_HEADER_BYTES: usize = 4096;
const MAX_PATH_BYTES: usize = 4096;
const MAX_METHOD_BYTES: usize = 32;
const MAX_BODY_PATTERN_BYTES: usize = 4096;
/// A DNS name and a port.
const MAX_HOST_BYTES: usize = 261;

/// The prober writes these itself: they frame the request or manage its connection (RFC 9110,
/// section 7.6.1; RFC 9112, section 6).
const OWN_HEADERS: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The options, and where `host` stands if it is written.
pub(super) fn read(reader: &mut Reader<'_, '_>) -> (HttpOptions, Option<Place>) {
    let version =
        |value: &DeValue<'_>| word(value, HttpVersion::from_word, HttpVersion::ALL.map(HttpVersion::as_str));
    let version = reader.optional("http-version", version).unwrap_or(HttpVersion::V1);
    let path = reader.optional("path", path);
    let host = reader.placed("host", host);
    let method = reader.optional("method", method).unwrap_or_else(|| "GET".to_owned());
    let headers = headers(reader);
    let status = status(reader);
    let body = body(reader, &method);
    let fresh_every = connection(reader, version);
    let weight_header = agent::weight_header(reader);
    let (host, host_place) = host.map(|h| (h.value, h.place)).unzip();
    let path = path.unwrap_or_else(|| "/".to_owned());
    let options =
        HttpOptions { version, method, path, host, headers, status, body, fresh_every, weight_header };
    (options, host_place)
}

/// The host without the port of `host`: the name that a certificate is for.
pub(super) fn host_name(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or(host, |(name, _)| name),
        None => host.split_once(':').map_or(host, |(name, _)| name),
    }
}

fn path(value: &DeValue<'_>) -> Result<String, Bad> {
    let path = text(value)?;
    if !path.starts_with('/') {
        return Err(Bad::Form(format!("{} does not begin with /", quote(path))));
    }
    if path.len() > MAX_PATH_BYTES {
        return Err(Bad::Message(format!("is longer than {MAX_PATH_BYTES} bytes")));
    }
    let uri_character = |b: u8| b.is_ascii_graphic() && b != b'#';
    if !path.bytes().all(uri_character) || path.parse::<http::uri::PathAndQuery>().is_err() {
        return Err(Bad::Form(format!("{} has characters that a request's path cannot have", quote(path))));
    }
    Ok(path.to_owned())
}

fn host(value: &DeValue<'_>) -> Result<String, Bad> {
    let host = text(value)?;
    let port_is_right = |authority: &http::uri::Authority| {
        let after_name = &authority.as_str()[authority.host().len()..];
        after_name.is_empty() || authority.port_u16().is_some_and(|port| port > 0)
    };
    let is_right = host.len() <= MAX_HOST_BYTES
        && !host.contains('@')
        && host
            .parse::<http::uri::Authority>()
            .is_ok_and(|authority| !authority.host().is_empty() && port_is_right(&authority));
    if is_right { Ok(host.to_owned()) } else { Err(Bad::Form(format!("{} is no host", quote(host)))) }
}

fn method(value: &DeValue<'_>) -> Result<String, Bad> {
    let method = text(value)?;
    if method.len() > MAX_METHOD_BYTES || http::Method::from_bytes(method.as_bytes()).is_err() {
        return Err(Bad::Form(format!("{} is no method", quote(method))));
    }
    if method == "CONNECT" {
        return Err(Bad::Form("`CONNECT` asks for a tunnel, not for a page".to_owned()));
    }
    if method.bytes().any(|b| b.is_ascii_lowercase()) {
        return Err(Bad::Form(format!(
            "{} has lower-case letters, and methods are told apart by case",
            quote(method)
        )));
    }
    Ok(method.to_owned())
}

/// In file order, as they go over the wire.
fn headers(reader: &mut Reader<'_, '_>) -> Vec<(String, String)> {
    let Some(Placed { value: table, place }) = reader.table("headers") else {
        return Vec::new();
    };
    if table.len() > MAX_HEADERS {
        reader.faults.fault(&place, format!("has {} headers: at most {MAX_HEADERS}", table.len()));
        return Vec::new();
    }
    let mut written: Vec<_> = table.iter().collect();
    written.sort_by_key(|(name, _)| name.span().start);
    let mut headers: Vec<(String, String)> = Vec::with_capacity(written.len());
    for (name, value) in written {
        let key = join(&place.key, name.get_ref());
        let at_name = Place { at: name.span().start, key: key.clone() };
        let at_value = Place { at: value.span().start, key };
        let name: &str = name.get_ref();
        if let Err(message) = header_name(name, &headers) {
            reader.faults.fault(&at_name, message);
            continue;
        }
        match header_value(value.get_ref()) {
            Ok(value) => headers.push((name.to_owned(), value)),
            Err(message) => reader.faults.fault(&at_value, message),
        }
    }
    headers
}

fn header_name(name: &str, before: &[(String, String)]) -> Result<(), String> {
    if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
        return Err(format!("{} is no name of a header", quote(name)));
    }
    let lower = name.to_ascii_lowercase();
    if lower == "host" {
        return Err("has a key of its own: write `host`".to_owned());
    }
    if OWN_HEADERS.contains(&lower.as_str()) {
        return Err("is not yours to set: the probe frames its request and ends its connection".to_owned());
    }
    if let Some((earlier, _)) = before.iter().find(|(earlier, _)| earlier.eq_ignore_ascii_case(name)) {
        return Err(format!("is the header `{earlier}` once more (case makes no difference)"));
    }
    Ok(())
}

fn header_value(value: &DeValue<'_>) -> Result<String, String> {
    let Some(text) = value.as_str() else {
        return Err("is no text: write the header's value in quotes".to_owned());
    };
    // Checked as text and not as bytes: what is not ASCII has no agreed meaning in a header.
    if http::HeaderValue::from_str(text).is_err() || !text.is_ascii() {
        return Err(format!("{} has characters that a header cannot have", quote(text)));
    }
    if text.len() > MAX_HEADER_BYTES {
        return Err(format!("is longer than {MAX_HEADER_BYTES} bytes"));
    }
    if text.trim() != text {
        return Err(format!("{} begins or ends with a space, which a header cannot have", quote(text)));
    }
    Ok(text.to_owned())
}

fn status(reader: &mut Reader<'_, '_>) -> Vec<(u16, u16)> {
    let Some(list) = reader.list("status", status_range) else {
        return vec![(200, 299)];
    };
    if list.value.is_empty() && reader.faults.none_below(&list.place) {
        reader.faults.fault(&list.place, "is empty, so that no answer could pass: write [\"200-299\"]");
    }
    list.value.into_iter().map(|range| range.value).collect()
}

fn status_range(value: &DeValue<'_>) -> Result<(u16, u16), Bad> {
    let written = match value.as_integer() {
        Some(number) => number.to_string(),
        None => text(value)?.to_owned(),
    };
    let code = |text: &str| -> Option<u16> {
        let three_digits = text.len() == 3 && text.bytes().all(|b| b.is_ascii_digit());
        if three_digits { text.parse().ok().filter(|code| (100..=599).contains(code)) } else { None }
    };
    let (first, last) = written.split_once('-').unwrap_or((&written, &written));
    match (code(first), code(last)) {
        (Some(first), Some(last)) if first <= last => Ok((first, last)),
        (Some(_), Some(_)) => Err(Bad::Form(format!("{} goes backwards", quote(&written)))),
        (None, _) | (_, None) => Err(Bad::Form(format!("{} is no status code or range", quote(&written)))),
    }
}

/// `None`: a new connection for each probe.
fn connection(reader: &mut Reader<'_, '_>, version: HttpVersion) -> Option<u32> {
    let reuse = reader.placed("connection", |value| {
        word(value, |word| ["fresh", "reuse"].into_iter().find(|w| *w == word), ["fresh", "reuse"])
    });
    let fresh_every = reader.placed("fresh-every", number(FRESH_EVERY));
    if let (Some(Placed { value: "reuse", place }), HttpVersion::V2) = (&reuse, version) {
        let message =
            "`reuse` is for HTTP/1.1: with `http-version = \"2\"` each probe has a connection of its own";
        reader.faults.fault(place, message);
        return None;
    }
    match (reuse.map(|reuse| reuse.value), fresh_every) {
        (Some("reuse"), every) => Some(every.map_or(DEFAULT_FRESH_EVERY, |every| every.value)),
        // What is wrong with it is reported.
        (None, Some(_)) if reader.is_written("connection") => None,
        (Some(_) | None, Some(every)) => {
            let message = "says how often a kept connection is made anew: write `connection = \"reuse\"` too";
            reader.faults.fault(&every.place, message);
            None
        }
        (Some(_) | None, None) => None,
    }
}

fn body(reader: &mut Reader<'_, '_>, method: &str) -> BodyMatch {
    let contains = reader.placed("body-contains", body_pattern);
    let regex = reader.placed("body-regex", |value| {
        let text = body_pattern(value)?;
        BodyRegex::new(&text).map_err(|e| Bad::Message(regex_fault(&e)))
    });
    if let (Some(contains), Some(regex)) = (&contains, &regex) {
        let later = if contains.place.at > regex.place.at { &contains.place } else { &regex.place };
        reader.faults.fault(later, "of `body-contains` and `body-regex` only one can be written");
    }
    if method == "HEAD"
        && let Some(place) = contains.as_ref().map(|c| &c.place).or(regex.as_ref().map(|r| &r.place))
    {
        reader.faults.fault(place, "never holds: the answer to a HEAD request has no body");
    }
    match (contains, regex) {
        (_, Some(regex)) => BodyMatch::Regex(regex.value),
        (Some(contains), None) => BodyMatch::Contains(contains.value),
        (None, None) => BodyMatch::Any,
    }
}

pub(super) fn body_pattern(value: &DeValue<'_>) -> Result<String, Bad> {
    let text = text(value)?;
    if text.is_empty() {
        return Err(Bad::Form("is empty and holds for every body".to_owned()));
    }
    if text.len() > MAX_BODY_PATTERN_BYTES {
        return Err(Bad::Form("is too long".to_owned()));
    }
    Ok(text.to_owned())
}

/// In one line: the crate draws a picture of several.
pub(super) fn regex_fault(error: &regex::Error) -> String {
    if let regex::Error::CompiledTooBig(limit) = error {
        return format!("compiles to more than {limit} bytes");
    }
    let picture = error.to_string();
    let reason = picture.lines().find_map(|l| l.strip_prefix("error: "));
    format!("is no regular expression: {}", reason.unwrap_or("it does not parse"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(toml: &str) -> DeValue<'_> {
        DeValue::parse(toml).unwrap().into_inner()
    }

    #[test]
    fn status_codes_and_ranges() {
        assert_eq!(status_range(&value("\"200-299\"")), Ok((200, 299)));
        assert_eq!(status_range(&value("\"204\"")), Ok((204, 204)));
        assert_eq!(status_range(&value("401")), Ok((401, 401)));
        for toml in
            ["\"299-200\"", "\"2xx\"", "\"99\"", "600", "-200", "\"200-\"", "\"200 - 299\"", "\"\"", "0x10"]
        {
            assert!(matches!(status_range(&value(toml)), Err(Bad::Form(_))), "{toml}");
        }
        assert_eq!(status_range(&value("[200]")), Err(Bad::Kind));
    }

    #[test]
    fn hosts_and_their_names() {
        for (host_text, name) in [
            ("shop.example.com", "shop.example.com"),
            ("shop.example.com:8080", "shop.example.com"),
            ("[2001:db8::1]:80", "2001:db8::1"),
            ("10.0.0.1", "10.0.0.1"),
        ] {
            let toml = format!("\"{host_text}\"");
            assert_eq!(host(&value(&toml)), Ok(host_text.to_owned()));
            assert_eq!(host_name(host_text), name);
        }
        for toml in [
            "\"\"",
            "\"a b\"",
            "\"user@host\"",
            "\"host/path\"",
            "\"host:\"",
            "\"host:0\"",
            "\"host:99999\"",
            "\":80\"",
            "\"a\\r\\nX: y\"",
        ] {
            assert!(host(&value(toml)).is_err(), "{toml}");
        }
    }

    #[test]
    fn paths_and_methods() {
        assert_eq!(path(&value("\"/healthz?full=1&x=%20\"")), Ok("/healthz?full=1&x=%20".to_owned()));
        for toml in
            ["\"healthz\"", "\"/a b\"", "\"/ü\"", "\"/a#b\"", "\"\"", "\"/a\\r\\nb\"", "\"http://x/\""]
        {
            assert!(path(&value(toml)).is_err(), "{toml}");
        }
        assert_eq!(method(&value("\"HEAD\"")), Ok("HEAD".to_owned()));
        for toml in ["\"\"", "\"GET \"", "\"get\"", "\"CONNECT\"", "\"G,T\""] {
            assert!(method(&value(toml)).is_err(), "{toml}");
        }
    }
}
