//! What becomes of one request: it joins a session, is forwarded, or is answered here.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, request};
use hyper::body::Incoming;

use super::body::Body;
use super::connection::Connection;
use super::delivery::Delivery;
use super::forward::{self, Arrival};
use super::legacy::{self, Route};
use super::upgrade::{Tunnels, Wanted};
use crate::config::{Config, LegacyConfig, OnUpstreamDown, RouteSettings, RouteTable};
use crate::message::forwarding::Forwarding;
use crate::message::negotiation;
use crate::message::problem::Problem;
use crate::message::query::{split_target, without_last_event_id};
use crate::message::session_key::{KeyHasher, KeyRules, SessionKey};
use crate::metrics::{Limit, Metrics};
use crate::proto::event_id::LastEventId;
use crate::proto::log::EndReason;
use crate::proto::route::PathPattern;
use crate::session::{Head, IfAbsent, JoinRequest, Joining, Parts, Reader, Refusal, Registry, Welcome};
use crate::upstream::health::Health;
use crate::upstream::subscription::SubscriptionRequest;
use crate::upstream::{RequestBody, UpstreamClient};

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
struct Shared {
    legacy: LegacyConfig,
    routes: RouteTable,
    sse_paths: Vec<PathPattern>,
    forward_rules: forward::Rules,
    key_rules: Arc<KeyRules>,
    hasher: KeyHasher,
    registry: Registry,
    upstream: UpstreamClient,
    idle_timeout: Duration,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    tunnels: Tunnels,
}

