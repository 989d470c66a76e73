//! What becomes of one request: it joins a session, is forwarded, or is answered here.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Response, StatusCode, request};
use hyper::body::Incoming;
use tokio::sync::Semaphore;

use super::authorized;
use super::body::Body;
use super::connection::Connection;
use super::delivery::Delivery;
use super::forward::{self, Arrival};
use super::legacy::{self, Route};
use super::upgrade::{Tunnels, Wanted};
use crate::config::{Config, LegacyConfig, OnUpstreamDown, RouteSettings, RouteTable, Share};
use crate::message::forwarding::Forwarding;
use crate::message::negotiation::{self, LAST_EVENT_ID};
use crate::message::problem::Problem;
use crate::message::query::{split_target, without_last_event_id};
use crate::message::session_key::SessionKey;
use crate::metrics::Limit;
use crate::proto::event_id::LastEventId;
use crate::proto::log::EndReason;
use crate::proto::route::PathPattern;
use crate::session::{Head, IfAbsent, JoinRequest, Joining, Parts, Reader, Refusal, Registry, Welcome};
use crate::telemetry::OpenSpan;
use crate::upstream::RequestBody;
use crate::upstream::authorization::OwnAuthorization;
use crate::upstream::subscription::SubscriptionRequest;

/// The most upgraded connections at once.
const TUNNELS_MAX: usize = 10_000;

/// How often a client looks for another session after `Vary` told it that one is for others. Past
/// it, its stream is its own.
const VARIANT_ROUNDS: usize = 3;

/// Serves all requests of all clients. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Gateway {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    legacy: LegacyConfig,
    routes: RouteTable,
    sse_paths: Vec<PathPattern>,
    forward_rules: forward::Rules,
    pub(super) parts: Parts,
    pub(super) registry: Registry,
    /// What sessions subscribe with, where clients with different credentials share.
    authorization: Option<Arc<OwnAuthorization>>,
    idle_timeout: Duration,
    tunnels: Tunnels,
    pub(super) checks: Semaphore,
}

/// A request that may read a session.
pub(super) struct Subscriber {
    key: SessionKey,
    pub(super) settings: Arc<RouteSettings>,
    last_event_id: Option<LastEventId>,
    /// What the client itself would ask the upstream for.
    pub(super) own: Arc<SubscriptionRequest>,
    /// What its session asks the upstream for; `None`: the same.
    shared: Option<SubscriptionRequest>,
    pub(super) ip: IpAddr,
    /// By what it says, not only by what the upstream answers.
    is_declared: bool,
}

impl Subscriber {
    pub(super) fn join_request(&self) -> JoinRequest<'_> {
        let is_checked = self.settings.share == Share::Authorized;
        JoinRequest {
            key: &self.key,
            settings: &self.settings,
            last_event_id: self.last_event_id.as_ref(),
            subscription: self.shared.as_ref().unwrap_or(&self.own),
            own: &self.own,
            vouches: is_checked && self.shared.is_none(),
            ip: self.ip,
        }
    }

    /// From where the upstream would have to go on for this client.
    pub(super) fn upstream_id(&self) -> Option<&Bytes> {
        self.last_event_id.as_ref().and_then(LastEventId::upstream).filter(|id| !id.is_empty())
    }

    /// Whether the answer that opened its session may be for it alone: ssecar's own credential fetches
    /// nothing for a client.
    pub(super) fn fetches_itself(&self) -> bool {
        self.shared.is_none()
    }

    /// The way to make a session of an answer that the client's own request has got: where ssecar subscribes
    /// with its own credential, it asks anew.
    pub(super) fn adopt(&self, response: Response<Incoming>) -> IfAbsent {
        if self.shared.is_some() { IfAbsent::Open } else { IfAbsent::Adopt(Box::new(response)) }
    }
}

/// What joining came to.
enum Joined {
    Response(Response<Body>),
    /// The request is to be forwarded on its own.
    Forward,
}

