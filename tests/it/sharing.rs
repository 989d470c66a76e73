//! Sharing across credentials (spec 4.3, 8.6, 8.7).

use crate::support::{Proxy, Upstream, never};

const PATH: &str = "/v1/sessions/1/events";

fn bearer(token: &str) -> Vec<(&'static str, String)> {
    vec![("Authorization", format!("Bearer {token}"))]
}

/// Subscribes without waiting.
async fn ask(proxy: &Proxy, token: &str) -> crate::support::Client {
    let head = bearer(token);
    let head: Vec<(&str, &str)> = head.iter().map(|(name, value)| (*name, value.as_str())).collect();
    proxy.ask(PATH, &head).await
}

#[tokio::test]
async fn each_authorized_client_is_checked_by_its_own_request_and_reads_one_subscription() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &["--share=authorized"]).await;
    let mut one = ask(&proxy, "1").await;
    let mut subscription = upstream.stream().await;
    assert_eq!(subscription.header("authorization"), Some("Bearer 1"));
    one.head().await;

    let mut two = ask(&proxy, "2").await;
    let mut check = upstream.accept().await;
    assert_eq!(check.header("authorization"), Some("Bearer 2"));
    check.begin_stream("Set-Cookie: seen=2\r\n").await;
    assert_eq!(two.header("set-cookie").await.as_deref(), Some("seen=2"), "its own request fetched it");
    check.closed().await;
    subscription.send("data: for all\n\n").await;
    assert_eq!(one.data().await, "for all");
    assert_eq!(two.data().await, "for all");

    let mut three = ask(&proxy, "3").await;
    upstream.accept().await.answer(403, "X-Why: not yours\r\n", "go away").await;
    let refused = three.response().await;
    assert_eq!((refused.status, refused.header("x-why")), (403, Some("not yours")));
    assert_eq!(refused.body, b"go away");
    assert_eq!(proxy.state().await["session_count"], 1);
}

#[tokio::test]
async fn a_client_that_does_not_say_what_it_accepts_is_checked_as_well() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &["--share=authorized"]).await;
    let mut one = ask(&proxy, "1").await;
    let mut subscription = upstream.stream().await;
    one.head().await;
    for (token, is_let_in) in [("2", true), ("3", false)] {
        let value = format!("Bearer {token}");
        let mut plain =
            crate::support::Client::get(proxy.address, PATH, &[("Authorization", value.as_str())]).await;
        let mut check = upstream.accept().await;
        assert_eq!(check.header("authorization"), Some(value.as_str()));
        if is_let_in {
            check.begin_stream("").await;
            plain.head().await;
            subscription.send("data: shared\n\n").await;
            assert_eq!(plain.data().await, "shared");
        } else {
            check.answer(401, "", "").await;
            assert_eq!(plain.response().await.status, 401);
        }
    }
}

#[tokio::test]
async fn a_single_use_token_is_used_once_by_the_joining_request() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &["--share=authorized", "--credential-query=ticket"]).await;
    let mut one = proxy.ask(&format!("{PATH}?ticket=a&room=7"), &[]).await;
    let mut subscription = upstream.stream().await;
    assert_eq!(subscription.target(), format!("{PATH}?ticket=a&room=7"));
    one.head().await;
    let mut two = proxy.ask(&format!("{PATH}?room=7&ticket=b"), &[]).await;
    let mut check = upstream.stream().await;
    assert_eq!(check.target(), format!("{PATH}?room=7&ticket=b"));
    two.head().await;
    check.closed().await;
    subscription.send("data: x\n\n").await;
    assert_eq!(two.data().await, "x");
    assert_eq!(one.data().await, "x");
    never("another request", async { upstream.try_accept().await.head }).await;
}

#[tokio::test]
async fn a_held_client_gets_no_event_before_the_upstream_has_said_yes() {
    let upstream = Upstream::start().await;
    let flags = ["--share=authorized", "--hold-head=50ms", "--heartbeat=30ms", "--idle-timeout=5s"];
    let proxy = Proxy::start(&upstream, &flags).await;
    let mut good = ask(&proxy, "good").await;
    let mut subscription = upstream.stream().await;
    subscription.send("data: before\n\n").await;
    assert_eq!(good.data().await, "before");
    drop(subscription);
    let address = upstream.stop();
    proxy.until("the session to wait", |state| state["sessions"][0]["state"] == "waiting").await;

    let mut held = ask(&proxy, "held").await;
    let mut bad = ask(&proxy, "bad").await;
    assert!(held.head().await.starts_with("HTTP/1.1 200"));
    assert!(bad.head().await.starts_with("HTTP/1.1 200"));
    held.extra().await;

    let upstream = Upstream::restart(address).await;
    let mut subscription = None;
    for _ in 0..3 {
        let mut exchange = upstream.accept().await;
        match exchange.header("authorization") {
            Some("Bearer good") => {
                exchange.begin_stream("").await;
                subscription = Some(exchange);
            }
            Some("Bearer held") => exchange.begin_stream("").await,
            Some("Bearer bad") => exchange.answer(401, "", "").await,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(bad.next_event().await, None);
    proxy.until("both to be in", |state| state["sessions"][0]["clients"] == 2).await;
    let mut subscription = subscription.expect("the session's own attempt");
    subscription.send("data: after\n\n").await;
    // What was interrupted without ids is told, to the held one too if it came in before.
    let first = held.data().await;
    if first != "after" {
        assert_eq!((first.as_str(), held.data().await.as_str()), ("gap:upstream-interrupted", "after"));
    }
    assert_eq!(good.next_event().await.unwrap().kind, "ssecar-gap");
    assert_eq!(good.data().await, "after");
}

#[tokio::test]
async fn another_connected_clients_credential_is_tried_before_the_session_ends() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &["--share=authorized"]).await;
    let mut one = ask(&proxy, "1").await;
    let mut subscription = upstream.stream().await;
    one.head().await;
    let mut two = ask(&proxy, "2").await;
    upstream.stream().await;
    two.head().await;

    subscription.send("id: 5\ndata: 5\n\n").await;
    assert_eq!(two.data().await, "5");
    assert_eq!(one.data().await, "5");
    drop(subscription);
    let mut again = upstream.accept().await;
    assert_eq!(again.header("authorization"), Some("Bearer 1"));
    again.answer(401, "", "").await;
    again.again().await;
    assert_eq!(again.header("authorization"), Some("Bearer 2"));
    assert_eq!(again.header("last-event-id"), Some("5"));
    again.begin_stream("").await;
    again.send("id: 6\ndata: 6\n\n").await;
    assert_eq!(one.data().await, "6");
    assert_eq!(two.data().await, "6");

    // With nobody left whose credential is good, all are sent away to ask for themselves.
    drop(again);
    upstream.accept().await.answer(401, "", "").await;
    upstream.accept().await.answer(403, "", "").await;
    assert_eq!(one.next_event().await, None);
    assert_eq!(two.next_event().await, None);
}

