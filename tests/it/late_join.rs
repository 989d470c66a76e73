//! What a client that comes late, without `Last-Event-ID`, gets first (spec 4.8).

use crate::support::{Client, Exchange, Proxy, Upstream};

const PATH: &str = "/v1/sessions/1/events";

/// A session whose upstream greets each connection, then goes on.
async fn greeted(flags: &[&str]) -> (Upstream, Proxy, Exchange, Client) {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &[flags, &["--opening-pause=40ms"]].concat()).await;
    let mut first = proxy.ask(PATH, &[]).await;
    let mut stream = upstream.stream().await;
    stream.send("event: hello\ndata: snapshot 0\n\n").await;
    assert_eq!(first.data().await, "snapshot 0");
    // The pause that ends the opening.
    tokio::time::sleep(std::time::Duration::from_millis(60)).await;
    stream.send("data: 1\n\ndata: 2\n\n").await;
    assert_eq!(first.take(2).await, ["1", "2"]);
    (upstream, proxy, stream, first)
}

#[tokio::test]
async fn live_gives_what_comes_from_now_on() {
    let (_upstream, proxy, mut stream, _first) = greeted(&["--late-join=live"]).await;
    let mut late = proxy.subscribe(PATH, &[]).await;
    stream.send("data: 3\n\n").await;
    assert_eq!(late.data().await, "3");
}

#[tokio::test]
async fn ring_gives_the_whole_ring_first() {
    let (_upstream, proxy, mut stream, _first) = greeted(&["--late-join=ring", "--replay-events=2"]).await;
    let mut late = proxy.subscribe(PATH, &[]).await;
    stream.send("data: 3\n\n").await;
    assert_eq!(late.take(3).await, ["1", "2", "3"]);
}

#[tokio::test]
async fn opening_gives_the_greeting_then_the_rings_newer_events() {
    let (_upstream, proxy, mut stream, mut first) =
        greeted(&["--late-join=opening", "--replay-events=2"]).await;
    let mut late = proxy.subscribe(PATH, &[]).await;
    stream.send("data: 3\n\n").await;
    assert_eq!(late.take(4).await, ["snapshot 0", "1", "2", "3"]);
    first.data().await;
    let mut later = proxy.subscribe(PATH, &[]).await;
    assert_eq!(later.take(4).await, ["snapshot 0", "gap:too-old", "2", "3"], "1 is gone");
}

#[tokio::test]
async fn fresh_fetches_a_greeting_for_that_client_alone() {
    let (upstream, proxy, mut stream, mut first) = greeted(&["--late-join=fresh"]).await;
    let mut late = proxy.subscribe(PATH, &[]).await;
    let mut own = upstream.stream().await;
    assert_eq!(own.header("last-event-id"), None);
    own.send("event: hello\ndata: snapshot 2\n\n").await;
    assert_eq!(late.next().await.unwrap().data, "snapshot 2");
    own.closed().await;
    stream.send("data: 3\n\n").await;
    assert_eq!(late.data().await, "3");
    assert_eq!(first.data().await, "3", "and nobody else saw the greeting");
    let last = {
        stream.send("data: 4\n\n").await;
        late.next().await.unwrap().id
    };
    stream.send("data: 5\n\n").await;
    let mut back = proxy.subscribe(PATH, &[("Last-Event-ID", &last)]).await;
    assert_eq!(back.data().await, "5", "a client that comes back needs none");
}

#[tokio::test]
async fn a_greeting_that_can_not_be_had_is_told() {
    let (upstream, proxy, mut stream, _first) = greeted(&["--late-join=fresh"]).await;
    let mut late = proxy.subscribe(PATH, &[]).await;
    upstream.accept().await.answer(500, "", "").await;
    assert_eq!(late.data().await, "gap:greeting-failed");
    stream.send("data: 3\n\n").await;
    assert_eq!(late.data().await, "3");
}

#[tokio::test]
async fn an_upstream_that_greets_each_connection_is_told_to_operators_once() {
    let (upstream, proxy, stream, _first) = greeted(&[]).await;
    drop(stream);
    for _ in 0..3 {
        let mut stream = upstream.stream().await;
        stream.send("event: hello\ndata: snapshot\n\n").await;
        proxy.until("the stream", |state| state["sessions"][0]["state"] == "live").await;
    }
    proxy.until("the advice", |state| !state["advices"].as_array().unwrap().is_empty()).await;
    let advices = proxy.state().await["advices"].clone();
    assert_eq!(advices.as_array().unwrap().len(), 1, "{advices}");
    assert!(advices[0].as_str().unwrap().contains("late-join=opening"), "{advices}");
}
