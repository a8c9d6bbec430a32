use std::sync::atomic::Ordering;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use super::*;

/// A body that no socket buffer holds.
const HUGE_LINES: usize = 4_000_000;

fn huge() -> FakeExposition {
    FakeExposition { lines: HUGE_LINES, ..FakeExposition::default() }
}

async fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(server.addr).await.unwrap()
}

/// What the server sends until it closes the connection; a reset ends it too.
async fn read_to_close(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    soon("the end of the connection", async {
        let mut buffer = [0; 16 * 1024];
        while let Ok(n @ 1..) = stream.read(&mut buffer).await {
            all.extend_from_slice(&buffer[..n]);
        }
    })
    .await;
    String::from_utf8_lossy(&all).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_reads_nothing_is_cut_off() {
    let options = Options { write_timeout: Duration::from_millis(200), ..Options::default() };
    let server = start(options, agent_showing(samples::plain(1)), huge());
    let mut slow = connect(&server).await;
    slow.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    soon("the encoder's end", server.exposition.ended.subscribe().wait_for(|all| !all.is_empty()))
        .await
        .unwrap();
    assert!(server.exposition.ended.borrow()[0].is_err(), "the encoder was not stopped");
    server.exposition.wait_idle().await;
    // Held back by the client: no more was made than the sockets and the queue hold.
    let written = server.exposition.written_bytes.load(Ordering::Relaxed);
    assert!(written < 32 << 20, "{written} bytes were made for a client that takes none");
    let text = read_to_close(&mut slow).await;
    assert!(text.starts_with("HTTP/1.1 200") && !text.contains("# EOF"));
}

/// It takes a little now and then, so that it never stalls.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_sips_is_cut_off() {
    let options = Options { answer_timeout: Duration::from_millis(300), ..Options::default() };
    let server = start(options, agent_showing(samples::plain(1)), huge());
    let mut slow = connect(&server).await;
    slow.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut ended = server.exposition.ended.subscribe();
    let sips = async {
        let mut sip = vec![0; 64 << 10];
        while matches!(slow.read(&mut sip).await, Ok(1..)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let (cut_off, ()) =
        soon("its end", async { tokio::join!(ended.wait_for(|all| !all.is_empty()), sips) }).await;
    drop(cut_off.unwrap());
    assert!(server.exposition.ended.borrow()[0].is_err(), "the encoder ran to its end");
    assert_eq!(server.get("/-/healthy").await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_away_stops_the_encoder() {
    let server = start(Options::default(), agent_showing(samples::plain(1)), huge());
    let mut client = connect(&server).await;
    client.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n").await.unwrap();
    let mut first = [0; 1024];
    soon("the first bytes", client.read_exact(&mut first)).await.unwrap();
    drop(client);
    soon("the encoder's end", server.exposition.ended.subscribe().wait_for(|all| !all.is_empty()))
        .await
        .unwrap();
    assert!(server.exposition.ended.borrow()[0].is_err(), "the encoder ran to its end");
    server.exposition.wait_idle().await;
}

#[tokio::test]
async fn the_41st_request_is_told_to_come_again() {
    let (handle, mut requests) = agent_in_hand();
    let server = Arc::new(start(Options::default(), handle, FakeExposition::default()));
    let mut waiting = JoinSet::new();
    let mut held = Vec::new();
    for _ in 0..40 {
        let server = server.clone();
        waiting.spawn(async move { server.get("/metrics").await.status });
        held.push(soon("a request for a view", requests.recv()).await.unwrap());
    }
    let reply = server.get("/metrics").await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(reply.header("retry-after"), Some("1"));
    assert_eq!(server.get("/-/healthy").await.status, StatusCode::OK);

    let view = Arc::new(samples::plain(1));
    for request in held {
        answer_view(request, &view);
    }
    assert_eq!(soon("the 40 answers", waiting.join_all()).await, vec![StatusCode::OK; 40]);
    server.exposition.wait_idle().await;
    let (after, request) =
        tokio::join!(server.get("/metrics"), async { answer_view(requests.recv().await.unwrap(), &view) });
    assert_eq!((after.status, request), (StatusCode::OK, Duration::from_secs(2)));
}

#[tokio::test]
async fn a_flood_of_silent_connections_shuts_nobody_out() {
    const LIMIT: usize = 16;
    const FLOOD: usize = 300;
    let options = Options { max_connections: LIMIT, ..Options::default() };
    let server = start(options, agent_showing(samples::plain(1)), FakeExposition::default());
    let mut reads = JoinSet::new();
    for n in 0..FLOOD {
        let mut silent = connect(&server).await;
        reads.spawn(async move {
            let mut byte = [0];
            let _ = silent.read(&mut byte).await;
        });
        if n % 50 == 0 {
            assert_eq!(server.get("/metrics").await.status, StatusCode::OK, "after {n}");
        }
    }
    assert_eq!(server.get("/metrics").await.status, StatusCode::OK);
    for _ in 0..FLOOD - LIMIT {
        soon("the end of an idle connection", reads.join_next()).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn where_every_place_is_answering_a_newcomer_is_closed() {
    let (handle, mut requests) = agent_in_hand();
    let options = Options { max_connections: 2, ..Options::default() };
    let server = Arc::new(start(options, handle, FakeExposition::default()));
    let mut waiting = JoinSet::new();
    let mut held = Vec::new();
    for _ in 0..2 {
        let server = server.clone();
        waiting.spawn(async move { server.get("/metrics").await.status });
        held.push(soon("a request for a view", requests.recv()).await.unwrap());
    }
    let mut third = connect(&server).await;
    assert_eq!(read_to_close(&mut third).await, "");
    let view = Arc::new(samples::plain(1));
    for request in held {
        answer_view(request, &view);
    }
    assert_eq!(soon("both answers", waiting.join_all()).await, vec![StatusCode::OK; 2]);
}

#[tokio::test]
async fn a_head_must_come_in_time_and_size() {
    let hour = Duration::from_secs(3600);
    let options =
        Options { header_timeout: Duration::from_millis(50), idle_timeout: hour, ..Options::default() };
    let server = start(options, agent_showing(samples::plain(1)), FakeExposition::default());
    // Two whole requests come first, so that the limit is seen to hold for each head anew.
    let mut dripping = connect(&server).await;
    let healthy = b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n";
    for _ in 0..2 {
        dripping.write_all(healthy).await.unwrap();
        let mut answer = [0; 1024];
        let n = soon("an answer", dripping.read(&mut answer)).await.unwrap();
        assert!(answer[..n].starts_with(b"HTTP/1.1 200"));
    }
    dripping.write_all(b"GET / HTTP/1.1\r\nX-Slow: ").await.unwrap();
    read_to_close(&mut dripping).await;

    let options = Options { header_timeout: hour, ..Options::default() };
    let server = start(options, agent_showing(samples::plain(1)), FakeExposition::default());
    let mut bomb = connect(&server).await;
    let mut head = b"GET / HTTP/1.1\r\nX-Bomb: ".to_vec();
    head.resize(64 * 1024, b'a');
    // The server may have closed before it has read all of it.
    let _ = bomb.write_all(&head).await;
    let text = read_to_close(&mut bomb).await;
    assert!(text.is_empty() || text.starts_with("HTTP/1.1 431"), "{text}");

    let mut many = connect(&server).await;
    let lines: String = (0..100).map(|n| format!("X-{n}: y\r\n")).collect();
    many.write_all(format!("GET / HTTP/1.1\r\n{lines}\r\n").as_bytes()).await.unwrap();
    assert!(read_to_close(&mut many).await.starts_with("HTTP/1.1 431"));
    assert_eq!(server.get("/-/healthy").await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let options = Options { idle_timeout: Duration::from_millis(50), ..Options::default() };
    let listener = bind_tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = listener.local_addr().unwrap();
    let mut silent = TcpStream::connect(addr).await.unwrap();
    // Asks before the server looks, so that a slow machine cannot make it seem idle.
    let mut used = TcpStream::connect(addr).await.unwrap();
    used.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let _server = start_on(listener, options, agent_showing(samples::plain(1)), FakeExposition::default());
    assert_eq!(read_to_close(&mut silent).await, "");
    assert!(read_to_close(&mut used).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn rubbish_harms_nobody_else() {
    let server = start_plain();
    let rubbish: [&[u8]; 6] = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 this is TLS\r\n\r\n",
        b"\0\0\0\0\0\0\0\0\r\n\r\n",
        b"GET\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
    ];
    for bytes in rubbish {
        let mut bad = connect(&server).await;
        bad.write_all(bytes).await.unwrap();
        let text = read_to_close(&mut bad).await;
        assert!(!text.starts_with("HTTP/1.1 200"), "{bytes:?} → {text}");
        assert_eq!(server.get("/metrics").await.status, StatusCode::OK);
    }
    // A long pipeline is answered one by one, and rubbish at its end ends only it.
    let mut pipeline = connect(&server).await;
    let mut all = "GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n".repeat(500);
    all.push_str("rubbish\r\n\r\n");
    let (mut read, mut write) = pipeline.split();
    let mut text = String::new();
    let (written, taken) = soon("the pipeline's end", async {
        tokio::join!(write.write_all(all.as_bytes()), read.read_to_string(&mut text))
    })
    .await;
    written.unwrap();
    taken.unwrap();
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 500);
    assert_eq!(text.matches("HTTP/1.1 400 Bad Request").count(), 1);
}

#[tokio::test]
async fn a_body_that_nobody_wants_is_not_read() {
    let server = start_plain();
    let mut client = connect(&server).await;
    client
        .write_all(b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n")
        .await
        .unwrap();
    assert!(read_to_close(&mut client).await.starts_with("HTTP/1.1 405"));
}

#[tokio::test]
async fn stopping_lets_answers_under_way_end() {
    let (handle, mut requests) = agent_in_hand();
    let options = Options { shutdown_grace: PATIENCE, ..Options::default() };
    let server = start(options, handle, FakeExposition::default());
    let mut idle = connect(&server).await;
    let stream = connect(&server).await;
    let answer = tokio::spawn(send_on(stream, request("GET", "/metrics", &[], "")));
    let held = soon("a request for a view", requests.recv()).await.unwrap();
    server.stop.send(true).unwrap();
    assert_eq!(read_to_close(&mut idle).await, "");
    assert!(!server.task.is_finished());
    answer_view(held, &Arc::new(samples::plain(1)));
    assert_eq!(answer.await.unwrap().unwrap().status, StatusCode::OK);
    soon("the server's end", server.task).await.unwrap().unwrap();
    assert!(TcpStream::connect(server.addr).await.is_err());
}

#[tokio::test]
async fn stopping_does_not_wait_for_ever() {
    let (handle, mut requests) = agent_in_hand();
    let options = Options { shutdown_grace: Duration::from_millis(20), ..Options::default() };
    let server = start(options, handle, FakeExposition::default());
    let mut stuck = connect(&server).await;
    stuck.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let _held = soon("a request for a view", requests.recv()).await.unwrap();
    server.stop.send(true).unwrap();
    soon("the server's end", server.task).await.unwrap().unwrap();
    assert_eq!(read_to_close(&mut stuck).await, "");
}
