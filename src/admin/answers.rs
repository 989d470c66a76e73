//! One request, one answer.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::access::{Access, Denied};
use super::body::Body;
use super::feed::Feed;
use super::page::{OPENAPI, Page};
use super::query::{ClientQuery, SessionQuery};
use super::routes::{self, Absent, Endpoint, Target};
use super::sessions;
use super::state::State;
use super::tail;
use crate::metrics::Format;
use crate::proto::log::EndReason;
use crate::session::Session;

/// Answers that go on for as long as somebody watches, at once. Fewer than connections, so that a probe
/// always finds room.
const WATCHERS_MAX: usize = 32;

/// Answers all requests of the listener.
#[derive(Debug)]
pub(super) struct Answers {
    access: Access,
    state: State,
    feed: Feed,
    page: Page,
    watchers: Arc<Semaphore>,
}

/// Why there is no answer but this.
#[derive(Debug)]
enum Refusal {
    Foreign,
    NoToken,
    NoSuchPath,
    NoSuchMethod(Vec<Method>),
    NoSuchSession,
    NoSuchClient,
    Query(String),
    Busy,
    TooManyWatchers,
    NoRandom,
}

impl Answers {
    pub(super) fn new(access: Access, state: State, feed: Feed) -> Self {
        Self { access, state, feed, page: Page::new(), watchers: Arc::new(Semaphore::new(WATCHERS_MAX)) }
    }

    pub(super) fn answer<B>(&self, request: &Request<B>) -> Response<Body> {
        let mut response = self.find(request).unwrap_or_else(|refusal| refusal.response());
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    }

    fn find<B>(&self, request: &Request<B>) -> Result<Response<Body>, Refusal> {
        let target = routes::find(request.method(), request.uri().path());
        // A stranger isn't told what there is.
        let needs_token = !target.as_ref().is_ok_and(|target| !target.endpoint.needs_token());
        self.access.check(request.headers(), needs_token).map_err(|denied| match denied {
            Denied::Foreign => Refusal::Foreign,
            Denied::NoToken => Refusal::NoToken,
        })?;
        let target = target.map_err(|absent| match absent {
            Absent::Path => Refusal::NoSuchPath,
            Absent::Method(allowed) => Refusal::NoSuchMethod(allowed),
        })?;
        self.give(target, request)
    }

    fn give<B>(&self, target: Target<'_>, request: &Request<B>) -> Result<Response<Body>, Refusal> {
        let state = &self.state;
        let query = request.uri().query().unwrap_or_default();
        let session = || self.session(target.names[0]);
        Ok(match target.endpoint {
            Endpoint::Page => page(&self.page)?,
            Endpoint::Live => text(StatusCode::OK, "alive\n"),
            Endpoint::Ready if state.is_draining() => text(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
            Endpoint::Ready => text(StatusCode::OK, "ready\n"),
            Endpoint::Metrics => {
                let accept = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok());
                let format = Format::accepted_by(accept.unwrap_or_default());
                with_type(StatusCode::OK, format.content_type(), state.metrics(format))
            }
            Endpoint::Description => with_type(StatusCode::OK, "application/json", OPENAPI),
            Endpoint::State => json(&state.everything()),
            Endpoint::Overview => json(&self.feed.full()),
            Endpoint::Stream => {
                let feed = self.feed.clone();
                self.live(|out| feed.tell(out))?
            }
            Endpoint::Sessions => {
                let query = SessionQuery::parse(query).map_err(Refusal::Query)?;
                json(&sessions::list(state.sessions(), &query))
            }
            Endpoint::Session => json(&sessions::show(&*session()?)),
            Endpoint::Tail => {
                let session = session()?;
                self.live(|out| tail::tell(session, out))?
            }
            Endpoint::Clients => {
                let query = ClientQuery::parse(query).map_err(Refusal::Query)?;
                json(&sessions::clients(&*session()?, &query))
            }
            Endpoint::Retry => {
                let session = session()?;
                ordered(session.retry_now(), &session, "an operator asks for an attempt now")?
            }
            Endpoint::RetryAll => {
                let asked = sessions::retry_all(&state.sessions());
                tracing::info!(sessions = asked, "an operator asks for attempts now");
                with_type(StatusCode::ACCEPTED, "application/json", json!({"sessions": asked}).to_string())
            }
            Endpoint::End => {
                let session = session()?;
                ordered(session.end(EndReason::Closed), &session, "an operator ends the session")?
            }
            Endpoint::CloseClient => {
                let session = session()?;
                let client = target.names[1].parse().map_err(|_| Refusal::NoSuchClient)?;
                if !session.close_client(client) {
                    return Err(Refusal::NoSuchClient);
                }
                tracing::info!(session = session.name(), client, "an operator closed a client");
                empty(StatusCode::NO_CONTENT)
            }
        })
    }

