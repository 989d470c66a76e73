//! Forwarding between raw clients and raw upstreams, over real sockets.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::testing::Proxy;
use crate::upstream::testing::{PATIENCE, listen, read_head, read_to_close, read_until};

/// Enough to show that no buffer takes it all.
const LARGE: usize = 256 * 1024 * 1024;

/// What the kernel's buffers of two connections may take of it: up to 10 MiB each, and a reserve.
const IN_FLIGHT_MAX: usize = 32 * 1024 * 1024;

/// No byte was taken for this long: the writer stands still.
const STALL: Duration = Duration::from_millis(300);

struct Exchange {
    sent: String,
    answered: String,
}

/// Sends one request and answers it, each as raw bytes that end as told.
async fn exchange(request: &str, request_end: &str, answer: &str, answer_end: &str) -> Exchange {
    let (listener, address) = listen().await;
    let proxy = Proxy::http1(address).await;
    let mut client = proxy.request(request).await;
    let (mut upstream, _) = listener.accept().await.unwrap();
    let sent = read_until(&mut upstream, request_end).await;
    upstream.write_all(answer.as_bytes()).await.unwrap();
    let answered = read_until(&mut client, answer_end).await;
    Exchange { sent, answered }
}

/// The same for heads alone.
async fn heads(request: &str, answer: &str) -> Exchange {
    exchange(request, "\r\n\r\n", answer, "\r\n\r\n").await
}

const DONE: &str = "HTTP/1.1 204 No Content\r\n\r\n";

#[tokio::test]
async fn fields_for_one_connection_stay_there_and_the_client_is_named() {
    let Exchange { sent, answered } = heads(
        "GET /a%2F..//b?x HTTP/1.1\r\nHost: public\r\nConnection: x-hop, close\r\nX-Hop: 1\r\n\
         Keep-Alive: 1\r\nX-End: 2\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nConnection: x-back\r\nX-Back: 1\r\nKeep-Alive: 1\r\nX-End: 3\r\n\r\n",
    )
    .await;
    assert_eq!(
        sent,
        "GET /a%2F..//b?x HTTP/1.1\r\nhost: public\r\nx-end: 2\r\nx-forwarded-for: 127.0.0.1\r\n\
         x-forwarded-proto: http\r\nx-forwarded-host: public\r\nvia: 1.1 ssecar\r\n\r\n"
    );
    assert!(answered.contains("x-end: 3\r\n") && !answered.contains("x-back"), "{answered}");
    assert!(!answered.contains("keep-alive"), "{answered}");
}

#[tokio::test]
async fn methods_and_targets_pass_as_they_are() {
    for (line, passed) in [
        ("OPTIONS * HTTP/1.1", "OPTIONS * HTTP/1.1"),
        ("BREW /pot HTTP/1.1", "BREW /pot HTTP/1.1"),
        ("GET http://public/x?y HTTP/1.1", "GET /x?y HTTP/1.1"),
        ("GET http://public?y HTTP/1.1", "GET /?y HTTP/1.1"),
        ("GET //evil.example/x HTTP/1.1", "GET //evil.example/x HTTP/1.1"),
    ] {
        let Exchange { sent, answered } = heads(&format!("{line}\r\nHost: public\r\n\r\n"), DONE).await;
        assert!(sent.starts_with(&format!("{passed}\r\nhost: public\r\n")), "{sent}");
        assert!(answered.starts_with("HTTP/1.1 204 "), "{answered}");
    }
}

#[tokio::test]
async fn what_must_not_pass_is_refused_here() {
    let (_listener, address) = listen().await;
    let proxy = Proxy::http1(address).await;
    for (request, status) in [
        ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", "405"),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: authorization\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400"),
        ("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        ("GET http://u@a/ HTTP/1.1\r\nHost: u@a\r\n\r\n", "400"),
    ] {
        let answered = read_head(&mut proxy.request(request).await).await;
        assert!(answered.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {answered}");
    }
}

#[tokio::test]
async fn the_answer_to_head_keeps_its_length() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n";
    let Exchange { answered, .. } = heads("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", answer).await;
    assert!(answered.contains("content-length: 12345\r\n"), "{answered}");
}

