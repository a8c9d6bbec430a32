//! The telemetry path: which format and encoding the client gets.

use std::collections::BTreeSet;
use std::time::Duration;

use http::HeaderMap;
use http::header::{ACCEPT, ACCEPT_ENCODING, AsHeaderName};

use crate::metrics::{Format, Part, Selection};

/// OpenMetrics where the client asks for it by name and likes it no less than text; every
/// client reads text 0.0.4, so all else, the unknown and the invalid get that.
pub(super) fn negotiate(headers: &HeaderMap) -> Format {
    let mut openmetrics = 0.0_f32;
    // By how closely a range names text 0.0.4: exactly, text/*, */* (RFC 9110, 12.5.1).
    let mut text = [None::<f32>; 3];
    for item in items(headers, ACCEPT) {
        let version = item.parameter("version");
        let range = item.value.to_ascii_lowercase();
        match range.as_str() {
            "application/openmetrics-text" if version.is_none_or(|v| v == "1.0.0") => {
                openmetrics = openmetrics.max(item.q);
            }
            "text/plain" if version.is_none_or(|v| v == "0.0.4") => raise(&mut text[0], item.q),
            "text/*" => raise(&mut text[1], item.q),
            "*/*" => raise(&mut text[2], item.q),
            _ => {}
        }
    }
    let text = text.into_iter().flatten().next().unwrap_or(0.0);
    if openmetrics > 0.0 && openmetrics >= text { Format::OpenMetrics } else { Format::Text004 }
}

fn raise(best: &mut Option<f32>, q: f32) {
    *best = Some(best.map_or(q, |b| b.max(q)));
}

/// True if the client takes gzip and does not like the plain text better.
pub(super) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let (mut gzip, mut any, mut identity) = (None, None, None);
    for item in items(headers, ACCEPT_ENCODING) {
        match item.value.to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => raise(&mut gzip, item.q),
            "*" => raise(&mut any, item.q),
            "identity" => raise(&mut identity, item.q),
            _ => {}
        }
    }
    let gzip = gzip.or(any).unwrap_or(0.0);
    gzip > 0.0 && gzip >= identity.unwrap_or(0.0)
}

/// `collect[]=PART` and `exclude[]=PART`, each as often as wanted; other parameters are somebody else's.
pub(super) fn selection(query: &str) -> Result<Selection, String> {
    let mut selection = Selection::default();
    let mut collect = BTreeSet::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let wanted = match &*name {
            "collect[]" => true,
            "exclude[]" => false,
            _ => continue,
        };
        let part = Part::from_word(&value).ok_or_else(|| {
            let known = Part::ALL.map(|part| part.as_str()).join(", ");
            // What the client wrote is not shown: it may be anything.
            format!("{name} names no part of the metrics; there are: {known}")
        })?;
        if wanted {
            collect.insert(part);
        } else {
            selection.exclude(part);
        }
    }
    if !collect.is_empty() {
        selection.keep_only(&collect);
    }
    Ok(selection)
}

/// How long the client waits for the answer, less what sending it takes.
pub(super) fn scrape_budget(headers: &HeaderMap, default: Duration) -> Duration {
    const MARGIN: Duration = Duration::from_millis(500);
    const LONGEST: Duration = Duration::from_secs(120);
    let asked = headers
        .get("X-Prometheus-Scrape-Timeout-Seconds")
        .and_then(|value| value.to_str().ok()?.trim().parse::<f64>().ok())
        .filter(|seconds| *seconds > 0.0)
        .and_then(|seconds| Duration::try_from_secs_f64(seconds.min(LONGEST.as_secs_f64())).ok());
    match asked {
        Some(timeout) => timeout.saturating_sub(MARGIN).max(timeout / 2),
        None => default,
    }
}

/// One element of an Accept or Accept-Encoding header.
struct Item<'a> {
    value: &'a str,
    parameters: &'a str,
    q: f32,
}

impl<'a> Item<'a> {
    /// `None` if it is empty or its q is none.
    fn parse(text: &'a str) -> Option<Item<'a>> {
        let (value, parameters) = text.split_once(';').unwrap_or((text, ""));
        let mut item = Item { value: value.trim(), parameters, q: 1.0 };
        if let Some(q) = item.parameter("q") {
            item.q = q.parse().ok().filter(|q| (0.0..=1.0).contains(q))?;
        }
        (!item.value.is_empty()).then_some(item)
    }

    fn parameter(&self, name: &str) -> Option<&'a str> {
        self.parameters.split(';').find_map(|parameter| {
            let (key, value) = parameter.split_once('=')?;
            key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"'))
        })
    }
}

