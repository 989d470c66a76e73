//! The last minutes as samples, one a second, so that whoever opens the page sees where things come from.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::metrics::{Closed, Metrics};

/// Five minutes.
const SAMPLES_MAX: usize = 300;

/// Looks over whose time the quantiles of the delivery lag are taken: few enough to move, enough to be steady.
const LAG_LOOKS: usize = 10;

/// One look at what counts. Counts are those since the start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    at: SystemTime,
    events: u64,
    deliveries: u64,
    delivered_bytes: u64,
    clients: usize,
    gaps: u64,
    clients_slow: u64,
    clients_reaped: u64,
    refused: u64,
    /// Half of what was delivered in the last ten looks came within this time; `None`: nothing was.
    lag_p50: Option<Duration>,
    /// 99 of 100 did.
    lag_p99: Option<Duration>,
}

impl Sample {
    pub(super) fn to_json(self) -> Value {
        let seconds = |lag: Option<Duration>| lag.map(|lag| lag.as_secs_f64());
        json!({
            "at_ms": millis(self.at),
            "events": self.events,
            "deliveries": self.deliveries,
            "delivered_bytes": self.delivered_bytes,
            "clients": self.clients,
            "gaps": self.gaps,
            "clients_slow": self.clients_slow,
            "clients_reaped": self.clients_reaped,
            "refused": self.refused,
            "lag_p50_seconds": seconds(self.lag_p50),
            "lag_p99_seconds": seconds(self.lag_p99),
        })
    }
}

/// The newest samples, oldest first.
#[derive(Debug, Default)]
pub(super) struct Samples {
    kept: VecDeque<Sample>,
    /// The classes of the delivery lag at the last looks, oldest first.
    lags: VecDeque<Box<[u64]>>,
}

impl Samples {
    /// Takes one more.
    pub(super) fn take(&mut self, metrics: &Metrics, clients: usize) {
        let lags = metrics.delivery_lag.counts();
        let before = self.lags.front().unwrap_or(&lags);
        let lag = |share| metrics.delivery_lag.quantile(before, &lags, share);
        let sample = Sample {
            at: SystemTime::now(),
            events: metrics.events_received.get() + metrics.events_passing.get(),
            deliveries: metrics.deliveries.get(),
            delivered_bytes: metrics.delivered_bytes.get(),
            clients,
            gaps: metrics.gaps.total(),
            clients_slow: metrics.clients_closed.get(Closed::Slow),
            clients_reaped: metrics.clients_closed.get(Closed::Reaped),
            refused: metrics.refused_total(),
            lag_p50: lag(0.5),
            lag_p99: lag(0.99),
        };
        push(&mut self.kept, sample, SAMPLES_MAX);
        push(&mut self.lags, lags, LAG_LOOKS);
    }

    pub(super) fn newest(&self) -> Option<Sample> {
        self.kept.back().copied()
    }

    pub(super) fn to_json(&self) -> Value {
        self.kept.iter().map(|sample| sample.to_json()).collect()
    }
}

fn push<T>(list: &mut VecDeque<T>, item: T, max: usize) {
    if list.len() == max {
        list.pop_front();
    }
    list.push_back(item);
}

/// Milliseconds since 1970.
pub(super) fn millis(at: SystemTime) -> u64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_are_kept() {
        let mut samples = Samples::default();
        for clients in 0..=SAMPLES_MAX {
            samples.take(&Metrics::default(), clients);
        }
        let Value::Array(kept) = samples.to_json() else { panic!("a list") };
        assert_eq!(kept.len(), SAMPLES_MAX);
        assert_eq!(kept[0]["clients"], 1, "the oldest went");
    }

    #[test]
    fn the_lag_is_that_of_the_last_looks() {
        let metrics = Metrics::default();
        let mut samples = Samples::default();
        samples.take(&metrics, 0);
        metrics.delivery_lag.observe(Duration::from_millis(5));
        for look in 0..LAG_LOOKS {
            samples.take(&metrics, 0);
            assert!(samples.newest().unwrap().lag_p99.is_some(), "look {look}");
        }
        samples.take(&metrics, 0);
        assert_eq!(samples.newest().unwrap().lag_p99, None, "it is too long ago");
    }
}
