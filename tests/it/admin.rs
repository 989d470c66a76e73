//! The admin listener: who may ask, what the API tells, and that it tells no secret (spec 9.3, 10.1).

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::support::schema::assert_conforms;
use crate::support::{Client, Proxy, Response, Upstream, soon};

const PATH: &str = "/v1/sessions/1/events";
const TOKEN: &str = "correct-horse-battery";

pub(crate) async fn ask(admin: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut all = vec![];
    if !headers.iter().any(|(name, _)| *name == "Host") {
        all.push(("Host", "localhost"));
    }
    all.extend(headers);
    let mut client = Client::connect(admin).await;
    client.request(method, path, &all, b"").await;
    client.response().await
}

pub(crate) async fn get(proxy: &Proxy, path: &str) -> Value {
    let response = ask(proxy.admin, "GET", path, &[]).await;
    assert_eq!(response.status, 200, "{path}: {}", String::from_utf8_lossy(&response.body));
    assert_eq!(response.header("cache-control"), Some("no-store"), "{path}");
    serde_json::from_slice(&response.body).unwrap()
}

/// The id of the one session there is.
pub(crate) async fn only_session(proxy: &Proxy) -> String {
    get(proxy, "/api/sessions").await["sessions"][0]["id"].as_str().unwrap().to_owned()
}

fn token_file(name: &str, text: &str) -> String {
    let file = format!("{}/{name}-{}", env!("CARGO_TARGET_TMPDIR"), std::process::id());
    std::fs::write(&file, text).unwrap();
    format!("--admin-token-file={file}")
}

#[tokio::test]
async fn every_answer_is_as_the_description_says() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &["--late-join=ring"]).await;
    let mut client = proxy.ask(PATH, &[]).await;
    let mut stream = upstream.stream().await;
    stream.send("id: 1\ndata: a\n\n").await;
    assert_eq!(client.data().await, "a");
    // A second session, whose upstream failed once.
    let mut other = proxy.ask("/v1/sessions/2/events", &[]).await;
    upstream.accept().await.answer(503, "", "later").await;
    let _second = upstream.stream().await;
    assert_eq!(other.status().await, 200);

    let document = get(&proxy, "/api/openapi.json").await;
    let session = only_session(&proxy).await;
    let mut asked = 0;
    for (pattern, methods) in document["paths"].as_object().unwrap() {
        let schema = &methods["get"]["responses"]["200"]["content"]["application/json"]["schema"];
        if schema.is_object() {
            let path = pattern.replace("{session}", &session);
            assert_conforms(&document, schema, &get(&proxy, &path).await, &path);
            asked += 1;
        }
    }
    assert_eq!(asked, 6, "all that answer JSON");

    let failed = get(&proxy, "/api/sessions?sort=failures").await;
    assert_eq!(failed["sessions"][0]["attempts"], 2);
    assert_eq!(failed["sessions"][0]["last_error"]["text"], "The upstream answered 503.");
    let problem = &document["components"]["schemas"]["Problem"];
    for (method, path, status) in [
        ("GET", "/nowhere", 404),
        ("GET", "/api/sessions/0000000000000000", 404),
        ("GET", "/api/sessions?sort=beauty", 400),
        ("GET", "/api/sessions?state=away", 400),
        ("GET", "/api/sessions?limit=501", 400),
        ("GET", &format!("/api/sessions/{session}/clients?offset=4294967296"), 400),
        ("POST", "/api/overview", 405),
        ("POST", &format!("/api/sessions/{session}/clients/999/close"), 404),
    ] {
        let response = ask(proxy.admin, method, path, &[]).await;
        assert_eq!(response.status, status, "{method} {path}");
        assert_eq!(response.header("content-type"), Some("application/problem+json"));
        assert_conforms(&document, problem, &serde_json::from_slice(&response.body).unwrap(), path);
    }
}

#[tokio::test]
async fn the_stream_tells_everything_first_and_what_is_new_each_second() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &[]).await;
    let document = get(&proxy, "/api/openapi.json").await;
    let schema = &document["components"]["schemas"]["Overview"];
    let mut watcher = Client::get(proxy.admin, "/api/stream", &[("Host", "localhost")]).await;
    for round in 0..3 {
        let event = watcher.next().await.unwrap();
        assert_eq!(event.kind, "overview");
        let overview: Value = serde_json::from_str(&event.data).unwrap();
        assert_conforms(&document, schema, &overview, "overview");
        assert_eq!(overview.get("samples").is_some(), round == 0);
    }
}

