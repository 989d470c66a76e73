//! How a connection to the upstream is made: TCP, TLS or a unix socket; always to the one target.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

use super::client::SetupError;
use super::error::{Kind, UpstreamError, kind_of_io};
use crate::config::{Transport, UpstreamConfig};

/// Makes connections to the one upstream.
#[derive(Clone)]
pub(super) struct Connector {
    route: Arc<Route>,
    timeout: Duration,
}

enum Route {
    Tcp { host: String, port: u16 },
    Tls { host: String, port: u16, name: ServerName<'static>, tls: TlsConnector },
    Unix { path: std::path::PathBuf },
}

impl Connector {
    pub(super) fn new(config: &UpstreamConfig) -> Result<Self, SetupError> {
        let route = match &config.target.transport {
            Transport::Tcp { host, port } => Route::Tcp { host: host.clone(), port: *port },
            Transport::Tls { host, port } => {
                let name = ServerName::try_from(host.clone()).map_err(|_| {
                    SetupError(format!("--upstream: '{host}' can't be the name in a certificate"))
                })?;
                Route::Tls { host: host.clone(), port: *port, name, tls: tls_connector(config)? }
            }
            Transport::Unix { path } => Route::Unix { path: path.clone() },
        };
        Ok(Self { route: Arc::new(route), timeout: config.connect_timeout })
    }
}

fn tls_connector(config: &UpstreamConfig) -> Result<TlsConnector, SetupError> {
    let mut roots = RootCertStore::empty();
    match &config.ca_file {
        Some(path) => {
            let read = |error: &dyn std::fmt::Display| {
                SetupError(format!("--upstream-ca '{}': {error}", path.display()))
            };
            let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
                .and_then(Iterator::collect)
                .map_err(|error| read(&error))?;
            if certificates.is_empty() {
                return Err(read(&"no certificate in it"));
            }
            for certificate in certificates {
                roots.add(certificate).map_err(|error| read(&error))?;
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                return Err(SetupError(
                    "--upstream is https, but this system has no certificate authorities: name them with --upstream-ca"
                        .into(),
                ));
            }
        }
    }
    let provider = Arc::new(crypto::ring::default_provider());
    let mut tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| SetupError(format!("TLS: {error}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(tls)))
}

impl tower_service::Service<Uri> for Connector {
    type Response = UpstreamStream;
    type Error = UpstreamError;
    type Future = Pin<Box<dyn Future<Output = Result<UpstreamStream, UpstreamError>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), UpstreamError>> {
        Poll::Ready(Ok(()))
    }

    /// The address is not looked at: only `--upstream` says where to connect (spec 3.3).
    fn call(&mut self, _address: Uri) -> Self::Future {
        let Self { route, timeout } = self.clone();
        Box::pin(async move {
            match tokio::time::timeout(timeout, route.connect()).await {
                Ok(connected) => connected,
                Err(elapsed) => Err(UpstreamError::new(Kind::ConnectTimeout, elapsed)),
            }
        })
    }
}

impl Route {
    async fn connect(&self) -> Result<UpstreamStream, UpstreamError> {
        match self {
            Self::Tcp { host, port } => {
                Ok(UpstreamStream::Tcp(TokioIo::new(connect_tcp(host, *port).await?)))
            }
            Self::Tls { host, port, name, tls } => {
                let stream = connect_tcp(host, *port).await?;
                let stream = tls
                    .connect(name.clone(), stream)
                    .await
                    .map_err(|error| UpstreamError::new(kind_of_io(&error).unwrap_or(Kind::Tls), error))?;
                Ok(UpstreamStream::Tls(TokioIo::new(Box::new(stream))))
            }
            Self::Unix { path } => {
                let stream = UnixStream::connect(path).await.map_err(failed_connect)?;
                Ok(UpstreamStream::Unix(TokioIo::new(stream)))
            }
        }
    }
}

fn failed_connect(error: io::Error) -> UpstreamError {
    UpstreamError::new(kind_of_io(&error).unwrap_or(Kind::Unreachable), error)
}

async fn connect_tcp(host: &str, port: u16) -> Result<TcpStream, UpstreamError> {
    let addresses = tokio::net::lookup_host((host, port))
        .await
        .map_err(|error| UpstreamError::new(Kind::Resolve, error))?;
    let mut last = None;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                stream.set_nodelay(true).map_err(failed_connect)?;
                return Ok(stream);
            }
            Err(error) => last = Some(error),
        }
    }
    Err(match last {
        Some(error) => failed_connect(error),
        None => UpstreamError::new(Kind::Resolve, "the name has no address"),
    })
}

/// A connection to the upstream.
pub(super) enum UpstreamStream {
    Tcp(TokioIo<TcpStream>),
    Tls(TokioIo<Box<TlsStream<TcpStream>>>),
    Unix(TokioIo<UnixStream>),
}

/// Calls one method on whichever stream it is.
macro_rules! on_stream {
    ($self:expr, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Self::Tcp($stream) => $call,
            Self::Tls($stream) => $call,
            Self::Unix($stream) => $call,
        }
    };
}

impl Read for UpstreamStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl Write for UpstreamStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        on_stream!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on_stream!(self, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }
}

impl Connection for UpstreamStream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}
