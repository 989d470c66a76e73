//! One subscription for all clients: joining, leaving, lingering, heartbeats, slow clients.

use std::time::Duration;

use crate::support::{Client, Proxy, Upstream, never, soon};

const PATH: &str = "/v1/sessions/1/events";

#[tokio::test]
async fn all_clients_of_a_session_share_one_subscription() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &[]).await;
    let mut first = proxy.ask(PATH, &[("User-Agent", "one")]).await;
    let mut stream = upstream.stream().await;
    let mut second = proxy.subscribe(PATH, &[("User-Agent", "two"), ("Accept-Language", "de")]).await;
    let mut by_the_old_name = proxy.subscribe("/sessions/1/events", &[]).await;
    stream.send("event: tick\ndata: a\ndata: b\n\ndata: c\n\n").await;
    for client in [&mut first, &mut second, &mut by_the_old_name] {
        let event = client.next().await.unwrap();
        assert_eq!((event.kind.as_str(), event.data.as_str()), ("tick", "a\nb"));
        assert!(event.id.ends_with(".1"), "{}", event.id);
        assert!(client.next().await.unwrap().id.ends_with(".2"));
    }
    assert_eq!(first.header("content-type").await.unwrap(), "text/event-stream");
    assert_eq!(first.header("x-accel-buffering").await.unwrap(), "no");
    never("a second subscription", async { upstream.try_accept().await.head }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_clients_of_a_cold_session_cause_one_request() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &[]).await;
    let mut clients = Vec::new();
    for _ in 0..1_000 {
        clients.push(proxy.ask(PATH, &[]).await);
    }
    let mut stream = upstream.accept().await;
    proxy.until("all to have come", |state| state["clients"] == 1_000).await;
    stream.begin_stream("").await;
    stream.send("data: first\n\n").await;
    for client in &mut clients {
        assert_eq!(client.data().await, "first");
    }
    never("a second subscription", async { upstream.try_accept().await.head }).await;
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed_at_once_stray_bytes_or_not() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &[]).await;
    let mut stays = proxy.ask(PATH, &[]).await;
    let _stream = upstream.stream().await;
    stays.head().await;
    for stray in [&b""[..], b"x", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"] {
        // With the request, and after the head: hyper's own watch misses both.
        let mut together = Client::connect(proxy.address).await;
        let request =
            format!("GET {PATH} HTTP/1.1\r\nHost: app.example\r\nAccept: text/event-stream\r\n\r\n");
        together.send(&[request.as_bytes(), stray].concat()).await;
        together.head().await;
        let mut after = proxy.subscribe(PATH, &[]).await;
        after.send(stray).await;
        proxy.until("them to be here", |state| state["clients"] == 3).await;
        drop((together, after));
        proxy.until("them to be missed", |state| state["clients"] == 1).await;
    }
    let reset = proxy.subscribe(PATH, &[]).await;
    reset.stream.set_zero_linger().unwrap();
    drop(reset);
    proxy.until("the reset to be noticed", |state| state["clients"] == 1).await;
}

#[tokio::test]
async fn a_client_that_floods_is_closed() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &[]).await;
    let mut client = proxy.ask(PATH, &[]).await;
    let _stream = upstream.stream().await;
    client.head().await;
    client.send(&[b'x'; 4096]).await;
    client.closed().await;
}

#[tokio::test]
async fn a_session_lingers_and_then_lets_go_of_the_upstream() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &["--linger=300ms"]).await;
    let mut client = proxy.ask(PATH, &[]).await;
    let mut stream = upstream.stream().await;
    stream.send("data: a\n\n").await;
    let id = client.next().await.unwrap().id;
    drop(client);
    proxy.until("it to be missed", |state| state["clients"] == 0).await;
    stream.send("data: while away\n\n").await;
    let mut back = proxy.subscribe(PATH, &[("Last-Event-ID", &id)]).await;
    assert_eq!(back.data().await, "while away");
    drop(back);
    stream.closed().await;
    proxy.until("the session to be forgotten", |state| state["session_count"] == 0).await;
    let mut fresh = proxy.ask(PATH, &[]).await;
    upstream.stream().await.send("data: anew\n\n").await;
    assert_eq!(fresh.data().await, "anew");
}

#[tokio::test]
async fn silence_is_filled_with_heartbeats() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &["--heartbeat=50ms"]).await;
    let mut client = proxy.ask(PATH, &[]).await;
    let _stream = upstream.stream().await;
    assert_eq!(client.extra().await, ":");
    assert_eq!(client.extra().await, ":");
}

