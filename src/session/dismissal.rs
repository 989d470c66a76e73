//! The word that a client must go, to whoever drives its connection.
//!
//! A client that does not read is not asked for more of its body, so its body can't end it: it has
//! to be told to the connection, beside the body.

use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

/// Why a client is dismissed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DismissReason {
    /// It fell too far behind (spec 7.2).
    Slow,
    /// Nothing could be delivered to it for too long (spec 7.5).
    Reaped,
    /// An operator closed it.
    Operator,
}

impl DismissReason {
    /// A short name for logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::Reaped => "reaped",
            Self::Operator => "operator",
        }
    }
}

/// One client's dismissal, if it comes. The first reason stays.
#[derive(Debug, Default)]
pub struct Dismissal {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    reason: Option<DismissReason>,
    waker: Option<Waker>,
}

impl Dismissal {
    /// Says that the client's connection or stream ends because it takes nothing.
    pub fn reap(&self) {
        self.dismiss(DismissReason::Reaped);
    }

    /// Why the client is dismissed, if it is.
    pub(super) fn reason(&self) -> Option<DismissReason> {
        self.state.lock().reason
    }

    /// Dismisses the client.
    pub(super) fn dismiss(&self, reason: DismissReason) {
        let waker = {
            let mut state = self.state.lock();
            state.reason.get_or_insert(reason);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Wakes whoever watches, without a dismissal: there is something else to look for.
    pub(super) fn nudge(&self) {
        let waker = self.state.lock().waker.clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Ready once the client is dismissed. The last task that asked is woken.
    pub fn poll_dismissed(&self, cx: &Context<'_>) -> Poll<DismissReason> {
        let mut state = self.state.lock();
        if let Some(reason) = state.reason {
            return Poll::Ready(reason);
        }
        match &mut state.waker {
            Some(known) => known.clone_from(cx.waker()),
            waker => *waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}
