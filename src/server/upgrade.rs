//! Upgraded connections, WebSocket above all: a tunnel, but only after both sides agreed (spec 3.1).

use std::sync::Arc;

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::body::Body;
use super::forward;
use crate::message::hop_by_hop;
use crate::message::problem::Problem;
use crate::shutdown::Shutdown;

/// The most tunnels at once.
const TUNNELS_MAX: usize = 10_000;

/// All tunnels: each a task that ends with its two connections, or when the program stops.
#[derive(Debug, Clone)]
pub(super) struct Tunnels {
    tasks: TaskTracker,
    places: Arc<Semaphore>,
    shutdown: Shutdown,
}

impl Tunnels {
    pub(super) fn new(shutdown: Shutdown) -> Self {
        Self { tasks: TaskTracker::new(), places: Arc::new(Semaphore::new(TUNNELS_MAX)), shutdown }
    }

    /// Makes the upstream's 101 the client's, and a tunnel of both connections once each has
    /// changed over. The client's side changes only when hyper has written the 101.
    pub(super) fn open(
        &self,
        client: OnUpgrade,
        asked: &HeaderValue,
        response: Response<Incoming>,
    ) -> Result<Response<Body>, Problem> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| Problem::TooManyTunnels)?;
        let (mut parts, _) = Request::new(()).into_parts();
        parts.headers.clone_from(response.headers());
        let protocol = hop_by_hop::upgrade_of(response.headers()).unwrap_or_else(|| asked.clone());
        forward::strip_response(&mut parts.headers);
        let mut switching = Response::new(Body::Empty);
        *switching.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *switching.headers_mut() = parts.headers;
        switching.headers_mut().insert(UPGRADE, protocol);
        switching.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));

        let upstream = hyper::upgrade::on(response);
        let shutdown = self.shutdown.clone();
        self.tasks.spawn(async move {
            let tunnel = async {
                let (client, upstream) = tokio::try_join!(client, upstream)?;
                let (mut client, mut upstream) = (TokioIo::new(client), TokioIo::new(upstream));
                let bytes = copy_bidirectional(&mut client, &mut upstream).await?;
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(bytes)
            };
            tokio::select! {
                result = tunnel => match result {
                    Ok((up, down)) => tracing::debug!(up, down, "tunnel ended"),
                    Err(error) => tracing::debug!(%error, "tunnel broke off"),
                },
                () = shutdown.now() => tracing::debug!("tunnel ended: stopping"),
            }
            drop(place);
        });
        Ok(switching)
    }

    /// Waits until all have ended.
    pub(super) async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}
