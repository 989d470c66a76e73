//! Request bodies: whole, in time, and only when they are wanted.

use std::time::Duration;

use http::{HeaderMap, Request, StatusCode};
use http_body::Frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::testing::{listen, read_head, read_to_close, read_until, tcp};
use super::{Fault, OK, SHORT, body, client, fault_of, piece};
use crate::config::UpstreamConfig;

#[tokio::test]
async fn the_response_timeout_counts_from_the_last_progress_of_the_request_body() {
    let (listener, address) = listen().await;
    let config = UpstreamConfig { response_timeout: SHORT * 3, ..tcp(address) };
    let client = client(&config);
    let (sender, body) = body();
    let upload = async {
        for _ in 0..6 {
            sender.send(piece("x")).await.unwrap();
            tokio::time::sleep(SHORT).await;
        }
        drop(sender);
    };
    let upstream = async {
        let (mut io, _) = listener.accept().await.unwrap();
        let request = read_until(&mut io, "0\r\n\r\n").await;
        io.write_all(OK).await.unwrap();
        request
    };
    let request = Request::post("/").body(body).unwrap();
    let (response, (), request) = tokio::join!(client.send(request), upload, upstream);
    assert_eq!(response.unwrap().status(), StatusCode::OK);
    assert_eq!(request.matches("1\r\nx\r\n").count(), 6, "{request}");
}

#[tokio::test]
async fn a_client_that_stalls_or_breaks_off_its_upload_is_not_the_upstreams_fault() {
    for breaks_off in [false, true] {
        let (listener, address) = listen().await;
        let config = UpstreamConfig { response_timeout: SHORT, ..tcp(address) };
        let client = client(&config);
        let (sender, body) = body();
        sender.send(piece("x")).await.unwrap();
        let upload = async {
            if breaks_off {
                sender.send(Err("gone".into())).await.unwrap();
            }
            &sender
        };
        let upstream = async {
            let (mut io, _) = listener.accept().await.unwrap();
            read_to_close(&mut io).await;
        };
        let request = Request::post("/").body(body).unwrap();
        let (fault, _, ()) = tokio::join!(fault_of(client.send(request)), upload, upstream);
        assert_eq!(fault, if breaks_off { Fault::ClientGone } else { Fault::ClientStalled });
        assert!(fault.is_client_fault() && !fault.is_upstream_down());
    }
}

#[tokio::test]
async fn a_get_keeps_its_body_and_trailers() {
    let (listener, address) = listen().await;
    let client = client(&tcp(address));
    let (sender, body) = body();
    let upload = async {
        sender.send(piece("x")).await.unwrap();
        let trailers = HeaderMap::from_iter([("x-sum".parse().unwrap(), "1".parse().unwrap())]);
        sender.send(Ok(Frame::trailers(trailers))).await.unwrap();
        drop(sender);
    };
    let upstream = async {
        let (mut io, _) = listener.accept().await.unwrap();
        let head = read_head(&mut io).await;
        let rest = read_head(&mut io).await;
        io.write_all(OK).await.unwrap();
        head + &rest
    };
    let request = Request::get("/").header("trailer", "x-sum").body(body).unwrap();
    let (_, (), sent) = tokio::join!(client.send(request), upload, upstream);
    assert!(sent.ends_with("\r\n\r\n1\r\nx\r\n0\r\nx-sum: 1\r\n\r\n"), "{sent}");
}

const ASKS: &str = "100-continue";

/// Long enough for a body that would be sent at once; far less than the wait for a 100.
const AT_ONCE: Duration = Duration::from_millis(150);

#[tokio::test]
async fn a_body_that_asks_first_is_sent_after_the_upstreams_100() {
    let (listener, address) = listen().await;
    let client = client(&tcp(address));
    let (sender, body) = body();
    sender.send(piece("x")).await.unwrap();
    drop(sender);
    let upstream = async {
        let (mut io, _) = listener.accept().await.unwrap();
        assert!(read_head(&mut io).await.contains("expect: 100-continue\r\n"));
        let early = tokio::time::timeout(AT_ONCE, io.read_u8()).await;
        assert!(early.is_err(), "{early:?}");
        io.write_all(b"HTTP/1.1 103 Early Hints\r\n\r\n").await.unwrap();
        let early = tokio::time::timeout(AT_ONCE, io.read_u8()).await;
        assert!(early.is_err(), "another 1xx is no yes: {early:?}");
        io.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
        assert_eq!(read_until(&mut io, "0\r\n\r\n").await, "1\r\nx\r\n0\r\n\r\n");
        io.write_all(OK).await.unwrap();
    };
    let request = Request::post("/").header("expect", ASKS).body(body).unwrap();
    let (response, ()) = tokio::join!(client.send(request), upstream);
    assert_eq!(response.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn an_upstream_that_does_not_know_expect_is_not_waited_for_without_end() {
    let (listener, address) = listen().await;
    let client = client(&tcp(address));
    let (sender, body) = body();
    sender.send(piece("x")).await.unwrap();
    drop(sender);
    let upstream = async {
        let (mut io, _) = listener.accept().await.unwrap();
        read_until(&mut io, "1\r\nx\r\n0\r\n\r\n").await;
        io.write_all(OK).await.unwrap();
    };
    let request = Request::post("/").header("expect", ASKS).body(body).unwrap();
    let (response, ()) = tokio::join!(client.send(request), upstream);
    assert_eq!(response.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn an_upstream_that_refuses_instead_of_100_gets_no_body() {
    let (listener, address) = listen().await;
    let client = client(&tcp(address));
    let (sender, body) = body();
    sender.send(piece("x")).await.unwrap();
    let upstream = async {
        let (mut io, _) = listener.accept().await.unwrap();
        read_head(&mut io).await;
        io.write_all(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            .await
            .unwrap();
        io.shutdown().await.unwrap();
        assert_eq!(read_to_close(&mut io).await, b"");
    };
    let request = Request::post("/").header("expect", ASKS).body(body).unwrap();
    let (response, ()) = tokio::join!(client.send(request), upstream);
    assert_eq!(response.unwrap().status(), StatusCode::PAYLOAD_TOO_LARGE);
}
