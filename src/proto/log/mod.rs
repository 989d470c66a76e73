//! The event log of one session: the newest events, oldest first, read through cursors (spec 1,
//! 5.4, 6, 7.1, 7.2).
//!
//! Each entry is stored once, as the bytes that clients get; a client costs a [`Cursor`]. The
//! newest events are the *ring*, kept for replay. Entries before the ring are kept while a
//! connected client still needs them, within a bound; passing entries are kept only for connected
//! clients. Asking for an entry that is gone answers so; the log never skips silently.
//!
//! Knows nothing of sockets, tasks, wakers or clocks.

mod chunks;
mod gap;
mod opening;
mod record;
mod resume;
mod retention;

use std::collections::VecDeque;
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use self::opening::Opening;
use super::encoder::{self, Encoded};
use super::event_id::{Epoch, EventId, EventIds};

pub use chunks::{Chunk, Chunks, Found};
pub use gap::{Gap, GapReason};
pub use record::{BadRecord, Changes};
pub use resume::{Joined, LateJoin, Missing};

/// A place in the log: the number of entries of all kinds appended before it.
pub type Position = u64;

/// What an entry costs in memory beside its bytes; counted where memory is bounded, so that a
/// stream of tiny entries is bounded too.
pub const ENTRY_OVERHEAD: usize = 128;

/// How much a ring keeps (spec 6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayLimits {
    /// Events.
    pub events: usize,
    /// Bytes, as encoded.
    pub bytes: usize,
}

/// How a log is kept.
#[derive(Debug, Clone)]
pub struct LogSettings {
    /// The ring.
    pub replay: ReplayLimits,
    /// How far a connected client may fall behind, in bytes with [`ENTRY_OVERHEAD`] (spec 7.2).
    pub client_lag_max: usize,
    /// Whose ids the entries carry.
    pub event_ids: EventIds,
    /// The type of gap notices; `None`: no notices.
    pub gap_event: Option<String>,
    /// What the first events are kept for: only [`LateJoin::Opening`] needs them beside the ring.
    pub late_join: LateJoin,
}

/// Why a session's stream ended for its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EndReason {
    /// The upstream's stream came to its end (spec 8.1).
    Finished,
    /// The upstream gave an answer that ends a session (spec 8.7).
    Refused(u16),
    /// Failing attempts went on for too long (spec 8.4).
    GivenUp,
    /// Nobody came back in time (spec 4.6).
    Lingered,
    /// ssecar is stopping (spec 11).
    Draining,
    /// An operator ended it, or its task could not go on.
    Closed,
}

impl EndReason {
    /// A short name for logs, metrics and the status event.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Refused(_) => "refused",
            Self::GivenUp => "given-up",
            Self::Lingered => "lingered",
            Self::Draining => "draining",
            Self::Closed => "closed",
        }
    }
}

/// A client's place: what it reads next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    next: Position,
    /// Where the client became live: passing entries before this place are not for it.
    live_from: Position,
}

impl Cursor {
    /// The oldest entry that this client may still need.
    #[must_use]
    pub fn next(&self) -> Position {
        self.next
    }

    /// Whether everything from here on is for it.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.next >= self.live_from
    }
}

/// What a cursor finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// The next entries; the cursor has moved behind them.
    Batch(Batch),
    /// Nothing new.
    UpToDate,
    /// What came next is gone: the client fell too far behind.
    Lost,
    /// Nothing new, and nothing will come.
    Ended(EndReason),
}

/// Entries that are given to a client at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// As event-stream text.
    pub text: Bytes,
    /// How many are events.
    pub events: u64,
    /// When the first that the client did not ask for (by a replay) came from the upstream.
    pub arrived: Option<Instant>,
}

#[derive(Debug)]
struct Entry {
    position: Position,
    /// Bytes (with overhead) of all entries appended before this one.
    offset: u64,
    kind: Kind,
    /// Not a comment, a `retry` or a notice.
    is_event: bool,
    /// When it came from the upstream; `None`: before a restart, or made here.
    arrived: Option<Instant>,
    encoded: Encoded,
}

#[derive(Debug)]
enum Kind {
    /// Has an id and a place in the ring.
    Event {
        epoch: Epoch,
        seq: u64,
        /// The last upstream id up to this event.
        upstream: Option<Bytes>,
        /// Whether that id is this very event's.
        is_its_own: bool,
        /// An id that a block without data set after it.
        moved_to: Option<Bytes>,
    },
    /// A gap between its neighbours: has a place in the ring, so that a replay tells it too.
    Gap,
    /// For connected clients only.
    Passing,
}

