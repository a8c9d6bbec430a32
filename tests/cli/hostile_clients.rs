//! Whatever clients do on the TCP listener: the next scrape is answered, and memory stays bounded.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use crate::agent::{Agent, lvs_agent, sample};
use crate::http;

/// Real servers of a table whose exposition, some 10 MB, no socket holds.
const REAL_SERVERS: u32 = 8000;
const TIMEOUT: Duration = Duration::from_secs(60);
/// The default of `--web.max-requests`.
const MAX_REQUESTS: usize = 40;

/// An exporter of such a table; its directory lives as long.
fn exporter(real_servers: u32) -> (tempfile::TempDir, Agent) {
    let dir = tempfile::tempdir().expect("a directory");
    let mut table = String::from("-A -t 10.0.0.1:80 -s wrr\n");
    for n in 0..real_servers {
        table +=
            &format!("-a -t 10.0.0.1:80 -r 10.{}.{}.{}:80 -g -w 1\n", 1 + n / 65_536, n / 256 % 256, n % 256);
    }
    std::fs::write(dir.path().join("table"), table).expect("the table");
    let mut command = lvs_agent(&["run", "--web.listen-address", "127.0.0.1:0"]);
    command.arg("--ipvs.table").arg(dir.path().join("table"));
    command.arg("--state-dir").arg(dir.path().join("state"));
    command.arg("--control-socket").arg(dir.path().join("control.sock"));
    (dir, Agent::start(command))
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, TIMEOUT).expect("connected");
    stream.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
    stream.set_write_timeout(Some(TIMEOUT)).expect("a timeout");
    stream
}

fn memory_mb(agent: &Agent) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.id())).expect("it lives");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    line.trim().trim_end_matches(" kB").parse::<f64>().expect("kB") / 1024.0
}

fn scraped(agent: &Agent) -> Option<f64> {
    let answer = agent.get("/metrics");
    assert_eq!(answer.status, 200, "{}", answer.text());
    sample(&answer.text(), "ipvs_up", &[])
}

/// What comes until the end of the connection, which must come.
fn rest(mut stream: TcpStream) -> String {
    let mut all = Vec::new();
    match stream.read_to_end(&mut all) {
        Ok(_) => {}
        // Closed with bytes of ours unread.
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("it stays open: {error}"),
    }
    String::from_utf8_lossy(&all).into_owned()
}

#[test]
fn an_accept_that_makes_no_sense_gets_text() {
    let (_dir, agent) = exporter(2);
    let long = ",".repeat(8000);
    let many = "a/b;q=0.1,".repeat(700);
    for value in [
        "",
        ";;,,=/=;q",
        "application/openmetrics-text;q=2",
        "application/openmetrics-text;version=1.0.0;q=-1",
        "application/json",
        "\u{e4}\u{20ac}",
        &long,
        &many,
    ] {
        let headers = format!("Accept: {value}\r\nAccept-Encoding: {value}\r\n");
        let answer = http::request(agent.address, "GET", "/metrics", &headers).expect("an answer");
        let shown: String = value.chars().take(50).collect();
        assert_eq!(answer.status, 200, "{shown}");
        assert!(
            answer.headers.contains("content-type: text/plain; version=0.0.4"),
            "{shown}: {}",
            answer.headers
        );
        assert!(!answer.headers.contains("content-encoding"), "{shown}");
        assert_eq!(sample(&answer.text(), "ipvs_real_server_weight", &[]), Some(2.0), "{shown}");
    }
}

