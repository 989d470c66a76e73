//! Log lines, and spans for OpenTelemetry: who caused what, without a secret, and without making anybody wait.

use std::process::Stdio;

use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use crate::support::{Client, Collector, Exchange, Proxy, Upstream, soon};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

fn traceparent() -> String {
    format!("00-{TRACE}-{CALLER}-01")
}

/// The trace, the span and the flags that the upstream was given.
fn received(exchange: &Exchange) -> (String, String, String) {
    let parts: Vec<_> = exchange.header("traceparent").unwrap().split('-').map(str::to_owned).collect();
    let [version, trace, span, flags] = parts.try_into().unwrap();
    assert_eq!(version, "00");
    (trace, span, flags)
}

/// Sends a request, and has the upstream answer it.
async fn forward(upstream: &Upstream, proxy: &Proxy, path: &str, headers: &[(&str, &str)]) -> Exchange {
    let mut client = Client::get(proxy.address, path, headers).await;
    let mut exchange = upstream.accept().await;
    exchange.answer(200, "", "ok").await;
    assert_eq!(client.response().await.status, 200);
    exchange
}

#[tokio::test]
async fn without_a_collector_a_trace_passes_untouched() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &[]).await;
    for value in [&*traceparent(), "nonsense"] {
        let headers = [("traceparent", value), ("tracestate", "a=1,b=2")];
        let exchange = forward(&upstream, &proxy, "/plain", &headers).await;
        assert_eq!(exchange.header("traceparent"), Some(value));
        assert_eq!(exchange.header("tracestate"), Some("a=1,b=2"));
    }
    let _client = proxy.ask("/events", &[("traceparent", &traceparent()), ("tracestate", "a=1")]).await;
    let exchange = upstream.stream().await;
    assert_eq!(exchange.header("traceparent"), Some(&*traceparent()));
    assert_eq!(exchange.header("tracestate"), Some("a=1"));
    let exchange = forward(&upstream, &proxy, "/plain", &[]).await;
    assert_eq!(exchange.header("traceparent"), None);
}

#[tokio::test]
async fn a_forwarded_request_stands_between_its_caller_and_the_upstream() {
    let (upstream, collector) = (Upstream::start().await, Collector::start().await);
    let proxy = Proxy::start(&upstream, &[&collector.flag(), "--credential-query=who"]).await;
    let headers = [
        ("Host", "shop.example:8443"),
        ("traceparent", &*traceparent()),
        ("tracestate", "a=1,b=2"),
        ("Authorization", "Bearer hunter2"),
        ("Cookie", "sid=hunter2"),
        ("X-Api-Key", "hunter2"),
    ];
    let exchange = forward(&upstream, &proxy, "/orders?page=2&token=hunter2&WHO=hunter2", &headers).await;
    let span = collector.span("GET").await;
    assert_eq!((span.trace(), span.parent(), span.kind()), (TRACE, Some(CALLER), 2));
    let sent = received(&exchange);
    assert_eq!(sent, (TRACE.to_owned(), span.id().to_owned(), "01".to_owned()));
    assert_eq!(exchange.header("tracestate"), Some("a=1,b=2"));
    for (name, value) in [
        ("http.request.method", "GET"),
        ("url.scheme", "http"),
        ("url.path", "/orders"),
        ("url.query", "page=2&token=***&WHO=***"),
        ("server.address", "shop.example"),
        ("server.port", "8443"),
        ("network.protocol.version", "1.1"),
        ("http.response.status_code", "200"),
        ("ssecar.outcome", "forwarded"),
    ] {
        assert_eq!(span.attribute(name).as_deref(), Some(value), "{name}");
    }
    assert!(!span.is_error());
    let request = &collector.requests()[0];
    assert!(request.head.starts_with("POST /otlp/v1/traces HTTP/1.1\r\n"), "{}", request.head);
    for secret in ["hunter2", "a=1"] {
        assert!(!request.body.contains(secret) && !request.head.contains(secret), "{}", request.body);
    }
}

