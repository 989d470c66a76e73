//! Own ids, `Last-Event-ID`, gaps, and what survives restarts.

use crate::support::{Client, Proxy, Upstream};

const PATH: &str = "/v1/sessions/1/events";

fn numbered(ids: impl IntoIterator<Item = u32>) -> String {
    ids.into_iter().map(|id| format!("id: u{id}\ndata: {id}\n\n")).collect()
}

#[tokio::test]
async fn a_client_that_comes_back_gets_exactly_what_followed() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &[]).await;
    let mut client = proxy.ask(PATH, &[]).await;
    let mut stream = upstream.stream().await;
    stream.send("data: 1\n\ndata: 2\n\ndata: 3\n\n").await;
    let ids: Vec<String> = {
        let mut ids = Vec::new();
        for _ in 0..3 {
            ids.push(client.next().await.unwrap().id);
        }
        ids
    };
    let mut by_header = proxy.subscribe(PATH, &[("Last-Event-ID", &ids[0])]).await;
    let mut by_query = proxy.subscribe(&format!("{PATH}?lastEventId={}", ids[1]), &[]).await;
    let mut up_to_date = proxy.subscribe(&format!("{PATH}?last-event-id={}", ids[2]), &[]).await;
    stream.send("data: 4\n\n").await;
    assert_eq!(by_header.take(3).await, ["2", "3", "4"]);
    assert_eq!(by_query.take(2).await, ["3", "4"], "the parameter is not part of the key");
    assert_eq!(up_to_date.data().await, "4");
}

#[tokio::test]
async fn an_id_that_is_too_old_forged_huge_or_of_another_session_is_a_gap() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &["--replay-events=2"]).await;
    let mut client = proxy.ask(PATH, &[]).await;
    let mut stream = upstream.stream().await;
    stream.send("data: 1\n\ndata: 2\n\ndata: 3\n\ndata: 4\n\n").await;
    let first = client.next().await.unwrap().id;
    client.take(3).await;
    let huge = "x".repeat(10_000);
    let forged = first.replace(".1", ".99");
    for (id, reason) in [
        (first.as_str(), "gap:too-old"),
        (&forged, "gap:unknown-id"),
        ("zzzzzzzz.1", "gap:other-epoch"),
        ("never given", "gap:unknown-id"),
        (&huge, "gap:unknown-id"),
    ] {
        let mut back = proxy.subscribe(PATH, &[("Last-Event-ID", id)]).await;
        assert_eq!(back.take(3).await, [reason, "3", "4"], "{id}");
    }
    let mut evil = proxy.subscribe(&format!("{PATH}?lastEventId=a%0d%0aX-Evil:1"), &[]).await;
    assert_eq!(evil.data().await, "gap:unknown-id");
}

#[tokio::test]
async fn clients_stay_connected_through_an_upstream_restart_and_lose_nothing_where_it_has_ids() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &["--heartbeat=30ms"]).await;
    let mut client = proxy.ask(PATH, &[]).await;
    let mut stream = upstream.stream().await;
    stream.send(numbered(1..=3)).await;
    assert_eq!(client.take(3).await, ["1", "2", "3"]);
    stream.send("id: u4\ndata: cut in the mid").await;
    stream.reset();
    let address = upstream.stop();
    assert_eq!(client.extra().await, ":", "heartbeats go on meanwhile");
    let upstream = Upstream::restart(address).await;
    let mut stream = upstream.stream().await;
    assert_eq!(stream.header("last-event-id"), Some("u3"));
    stream.send(numbered(2..=5)).await;
    let four = client.next().await.unwrap();
    assert_eq!(four.data, "4");
    assert!(four.id.ends_with(".4.u4"), "one numbering: {}", four.id);
    assert_eq!(client.data().await, "5");
}

#[tokio::test]
async fn without_ids_an_interruption_is_told_as_a_gap() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &[]).await;
    let mut client = proxy.ask(PATH, &[]).await;
    let mut stream = upstream.stream().await;
    stream.send("data: 1\n\n").await;
    let last = client.next().await.unwrap().id;
    stream.reset();
    let mut stream = upstream.stream().await;
    assert_eq!(stream.header("last-event-id"), None);
    stream.send("data: 2\n\n").await;
    assert_eq!(client.data().await, "gap:upstream-interrupted");
    let two = client.next().await.unwrap();
    assert_ne!(two.id.split('.').next(), last.split('.').next(), "a new epoch");
    let mut back = proxy.subscribe(PATH, &[("Last-Event-ID", &last)]).await;
    assert_eq!(back.take(2).await, ["gap:upstream-interrupted", "2"]);
}

