//! A client whose place is not in the log fetches what it misses from the upstream, alone, until it
//! meets the shared log (spec 6.7).
//!
//! It waits until the session's own subscription is live, so that a returning upstream is not asked
//! before it is there, and for one of the few permits; meanwhile its place may come into the log.
//! A private stream that breaks off is asked for again from where it was; only a client that was
//! given nothing yet is told of a gap.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};

use super::audience::Seat;
use super::shared::{Session, SessionState};
use crate::message::negotiation;
use crate::proto::catch_up::{CatchUp, CatchUpSettings, Progress};
use crate::proto::encoder;
use crate::proto::event_id::LastEventId;
use crate::proto::log::{Joined, Missing};
use crate::telemetry::{Purpose, Tracer};
use crate::upstream::subscription::SubscriptionRequest;
use crate::upstream::{UpstreamClient, UpstreamError};

/// The longest wait for a permit; then the client is told of a gap.
const PERMIT_TIMEOUT: Duration = Duration::from_secs(10);

/// Failures in a row, without an event between, after which it is tried no more.
const FAILURES_MAX: u32 = 3;

/// What comes next for the client.
#[derive(Debug)]
pub(super) enum Step {
    /// Text for it alone.
    Text(Bytes),
    /// After this text it reads the shared log. Its seat was moved there already.
    Join(Bytes, Joined),
    /// Its private stream came to its end, or can't be had any more: it ends, and loses nothing,
    /// since it can come back with the id that it was given last.
    End,
}

/// How the upstream is asked, by one of few at once.
#[derive(Clone)]
pub(super) struct Asker {
    pub(super) permits: Arc<Semaphore>,
    pub(super) upstream: UpstreamClient,
    pub(super) tracer: Tracer,
}

/// One client's way back to the shared log.
pub(super) struct CatchingUp {
    stream: CatchUp,
    stage: Stage,
    asker: Asker,
    request: SubscriptionRequest,
    requested: LastEventId,
    missing: Missing,
    failures: u32,
    /// When the beginning of the stream is held back no longer.
    release: Option<Pin<Box<Sleep>>>,
    /// When the stream counts as dead, if it may at all (spec 8.8).
    silence: Option<Pin<Box<Sleep>>>,
    heartbeat: Pin<Box<Sleep>>,
}

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

enum Stage {
    Waiting(BoxFuture<Option<OwnedSemaphorePermit>>),
    Asking(BoxFuture<Result<Response<Incoming>, UpstreamError>>, OwnedSemaphorePermit),
    Reading { body: Incoming, _permit: OwnedSemaphorePermit },
}

impl fmt::Debug for CatchingUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CatchingUp").field("failures", &self.failures).finish_non_exhaustive()
    }
}

impl CatchingUp {
    /// From behind the upstream id in `requested`; `None`: there is none to ask from. `missing` is
    /// what the client is told where catching up fails.
    pub(super) fn new(
        session: &Arc<Session>,
        asker: Asker,
        request: &SubscriptionRequest,
        requested: &LastEventId,
        missing: Missing,
    ) -> Option<Self> {
        let last = requested.upstream().filter(|id| !id.is_empty())?;
        let settings = &session.settings;
        let stream_settings = CatchUpSettings {
            event_bytes_max: settings.event_bytes_max,
            event_ids: settings.event_ids,
            ephemeral: settings.ephemeral.clone(),
            drop_comments: settings.drop_comments,
            hides_retry: settings.client_retry.is_some(),
            gap_event: settings.gap_event.clone(),
            end_events: settings.end_events.clone(),
        };
        Some(Self {
            stream: CatchUp::new(stream_settings, last.clone()),
            stage: Stage::Waiting(Box::pin(turn(
                Arc::clone(session),
                Arc::clone(&asker.permits),
                Duration::ZERO,
            ))),
            asker,
            request: request.clone(),
            requested: requested.clone(),
            missing,
            failures: 0,
            release: None,
            silence: None,
            heartbeat: Box::pin(tokio::time::sleep(settings.heartbeat)),
        })
    }

