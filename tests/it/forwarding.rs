//! Everything that is no session passes through untouched (spec 3).

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Client, Proxy, Upstream, soon};

#[tokio::test]
async fn a_request_and_its_answer_pass_as_they_are() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &[]).await;
    let mut client = Client::connect(proxy.address).await;
    let headers = [("X-App", "1"), ("Connection", "x-hop"), ("X-Hop", "2"), ("X-Forwarded-For", "6.6.6.6")];
    client.request("POST", "/a/../b%2Fc?x=%20", &headers, b"hello").await;
    let mut exchange = upstream.accept().await;
    assert_eq!(exchange.target(), "/a/../b%2Fc?x=%20");
    assert_eq!(exchange.header("host"), Some("app.example"));
    assert_eq!(exchange.header("x-app"), Some("1"));
    assert_eq!(exchange.header("x-hop"), None);
    assert_eq!(exchange.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(exchange.header("x-forwarded-proto"), Some("http"));
    assert_eq!(exchange.header("x-forwarded-host"), Some("app.example"));
    assert_eq!(exchange.header("via"), Some("1.1 ssecar"));
    let mut body = [0; 5];
    exchange.stream.read_exact(&mut body).await.unwrap();
    assert_eq!(&body, b"hello");
    exchange.answer(201, "X-Answer: yes\r\nKeep-Alive: timeout=1\r\n", "made").await;
    let response = client.response().await;
    assert_eq!((response.status, response.body.as_slice()), (201, &b"made"[..]));
    assert_eq!((response.header("x-answer"), response.header("keep-alive")), (Some("yes"), None));
}

#[tokio::test]
async fn connections_are_kept_on_both_sides() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &[]).await;
    let mut client = Client::connect(proxy.address).await;
    client.request("GET", "/1", &[], b"").await;
    let mut exchange = upstream.accept().await;
    exchange.answer(200, "", "one").await;
    assert_eq!(client.response().await.body, b"one");
    client.request("GET", "/2", &[], b"").await;
    exchange.again().await;
    assert_eq!(exchange.target(), "/2");
    exchange.answer(200, "", "two").await;
    assert_eq!(client.response().await.body, b"two");
}

#[tokio::test]
async fn head_options_range_and_unknown_methods_pass() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &[]).await;
    let mut client = Client::connect(proxy.address).await;
    client.request("HEAD", "/file", &[("Accept", "text/event-stream")], b"").await;
    let mut exchange = upstream.accept().await;
    exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n").await;
    assert_eq!(client.header("content-length").await.as_deref(), Some("12345"));
    for (method, target) in [("OPTIONS", "*"), ("PURGE", "/x")] {
        client.request(method, target, &[], b"").await;
        exchange.again().await;
        assert!(exchange.head.starts_with(&format!("{method} {target} ")), "{}", exchange.head);
        exchange.answer(200, "", "ok").await;
        assert_eq!(client.response().await.body, b"ok");
    }
    client.request("GET", "/file", &[("Range", "bytes=0-1"), ("Accept", "text/event-stream")], b"").await;
    exchange.again().await;
    assert_eq!(exchange.header("range"), Some("bytes=0-1"));
    exchange.answer(206, "Content-Range: bytes 0-1/9\r\n", "ab").await;
    assert_eq!(client.response().await.header("content-range"), Some("bytes 0-1/9"));
    client.request("CONNECT", "elsewhere:443", &[], b"").await;
    assert_eq!(client.status().await, 405);
}

#[tokio::test]
async fn the_target_never_chooses_where_to_connect() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &[]).await;
    for target in ["http://169.254.169.254/latest", "//elsewhere/latest"] {
        let mut client = Client::connect(proxy.address).await;
        client.request("GET", target, &[("Host", "169.254.169.254")], b"").await;
        let mut exchange = upstream.accept().await;
        assert!(exchange.target().ends_with("/latest"));
        exchange.answer(200, "", "").await;
        assert_eq!(client.response().await.status, 200);
    }
}

#[tokio::test]
async fn connection_may_not_strip_who_the_client_is() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &[]).await;
    let mut client = Client::get(proxy.address, "/", &[("Connection", "authorization")]).await;
    assert_eq!(client.response().await.status, 400);
}

