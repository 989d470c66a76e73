//! The body of a request for the upstream, as it comes from a client.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep};

use super::expect::GoAhead;
use super::progress::Progress;

type BoxError = Box<dyn Error + Send + Sync>;
type BoxBody = Pin<Box<dyn Body<Data = Bytes, Error = BoxError> + Send>>;

/// The body of a request for the upstream. It streams: nothing is gathered.
pub struct RequestBody {
    content: Content,
    progress: Progress,
    /// Until it comes, the client is not asked for its body.
    go_ahead: Option<GoAhead>,
    stall: Option<Stall>,
}

/// Ends a body that nobody waits for any more: the answer is complete, and the client sends nothing.
struct Stall {
    limit: Duration,
    due: Pin<Box<Sleep>>,
    is_answered: Arc<AtomicBool>,
}

/// To be kept with the answer's body: dropped with it, it says that the answer is complete.
#[derive(Debug, Clone)]
pub struct AnswerGuard {
    _complete: Arc<Complete>,
}

#[derive(Debug)]
struct Complete(Arc<AtomicBool>);

impl Drop for Complete {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

enum Content {
    Empty,
    Incoming(Incoming),
    Other(BoxBody),
}

/// The client's body broke off. Found in the `source` chain of what hyper then reports.
#[derive(Debug)]
pub(super) struct ClientBodyError(BoxError);

impl RequestBody {
    /// No body at all.
    #[must_use]
    pub fn empty() -> Self {
        Self::new(Content::Empty)
    }

    /// A body of another kind, whose errors are the client's fault.
    pub fn streamed<B>(body: B) -> Self
    where
        B: Body<Data = Bytes, Error = BoxError> + Send + 'static,
    {
        Self::new(Content::Other(Box::pin(body)))
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self.content, Content::Empty)
    }

    pub(super) fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// Holds the body back until then.
    pub(super) fn await_go_ahead(&mut self, go_ahead: GoAhead) {
        self.go_ahead = Some(go_ahead);
    }

    /// Breaks off if, once the answer is complete, nothing more comes for `limit` (spec 7.5: a
    /// half-sent request). A stream in both directions is not cut, however long the client is silent.
    pub fn reap_after(&mut self, limit: Duration) -> Option<AnswerGuard> {
        if self.is_empty() {
            return None;
        }
        let is_answered = Arc::new(AtomicBool::new(false));
        let guard = AnswerGuard { _complete: Arc::new(Complete(Arc::clone(&is_answered))) };
        self.stall = Some(Stall { limit, due: Box::pin(sleep(limit)), is_answered });
        Some(guard)
    }

    fn new(content: Content) -> Self {
        Self { content, progress: Progress::new(), go_ahead: None, stall: None }
    }
}

impl From<Incoming> for RequestBody {
    /// A client's body. One that is known to be at its end already counts as no body.
    fn from(body: Incoming) -> Self {
        Self::new(if body.is_end_stream() { Content::Empty } else { Content::Incoming(body) })
    }
}

impl Stall {
    /// Ready when the body is to be given up.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.due.as_mut().poll(cx));
            if self.is_answered.load(Ordering::Relaxed) {
                return Poll::Ready(());
            }
            self.due.as_mut().reset(Instant::now() + self.limit);
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if let Some(go_ahead) = &mut this.go_ahead {
            ready!(go_ahead.poll(cx));
            this.go_ahead = None;
            // The client was waiting for it: its time begins now.
            this.progress.moved();
        }
        // Said before asking, and taken back below: else a frame that comes at once would be noted
        // before the wait that it ended.
        this.progress.waits_for_client();
        let polled = match &mut this.content {
            Content::Empty => Poll::Ready(None),
            Content::Incoming(body) => {
                Pin::new(body).poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(Into::into)))
            }
            Content::Other(body) => body.as_mut().poll_frame(cx),
        };
        let frame = match (polled, &mut this.stall) {
            (Poll::Ready(frame), stall) => {
                if let Some(Stall { limit, due, .. }) = stall {
                    due.as_mut().reset(Instant::now() + *limit);
                }
                frame
            }
            (Poll::Pending, None) => return Poll::Pending,
            (Poll::Pending, Some(stall)) => {
                ready!(stall.poll(cx));
                Some(Err("the client's upload stalled".into()))
            }
        };
        Poll::Ready(match frame {
            Some(Err(error)) => {
                this.progress.broke_off();
                Some(Err(ClientBodyError(error).into()))
            }
            Some(Ok(_)) | None => {
                this.progress.moved();
                frame
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Empty => true,
            Content::Incoming(body) => body.is_end_stream(),
            Content::Other(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Empty => SizeHint::with_exact(0),
            Content::Incoming(body) => body.size_hint(),
            Content::Other(body) => body.size_hint(),
        }
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBody").field("is_empty", &self.is_empty()).finish_non_exhaustive()
    }
}

impl fmt::Display for ClientBodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the client's request body broke off: {}", self.0)
    }
}

impl Error for ClientBodyError {}