/// A request that may read a session.
struct Subscriber {
    key: SessionKey,
    settings: Arc<RouteSettings>,
    last_event_id: Option<LastEventId>,
    subscription: SubscriptionRequest,
    /// By what it says, not only by what the upstream answers.
    is_declared: bool,
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
    pub fn new(config: &Config, parts: Parts, registry: Registry) -> Self {
        let Parts { hasher, key_rules, upstream, health, metrics } = parts;
        let sessions = &config.sessions;
        let shared = Shared {
            legacy: config.legacy.clone(),
            routes: config.routes.clone(),
            sse_paths: sessions.sse_paths.clone(),
            forward_rules: forward::Rules {
                forwarding: Forwarding::new(&config.server.trusted_proxies),
                credentials: sessions.credential_headers.clone(),
            },
            key_rules,
            hasher,
            registry,
            upstream,
            idle_timeout: config.server.idle_timeout,
            health,
            metrics,
            tunnels: Tunnels::new(TUNNELS_MAX),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Answers one request.
    pub async fn handle(self, request: Request<Incoming>) -> Response<Body> {
        match self.shared.handle(request).await {
            Ok(response) => response,
            Err(problem) => {
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
    async fn handle(&self, request: Request<Incoming>) -> Result<Response<Body>, Problem> {
        let (mut head, body) = request.into_parts();
        // Put there by the connection for each request.
        let Some(client) = head.extensions.get::<Connection>().cloned() else {
            return Err(Problem::BadRequest { detail: "The request has no connection.".into() });
        };
        let arrival = Arrival { peer: client.peer.ip(), scheme: "http" };
        let wanted = forward::outgoing(&mut head, arrival, &self.forward_rules)
            .map_err(|refusal| refusal.problem())?;
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
        let result = self.serve(head, body, wanted, &client).await;
        match (result, twin) {
            (Ok(mut response), Some(twin)) => {
                legacy::mark(&self.legacy, &twin, response.headers_mut());
                Ok(response)
            }
            (result, _) => result,
        }
    }

    async fn serve(
        &self,
        head: request::Parts,
        body: Incoming,
        wanted: Option<Wanted>,
        client: &Connection,
    ) -> Result<Response<Body>, Problem> {
        let settings = Arc::clone(self.routes.settings(head.uri.path()));
        if let Some(wanted) = wanted {
            return self.upgrade(head, body, wanted, settings.heartbeat).await;
        }
        let heartbeat = settings.heartbeat;
        let Some(subscriber) = self.subscriber(&head, &body, settings) else {
            return Ok(forward::relay(self.exchange(head, body).await?, heartbeat));
        };
        let if_absent = || if subscriber.is_declared { IfAbsent::Open } else { IfAbsent::Refuse };
        match self.join(&subscriber, if_absent, client).await? {
            Joined::Response(response) => Ok(response),
            Joined::Forward => self.forward_or_adopt(head, body, &subscriber, client).await,
        }
    }

    /// The request as one that may be shared: a GET that depends on nothing but its head (spec 4.1).
    fn subscriber(
        &self,
        head: &request::Parts,
        body: &Incoming,
        settings: Arc<RouteSettings>,
    ) -> Option<Subscriber> {
        let is_sharable = head.method == Method::GET
            && http_body::Body::is_end_stream(body)
            && !negotiation::has_body(&head.headers)
            && !negotiation::is_conditional(&head.headers);
        let target = head.uri.path_and_query().filter(|_| is_sharable)?.as_str();
        let (path, query) = split_target(target);
        let key = self.key_rules.session_key(&self.hasher, target, &head.headers);
        let uri = without_last_event_id(target).parse().ok()?;
        Some(Subscriber {
            key,
            settings,
            last_event_id: negotiation::last_event_id(&head.headers, query).map(|last| last_seen(&last)),
            subscription: SubscriptionRequest::new(uri, head.headers.clone()),
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
            let request = JoinRequest {
                key: &subscriber.key,
                settings: &subscriber.settings,
                last_event_id: subscriber.last_event_id.as_ref(),
                subscription: &subscriber.subscription,
            };
            let joining = match self.registry.join(&request, if_absent()) {
                Ok(joining) => joining,
                Err(Refusal::Absent) => return Ok(Joined::Forward),
                Err(Refusal::TooManyClients) => return Err(Problem::TooManyClients),
                Err(Refusal::TooManySessions) => return Err(Problem::TooManySessions),
                Err(Refusal::Draining) => return Err(Problem::Draining),
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
        let welcome =
            joining.welcome(&self.registry, &subscriber.subscription, settings.hold_head, rejects).await;
        Ok(Some(match welcome {
            Welcome::Open { reader, head, is_opener } => {
                Joined::Response(stream(&head, is_opener, reader, client))
            }
            Welcome::Held(reader) => Joined::Response(stream(&Head::held(), false, reader, client)),
            Welcome::Away { wait } => return Err(Problem::UpstreamDown { retry_after: wait }),
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
        head: request::Parts,
        body: Incoming,
        subscriber: &Subscriber,
        client: &Connection,
    ) -> Result<Response<Body>, Problem> {
        let heartbeat = subscriber.settings.heartbeat;
        let response = self.exchange(head, body).await?;
        let is_stream = response.status() == StatusCode::OK
            && negotiation::is_event_stream(response.headers())
            && negotiation::is_identity(response.headers());
        // A declared subscriber that came here was told not to share.
        if !is_stream || subscriber.is_declared {
            return Ok(forward::relay(response, heartbeat));
        }
        let request = JoinRequest {
            key: &subscriber.key,
            settings: &subscriber.settings,
            last_event_id: subscriber.last_event_id.as_ref(),
            subscription: &subscriber.subscription,
        };
        let joining = match self.registry.join(&request, IfAbsent::Adopt(Box::new(response))) {
            Ok(joining) => joining,
            Err(Refusal::TooManyClients) => return Err(Problem::TooManyClients),
            Err(Refusal::TooManySessions) => return Err(Problem::TooManySessions),
            Err(Refusal::Draining | Refusal::Absent) => return Err(Problem::Draining),
        };
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
        match self.upstream.send(Request::from_parts(head, body)).await {
            Ok(mut response) => {
                if let Some(guard) = guard {
                    response.extensions_mut().insert(guard);
                }
                self.metrics.forwarded_requests.add(response.status().into(), 1);
                if !response.status().is_server_error() {
                    self.health.succeeded();
                }
                Ok(response)
            }
            Err(error) => {
                tracing::info!(%error, "forwarding failed");
                if error.is_upstream_down() {
                    self.health.failed(tokio::time::Instant::now().into_std());
                }
                let problem = error.problem();
                self.metrics.forwarded_requests.add(problem.status().into(), 1);
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
    ) -> Result<Response<Body>, Problem> {
        let response = self.exchange(head, body).await?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return self.tunnels.switch(response, wanted).map_err(|_| {
                self.metrics.refused(Limit::Tunnels);
                Problem::TooManyTunnels
            });
        }
        Ok(forward::relay(response, heartbeat))
    }
}

/// What a client saw last, as the log knows it. An id that can't exist is one that is never found.
fn last_seen(last: &negotiation::LastEventId) -> LastEventId {
    match last.as_bytes() {
        Some(id) => LastEventId::parse(id),
        None => LastEventId::Foreign(Bytes::new()),
    }
}

fn stream(head: &Head, is_opener: bool, reader: Reader, client: &Connection) -> Response<Body> {
    let parts = head.for_client(is_opener);
    let delivery = Delivery::new(reader, &client.watch);
    Response::from_parts(parts, Body::Session(Box::new(delivery)))
}
