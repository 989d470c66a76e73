//! Joining a session that is shared across credentials, after the upstream has let the client in (`share=authorized`,
//! spec 4.3): the client's own request is sent to it first, and its answer decides.

use std::sync::Arc;
use std::time::Duration;

use http::header::SET_COOKIE;
use http::{HeaderValue, Response, StatusCode};
use hyper::body::Incoming;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::body::Body;
use super::connection::Connection;
use super::forward;
use super::gateway::{Shared, Subscriber, is_shareable, problem, stream};
use super::held::Held;
use crate::config::OnUpstreamDown;
use crate::message::negotiation;
use crate::message::problem::Problem;
use crate::proto::backoff::Backoff;
use crate::proto::breaker::Admission;
use crate::session::{ClientPermit, Head, Reader, Welcome};
use crate::telemetry::Purpose;
use crate::upstream::health::Health;

/// Clients that were held and are asked for at once when the upstream is back.
pub(super) const CHECKS_MAX: usize = 64;

/// What became of asking the upstream.
enum Outcome {
    /// It said yes, and the client has its place.
    In(Box<Place>),
    /// It said something else, or something that can't be shared.
    Answer(Response<Incoming>),
    /// It can't be asked, or there is no place.
    Problem(Problem),
}

struct Place {
    reader: Reader,
    head: Arc<Head>,
    is_opener: bool,
    /// What its own request has fetched.
    cookies: Vec<HeaderValue>,
}

/// Asks the upstream, and joins. While it is away the client is held, and gets no event before it has said yes.
///
/// # Errors
/// The [`Problem`] to answer.
pub(super) async fn join(
    shared: Arc<Shared>,
    subscriber: Subscriber,
    client: &Connection,
) -> Result<Response<Body>, Problem> {
    let permit = shared.registry.permit(subscriber.ip).map_err(problem)?;
    let settings = Arc::clone(&subscriber.settings);
    let mut asking = Box::pin(ask(shared, subscriber, permit));
    match timeout(settings.hold_head, &mut asking).await {
        Ok(Outcome::In(place)) => {
            let Place { reader, head, is_opener, cookies } = *place;
            let mut response = stream(&head, is_opener, reader, client);
            if !is_opener {
                for cookie in cookies {
                    response.headers_mut().append(SET_COOKIE, cookie);
                }
            }
            Ok(response)
        }
        Ok(Outcome::Answer(answer)) => Ok(forward::relay(answer, settings.heartbeat)),
        Ok(Outcome::Problem(problem)) => Err(problem),
        Err(_elapsed) => {
            let admission = Box::pin(async move {
                match asking.await {
                    Outcome::In(place) => Some(place.reader),
                    // Its own reconnect gets the answer.
                    Outcome::Answer(_) | Outcome::Problem(_) => None,
                }
            });
            let held = Held::new(admission, settings.heartbeat, client.watch.clone());
            Ok(Response::from_parts(Head::held().for_client(false), Body::Held(Box::new(held))))
        }
    }
}

/// Asks until there is an answer, or the upstream is given up. `permit` is the client's as long as it has no other.
async fn ask(shared: Arc<Shared>, subscriber: Subscriber, permit: ClientPermit) -> Outcome {
    let parts = &shared.parts;
    let settings = &subscriber.settings;
    let rejects = settings.on_upstream_down == OnUpstreamDown::Reject;
    let mut backoff = Backoff::new(settings.backoff);
    let mut news = parts.health.news();
    let give_up = Instant::now() + settings.give_up;
    // Not for the first attempt, which costs the upstream no more than a request that is passed through.
    let mut turn = None;
    loop {
        news.mark_unchanged();
        let wait = match parts.health.admit(now()) {
            Admission::Refused { until } => until.saturating_duration_since(now()),
            Admission::Admitted => {
                let attempt = Attempt::new(&parts.health);
                let request = subscriber.own.as_ref().clone();
                let last = subscriber.upstream_id().cloned();
                let tracer = parts.tracer.clone();
                let answer = tracer.ask(request, Purpose::Admit, parts.upstream.clone(), last).await;
                match answer {
                    Ok(answer) if !is_down(answer.status()) => {
                        attempt.succeeded();
                        drop((permit, turn));
                        return judge(&shared, &subscriber, answer).await;
                    }
                    Ok(answer) if rejects => {
                        attempt.failed();
                        return Outcome::Answer(answer);
                    }
                    Ok(answer) => {
                        attempt.failed();
                        let after = negotiation::retry_after(answer.headers(), std::time::SystemTime::now());
                        backoff.fail(shared.registry.random(), after.unwrap_or_default())
                    }
                    Err(error) => {
                        tracing::info!(%error, "the upstream could not be asked whether a client may join");
                        if error.is_upstream_down() {
                            attempt.failed();
                        }
                        if rejects {
                            return Outcome::Problem(error.problem());
                        }
                        backoff.fail(shared.registry.random(), Duration::ZERO)
                    }
                }
            }
        };
        if rejects || Instant::now() + wait > give_up {
            return Outcome::Problem(Problem::UpstreamDown { retry_after: wait });
        }
        drop(turn.take());
        wait_for(wait, &mut news).await;
        // Only an error when it was closed, and nobody does that.
        turn = shared.checks.acquire().await.ok();
    }
}

async fn wait_for(wait: Duration, news: &mut watch::Receiver<u64>) {
    tokio::select! {
        () = sleep(wait) => {}
        // The sender lives in the health, which lives as long as the gateway.
        _ = news.changed() => {}
    }
}

/// The upstream has answered the client's own request.
async fn judge(shared: &Shared, subscriber: &Subscriber, answer: Response<Incoming>) -> Outcome {
    if !is_shareable(&answer) {
        return Outcome::Answer(answer);
    }
    let registry = &shared.registry;
    let cookies = answer.headers().get_all(SET_COOKIE).iter().cloned().collect();
    let joining = match registry.join(&subscriber.join_request(), subscriber.adopt(answer)) {
        Ok(joining) => joining,
        Err(refusal) => return Outcome::Problem(problem(refusal)),
    };
    let settings = &subscriber.settings;
    let rejects = settings.on_upstream_down == OnUpstreamDown::Reject;
    match joining.welcome(registry, &subscriber.own, settings.give_up, rejects).await {
        Welcome::Open { reader, head, is_opener } => {
            let is_opener = is_opener && subscriber.fetches_itself();
            Outcome::In(Box::new(Place { reader, head, is_opener, cookies }))
        }
        Welcome::Held(reader) => {
            Outcome::In(Box::new(Place { reader, head: Arc::new(Head::held()), is_opener: false, cookies }))
        }
        Welcome::Away { wait } => Outcome::Problem(Problem::UpstreamDown { retry_after: wait }),
        // What ssecar's own credential has fetched is not the client's to see.
        Welcome::NotShared(_) | Welcome::OtherVariant | Welcome::Ended(_) => {
            Outcome::Problem(Problem::SessionEnded)
        }
    }
}

fn is_down(status: StatusCode) -> bool {
    matches!(status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT)
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// An admitted attempt, whose outcome is reported even if the client leaves before it is known.
struct Attempt<'a> {
    health: Option<&'a Health>,
}

impl<'a> Attempt<'a> {
    fn new(health: &'a Health) -> Self {
        Self { health: Some(health) }
    }

    fn succeeded(mut self) {
        if let Some(health) = self.health.take() {
            health.succeeded();
        }
    }

    fn failed(mut self) {
        if let Some(health) = self.health.take() {
            health.failed(now());
        }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if let Some(health) = self.health {
            health.abandoned(now());
        }
    }
}
