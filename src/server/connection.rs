//! One connection of a client, from its first byte to its end.
//!
//! Learns who it is (`--proxy-protocol`), shakes hands (TLS), tells HTTP/1.1 from HTTP/2 by ALPN or, without TLS, by
//! the first bytes (prior knowledge, RFC 9113 section 3.3), lets hyper speak it within [`ConnectionLimits`], and ends it: when the client leaves, when it idles, or when the program stops.

use std::convert::Infallible;
use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use ipnet::IpNet;
use parking_lot::Mutex;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::server::TlsStream;

use super::accept::ServerLimits;
use super::body::Served;
use super::head_guard::{HeadGuard, Heads};
use super::io::{ClientStream, ClientWatch, Gone, Socket, Watch};
use super::lane::{self, Client, HandOver, Lanes};
use super::proxy_protocol;
use super::stream::{self, Tracked};
use super::tls::{self, Tls};
use crate::config::ServerConfig;
use crate::metrics::Limit;
use crate::shutdown::Shutdown;

/// What each client of HTTP/2 with prior knowledge sends first (RFC 9113 section 3.4).
pub(super) const H2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Read at once before the protocol is known: more than the usual request head.
const OPENING_READ_BYTES: usize = 4 * 1024;
/// hyper panics below it.
const H1_BUFFER_BYTES_MIN: usize = 8 * 1024;
const H2_STREAMS_MAX: u32 = 100;
/// Streams that were reset before we took them: the rapid reset of CVE-2023-44487.
const H2_RESETS_PENDING_MAX: usize = 20;
/// Streams that the client made us reset ("made you reset", 2025).
const H2_RESETS_LOCAL_MAX: usize = 128;
const H2_STREAM_WINDOW_BYTES: u32 = 64 * 1024;
const H2_CONNECTION_WINDOW_BYTES: u32 = 256 * 1024;
const H2_SEND_BUFFER_BYTES: usize = 32 * 1024;
/// A dead peer is found after at most this time and the same again.
const H2_PING_EVERY: Duration = Duration::from_secs(20);
/// How long, and how much of, a client's input is read after we closed: closing a socket with unread input resets
/// it, and the reset can overtake our last answer (RFC 9112 section 9.6).
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 256 * 1024;
const LINGER_READ_BYTES: usize = 4 * 1024;

/// What a connection may cost (spec 9.1).
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    /// The largest request head, in bytes. HTTP/1.1 buffers are at least 8 KiB, and so is the limit there.
    pub head_bytes_max: usize,
    /// The most header fields in an HTTP/1.1 request; HTTP/2 has only the limit in bytes.
    pub header_count_max: usize,
    /// The longest time for a request head, idle keep-alive included. A first head may take twice as long: once
    /// until the protocol is known, and once more.
    pub head_timeout: Duration,
    /// An HTTP/2 stream whose client takes nothing of what is there for it for so long is reset
    /// (spec 7.5).
    pub idle_timeout: Duration,
    /// Whether a lane serves the cleartext HTTP/1.1 clients of sessions.
    pub lane: bool,
}

impl From<&ServerConfig> for ConnectionLimits {
    fn from(config: &ServerConfig) -> Self {
        Self {
            head_bytes_max: config.head_bytes_max,
            header_count_max: config.header_count_max,
            head_timeout: config.head_timeout,
            idle_timeout: config.idle_timeout,
            lane: config.lane,
        }
    }
}

/// What comes before HTTP on each connection.
#[derive(Debug, Clone, Default)]
pub struct Entrance {
    /// Load balancers that begin each connection with a header of the PROXY protocol, and nobody else may connect;
    /// `None`: nobody does.
    pub balancers: Option<Arc<[IpNet]>>,
    /// `None`: cleartext.
    pub tls: Option<Tls>,
}

/// The connection that a request came on; each request carries it in its extensions.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Who connected; an IPv4 client is an IPv4 address, even if the listener speaks IPv6.
    pub peer: SocketAddr,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// Which requests can be read in one way.
    pub heads: Heads,
    /// To be armed while an event stream is sent.
    pub watch: ClientWatch,
}

/// What bytes come and go by: the socket, or TLS over it.
trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// What answers requests: any hyper service of the right types is one. A failure is an answer, too, so there is no
/// error.
pub trait ClientService:
    Service<
        Request<Incoming>,
        Response = Response<Self::Body>,
        Error = Infallible,
        Future: Future<Output = Result<Response<Self::Body>, Infallible>> + Send + 'static,
    > + Clone
    + Send
    + 'static
{
    /// The body of its answers.
    type Body: Served;
}

impl<S, B> ClientService for S
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Served,
{
    type Body = B;
}

