//! Clients of one session that stand at the same place, read as one: what comes next is looked up, and joined to one
//! piece, once for all of them. For a loop that writes to many clients.

use std::sync::Arc;
use std::task::{Poll, Waker};

use bytes::{Bytes, BytesMut};

use super::{BATCH_BYTES_MAX, Reader};
use crate::proto::log::{Chunks, Cursor, Found};
use crate::session::audience::{NOTHING_NEEDED, PackSeat};
use crate::session::shared::Session;
use crate::session::visit;

/// Clients that are up to date together. Its members are to be let go of before it is dropped.
#[derive(Debug)]
pub struct Pack {
    session: Arc<Session>,
    seat: PackSeat,
    /// Where the members stand that were not given the present pass.
    cursor: Option<Cursor>,
    members: usize,
    pass: Option<Pass>,
}

/// What the members are given next, one after the other.
#[derive(Debug)]
struct Pass {
    chunks: Chunks,
    /// All chunks, one behind the other.
    piece: Bytes,
    to: Cursor,
}

/// What a look at the log brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Looked {
    /// A pass begins.
    Pass,
    /// Each member is to look for itself: the session ended, or what comes next is gone.
    Scatter,
}

impl Pack {
    /// A pack without members.
    #[must_use]
    pub fn new(session: &Arc<Session>) -> Self {
        let seat = session.audience.sit_as_pack();
        Self { session: Arc::clone(session), seat, cursor: None, members: 0, pass: None }
    }

    /// Takes in a client of the same session that has nothing else to read and stands where the members stand, or
    /// will stand after the present pass. `false`: it doesn't, or it is to leave.
    pub fn take_in(&mut self, reader: &mut Reader) -> bool {
        debug_assert!(Arc::ptr_eq(&self.session, &reader.session), "a client of another session");
        let next = reader.cursor.next();
        let place = match &self.pass {
            Some(pass) => Some(pass.to),
            None => self.cursor.filter(|_| self.members > 0),
        };
        let is_here = place.is_none_or(|place| place.next() == next);
        let has_own = reader.prelude.is_some() || !reader.first.is_empty() || !reader.cursor.is_live();
        if !is_here || has_own || !self.session.audience.enter_pack(reader.seat, self.seat, next) {
            return false;
        }
        if place.is_none() {
            self.cursor = Some(reader.cursor);
        }
        reader.told = NOTHING_NEEDED;
        self.members += 1;
        true
    }

    /// A member leaves, and reads on by itself.
    pub fn let_go(&mut self, reader: &mut Reader) {
        let next = reader.cursor.next();
        self.session.audience.leave_pack(reader.seat, next);
        reader.told = next;
        self.members -= 1;
    }

    /// Looks for a pass; pending: there is nothing new, and `waker` is woken when there is. There must be no pass.
    pub fn poll_look(&mut self, waker: &Waker) -> Poll<Looked> {
        debug_assert!(self.pass.is_none(), "one pass after the other");
        let audience = &self.session.audience;
        let Some(cursor) = self.cursor.filter(|_| self.members > 0) else {
            // Whoever comes first says where it stands.
            self.cursor = None;
            audience.pack_moved(self.seat, NOTHING_NEEDED);
            return Poll::Pending;
        };
        let mut at = cursor;
        loop {
            let mut chunks = Chunks::default();
            let found = self.session.log.read().chunks(&mut at, BATCH_BYTES_MAX, &mut chunks);
            match found {
                Found::News => {
                    self.pass = Pass::of(chunks);
                    return Poll::Ready(Looked::Pass);
                }
                Found::Ended(_) | Found::Lost => return Poll::Ready(Looked::Scatter),
                Found::UpToDate => {}
            }
            // What only passed may be gone from the end: nobody is behind for it.
            if at != cursor {
                return Poll::Ready(Looked::Scatter);
            }
            let next = at.next();
            let has_news = || {
                let log = self.session.log.read();
                log.head() != next || log.ended().is_some()
            };
            if audience.park_pack(self.seat, next, waker, has_news) {
                return Poll::Pending;
            }
        }
    }

    /// What is to be written to this member now; `None`: it has it already, or there is no pass.
    #[must_use]
    pub fn piece_for(&self, reader: &Reader) -> Option<&Bytes> {
        let (pass, cursor) = (self.pass.as_ref()?, self.cursor?);
        (reader.cursor.next() == cursor.next()).then_some(&pass.piece)
    }

    /// So many bytes of the piece went out to this member. Answers what is left of a chunk that went out in part; if
    /// anything is left, the member is to be let go.
    pub fn gave(&self, reader: &mut Reader, written: usize) -> Option<Bytes> {
        let pass = self.pass.as_ref()?;
        if written == pass.piece.len() {
            reader.cursor = pass.to;
            reader.visit.got(pass.chunks.text_len() as u64);
            return None;
        }
        let (begun, rest) = pass.chunks.split(written);
        reader.sent(&pass.chunks, begun);
        Some(rest)
    }

    /// So many members were given the whole piece, the last of them just now.
    pub fn note_given(&self, members: u64) {
        let Some(pass) = &self.pass else { return };
        let metrics = &self.session.metrics;
        metrics.delivered_bytes.add(pass.chunks.text_len() as u64 * members);
        metrics.deliveries.add(pass.chunks.events() * members);
        if let Some(arrived) = pass.chunks.arrived() {
            metrics.delivery_lag.observe_many(visit::now().saturating_duration_since(arrived), members);
        }
    }

    /// All members were given it.
    pub fn end_pass(&mut self) {
        if let Some(pass) = self.pass.take() {
            self.cursor = Some(pass.to);
            self.session.audience.pack_moved(self.seat, pass.to.next());
        }
    }
}

impl Pass {
    fn of(chunks: Chunks) -> Option<Self> {
        let to = chunks.iter().last()?.behind;
        let piece = match chunks.only() {
            Some(only) => only.bytes.clone(),
            None => {
                // Once for all members: one contiguous write is cheaper than a vector, for each of them.
                let mut joined = BytesMut::with_capacity(chunks.iter().map(|chunk| chunk.bytes.len()).sum());
                chunks.iter().for_each(|chunk| joined.extend_from_slice(&chunk.bytes));
                joined.freeze()
            }
        };
        Some(Self { chunks, piece, to })
    }
}

impl Drop for Pack {
    fn drop(&mut self) {
        self.session.audience.leave_as_pack(self.seat);
    }
}
