//! More clients than there are places (spec 9.1): those who are in notice nothing.
//!
//! A target of its own: ten thousand connections leave nothing of a small machine for other stories.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on fails")]

#[path = "../faults/rig.rs"]
#[allow(dead_code, reason = "the rig of the faults, of which this needs a part")]
mod rig;
#[path = "../peers/support/mod.rs"]
#[allow(dead_code, reason = "the peers' harness, of which this needs a part")]
#[allow(unused_imports, reason = "the peers' harness, of which this needs a part")]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::rig::{PATH, Proxy};
use crate::support::until;

const PLACES: usize = 5_000;
const CLIENTS: usize = 10_000;

/// Descriptors that this test needs for itself; ssecar takes what it needs.
const DESCRIPTORS: &str = "--nofile=12000";

/// Between two events.
const EVERY: Duration = Duration::from_millis(500);

/// Numbered events for whoever asks; counts the askers.
async fn publish(listener: TcpListener, published: Arc<AtomicU64>, subscriptions: Arc<AtomicUsize>) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        subscriptions.fetch_add(1, Ordering::Relaxed);
        let published = Arc::clone(&published);
        tokio::spawn(async move {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.unwrap());
            }
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
            stream.write_all(head.as_bytes()).await.unwrap();
            loop {
                tokio::time::sleep(EVERY).await;
                let number = published.fetch_add(1, Ordering::Relaxed) + 1;
                if stream.write_all(format!("data: {number}\n\n").as_bytes()).await.is_err() {
                    return;
                }
            }
        });
    }
}

async fn ask(port: u16) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request = format!("GET {PATH} HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// What came, as text; a client's first line is its status.
struct Client {
    stream: TcpStream,
    text: String,
}

impl Client {
    async fn more(&mut self) {
        let mut bytes = [0; 1024];
        let count = self.stream.read(&mut bytes).await.unwrap();
        assert_ne!(count, 0, "closed behind {}", self.text);
        self.text.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
    }

    async fn status(&mut self) -> u16 {
        while !self.text.contains("\r\n\r\n") {
            self.more().await;
        }
        self.text[9..12].parse().unwrap()
    }

    /// Reads until event `last`; how many came, each one more than the one before.
    async fn reads_until(mut self, mut goal: watch::Receiver<u64>) -> u64 {
        let seen = |text: &str| -> Vec<u64> {
            text.split("data: ").skip(1).filter_map(|rest| rest.split_once('\n')?.0.parse().ok()).collect()
        };
        loop {
            let numbers = seen(&self.text);
            let goal = *goal.borrow_and_update();
            if goal > 0 && numbers.last().is_some_and(|last| *last >= goal) {
                assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
                return numbers.len() as u64;
            }
            self.more().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_in_notices_nothing_of_as_many_who_want_in() {
    let own = std::process::id().to_string();
    let raised = Command::new("prlimit").args(["--pid", &own, DESCRIPTORS]).status().await.unwrap();
    assert!(raised.success(), "this machine allows fewer than {DESCRIPTORS}");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (published, subscriptions) = (Arc::<AtomicU64>::default(), Arc::<AtomicUsize>::default());
    tokio::spawn(publish(listener, Arc::clone(&published), Arc::clone(&subscriptions)));
    let flags = ["--max-clients=5000", "--heartbeat=15s"];
    let command = Command::new(env!("CARGO_BIN_EXE_ssecar"));
    let proxy = Proxy::run_before(command, ("127.0.0.1", port), &flags).await;

    let (goal, waiting) = watch::channel(0);
    let mut inside = JoinSet::new();
    for _ in 0..PLACES {
        let mut client = Client { stream: ask(proxy.port).await, text: String::new() };
        let waiting = waiting.clone();
        inside.spawn(async move {
            assert_eq!(client.status().await, 200);
            client.reads_until(waiting).await
        });
    }
    until("all places to be taken", || async { proxy.clients().await == PLACES as u64 }).await;
    let before = published.load(Ordering::Relaxed);
    let mut outside = JoinSet::new();
    for _ in PLACES..CLIENTS {
        let stream = ask(proxy.port).await;
        outside.spawn(async move {
            let mut client = Client { stream, text: String::new() };
            let status = client.status().await;
            assert!(client.text.contains("retry-after: 5"), "{}", client.text);
            status
        });
    }
    let refused = outside.join_all().await;
    assert!(refused.iter().all(|status| *status == 503));
    let meanwhile = published.load(Ordering::Relaxed) - before;
    goal.send_replace(published.load(Ordering::Relaxed) + 4);
    let counts = inside.join_all().await;
    assert_eq!(subscriptions.load(Ordering::Relaxed), 1);
    let events: u64 = counts.iter().sum();
    println!(
        "crowd: {} clients in, {} refused with 503 while {meanwhile} events came; {events} deliveries to those who are in, \
         none lost, none twice, none closed; 1 subscription",
        counts.len(),
        refused.len(),
    );
}