/// Serves one client until it leaves, breaks a limit, or `shutdown` ends it: from draining on, the running request
/// is finished and no other is read. It ends nothing at the deadline: its owner drops it.
///
/// Clients of sessions go on to `lanes`, if there are any.
pub(super) async fn serve<S: ClientService>(
    socket: Socket,
    peer: SocketAddr,
    service: S,
    limits: &ServerLimits,
    lanes: Option<Lanes>,
    shutdown: &Shutdown,
) {
    let deadline = Instant::now() + limits.connection.head_timeout;
    // Nothing of HTTP's is there for a client that says nothing yet.
    tokio::select! {
        biased;
        spoke = timeout_at(deadline, socket.stream.readable()) => if spoke.is_err() {
            return tracing::debug!(%peer, "client connection sent no request in time");
        },
        _ = shutdown.draining() => return, // No request has begun.
    }
    // Boxed, since all of it is over where a lane takes the client, which may have to wait for that.
    let spoken = Box::pin(speak(socket, peer, service, limits, deadline, lanes.is_some(), shutdown)).await;
    if let (Some(client), Some(lanes)) = (spoken, lanes) {
        lanes.take(client).await;
    }
}

/// HTTP, until the connection ends or a lane is to take it.
async fn speak<S: ClientService>(
    socket: Socket,
    peer: SocketAddr,
    service: S,
    limits: &ServerLimits,
    deadline: Instant,
    has_lane: bool,
    shutdown: &Shutdown,
) -> Option<Client> {
    let socket = Arc::new(socket);
    let entered = tokio::select! {
        biased;
        // Boxed, since a handshake's state is large, and over before the connection's long life.
        entered = Box::pin(timeout_at(deadline, enter(&socket, peer, &limits.entrance))) => entered,
        _ = shutdown.draining() => return None, // No request has begun.
    };
    let run = Run { service, limits, shutdown };
    match entered {
        Ok(Ok(Entered { peer, way })) => match way {
            Way::Plain(Opening::Http1(head)) => {
                let watch = Watch::starting_with(head);
                let io = ClientStream::new(Arc::clone(&socket), Arc::clone(&watch));
                let lane = has_lane.then(Arc::default);
                return run.http1(socket, io, watch, (peer, "http"), lane).await;
            }
            // Boxed, since its state is twice that of HTTP/1.1, whose connections would all have the room for it.
            Way::Plain(Opening::Http2(bytes)) => {
                let io = ClientStream::new(socket, Watch::starting_with(bytes));
                Box::pin(run.http2(io, (peer, "http"))).await;
            }
            Way::Tls(io, watch) if io.get_ref().1.alpn_protocol() == Some(tls::HTTP_2) => {
                drop((socket, watch));
                Box::pin(run.http2(*io, (peer, "https"))).await;
            }
            Way::Tls(io, watch) => {
                return Box::pin(run.http1(socket, *io, watch, (peer, "https"), None)).await;
            }
        },
        Ok(Err(error)) => tracing::debug!(%peer, %error, "client connection broke before a request"),
        Err(_elapsed) => tracing::debug!(%peer, "client connection sent no request in time"),
    }
    None
}

struct Entered {
    peer: SocketAddr,
    way: Way,
}

enum Way {
    Plain(Opening),
    Tls(Box<TlsStream<ClientStream>>, Arc<Watch>),
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// The bytes that told so belong to the request's head.
    Http1(Vec<u8>),
    /// The preface, and what came with it.
    Http2(Vec<u8>),
}

/// Everything before HTTP.
async fn enter(socket: &Arc<Socket>, peer: SocketAddr, entrance: &Entrance) -> io::Result<Entered> {
    let peer = match &entrance.balancers {
        None => peer,
        Some(balancers) if balancers.iter().any(|network| network.contains(&peer.ip())) => {
            let client = proxy_protocol::read(&socket.stream, peer).await?;
            SocketAddr::new(client.ip().to_canonical(), client.port())
        }
        Some(_) => return Err(io::Error::other("not one of --trusted-proxy, as --proxy-protocol demands")),
    };
    let way = match &entrance.tls {
        None => Way::Plain(opening(&socket.stream).await?),
        Some(tls) => {
            let watch = Watch::starting_with(Vec::new());
            let stream = ClientStream::new(Arc::clone(socket), Arc::clone(&watch));
            Way::Tls(Box::new(tls.acceptor().accept(stream).await?), watch)
        }
    };
    Ok(Entered { peer, way })
}

/// Reads until the bytes are the HTTP/2 preface or can't become it any more.
///
/// They are read, not peeked at: a partial preface that stays in the socket leaves it readable, and waiting for
/// more of it would be a busy loop. What came along is kept for hyper: mostly the whole head, which then costs one call.
pub(super) async fn opening(stream: &TcpStream) -> io::Result<Opening> {
    let mut bytes = Vec::new();
    loop {
        stream.readable().await?;
        match read_once(stream, &mut bytes) {
            Ok(0) => return Ok(Opening::Http1(bytes)),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        }
        let known = bytes.len().min(H2_PREFACE.len());
        if bytes[..known] != H2_PREFACE[..known] {
            return Ok(Opening::Http1(bytes));
        }
        if known == H2_PREFACE.len() {
            return Ok(Opening::Http2(bytes));
        }
    }
}

