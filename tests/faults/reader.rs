//! A client that comes back, and what it saw.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::rig::PATH;
use crate::support::{Line, Transcript, until};

/// Before it comes again.
const PAUSE: Duration = Duration::from_millis(200);

#[derive(Default)]
struct Seen {
    transcript: Transcript,
    heartbeats: usize,
    last_id: String,
}

pub(crate) struct Reader {
    seen: Arc<Mutex<Seen>>,
    reading: JoinHandle<()>,
}

impl Reader {
    pub(crate) fn of(port: u16) -> Self {
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let noting = Arc::clone(&seen);
        let reading = tokio::spawn(async move {
            loop {
                // However it ended, it comes again.
                let _ = read(port, &noting).await;
                tokio::time::sleep(PAUSE).await;
            }
        });
        Self { seen, reading }
    }

    pub(crate) fn newest(&self) -> u64 {
        self.seen.lock().unwrap().transcript.newest()
    }

    pub(crate) fn connections(&self) -> usize {
        self.seen.lock().unwrap().transcript.connections()
    }

    pub(crate) fn heartbeats(&self) -> usize {
        self.seen.lock().unwrap().heartbeats
    }

    /// Waits for so many events more.
    pub(crate) async fn reads(&self, events: u64) {
        let goal = self.newest() + events;
        until("events", || async move { self.newest() >= goal }).await;
    }

    /// Ends it; every event once and in order, or told. Says how it went.
    pub(crate) fn judge(self, fault: &str, noticed: &str) {
        self.reading.abort();
        let verdict = self.seen.lock().unwrap().transcript.judge();
        println!(
            "{fault}: {} events, {} connections, {} gaps, {} lost, {} doubled; {noticed}",
            verdict.events,
            verdict.connections,
            verdict.gaps,
            verdict.lost.len(),
            verdict.doubled.len()
        );
        assert!(verdict.lost.is_empty() && verdict.doubled.is_empty(), "{fault}: {verdict:?}");
        assert_eq!(verdict.gaps, 0, "the service has ids and replays: nothing need be missing");
    }
}

/// HTTP/1.0, so that the body is the stream as it is.
async fn read(port: u16, seen: &Mutex<Seen>) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let last = match seen.lock().unwrap().last_id.as_str() {
        "" => String::new(),
        id => format!("Last-Event-ID: {id}\r\n"),
    };
    let request = format!("GET {PATH} HTTP/1.0\r\nHost: a\r\nAccept: text/event-stream\r\n{last}\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut lines = BufReader::new(stream).lines();
    let status = lines.next_line().await?.unwrap_or_default();
    if !status.contains(" 200 ") {
        return Ok(());
    }
    while lines.next_line().await?.is_some_and(|line| !line.is_empty()) {}
    seen.lock().unwrap().transcript.push(Line::Open);
    let (mut id, mut is_gap) = (None, false);
    while let Some(line) = lines.next_line().await? {
        let mut seen = seen.lock().unwrap();
        match line.split_once(": ") {
            Some(("id", value)) => id = Some(value.to_owned()),
            Some(("event", value)) => is_gap = value == "ssecar-gap",
            Some(("data", value)) if is_gap => {
                is_gap = false;
                seen.transcript.push(Line::Gap(serde_json::from_str(value).unwrap()));
            }
            Some(("data", value)) => {
                seen.last_id = id.take().unwrap_or_default();
                let number = value.split(' ').next().unwrap().parse().unwrap();
                seen.transcript.push(Line::Event(number));
            }
            _ if line == ":" => seen.heartbeats += 1,
            _ => {}
        }
    }
    Ok(())
}
