//! A service with a stream for each room, and crowds that read them.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// Answers every request with an event stream: numbered events, one each interval.
pub(crate) struct Rooms {
    pub(crate) port: u16,
    interval: Duration,
    serving: JoinHandle<()>,
}

impl Rooms {
    pub(crate) async fn start(interval: Duration) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        Self { port, interval, serving: tokio::spawn(serve(listener, interval)) }
    }

    /// Goes away, with all its connections.
    pub(crate) async fn stop(&mut self) {
        self.serving.abort();
        let ended = (&mut self.serving).await;
        assert!(ended.is_err(), "it serves for ever");
    }

    /// Comes back on the same port.
    pub(crate) async fn start_again(&mut self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await.unwrap();
        self.serving = tokio::spawn(serve(listener, self.interval));
    }
}

async fn serve(listener: TcpListener, interval: Duration) {
    let mut streams = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        streams.spawn(tell(stream, interval));
        while streams.try_join_next().is_some() {}
    }
}

async fn tell(mut stream: TcpStream, interval: Duration) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut last = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("last-event-id: ")?.parse().ok())
        .unwrap_or(0);
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n").await?;
    loop {
        last += 1;
        let text = format!(
            "id: {last}\nevent: {}\ndata: {{\"number\":{last},\"text\":\"what is said in the room\"}}\n\n",
            if last % 5 == 0 { "joined" } else { "said" }
        );
        stream.write_all(text.as_bytes()).await?;
        tokio::time::sleep(interval).await;
    }
}

/// Clients that read and forget.
pub(crate) struct Readers(JoinSet<()>);

impl Readers {
    pub(crate) fn new() -> Self {
        Self(JoinSet::new())
    }

    /// Lets one more read this path.
    pub(crate) async fn read(&mut self, port: u16, path: &str) {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: rooms.example\r\nAccept: text/event-stream\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        self.0.spawn(async move {
            let mut bytes = vec![0; 4096];
            while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
        });
    }
}
