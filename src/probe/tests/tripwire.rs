use tokio::net::TcpListener;

use super::*;
use crate::model::{WireEnd, WireTrouble};
use crate::probe::fixtures::{LOCALHOST, Server, banner, banner_and_listen, black_hole, refusing, silent};
use crate::probe::tripwire::{HEARD_LIMIT_BYTES, Wire};

fn prober() -> Prober {
    Prober::new(Clock::start())
}

/// A wire, and the server's end of it, which listens no longer.
async fn held() -> (Wire, tokio::net::TcpStream) {
    let listener = TcpListener::bind((LOCALHOST, 0)).await.unwrap();
    let target = target(listener.local_addr().unwrap(), CheckKind::Tcp);
    let (prober, accepted) = (prober(), listener.accept());
    let (wire, accepted) = tokio::join!(prober.arm(&target), accepted);
    (wire.unwrap(), accepted.unwrap().0)
}

async fn ends(wire: Wire) -> WireEnd {
    tokio::time::timeout(AMPLE, wire.ended()).await.expect("an end")
}

#[tokio::test]
async fn an_orderly_end_trips() {
    let (wire, server) = held().await;
    drop(server);
    assert_eq!(ends(wire).await, WireEnd::Tripped);
}

#[tokio::test]
async fn a_reset_trips() {
    let (wire, server) = held().await;
    socket2::SockRef::from(&server).set_linger(Some(Duration::ZERO)).unwrap();
    drop(server);
    assert_eq!(ends(wire).await, WireEnd::Tripped);
}

#[tokio::test]
async fn a_listener_that_dies_with_the_wire_unaccepted_trips() {
    let listener = TcpListener::bind((LOCALHOST, 0)).await.unwrap();
    let wire = prober().arm(&target(listener.local_addr().unwrap(), CheckKind::Tcp)).await.unwrap();
    drop(listener);
    assert_eq!(ends(wire).await, WireEnd::Tripped);
}

#[tokio::test]
async fn what_a_server_says_is_no_end_and_may_come_before_it() {
    let server = Server::start(banner("220 mail.example.com ESMTP\r\n")).await;
    let wire = prober().arm(&target(server.addr, CheckKind::Tcp)).await.unwrap();
    // The banner is there before anybody waits for the end, which does not come.
    assert!(tokio::time::timeout(SHORT, wire.ended()).await.is_err());
    let (wire, server) = held().await;
    server.try_write(b"bye").unwrap();
    drop(server);
    assert_eq!(ends(wire).await, WireEnd::Tripped);
}

#[tokio::test]
async fn a_server_that_talks_without_end_is_left() {
    let server = Server::start(banner_and_listen("x".repeat(HEARD_LIMIT_BYTES + 1))).await;
    let wire = prober().arm(&target(server.addr, CheckKind::Tcp)).await.unwrap();
    assert_eq!(ends(wire).await, WireEnd::NotHeld(WireTrouble::Talks));
}

#[tokio::test]
async fn a_server_that_takes_no_connection_has_no_wire() {
    let server = refusing();
    let refused = prober().arm(&target(server.addr, CheckKind::Tcp)).await;
    assert_eq!(refused.map(drop), Err(WireTrouble::Refused));
    let server = black_hole();
    let mut target = target(server.addr, CheckKind::Tcp);
    spec(&mut target).pace.timeout = SHORT;
    assert_eq!(prober().arm(&target).await.map(drop), Err(WireTrouble::Refused));
}

#[tokio::test]
async fn a_wire_leaves_from_where_its_probes_do() {
    let listener = TcpListener::bind((LOCALHOST, 0)).await.unwrap();
    let mut target = target(listener.local_addr().unwrap(), CheckKind::Tcp);
    let source = |addr: [u8; 4]| Some(ScopedAddr { addr: addr.into(), zone: None });
    spec(&mut target).source = source([127, 0, 0, 9]);
    let (prober, accepted) = (prober(), listener.accept());
    let (wire, accepted) = tokio::join!(prober.arm(&target), accepted);
    assert!(wire.is_ok());
    assert_eq!(accepted.unwrap().1.ip().to_string(), "127.0.0.9");
    spec(&mut target).source = source([192, 0, 2, 1]);
    assert_eq!(prober.arm(&target).await.map(drop), Err(WireTrouble::LocalError));
}

#[tokio::test]
async fn one_that_is_let_go_ends_in_order() {
    let mut server = Server::start(silent()).await;
    drop(prober().arm(&target(server.addr, CheckKind::Tcp)).await.unwrap());
    assert_eq!(server.note_after("end: ").await, "fin");
}