#[tokio::test]
async fn trailers_pass_in_both_directions() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &[]).await;
    let mut client = Client::connect(proxy.address).await;
    client
        .send(b"POST /x HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTrailer: x-sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-sum: 7\r\n\r\n")
        .await;
    let mut exchange = upstream.accept().await;
    let mut text = Vec::new();
    soon("the trailer", async {
        while !text.ends_with(b"x-sum: 7\r\n\r\n") {
            let mut byte = [0];
            exchange.stream.read_exact(&mut byte).await.unwrap();
            text.push(byte[0]);
        }
    })
    .await;
    let answer = "HTTP/1.1 200 OK\r\nTrailer: x-end\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx-end: 8\r\n\r\n";
    exchange.send(answer).await;
    let mut text = Vec::new();
    soon("the trailer", async {
        while !text.windows(8).any(|window| window == b"x-end: 8") {
            let mut byte = [0];
            client.stream.read_exact(&mut byte).await.unwrap();
            text.push(byte[0]);
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_the_upstream_request() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &[]).await;
    let client = Client::get(proxy.address, "/slow", &[]).await;
    let mut waiting = upstream.accept().await;
    drop(client);
    waiting.closed().await;

    let mut client = Client::get(proxy.address, "/long", &[]).await;
    let mut sending = upstream.accept().await;
    sending.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nabc").await;
    client.head().await;
    drop(client);
    sending.closed().await;
}

#[tokio::test]
async fn a_reader_that_stops_stalls_the_upstream() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &[]).await;
    let mut client = Client::get(proxy.address, "/big", &[]).await;
    let mut exchange = upstream.accept().await;
    let size = 64 << 20;
    exchange.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n")).await;
    client.head().await;
    let piece = vec![b'x'; 1 << 20];
    let mut sent = 0;
    // The pipe is full when a write does not end: kernel buffers of two connections, no more.
    while let Ok(written) =
        tokio::time::timeout(std::time::Duration::from_millis(300), exchange.stream.write(&piece)).await
    {
        sent += written.unwrap();
        assert!(sent < size, "all of it was taken although nobody reads");
    }
    let rest = tokio::spawn(async move {
        while sent < size {
            let part = piece.len().min(size - sent);
            sent += exchange.stream.write(&piece[..part]).await.unwrap();
        }
    });
    assert_eq!(client.response().await.body.len(), size);
    rest.await.unwrap();
}

#[tokio::test]
async fn a_posted_stream_passes_event_by_event_with_heartbeats() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &["--heartbeat=40ms"]).await;
    let mut client = Client::connect(proxy.address).await;
    client.request("POST", "/chat", &[("Accept", "text/event-stream")], b"{}").await;
    let mut exchange = upstream.stream().await;
    assert_eq!(client.extra().await, ":");
    exchange.send("id: 1\ndata: token\n\n").await;
    let event = client.next().await.unwrap();
    assert_eq!((event.id.as_str(), event.data.as_str()), ("1", "token"), "not numbered anew");
    drop(exchange);
    while client.next().await.is_some() {}
}

#[tokio::test]
async fn an_upgrade_becomes_a_tunnel_only_after_both_agreed() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &[]).await;
    let asks = [("Connection", "Upgrade"), ("Upgrade", "echo")];
    let mut client = Client::get(proxy.address, "/ws", &asks).await;
    client.send(b"early").await;
    let mut exchange = upstream.accept().await;
    assert_eq!(exchange.header("upgrade"), Some("echo"));
    exchange.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\nX-Accept: 1\r\n\r\nhi").await;
    assert_eq!(client.status().await, 101);
    assert_eq!(client.header("x-accept").await.as_deref(), Some("1"));
    let mut early = [0; 5];
    soon("early bytes", exchange.stream.read_exact(&mut early)).await.unwrap();
    assert_eq!(&early, b"early");
    exchange.stream.shutdown().await.unwrap();
    client.closed().await;

    let mut refused = Client::get(proxy.address, "/ws", &asks).await;
    upstream.accept().await.answer(400, "", "no").await;
    assert_eq!(refused.response().await.body, b"no");
}

