//! Asks an agent: the one of this director over its unix socket, others over HTTP(S).

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HOST};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::trust::Trust;
use crate::status::{ApiError, DrainRequest, HandAnswer, ProbeAnswer, ProbeRequest, Status, UndrainRequest};

const MAX_ANSWER_BYTES: usize = 64 << 20;
/// Longer than the agent itself waits for a view.
const STATUS_TIMEOUT: Duration = Duration::from_secs(15);
/// Longer than the agent itself waits for its disk.
const HAND_TIMEOUT: Duration = Duration::from_secs(35);
/// Longer than the agent itself waits for its probes.
const PROBE_TIMEOUT: Duration = Duration::from_secs(310);
const REMOTE_TIMEOUT: Duration = Duration::from_secs(5);

/// Nobody listens on the control socket; the kernel can still be read without an agent.
#[derive(Debug, thiserror::Error)]
#[error("no agent answers on {}", .socket.display())]
pub struct NoAgent {
    pub socket: PathBuf,
    pub source: io::Error,
}

#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    #[error(transparent)]
    NoAgent(#[from] NoAgent),
    #[error("the control socket {} belongs to another user: run this as root", .0.display())]
    NoPermission(PathBuf),
    #[error("the agent on {} did not answer within {} s", .0.display(), .1.as_secs())]
    Slow(PathBuf, Duration),
    #[error("asking the agent on {} failed: {}", .0.display(), .1)]
    Broken(PathBuf, String),
    /// The agent says no.
    #[error("{text}")]
    Refused { status: StatusCode, text: String },
}

/// A status and the text it came in.
#[derive(Debug)]
pub struct Fetched {
    pub status: Status,
    pub json: Bytes,
}

pub async fn local_status(socket: &Path) -> Result<Fetched, LocalError> {
    let (status, json) = local(socket, Method::GET, "/api/v1/status", Bytes::new(), STATUS_TIMEOUT).await?;
    if status != StatusCode::OK {
        let text = String::from_utf8_lossy(&json).trim_end().to_owned();
        return Err(LocalError::Refused { status, text });
    }
    let parsed = serde_json::from_slice(&json).map_err(|e| broken(socket, &e))?;
    Ok(Fetched { status: parsed, json })
}

pub async fn local_probe(socket: &Path, request: &ProbeRequest) -> Result<ProbeAnswer, LocalError> {
    post(socket, "/api/v1/probe", request, PROBE_TIMEOUT).await
}

pub async fn local_drain(socket: &Path, request: &DrainRequest) -> Result<HandAnswer, LocalError> {
    post(socket, "/api/v1/drain", request, HAND_TIMEOUT).await
}

pub async fn local_undrain(socket: &Path, request: &UndrainRequest) -> Result<HandAnswer, LocalError> {
    post(socket, "/api/v1/undrain", request, HAND_TIMEOUT).await
}

async fn post<T: DeserializeOwned>(
    socket: &Path,
    path: &str,
    request: &impl Serialize,
    timeout: Duration,
) -> Result<T, LocalError> {
    let body = serde_json::to_vec(request).map_err(|e| broken(socket, &e))?;
    let (status, json) = local(socket, Method::POST, path, body.into(), timeout).await?;
    if status == StatusCode::OK {
        return serde_json::from_slice(&json).map_err(|e| broken(socket, &e));
    }
    let text = match serde_json::from_slice::<ApiError>(&json) {
        Ok(ApiError { error }) => error,
        Err(_) => String::from_utf8_lossy(&json).trim_end().to_owned(),
    };
    Err(LocalError::Refused { status, text })
}

