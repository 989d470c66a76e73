//! What becomes of one request: it joins a session, is forwarded, or is answered here.

use std::sync::Arc;

use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Version, request};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use ipnet::IpNet;

use super::body::Body;
use super::connection::Connection;
use super::delivery::Delivery;
use super::forward::{self, Outgoing};
use super::legacy::{self, Route};
use super::upgrade::Tunnels;
use crate::config::{Config, LegacyConfig, OnUpstreamDown, RouteSettings, RouteTable};
use crate::message::problem::Problem;
use crate::message::session_key::{KeyHasher, KeyRules, SessionKey, shared_query};
use crate::message::{hop_by_hop, negotiation};
use crate::proto::event_id::LastEventId;
use crate::proto::log::EndReason;
use crate::proto::route::PathPattern;
use crate::session::{Head, IfAbsent, JoinRequest, Joining, Reader, Refusal, Registry, Welcome};
use crate::shutdown::Shutdown;
use crate::upstream::client::{RequestBody, UpstreamClient};
use crate::upstream::health::Health;
use crate::upstream::subscription::SubscriptionRequest;

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
    trusted_proxies: Vec<IpNet>,
    key_rules: KeyRules,
    hasher: KeyHasher,
    registry: Registry,
    upstream: UpstreamClient,
    health: Arc<Health>,
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
    pub fn new(
        config: &Config,
        hasher: KeyHasher,
        registry: Registry,
        upstream: UpstreamClient,
        health: Arc<Health>,
        shutdown: Shutdown,
    ) -> Self {
        let sessions = &config.sessions;
        let shared = Shared {
            legacy: config.legacy.clone(),
            routes: config.routes.clone(),
            sse_paths: sessions.sse_paths.clone(),
            trusted_proxies: config.server.trusted_proxies.clone(),
            key_rules: KeyRules {
                ignored: sessions.ignored_headers.clone(),
                key: sessions.key_headers.clone(),
                credential_headers: sessions.credential_headers.clone(),
                credential_query: sessions.credential_query.clone(),
            },
            hasher,
            registry,
            upstream,
            health,
            tunnels: Tunnels::new(shutdown),
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
}

impl Shared {
    async fn handle(&self, mut request: Request<Incoming>) -> Result<Response<Body>, Problem> {
        if request.method() == Method::CONNECT {
            return Err(Problem::ConnectNotAllowed);
        }
        let client_upgrade = request.extensions_mut().remove::<OnUpgrade>();
        let (head, body) = request.into_parts();
        // Put there by the connection for each request.
        let Some(peer) = head.extensions.get::<Connection>().cloned() else {
            return Err(Problem::BadRequest { detail: "The request has no connection.".into() });
        };
        let asked = head.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let (target, twin) = match legacy::route(&self.legacy, asked.as_str()) {
            Route::Current => (asked, None),
            Route::Answered(response) => return Ok(response),
            Route::Twin(twin) => {
                let target = twin.parse().map_err(|_| Problem::BadRequest {
                    detail: "The path can't be served under its present name.".into(),
                })?;
                (target, Some(twin))
            }
        };
        let outgoing = forward::outgoing(&head, target, &peer, &self.trusted_proxies)?;
        let result = self.serve(&head, body, outgoing, &peer, client_upgrade).await;
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
        head: &request::Parts,
        body: Incoming,
        outgoing: Outgoing,
        peer: &Connection,
        client_upgrade: Option<OnUpgrade>,
    ) -> Result<Response<Body>, Problem> {
        if let Some(protocol) = hop_by_hop::upgrade_of(&head.headers)
            && head.version == Version::HTTP_11
            && let Some(client) = client_upgrade
        {
            return self.upgrade(head, body, outgoing, client, &protocol).await;
        }
        let settings = Arc::clone(self.routes.settings(outgoing.uri.path()));
        let Some(subscriber) = self.subscriber(head, &outgoing, settings) else {
            let heartbeat = self.routes.settings(outgoing.uri.path()).heartbeat;
            let response = self.exchange(head, body, outgoing).await?;
            return Ok(forward::relay(response, heartbeat));
        };
        let if_absent = || if subscriber.is_declared { IfAbsent::Open } else { IfAbsent::Refuse };
        match self.join(&subscriber, if_absent, peer).await? {
            Joined::Response(response) => Ok(response),
            Joined::Forward => self.forward_or_adopt(head, body, outgoing, &subscriber, peer).await,
        }
    }

    /// The request as one that may be shared: a GET that depends on nothing but its head (spec 4.1).
    fn subscriber(
        &self,
        head: &request::Parts,
        outgoing: &Outgoing,
        settings: Arc<RouteSettings>,
    ) -> Option<Subscriber> {
        let is_sharable = head.method == Method::GET
            && !negotiation::has_body(&head.headers)
            && !negotiation::is_conditional(&head.headers);
        if !is_sharable {
            return None;
        }
        let path = outgoing.uri.path();
        let query = outgoing.uri.query();
        let key = SessionKey::new(&self.key_rules, &self.hasher, path, query, &outgoing.headers);
        let shared = query.and_then(shared_query).map(|query| format!("{path}?{query}"));
        let uri = shared.as_deref().unwrap_or(path).parse().ok()?;
        Some(Subscriber {
            key,
            settings,
            last_event_id: negotiation::last_event_id(&head.headers, query),
            subscription: SubscriptionRequest::new(uri, outgoing.headers.clone()),
            is_declared: negotiation::accepts_event_stream(&head.headers)
                || self.sse_paths.iter().any(|pattern| pattern.matches(path)),
        })
    }

    async fn join(
        &self,
        subscriber: &Subscriber,
        if_absent: impl Fn() -> IfAbsent,
        peer: &Connection,
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
            if let Some(joined) = self.welcome(joining, subscriber, peer).await? {
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
        peer: &Connection,
    ) -> Result<Option<Joined>, Problem> {
        let settings = &subscriber.settings;
        let rejects = settings.on_upstream_down == OnUpstreamDown::Reject;
        let welcome =
            joining.welcome(&self.registry, &subscriber.subscription, settings.hold_head, rejects).await;
        Ok(Some(match welcome {
            Welcome::Open { reader, head, is_opener } => {
                Joined::Response(stream(&head, is_opener, reader, peer))
            }
            Welcome::Held(reader) => Joined::Response(stream(&Head::held(), false, reader, peer)),
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
        head: &request::Parts,
        body: Incoming,
        outgoing: Outgoing,
        subscriber: &Subscriber,
        peer: &Connection,
    ) -> Result<Response<Body>, Problem> {
        let heartbeat = subscriber.settings.heartbeat;
        let response = self.exchange(head, body, outgoing).await?;
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
        match self.welcome(joining, subscriber, peer).await? {
            Some(Joined::Response(response)) => Ok(response),
            // Another one's session came first, and it is for others: the client comes again.
            Some(Joined::Forward) | None => Err(Problem::SessionEnded),
        }
    }

    /// Sends the request on, and tells all who wait for the upstream what became of it.
    async fn exchange(
        &self,
        head: &request::Parts,
        body: Incoming,
        outgoing: Outgoing,
    ) -> Result<Response<Incoming>, Problem> {
        let mut request = Request::new(RequestBody::from(body));
        *request.method_mut() = head.method.clone();
        *request.uri_mut() = outgoing.uri;
        *request.headers_mut() = outgoing.headers;
        match self.upstream.send(request).await {
            Ok(response) => {
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
                Err(error.problem())
            }
        }
    }

    async fn upgrade(
        &self,
        head: &request::Parts,
        body: Incoming,
        mut outgoing: Outgoing,
        client: OnUpgrade,
        protocol: &http::HeaderValue,
    ) -> Result<Response<Body>, Problem> {
        let headers = &mut outgoing.headers;
        headers.insert(http::header::UPGRADE, protocol.clone());
        headers.insert(http::header::CONNECTION, http::HeaderValue::from_static("upgrade"));
        let heartbeat = self.routes.settings(outgoing.uri.path()).heartbeat;
        let response = self.exchange(head, body, outgoing).await?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return self.tunnels.open(client, protocol, response);
        }
        Ok(forward::relay(response, heartbeat))
    }
}

fn stream(head: &Head, is_opener: bool, reader: Reader, peer: &Connection) -> Response<Body> {
    let parts = head.for_client(is_opener);
    let delivery = Delivery::new(reader, &peer.watch);
    Response::from_parts(parts, Body::Session(Box::new(delivery)))
}
