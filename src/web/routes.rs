//! Which path is what, and the small answers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, RETRY_AFTER, VARY};
use http::{HeaderMap, Method, StatusCode};
use hyper::body::Incoming;
use hyper::{Request, Response};
use tokio::sync::Semaphore;

use super::exposition::{accepts_gzip, negotiate, scrape_budget, selection};
use super::server::Answering;
use super::stream::{Body, Stream};
use super::{Exposition, Surface, Web, api, index, reload};
use crate::model::View;

const HEALTHY: &str = "/-/healthy";
const READY: &str = "/-/ready";
const STATUS: &str = "/api/v1/status";
const PROBE: &str = "/api/v1/probe";
const DRAIN: &str = "/api/v1/drain";
const UNDRAIN: &str = "/api/v1/undrain";
const RELOAD: &str = "/-/reload";

pub(super) const TEXT: &str = "text/plain; charset=utf-8";
pub(super) const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";

/// `--web.telemetry-path` begins with `/` and is none of the agent's other paths.
pub fn check_telemetry_path(path: &str) -> Result<(), String> {
    let plain = path.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'?' | b'#' | b'%' | b'\\'));
    if !path.starts_with('/') || !plain {
        return Err(format!(
            "`{path}` is no telemetry path: it begins with `/` and has no query, as `/metrics`"
        ));
    }
    if path == "/" || path.starts_with("/-/") || path.starts_with("/api/") {
        return Err(format!(
            "the telemetry path `{path}` is taken by the agent itself; the usual one is `/metrics`"
        ));
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Index,
    Telemetry,
    Healthy,
    Ready,
    Status,
    Probe,
    Drain,
    Undrain,
    Reload,
}

impl Route {
    fn find(path: &str, telemetry_path: &str, surface: Surface) -> Option<Route> {
        if path == telemetry_path {
            return Some(Route::Telemetry);
        }
        match (path, surface) {
            ("/", _) => Some(Route::Index),
            (HEALTHY, _) => Some(Route::Healthy),
            (READY, _) => Some(Route::Ready),
            (STATUS, _) => Some(Route::Status),
            (PROBE, Surface::Unix) => Some(Route::Probe),
            (DRAIN, Surface::Unix) => Some(Route::Drain),
            (UNDRAIN, Surface::Unix) => Some(Route::Undrain),
            (RELOAD, Surface::Unix) => Some(Route::Reload),
            _ => None,
        }
    }

    fn allows(self, method: &Method) -> bool {
        match self {
            Route::Index | Route::Telemetry | Route::Healthy | Route::Ready | Route::Status => {
                method == Method::GET || method == Method::HEAD
            }
            Route::Probe | Route::Drain | Route::Undrain | Route::Reload => method == Method::POST,
        }
    }

    fn allowed(self) -> &'static str {
        match self {
            Route::Index | Route::Telemetry | Route::Healthy | Route::Ready | Route::Status => "GET, HEAD",
            Route::Probe | Route::Drain | Route::Undrain | Route::Reload => "POST",
        }
    }
}

/// One request, one answer; nothing here can fail or panic.
pub(super) async fn answer(
    web: Arc<Web>,
    surface: Surface,
    request: Request<Incoming>,
    answering: Answering,
) -> Response<Body> {
    let counted = Counted::start(web.exposition.clone());
    let admitted = match (&web.access, surface) {
        (Some(access), Surface::Tcp) => access.admit(request.headers()).await.map(Some),
        (Some(_), Surface::Unix) | (None, _) => Ok(None),
    };
    let (response, rules) = match admitted {
        Ok(rules) => (routed(&web, surface, request).await, rules),
        Err(refusal) => (refusal, None),
    };
    let (mut parts, body) = response.into_parts();
    parts.headers.insert("X-Content-Type-Options", HeaderValue::from_static("nosniff"));
    for (name, value) in rules.iter().flat_map(|rules| &rules.headers) {
        parts.headers.insert(name, value.clone());
    }
    Response::from_parts(parts, body.keeping((answering, counted)))
}

async fn routed(web: &Arc<Web>, surface: Surface, request: Request<Incoming>) -> Response<Body> {
    match Route::find(request.uri().path(), &web.options.telemetry_path, surface) {
        None => not_found(web, surface),
        Some(route) if !route.allows(request.method()) => {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, format!("only {}\n", route.allowed()));
            response.headers_mut().insert(ALLOW, HeaderValue::from_static(route.allowed()));
            response
        }
        // Says only that the process lives, so it says it under any load.
        Some(Route::Healthy) => text(StatusCode::OK, "healthy\n"),
        Some(route) => limited(web, surface, route, request).await,
    }
}