#[tokio::test]
async fn sessions_are_sorted_filtered_and_cut_into_pages() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &[]).await;
    let mut clients = Vec::new();
    let mut streams = Vec::new();
    for number in 1..=3 {
        let path = format!("/v1/sessions/{number}/events");
        clients.push(proxy.ask(&path, &[]).await);
        streams.push(upstream.stream().await);
        for _ in 1..number {
            clients.push(proxy.subscribe(&path, &[]).await);
        }
    }
    let names = |answer: &Value| -> Vec<String> {
        let sessions = answer["sessions"].as_array().unwrap().iter();
        sessions.map(|session| session["name"].as_str().unwrap().to_owned()).collect()
    };
    let by_clients = get(&proxy, "/api/sessions").await;
    let of = |number: u32| format!("/v1/sessions/{number}/events");
    assert_eq!(names(&by_clients), [of(3), of(2), of(1)]);
    let page = get(&proxy, "/api/sessions?sort=name&order=asc&offset=1&limit=1").await;
    assert_eq!((names(&page), page["total"].as_u64()), (vec![of(2)], Some(3)));
    let found = get(&proxy, "/api/sessions?filter=S%2F3").await;
    assert_eq!((names(&found), found["matched"].as_u64()), (vec![of(3)], Some(1)));
    assert_eq!(get(&proxy, "/api/sessions?state=waiting").await["matched"], 0);
}

#[tokio::test]
async fn the_samples_tell_how_late_events_came_and_what_went_wrong() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &["--max-event-size=64B", "--max-clients=1"]).await;
    let mut client = proxy.ask(PATH, &[]).await;
    let mut stream = upstream.stream().await;
    assert_eq!(proxy.ask(PATH, &[]).await.status().await, 503);
    stream.send(format!("id: 1\ndata: {}\n\nid: 2\ndata: b\n\n", "x".repeat(100))).await;
    assert_eq!(client.take(2).await, ["gap:event-too-large", "b"]);
    let mut watcher = Client::get(proxy.admin, "/api/stream", &[("Host", "localhost")]).await;
    let now = loop {
        let overview: Value = serde_json::from_str(&watcher.next().await.unwrap().data).unwrap();
        if overview["now"]["lag_p99_seconds"].is_f64() {
            break overview["now"].clone();
        }
    };
    assert_eq!((&now["gaps"], &now["refused"]), (&1.into(), &1.into()), "{now}");
    let lag = |name: &str| now[name].as_f64().unwrap();
    assert!(lag("lag_p50_seconds") <= lag("lag_p99_seconds"), "{now}");
    assert!(lag("lag_p99_seconds") < 10.0, "{now}");
}

#[tokio::test]
async fn a_tail_shows_the_ring_and_what_comes_and_the_end() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &[]).await;
    let mut client = proxy.ask(PATH, &[]).await;
    let mut stream = upstream.stream().await;
    stream.send("id: 1\nevent: tick\ndata: a\n\n").await;
    assert_eq!(client.data().await, "a");
    let document = get(&proxy, "/api/openapi.json").await;
    let schema = &document["components"]["schemas"]["TailEvent"];
    let session = only_session(&proxy).await;
    let path = format!("/api/sessions/{session}/tail");
    let mut tail = Client::get(proxy.admin, &path, &[("Host", "localhost")]).await;
    let first: Value = serde_json::from_str(&tail.next().await.unwrap().data).unwrap();
    assert_conforms(&document, schema, &first, "tail");
    assert_eq!((&first["type"], &first["data"]), (&"tick".into(), &"a".into()));
    stream.send("data: b\n\n").await;
    let second: Value = serde_json::from_str(&tail.next().await.unwrap().data).unwrap();
    assert_eq!(second["data"], "b");
    assert_eq!(get(&proxy, "/api/overview").await["clients"], 1, "a tail is no client");
    ask(proxy.admin, "DELETE", &format!("/api/sessions/{session}"), &[]).await;
    assert_eq!(tail.next().await.unwrap().kind, "end");
    assert_eq!(tail.next().await, None);
}

