//! The one kind of response body that clients get.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;

use super::delivery::Delivery;
use super::events::Events;
use super::held::Held;
use crate::upstream::AnswerGuard;

/// Why a body broke off.
pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A response's body.
#[derive(Debug)]
pub enum Body {
    /// Nothing.
    Empty,
    /// Made here.
    Full(Option<Bytes>),
    /// The upstream's, as it comes.
    Forwarded(Incoming, Option<AnswerGuard>),
    /// The upstream's event stream for one client alone, with heartbeats.
    ForwardedEvents(ForwardedEvents, Option<AnswerGuard>),
    /// A session's events.
    Session(Box<Delivery>),
    /// The same, once the upstream has let the client in.
    Held(Box<Held>),
}

/// What a connection needs to know of the bodies that it serves.
pub trait Served: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static {
    /// A session's events, which a [lane](super::lane) can serve.
    ///
    /// # Errors
    /// The body, if it is anything else.
    fn into_delivery(self) -> Result<Box<Delivery>, Self>
    where
        Self: Sized,
    {
        Err(self)
    }
}

impl Served for Body {
    fn into_delivery(self) -> Result<Box<Delivery>, Self> {
        match self {
            Self::Session(delivery) => Ok(delivery),
            Self::Empty | Self::Full(_) | Self::Forwarded(..) | Self::ForwardedEvents(..) | Self::Held(_) => {
                Err(self)
            }
        }
    }
}

/// An event stream that is forwarded byte for byte, with heartbeats where they change nothing.
#[derive(Debug)]
pub struct ForwardedEvents(Box<Events<Incoming>>);

impl Body {
    /// Forwards an unencoded event stream of unknown length, with a comment line after each
    /// `heartbeat` of silence. Anything else must be [`Body::Forwarded`].
    #[must_use]
    pub(super) fn events(stream: Incoming, heartbeat: Duration, guard: Option<AnswerGuard>) -> Self {
        Self::ForwardedEvents(ForwardedEvents(Box::new(Events::new(stream, heartbeat))), guard)
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Forwarded(incoming, _) => Pin::new(incoming).poll_frame(cx).map_err(Into::into),
            Self::ForwardedEvents(events, _) => events.0.poll_frame(cx),
            Self::Session(delivery) => delivery.poll_frame(cx),
            Self::Held(held) => held.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_none(),
            Self::Forwarded(incoming, _) => incoming.is_end_stream(),
            Self::ForwardedEvents(..) | Self::Session(_) | Self::Held(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Forwarded(incoming, _) => incoming.size_hint(),
            Self::ForwardedEvents(..) | Self::Session(_) | Self::Held(_) => SizeHint::default(),
        }
    }
}
