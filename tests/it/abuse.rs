//! Clients that mean harm, or behave as if they did (spec 9.1, 9.2): each is cut off, and the others notice nothing.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::support::{Client, Proxy, Upstream, soon};

const PATH: &str = "/v1/sessions/1/events";

/// Frame types and flags (RFC 9113, 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Frames an attacker sends at most, so that a test ends even where nobody stops it.
const FRAMES_MAX: u32 = 200_000;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// `GET /v1/x`, in HPACK: indexed fields of the static table, and literals without indexing.
fn get() -> Vec<u8> {
    let mut block = vec![0x82, 0x86]; // :method GET, :scheme http
    block.extend([0x04, 5]);
    block.extend(b"/v1/x"); // :path
    block.extend([0x01, 1, b'h']); // :authority
    block
}

/// What is sent as the attack goes on: by its number.
type Frames = Box<dyn Fn(u32) -> Vec<u8>>;

/// An HTTP/2 connection that is written frame by frame.
struct Raw(TcpStream);

impl Raw {
    async fn connect(proxy: &Proxy) -> Self {
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
        Self(stream)
    }

    /// Sends what `next` gives until the proxy closes, and reads what comes meanwhile; how many frames that took.
    async fn flood(self, next: impl Fn(u32) -> Vec<u8>) -> u32 {
        let (mut read, mut write) = self.0.into_split();
        let drain = tokio::spawn(async move {
            let mut bytes = vec![0; 64 * 1024];
            while read.read(&mut bytes).await.is_ok_and(|count| count > 0) {}
        });
        let sent = soon("the proxy to hang up", async {
            for number in 0..FRAMES_MAX {
                if drain.is_finished() || write.write_all(&next(number)).await.is_err() {
                    return number;
                }
            }
            FRAMES_MAX
        })
        .await;
        drain.abort();
        sent
    }
}

/// A client whose stream must go on, and its service.
struct Bystander {
    client: Client,
    exchange: crate::support::Exchange,
    count: u32,
}

impl Bystander {
    async fn new(proxy: &Proxy, upstream: &Upstream) -> Self {
        let mut client = proxy.ask(PATH, &[]).await;
        let exchange = upstream.stream().await;
        client.head().await;
        Self { client, exchange, count: 0 }
    }

    async fn notices_nothing(&mut self) {
        self.count += 1;
        self.exchange.send(format!("data: {}\n\n", self.count)).await;
        assert_eq!(self.client.data().await, self.count.to_string());
    }
}

#[tokio::test]
async fn floods_of_http2_frames_end_the_connection_that_they_come_on() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &["--head-timeout=3s"]).await;
    let mut bystander = Bystander::new(&proxy, &upstream).await;
    let stream_id = |number: u32| 2 * number + 1;
    // Small frames fill the socket before its end is seen.
    let floods: [(&str, u32, Frames); 6] = [
        (
            "rapid reset (CVE-2023-44487)",
            5_000,
            Box::new(move |number| {
                let id = stream_id(number);
                [
                    frame(HEADERS, END_STREAM | END_HEADERS, id, &get()),
                    frame(RST_STREAM, 0, id, &8u32.to_be_bytes()),
                ]
                .concat()
            }),
        ),
        (
            "CONTINUATION without end (CVE-2024-27316)",
            1_000,
            Box::new(|number| match number {
                0 => frame(HEADERS, END_STREAM, 1, &get()),
                _ => {
                    let mut field = vec![0x00, 1, b'x', 0x7f, 0x81, 0x0f]; // a literal of 2048 bytes
                    field.resize(6 + 2048, b'a');
                    frame(CONTINUATION, 0, 1, &field)
                }
            }),
        ),
        (
            "an HPACK bomb: one large field, referred to again and again",
            1_000,
            Box::new(|number| {
                let mut block = get();
                block.extend([0x40, 1, b'x', 0x7f, 0x81, 0x1e]); // to the dynamic table: 3968 bytes
                block.resize(block.len() + 3968, b'a');
                block.extend([0xbe; 4000]); // the newest entry of the dynamic table
                frame(HEADERS, END_STREAM | END_HEADERS, 2 * number + 1, &block)
            }),
        ),
        (
            "self-dependent streams the client makes us reset (CVE-2025-8671)",
            5_000,
            Box::new(move |number| {
                let id = stream_id(number);
                [
                    frame(HEADERS, END_HEADERS, id, &get()),
                    frame(8, 0, id, &0u32.to_be_bytes()), // WINDOW_UPDATE of nothing: a stream error
                ]
                .concat()
            }),
        ),
        ("data for a stream that never was", 5_000, Box::new(|_| frame(DATA, 0, 99, b"x"))),
        ("settings of a wrong size", 5_000, Box::new(|_| frame(SETTINGS, 0, 0, b"12345"))),
    ];
    for (name, most, next) in floods {
        let sent = Raw::connect(&proxy).await.flood(next).await;
        assert!(sent < most, "{name}: {sent} frames");
        bystander.notices_nothing().await;
    }
}

