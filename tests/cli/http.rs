//! A client as small as can be: HTTP/1.0, so that an answer ends where the connection does.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(20);
const MAX_BYTES: u64 = 16 << 20;

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Lower case, a line each.
    pub headers: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

pub fn get(address: SocketAddr, path: &str) -> io::Result<Answer> {
    request(address, "GET", path, "")
}

/// `headers`: whole lines, each ended by CRLF.
pub fn request(address: SocketAddr, method: &str, path: &str, headers: &str) -> io::Result<Answer> {
    let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    exchange(stream, method, path, headers)
}

pub fn get_unix(socket: &Path, path: &str) -> io::Result<Answer> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    exchange(stream, "GET", path, "")
}

/// `rest`: what follows the head, which asks for the end of the connection after the answer.
pub fn post_unix(socket: &Path, path: &str, headers: &str, rest: &[u8]) -> io::Result<Answer> {
    let head = format!("POST {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{headers}\r\n");
    raw_unix(socket, &[head.as_bytes(), rest].concat())
}

/// Whatever is sent, and what is answered until the connection ends.
pub fn raw_unix(socket: &Path, bytes: &[u8]) -> io::Result<Answer> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    // It may answer, and close, before it has read all.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let ended = stream.take(MAX_BYTES).read_to_end(&mut answer);
    if answer.is_empty() {
        ended?;
    }
    parse(answer)
}

fn exchange(mut stream: impl Read + Write, method: &str, path: &str, headers: &str) -> io::Result<Answer> {
    write!(stream, "{method} {path} HTTP/1.0\r\nHost: test\r\n{headers}\r\n")?;
    let mut bytes = Vec::new();
    stream.take(MAX_BYTES).read_to_end(&mut bytes)?;
    parse(bytes)
}

fn parse(bytes: Vec<u8>) -> io::Result<Answer> {
    let broken = || io::Error::other(format!("no HTTP: {}", String::from_utf8_lossy(&bytes)));
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").ok_or_else(broken)?;
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let (first, headers) = head.split_once("\r\n").unwrap_or((&head, ""));
    let status = first.split(' ').nth(1).and_then(|word| word.parse().ok()).ok_or_else(broken)?;
    Ok(Answer { status, headers: headers.to_owned(), body: bytes[end + 4..].to_vec() })
}
