//! The overview once a second, made once for all who watch.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;

use super::samples::{Sample, Samples};
use super::state::State;

/// Time between two samples.
const EVERY: Duration = Duration::from_secs(1);

/// Takes samples, and tells watchers. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Feed {
    state: State,
    samples: Arc<Mutex<Samples>>,
    newest: watch::Sender<Bytes>,
}

impl Feed {
    pub(super) fn new(state: State) -> Self {
        Self { state, samples: Arc::default(), newest: watch::Sender::new(Bytes::new()) }
    }

    /// Takes samples for ever.
    pub(super) async fn run(self) {
        let mut ticks = tokio::time::interval(EVERY);
        // A late sample says when it was taken; there is no use in two at once.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.state.take_sample(&mut self.samples.lock());
            if self.newest.receiver_count() > 0 {
                self.newest.send_replace(event("overview", &self.overview()));
            }
        }
    }

    /// The overview with the samples so far.
    pub(super) fn full(&self) -> Value {
        let mut overview = self.overview();
        overview["samples"] = self.samples.lock().to_json();
        overview
    }

    /// Everything once, then what is new each second.
    pub(super) async fn tell(self, out: mpsc::Sender<Bytes>) {
        let mut newest = self.newest.subscribe();
        let mut next = event("overview", &self.full());
        // A watcher that is slow misses some: each is whole.
        while out.send(next).await.is_ok() && newest.changed().await.is_ok() {
            next = newest.borrow_and_update().clone();
        }
    }

    fn overview(&self) -> Value {
        let mut overview = self.state.overview();
        overview["now"] = self.newest().map_or(Value::Null, Sample::to_json);
        overview
    }

    /// The first is taken by whoever comes first.
    fn newest(&self) -> Option<Sample> {
        let mut samples = self.samples.lock();
        if samples.newest().is_none() {
            self.state.take_sample(&mut samples);
        }
        samples.newest()
    }
}

/// An event whose data is JSON.
pub(super) fn event(name: &str, data: &Value) -> Bytes {
    Bytes::from(format!("event: {name}\ndata: {data}\n\n"))
}
