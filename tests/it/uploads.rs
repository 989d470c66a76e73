//! Request bodies: whole, by whoever's fault they stop, and not before they are wanted (spec 3.1, 3.4).

use tokio::io::AsyncReadExt;

use crate::support::{Client, Exchange, Proxy, Upstream, never, soon};

const ASKING: &[u8] = b"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";

/// Reads what comes behind the request's head, up to and with this.
async fn read_until(exchange: &mut Exchange, end: &str) -> String {
    let mut text = Vec::new();
    soon(end, async {
        while !text.ends_with(end.as_bytes()) {
            text.push(exchange.stream.read_u8().await.unwrap());
        }
    })
    .await;
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn a_get_keeps_its_chunked_body_even_one_that_asks_for_events() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &[]).await;
    for (method, accept) in [("GET", "*/*"), ("GET", "text/event-stream"), ("DELETE", "*/*")] {
        let mut client = Client::connect(proxy.address).await;
        let head = format!("{method} /search HTTP/1.1\r\nHost: a\r\nAccept: {accept}\r\n");
        client.send(head.as_bytes()).await;
        client.send(b"Transfer-Encoding: chunked\r\n\r\n5\r\nquery\r\n0\r\n\r\n").await;
        let mut exchange = upstream.accept().await;
        assert_eq!(exchange.header("transfer-encoding"), Some("chunked"));
        assert_eq!(read_until(&mut exchange, "0\r\n\r\n").await, "5\r\nquery\r\n0\r\n\r\n");
        exchange.answer(200, "Connection: close\r\n", "found").await;
        assert_eq!(client.response().await.body, b"found");
    }
}

#[tokio::test]
async fn a_client_that_stalls_its_upload_is_told_so_and_the_breaker_is_not() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &["--upstream-response-timeout=80ms"]).await;
    // More than open the breaker.
    for _ in 0..6 {
        let mut client = Client::connect(proxy.address).await;
        client.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf").await;
        let mut exchange = upstream.accept().await;
        let response = client.response().await;
        assert_eq!(response.status, 408, "{}", response.head);
        assert!(response.header("proxy-status").unwrap().contains("http_request_error"), "{}", response.head);
        exchange.closed().await;
        client.closed().await;
    }
    assert_eq!(proxy.state().await["breaker"], "closed");

    // An upstream that has all of it and is silent is another matter.
    let mut client = Client::connect(proxy.address).await;
    client.request("POST", "/x", &[], b"whole").await;
    let mut exchange = upstream.accept().await;
    assert_eq!(client.response().await.status, 504);
    exchange.closed().await;
}

#[tokio::test]
async fn a_client_that_asks_before_it_sends_is_answered_by_the_upstream() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &[]).await;
    let mut client = Client::connect(proxy.address).await;
    client.send(ASKING).await;
    let mut exchange = upstream.accept().await;
    assert_eq!(exchange.header("expect"), Some("100-continue"));
    never("a 100 that the upstream did not say", client.stream.read_u8()).await;
    exchange.send("HTTP/1.1 100 Continue\r\n\r\n").await;
    assert_eq!(client.status().await, 100);
    client.send(b"ok").await;
    assert_eq!(read_until(&mut exchange, "ok").await, "ok");
    exchange.answer(200, "", "").await;
    client.again();
    assert_eq!(client.status().await, 200);
}

#[tokio::test]
async fn an_upload_that_the_upstream_refuses_is_refused_before_it_is_sent() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &[]).await;
    let mut client = Client::connect(proxy.address).await;
    client.send(ASKING).await;
    let mut exchange = upstream.accept().await;
    exchange.answer(413, "", "too much").await;
    let response = client.response().await;
    assert_eq!((response.status, response.body.as_slice()), (413, &b"too much"[..]), "no 100 before");
    // It need not send any more; when it goes, the request is over.
    drop(client);
    exchange.closed().await;
}

#[tokio::test]
async fn an_upstream_that_says_no_100_gets_the_body_after_a_moment() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &[]).await;
    let mut client = Client::connect(proxy.address).await;
    client.send(ASKING).await;
    let mut exchange = upstream.accept().await;
    assert_eq!(client.status().await, 100, "by ssecar");
    client.send(b"ok").await;
    assert_eq!(read_until(&mut exchange, "ok").await, "ok");
    exchange.answer(200, "", "").await;
    client.again();
    assert_eq!(client.status().await, 200);
}
