use std::io::Read;

use flate2::read::GzDecoder;

use super::*;
use crate::status::Status;

#[tokio::test]
async fn every_route_has_its_answer() {
    let server = start_plain();
    let index = server.get("/").await;
    assert_eq!(
        (index.status, index.header("content-type")),
        (StatusCode::OK, Some("text/html; charset=utf-8"))
    );
    assert!(index.text().contains(env!("CARGO_PKG_VERSION")), "{}", index.text());
    assert!(index.text().contains("href=\"/metrics\""), "{}", index.text());
    assert!(index.header("content-security-policy").unwrap().contains("default-src 'none'"));

    let healthy = server.get("/-/healthy").await;
    assert_eq!((healthy.status, healthy.text()), (StatusCode::OK, "healthy\n"));
    let ready = server.get("/-/ready").await;
    assert_eq!((ready.status, ready.text()), (StatusCode::OK, "ready\n"));
    assert_eq!(ready.header("x-content-type-options"), Some("nosniff"));

    let status = server.get("/api/v1/status").await;
    assert_eq!((status.status, status.header("content-type")), (StatusCode::OK, Some("application/json")));
    let parsed: Status = serde_json::from_slice(&status.body).unwrap();
    assert_eq!(parsed, Status::from(&samples::plain(3)));

    let metrics = server.get("/metrics?collect[]=ipvs").await;
    assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let rows: String =
        (1..=3).map(|n| format!("weight{{real_server=\"10.1.0.{n}:80\",n=\"0\"}} 5\n")).collect();
    assert_eq!(metrics.text(), format!("# Text004\n{rows}# EOF\n"));
}

#[tokio::test]
async fn the_rest_is_not_found_and_names_what_is() {
    let options = Options { telemetry_path: "/scrape".to_owned(), ..Options::default() };
    let server = start(options, agent_showing(samples::plain(1)), FakeExposition::default());
    assert_eq!(server.get("/scrape").await.status, StatusCode::OK);
    for path in
        ["/metrics", "/api", "/healthy", "/-/healthy/", "//", "/api/v1/probe", "/-/reload", "/api/v1/drain"]
    {
        for method in ["GET", "POST"] {
            let reply = server.ask(method, path, &[]).await;
            assert_eq!(reply.status, StatusCode::NOT_FOUND, "{method} {path}");
            let known = "no such page; there are: /, /scrape, /-/healthy, /-/ready, /api/v1/status\n";
            assert_eq!(reply.text(), known);
        }
    }
}

#[tokio::test]
async fn tcp_is_read_only() {
    let server = start_plain();
    for path in ["/", "/metrics", "/-/healthy", "/-/ready", "/api/v1/status"] {
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"] {
            let reply = server.ask(method, path, &[]).await;
            assert_eq!(reply.status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
            assert_eq!(reply.header("allow"), Some("GET, HEAD"));
        }
    }
}

#[tokio::test]
async fn head_answers_like_get_without_a_body() {
    let server = start_plain();
    for path in ["/", "/metrics", "/-/healthy", "/-/ready", "/api/v1/status", "/nowhere"] {
        let (get, head) = (server.get(path).await, server.ask("HEAD", path, &[]).await);
        assert_eq!((head.status, head.body.len()), (get.status, 0), "{path}");
        assert_eq!(head.header("content-type"), get.header("content-type"), "{path}");
        if let Some(length) = head.header("content-length") {
            assert_eq!(length, get.body.len().to_string(), "{path}");
        }
    }
    // Nothing is encoded for nobody.
    assert_eq!(server.exposition.ended.borrow().len(), 1);
}

#[tokio::test]
async fn gzip_holds_the_same_text() {
    let exposition = FakeExposition { lines: 5_000, ..FakeExposition::default() };
    let server = start(Options::default(), agent_showing(samples::plain(20)), exposition);
    for path in ["/metrics", "/api/v1/status"] {
        let plain = server.get(path).await;
        assert_eq!(plain.header("content-encoding"), None);
        let gzip = server.ask("GET", path, &[("accept-encoding", "gzip")]).await;
        assert_eq!(gzip.header("content-encoding"), Some("gzip"));
        assert_eq!(gzip.header("vary"), Some("Accept, Accept-Encoding"));
        let mut text = Vec::new();
        GzDecoder::new(gzip.body.as_slice()).read_to_end(&mut text).unwrap();
        assert!(text == plain.body, "{path}: {} and {} bytes", text.len(), plain.body.len());
        assert!(gzip.body.len() < plain.body.len() / 3);
    }
    let openmetrics = server.ask("GET", "/metrics", &[("accept", "application/openmetrics-text")]).await;
    assert_eq!(openmetrics.header("content-type"), Some(Format::OpenMetrics.content_type()));
    assert!(openmetrics.text().starts_with("# OpenMetrics\n"));
}