#[tokio::test]
async fn a_slow_client_harms_nobody_and_is_closed() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &["--client-lag=256KiB", "--replay-bytes=64KiB"]).await;
    let slow = proxy.ask(PATH, &[]).await;
    let mut stream = upstream.stream().await;
    let mut quick = proxy.subscribe(PATH, &[]).await;
    let big = "x".repeat(50_000);
    // More than all buffers between ssecar and a client that reads nothing.
    let reading = tokio::spawn(async move {
        for number in 0..400 {
            assert!(quick.data().await.starts_with(&format!("{number} ")), "{number}");
        }
        quick
    });
    for number in 0..400 {
        stream.send(format!("data: {number} {big}\n\n")).await;
    }
    let _quick = soon("the quick client to have it all", reading).await.unwrap();
    proxy.until("the slow one to be closed", |state| state["clients"] == 1).await;
    let held = proxy.state().await["log_bytes"].as_u64().unwrap();
    assert!(held < 700_000, "{held} bytes are held");
    drop(slow);
}

#[tokio::test]
async fn a_burst_larger_than_the_ring_loses_nothing_and_comes_in_few_writes() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &[]).await;
    let mut client = proxy.ask(PATH, &[]).await;
    let mut stream = upstream.stream().await;
    client.head().await;
    let burst: String = (0..5_000).map(|number| format!("data: {number}\n\n")).collect();
    stream.send(burst).await;
    for number in 0..5_000 {
        assert_eq!(client.data().await, number.to_string());
    }
    let writes = proxy.metric("ssecar_delivery_lag_seconds_count").await;
    assert!(writes < 500.0, "{writes} writes for 5000 events");
}

#[tokio::test]
async fn http2_clients_share_with_the_others() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &[]).await;
    let socket = tokio::net::TcpStream::connect(proxy.address).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(socket);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    let driver = tokio::spawn(connection);
    let request = http::Request::get("http://app.example/v1/sessions/1/events")
        .header("accept", "text/event-stream")
        .body(http_body_util::Empty::<bytes::Bytes>::new())
        .unwrap();
    let asking = tokio::spawn(sender.send_request(request));
    let mut stream = upstream.stream().await;
    assert!(stream.head.to_lowercase().contains("host: app.example\r\n"), "{}", stream.head);
    let mut response = asking.await.unwrap().unwrap();
    let mut other = proxy.subscribe(PATH, &[]).await;
    stream.send("data: a\n\n").await;
    assert_eq!(other.data().await, "a");
    let frame = soon("a frame", http_body_util::BodyExt::frame(&mut response)).await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(frame.data_ref().unwrap()).ends_with("data: a\n\n"));
    drop(response);
    proxy.until("the reset stream to be missed", |state| state["clients"] == 1).await;
    driver.abort();
}

#[tokio::test]
async fn the_upstreams_retry_is_told_to_later_clients_too() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &[]).await;
    let mut first = proxy.ask(PATH, &[]).await;
    let mut stream = upstream.stream().await;
    stream.send("retry: 7000\ndata: a\n\n").await;
    assert_eq!(first.data().await, "a");
    assert_eq!(first.extras, ["retry:7000"]);
    let mut late = proxy.subscribe(PATH, &[]).await;
    assert_eq!(late.extra().await, "retry: 7000");

    let own = Proxy::start(&upstream, &["--client-retry=3s"]).await;
    let mut client = own.ask(PATH, &[]).await;
    upstream.stream().await.send("retry: 7000\ndata: a\n\n").await;
    assert_eq!(client.data().await, "a");
    assert_eq!(client.extras, ["retry:3000"]);
}

#[tokio::test]
async fn an_answer_to_any_get_that_is_an_event_stream_is_adopted() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &[]).await;
    let mut curl = Client::get(proxy.address, "/whatever", &[("Accept", "*/*")]).await;
    let mut stream = upstream.stream().await;
    stream.send("data: a\n\n").await;
    assert!(curl.next().await.unwrap().id.ends_with(".1"));
    let mut other = Client::get(proxy.address, "/whatever", &[]).await;
    other.head().await;
    stream.send("data: b\n\n").await;
    assert_eq!((curl.data().await, other.data().await), ("b".into(), "b".into()));
    drop((curl, other));
    proxy.until("all to have left", |state| state["clients"] == 0).await;
    let lingering = soon("the head", proxy.subscribe("/whatever", &[])).await;
    tokio::time::timeout(Duration::from_millis(1), async {}).await.unwrap();
    drop(lingering);
}
