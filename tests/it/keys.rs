//! Who shares a session, and who doesn't (spec 4.2, 4.7).

use crate::support::{Client, Proxy, Upstream};

const PATH: &str = "/v1/sessions/1/events";

#[tokio::test]
async fn clients_that_the_upstream_could_tell_apart_do_not_share() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &[]).await;
    let mut clients = Vec::new();
    let heads: [&[(&str, &str)]; 6] = [
        &[],
        &[("Authorization", "Bearer 1")],
        &[("Cookie", "session=1")],
        &[("Mcp-Session-Id", "1")],
        &[("X-Tenant", "1")],
        &[("Origin", "http://elsewhere")],
    ];
    for (number, head) in heads.into_iter().enumerate() {
        let mut client = proxy.ask(PATH, head).await;
        let mut stream = upstream.stream().await;
        for (name, value) in head {
            assert_eq!(stream.header(name), Some(*value));
        }
        stream.send(format!("data: {number}\n\n")).await;
        assert_eq!(client.data().await, number.to_string());
        clients.push((client, stream));
    }
    assert_eq!(proxy.state().await["session_count"], 6);
}

#[tokio::test]
async fn vary_tells_apart_what_is_else_harmless() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &[]).await;
    let mut german = proxy.ask(PATH, &[("Accept-Language", "de")]).await;
    let mut exchange = upstream.accept().await;
    // This one waits for the first answer, which says that it is for others.
    let mut english = proxy.ask(PATH, &[("Accept-Language", "en")]).await;
    proxy.until("both to wait", |state| state["clients"] == 2).await;
    exchange.begin_stream("Vary: Accept-Language\r\n").await;
    let mut second = upstream.accept().await;
    assert_eq!(second.header("accept-language"), Some("en"));
    second.begin_stream("Vary: Accept-Language\r\n").await;
    exchange.send("data: Hallo\n\n").await;
    second.send("data: Hello\n\n").await;
    assert_eq!(german.data().await, "Hallo");
    assert_eq!(english.data().await, "Hello");
    let mut late = proxy.subscribe(PATH, &[("Accept-Language", "de")]).await;
    exchange.send("data: noch einmal\n\n").await;
    assert_eq!(late.data().await, "noch einmal");
}

#[tokio::test]
async fn a_stream_that_varies_with_everything_is_never_shared() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &[]).await;
    let mut one = proxy.ask(PATH, &[]).await;
    let mut first = upstream.accept().await;
    first.begin_stream("Vary: *\r\n").await;
    first.send("data: one\n\n").await;
    assert_eq!(one.data().await, "one");
    let mut two = proxy.ask(PATH, &[]).await;
    let mut second = upstream.accept().await;
    second.begin_stream("Vary: *\r\n").await;
    second.send("data: two\n\n").await;
    assert_eq!(two.data().await, "two");
}

#[tokio::test]
async fn cookies_go_to_the_client_whose_request_fetched_them() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &[]).await;
    let mut opener = proxy.ask(PATH, &[]).await;
    let mut exchange = upstream.accept().await;
    exchange.begin_stream("Set-Cookie: s=1\r\nX-App: yes\r\nConnection: x-hop\r\nX-Hop: 1\r\n").await;
    assert_eq!(opener.header("set-cookie").await.as_deref(), Some("s=1"));
    let mut other = proxy.subscribe(PATH, &[]).await;
    assert_eq!(other.header("set-cookie").await, None);
    assert_eq!(other.header("x-app").await.as_deref(), Some("yes"));
    assert_eq!(other.header("x-hop").await, None);
}

#[tokio::test]
async fn a_credential_in_the_query_is_hidden_and_tells_clients_apart() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &["--credential-query=token"]).await;
    let _one = proxy.ask(&format!("{PATH}?token=hunter2"), &[]).await;
    let _first = upstream.stream().await;
    let _two = proxy.ask(&format!("{PATH}?token=other"), &[]).await;
    let _second = upstream.stream().await;
    let state = proxy.state().await;
    assert_eq!(state["session_count"], 2);
    assert!(!state.to_string().contains("hunter2"), "{state}");
}

#[tokio::test]
async fn a_header_that_is_always_new_is_named_once_with_the_flag_that_helps() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &[]).await;
    let mut clients = Vec::new();
    for number in 0..10 {
        let nonce = number.to_string();
        clients.push(proxy.ask(PATH, &[("X-Nonce", &nonce)]).await);
        clients.push(proxy.ask("/v1/other?x=1", &[("X-Tenant", "always the same")]).await);
    }
    proxy.until("the advice", |state| !state["advices"].as_array().unwrap().is_empty()).await;
    let advices = proxy.state().await["advices"].clone();
    assert_eq!(advices.as_array().unwrap().len(), 1, "{advices}");
    assert!(advices[0].as_str().unwrap().contains("--ignore-header x-nonce"), "{advices}");

    let helped = Proxy::start(&upstream, &["--ignore-header=x-nonce"]).await;
    let mut one = helped.ask(PATH, &[("X-Nonce", "a")]).await;
    let mut stream = loop {
        let mut exchange = upstream.accept().await;
        if exchange.header("x-nonce") == Some("a") {
            exchange.begin_stream("").await;
            break exchange;
        }
    };
    let mut two = helped.subscribe(PATH, &[("X-Nonce", "b")]).await;
    stream.send("data: shared\n\n").await;
    assert_eq!((one.data().await, two.data().await), ("shared".into(), "shared".into()));
}

#[tokio::test]
async fn clients_that_name_another_host_share_only_if_that_is_said_not_to_matter() {
    let upstream = Upstream::start().await;
    let ignore = ["--ignore-header=host", "--ignore-header=x-forwarded-host"];
    for (flags, sessions) in [(&[][..], 2), (&ignore, 1)] {
        let proxy = Proxy::start(&upstream, flags).await;
        let _one = proxy.ask(PATH, &[("Host", "a.example")]).await;
        let _two = proxy.ask(PATH, &[("Host", "b.example")]).await;
        proxy.until("both", |state| state["clients"] == 2).await;
        assert_eq!(proxy.state().await["session_count"], sessions);
    }
}

#[tokio::test]
async fn a_clients_trace_goes_on_upstream_and_splits_no_session() {
    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const OTHER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &[]).await;
    let _first = proxy.ask(PATH, &[("traceparent", TRACE), ("tracestate", "a=1")]).await;
    let stream = upstream.stream().await;
    assert_eq!((stream.header("traceparent"), stream.header("tracestate")), (Some(TRACE), Some("a=1")));
    let _second = proxy.subscribe(PATH, &[("traceparent", OTHER)]).await;
    assert_eq!(proxy.state().await["session_count"], 1);
    let mut plain = Client::get(proxy.address, "/page", &[("traceparent", OTHER)]).await;
    let mut exchange = upstream.accept().await;
    assert_eq!(exchange.header("traceparent"), Some(OTHER));
    exchange.answer(200, "", "x").await;
    assert_eq!(plain.status().await, 200);
}
