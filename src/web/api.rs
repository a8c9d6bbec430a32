//! `/api/v1/…`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::{Request, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Web;
use super::routes::{JSON, respond, streamed};
use super::stream::Body;
use crate::agent::ProbeRefused;
use crate::model::{HandRefused, HandRequest, View};
use crate::status::{ApiError, DrainRequest, HandAnswer, ProbeAnswer, ProbeRequest, Status, UndrainRequest};

const MAX_BODY_BYTES: usize = 64 * 1024;
/// The disk may be slow; what was taken on by then stays taken on.
const HAND_TIMEOUT: Duration = Duration::from_secs(30);

const PROBE_EXAMPLE: &str =
    r#"{"virtual_server":"10.10.0.100:80/tcp","real_server":"10.10.0.21:80","check":null}"#;
const DRAIN_EXAMPLE: &str =
    r#"{"real_server":"10.10.0.21:80","virtual_server":null,"reason":"a new disk","force":false}"#;
const UNDRAIN_EXAMPLE: &str =
    r#"{"real_server":"10.10.0.21:80","virtual_server":null,"ignore_checks":false}"#;

pub(super) async fn status(
    web: &Web,
    view: Arc<View>,
    method: &Method,
    headers: &HeaderMap,
) -> Response<Body> {
    streamed(web, method, headers, JSON, move |out| {
        serde_json::to_writer(out, &Status::streamed(&view)).map_err(|e| e.to_string())
    })
    .await
}

pub(super) async fn probe(web: &Web, request: Request<Incoming>) -> Response<Body> {
    let wanted: ProbeRequest = match read_body(web, request, "probe", PROBE_EXAMPLE).await {
        Ok(wanted) => wanted,
        Err((status, text)) => return refuse(status, text),
    };
    let asked = web.agent.probe(wanted.virtual_server, wanted.real_server, wanted.check);
    match tokio::time::timeout(web.options.probe_timeout, asked).await {
        Err(_) => {
            let limit = web.options.probe_timeout.as_secs_f64();
            refuse(StatusCode::GATEWAY_TIMEOUT, format!("the probes did not end within {limit} s"))
        }
        Ok(Err(gone)) => refuse(StatusCode::SERVICE_UNAVAILABLE, gone.to_string()),
        Ok(Ok(Err(refused))) => refuse(refusal_status(&refused), refused.to_string()),
        Ok(Ok(Ok(probes))) => json(StatusCode::OK, &ProbeAnswer::from(probes.as_slice())),
    }
}

pub(super) async fn drain(web: &Web, request: Request<Incoming>) -> Response<Body> {
    let body = read_body::<DrainRequest>(web, request, "drain", DRAIN_EXAMPLE).await;
    by_hand(web, body.and_then(|asked| asked.try_into().map_err(bad))).await
}

pub(super) async fn undrain(web: &Web, request: Request<Incoming>) -> Response<Body> {
    let body = read_body::<UndrainRequest>(web, request, "undrain", UNDRAIN_EXAMPLE).await;
    by_hand(web, body.and_then(|asked| asked.try_into().map_err(bad))).await
}

async fn by_hand(web: &Web, asked: Result<HandRequest, (StatusCode, String)>) -> Response<Body> {
    let asked = match asked {
        Ok(asked) => asked,
        Err((status, text)) => return refuse(status, text),
    };
    match tokio::time::timeout(HAND_TIMEOUT, web.agent.hand(asked)).await {
        Err(_) => {
            let limit = HAND_TIMEOUT.as_secs();
            let text =
                format!("it was not on disk within {limit} s; `lvs-agent status` shows what became of it");
            refuse(StatusCode::GATEWAY_TIMEOUT, text)
        }
        Ok(Err(gone)) => refuse(StatusCode::SERVICE_UNAVAILABLE, gone.to_string()),
        Ok(Ok(Err(refused))) => refuse(hand_status(&refused), refused.to_string()),
        Ok(Ok(Ok(done))) => json(StatusCode::OK, &HandAnswer::from(done.as_slice())),
    }
}

fn hand_status(refused: &HandRefused) -> StatusCode {
    match refused {
        HandRefused::NoDest(_) | HandRefused::NoDestThere(..) | HandRefused::NoService(_) => {
            StatusCode::NOT_FOUND
        }
        HandRefused::Unmanaged(_)
        | HandRefused::Observe(_)
        | HandRefused::External(..)
        | HandRefused::Twice(..)
        | HandRefused::Nobody(_)
        | HandRefused::NotDrained(..)
        | HandRefused::IgnoredAlready(..)
        | HandRefused::OutByChecks(..)
        | HandRefused::OwedUnknown(..) => StatusCode::CONFLICT,
        HandRefused::LedgerUnsaved(_) | HandRefused::NoTable(_) | HandRefused::Busy(_) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
    }
}

pub(super) fn bad(what: String) -> (StatusCode, String) {
    (StatusCode::BAD_REQUEST, what)
}

fn refusal_status(refused: &ProbeRefused) -> StatusCode {
    match refused {
        ProbeRefused::NoService(_) | ProbeRefused::NoDest(..) | ProbeRefused::NoCheck(..) => {
            StatusCode::NOT_FOUND
        }
        ProbeRefused::Unmanaged(_) | ProbeRefused::NoChecks(_) => StatusCode::CONFLICT,
        ProbeRefused::NoPort(..) => StatusCode::UNPROCESSABLE_ENTITY,
        ProbeRefused::NoTable(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

async fn read_body<T: DeserializeOwned>(
    web: &Web,
    request: Request<Incoming>,
    what: &str,
    example: &str,
) -> Result<T, (StatusCode, String)> {
    json_or_unsaid(request.headers())?;
    let body = read_bytes(web, request).await?;
    serde_json::from_slice(&body).map_err(|error| {
        // It repeats what it does not know, however long that is.
        let error: String = error.to_string().chars().take(300).collect();
        bad(format!("the body is no {what} request: {error}; write {example}"))
    })
}

/// A form or a file that was sent by mistake is told as what it is. Nothing said is JSON meant.
fn json_or_unsaid(headers: &HeaderMap) -> Result<(), (StatusCode, String)> {
    let Some(said) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let said = String::from_utf8_lossy(said.as_bytes());
    let essence = said.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(JSON) {
        return Ok(());
    }
    let shown: String = essence.chars().take(100).collect();
    let text = format!("the body is said to be `{shown}`, and only `{JSON}` is taken (curl: --json '…')");
    Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, text))
}

pub(super) async fn read_bytes(web: &Web, request: Request<Incoming>) -> Result<Bytes, (StatusCode, String)> {
    let limit = web.options.body_timeout;
    let too_large = || (StatusCode::PAYLOAD_TOO_LARGE, format!("the body is over {MAX_BODY_BYTES} bytes"));
    let announced = request.headers().get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > MAX_BODY_BYTES as u64) {
        return Err(too_large());
    }
    let collected = Limited::new(request.into_body(), MAX_BODY_BYTES).collect();
    match tokio::time::timeout(limit, collected).await {
        Err(_) => {
            let limit = limit.as_secs_f64();
            Err((StatusCode::REQUEST_TIMEOUT, format!("the body did not arrive within {limit} s")))
        }
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => Err(bad(format!("the body could not be read: {error}"))),
        Ok(Ok(body)) => Ok(body.to_bytes()),
    }
}

pub(super) fn refuse(status: StatusCode, error: String) -> Response<Body> {
    json(status, &ApiError { error })
}

/// For answers of a few kilobytes.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(bytes) => respond(status, JSON, Body::whole(bytes)),
        Err(error) => super::routes::text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}
