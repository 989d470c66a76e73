//! The last minutes as samples, one a second, so that whoever opens the page sees where things come from.

use std::collections::VecDeque;
use std::time::SystemTime;

use serde_json::{Value, json};

use crate::metrics::Metrics;

/// Five minutes.
const SAMPLES_MAX: usize = 300;

/// One look at what counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    at: SystemTime,
    events: u64,
    deliveries: u64,
    delivered_bytes: u64,
    clients: usize,
}

impl Sample {
    pub(super) fn of(metrics: &Metrics, clients: usize) -> Self {
        Self {
            at: SystemTime::now(),
            events: metrics.events_received.get() + metrics.events_passing.get(),
            deliveries: metrics.deliveries.get(),
            delivered_bytes: metrics.delivered_bytes.get(),
            clients,
        }
    }

    pub(super) fn to_json(self) -> Value {
        json!({
            "at_ms": millis(self.at),
            "events": self.events,
            "deliveries": self.deliveries,
            "delivered_bytes": self.delivered_bytes,
            "clients": self.clients,
        })
    }
}

/// The newest samples, oldest first.
#[derive(Debug, Default)]
pub(super) struct Samples(VecDeque<Sample>);

impl Samples {
    pub(super) fn add(&mut self, sample: Sample) {
        if self.0.len() == SAMPLES_MAX {
            self.0.pop_front();
        }
        self.0.push_back(sample);
    }

    pub(super) fn to_json(&self) -> Value {
        self.0.iter().map(|sample| sample.to_json()).collect()
    }
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
            samples.add(Sample::of(&Metrics::default(), clients));
        }
        let Value::Array(kept) = samples.to_json() else { panic!("a list") };
        assert_eq!(kept.len(), SAMPLES_MAX);
        assert_eq!(kept[0]["clients"], 1, "the oldest went");
    }
}
