//! The life of one session: what happened and `now` in, what to do and the next deadline out
//! (spec 4.6, 7.4, 8).
//!
//! Knows no channel, task, HTTP message or log.

use std::time::{Duration, Instant};

use super::backoff::{Backoff, BackoffLimits};
use super::log::EndReason;
use super::random::Random;

/// The longest wait that an upstream can ask for by `retry` or `Retry-After`. A number beyond it
/// is a mistake more often than a wish, and must not silence a session for days.
pub const ASKED_WAIT_MAX: Duration = Duration::from_secs(3600);

/// How a session lives.
#[derive(Debug, Clone)]
pub struct SessionSettings {
    /// Waits between attempts (spec 8.1).
    pub backoff: BackoffLimits,
    /// How long failing goes on before the session is given up (spec 8.4).
    pub give_up: Duration,
    /// How long it lives on after its last client (spec 4.6).
    pub linger: Duration,
    /// The silence after which a heartbeat is sent (spec 7.4).
    pub heartbeat: Duration,
    /// The silence after which a subscription counts as dead (spec 8.8).
    pub upstream_idle_timeout: Option<Duration>,
    /// Whether any clean end is final (spec 8.1).
    pub on_end_close: bool,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// So many clients are here now.
    Clients(usize),
    /// The upstream answered an attempt.
    Answered(Answer),
    /// An attempt failed without an answer.
    Failed,
    /// The breaker let no attempt pass: ask again then, or on good news.
    NotAdmitted {
        /// The earliest moment.
        until: Instant,
    },
    /// Bytes came from the upstream; `events` of them complete ones.
    Received {
        /// Whether an event was complete.
        has_event: bool,
    },
    /// The stream ended: at its proper end, or broken off.
    StreamEnded {
        /// Whether the end was clean.
        is_clean: bool,
        /// Whether an event before it said that it is final.
        is_announced: bool,
    },
    /// The upstream asks not to be asked again sooner than so (its `retry`).
    Retry(Duration),
    /// Something was sent to all clients.
    Sent,
    /// The upstream answered some other request well (spec 3.5).
    GoodNews,
    /// An operator wants an attempt now.
    RetryNow,
    /// The session ends for a reason that is not its own.
    Close(EndReason),
    /// Time passed.
    Tick,
}

/// The upstream's answer to a subscription attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Whether it is a 200 with an event stream that can be read.
    pub is_event_stream: bool,
    /// Its `Retry-After`.
    pub retry_after: Option<Duration>,
}

impl Answer {
    /// Whether the answer says that the upstream as a whole is not there (spec 8.5).
    #[must_use]
    pub fn is_upstream_down(&self) -> bool {
        matches!(self.status, 502..=504)
    }

    /// Whether asking again would only repeat the answer (spec 8.7).
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self.status {
            408 | 425 | 429 => false,
            204 | 400..=499 => true,
            _ => false,
        }
    }
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Ask the upstream for the stream.
    Connect,
    /// Drop the stream or the attempt.
    Disconnect,
    /// Read the answer's body as the session's stream.
    Open,
    /// The first answer is no event stream: whoever asked gets it as it is (spec 4.1, 4.4).
    HandOver,
    /// Nobody came back in time: end the session, unless somebody did in this moment (spec 4.5).
    EndIfAlone,
    /// The session ends for all its clients.
    End(EndReason),
    /// Send a heartbeat.
    Heartbeat,
    /// The state changed: for the status event, the log and the metrics.
    Report(Report),
}

/// A state as clients and operators see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// An attempt is on its way.
    Connecting,
    /// The stream flows.
    Live,
    /// The next attempt comes after `wait`; `failures` went before.
    Waiting {
        /// Time until the next attempt.
        wait: Duration,
        /// Failures in a row.
        failures: u32,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Connecting,
    Live {
        since: Instant,
        /// It sent an event, or stayed open long enough: the failures before it are forgotten.
        is_proven: bool,
    },
    /// Until the next attempt.
    Waiting {
        until: Instant,
    },
    /// The upstream is away and nobody is here who would want it back.
    Dormant {
        until: Instant,
    },
    Ended,
}

