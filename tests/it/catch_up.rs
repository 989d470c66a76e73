//! Catching up (spec 6.7): a client whose place is not in the log, of an upstream that gives ids.

use crate::support::{Client, Exchange, Proxy, Upstream, never};

const PATH: &str = "/v1/sessions/1/events";

fn event(number: u32) -> String {
    format!("id: u{number}\ndata: {number}\n\n")
}

async fn session(flags: &[&str]) -> (Upstream, Proxy, Client, Exchange) {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, flags).await;
    let first = proxy.ask(PATH, &[]).await;
    let stream = upstream.stream().await;
    (upstream, proxy, first, stream)
}

#[tokio::test]
async fn a_client_whose_place_is_gone_fetches_what_it_missed_and_joins() {
    let (upstream, proxy, mut first, mut stream) = session(&["--replay-events=2"]).await;
    stream.send((1..=9).map(event).collect::<String>()).await;
    assert_eq!(first.take(9).await.last().unwrap(), "9");
    let mut back = proxy.subscribe(PATH, &[("Last-Event-ID", "zzzzzzzz.5.u5")]).await;
    let mut private = upstream.accept().await;
    assert_eq!(private.header("last-event-id"), Some("u5"));
    private.begin_stream("").await;
    private.send(event(6) + &event(7)).await;
    assert_eq!(back.take(2).await, ["6", "7"]);
    private.send(event(8) + &event(9)).await;
    private.closed().await;
    assert_eq!(back.take(2).await, ["8", "9"]);
    stream.send(event(10)).await;
    assert_eq!((back.data().await, first.data().await), ("10".into(), "10".into()));
}

#[tokio::test]
async fn several_clients_survive_a_restart_of_the_proxy_each_at_its_own_place() {
    let (upstream, proxy, mut one, mut stream) = session(&[]).await;
    stream.send(event(1) + &event(2)).await;
    assert_eq!(one.take(2).await, ["1", "2"]);
    drop((one, stream, proxy));
    // After it: nobody knows the old epoch.
    let proxy = Proxy::start(&upstream, &[]).await;
    let mut ahead = proxy.ask(PATH, &[("Last-Event-ID", "aaaaaaaa.2.u2")]).await;
    let mut stream = upstream.accept().await;
    assert_eq!(stream.header("last-event-id"), Some("u2"));
    stream.begin_stream("").await;
    stream.send(event(3)).await;
    assert_eq!(ahead.data().await, "3");
    let mut behind = proxy.subscribe(PATH, &[("Last-Event-ID", "aaaaaaaa.1.u1")]).await;
    let mut private = upstream.accept().await;
    assert_eq!(private.header("last-event-id"), Some("u1"));
    private.begin_stream("").await;
    private.send(event(2) + &event(3)).await;
    assert_eq!(behind.take(2).await, ["2", "3"]);
    private.closed().await;
}

#[tokio::test]
async fn a_private_stream_that_breaks_off_is_asked_for_from_where_it_was() {
    let (upstream, proxy, mut first, mut stream) = session(&["--replay-events=1"]).await;
    stream.send((1..=9).map(event).collect::<String>()).await;
    first.take(9).await;
    let mut back = proxy.subscribe(PATH, &[("Last-Event-ID", "u5")]).await;
    let mut private = upstream.stream().await;
    private.send(event(6) + "id: u7\ndata: half").await;
    assert_eq!(back.data().await, "6");
    private.reset();
    let mut private = upstream.accept().await;
    assert_eq!(private.header("last-event-id"), Some("u6"));
    private.begin_stream("").await;
    private.send((7..=9).map(event).collect::<String>()).await;
    assert_eq!(back.take(3).await, ["7", "8", "9"]);
    private.closed().await;
}

#[tokio::test]
async fn where_it_can_not_be_fetched_the_gap_is_told() {
    let (upstream, proxy, mut first, mut stream) = session(&["--replay-events=1"]).await;
    stream.send((1..=3).map(event).collect::<String>()).await;
    first.take(3).await;
    let mut back = proxy.subscribe(PATH, &[("Last-Event-ID", "u0")]).await;
    upstream.accept().await.answer(404, "", "gone").await;
    assert_eq!(back.take(2).await, ["gap:unknown-id", "3"]);
}

#[tokio::test]
async fn it_can_be_turned_off_and_an_upstream_without_ids_is_not_asked() {
    let (upstream, proxy, mut first, mut stream) = session(&["--catch-up=off"]).await;
    stream.send(event(1)).await;
    first.data().await;
    let mut back = proxy.subscribe(PATH, &[("Last-Event-ID", "u0")]).await;
    assert_eq!(back.take(2).await, ["gap:unknown-id", "1"]);
    never("a request", async { upstream.try_accept().await.head }).await;

    let (upstream, proxy, mut first, mut stream) = session(&[]).await;
    stream.send("data: 1\n\n").await;
    first.data().await;
    let mut back = proxy.subscribe(PATH, &[("Last-Event-ID", "u0")]).await;
    assert_eq!(back.take(2).await, ["gap:unknown-id", "1"]);
    never("a request", async { upstream.try_accept().await.head }).await;

    // Before the first event it can't be known.
    let (upstream, proxy, _first, _stream) = session(&[]).await;
    let mut back = proxy.subscribe(PATH, &[("Last-Event-ID", "u0")]).await;
    let mut private = upstream.stream().await;
    private.send("data: 1\n\n").await;
    assert_eq!(back.data().await, "gap:unknown-id");
    private.closed().await;
}

#[tokio::test]
async fn no_more_catch_up_at_once_than_allowed_and_the_others_wait_their_turn() {
    let (upstream, proxy, mut first, mut stream) = session(&["--catch-up-max=1", "--replay-events=1"]).await;
    stream.send((1..=4).map(event).collect::<String>()).await;
    first.take(4).await;
    let mut one = proxy.subscribe(PATH, &[("Last-Event-ID", "u2")]).await;
    let mut private = upstream.stream().await;
    let mut two = proxy.subscribe(PATH, &[("Last-Event-ID", "u2")]).await;
    never("a second request", async { upstream.try_accept().await.head }).await;
    private.send(event(3) + &event(4)).await;
    assert_eq!(one.take(2).await, ["3", "4"]);
    let mut private = upstream.stream().await;
    private.send(event(3) + &event(4)).await;
    assert_eq!(two.take(2).await, ["3", "4"]);
}