impl Entry {
    fn cost(&self) -> usize {
        self.encoded.chunk().len() + ENTRY_OVERHEAD
    }

    fn is_passing(&self) -> bool {
        matches!(self.kind, Kind::Passing)
    }

    /// When it came from the upstream, unless the client asked for it by a replay.
    fn arrived_for(&self, cursor: &Cursor) -> Option<Instant> {
        self.arrived.filter(|_| self.position >= cursor.live_from)
    }
}

/// An event that has just left the ring.
#[derive(Debug)]
struct Evicted {
    epoch: Epoch,
    seq: u64,
    upstream: Option<Bytes>,
}

/// One unbroken numbering.
#[derive(Debug, Clone, Copy)]
struct EpochSpan {
    epoch: Epoch,
    /// The number of its newest event; 0: none yet.
    last_seq: u64,
    /// Where its numbers end: the place behind its newest event.
    end: Position,
    /// Clients may have seen higher numbers, which a crash has lost.
    is_torn: bool,
}

/// Epochs that are remembered after their end, so that a client which saw the last event of one
/// is given exactly what followed.
const EPOCHS_MAX: usize = 16;

/// The log of one session.
#[derive(Debug)]
pub struct Log {
    settings: LogSettings,
    entries: VecDeque<Entry>,
    /// The position of the next entry.
    head: Position,
    /// Bytes, with overhead, of all entries ever appended.
    head_offset: u64,
    /// Where the ring begins.
    ring_start: Position,
    ring_events: usize,
    /// Events and gaps.
    ring_len: usize,
    ring_bytes: usize,
    /// Bytes, with overhead, held now.
    cost: usize,
    /// Entries before this place are gone, although a connected client might have needed them.
    lost_before: Position,
    /// The same for events and gaps, which a replay needs too.
    gone_before: Position,
    /// What a new replay can't be given any more lies before this place.
    evicted_before: Position,
    /// The event right before the ring, unless a gap stood between.
    last_evicted: Option<Evicted>,
    trim_at: usize,
    trim_at_cost: usize,
    /// Oldest first; never empty, the last one is being written.
    epochs: VecDeque<EpochSpan>,
    /// The upstream id behind which the log begins, where the first subscription was opened there.
    start: Option<Bytes>,
    /// The last upstream id, of an event or a block without data.
    upstream: Option<Bytes>,
    opening: Opening,
    ended: Option<EndReason>,
    is_restored: bool,
    /// When what is being appended came from the upstream.
    arriving: Option<Instant>,
}

impl Log {
    /// An empty log. `start` is the upstream id from which the first subscription is opened.
    #[must_use]
    pub fn new(settings: LogSettings, epoch: Epoch, start: Option<Bytes>) -> Self {
        Self {
            settings,
            entries: VecDeque::new(),
            head: 0,
            head_offset: 0,
            ring_start: 0,
            ring_events: 0,
            ring_len: 0,
            ring_bytes: 0,
            cost: 0,
            lost_before: 0,
            gone_before: 0,
            evicted_before: 0,
            last_evicted: None,
            trim_at: retention::TRIM_SLACK,
            trim_at_cost: retention::TRIM_SLACK_COST,
            epochs: VecDeque::from([EpochSpan { epoch, last_seq: 0, end: 0, is_torn: false }]),
            upstream: start.clone(),
            start,
            opening: Opening::default(),
            ended: None,
            is_restored: false,
            arriving: None,
        }
    }

    /// Appends an event: numbers it, encodes it once, and lets the oldest of the ring go.
    ///
    /// `upstream_id` is the id that the event itself carries.
    pub fn append_event(&mut self, upstream_id: Option<&[u8]>, event_type: &[u8], data: &[u8]) {
        if let Some(id) = upstream_id {
            self.upstream = (!id.is_empty()).then(|| Bytes::copy_from_slice(id));
        }
        let (epoch, seq) = self.number_next();
        let encoded = match self.settings.event_ids {
            EventIds::Own => {
                let id = EventId { epoch, seq, upstream: self.upstream.clone() }.to_bytes();
                encoder::event(Some(&id), event_type, data)
            }
            EventIds::Upstream => encoder::event(upstream_id, event_type, data),
        };
        self.opening.record(&encoded, self.head + 1, self.settings.late_join, self.settings.replay);
        let is_its_own = upstream_id.is_some();
        let kind = Kind::Event { epoch, seq, upstream: self.upstream.clone(), is_its_own, moved_to: None };
        self.push(kind, encoded);
        if let Some(span) = self.epochs.back_mut() {
            span.end = self.head;
        }
        self.shrink_ring();
    }

