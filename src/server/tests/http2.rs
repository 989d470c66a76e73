//! HTTP/2 with prior knowledge, spoken by hyper's client.

use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::TokioExecutor;

use super::*;

type Sender = SendRequest<http_body_util::Empty<Bytes>>;

/// A client and the task of its connection.
async fn connect(server: &Server) -> (Sender, JoinHandle<hyper::Result<()>>) {
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    (sender, tokio::spawn(connection))
}

fn request(path: &str) -> Request<http_body_util::Empty<Bytes>> {
    Request::get(format!("http://a{path}")).body(http_body_util::Empty::new()).unwrap()
}

async fn get(sender: &mut Sender, path: &str) -> Response<Incoming> {
    timeout(PATIENCE, sender.send_request(request(path))).await.expect("an answer").unwrap()
}

#[tokio::test]
async fn streams_share_a_connection() {
    let server = Server::start();
    let (mut sender, _connection) = connect(&server).await;
    let mut events = get(&mut sender, "/stream").await;
    let first = events.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(first, "data: first\n\n");
    let hello = get(&mut sender, "/hello").await.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(hello, "hello");
}

#[tokio::test]
async fn a_stream_that_is_reset_ends_at_once_and_alone() {
    let server = Server::start();
    let (mut sender, _connection) = connect(&server).await;
    let kept = get(&mut sender, "/stream").await;
    drop(get(&mut sender, "/stream").await);
    server.body_dropped_at_once().await;
    assert_eq!(server.signals.dropped.available_permits(), 0);
    drop(kept);
    server.body_dropped_at_once().await;
}

#[tokio::test]
async fn a_fin_ends_all_streams_of_the_connection() {
    let server = Server::start();
    let stream = TcpStream::connect(server.address).await.unwrap();
    let socket = socket2::SockRef::from(&stream).try_clone().unwrap();
    let (mut sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let _connection = tokio::spawn(connection);
    let _first = get(&mut sender, "/stream").await;
    let _second = get(&mut sender, "/stream").await;
    socket.shutdown(std::net::Shutdown::Write).unwrap();
    server.body_dropped_at_once().await;
    server.body_dropped_at_once().await;
}

#[tokio::test]
async fn a_connection_without_streams_is_closed_and_one_with_a_stream_is_not() {
    let server = Server::start();
    let (mut idle, idle_connection) = connect(&server).await;
    let (mut busy, _busy_connection) = connect(&server).await;
    let mut events = get(&mut busy, "/stream").await;
    get(&mut idle, "/hello").await;
    timeout(PATIENCE, idle_connection).await.expect("the server closes").unwrap().unwrap();

    assert!(events.frame().await.is_some());
    assert_eq!(server.signals.dropped.available_permits(), 0);
    get(&mut busy, "/hello").await;
}

#[tokio::test]
async fn draining_finishes_running_streams_and_refuses_new_ones() {
    let server = Server::with(patient_limits(), |listener| listener);
    let (mut sender, connection) = connect(&server).await;
    let mut other = sender.clone();
    let slow = tokio::spawn(async move { get(&mut other, "/slow").await });
    once(&server.signals.begun, PATIENCE).await;

    server.trigger.drain(PATIENCE * 6);
    let refused = async {
        // Those that were on their way before the GOAWAY are still answered.
        while sender.send_request(request("/hello")).await.is_ok() {}
    };
    timeout(PATIENCE, refused).await.expect("no more requests");
    server.signals.finish.add_permits(1);
    let done = slow.await.unwrap().into_body().collect().await.unwrap().to_bytes();
    assert_eq!(done, "done");
    timeout(PATIENCE, connection).await.expect("the server closes").unwrap().unwrap();
    server.ended().await;
}
