//! What [`super::roster`] is built on, so that the proof of it (`tests/concurrency`) can put loom's in
//! its place.

pub(super) use std::sync::Arc;
pub(super) use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

pub(super) use parking_lot::{Mutex, MutexGuard};
