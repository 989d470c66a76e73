//! The task of one session: names what happened, lets the machine decide, obeys.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;
use serde_json::json;
use tokio::sync::{mpsc, oneshot, watch};

use super::advice::Advice;
use super::head::Head;
use super::registry::Inner;
use super::shared::{Order, Phase, Session, SessionState, Variant};
use crate::message::session_key::VaryRule;
use crate::message::{hop_by_hop, negotiation};
use crate::metrics::{Attempt, Entered};
use crate::proto::breaker::Admission;
use crate::proto::encoder;
use crate::proto::event_id::Epoch;
use crate::proto::log::{EndReason, GapReason, Position};
use crate::proto::random::Random;
use crate::proto::recorder::{Recorder, RecorderSettings};
use crate::proto::session::{Answer, Effect, Input, Report, SessionMachine, SessionSettings};
use crate::telemetry::{OpenSpan, Purpose};
use crate::upstream::subscription::SubscriptionRequest;
use crate::upstream::{Fault, UpstreamError};

/// How the session's first stream comes about.
pub(super) enum First {
    /// The upstream must be asked.
    Ask,
    /// It was asked, and gave this answer.
    Adopted(Box<Response<Incoming>>),
}

/// The upstream side: at most one attempt or stream at any time (spec 4.4).
enum Wire {
    Idle,
    Attempt(Pin<Box<dyn Future<Output = Result<Response<Incoming>, UpstreamError>> + Send>>),
    /// Answered, but not yet judged.
    Answer(Box<Response<Incoming>>),
    Stream {
        body: Incoming,
        _open: Entered,
    },
}

enum Heard {
    Answered(Result<Response<Incoming>, UpstreamError>),
    Chunk(Bytes),
    Ended,
    Broken(hyper::Error),
}

