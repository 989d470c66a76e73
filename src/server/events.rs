//! An event stream for one client, passed through with heartbeats in its silence (spec 3.6).

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::time::{Instant, Sleep, sleep};

use super::body::BoxError;
use crate::proto::line_gate::LineGate;

type Polled = Option<Result<Frame<Bytes>, BoxError>>;

/// Heartbeats go only where [`LineGate`] lets them; every other byte passes at once.
#[derive(Debug)]
pub(super) struct Events<B> {
    stream: B,
    /// `None`: no data follows any more.
    gate: Option<LineGate>,
    /// What came behind the last data, while bytes that the gate held back go first.
    last: Option<Result<Frame<Bytes>, BoxError>>,
    every: Duration,
    due: Pin<Box<Sleep>>,
}

impl<B> Events<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    pub(super) fn new(stream: B, heartbeat: Duration) -> Self {
        let due = Box::pin(sleep(heartbeat));
        Self { stream, gate: Some(LineGate::new()), last: None, every: heartbeat, due }
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Polled> {
        loop {
            let Some(gate) = &mut self.gate else { return Poll::Ready(self.last.take()) };
            let polled = Pin::new(&mut self.stream).poll_frame(cx);
            let passed = match polled {
                Poll::Pending => {
                    ready!(self.due.as_mut().poll(cx));
                    self.due.as_mut().reset(Instant::now() + self.every);
                    match gate.heartbeat() {
                        Some(comment) => Bytes::from_static(comment),
                        // The due time, now in the future, must be polled to wake this task.
                        None => continue,
                    }
                }
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(chunk) => {
                        self.due.as_mut().reset(Instant::now() + self.every);
                        gate.pass(chunk)
                    }
                    Err(trailers) => self.finish(Some(Ok(trailers))),
                },
                Poll::Ready(Some(Err(error))) => self.finish(Some(Err(error.into()))),
                Poll::Ready(None) => self.finish(None),
            };
            if !passed.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(passed))));
            }
        }
    }

    /// Closes the gate: what it held back, and then the last that there is.
    fn finish(&mut self, last: Polled) -> Bytes {
        self.last = last;
        Bytes::from_static(self.gate.take().map_or(b"", LineGate::finish))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use http::HeaderMap;
    use http_body_util::StreamBody;
    use tokio::sync::mpsc;

    use super::*;

    const BEAT: Duration = Duration::from_secs(15);

    type Sent = Result<Frame<Bytes>, BoxError>;

    struct Stream {
        upstream: mpsc::Sender<Sent>,
        events: Events<Pin<Box<dyn Body<Data = Bytes, Error = BoxError>>>>,
    }

    impl Stream {
        fn new() -> Self {
            let (upstream, mut receiver) = mpsc::channel(4);
            let body = StreamBody::new(futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx)));
            Self { upstream, events: Events::new(Box::pin(body), BEAT) }
        }

        async fn sends(&self, chunk: &'static str) {
            self.upstream.send(Ok(Frame::data(Bytes::from_static(chunk.as_bytes())))).await.unwrap();
        }

        async fn next(&mut self) -> String {
            let frame = poll_fn(|cx| self.events.poll_frame(cx)).await.unwrap().unwrap();
            String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_stream_gets_a_comment_line_at_each_beat_and_events_pass_at_once() {
        let mut stream = Stream::new();
        let start = Instant::now();
        assert_eq!(stream.next().await, ":\n");
        assert_eq!(start.elapsed(), BEAT);
        tokio::time::advance(BEAT - Duration::from_millis(1)).await;
        stream.sends("data: x\n\n").await;
        assert_eq!(stream.next().await, "data: x\n\n");
        let sent = Instant::now();
        assert_eq!(stream.next().await, ":\n");
        assert_eq!(sent.elapsed(), BEAT, "counted from the last event");
    }

    #[tokio::test(start_paused = true)]
    async fn no_heartbeat_stands_inside_a_line() {
        let mut stream = Stream::new();
        stream.sends("data: he").await;
        assert_eq!(stream.next().await, "data: he");
        let waited = tokio::time::timeout(BEAT * 3, stream.next()).await;
        assert!(waited.is_err(), "{waited:?}");
        stream.sends("llo\n").await;
        assert_eq!(stream.next().await, "llo\n");
        assert_eq!(stream.next().await, ":\n");
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_brings_what_was_held_back_and_then_the_trailers() {
        let mut stream = Stream::new();
        assert_eq!(stream.next().await, ":\n");
        stream.upstream.send(Ok(Frame::data(Bytes::from_static(b"\xef\xbb")))).await.unwrap();
        stream.upstream.send(Ok(Frame::trailers(HeaderMap::new()))).await.unwrap();
        let held = poll_fn(|cx| stream.events.poll_frame(cx)).await.unwrap().unwrap();
        assert_eq!(held.into_data().unwrap(), &b"\xef\xbb"[..]);
        assert!(poll_fn(|cx| stream.events.poll_frame(cx)).await.unwrap().unwrap().is_trailers());
        assert!(poll_fn(|cx| stream.events.poll_frame(cx)).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_breaks_off_breaks_off_for_the_client_too() {
        let mut stream = Stream::new();
        stream.upstream.send(Err("broken".into())).await.unwrap();
        assert!(poll_fn(|cx| stream.events.poll_frame(cx)).await.unwrap().is_err());
        assert!(poll_fn(|cx| stream.events.poll_frame(cx)).await.is_none());
    }
}
