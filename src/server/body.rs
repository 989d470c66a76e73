//! The one kind of response body that clients get.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::delivery::Delivery;
use crate::proto::line_gate::LineGate;

/// Why a body broke off.
pub(super) type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A response's body.
#[derive(Debug)]
pub enum Body {
    /// Nothing.
    Empty,
    /// Made here.
    Full(Option<Bytes>),
    /// The upstream's, as it comes.
    Forwarded(Incoming),
    /// The upstream's event stream for one client alone, with heartbeats.
    ForwardedEvents(Box<ForwardedEvents>),
    /// A session's events.
    Session(Box<Delivery>),
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Forwarded(incoming) => Pin::new(incoming).poll_frame(cx).map_err(Into::into),
            Self::ForwardedEvents(events) => events.poll_frame(cx),
            Self::Session(delivery) => delivery.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_none(),
            Self::Forwarded(incoming) => incoming.is_end_stream(),
            Self::ForwardedEvents(_) | Self::Session(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Forwarded(incoming) => incoming.size_hint(),
            Self::ForwardedEvents(_) | Self::Session(_) => SizeHint::default(),
        }
    }
}

/// An event stream that is forwarded as it is, but kept alive while it is silent (spec 3.6).
#[derive(Debug)]
pub struct ForwardedEvents {
    incoming: Incoming,
    /// `None`: the stream has ended.
    gate: Option<LineGate>,
    every: Duration,
    beat: Pin<Box<Sleep>>,
}

impl ForwardedEvents {
    pub(super) fn new(incoming: Incoming, heartbeat: Duration) -> Self {
        let beat = Box::pin(tokio::time::sleep(heartbeat));
        Self { incoming, gate: Some(LineGate::new()), every: heartbeat, beat }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            let Some(gate) = &mut self.gate else { return Poll::Ready(None) };
            match Pin::new(&mut self.incoming).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(chunk) => {
                        self.beat.as_mut().reset(Instant::now() + self.every);
                        let chunk = gate.pass(chunk);
                        if !chunk.is_empty() {
                            return Poll::Ready(Some(Ok(Frame::data(chunk))));
                        }
                    }
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error.into()))),
                Poll::Ready(None) => {
                    let rest = self.gate.take().map_or(&b""[..], LineGate::finish);
                    return Poll::Ready(
                        (!rest.is_empty()).then(|| Ok(Frame::data(Bytes::from_static(rest)))),
                    );
                }
                Poll::Pending => {
                    std::task::ready!(self.beat.as_mut().poll(cx));
                    self.beat.as_mut().reset(Instant::now() + self.every);
                    if let Some(comment) = gate.heartbeat() {
                        return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(comment)))));
                    }
                }
            }
        }
    }
}
