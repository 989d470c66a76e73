//! Upstreams that answer something else, broken things, or never stop.

use crate::support::{Client, Proxy, Upstream};

const PATH: &str = "/v1/sessions/1/events";

#[tokio::test]
async fn an_answer_that_is_no_event_stream_goes_to_the_client_as_it_is() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &[]).await;
    for (status, fields, body) in [
        (200, "Content-Type: application/json\r\n", "{}"),
        (302, "Location: /login\r\n", ""),
        (401, "WWW-Authenticate: Bearer\r\n", "who are you?"),
        (404, "", "nothing here"),
        (429, "Retry-After: 7\r\n", "slow down"),
        (500, "", "oops"),
    ] {
        let mut client = proxy.ask(PATH, &[]).await;
        upstream.accept().await.answer(status, fields, body).await;
        let response = client.response().await;
        assert_eq!((response.status, response.body.as_slice()), (status, body.as_bytes()));
        if let Some((name, value)) = fields.trim().split_once(": ") {
            assert_eq!(response.header(name), Some(value));
        }
    }
    let mut client = proxy.ask(PATH, &[]).await;
    upstream.accept().await.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(client.status().await, 204);
}

#[tokio::test]
async fn clients_that_waited_for_an_answer_that_is_no_stream_ask_on_their_own() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &[]).await;
    let mut one = proxy.ask(PATH, &[]).await;
    let mut first = upstream.accept().await;
    let mut two = proxy.ask(PATH, &[]).await;
    proxy.until("both to wait", |state| state["clients"] == 2).await;
    first.answer(404, "Connection: close\r\n", "first").await;
    assert_eq!(one.response().await.body, b"first");
    upstream.accept().await.answer(404, "", "second").await;
    assert_eq!(two.response().await.body, b"second");
}

#[tokio::test]
async fn an_encoded_stream_is_passed_on_not_shared() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &[]).await;
    let mut client = proxy.ask(PATH, &[("Accept-Encoding", "gzip")]).await;
    let mut exchange = upstream.accept().await;
    assert_eq!(exchange.header("accept-encoding"), Some("identity"));
    exchange.answer(200, "Content-Type: text/event-stream\r\nContent-Encoding: gzip\r\n", "\x1f...").await;
    let response = client.response().await;
    assert_eq!(
        (response.header("content-encoding"), response.body.as_slice()),
        (Some("gzip"), &b"\x1f..."[..])
    );
}

#[tokio::test]
async fn an_upstream_that_is_away_is_waited_for_with_heartbeats() {
    let upstream = Upstream::start().await;
    let flags = ["--hold-head=50ms", "--heartbeat=30ms"];
    let flag = upstream.flag();
    let address = upstream.stop();
    let proxy = Proxy::with(&flag, &flags).await;
    let mut client = proxy.ask(PATH, &[]).await;
    assert_eq!(client.status().await, 200, "held");
    assert_eq!(client.extra().await, ":");
    let upstream = Upstream::restart(address).await;
    upstream.stream().await.send("data: at last\n\n").await;
    assert_eq!(client.data().await, "at last");
}

#[tokio::test]
async fn a_held_client_is_let_go_when_the_upstream_says_no() {
    let upstream = Upstream::start().await;
    let flag = upstream.flag();
    let address = upstream.stop();
    let proxy = Proxy::with(&flag, &["--hold-head=20ms"]).await;
    let mut client = proxy.ask(PATH, &[]).await;
    assert_eq!(client.status().await, 200);
    let upstream = Upstream::restart(address).await;
    upstream.accept().await.answer(404, "", "").await;
    assert_eq!(client.next().await, None, "its own reconnect gets the answer");
}

#[tokio::test]
async fn instead_of_being_held_a_client_can_be_told() {
    let upstream = Upstream::start().await;
    let flag = upstream.flag();
    upstream.stop();
    let proxy = Proxy::with(&flag, &["--on-upstream-down=reject"]).await;
    let response = proxy.ask(PATH, &[]).await.response().await;
    assert_eq!(response.status, 503);
    assert_eq!(response.header("retry-after"), Some("1"));
    assert!(String::from_utf8_lossy(&response.body).contains("urn:ssecar:problem:upstream-down"));
}

#[tokio::test]
async fn broken_answers_are_failures_and_retried() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &[]).await;
    let mut client = proxy.ask(PATH, &[]).await;
    upstream.accept().await.send("this is no HTTP\r\n\r\n").await;
    upstream.accept().await.send("HTTP/1.1 200 OK\r\nContent-Ty").await;
    upstream.accept().await.answer(503, "", "").await;
    upstream.stream().await.send("data: well\n\n").await;
    assert_eq!(client.data().await, "well");
}

