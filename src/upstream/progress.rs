//! How far a request's body has come, and whom it waits for: what the response timeout counts from.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

/// Shared by a request's body, which reports, and the wait for its response.
#[derive(Debug, Clone)]
pub(super) struct Progress(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    last: Instant,
    waits_for: Waits,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waits {
    /// The upstream has not taken all yet, or has all and is to answer.
    Upstream,
    /// The upstream would take more, and the client has not sent it.
    Client,
    /// The client's body broke off: nothing more will come.
    Nobody,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(State { last: Instant::now(), waits_for: Waits::Upstream })))
    }

    /// A part of the body was handed on, or its end.
    pub(super) fn moved(&self) {
        *self.0.lock() = State { last: Instant::now(), waits_for: Waits::Upstream };
    }

    pub(super) fn waits_for_client(&self) {
        self.0.lock().waits_for = Waits::Client;
    }

    pub(super) fn broke_off(&self) {
        self.0.lock().waits_for = Waits::Nobody;
    }

    pub(super) fn waits(&self) -> Waits {
        self.0.lock().waits_for
    }

    /// Returns once nothing has moved for `limit`, with whom the request waited for.
    pub(super) async fn stalled(&self, limit: Duration) -> Waits {
        loop {
            let due = self.0.lock().last + limit;
            sleep_until(due).await;
            let state = self.0.lock();
            if state.last + limit <= due {
                return state.waits_for;
            }
        }
    }
}
