//! Upgraded connections, WebSocket above all: a tunnel, once both sides have switched (spec 3.1).
//!
//! The upstream decides. Until its 101 is here, nothing of the client's further bytes is read, let
//! alone passed on (CVE-2026-2833); any other answer is an answer like all others.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::body::Body;
use super::forward::strip_response;
use crate::message::hop_by_hop;

/// What a client wants to switch to, and its connection, which it leaves to a tunnel if it may.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) protocols: HeaderValue,
    pub(super) client: OnUpgrade,
}

/// All tunnels. Each is a task that ends with its connections, or with [`Tunnels::end`].
#[derive(Debug)]
pub(super) struct Tunnels {
    tasks: TaskTracker,
    places: Arc<Semaphore>,
    /// Cancelled: all end, no more are begun.
    stop: CancellationToken,
}

/// There is no room for one more tunnel, or all have ended for good: to be answered 503.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoTunnel;

impl Tunnels {
    /// None yet, and never more than `most` at once.
    #[must_use]
    pub(super) fn new(most: usize) -> Self {
        let places = Arc::new(Semaphore::new(most));
        Self { tasks: TaskTracker::new(), places, stop: CancellationToken::new() }
    }

    /// Makes the upstream's 101 the client's, and a tunnel of their connections as soon as it is sent.
    ///
    /// # Errors
    ///
    /// [`NoTunnel`]; the upstream's connection is then closed.
    pub(super) fn switch(
        &self,
        response: Response<Incoming>,
        wanted: Wanted,
    ) -> Result<Response<Body>, NoTunnel> {
        debug_assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        let protocol = hop_by_hop::upgrade_of(response.headers()).unwrap_or(wanted.protocols);
        let mut answer = Response::new(Body::Empty);
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        answer.headers_mut().clone_from(response.headers());
        strip_response(answer.headers_mut());
        answer.headers_mut().insert(UPGRADE, protocol);
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
        self.begin(wanted.client, hyper::upgrade::on(response))?;
        Ok(answer)
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.tasks.len()
    }

    /// Waits until all have ended by themselves.
    pub(super) async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Ends all tunnels, and begins no more. Returns when they are closed.
    pub(super) async fn end(&self) {
        self.stop.cancel();
        self.ended().await;
    }

    fn begin(&self, client: OnUpgrade, upstream: OnUpgrade) -> Result<(), NoTunnel> {
        if self.stop.is_cancelled() {
            return Err(NoTunnel);
        }
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| NoTunnel)?;
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                result = tunnel(client, upstream) => match result {
                    Ok((up, down)) => tracing::debug!(up, down, "tunnel closed"),
                    Err(error) => tracing::debug!(%error, "tunnel broke"),
                },
                () = stop.cancelled() => tracing::debug!("tunnel ended: stopping"),
            }
            drop(place);
        });
        Ok(())
    }
}

/// Each side's end of sending is passed on to the other; the tunnel ends with the second.
async fn tunnel(client: OnUpgrade, upstream: OnUpgrade) -> Result<(u64, u64), Box<dyn Error + Send + Sync>> {
    // The client's side is there only after the 101 was written to it.
    let (client, upstream) = tokio::try_join!(client, upstream)?;
    Ok(copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(upstream)).await?)
}

impl fmt::Display for NoTunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no further connection can be upgraded now")
    }
}

impl Error for NoTunnel {}
