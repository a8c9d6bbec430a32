//! A real server's HTTP server, good or hostile, in HTTP/1.1 and, where it behaves, HTTP/2. Bound to `[::]`, it answers on every address of its host, so that
//! one process can also be a whole farm (`ip route add local 10.20.0.0/16 dev lo`).

use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use crate::{Failure, http2};

const MAX_REQUEST: usize = 16 << 10;
/// Of an impatient server with a client that says nothing.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy)]
pub enum Behaviour {
    Good,
    /// 503 to every request.
    Unavailable,
    EndlessBody,
    EndlessHeaders,
    /// Bytes that are no HTTP.
    Garbage,
    /// Accepts, reads, never answers.
    Silent,
    /// A correct answer, one byte each 100 ms.
    Drip,
    /// Good, but closes connections on which nothing came for a second.
    Impatient,
    /// Good, but has room for one connection: others are reset.
    Single,
}

impl FromStr for Behaviour {
    type Err = String;

    fn from_str(word: &str) -> Result<Behaviour, String> {
        Ok(match word {
            "good" => Behaviour::Good,
            "unavailable" => Behaviour::Unavailable,
            "endless-body" => Behaviour::EndlessBody,
            "endless-headers" => Behaviour::EndlessHeaders,
            "garbage" => Behaviour::Garbage,
            "silent" => Behaviour::Silent,
            "drip" => Behaviour::Drip,
            "impatient" => Behaviour::Impatient,
            "single" => Behaviour::Single,
            _ => return Err(format!("no behaviour `{word}`")),
        })
    }
}

/// Who says how to answer a request.
pub enum Director {
    Fixed(Behaviour),
    /// The word in this file at that moment; a file that is being written is `good`.
    File(PathBuf),
}

impl Director {
    fn behaviour(&self) -> std::io::Result<Behaviour> {
        match self {
            Director::Fixed(behaviour) => Ok(*behaviour),
            Director::File(path) => match std::fs::read_to_string(path)?.trim() {
                "" => Ok(Behaviour::Good),
                word => word.parse().map_err(std::io::Error::other),
            },
        }
    }
}

pub fn run(addr: &str, name: &str, director: Director) -> Result<ExitCode, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let listener = TcpListener::bind(addr).await?;
        let name: Arc<str> = name.into();
        let director = Arc::new(director);
        loop {
            let (stream, _) = listener.accept().await?;
            if matches!(director.behaviour()?, Behaviour::Single) && Arc::strong_count(&director) > 1 {
                stream.set_zero_linger()?;
                continue;
            }
            let (name, director) = (name.clone(), director.clone());
            // An error is the client gone, which is its right.
            tokio::spawn(async move { answer(stream, &name, &director).await });
        }
    })
}

async fn answer(mut stream: TcpStream, name: &str, director: &Director) -> std::io::Result<()> {
    match within_patience(director, http2::is_wanted(&stream)).await? {
        None => return Ok(()),
        Some(true) => return answer_http2(stream, name, director).await,
        Some(false) => {}
    }
    while let Some(request) = within_patience(director, read_request(&mut stream)).await?.flatten() {
        let request = request.to_ascii_lowercase();
        let last = request.contains("connection: close") || request.contains(" http/1.0\r\n");
        match director.behaviour()? {
            Behaviour::Good | Behaviour::Impatient | Behaviour::Single => {
                stream.write_all(reply("200 OK", name, last).as_bytes()).await?
            }
            Behaviour::Unavailable => {
                stream.write_all(reply("503 Service Unavailable", name, last).as_bytes()).await?;
            }
            Behaviour::Garbage => {
                stream.write_all(&[0xff; 4096]).await?;
                return Ok(());
            }
            Behaviour::Silent => std::future::pending().await,
            Behaviour::EndlessBody => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n").await?;
                endlessly(&mut stream, &[b'x'; 16 << 10]).await?;
            }
            Behaviour::EndlessHeaders => {
                stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
                endlessly(
                    &mut stream,
                    &b"X-Padding: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n".repeat(64),
                )
                .await?;
            }
            Behaviour::Drip => {
                for byte in reply("200 OK", name, last).bytes() {
                    stream.write_all(&[byte]).await?;
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
        if last {
            break;
        }
    }
    Ok(())
}

async fn answer_http2(stream: TcpStream, name: &str, director: &Director) -> std::io::Result<()> {
    match director.behaviour()? {
        Behaviour::Good | Behaviour::Impatient | Behaviour::Single => {
            http2::answer(stream, name, true).await.map_err(std::io::Error::other)
        }
        Behaviour::Unavailable => http2::answer(stream, name, false).await.map_err(std::io::Error::other),
        Behaviour::Garbage => http2::babble(stream).await,
        Behaviour::Silent | Behaviour::EndlessBody | Behaviour::EndlessHeaders | Behaviour::Drip => {
            std::future::pending().await
        }
    }
}

/// `None`: an impatient server has waited long enough.
async fn within_patience<T>(
    director: &Director,
    work: impl Future<Output = std::io::Result<T>>,
) -> std::io::Result<Option<T>> {
    if matches!(director.behaviour()?, Behaviour::Impatient) {
        timeout(PATIENCE, work).await.ok().transpose()
    } else {
        work.await.map(Some)
    }
}

/// Ends only by an error: the client closed.
async fn endlessly(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    loop {
        stream.write_all(bytes).await?;
    }
}

/// `None`: the client closed, or sent more than a request may have.
async fn read_request(stream: &mut TcpStream) -> std::io::Result<Option<String>> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        if request.len() > MAX_REQUEST || stream.read_buf(&mut request).await? == 0 {
            return Ok(None);
        }
    }
    Ok(Some(String::from_utf8_lossy(&request).into_owned()))
}

fn reply(status: &str, name: &str, last: bool) -> String {
    let close = if last { "Connection: close\r\n" } else { "" };
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{close}\r\n{name}\n", name.len() + 1)
}
