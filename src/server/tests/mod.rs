//! Stories over real sockets, told in raw bytes where the bytes matter.

mod http1;
mod http2;
mod leaving;
mod stopping;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body::{Body, Frame};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::accept::{Accept, ServerLimits, listen, serve};
use super::body::Served;
use super::connection::{Connection, ConnectionLimits, Entrance};
use super::io::Armed;
use crate::shutdown::{Shutdown, ShutdownTrigger};

/// What happens at all happens in this time.
const PATIENCE: Duration = Duration::from_secs(10);
/// How soon a client's leaving must be noticed (spec 7.6).
const AT_ONCE: Duration = Duration::from_secs(1);
const HEAD_TIMEOUT: Duration = Duration::from_millis(200);
const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
const HELLO: &[u8] = b"GET /hello HTTP/1.1\r\nhost: a\r\n\r\n";
const STREAM: &[u8] = b"GET /stream HTTP/1.1\r\nhost: a\r\n\r\n";

/// What the test service tells and is told; each permit is one occurrence.
#[derive(Debug)]
struct Signals {
    begun: Semaphore,
    dropped: Semaphore,
    /// Lets one `/slow` answer, or one `/stream` end.
    finish: Semaphore,
}

struct Server {
    address: SocketAddr,
    trigger: ShutdownTrigger,
    signals: Arc<Signals>,
    served: JoinHandle<()>,
}

impl Server {
    fn start() -> Self {
        Self::with(limits(), |listener| listener)
    }

    fn with<A: Accept + 'static>(
        limits: ServerLimits,
        wrap: impl FnOnce(tokio::net::TcpListener) -> A,
    ) -> Self {
        let listener = listen(LOOPBACK, Some(PATIENCE)).unwrap();
        let address = listener.local_addr().unwrap();
        let none = || Semaphore::new(0);
        let signals = Arc::new(Signals { begun: none(), dropped: none(), finish: none() });
        let (trigger, shutdown) = Shutdown::new();
        let answering = Arc::clone(&signals);
        let service = service_fn(move |request| answer(request, Arc::clone(&answering)));
        let served = tokio::spawn(serve(wrap(listener), service, limits, shutdown));
        Self { address, trigger, signals, served }
    }

    async fn connect(&self) -> Raw {
        Raw(TcpStream::connect(self.address).await.unwrap())
    }

    /// A client that has read the first event of a stream, having sent `request` for it.
    async fn reader(&self, request: &[u8]) -> Raw {
        let mut client = self.connect().await;
        client.send(request).await;
        client.read_until("data: first\n\n").await;
        client
    }

    async fn body_dropped_at_once(&self) {
        once(&self.signals.dropped, AT_ONCE).await;
    }

    async fn ended(self) {
        timeout(PATIENCE, self.served).await.expect("the server ends").unwrap();
    }
}

async fn once(signal: &Semaphore, patience: Duration) {
    timeout(patience, signal.acquire()).await.expect("it happens in time").unwrap().forget();
}

fn limits() -> ServerLimits {
    ServerLimits {
        connections_max: 100,
        metrics: Arc::default(),
        entrance: Entrance::default(),
        connection: ConnectionLimits {
            head_bytes_max: 8 * 1024,
            header_count_max: 20,
            head_timeout: HEAD_TIMEOUT,
            idle_timeout: PATIENCE,
            lane: true,
        },
    }
}

/// For stories in which nobody may idle out on a slow machine.
fn patient_limits() -> ServerLimits {
    let mut limits = limits();
    limits.connection.head_timeout = PATIENCE * 6;
    limits
}

/// A client that sends and reads bytes.
struct Raw(TcpStream);

impl Raw {
    async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    async fn read_until(&mut self, end: &str) -> String {
        let mut text = Vec::new();
        while !text.ends_with(end.as_bytes()) {
            let byte = timeout(PATIENCE, self.0.read_u8()).await;
            let so_far = String::from_utf8_lossy(&text);
            text.push(byte.unwrap_or_else(|_| panic!("silent after {so_far:?}")).unwrap_or_else(|error| {
                panic!("{error} after {so_far:?}");
            }));
        }
        String::from_utf8(text).unwrap()
    }

    /// Everything until the server closes.
    async fn read_to_end(&mut self) -> String {
        let mut text = String::new();
        timeout(PATIENCE, self.0.read_to_string(&mut text)).await.expect("the server closes").unwrap();
        text
    }

    /// Waits for the end of the connection, be it a FIN or a reset.
    async fn closed(&mut self) {
        let mut rest = Vec::new();
        let _end = timeout(PATIENCE, self.0.read_to_end(&mut rest)).await.expect("the server closes");
    }

    async fn hello(&mut self) {
        self.send(HELLO).await;
        self.read_until("\r\n\r\nhello").await;
    }

    /// Closes with a reset instead of a FIN.
    fn reset(self) {
        socket2::SockRef::from(&self.0).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

type TestBody = UnsyncBoxBody<Bytes, Infallible>;

impl Served for TestBody {}

async fn answer(request: Request<Incoming>, signals: Arc<Signals>) -> Result<Response<TestBody>, Infallible> {
    let connection = request.extensions().get::<Connection>().expect("each request has it").clone();
    assert!(connection.peer.ip().is_loopback());
    Ok(match request.uri().path() {
        "/hello" => Response::new(Full::new(Bytes::from_static(b"hello")).boxed_unsync()),
        "/slow" => {
            signals.begun.add_permits(1);
            signals.finish.acquire().await.unwrap().forget();
            Response::new(Full::new(Bytes::from_static(b"done")).boxed_unsync())
        }
        "/stream" => Response::new(EventStream::new(connection.watch.arm(), signals).boxed_unsync()),
        "/upgrade" => {
            tokio::spawn(async move {
                let mut tunnel = TokioIo::new(hyper::upgrade::on(request).await.unwrap());
                let mut chunk = [0; 64];
                while let Ok(count @ 1..) = tunnel.read(&mut chunk).await {
                    tunnel.write_all(&chunk[..count]).await.unwrap();
                }
            });
            let mut response = Response::new(TestBody::default());
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            let headers = response.headers_mut();
            headers.insert(header::CONNECTION, header::HeaderValue::from_static("upgrade"));
            headers.insert(header::UPGRADE, header::HeaderValue::from_static("echo"));
            response
        }
        other => panic!("no such path: {other}"),
    })
}

/// One event, then silence until it is told to finish.
struct EventStream {
    first: Option<Bytes>,
    finish: Pin<Box<dyn Future<Output = ()> + Send>>,
    signals: Arc<Signals>,
    _armed: Armed,
}

impl EventStream {
    fn new(armed: Armed, signals: Arc<Signals>) -> Self {
        let told = Arc::clone(&signals);
        let finish = Box::pin(async move { told.finish.acquire().await.unwrap().forget() });
        Self { first: Some(Bytes::from_static(b"data: first\n\n")), finish, signals, _armed: armed }
    }
}

impl Body for EventStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(Ok(Frame::data(first)))),
            None => self.finish.as_mut().poll(cx).map(|()| None),
        }
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        self.signals.dropped.add_permits(1);
    }
}
