//! A small proxy around forwarding, for tests over real sockets.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::body::Body;
use super::forward::{Arrival, Rules, outgoing, relay};
use super::upgrade::Tunnels;
use crate::upstream::UpstreamClient;
use crate::upstream::testing::{listen, tcp};

pub(super) const BEAT: Duration = Duration::from_millis(50);
pub(super) const TUNNELS_MAX: usize = 2;

/// A listening proxy; its connections end with it.
pub(super) struct Proxy {
    pub(super) address: SocketAddr,
    pub(super) tunnels: Arc<Tunnels>,
    _tasks: JoinSet<()>,
}

struct Shared {
    client: UpstreamClient,
    rules: Rules,
    tunnels: Arc<Tunnels>,
}

impl Proxy {
    pub(super) async fn http1(upstream: SocketAddr) -> Self {
        Self::start(upstream, false).await
    }

    pub(super) async fn http2(upstream: SocketAddr) -> Self {
        Self::start(upstream, true).await
    }

    /// Connects, and sends these bytes.
    pub(super) async fn request(&self, bytes: &str) -> TcpStream {
        let mut io = TcpStream::connect(self.address).await.unwrap();
        io.write_all(bytes.as_bytes()).await.unwrap();
        io
    }

    async fn start(upstream: SocketAddr, is_http2: bool) -> Self {
        let (listener, address) = listen().await;
        let tunnels = Arc::new(Tunnels::new(TUNNELS_MAX));
        let client = UpstreamClient::new(&tcp(upstream)).unwrap();
        let shared = Arc::new(Shared { client, rules: Rules::default(), tunnels: Arc::clone(&tunnels) });
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (io, _) = listener.accept().await.unwrap();
                connections.spawn(connection(io, is_http2, Arc::clone(&shared)));
            }
        });
        Self { address, tunnels, _tasks: tasks }
    }
}

async fn connection(io: TcpStream, is_http2: bool, shared: Arc<Shared>) {
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(shared.serve(request).await) }
    });
    let io = TokioIo::new(io);
    // How a connection ends is seen by its client.
    if is_http2 {
        let _ended = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .serve_connection(io, service)
            .await;
    } else {
        let _ended = http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(io, service)
            .with_upgrades()
            .await;
    }
}

impl Shared {
    async fn serve(&self, request: Request<Incoming>) -> Response<Body> {
        let (mut head, body) = request.into_parts();
        let arrival = Arrival { peer: IpAddr::V4(Ipv4Addr::LOCALHOST), scheme: "http" };
        let wanted = match outgoing(&mut head, arrival, &self.rules) {
            Ok(wanted) => wanted,
            Err(refusal) => return answer(refusal.problem().status()),
        };
        match self.client.send(Request::from_parts(head, body.into())).await {
            Ok(response) => match wanted {
                Some(wanted) if response.status() == StatusCode::SWITCHING_PROTOCOLS => self
                    .tunnels
                    .switch(response, wanted)
                    .unwrap_or_else(|_| answer(StatusCode::SERVICE_UNAVAILABLE)),
                Some(_) | None => relay(response, BEAT),
            },
            Err(error) => answer(error.fault().status()),
        }
    }
}

fn answer(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = status;
    response
}