async fn local(
    socket: &Path,
    method: Method,
    path: &str,
    body: Bytes,
    timeout: Duration,
) -> Result<(StatusCode, Bytes), LocalError> {
    let stream = match UnixStream::connect(socket).await {
        Ok(stream) => stream,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Err(LocalError::NoPermission(socket.to_owned()));
        }
        Err(source) => return Err(NoAgent { socket: socket.to_owned(), source }.into()),
    };
    match tokio::time::timeout(timeout, exchange(stream, method, path, body)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(broken(socket, &*error)),
        Err(_) => Err(LocalError::Slow(socket.to_owned(), timeout)),
    }
}

async fn exchange(
    stream: UnixStream,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<(StatusCode, Bytes), Box<dyn Error + Send + Sync>> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, "localhost")
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(body))?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await?.to_bytes();
    connection.abort();
    Ok((status, body))
}

fn broken(socket: &Path, error: &(dyn Error + 'static)) -> LocalError {
    LocalError::Broken(socket.to_owned(), chain(error))
}

/// An error with its causes, each said once.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// `--agent URL`: another director's agent. Its text never shows the password.
#[derive(Clone, PartialEq, Eq)]
pub struct AgentUrl(reqwest::Url);

impl AgentUrl {
    fn status_url(&self) -> reqwest::Url {
        let mut url = self.0.clone();
        let path = url.path().trim_end_matches('/');
        if !path.ends_with("/api/v1/status") {
            let path = format!("{path}/api/v1/status");
            url.set_path(&path);
        }
        url
    }
}

impl FromStr for AgentUrl {
    type Err = String;
    fn from_str(text: &str) -> Result<AgentUrl, String> {
        const FORM: &str = "write http://d2:10190 or https://user:password@d2:10190";
        let url = reqwest::Url::parse(text).map_err(|error| format!("{error}; {FORM}"))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(format!("it does not begin with http:// or https://; {FORM}"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(format!("it has a query or a fragment; {FORM}"));
        }
        Ok(AgentUrl(url))
    }
}

impl fmt::Display for AgentUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.0.port().map_or(String::new(), |port| format!(":{port}"));
        let host = self.0.host_str().unwrap_or_default();
        write!(f, "{}://{host}{port}{}", self.0.scheme(), self.0.path().trim_end_matches('/'))
    }
}

impl fmt::Debug for AgentUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The status of another director's agent; the error says what went wrong, not where.
pub async fn remote_status(agent: &AgentUrl, trust: &Trust) -> Result<Status, String> {
    let client = remote_client(agent, trust)?;
    // reqwest turns the user and password of the URL into basic auth.
    let sent = client.get(agent.status_url()).send().await;
    let mut response = sent.map_err(remote_error)?;
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(remote_error)? {
        if body.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Err(format!("its answer is over {MAX_ANSWER_BYTES} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    if response.status() != StatusCode::OK {
        let text: String = String::from_utf8_lossy(&body).trim().chars().take(200).collect();
        return Err(format!("it answered {}: {text}", response.status()).trim_end_matches(": ").to_owned());
    }
    serde_json::from_slice(&body).map_err(|error| format!("its answer is no status of an lvs-agent: {error}"))
}

fn remote_client(agent: &AgentUrl, trust: &Trust) -> Result<reqwest::Client, String> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("lvs-agent/", env!("CARGO_PKG_VERSION")))
        .timeout(REMOTE_TIMEOUT)
        // The API redirects nowhere, and a proxy of the environment is for the world outside.
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy();
    builder = match agent.0.scheme() {
        // No certificates are needed, so a machine that has none is good enough.
        "http" => builder.tls_certs_only(std::iter::empty()),
        _ => trust.apply(builder),
    };
    builder.build().map_err(remote_error)
}

fn remote_error(error: reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("it did not answer within {} s", REMOTE_TIMEOUT.as_secs());
    }
    let text = chain(&error.without_url());
    // What rustls calls the two that have a way out here.
    if text.contains("UnknownIssuer") {
        return format!("{text}; name its authority with --ca-file");
    }
    if text.contains("CertificateRequired") {
        return format!("{text}; it wants one from you: --client-cert and --client-key");
    }
    text
}
