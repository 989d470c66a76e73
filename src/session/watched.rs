//! A value that many wait for. As `tokio::sync::watch`, but it wakes those who wait in the order in
//! which they came, so that a simulated run is the same each time; tokio's draws lots.

use parking_lot::Mutex;
use tokio::sync::Notify;

/// The value, and who waits for it.
#[derive(Debug)]
pub(super) struct Watched<T> {
    value: Mutex<T>,
    changed: Notify,
}

impl<T: Clone> Watched<T> {
    pub(super) fn new(value: T) -> Self {
        Self { value: Mutex::new(value), changed: Notify::new() }
    }

    pub(super) fn get(&self) -> T {
        self.value.lock().clone()
    }

    pub(super) fn set(&self, value: T) {
        *self.value.lock() = value;
        self.changed.notify_waiters();
    }

    /// Changes it where `change` says that it did.
    pub(super) fn set_if(&self, change: impl FnOnce(&mut T) -> bool) {
        let is_changed = change(&mut self.value.lock());
        if is_changed {
            self.changed.notify_waiters();
        }
    }

    /// Waits until the value is as wanted; gives it.
    pub(super) async fn wait_for(&self, is_wanted: impl Fn(&T) -> bool) -> T {
        loop {
            // Before the look, so that no change between the two is missed.
            let changed = self.changed.notified();
            let value = self.get();
            if is_wanted(&value) {
                return value;
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn those_who_wait_are_woken_in_order_and_no_change_is_missed() {
        let watched = Arc::new(Watched::new(0));
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut waiting = tokio::task::JoinSet::new();
        for number in 0..20 {
            let (watched, order) = (Arc::clone(&watched), Arc::clone(&order));
            waiting.spawn(async move {
                watched.wait_for(|value| *value == 2).await;
                order.lock().push(number);
            });
        }
        tokio::task::yield_now().await;
        watched.set(1);
        watched.set_if(|value| {
            *value += 1;
            true
        });
        waiting.join_all().await;
        assert!(order.lock().is_sorted(), "{order:?}");
        assert_eq!(watched.wait_for(|value| *value == 2).await, 2, "what is there is not waited for");
    }
}