/// Appends what one call reads, [`OPENING_READ_BYTES`] at most.
///
/// Less than that is all that there was, and the runtime is told so: the next who waits for more makes no call in vain. What
/// comes after the call is told anew, since the runtime's epoll is edge-triggered.
fn read_once(stream: &TcpStream, bytes: &mut Vec<u8>) -> io::Result<usize> {
    let mut chunk = [0; OPENING_READ_BYTES];
    let mut read = None;
    let tried = stream.try_io(Interest::READABLE, || {
        let count = (&*SockRef::from(stream)).read(&mut chunk)?;
        read = Some(count);
        if count < chunk.len() { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(count) }
    });
    let count = read.map_or(tried, Ok)?;
    bytes.extend_from_slice(&chunk[..count]);
    Ok(count)
}

/// What serving needs beside the connection.
struct Run<'a, S> {
    service: S,
    limits: &'a ServerLimits,
    shutdown: &'a Shutdown,
}

impl<S: ClientService> Run<'_, S> {
    /// `io` is the socket, or TLS over it; `watch` reads the socket while an event stream is sent; `lane` is where
    /// a session's answer is offered to one.
    async fn http1<I: Io>(
        self,
        socket: Arc<Socket>,
        io: I,
        watch: Arc<Watch>,
        (peer, scheme): (SocketAddr, &'static str),
        lane: Option<Arc<HandOver>>,
    ) -> Option<Client> {
        let Self { service, limits, shutdown } = self;
        let ended = {
            let (io, heads) = HeadGuard::new(io, limits.connection.head_bytes_max.max(H1_BUFFER_BYTES_MIN));
            let connection = Connection { peer, scheme, heads, watch: watch.handle() };
            let service = lane::Offered { service: Introduced { service, connection }, lane: lane.clone() };
            let builder = http1_builder(&limits.connection);
            let mut http = pin!(builder.serve_connection(TokioIo::new(io), service).with_upgrades());
            let mut draining = pin!(shutdown.draining());
            let mut is_draining = false;
            loop {
                let driven = std::future::poll_fn(|cx| {
                    // hyper first: what it reads itself needs no watching, and a service that answers arms the watch.
                    if let Poll::Ready(result) = http.as_mut().poll(cx) {
                        return Poll::Ready(Ended::Http(result));
                    }
                    if lane.as_ref().is_some_and(|lane| lane.is_offered()) && watch.is_flushed() {
                        return Poll::Ready(Ended::HandedOver);
                    }
                    watch.poll_gone(&socket.stream, cx).map(Ended::Gone)
                });
                tokio::select! {
                    biased;
                    ended = driven => break ended,
                    _ = &mut draining, if !is_draining => is_draining = true,
                }
                http.as_mut().graceful_shutdown();
            }
        };
        match ended {
            // hyper is gone, and with it the other owner of the socket.
            Ended::HandedOver => {
                let (head, reader) = lane?.take()?;
                let client = Client::new(Arc::into_inner(socket)?, peer, &head, reader, watch.stray_bytes());
                return client.inspect_err(|error| tracing::warn!(%peer, %error, "client closed")).ok();
            }
            Ended::Gone(gone) => gone.log(peer),
            Ended::Http(result) => {
                if let Err(error) = result {
                    tracing::debug!(%peer, %error, "client connection failed");
                    if error.is_parse_too_large() || error.is_timeout() {
                        limits.metrics.refused(Limit::Head);
                    } else if error.is_parse() {
                        limits.metrics.refused(Limit::Framing);
                    }
                }
                // After an upgrade the socket has another owner, and its input is not ours.
                if let Some(socket) = Arc::into_inner(socket) {
                    linger(&socket.stream, shutdown).await;
                }
            }
        }
        None
    }

    async fn http2<I: Io>(self, io: I, (peer, scheme): (SocketAddr, &'static str)) {
        let Self { service, limits, shutdown } = self;
        let limits = &limits.connection;
        let streams = Arc::new(Mutex::new(JoinSet::new()));
        let connection =
            Connection { peer, scheme, heads: Heads::unguarded(), watch: ClientWatch::unwatched() };
        let service = Tracked(Introduced { service, connection });
        let tasks = StreamTasks { tasks: Arc::downgrade(&streams), idle_max: limits.idle_timeout };
        let mut http = pin!(http2_builder(limits, tasks).serve_connection(TokioIo::new(io), service));
        let mut draining = pin!(shutdown.draining());
        let mut is_draining = false;
        let mut idle_check = tokio::time::interval_at(
            Instant::now() + limits.head_timeout,
            limits.head_timeout.max(Duration::from_millis(1)), // An interval of zero panics.
        );
        let mut idle_checks = 0;
        loop {
            tokio::select! {
                biased;
                result = http.as_mut() => {
                    if let Err(error) = result {
                        tracing::debug!(%peer, %error, "client connection failed");
                    }
                    break;
                }
                _ = &mut draining, if !is_draining => {
                    is_draining = true;
                    http.as_mut().graceful_shutdown();
                }
                _ = idle_check.tick() => {
                    let mut streams = streams.lock();
                    reap(&mut streams);
                    idle_checks = if streams.is_empty() { idle_checks + 1 } else { 0 };
                    // Once may be chance; then it is told to go; then it goes, whether it agreed or not.
                    match idle_checks {
                        0 | 1 => {}
                        2 => http.as_mut().graceful_shutdown(),
                        _ => break,
                    }
                }
            }
        }
        // Without the connection no stream can end by itself; taken out first, since no lock is held while waiting.
        let mut left = std::mem::take(&mut *streams.lock());
        left.shutdown().await;
    }
}

enum Ended {
    Http(hyper::Result<()>),
    HandedOver,
    Gone(Gone),
}

fn http1_builder(limits: &ConnectionLimits) -> http1::Builder {
    let buffer_bytes = limits.head_bytes_max.max(H1_BUFFER_BYTES_MIN);
    let mut builder = http1::Builder::new();
    // `pipeline_flush` stays off: it lifts the cap of the write buffer, so that a slow reader could make us hold
    // a whole response.
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(buffer_bytes)
        .max_headers(limits.header_count_max)
        .half_close(false);
    builder
}

/// Reads what the client still sends until it closes as well, within limits, so that it can read our last answer.
pub(super) async fn linger(stream: &TcpStream, shutdown: &Shutdown) {
    // hyper has done so, but for connections that failed. The client may have been faster.
    let _ = SockRef::from(stream).shutdown(std::net::Shutdown::Write);
    let drained = async {
        let mut discarded = 0;
        let mut chunk = vec![0; LINGER_READ_BYTES];
        while discarded < LINGER_BYTES_MAX && stream.readable().await.is_ok() {
            match stream.try_read(&mut chunk) {
                Ok(0) => return,
                Ok(count) => discarded += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return, // Nobody is left to read the answer.
            }
        }
    };
    tokio::select! {
        _ = timeout(LINGER, drained) => {}
        () = shutdown.now() => {}
    }
}

fn http2_builder(limits: &ConnectionLimits, streams: StreamTasks) -> http2::Builder<StreamTasks> {
    let mut builder = http2::Builder::new(streams);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(H2_STREAMS_MAX)
        .max_pending_accept_reset_streams(H2_RESETS_PENDING_MAX)
        .max_local_error_reset_streams(H2_RESETS_LOCAL_MAX)
        .initial_stream_window_size(H2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(H2_CONNECTION_WINDOW_BYTES)
        .adaptive_window(false)
        .max_send_buf_size(H2_SEND_BUFFER_BYTES)
        .keep_alive_interval(H2_PING_EVERY)
        .keep_alive_timeout(H2_PING_EVERY)
        .max_header_list_size(u32::try_from(limits.head_bytes_max).unwrap_or(u32::MAX));
    builder
}

/// Runs the streams of one HTTP/2 connection as tasks which that connection owns. Weak, since hyper keeps a copy
/// in each of those tasks: a strong one would keep the set, and so the tasks, alive for ever.
#[derive(Debug, Clone)]
struct StreamTasks {
    tasks: Weak<Mutex<JoinSet<()>>>,
    idle_max: Duration,
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for StreamTasks {
    fn execute(&self, stream: F) {
        // When the connection is gone already, its streams are as well.
        if let Some(streams) = self.tasks.upgrade() {
            let mut streams = streams.lock();
            reap(&mut streams);
            streams.spawn(stream::run(stream, self.idle_max));
        }
    }
}

fn reap(streams: &mut JoinSet<()>) {
    while let Some(ended) = streams.try_join_next() {
        if let Err(error) = ended {
            tracing::error!(%error, "the task of an HTTP/2 stream failed");
        }
    }
}

/// The service, for the requests of one connection.
#[derive(Debug, Clone)]
struct Introduced<S> {
    service: S,
    connection: Connection,
}

impl<S: ClientService> Service<Request<Incoming>> for Introduced<S> {
    type Response = Response<S::Body>;
    type Error = Infallible;
    type Future = S::Future;

    fn call(&self, mut request: Request<Incoming>) -> S::Future {
        request.extensions_mut().insert(self.connection.clone());
        self.service.call(request)
    }
}
