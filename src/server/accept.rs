//! Taking connections: bounded in number, patient when the system is short of something.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::body::Body;
use super::connection;
use crate::config::ServerConfig;
use crate::shutdown::Shutdown;

/// Connections that the kernel may hold ready for us: a storm of reconnects fits.
const BACKLOG: i32 = 4096;

/// Connections beyond `--max-clients`: short requests, and those who are told that it is full.
const CONNECTIONS_RESERVE: usize = 1024;

/// How long to wait when the system can't give a connection.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(100);

/// Opens a listening socket.
///
/// # Errors
/// The address is in use, or not ours.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Serves clients until the program drains, and then those who are still there until it stops.
pub async fn run<S, F>(listener: TcpListener, config: Arc<ServerConfig>, shutdown: Shutdown, service: S)
where
    S: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let connections = TaskTracker::new();
    let places = Arc::new(Semaphore::new(config.clients_max.saturating_add(CONNECTIONS_RESERVE)));
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = shutdown.draining() => break,
        };
        let (stream, address, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_clients_own(&error) => continue,
            Err(error) => {
                tracing::warn!(%error, "no connection can be taken for now");
                tokio::time::sleep(SHORTAGE_PAUSE).await;
                continue;
            }
        };
        let (config, shutdown, service) = (Arc::clone(&config), shutdown.clone(), service.clone());
        connections.spawn(async move {
            connection::serve(stream, address, &config, &shutdown, service).await;
            drop(place);
        });
    }
    // No new connections: the kernel refuses them from here on.
    drop(listener);
    connections.close();
    connections.wait().await;
}

type Accepted = (tokio::net::TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit);

async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> io::Result<Accepted> {
    // The semaphore is never closed.
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, address) = listener.accept().await?;
    Ok((stream, address, place))
}

/// Whether a connection failed before it was taken, which says nothing about us.
fn is_clients_own(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}
