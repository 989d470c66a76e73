//! Sends one request to the upstream over pooled HTTP/1.1 connections.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Extensions, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::body::RequestBody;
use super::connector::{Connector, Dial};
use super::error::UpstreamError;
use super::expect::{self, GoAhead};
use super::stream::History;
use super::tls::SetupError;
use crate::config::{HostHeader, UpstreamConfig};
use crate::message::hop_by_hop;

/// The largest response head, in bytes; also the most that is read ahead of a response's reader.
const READ_BUFFER_MAX: usize = 64 * 1024;

/// The way to the upstream, for everyone. A clone is cheap and shares the pool.
///
/// Dropping the future of [`UpstreamClient::send`], or the body of its response before its end,
/// closes the connection: the upstream learns that nobody listens.
#[derive(Clone)]
pub struct UpstreamClient {
    client: Client<Connector, RequestBody>,
    rules: Arc<Rules>,
}

struct Rules {
    authority: Authority,
    base_path: String,
    host: HostHeader,
    host_value: HeaderValue,
    response_timeout: Duration,
}

impl fmt::Debug for UpstreamClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamClient").field("authority", &self.rules.authority).finish_non_exhaustive()
    }
}

impl UpstreamClient {
    /// Prepares the way to the configured upstream, without connecting.
    ///
    /// # Errors
    ///
    /// When the upstream is `https` and can't be checked: see [`SetupError`].
    pub fn new(config: &UpstreamConfig) -> Result<Self, SetupError> {
        Self::with(config, Connector::new(config)?)
    }

    /// The same, over connections that `dial` makes.
    ///
    /// # Errors
    ///
    /// As [`UpstreamClient::new`].
    pub fn dialling(config: &UpstreamConfig, dial: Dial) -> Result<Self, SetupError> {
        Self::with(config, Connector::dialling(config, dial))
    }

    fn with(config: &UpstreamConfig, connector: Connector) -> Result<Self, SetupError> {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(config.pool_idle_timeout)
            .pool_max_idle_per_host(config.pool_idle_max)
            .http1_max_buf_size(READ_BUFFER_MAX)
            // `Host` is set here, by the configured rule.
            .set_host(false)
            .build(connector);
        let authority = config.target.authority.clone();
        let host_value = HeaderValue::from_str(authority.as_str())
            .map_err(|_| SetupError::BadName(authority.to_string()))?;
        let rules = Rules {
            authority,
            base_path: config.target.base_path.clone(),
            host: config.host_header,
            host_value,
            response_timeout: config.response_timeout,
        };
        Ok(Self { client, rules: Arc::new(rules) })
    }

    /// Sends a request whose URI is a path and query, or `*`, and waits for the head of the answer.
    /// Hop-by-hop fields must be gone, but for those of an upgrade.
    ///
    /// A request without body whose method is idempotent is sent once more if a connection from the
    /// pool turns out to be dead (RFC 9110, 9.2.2).
    ///
    /// # Errors
    ///
    /// When no response head came, or a 101 that the request didn't ask for: [`UpstreamError`] says why.
    /// The connection of such a 101 is closed. The response timeout counts from the
    /// last progress of the request's body, and connecting has a timeout of its own.
    pub async fn send(&self, request: Request<RequestBody>) -> Result<Response<Incoming>, UpstreamError> {
        let mut request = self.rules.addressed(request)?;
        let asked_to_switch = request.headers().contains_key(UPGRADE);
        if !request.body().is_empty() && expect::is_asked(request.headers()) {
            let go_ahead = GoAhead::of(&mut request);
            request.body_mut().await_go_ahead(go_ahead);
        }
        let again = repeatable(&request);
        let response = match self.attempt(request).await {
            Ok(response) => response,
            Err((error, was_reused)) => match again {
                Some(again) if was_reused && error.fault().is_lost_connection() => {
                    self.attempt(again).await.map_err(|(error, _)| error)?
                }
                Some(_) | None => return Err(error),
            },
        };
        let has_switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if has_switched && !(asked_to_switch && hop_by_hop::upgrade_of(response.headers()).is_some()) {
            return Err(UpstreamError::unasked_switch());
        }
        Ok(response)
    }

    /// The error comes with whether the connection had answered before.
    async fn attempt(
        &self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, (UpstreamError, bool)> {
        let progress = request.body().progress();
        let outcome = tokio::select! {
            // The response first: one that is here counts, however late.
            biased;
            outcome = self.client.request(request) => outcome,
            waits = progress.stalled(self.rules.response_timeout) => {
                return Err((UpstreamError::stalled(waits), false));
            }
        };
        match outcome {
            Ok(mut response) => {
                if let Some(history) = response.extensions_mut().remove::<History>() {
                    history.note_answer();
                }
                Ok(response)
            }
            Err(error) => {
                let was_reused = was_reused(&error);
                Err((UpstreamError::from_client(error, progress.waits()), was_reused))
            }
        }
    }
}

impl Rules {
    fn addressed(&self, mut request: Request<RequestBody>) -> Result<Request<RequestBody>, UpstreamError> {
        let path = self.path(request.uri())?;
        let mut parts = http::uri::Parts::default();
        // For the pool's key alone: the connector looks at neither.
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(path);
        *request.uri_mut() = Uri::from_parts(parts).map_err(UpstreamError::bad_request)?;
        *request.version_mut() = Version::HTTP_11;
        let is_empty = request.body().is_empty();
        let headers = request.headers_mut();
        if self.host == HostHeader::Upstream || !headers.contains_key(HOST) {
            headers.insert(HOST, self.host_value.clone());
        }
        // hyper would send a GET or HEAD without its body, if no header announced one.
        if !is_empty && !headers.contains_key(CONTENT_LENGTH) {
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        Ok(request)
    }

    fn path(&self, uri: &Uri) -> Result<PathAndQuery, UpstreamError> {
        let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
        // `OPTIONS *` is about the server, not about a path below the base.
        if path == "*" || (self.base_path.is_empty() && path.starts_with('/')) {
            return uri.path_and_query().cloned().ok_or_else(|| UpstreamError::bad_request("no path"));
        }
        let slash = if path.starts_with('/') { "" } else { "/" };
        PathAndQuery::try_from(format!("{}{slash}{path}", self.base_path)).map_err(UpstreamError::bad_request)
    }
}

/// The same request once more, if it may be sent twice.
fn repeatable(request: &Request<RequestBody>) -> Option<Request<RequestBody>> {
    let is_idempotent = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    );
    if !is_idempotent || !request.body().is_empty() {
        return None;
    }
    let mut again = Request::new(RequestBody::empty());
    *again.method_mut() = request.method().clone();
    *again.uri_mut() = request.uri().clone();
    *again.version_mut() = request.version();
    again.headers_mut().clone_from(request.headers());
    Some(again)
}

fn was_reused(error: &ClientError) -> bool {
    let mut extras = Extensions::new();
    if let Some(connected) = error.connect_info() {
        connected.get_extras(&mut extras);
    }
    extras.get::<History>().is_some_and(History::has_answered)
}
