//! What wakes a loop.
//!
//! A loop that is awake comes again by itself, after the other tasks that are ready and after the runtime has asked the kernel
//! for news: an upstream that sends much is read before it is written to a thousand clients, and then in one piece. A wake
//! must not bring the loop back before that: the runtime runs next whom a task wakes, and each of a thousand newcomers
//! would hand the core to a loop in the midst of its writes.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

use parking_lot::Mutex;

/// The bell of one loop: it is what all that the loop waits for wakes.
#[derive(Debug, Default)]
pub(super) struct Bell {
    of_loop: Mutex<Option<Waker>>,
    /// It rang since the loop began its turn.
    has_rung: AtomicBool,
    /// The loop is at its turn, or will have another one without being woken.
    is_coming: AtomicBool,
}

impl Bell {
    /// The loop begins a turn, and looks at everything that could have rung; answers whether anything did since its last.
    pub(super) fn begin(&self) -> bool {
        self.is_coming.store(true, Ordering::SeqCst);
        self.has_rung.swap(false, Ordering::SeqCst)
    }

    /// The loop ends its turn. It comes again, or waits for the bell.
    pub(super) fn end(&self, comes_again: bool, cx: &mut Context<'_>) {
        if !comes_again {
            {
                let mut of_loop = self.of_loop.lock();
                match &mut *of_loop {
                    Some(known) => known.clone_from(cx.waker()),
                    None => *of_loop = Some(cx.waker().clone()),
                }
            }
            self.is_coming.store(false, Ordering::SeqCst);
            // In this order: who rings looks whether the loop is coming after it has left its mark.
            if !self.has_rung.load(Ordering::SeqCst) {
                return;
            }
            self.is_coming.store(true, Ordering::SeqCst);
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
        self.has_rung.store(true, Ordering::SeqCst);
        if self.is_coming.load(Ordering::SeqCst) {
            return;
        }
        if let Some(of_loop) = &*self.of_loop.lock() {
            of_loop.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Counter(AtomicUsize);

    impl Wake for Counter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_loop_is_woken_only_where_it_does_not_come_by_itself() {
        let counter = Arc::new(Counter::default());
        let of_loop = Waker::from(Arc::clone(&counter));
        let mut cx = Context::from_waker(&of_loop);
        let woken = || counter.0.swap(0, Ordering::SeqCst);
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
