//! Tunnels over real sockets: not before 101, both ways, to the end of each.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::testing::{Proxy, TUNNELS_MAX};
use crate::upstream::testing::{PATIENCE, listen, read_head, read_to_close, read_until};

const ASK: &str = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\n\
                   Upgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n";
const SWITCH: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                        Sec-WebSocket-Accept: s\r\n\r\n";

/// Opens a tunnel; gives its two ends.
async fn tunnel(proxy: &Proxy, listener: &TcpListener) -> (TcpStream, TcpStream) {
    let mut client = proxy.request(ASK).await;
    let (mut upstream, _) = listener.accept().await.unwrap();
    read_head(&mut upstream).await;
    upstream.write_all(SWITCH).await.unwrap();
    let head = read_head(&mut client).await;
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
    (client, upstream)
}

#[tokio::test]
async fn both_sides_switch_and_see_the_fields_of_the_handshake() {
    let (listener, address) = listen().await;
    let proxy = Proxy::http1(address).await;
    let mut client = proxy.request(ASK).await;
    let (mut upstream, _) = listener.accept().await.unwrap();
    let asked = read_head(&mut upstream).await;
    for line in ["connection: Upgrade\r\n", "upgrade: websocket\r\n", "sec-websocket-key: k\r\n"] {
        assert!(asked.contains(line), "{asked}");
    }
    upstream.write_all(SWITCH).await.unwrap();
    let answered = read_head(&mut client).await;
    for line in ["connection: upgrade\r\n", "upgrade: websocket\r\n", "sec-websocket-accept: s\r\n"] {
        assert!(answered.contains(line), "{answered}");
    }
    upstream.write_all(b"down.").await.unwrap();
    assert_eq!(read_until(&mut client, ".").await, "down.");
    client.write_all(b"up.").await.unwrap();
    assert_eq!(read_until(&mut upstream, ".").await, "up.");
}

#[tokio::test]
async fn nothing_is_tunnelled_before_the_upstream_has_switched() {
    let (listener, address) = listen().await;
    let proxy = Proxy::http1(address).await;
    let mut client = proxy.request(&format!("{ASK}early.")).await;
    let (mut upstream, _) = listener.accept().await.unwrap();
    read_head(&mut upstream).await;
    let early = tokio::time::timeout(Duration::from_millis(100), upstream.read_u8()).await;
    assert!(early.is_err(), "{early:?}");
    upstream.write_all(SWITCH).await.unwrap();
    upstream.write_all(b"first.").await.unwrap();
    assert_eq!(read_until(&mut upstream, ".").await, "early.");
    read_head(&mut client).await;
    assert_eq!(read_until(&mut client, ".").await, "first.");
}

#[tokio::test]
async fn an_answer_other_than_101_is_a_plain_answer() {
    let (listener, address) = listen().await;
    let proxy = Proxy::http1(address).await;
    let mut client = proxy.request(ASK).await;
    let (mut upstream, _) = listener.accept().await.unwrap();
    read_head(&mut upstream).await;
    upstream.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nno.").await.unwrap();
    let answered = read_until(&mut client, "no.").await;
    assert!(answered.starts_with("HTTP/1.1 403 ") && !answered.contains("upgrade"), "{answered}");
    // The connection goes on as HTTP; what follows is a request, not tunnel data.
    client.write_all(b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let next = read_head(&mut upstream).await;
    assert!(next.starts_with("GET /next HTTP/1.1\r\n"), "{next}");
    assert_eq!(proxy.tunnels.count(), 0);
}

#[tokio::test]
async fn a_switch_that_nobody_asked_for_is_a_bad_answer() {
    let h2c = ASK.replace("websocket", "h2c");
    for ask in ["GET / HTTP/1.1\r\nHost: a\r\n\r\n", &h2c] {
        let (listener, address) = listen().await;
        let proxy = Proxy::http1(address).await;
        let mut client = proxy.request(ask).await;
        let (mut upstream, _) = listener.accept().await.unwrap();
        let asked = read_head(&mut upstream).await;
        assert!(!asked.contains("upgrade"), "{asked}");
        upstream.write_all(SWITCH).await.unwrap();
        let answered = read_head(&mut client).await;
        assert!(answered.starts_with("HTTP/1.1 502 "), "{answered}");
        read_to_close(&mut upstream).await;
    }
}

#[tokio::test]
async fn each_sides_end_is_passed_on_while_the_other_goes_on() {
    let (listener, address) = listen().await;
    let proxy = Proxy::http1(address).await;
    let (mut client, mut upstream) = tunnel(&proxy, &listener).await;
    client.write_all(b"last").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(read_to_close(&mut upstream).await, b"last");
    upstream.write_all(b"answer").await.unwrap();
    upstream.shutdown().await.unwrap();
    assert_eq!(read_to_close(&mut client).await, b"answer");
    let ended = async {
        while proxy.tunnels.count() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.expect("the tunnel ends with its second side");
}

#[tokio::test]
async fn tunnels_are_bounded_in_number_and_end_when_told() {
    let (listener, address) = listen().await;
    let proxy = Proxy::http1(address).await;
    let mut open = Vec::new();
    for _ in 0..TUNNELS_MAX {
        open.push(tunnel(&proxy, &listener).await);
    }
    assert_eq!(proxy.tunnels.count(), TUNNELS_MAX);
    assert_refused(&proxy, &listener).await;
    proxy.tunnels.end().await;
    for (mut client, mut upstream) in open {
        read_to_close(&mut client).await;
        read_to_close(&mut upstream).await;
    }
    assert_refused(&proxy, &listener).await;
}

async fn assert_refused(proxy: &Proxy, listener: &TcpListener) {
    let mut client = proxy.request(ASK).await;
    let (mut upstream, _) = listener.accept().await.unwrap();
    read_head(&mut upstream).await;
    upstream.write_all(SWITCH).await.unwrap();
    let answered = read_head(&mut client).await;
    assert!(answered.starts_with("HTTP/1.1 503 "), "{answered}");
    read_to_close(&mut upstream).await;
}