#[tokio::test]
async fn however_many_watch_a_probe_finds_room() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &[]).await;
    let mut watchers = Vec::new();
    let refused = loop {
        let mut watcher = Client::get(proxy.admin, "/api/stream", &[("Host", "localhost")]).await;
        match watcher.status().await {
            200 => watchers.push(watcher),
            refused => break refused,
        }
        assert!(watchers.len() < 64, "there is an end to it");
    };
    assert_eq!(refused, 503);
    assert_eq!(ask(proxy.admin, "GET", "/livez", &[]).await.status, 200);
    let event = watchers[0].next().await.unwrap();
    assert_eq!(event.kind, "overview", "and they are told");
    watchers.pop();
    soon("room for another", async {
        while Client::get(proxy.admin, "/api/stream", &[("Host", "localhost")]).await.status().await != 200 {}
    })
    .await;
}

#[tokio::test]
async fn readiness_is_ssecars_own_and_not_the_upstreams() {
    let upstream = Upstream::start().await;
    let flag = upstream.flag();
    upstream.stop();
    let mut proxy = Proxy::with(&flag, &["--drain=30s"]).await;
    let _client = proxy.ask(PATH, &[]).await;
    proxy.until("the upstream's absence to show", |state| state["breaker"] == "open").await;
    assert_eq!(ask(proxy.admin, "GET", "/readyz", &[]).await.status, 200);
    let changes = get(&proxy, "/api/overview").await["breaker_changes"].clone();
    assert_eq!((&changes[0]["state"], &changes[1]["state"]), (&"closed".into(), &"open".into()));
    proxy.drain();
    soon("not ready", async { while ask(proxy.admin, "GET", "/readyz", &[]).await.status != 503 {} }).await;
    assert_eq!(ask(proxy.admin, "GET", "/livez", &[]).await.status, 200);
    proxy.stop();
    proxy.ended().await;
}

#[tokio::test]
async fn with_a_token_only_its_bearers_are_told_anything_but_health() {
    let upstream = Upstream::start().await;
    let flag = token_file("token", &format!("{TOKEN}\n"));
    let proxy = Proxy::start(&upstream, &[&flag]).await;
    let bearer = format!("Bearer {TOKEN}");
    let document = ask(proxy.admin, "GET", "/api/openapi.json", &[("Authorization", &bearer)]).await;
    let document: Value = serde_json::from_slice(&document.body).unwrap();
    for (pattern, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap().iter().filter(|(key, _)| *key != "parameters")
        {
            let path = pattern.replace("{session}", "0").replace("{client}", "0");
            let method = method.to_uppercase();
            let is_open = operation["security"].is_array();
            let stranger = ask(proxy.admin, &method, &path, &[]).await;
            assert_eq!(stranger.status == 401, !is_open, "{method} {path}: {}", stranger.status);
            let wrong =
                ask(proxy.admin, &method, &path, &[("Authorization", "Bearer correct-horse-batterx")]).await;
            assert_eq!(wrong.status == 401, !is_open, "{method} {path}: {}", wrong.status);
        }
    }
    let stranger = ask(proxy.admin, "GET", "/nowhere", &[]).await;
    assert_eq!(stranger.status, 401, "a stranger isn't told what there is");
    assert_eq!(stranger.header("www-authenticate"), Some("Bearer realm=\"ssecar\""));
    for open in ["/", "/livez", "/readyz"] {
        assert_eq!(ask(proxy.admin, "GET", open, &[]).await.status, 200, "{open}");
    }
    assert_eq!(ask(proxy.admin, "GET", "/metrics", &[("Authorization", &bearer)]).await.status, 200);
}

#[tokio::test]
async fn a_page_of_another_site_reads_and_does_nothing() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &[]).await;
    let _client = proxy.ask(PATH, &[]).await;
    let _stream = upstream.stream().await;
    let path = format!("/api/sessions/{}", only_session(&proxy).await);
    for foreign in [
        ("Host", "rebound.example"),
        ("Origin", "http://evil.example"),
        ("Origin", "null"),
        ("Sec-Fetch-Site", "cross-site"),
    ] {
        assert_eq!(ask(proxy.admin, "DELETE", &path, &[foreign]).await.status, 403, "{foreign:?}");
        assert_eq!(ask(proxy.admin, "GET", "/api/state", &[foreign]).await.status, 403, "{foreign:?}");
    }
    assert_eq!(get(&proxy, "/api/overview").await["session_count"], 1);
}

#[tokio::test]
async fn the_page_is_whole_and_may_fetch_nothing_from_elsewhere() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &[]).await;
    let page = ask(proxy.admin, "GET", "/", &[]).await;
    let policy = page.header("content-security-policy").unwrap();
    for rule in ["default-src 'none'", "connect-src 'self'", "frame-ancestors 'none'", "form-action 'none'"] {
        assert!(policy.contains(rule), "{policy}");
    }
    let html = String::from_utf8(page.body).unwrap();
    for foreign in ["src=\"http", "href=\"http", "url(", "@import", "import("] {
        assert!(!html.contains(foreign), "{foreign}");
    }
}

