//! One client's place in a session: cursor in, bytes out. This is the seam behind which bytes get
//! to a client; whoever writes them to a socket needs nothing else of a session.

mod framed;
mod pack;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::audience::{NOTHING_NEEDED, Parked, Seat};
use super::catching_up::{CatchingUp, Step};
use super::dismissal::{DismissReason, Dismissal};
use super::greeting::Greeting;
use super::permit::ClientPermit;
use super::shared::{Phase, Session};
use super::visit::{self, Visit};
use crate::metrics::Closed;
use crate::proto::encoder::{self, Encoded};
use crate::proto::log::{Batch, Cursor, EndReason, Joined, Log, Position, Read};
use crate::upstream::subscription::SubscriptionRequest;

pub use framed::NextFramed;
pub use pack::{Looked, Pack};

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

/// What a client gets for itself alone.
#[derive(Debug)]
pub(super) enum Prelude {
    /// The upstream's greeting (spec 4.8, `fresh`). Its place in the log is taken already.
    Greeting(Box<Greeting>),
    /// What it missed (spec 6.7). Where it joins shows itself.
    CatchingUp(Box<CatchingUp>),
}

/// A client of a session. Leaves it when dropped.
#[derive(Debug)]
pub struct Reader {
    session: Arc<Session>,
    seat: Seat,
    dismissal: Arc<Dismissal>,
    cursor: Cursor,
    /// What the audience was told of the cursor.
    told: Position,
    /// Given before anything else: `retry`, a gap notice, an opening.
    first: VecDeque<Bytes>,
    /// What it gets for itself alone before it reads what is shared.
    prelude: Option<Prelude>,
    /// It was told when to come back.
    has_left: bool,
    visit: Arc<Visit>,
    /// How its stream ended, once it did.
    closed: Option<Closed>,
    _permit: ClientPermit,
    /// What its session may subscribe by as long as this client is here.
    _voucher: Option<Arc<SubscriptionRequest>>,
}

impl Reader {
    /// Takes a place. The log is held by the caller, so that the place in it and the start of what
    /// is live are one: nothing can be appended between.
    pub(super) fn join(
        session: Arc<Session>,
        log: &Log,
        joined: Joined,
        prelude: Option<Prelude>,
        permit: ClientPermit,
        voucher: Option<Arc<SubscriptionRequest>>,
    ) -> Self {
        debug_assert!(joined.cursor.next() <= log.head(), "a cursor of another log");
        let needed = match prelude {
            Some(Prelude::CatchingUp(_)) => NOTHING_NEEDED,
            Some(Prelude::Greeting(_)) | None => joined.cursor.next(),
        };
        let visit = Arc::new(Visit::new());
        let (seat, dismissal) = session.audience.sit(needed, Arc::clone(&visit));
        let retry = session.retry().map(encoder::retry);
        let first = retry.iter().chain(&joined.first).map(Encoded::payload).collect();
        Self {
            session,
            seat,
            dismissal,
            cursor: joined.cursor,
            told: needed,
            first,
            prelude,
            has_left: false,
            visit,
            closed: None,
            _permit: permit,
            _voucher: voucher,
        }
    }

    /// The session that is read.
    #[must_use]
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Told when the client must go although it does not read.
    #[must_use]
    pub fn dismissal(&self) -> &Arc<Dismissal> {
        &self.dismissal
    }

    /// Whether the client is to leave once it has read everything (spec 11).
    #[must_use]
    pub fn is_to_leave(&self) -> bool {
        self.session.audience.is_to_leave(self.seat)
    }

    /// The response head goes to the client now.
    pub fn head_sent(&self, peer: IpAddr) {
        self.session.metrics.join.observe(self.visit.head_sent(peer));
    }

