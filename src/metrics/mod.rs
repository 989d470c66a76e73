//! What is counted: plain atomics, passed to every part, written as text for Prometheus (spec 10.1).
//!
//! Labels have closed sets of values, so that no input can make their number grow. A hot path costs
//! relaxed additions only. Knows no sockets and no sessions: what has a place elsewhere (how many
//! clients there are now) is handed in as [`Now`] when the numbers are read.

mod labels;
mod numbers;
mod process;
mod text;

use std::time::Duration;

use crate::proto::breaker::BreakerState;
use crate::proto::log::{EndReason, GapReason};

pub use labels::{Attempt, Closed, Limit, SpanLoss, StatusClass};
pub use numbers::{Counter, Entered, Family, Gauge, Histogram};
pub use process::Process;
pub use text::Format;

/// Seconds; an event passes ssecar in microseconds when nobody is behind.
const LAG_BOUNDS: &[Duration] = &[
    Duration::from_micros(50),
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2_500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2_500),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_secs(90),
];

/// Seconds; the upper end is `--hold-head`, 10 s by default.
const JOIN_BOUNDS: &[Duration] = &[
    Duration::from_micros(100),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2_500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2_500),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
];

/// Everything that is counted. `docs/admin.md` says what each number means.
#[derive(Debug)]
pub struct Metrics {
    /// Client connections that are open now, tunnels included.
    pub connections: Gauge,
    /// Clients that took a place in a session.
    pub clients_joined: Counter,
    /// Clients' streams that ended, by why.
    pub clients_closed: Family<Closed>,
    /// Sessions made.
    pub sessions_created: Counter,
    /// Sessions that ended, by why.
    pub sessions_ended: Family<EndReason>,
    /// Sessions' streams from the upstream that are open now.
    pub upstream_subscriptions: Gauge,
    /// Subscription attempts that came to something, by what.
    pub upstream_attempts: Family<Attempt>,
    /// Events recorded in rings.
    pub events_received: Counter,
    /// Events delivered live only (spec 5.4).
    pub events_passing: Counter,
    /// Events recognised as repeated, and dropped (spec 6.5).
    pub events_repeated: Counter,
    /// Events over `--max-event-size` (spec 5.5).
    pub events_skipped: Counter,
    /// Events handed to clients' sockets: one event for a hundred clients counts a hundred.
    pub deliveries: Counter,
    /// Bytes of event streams handed to clients' sockets.
    pub delivered_bytes: Counter,
    /// From an event's arrival in the log to its being handed to a client's socket.
    pub delivery_lag: Histogram,
    /// From a client's joining to its response head.
    pub join: Histogram,
    /// Gaps found, by why: in a session's stream, or in what one client could be given.
    pub gaps: Family<GapReason>,
    /// Clients that caught up by a request of their own (spec 6.7).
    pub catch_ups: Counter,
    /// Requests answered by the upstream or in its place, by the status' class.
    pub forwarded_requests: Family<StatusClass>,
    /// Spans that the collector took (`--otlp-endpoint`).
    pub spans_exported: Counter,
    /// Spans that are lost, by why.
    pub spans_dropped: Family<SpanLoss>,
    refused: Family<Limit>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            connections: Gauge::default(),
            clients_joined: Counter::default(),
            clients_closed: Family::default(),
            sessions_created: Counter::default(),
            sessions_ended: Family::default(),
            upstream_subscriptions: Gauge::default(),
            upstream_attempts: Family::default(),
            events_received: Counter::default(),
            events_passing: Counter::default(),
            events_repeated: Counter::default(),
            events_skipped: Counter::default(),
            deliveries: Counter::default(),
            delivered_bytes: Counter::default(),
            delivery_lag: Histogram::new(LAG_BOUNDS),
            join: Histogram::new(JOIN_BOUNDS),
            gaps: Family::default(),
            catch_ups: Counter::default(),
            forwarded_requests: Family::default(),
            spans_exported: Counter::default(),
            spans_dropped: Family::default(),
            refused: Family::default(),
        }
    }
}

/// What others know, at the moment of reading.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Clients that read sessions, or wait for a head.
    pub clients: usize,
    /// `--max-clients`.
    pub clients_max: usize,
    /// Sessions.
    pub sessions: usize,
    /// What the breaker lets through.
    pub breaker: BreakerState,
    /// Bytes that all logs hold.
    pub log_bytes: usize,
    /// `--memory-budget`.
    pub memory_budget: usize,
    /// Writes to `--state-dir` that failed; `None`: there is none.
    pub state_write_failures: Option<u64>,
    /// What the system knows of the process, where it says.
    pub process: Option<Process>,
}

impl Metrics {
    /// A client or a request was turned away by a limit (spec 9.1).
    pub fn refused(&self, limit: Limit) {
        self.refused.add(limit, 1);
    }

    /// All that were turned away.
    #[must_use]
    pub fn refused_total(&self) -> u64 {
        self.refused.total()
    }

