//! The breaker before the upstream as a whole (spec 8.5).
//!
//! Closed: every subscription may be attempted. Open: none. Half-open: one at a time, and its
//! outcome decides. Pass-through requests are never refused; their outcomes are reported here all
//! the same, since they tell whether the upstream is there.

use std::time::{Duration, Instant};

/// When the breaker opens and how long it rests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerLimits {
    /// Failures in a row that open it.
    pub failures: u32,
    /// The first rest; doubled each time a probe fails.
    pub rest: Duration,
    /// The longest rest.
    pub rest_max: Duration,
    /// A probe that has not reported by then is taken for lost and another may go.
    pub probe_timeout: Duration,
}

/// Whether a subscription may be attempted now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Go, and report the outcome.
    Admitted,
    /// Not before this moment, or when the breaker is heard to have closed.
    Refused {
        /// The earliest moment at which asking again makes sense.
        until: Instant,
    },
}

/// What the breaker lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Everything.
    Closed,
    /// Nothing, before `until`.
    Open {
        /// The end of the rest.
        until: Instant,
    },
    /// One probe, sent at `since`, is on its way.
    HalfOpen {
        /// When the probe was admitted.
        since: Instant,
    },
}

impl BreakerState {
    /// A short name for metrics and operators.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen { .. } => "half-open",
        }
    }
}

/// Counts failures of the upstream as a whole.
#[derive(Debug)]
pub struct Breaker {
    limits: BreakerLimits,
    state: BreakerState,
    /// Failures in a row while closed.
    failures: u32,
    /// Rests in a row without a success between them.
    trips: u32,
}

impl Breaker {
    /// A closed breaker.
    #[must_use]
    pub fn new(limits: BreakerLimits) -> Self {
        Self { limits, state: BreakerState::Closed, failures: 0, trips: 0 }
    }

    /// What it lets through. An `Open` whose `until` has passed admits the next that asks.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        self.state
    }

    /// Asks to attempt a subscription. An admitted attempt must be followed by [`Self::succeed`],
    /// [`Self::fail`] or [`Self::abandon`].
    pub fn admit(&mut self, now: Instant) -> Admission {
        match self.state {
            BreakerState::Closed => Admission::Admitted,
            BreakerState::Open { until } if now < until => Admission::Refused { until },
            BreakerState::HalfOpen { since } if now < since + self.limits.probe_timeout => {
                Admission::Refused { until: since + self.limits.probe_timeout }
            }
            BreakerState::Open { .. } | BreakerState::HalfOpen { .. } => {
                self.state = BreakerState::HalfOpen { since: now };
                Admission::Admitted
            }
        }
    }

    /// The upstream answered something that shows it is there. Answers whether this closed the
    /// breaker.
    pub fn succeed(&mut self) -> bool {
        let was_closed = self.state == BreakerState::Closed;
        self.state = BreakerState::Closed;
        self.failures = 0;
        self.trips = 0;
        !was_closed
    }

    /// The upstream could not be reached or answered 502, 503 or 504. Answers whether this opened
    /// the breaker.
    pub fn fail(&mut self, now: Instant) -> bool {
        match self.state {
            BreakerState::Closed => {
                self.failures = self.failures.saturating_add(1);
                let trips = self.failures >= self.limits.failures;
                if trips {
                    self.trip(now);
                }
                trips
            }
            BreakerState::HalfOpen { .. } => {
                self.trip(now);
                true
            }
            // A straggler, sent before the trip.
            BreakerState::Open { .. } => false,
        }
    }

    /// An admitted attempt ended without an outcome: its session went away. Another may go at once.
    pub fn abandon(&mut self, now: Instant) {
        if let BreakerState::HalfOpen { .. } = self.state {
            self.state = BreakerState::Open { until: now };
        }
    }

    fn trip(&mut self, now: Instant) {
        let rest = self.limits.rest.saturating_mul(1 << self.trips.min(31)).min(self.limits.rest_max);
        self.trips = self.trips.saturating_add(1);
        self.failures = 0;
        self.state = BreakerState::Open { until: now + rest };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: BreakerLimits = BreakerLimits {
        failures: 3,
        rest: Duration::from_secs(1),
        rest_max: Duration::from_secs(4),
        probe_timeout: Duration::from_secs(60),
    };

    fn start() -> Instant {
        #[expect(
            clippy::disallowed_methods,
            reason = "an instant can't be made from nothing; only differences matter"
        )]
        Instant::now()
    }

    fn millis(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    fn tripped(at: Instant) -> Breaker {
        let mut breaker = Breaker::new(LIMITS);
        for _ in 0..LIMITS.failures {
            breaker.fail(at);
        }
        breaker
    }

    #[test]
    fn failures_in_a_row_open_it_and_a_success_between_them_does_not_count_on() {
        let at = start();
        let mut breaker = Breaker::new(LIMITS);
        assert!(!breaker.fail(at));
        assert!(!breaker.fail(at));
        assert!(!breaker.succeed(), "it was closed");
        assert!(!breaker.fail(at));
        assert!(!breaker.fail(at));
        assert_eq!(breaker.admit(at), Admission::Admitted);
        assert!(breaker.fail(at), "the third in a row");
        assert_eq!(breaker.admit(at), Admission::Refused { until: at + millis(1_000) });
    }

    #[test]
    fn an_open_breaker_admits_one_probe_when_its_rest_ends() {
        let at = start();
        let mut breaker = tripped(at);
        assert!(matches!(breaker.admit(at + millis(999)), Admission::Refused { .. }), "a moment early");
        assert_eq!(breaker.admit(at + millis(1_000)), Admission::Admitted, "the probe");
        assert!(matches!(breaker.admit(at + millis(1_000)), Admission::Refused { .. }), "a second waits");
        assert!(breaker.succeed());
        assert_eq!(breaker.admit(at + millis(1_001)), Admission::Admitted, "closed again");
    }

    #[test]
    fn each_failed_probe_doubles_the_rest_up_to_the_limit() {
        let mut now = start();
        let mut breaker = tripped(now);
        for rest in [1_000, 2_000, 4_000, 4_000] {
            assert!(matches!(breaker.admit(now + millis(rest - 1)), Admission::Refused { .. }), "{rest}");
            now += millis(rest);
            assert_eq!(breaker.admit(now), Admission::Admitted, "{rest}");
            assert!(breaker.fail(now));
        }
    }

    #[test]
    fn a_straggler_does_not_prolong_the_rest() {
        let at = start();
        let mut breaker = tripped(at);
        assert!(!breaker.fail(at + millis(900)));
        assert_eq!(breaker.admit(at + millis(1_000)), Admission::Admitted);
    }

    #[test]
    fn a_probe_that_never_reports_does_not_block_the_others_for_ever() {
        let at = start() + millis(5_000);
        let mut breaker = tripped(at - millis(1_000));
        assert_eq!(breaker.admit(at), Admission::Admitted);
        assert!(matches!(breaker.admit(at + millis(59_999)), Admission::Refused { .. }));
        assert_eq!(breaker.admit(at + millis(60_000)), Admission::Admitted);
        breaker.abandon(at + millis(60_001));
        assert_eq!(breaker.admit(at + millis(60_001)), Admission::Admitted, "abandoned: the next may go");
    }
}
