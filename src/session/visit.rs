//! One client's visit: who it is, since when, and what it got.

use std::net::IpAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What its reader notes, and operators see.
#[derive(Debug)]
pub(super) struct Visit {
    began: Instant,
    /// The other end of its connection, known when it is sent its head.
    peer: OnceLock<IpAddr>,
    bytes: AtomicU64,
}

impl Visit {
    /// It begins now.
    pub(super) fn new() -> Self {
        Self { began: now(), peer: OnceLock::new(), bytes: AtomicU64::new(0) }
    }

    /// The client's head is on its way; answers how long it waited.
    pub(super) fn head_sent(&self, peer: IpAddr) -> Duration {
        // A client has one head.
        let _ = self.peer.set(peer);
        self.lasted()
    }

    pub(super) fn lasted(&self) -> Duration {
        now().saturating_duration_since(self.began)
    }

    pub(super) fn peer(&self) -> Option<IpAddr> {
        self.peer.get().copied()
    }

    /// Only its reader says so, and it is in one place at a time: no other writer can come between.
    pub(super) fn got(&self, bytes: u64) {
        self.bytes.store(self.bytes.load(Ordering::Relaxed) + bytes, Ordering::Relaxed);
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
