//! What operators can do by the admin API: close a client, end a session, have the upstream asked (spec 10.1).

use serde_json::Value;

use crate::admin::{ask, get, only_session};
use crate::support::schema::assert_conforms;
use crate::support::{Proxy, Upstream};

const PATH: &str = "/v1/sessions/1/events";

#[tokio::test]
async fn an_operator_closes_a_client_and_the_others_stay() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &[]).await;
    let mut first = proxy.ask(PATH, &[]).await;
    let mut stream = upstream.stream().await;
    let mut second = proxy.subscribe(PATH, &[]).await;
    stream.send("data: a\n\n").await;
    assert_eq!((first.data().await, second.data().await), ("a".into(), "a".into()));
    let session = only_session(&proxy).await;
    let clients = get(&proxy, &format!("/api/sessions/{session}/clients?sort=id&order=asc")).await;
    assert_eq!(clients["total"], 2);
    let one = &clients["clients"][0];
    assert_eq!((one["peer"].as_str(), one["lag"]["bytes"].as_u64()), (Some("127.0.0.1"), Some(0)));
    assert!(one["bytes"].as_u64() > Some(0));
    let path = format!("/api/sessions/{session}/clients/{}/close", one["id"]);
    assert_eq!(ask(proxy.admin, "POST", &path, &[]).await.status, 204);
    first.closed().await;
    stream.send("data: b\n\n").await;
    assert_eq!(second.data().await, "b");
    proxy.until("one client", |state| state["clients"] == 1).await;
    assert_eq!(proxy.metric("ssecar_clients_closed_total{reason=\"operator\"}").await, 1.0);
}

#[tokio::test]
async fn an_operator_ends_a_session_and_the_next_client_finds_a_fresh_one() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &[]).await;
    let mut client = proxy.ask(PATH, &[]).await;
    let mut stream = upstream.stream().await;
    assert_eq!(client.status().await, 200);
    let session = only_session(&proxy).await;
    assert_eq!(ask(proxy.admin, "DELETE", &format!("/api/sessions/{session}"), &[]).await.status, 202);
    assert_eq!(client.next().await, None);
    stream.closed().await;
    let _next = proxy.ask(PATH, &[]).await;
    let _stream = upstream.stream().await;
    assert_ne!(only_session(&proxy).await, session);
}

#[tokio::test]
async fn an_operator_has_the_upstream_asked_at_once() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &["--backoff-initial=10m", "--backoff-max=10m"]).await;
    let mut client = proxy.ask(PATH, &[]).await;
    let stream = upstream.stream().await;
    drop(stream);
    proxy.until("the wait", |state| state["sessions"][0]["state"] == "waiting").await;
    let session = only_session(&proxy).await;
    assert_eq!(ask(proxy.admin, "POST", &format!("/api/sessions/{session}/retry"), &[]).await.status, 202);
    let mut stream = upstream.stream().await;
    stream.send("data: a\n\n").await;
    while client.data().await != "a" {}
}

#[tokio::test]
async fn an_operator_has_the_upstream_asked_for_all_who_wait() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &["--backoff-initial=10m", "--backoff-max=10m"]).await;
    let mut clients = Vec::new();
    for number in 1..=3 {
        clients.push(proxy.ask(&format!("/v1/sessions/{number}/events"), &[]).await);
        if number < 3 {
            drop(upstream.stream().await);
            proxy.until("the wait", |state| state["session_states"]["waiting"] == number).await;
        }
    }
    let _live = upstream.stream().await;
    proxy.until("the third", |state| state["session_states"]["live"] == 1).await;
    let answer = ask(proxy.admin, "POST", "/api/retry", &[]).await;
    assert_eq!(answer.status, 202);
    let document = get(&proxy, "/api/openapi.json").await;
    let asked: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_conforms(&document, &document["components"]["schemas"]["Asked"], &asked, "/api/retry");
    assert_eq!(asked["sessions"], 2, "those that wait");
    let _streams = (upstream.stream().await, upstream.stream().await);
    proxy.until("all to flow", |state| state["session_states"]["live"] == 3).await;
}
