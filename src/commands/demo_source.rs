//! The demo's event source: one event every 200 ms since it was first started, each with an id; it
//! replays from any id, and can be killed at any moment. A real server in a process of its own.

use std::convert::Infallible;
use std::pin::Pin;
use std::process::ExitCode;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::time::{Instant, Interval};

use crate::config::DemoSourceFlags;

/// Time between two events.
pub(super) const EVENT_INTERVAL: Duration = Duration::from_millis(200);

pub(super) async fn run(flags: &DemoSourceFlags) -> ExitCode {
    let started = UNIX_EPOCH + Duration::from_millis(flags.started);
    let listener = match TcpListener::bind(flags.listen).await {
        Ok(listener) => listener,
        Err(error) => return super::failed(&format!("--listen '{}': {error}", flags.listen)),
    };
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => return super::failed(&format!("the demo's source can't accept: {error}")),
        };
        tokio::spawn(async move {
            let service =
                service_fn(move |request| async move { Ok::<_, Infallible>(answer(&request, started)) });
            // A connection that breaks off is the demo's point.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

fn answer(request: &Request<Incoming>, started: SystemTime) -> Response<Events> {
    let last = request.headers().get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let last = last.unwrap_or_else(|| happened(started));
    let mut response = Response::new(Events { started, last, ticks: tokio::time::interval(EVENT_INTERVAL) });
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("text/event-stream"));
    response
}

/// The number of the newest event.
fn happened(started: SystemTime) -> u64 {
    let passed = SystemTime::now().duration_since(started).unwrap_or_default();
    u64::try_from(passed.as_millis() / EVENT_INTERVAL.as_millis()).unwrap_or(u64::MAX)
}

struct Events {
    started: SystemTime,
    last: u64,
    ticks: Interval,
}

impl http_body::Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        loop {
            let newest = happened(self.started);
            if self.last < newest {
                self.last += 1;
                let number = self.last;
                let text = format!("id: {number}\ndata: {{\"number\":{number}}}\n\n");
                return Poll::Ready(Some(Ok(Frame::data(Bytes::from(text)))));
            }
            let _: Instant = ready!(self.ticks.poll_tick(cx));
        }
    }
}
