//! The listener for clients: accepts within a limit, survives what accepting can fail with, owns the connections.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket as RawSocket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use super::connection::{self, ClientService, ConnectionLimits, Entrance};
use super::io::Socket;
use super::lane::Lanes;
use crate::metrics::Metrics;
use crate::shutdown::Shutdown;

/// Clients that may wait in the kernel: enough for all to come back at once. The system's `somaxconn` caps it.
const BACKLOG: i32 = 4096;
/// Connections taken at once before other tasks get their turn.
const ACCEPTED_PER_TURN: usize = 1024;
/// The first pause after accepting failed for want of resources; it doubles with each failure.
const PAUSE_FIRST: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// At most one warning in this time.
const WARN_EVERY: Duration = Duration::from_secs(1);
/// Finds a peer that vanished from a quiet tunnel: no heartbeat of ours keeps data in flight there.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;

/// Where connections come from: a `TcpListener`, or a test's own.
pub trait Accept: Send {
    /// Waits for the next connection. Must lose none when it is dropped unfinished.
    fn accept(&mut self) -> impl Future<Output = io::Result<(TcpStream, SocketAddr)>> + Send;
}

impl Accept for TcpListener {
    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        Self::accept(self).await
    }
}

/// The bounds of the server.
#[derive(Debug, Clone)]
pub struct ServerLimits {
    /// The most open sockets, upgraded ones included. More clients wait in the kernel's queue.
    pub connections_max: usize,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What comes before HTTP.
    pub entrance: Entrance,
    /// The bounds of each connection.
    pub connection: ConnectionLimits,
}

/// Listens on `address`; `[::]` takes IPv4 clients as well.
///
/// A client that acknowledges nothing for `unacknowledged_max` is cut off by the kernel (`TCP_USER_TIMEOUT`, spec 7.5);
/// `None`: the system's default. This, like the other options, is inherited by each connection (tcp(7)), so that none
/// needs a system call of its own for it.
///
/// # Errors
/// Those of the system: the address is in use, is not ours, or needs a privilege.
pub fn listen(address: SocketAddr, unacknowledged_max: Option<Duration>) -> io::Result<TcpListener> {
    let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if let SocketAddr::V6(v6) = address {
        socket.set_only_v6(!v6.ip().is_unspecified())?;
    }
    socket.set_reuse_address(true)?; // A restart must not wait for connections in TIME_WAIT.
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_EVERY)
        .with_retries(KEEPALIVE_PROBES);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(unacknowledged_max)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Serves clients until `shutdown` begins and every connection ended; those that did not by its deadline are
/// aborted. Upgraded connections are the service's to end.
pub async fn serve<A: Accept, S: ClientService>(
    mut listener: A,
    service: S,
    limits: ServerLimits,
    shutdown: Shutdown,
) {
    let limits = Arc::new(limits);
    let places = Arc::new(Semaphore::new(limits.connections_max.min(Semaphore::MAX_PERMITS)));
    let mut failures = Failures::default();
    let mut connections = JoinSet::new();
    let mut loops = JoinSet::new();
    let mut lanes = None;
    if limits.connection.lane {
        match Lanes::new(&shutdown) {
            Ok((ways, running)) => {
                running.into_iter().for_each(|running| drop(loops.spawn(running)));
                lanes = Some(ways);
            }
            Err(error) => tracing::warn!(%error, "no lane: all clients are written to through hyper"),
        }
    }
    let mut accepted_in_turn = 0;
    loop {
        if accepted_in_turn == ACCEPTED_PER_TURN {
            accepted_in_turn = 0;
            tokio::task::yield_now().await;
        }
        // Takes all who wait, whatever else there is to do: those for whom the kernel's queue has no room try again only a
        // second later. What it costs to take one is little; the work for it is its task's.
        let next = tokio::task::coop::unconstrained(async {
            // Only an error when the semaphore was closed, and nobody does that.
            let place = Arc::clone(&places).acquire_owned().await.map_err(io::Error::other)?;
            let (stream, peer) = listener.accept().await?;
            Ok::<_, io::Error>((
                Socket { stream, _place: place, _open: limits.metrics.connections.enter() },
                peer,
            ))
        });
        tokio::select! {
            biased;
            _ = shutdown.draining() => break,
            Some(ended) = connections.join_next() => report(ended),
            accepted = next => match accepted {
                Ok((socket, peer)) => {
                    accepted_in_turn += 1;
                    failures = Failures { warned: failures.warned, ..Failures::default() };
                    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                    let (service, limits, shutdown) = (service.clone(), Arc::clone(&limits), shutdown.clone());
                    let lanes = lanes.clone();
                    connections.spawn(async move {
                        connection::serve(socket, peer, service, &limits, lanes, &shutdown).await;
                    });
                }
                Err(error) if is_only_that_client(&error) => {}
                Err(error) => {
                    let (pause, warn) = failures.another(Instant::now());
                    if warn {
                        tracing::warn!(%error, ?pause, "accepting clients failed");
                    }
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        _ = shutdown.draining() => {}
                    }
                }
            },
        }
    }
    drop(listener); // Who connects from now on is refused, and can go to another instance.
    drop(lanes);
    tokio::select! {
        () = async {
            while let Some(ended) = connections.join_next().await { report(ended) }
            while let Some(ended) = loops.join_next().await { report(ended) }
        } => {}
        () = shutdown.now() => {
            let open = limits.metrics.connections.get();
            if open > 0 {
                tracing::warn!(connections = open, "client connections aborted");
            }
        }
    }
    connections.shutdown().await;
    loops.shutdown().await;
}

/// The client gave up while it waited in the kernel's queue: the next one may be fine.
fn is_only_that_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

/// Failures in a row that are ours: EMFILE, ENFILE, ENOBUFS, ENOMEM, or anything unknown. The client still waits in
/// the queue then, so that trying again at once would be a busy loop.
#[derive(Debug, Default)]
struct Failures {
    pause: Option<Duration>,
    warned: Option<Instant>,
}

impl Failures {
    /// How long to pause, and whether to warn.
    fn another(&mut self, now: Instant) -> (Duration, bool) {
        let pause = self.pause.map_or(PAUSE_FIRST, |pause| (pause * 2).min(PAUSE_MAX));
        self.pause = Some(pause);
        let warn = self.warned.is_none_or(|warned| now >= warned + WARN_EVERY);
        if warn {
            self.warned = Some(now);
        }
        (pause, warn)
    }
}

fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "the task of a client connection failed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn connections_inherit_what_is_set_where_they_come_from() {
        let timeout = Duration::from_secs(7);
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0)), Some(timeout)).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (accepted, _client) = tokio::join!(listener.accept(), client);
        let (stream, _) = accepted.unwrap();
        let socket = socket2::SockRef::from(&stream);
        assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE_IDLE);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), KEEPALIVE_EVERY);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), KEEPALIVE_PROBES);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(timeout));
    }

    #[tokio::test(start_paused = true)]
    async fn failures_pause_longer_and_longer_and_warn_once_a_second() {
        let start = Instant::now();
        let mut failures = Failures::default();
        assert_eq!(failures.another(start), (PAUSE_FIRST, true));
        assert_eq!(failures.another(start + WARN_EVERY / 2), (PAUSE_FIRST * 2, false));
        assert_eq!(failures.another(start + WARN_EVERY), (PAUSE_FIRST * 4, true));
        for _ in 0..10 {
            failures.another(start + WARN_EVERY);
        }
        assert_eq!(failures.another(start + WARN_EVERY), (PAUSE_MAX, false));
    }
}
