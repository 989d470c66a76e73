//! Cleartext HTTP/1.1 clients of sessions are written to without hyper: their bytes, one by one.

use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::{Exchange, Proxy, Upstream, soon};

const PATH: &str = "/v1/sessions/1/events";
const SUBSCRIBE: &str =
    "GET /v1/sessions/1/events HTTP/1.1\r\nHost: app.example\r\nAccept: text/event-stream\r\n\r\n";
const PLAIN: &str = "GET /plain HTTP/1.1\r\nHost: app.example\r\n\r\n";

async fn start(flags: &[&str]) -> (Upstream, Proxy) {
    let upstream = Upstream::start().await;
    let flags = [&["--lane=on", "--end-event=data=bye"], flags].concat();
    let proxy = Proxy::start(&upstream, &flags).await;
    (upstream, proxy)
}

/// A connection that takes only so many bytes before they are read.
async fn narrow(proxy: &Proxy) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(proxy.address).await.unwrap()
}

/// Everything until the connection ends, in pieces of so many bytes.
async fn read_all(client: &mut TcpStream, piece: usize) -> Vec<u8> {
    let mut all = Vec::new();
    let mut bytes = vec![0; piece];
    loop {
        match soon("more bytes", client.read(&mut bytes)).await.unwrap() {
            0 => return all,
            read => all.extend_from_slice(&bytes[..read]),
        }
    }
}