#[tokio::test]
async fn after_the_first_stream_a_final_answer_ends_the_session() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &["--status-event=state"]).await;
    let mut client = proxy.ask(PATH, &[]).await;
    let mut stream = upstream.stream().await;
    stream.send("data: 1\n\n").await;
    while client.data().await != "1" {}
    drop(stream);
    upstream.accept().await.answer(410, "", "").await;
    let mut states = Vec::new();
    while let Some(event) = client.next().await {
        assert_eq!(event.kind, "state");
        let state: serde_json::Value = serde_json::from_str(&event.data).unwrap();
        states.push(state["state"].as_str().unwrap().to_owned());
    }
    assert_eq!(states, ["waiting", "connecting", "gone"]);
}

#[tokio::test]
async fn a_head_and_then_silence_is_a_stream() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &["--upstream-idle-timeout=80ms"]).await;
    let mut client = proxy.ask(PATH, &[]).await;
    let mut silent = upstream.stream().await;
    assert_eq!(client.status().await, 200);
    silent.closed().await;
    upstream.stream().await.send("data: alive\n\n").await;
    assert_eq!(client.take(2).await, ["gap:upstream-interrupted", "alive"]);
}

/// The peak of this process's memory, in bytes.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[tokio::test]
async fn an_event_of_a_gibibyte_is_skipped_in_little_memory_and_the_stream_goes_on() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &["--max-event-size=64KiB"]).await;
    let mut client = proxy.ask(PATH, &[]).await;
    let mut stream = upstream.stream().await;
    stream.send("data: before\n\n").await;
    assert_eq!(client.data().await, "before");
    let before = peak_memory();
    let line = format!("data: {}\n", "x".repeat(1 << 20));
    for _ in 0..1024 {
        stream.send(&line).await;
    }
    stream.send("\ndata: after\n\n").await;
    assert_eq!(client.take(2).await, ["gap:event-too-large", "after"]);
    // Other tests run in this process as well: the bound is far below the event, not tight.
    let grown = peak_memory() - before;
    assert!(grown < 256 << 20, "{} MiB more", grown >> 20);
}

#[tokio::test]
async fn an_endless_line_is_skipped_too() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &["--max-event-size=64KiB"]).await;
    let mut client = proxy.ask(PATH, &[]).await;
    let mut stream = upstream.stream().await;
    let piece = "a".repeat(1 << 20);
    for _ in 0..200 {
        stream.send(&piece).await;
    }
    stream.send("\n\ndata: after\n\n").await;
    assert_eq!(client.take(2).await, ["gap:event-too-large", "after"]);
}

#[tokio::test]
async fn an_event_cut_anywhere_is_one_event() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &[]).await;
    let mut client = proxy.ask(PATH, &[]).await;
    let mut stream = upstream.stream().await;
    stream.stream.set_nodelay(true).unwrap();
    let text = "\u{feff}id: 1\r\nevent: t\r\ndata: é\r\ndata: b\r\n\r\n".as_bytes();
    for byte in text {
        stream.send([*byte]).await;
        tokio::task::yield_now().await;
    }
    let event = client.next().await.unwrap();
    assert_eq!((event.kind.as_str(), event.data.as_str()), ("t", "é\nb"));
}

#[tokio::test]
async fn what_is_no_subscription_is_told_that_the_upstream_is_away() {
    let upstream = Upstream::start().await;
    let flag = upstream.flag();
    upstream.stop();
    let proxy = Proxy::with(&flag, &[]).await;
    let response = Client::get(proxy.address, "/page", &[]).await.response().await;
    assert_eq!(response.status, 502);
    assert_eq!(response.header("content-type"), Some("application/problem+json"));
    assert!(response.header("proxy-status").unwrap().starts_with("ssecar; error=connection_refused"));

    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &["--upstream-response-timeout=50ms"]).await;
    let mut client = Client::get(proxy.address, "/page", &[]).await;
    let mut silent = upstream.accept().await;
    assert_eq!(client.response().await.status, 504);
    silent.closed().await;
}

#[tokio::test]
async fn a_request_that_succeeds_is_good_news_for_those_who_wait() {
    let upstream = Upstream::start().await;
    let flags = ["--backoff-initial=100ms", "--backoff-max=10m", "--give-up=1h"];
    let proxy = Proxy::start(&upstream, &flags).await;
    let mut client = proxy.ask(PATH, &[]).await;
    // Enough failures that the next wait would outlast the test; too few to open the breaker would
    // not do, so each is an answer of the session's own.
    let mut stream = upstream.stream().await;
    stream.send("retry: 1\ndata: 1\n\n").await;
    assert_eq!(client.data().await, "1");
    drop(stream);
    for _ in 0..7 {
        upstream.accept().await.answer(500, "", "").await;
    }
    proxy.until("a long wait", |state| state["sessions"][0]["retry_in_ms"].as_u64() > Some(5_000)).await;
    let mut other = Client::get(proxy.address, "/page", &[]).await;
    let mut exchange = upstream.accept().await;
    assert_eq!(exchange.target(), "/page");
    exchange.answer(200, "", "").await;
    assert_eq!(other.response().await.status, 200);
    drop(exchange);
    upstream.stream().await.send("data: 2\n\n").await;
    assert_eq!(client.take(2).await, ["gap:upstream-interrupted", "2"]);
}
