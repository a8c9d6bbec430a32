use super::*;
use crate::probe::fixtures::{LOCALHOST, Server, banner, black_hole, refusing, silent, unattended};
use crate::probe::socket::Dial;
use crate::probe::source::Sources;
use crate::probe::tcp;

#[tokio::test]
async fn a_listener_passes_and_its_application_sees_nothing() {
    let server = unattended();
    let report = run(&target(server.addr, CheckKind::Tcp)).await;
    assert_passes(&report, "connected");
    assert!(report.phases.connect.is_some() && report.phases.tls.is_none(), "{report:?}");
    // The handshake was never completed: the RST took the final ACK's place.
    assert!(server.accept().is_none());
}

#[tokio::test]
async fn close_fin_is_seen_as_an_orderly_end() {
    let server = unattended();
    let mut target = target(server.addr, CheckKind::Tcp);
    spec(&mut target).close = Close::Fin;
    assert_passes(&run(&target).await, "connected");
    assert_eq!(server.accept().unwrap().unwrap(), 0);
}

#[tokio::test]
async fn close_fin_stays_orderly_over_a_banner() {
    let mut server = Server::start(banner("SSH-2.0-x\r\n")).await;
    let mut target = target(server.addr, CheckKind::Tcp);
    spec(&mut target).close = Close::Fin;
    let stream =
        Dial::prepare(&target, &Arc::new(Sources::new(Clock::start()))).unwrap().connect().await.unwrap();
    // Unread bytes would turn the FIN into a RST.
    stream.readable().await.unwrap();
    tcp::close(stream, Close::Fin);
    assert_eq!(server.note_after("end: ").await, "fin");
}

#[tokio::test]
async fn a_closed_port_is_refused() {
    let server = refusing();
    assert_fails(
        &run(&target(server.addr, CheckKind::Tcp)).await,
        FailReason::ConnectRefused,
        "connect: Connection refused",
    );
}

#[tokio::test]
async fn a_black_hole_is_a_connect_timeout() {
    let server = black_hole();
    let report = run_to_deadline(&target(server.addr, CheckKind::Tcp)).await;
    assert_fails(&report, FailReason::ConnectTimeout, "no connection within 300ms");
    assert_eq!(report.phases.connect, None);
}

#[tokio::test]
async fn ipv6_and_zones() {
    let server = Server::on("::1".parse().unwrap(), silent()).await;
    let mut target = target(server.addr, CheckKind::Tcp);
    assert_passes(&run(&target).await, "connected");
    target.addr.zone = Some("lo".to_owned());
    assert_passes(&run(&target).await, "connected");
    target.addr.zone = Some("1".to_owned());
    assert_passes(&run(&target).await, "connected");
    spec(&mut target).source = Some(target.addr.clone());
    assert_passes(&run(&target).await, "connected");
}

#[tokio::test]
async fn the_source_address_is_what_the_server_sees() {
    let mut server = Server::start(silent()).await;
    let mut target = target(server.addr, CheckKind::Tcp);
    spec(&mut target).close = Close::Fin;
    for source in ["127.0.0.2", "127.0.0.3"] {
        spec(&mut target).source = Some(ScopedAddr { addr: source.parse().unwrap(), zone: None });
        assert_passes(&run(&target).await, "connected");
        assert_eq!(server.note_after("accepted ").await, source);
    }
    assert_eq!(server.addr.ip(), LOCALHOST);
}
