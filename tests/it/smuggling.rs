//! Requests that two parsers could read in two ways (spec 9.2): each is refused and the connection closed, or exactly one
//! well-formed request arrives. The upstream records every byte.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Proxy, soon};

/// What the upstream must never be asked for.
const SMUGGLED: &str = "/smuggled";

/// Heads and bodies.
type Requests = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// Answers every request, and keeps their heads and bodies as they came.
struct Recorder {
    address: std::net::SocketAddr,
    requests: Requests,
    connections: Arc<AtomicUsize>,
}

impl Recorder {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::<Mutex<Vec<_>>>::default();
        let connections = Arc::<AtomicUsize>::default();
        let (seen, count) = (Arc::clone(&requests), Arc::clone(&connections));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(record(stream, Arc::clone(&seen)));
            }
        });
        Self { address, requests, connections }
    }

    fn take(&self) -> Vec<(String, Vec<u8>)> {
        std::mem::take(&mut self.requests.lock())
    }
}

/// Reads requests as strictly as can be: by the lengths that the proxy writes.
async fn record(mut stream: TcpStream, seen: Requests) {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => {
                    assert!(head.is_empty(), "half a head: {}", String::from_utf8_lossy(&head));
                    return;
                }
            }
        }
        let head = String::from_utf8(head).unwrap();
        let field = |name: &str| {
            let values: Vec<_> = head
                .lines()
                .filter_map(|line| line.split_once(':'))
                .filter(|(known, _)| known.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.trim().to_owned())
                .collect();
            assert!(values.len() < 2, "{name} twice: {head}");
            values.into_iter().next()
        };
        let (length, coding) = (field("content-length"), field("transfer-encoding"));
        assert!(length.is_none() || coding.is_none(), "two lengths: {head}");
        assert_eq!(head.lines().filter(|line| line.to_lowercase().starts_with("host:")).count(), 1, "{head}");
        let mut body = Vec::new();
        if let Some(length) = length {
            body.resize(length.parse().unwrap(), 0);
            if stream.read_exact(&mut body).await.is_err() {
                return;
            }
        } else if let Some(coding) = coding {
            assert_eq!(coding, "chunked");
            loop {
                let mut line = Vec::new();
                while !line.ends_with(b"\r\n") {
                    let Ok(byte) = stream.read_u8().await else { return };
                    line.push(byte);
                }
                let size = usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim_end(), 16);
                let size = size.unwrap_or_else(|_| panic!("chunk extensions were passed on: {line:?}"));
                let mut chunk = vec![0; size + 2];
                if stream.read_exact(&mut chunk).await.is_err() {
                    return;
                }
                assert!(chunk.ends_with(b"\r\n"));
                body.extend_from_slice(&chunk[..size]);
                if size == 0 {
                    break;
                }
            }
        }
        seen.lock().push((head, body));
        if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.is_err() {
            return;
        }
    }
}

/// Sends these bytes, ends sending, and reads to the end: the statuses of all answers.
async fn statuses(proxy: &Proxy, bytes: &[u8]) -> Vec<u16> {
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    // The proxy may have closed before all was sent.
    let _ = stream.write_all(bytes).await;
    let mut text = Vec::new();
    soon("the end of the connection", async {
        // A reset ends it as well.
        let _ = stream.read_to_end(&mut text).await;
    })
    .await;
    let text = String::from_utf8_lossy(&text);
    text.split("HTTP/1.1 ").skip(1).map(|answer| answer[..3].parse().unwrap()).collect()
}

