//! Where a joining client starts to read (spec 4.8, 6.1, 6.3, 6.4).

use bytes::Bytes;

use super::gap::{Gap, GapReason};
use super::{Cursor, Entry, Evicted, Kind, Log, Position};
use crate::proto::encoder::{self, Encoded};
use crate::proto::event_id::{EventId, EventIds, LastEventId};

/// What a client without `Last-Event-ID` gets first (spec 4.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LateJoin {
    /// What comes from now on.
    Live,
    /// The whole ring.
    Ring,
    /// What the upstream sent first on its present connection, then the ring's newer events.
    Opening,
    /// A greeting fetched for this client alone, then the shared stream.
    Fresh,
}

/// Where a client starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// What it gets before it reads the log.
    pub first: Vec<Encoded>,
    /// Where it reads on.
    pub cursor: Cursor,
}

/// Why a client's place is not in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    /// What the gap notice says.
    pub reason: GapReason,
    /// How many events are gone, where that is known.
    pub missed: Option<u64>,
}

impl Log {
    /// The start of a client that saw nothing yet. [`LateJoin::Fresh`] starts live: the greeting
    /// is fetched elsewhere, and the cursor taken before it is asked for.
    #[must_use]
    pub fn join(&self, late_join: LateJoin) -> Joined {
        match late_join {
            LateJoin::Live | LateJoin::Fresh => Joined { first: Vec::new(), cursor: self.live() },
            LateJoin::Ring => Joined { first: Vec::new(), cursor: self.replay_from(self.ring_start) },
            LateJoin::Opening => self.join_opening(),
        }
    }

    /// The place right behind the client's last event, or why it can't be found.
    ///
    /// # Errors
    /// [`Missing`] where events that followed it are gone, or the id is not of this log.
    pub fn resume(&self, last: &LastEventId) -> Result<Cursor, Missing> {
        let unknown = Missing { reason: GapReason::UnknownId, missed: None };
        match (last, self.settings.event_ids) {
            // A place that was told by the upstream's id alone, to a client that caught up. An entry with
            // that id may be another event, since an upstream may have begun its ids anew: what follows
            // is the upstream's to say (spec 6.7).
            (LastEventId::Own(id), EventIds::Own) if id.seq == 0 && self.knows_epoch(id) => {
                let is_at_start = id.upstream.as_ref().is_some_and(|upstream| self.begins_after(upstream));
                is_at_start.then(|| self.replay_from(self.ring_start)).ok_or(unknown)
            }
            (LastEventId::Own(id), EventIds::Own) => {
                self.resume_own(id).or_else(|missing| {
                    // Another epoch's event can still be found by the upstream's own name for it; and
                    // an id that only looks like ours may be the upstream's.
                    id.upstream
                        .as_ref()
                        .and_then(|upstream| self.after_upstream_id(upstream))
                        .or_else(|| self.after_upstream_id(&last.to_bytes()))
                        .ok_or(missing)
                })
            }
            (LastEventId::Own(id), EventIds::Upstream) => self
                .after_upstream_id(&last.to_bytes())
                .or_else(|| id.upstream.as_ref().and_then(|upstream| self.after_upstream_id(upstream)))
                .ok_or(unknown),
            (LastEventId::Foreign(id), _) => self.after_upstream_id(id).ok_or(unknown),
        }
    }

    /// The start of a client whose place is gone: the gap notice, then the whole ring (spec 6.3).
    #[must_use]
    pub fn join_after_gap(&self, last: &LastEventId, missing: Missing) -> Joined {
        let notice = self.notice(missing, Some(&last.to_bytes()));
        Joined { first: notice.into_iter().collect(), cursor: self.replay_from(self.ring_start) }
    }

    /// The place behind the newest event that bears this upstream id.
    #[must_use]
    pub fn after_upstream_id(&self, id: &[u8]) -> Option<Cursor> {
        if id.is_empty() {
            return None;
        }
        let found = self.entries.iter().rev().find(|entry| match &entry.kind {
            // Events behind it that bear no id of their own are given again rather than lost.
            Kind::Event { upstream, is_its_own, moved_to, .. } => {
                let own = upstream.as_ref().filter(|_| *is_its_own);
                own.into_iter().chain(moved_to).any(|known| known == id)
            }
            Kind::Gap | Kind::Passing => false,
        });
        match found {
            Some(entry) => {
                (entry.position + 1 >= self.evicted_before).then(|| self.replay_from(entry.position + 1))
            }
            None => {
                let last = self.last_evicted.as_ref().and_then(|last| last.upstream.as_ref());
                let is_right_before = last.is_some_and(|last| last == id) || self.begins_after(id);
                is_right_before.then(|| self.replay_from(self.ring_start))
            }
        }
    }

    /// The place of the event with this upstream id and this content, if a replay may begin with
    /// it: where a client that catches up joins (spec 6.7). Content counts, since an upstream may
    /// number the events of each connection anew.
    #[must_use]
    pub fn at_event(&self, id: &[u8], event_type: &[u8], data: &[u8]) -> Option<Cursor> {
        let place = self.place_of_event(id, event_type, data)?;
        (place >= self.evicted_before).then(|| self.replay_from(place))
    }