    /// Everything, as text.
    #[must_use]
    pub fn to_text(&self, format: Format, now: &Now) -> String {
        let mut out = text::Writer::new(format);
        out.info("ssecar_build", "The running program.", "version", env!("CARGO_PKG_VERSION"));
        out.gauge("ssecar_clients", "Clients that read sessions.", now.clients);
        out.gauge("ssecar_clients_max", "The limit of ssecar_clients.", now.clients_max);
        out.counter("ssecar_clients_joined", "Clients that took a place in a session.", &self.clients_joined);
        out.family("ssecar_clients_closed", "Clients' streams that ended.", "reason", &self.clients_closed);
        out.gauge("ssecar_connections", "Open client connections.", self.connections.get());
        out.gauge("ssecar_sessions", "Sessions.", now.sessions);
        out.counter("ssecar_sessions_created", "Sessions made.", &self.sessions_created);
        out.family("ssecar_sessions_ended", "Sessions that ended.", "reason", &self.sessions_ended);
        out.gauge(
            "ssecar_upstream_subscriptions",
            "Sessions' streams from the upstream that are open.",
            self.upstream_subscriptions.get(),
        );
        out.family(
            "ssecar_upstream_attempts",
            "Subscription attempts at the upstream.",
            "outcome",
            &self.upstream_attempts,
        );
        out.states(
            "ssecar_breaker_state",
            "1 for the state that the breaker before the upstream is in.",
            &["closed", "half-open", "open"],
            now.breaker.as_str(),
        );
        out.counter("ssecar_events_received", "Events recorded for replay.", &self.events_received);
        out.counter("ssecar_events_passing", "Events delivered live only.", &self.events_passing);
        out.counter("ssecar_events_repeated", "Repeated events dropped.", &self.events_repeated);
        out.counter("ssecar_events_skipped", "Events over --max-event-size.", &self.events_skipped);
        out.counter("ssecar_deliveries", "Events handed to clients' sockets.", &self.deliveries);
        out.counter(
            "ssecar_delivered_bytes",
            "Bytes of event streams handed to clients' sockets.",
            &self.delivered_bytes,
        );
        out.histogram(
            "ssecar_delivery_lag_seconds",
            "Time from an event's arrival to its being handed to a client's socket.",
            &self.delivery_lag,
        );
        out.histogram(
            "ssecar_join_seconds",
            "Time from a client's joining to its response head.",
            &self.join,
        );
        out.family("ssecar_gaps", "Gaps found.", "reason", &self.gaps);
        out.counter("ssecar_catch_ups", "Clients that caught up by a request of their own.", &self.catch_ups);
        out.family("ssecar_refused", "Clients and requests turned away.", "limit", &self.refused);
        out.family(
            "ssecar_forwarded_requests",
            "Requests passed on, by the class of the answer's status.",
            "class",
            &self.forwarded_requests,
        );
        out.counter("ssecar_spans_exported", "Spans that the collector took.", &self.spans_exported);
        out.family("ssecar_spans_dropped", "Spans that are lost.", "reason", &self.spans_dropped);
        out.gauge("ssecar_log_bytes", "Bytes that all sessions' events take.", now.log_bytes);
        out.gauge("ssecar_memory_budget_bytes", "The limit of ssecar_log_bytes.", now.memory_budget);
        out.count(
            "ssecar_state_write_failures",
            "Writes to --state-dir that failed.",
            now.state_write_failures.unwrap_or(0),
        );
        if let Some(process) = &now.process {
            process.write(&mut out);
        }
        out.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Now {
        Now {
            clients: 3,
            clients_max: 5,
            sessions: 2,
            breaker: BreakerState::Closed,
            log_bytes: 10,
            memory_budget: 100,
            state_write_failures: None,
            process: None,
        }
    }

    #[test]
    fn both_forms_hold_the_same_samples() {
        let metrics = Metrics::default();
        metrics.refused(Limit::Tunnels);
        metrics.sessions_ended.add(EndReason::Refused(404), 2);
        metrics.delivery_lag.observe(Duration::from_micros(70));
        let samples = |format| {
            let text = metrics.to_text(format, &now());
            let lines = text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned);
            lines.collect::<Vec<_>>()
        };
        let plain = samples(Format::Prometheus);
        assert_eq!(plain, samples(Format::OpenMetrics));
        for expected in [
            "ssecar_clients 3",
            "ssecar_clients_max 5",
            "ssecar_refused_total{limit=\"tunnels\"} 1",
            "ssecar_refused_total{limit=\"clients\"} 0",
            "ssecar_sessions_ended_total{reason=\"refused\"} 2",
            "ssecar_breaker_state{state=\"closed\"} 1",
            "ssecar_breaker_state{state=\"open\"} 0",
            "ssecar_delivery_lag_seconds_bucket{le=\"5e-5\"} 0",
            "ssecar_delivery_lag_seconds_bucket{le=\"0.0001\"} 1",
            "ssecar_delivery_lag_seconds_bucket{le=\"+Inf\"} 1",
            "ssecar_delivery_lag_seconds_sum 7e-5",
            "ssecar_delivery_lag_seconds_count 1",
        ] {
            assert!(plain.iter().any(|line| line == expected), "{expected}: {plain:#?}");
        }
    }

    #[test]
    fn openmetrics_names_a_counter_without_its_suffix_and_ends_with_a_mark() {
        let metrics = Metrics::default();
        let plain = metrics.to_text(Format::Prometheus, &now());
        assert!(plain.contains("# TYPE ssecar_clients_joined_total counter\n"));
        assert!(!plain.contains("# EOF"));
        let open = metrics.to_text(Format::OpenMetrics, &now());
        assert!(open.contains("# TYPE ssecar_clients_joined counter\n"));
        assert!(open.contains("# TYPE ssecar_build info\n"));
        assert!(open.ends_with("# EOF\n"));
    }
}