#[tokio::test]
async fn without_a_caller_a_trace_begins_here() {
    let (upstream, collector) = (Upstream::start().await, Collector::start().await);
    let flags = ["--otlp-service-name=shop", "--otlp-attribute=deployment.environment.name=prod"];
    let proxy = Proxy::start(&upstream, &[&collector.flag(), flags[0], flags[1]]).await;
    let exchange =
        forward(&upstream, &proxy, "/a", &[("traceparent", "00-x-y-01"), ("tracestate", "a=1")]).await;
    let span = collector.span("GET").await;
    assert_eq!(received(&exchange), (span.trace().to_owned(), span.id().to_owned(), "01".to_owned()));
    assert_eq!((span.parent(), exchange.header("tracestate")), (None, None));
    let json = collector.requests()[0].json();
    let resource = json["resourceSpans"][0]["resource"]["attributes"].to_string();
    for attribute in ["shop", "prod", env!("CARGO_PKG_VERSION")] {
        assert!(resource.contains(&format!("{{\"stringValue\":\"{attribute}\"}}")), "{resource}");
    }
    assert!(proxy.metric("ssecar_spans_exported_total").await >= 1.0);
}

#[tokio::test]
async fn what_is_not_sampled_is_told_on_and_not_recorded() {
    let (upstream, collector) = (Upstream::start().await, Collector::start().await);
    let proxy = Proxy::start(&upstream, &[&collector.flag(), "--otlp-sample=0"]).await;
    let unsampled = traceparent().replace("-01", "-00");
    for headers in [&[][..], &[("traceparent", &*unsampled)]] {
        let exchange = forward(&upstream, &proxy, "/not-recorded", headers).await;
        assert_eq!(received(&exchange).2, "00");
    }
    // The caller records its trace: that is its decision.
    forward(&upstream, &proxy, "/recorded", &[("traceparent", &traceparent())]).await;
    let span = collector.span("GET").await;
    assert_eq!(span.attribute("url.path").as_deref(), Some("/recorded"));
    assert_eq!(collector.spans().len(), 1);
}

#[tokio::test]
async fn a_subscription_is_part_of_the_request_that_opened_it_and_a_retry_of_none() {
    let (upstream, collector) = (Upstream::start().await, Collector::start().await);
    let proxy = Proxy::start(&upstream, &[&collector.flag()]).await;
    let headers = [("traceparent", &*traceparent()), ("tracestate", "a=1"), ("Authorization", "hunter2")];
    let client = proxy.ask("/events?token=hunter2&room=7", &headers).await;
    let mut first = upstream.stream().await;
    // Both have ended although the stream goes on.
    let attempt = collector.span("subscribe").await;
    let request = collector.find("GET", |span| span.attribute("ssecar.outcome").unwrap() == "session").await;
    assert_eq!((request.trace(), request.parent()), (TRACE, Some(CALLER)));
    assert_eq!((attempt.trace(), attempt.parent(), attempt.kind()), (TRACE, Some(request.id()), 3));
    assert_eq!(received(&first), (TRACE.to_owned(), attempt.id().to_owned(), "01".to_owned()));
    assert_eq!(first.header("tracestate"), Some("a=1"));
    assert_eq!(attempt.attribute("ssecar.attempt").as_deref(), Some("1"));
    assert_eq!(attempt.attribute("ssecar.outcome").as_deref(), Some("stream"));
    assert_eq!(attempt.attribute("http.response.status_code").as_deref(), Some("200"));
    let url = attempt.attribute("url.full").unwrap();
    assert!(url.starts_with("http://127.0.0.1:") && url.ends_with("/events?token=***&room=7"), "{url}");

    // A second client causes no attempt.
    let _second = proxy.subscribe("/events?token=hunter2&room=7", &[("Authorization", "hunter2")]).await;
    first.send("data: x\n\n").await;
    drop(first);
    let mut again = upstream.accept().await;
    again.answer(503, "", "").await;
    let retry = collector.find("subscribe", |span| span.id() != attempt.id()).await;
    assert_eq!(received(&again), (retry.trace().to_owned(), retry.id().to_owned(), "01".to_owned()));
    assert_ne!(retry.trace(), TRACE);
    assert_eq!((retry.parent(), again.header("tracestate")), (None, None));
    assert_eq!(retry.attribute("ssecar.attempt").as_deref(), Some("2"));
    assert_eq!(retry.attribute("error.type").as_deref(), Some("503"));
    assert_eq!(retry.attribute("ssecar.outcome").as_deref(), Some("other-answer"));
    assert!(retry.is_error());
    assert!(collector.requests().iter().all(|request| !request.body.contains("hunter2")));
    drop(client);
}

