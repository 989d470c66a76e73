//! What wakes a loop.
//!
//! A loop that is awake comes again by itself, after the other tasks that are ready and after the runtime has asked the kernel
//! for news: an upstream that sends much is read before it is written to a thousand clients, and then in one piece. A wake
//! must not bring the loop back before that: the runtime runs next whom a task wakes, and each of a thousand newcomers
//! would hand the core to a loop in the midst of its writes.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Wake, Waker};

use parking_lot::Mutex;

/// The bell of one loop: it is what all that the loop waits for wakes.
#[derive(Debug)]
pub(super) struct Bell {
    /// One of [`ASLEEP`], [`AWAKE`] and [`RUNG`].
    state: AtomicU8,
    /// Set when the loop falls asleep.
    of_loop: Mutex<Option<Waker>>,
}

/// The loop waits to be woken.
const ASLEEP: u8 = 0;
/// The loop is at its turn, or will have another one without being woken.
const AWAKE: u8 = 1;
/// As [`AWAKE`], and something rang since the loop's last turn began.
const RUNG: u8 = 2;

impl Default for Bell {
    fn default() -> Self {
        Self { state: AtomicU8::new(AWAKE), of_loop: Mutex::new(None) }
    }
}

impl Bell {
    /// The loop begins a turn, and looks at everything that could have rung; answers whether anything did since it
    /// began its last.
    pub(super) fn begin(&self) -> bool {
        self.state.swap(AWAKE, Ordering::AcqRel) == RUNG
    }

    /// The loop ends its turn. It comes again, or sleeps until the bell rings, unless that has happened in the turn.
    pub(super) fn end(&self, comes_again: bool, cx: &mut Context<'_>) {
        if !comes_again {
            {
                let mut of_loop = self.of_loop.lock();
                match &mut *of_loop {
                    Some(known) => known.clone_from(cx.waker()),
                    None => *of_loop = Some(cx.waker().clone()),
                }
            }
            if self.state.compare_exchange(AWAKE, ASLEEP, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                return;
            }
        }
        come_again(cx);
    }
}

/// Has the loop polled again after the tasks that are ready, and after the runtime has asked the kernel for news. A mere wake
/// would have it go round 61 times before that.
fn come_again(cx: &mut Context<'_>) {
    // Its first poll says so to the runtime; that is all that it is for.
    let _ = pin!(tokio::task::yield_now()).poll(cx);
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.swap(RUNG, Ordering::AcqRel) != ASLEEP {
            return;
        }
        if let Some(of_loop) = &*self.of_loop.lock() {
            of_loop.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Counter;
    use super::*;

    #[test]
    fn a_loop_is_woken_only_where_it_does_not_come_by_itself() {
        let counter = Arc::new(Counter::default());
        let of_loop = Waker::from(Arc::clone(&counter));
        let mut cx = Context::from_waker(&of_loop);
        let woken = || counter.take();
        let bell = Arc::new(Bell::default());
        let ringer = Waker::from(Arc::clone(&bell));

        bell.begin();
        bell.end(false, &mut cx);
        assert_eq!(woken(), 0, "nothing to do");
        ringer.wake_by_ref();
        assert_eq!(woken(), 1, "it sleeps");

        assert!(bell.begin());
        ringer.wake_by_ref();
        assert_eq!(woken(), 0, "it is at its turn");
        bell.end(false, &mut cx);
        assert_eq!(woken(), 1, "it may have looked there before");

        assert!(bell.begin());
        bell.end(true, &mut cx);
        assert_eq!(woken(), 1, "it asks for another turn");
        ringer.wake_by_ref();
        assert_eq!(woken(), 0, "and needs no other wake");

        assert!(bell.begin());
        bell.end(true, &mut cx);
        assert_eq!(woken(), 1);
        assert!(!bell.begin(), "nothing happened");
        bell.end(false, &mut cx);
        assert_eq!(woken(), 0, "what rang before the turn is looked at in it");
    }
}
