//! Keeps all rings together within `--memory-budget` (spec 6.2).

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::registry::Inner;
use super::shared::Session;

/// The least time between two searches for rings that can be given up, when the last one found none.
const RECLAIM_INTERVAL: Duration = Duration::from_secs(1);

impl Inner {
    /// Counts what the session's log holds now, and gives up rings if all together are over the
    /// budget: those of sessions without clients, longest unused first, then this one's.
    pub(super) fn settle(&self, session: &Session, now: Instant) {
        let over = self.count(session);
        if over == 0 {
            return;
        }
        let over = self.reclaim(over, now);
        if over > 0 {
            let mut log = session.log.write();
            let keep = log.cost().saturating_sub(over);
            log.shed(keep);
            drop(log);
            self.count(session);
        }
    }

    fn count(&self, session: &Session) -> usize {
        let after = session.log.read().cost();
        let before = session.accounted.swap(after, Ordering::Relaxed);
        self.budget.changed(before, after)
    }

    /// The session's log is no longer held.
    pub(super) fn release(&self, session: &Session) {
        let before = session.accounted.swap(0, Ordering::Relaxed);
        self.budget.changed(before, 0);
    }

    fn reclaim(&self, mut over: usize, now: Instant) -> usize {
        let millis = self.millis(now);
        if millis < self.next_reclaim.load(Ordering::Relaxed) {
            return over;
        }
        let mut unused: Vec<_> = self
            .all()
            .into_iter()
            .filter_map(|session| match session.alone_since.load(Ordering::Relaxed) {
                0 => None,
                since => Some((since, session)),
            })
            .collect();
        unused.sort_unstable_by_key(|(since, _)| *since);
        for (_, session) in unused {
            if over == 0 {
                return 0;
            }
            let mut log = session.log.write();
            let keep = log.cost().saturating_sub(over);
            log.shed(keep);
            drop(log);
            over = self.count(&session);
            tracing::info!(
                session = session.name(),
                "memory budget reached: gave up the ring of an unused session"
            );
        }
        if over > 0 {
            let interval = u64::try_from(RECLAIM_INTERVAL.as_millis()).unwrap_or(u64::MAX);
            self.next_reclaim.store(millis.saturating_add(interval), Ordering::Relaxed);
        }
        over
    }
}
