//! An upstream whose every answer the test writes, byte by byte.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::soon;

pub(crate) struct Upstream {
    listener: TcpListener,
    address: SocketAddr,
}

/// One request, and the connection to answer it on.
pub(crate) struct Exchange {
    /// The request's head, as it came.
    pub(crate) head: String,
    pub(crate) stream: TcpStream,
}

impl Upstream {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Self { listener, address }
    }

    /// The flag that points a proxy here.
    pub(crate) fn flag(&self) -> String {
        format!("--upstream=http://{}", self.address)
    }

    /// The next request.
    pub(crate) async fn accept(&self) -> Exchange {
        soon("a request at the upstream", self.try_accept()).await
    }

    /// The next request, however long it takes. A connection that ends before its first byte is none:
    /// whoever opened it was killed, or no longer wanted to ask.
    pub(crate) async fn try_accept(&self) -> Exchange {
        loop {
            let (stream, _) = self.listener.accept().await.unwrap();
            if let Some(exchange) = Exchange::read(stream).await {
                return exchange;
            }
        }
    }

    /// Takes one subscription and begins its stream.
    pub(crate) async fn stream(&self) -> Exchange {
        let mut exchange = self.accept().await;
        exchange.begin_stream("").await;
        exchange
    }

    /// Goes away: connections are refused, until [`Self::restart`].
    pub(crate) fn stop(self) -> SocketAddr {
        self.address
    }

    pub(crate) async fn restart(address: SocketAddr) -> Self {
        let listener = soon("the port", async {
            loop {
                match TcpListener::bind(address).await {
                    Ok(listener) => return listener,
                    Err(_) => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
                }
            }
        })
        .await;
        Self { listener, address }
    }
}

impl Exchange {
    /// `None`: the connection ended without a request.
    async fn read(mut stream: TcpStream) -> Option<Self> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            let read = stream.read(&mut byte).await.unwrap();
            if read == 0 && head.is_empty() {
                return None;
            }
            assert_eq!(read, 1, "the request broke off");
            head.push(byte[0]);
        }
        Some(Self { head: String::from_utf8_lossy(&head).into_owned(), stream })
    }

    /// The next request on the same connection.
    pub(crate) async fn again(&mut self) {
        let head = soon("another request on the connection", async {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                assert_eq!(self.stream.read(&mut byte).await.unwrap(), 1, "the connection ended");
                head.push(byte[0]);
            }
            head
        })
        .await;
        self.head = String::from_utf8_lossy(&head).into_owned();
    }

    pub(crate) fn target(&self) -> &str {
        self.head.split(' ').nth(1).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (known, value) = line.split_once(':')?;
            known.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// A head whose body lasts until the connection ends. `fields` are whole lines.
    pub(crate) async fn begin_stream(&mut self, fields: &str) {
        self.send(format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{fields}\r\n")).await;
    }

    pub(crate) async fn answer(&mut self, status: u16, fields: &str, body: &str) {
        let length = body.len();
        self.send(format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n{fields}\r\n{body}")).await;
    }

    /// Waits until the proxy has closed the connection.
    pub(crate) async fn closed(&mut self) {
        soon("the upstream connection's end", async {
            let mut bytes = [0; 64];
            while self.stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
        })
        .await;
    }

    /// Breaks off with a reset, in the middle of whatever was being sent.
    pub(crate) fn reset(self) {
        self.stream.set_zero_linger().unwrap();
    }
}
