//! ssecar on the simulated network: everything but the listener and its sockets.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use ssecar::config::{Command, Config};
use ssecar::message::session_key::KeyHasher;
use ssecar::server::connection::Connection;
use ssecar::server::gateway::Gateway;
use ssecar::server::head_guard::Heads;
use ssecar::server::io::ClientWatch;
use ssecar::session::{ClientLimits, Parts, Registry};
use ssecar::telemetry::Tracer;
use ssecar::upstream::{Dial, Duplex, UpstreamClient};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::Sim;
use turmoil::net::{TcpListener, TcpStream};

use crate::world::{PORT, PROXY, UPSTREAM, World};

pub(crate) fn start(sim: &mut Sim<'_>, world: &Arc<World>) {
    let world = Arc::clone(world);
    sim.host(PROXY, move || run(Arc::clone(&world)));
}

fn config(world: &World) -> Config {
    let scenario = &world.scenario;
    let catch_up = if scenario.catch_up { "on" } else { "off" };
    let args = [
        "ssecar".to_owned(),
        "--upstream=http://upstream:80".to_owned(),
        "--heartbeat=1s".to_owned(),
        "--backoff-initial=200ms".to_owned(),
        "--backoff-max=2s".to_owned(),
        "--upstream-connect-timeout=2s".to_owned(),
        "--upstream-response-timeout=4s".to_owned(),
        "--upstream-idle-timeout=4s".to_owned(),
        "--hold-head=1s".to_owned(),
        format!("--replay-events={}", scenario.replay_events),
        format!("--catch-up={catch_up}"),
    ];
    let Ok(Command::Run(config)) = Command::from_args(args) else { panic!("wrong flags") };
    *config
}

async fn run(world: Arc<World>) -> turmoil::Result {
    let config = config(&world);
    let start = world.proxy_starts.fetch_add(1, Ordering::Relaxed);
    let dialled = Arc::clone(&world);
    let dial: Dial = Arc::new(move || {
        let world = Arc::clone(&dialled);
        Box::pin(async move {
            let stream = TcpStream::connect((UPSTREAM, PORT)).await?;
            world.connected();
            Ok(Box::new(Counted { stream, world }) as Box<dyn Duplex>)
        })
    });
    let upstream = UpstreamClient::dialling(&config.upstream, dial).unwrap();
    let parts = Parts {
        hasher: KeyHasher::new([7; 16]),
        key_rules: Arc::default(),
        upstream,
        health: Arc::default(),
        metrics: Arc::default(),
        tracer: Tracer::default(),
    };
    // Another process, other epochs.
    let registry = Registry::new(
        &config.sessions,
        ClientLimits { all: config.server.clients_max, per_ip: None },
        parts.clone(),
        start,
    );
    *world.registry.lock().unwrap() = Some(registry.clone());
    let gateway = Gateway::new(&config, parts, registry, None);
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
    loop {
        let (stream, peer) = listener.accept().await?;
        let gateway = gateway.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Connection {
                peer,
                scheme: "http",
                heads: Heads::unguarded(),
                watch: ClientWatch::unwatched(),
            });
            let gateway = gateway.clone();
            async move { Ok::<_, Infallible>(gateway.handle(request).await) }
        });
        tokio::spawn(async move {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            // How it ends is in the client's transcript.
            let _ = connection.await;
        });
    }
}

/// A connection to the upstream that is counted while it lives.
#[derive(Debug)]
struct Counted {
    stream: TcpStream,
    world: Arc<World>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.world.disconnected();
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
