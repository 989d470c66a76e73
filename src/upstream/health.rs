//! Whether the upstream as a whole is there: the breaker, and good news for those who wait
//! (spec 3.5, 8.5).

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::proto::breaker::{Admission, Breaker, BreakerLimits, BreakerState};

/// Failures in a row open the breaker; it rests a second, then two, up to half a minute.
const LIMITS: BreakerLimits = BreakerLimits {
    failures: 5,
    rest: Duration::from_secs(1),
    rest_max: Duration::from_secs(30),
    probe_timeout: Duration::from_secs(90),
};

/// The upstream's health, shared by all requests.
#[derive(Debug)]
pub struct Health {
    breaker: Mutex<Breaker>,
    /// Counts good news.
    news: watch::Sender<u64>,
}

impl Default for Health {
    fn default() -> Self {
        Self { breaker: Mutex::new(Breaker::new(LIMITS)), news: watch::Sender::new(0) }
    }
}

impl Health {
    /// Whether a subscription may be attempted. An admitted attempt must report its outcome.
    pub fn admit(&self, now: Instant) -> Admission {
        self.breaker.lock().admit(now)
    }

    /// Some request was answered in a way that shows the upstream is there.
    pub fn succeeded(&self) {
        if self.breaker.lock().succeed() {
            tracing::info!("breaker closed: the upstream answers again");
        }
        self.news.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// The upstream could not be reached, broke off, or said itself that it is down.
    pub fn failed(&self, now: Instant) {
        if self.breaker.lock().fail(now) {
            tracing::warn!("breaker opened: the upstream is down");
        }
    }

    /// An admitted attempt was dropped before its outcome was known.
    pub fn abandoned(&self, now: Instant) {
        self.breaker.lock().abandon(now);
    }

    /// What the breaker lets through.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        self.breaker.lock().state()
    }

    /// Changes with each piece of good news.
    #[must_use]
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }
}
