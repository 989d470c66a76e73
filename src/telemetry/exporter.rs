//! The way of ended spans to the collector: a bounded queue, batches, retries, and a last try at the end.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::collector::{Collector, Verdict};
use super::span::Span;
use crate::metrics::{Metrics, SpanLoss};
use crate::proto::backoff::{Backoff, BackoffLimits};

/// Spans that wait for the collector; those that find no room are dropped. With their longest values they take some
/// 6 MiB.
pub(super) const SPANS_QUEUED_MAX: usize = 2048;

/// Spans in one request.
const BATCH_SPANS_MAX: usize = 512;

/// How long a span waits for others to be sent with it.
const BATCH_WAIT: Duration = Duration::from_secs(1);

/// How often a batch is tried before it is dropped.
const TRIES_MAX: u32 = 5;

/// Between tries, over all batches: a collector that is away is asked twice a minute.
const BACKOFF: BackoffLimits =
    BackoffLimits { initial: Duration::from_secs(1), max: Duration::from_secs(30) };

/// The longest wait that a collector may ask for.
const WAIT_MAX: Duration = Duration::from_secs(120);

/// How long the end may take: what is not taken by then is lost.
pub(crate) const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// A collector that is away is told of once in this time.
const COMPLAINT_EVERY: Duration = Duration::from_secs(60);

/// Sends ended spans to the collector until it is told to stop.
#[derive(Debug)]
pub struct Exporter {
    spans: mpsc::Receiver<Span>,
    /// What is being sent.
    batch: Vec<Span>,
    collector: Collector,
    /// The collector's address, for log lines.
    endpoint: String,
    metrics: Arc<Metrics>,
    backoff: Backoff,
    complained: Option<Instant>,
}

impl Exporter {
    pub(super) fn new(
        spans: mpsc::Receiver<Span>,
        collector: Collector,
        endpoint: String,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (batch, backoff) = (Vec::new(), Backoff::new(BACKOFF));
        Self { spans, batch, collector, endpoint, metrics, backoff, complained: None }
    }

    /// Runs until `stop`, and then for two seconds at most, to get rid of what is left.
    pub async fn run(mut self, stop: CancellationToken) {
        tracing::info!(endpoint = self.endpoint, "spans are exported");
        let too_late = async {
            stop.cancelled().await;
            sleep(FLUSH_TIMEOUT).await;
        };
        tokio::select! {
            () = self.work(&stop) => {}
            () = too_late => {}
        }
        let left = self.batch.len() + self.spans.len();
        if left > 0 {
            self.metrics.spans_dropped.add(SpanLoss::NotTaken, left as u64);
            tracing::warn!(
                endpoint = self.endpoint,
                spans = left,
                "stopping: spans were not exported in time"
            );
        }
    }

    async fn work(&mut self, stop: &CancellationToken) {
        while self.gather(stop).await {
            self.deliver(stop).await;
        }
    }

    /// Fills the batch; `false`: stopping, and nothing is left.
    async fn gather(&mut self, stop: &CancellationToken) -> bool {
        let first = tokio::select! {
            biased;
            span = self.spans.recv() => span,
            () = stop.cancelled() => None,
        };
        let Some(first) = first else { return false };
        self.batch.push(first);
        let due = Instant::now() + BATCH_WAIT;
        while self.batch.len() < BATCH_SPANS_MAX {
            let next = tokio::select! {
                biased;
                span = self.spans.recv() => span,
                () = sleep_until(due) => None,
                () = stop.cancelled() => None,
            };
            let Some(next) = next else { break };
            self.batch.push(next);
        }
        true
    }

    /// Sends the batch, again and again if need be; empties it in any case.
    async fn deliver(&mut self, stop: &CancellationToken) {
        for tried in 1..=TRIES_MAX {
            let (why, wait) = match self.collector.send(&self.batch).await {
                Verdict::Taken(partial) => {
                    self.taken(partial.rejected, &partial.message);
                    return;
                }
                Verdict::Refused { why } => {
                    self.complain(&why);
                    break;
                }
                Verdict::NotNow { why, wait } => (why, wait.min(WAIT_MAX)),
            };
            if tried > 1 || self.complained.is_some() {
                // A first failure may be no more than a connection that was idle too long.
                self.complain(&why);
            }
            if tried == TRIES_MAX || stop.is_cancelled() {
                self.complain(&why);
                break;
            }
            let wait = self.backoff.fail(jitter(), wait);
            tokio::select! {
                () = sleep(wait) => {}
                // The last try.
                () = stop.cancelled() => {}
            }
        }
        self.metrics.spans_dropped.add(SpanLoss::NotTaken, self.batch.len() as u64);
        self.batch.clear();
    }

    fn taken(&mut self, rejected: u64, message: &str) {
        let sent = self.batch.len() as u64;
        self.batch.clear();
        let rejected = rejected.min(sent);
        self.metrics.spans_exported.add(sent - rejected);
        self.metrics.spans_dropped.add(SpanLoss::Rejected, rejected);
        self.backoff.succeed();
        if rejected > 0 || !message.is_empty() {
            self.complain(&format!("it rejects {rejected} of {sent} spans: {message}"));
        } else if self.complained.take().is_some() {
            tracing::info!(endpoint = self.endpoint, "the collector takes spans again");
        }
    }

    fn complain(&mut self, why: &str) {
        let now = Instant::now();
        if self.complained.is_some_and(|last| now < last + COMPLAINT_EVERY) {
            return;
        }
        self.complained = Some(now);
        let dropped = self.metrics.spans_dropped.total();
        tracing::warn!(endpoint = self.endpoint, why, dropped, "the collector does not take spans");
    }
}

/// Any number; without one there is no jitter, and no harm in that.
fn jitter() -> u64 {
    getrandom::u64().unwrap_or(0)
}

#[cfg(test)]
mod tests;
