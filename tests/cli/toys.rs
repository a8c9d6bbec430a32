//! Toy real servers inside the test, on loopback addresses of their own and one port.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

const MAX_HEAD_BYTES: u64 = 8192;
const CLIENT_TIMEOUT: Duration = Duration::from_secs(5);

/// Real servers as direct routing knows them: one port, the virtual server's.
pub struct Toys {
    pub port: u16,
    servers: Vec<Toy>,
}

impl Toys {
    pub fn start(count: u8) -> Toys {
        let address = |n: u8| Ipv4Addr::new(127, 0, 20, n + 1);
        for _ in 0..50 {
            let first = TcpListener::bind((address(0), 0)).expect("a free port");
            let port = first.local_addr().expect("bound").port();
            let rest = (1..count).map(|n| TcpListener::bind((address(n), port)));
            let listeners: io::Result<Vec<TcpListener>> = std::iter::once(Ok(first)).chain(rest).collect();
            if let Ok(listeners) = listeners {
                return Toys { port, servers: listeners.into_iter().map(Toy::serve).collect() };
            }
        }
        panic!("no port is free on {count} addresses");
    }

    pub fn len(&self) -> usize {
        self.servers.len()
    }

    pub fn address(&self, at: usize) -> SocketAddr {
        self.servers[at].address
    }

    /// The status that the server answers from now on; `/broken` is 503 always.
    pub fn answer(&self, at: usize, status: u16) {
        self.servers[at].state.status.store(status, Ordering::SeqCst);
    }

    pub fn answer_all(&self, status: u16) {
        (0..self.len()).for_each(|at| self.answer(at, status));
    }

    /// Requests that the server was asked so far.
    pub fn requests(&self, at: usize) -> usize {
        self.servers[at].state.requests.load(Ordering::SeqCst)
    }

    /// Nobody listens there any more.
    pub fn kill(&mut self, at: usize) {
        self.servers[at].stop();
    }
}

struct Toy {
    address: SocketAddr,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

struct State {
    status: AtomicU16,
    requests: AtomicUsize,
    stop: AtomicBool,
}

impl Toy {
    fn serve(listener: TcpListener) -> Toy {
        let address = listener.local_addr().expect("bound");
        let state = Arc::new(State {
            status: AtomicU16::new(200),
            requests: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        });
        let shared = state.clone();
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.stop.load(Ordering::SeqCst) {
                    return;
                }
                // A probe that went away is its own loss.
                let _ = stream.and_then(|stream| answer(stream, &shared));
            }
        });
        Toy { address, state, thread: Some(thread) }
    }

    fn stop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.state.stop.store(true, Ordering::SeqCst);
        // Wakes the accept.
        let _ = TcpStream::connect(self.address);
        // The thread cannot panic.
        let _ = thread.join();
    }
}

impl Drop for Toy {
    fn drop(&mut self) {
        self.stop();
    }
}

fn answer(mut stream: TcpStream, state: &State) -> io::Result<()> {
    stream.set_read_timeout(Some(CLIENT_TIMEOUT))?;
    let mut head = BufReader::new(&stream).take(MAX_HEAD_BYTES);
    let mut line = String::new();
    let mut path = None;
    while line != "\r\n" {
        path = path.or_else(|| line.split(' ').nth(1).map(str::to_owned));
        line.clear();
        if head.read_line(&mut line)? == 0 {
            // A bare connect, or a head without end.
            return Ok(());
        }
    }
    state.requests.fetch_add(1, Ordering::SeqCst);
    let status = match path.as_deref() {
        Some("/broken") => 503,
        _ => state.status.load(Ordering::SeqCst),
    };
    write!(stream, "HTTP/1.1 {status} Toy\r\nContent-Length: 4\r\nConnection: close\r\n\r\ntoy\n")
}
