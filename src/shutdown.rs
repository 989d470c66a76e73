//! How the program is told to stop: first to drain, then at once (spec 11).

use tokio_util::sync::CancellationToken;

/// The two stages of stopping, seen by all parts. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    draining: CancellationToken,
    now: CancellationToken,
}

impl Shutdown {
    /// Take nothing new, finish what runs.
    pub fn drain(&self) {
        self.draining.cancel();
    }

    /// Stop at once.
    pub fn stop(&self) {
        self.draining.cancel();
        self.now.cancel();
    }

    /// Whether nothing new should be taken.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Waits for the first stage.
    pub async fn draining(&self) {
        self.draining.cancelled().await;
    }

    /// Waits for the second stage.
    pub async fn stopped(&self) {
        self.now.cancelled().await;
    }
}
