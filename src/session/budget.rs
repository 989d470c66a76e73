//! What all logs together may hold (spec 6.2).

use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts bytes held by all logs against one limit.
#[derive(Debug)]
pub(super) struct Budget {
    bytes_max: usize,
    held: AtomicUsize,
}

impl Budget {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, held: AtomicUsize::new(0) }
    }

    /// A log that held `before` bytes now holds `after`. Answers by how much all together are over
    /// the limit: so much must be given up.
    pub(super) fn changed(&self, before: usize, after: usize) -> usize {
        let held = if after >= before {
            self.held.fetch_add(after - before, Ordering::Relaxed) + (after - before)
        } else {
            self.held.fetch_sub(before - after, Ordering::Relaxed) - (before - after)
        };
        held.saturating_sub(self.bytes_max)
    }

    /// The limit.
    pub(super) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Bytes held now.
    pub(super) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_over_the_limit_must_go() {
        let budget = Budget::new(100);
        assert_eq!(budget.changed(0, 60), 0);
        assert_eq!(budget.changed(0, 70), 30);
        assert_eq!(budget.changed(70, 10), 0);
        assert_eq!(budget.held(), 70);
    }
}
