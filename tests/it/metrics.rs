//! What is counted: `/metrics` (spec 10.1).

use crate::support::{Client, Proxy, Upstream};

async fn scrape(proxy: &Proxy, accept: &str) -> (String, String) {
    let mut client = Client::get(proxy.admin, "/metrics", &[("Host", "localhost"), ("Accept", accept)]).await;
    let response = client.response().await;
    assert_eq!(response.status, 200);
    let kind = response.header("content-type").unwrap().to_owned();
    (kind, String::from_utf8(response.body).unwrap())
}

fn value(text: &str, sample: &str) -> f64 {
    let line = text.lines().find(|line| line.strip_prefix(sample).is_some_and(|rest| rest.starts_with(' ')));
    line.unwrap_or_else(|| panic!("{sample} in {text}")).rsplit(' ').next().unwrap().parse().unwrap()
}

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

    let (kind, text) = scrape(&proxy, "").await;
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
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
        ("ssecar_memory_budget_bytes", 268_435_456.0),
    ] {
        assert_eq!(value(&text, sample), expected, "{sample}");
    }
    assert!(value(&text, "ssecar_log_bytes") > 0.0);
}

#[tokio::test]
async fn a_scraper_that_asks_for_openmetrics_gets_it() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &[]).await;
    let (kind, text) = scrape(&proxy, "application/openmetrics-text;version=1.0.0,text/plain;q=0.5").await;
    assert!(kind.starts_with("application/openmetrics-text; version=1.0.0"), "{kind}");
    assert!(text.ends_with("# EOF\n"));
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
    let (_, text) = scrape(&proxy, "").await;
    assert_eq!(value(&text, "ssecar_refused_total{limit=\"clients\"}"), 1.0);
    assert_eq!(value(&text, "ssecar_forwarded_requests_total{class=\"4xx\"}"), 1.0);
}