#[tokio::test]
async fn an_upstream_id_survives_a_restart_of_ssecar() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &[]).await;
    let mut client = proxy.ask(PATH, &[]).await;
    upstream.stream().await.send(numbered(1..=3)).await;
    client.take(2).await;
    let third = client.next().await.unwrap().id;

    let reborn = Proxy::start(&upstream, &[]).await;
    let mut client = reborn.ask(PATH, &[("Last-Event-ID", &third)]).await;
    let mut stream = upstream.stream().await;
    assert_eq!(stream.header("last-event-id"), Some("u3"));
    stream.send(numbered(4..=5)).await;
    assert_eq!(client.take(2).await, ["4", "5"], "no gap, nothing twice");
}

#[tokio::test]
async fn an_upstream_id_with_odd_letters_comes_back_whole() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &[]).await;
    let mut client = proxy.ask(PATH, &[]).await;
    upstream.stream().await.send("id: a b/ü%\ndata: 1\n\n").await;
    let id = client.next().await.unwrap().id;
    assert!(id.is_ascii(), "{id}");

    let reborn = Proxy::start(&upstream, &[]).await;
    let _client = reborn.ask(PATH, &[("Last-Event-ID", &id)]).await;
    let exchange = upstream.accept().await;
    assert_eq!(exchange.header("last-event-id"), Some("a b/ü%"));
}

#[tokio::test]
async fn ids_with_nul_or_beyond_all_measure_harm_nothing() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &[]).await;
    let mut client = proxy.ask(PATH, &[]).await;
    let mut stream = upstream.stream().await;
    let huge = "x".repeat(10_000);
    stream.send(format!("id: a\0b\ndata: 1\n\nid: {huge}\ndata: 2\n\n")).await;
    let one = client.next().await.unwrap();
    assert!(one.id.ends_with(".1"), "an id with NUL is none: {}", one.id);
    let two = client.next().await.unwrap();
    assert!(two.id.ends_with(".2"), "left out: {}", two.id.len());
    let mut back = proxy.subscribe(PATH, &[("Last-Event-ID", &one.id)]).await;
    assert_eq!(back.data().await, "2");
}

#[tokio::test]
async fn the_upstreams_own_ids_can_be_left_as_they_are() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &["--event-ids=upstream", "--catch-up=off"]).await;
    let mut client = proxy.ask(PATH, &[]).await;
    let mut stream = upstream.stream().await;
    stream.send(numbered(1..=2)).await;
    assert_eq!(client.next().await.unwrap().id, "u1");
    client.data().await;
    let mut back = proxy.subscribe(PATH, &[("Last-Event-ID", "u1")]).await;
    assert_eq!(back.data().await, "2");
    let mut lost = proxy.subscribe(PATH, &[("Last-Event-ID", "u0")]).await;
    assert_eq!(lost.take(3).await, ["gap:unknown-id", "1", "2"]);
}

#[tokio::test]
async fn what_only_passes_takes_no_place_in_the_ring() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &["--replay-events=2", "--ephemeral=ping"]).await;
    let mut client = proxy.ask(PATH, &[]).await;
    let mut stream = upstream.stream().await;
    stream.send("data: 1\n\nevent: ping\ndata: p\n\n:note\ndata: 2\n\n").await;
    let one = client.next().await.unwrap().id;
    assert_eq!(client.next().await.unwrap().id, "", "it has no id");
    assert_eq!(client.data().await, "2");
    assert_eq!(client.extras, [":note"]);
    for _ in 0..10 {
        stream.send("event: ping\ndata: p\n\n").await;
    }
    client.take(10).await;
    let mut back = proxy.subscribe(PATH, &[("Last-Event-ID", &one)]).await;
    stream.send("data: 3\n\n").await;
    assert_eq!(back.take(2).await, ["2", "3"]);
}

#[tokio::test]
async fn a_stream_that_announced_its_end_is_not_started_again() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &["--route", "/jobs/** on-end=close"]).await;
    for (path, events) in [("/chat", "data: a\n\ndata: [DONE]\n\n"), ("/jobs/1", "data: a\n\n")] {
        let mut client = proxy.ask(path, &[]).await;
        let mut exchange = upstream.accept().await;
        exchange.begin_stream("").await;
        exchange.send(events).await;
        assert_eq!(client.data().await, "a");
        drop(exchange);
        while let Some(event) = client.next().await {
            assert_eq!(event.data, "[DONE]");
        }
        proxy.until("the session to be gone", |state| state["session_count"] == 0).await;
    }
}

#[tokio::test]
async fn a_foreign_id_opens_a_cold_session_from_there() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &[]).await;
    let mut client = proxy.ask(&format!("{PATH}?a=1&lastEventId=u7"), &[]).await;
    let mut exchange = upstream.accept().await;
    assert_eq!(exchange.header("last-event-id"), Some("u7"));
    assert_eq!(exchange.target(), format!("{PATH}?a=1"));
    exchange.begin_stream("").await;
    exchange.send(numbered(7..=8)).await;
    assert_eq!(client.data().await, "8", "what the client has is not repeated");
    let mut plain = Client::get(proxy.address, &format!("{PATH}?a=1"), &[]).await;
    plain.head().await;
}