/// One session's life.
#[derive(Debug)]
pub struct SessionMachine {
    settings: SessionSettings,
    random: Random,
    state: State,
    clients: usize,
    alone_since: Option<Instant>,
    failing_since: Option<Instant>,
    backoff: Backoff,
    /// The last wait between attempts: a stream open for as long is a success (spec 8.2).
    last_wait: Duration,
    asked_wait: Duration,
    last_attempt: Instant,
    /// No attempt before this, whatever good news come: the upstream asked for it.
    not_before: Instant,
    last_sent: Instant,
    last_received: Instant,
    was_open: bool,
}

impl SessionMachine {
    /// A session that a client has just asked for: its first attempt is on its way.
    #[must_use]
    pub fn new(settings: SessionSettings, random: Random, now: Instant) -> Self {
        Self {
            backoff: Backoff::new(settings.backoff),
            settings,
            random,
            state: State::Connecting,
            clients: 1,
            alone_since: None,
            failing_since: None,
            last_wait: Duration::ZERO,
            asked_wait: Duration::ZERO,
            last_attempt: now,
            not_before: now,
            last_sent: now,
            last_received: now,
            was_open: false,
        }
    }

    /// Whether the stream flows.
    #[must_use]
    pub fn is_live(&self) -> bool {
        matches!(self.state, State::Live { .. })
    }

