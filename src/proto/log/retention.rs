//! What a log keeps, and what it lets go: the ring's depth, the bytes that a slow client may hold
//! back, and the memory that all logs share (spec 6.2, 7.2).

use super::{ENTRY_OVERHEAD, Evicted, Kind, Log, Position, ReplayLimits};

/// Entries beyond the ring before the log asks for a [`Log::trim`].
pub(super) const TRIM_SLACK: usize = 32;

/// Bytes, with overhead, beyond the ring before the log asks for a [`Log::trim`].
pub(super) const TRIM_SLACK_COST: usize = 64 * 1024;

impl Log {
    /// Whether a [`Self::trim`] would be worth the search for the slowest cursor.
    #[must_use]
    pub fn wants_trim(&self) -> bool {
        self.entries.len() - self.ring_len >= self.trim_at || self.extra_cost() >= self.trim_at_cost
    }

    /// Lets go of what neither the ring nor a cursor at or behind `needed` can ask for.
    pub fn trim(&mut self, needed: Position) {
        while let Some(front) = self.entries.front() {
            if front.position >= self.ring_start || front.position >= needed {
                break;
            }
            self.pop_front();
        }
        let cost = &mut self.cost;
        self.entries.retain(|entry| {
            let is_kept = !entry.is_passing() || entry.position >= needed;
            if !is_kept {
                *cost -= entry.cost();
            }
            is_kept
        });
        // Doubling keeps the work of searching and trimming in proportion to what is appended,
        // however long a slow client keeps entries here.
        self.trim_at = TRIM_SLACK.max(2 * (self.entries.len() - self.ring_len));
        self.trim_at_cost = TRIM_SLACK_COST.max(2 * self.extra_cost());
        let len = self.entries.len().max(TRIM_SLACK);
        if self.entries.capacity() > 4 * len {
            self.entries.shrink_to(2 * len);
        }
    }

    /// Gives up the oldest entries until the log holds at most `cost` bytes, with overhead, or
    /// nothing (spec 6.2). Clients that still needed them are lost.
    pub fn shed(&mut self, cost: usize) {
        while self.cost > cost
            && let Some(front) = self.entries.front()
        {
            let after = front.position + 1;
            if front.position >= self.ring_start && !front.is_passing() {
                self.leave_ring();
            }
            self.lost_before = after;
            self.gone_before = after;
            self.pop_front();
        }
        if self.entries.is_empty() {
            self.entries.shrink_to_fit();
        }
        self.opening.forget();
    }

    /// Bytes, with overhead, that are held for connected clients only.
    fn extra_cost(&self) -> usize {
        self.cost - self.ring_bytes - self.ring_len * ENTRY_OVERHEAD
    }

    /// Drops what is held only for clients that are further behind than any may be. It waits until
    /// a quarter more than the limit is held, so that the work stays in proportion.
    pub(super) fn drop_too_far_behind(&mut self) {
        let lag_max = self.settings.client_lag_max;
        if self.extra_cost() <= lag_max + lag_max / 4 {
            return;
        }
        let oldest_offset = self.head_offset - lag_max as u64;
        let first_kept = self.entries.partition_point(|entry| entry.offset < oldest_offset);
        // The newest entry always stays, however large it is: those who are up to date need it.
        let Some(kept) = self.entries.get(first_kept).or_else(|| self.entries.back()) else { return };
        let floor = kept.position;
        self.lost_before = self.lost_before.max(floor);
        self.gone_before = self.gone_before.max(floor.min(self.ring_start));
        self.trim(floor);
    }

    /// Moves the ring's beginning until it is within its limits.
    pub(super) fn shrink_ring(&mut self) {
        let ReplayLimits { events, bytes } = self.settings.replay;
        // Gaps are few, but an upstream could make nothing else.
        let len_max = events.saturating_mul(2).saturating_add(2);
        while self.ring_events > events || self.ring_bytes > bytes || self.ring_len > len_max {
            self.leave_ring();
        }
        self.drop_too_far_behind();
    }

    /// Moves the oldest entry of the ring out of it. There must be one.
    fn leave_ring(&mut self) {
        let index = self.index_of(self.ring_start);
        let oldest = self.entries.range(index..).find(|entry| !entry.is_passing());
        let Some(entry) = oldest else { unreachable!("ring_len counts the ring's entries") };
        self.ring_bytes -= entry.encoded.chunk().len();
        self.ring_len -= 1;
        self.ring_events -= usize::from(matches!(entry.kind, Kind::Event { .. }));
        self.ring_start = entry.position + 1;
        self.evicted_before = self.ring_start;
        self.last_evicted = match entry.kind {
            Kind::Event { epoch, seq, ref upstream, is_its_own, ref moved_to } => Some(Evicted {
                epoch,
                seq,
                upstream: moved_to.as_ref().or_else(|| upstream.as_ref().filter(|_| is_its_own)).cloned(),
            }),
            Kind::Gap | Kind::Passing => None,
        };
    }

    fn pop_front(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.cost -= entry.cost();
        }
    }
}
