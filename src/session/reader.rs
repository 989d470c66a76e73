//! One client's place in a session: cursor in, bytes out. This is the seam behind which bytes get
//! to a client; whoever writes them to a socket needs nothing else of a session.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::audience::{Parked, Seat};
use super::registry::ClientPermit;
use super::shared::Session;
use crate::proto::encoder::{self, Encoded};
use crate::proto::log::{Cursor, EndReason, Joined, Log, Read};

/// Bytes that a client which is behind gets at once (spec 7.3).
const BATCH_BYTES_MAX: usize = 64 * 1024;

/// What comes next for a client.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Event-stream text, at most about 64 KiB unless one event is larger.
    Batch(Bytes),
    /// The session ended.
    Ended(EndReason),
    /// The client fell too far behind: what came next is gone (spec 7.2).
    Slow,
}

/// A client of a session. Leaves it when dropped.
#[derive(Debug)]
pub struct Reader {
    session: Arc<Session>,
    seat: Seat,
    cursor: Cursor,
    /// Given before the log is read: `retry`, a gap notice, an opening.
    first: VecDeque<Encoded>,
    /// It was told when to come back.
    has_left: bool,
    _permit: ClientPermit,
}

impl Reader {
    /// Takes a place. The log is held by the caller, so that the place in it and the start of what
    /// is live are one: nothing can be appended between.
    pub(super) fn join(session: Arc<Session>, log: &Log, joined: Joined, permit: ClientPermit) -> Self {
        debug_assert!(joined.cursor.next() <= log.head(), "a cursor of another log");
        let seat = session.audience.sit(joined.cursor.next());
        let retry = session.retry().map(encoder::retry);
        let first = retry.into_iter().chain(joined.first).collect();
        Self { session, seat, cursor: joined.cursor, first, has_left: false, _permit: permit }
    }

    /// The session that is read.
    #[must_use]
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// The next bytes, or the end. After an end it must not be called again.
    pub fn poll_next(&mut self, cx: &Context<'_>) -> Poll<Next> {
        if let Some(first) = self.first.pop_front() {
            return Poll::Ready(Next::Batch(first.payload()));
        }
        loop {
            let read = self.session.log.read().read(&mut self.cursor, BATCH_BYTES_MAX);
            match read {
                Read::Batch(bytes) => {
                    self.session.audience.moved(self.seat, self.cursor.next());
                    return Poll::Ready(Next::Batch(bytes));
                }
                Read::Ended(reason) => return Poll::Ready(Next::Ended(reason)),
                Read::Lost => return Poll::Ready(Next::Slow),
                Read::UpToDate => {}
            }
            let next = self.cursor.next();
            let log = &self.session.log;
            let has_news = || {
                let log = log.read();
                log.head() != next || log.ended().is_some()
            };
            match self.session.audience.park(self.seat, next, cx.waker(), has_news) {
                Parked::News => {}
                Parked::Asleep => return Poll::Pending,
                Parked::Farewell(_) if self.has_left => {
                    return Poll::Ready(Next::Ended(EndReason::Draining));
                }
                Parked::Farewell(retry) => {
                    self.has_left = true;
                    return Poll::Ready(Next::Batch(encoder::retry(retry).payload()));
                }
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.session.audience.leave(self.seat);
        self.session.leave();
    }
}