#[test]
fn huge_heads_and_rubbish_end_their_connection_only() {
    let (_dir, agent) = exporter(2);
    assert_eq!(scraped(&agent), Some(1.0));
    let before = memory_mb(&agent);
    let line = |bytes: usize| format!("GET /metrics HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "a".repeat(bytes));
    let many: String = (0..5000).map(|n| format!("X-{n}: y\r\n")).collect();
    let good = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    for _ in 0..40 {
        for (head, last) in [
            (line(1 << 20), "431"),
            (format!("GET /metrics HTTP/1.1\r\n{many}\r\n"), "431"),
            (format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(1 << 20)), "4"),
            (format!("{good}\u{0}\u{1}\u{2} rubbish \u{ff}\r\n\r\n{good}"), "400"),
            (format!("{good}{good}GET /metrics HTTP/9.9\r\n\r\n"), "400"),
            ("\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\r\n\r\n".to_owned(), "400"),
        ] {
            let mut stream = connect(agent.address);
            // It may answer, and close, before it has read all.
            let _ = stream.write_all(head.as_bytes());
            let text = rest(stream);
            let statuses: Vec<&str> =
                text.match_indices("HTTP/1.1 ").map(|(at, _)| &text[at + 9..at + 12]).collect();
            // Closed in the middle of what nobody reads, the answer may be lost on its way.
            assert!(statuses.last().is_none_or(|status| status.starts_with(last)), "{last}: {statuses:?}");
            let answered = head.matches(good).count().min(statuses.len().saturating_sub(1));
            assert!(statuses[..answered].iter().all(|status| *status == "200"), "{statuses:?}");
        }
    }
    assert_eq!(scraped(&agent), Some(1.0));
    let grown = memory_mb(&agent) - before;
    assert!(grown < 24.0, "memory grew by {grown:.1} MB");
}

/// Clients that say nothing, that stop in the middle of a head, and that have left without a word.
#[test]
fn thousands_of_idle_connections_shut_nobody_out() {
    const CROWD: usize = 3000;
    let (_dir, agent) = exporter(2);
    assert_eq!(scraped(&agent), Some(1.0));
    let before = memory_mb(&agent);
    let mut crowd = Vec::with_capacity(CROWD);
    for n in 0..CROWD {
        let mut stream = connect(agent.address);
        match n % 3 {
            0 => {}
            // Where it was closed to make room already, that is all the same.
            1 => drop(stream.write_all(b"GET /metrics HTT")),
            _ => drop(stream.shutdown(Shutdown::Write)),
        }
        crowd.push(stream);
        if n % 500 == 499 {
            assert_eq!(scraped(&agent), Some(1.0), "beside {n} others");
        }
    }
    let open = std::fs::read_dir(format!("/proc/{}/fd", agent.id())).expect("it lives").count();
    assert!(open < 700, "{open} descriptors for {CROWD} connections");
    let grown = memory_mb(&agent) - before;
    assert!(grown < 32.0, "memory grew by {grown:.1} MB");
    drop(crowd);
    assert_eq!(scraped(&agent), Some(1.0));
}

/// All places but one taken by clients that read nothing of 10 MB each.
#[test]
fn slow_readers_hold_their_places_and_little_memory() {
    let (_dir, agent) = exporter(REAL_SERVERS);
    assert_eq!(scraped(&agent), Some(1.0));
    let before = memory_mb(&agent);
    let request = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(50);
    let mut slow: Vec<TcpStream> = Vec::new();
    for _ in 0..MAX_REQUESTS - 1 {
        let mut stream = connect(agent.address);
        stream.write_all(request.as_bytes()).expect("sent");
        // It is being answered.
        let mut status = [0; 12];
        stream.read_exact(&mut status).expect("an answer");
        assert_eq!(&status, b"HTTP/1.1 200");
        slow.push(stream);
    }
    for _ in 0..3 {
        assert_eq!(scraped(&agent), Some(1.0));
    }
    // The kernel's buffers are not the agent's; a whole answer for each would be 400 MB.
    let grown = memory_mb(&agent) - before;
    assert!(grown < 96.0, "memory grew by {grown:.1} MB");
    drop(slow);
    agent.wait("their places are free", || {
        (agent.metric("lvs_agent_http_requests_in_flight", &[]) == Some(1.0)).then_some(())
    });
}

/// A client that has said all it wants to say is still answered.
#[test]
fn a_client_that_closes_its_half_gets_the_whole_answer() {
    let (_dir, agent) = exporter(REAL_SERVERS);
    let mut stream = connect(agent.address);
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: application/openmetrics-text\r\n\r\n")
        .expect("sent");
    stream.shutdown(Shutdown::Write).expect("closed");
    let text = rest(stream);
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text:.200}");
    let end = &text[text.len().saturating_sub(20)..];
    assert!(text.contains("\n# EOF\n"), "it ends with {end:?}");
}
