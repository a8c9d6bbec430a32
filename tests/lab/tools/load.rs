//! A client that never stops asking: each request on a new connection, each with the moment it began.

use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{sleep, timeout};

use crate::{Failure, epoch_us};

const TIMEOUT: Duration = Duration::from_secs(3);
/// The director remembers a connection for minutes after its end, and sends one from the same port to the same
/// real server, whatever weight that has by then. So the clock tells the port: none is used twice within
/// `PORTS` pauses, by whichever run.
const PORTS: u128 = 50_000;
const FIRST_PORT: u16 = 10_000;

/// One line a request: `BEGAN_MICROSECONDS ok NAME` or `BEGAN_MICROSECONDS failed WHY`. SIGTERM ends it after the
/// request under way.
pub fn run(target: &str, pause: Duration, file: &str) -> Result<ExitCode, Failure> {
    let target: SocketAddr = target.parse()?;
    let mut out = File::create(file)?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let mut stop = signal(SignalKind::terminate())?;
        loop {
            let began = epoch_us();
            let port = FIRST_PORT + (began / pause.as_micros().max(1) % PORTS) as u16;
            let result = match timeout(TIMEOUT, request(port, target)).await {
                Ok(Ok(name)) => format!("ok {name}"),
                Ok(Err(error)) => format!("failed {error}"),
                Err(_) => "failed no answer in time".to_owned(),
            };
            writeln!(out, "{began} {result}")?;
            tokio::select! {
                _ = stop.recv() => return Ok(ExitCode::SUCCESS),
                () = sleep(pause) => {}
            }
        }
    })
}

async fn connect(port: u16, target: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::UNSPECIFIED, port).into())?;
    socket.connect(target).await
}

async fn request(port: u16, target: SocketAddr) -> Result<String, String> {
    let mut stream = connect(port, target).await.map_err(|e| format!("connect: {e}"))?;
    let ask = format!("GET / HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n");
    stream.write_all(ask.as_bytes()).await.map_err(|e| format!("write: {e}"))?;
    let mut answer = String::new();
    stream.take(64 << 10).read_to_string(&mut answer).await.map_err(|e| format!("read: {e}"))?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200 ") && body.ends_with('\n') => {
            Ok(body.trim_end().to_owned())
        }
        _ => Err(format!("answer: {:?}", answer.lines().next().unwrap_or_default())),
    }
}