    /// The place behind that event.
    #[must_use]
    pub fn behind_event(&self, id: &[u8], event_type: &[u8], data: &[u8]) -> Option<Cursor> {
        let place = self.place_of_event(id, event_type, data)? + 1;
        (place >= self.evicted_before).then(|| self.replay_from(place))
    }

    fn place_of_event(&self, id: &[u8], event_type: &[u8], data: &[u8]) -> Option<Position> {
        let is_same = |entry: &&Entry| match &entry.kind {
            Kind::Event { epoch, seq, upstream: Some(upstream), is_its_own: true, .. } if upstream == id => {
                let shown = match self.settings.event_ids {
                    EventIds::Own => {
                        EventId { epoch: *epoch, seq: *seq, upstream: Some(upstream.clone()) }.to_bytes()
                    }
                    EventIds::Upstream => id.to_vec(),
                };
                encoder::event(Some(&shown), event_type, data).payload() == entry.encoded.payload()
            }
            Kind::Event { .. } | Kind::Gap | Kind::Passing => false,
        };
        self.entries.iter().rev().find(is_same).map(|entry| entry.position)
    }

    /// Whether the log's very first entry is what followed this upstream id.
    fn begins_after(&self, id: &[u8]) -> bool {
        self.evicted_before == 0 && self.start.as_ref().is_some_and(|start: &Bytes| start == id)
    }

    fn knows_epoch(&self, id: &EventId) -> bool {
        self.epochs.iter().any(|span| span.epoch == id.epoch)
    }

    fn resume_own(&self, id: &EventId) -> Result<Cursor, Missing> {
        let Some(index) = self.epochs.iter().position(|span| span.epoch == id.epoch) else {
            return Err(Missing { reason: GapReason::OtherEpoch, missed: None });
        };
        let span = self.epochs[index];
        // No event has the number 0: it stands for a place that only the upstream's id tells.
        if id.seq > span.last_seq && span.is_torn && id.upstream.is_none() {
            // It saw all that was kept of this numbering, and what a crash has lost besides.
            return self.replay_if_kept(span.end);
        }
        if id.seq == 0 || id.seq > span.last_seq {
            return Err(Missing { reason: GapReason::UnknownId, missed: None });
        }
        let is_last_evicted = |last: &Evicted| (last.epoch, last.seq) == (id.epoch, id.seq);
        if self.last_evicted.as_ref().is_some_and(is_last_evicted) {
            return Ok(self.replay_from(self.ring_start));
        }
        let place = if id.seq == span.last_seq { Some(span.end) } else { self.place_after(id) };
        match place {
            Some(place) if place >= self.evicted_before => Ok(self.replay_from(place)),
            Some(_) | None => {
                let is_newest = index + 1 == self.epochs.len();
                let first_kept = self.oldest_in_ring().map_or(span.last_seq + 1, |id| id.seq);
                let missed = is_newest.then(|| first_kept.saturating_sub(id.seq + 1));
                Err(Missing { reason: GapReason::TooOld, missed })
            }
        }
    }

    fn replay_if_kept(&self, place: Position) -> Result<Cursor, Missing> {
        let is_kept = place >= self.evicted_before;
        is_kept.then(|| self.replay_from(place)).ok_or(Missing { reason: GapReason::TooOld, missed: None })
    }

    fn place_after(&self, id: &EventId) -> Option<Position> {
        self.entries.iter().rev().find_map(|entry| match entry.kind {
            Kind::Event { epoch, seq, .. } if (epoch, seq) == (id.epoch, id.seq) => Some(entry.position + 1),
            Kind::Event { .. } | Kind::Gap | Kind::Passing => None,
        })
    }

    fn join_opening(&self) -> Joined {
        let until = self.opening.until();
        let mut first = self.opening.events().to_vec();
        if until < self.evicted_before {
            let missing = Missing { reason: GapReason::TooOld, missed: None };
            first.extend(self.notice(missing, None));
        }
        Joined { first, cursor: self.replay_from(until.max(self.ring_start)) }
    }

    fn notice(&self, missing: Missing, requested: Option<&[u8]>) -> Option<Encoded> {
        let name = self.settings.gap_event.as_deref()?;
        let oldest = match (self.oldest_in_ring(), self.settings.event_ids) {
            (Some(id), EventIds::Own) => Some(id.to_bytes()),
            (Some(id), EventIds::Upstream) => id.upstream.map(|id| id.to_vec()),
            (None, EventIds::Own | EventIds::Upstream) => self.next_id_text(),
        };
        let Missing { reason, missed } = missing;
        Some(Gap { reason, requested, oldest: oldest.as_deref(), missed }.encode(name))
    }

    fn oldest_in_ring(&self) -> Option<EventId> {
        let index = self.index_of(self.ring_start);
        self.entries.range(index..).find_map(|entry| match &entry.kind {
            Kind::Event { epoch, seq, upstream, .. } => {
                Some(EventId { epoch: *epoch, seq: *seq, upstream: upstream.clone() })
            }
            Kind::Gap | Kind::Passing => None,
        })
    }

    fn live(&self) -> Cursor {
        Cursor { next: self.head, live_from: self.head }
    }

    fn replay_from(&self, place: Position) -> Cursor {
        Cursor { next: place, live_from: self.head }
    }
}
