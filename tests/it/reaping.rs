//! Connections on which nothing moves are reaped (spec 7.5). Peers that vanish without a word need a
//! network: see the tests of real faults.

use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::support::{Client, Exchange, Proxy, Upstream, soon};

const PATH: &str = "/v1/sessions/1/events";

/// Nobody is slow by this measure: what ends a client here is that nothing moves.
const NO_LAG_LIMIT: &str = "--client-lag=1GiB";

async fn session(flags: &[&str]) -> (Upstream, Proxy, Client, Exchange) {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, flags).await;
    let client = proxy.ask(PATH, &[]).await;
    let stream = upstream.stream().await;
    (upstream, proxy, client, stream)
}

/// Sends more than all buffers hold, so that a client which does not read holds it up.
async fn flood(stream: &mut Exchange) {
    for _ in 0..40 {
        stream.send(format!("data: {}\n\n", "x".repeat(500_000))).await;
    }
}

const QUICK: [&str; 3] = ["--idle-timeout=1s", "--heartbeat=200ms", NO_LAG_LIMIT];

#[tokio::test]
async fn a_client_that_stops_reading_is_reaped() {
    let (_upstream, proxy, client, mut stream) = session(&QUICK).await;
    flood(&mut stream).await;
    proxy.until("the client to be reaped", |state| state["clients"] == 0).await;
    assert_eq!(proxy.metric("ssecar_clients_closed_total{reason=\"reaped\"}").await, 1.0);
    drop(client);
}

#[tokio::test]
async fn a_client_that_trickles_is_reaped() {
    let (_upstream, proxy, mut client, mut stream) = session(&QUICK).await;
    SockRef::from(&client.stream).set_recv_buffer_size(4096).unwrap();
    let trickling = tokio::spawn(async move {
        let mut bytes = [0; 200];
        while client.stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    flood(&mut stream).await;
    proxy.until("the client to be reaped", |state| state["clients"] == 0).await;
    trickling.abort();
}

#[tokio::test]
async fn a_client_that_reads_slowly_but_keeps_up_is_not() {
    let (_upstream, proxy, mut client, mut stream) = session(&QUICK).await;
    for number in 0..30 {
        stream.send(format!("data: {number}\n\n")).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(client.take(30).await.last().unwrap(), "29");
    assert_eq!(proxy.state().await["clients"], 1, "thrice the idle time went by");
}

#[tokio::test]
async fn an_http2_stream_that_takes_nothing_is_reset_and_the_others_go_on() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &QUICK).await;
    let io = TokioIo::new(TcpStream::connect(proxy.address).await.unwrap());
    let (mut sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(60_000)
        .initial_connection_window_size(16_000_000)
        .handshake(io)
        .await
        .unwrap();
    let driver = tokio::spawn(connection);
    let mut ask = |path: &str| {
        let request =
            http::Request::get(format!("http://app.example{path}")).header("accept", "text/event-stream");
        sender.send_request(request.body(Empty::<bytes::Bytes>::new()).unwrap())
    };
    let stuck = tokio::spawn(ask(PATH));
    let mut stream = upstream.stream().await;
    let stuck = stuck.await.unwrap().unwrap();
    let reading = tokio::spawn(ask("/v1/other"));
    let mut other = upstream.stream().await;
    let mut reading = reading.await.unwrap().unwrap();
    stream.send(format!("data: {}\n\n", "x".repeat(500_000))).await;
    proxy.until("the stuck stream to be reaped", |state| state["clients"] == 1).await;
    other.send("data: still here\n\n").await;
    let mut text = String::new();
    while !text.contains("still here") {
        let frame = soon("the other stream", reading.frame()).await.unwrap().unwrap();
        text.push_str(&String::from_utf8_lossy(frame.data_ref().unwrap()));
    }
    let ended = soon("the reset", stuck.into_body().collect()).await;
    assert!(ended.is_err(), "what was not delivered is not given out as whole");
    driver.abort();
}

#[tokio::test]
async fn half_sent_requests_and_idle_connections_are_closed() {
    let upstream = Upstream::start().await;
    let flags = ["--head-timeout=300ms", "--upstream-response-timeout=300ms"];
    let proxy = Proxy::start(&upstream, &flags).await;
    let mut head = Client::connect(proxy.address).await;
    head.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-Half").await;
    head.closed().await;

    let mut body = Client::connect(proxy.address).await;
    body.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf").await;
    let mut exchange = upstream.accept().await;
    assert_eq!(body.status().await, 408, "it is the client that stalls");
    exchange.closed().await;

    let mut idle = Client::get(proxy.address, "/x", &[]).await;
    upstream.accept().await.answer(204, "Connection: close\r\n", "").await;
    assert_eq!(idle.status().await, 204);
    idle.closed().await;
}

#[tokio::test]
async fn an_upload_that_stalls_behind_its_answer_is_reaped_and_a_stream_in_both_directions_is_not() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &["--idle-timeout=600ms", "--heartbeat=100ms"]).await;
    let half = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf";
    let mut talking = Client::connect(proxy.address).await;
    talking.send(half).await;
    let mut both_ways = upstream.accept().await;
    both_ways.send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nto").await;
    assert_eq!(talking.status().await, 200);

    let mut stalled = Client::connect(proxy.address).await;
    stalled.send(half).await;
    let mut early = upstream.accept().await;
    early.answer(200, "", "early").await;
    assert_eq!(stalled.status().await, 200);
    stalled.closed().await;
    early.closed().await;

    // Twice the idle time is over: the other one goes on.
    tokio::time::sleep(Duration::from_millis(600)).await;
    talking.send(b"upload").await;
    let mut rest = [0; 10];
    soon("the rest of the upload", both_ways.stream.read_exact(&mut rest)).await.unwrap();
    assert_eq!(&rest, b"halfupload");
    both_ways.send("gether").await;
}