#[tokio::test]
async fn requests_for_one_client_are_part_of_that_clients_request() {
    let (upstream, collector) = (Upstream::start().await, Collector::start().await);
    let flags = ["--route=/checked share=authorized", "--route=/fresh late-join=fresh"];
    let proxy = Proxy::start(&upstream, &[&collector.flag(), flags[0], flags[1]]).await;
    let is_child = |name: &'static str| {
        let collector = &collector;
        async move {
            let span = collector.span(name).await;
            let parent = collector.find("GET", |request| Some(request.id()) == span.parent()).await;
            assert_eq!(parent.trace(), span.trace(), "{name}");
            span
        }
    };

    let _checked = proxy.ask("/checked", &[("Authorization", "hunter2")]).await;
    let exchange = upstream.stream().await;
    assert_eq!(received(&exchange).1, is_child("admission").await.id());

    let mut first = proxy.ask("/fresh", &[]).await;
    let mut stream = upstream.stream().await;
    stream.send("data: x\n\n").await;
    assert_eq!(first.data().await, "x");
    let mut late = proxy.ask("/fresh", &[]).await;
    late.head().await;
    let mut greeting = upstream.stream().await;
    greeting.send("data: hello\n\n").await;
    assert_eq!(late.data().await, "hello");
    assert_eq!(received(&greeting).1, is_child("greeting").await.id());
}

#[tokio::test]
async fn failures_are_named() {
    let (upstream, collector) = (Upstream::start().await, Collector::start().await);
    let flag = upstream.flag();
    upstream.stop();
    let proxy = Proxy::with(&flag, &[&collector.flag()]).await;
    let mut client = Client::get(proxy.address, "/plain", &[]).await;
    assert_eq!(client.response().await.status, 502);
    let span = collector.span("GET").await;
    assert!(span.is_error());
    assert_eq!(span.attribute("error.type").as_deref(), Some("upstream-unreachable"));
    assert_eq!(span.attribute("http.response.status_code").as_deref(), Some("502"));
    assert_eq!(span.attribute("ssecar.outcome").as_deref(), Some("answered"));
    let waiting = proxy.ask("/events", &[]).await;
    let span = collector.span("subscribe").await;
    assert!(span.is_error());
    assert_eq!(span.attribute("error.type").as_deref(), Some("connection_refused"));
    assert_eq!(span.attribute("ssecar.outcome").as_deref(), Some("no-answer"));
    // A client that goes before it has an answer.
    drop(waiting);
    let span = collector.find("GET", |span| span.attribute("ssecar.outcome").unwrap() == "abandoned").await;
    assert_eq!(span.attribute("error.type").as_deref(), Some("abandoned"));
}

#[tokio::test]
async fn a_dead_collector_delays_nobody() {
    let upstream = Upstream::start().await;
    // It takes connections and bytes, and never answers.
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let flag = format!("--otlp-endpoint=http://{}", dead.local_addr().unwrap());
    let proxy = Proxy::start(&upstream, &[&flag]).await;
    // One after the other, over one connection each way: more than the queue and a batch hold.
    let mut client = Client::get(proxy.address, "/0", &[]).await;
    let mut exchange = upstream.accept().await;
    for number in 1..=3_000 {
        exchange.answer(200, "", "ok").await;
        assert_eq!(client.response().await.status, 200);
        client.request("GET", &format!("/{number}"), &[], b"").await;
        exchange.again().await;
    }
    assert!(proxy.metric("ssecar_spans_dropped_total{reason=\"queue-full\"}").await > 0.0);
    assert_eq!(proxy.metric("ssecar_spans_exported_total").await, 0.0);
    let (mut connection, _) = soon("the exporter", dead.accept()).await.unwrap();
    soon("a batch", connection.read_u8()).await.unwrap();
}

