//! Opens connections to the upstream.
//!
//! Where to is decided by `--upstream` alone (spec 3.3): the URI that hyper hands over, which may
//! carry words of a client, is not even looked at.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::{Instant, timeout_at};
use tower_service::Service;

use super::stream::{Duplex, History, Io, UpstreamStream};
use super::tls::{SetupError, Tls, setup};
use crate::config::{Transport, UpstreamConfig};

/// The most addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;

/// An upstream that vanished without a word is noticed after about a minute, even on a connection
/// on which nothing is sent: a subscription is one.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(30);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;

/// Opens connections to the one upstream. A clone is cheap.
#[derive(Clone)]
pub(super) struct Connector {
    route: Arc<Route>,
    timeout: Duration,
}

/// Makes one connection to the upstream in a way of its own: a simulated network, say.
pub type Dial =
    Arc<dyn Fn() -> Pin<Box<dyn Future<Output = io::Result<Box<dyn Duplex>>> + Send>> + Send + Sync>;

enum Route {
    Dialled(Dial),
    Tcp { host: String, port: u16 },
    Tls { host: String, port: u16, tls: Tls },
    Unix { path: Box<Path> },
}

/// Why no connection came about.
#[derive(Debug)]
pub(super) enum ConnectError {
    /// Not within the connect timeout.
    TimedOut,
    /// The name couldn't be resolved, or has no address.
    Dns(io::Error),
    /// No address, or not the unix socket, took the connection.
    Transport(io::Error),
    /// The TLS handshake failed.
    Tls(io::Error),
}

impl Connector {
    /// Prepares the way to the configured upstream, without connecting.
    ///
    /// # Errors
    ///
    /// When the upstream is `https` and the certificates to check it by are missing or broken.
    pub(super) fn new(config: &UpstreamConfig) -> Result<Self, SetupError> {
        let route = match &config.target.transport {
            Transport::Tcp { host, port } => Route::Tcp { host: host.clone(), port: *port },
            Transport::Tls { host, port } => {
                let tls = setup(host, config.ca_file.as_deref(), config.client_certificate.as_ref())?;
                Route::Tls { host: host.clone(), port: *port, tls }
            }
            Transport::Unix { path } => Route::Unix { path: path.as_path().into() },
        };
        Ok(Self { route: Arc::new(route), timeout: config.connect_timeout })
    }

    /// Connects by `dial` alone, within the configured time.
    pub(super) fn dialling(config: &UpstreamConfig, dial: Dial) -> Self {
        Self { route: Arc::new(Route::Dialled(dial)), timeout: config.connect_timeout }
    }

    async fn connect(self) -> Result<TokioIo<UpstreamStream>, ConnectError> {
        let deadline = Instant::now() + self.timeout;
        let io = timeout_at(deadline, open(&self.route, deadline))
            .await
            .map_err(|_elapsed| ConnectError::TimedOut)??;
        Ok(TokioIo::new(UpstreamStream { io, history: History::default() }))
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<UpstreamStream>;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _never_looked_at: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { connector.connect().await.map_err(Into::into) })
    }
}

async fn open(route: &Route, deadline: Instant) -> Result<Io, ConnectError> {
    match route {
        Route::Dialled(dial) => dial().await.map(Io::Dialled).map_err(ConnectError::Transport),
        Route::Tcp { host, port } => tcp(host, *port, deadline).await.map(Io::Tcp),
        Route::Tls { host, port, tls } => {
            let stream = tcp(host, *port, deadline).await?;
            let stream = tls.connector.connect(tls.name.clone(), stream).await.map_err(ConnectError::Tls)?;
            Ok(Io::Tls(Box::new(stream)))
        }
        Route::Unix { path } => {
            UnixStream::connect(path).await.map(Io::Unix).map_err(ConnectError::Transport)
        }
    }
}

/// Tries the addresses of a name in turn; each has an equal share of the time that is left, so that
/// one which swallows packets can't starve the others.
async fn tcp(host: &str, port: u16, deadline: Instant) -> Result<TcpStream, ConnectError> {
    let addresses: Vec<SocketAddr> =
        lookup_host((host, port)).await.map_err(ConnectError::Dns)?.take(ADDRESSES_MAX).collect();
    let mut failure = ConnectError::Dns(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    for (tried, address) in addresses.iter().enumerate() {
        let now = Instant::now();
        let left = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        let share = deadline.saturating_duration_since(now) / left;
        failure = match timeout_at(now + share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return tuned(stream).map_err(ConnectError::Transport),
            Ok(Err(error)) => ConnectError::Transport(error),
            Err(_elapsed) => ConnectError::TimedOut,
        };
    }
    Err(failure)
}

fn tuned(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_AFTER)
        .with_interval(KEEPALIVE_EVERY)
        .with_retries(KEEPALIVE_PROBES);
    SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    Ok(stream)
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => f.write_str("no connection in time"),
            Self::Dns(error) => write!(f, "name lookup failed: {error}"),
            Self::Transport(error) => write!(f, "connecting failed: {error}"),
            Self::Tls(error) => write!(f, "TLS handshake failed: {error}"),
        }
    }
}

impl Error for ConnectError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::TimedOut => None,
            Self::Dns(error) | Self::Transport(error) | Self::Tls(error) => Some(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_is_probed_so_that_a_vanished_upstream_is_noticed() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        let stream = tcp("127.0.0.1", address.port(), deadline).await.unwrap();
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap() && stream.nodelay().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(30));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(10));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
    }
}
