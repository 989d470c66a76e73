//! Who of a loop was woken. Each client and each group has a waker of its own; all of them wake the one loop.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

use parking_lot::Mutex;

/// A place in one of the loop's lists. A place given anew is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) index: u32,
    pub(super) generation: u32,
}

impl Slot {
    pub(super) fn to_bits(self) -> u64 {
        u64::from(self.index) | u64::from(self.generation) << 32
    }

    pub(super) fn from_bits(bits: u64) -> Self {
        // Cut in two: nothing is lost.
        Self { index: bits as u32, generation: (bits >> 32) as u32 }
    }
}

/// Whose waker it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    Client(Slot),
    Group(Slot),
}

#[derive(Debug)]
pub(super) struct Inbox {
    /// Each at most once, so no more than there are wakers.
    woken: Mutex<Vec<Arc<NamedWaker>>>,
    bell: Waker,
}

#[derive(Debug)]
struct NamedWaker {
    name: Name,
    is_noted: AtomicBool,
    inbox: Arc<Inbox>,
}

impl Inbox {
    /// Nobody is in it. Whoever comes rings the loop's bell.
    pub(super) fn new(bell: Waker) -> Arc<Self> {
        Arc::new(Self { woken: Mutex::default(), bell })
    }

    /// A waker that notes this name and wakes the loop.
    pub(super) fn waker(self: &Arc<Self>, name: Name) -> Waker {
        Waker::from(Arc::new(NamedWaker { name, is_noted: AtomicBool::new(false), inbox: Arc::clone(self) }))
    }

    /// Puts who was woken in place of what is in `names`.
    pub(super) fn take(&self, names: &mut Vec<Name>) {
        names.clear();
        let noted = mem::take(&mut *self.woken.lock());
        for waker in noted {
            // Before it is looked after, so that whatever comes from now on is noted again.
            waker.is_noted.store(false, Ordering::Release);
            names.push(waker.name);
        }
    }
}

impl Wake for NamedWaker {
    fn wake(self: Arc<Self>) {
        if self.is_noted.swap(true, Ordering::AcqRel) {
            return;
        }
        let inbox = Arc::clone(&self.inbox);
        inbox.woken.lock().push(self);
        inbox.bell.wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    use std::task::Context;

    use super::super::bell::Bell;
    use super::super::testing::Counter;
    use super::*;

    #[test]
    fn the_loop_is_woken_once_and_told_each_name_once() {
        let counter = Arc::new(Counter::default());
        let of_loop = Waker::from(Arc::clone(&counter));
        let mut cx = Context::from_waker(&of_loop);
        let bell = Arc::new(Bell::default());
        let inbox = Inbox::new(Waker::from(Arc::clone(&bell)));
        let slot = |index| Slot { index, generation: 7 };
        let wakers = [inbox.waker(Name::Client(slot(1))), inbox.waker(Name::Group(slot(1)))];
        let mut names = Vec::new();
        bell.begin();
        inbox.take(&mut names);
        assert_eq!(names, []);
        bell.end(false, &mut cx);
        for waker in [&wakers[0], &wakers[1], &wakers[0]] {
            waker.wake_by_ref();
        }
        assert_eq!(counter.take(), 1);
        bell.begin();
        inbox.take(&mut names);
        assert_eq!(names, [Name::Client(slot(1)), Name::Group(slot(1))]);
        bell.end(false, &mut cx);
        wakers[1].wake_by_ref();
        inbox.take(&mut names);
        assert_eq!((&names[..], counter.take()), (&[Name::Group(slot(1))][..], 1));
    }

    #[test]
    fn a_slot_survives_being_bits() {
        let slot = Slot { index: u32::MAX - 1, generation: 3 };
        assert_eq!(Slot::from_bits(slot.to_bits()), slot);
    }
}
