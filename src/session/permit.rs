//! How many clients there may be (spec 9.1).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// All clients of all sessions, counted.
#[derive(Debug)]
pub(super) struct Clients {
    count: Arc<AtomicUsize>,
    max: usize,
}

/// The right to be a client; given back when dropped.
#[derive(Debug)]
pub(super) struct ClientPermit(Arc<AtomicUsize>);

impl Clients {
    pub(super) fn new(max: usize) -> Self {
        Self { count: Arc::default(), max }
    }

    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// One more; `None`: there are as many as may be.
    pub(super) fn permit(&self) -> Option<ClientPermit> {
        let is_free = |count| (count < self.max).then_some(count + 1);
        self.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_free).ok()?;
        Some(ClientPermit(Arc::clone(&self.count)))
    }
}

impl Drop for ClientPermit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
