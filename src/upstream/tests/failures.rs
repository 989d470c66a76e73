//! Each way to fail, and what it is called.

use std::time::Duration;

use http_body_util::BodyExt;
use tokio::io::AsyncWriteExt;

use super::super::testing::{listen, read_head, read_to_close, tcp};
use super::{Fault, SHORT, answer, client, fault, fault_after, get};
use crate::config::{Transport, UpstreamConfig};

#[tokio::test]
async fn a_closed_port_is_refused_and_an_unknown_name_is_a_name_fault() {
    let (listener, address) = listen().await;
    drop(listener);
    assert_eq!(fault(&tcp(address)).await, Fault::Refused);
    let mut nowhere = tcp(address);
    nowhere.target.transport = Transport::Tcp { host: "no such name".to_owned(), port: 80 };
    assert_eq!(fault(&nowhere).await, Fault::Dns);
}

#[tokio::test]
async fn an_upstream_that_takes_no_connection_in_time_is_a_connect_timeout() {
    // A full backlog: further connections get no answer to their SYN.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut filling = Vec::new();
    while let Ok(Ok(io)) = tokio::time::timeout(SHORT, tokio::net::TcpStream::connect(address)).await {
        filling.push(io);
    }
    let config = UpstreamConfig { connect_timeout: SHORT, ..tcp(address) };
    assert_eq!(fault(&config).await, Fault::ConnectTimeout);
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_is_a_response_timeout_and_is_hung_up_on() {
    let (listener, address) = listen().await;
    let config = UpstreamConfig { response_timeout: SHORT, ..tcp(address) };
    let upstream = async {
        let (mut io, _) = listener.accept().await.unwrap();
        read_head(&mut io).await;
        read_to_close(&mut io).await;
    };
    assert_eq!(tokio::join!(fault(&config), upstream).0, Fault::ResponseTimeout);
}

#[tokio::test]
async fn an_answer_that_is_no_http_or_no_whole_head_says_so() {
    assert_eq!(fault_after(b"SSH-2.0-OpenSSH_9.9\r\n\r\n").await, Fault::Protocol);
    assert_eq!(fault_after(b"").await, Fault::Closed);
    assert_eq!(fault_after(b"HTTP/1.1 200 OK\r\nContent-Le").await, Fault::Closed);
    let huge = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(128 * 1024));
    assert_eq!(fault_after(huge.as_bytes()).await, Fault::HeadTooLarge);
}

#[tokio::test]
async fn a_reset_before_the_head_is_a_reset() {
    let (listener, address) = listen().await;
    let config = tcp(address);
    let upstream = async {
        let (mut io, _) = listener.accept().await.unwrap();
        read_head(&mut io).await;
        socket2::SockRef::from(&io).set_linger(Some(Duration::ZERO)).unwrap();
    };
    let fault = tokio::join!(fault(&config), upstream).0;
    assert!(fault == Fault::Reset && fault.is_upstream_down());
}

#[tokio::test]
async fn a_head_and_then_silence_is_a_success() {
    let (listener, address) = listen().await;
    let client = client(&UpstreamConfig { response_timeout: SHORT, ..tcp(address) });
    let upstream = async {
        let (mut io, _) = listener.accept().await.unwrap();
        answer(&mut io, b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n").await;
        io
    };
    let (response, mut io) = tokio::join!(client.send(get("/")), upstream);
    let mut body = response.unwrap().into_body();
    tokio::time::sleep(SHORT * 2).await; // Longer than the limit, which must be off by now.
    io.write_all(b"data: x\n\n").await.unwrap();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "data: x\n\n");
    drop(body);
    read_to_close(&mut io).await;
}

#[test]
fn each_fault_has_one_culprit_and_an_error_status() {
    for fault in [Fault::Dns, Fault::Closed, Fault::Protocol, Fault::ClientGone, Fault::BadRequest] {
        assert!(!(fault.is_client_fault() && fault.is_upstream_down()));
        assert_eq!(fault.is_client_fault(), fault.status().is_client_error());
        assert!(!fault.token().is_empty() && fault.detail().ends_with('.'));
    }
}