    /// The next bytes, or the end. After an end it must not be called again.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        let next = match ready!(self.poll_own(cx)) {
            Some(next) => next,
            None => ready!(self.poll_shared(cx)),
        };
        self.note(&next);
        Poll::Ready(next)
    }

    /// Counts what goes to the client now.
    fn note(&mut self, next: &Next) {
        match next {
            Next::Batch(text) => self.note_bytes(text.len()),
            Next::Ended(reason) => self.closed = Some(Closed::Session(*reason)),
            Next::Slow => self.closed = Some(Closed::Slow),
        }
    }

    fn note_bytes(&self, bytes: usize) {
        self.visit.got(bytes as u64);
        self.session.metrics.delivered_bytes.add(bytes as u64);
    }

    fn note_events(&self, events: u64, arrived: Option<Instant>) {
        let metrics = &self.session.metrics;
        metrics.deliveries.add(events);
        if let Some(arrived) = arrived {
            metrics.delivery_lag.observe(visit::now().saturating_duration_since(arrived));
        }
    }

    /// What the client gets for itself alone; `None`: from now on it reads what is shared.
    fn poll_own(&mut self, cx: &mut Context<'_>) -> Poll<Option<Next>> {
        loop {
            if let Some(first) = self.first.pop_front() {
                if self.first.is_empty() {
                    self.first = VecDeque::new(); // Thousands of clients have had theirs.
                }
                return Poll::Ready(Some(Next::Batch(first)));
            }
            match &mut self.prelude {
                None => return Poll::Ready(None),
                Some(Prelude::Greeting(greeting)) => match ready!(greeting.poll_next(cx)) {
                    Some(text) => return Poll::Ready(Some(Next::Batch(text))),
                    None => self.prelude = None,
                },
                Some(Prelude::CatchingUp(catching_up)) => {
                    match catching_up.poll_step(&self.session, self.seat, cx) {
                        Poll::Ready(Step::Text(text)) => return Poll::Ready(Some(Next::Batch(text))),
                        Poll::Ready(Step::Join(text, joined)) => {
                            self.prelude = None;
                            self.cursor = joined.cursor;
                            self.told = joined.cursor.next();
                            let text = (!text.is_empty()).then_some(text);
                            self.first =
                                text.into_iter().chain(joined.first.iter().map(Encoded::payload)).collect();
                        }
                        Poll::Ready(Step::End) => return Poll::Ready(Some(Next::Ended(EndReason::Closed))),
                        Poll::Pending => return self.poll_apart(cx).map(Some),
                    }
                }
            }
        }
    }

    /// What the session has to say to a client that reads something else: that it ends, or that the
    /// client is to leave. News wake it too, since it may join there.
    fn poll_apart(&mut self, cx: &Context<'_>) -> Poll<Next> {
        match self.session.log.read().ended() {
            // What it misses, it can still fetch; the end of what is shared comes after that.
            None | Some(EndReason::Finished | EndReason::Lingered) => {}
            Some(reason) => return Poll::Ready(Next::Ended(reason)),
        }
        match self.session.audience.park(self.seat, NOTHING_NEEDED, cx.waker(), || false) {
            Parked::News | Parked::Asleep => Poll::Pending,
            Parked::Farewell(retry) => self.leave(retry),
        }
    }

    fn poll_shared(&mut self, cx: &Context<'_>) -> Poll<Next> {
        loop {
            let read = self.session.log.read().read(&mut self.cursor, BATCH_BYTES_MAX);
            match read {
                Read::Batch(Batch { text, events, arrived }) => {
                    self.tell_place();
                    self.note_events(events, arrived);
                    return Poll::Ready(Next::Batch(text));
                }
                Read::Ended(reason) => return Poll::Ready(Next::Ended(reason)),
                Read::Lost => return Poll::Ready(Next::Slow),
                Read::UpToDate => {}
            }
            match self.park(cx) {
                Parked::News => {}
                Parked::Asleep => return Poll::Pending,
                Parked::Farewell(retry) => return self.leave(retry),
            }
        }
    }

    /// Lets the log go of what was read. Reading on and going to sleep do the same.
    pub fn tell_place(&mut self) {
        let next = self.cursor.next();
        if self.told != next {
            self.told = next;
            self.session.audience.moved(self.seat, next);
        }
    }

    /// Goes to sleep, unless something came since the log was looked at.
    fn park(&mut self, cx: &Context<'_>) -> Parked {
        let next = self.cursor.next();
        self.told = next;
        let has_news = || {
            let log = self.session.log.read();
            log.head() != next || log.ended().is_some()
        };
        self.session.audience.park(self.seat, next, cx.waker(), has_news)
    }

    /// Tells the client when to come back, then ends its stream.
    fn leave(&mut self, retry: Duration) -> Poll<Next> {
        if std::mem::replace(&mut self.has_left, true) {
            return Poll::Ready(Next::Ended(EndReason::Draining));
        }
        Poll::Ready(Next::Batch(encoder::retry(retry).payload()))
    }
}

/// Why a client that was not told an end is gone.
fn gone(session: &Session, dismissal: &Dismissal) -> Closed {
    match dismissal.reason() {
        Some(DismissReason::Slow) => Closed::Slow,
        Some(DismissReason::Reaped) => Closed::Reaped,
        Some(DismissReason::Operator) => Closed::Operator,
        // Its answer was no stream, or the end came before it was read.
        None => match session.phase.get() {
            Phase::Ended(reason) => Closed::Session(reason),
            Phase::Opening | Phase::Away { .. } | Phase::Open(_) => Closed::Left,
        },
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let closed = self.closed.unwrap_or_else(|| gone(&self.session, &self.dismissal));
        self.session.metrics.clients_closed.add(closed, 1);
        self.session.audience.leave(self.seat);
        self.session.leave();
    }
}