#[tokio::test]
async fn no_secret_shows_in_the_api_the_metrics_or_the_page() {
    let secrets = ["s3cret-header", "s3cret-cookie", "s3cret-tenant", "s3cret-query", "s3cret-named"];
    let upstream = Upstream::start().await;
    let flag = token_file("hidden", "s3cret-admin-token");
    let flags = ["--credential-header=x-tenant", "--credential-query=who", &flag];
    let proxy = Proxy::start(&upstream, &flags).await;
    let headers = [
        ("Authorization", "Bearer s3cret-header"),
        ("Cookie", "id=s3cret-cookie"),
        ("X-Tenant", "s3cret-tenant"),
    ];
    let mut client =
        proxy.ask(&format!("{PATH}?token=s3cret-query&who=s3cret-named&a=shown"), &headers).await;
    let exchange = upstream.accept().await;
    for secret in secrets {
        assert!(exchange.head.contains(secret), "{secret} gets to the upstream: {}", exchange.head);
    }
    drop(exchange);
    let mut stream = upstream.stream().await;
    stream.send("data: a\n\n").await;
    assert_eq!(client.data().await, "a");
    let asked = [("Authorization", "Bearer s3cret-admin-token")];
    let list = ask(proxy.admin, "GET", "/api/sessions", &asked).await;
    let list: Value = serde_json::from_slice(&list.body).unwrap();
    let session = list["sessions"][0]["id"].as_str().unwrap();
    assert!(list["sessions"][0]["name"].as_str().unwrap().contains("a=shown"), "{list}");
    assert!(list["sessions"][0]["last_error"].is_object(), "the first attempt broke off: {list}");
    for path in [
        "/",
        "/metrics",
        "/api/state",
        "/api/overview",
        "/api/sessions",
        &format!("/api/sessions/{session}"),
        &format!("/api/sessions/{session}/clients"),
    ] {
        let answer = ask(proxy.admin, "GET", path, &asked).await;
        assert_eq!(answer.status, 200, "{path}");
        let text = answer.head + &String::from_utf8(answer.body).unwrap();
        assert!(!text.contains("s3cret"), "{path}: {text}");
    }
}

#[tokio::test]
async fn no_secret_shows_in_the_log() {
    let upstream = Upstream::start().await;
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_ssecar"))
        .args([&upstream.flag(), "--listen=127.0.0.1:0", "--admin-listen=off", "--credential-query=who"])
        .args(["--log-filter=ssecar=trace", "--log-format=json", "--max-sessions=1"])
        .stdin(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let first = soon("the first line", lines.next_line()).await.unwrap().unwrap();
    let first: Value = serde_json::from_str(&first).unwrap();
    let address = first["address"].as_str().unwrap().parse().unwrap();
    let headers = [
        ("Accept", "text/event-stream"),
        ("Authorization", "Bearer s3cret-header"),
        ("Cookie", "id=s3cret-cookie"),
    ];
    let path = format!("{PATH}?token=s3cret-query&who=s3cret-named");
    let mut client = Client::get(address, &path, &headers).await;
    drop(upstream.accept().await);
    let mut stream = upstream.stream().await;
    stream.send("data: a\n\n").await;
    assert_eq!(client.data().await, "a");
    // One that is refused, one that is forwarded, one whose forwarding fails.
    let other = format!("/other{}", path.strip_prefix("/v1").unwrap());
    assert_eq!(Client::get(address, &other, &headers).await.status().await, 503);
    let mut plain = Client::get(address, &path.replace("events", "page"), &headers[1..]).await;
    upstream.accept().await.answer(404, "", "no").await;
    assert_eq!(plain.status().await, 404);
    drop(upstream);
    plain.response().await;
    plain.request("POST", &other, &headers[1..], b"s3cret-body").await;
    assert_eq!(plain.status().await, 502);
    child.start_kill().unwrap();
    let mut log = Vec::new();
    while let Some(line) = soon("the log's end", lines.next_line()).await.unwrap() {
        log.push(line);
    }
    let log = log.join("\n");
    assert!(log.contains("subscription live") && log.contains("forwarding failed"), "{log}");
    assert!(log.contains("token=***"), "the session is named: {log}");
    assert!(!log.contains("s3cret"), "{log}");
}
