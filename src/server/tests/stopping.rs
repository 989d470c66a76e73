//! Accepting: its limit, its failures, its end.

use std::collections::VecDeque;
use std::io;

use tokio::net::TcpListener;

use super::*;

/// Fails as told before it accepts.
struct Failing {
    errors: VecDeque<i32>,
    listener: TcpListener,
}

impl Accept for Failing {
    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        match self.errors.pop_front() {
            Some(number) => Err(io::Error::from_raw_os_error(number)),
            None => self.listener.accept().await,
        }
    }
}

#[tokio::test]
async fn accepting_survives_its_failures() {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ECONNABORTED: i32 = 103;
    const ENOBUFS: i32 = 105;
    let errors = VecDeque::from([EMFILE, ENFILE, ECONNABORTED, ENOBUFS]);
    let start = tokio::time::Instant::now();
    let server = Server::with(patient_limits(), |listener| Failing { errors, listener });
    server.connect().await.hello().await;
    assert!(start.elapsed() >= Duration::from_millis(10 + 20 + 40), "three of them paused");
}

#[tokio::test]
async fn a_connection_over_the_limit_waits_for_a_place() {
    let server = Server::with(ServerLimits { connections_max: 1, ..patient_limits() }, |listener| listener);
    let mut first = server.connect().await;
    first.hello().await;
    let mut second = server.connect().await;
    second.send(HELLO).await;
    first.hello().await;
    let waiting = second.0.try_read(&mut [0]).unwrap_err();
    assert_eq!(waiting.kind(), io::ErrorKind::WouldBlock);
    drop(first);
    second.read_until("\r\n\r\nhello").await;
}

#[tokio::test]
async fn an_upgraded_connection_keeps_its_place() {
    let server = Server::with(ServerLimits { connections_max: 1, ..patient_limits() }, |listener| listener);
    let mut tunnel = server.connect().await;
    tunnel.send(b"GET /upgrade HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n").await;
    tunnel.read_until("\r\n\r\n").await;
    let mut second = server.connect().await;
    second.send(HELLO).await;
    tunnel.send(b"echo").await;
    tunnel.read_until("echo").await;
    let waiting = second.0.try_read(&mut [0]).unwrap_err();
    assert_eq!(waiting.kind(), io::ErrorKind::WouldBlock);
    drop(tunnel);
    second.read_until("\r\n\r\nhello").await;
}

#[tokio::test]
async fn draining_finishes_the_running_request_and_closes_the_others_at_once() {
    let server = Server::with(patient_limits(), |listener| listener);
    let mut slow = server.connect().await;
    slow.send(b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await;
    once(&server.signals.begun, PATIENCE).await;
    let mut fresh = server.connect().await;
    let mut idle = server.connect().await;
    idle.hello().await;

    server.trigger.drain(PATIENCE * 6);
    assert_eq!(idle.read_to_end().await, "");
    fresh.closed().await;
    assert!(TcpStream::connect(server.address).await.is_err(), "nobody listens any more");

    server.signals.finish.add_permits(1);
    let answer = slow.read_to_end().await;
    assert!(answer.contains("connection: close\r\n") && answer.ends_with("\r\n\r\ndone"), "{answer}");
    server.ended().await;
}

#[tokio::test]
async fn what_still_runs_at_the_deadline_is_aborted() {
    let server = Server::with(patient_limits(), |listener| listener);
    let mut client = server.reader(STREAM).await;
    let start = tokio::time::Instant::now();
    server.trigger.drain(HEAD_TIMEOUT);
    once(&server.signals.dropped, PATIENCE).await;
    assert!(start.elapsed() >= HEAD_TIMEOUT, "it had its time");
    client.closed().await;
    server.ended().await;
}

#[tokio::test]
async fn a_second_signal_ends_everything_at_once() {
    let server = Server::with(patient_limits(), |listener| listener);
    let _client = server.reader(STREAM).await;
    server.trigger.drain(PATIENCE * 6);
    server.trigger.now();
    server.body_dropped_at_once().await;
    server.ended().await;
}
