//! A farm of real servers in one process, for benches/farm: it listens on every address of its network namespace.
//!
//! `farm serve http|https PORT CERTIFICATE` answers until it is killed. Port 9 of 127.0.0.1 tells how many requests it has
//! answered; connections are counted by the kernel (a half-open check never reaches this program).

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};
use tokio_rustls::TlsAcceptor;

const NAME: &str = "farm.example";
const MAX_REQUEST_BYTES: usize = 16 << 10;
const LAST: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n";
const MORE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n";

static ANSWERED: AtomicU64 = AtomicU64::new(0);

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let ended = match words.as_slice() {
        ["serve", kind, port, certificate] => serve(kind, port, Path::new(certificate)),
        _ => Err("usage: farm serve http|https PORT CERTIFICATE".into()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to do where even standard error is gone.
            let _ = writeln!(io::stderr(), "farm: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(kind: &str, port: &str, certificate: &Path) -> Result<(), Failure> {
    let tls = match kind {
        "http" => None,
        "https" => Some(TlsAcceptor::from(Arc::new(server_config(certificate)?))),
        _ => return Err(format!("`{kind}` is neither http nor https").into()),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let port: u16 = port.parse()?;
    runtime.block_on(LocalSet::new().run_until(async move {
        let listener = listen(port)?;
        let counter = TcpListener::bind("127.0.0.1:9").await?;
        spawn_local(count(counter));
        let tls = Rc::new(tls);
        loop {
            let (stream, _) = listener.accept().await?;
            let tls = Rc::clone(&tls);
            // An error is the client gone, which is its right.
            spawn_local(async move { connection(stream, &tls).await });
        }
    }))
}

/// A backlog of its own: a farm's worth of connections may come at once.
fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV6, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_only_v6(false)?;
    socket.set_reuse_address(true)?;
    socket.bind(&std::net::SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, port)).into())?;
    socket.listen(65_535)?;
    TcpListener::from_std(socket.into())
}

/// A self-signed certificate, also written down for those who are to trust it.
fn server_config(file: &Path) -> Result<ServerConfig, Failure> {
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(vec![NAME.to_owned()])?.self_signed(&key)?;
    std::fs::write(file, certificate.pem())?;
    let key = PrivateKeyDer::try_from(key.serialize_der())?;
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)?;
    Ok(config)
}

async fn count(counter: TcpListener) -> io::Result<()> {
    loop {
        let (mut asked, _) = counter.accept().await?;
        // Whoever asked may have gone.
        let _ = asked.write_all(format!("{}\n", ANSWERED.load(Ordering::Relaxed)).as_bytes()).await;
    }
}

async fn connection(stream: TcpStream, tls: &Option<TlsAcceptor>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    match tls {
        Some(acceptor) => answer(acceptor.accept(stream).await?).await,
        None => answer(stream).await,
    }
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let mut request = Vec::with_capacity(512);
    loop {
        request.clear();
        while !request.ends_with(b"\r\n\r\n") {
            if request.len() > MAX_REQUEST_BYTES || stream.read_buf(&mut request).await? == 0 {
                return Ok(());
            }
        }
        let last = request.to_ascii_lowercase().windows(17).any(|bytes| bytes == b"connection: close");
        // Before the answer, so that whoever has it finds it counted.
        ANSWERED.fetch_add(1, Ordering::Relaxed);
        stream.write_all(if last { LAST } else { MORE }).await?;
        if last {
            return stream.shutdown().await;
        }
    }
}