impl Gateway {
    /// Wires the parts.
    #[must_use]
    pub fn new(
        config: &Config,
        parts: Parts,
        registry: Registry,
        authorization: Option<Arc<OwnAuthorization>>,
    ) -> Self {
        let sessions = &config.sessions;
        let shared = Shared {
            legacy: config.legacy.clone(),
            routes: config.routes.clone(),
            sse_paths: sessions.sse_paths.clone(),
            forward_rules: forward::Rules {
                forwarding: Forwarding::new(&config.server.trusted_proxies),
                credentials: sessions.credential_headers.clone(),
            },
            parts,
            registry,
            authorization,
            idle_timeout: config.server.idle_timeout,
            tunnels: Tunnels::new(TUNNELS_MAX),
            checks: Semaphore::new(authorized::CHECKS_MAX),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Answers one request.
    pub async fn handle(self, request: Request<Incoming>) -> Response<Body> {
        let connection = request.extensions().get::<Connection>();
        let scheme = connection.map_or("http", |connection| connection.scheme);
        let span = self.shared.parts.tracer.request(&request, scheme);
        match self.shared.handle(request, span.as_ref()).await {
            Ok(response) => {
                if let Some(span) = span {
                    span.answered(response.status(), outcome(&response), None);
                }
                response
            }
            Err(problem) => {
                if let Some(span) = span {
                    span.answered(problem.status(), ANSWERED, Some(problem.name()));
                }
                tracing::debug!(
                    status = problem.status().as_u16(),
                    problem = problem.name(),
                    "answered a problem"
                );
                problem.response().map(|body| Body::Full(Some(body)))
            }
        }
    }

    /// Waits until all upgraded connections have ended.
    pub async fn tunnels_ended(&self) {
        self.shared.tunnels.ended().await;
    }

    /// Ends all upgraded connections.
    pub async fn end_tunnels(&self) {
        self.shared.tunnels.end().await;
    }
}

impl Shared {
    async fn handle(
        self: &Arc<Self>,
        request: Request<Incoming>,
        span: Option<&OpenSpan>,
    ) -> Result<Response<Body>, Problem> {
        let (mut head, body) = request.into_parts();
        // Put there by the connection for each request.
        let Some(client) = head.extensions.get::<Connection>().cloned() else {
            return Err(Problem::BadRequest { detail: "The request has no connection.".into() });
        };
        if let Err(fault) = client.heads.next() {
            self.parts.metrics.refused(Limit::Framing);
            return Err(Problem::Ambiguous(fault));
        }
        let ip = self.forward_rules.forwarding.client_ip(client.peer.ip(), &head.headers);
        let arrival = Arrival { peer: client.peer.ip(), scheme: client.scheme };
        let wanted = forward::outgoing(&mut head, arrival, &self.forward_rules)
            .map_err(|refusal| refusal.problem())?;
        if let Some(span) = span {
            span.inject(&mut head.headers);
        }
        let asked = head.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let twin = match legacy::route(&self.legacy, asked) {
            Route::Current => None,
            Route::Answered(response) => return Ok(response),
            Route::Twin(twin) => Some(twin),
        };
        if let Some(twin) = &twin {
            head.uri = twin.parse().map_err(|_| Problem::BadRequest {
                detail: "The path can't be served under its present name.".into(),
            })?;
        }
        let result = self.serve(head, body, wanted, (&client, ip)).await;
        match (result, twin) {
            (Ok(mut response), Some(twin)) => {
                legacy::mark(&self.legacy, &twin, response.headers_mut());
                Ok(response)
            }
            (result, _) => result,
        }
    }

    async fn serve(
        self: &Arc<Self>,
        head: request::Parts,
        body: Incoming,
        wanted: Option<Wanted>,
        (client, ip): (&Connection, IpAddr),
    ) -> Result<Response<Body>, Problem> {
        // Boxed is all that joining a session does without: thousands may wait for one at the same time, and each would have
        // the room for it.
        let settings = Arc::clone(self.routes.settings(head.uri.path()));
        if let Some(wanted) = wanted {
            return Box::pin(self.upgrade(head, body, wanted, settings.heartbeat, client)).await;
        }
        let heartbeat = settings.heartbeat;
        let Some(subscriber) = self.subscriber(&head, &body, settings, ip) else {
            return Ok(forward::relay(Box::pin(self.exchange(head, body)).await?, heartbeat));
        };
        if subscriber.settings.share == Share::Authorized && subscriber.is_declared {
            return Box::pin(authorized::join(Arc::clone(self), subscriber, client)).await;
        }
        if subscriber.settings.share == Share::Authorized {
            return Box::pin(self.forward_or_adopt(head, body, &subscriber, client)).await;
        }
        let if_absent = || if subscriber.is_declared { IfAbsent::Open } else { IfAbsent::Refuse };
        match self.join(&subscriber, if_absent, client).await? {
            Joined::Response(response) => Ok(response),
            Joined::Forward => Box::pin(self.forward_or_adopt(head, body, &subscriber, client)).await,
        }
    }

    /// The request as one that may be shared: a GET that depends on nothing but its head (spec 4.1).
    fn subscriber(
        &self,
        head: &request::Parts,
        body: &Incoming,
        settings: Arc<RouteSettings>,
        ip: IpAddr,
    ) -> Option<Subscriber> {
        let is_sharable = head.method == Method::GET
            && http_body::Body::is_end_stream(body)
            && !negotiation::has_body(&head.headers)
            && !negotiation::is_conditional(&head.headers);
        let target = head.uri.path_and_query().filter(|_| is_sharable)?.as_str();
        let (path, query) = split_target(target);
        let rules = &self.parts.key_rules;
        let key = rules.session_key(&self.parts.hasher, target, &head.headers, settings.share);
        let own = without_last_event_id(target);
        let authorization = self.authorization.as_ref().filter(|_| settings.share != Share::SameCredentials);
        let bare = authorization.and_then(|_| rules.without_credentials(&own).parse().ok());
        let own = SubscriptionRequest::new(own.parse().ok()?, head.headers.clone());
        let own = if self.parts.tracer.is_on() { own.traced() } else { own };
        let shared = authorization.zip(bare).map(|(authorization, bare)| {
            own.authorized_by(authorization, bare, |name| rules.is_credential(name))
        });
        // In public nobody is asked for by its own credentials.
        let own = match &shared {
            Some(shared) if settings.share == Share::Public => shared.clone(),
            Some(_) | None => own,
        };
        Some(Subscriber {
            key,
            settings,
            last_event_id: negotiation::last_event_id(&head.headers, query).map(|last| last_seen(&last)),
            own: Arc::new(own),
            shared,
            ip,
            is_declared: negotiation::accepts_event_stream(&head.headers)
                || self.sse_paths.iter().any(|pattern| pattern.matches(path)),
        })
    }

    async fn join(
        &self,
        subscriber: &Subscriber,
        if_absent: impl Fn() -> IfAbsent,
        client: &Connection,
    ) -> Result<Joined, Problem> {
        for _ in 0..VARIANT_ROUNDS {
            let joining = match self.registry.join(&subscriber.join_request(), if_absent()) {
                Ok(joining) => joining,
                Err(Refusal::Absent) => return Ok(Joined::Forward),
                Err(refusal) => return Err(problem(refusal)),
            };
            if let Some(joined) = self.welcome(joining, subscriber, client).await? {
                return Ok(joined);
            }
        }
        Ok(Joined::Forward)
    }

    /// `None`: the session is for others.
    async fn welcome(
        &self,
        joining: Joining,
        subscriber: &Subscriber,
        client: &Connection,
    ) -> Result<Option<Joined>, Problem> {
        let settings = &subscriber.settings;
        let rejects = settings.on_upstream_down == OnUpstreamDown::Reject;
        let welcome = joining.welcome(&self.registry, &subscriber.own, settings.hold_head, rejects).await;
        Ok(Some(match welcome {
            Welcome::Open { reader, head, is_opener } => {
                Joined::Response(stream(&head, is_opener && subscriber.fetches_itself(), reader, client))
            }
            Welcome::Held(reader) => Joined::Response(stream(&Head::held(), false, reader, client)),
            Welcome::Away { wait } => return Err(Problem::UpstreamDown { retry_after: wait }),
            // What ssecar's own credential has fetched is not the client's to see.
            Welcome::NotShared(Some(_)) if !subscriber.fetches_itself() => Joined::Forward,
            Welcome::NotShared(Some(response)) => {
                Joined::Response(forward::relay(response, settings.heartbeat))
            }
            Welcome::NotShared(None) => Joined::Forward,
            Welcome::OtherVariant => return Ok(None),
            Welcome::Ended(EndReason::Draining) => return Err(Problem::Draining),
            Welcome::Ended(EndReason::GivenUp) => {
                return Err(Problem::UpstreamDown { retry_after: settings.backoff.max });
            }
            Welcome::Ended(_) => return Err(Problem::SessionEnded),
        }))
    }

    /// Forwards a request that may turn out to be a subscription; then its answer becomes a session.
    async fn forward_or_adopt(
        &self,
        mut head: request::Parts,
        body: Incoming,
        subscriber: &Subscriber,
        client: &Connection,
    ) -> Result<Response<Body>, Problem> {
        let heartbeat = subscriber.settings.heartbeat;
        ask_from(&mut head, subscriber.last_event_id.as_ref());
        let response = self.exchange(head, body).await?;
        // A declared subscriber that came here was told not to share.
        if !is_shareable(&response) || subscriber.is_declared {
            return Ok(forward::relay(response, heartbeat));
        }
        let if_absent = subscriber.adopt(response);
        let joining = self.registry.join(&subscriber.join_request(), if_absent).map_err(problem)?;
        match self.welcome(joining, subscriber, client).await? {
            Some(Joined::Response(response)) => Ok(response),
            // Another one's session came first, and it is for others: the client comes again.
            Some(Joined::Forward) | None => Err(Problem::SessionEnded),
        }
    }

    /// Sends the request on, and tells all who wait for the upstream what became of it.
    async fn exchange(&self, head: request::Parts, body: Incoming) -> Result<Response<Incoming>, Problem> {
        let mut body = RequestBody::from(body);
        let guard = body.reap_after(self.idle_timeout);
        match self.parts.upstream.send(Request::from_parts(head, body)).await {
            Ok(mut response) => {
                if let Some(guard) = guard {
                    response.extensions_mut().insert(guard);
                }
                self.parts.metrics.forwarded_requests.add(response.status().into(), 1);
                if !response.status().is_server_error() {
                    self.parts.health.succeeded();
                }
                Ok(response)
            }
            Err(error) => {
                tracing::info!(%error, "forwarding failed");
                if error.is_upstream_down() {
                    self.parts.health.failed(tokio::time::Instant::now().into_std());
                }
                let problem = error.problem();
                self.parts.metrics.forwarded_requests.add(problem.status().into(), 1);
                Err(problem)
            }
        }
    }

    async fn upgrade(
        &self,
        head: request::Parts,
        body: Incoming,
        wanted: Wanted,
        heartbeat: Duration,
        client: &Connection,
    ) -> Result<Response<Body>, Problem> {
        let response = self.exchange(head, body).await?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            client.heads.switch().map_err(Problem::Ambiguous)?;
            return self.tunnels.switch(response, wanted).map_err(|_| {
                self.parts.metrics.refused(Limit::Tunnels);
                Problem::TooManyTunnels
            });
        }
        Ok(forward::relay(response, heartbeat))
    }
}

/// What a span says of a request that ssecar answered itself.
const ANSWERED: &str = "answered";

/// What a span says became of a request.
fn outcome(response: &Response<Body>) -> &'static str {
    match response.body() {
        Body::Session(_) => "session",
        Body::Held(_) => "held",
        Body::Forwarded(..) | Body::ForwardedEvents(..) => "forwarded",
        Body::Empty if response.status() == StatusCode::SWITCHING_PROTOCOLS => "upgraded",
        Body::Empty | Body::Full(_) => ANSWERED,
    }
}