    /// The next step of the client at this seat.
    pub(super) fn poll_step(
        &mut self,
        session: &Arc<Session>,
        seat: Seat,
        cx: &mut Context<'_>,
    ) -> Poll<Step> {
        match self.poll_stage(session, seat, cx) {
            Poll::Ready(step) => {
                self.heartbeat.as_mut().reset(Instant::now() + session.settings.heartbeat);
                Poll::Ready(step)
            }
            Poll::Pending => {
                ready!(self.heartbeat.as_mut().poll(cx));
                self.heartbeat.as_mut().reset(Instant::now() + session.settings.heartbeat);
                Poll::Ready(Step::Text(encoder::comment(b"").payload()))
            }
        }
    }

    fn poll_stage(&mut self, session: &Arc<Session>, seat: Seat, cx: &mut Context<'_>) -> Poll<Step> {
        loop {
            // The shared log may have overtaken it.
            if let Some(joined) = self.overtaken(session, seat) {
                return Poll::Ready(Step::Join(Bytes::new(), joined));
            }
            let body = match &mut self.stage {
                Stage::Waiting(waiting) => {
                    let Some(permit) = ready!(waiting.as_mut().poll(cx)) else {
                        return Poll::Ready(self.fail(session, seat, "too many clients catch up"));
                    };
                    let request = self.request.clone();
                    let Asker { upstream, tracer, .. } = self.asker.clone();
                    let last = self.stream.last().clone();
                    let asking = tracer.ask(request, Purpose::CatchUp, upstream, Some(last));
                    self.stage = Stage::Asking(Box::pin(asking), permit);
                    continue;
                }
                Stage::Asking(asking, _) => {
                    match ready!(asking.as_mut().poll(cx)) {
                        Ok(response) if is_stream(&response) => self.begin(session, response.into_body()),
                        Ok(response) if !response.status().is_server_error() => {
                            return Poll::Ready(self.fail(session, seat, "the answer is no event stream"));
                        }
                        Ok(_) | Err(_) if self.failures < FAILURES_MAX => self.again(session),
                        Ok(_) => {
                            return Poll::Ready(self.fail(session, seat, "the upstream answers an error"));
                        }
                        Err(error) => return Poll::Ready(self.fail(session, seat, &error.to_string())),
                    }
                    continue;
                }
                Stage::Reading { body, .. } => body,
            };
            let frame = match Pin::new(body).poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    if let Some(release) = &mut self.release
                        && release.as_mut().poll(cx).is_ready()
                    {
                        let text = self.release();
                        if !text.is_empty() {
                            return Poll::Ready(Step::Text(text));
                        }
                    }
                    let Some(silence) = &mut self.silence else { return Poll::Pending };
                    ready!(silence.as_mut().poll(cx));
                    // It is as if it had ended.
                    None
                }
            };
            // What was held back is given out before anything that follows the stream's end.
            if !matches!(frame, Some(Ok(_))) && self.stream.is_holding() {
                let text = self.release();
                if !text.is_empty() {
                    self.again(session);
                    return Poll::Ready(Step::Text(text));
                }
            }
            match frame {
                Some(Ok(frame)) => {
                    self.expect_more(session);
                    let Ok(chunk) = frame.into_data() else { continue };
                    if let Some(step) = self.take(session, seat, &chunk) {
                        return Poll::Ready(step);
                    }
                }
                None if self.stream.has_ended() || session.settings.on_end_close => {
                    return Poll::Ready(Step::End);
                }
                None | Some(Err(_)) if self.failures < FAILURES_MAX => self.again(session),
                None | Some(Err(_)) => {
                    return Poll::Ready(self.fail(session, seat, "the upstream breaks off again and again"));
                }
            }
        }
    }

    /// Its place, if the shared log has come to hold it.
    fn overtaken(&self, session: &Session, seat: Seat) -> Option<Joined> {
        let log = session.log.read();
        let cursor = if self.stream.has_moved() {
            self.stream.overtaken_at(&log)?
        } else {
            log.resume(&self.requested).ok()?
        };
        // Under the log's lock, so that nothing from there on is trimmed before the seat says so.
        session.audience.moved(seat, cursor.next());
        Some(Joined { first: Vec::new(), cursor })
    }

    fn begin(&mut self, session: &Arc<Session>, body: Incoming) {
        self.stream.begin();
        self.expect_more(session);
        let stage = std::mem::replace(&mut self.stage, Stage::Waiting(Box::pin(std::future::pending())));
        self.stage = match stage {
            Stage::Asking(_, permit) => Stage::Reading { body, _permit: permit },
            Stage::Waiting(_) | Stage::Reading { .. } => stage,
        };
        session.metrics.catch_ups.add(1);
        tracing::debug!(session = session.name(), "a client catches up by a request of its own");
    }

    fn expect_more(&mut self, session: &Session) {
        let dead_after = session.settings.upstream_idle_timeout;
        self.silence = dead_after.map(|dead_after| Box::pin(tokio::time::sleep(dead_after)));
    }

    fn release(&mut self) -> Bytes {
        self.release = None;
        self.stream.release()
    }

    /// Waits for its turn anew, after a pause: the upstream may just be going away.
    fn again(&mut self, session: &Arc<Session>) {
        self.failures += 1;
        let pause = session.settings.backoff.initial;
        self.stage =
            Stage::Waiting(Box::pin(turn(Arc::clone(session), Arc::clone(&self.asker.permits), pause)));
    }

    fn take(&mut self, session: &Session, seat: Seat, chunk: &[u8]) -> Option<Step> {
        let log = session.log.read();
        let (text, progress) = self.stream.take(chunk, &log);
        if !self.stream.is_holding() {
            self.release = None;
        } else if self.release.is_none() {
            self.release = Some(Box::pin(tokio::time::sleep(session.settings.opening_pause)));
        }
        match progress {
            Progress::Apart if text.is_empty() => None,
            Progress::Apart => {
                self.failures = 0;
                Some(Step::Text(text))
            }
            Progress::Met(cursor) => {
                session.audience.moved(seat, cursor.next());
                Some(Step::Join(text, Joined { first: Vec::new(), cursor }))
            }
            // Nothing was taken yet: this is the stream's first event.
            Progress::NeverMeets => {
                drop(log);
                Some(self.fail(session, seat, "the upstream gives no ids"))
            }
        }
    }

    fn fail(&self, session: &Session, seat: Seat, why: &str) -> Step {
        tracing::info!(session = session.name(), why, "a client could not catch up");
        if self.stream.has_moved() {
            return Step::End;
        }
        session.metrics.gaps.add(self.missing.reason, 1);
        let log = session.log.read();
        let joined = log.join_after_gap(&self.requested, self.missing);
        session.audience.moved(seat, joined.cursor.next());
        Step::Join(Bytes::new(), joined)
    }
}

/// Waits until the session's own subscription is live and a permit is free; `None`: there was none
/// in time.
async fn turn(
    session: Arc<Session>,
    permits: Arc<Semaphore>,
    pause: Duration,
) -> Option<OwnedSemaphorePermit> {
    tokio::time::sleep(pause).await;
    // A session that is gone ends its clients, this one too.
    session.state.wait_for(|state| *state == SessionState::Live).await;
    tokio::time::timeout(PERMIT_TIMEOUT, permits.acquire_owned()).await.ok()?.ok()
}

fn is_stream(response: &Response<Incoming>) -> bool {
    response.status() == StatusCode::OK
        && negotiation::is_event_stream(response.headers())
        && negotiation::is_identity(response.headers())
}
