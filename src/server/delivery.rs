//! A session's events on their way to one client: the general path, through hyper.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Frame;

use super::body::BoxError;
use super::io::{Armed, ClientWatch};
use crate::session::{Next, Reader};

/// The body of a client that reads a session.
#[derive(Debug)]
pub struct Delivery {
    reader: Option<Reader>,
    /// Notices the client's leaving; ends when the body does.
    _armed: Armed,
}

impl Delivery {
    pub(super) fn new(reader: Reader, watch: &ClientWatch) -> Self {
        let armed = watch.arm();
        watch.heed(Arc::clone(reader.dismissal()));
        Self { reader: Some(reader), _armed: armed }
    }

    /// The place in the session; it is not watched any more.
    pub(super) fn into_reader(self) -> Option<Reader> {
        self.reader
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(reader) = &mut self.reader else { return Poll::Ready(None) };
        match std::task::ready!(reader.poll_next(cx)) {
            Next::Batch(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            Next::Ended(reason) => {
                tracing::debug!(
                    session = reader.session().name(),
                    reason = reason.as_str(),
                    "client's stream ended"
                );
                self.reader = None;
                Poll::Ready(None)
            }
            Next::Slow => {
                tracing::info!(
                    session = reader.session().name(),
                    reason = "slow",
                    "client closed: too far behind"
                );
                self.reader = None;
                // An error, not an end: a client that does not read would not read the end either.
                Poll::Ready(Some(Err("the client fell too far behind".into())))
            }
        }
    }
}
