//! The body of an answer: whole, or as it comes.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

/// Pieces that wait for a watcher; its connection holds the rest up.
const PIECES_MAX: usize = 4;

/// An answer's body.
#[derive(Debug)]
pub(super) enum Body {
    Whole(Option<Bytes>),
    Live(Live),
}

/// What a future has to say, for as long as the body is read. It runs inside the body: it ends with
/// the connection, and no task is left behind.
pub(super) struct Live {
    pieces: mpsc::Receiver<Bytes>,
    teller: Pin<Box<dyn Future<Output = ()> + Send>>,
    has_ended: bool,
    _place: OwnedSemaphorePermit,
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("has_ended", &self.has_ended).finish_non_exhaustive()
    }
}

impl Body {
    pub(super) fn whole(bytes: impl Into<Bytes>) -> Self {
        Self::Whole(Some(bytes.into()))
    }

    /// `teller` sends pieces; the body ends when it does.
    pub(super) fn live<F>(place: OwnedSemaphorePermit, teller: impl FnOnce(mpsc::Sender<Bytes>) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (sender, pieces) = mpsc::channel(PIECES_MAX);
        let teller = Box::pin(teller(sender));
        Self::Live(Live { pieces, teller, has_ended: false, _place: place })
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let live = match self.get_mut() {
            Self::Whole(bytes) => return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Live(live) => live,
        };
        if !live.has_ended {
            live.has_ended = live.teller.as_mut().poll(cx).is_ready();
        }
        match live.pieces.poll_recv(cx) {
            Poll::Ready(piece) => Poll::Ready(piece.map(|piece| Ok(Frame::data(piece)))),
            // Its sender went with the teller.
            Poll::Pending if live.has_ended => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Live(_) => SizeHint::default(),
        }
    }
}