#[tokio::test]
async fn a_range_and_its_part_pass() {
    let Exchange { sent, answered } = exchange(
        "GET / HTTP/1.1\r\nHost: a\r\nRange: bytes=1-2\r\n\r\n",
        "\r\n\r\n",
        "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 1-2/4\r\nContent-Length: 2\r\n\r\nbc",
        "\r\n\r\nbc",
    )
    .await;
    assert!(sent.contains("range: bytes=1-2\r\n"), "{sent}");
    assert!(answered.contains("content-range: bytes 1-2/4\r\n"), "{answered}");
    assert!(answered.contains("content-length: 2\r\n"), "{answered}");
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let Exchange { sent, answered } = exchange(
        "POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\nTrailer: x-up\r\n\
         Transfer-Encoding: chunked\r\n\r\n2\r\nup\r\n0\r\nx-up: 1\r\n\r\n",
        "0\r\nx-up: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTrailer: x-down\r\nTransfer-Encoding: chunked\r\n\r\n\
         4\r\ndown\r\n0\r\nx-down: 2\r\n\r\n",
        "0\r\nx-down: 2\r\n\r\n",
    )
    .await;
    for line in ["te: trailers\r\n", "connection: TE\r\n", "trailer: x-up\r\n", "\r\n2\r\nup\r\n"] {
        assert!(sent.contains(line), "{line:?} in {sent}");
    }
    assert!(answered.contains("\r\n4\r\ndown\r\n"), "{answered}");
}

