//! A zoo of misbehaving servers on loopback, for the tests of every kind of probe.

mod certificates;
mod datagrams;
mod framed;
pub mod http2;
mod keeping;
mod proxied;

use std::future::Future;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use socket2::{Domain, SockRef, Socket, Type};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

pub use certificates::{Authority, Certified, Validity, pem_file, self_signed};
pub use datagrams::Datagrams;
pub use framed::{drip_to, frame_answer, hang_up_after};
pub use keeping::{answers, answers_then_drop, answers_until};
pub use proxied::{proxied, proxied_tls};

pub const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// A stop for floods: far more than any probe may read.
const FLOOD_LIMIT_BYTES: usize = 64 << 20;

/// A stream of a fixture, plain or TLS.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {
    /// The next close is a RST.
    fn abort_on_close(&self);
}

impl Stream for TcpStream {
    fn abort_on_close(&self) {
        SockRef::from(self).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

impl Stream for tokio_rustls::server::TlsStream<TcpStream> {
    fn abort_on_close(&self) {
        self.get_ref().0.abort_on_close();
    }
}

pub type Served = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

/// How a server treats one connection.
pub type Manner = Arc<dyn Fn(Box<dyn Stream>, Note) -> Served + Send + Sync>;

/// What a server tells the test.
pub type Note = mpsc::UnboundedSender<String>;

/// A server that runs until it is dropped. It listens before it is returned.
pub struct Server {
    pub addr: SocketAddr,
    notes: mpsc::UnboundedReceiver<String>,
    task: AbortHandle,
}

impl Server {
    pub async fn start(manner: Manner) -> Server {
        Server::on(LOCALHOST, manner).await
    }

    pub async fn on(ip: IpAddr, manner: Manner) -> Server {
        Server::listen(ip, move |stream, note| manner(Box::new(stream), note)).await
    }

    /// The same behind TLS. A handshake that fails is noted as "handshake: …".
    pub async fn tls(config: ServerConfig, manner: Manner) -> Server {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Server::listen(LOCALHOST, move |stream, note| {
            let (acceptor, manner) = (acceptor.clone(), Arc::clone(&manner));
            Box::pin(serve_tls(acceptor, stream, manner, note))
        })
        .await
    }

    async fn listen(ip: IpAddr, serve: impl Fn(TcpStream, Note) -> Served + Send + 'static) -> Server {
        let listener = TcpListener::bind((ip, 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (note, notes) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, peer) = listener.accept().await.unwrap();
                // A flood then measures what the prober takes, not what the kernel holds.
                SockRef::from(&stream).set_send_buffer_size(16 * 1024).unwrap();
                note.send(format!("accepted {}", peer.ip())).ok();
                let served = serve(stream, note.clone());
                let note = note.clone();
                connections.spawn(async move {
                    if let Err(error) = served.await {
                        note.send(format!("broken: {:?}", error.kind())).ok();
                    }
                });
            }
        });
        Server { addr, notes, task: task.abort_handle() }
    }

    /// What the server noted next.
    pub async fn note(&mut self) -> String {
        self.notes.recv().await.unwrap()
    }

    /// The next note that begins so, without its beginning.
    pub async fn note_after(&mut self, beginning: &str) -> String {
        loop {
            if let Some(rest) = self.note().await.strip_prefix(beginning) {
                return rest.to_owned();
            }
        }
    }

