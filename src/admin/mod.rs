//! The second listener: health, numbers, state and the page, for operators (spec 9.3, 10.1).
//!
//! Reading order: `access` says who may ask, `routes` what there is to ask for, `answers` gives it;
//! `state`, `sessions` (by `query`) and `samples` are what operators see, `tail` and `feed` show it live. Reads
//! snapshots only: whatever it costs, it costs those who look, and nothing on the way of an event.

mod access;
mod answers;
mod body;
mod feed;
mod page;
mod query;
mod routes;
mod samples;
mod sessions;
mod state;
mod tail;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use self::access::Access;
use self::answers::Answers;
use self::feed::Feed;
use crate::shutdown::Shutdown;

pub use access::{BadToken, Token};
pub use state::State;

/// Connections at once.
const CONNECTIONS_MAX: usize = 64;

/// The time for a request head to arrive.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long to wait when the system can't give a connection.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(100);

/// A watcher that acknowledges nothing for so long is cut off by the kernel.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(30);

/// The listener, and who may ask there.
#[derive(Debug)]
pub struct Listener {
    tcp: TcpListener,
    token: Option<Token>,
}

impl Listener {
    /// With a token, everything that tells or changes something needs it.
    #[must_use]
    pub fn new(tcp: TcpListener, token: Option<Token>) -> Self {
        Self { tcp, token }
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Serves operators until told to stop: longer than clients, so that a draining instance can be seen.
    pub async fn run(self, state: State, shutdown: Shutdown) {
        // Where the system does not say, the stricter rule holds.
        let is_loopback = self.address().is_ok_and(|address| address.ip().to_canonical().is_loopback());
        let access = Access::new(self.token, is_loopback);
        let tasks = TaskTracker::new();
        let feed = Feed::new(state.clone());
        let (ticking, stop) = (feed.clone(), shutdown.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = ticking.run() => {}
                () = stop.now() => {}
            }
        });
        let answers = Arc::new(Answers::new(access, state, feed));
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let accepted = tokio::select! {
                accepted = self.tcp.accept() => accepted,
                () = shutdown.now() => break,
            };
            match accepted {
                Ok((stream, _)) => {
                    let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
                    let (answers, shutdown) = (Arc::clone(&answers), shutdown.clone());
                    tasks.spawn(async move {
                        tokio::select! {
                            () = serve(stream, answers) => {}
                            () = shutdown.now() => {}
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "no admin connection can be taken for now");
                    tokio::time::sleep(SHORTAGE_PAUSE).await;
                }
            }
        }
        tasks.close();
        tasks.wait().await;
    }
}

async fn serve(stream: TcpStream, answers: Arc<Answers>) {
    if let Err(error) = SockRef::from(&stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX)) {
        tracing::debug!(%error, "a socket option of an admin connection was not set");
    }
    let service = service_fn(move |request: Request<Incoming>| {
        let response = answers.answer(&request);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "admin connection ended");
    }
}