    /// Whether good news would lead to an attempt.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        matches!(self.state, State::Waiting { .. })
    }

    /// Whether nothing will happen any more.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// When [`Input::Tick`] is due; `None`: never.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let settings = &self.settings;
        let lingers = self.alone_since.map(|since| since + settings.linger);
        let beats = (self.clients > 0).then(|| self.last_sent + settings.heartbeat);
        let gives_up = self.failing_since.map(|since| since + settings.give_up);
        match self.state {
            State::Ended => None,
            State::Connecting => earliest([lingers, beats, gives_up]),
            State::Waiting { until } => earliest([lingers, beats, gives_up, Some(until)]),
            State::Dormant { .. } => lingers,
            State::Live { since, is_proven } => {
                let proves = (!is_proven).then(|| since + self.last_wait);
                let idles = settings.upstream_idle_timeout.map(|limit| self.last_received + limit);
                earliest([lingers, beats, proves, idles])
            }
        }
    }

    /// Takes what happened and answers what to do, in order.
    pub fn handle(&mut self, input: Input, now: Instant) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.state == State::Ended {
            return effects;
        }
        match input {
            Input::Clients(count) => self.clients_changed(count, now, &mut effects),
            Input::Answered(answer) => self.answered(answer, now, &mut effects),
            Input::Failed => self.fail(Duration::ZERO, now, &mut effects),
            Input::NotAdmitted { until } => self.wait_until(until, now, &mut effects),
            Input::Received { has_event } => {
                self.last_received = now;
                if has_event {
                    self.prove();
                }
            }
            Input::StreamEnded { is_clean, is_announced } => {
                if is_clean && (is_announced || self.settings.on_end_close) {
                    self.end(EndReason::Finished, &mut effects);
                } else {
                    self.fail(Duration::ZERO, now, &mut effects);
                }
            }
            Input::Retry(wait) => self.asked_wait = wait.min(ASKED_WAIT_MAX),
            Input::Sent => self.last_sent = now,
            Input::GoodNews => self.good_news(now, &mut effects),
            Input::RetryNow => match self.state {
                State::Waiting { .. } | State::Dormant { .. } => self.connect(now, &mut effects),
                State::Connecting | State::Live { .. } | State::Ended => {}
            },
            Input::Close(reason) => self.end(reason, &mut effects),
            Input::Tick => self.tick(now, &mut effects),
        }
        effects
    }

    fn clients_changed(&mut self, count: usize, now: Instant, effects: &mut Vec<Effect>) {
        let was_alone = self.clients == 0;
        self.clients = count;
        if count == 0 {
            if self.alone_since.is_none() {
                self.alone_since = Some(now);
            }
            // No upstream request that nobody wants.
            if let State::Waiting { until } = self.state {
                self.state = State::Dormant { until };
            }
            return;
        }
        self.alone_since = None;
        if was_alone {
            // Nobody was there to miss the heartbeats of the time alone.
            self.last_sent = now;
        }
        if let State::Dormant { until } = self.state {
            self.wait_until(until, now, effects);
        }
    }

    fn answered(&mut self, answer: Answer, now: Instant, effects: &mut Vec<Effect>) {
        if answer.is_event_stream {
            self.state = State::Live { since: now, is_proven: false };
            self.was_open = true;
            self.last_received = now;
            effects.extend([Effect::Open, Effect::Report(Report::Live)]);
            return;
        }
        // Before the first stream the answer is the client's; only an upstream that is down is
        // waited for (spec 8.6).
        if !self.was_open && !answer.is_upstream_down() {
            effects.push(Effect::HandOver);
            self.end(EndReason::Refused(answer.status), effects);
        } else if answer.is_final() {
            self.end(EndReason::Refused(answer.status), effects);
        } else {
            self.fail(answer.retry_after.unwrap_or_default(), now, effects);
        }
    }

    fn fail(&mut self, asked: Duration, now: Instant, effects: &mut Vec<Effect>) {
        // A stream that had proven itself ended the failures before it.
        self.failing_since.get_or_insert(now);
        let asked = asked.min(ASKED_WAIT_MAX).max(self.asked_wait);
        let wait = self.backoff.fail(self.random.draw(), asked);
        self.last_wait = wait;
        self.not_before = now + asked;
        effects.push(Effect::Disconnect);
        self.wait_until(now + wait, now, effects);
    }

    fn wait_until(&mut self, until: Instant, now: Instant, effects: &mut Vec<Effect>) {
        if self.clients == 0 {
            self.state = State::Dormant { until };
        } else if until <= now {
            self.connect(now, effects);
        } else {
            self.state = State::Waiting { until };
            let wait = until - now;
            effects.push(Effect::Report(Report::Waiting { wait, failures: self.backoff.failures() }));
        }
    }

    fn connect(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        self.state = State::Connecting;
        self.last_attempt = now;
        effects.extend([Effect::Connect, Effect::Report(Report::Connecting)]);
    }

    fn good_news(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let State::Waiting { until } = self.state else { return };
        // An upstream that answers many requests well while it refuses this one is not hammered:
        // news make the wait shorter, never than the first one.
        let soonest = self.not_before.max(self.last_attempt + self.settings.backoff.initial).max(now);
        if soonest < until {
            self.wait_until(soonest, now, effects);
        }
    }

    fn prove(&mut self) {
        if let State::Live { is_proven, .. } = &mut self.state {
            *is_proven = true;
            self.backoff.succeed();
            self.failing_since = None;
        }
    }

    fn tick(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let is_due = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        let settings = &self.settings;
        if is_due(self.alone_since.map(|since| since + settings.linger)) {
            effects.push(Effect::EndIfAlone);
            return;
        }
        let is_failing = matches!(self.state, State::Connecting | State::Waiting { .. });
        if is_failing && is_due(self.failing_since.map(|since| since + settings.give_up)) {
            self.end(EndReason::GivenUp, effects);
            return;
        }
        if self.clients > 0 && is_due(Some(self.last_sent + settings.heartbeat)) {
            self.last_sent = now;
            effects.push(Effect::Heartbeat);
        }
        match self.state {
            State::Waiting { until } if until <= now => self.connect(now, effects),
            State::Live { since, is_proven } => {
                let idle_limit = self.settings.upstream_idle_timeout;
                if is_due(idle_limit.map(|limit| self.last_received + limit)) {
                    self.fail(Duration::ZERO, now, effects);
                } else if !is_proven && since + self.last_wait <= now {
                    self.prove();
                }
            }
            State::Connecting | State::Waiting { .. } | State::Dormant { .. } | State::Ended => {}
        }
    }

    fn end(&mut self, reason: EndReason, effects: &mut Vec<Effect>) {
        self.state = State::Ended;
        effects.extend([Effect::Disconnect, Effect::End(reason)]);
    }
}

fn earliest<const N: usize>(deadlines: [Option<Instant>; N]) -> Option<Instant> {
    deadlines.into_iter().flatten().min()
}

#[cfg(test)]
mod tests;
