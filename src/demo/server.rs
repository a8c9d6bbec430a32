//! A toy real server: HTTP/1.1 by hyper, which can be broken and mended over its own port.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

const MOST_CONNECTIONS: usize = 64;
const CONNECTION_TIME: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub struct ToyServer {
    pub addr: SocketAddr,
    broken: Arc<AtomicBool>,
}

impl ToyServer {
    /// Serves until the process ends.
    pub fn start(listener: TcpListener) -> io::Result<ToyServer> {
        let addr = listener.local_addr()?;
        let broken = Arc::new(AtomicBool::new(false));
        tokio::spawn(serve(listener, addr, broken.clone()));
        Ok(ToyServer { addr, broken })
    }

    pub fn set_broken(&self, broken: bool) {
        self.broken.store(broken, Ordering::Relaxed);
    }
}

async fn serve(listener: TcpListener, addr: SocketAddr, broken: Arc<AtomicBool>) {
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    while let Ok(place) = places.clone().acquire_owned().await {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, most likely: a moment later there are some.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let broken = broken.clone();
        tokio::spawn(async move {
            let answer = service_fn(move |request| {
                let response = answer(&request, addr, &broken);
                async move { Ok::<_, Infallible>(response) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), answer);
            // Whatever a client does wrong is its own loss.
            let _ = tokio::time::timeout(CONNECTION_TIME, connection).await;
            drop(place);
        });
    }
}

fn answer(request: &Request<Incoming>, addr: SocketAddr, broken: &AtomicBool) -> Response<Full<Bytes>> {
    let (status, text) = match (request.method(), request.uri().path()) {
        (&Method::POST, "/break") => {
            broken.store(true, Ordering::Relaxed);
            (StatusCode::OK, format!("{addr} is broken: /healthz answers 503\n"))
        }
        (&Method::POST, "/mend") => {
            broken.store(false, Ordering::Relaxed);
            (StatusCode::OK, format!("{addr} is mended\n"))
        }
        (_, "/break" | "/mend") => (StatusCode::METHOD_NOT_ALLOWED, "use POST\n".to_owned()),
        _ if broken.load(Ordering::Relaxed) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("{addr} is broken\n"))
        }
        _ => (StatusCode::OK, format!("hello from {addr}\n")),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response
}
