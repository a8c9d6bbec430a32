//! `/api/v1/…`.

use std::sync::Arc;
use std::time::Duration;

use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::{Request, Response};
use serde::Serialize;

use super::Web;
use super::routes::{JSON, respond, streamed};
use super::stream::Body;
use crate::agent::ProbeRefused;
use crate::model::View;
use crate::status::{ApiError, ProbeAnswer, ProbeRequest, Status};

const MAX_BODY_BYTES: usize = 64 * 1024;
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

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
    let wanted = match read_body(request).await {
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

async fn read_body(request: Request<Incoming>) -> Result<ProbeRequest, (StatusCode, String)> {
    let too_large = || (StatusCode::PAYLOAD_TOO_LARGE, format!("the body is over {MAX_BODY_BYTES} bytes"));
    let bad = |what: String| (StatusCode::BAD_REQUEST, what);
    let announced = request.headers().get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > MAX_BODY_BYTES as u64) {
        return Err(too_large());
    }
    let collected = Limited::new(request.into_body(), MAX_BODY_BYTES).collect();
    let body = match tokio::time::timeout(BODY_TIMEOUT, collected).await {
        Err(_) => {
            let limit = BODY_TIMEOUT.as_secs();
            return Err((StatusCode::REQUEST_TIMEOUT, format!("the body did not arrive within {limit} s")));
        }
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(too_large()),
        Ok(Err(error)) => return Err(bad(format!("the body could not be read: {error}"))),
        Ok(Ok(body)) => body.to_bytes(),
    };
    serde_json::from_slice(&body).map_err(|error| {
        bad(format!(
            "the body is no probe request: {error}; \
             write {{\"virtual_server\":\"10.10.0.100:80/tcp\",\"real_server\":\"10.10.0.21:80\",\"check\":null}}"
        ))
    })
}

fn refuse(status: StatusCode, error: String) -> Response<Body> {
    json(status, &ApiError { error })
}

/// For answers of a few kilobytes.
fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(bytes) => respond(status, JSON, Body::whole(bytes)),
        Err(error) => super::routes::text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}
