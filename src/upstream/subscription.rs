//! The one upstream request of a session.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, Version, request};
use hyper::body::Incoming;

use super::authorization::OwnAuthorization;
use super::body::RequestBody;
use super::client::UpstreamClient;
use super::error::UpstreamError;
use crate::message::trace_context::{TRACEPARENT, TRACESTATE, TraceContext};

/// Where an `EventSource` says what it saw last (WHATWG HTML, 9.2.4).
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// What a session asks the upstream for, each time it must.
#[derive(Debug, Clone)]
pub struct SubscriptionRequest {
    uri: Uri,
    headers: HeaderMap,
    /// ssecar's own credential, if it subscribes with that.
    authorization: Option<Arc<OwnAuthorization>>,
    /// The client's request that it was made of, where spans are made. No part of what is asked for.
    cause: Option<Cause>,
}

/// A request's place in its trace.
#[derive(Debug, Clone)]
struct Cause {
    context: TraceContext,
    states: Box<[HeaderValue]>,
}

impl PartialEq for SubscriptionRequest {
    /// Whether both ask for the same, with the same credentials.
    fn eq(&self, other: &Self) -> bool {
        let Self { uri, headers, authorization, cause: _ } = self;
        *uri == other.uri && *headers == other.headers && *authorization == other.authorization
    }
}

impl SubscriptionRequest {
    /// From the request of the client that opened the session, its head already made fit for the
    /// upstream, and its target without the parameters that are one client's own.
    #[must_use]
    pub fn new(uri: Uri, mut headers: HeaderMap) -> Self {
        headers.remove(LAST_EVENT_ID);
        headers.remove(CONTENT_LENGTH);
        // What is shared must be readable here, and is encoded for each client by its own wish.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        // The header values of a request are slices of its connection's read buffer: copies let go
        // of 8 KiB that would be kept as long as the session lives.
        let headers =
            headers.iter().filter_map(|(name, value)| Some((name.clone(), copied(value)?))).collect();
        let uri = uri.to_string().parse().unwrap_or(uri);
        Self { uri, headers, authorization: None, cause: None }
    }

    /// Keeps the request's place in its trace apart from what it asks for, so that each attempt can have a place of
    /// its own, and requests that differ in nothing else are the same.
    #[must_use]
    pub fn traced(mut self) -> Self {
        self.cause = TraceContext::of(&self.headers).map(|context| {
            let states = self.headers.get_all(TRACESTATE).iter().cloned().collect();
            Cause { context, states }
        });
        self.headers.remove(TRACEPARENT);
        self.headers.remove(TRACESTATE);
        self
    }

    /// The place in its trace of the request that it was made of; `None`: it has none, or it stayed among the headers.
    #[must_use]
    pub fn cause(&self) -> Option<TraceContext> {
        self.cause.as_ref().map(|cause| cause.context)
    }

    /// An attempt with this place in a trace; `is_child`: in that of its cause.
    #[must_use]
    pub fn in_trace(mut self, context: &TraceContext, is_child: bool) -> Self {
        context.inject(&mut self.headers);
        self.headers.remove(TRACESTATE);
        for state in self.cause.iter().filter(|_| is_child).flat_map(|cause| &cause.states) {
            self.headers.append(TRACESTATE, state.clone());
        }
        self
    }

    /// The same subscription with ssecar's own credential in place of the client's: `uri` and `is_credential` say
    /// what is left of the client's.
    #[must_use]
    pub fn authorized_by(
        &self,
        own: &Arc<OwnAuthorization>,
        uri: Uri,
        is_credential: impl Fn(&HeaderName) -> bool,
    ) -> Self {
        let kept = self.headers.iter().filter(|(name, _)| !is_credential(name));
        let headers = kept.map(|(name, value)| (name.clone(), value.clone())).collect();
        Self { uri, headers, authorization: Some(Arc::clone(own)), cause: self.cause.clone() }
    }

    /// The path and query that it asks for.
    #[must_use]
    pub fn target(&self) -> &str {
        self.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str)
    }

    /// The headers that it sends.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The request, from behind the event with this upstream id.
    #[must_use]
    pub fn from_event(&self, last_event_id: Option<&Bytes>) -> Request<RequestBody> {
        let (mut parts, body) = Request::new(RequestBody::empty()).into_parts();
        let request::Parts { method, uri, version, headers, .. } = &mut parts;
        *method = Method::GET;
        *version = Version::HTTP_11;
        uri.clone_from(&self.uri);
        headers.clone_from(&self.headers);
        // An id that can't stand in a header can't be asked for; the decoder gives none with line ends.
        if let Some(Ok(value)) = last_event_id.map(|id| HeaderValue::from_bytes(id)) {
            headers.insert(LAST_EVENT_ID, value);
        }
        Request::from_parts(parts, body)
    }

    /// Asks the upstream.
    ///
    /// # Errors
    /// What [`UpstreamClient::send`] says; ssecar's own credential can't be read.
    pub async fn send(
        self,
        client: UpstreamClient,
        last_event_id: Option<Bytes>,
    ) -> Result<Response<Incoming>, UpstreamError> {
        let mut request = self.from_event(last_event_id.as_ref());
        if let Some(own) = &self.authorization {
            request.headers_mut().insert(AUTHORIZATION, own.read().await?);
        }
        client.send(request).await
    }
}

fn copied(value: &HeaderValue) -> Option<HeaderValue> {
    let mut copy = HeaderValue::from_bytes(value.as_bytes()).ok()?;
    copy.set_sensitive(value.is_sensitive());
    Some(copy)
}
