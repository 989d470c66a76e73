//! HTTP on one client connection: HTTP/1.1, or HTTP/2 with prior knowledge.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::body::Body;
use super::io::{ClientWatch, Socket};
use crate::config::ServerConfig;
use crate::shutdown::Shutdown;

/// How an HTTP/2 connection begins (RFC 9113, 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// hyper's least buffer, in bytes.
const BUFFER_MIN: usize = 8 * 1024;

/// HTTP/2 limits: requests at once on a connection, bytes on their way, resets that a client may
/// provoke (CVE-2023-44487 and its kin).
const STREAMS_MAX: u32 = 100;
const SEND_BUFFER_MAX: usize = 32 * 1024;
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 256 * 1024;
const PENDING_RESETS_MAX: usize = 20;
const LOCAL_RESETS_MAX: usize = 128;

/// A silent HTTP/2 peer is asked for a sign of life so often, and given so much time for it.
const PING_INTERVAL: Duration = Duration::from_secs(20);

/// What a request's extensions say of its connection.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The other end of the socket.
    pub address: SocketAddr,
    /// To be turned on while an event stream is sent.
    pub watch: ClientWatch,
}

/// Speaks HTTP until the client leaves or the program stops.
pub(super) async fn serve<S, F>(
    stream: TcpStream,
    address: SocketAddr,
    config: &ServerConfig,
    shutdown: &Shutdown,
    service: S,
) where
    S: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%address, %error, "the client left before it was served");
        return;
    }
    let Some((socket, is_http2)) = begin(stream, config.head_timeout).await else {
        tracing::debug!(%address, "the client sent nothing in time, or left");
        return;
    };
    let peer = Peer { address, watch: socket.watch().clone() };
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        let response = service(request);
        async move { Ok::<_, Infallible>(response.await) }
    });
    let io = TokioIo::new(socket.clone());
    let result = if is_http2 {
        let connection = http2_builder(config).serve_connection(io, service);
        drive(pin!(connection), http2::Connection::graceful_shutdown, &socket, shutdown).await
    } else {
        let connection = http1_builder(config).serve_connection(io, service).with_upgrades();
        drive(pin!(connection), http1::UpgradeableConnection::graceful_shutdown, &socket, shutdown).await
    };
    if let Err(error) = result {
        tracing::debug!(%address, %error, "connection ended");
    }
}

/// Reads as much as tells the protocol. `None`: the client said nothing in time, or left.
async fn begin(mut stream: TcpStream, timeout: Duration) -> Option<(Socket, bool)> {
    let mut begun = Vec::with_capacity(HTTP2_PREFACE.len());
    let reading = async {
        while begun.len() < HTTP2_PREFACE.len() && HTTP2_PREFACE.starts_with(&begun) {
            let missing = HTTP2_PREFACE.len() - begun.len();
            match (&mut stream).take(missing as u64).read_buf(&mut begun).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
        Some(())
    };
    tokio::time::timeout(timeout, reading).await.ok()??;
    let is_http2 = begun == HTTP2_PREFACE;
    Some((Socket::new(stream, begun), is_http2))
}

fn http1_builder(config: &ServerConfig) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(config.head_timeout)
        .max_buf_size(config.head_bytes_max.max(BUFFER_MIN))
        .max_headers(config.header_count_max)
        .half_close(false);
    builder
}

fn http2_builder(config: &ServerConfig) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    let head_bytes_max = u32::try_from(config.head_bytes_max).unwrap_or(u32::MAX);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_send_buf_size(SEND_BUFFER_MAX)
        .max_header_list_size(head_bytes_max)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
        .max_local_error_reset_streams(LOCAL_RESETS_MAX)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_INTERVAL);
    builder
}

/// Polls the connection and the watch in one task, and passes the program's stopping on.
async fn drive<C, E>(
    mut connection: Pin<&mut C>,
    finish: impl Fn(Pin<&mut C>),
    socket: &Socket,
    shutdown: &Shutdown,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>>
where
    C: Future<Output = Result<(), E>>,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut draining = pin!(shutdown.draining());
    let mut stopped = pin!(shutdown.stopped());
    let mut is_finishing = false;
    poll_fn(move |cx: &mut Context<'_>| {
        if !is_finishing && draining.as_mut().poll(cx).is_ready() {
            is_finishing = true;
            finish(connection.as_mut());
        }
        if stopped.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        if let Poll::Ready(result) = connection.as_mut().poll(cx) {
            return Poll::Ready(result.map_err(Into::into));
        }
        socket.poll_left(cx).map_err(Into::into)
    })
    .await
}