#[tokio::test]
async fn the_last_spans_are_sent_before_the_end() {
    let (upstream, collector) = (Upstream::start().await, Collector::start().await);
    let mut proxy = Proxy::start(&upstream, &[&collector.flag()]).await;
    forward(&upstream, &proxy, "/last", &[]).await;
    proxy.drain();
    proxy.ended().await;
    let paths: Vec<_> = collector.spans().iter().map(|span| span.attribute("url.path")).collect();
    assert_eq!(paths, [Some("/last".to_owned())]);
}

#[tokio::test]
async fn a_file_of_headers_is_read_anew_for_each_batch() {
    let (upstream, collector) = (Upstream::start().await, Collector::start().await);
    let file = std::env::temp_dir().join(format!("ssecar-it-otlp-headers-{}", std::process::id()));
    std::fs::write(&file, "Authorization: Basic first\nX-Scope-OrgID: shop\n").unwrap();
    let flag = format!("--otlp-header-file={}", file.display());
    let proxy = Proxy::start(&upstream, &[&collector.flag(), &flag]).await;
    forward(&upstream, &proxy, "/a", &[]).await;
    collector.span("GET").await;
    std::fs::write(&file, "Authorization: Basic second\n").unwrap();
    forward(&upstream, &proxy, "/b", &[]).await;
    collector.find("GET", |span| span.attribute("url.path").unwrap() == "/b").await;
    std::fs::remove_file(&file).unwrap();
    let heads: Vec<_> = collector.requests().into_iter().map(|request| request.head).collect();
    assert!(heads[0].contains("authorization: Basic first\r\nx-scope-orgid: shop\r\n"), "{}", heads[0]);
    assert!(heads.last().unwrap().contains("authorization: Basic second\r\n"), "{heads:?}");
}

#[tokio::test]
async fn each_line_of_the_log_is_one_json_object_and_tells_a_change_of_state() {
    let upstream = Upstream::start().await;
    let mut process = tokio::process::Command::new(env!("CARGO_BIN_EXE_ssecar"))
        .args([&*upstream.flag(), "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--drain=1s"])
        .args(["--log-format=json", "--backoff-initial=10ms", "--backoff-max=10ms"])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut log = Log::of(process.stderr.take().unwrap());
    let listening = log.until("listening").await;
    let address = listening["address"].as_str().unwrap().parse().unwrap();
    let _client = Client::get(address, "/events?token=hunter2", &[("Accept", "text/event-stream")]).await;
    let mut stream = upstream.stream().await;
    assert_eq!(log.until("session created").await["session"], "/events?token=***");
    log.until("subscription live").await;
    stream.send("data: x\n\n").await;
    stream.reset();
    log.until("the upstream broke off").await;
    assert_eq!(log.until("subscription retry scheduled").await["level"], "WARN");
    for _ in 0..5 {
        upstream.accept().await.answer(503, "", "").await;
    }
    log.until("breaker opened: the upstream is down").await;
    let _stream = upstream.stream().await;
    log.until("breaker closed: the upstream answers again").await;
    let pid = process.id().unwrap().to_string();
    soon("the signal", tokio::process::Command::new("kill").args(["-TERM", &pid]).status()).await.unwrap();
    log.until("stopping: draining").await;
    assert_eq!(log.until("session ended").await["reason"], "draining");
    log.until("stopped").await;
    assert!(soon("the exit", process.wait()).await.unwrap().success());
}

/// The lines of a program's log, each of them JSON.
struct Log {
    lines: tokio::io::Lines<tokio::io::BufReader<tokio::process::ChildStderr>>,
}

impl Log {
    fn of(stderr: tokio::process::ChildStderr) -> Self {
        use tokio::io::AsyncBufReadExt as _;
        Self { lines: tokio::io::BufReader::new(stderr).lines() }
    }

    /// Reads on to the line that says this.
    async fn until(&mut self, message: &str) -> Value {
        soon(message, async {
            loop {
                let line = self.lines.next_line().await.unwrap().unwrap_or_else(|| panic!("no {message}"));
                let json: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON: {line}"));
                assert!(!line.contains("hunter2"), "{line}");
                for field in ["timestamp", "level", "message", "target"] {
                    assert!(json[field].is_string(), "{field} in {line}");
                }
                if json["message"] == message {
                    return json;
                }
            }
        })
        .await
    }
}
