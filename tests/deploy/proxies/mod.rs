//! nginx, HAProxy, Caddy and Envoy before ssecar, and nginx behind it: the real programs with the files of
//! `deploy/proxies`. Clients are curl, from several addresses of loopback.

mod edge;
mod reader;

use std::time::Duration;

use crate::service::Service;
use crate::support::{Process, Ssecar, free_port, listening, until};
use edge::{Edge, Folder, Kind, accepts, nginx_commands, nginx_places};
use reader::Reader;

const STREAM: &str = "/v1/rooms/1/events";

/// A path with heartbeats that come sooner than an impatient proxy's time-out.
const LIVELY: &str = "/v1/lively";

/// More heartbeats than such a proxy's patience, ten of 150 ms: the shortest that is waited for is 1.5 s.
const LIVELY_ROUTE: &str = "--route=/v1/lively heartbeat=150ms";

/// ssecar as `deploy/proxies` says, for one client of each address.
async fn ssecar(kind: Kind, service: &Service, folder: &Folder) -> Ssecar {
    let (chain, key) = (folder.file("chain.pem"), folder.file("key.pem"));
    let tls = [format!("--tls-cert={chain}"), format!("--tls-key={key}"), "--proxy-protocol".to_owned()];
    let mut flags = vec!["--trusted-proxy=127.0.0.1/32", "--max-clients-per-ip=1", LIVELY_ROUTE];
    if kind == Kind::HaproxyTcp {
        flags.extend(tls.iter().map(String::as_str));
    }
    Ssecar::start(service.port, &flags).await
}