    /// What is appended from now on came from the upstream in this moment; `None`: it is made here.
    pub fn arriving(&mut self, now: Option<Instant>) {
        self.arriving = now;
    }

    /// Appends an event for connected clients only: no id, no place in the ring (spec 5.4).
    pub fn append_passing_event(&mut self, event_type: &[u8], data: &[u8]) {
        let encoded = encoder::event(None, event_type, data);
        self.opening.record(&encoded, self.head + 1, self.settings.late_join, self.settings.replay);
        self.push_as(Kind::Passing, true, encoded);
    }

    /// Appends a comment, a `retry` or a heartbeat for connected clients only.
    pub fn append_passing(&mut self, encoded: Encoded) {
        self.push(Kind::Passing, encoded);
    }

    /// Records that events are missing here, and tells connected clients and later replays so.
    /// The missing events, where their number is known, take their numbers with them.
    pub fn append_gap(&mut self, reason: GapReason, missed: Option<u64>) {
        let requested = self.last_id();
        if let Some(span) = self.epochs.back_mut() {
            span.last_seq += missed.unwrap_or(0);
        }
        let oldest = self.next_id_text();
        let gap = Gap { reason, requested: requested.as_deref(), oldest: oldest.as_deref(), missed };
        if let Some(name) = &self.settings.gap_event {
            let encoded = gap.encode(name);
            self.push(Kind::Gap, encoded);
            self.shrink_ring();
        }
    }

    /// Starts a new numbering: continuity with what came before is lost.
    pub fn begin_epoch(&mut self, epoch: Epoch) {
        if self.epochs.len() >= EPOCHS_MAX {
            self.epochs.pop_front();
        }
        self.epochs.push_back(EpochSpan { epoch, last_seq: 0, end: self.head, is_torn: false });
    }

    /// A block without data moved the upstream's last event id (empty: cleared it). Clients are
    /// told, so that they too resume from there.
    pub fn move_upstream_id(&mut self, id: &[u8]) {
        self.upstream = (!id.is_empty()).then(|| Bytes::copy_from_slice(id));
        let moved = self.upstream.clone();
        let last = self.entries.iter_mut().rev().find_map(|entry| match &mut entry.kind {
            Kind::Event { moved_to, .. } => Some(moved_to),
            Kind::Gap | Kind::Passing => None,
        });
        match last {
            Some(moved_to) => *moved_to = moved,
            None if self.head == 0 => self.start = moved,
            None => {}
        }
        let text = match self.settings.event_ids {
            EventIds::Own => self.last_id(),
            EventIds::Upstream => Some(id.to_vec()),
        };
        if let Some(text) = text {
            self.push(Kind::Passing, encoder::id(&text));
        }
    }

    /// A subscription begins: what comes until [`Self::end_opening`] is its opening (spec 4.8).
    pub fn begin_opening(&mut self) {
        self.opening = Opening::begin(self.head);
    }

    /// The upstream paused for the first time on its present connection.
    pub fn end_opening(&mut self) {
        self.opening.end();
    }

    /// Nothing will be appended any more. The first reason stays.
    pub fn end(&mut self, reason: EndReason) {
        self.ended.get_or_insert(reason);
    }

    /// Why the log ended, if it did.
    #[must_use]
    pub fn ended(&self) -> Option<EndReason> {
        self.ended
    }

    /// The place behind the newest entry.
    #[must_use]
    pub fn head(&self) -> Position {
        self.head
    }

    /// Events and gaps before this place are gone.
    #[must_use]
    pub fn gone_before(&self) -> Position {
        self.gone_before
    }

    /// Bytes held, with overhead.
    #[must_use]
    pub fn cost(&self) -> usize {
        self.cost
    }

    /// Events in the ring.
    #[must_use]
    pub fn ring_events(&self) -> usize {
        self.ring_events
    }

    /// What lies between a place and the end: entries, and their bytes with overhead.
    #[must_use]
    pub fn behind(&self, place: Position) -> (u64, u64) {
        let bytes = match self.entries.get(self.index_of(place)) {
            Some(entry) => self.head_offset - entry.offset,
            None => 0,
        };
        (self.head.saturating_sub(place), bytes)
    }

    /// The epoch being written and the number of its newest event.
    #[must_use]
    pub fn epoch(&self) -> (Epoch, u64) {
        let span = self.span();
        (span.epoch, span.last_seq)
    }

    /// The upstream id from which a subscription should go on.
    #[must_use]
    pub fn upstream_id(&self) -> Option<&Bytes> {
        self.upstream.as_ref()
    }