    fn session(&self, id: &str) -> Result<Arc<Session>, Refusal> {
        sessions::parse_id(id).and_then(|id| self.state.session(id)).ok_or(Refusal::NoSuchSession)
    }

    fn live<F>(
        &self,
        teller: impl FnOnce(tokio::sync::mpsc::Sender<Bytes>) -> F,
    ) -> Result<Response<Body>, Refusal>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let place = Arc::clone(&self.watchers).try_acquire_owned().map_err(|_| Refusal::TooManyWatchers)?;
        let mut response = Response::new(Body::live(place, teller));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        Ok(response)
    }
}

/// The session's task does it in its own time.
fn ordered(is_taken: bool, session: &Session, what: &'static str) -> Result<Response<Body>, Refusal> {
    if !is_taken {
        return Err(Refusal::Busy);
    }
    tracing::info!(session = session.name(), "{what}");
    Ok(empty(StatusCode::ACCEPTED))
}

/// The system gives no random numbers only where nothing else works either.
fn page(page: &Page) -> Result<Response<Body>, Refusal> {
    let (document, policy) = page.fresh().ok_or(Refusal::NoRandom)?;
    let mut response = with_type(StatusCode::OK, "text/html; charset=utf-8", document);
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    Ok(response)
}

fn json(value: &Value) -> Response<Body> {
    with_type(StatusCode::OK, "application/json", value.to_string())
}

fn text(status: StatusCode, body: &'static str) -> Response<Body> {
    with_type(status, "text/plain; charset=utf-8", body)
}

fn with_type(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::whole(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::Whole(None));
    *response.status_mut() = status;
    response
}

impl Refusal {
    fn response(&self) -> Response<Body> {
        let (status, detail) = match self {
            Self::Foreign => (
                StatusCode::FORBIDDEN,
                "This listener does not answer pages of other sites, nor other names.",
            ),
            Self::NoToken => (StatusCode::UNAUTHORIZED, "The token of --admin-token-file is needed."),
            Self::NoSuchPath => (StatusCode::NOT_FOUND, "/api/openapi.json says what there is."),
            Self::NoSuchMethod(_) => (StatusCode::METHOD_NOT_ALLOWED, "Another method is needed here."),
            Self::NoSuchSession => (StatusCode::NOT_FOUND, "There is no such session any more."),
            Self::NoSuchClient => (StatusCode::NOT_FOUND, "There is no such client any more."),
            Self::Query(detail) => (StatusCode::BAD_REQUEST, detail.as_str()),
            Self::Busy => (StatusCode::CONFLICT, "The session is busy with earlier orders."),
            Self::TooManyWatchers => (StatusCode::SERVICE_UNAVAILABLE, "Too many watch already."),
            Self::NoRandom => (StatusCode::INTERNAL_SERVER_ERROR, "The system gives no random numbers."),
        };
        let title = status.canonical_reason().unwrap_or_default();
        let body = json!({"title": title, "status": status.as_u16(), "detail": detail});
        let mut response = with_type(status, "application/problem+json", body.to_string());
        match self {
            Self::NoToken => {
                let challenge = HeaderValue::from_static("Bearer realm=\"ssecar\"");
                response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
            }
            Self::NoSuchMethod(allowed) => {
                let names: Vec<_> = allowed.iter().map(Method::as_str).collect();
                if let Ok(value) = HeaderValue::from_str(&names.join(", ")) {
                    response.headers_mut().insert(ALLOW, value);
                }
            }
            Self::Foreign
            | Self::NoSuchPath
            | Self::NoSuchSession
            | Self::NoSuchClient
            | Self::Query(_)
            | Self::Busy
            | Self::TooManyWatchers
            | Self::NoRandom => {}
        }
        response
    }
}
