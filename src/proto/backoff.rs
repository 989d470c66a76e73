//! How long to wait before the next subscription attempt (spec 8.1).

use std::time::Duration;

/// Bounds of the waiting time between attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackoffLimits {
    /// The wait after the first failure.
    pub initial: Duration,
    /// The longest wait.
    pub max: Duration,
}

/// Counts failures in a row and answers each with a delay.
#[derive(Debug, Clone)]
pub struct Backoff {
    limits: BackoffLimits,
    failures: u32,
}

impl Backoff {
    /// No failure yet.
    #[must_use]
    pub fn new(limits: BackoffLimits) -> Self {
        Self { limits, failures: 0 }
    }

    /// Counts one failure and answers how long to wait before the next attempt: the initial delay
    /// doubled for each failure before, at most the limit, of which the upper half is jitter.
    ///
    /// `random` is any number, evenly spread; `floor` is what the upstream's `retry` or
    /// `Retry-After` asks for at least, which is honoured even beyond the limit.
    pub fn fail(&mut self, random: u64, floor: Duration) -> Duration {
        let doublings = self.failures.min(31);
        self.failures = self.failures.saturating_add(1);
        let full = self.limits.initial.saturating_mul(1 << doublings).min(self.limits.max);
        let half = full / 2;
        // The top 32 bits as a fraction of one. Half stays fixed, so that jitter never turns the
        // wait into none at all.
        let fraction = u32::try_from(random >> 32).unwrap_or(u32::MAX);
        let jitter = half.mul_f64(f64::from(fraction) / f64::from(u32::MAX));
        (half + jitter).max(floor)
    }

    /// Failures since the last success.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Forgets all failures.
    pub fn succeed(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: BackoffLimits =
        BackoffLimits { initial: Duration::from_secs(1), max: Duration::from_secs(30) };

    #[test]
    fn the_wait_doubles_up_to_the_limit() {
        let mut backoff = Backoff::new(LIMITS);
        let waits: Vec<_> = (0..7).map(|_| backoff.fail(u64::MAX, Duration::ZERO).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
    }

    #[test]
    fn jitter_takes_away_half_at_most() {
        let mut backoff = Backoff::new(LIMITS);
        assert_eq!(backoff.fail(0, Duration::ZERO), Duration::from_millis(500));
        assert_eq!(backoff.fail(0, Duration::ZERO), Duration::from_millis(1_000));
    }

    #[test]
    fn the_upstream_may_ask_for_more_but_not_for_less() {
        let mut backoff = Backoff::new(LIMITS);
        assert_eq!(backoff.fail(0, Duration::from_secs(90)), Duration::from_secs(90));
        assert_eq!(backoff.fail(u64::MAX, Duration::from_millis(1)), Duration::from_secs(2));
    }

    #[test]
    fn success_starts_again_from_the_first_wait() {
        let mut backoff = Backoff::new(LIMITS);
        for _ in 0..200 {
            backoff.fail(7, Duration::ZERO);
        }
        assert_eq!(backoff.fail(u64::MAX, Duration::ZERO), LIMITS.max, "no overflow however often");
        backoff.succeed();
        assert_eq!(backoff.fail(u64::MAX, Duration::ZERO), LIMITS.initial);
    }
}
