//! A greeting fetched for one late client alone (spec 4.8, `late-join=fresh`): a short upstream
//! request of its own, read until its first pause. The client's place in the shared log was taken
//! before it is asked for, so nothing is missed between; a change that the greeting already holds
//! may come again.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Response, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::shared::Session;
use crate::message::negotiation;
use crate::metrics::Metrics;
use crate::proto::decoder::{Decoder, Frame};
use crate::proto::encoder;
use crate::proto::event_id::EventIds;
use crate::proto::log::{Gap, GapReason, ReplayLimits};
use crate::upstream::UpstreamError;

/// The longest that a client waits for its greeting before it reads what is shared.
const GREETING_TIMEOUT: Duration = Duration::from_secs(10);

/// The greeting of one client.
pub(super) struct Greeting {
    state: State,
    deadline: Pin<Box<Sleep>>,
    pause: Duration,
    limits: ReplayLimits,
    event_bytes_max: usize,
    event_ids: EventIds,
    gap_event: Option<String>,
    metrics: Arc<Metrics>,
}

enum State {
    Asking(Pin<Box<dyn Future<Output = Result<Response<Incoming>, UpstreamError>> + Send>>),
    Reading { body: Incoming, decoder: Decoder },
    Done,
}

impl fmt::Debug for Greeting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Greeting").finish_non_exhaustive()
    }
}

impl Greeting {
    /// `asking` is for this client alone.
    #[must_use]
    pub(super) fn new(
        asking: impl Future<Output = Result<Response<Incoming>, UpstreamError>> + Send + 'static,
        session: &Session,
    ) -> Self {
        let settings = &session.settings;
        Self {
            state: State::Asking(Box::pin(asking)),
            deadline: Box::pin(tokio::time::sleep(GREETING_TIMEOUT)),
            pause: settings.opening_pause,
            limits: settings.replay,
            event_bytes_max: settings.event_bytes_max,
            event_ids: settings.event_ids,
            gap_event: settings.gap_event.clone(),
            metrics: Arc::clone(&session.metrics),
        }
    }

    /// The next part of the greeting; `None` when it is over. A greeting that can't be had is told
    /// as a gap.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            let is_late = self.deadline.as_mut().poll(cx).is_ready();
            match &mut self.state {
                State::Done => return Poll::Ready(None),
                State::Asking(_) if is_late => return Poll::Ready(self.failed("no answer in time")),
                State::Asking(asking) => match ready!(asking.as_mut().poll(cx)) {
                    Ok(response) if is_greeting(&response) => {
                        let decoder = Decoder::new(self.event_bytes_max);
                        self.state = State::Reading { body: response.into_body(), decoder };
                        self.expect_more();
                    }
                    Ok(_) => return Poll::Ready(self.failed("the answer is no event stream")),
                    Err(error) => return Poll::Ready(self.failed(&error.to_string())),
                },
                // The first pause ends it.
                State::Reading { .. } if is_late => self.state = State::Done,
                State::Reading { body, .. } => match ready!(Pin::new(body).poll_frame(cx)) {
                    Some(Ok(frame)) => {
                        self.expect_more();
                        if let Some(bytes) = frame.into_data().ok().and_then(|chunk| self.take(&chunk)) {
                            return Poll::Ready(Some(bytes));
                        }
                    }
                    Some(Err(_)) | None => self.state = State::Done,
                },
            }
        }
    }

    fn expect_more(&mut self) {
        self.deadline.as_mut().reset(Instant::now() + self.pause);
    }

    fn take(&mut self, chunk: &[u8]) -> Option<Bytes> {
        let State::Reading { decoder, .. } = &mut self.state else { return None };
        let mut input = chunk;
        let mut text = BytesMut::new();
        let mut is_full = false;
        while let Some(frame) = decoder.next_frame(&mut input) {
            let Frame::Event(event) = frame else { continue };
            // Only the upstream's own ids name places that are the same for all.
            let id = event.id.filter(|_| self.event_ids == EventIds::Upstream);
            let payload = encoder::event(id, event.event_type, event.data).payload();
            self.limits.events = self.limits.events.saturating_sub(1);
            self.limits.bytes = self.limits.bytes.saturating_sub(payload.len());
            text.extend_from_slice(&payload);
            if self.limits.events == 0 || self.limits.bytes == 0 {
                is_full = true;
                break;
            }
        }
        if is_full {
            self.state = State::Done;
        }
        (!text.is_empty()).then(|| text.freeze())
    }

    fn failed(&mut self, why: &str) -> Option<Bytes> {
        self.state = State::Done;
        tracing::info!(why, "a late client's greeting could not be fetched");
        self.metrics.gaps.add(GapReason::GreetingFailed, 1);
        let gap = Gap { reason: GapReason::GreetingFailed, requested: None, oldest: None, missed: None };
        self.gap_event.as_ref().map(|name| gap.encode(name).payload())
    }
}

fn is_greeting(response: &Response<Incoming>) -> bool {
    response.status() == StatusCode::OK
        && negotiation::is_event_stream(response.headers())
        && negotiation::is_identity(response.headers())
}