    /// Takes what the cursor has not read yet, joined up to `bytes_max` (but at least one entry).
    pub fn read(&self, cursor: &mut Cursor, bytes_max: usize) -> Read {
        let Some(unread) = self.unread(*cursor) else { return Read::Lost };
        let (mut events, mut arrived) = (0, None);
        let mut first: Option<Bytes> = None;
        let mut joined = BytesMut::new();
        let mut is_all = true;
        for entry in unread {
            let payload = entry.encoded.payload();
            let taken = first.as_ref().map_or(0, Bytes::len).max(joined.len());
            if taken > 0 && taken + payload.len() > bytes_max {
                is_all = false;
                break;
            }
            cursor.next = entry.position + 1;
            events += u64::from(entry.is_event);
            arrived = arrived.or_else(|| entry.arrived_for(cursor));
            match first.take() {
                // A client that is up to date gets the shared bytes as they are.
                None if joined.is_empty() => first = Some(payload),
                before => {
                    joined.extend_from_slice(&before.unwrap_or_default());
                    joined.extend_from_slice(&payload);
                }
            }
        }
        if is_all {
            cursor.next = self.head;
        }
        match if joined.is_empty() { first } else { Some(joined.freeze()) } {
            Some(text) => Read::Batch(Batch { text, events, arrived }),
            None => self.ended.map_or(Read::UpToDate, Read::Ended),
        }
    }

    /// The entries from the cursor on that are for it; `None`: what came next is gone. Whoever read them all
    /// stands at the head: entries that only passed may be gone from the end, and the cursor is not behind for them.
    fn unread(&self, cursor: Cursor) -> Option<impl Iterator<Item = &Entry>> {
        let is_replaying = cursor.next < cursor.live_from;
        if cursor.next < if is_replaying { self.gone_before } else { self.lost_before } {
            return None;
        }
        let entries = self.entries.range(self.index_of(cursor.next)..);
        Some(entries.filter(move |entry| !entry.is_passing() || entry.position >= cursor.live_from))
    }

    fn push(&mut self, kind: Kind, encoded: Encoded) {
        let is_event = matches!(kind, Kind::Event { .. });
        self.push_as(kind, is_event, encoded);
    }

    fn push_as(&mut self, kind: Kind, is_event: bool, encoded: Encoded) {
        if !matches!(kind, Kind::Passing) {
            self.ring_bytes += encoded.chunk().len();
            self.ring_len += 1;
            self.ring_events += usize::from(matches!(kind, Kind::Event { .. }));
        }
        let (position, offset, arrived) = (self.head, self.head_offset, self.arriving);
        let entry = Entry { position, offset, kind, is_event, arrived, encoded };
        self.cost += entry.cost();
        self.head += 1;
        self.head_offset += entry.cost() as u64;
        self.entries.push_back(entry);
        self.drop_too_far_behind();
    }

    fn index_of(&self, position: Position) -> usize {
        match self.entries.back() {
            // Most reads ask for the newest entry, or for the one after it.
            Some(last) if position >= last.position => {
                self.entries.len() - usize::from(position == last.position)
            }
            Some(_) | None => self.entries.partition_point(|entry| entry.position < position),
        }
    }

    fn number_next(&mut self) -> (Epoch, u64) {
        match self.epochs.back_mut() {
            Some(span) => {
                span.last_seq += 1;
                (span.epoch, span.last_seq)
            }
            None => unreachable!("made with one epoch, and the last is never removed"),
        }
    }

    fn span(&self) -> EpochSpan {
        match self.epochs.back() {
            Some(span) => *span,
            None => unreachable!("made with one epoch, and the last is never removed"),
        }
    }

    /// The id of the newest event, as clients know it; `None` before the first.
    fn last_id(&self) -> Option<Vec<u8>> {
        match self.settings.event_ids {
            EventIds::Own => {
                let EpochSpan { epoch, last_seq, .. } = self.span();
                (last_seq > 0 || self.upstream.is_some())
                    .then(|| EventId { epoch, seq: last_seq, upstream: self.upstream.clone() }.to_bytes())
            }
            EventIds::Upstream => self.upstream.as_ref().map(|id| id.to_vec()),
        }
    }

    /// The id of the event that comes next, as far as it is known.
    fn next_id_text(&self) -> Option<Vec<u8>> {
        match self.settings.event_ids {
            EventIds::Own => {
                let EpochSpan { epoch, last_seq, .. } = self.span();
                Some(EventId { epoch, seq: last_seq + 1, upstream: None }.to_bytes())
            }
            EventIds::Upstream => None,
        }
    }
}

#[cfg(test)]
mod tests;