    /// The notes so far.
    pub fn notes(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.notes.try_recv().ok()).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve_tls(acceptor: TlsAcceptor, stream: TcpStream, manner: Manner, note: Note) -> io::Result<()> {
    match acceptor.accept(stream).await {
        Ok(stream) => {
            let sni = stream.get_ref().1.server_name().map(str::to_owned);
            let alpn = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
            note.send(format!("sni {sni:?} alpn {alpn:?}")).ok();
            manner(Box::new(stream), note).await
        }
        Err(error) => {
            note.send(format!("handshake: {error}")).ok();
            Ok(())
        }
    }
}

fn manner<F, Fut>(serve: F) -> Manner
where
    F: Fn(Box<dyn Stream>, Note) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = io::Result<()>> + Send + 'static,
{
    Arc::new(move |stream, note| Box::pin(serve(stream, note)))
}

/// Accepts, and never says a word; notes how the client ended ("end: …").
pub fn silent() -> Manner {
    manner(|mut stream, note| async move {
        let mut bytes = [0; 4096];
        let end = loop {
            match stream.read(&mut bytes).await {
                Ok(0) => break "fin".to_owned(),
                Ok(_) => {}
                Err(error) => break format!("{:?}", error.kind()),
            }
        };
        note.send(format!("end: {end}")).ok();
        Ok(())
    })
}

/// Speaks at once, and waits for the client's end.
pub fn banner(text: &'static str) -> Manner {
    manner(move |mut stream, note| async move {
        stream.write_all(text.as_bytes()).await?;
        note.send("spoken".to_owned()).ok();
        let silent = silent();
        silent(stream, note).await
    })
}

/// Speaks at once, and notes all that the client says until its end ("heard: …").
pub fn banner_and_listen(text: impl Into<Vec<u8>>) -> Manner {
    let text: Arc<[u8]> = text.into().into();
    manner(move |mut stream, note| {
        let text = Arc::clone(&text);
        async move {
            stream.write_all(&text).await?;
            let mut heard = Vec::new();
            (&mut stream).take(64 * 1024).read_to_end(&mut heard).await?;
            note.send(format!("heard: {}", String::from_utf8_lossy(&heard))).ok();
            Ok(())
        }
    })
}

/// Takes `length` bytes, notes them ("request: …"), writes the answer, and waits for the client to end.
pub fn answer_after(length: usize, answer: impl Into<Vec<u8>>) -> Manner {
    let answer: Arc<[u8]> = answer.into().into();
    manner(move |mut stream, note| {
        let answer = Arc::clone(&answer);
        async move {
            let mut request = vec![0; length];
            stream.read_exact(&mut request).await?;
            note.send(format!("request: {request:?}")).ok();
            stream.write_all(&answer).await?;
            let silent = silent();
            silent(stream, note).await
        }
    })
}

/// Reads a request's head, notes it ("request: …"), writes the answer, ends with FIN.
pub fn answer(answer: impl Into<Vec<u8>>) -> Manner {
    let answer: Arc<[u8]> = answer.into().into();
    manner(move |mut stream, note| {
        let answer = Arc::clone(&answer);
        async move {
            note.send(format!("request: {}", request(&mut stream).await?)).ok();
            stream.write_all(&answer).await?;
            stream.shutdown().await
        }
    })
}

/// The same, but waits for the client to end.
pub fn answer_and_wait(answer: impl Into<Vec<u8>>) -> Manner {
    let answer: Arc<[u8]> = answer.into().into();
    manner(move |mut stream, note| {
        let answer = Arc::clone(&answer);
        async move {
            note.send(format!("request: {}", request(&mut stream).await?)).ok();
            stream.write_all(&answer).await?;
            let silent = silent();
            silent(stream, note).await
        }
    })
}

/// The same, but behind TLS it leaves without close_notify.
pub fn answer_and_drop(answer: impl Into<Vec<u8>>) -> Manner {
    let answer: Arc<[u8]> = answer.into().into();
    manner(move |mut stream, note| {
        let answer = Arc::clone(&answer);
        async move {
            note.send(format!("request: {}", request(&mut stream).await?)).ok();
            stream.write_all(&answer).await?;
            stream.flush().await
        }
    })
}

/// The same, but ends with RST.
pub fn answer_and_reset(answer: impl Into<Vec<u8>>) -> Manner {
    let answer: Arc<[u8]> = answer.into().into();
    manner(move |mut stream, note| {
        let answer = Arc::clone(&answer);
        async move {
            note.send(format!("request: {}", request(&mut stream).await?)).ok();
            stream.write_all(&answer).await?;
            stream.abort_on_close();
            Ok(())
        }
    })
}

/// Takes the request and hangs up without a byte.
pub fn hang_up() -> Manner {
    answer("")
}

/// Takes the first bytes, whatever they are, and says goodbye.
pub fn listen_and_leave() -> Manner {
    manner(|mut stream, note| async move {
        let taken = stream.read(&mut [0; 16 * 1024]).await?;
        note.send(format!("taken: {taken}")).ok();
        stream.shutdown().await?;
        let silent = silent();
        silent(stream, note).await
    })
}

/// Resets at once, the request unread.
pub fn reset() -> Manner {
    manner(|stream, _| async move {
        stream.abort_on_close();
        Ok(())
    })
}

/// One byte of the answer each `pause`, for ever from its last byte on.
pub fn drip(answer: &'static str, pause: Duration) -> Manner {
    manner(move |mut stream, _| async move {
        request(&mut stream).await?;
        let mut last = b'x';
        for byte in answer.bytes() {
            stream.write_all(&[byte]).await?;
            tokio::time::sleep(pause).await;
            last = byte;
        }
        loop {
            stream.write_all(&[last]).await?;
            tokio::time::sleep(pause).await;
        }
    })
}

/// The beginning, then `again` for ever; notes how many bytes the client let it send ("sent: …").
pub fn flood(beginning: &'static str, again: &'static str) -> Manner {
    manner(move |mut stream, note| async move {
        request(&mut stream).await?;
        let mut sent = beginning.len();
        stream.write_all(beginning.as_bytes()).await?;
        let block = again.repeat(1024 / again.len() + 1);
        while sent < FLOOD_LIMIT_BYTES && stream.write_all(block.as_bytes()).await.is_ok() {
            sent += block.len();
        }
        note.send(format!("sent: {sent}")).ok();
        Ok(())
    })
}

/// Reads up to the empty line. Bounded, as everything here.
async fn request(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < 64 * 1024 {
        head.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// An address of loopback that refuses; nobody else gets the port while this lives.
pub struct Refusing {
    pub addr: SocketAddr,
    _socket: Socket,
}

pub fn refusing() -> Refusing {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(LOCALHOST, 0).into()).unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    Refusing { addr, _socket: socket }
}

/// A listener that nobody accepts from; see [`queue_of`].
pub struct Unattended {
    pub addr: SocketAddr,
    listener: Socket,
    _clients: Vec<Socket>,
}

impl Unattended {
    /// Takes one connection from the accept queue, if one is there, and reads it to its end.
    pub fn accept(&self) -> Option<io::Result<usize>> {
        self.listener.set_nonblocking(true).unwrap();
        let (mut stream, _) = self.listener.accept().ok()?;
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Some(stream.read(&mut [0; 64]))
    }
}

/// Connections wait in the kernel's accept queue.
pub fn unattended() -> Unattended {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&SocketAddr::new(LOCALHOST, 0).into()).unwrap();
    listener.listen(16).unwrap();
    let addr = listener.local_addr().unwrap().as_socket().unwrap();
    Unattended { addr, listener, _clients: Vec::new() }
}

/// An accept queue that is full: Linux drops further SYNs, as a black hole does.
pub fn black_hole() -> Unattended {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&SocketAddr::new(LOCALHOST, 0).into()).unwrap();
    listener.listen(0).unwrap();
    let addr = listener.local_addr().unwrap().as_socket().unwrap();
    let clients = (0..4)
        .map(|_| {
            let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            client.set_nonblocking(true).unwrap();
            // The first fills the queue; the others stay in the dark.
            client.connect(&addr.into()).ok();
            client
        })
        .collect();
    Unattended { addr, listener, _clients: clients }
}