#[tokio::test]
async fn a_scrape_asks_for_a_fresh_view_and_waits_only_so_long() {
    let (handle, mut requests) = agent_in_hand();
    let server = start(Options::default(), handle, FakeExposition::default());
    let view = Arc::new(samples::plain(1));
    let (reply, request) = tokio::join!(server.get("/metrics"), async {
        answer_view(soon("a request for a view", requests.recv()).await.unwrap(), &view)
    });
    assert_eq!((reply.status, request), (StatusCode::OK, Duration::from_secs(2)));

    // Nobody answers at all.
    let impatient = [("x-prometheus-scrape-timeout-seconds", "0.02")];
    let reply = server.ask("GET", "/metrics", &impatient).await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(reply.text(), "the agent had no view of the IPVS table within 0.01 s\n");
}

#[tokio::test]
async fn a_kernel_that_does_not_answer_in_time_costs_the_scrape_its_freshness_only() {
    let (handle, mut requests) = agent_in_hand();
    let server = start(Options::default(), handle, FakeExposition::default());
    let late = Arc::new(View { overdue: true, ..samples::plain(1) });
    let impatient = [("x-prometheus-scrape-timeout-seconds", "0.02")];
    let kernel_hangs = async {
        let _never_answered = soon("a request for a view", requests.recv()).await.unwrap();
        let second = soon("a request for what there is", requests.recv()).await.unwrap();
        let agent::Request::ViewAtOnce { reply } = second else {
            panic!("not for what there is: {second:?}")
        };
        drop(reply.send(late.clone()));
    };
    let (reply, ()) = tokio::join!(server.ask("GET", "/metrics", &impatient), kernel_hangs);
    assert_eq!(reply.status, StatusCode::OK);
    assert!(reply.text().contains("10.1.0.1:80"), "{}", reply.text());
}

#[tokio::test]
async fn parts_are_chosen_by_the_query_and_a_word_that_is_none_is_refused() {
    let server = start_plain();
    let asked = |server: &Server| server.exposition.selection.lock().unwrap().take();
    server.get("/metrics?collect%5B%5D=ipvs").await;
    let mut ipvs = Selection::default();
    ipvs.keep_only(&[crate::metrics::Part::Ipvs].into());
    assert_eq!(asked(&server), Some(ipvs));
    server.get("/metrics").await;
    assert_eq!(asked(&server), Some(Selection::default()));
    let reply = server.get("/metrics?exclude[]=everything").await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    assert!(reply.text().contains("there are: ipvs, real_server_traffic, checks"), "{}", reply.text());
    assert_eq!(asked(&server), None, "nothing was encoded");
}

#[tokio::test]
async fn not_ready_says_why_and_a_dead_loop_is_told() {
    let server = start(Options::default(), agent_showing(samples::rich()), FakeExposition::default());
    let reply = server.get("/-/ready").await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(reply.text(), "not ready: 10 targets have no result yet\n");

    let (handle, requests) = agent_in_hand();
    drop(requests);
    let server = start(Options::default(), handle, FakeExposition::default());
    for path in ["/metrics", "/-/ready", "/api/v1/status"] {
        let reply = server.get(path).await;
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert_eq!(reply.text(), "the agent's loop has ended\n");
    }
    assert_eq!(server.get("/-/healthy").await.status, StatusCode::OK);
    assert_eq!(server.get("/").await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_encoder_that_fails_is_never_taken_for_whole() {
    for encoding in ["identity", "gzip"] {
        let early = FakeExposition { fail_at: Some(0), ..FakeExposition::default() };
        let server = start(Options::default(), agent_showing(samples::plain(1)), early);
        let reply = server.ask("GET", "/metrics", &[("accept-encoding", encoding)]).await;
        assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR, "{encoding}");
        assert_eq!(reply.text(), "the encoder stumbled\n");

        for panics in [false, true] {
            let late = FakeExposition {
                lines: 200_000,
                fail_at: Some(150_000),
                panics,
                ..FakeExposition::default()
            };
            let server = start(Options::default(), agent_showing(samples::plain(1)), late);
            let stream = TcpStream::connect(server.addr).await.unwrap();
            let asked = request("GET", "/metrics", &[("accept-encoding", encoding)], "");
            let broken = send_on(stream, asked).await.is_err();
            assert!(broken, "{encoding}, {panics}: a broken answer ended like a whole one");
        }
    }
}

#[test]
fn a_telemetry_path_hides_no_other_route() {
    for path in ["/metrics", "/m/e-t_r.ics"] {
        assert_eq!(check_telemetry_path(path), Ok(()));
    }
    for path in ["", "metrics", "/", "/-/ready", "/api/v1/status", "/a?b", "/a b", "/a#b", "/ü"] {
        let error = check_telemetry_path(path).unwrap_err();
        assert!(error.contains(&format!("`{path}`")), "{error}");
    }
}