/// One session's task.
pub(super) struct SessionTask {
    session: Arc<Session>,
    registry: Arc<Inner>,
    machine: SessionMachine,
    recorder: Recorder,
    subscription: SubscriptionRequest,
    wire: Wire,
    first: Option<First>,
    opener: Option<oneshot::Sender<Response<Incoming>>>,
    orders: mpsc::Receiver<Order>,
    news: watch::Receiver<u64>,
    random: Random,
    connections: u64,
    greeted: u64,
    /// What lies before it is gone; who needed it was dismissed.
    floor: Position,
    advised: bool,
    /// Requests of connected clients still to be tried, once the upstream has refused the present one.
    spare: Option<Vec<Arc<SubscriptionRequest>>>,
    inputs: VecDeque<Input>,
    /// Requests for its stream, whoever made them.
    attempts: u64,
    /// Of the attempt that is on its way.
    span: Option<OpenSpan>,
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl SessionTask {
    pub(super) fn new(
        session: Arc<Session>,
        registry: Arc<Inner>,
        subscription: SubscriptionRequest,
        first: First,
        opener: oneshot::Sender<Response<Incoming>>,
        orders: mpsc::Receiver<Order>,
        mut random: Random,
    ) -> Self {
        let settings = &session.settings;
        let machine_settings = SessionSettings {
            backoff: settings.backoff,
            give_up: settings.give_up,
            linger: settings.linger,
            heartbeat: settings.heartbeat,
            upstream_idle_timeout: settings.upstream_idle_timeout,
            on_end_close: settings.on_end_close,
        };
        let recorder_settings = RecorderSettings {
            event_bytes_max: settings.event_bytes_max,
            ephemeral: settings.ephemeral.clone(),
            ephemeral_without_id: settings.ephemeral_without_id,
            drop_comments: settings.drop_comments,
            hides_retry: settings.client_retry.is_some(),
            end_events: settings.end_events.clone(),
            opening_pause: settings.opening_pause,
        };
        let recorder = {
            let log = session.log.read();
            let mut recorder = Recorder::new(recorder_settings, log.upstream_id().map(|id| &id[..]));
            recorder.recall(&log);
            recorder
        };
        Self {
            machine: SessionMachine::new(machine_settings, Random::new(random.draw()), now()),
            recorder,
            news: registry.health.news(),
            session,
            registry,
            subscription,
            wire: Wire::Idle,
            first: Some(first),
            opener: Some(opener),
            orders,
            random,
            connections: 0,
            greeted: 0,
            floor: 0,
            advised: false,
            spare: None,
            inputs: VecDeque::new(),
            attempts: 0,
            span: None,
        }
    }

    /// Lives until the session has ended.
    pub(super) async fn run(mut self) {
        tracing::info!(session = self.session.name(), "session created");
        match self.first.take() {
            Some(First::Adopted(response)) => {
                self.attempts += 1;
                self.answered(Ok(*response));
            }
            Some(First::Ask) | None => self.connect(),
        }
        self.settle().await;
        while !self.machine.has_ended() {
            self.wait().await;
            self.settle().await;
        }
    }

    /// Waits for one thing to happen, and names it.
    async fn wait(&mut self) {
        let deadline = self.machine.next_deadline();
        let is_waiting = self.machine.is_waiting();
        tokio::select! {
            // In this order, so that a stream without pause starves nothing, and a simulated run is the
            // same each time.
            biased;
            () = self.session.clients_changed.notified() => {
                let count = self.count_clients();
                self.inputs.push_back(Input::Clients(count));
            }
            order = self.orders.recv() => self.inputs.push_back(match order {
                Some(Order::End(reason)) => Input::Close(reason),
                Some(Order::RetryNow) => Input::RetryNow,
                // The sender lives in the session, which this task holds.
                None => Input::Close(EndReason::Closed),
            }),
            Ok(()) = self.news.changed(), if is_waiting => self.inputs.push_back(Input::GoodNews),
            () = sleep_until(deadline) => self.inputs.push_back(Input::Tick),
            heard = hear(&mut self.wire) => match heard {
                Heard::Answered(answer) => self.answered(answer),
                Heard::Chunk(chunk) => self.record(&chunk).await,
                Heard::Ended => self.stream_ended(true),
                Heard::Broken(error) => {
                    tracing::info!(session = self.session.name(), %error, "the upstream broke off");
                    self.session.attempts.broke("The upstream broke off its stream.".to_owned());
                    self.stream_ended(false);
                }
            },
        }
    }

    /// Lets the machine take all that happened, and does what it says.
    async fn settle(&mut self) {
        while let Some(input) = self.inputs.pop_front() {
            for effect in self.machine.handle(input, now()) {
                self.perform(effect).await;
            }
        }
    }

    async fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Connect => self.connect(),
            Effect::Disconnect => {
                self.abandon_attempt();
                self.wire = Wire::Idle;
            }
            Effect::Open => self.open().await,
            Effect::HandOver => {
                if let Wire::Answer(response) = std::mem::replace(&mut self.wire, Wire::Idle)
                    && let Some(opener) = self.opener.take()
                {
                    // Whoever asked may be gone: then nobody wants the answer.
                    let _ = opener.send(*response);
                }
            }
            Effect::EndIfAlone => {
                let input = if self.registry.remove_if_alone(&self.session) {
                    Input::Close(EndReason::Lingered)
                } else {
                    Input::Clients(self.count_clients())
                };
                self.inputs.push_back(input);
            }
            Effect::End(reason) => {
                // Its name goes first: a client that comes now finds a fresh session, or none.
                self.registry.remove(&self.session);
                if let Some(name) = &self.session.settings.status_event {
                    let data = json!({"state": "gone", "reason": reason.as_str()}).to_string();
                    self.session.log.write().append_passing_event(name.as_bytes(), data.as_bytes());
                }
                self.close(reason);
            }
            Effect::Heartbeat => {
                self.session.log.write().append_passing(encoder::comment(b""));
                self.published(false).await;
            }
            Effect::Report(report) => self.report(report).await,
        }
    }

    fn connect(&mut self) {
        match self.registry.health.admit(now()) {
            Admission::Admitted => {
                self.prefer_connected();
                self.attempt();
            }
            Admission::Refused { until } => self.inputs.push_back(Input::NotAdmitted { until }),
        }
    }

    fn attempt(&mut self) {
        let last = self.session.log.read().upstream_id().cloned();
        self.attempts += 1;
        let purpose = Purpose::Subscribe { attempt: self.attempts };
        let (request, span) = self.registry.tracer.attempt(self.subscription.clone(), purpose);
        self.span = span;
        let attempt = request.send(self.registry.upstream.clone(), last);
        self.wire = Wire::Attempt(Box::pin(attempt));
    }

    /// Subscribes by a client that is still here, where there are several to choose from: whoever left may
    /// have left because its credential is no longer good (spec 4.3).
    fn prefer_connected(&mut self) {
        let connected = self.session.vouchers.connected();
        if let Some(newest) = connected.last()
            && !connected.iter().any(|request| **request == self.subscription)
        {
            self.subscription = SubscriptionRequest::clone(newest);
        }
    }

    /// Asks again with the credentials of another connected client (spec 8.7); `false`: there is none left.
    fn try_another_credential(&mut self) -> bool {
        let spare = self.spare.get_or_insert_with(|| self.session.vouchers.connected());
        let refused = &self.subscription;
        while let Some(next) = spare.pop() {
            if *next == *refused || Arc::strong_count(&next) == 1 {
                continue;
            }
            tracing::info!(
                session = self.session.name(),
                "the upstream refused the credentials: another client's are tried"
            );
            self.subscription = SubscriptionRequest::clone(&next);
            self.attempt();
            return true;
        }
        false
    }

    fn answered(&mut self, answer: Result<Response<Incoming>, UpstreamError>) {
        if let Some(span) = self.span.take() {
            span.attempted(&answer);
        }
        match answer {
            Ok(response) => {
                let is_readable = negotiation::is_identity(response.headers());
                let is_stream = negotiation::is_event_stream(response.headers());
                if is_stream && !is_readable {
                    tracing::warn!(
                        session = self.session.name(),
                        "the upstream encodes its event stream although identity was asked for: it can't be shared"
                    );
                }
                let answer = Answer {
                    status: response.status().as_u16(),
                    is_event_stream: response.status() == StatusCode::OK && is_stream && is_readable,
                    retry_after: negotiation::retry_after(response.headers(), SystemTime::now()),
                };
                if answer.is_upstream_down() {
                    self.registry.health.failed(now());
                } else {
                    self.registry.health.succeeded();
                    self.news.mark_unchanged();
                }
                self.registry.metrics.upstream_attempts.add(outcome(&answer), 1);
                if answer.is_event_stream {
                    self.session.attempts.succeeded();
                } else {
                    self.session.attempts.failed(format!("The upstream answered {}.", answer.status));
                }
                tracing::debug!(
                    session = self.session.name(),
                    status = answer.status,
                    "the upstream answered"
                );
                let is_refused =
                    matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
                if is_refused && self.try_another_credential() {
                    return;
                }
                self.spare = None;
                self.wire = Wire::Answer(Box::new(response));
                self.inputs.push_back(Input::Answered(answer));
            }
            Err(error) => {
                tracing::info!(session = self.session.name(), %error, "the upstream gave no answer");
                self.registry.metrics.upstream_attempts.add(failure(error.fault()), 1);
                self.session.attempts.failed(error.to_string());
                if error.is_upstream_down() {
                    self.registry.health.failed(now());
                } else {
                    self.registry.health.abandoned(now());
                }
                self.wire = Wire::Idle;
                self.inputs.push_back(Input::Failed);
            }
        }
    }

    fn abandon_attempt(&mut self) {
        self.span = None;
        if let Wire::Attempt(_) = self.wire {
            self.registry.metrics.upstream_attempts.add(Attempt::Abandoned, 1);
            self.registry.health.abandoned(now());
        }
    }

    /// The answer is the session's stream.
    async fn open(&mut self) {
        let Wire::Answer(response) = std::mem::replace(&mut self.wire, Wire::Idle) else { return };
        let (mut parts, body) = response.into_parts();
        self.wire = Wire::Stream { body, _open: self.registry.metrics.upstream_subscriptions.enter() };
        self.connections += 1;
        let is_first = self.connections == 1;
        let epoch = self.next_epoch();
        let was_interrupted = {
            let mut log = self.session.log.write();
            let is_a_beginning = is_first && !log.is_restored();
            self.recorder.begin(is_a_beginning, epoch, now(), &mut log)
        };
        if was_interrupted {
            self.registry.metrics.gaps.add(GapReason::UpstreamInterrupted, 1);
        }
        if is_first {
            if let Err(error) = hop_by_hop::strip(&mut parts.headers) {
                tracing::warn!(session = self.session.name(), %error, "odd Connection header of the upstream");
            }
            let rule = VaryRule::of_response(&parts.headers, self.registry.key_rules());
            if rule != VaryRule::None
                && let Some(keeper) = self.registry.keeper()
            {
                // The store knows sessions by their key alone.
                keeper.forget(&self.session);
            }
            let fingerprint = rule.fingerprint(self.registry.hasher(), self.subscription.headers());
            // Set before the head is seen: who sees the head must see for whom it is.
            let _ = self.session.variant.set(Variant { rule, fingerprint });
            let head = Head::new(parts.status, parts.headers);
            self.session.phase.set(Phase::Open(Arc::new(head)));
        }
        if was_interrupted {
            self.published(true).await;
        }
    }

    async fn record(&mut self, chunk: &[u8]) {
        let epoch = self.next_epoch();
        let retry_before = self.recorder.retry();
        let recorded = self.recorder.record(chunk, epoch, now(), &mut self.session.log.write());
        if let Some(retry) = self.recorder.retry().filter(|_| self.recorder.retry() != retry_before) {
            if self.session.settings.client_retry.is_none() {
                self.session.set_retry(retry);
            }
            self.inputs.push_back(Input::Retry(retry));
        }
        if recorded.skipped > 0 {
            tracing::warn!(
                session = self.session.name(),
                events = recorded.skipped,
                bytes = recorded.skipped_bytes,
                limit = self.session.settings.event_bytes_max,
                "skipped events larger than --max-event-size"
            );
        }
        if recorded.was_reset {
            tracing::warn!(session = self.session.name(), "the upstream began its ids anew: a gap");
        }
        if recorded.repeated > 0 {
            tracing::debug!(
                session = self.session.name(),
                events = recorded.repeated,
                "dropped repeated events"
            );
        }
        let metrics = &self.registry.metrics;
        metrics.events_received.add(recorded.events);
        if recorded.passing + recorded.repeated + recorded.skipped > 0 || recorded.was_reset {
            metrics.events_passing.add(recorded.passing);
            metrics.events_repeated.add(recorded.repeated);
            metrics.events_skipped.add(recorded.skipped);
            metrics.gaps.add(GapReason::EventTooLarge, recorded.skipped);
            metrics.gaps.add(GapReason::UpstreamReset, u64::from(recorded.was_reset));
        }
        let has_event = recorded.events + recorded.passing + recorded.repeated > 0;
        self.inputs.push_back(Input::Received { has_event });
        if recorded.has_news {
            self.published(true).await;
        }
    }

    fn stream_ended(&mut self, is_clean: bool) {
        self.wire = Wire::Idle;
        self.greeted += u64::from(self.recorder.was_greeted());
        let is_live_join = self.session.settings.late_join == crate::proto::log::LateJoin::Live;
        if is_live_join && self.greeted >= 2 && self.greeted == self.connections && !self.advised {
            self.advised = true;
            self.registry.advices.give(Advice::Greeting { session: self.session.name().to_owned() });
        }
        let is_announced = self.recorder.has_ended();
        self.inputs.push_back(Input::StreamEnded { is_clean, is_announced });
    }

    /// Something was appended: the log is kept within its bounds, and those who wait are woken.
    async fn published(&mut self, is_from_upstream: bool) {
        let session = &self.session;
        let wants_trim = session.log.read().wants_trim();
        if wants_trim {
            // Under the lock, so that nobody can join at a place that is being trimmed.
            let mut log = session.log.write();
            let needed = session.audience.needed().unwrap_or_else(|| log.head());
            log.trim(needed);
        }
        if is_from_upstream {
            self.registry.settle(session, now());
            if let Some(keeper) = self.registry.keeper() {
                keeper.mark(session);
            }
        }
        let floor = session.log.read().gone_before();
        if floor > self.floor {
            self.floor = floor;
            session.audience.dismiss_behind(floor);
        }
        session.audience.wake().await;
        // Not for a client, whose socket may be full: for our own loops, which always go on. An upstream that is faster
        // than they are must not make healthy clients fall behind.
        let pace = session.settings.client_lag_max as u64 / 2;
        while session
            .audience
            .needed_by_packs()
            .is_some_and(|needed| session.log.read().behind(needed).1 > pace)
        {
            session.audience.pack_moves().await;
        }
        self.inputs.push_back(Input::Sent);
    }

    async fn report(&mut self, report: Report) {
        let session = &self.session;
        let (state, data) = match report {
            Report::Connecting => (SessionState::Connecting, json!({"state": "connecting"})),
            Report::Live => {
                tracing::info!(session = session.name(), "subscription live");
                (SessionState::Live, json!({"state": "live"}))
            }
            Report::Waiting { wait, failures } => {
                // News from before this wait are none.
                self.news.mark_unchanged();
                tracing::warn!(session = session.name(), ?wait, failures, "subscription retry scheduled");
                let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                let data = json!({"state": "waiting", "retry_in_ms": millis, "failures": failures});
                (SessionState::Waiting { wait, failures }, data)
            }
        };
        session.state.set(state);
        if let Report::Waiting { wait, .. } = report {
            session.phase.set_if(|phase| match phase {
                Phase::Opening | Phase::Away { .. } => {
                    *phase = Phase::Away { wait };
                    true
                }
                Phase::Open(_) | Phase::Ended(_) => false,
            });
        }
        if let Some(name) = &session.settings.status_event {
            let data = data.to_string();
            session.log.write().append_passing_event(name.as_bytes(), data.as_bytes());
            self.published(false).await;
        }
    }

    fn count_clients(&self) -> usize {
        let count = self.session.clients();
        if count == 0 {
            self.session.alone_since.store(self.registry.millis(now()), Ordering::Relaxed);
        }
        count
    }

    fn next_epoch(&mut self) -> Epoch {
        Epoch::from_random(self.random.draw())
    }

    fn close(&self, reason: EndReason) {
        let session = &self.session;
        let reason = {
            let mut log = session.log.write();
            log.end(reason);
            // The first reason counts.
            log.ended().unwrap_or(reason)
        };
        if let Some(keeper) = self.registry.keeper()
            && reason != EndReason::Draining
        {
            keeper.forget(session);
        }
        session.state.set(SessionState::Gone);
        session.phase.set_if(|phase| match phase {
            Phase::Ended(_) => false,
            Phase::Opening | Phase::Away { .. } | Phase::Open(_) => {
                *phase = Phase::Ended(reason);
                true
            }
        });
        session.audience.wake_now();
    }
}

