//! `Expect: 100-continue`, end to end: a client that asks before it sends is answered by the upstream,
//! not by ssecar (spec 3.1; RFC 9110, 10.1.1).

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::EXPECT;
use http::{HeaderMap, Request, StatusCode};
use tokio::sync::Notify;
use tokio::time::timeout;

/// How long a body waits for the upstream's 100: one that knows nothing of `Expect` says nothing, and
/// must not be waited for without end.
pub(super) const CONTINUE_WAIT: Duration = Duration::from_secs(1);

/// Whether the request asks before it sends.
pub(super) fn is_asked(headers: &HeaderMap) -> bool {
    headers
        .get(EXPECT)
        .is_some_and(|expectation| expectation.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// What a body waits for before its first byte is taken from the client, which makes the client's
/// connection say 100.
pub(super) struct GoAhead(Pin<Box<dyn Future<Output = ()> + Send>>);

impl GoAhead {
    /// Comes with the upstream's 100 to this request, or with the end of [`CONTINUE_WAIT`].
    pub(super) fn of<B>(request: &mut Request<B>) -> Self {
        let told = Arc::new(Notify::new());
        let tell = Arc::clone(&told);
        hyper::ext::on_informational(request, move |interim| {
            if interim.status() == StatusCode::CONTINUE {
                tell.notify_one();
            }
        });
        Self(Box::pin(async move {
            // Either will do.
            let _told_or_late = timeout(CONTINUE_WAIT, told.notified()).await;
        }))
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for GoAhead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GoAhead")
    }
}
