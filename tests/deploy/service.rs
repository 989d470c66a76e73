//! A service as it stands behind ssecar: publishes what the test says, and keeps the heads that it was asked with.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::support::until;

/// Under `/v1/` event streams, a WebSocket at `/socket`, a page everywhere else.
pub(crate) struct Service {
    pub(crate) port: u16,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    events: watch::Sender<Vec<String>>,
    /// How often its streams were cut.
    cuts: watch::Sender<usize>,
    heads: Mutex<Vec<String>>,
}

impl Service {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared::default());
        let serving = tokio::spawn(serve(listener, Arc::clone(&shared)));
        Self { port, shared, serving }
    }

    /// One more event, for every stream that is open.
    pub(crate) fn publish(&self, data: &str) {
        self.shared.events.send_modify(|events| events.push(data.to_owned()));
    }

    /// Ends all its streams.
    pub(crate) fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// The heads so far of requests for this path, in lower case.
    pub(crate) fn heads(&self, path: &str) -> Vec<String> {
        let start = format!("get {path} ");
        self.shared.heads.lock().iter().filter(|head| head.starts_with(&start)).cloned().collect()
    }

    /// Waits until it is asked for this path.
    pub(crate) async fn asked_for(&self, path: &str) {
        until(&format!("a request for {path}"), || async { !self.heads(path).is_empty() }).await;
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    // They end with the service.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(answer(stream, Arc::clone(&shared)));
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(mut stream: TcpStream, shared: Arc<Shared>) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let (mut events, mut cuts) = (shared.events.subscribe(), shared.cuts.subscribe());
    // Like many services it tells the event that is named once more.
    let id: Option<usize> = head.lines().find_map(|line| line.strip_prefix("last-event-id: ")?.parse().ok());
    let mut told = id.map_or_else(|| events.borrow().len(), |id| id.saturating_sub(1));
    shared.heads.lock().push(head.clone());
    if head.starts_with("get /socket ") {
        let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
            Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nfrom the socket\n";
        return stream.write_all(answer.as_bytes()).await;
    }
    if !head.starts_with("get /v1/") {
        let answer = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\npage\n";
        return stream.write_all(answer.as_bytes()).await;
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n").await?;
    loop {
        let news = events.borrow_and_update()[told..].to_vec();
        for data in news {
            told += 1;
            stream.write_all(format!("id: {told}\ndata: {data}\n\n").as_bytes()).await?;
        }
        tokio::select! {
            _ = events.changed() => {}
            _ = cuts.changed() => return Ok(()),
        }
    }
}