/// What must hold behind any proxy, with its file as shipped.
async fn serves_streams(kind: Kind) {
    let (service, folder) = (Service::start().await, Folder::new("edge"));
    let ssecar = ssecar(kind, &service, &folder).await;
    let edge = Edge::start(kind, folder, &ssecar).await;

    // At once: no heartbeat has pushed the event through.
    let forged = ["--header", "X-Forwarded-For: 10.9.9.9", "--http2"];
    let mut reader = Reader::open(&edge, STREAM, "127.0.0.2", &forged);
    service.asked_for(STREAM).await;
    service.publish("first");
    let (status, fields) = reader.head().await;
    assert_eq!(status, "http/2 200");
    assert!(fields.contains("content-type: text/event-stream"), "{fields}");
    assert_eq!(reader.data().await, "first");

    // The service learns who the client is; so does ssecar, whatever the client claims.
    let head = service.heads(STREAM).remove(0);
    let forwarded = head.lines().find_map(|line| line.strip_prefix("x-forwarded-for: ")).unwrap_or_default();
    let chain: Vec<&str> = forwarded.split(',').map(str::trim).collect();
    assert_eq!(chain.iter().rfind(|&&address| address != "127.0.0.1"), Some(&"127.0.0.2"), "{head}");
    assert!(head.contains("\nx-forwarded-proto: https\r"), "{head}");
    assert!(head.contains("\nx-forwarded-host: events.example"), "{head}");
    let mut second = Reader::open(&edge, STREAM, "127.0.0.2", &["--header", "X-Forwarded-For: 10.9.9.8"]);
    assert_eq!(second.head().await.0, "http/2 429", "a second client of one address");
    let mut other = Reader::open(&edge, STREAM, "127.0.0.3", &["--http1.1"]);
    until("the first of another", || async { ssecar.state().await["clients"] == 2 }).await;
    service.publish("second");
    assert_eq!(other.head().await.0, "http/1.1 200 ok");
    assert_eq!((reader.data().await, other.data().await), ("second".to_owned(), "second".to_owned()));
    assert_eq!(service.heads(STREAM).len(), 1, "one subscription");

    // Who leaves is gone before the next heartbeat would tell.
    let last = reader.id.clone();
    drop((reader, other));
    let gone = until("the clients to be gone", || async { ssecar.state().await["clients"] == 0 });
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("sooner than a heartbeat");

    // Who comes back gets what was missed, and then what comes.
    service.publish("third");
    service.publish("fourth");
    let mut back = Reader::open(&edge, STREAM, "127.0.0.2", &["--header", &format!("Last-Event-ID: {last}")]);
    assert_eq!((back.data().await, back.data().await), ("third".to_owned(), "fourth".to_owned()));
    service.publish("fifth");
    assert_eq!(back.data().await, "fifth");

    // All else goes through, WebSockets included.
    let mut page = Reader::open(&edge, "/page", "127.0.0.4", &[]);
    assert_eq!(page.head().await.0, "http/2 200");
    assert_eq!(page.line().await.as_deref(), Some("page"));
    let handshake = [
        "--http1.1",
        "--header=Connection: Upgrade",
        "--header=Upgrade: websocket",
        "--header=Sec-WebSocket-Version: 13",
        "--header=Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ];
    let handshake: Vec<&str> = handshake.iter().flat_map(|arg| arg.splitn(2, '=')).collect();
    let mut socket = Reader::open(&edge, "/socket", "127.0.0.4", &handshake);
    assert!(socket.head().await.0.starts_with("http/1.1 101"));
    assert_eq!(socket.line().await.as_deref(), Some("from the socket"));
}

/// Heartbeats keep a silent stream open where the proxy would close it; without them it does.
async fn heartbeats_outlast_its_patience(kind: Kind) {
    let (service, folder) = (Service::start().await, Folder::new("impatient"));
    let ssecar = ssecar(kind, &service, &folder).await;
    let edge = Edge::impatient(kind, folder, &ssecar).await;
    let mut silent = Reader::open(&edge, STREAM, "127.0.0.2", &[]);
    let mut lively = Reader::open(&edge, LIVELY, "127.0.0.3", &[]);
    service.asked_for(LIVELY).await;
    silent.end().await;
    // From here on, the silence that ended the other is over once more.
    lively.heartbeats(10).await;
    drop(lively);
    until("the place to be free", || async { ssecar.state().await["clients"] == 0 }).await;
}

macro_rules! stories {
    ($($name:ident: $kind:expr;)+) => { $(mod $name {
        use super::*;

        #[tokio::test]
        async fn before_ssecar_serves_streams_as_shipped() {
            serves_streams($kind).await;
        }

        #[tokio::test]
        async fn before_ssecar_is_kept_from_its_timeout_by_heartbeats() {
            heartbeats_outlast_its_patience($kind).await;
        }
    })+ };
}

stories! {
    nginx: Kind::Nginx;
    haproxy: Kind::Haproxy;
    haproxy_with_the_proxy_protocol: Kind::HaproxyTcp;
    caddy: Kind::Caddy;
    envoy: Kind::Envoy;
}

#[tokio::test]
async fn nginx_behind_ssecar_holds_no_event_back_and_learns_who_asks() {
    let (service, folder, port) = (Service::start().await, Folder::new("behind"), free_port());
    let mut words = nginx_places(&folder);
    words.extend([
        ("listen 127.0.0.1:8081", format!("listen 127.0.0.1:{port}")),
        ("server 127.0.0.1:9000", format!("server 127.0.0.1:{}", service.port)),
        ("/srv/www", folder.file("")),
    ]);
    let (mut check, mut run) = nginx_commands(&folder.adapt("nginx-behind.conf", &words));
    accepts(&mut check).await;
    let _nginx = Process::start(&mut run);
    listening(port).await;
    std::fs::write(folder.file("page.html"), "from nginx\n").unwrap();
    let ssecar = Ssecar::start(port, &[]).await;

    let mut readers = ["127.0.0.2", "127.0.0.3"].map(|from| Reader::plain(&ssecar.url(STREAM), from));
    service.asked_for(STREAM).await;
    until("both", || async { ssecar.state().await["clients"] == 2 }).await;
    for data in ["first", "second"] {
        service.publish(data);
        for reader in &mut readers {
            assert_eq!(reader.data().await, data);
        }
    }
    assert_eq!(service.heads(STREAM).len(), 1, "one subscription through both");

    let mut page = Reader::plain(&ssecar.url("/page.html"), "127.0.0.4");
    page.head().await;
    assert_eq!(page.line().await.as_deref(), Some("from nginx"));
    let log = std::fs::read_to_string(folder.file("access.log")).unwrap();
    assert!(log.contains("127.0.0.4 - - "), "the client's own address: {log}");
}
