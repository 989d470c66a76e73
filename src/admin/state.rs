//! What operators are shown, as one JSON snapshot. No secret is in it: sessions are named by their
//! path and query with credentials hidden.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::metrics::{Format, Metrics, Now};
use crate::session::{Registry, Session, SessionState};
use crate::shutdown::{Phase, Shutdown};
use crate::upstream::health::Health;

/// The most sessions in one snapshot.
const SESSIONS_SHOWN_MAX: usize = 1000;

/// Where snapshots come from. Cheap to clone.
#[derive(Debug, Clone)]
pub struct State {
    registry: Registry,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
}

impl State {
    /// Of a running program.
    #[must_use]
    pub fn new(registry: Registry, health: Arc<Health>, metrics: Arc<Metrics>, shutdown: Shutdown) -> Self {
        Self { registry, health, metrics, shutdown }
    }

    pub(super) fn is_draining(&self) -> bool {
        self.shutdown.phase() != Phase::Running
    }

    pub(super) fn metrics(&self, format: Format) -> String {
        let registry = &self.registry;
        let now = Now {
            clients: registry.clients(),
            sessions: registry.session_count(),
            breaker: self.health.state(),
            log_bytes: registry.log_bytes(),
            memory_budget: registry.memory_budget(),
            state_write_failures: registry.store_failures(),
        };
        self.metrics.to_text(format, &now)
    }

    pub(super) fn snapshot(&self) -> Value {
        let mut sessions = self.registry.sessions();
        let count = sessions.len();
        sessions.sort_by_key(|session| std::cmp::Reverse(session.clients()));
        sessions.truncate(SESSIONS_SHOWN_MAX);
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "draining": self.is_draining(),
            "breaker": self.health.state().as_str(),
            "clients": self.registry.clients(),
            "state_write_failures": self.registry.store_failures(),
            "log_bytes": self.registry.log_bytes(),
            "advices": self.registry.advices().iter().map(ToString::to_string).collect::<Vec<_>>(),
            "session_count": count,
            "sessions": sessions.iter().map(|session| show(session)).collect::<Vec<_>>(),
        })
    }
}

fn show(session: &Session) -> Value {
    let (state, retry_in_ms, failures) = match session.state() {
        SessionState::Connecting => ("connecting", None, 0),
        SessionState::Live => ("live", None, 0),
        SessionState::Waiting { wait, failures } => {
            ("waiting", u64::try_from(wait.as_millis()).ok(), failures)
        }
        SessionState::Gone => ("gone", None, 0),
    };
    session.with_log(|log| {
        let (epoch, seq) = log.epoch();
        json!({
            "name": session.name(),
            "state": state,
            "retry_in_ms": retry_in_ms,
            "failures": failures,
            "clients": session.clients(),
            "epoch": epoch.to_string(),
            "newest": seq,
            "ring_events": log.ring_events(),
            "ring_events_max": session.settings().replay.events,
            "log_bytes": log.cost(),
        })
    })
}
