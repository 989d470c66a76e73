//! Legacy routes (spec 3).

use crate::support::{Client, Proxy, Upstream};

#[tokio::test]
async fn a_legacy_route_is_its_twin_byte_for_byte_and_says_so() {
    let upstream = Upstream::start().await;
    let flags = ["--legacy-route=/events", "--legacy-sunset=2027-01-31"];
    let proxy = Proxy::start(&upstream, &flags).await;
    let mut client = proxy.ask("/sessions/a%2Fb/events?x=%20&y", &[]).await;
    let mut exchange = upstream.accept().await;
    assert_eq!(exchange.target(), "/v1/sessions/a%2Fb/events?x=%20&y");
    exchange.begin_stream("").await;
    assert!(client.header("deprecation").await.unwrap().starts_with('@'));
    assert_eq!(
        client.header("link").await.unwrap(),
        "</v1/sessions/a%2Fb/events>; rel=\"successor-version\""
    );
    assert_eq!(client.header("sunset").await.unwrap(), "Sun, 31 Jan 2027 00:00:00 GMT");

    let _encoded = proxy.ask("/%65vents", &[]).await;
    assert_eq!(upstream.accept().await.target(), "/v1/%65vents", "no encoding slips past");
    let mut current = proxy.ask("/v1/events", &[]).await;
    upstream.stream().await;
    assert_eq!(current.header("deprecation").await, None);
}

#[tokio::test]
async fn a_legacy_route_can_redirect_or_be_gone() {
    let upstream = Upstream::start().await;
    let redirects = Proxy::start(&upstream, &["--legacy-mode=redirect"]).await;
    let mut client = Client::get(redirects.address, "/sessions/1/events?a=b", &[]).await;
    let response = client.response().await;
    assert_eq!((response.status, response.header("location")), (308, Some("/v1/sessions/1/events?a=b")));
    let gone = Proxy::start(&upstream, &["--legacy-mode=gone"]).await;
    let response = Client::get(gone.address, "/sessions/1/events", &[]).await.response().await;
    assert_eq!((response.status, response.header("content-type")), (410, Some("application/problem+json")));
    assert!(response.header("link").unwrap().contains("successor-version"));
}
