//! What a session's task and its clients share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use tokio::sync::{Notify, mpsc};

use super::audience::Audience;
use super::head::Head;
use super::keeping::Kept;
use super::view::AttemptLog;
use super::vouchers::Vouchers;
use super::watched::Watched;
use crate::config::RouteSettings;
use crate::message::session_key::{SessionKey, VaryRule};
use crate::metrics::Metrics;
use crate::proto::log::{EndReason, Log};

/// Orders waiting for a session's task; more are refused, since each alone decides.
pub(super) const ORDERS_MAX: usize = 4;

/// Stands for no `retry` in [`Session::retry`].
const NO_RETRY: u64 = u64::MAX;

/// What an operator, or the end of the program, wants of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    End(EndReason),
    RetryNow,
}

/// How far a session has come, for those who wait for its response head.
#[derive(Debug, Clone)]
pub enum Phase {
    /// The first answer is awaited.
    Opening,
    /// The upstream is away, and was not seen yet in this session; the next attempt comes after about this time.
    Away {
        /// For `Retry-After`.
        wait: Duration,
    },
    /// Clients can read: this is their response head.
    Open(Arc<Head>),
    /// It ended before there was a head, or after.
    Ended(EndReason),
}

/// What the upstream side of a session does, for operators and for `--on-upstream-down`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionState {
    /// An attempt is on its way.
    Connecting,
    /// The stream flows.
    Live,
    /// The next attempt comes after about this time.
    Waiting {
        /// From when this was set.
        wait: Duration,
        /// Failures in a row.
        failures: u32,
    },
    /// Nothing happens any more.
    Gone,
}

/// What `Vary` said, and what the subscription's own request had there.
#[derive(Debug)]
pub(super) struct Variant {
    pub(super) rule: VaryRule,
    /// `None`: nobody else's is like it.
    pub(super) fingerprint: Option<u128>,
}

/// One session.
#[derive(Debug)]
pub struct Session {
    pub(super) id: u64,
    pub(super) key: SessionKey,
    pub(super) settings: Arc<RouteSettings>,
    pub(super) log: RwLock<Log>,
    pub(super) audience: Audience,
    pub(super) phase: Watched<Phase>,
    pub(super) state: Watched<SessionState>,
    /// Known from the first answer on.
    pub(super) variant: std::sync::OnceLock<Variant>,
    /// Clients, those included that wait for the head. Raised only under the registry's lock, so
    /// that a session found alone there is alone.
    pub(super) clients: AtomicUsize,
    pub(super) clients_changed: Notify,
    pub(super) orders: mpsc::Sender<Order>,
    /// The moment it was left alone, in milliseconds of the registry's life; 0: it is not alone.
    pub(super) alone_since: AtomicU64,
    /// Bytes of the log that the budget knows of.
    pub(super) accounted: AtomicUsize,
    retry: AtomicU64,
    pub(super) metrics: Arc<Metrics>,
    pub(super) attempts: AttemptLog,
    pub(super) kept: Kept,
    pub(super) vouchers: Vouchers,
}

impl Session {
    pub(super) fn new(
        id: u64,
        key: SessionKey,
        settings: Arc<RouteSettings>,
        log: Log,
        orders: mpsc::Sender<Order>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let kept = if log.is_restored() { Kept::written_to(log.head()) } else { Kept::default() };
        let client_retry = settings.client_retry;
        let session = Self {
            id,
            key,
            settings,
            log: RwLock::new(log),
            audience: Audience::new(),
            phase: Watched::new(Phase::Opening),
            state: Watched::new(SessionState::Connecting),
            variant: std::sync::OnceLock::new(),
            clients: AtomicUsize::new(0),
            clients_changed: Notify::new(),
            orders,
            alone_since: AtomicU64::new(0),
            accounted: AtomicUsize::new(0),
            retry: AtomicU64::new(NO_RETRY),
            metrics,
            attempts: AttemptLog::default(),
            kept,
            vouchers: Vouchers::default(),
        };
        if let Some(retry) = client_retry {
            session.set_retry(retry);
        }
        session
    }

    /// Path and query without secrets, for logs and operators.
    #[must_use]
    pub fn name(&self) -> &str {
        self.key.display()
    }

    /// What its upstream side does.
    #[must_use]
    pub fn state(&self) -> SessionState {
        self.state.get()
    }

    /// Clients here now.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.clients.load(Ordering::Acquire)
    }

    /// Reads the log.
    pub fn with_log<T>(&self, look: impl FnOnce(&Log) -> T) -> T {
        look(&self.log.read())
    }

    /// The settings of its route.
    #[must_use]
    pub fn settings(&self) -> &RouteSettings {
        &self.settings
    }

    /// Asks for an attempt now; `false`: the task is busy with earlier orders.
    pub fn retry_now(&self) -> bool {
        self.orders.try_send(Order::RetryNow).is_ok()
    }

    /// Asks for the session's end; `false`: the task is busy with earlier orders.
    pub fn end(&self, reason: EndReason) -> bool {
        self.orders.try_send(Order::End(reason)).is_ok()
    }

    /// What new clients are told as their `retry`.
    #[must_use]
    pub fn retry(&self) -> Option<Duration> {
        let millis = self.retry.load(Ordering::Relaxed);
        (millis != NO_RETRY).then(|| Duration::from_millis(millis))
    }

    pub(super) fn set_retry(&self, retry: Duration) {
        let millis = u64::try_from(retry.as_millis()).unwrap_or(NO_RETRY - 1);
        self.retry.store(millis.min(NO_RETRY - 1), Ordering::Relaxed);
    }

    /// A client leaves.
    pub(super) fn leave(&self) {
        self.clients.fetch_sub(1, Ordering::AcqRel);
        self.clients_changed.notify_one();
    }
}