#[tokio::test]
async fn a_client_that_waits_for_100_is_told_to_go_on() {
    let (listener, address) = listen().await;
    let proxy = Proxy::http1(address).await;
    let mut client =
        proxy.request("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n").await;
    let (mut upstream, _) = listener.accept().await.unwrap();
    assert!(read_head(&mut upstream).await.contains("expect: 100-continue\r\n"));
    assert_eq!(read_head(&mut client).await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(b"body").await.unwrap();
    assert_eq!(read_until(&mut upstream, "body").await, "body");
    // The upstream's own 100 was for us, and is not the answer.
    upstream.write_all(format!("HTTP/1.1 100 Continue\r\n\r\n{DONE}").as_bytes()).await.unwrap();
    assert!(read_head(&mut client).await.starts_with("HTTP/1.1 204 "));
}

#[tokio::test]
async fn an_old_upstream_that_ends_its_body_by_closing_is_understood() {
    let (listener, address) = listen().await;
    let proxy = Proxy::http1(address).await;
    let mut client = proxy.request("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let (mut upstream, _) = listener.accept().await.unwrap();
    read_head(&mut upstream).await;
    upstream.write_all(b"HTTP/1.0 200 OK\r\n\r\nold").await.unwrap();
    drop(upstream);
    let answered = read_until(&mut client, "0\r\n\r\n").await;
    assert!(answered.starts_with("HTTP/1.1 200 OK\r\n") && answered.contains("3\r\nold\r\n"), "{answered}");
}

#[tokio::test]
async fn a_body_that_breaks_off_is_not_given_out_as_whole() {
    let (listener, address) = listen().await;
    let proxy = Proxy::http1(address).await;
    let mut client = proxy.request("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let (mut upstream, _) = listener.accept().await.unwrap();
    read_head(&mut upstream).await;
    upstream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").await.unwrap();
    read_until(&mut client, "abc\r\n").await;
    drop(upstream);
    assert_eq!(read_to_close(&mut client).await, b"", "no last chunk");
}

#[tokio::test]
async fn a_client_that_leaves_cancels_its_request_wherever_it_stands() {
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let upload = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nbegun";
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbegun";
    for (request, answer) in [(get, ""), (get, head), (upload, ""), (upload, head)] {
        let (listener, address) = listen().await;
        let proxy = Proxy::http1(address).await;
        let mut client = proxy.request(request).await;
        let (mut upstream, _) = listener.accept().await.unwrap();
        read_until(&mut upstream, if request == get { "\r\n\r\n" } else { "begun" }).await;
        upstream.write_all(answer.as_bytes()).await.unwrap();
        if !answer.is_empty() {
            read_until(&mut client, "begun").await;
        }
        drop(client);
        read_to_close(&mut upstream).await;
    }
}

#[tokio::test]
async fn an_unshared_event_stream_comes_at_once_and_is_kept_alive() {
    let (listener, address) = listen().await;
    let proxy = Proxy::http1(address).await;
    let mut client = proxy.request("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").await;
    let (mut upstream, _) = listener.accept().await.unwrap();
    read_head(&mut upstream).await;
    upstream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n").await.unwrap();
    read_head(&mut client).await;
    assert_eq!(read_until(&mut client, "2\r\n:\n\r\n").await, "2\r\n:\n\r\n");
    upstream.write_all(b"data: x\n\n").await.unwrap();
    read_until(&mut client, "9\r\ndata: x\n\n\r\n").await;
    read_until(&mut client, "2\r\n:\n\r\n").await;
}

#[tokio::test]
async fn a_stream_that_can_take_no_heartbeat_is_left_alone() {
    for (status, field) in [
        (200, "Content-Encoding: gzip"),
        (200, "Content-Length: 5"),
        (206, "Content-Range: bytes 5-/*"),
        (404, "X: no success"),
        (500, "X: no success"),
    ] {
        let (listener, address) = listen().await;
        let proxy = Proxy::http1(address).await;
        let mut client = proxy.request("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").await;
        let (mut upstream, _) = listener.accept().await.unwrap();
        read_head(&mut upstream).await;
        let head = format!("HTTP/1.1 {status} X\r\nContent-Type: text/event-stream\r\n{field}\r\n\r\n");
        upstream.write_all(head.as_bytes()).await.unwrap();
        read_head(&mut client).await;
        let silence = tokio::time::timeout(super::testing::BEAT * 3, client.read_u8()).await;
        assert!(silence.is_err(), "{status} {field}: {silence:?}");
    }
}

#[tokio::test]
async fn an_http2_request_is_an_ordinary_one_for_the_upstream() {
    let (listener, address) = listen().await;
    let proxy = Proxy::http2(address).await;
    let io = TokioIo::new(TcpStream::connect(proxy.address).await.unwrap());
    let (mut client, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let driving = tokio::spawn(connection);
    let request = Request::get("http://public/x?y")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .header("te", "trailers")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let upstream = async {
        let (mut io, _) = listener.accept().await.unwrap();
        let head = read_head(&mut io).await;
        io.write_all(
            b"HTTP/1.1 200 OK\r\nTrailer: x-down\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
              2\r\nok\r\n0\r\nx-down: 2\r\n\r\n",
        )
        .await
        .unwrap();
        head
    };
    let (response, sent) = tokio::join!(client.send_request(request), upstream);
    assert!(sent.starts_with("GET /x?y HTTP/1.1\r\n"), "{sent}");
    for line in ["host: public\r\n", "cookie: a=1; b=2\r\n", "te: trailers\r\n", "via: 2 ssecar\r\n"] {
        assert!(sent.contains(line), "{line:?} in {sent}");
    }
    let body = response.unwrap().into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["x-down"], "2");
    assert_eq!(body.to_bytes(), "ok");
    driving.abort();
}

#[tokio::test]
async fn an_http2_upload_of_unknown_length_comes_whole_with_its_trailers() {
    let (listener, address) = listen().await;
    let proxy = Proxy::http2(address).await;
    let io = TokioIo::new(TcpStream::connect(proxy.address).await.unwrap());
    let (mut client, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let driving = tokio::spawn(connection);
    let trailers = HeaderMap::from_iter([("x-up".parse().unwrap(), "1".parse().unwrap())]);
    let frames = [Ok::<_, std::io::Error>(Frame::data(Bytes::from("up"))), Ok(Frame::trailers(trailers))];
    let body = StreamBody::new(futures_util::stream::iter(frames));
    let request = Request::get("http://public/").header("trailer", "x-up").body(body).unwrap();
    let upstream = async {
        let (mut io, _) = listener.accept().await.unwrap();
        let sent = read_until(&mut io, "2\r\nup\r\n0\r\nx-up: 1\r\n\r\n").await;
        io.write_all(DONE.as_bytes()).await.unwrap();
        sent
    };
    let (response, sent) = tokio::join!(client.send_request(request), upstream);
    assert_eq!(response.unwrap().status(), 204);
    assert!(sent.contains("transfer-encoding: chunked\r\n"), "{sent}");
    driving.abort();
}

#[tokio::test]
async fn an_http2_stream_that_is_reset_cancels_the_upstream_request() {
    let (listener, address) = listen().await;
    let proxy = Proxy::http2(address).await;
    let io = TokioIo::new(TcpStream::connect(proxy.address).await.unwrap());
    let (mut client, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let driving = tokio::spawn(connection);
    let request = Request::get("http://public/").body(Empty::<Bytes>::new()).unwrap();
    let waiting = tokio::spawn(client.send_request(request));
    let (mut upstream, _) = listener.accept().await.unwrap();
    read_head(&mut upstream).await;
    waiting.abort();
    read_to_close(&mut upstream).await;
    driving.abort();
}

/// Writes until nothing is taken any more; how much was taken.
async fn fill(io: &mut (impl AsyncWrite + Unpin)) -> usize {
    let chunk = vec![b'x'; 64 * 1024];
    let mut taken = 0;
    while taken < LARGE {
        let len = chunk.len().min(LARGE - taken);
        match tokio::time::timeout(STALL, io.write(&chunk[..len])).await {
            Ok(written) => taken += written.unwrap(),
            Err(_stalled) => break,
        }
    }
    taken
}

/// Writes the rest while the other end reads all of it.
async fn flow(from: &mut (impl AsyncWrite + Unpin), taken: usize, to: &mut (impl AsyncRead + Unpin)) {
    let writing = async {
        let chunk = vec![b'x'; 64 * 1024];
        let mut left = LARGE - taken;
        while left > 0 {
            left -= from.write(&chunk[..chunk.len().min(left)]).await.unwrap();
        }
    };
    let reading = async {
        let mut buffer = vec![0; 256 * 1024];
        let mut left = LARGE;
        while left > 0 {
            let len = to.read(&mut buffer).await.unwrap();
            assert!(len > 0, "cut off, {left} bytes before the end");
            left -= len;
        }
    };
    let both = async { tokio::join!(writing, reading) };
    tokio::time::timeout(PATIENCE * 6, both).await.expect("it flows again");
}

#[tokio::test]
async fn a_client_that_does_not_read_stalls_the_upstream_and_a_large_answer_comes_whole() {
    let (listener, address) = listen().await;
    let proxy = Proxy::http1(address).await;
    let mut client = proxy.request("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let (mut upstream, _) = listener.accept().await.unwrap();
    read_head(&mut upstream).await;
    upstream
        .write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let taken = fill(&mut upstream).await;
    assert!(taken < IN_FLIGHT_MAX, "{taken} bytes in flight");
    read_head(&mut client).await;
    flow(&mut upstream, taken, &mut client).await;
}

#[tokio::test]
async fn an_upstream_that_does_not_read_stalls_the_client_and_a_large_upload_comes_whole() {
    let (listener, address) = listen().await;
    let proxy = Proxy::http1(address).await;
    let mut client =
        proxy.request(&format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE}\r\n\r\n")).await;
    let (mut upstream, _) = listener.accept().await.unwrap();
    let taken = fill(&mut client).await;
    assert!(taken < IN_FLIGHT_MAX, "{taken} bytes in flight");
    read_head(&mut upstream).await;
    flow(&mut client, taken, &mut upstream).await;
    upstream.write_all(DONE.as_bytes()).await.unwrap();
    assert!(read_head(&mut client).await.starts_with("HTTP/1.1 204 "));
}