#[tokio::test]
async fn who_has_left_takes_its_credential_away() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &["--share=authorized"]).await;
    let one = ask(&proxy, "1").await;
    let subscription = upstream.stream().await;
    proxy.until("the first", |state| state["sessions"][0]["clients"] == 1).await;
    let mut two = ask(&proxy, "2").await;
    upstream.stream().await;
    two.head().await;
    drop(one);
    proxy.until("the first to leave", |state| state["sessions"][0]["clients"] == 1).await;
    drop(subscription);
    assert_eq!(upstream.accept().await.header("authorization"), Some("Bearer 2"));
}

#[tokio::test]
async fn a_public_stream_is_shared_without_asking() {
    let upstream = Upstream::start().await;
    let route = "--route=/v1/sessions/** share=public";
    let proxy = Proxy::start(&upstream, &[route]).await;
    let mut one = ask(&proxy, "1").await;
    let mut subscription = upstream.stream().await;
    one.head().await;
    let mut two = proxy.subscribe(PATH, &[("Cookie", "a=b")]).await;
    subscription.send("data: x\n\n").await;
    assert_eq!(one.data().await, "x");
    assert_eq!(two.data().await, "x");
    // What else tells clients apart still does.
    let _other = proxy.ask(PATH, &[("X-Tenant", "2")]).await;
    assert_eq!(upstream.stream().await.header("x-tenant"), Some("2"));
}

#[tokio::test]
async fn ssecar_subscribes_with_its_own_credential_while_clients_are_checked_with_theirs() {
    let file = std::env::temp_dir().join(format!("ssecar-it-authorization-{}", std::process::id()));
    std::fs::write(&file, "Bearer own\n").unwrap();
    let upstream = Upstream::start().await;
    let flag = format!("--upstream-authorization-file={}", file.display());
    let proxy = Proxy::start(&upstream, &["--share=authorized", &flag]).await;
    let head = [("Authorization", "Bearer 1"), ("Cookie", "c=1")];
    let mut one = proxy.ask(PATH, &head).await;
    let mut check = upstream.stream().await;
    assert_eq!((check.header("authorization"), check.header("cookie")), (Some("Bearer 1"), Some("c=1")));
    let mut subscription = upstream.accept().await;
    assert_eq!(subscription.header("authorization"), Some("Bearer own"));
    assert_eq!(subscription.header("cookie"), None, "the client's credentials stay its own");
    subscription.begin_stream("Set-Cookie: own=1\r\n").await;
    assert_eq!(one.header("set-cookie").await, None, "ssecar's own cookie");
    check.closed().await;
    subscription.send("data: x\n\n").await;
    assert_eq!(one.data().await, "x");

    // A renewed credential is used for the next subscription.
    std::fs::write(&file, "Bearer renewed\n").unwrap();
    drop(subscription);
    assert_eq!(upstream.accept().await.header("authorization"), Some("Bearer renewed"));
    std::fs::remove_file(&file).unwrap();
}

#[tokio::test]
async fn one_address_has_so_many_clients_at_most() {
    let upstream = Upstream::start().await;
    let flags = ["--max-clients-per-ip=2", "--trusted-proxy=127.0.0.1"];
    let proxy = Proxy::start(&upstream, &flags).await;
    let from = |ip: &'static str| [("X-Forwarded-For", ip)];
    let one = proxy.ask(PATH, &from("192.0.2.1")).await;
    let _subscription = upstream.stream().await;
    let mut two = proxy.subscribe(PATH, &from("192.0.2.1")).await;
    let mut refused = proxy.ask(PATH, &from("192.0.2.1")).await;
    let answer = refused.response().await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("5")));
    assert!(String::from_utf8_lossy(&answer.body).contains("--max-clients-per-ip"));
    assert_eq!(proxy.metric("ssecar_refused_total{limit=\"clients_per_ip\"}").await, 1.0);
    two.head().await;
    let forwarded = proxy.ask(PATH, &[("Forwarded", "for=192.0.2.1;proto=http")]).await.response().await;
    assert_eq!(forwarded.status, 429, "however the trusted proxy names it");
    proxy.subscribe(PATH, &from("192.0.2.2")).await;
    drop(one);
    proxy.until("room", |state| state["clients"] == 1).await;
    proxy.subscribe(PATH, &from("192.0.2.1")).await;
}