impl Drop for SessionTask {
    /// However the task ends, even by a panic, nobody is left waiting for it.
    fn drop(&mut self) {
        self.abandon_attempt();
        self.registry.remove(&self.session);
        self.close(EndReason::Closed);
        self.registry.release(&self.session);
        // `close` said why, unless an earlier reason stayed.
        let reason = self.session.log.read().ended().unwrap_or(EndReason::Closed);
        self.registry.metrics.sessions_ended.add(reason, 1);
        tracing::info!(session = self.session.name(), reason = reason.as_str(), "session ended");
    }
}

fn outcome(answer: &Answer) -> Attempt {
    if answer.is_event_stream {
        Attempt::Stream
    } else if answer.is_upstream_down() {
        Attempt::Unavailable
    } else {
        Attempt::OtherAnswer
    }
}

fn failure(fault: Fault) -> Attempt {
    match fault {
        Fault::Dns | Fault::Refused | Fault::Unreachable | Fault::ConnectTimeout => Attempt::Unreachable,
        Fault::TlsCertificate | Fault::TlsProtocol => Attempt::Tls,
        Fault::Reset | Fault::Closed => Attempt::Broken,
        Fault::ResponseTimeout => Attempt::TimedOut,
        Fault::Protocol | Fault::HeadTooLarge => Attempt::Protocol,
        // Its request has no body that could fail, and its head was a client's: it was not sent.
        Fault::ClientGone | Fault::ClientStalled | Fault::BadRequest | Fault::NoCredential => {
            Attempt::Abandoned
        }
    }
}

async fn hear(wire: &mut Wire) -> Heard {
    match wire {
        Wire::Idle | Wire::Answer(_) => std::future::pending().await,
        Wire::Attempt(attempt) => Heard::Answered(attempt.await),
        Wire::Stream { body, .. } => loop {
            match poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
                Some(Ok(frame)) => {
                    // Trailers mean nothing to an event stream.
                    if let Ok(chunk) = frame.into_data() {
                        return Heard::Chunk(chunk);
                    }
                }
                Some(Err(error)) => return Heard::Broken(error),
                None => return Heard::Ended,
            }
        },
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