/// What is answered, frame by frame, can't be cut off as an attack: it must cost little, and nobody else anything.
#[tokio::test]
async fn floods_that_the_protocol_allows_hold_up_nobody() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &[]).await;
    let mut bystander = Bystander::new(&proxy, &upstream).await;
    for frames in [frame(PING, 0, 0, b"12345678"), frame(SETTINGS, 0, 0, &[]), frame(DATA, 0, 1, &[])] {
        let raw = Raw::connect(&proxy).await;
        let (mut read, mut write) = raw.0.into_split();
        let flood = tokio::spawn(async move {
            for _ in 0..20_000 {
                if write.write_all(&frames).await.is_err() {
                    return;
                }
            }
        });
        let drain = tokio::spawn(async move {
            let mut bytes = vec![0; 64 * 1024];
            while read.read(&mut bytes).await.is_ok_and(|count| count > 0) {}
        });
        while !flood.is_finished() {
            bystander.notices_nothing().await;
        }
        drain.abort();
    }
    // One that reads nothing of the answers it causes is not buffered for without bound: it stops being read.
    let mut raw = Raw::connect(&proxy).await;
    let ping = frame(PING, 0, 0, b"12345678").repeat(1000);
    let mut sent = 0;
    while let Ok(Ok(())) = tokio::time::timeout(Duration::from_millis(500), raw.0.write_all(&ping)).await {
        sent += ping.len();
        assert!(sent < 64 << 20, "read without end, though nobody takes the answers");
    }
    bystander.notices_nothing().await;
}

#[tokio::test]
async fn a_head_that_comes_too_slowly_or_is_too_large_is_refused() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &["--head-timeout=300ms"]).await;
    let mut bystander = Bystander::new(&proxy, &upstream).await;
    // Slowloris: a field line now and then, for ever.
    let mut slow = Client::connect(proxy.address).await;
    slow.send(b"GET / HTTP/1.1\r\nHost: h\r\n").await;
    let begun = Instant::now();
    soon("the slow one's end", async {
        while begun.elapsed() < Duration::from_secs(10) {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if slow.stream.write_all(b"X: y\r\n").await.is_err() {
                return;
            }
        }
        panic!("it went on for ever");
    })
    .await;
    bystander.notices_nothing().await;
    let fields = "X: y\r\n".repeat(101);
    let large = format!("X: {}\r\n", "y".repeat(20 * 1024));
    for fields in [fields, large] {
        let mut client = Client::connect(proxy.address).await;
        // The answer may come before all was sent.
        let _ =
            client.stream.write_all(format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n").as_bytes()).await;
        assert_eq!(client.status().await, 431);
        client.closed().await;
    }
    assert!(proxy.metric("ssecar_refused_total{limit=\"head\"}").await >= 2.0);
    bystander.notices_nothing().await;
}

#[tokio::test]
async fn past_a_limit_it_is_said_which_and_counted() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&upstream, &["--max-clients=2", "--max-sessions=1"]).await;
    let mut bystander = Bystander::new(&proxy, &upstream).await;
    let mut other = proxy.ask("/v1/sessions/2/events", &[]).await;
    let answer = other.response().await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")));
    assert!(String::from_utf8_lossy(&answer.body).contains("--max-sessions"));
    let _second = proxy.subscribe(PATH, &[]).await;
    let answer = proxy.ask(PATH, &[]).await.response().await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")));
    assert!(String::from_utf8_lossy(&answer.body).contains("--max-clients"));
    assert!(answer.header("proxy-status").unwrap().contains("connection_limit_reached"));
    for limit in ["clients", "sessions"] {
        assert_eq!(proxy.metric(&format!("ssecar_refused_total{{limit=\"{limit}\"}}")).await, 1.0);
    }
    // Everything else is still served.
    let mut plain = Client::get(proxy.address, "/plain", &[]).await;
    upstream.accept().await.answer(200, "", "fine").await;
    assert_eq!(plain.response().await.body, b"fine");
    bystander.notices_nothing().await;
}
