//! Clients that leave while they are sent an event stream are noticed at once, without an event (spec 7.6).

use super::*;
use crate::server::io::{ClientStream, STRAY_BYTES_MAX, Socket, Watch};

#[tokio::test]
async fn a_fin_ends_the_stream() {
    let server = Server::start();
    drop(server.reader(STREAM).await);
    server.body_dropped_at_once().await;
}

#[tokio::test]
async fn a_fin_of_a_client_that_still_reads_ends_the_stream() {
    let server = Server::start();
    let mut client = server.reader(STREAM).await;
    client.0.shutdown().await.unwrap();
    server.body_dropped_at_once().await;
}

#[tokio::test]
async fn a_reset_ends_the_stream() {
    let server = Server::start();
    server.reader(STREAM).await.reset();
    server.body_dropped_at_once().await;
}

#[tokio::test]
async fn a_fin_after_a_stray_byte_ends_the_stream() {
    let server = Server::start();
    let mut client = server.reader(STREAM).await;
    client.send(b"x").await;
    client.0.shutdown().await.unwrap();
    server.body_dropped_at_once().await;
}

#[tokio::test]
async fn a_reset_after_a_stray_byte_ends_the_stream() {
    let server = Server::start();
    let mut client = server.reader(STREAM).await;
    client.send(b"x").await;
    client.reset();
    server.body_dropped_at_once().await;
}

#[tokio::test]
async fn a_fin_after_a_second_request_in_the_same_segment_ends_the_stream() {
    let server = Server::start();
    let mut client = server.reader(&[STREAM, HELLO].concat()).await;
    client.0.shutdown().await.unwrap();
    server.body_dropped_at_once().await;
}

#[tokio::test]
async fn a_fin_long_after_a_stray_byte_ends_the_stream() {
    let server = Server::start();
    let mut client = server.reader(&[STREAM, b"x"].concat()).await;
    server.connect().await.closed().await; // One head timeout later.
    assert_eq!(server.signals.dropped.available_permits(), 0, "a stream has no head timeout");
    client.0.shutdown().await.unwrap();
    server.body_dropped_at_once().await;
}

#[tokio::test]
async fn stray_bytes_are_borne_up_to_their_limit() {
    let server = Server::with(patient_limits(), |listener| listener);
    let mut client = server.reader(STREAM).await;
    client.send(&[b'\n'; STRAY_BYTES_MAX]).await;
    server.signals.finish.add_permits(1);
    client.read_until("\r\n0\r\n\r\n").await;
    once(&server.signals.dropped, PATIENCE).await;

    let mut client = server.reader(STREAM).await;
    client.send(&[b'\n'; STRAY_BYTES_MAX + 1]).await;
    server.body_dropped_at_once().await;
    client.closed().await;
}

#[tokio::test]
async fn a_request_that_came_during_a_stream_is_served_after_it() {
    let server = Server::with(patient_limits(), |listener| listener);
    for apart in [true, false] {
        let mut client = if apart {
            let mut client = server.reader(STREAM).await;
            client.send(HELLO).await;
            client
        } else {
            server.reader(&[STREAM, HELLO].concat()).await
        };
        server.signals.finish.add_permits(1);
        let rest = client.read_until("\r\n\r\nhello").await;
        assert!(rest.starts_with("\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n"), "apart: {apart}: {rest}");
    }
}

#[tokio::test]
async fn streams_follow_each_other_on_one_connection() {
    let server = Server::with(patient_limits(), |listener| listener);
    let mut client = server.reader(&[STREAM, STREAM].concat()).await;
    server.signals.finish.add_permits(1);
    client.read_until("data: first\n\n").await;
    once(&server.signals.dropped, PATIENCE).await;
    client.0.shutdown().await.unwrap();
    server.body_dropped_at_once().await;
}

#[tokio::test]
async fn what_is_written_counts_as_flushed_only_when_hyper_says_so() {
    let listener = listen(LOOPBACK, None).unwrap();
    let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let place = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
    let open = crate::metrics::Metrics::default().connections.enter();
    let watch = Watch::starting_with(Vec::new());
    let socket = Arc::new(Socket { stream, _place: place, _open: open });
    let mut io = ClientStream::new(socket, Arc::clone(&watch));
    assert!(watch.is_flushed(), "nothing was written");
    let full = async {
        loop {
            io.write_all(&[0; 64 * 1024]).await.unwrap();
        }
    };
    timeout(AT_ONCE, full).await.expect_err("the client reads nothing");
    assert!(!watch.is_flushed(), "hyper may hold the rest");
    io.flush().await.unwrap();
    assert!(watch.is_flushed());
}

#[tokio::test]
async fn a_watch_that_is_armed_from_another_task_begins_at_once() {
    let listener = listen(LOOPBACK, None).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let watch = Watch::starting_with(Vec::new());
    let handle = watch.handle();
    let driver = tokio::spawn(async move {
        std::future::poll_fn(|cx| watch.poll_gone(&stream, cx)).await;
    });
    tokio::task::yield_now().await;
    drop(client);
    assert!(!driver.is_finished(), "nobody asked for it");
    let _armed = handle.arm();
    timeout(AT_ONCE, driver).await.expect("the driver is woken").unwrap();
}
