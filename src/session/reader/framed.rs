//! The same place, read as HTTP/1.1 chunks: for whoever writes them to a socket as they are stored.

use std::task::{Context, Poll, ready};

use bytes::Bytes;

use super::{BATCH_BYTES_MAX, Next, Parked, Reader};
use crate::proto::encoder::Encoded;
use crate::proto::log::{Chunks, EndReason, Found};

/// What comes next for a client, framed.
#[derive(Debug, PartialEq, Eq)]
pub enum NextFramed {
    /// A chunk for this client alone. It is given once.
    Own(Bytes),
    /// Chunks of the log, in the place given for them. They are shown again until [`Reader::sent`].
    Shared,
    /// Nothing new. [`Reader::poll_rest`] is to be asked before the client sleeps.
    UpToDate,
    /// The session ended.
    Ended(EndReason),
    /// The client fell too far behind: what came next is gone (spec 7.2).
    Slow,
}

impl Reader {
    /// The next chunks, or the end; shared ones are put into `chunks`, which must be empty. After an end it must not
    /// be called again.
    pub fn poll_framed(&mut self, cx: &mut Context<'_>, chunks: &mut Chunks) -> Poll<NextFramed> {
        let next = match ready!(self.poll_own(cx)) {
            Some(own) => own,
            None => {
                let found = self.session.log.read().chunks(&mut self.cursor, BATCH_BYTES_MAX, chunks);
                match found {
                    Found::News => {
                        self.tell_place();
                        return Poll::Ready(NextFramed::Shared);
                    }
                    Found::UpToDate => return Poll::Ready(NextFramed::UpToDate),
                    Found::Ended(reason) => Next::Ended(reason),
                    Found::Lost => Next::Slow,
                }
            }
        };
        Poll::Ready(self.framed(next))
    }

    /// Lets a client that is up to date sleep, until it is woken by news; ready with [`NextFramed::UpToDate`]: there
    /// are news already, to be looked for.
    pub fn poll_rest(&mut self, cx: &Context<'_>) -> Poll<NextFramed> {
        match self.park(cx) {
            Parked::News => Poll::Ready(NextFramed::UpToDate),
            Parked::Asleep => Poll::Pending,
            Parked::Farewell(retry) => self.leave(retry).map(|next| self.framed(next)),
        }
    }

    fn framed(&mut self, next: Next) -> NextFramed {
        self.note(&next);
        match next {
            Next::Batch(text) => NextFramed::Own(Encoded::from_payload(&text).chunk().clone()),
            Next::Ended(reason) => NextFramed::Ended(reason),
            Next::Slow => NextFramed::Slow,
        }
    }

    /// The first `count` of these chunks are on their way to the client.
    pub fn sent(&mut self, chunks: &Chunks, count: usize) {
        let (mut bytes, mut events, mut arrived) = (0, 0, None);
        for chunk in chunks.iter().take(count) {
            bytes += chunk.text_len;
            events += u64::from(chunk.is_event);
            arrived = arrived.or(chunk.arrived);
            self.cursor = chunk.behind;
        }
        if count > 0 {
            self.note_bytes(bytes);
            self.note_events(events, arrived);
        }
    }
}
