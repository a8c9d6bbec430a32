//! `POST /-/reload`: as SIGHUP, with an answer.

use std::time::Duration;

use http::StatusCode;
use hyper::body::Incoming;
use hyper::{Request, Response};
use tokio::sync::{mpsc, oneshot};

use super::Web;
use super::api::{bad, json, read_bytes, refuse};
use super::stream::Body;
use crate::status::ReloadAnswer;

/// Reading a file and handing it to the loop; a disk that hangs is told.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Reloads that wait for the one under way.
const QUEUE: usize = 4;

/// Why the old configuration stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReloadRefused {
    /// It cannot be read, or has problems: all of them, as `check-config` prints them.
    Faults(String),
    /// It is a good one, and cannot be taken over as things are.
    NotNow(String),
    /// There is nobody to take it over any more.
    Ended(String),
}

impl ReloadRefused {
    pub fn text(&self) -> &str {
        match self {
            ReloadRefused::Faults(text) | ReloadRefused::NotNow(text) | ReloadRefused::Ended(text) => text,
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            ReloadRefused::Faults(_) => StatusCode::UNPROCESSABLE_ENTITY,
            ReloadRefused::NotNow(_) => StatusCode::CONFLICT,
            ReloadRefused::Ended(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// Somebody on the control socket wants the configuration read again, and waits for this.
pub type ReloadAsked = oneshot::Sender<Result<ReloadAnswer, ReloadRefused>>;

/// The way to whoever reads the configuration.
#[derive(Debug, Clone)]
pub struct Reloads(mpsc::Sender<ReloadAsked>);

impl Reloads {
    pub fn new() -> (Reloads, mpsc::Receiver<ReloadAsked>) {
        let (asked, receiver) = mpsc::channel(QUEUE);
        (Reloads(asked), receiver)
    }

    async fn ask(&self) -> Result<ReloadAnswer, ReloadRefused> {
        let ended = || ReloadRefused::Ended("the agent is about to end".to_owned());
        let (reply, answer) = oneshot::channel();
        self.0.send(reply).await.map_err(|_| ended())?;
        answer.await.unwrap_or_else(|_| Err(ended()))
    }
}

pub(super) async fn reload(web: &Web, request: Request<Incoming>) -> Response<Body> {
    let body = match read_bytes(web, request).await {
        Ok(body) => body,
        Err((status, text)) => return refuse(status, text),
    };
    if !matches!(body.trim_ascii(), b"" | b"{}") {
        let (status, text) = bad("a reload takes no body: the agent reads its own file again".to_owned());
        return refuse(status, text);
    }
    let Some(reloads) = &web.options.reloads else {
        return refuse(StatusCode::CONFLICT, "this agent has no configuration file to read again".to_owned());
    };
    match tokio::time::timeout(RELOAD_TIMEOUT, reloads.ask()).await {
        Err(_) => {
            let limit = RELOAD_TIMEOUT.as_secs();
            let text =
                format!("the configuration was not read within {limit} s; the log says what becomes of it");
            refuse(StatusCode::GATEWAY_TIMEOUT, text)
        }
        Ok(Err(refused)) => refuse(refused.status(), refused.text().to_owned()),
        Ok(Ok(answer)) => json(StatusCode::OK, &answer),
    }
}