#[tokio::test]
async fn a_switch_that_nobody_asked_for_never_reaches_a_client() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &["--hold-head=20ms"]).await;
    let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
    let mut client = Client::get(proxy.address, "/plain", &[]).await;
    let mut exchange = upstream.accept().await;
    exchange.send(switch).await;
    let response = client.response().await;
    assert_eq!(response.status, 502);
    assert!(response.header("proxy-status").unwrap().contains("http_protocol_error"), "{}", response.head);
    exchange.closed().await;

    // To a subscription it is a failed attempt, and there will be another.
    let mut client = proxy.ask("/events", &[]).await;
    let mut exchange = upstream.accept().await;
    exchange.send(switch).await;
    exchange.closed().await;
    upstream.stream().await.send("data: 1\n\n").await;
    assert_eq!(client.status().await, 200);
    assert_eq!(client.data().await, "1");
}

#[tokio::test]
async fn a_kept_connection_that_died_under_a_get_is_made_good_and_no_client_notices() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &[]).await;
    for (method, made_good) in [("GET", true), ("POST", false)] {
        let mut client = Client::connect(proxy.address).await;
        client.request("GET", "/1", &[], b"").await;
        let mut exchange = upstream.accept().await;
        exchange.answer(200, "", "one").await;
        assert_eq!(client.response().await.body, b"one");
        client.request(method, "/2", &[], b"").await;
        exchange.again().await;
        drop(exchange);
        if made_good {
            upstream.accept().await.answer(200, "", "two").await;
            assert_eq!(client.response().await.body, b"two");
        } else {
            // It may have been done already.
            assert_eq!(client.response().await.status, 502);
        }
    }
    assert_eq!(proxy.state().await["breaker"], "closed");
}

#[tokio::test]
async fn a_unix_socket_and_a_base_path_serve_as_upstream() {
    let folder = std::env::temp_dir().join(format!("ssecar-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("app.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let proxy = Proxy::with(&format!("--upstream=unix:{}", path.display()), &[]).await;
    let mut client = Client::get(proxy.address, "/x", &[]).await;
    let (mut stream, _) = soon("a connection", listener.accept()).await.unwrap();
    let mut head = vec![0; 4096];
    let read = stream.read(&mut head).await.unwrap();
    assert!(head[..read].starts_with(b"GET /x HTTP/1.1\r\n"));
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
    assert_eq!(client.response().await.body, b"ok");
    std::fs::remove_dir_all(&folder).unwrap();

    let upstream = Upstream::start().await;
    let proxy =
        Proxy::with(&format!("{}/base/", upstream.flag()), &["--upstream-host-header=upstream"]).await;
    let _client = Client::get(proxy.address, "/x?y", &[]).await;
    let exchange = upstream.accept().await;
    assert_eq!(exchange.target(), "/base/x?y");
    assert!(exchange.header("host").unwrap().starts_with("127.0.0.1:"));
}

#[tokio::test]
async fn tls_to_the_upstream_is_checked_by_name_and_authority() {
    use std::sync::Arc;
    use tokio_rustls::rustls::ServerConfig;
    use tokio_rustls::rustls::pki_types::PrivateKeyDer;

    let folder = std::env::temp_dir().join(format!("ssecar-tls-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let own = |name: &str| rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    for (name, trusts, expected) in
        [("localhost", true, 200), ("elsewhere", true, 502), ("localhost", false, 502)]
    {
        let served = own(name);
        let trusted = if trusts { served.cert.pem() } else { own(name).cert.pem() };
        let ca = folder.join("ca.pem");
        std::fs::write(&ca, trusted).unwrap();
        let key = PrivateKeyDer::try_from(served.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![served.cert.der().clone()], key)
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let mut head = vec![0; 4096];
            if stream.read(&mut head).await.is_ok_and(|read| read > 0) {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
            }
        });
        let upstream = format!("--upstream=https://localhost:{port}");
        let ca_flag = format!("--upstream-ca={}", ca.display());
        let proxy = Proxy::with(&upstream, &[&ca_flag]).await;
        let response = Client::get(proxy.address, "/", &[]).await.response().await;
        assert_eq!(response.status, expected, "{name} {trusts} {}", String::from_utf8_lossy(&response.body));
        if expected == 502 {
            assert!(response.header("proxy-status").unwrap().contains("tls_certificate_error"));
        }
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