/// Behind each doubtful head: what a laxer parser would take for the next request.
fn attacks() -> Vec<(&'static str, String)> {
    let next = format!("GET {SMUGGLED} HTTP/1.1\r\nHost: h\r\n\r\n");
    let with = |fields: &str, body: &str| format!("POST /a HTTP/1.1\r\nHost: h\r\n{fields}\r\n{body}{next}");
    let chunked = "Transfer-Encoding: chunked\r\n";
    vec![
        ("CL.TE", with(&format!("Content-Length: 5\r\n{chunked}"), "0\r\n\r\n")),
        ("TE.CL", with(&format!("{chunked}Content-Length: 4\r\n"), "5c\r\n")),
        ("CL.0", with("Content-Length: 0\r\nContent-Length: 50\r\n", "")),
        ("CL.CL equal", with("Content-Length: 2\r\nContent-Length: 2\r\n", "ab")),
        ("CL list", with("Content-Length: 2, 2\r\n", "ab")),
        ("CL sign", with("Content-Length: +2\r\n", "ab")),
        ("CL hex", with("Content-Length: 0x2\r\n", "ab")),
        ("CL space inside", with("Content-Length: 1 2\r\n", "ab")),
        ("CL tab before the colon", with("Content-Length\t: 2\r\n", "ab")),
        ("CL huge", with("Content-Length: 99999999999999999999\r\n", "ab")),
        ("TE.TE", with(&format!("{chunked}Transfer-Encoding: x\r\n"), "0\r\n\r\n")),
        ("TE xchunked", with("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n")),
        ("TE identity", with("Transfer-Encoding: identity\r\n", "")),
        ("TE chunked twice", with("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n")),
        ("TE not last", with("Transfer-Encoding: chunked, gzip\r\n", "0\r\n\r\n")),
        ("TE vertical tab", with("Transfer-Encoding: \x0bchunked\r\n", "0\r\n\r\n")),
        ("TE quoted", with("Transfer-Encoding: \"chunked\"\r\n", "0\r\n\r\n")),
        ("TE space before the colon", with("Transfer-Encoding : chunked\r\n", "0\r\n\r\n")),
        ("TE folded", with("Transfer-Encoding:\r\n chunked\r\n", "0\r\n\r\n")),
        ("TE behind a bare CR", with("X: y\rTransfer-Encoding: chunked\r\n", "0\r\n\r\n")),
        ("TE behind a bare LF", with("X: y\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n")),
        ("TE in a NUL", with("X: y\0\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n")),
        ("TE in HTTP/1.0", format!("POST /a HTTP/1.0\r\nHost: h\r\n{chunked}\r\n0\r\n\r\n{next}")),
        ("bare LF everywhere", format!("GET /a HTTP/1.1\nHost: h\n\n{next}")),
        ("a field folded", with("X: a\r\n b: c\r\n", "")),
        ("no colon", with("X\r\n", "")),
        ("no name", with(": x\r\n", "")),
        ("two hosts", format!("GET /a HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n{next}")),
        ("no host", format!("GET /a HTTP/1.1\r\n\r\n{next}")),
        ("host list folded", format!("GET /a HTTP/1.1\r\nHost: a\r\n\tb\r\n\r\n{next}")),
        ("absolute form of another host", "GET http://evil/a HTTP/1.1\r\nHost: h\r\n\r\n".to_owned()),
        ("fragment", format!("GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n{next}")),
        ("two spaces", format!("GET  /a HTTP/1.1\r\nHost: h\r\n\r\n{next}")),
        ("space in the target", format!("GET /a b HTTP/1.1\r\nHost: h\r\n\r\n{next}")),
        ("no version", format!("GET /a\r\nHost: h\r\n\r\n{next}")),
        ("HTTP/1.2", format!("GET /a HTTP/1.2\r\nHost: h\r\n\r\n{next}")),
        ("HTTP/2.0 in a line", format!("GET /a HTTP/2.0\r\nHost: h\r\n\r\n{next}")),
    ]
}

#[tokio::test]
async fn a_doubtful_head_is_refused_and_nothing_behind_it_is_read() {
    let upstream = Recorder::start().await;
    let proxy = Proxy::with(&format!("--upstream=http://{}", upstream.address), &[]).await;
    for (name, attack) in attacks() {
        let statuses = statuses(&proxy, attack.as_bytes()).await;
        let requests = upstream.take();
        let is_refused = statuses == [400];
        assert!(is_refused && requests.is_empty(), "{name}: {statuses:?} {requests:?}");
    }
    let next = format!("GET {SMUGGLED} HTTP/1.1\r\nHost: h\r\n\r\n");
    let gzip =
        format!("POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n{next}");
    assert_eq!(statuses(&proxy, gzip.as_bytes()).await, [501], "a coding that is not spoken");
    assert_eq!(
        (upstream.take().len(), upstream.connections.load(Ordering::Relaxed)),
        (0, 0),
        "nobody was asked"
    );
    let refused = proxy.metric("ssecar_refused_total{limit=\"framing\"}").await;
    assert!(refused >= 30.0, "{refused}");
}

#[tokio::test]
async fn requests_before_a_doubtful_one_are_served() {
    let upstream = Recorder::start().await;
    let proxy = Proxy::with(&format!("--upstream=http://{}", upstream.address), &[]).await;
    let good = "POST /good HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi";
    for (name, attack) in attacks() {
        let statuses = statuses(&proxy, format!("{good}{good}{attack}").as_bytes()).await;
        assert_eq!(statuses, [200, 200, 400], "{name}");
        let requests = upstream.take();
        assert!(
            requests.iter().all(|(head, body)| head.starts_with("POST /good ") && body == b"hi"),
            "{name}"
        );
        assert_eq!(requests.len(), 2, "{name}");
    }
}

