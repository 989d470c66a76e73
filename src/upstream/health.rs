//! Whether the upstream as a whole is there: the breaker, and good news for those who wait
//! (spec 3.5, 8.5).

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::proto::breaker::{Admission, Breaker, BreakerLimits, BreakerState};

/// Failures in a row open the breaker; it rests a second, then two. No longer: one attempt each two seconds, for all
/// sessions together, costs a dead upstream nothing, and a longer rest would keep clients waiting for one that is back.
/// How long each session itself waits is its backoff's to say.
const LIMITS: BreakerLimits = BreakerLimits {
    failures: 5,
    rest: Duration::from_secs(1),
    rest_max: Duration::from_secs(2),
    probe_timeout: Duration::from_secs(90),
};

/// Changes of the breaker that are remembered.
const CHANGES_MAX: usize = 200;

/// When the breaker came into a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// By the system's clock.
    pub at: SystemTime,
    /// [`BreakerState::as_str`].
    pub state: &'static str,
}

/// The upstream's health, shared by all requests.
#[derive(Debug)]
pub struct Health {
    judged: Mutex<Judged>,
    /// Counts good news.
    news: watch::Sender<u64>,
}

#[derive(Debug)]
struct Judged {
    breaker: Breaker,
    /// Oldest first; never empty.
    changes: VecDeque<Change>,
}

impl Default for Health {
    fn default() -> Self {
        let breaker = Breaker::new(LIMITS);
        let first = Change { at: SystemTime::now(), state: breaker.state().as_str() };
        let judged = Judged { breaker, changes: VecDeque::from([first]) };
        Self { judged: Mutex::new(judged), news: watch::Sender::new(0) }
    }
}

impl Health {
    /// Whether a subscription may be attempted. An admitted attempt must report its outcome.
    pub fn admit(&self, now: Instant) -> Admission {
        self.judge(|breaker| breaker.admit(now))
    }

    /// Some request was answered in a way that shows the upstream is there.
    pub fn succeeded(&self) {
        if self.judge(Breaker::succeed) {
            tracing::info!("breaker closed: the upstream answers again");
        }
        self.news.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// The upstream could not be reached, broke off, or said itself that it is down.
    pub fn failed(&self, now: Instant) {
        if self.judge(|breaker| breaker.fail(now)) {
            tracing::warn!("breaker opened: the upstream is down");
        }
    }

    /// An admitted attempt was dropped before its outcome was known.
    pub fn abandoned(&self, now: Instant) {
        self.judge(|breaker| breaker.abandon(now));
    }

    /// What the breaker lets through.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        self.judged.lock().breaker.state()
    }

    /// The newest changes of its state, oldest first; the first ones say where it began.
    #[must_use]
    pub fn changes(&self) -> Vec<Change> {
        self.judged.lock().changes.iter().copied().collect()
    }

    /// Changes with each piece of good news.
    #[must_use]
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    fn judge<T>(&self, act: impl FnOnce(&mut Breaker) -> T) -> T {
        let mut judged = self.judged.lock();
        let Judged { breaker, changes } = &mut *judged;
        let before = breaker.state().as_str();
        let outcome = act(breaker);
        let state = breaker.state().as_str();
        if state != before {
            if changes.len() == CHANGES_MAX {
                changes.pop_front();
            }
            changes.push_back(Change { at: SystemTime::now(), state });
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_of_the_breaker_is_remembered_and_only_so_many() {
        let health = Health::default();
        let now = tokio::time::Instant::now().into_std();
        for _ in 0..LIMITS.failures {
            health.failed(now);
        }
        assert_eq!(health.admit(now + LIMITS.rest), Admission::Admitted);
        health.succeeded();
        health.succeeded();
        let states: Vec<_> = health.changes().iter().map(|change| change.state).collect();
        assert_eq!(states, ["closed", "open", "half-open", "closed"]);
        for _ in 0..CHANGES_MAX * LIMITS.failures as usize {
            health.failed(now);
            health.succeeded();
        }
        assert_eq!(health.changes().len(), 4, "one failure opens nothing");
    }
}