fn items(headers: &HeaderMap, name: impl AsHeaderName) -> impl Iterator<Item = Item<'_>> {
    let lines = headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).filter_map(Item::parse)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name, line.parse().unwrap());
        }
        headers
    }

    #[test]
    fn openmetrics_goes_to_those_who_ask_for_it() {
        use Format::{OpenMetrics, Text004};
        let cases: [(&[&str], Format); 19] = [
            // Prometheus 2.42.
            (
                &[
                    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                   text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                ],
                OpenMetrics,
            ),
            // Prometheus 3.
            (
                &["application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                   application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
                   text/plain;version=0.0.4;q=0.3,*/*;q=0.2"],
                OpenMetrics,
            ),
            // Protobuf first, which we have not.
            (
                &[
                    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7,\
                   application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                ],
                OpenMetrics,
            ),
            (&["application/openmetrics-text"], OpenMetrics),
            (&["Application/OpenMetrics-Text; Version=\"1.0.0\""], OpenMetrics),
            (&["text/plain;q=0.5", "application/openmetrics-text;q=0.5"], OpenMetrics),
            (&["*/*;q=1, text/plain;q=0.4, application/openmetrics-text;q=0.5"], OpenMetrics),
            // The client's order of liking holds.
            (&["application/openmetrics-text;q=0.4,text/plain;version=0.0.4;q=0.5"], Text004),
            (&["application/openmetrics-text;q=0.4,text/*;q=0.5"], Text004),
            (&["application/openmetrics-text;q=0.4,*/*"], Text004),
            (&["application/openmetrics-text;q=0"], Text004),
            (&["application/openmetrics-text;version=2.0.0"], Text004),
            (&["application/openmetrics-text;version=0.0.1"], Text004),
            (&[], Text004),
            (&["*/*"], Text004),
            (&["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"], Text004),
            (&["application/openmetrics-text;q=x"], Text004),
            (&["application/openmetrics-text;q=7"], Text004),
            (&[";;,,=/=;q"], Text004),
        ];
        for (lines, expected) in cases {
            assert_eq!(negotiate(&headers("accept", lines)), expected, "{lines:?}");
        }
    }

    #[test]
    fn gzip_goes_to_those_who_take_it() {
        let cases: [(&[&str], bool); 12] = [
            (&["gzip"], true),
            (&["deflate, GZIP;q=0.1"], true),
            (&["x-gzip"], true),
            (&["br", "gzip"], true),
            (&["*"], true),
            (&["gzip;q=0.5, identity;q=0.5"], true),
            (&["gzip;q=0.5, identity"], false),
            (&["gzip;q=0"], false),
            (&["*, gzip;q=0"], false),
            (&["gzip;q=nan"], false),
            (&["identity"], false),
            (&[], false),
        ];
        for (lines, expected) in cases {
            assert_eq!(accepts_gzip(&headers("accept-encoding", lines)), expected, "{lines:?}");
        }
    }

    #[test]
    fn parts_are_chosen_by_name() {
        use Part::{Addresses, Agent, Checks, Ipvs, Process, RealServerTraffic};
        let without = |parts: &[Part]| {
            let mut selection = Selection::default();
            parts.iter().for_each(|part| selection.exclude(*part));
            Ok(selection)
        };
        assert_eq!(selection(""), without(&[]));
        assert_eq!(selection("target=a&x"), without(&[]));
        let rest = [RealServerTraffic, Checks, Addresses, Agent];
        // As Prometheus writes `params`, and as people do.
        assert_eq!(selection("collect%5B%5D=ipvs&collect%5B%5D=process"), without(&rest));
        assert_eq!(selection("collect[]=ipvs&collect[]=process"), without(&rest));
        assert_eq!(selection("exclude[]=real_server_traffic"), without(&[RealServerTraffic]));
        let both = without(&[RealServerTraffic, Checks, Addresses, Agent, Process, Ipvs]);
        assert_eq!(selection("collect[]=ipvs&exclude[]=ipvs"), both);
        let error = selection("collect[]=<b>").unwrap_err();
        assert!(error.starts_with("collect[] names no part") && error.ends_with("agent, process"), "{error}");
        assert!(selection("exclude[]=").is_err());
    }

    #[test]
    fn a_scrape_is_answered_before_its_time_is_up() {
        let default = Duration::from_secs(10);
        let name = "x-prometheus-scrape-timeout-seconds";
        let budget = |text: &str| scrape_budget(&headers(name, &[text]), default);
        assert_eq!(budget("5"), Duration::from_millis(4500));
        assert_eq!(budget("0.4"), Duration::from_millis(200));
        assert_eq!(budget("1e300"), Duration::from_millis(119_500));
        for text in ["", "x", "0", "-1", "nan"] {
            assert_eq!(budget(text), default, "{text}");
        }
        assert_eq!(budget("inf"), Duration::from_millis(119_500));
        assert_eq!(scrape_budget(&HeaderMap::new(), default), default);
    }
}
