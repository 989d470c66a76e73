//! One HTTP/2 stream as a task of its own, which ends when its client is dismissed, or takes nothing.
//!
//! hyper asks a body for more only when the client's window has room. So a body can't end a stream
//! whose client stopped reading, and the kernel can't either: the connection lives. What ends it is
//! here, beside the body: dropping the task resets the stream, and the others of its connection go on.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::Service;
use parking_lot::Mutex;

use super::connection::ClientService;
use crate::session::Dismissal;

/// Looks for progress in the time after which a stream without any is reset.
const LOOKS: u32 = 2;

/// What a stream's task and its body share.
#[derive(Debug, Default)]
struct Stream {
    dismissal: Mutex<Option<Arc<Dismissal>>>,
    /// How often the body was asked for more.
    asked: AtomicU32,
    /// The body gave something, and was not asked since: it is on its way to the client.
    is_sending: AtomicBool,
}

tokio::task_local! {
    static STREAM: Arc<Stream>;
}

/// Lets this dismissal end the stream whose task asks. Elsewhere it does nothing: then the body
/// itself is asked, and ends.
pub(super) fn heed(dismissal: Arc<Dismissal>) {
    let _ = STREAM.try_with(|stream| *stream.dismissal.lock() = Some(dismissal));
}

/// Runs a stream until it ends, its client is dismissed, or takes nothing of what is there for it
/// for `idle_max` (and at most half as long again).
pub(super) async fn run(task: impl Future<Output = ()>, idle_max: Duration) {
    let stream = Arc::new(Stream::default());
    let mut task = pin!(STREAM.scope(Arc::clone(&stream), task));
    let driven = poll_fn(|cx| {
        if task.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let dismissal = stream.dismissal.lock().clone();
        dismissal.map_or(Poll::Pending, |dismissal| dismissal.poll_dismissed(cx).map(|_| ()))
    });
    tokio::select! {
        () = driven => {}
        () = stream.stalled(idle_max) => {
            tracing::info!(reason = "stalled", "an HTTP/2 stream was reset");
            if let Some(dismissal) = stream.dismissal.lock().as_ref() {
                dismissal.reap();
            }
        }
    }
}

impl Stream {
    async fn stalled(&self, idle_max: Duration) {
        let (mut asked, mut looks) = (0, 0);
        while looks < LOOKS {
            tokio::time::sleep(idle_max / LOOKS).await;
            let now = self.asked.load(Ordering::Relaxed);
            looks = if now == asked && self.is_sending.load(Ordering::Relaxed) { looks + 1 } else { 0 };
            asked = now;
        }
    }
}

/// A service whose bodies tell their stream's task how they fare.
#[derive(Debug, Clone)]
pub(super) struct Tracked<S>(pub(super) S);

impl<S: ClientService> Service<Request<Incoming>> for Tracked<S> {
    type Response = Response<TrackedBody<S::Body>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        // Boxed first, since the block has room for it twice.
        let answering = Box::pin(self.0.call(request));
        Box::pin(async move {
            let response = answering.await?;
            let stream = STREAM.try_with(Arc::clone).ok();
            Ok(response.map(|body| TrackedBody { body, stream }))
        })
    }
}

/// A body on its way through an HTTP/2 stream.
#[derive(Debug)]
pub(super) struct TrackedBody<B> {
    body: B,
    stream: Option<Arc<Stream>>,
}

impl<B: Body<Data = Bytes> + Unpin> Body for TrackedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Some(stream) = &self.stream {
            stream.asked.fetch_add(1, Ordering::Relaxed);
            stream.is_sending.store(polled.is_ready(), Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
