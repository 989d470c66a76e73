//! A client that speaks HTTP/1.1 by hand, so that nothing is hidden by a library.

use std::collections::VecDeque;
use std::net::SocketAddr;

use ssecar::proto::decoder::{Decoder, Frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::soon;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) data: String,
}

#[derive(Debug, Clone)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (known, value) = line.split_once(':')?;
        known.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    /// Bytes read and not yet taken.
    buffer: Vec<u8>,
    head: Option<String>,
    decoder: Decoder,
    events: VecDeque<Event>,
    /// Comments and retry lines, as text.
    pub(crate) extras: Vec<String>,
    /// Sizes of the chunks that came.
    pub(crate) chunks: Vec<usize>,
    has_ended: bool,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = soon("a connection", TcpStream::connect(address)).await.unwrap();
        Self {
            stream,
            buffer: Vec::new(),
            head: None,
            decoder: Decoder::new(16 << 20),
            events: VecDeque::new(),
            extras: Vec::new(),
            chunks: Vec::new(),
            has_ended: false,
        }
    }

    pub(crate) async fn get(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Self {
        let mut client = Self::connect(address).await;
        client.request("GET", path, headers, b"").await;
        client
    }

    pub(crate) async fn request(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) {
        let mut text = format!("{method} {path} HTTP/1.1\r\n");
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            text += "Host: app.example\r\n";
        }
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() {
            text += &format!("Content-Length: {}\r\n", body.len());
        }
        text += "\r\n";
        self.send(text.as_bytes()).await;
        self.send(body).await;
        self.again();
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Forgets the response's head: another follows on this connection.
    pub(crate) fn again(&mut self) {
        self.head = None;
        self.has_ended = false;
    }

    /// Reads more; `false`: the connection has ended.
    async fn more(&mut self) -> bool {
        let mut bytes = vec![0; 64 * 1024];
        match self.stream.read(&mut bytes).await {
            Ok(0) | Err(_) => false,
            Ok(read) => {
                self.buffer.extend_from_slice(&bytes[..read]);
                true
            }
        }
    }

    /// The response's head.
    pub(crate) async fn head(&mut self) -> String {
        if let Some(head) = &self.head {
            return head.clone();
        }
        let end = soon("a response head", async {
            loop {
                if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                    return end;
                }
                assert!(
                    self.more().await,
                    "closed before a head: {:?}",
                    String::from_utf8_lossy(&self.buffer)
                );
            }
        })
        .await;
        let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
        let head = String::from_utf8(head).unwrap();
        self.head = Some(head.clone());
        head
    }

    pub(crate) async fn status(&mut self) -> u16 {
        self.head().await.split(' ').nth(1).unwrap().parse().unwrap()
    }

    pub(crate) async fn header(&mut self, name: &str) -> Option<String> {
        header(&self.head().await, name).map(str::to_owned)
    }

    /// The next chunk of a chunked body; `None`: its end, or the connection's.
    async fn chunk(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(line) = find(&self.buffer, b"\r\n") {
                let size = std::str::from_utf8(&self.buffer[..line]).unwrap();
                let size = usize::from_str_radix(size, 16).unwrap();
                if self.buffer.len() >= line + 2 + size + 2 {
                    let chunk = self.buffer[line + 2..line + 2 + size].to_vec();
                    assert_eq!(&self.buffer[line + 2 + size..line + 4 + size], b"\r\n");
                    self.buffer.drain(..line + 4 + size);
                    return (size > 0).then_some(chunk);
                }
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// A whole response with a length or chunks.
    pub(crate) async fn response(&mut self) -> Response {
        let head = self.head().await;
        let status = self.status().await;
        let body = soon("a response body", async {
            if status == 204 {
                Vec::new()
            } else if let Some(length) = header(&head, "content-length") {
                let length: usize = length.parse().unwrap();
                while self.buffer.len() < length {
                    assert!(self.more().await, "the body broke off");
                }
                self.buffer.drain(..length).collect()
            } else {
                let mut body = Vec::new();
                while let Some(chunk) = self.chunk().await {
                    body.extend(chunk);
                }
                body
            }
        })
        .await;
        self.head = None;
        Response { status, head, body }
    }

    /// The next event; `None`: the stream has ended.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        self.head().await;
        soon("an event", self.next_event()).await
    }

    /// The same, however long it takes.
    pub(crate) async fn next_event(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            if self.has_ended {
                return None;
            }
            let Some(chunk) = self.chunk().await else {
                self.has_ended = true;
                continue;
            };
            self.chunks.push(chunk.len());
            let mut input = &chunk[..];
            while let Some(frame) = self.decoder.next_frame(&mut input) {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                match frame {
                    Frame::Event(event) => self.events.push_back(Event {
                        id: text(event.id.unwrap_or_default()),
                        kind: text(event.event_type),
                        data: text(event.data),
                    }),
                    Frame::Comment(comment) => self.extras.push(format!(":{}", text(comment))),
                    Frame::Retry(after) => self.extras.push(format!("retry:{}", after.as_millis())),
                    Frame::Id(id) => self.extras.push(format!("id:{}", text(id))),
                    Frame::Skipped { .. } => panic!("an event beyond all measure"),
                }
            }
        }
    }

    /// The data of the next event; a gap notice as `gap:REASON`.
    pub(crate) async fn data(&mut self) -> String {
        let event = self.next().await.expect("the stream has ended");
        if event.kind == "ssecar-gap" {
            let notice: serde_json::Value = serde_json::from_str(&event.data).unwrap();
            return format!("gap:{}", notice["reason"].as_str().unwrap());
        }
        event.data
    }

    /// The data of the next so many events.
    pub(crate) async fn take(&mut self, count: usize) -> Vec<String> {
        let mut data = Vec::new();
        for _ in 0..count {
            data.push(self.data().await);
        }
        data
    }

    /// Reads until a comment or retry line comes.
    pub(crate) async fn extra(&mut self) -> String {
        self.head().await;
        soon("a comment or a retry", async {
            while self.extras.is_empty() {
                let chunk = self.chunk().await.expect("the stream has ended");
                let text = String::from_utf8(chunk).unwrap();
                self.extras.extend(text.lines().filter(|line| !line.is_empty()).map(str::to_owned));
            }
            self.extras.remove(0)
        })
        .await
    }

    /// Waits for the end of the connection.
    pub(crate) async fn closed(&mut self) {
        soon("the client connection's end", async { while self.more().await {} }).await;
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