async fn limited(
    web: &Arc<Web>,
    surface: Surface,
    route: Route,
    request: Request<Incoming>,
) -> Response<Body> {
    let places: &Arc<Semaphore> = match surface {
        Surface::Tcp => &web.tcp_requests,
        Surface::Unix => &web.unix_requests,
    };
    let Ok(place) = places.clone().try_acquire_owned() else {
        let mut response =
            text(StatusCode::SERVICE_UNAVAILABLE, "too many requests at one time; try again\n");
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        return response;
    };
    let response = match route {
        Route::Index => html(index::page(&web.options.telemetry_path)),
        Route::Healthy => text(StatusCode::OK, "healthy\n"),
        Route::Telemetry => telemetry(web, &request).await,
        Route::Ready => ready(web).await,
        Route::Status => match web.view(web.options.view_timeout).await {
            Ok(view) => api::status(web, view, request.method(), request.headers()).await,
            Err(error) => unavailable(&error),
        },
        Route::Probe => api::probe(web, request).await,
        Route::Drain => api::drain(web, request).await,
        Route::Undrain => api::undrain(web, request).await,
        Route::Reload => reload::reload(web, request).await,
    };
    response.map(|body| body.keeping(place))
}

async fn telemetry(web: &Arc<Web>, request: &Request<Incoming>) -> Response<Body> {
    let (method, headers) = (request.method(), request.headers());
    let selection = match selection(request.uri().query().unwrap_or_default()) {
        Ok(selection) => selection,
        Err(error) => return text(StatusCode::BAD_REQUEST, format!("{error}\n")),
    };
    let view = match web.view(scrape_budget(headers, web.options.view_timeout)).await {
        Ok(view) => view,
        Err(error) => return unavailable(&error),
    };
    let format = negotiate(headers);
    let exposition = web.exposition.clone();
    streamed(web, method, headers, format.content_type(), move |out| {
        exposition.encode(&view, format, &selection, out)
    })
    .await
}

/// The answer that `produce` writes, compressed if the client takes it.
pub(super) async fn streamed(
    web: &Web,
    method: &Method,
    headers: &HeaderMap,
    content_type: &'static str,
    produce: impl FnOnce(&mut super::stream::Chunker) -> Result<(), String> + Send + 'static,
) -> Response<Body> {
    let gzip = accepts_gzip(headers);
    let body = if method == Method::HEAD {
        Body::unknown_length()
    } else {
        match Stream::start(gzip.then_some(web.options.gzip_level), produce).await {
            Ok(stream) => Body::stream(stream),
            Err(error) => {
                tracing::error!(error, "an answer could not be written");
                return text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n"));
            }
        }
    };
    let mut response = respond(StatusCode::OK, content_type, body);
    let headers = response.headers_mut();
    headers.insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    if gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

async fn ready(web: &Web) -> Response<Body> {
    match web.view(web.options.view_timeout).await {
        Ok(view) if view.overdue => {
            text(StatusCode::SERVICE_UNAVAILABLE, "not ready: the kernel does not answer\n")
        }
        Ok(view) => match &view.ready {
            Ok(()) => text(StatusCode::OK, "ready\n"),
            Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")),
        },
        Err(error) => unavailable(&error),
    }
}

/// For a view that nothing has to be read for.
const AT_ONCE: Duration = Duration::from_millis(250);

/// Why there is no view.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unavailable {
    #[error(transparent)]
    Gone(#[from] crate::agent::AgentGone),
    #[error("the agent had no view of the IPVS table within {} s", .0.as_secs_f64())]
    Slow(Duration),
}

impl Web {
    /// A fresh view; from a kernel that does not answer in time, what is known without it.
    pub(super) async fn view(&self, limit: Duration) -> Result<Arc<View>, Unavailable> {
        if let Ok(view) = tokio::time::timeout(limit, self.agent.view(self.options.max_view_age)).await {
            return Ok(view?);
        }
        match tokio::time::timeout(AT_ONCE, self.agent.view_at_once()).await {
            Ok(view) => Ok(view?),
            Err(_) => Err(Unavailable::Slow(limit)),
        }
    }
}

fn unavailable(error: &Unavailable) -> Response<Body> {
    text(StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n"))
}

fn not_found(web: &Web, surface: Surface) -> Response<Body> {
    let posts = match surface {
        Surface::Tcp => String::new(),
        Surface::Unix => [PROBE, DRAIN, UNDRAIN, RELOAD].map(|path| format!(", POST {path}")).concat(),
    };
    let known = format!(
        "no such page; there are: /, {}, {HEALTHY}, {READY}, {STATUS}{posts}\n",
        web.options.telemetry_path
    );
    text(StatusCode::NOT_FOUND, known)
}

pub(super) fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    respond(status, TEXT, Body::whole(text))
}

fn html(page: String) -> Response<Body> {
    let mut response = respond(StatusCode::OK, HTML, Body::whole(page));
    let headers = response.headers_mut();
    let policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    headers.insert("Content-Security-Policy", HeaderValue::from_static(policy));
    headers.insert("X-Frame-Options", HeaderValue::from_static("deny"));
    response
}

pub(super) fn respond(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// One request in the gauge of requests in flight.
struct Counted(Arc<dyn Exposition>);

impl Counted {
    fn start(exposition: Arc<dyn Exposition>) -> Counted {
        exposition.request_started();
        Counted(exposition)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.request_ended();
    }
}