#[tokio::test]
async fn a_malformed_chunked_body_never_reaches_the_upstream_whole() {
    let upstream = Recorder::start().await;
    let proxy = Proxy::with(&format!("--upstream=http://{}", upstream.address), &[]).await;
    let next = format!("GET {SMUGGLED} HTTP/1.1\r\nHost: h\r\n\r\n");
    for body in [
        "3\r\nabc\r\n0\n\n",
        "3\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\r\nabc0\r\n\r\n",
        "3;x\ny\r\nabc\r\n0\r\n\r\n",
        "3;x\0\r\nabc\r\n0\r\n\r\n",
        "-3\r\nabc\r\n0\r\n\r\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
        "3 \r\nabc\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nabc\r\n0\r\n\r\n",
        "3\r\nabc\r\n0\r\nX: y\n\r\n",
        "3\r\nabc\r\n0\r\nX\0: y\r\n\r\n",
        "\r\n3\r\nabc\r\n0\r\n\r\n",
    ] {
        let head = "POST /chunked HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
        let statuses = statuses(&proxy, format!("{head}{body}{next}").as_bytes()).await;
        assert!(statuses.iter().all(|status| *status == 400), "{body:?}: {statuses:?}");
        let requests = upstream.take();
        assert!(requests.is_empty(), "{body:?}: {requests:?}");
    }
    // Extensions and trailers that follow the grammar are the client's business, and are not passed on as framing.
    let fine = "POST /chunked HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
                3;name=\"va;lue\"\r\nabc\r\n00\r\nTrailer: x\r\n\r\n";
    assert_eq!(statuses(&proxy, fine.as_bytes()).await, [200]);
    assert_eq!(upstream.take()[0].1, b"abc");
}

#[tokio::test]
async fn pipelined_requests_stay_apart() {
    let upstream = Recorder::start().await;
    let proxy = Proxy::with(&format!("--upstream=http://{}", upstream.address), &[]).await;
    let mut text = String::new();
    for number in 0..20 {
        let body = format!("GET {SMUGGLED} HTTP/1.1\r\nHost: h\r\n\r\n{number}");
        text += &match number % 2 {
            0 => format!("PUT /{number} HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}", body.len()),
            _ => format!(
                "PUT /{number} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
                body.len()
            ),
        };
    }
    text += "GET /last HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    assert_eq!(statuses(&proxy, text.as_bytes()).await, [200; 21]);
    let requests = upstream.take();
    for (number, (head, body)) in requests.iter().take(20).enumerate() {
        assert!(head.starts_with(&format!("PUT /{number} ")), "{head}");
        assert!(body.ends_with(number.to_string().as_bytes()));
    }
    assert_eq!(requests.len(), 21);
}

#[tokio::test]
async fn nothing_in_an_id_or_a_query_becomes_a_header() {
    let upstream = Recorder::start().await;
    let proxy = Proxy::with(&format!("--upstream=http://{}", upstream.address), &[]).await;
    for (target, fields) in [
        ("/v1/x?lastEventId=a%0d%0aX-Evil:%20b", ""),
        ("/v1/x?a=%0d%0aX-Evil:%20b", ""),
        ("/v1/x?lastEventId=%00%ff%0a", ""),
        ("/v1/x", "Last-Event-ID: a\u{85}X-Evil: b\r\n"),
        ("/v1/x", "Last-Event-ID: 00000000.1.a%0d%0aX-Evil:%20b\r\n"),
    ] {
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\nConnection: close\r\n{fields}\r\n"
        );
        assert_eq!(statuses(&proxy, request.as_bytes()).await, [200], "{target} {fields}");
        for (head, _) in upstream.take() {
            assert!(!head.to_lowercase().contains("\nx-evil"), "{head}");
        }
    }
}

#[tokio::test]
async fn neither_target_nor_host_nor_connection_choose_where_a_request_goes() {
    let upstream = Recorder::start().await;
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let evil = elsewhere.local_addr().unwrap();
    let proxy = Proxy::with(&format!("--upstream=http://{}", upstream.address), &[]).await;
    for (request, expected) in [
        (format!("GET http://{evil}/a HTTP/1.1\r\nHost: {evil}\r\nConnection: close\r\n\r\n"), vec![200]),
        (format!("GET //{evil}/a HTTP/1.1\r\nHost: {evil}\r\nConnection: close\r\n\r\n"), vec![200]),
        (format!("GET /a HTTP/1.1\r\nHost: user@{evil}\r\nConnection: close\r\n\r\n"), vec![400]),
        (format!("GET @{evil}/a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"), vec![400]),
        (format!("CONNECT {evil} HTTP/1.1\r\nHost: {evil}\r\n\r\n"), vec![405]),
        (
            format!("GET /a HTTP/1.1\r\nHost: h\r\nX-Forwarded-Host: {evil}\r\nConnection: close\r\n\r\n"),
            vec![200],
        ),
        ("GET /a HTTP/1.1\r\nHost: h\r\nConnection: close, host\r\n\r\n".into(), vec![400]),
        (
            "GET /a HTTP/1.1\r\nHost: h\r\nAuthorization: x\r\nConnection: close, authorization\r\n\r\n"
                .into(),
            vec![400],
        ),
        (
            "GET /a HTTP/1.1\r\nHost: h\r\nLast-Event-ID: x\r\nConnection: close, last-event-id\r\n\r\n"
                .into(),
            vec![400],
        ),
    ] {
        let seen = statuses(&proxy, request.as_bytes()).await;
        assert_eq!(seen, expected, "{request}");
        for (head, _) in upstream.take() {
            assert!(head.contains("\r\nhost: ") || head.contains("\r\nHost: "), "{head}");
        }
    }
    crate::support::never("a connection elsewhere", elsewhere.accept()).await;
}
