//! Requests to the upstream over pooled HTTP/1.1 connections.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, Uri, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::Instant;

use super::connector::Connector;
use super::error::{BrokenClientBody, UpstreamError};
use crate::config::{HostHeader, UpstreamConfig};

/// The upstream can't be used as configured: one line that names the flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetupError(pub(super) String);

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SetupError {}

/// Sends requests to the upstream. Cheap to clone.
#[derive(Clone)]
pub struct UpstreamClient {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client<Connector, RequestBody>,
    authority: Authority,
    base_path: String,
    host_header: HostHeader,
    host: HeaderValue,
    response_timeout: Duration,
}

impl fmt::Debug for UpstreamClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamClient").field("authority", &self.shared.authority).finish_non_exhaustive()
    }
}

impl UpstreamClient {
    /// Nothing is connected yet.
    ///
    /// # Errors
    /// [`SetupError`]: the certificate authorities can't be read, or the name can't be one.
    pub fn new(config: &UpstreamConfig) -> Result<Self, SetupError> {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(config.pool_idle_timeout)
            .pool_max_idle_per_host(config.pool_idle_max)
            .http1_preserve_header_case(false)
            .build(Connector::new(config)?);
        let authority = config.target.authority.clone();
        let host = HeaderValue::from_str(authority.as_str())
            .map_err(|_| SetupError(format!("--upstream: '{authority}' can't be a Host")))?;
        let shared = Shared {
            client,
            authority,
            base_path: config.target.base_path.clone(),
            host_header: config.host_header,
            host,
            response_timeout: config.response_timeout,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Sends a request whose target is a path and query, and answers when the response head is
    /// there. The time for it counts from the last progress of the request's body.
    ///
    /// # Errors
    /// [`UpstreamError`]: there is no head.
    pub async fn send(&self, mut request: Request<RequestBody>) -> Result<Response<Incoming>, UpstreamError> {
        let Shared { client, host_header, host, response_timeout, .. } = &*self.shared;
        *request.uri_mut() = self.target(request.uri());
        *request.version_mut() = Version::HTTP_11;
        if *host_header == HostHeader::Upstream || !request.headers().contains_key(HOST) {
            request.headers_mut().insert(HOST, host.clone());
        }
        let progress = Arc::clone(&request.body().progress);
        let answer = client.request(request);
        tokio::pin!(answer);
        loop {
            let deadline = progress.last() + *response_timeout;
            match tokio::time::timeout_at(deadline, &mut answer).await {
                Ok(answer) => return answer.map_err(UpstreamError::from_client),
                Err(_) if progress.last() + *response_timeout > Instant::now() => {}
                Err(_) => return Err(UpstreamError::timed_out()),
            }
        }
    }

    /// The path behind the base path, at an authority that only serves to find pooled connections.
    fn target(&self, uri: &Uri) -> Uri {
        let Shared { authority, base_path, .. } = &*self.shared;
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(authority.clone());
        let path = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let is_whole_server = path.as_str() == "*";
        parts.path_and_query = Some(if base_path.is_empty() || is_whole_server {
            path
        } else {
            // Both are valid, and together too.
            format!("{base_path}{path}").parse().unwrap_or(path)
        });
        Uri::from_parts(parts).unwrap_or_else(|_| uri.clone())
    }
}

/// When a request's body last moved on.
#[derive(Debug)]
struct Progress {
    started: Instant,
    millis: AtomicU64,
}

impl Progress {
    fn note(&self) {
        let millis = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.millis.store(millis, Ordering::Relaxed);
    }

    fn last(&self) -> Instant {
        self.started + Duration::from_millis(self.millis.load(Ordering::Relaxed))
    }
}

/// The body of a request to the upstream: a client's, streamed through, or none.
#[derive(Debug)]
pub struct RequestBody {
    incoming: Option<Incoming>,
    progress: Arc<Progress>,
}

impl RequestBody {
    /// None.
    #[must_use]
    pub fn empty() -> Self {
        Self::new(None)
    }

    fn new(incoming: Option<Incoming>) -> Self {
        let progress = Arc::new(Progress { started: Instant::now(), millis: AtomicU64::new(0) });
        Self { incoming, progress }
    }
}

impl From<Incoming> for RequestBody {
    fn from(incoming: Incoming) -> Self {
        Self::new(Some(incoming))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some(incoming) = &mut self.incoming else { return Poll::Ready(None) };
        let polled = Pin::new(incoming).poll_frame(cx);
        if polled.is_ready() {
            self.progress.note();
        }
        polled.map_err(|error| BrokenClientBody(error).into())
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