/// Reads exactly up to the end of a response head.
async fn read_head(client: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon("a byte of the head", client.read_u8()).await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

async fn bye(mut stream: Exchange) {
    stream.send("data: bye\n\n").await;
}

/// Takes one response with a chunked body off the front: its head, and the data of its chunks. Reads as strictly as
/// RFC 9112 is written, and shares no code with the program.
fn chunked(bytes: &[u8]) -> (String, Vec<Vec<u8>>, &[u8]) {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut rest = &bytes[end..];
    let mut chunks = Vec::new();
    loop {
        let line = rest.windows(2).position(|two| two == b"\r\n").expect("a size line");
        let size = std::str::from_utf8(&rest[..line]).unwrap();
        assert!(!size.is_empty() && size.bytes().all(|byte| byte.is_ascii_hexdigit()), "{size:?}");
        let size = usize::from_str_radix(size, 16).unwrap();
        let data = &rest[line + 2..];
        assert_eq!(&data[size..size + 2], b"\r\n", "behind a chunk of {size} bytes");
        rest = &data[size + 2..];
        if size == 0 {
            return (head, chunks, rest);
        }
        chunks.push(data[..size].to_vec());
    }
}

fn text(chunks: &[Vec<u8>]) -> String {
    String::from_utf8(chunks.concat()).unwrap()
}

#[tokio::test]
async fn a_stream_is_one_chunked_response_and_the_last_of_its_connection() {
    let (upstream, proxy) = start(&[]).await;
    let mut client = TcpStream::connect(proxy.address).await.unwrap();
    client.write_all(SUBSCRIBE.as_bytes()).await.unwrap();
    let mut stream = upstream.accept().await;
    stream.begin_stream("X-App: yes\r\nSet-Cookie: a=1\r\n").await;
    stream
        .send("retry: 7\nid: u1\nevent: tick\ndata: first\ndata:\ndata: third\n\n: passing\ndata: é\n\n")
        .await;
    bye(stream).await;

    let bytes = read_all(&mut client, 4096).await;
    let (head, chunks, rest) = chunked(&bytes);
    let mut fields: Vec<&str> = head.trim_end().split("\r\n").collect();
    assert_eq!(fields.remove(0), "HTTP/1.1 200 OK");
    let date = fields.pop().unwrap().strip_prefix("date: ").unwrap();
    assert!(date.ends_with(" GMT") && date.len() == "Sun, 06 Nov 1994 08:49:37 GMT".len(), "{date}");
    fields.sort_unstable();
    let expected = [
        "cache-control: no-cache",
        "connection: close",
        "content-type: text/event-stream",
        "set-cookie: a=1",
        "transfer-encoding: chunked",
        "x-accel-buffering: no",
        "x-app: yes",
    ];
    assert_eq!(fields, expected);
    let epoch: String = text(&chunks).split("id: ").nth(1).unwrap().chars().take(8).collect();
    assert_eq!(
        text(&chunks),
        format!(
            "retry: 7\n\nid: {epoch}.1.u1\nevent: tick\ndata: first\ndata: \ndata: third\n\n: passing\n\n\
             data: é\n\ndata: bye\n\n"
        )
    );
    assert_eq!(rest, b"", "nothing follows the last chunk");
}

#[tokio::test]
async fn a_client_of_another_make_reads_it() {
    let (upstream, proxy) = start(&["--late-join=ring"]).await;
    let io = TokioIo::new(TcpStream::connect(proxy.address).await.unwrap());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    let driver = tokio::spawn(connection);
    let request = http::Request::get(PATH)
        .header("host", "app.example")
        .header("accept", "text/event-stream")
        .body(Empty::<bytes::Bytes>::new())
        .unwrap();
    let asking = tokio::spawn(sender.send_request(request));
    let mut stream = upstream.stream().await;
    let response = asking.await.unwrap().unwrap();
    let big = "x".repeat(300_000);
    for number in 0..20 {
        stream.send(format!("data: {number} {big}\n\n")).await;
    }
    bye(stream).await;
    let body = soon("the whole stream", response.into_body().collect()).await.unwrap().to_bytes();
    let body = String::from_utf8(body.to_vec()).unwrap();
    let data: Vec<&str> =
        body.split("\n\n").filter_map(|block| Some(block.split_once("data: ")?.1)).collect();
    let expected = (0..20).map(|number| format!("{number} {big}")).chain(["bye".to_owned()]);
    assert!(data.into_iter().eq(expected), "each event, byte by byte");
    soon("the connection's end", driver).await.unwrap().unwrap();
}

#[tokio::test]
async fn earlier_answers_on_the_connection_come_whole_and_first() {
    let (upstream, proxy) = start(&[]).await;
    let opener = proxy.ask(PATH, &[]).await;
    let mut stream = upstream.stream().await;
    let mut client = narrow(&proxy).await;
    // All that is asked lies in the socket before the first byte of an answer is read. The session is there: its
    // answer is ready while the one before it still waits for the client.
    client.write_all([PLAIN, PLAIN, SUBSCRIBE].concat().as_bytes()).await.unwrap();
    let reading = tokio::spawn(async move { read_all(&mut client, 1000).await });
    let big = "y".repeat(3_000_000);
    let mut exchange = upstream.accept().await;
    exchange.answer(200, "X-Number: 1\r\n", "short").await;
    exchange.again().await;
    exchange.answer(200, "X-Number: 2\r\n", &big).await;
    proxy.until("both clients to be there", |state| state["clients"] == 2).await;
    stream.send("data: event\n\n").await;
    bye(stream).await;

    let all = soon("the end of the stream", reading).await.unwrap();
    let (head, body) = all.split_at(all.windows(9).position(|nine| nine == b"\r\n\r\nshort").unwrap() + 4);
    assert!(String::from_utf8_lossy(head).contains("x-number: 1\r\n"));
    let second = &body["short".len()..];
    let (head, rest) = second.split_at(second.windows(5).position(|five| five == b"\r\n\r\ny").unwrap() + 4);
    assert!(String::from_utf8_lossy(head).contains("x-number: 2\r\n"));
    assert!(rest.starts_with(big.as_bytes()), "the answer is not torn");
    let (head, chunks, rest) = chunked(&rest[big.len()..]);
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(text(&chunks).contains("data: event\n\n"), "{}", text(&chunks));
    assert_eq!(rest, b"");
    drop(opener);
}

#[tokio::test]
async fn a_request_behind_the_subscription_is_not_answered_and_its_client_is_missed_at_once() {
    let (upstream, proxy) = start(&[]).await;
    let mut client = TcpStream::connect(proxy.address).await.unwrap();
    client.write_all([SUBSCRIBE, PLAIN].concat().as_bytes()).await.unwrap();
    let mut stream = upstream.stream().await;
    read_head(&mut client).await;
    let mut leaver = TcpStream::connect(proxy.address).await.unwrap();
    leaver.write_all([SUBSCRIBE, PLAIN].concat().as_bytes()).await.unwrap();
    read_head(&mut leaver).await;
    leaver.write_all(b"x").await.unwrap();
    leaver.shutdown().await.unwrap();
    proxy.until("the leaver to be gone", |state| state["clients"] == 1).await;

    stream.send("data: event\n\n").await;
    bye(stream).await;
    let bytes = [b"HTTP/1.1 200 OK\r\n\r\n", &read_all(&mut client, 4096).await[..]].concat();
    let (_, chunks, rest) = chunked(&bytes);
    assert!(text(&chunks).contains("data: event\n\n"), "{}", text(&chunks));
    assert_eq!(rest, b"");
}

#[tokio::test]
async fn whoever_talks_too_much_is_closed() {
    let (upstream, proxy) = start(&[]).await;
    let mut client = TcpStream::connect(proxy.address).await.unwrap();
    client.write_all(SUBSCRIBE.as_bytes()).await.unwrap();
    let _stream = upstream.stream().await;
    read_head(&mut client).await;
    client.write_all(&[b'\n'; 1024]).await.unwrap();
    crate::support::never("borne up to the limit", client.read_u8()).await;
    client.write_all(b"\n").await.unwrap();
    proxy.until("the client to be gone", |state| state["clients"] == 0).await;
}

#[tokio::test]
async fn a_large_event_comes_whole_to_a_narrow_client_and_delays_no_other() {
    let (upstream, proxy) = start(&["--client-lag=4MiB"]).await;
    let mut narrow = narrow(&proxy).await;
    narrow.write_all(SUBSCRIBE.as_bytes()).await.unwrap();
    let mut stream = upstream.stream().await;
    let head = read_head(&mut narrow).await;
    let mut wide = proxy.subscribe(PATH, &[]).await;
    let large =
        |number: u8| (0..1_000_000).map(|place| char::from(b'a' + (place % 23) as u8 + number)).collect();
    for number in 0..3 {
        let data: String = large(number);
        stream.send(format!("id: {number}\ndata: {data}\n\n")).await;
        assert_eq!(wide.data().await, data, "although the other one has read nothing of it");
    }
    bye(stream).await;
    let bytes = [head.as_bytes(), &read_all(&mut narrow, 3000).await[..]].concat();
    let (_, chunks, rest) = chunked(&bytes);
    let epoch: String = text(&chunks).split("id: ").nth(1).unwrap().chars().take(8).collect();
    let events: String = (0..3)
        .map(|number: u8| format!("id: {epoch}.{}.{number}\ndata: {}\n\n", number + 1, large(number)))
        .collect();
    assert!(text(&chunks) == events + "data: bye\n\n", "byte by byte");
    assert_eq!(rest, b"");
}

/// Numbers as a narrow generator makes them: the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// The chunks of a stream without its last one, joined.
fn complete(bytes: &[u8]) -> String {
    let (_, chunks, rest) = chunked(bytes);
    assert_eq!(rest, b"");
    text(&chunks)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_block_and_catch_up_get_every_byte_beside_those_that_never_do() {
    const CLIENTS: u64 = 30;
    const EVENTS: u64 = 500;
    let (upstream, proxy) = start(&["--client-lag=256MiB"]).await;
    let opener = proxy.ask(PATH, &[]).await;
    let mut stream = upstream.stream().await;
    let mut readers = tokio::task::JoinSet::new();
    for number in 0..CLIENTS {
        let mut client = narrow(&proxy).await;
        client.write_all(SUBSCRIBE.as_bytes()).await.unwrap();
        let head = read_head(&mut client).await;
        readers.spawn(async move {
            // Each third reads at once; the others a little at a time, and rest now and then until they are full.
            let mut numbers = Numbers(number);
            let mut all = head.into_bytes();
            loop {
                let piece = if number % 3 == 0 { 65_536 } else { 1 + numbers.below(3_000) as usize };
                if number % 3 != 0 && numbers.below(40) == 0 {
                    for _ in 0..200 {
                        tokio::task::yield_now().await;
                    }
                }
                let mut bytes = vec![0; piece];
                match soon("more bytes", client.read(&mut bytes)).await.unwrap() {
                    0 => return all,
                    read => all.extend_from_slice(&bytes[..read]),
                }
            }
        });
    }
    let mut numbers = Numbers(1_000);
    for number in 0..EVENTS {
        let size = if numbers.below(100) == 0 { 100_000 } else { numbers.below(4_000) as usize };
        let letter = char::from(b'a' + (number % 26) as u8).to_string();
        let passing = if numbers.below(10) == 0 { ": passing\n\n" } else { "" };
        stream.send(format!("id: {number}\ndata: {}\n\n{passing}", letter.repeat(size))).await;
    }
    bye(stream).await;
    let mut texts = Vec::new();
    while let Some(bytes) = soon("a reader's end", readers.join_next()).await {
        texts.push(complete(&bytes.unwrap()));
    }
    let first = &texts[0];
    assert_eq!(first.matches("data: ").count() as u64, EVENTS + 1, "all events, each once, and the farewell");
    for number in 0..EVENTS {
        let place = format!(".{}.{number}\n", number + 1);
        assert_eq!(first.matches(&place).count(), 1, "event {number}");
    }
    assert!(texts.iter().all(|text| text == first), "everybody got the same bytes");
    drop(opener);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_come_and_go_while_events_flow_miss_and_repeat_nothing_while_they_are_there() {
    const VISITS: u64 = 300;
    let (upstream, proxy) = start(&[]).await;
    let mut pace = proxy.ask(PATH, &[]).await;
    let mut stream = upstream.stream().await;
    let address = proxy.address;
    let mut visits = tokio::task::JoinSet::new();
    let (done, mut is_done) = tokio::sync::mpsc::channel::<()>(1);
    for number in 0..VISITS {
        let done = done.clone();
        visits.spawn(async move {
            let mut numbers = Numbers(number);
            for _ in 0..numbers.below(100) {
                tokio::task::yield_now().await;
            }
            let mut client =
                crate::support::Client::get(address, PATH, &[("Accept", "text/event-stream")]).await;
            let mut last: Option<u64> = None;
            for _ in 0..=numbers.below(30) {
                let number: u64 = client.data().await.parse().unwrap();
                assert!(last.is_none_or(|last| number == last + 1), "{number} behind {last:?}");
                last = Some(number);
            }
            drop(done);
        });
    }
    drop(done);
    let mut number: u64 = 0;
    while !matches!(is_done.try_recv(), Err(tokio::sync::mpsc::error::TryRecvError::Disconnected)) {
        // Some at once, and no faster than one client reads: nobody is to be closed for being slow.
        for _ in 0..3 {
            stream.send(format!("data: {number}\n\n")).await;
            number += 1;
        }
        for _ in 0..3 {
            pace.data().await;
        }
    }
    while let Some(visit) = soon("a visit's end", visits.join_next()).await {
        visit.unwrap();
    }
    drop(pace);
    proxy.until("all to be gone", |state| state["clients"] == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_faster_than_the_loops_is_held_up_and_no_healthy_client_is_closed() {
    const EVENTS: usize = 1_000;
    let (upstream, proxy) = start(&["--client-lag=64KiB"]).await;
    let mut clients = vec![proxy.ask(PATH, &[]).await];
    let mut stream = upstream.stream().await;
    for _ in 1..300 {
        let mut client = proxy.ask(PATH, &[]).await;
        client.head().await;
        clients.push(client);
    }
    // Sixteen times what a client may be behind, at once; the kernel has room for all of it on each connection.
    let burst = format!("data: {}\n\n", "x".repeat(1_000)).repeat(EVENTS);
    stream.send(burst).await;
    bye(stream).await;
    for mut client in clients {
        for _ in 0..EVENTS {
            assert_eq!(client.data().await.len(), 1_000);
        }
        assert_eq!(client.data().await, "bye");
    }
}
