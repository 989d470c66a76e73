//! Requests of HTTP/1.1: heads whole, cut, slow, too large; keep-alive; upgrades.

use tokio::time::Instant;

use super::*;
use crate::server::connection::{H2_PREFACE, Opening, opening};

#[tokio::test]
async fn requests_follow_each_other_on_one_connection() {
    let server = Server::with(patient_limits(), |listener| listener);
    let mut client = server.connect().await;
    client.hello().await;
    client.hello().await;
    client.send(&[HELLO, HELLO].concat()).await;
    client.read_until("\r\n\r\nhello").await;
    client.read_until("\r\n\r\nhello").await;
}

#[tokio::test]
async fn a_request_may_be_cut_anywhere() {
    let server = Server::with(patient_limits(), |listener| listener);
    let mut client = server.connect().await;
    client.0.set_nodelay(true).unwrap();
    for byte in HELLO {
        client.send(&[*byte]).await;
        tokio::task::yield_now().await;
    }
    client.read_until("\r\n\r\nhello").await;
}

#[tokio::test]
async fn the_preface_is_recognised_wherever_it_is_cut() {
    let listener = listen(LOOPBACK, None).unwrap();
    for cut in 0..H2_PREFACE.len() {
        let mut client = Raw(TcpStream::connect(listener.local_addr().unwrap()).await.unwrap());
        let (stream, _) = listener.accept().await.unwrap();
        let (left, right) = H2_PREFACE.split_at(cut);
        let sent = async {
            client.send(left).await;
            // Until the left part was read: then only the right one can still be there.
            while stream.try_io(tokio::io::Interest::READABLE, || peek(&stream)).is_ok() {
                tokio::task::yield_now().await;
            }
            client.send(right).await;
        };
        let (opening, ()) = timeout(PATIENCE, async { tokio::join!(opening(&stream), sent) }).await.unwrap();
        assert_eq!(opening.unwrap(), Opening::Http2(H2_PREFACE.to_vec()), "cut at byte {cut}");
    }
}

/// Whether bytes wait in the socket.
fn peek(stream: &TcpStream) -> std::io::Result<usize> {
    socket2::SockRef::from(stream).peek(&mut [std::mem::MaybeUninit::uninit()])
}

#[tokio::test]
async fn what_only_begins_like_the_preface_is_a_request_of_http1() {
    let listener = listen(LOOPBACK, None).unwrap();
    for text in ["PRI * HTTP/1.1\r\nhost: a\r\n\r\n", "PUT / HTTP/1.1\r\n\r\n", "P"] {
        let mut client = Raw(TcpStream::connect(listener.local_addr().unwrap()).await.unwrap());
        let (stream, _) = listener.accept().await.unwrap();
        client.send(text.as_bytes()).await;
        client.0.shutdown().await.unwrap();
        let read = opening(&stream).await.unwrap();
        assert_eq!(read, Opening::Http1(text.as_bytes().to_vec()), "{text:?}");
    }
}

#[tokio::test]
async fn a_head_that_does_not_arrive_in_time_closes_the_connection() {
    let server = Server::start();
    for part in ["", "P", "PRI * HTTP/2", "GET /hel", "GET /hello HTTP/1.1\r\nhost: a\r\n"] {
        let start = Instant::now();
        let mut client = server.connect().await;
        client.send(part.as_bytes()).await;
        client.closed().await;
        assert!(start.elapsed() >= HEAD_TIMEOUT, "{part:?} had its time");
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let server = Server::start();
    let mut client = server.connect().await;
    client.hello().await;
    assert_eq!(client.read_to_end().await, "");
}

#[tokio::test]
async fn an_oversized_head_is_answered_431_although_more_of_it_comes() {
    let server = Server::with(patient_limits(), |listener| listener);
    let mut client = server.connect().await;
    let head = format!("GET /hello HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "x".repeat(64 * 1024));
    client.send(head.as_bytes()).await;
    client.0.shutdown().await.unwrap();
    let answer = client.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test]
async fn too_many_header_fields_are_answered_431() {
    let server = Server::with(patient_limits(), |listener| listener);
    let mut client = server.connect().await;
    let head = format!("GET /hello HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(20));
    client.send(head.as_bytes()).await;
    let answer = client.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test]
async fn an_upgraded_connection_carries_bytes_that_came_early_and_outlives_its_head_timeout() {
    let server = Server::start();
    let mut client = server.connect().await;
    let head = b"GET /upgrade HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nearly";
    client.send(head).await;
    let answer = client.read_until("\r\n\r\nearly").await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");

    let mut idle = server.connect().await;
    idle.closed().await; // One head timeout later.
    client.send(b"later").await;
    assert_eq!(client.read_until("later").await, "later");
}
