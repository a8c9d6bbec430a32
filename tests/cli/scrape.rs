//! What scrapers and browsers get from the running agent.

use std::io::Read;

use crate::agent::sample;
use crate::http;
use crate::linter::check_metrics;
use crate::site::Site;

#[test]
fn promtool_has_nothing_to_say_about_a_running_agent() {
    let site = Site::new(3);
    let agent = site.start_up();
    site.toys.answer(0, 503);
    agent.wait_weights(&[0, 3, 1]);
    let answer = agent.get("/metrics");
    assert!(answer.headers.contains("content-type: text/plain; version=0.0.4"), "{}", answer.headers);
    let (good, said) = check_metrics(&answer.body);
    assert!(good && said.is_empty(), "{said}");
}

#[test]
fn the_format_and_the_encoding_are_the_clients() {
    let site = Site::new(2);
    let agent = site.start_up();
    let get = |headers: &str| http::request(agent.address, "GET", "/metrics", headers).expect("an answer");

    let openmetrics = get("Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n");
    assert!(openmetrics.headers.contains("content-type: application/openmetrics-text; version=1.0.0"));
    assert!(openmetrics.text().ends_with("# EOF\n"), "{}", openmetrics.text());
    assert!(!get("").text().contains("# EOF"));

    let packed = get("Accept-Encoding: gzip\r\n");
    assert!(packed.headers.contains("content-encoding: gzip"), "{}", packed.headers);
    assert!(packed.headers.contains("vary: accept, accept-encoding"), "{}", packed.headers);
    let mut text = String::new();
    flate2::read::GzDecoder::new(&packed.body[..]).read_to_string(&mut text).expect("whole and sound");
    assert!(packed.body.len() * 2 < text.len(), "{} of {}", packed.body.len(), text.len());
    assert_eq!(sample(&text, "ipvs_real_server_weight", &[]), Some(8.0));
    assert_eq!(sample(&text, "ipvs_up", &[]), Some(1.0));
    for plain in ["", "Accept-Encoding: gzip;q=0\r\n", "Accept-Encoding: br\r\n"] {
        assert!(!get(plain).headers.contains("content-encoding"), "{plain}");
    }
    // Nothing of a service that nobody asked about is made up.
    assert_eq!(sample(&text, "ipvs_virtual_server_info", &[]), Some(1.0));
}

/// Read only: what probes or changes is the unix socket's.
#[test]
fn tcp_is_read_only() {
    let site = Site::new(1);
    let agent = site.start_up();
    let asked = |method: &str, path: &str| http::request(agent.address, method, path, "").expect("an answer");
    assert_eq!(asked("POST", "/api/v1/probe").status, 404);
    assert_eq!(asked("POST", "/api/v1/status").status, 405);
    assert_eq!(asked("DELETE", "/metrics").status, 405);
    assert_eq!(asked("GET", "/nosuch").status, 404);
    for path in ["/", "/metrics", "/-/healthy", "/-/ready", "/api/v1/status"] {
        assert_eq!(asked("GET", path).status, 200, "{path}");
        let head = asked("HEAD", path);
        assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
        assert_eq!(http::get_unix(&site.socket(), path).expect("an answer").status, 200, "{path}");
    }
}
