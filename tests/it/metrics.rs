//! What is counted: `/metrics` (spec 10.1).

use crate::support::{Client, Proxy, Upstream};

const PATH: &str = "/v1/sessions/1/events";

#[tokio::test]
async fn events_attempts_and_gaps_are_counted() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &["--max-event-size=64B"]).await;
    let mut client = proxy.ask(PATH, &[]).await;
    let mut stream = upstream.stream().await;
    stream.send("id: 1\ndata: a\n\ndata: passing\n\n").await;
    stream.send(format!("id: 2\ndata: {}\n\nid: 3\ndata: c\n\n", "x".repeat(100))).await;
    assert_eq!(client.take(4).await, ["a", "passing", "gap:event-too-large", "c"]);
    drop(stream);
    let mut stream = upstream.stream().await;
    stream.send("id: 3\ndata: c\n\nid: 4\ndata: d\n\n").await;
    assert_eq!(client.data().await, "d");

    for (sample, expected) in [
        ("ssecar_clients", 1.0),
        ("ssecar_clients_joined_total", 1.0),
        ("ssecar_connections", 1.0),
        ("ssecar_sessions", 1.0),
        ("ssecar_sessions_created_total", 1.0),
        ("ssecar_upstream_subscriptions", 1.0),
        ("ssecar_upstream_attempts_total{outcome=\"stream\"}", 2.0),
        ("ssecar_breaker_state{state=\"closed\"}", 1.0),
        ("ssecar_events_received_total", 3.0),
        ("ssecar_events_passing_total", 1.0),
        ("ssecar_events_repeated_total", 1.0),
        ("ssecar_events_skipped_total", 1.0),
        ("ssecar_gaps_total{reason=\"event-too-large\"}", 1.0),
        ("ssecar_deliveries_total", 4.0),
        ("ssecar_join_seconds_count", 1.0),
        ("ssecar_memory_budget_bytes", 268_435_456.0),
    ] {
        assert_eq!(proxy.metric(sample).await, expected, "{sample}");
    }
    assert!(proxy.metric("ssecar_log_bytes").await > 0.0);
    let pieces = proxy.metric("ssecar_delivery_lag_seconds_count").await;
    assert!((2.0..=4.0).contains(&pieces), "once for each piece that was handed over: {pieces}");
}

#[tokio::test]
async fn the_process_is_seen_under_the_names_that_everybody_knows() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &[]).await;
    assert!(proxy.metric("process_max_fds").await > 3.0);
    assert!(proxy.metric("process_resident_memory_bytes").await > 1e6);
    assert!(proxy.metric("process_cpu_seconds_total").await >= 0.0);
    let started = proxy.metric("process_start_time_seconds").await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!((now - 3600.0..now + 5.0).contains(&started), "{started}, now {now}");
}

#[tokio::test]
async fn a_scraper_gets_the_text_format_unless_it_asks_for_openmetrics() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &[]).await;
    for (accept, kind) in [
        ("*/*", "text/plain; version=0.0.4"),
        (
            "application/openmetrics-text;version=1.0.0,text/plain;q=0.5",
            "application/openmetrics-text; version=1.0.0",
        ),
    ] {
        let mut client =
            Client::get(proxy.admin, "/metrics", &[("Host", "localhost"), ("Accept", accept)]).await;
        let response = client.response().await;
        assert!(response.header("content-type").unwrap().starts_with(kind), "{}", response.head);
        let is_open = kind.contains("openmetrics");
        assert_eq!(response.body.ends_with(b"# EOF\n"), is_open, "{accept}");
        let text = String::from_utf8(response.body).unwrap();
        assert_eq!(text.contains("# UNIT ssecar_join_seconds seconds\n"), is_open, "{accept}");
    }
}

#[tokio::test]
async fn whoever_a_limit_turns_away_is_counted_by_it_and_forwarded_answers_by_their_class() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &["--max-clients=1"]).await;
    let _reader = proxy.ask(PATH, &[]).await;
    let _stream = upstream.stream().await;
    assert_eq!(proxy.ask(PATH, &[]).await.status().await, 503);
    let mut plain = Client::get(proxy.address, "/page", &[]).await;
    upstream.accept().await.answer(404, "", "no").await;
    assert_eq!(plain.status().await, 404);
    assert_eq!(proxy.metric("ssecar_refused_total{limit=\"clients\"}").await, 1.0);
    assert_eq!(proxy.metric("ssecar_forwarded_requests_total{class=\"4xx\"}").await, 1.0);
}

#[tokio::test]
async fn a_client_is_counted_when_it_leaves_and_by_why() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &["--end-event=data=bye"]).await;
    let leaver = proxy.ask(PATH, &[]).await;
    let mut stream = upstream.stream().await;
    let mut stayer = proxy.subscribe(PATH, &[]).await;
    drop(leaver);
    proxy.until("the leaver to be gone", |state| state["clients"] == 1).await;
    stream.send("data: bye\n\n").await;
    drop(stream);
    assert_eq!(stayer.data().await, "bye");
    assert_eq!(stayer.next().await, None);
    proxy.until("the end", |state| state["clients"] == 0 && state["session_count"] == 0).await;
    for (sample, expected) in [
        ("ssecar_clients_joined_total", 2.0),
        ("ssecar_clients_closed_total{reason=\"left\"}", 1.0),
        ("ssecar_clients_closed_total{reason=\"finished\"}", 1.0),
        ("ssecar_sessions_ended_total{reason=\"finished\"}", 1.0),
        ("ssecar_delivered_bytes_total", stayer.chunks.iter().sum::<usize>() as f64),
    ] {
        assert_eq!(proxy.metric(sample).await, expected, "{sample}");
    }
}

#[tokio::test]
async fn a_replay_is_a_delivery_but_no_lag() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &["--late-join=ring"]).await;
    let mut first = proxy.ask(PATH, &[]).await;
    let mut stream = upstream.stream().await;
    stream.send("data: a\n\n").await;
    assert_eq!(first.data().await, "a");
    let mut second = proxy.subscribe(PATH, &[]).await;
    assert_eq!(second.data().await, "a");
    assert_eq!(proxy.metric("ssecar_deliveries_total").await, 2.0);
    assert_eq!(proxy.metric("ssecar_delivery_lag_seconds_count").await, 1.0);
}
