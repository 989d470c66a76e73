//! Draining (spec 11).

use tokio::net::TcpStream;

use crate::support::{Client, Proxy, Upstream};

const PATH: &str = "/v1/sessions/1/events";

#[tokio::test]
async fn clients_are_told_when_to_come_back_and_closed_one_by_one() {
    let upstream = Upstream::start().await;
    let mut proxy = Proxy::start(&upstream, &["--drain=1s"]).await;
    let mut clients = vec![proxy.ask(PATH, &[]).await];
    let mut stream = upstream.stream().await;
    for _ in 0..9 {
        clients.push(proxy.subscribe(PATH, &[]).await);
    }
    stream.send("data: last\n\n").await;
    let mut running = Client::get(proxy.address, "/slow", &[]).await;
    let mut slow = upstream.accept().await;
    proxy.drain();
    let mut retries = Vec::new();
    for client in &mut clients {
        assert_eq!(client.data().await, "last");
        assert_eq!(client.next().await, None);
        retries.push(client.extras.pop().unwrap());
    }
    assert!(TcpStream::connect(proxy.address).await.is_err(), "no new connections");
    slow.answer(200, "", "still served").await;
    assert_eq!(running.response().await.body, b"still served");
    stream.closed().await;
    proxy.ended().await;
    retries.sort();
    retries.dedup();
    assert_eq!(retries.len(), 10, "each a different one: {retries:?}");
}

#[tokio::test]
async fn a_second_signal_stops_at_once() {
    let upstream = Upstream::start().await;
    let mut proxy = Proxy::start(&upstream, &["--drain=1h"]).await;
    let mut client = Client::get(proxy.address, "/slow", &[]).await;
    let mut slow = upstream.accept().await;
    proxy.drain();
    proxy.stop();
    client.closed().await;
    slow.closed().await;
    proxy.ended().await;
}