/// Whether an answer can become a session's stream.
pub(super) fn is_shareable(response: &Response<Incoming>) -> bool {
    response.status() == StatusCode::OK
        && negotiation::is_event_stream(response.headers())
        && negotiation::is_identity(response.headers())
}

/// An id of ssecar's own means nothing to the upstream, which is asked by its own id within, if there is one.
fn ask_from(head: &mut request::Parts, last: Option<&LastEventId>) {
    let Some(last @ LastEventId::Own(_)) = last else { return };
    if head.headers.remove(LAST_EVENT_ID).is_some()
        && let Some(Ok(value)) = last.upstream().map(|id| HeaderValue::from_bytes(id))
    {
        head.headers.insert(LAST_EVENT_ID, value);
    }
}

/// What a client saw last, as the log knows it. An id that can't exist is one that is never found.
fn last_seen(last: &negotiation::LastEventId) -> LastEventId {
    match last.as_bytes() {
        Some(id) => LastEventId::parse(id),
        None => LastEventId::Foreign(Bytes::new()),
    }
}

/// The answer to a client that can't join.
pub(super) fn problem(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::TooManyClients => Problem::TooManyClients,
        Refusal::TooManyClientsOfIp => Problem::TooManyClientsOfIp,
        Refusal::TooManySessions => Problem::TooManySessions,
        Refusal::Draining => Problem::Draining,
        // Only who asks for a living session and no other.
        Refusal::Absent => Problem::SessionEnded,
    }
}

pub(super) fn stream(head: &Head, is_opener: bool, reader: Reader, client: &Connection) -> Response<Body> {
    let parts = head.for_client(is_opener);
    reader.head_sent(client.peer.ip());
    let delivery = Delivery::new(reader, &client.watch);
    Response::from_parts(parts, Body::Session(Box::new(delivery)))
}
