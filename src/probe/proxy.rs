//! The PROXY protocol's header: what servers behind a proxy want to read first (trap 46). Format:
//! proxy-protocol.txt of HAProxy, sections 2.1 and 2.2.

use std::net::SocketAddr;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::Stage;
use super::reason::Stop;
use crate::model::ProxyProtocol;

const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, command LOCAL; no address family, no addresses. The server takes the connection for
/// the proxy's own, as it is made for health checks.
const V2_LOCAL: &[u8] = &[0x20, 0x00, 0x00, 0x00];

/// Sends the header, whole and alone, as the receiver may ask for.
pub(super) async fn announce(version: ProxyProtocol, stream: &mut TcpStream) -> Result<(), Stop> {
    let ours = |error| Stop::of_our_call("the connection's addresses", &error);
    let header = match version {
        ProxyProtocol::V1 => v1(stream.local_addr().map_err(ours)?, stream.peer_addr().map_err(ours)?),
        ProxyProtocol::V2 => [V2_SIGNATURE, V2_LOCAL].concat(),
    };
    stream.write_all(&header).await.map_err(|error| Stop::of_connection(&error, Stage::Answer))
}

/// Version 1 has no LOCAL: the connection's own addresses, which are true, and which every receiver
/// takes (some refuse `UNKNOWN`).
fn v1(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
    format!("PROXY {family} {} {} {} {}\r\n", from.ip(), to.ip(), from.port(), to.port()).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headers_are_those_of_the_specification() {
        let header = |from: &str, to: &str| v1(from.parse().unwrap(), to.parse().unwrap());
        assert_eq!(
            header("192.168.0.1:56324", "192.168.0.11:443"),
            b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n"
        );
        // No brackets and no zone.
        assert_eq!(
            header("[fe80::1%3]:1024", "[2001:db8::21]:80"),
            b"PROXY TCP6 fe80::1 2001:db8::21 1024 80\r\n"
        );
        let longest = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535";
        assert!(header(longest, longest).len() <= 107);
        assert_eq!(V2_SIGNATURE, [0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a]);
    }
}
