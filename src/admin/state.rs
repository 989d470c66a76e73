//! What operators are shown of the whole. No secret is in it: sessions are named by their path and query
//! with credentials hidden.

use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Value, json};

use super::samples::{Samples, millis};
use super::sessions;
use crate::metrics::{Closed, Format, Metrics, Now, Process};
use crate::session::{Registry, Session};
use crate::shutdown::{Phase, Shutdown};
use crate::upstream::health::{Change, Health};

/// The most sessions in one snapshot.
const SESSIONS_SHOWN_MAX: usize = 1000;

/// Where snapshots come from. Cheap to clone.
#[derive(Debug, Clone)]
pub struct State {
    upstream: Arc<str>,
    registry: Registry,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
    started: SystemTime,
}

impl State {
    /// Of a running program; `upstream` as it may be shown.
    #[must_use]
    pub fn new(
        upstream: String,
        registry: Registry,
        health: Arc<Health>,
        metrics: Arc<Metrics>,
        shutdown: Shutdown,
    ) -> Self {
        Self { upstream: upstream.into(), registry, health, metrics, shutdown, started: SystemTime::now() }
    }

    pub(super) fn is_draining(&self) -> bool {
        self.shutdown.phase() != Phase::Running
    }

    pub(super) fn metrics(&self, format: Format) -> String {
        let registry = &self.registry;
        let now = Now {
            clients: registry.clients(),
            clients_max: registry.clients_max(),
            sessions: registry.session_count(),
            breaker: self.health.state(),
            log_bytes: registry.log_bytes(),
            memory_budget: registry.memory_budget(),
            state_write_failures: registry.store_failures(),
            process: Process::look(self.started),
        };
        self.metrics.to_text(format, &now)
    }

    pub(super) fn take_sample(&self, samples: &mut Samples) {
        samples.take(&self.metrics, self.registry.clients());
    }

    pub(super) fn sessions(&self) -> Vec<Arc<Session>> {
        self.registry.sessions()
    }

    pub(super) fn session(&self, id: u64) -> Option<Arc<Session>> {
        self.registry.session(id)
    }

    /// Everything but the sessions one by one.
    pub(super) fn overview(&self) -> Value {
        self.overview_of(&self.sessions())
    }

    fn overview_of(&self, sessions: &[Arc<Session>]) -> Value {
        let metrics = &self.metrics;
        let changes = self.health.changes();
        let change = |change: &Change| json!({"at_ms": millis(change.at), "state": change.state});
        let counts = |counts: Vec<(&'static str, u64)>| {
            counts.into_iter().map(|(name, count)| (name.to_owned(), count.into())).collect()
        };
        let gaps: serde_json::Map<String, Value> = counts(metrics.gaps.all().collect());
        let closed: serde_json::Map<String, Value> = counts(metrics.clients_closed.all().collect());
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "upstream": &*self.upstream,
            "started_ms": millis(self.started),
            "draining": self.is_draining(),
            "breaker": self.health.state().as_str(),
            "breaker_changes": changes.iter().map(change).collect::<Vec<_>>(),
            "session_count": self.registry.session_count(),
            "session_states": sessions::count_states(sessions),
            "upstream_subscriptions": metrics.upstream_subscriptions.get(),
            "clients": self.registry.clients(),
            "connections": metrics.connections.get(),
            "clients_slow": metrics.clients_closed.get(Closed::Slow),
            "clients_reaped": metrics.clients_closed.get(Closed::Reaped),
            "clients_closed": closed,
            "gaps": gaps,
            "catch_ups": metrics.catch_ups.get(),
            "refused": metrics.refused_total(),
            "log_bytes": self.registry.log_bytes(),
            "memory_budget_bytes": self.registry.memory_budget(),
            "state_write_failures": self.registry.store_failures(),
            "advices": self.registry.advices().iter().map(ToString::to_string).collect::<Vec<_>>(),
        })
    }

    /// The same with the sessions that have the most clients.
    pub(super) fn everything(&self) -> Value {
        let mut sessions = self.sessions();
        let mut overview = self.overview_of(&sessions);
        sessions.sort_by_cached_key(|session| std::cmp::Reverse(session.clients()));
        sessions.truncate(SESSIONS_SHOWN_MAX);
        overview["sessions"] = sessions.iter().map(|session| sessions::show(session)).collect();
        overview
    }
}
