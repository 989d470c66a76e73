//! The second listener: health and state, for operators (spec 9.3, 10.1). Reads snapshots only.

mod page;
mod state;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

pub use state::State;

use crate::metrics::Format;
use crate::shutdown::Shutdown;

/// Connections at once.
const CONNECTIONS_MAX: usize = 64;

/// The time for a request head to arrive.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long to wait when the system can't give a connection.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(100);

/// Serves operators until told to stop: longer than clients, so that a draining instance can be seen.
pub async fn run(listener: TcpListener, state: State, shutdown: Shutdown) {
    let tasks = TaskTracker::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.now() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
                let (state, shutdown) = (state.clone(), shutdown.clone());
                tasks.spawn(async move {
                    tokio::select! {
                        () = serve(stream, state) => {}
                        () = shutdown.now() => {}
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "no admin connection can be taken for now");
                tokio::time::sleep(SHORTAGE_PAUSE).await;
            }
        }
    }
    tasks.close();
    tasks.wait().await;
}

async fn serve(stream: TcpStream, state: State) {
    let service = service_fn(move |request: Request<Incoming>| {
        let response = answer(&request, &state);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "admin connection ended");
    }
}

fn answer(request: &Request<Incoming>, state: &State) -> Response<Full<Bytes>> {
    if !is_local_name(request.headers()) {
        return text(StatusCode::FORBIDDEN, "This listener answers to an IP address or localhost only.\n");
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return text(StatusCode::METHOD_NOT_ALLOWED, "Only GET.\n");
    }
    match request.uri().path() {
        "/livez" => text(StatusCode::OK, "alive\n"),
        "/readyz" if state.is_draining() => text(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
        "/readyz" => text(StatusCode::OK, "ready\n"),
        "/metrics" => {
            let accept = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok());
            let format = Format::accepted_by(accept.unwrap_or_default());
            with_type(StatusCode::OK, format.content_type(), state.metrics(format))
        }
        "/api/state" => with_type(StatusCode::OK, "application/json", state.snapshot().to_string()),
        "/" => {
            let mut response = with_type(StatusCode::OK, "text/html; charset=utf-8", page::HTML);
            let policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'";
            response.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
            response
        }
        _ => text(StatusCode::NOT_FOUND, "There are /, /livez, /readyz, /metrics and /api/state.\n"),
    }
}

/// A page of another site that points its own name at this address (DNS rebinding) is not served.
fn is_local_name(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST).and_then(|host| host.to_str().ok()) else { return false };
    let Ok(authority) = host.parse::<http::uri::Authority>() else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok()
}

fn text(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    with_type(status, "text/plain; charset=utf-8", body)
}

fn with_type(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
