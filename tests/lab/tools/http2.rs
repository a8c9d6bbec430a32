//! The same server for those who come in HTTP/2, gRPC's health protocol among them.

use bytes::Bytes;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The beginning of the client's preface (RFC 9113, 3.4), which no request in HTTP/1 has.
const PREFACE: &[u8; 5] = b"PRI *";
const HEALTH: &str = "/grpc.health.v1.Health/Check";
const OF_GRPC: (&str, HeaderValue) = ("content-type", HeaderValue::from_static("application/grpc"));

pub async fn is_wanted(stream: &TcpStream) -> std::io::Result<bool> {
    let mut beginning = [0; PREFACE.len()];
    stream.peek(&mut beginning).await?;
    Ok(beginning == *PREFACE)
}

/// `well`: it serves; else it says that it does not.
pub async fn answer(stream: TcpStream, name: &str, well: bool) -> Result<(), h2::Error> {
    let mut connection = h2::server::handshake(stream).await?;
    while let Some(asked) = connection.accept().await {
        let (request, respond) = asked?;
        if request.uri().path() == HEALTH { health(respond, well)? } else { page(respond, name, well)? }
    }
    Ok(())
}

/// Bytes that are no HTTP, and then an ear until the client leaves: a close over what it sent would be RST.
pub async fn babble(mut stream: TcpStream) -> std::io::Result<()> {
    stream.write_all(&[0xff; 4096]).await?;
    while stream.read(&mut [0; 4096]).await? > 0 {}
    Ok(())
}

/// SERVING or NOT_SERVING.
fn health(mut respond: SendResponse<Bytes>, well: bool) -> Result<(), h2::Error> {
    let mut head = Response::new(());
    head.headers_mut().insert(OF_GRPC.0, OF_GRPC.1);
    let mut stream = respond.send_response(head, false)?;
    let message: &[u8] = if well { b"\0\0\0\0\x02\x08\x01" } else { b"\0\0\0\0\x02\x08\x02" };
    stream.send_data(Bytes::from_static(message), false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    stream.send_trailers(trailers)
}

fn page(mut respond: SendResponse<Bytes>, name: &str, well: bool) -> Result<(), h2::Error> {
    let mut head = Response::new(());
    *head.status_mut() = if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    respond.send_response(head, false)?.send_data(format!("{name}\n").into(), true)
}
