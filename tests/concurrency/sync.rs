//! loom's locks and atomics in the form that the roster uses.

pub(super) use loom::sync::Arc;
pub(super) use loom::sync::MutexGuard;
pub(super) use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A lock that is not poisoned, as parking_lot's.
pub(super) struct Mutex<T>(loom::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(super) fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap()
    }
}
