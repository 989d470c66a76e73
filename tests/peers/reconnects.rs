//! Real clients before nginx with nchan, cut off and restarted around while events flow.

use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::task::JoinHandle;

use crate::support::{Line, Nginx, Process, Relay, Ssecar, Transcript, node, until};

const PATH: &str = "/v1/sessions/1/events";

/// Between two events.
const PACE: Duration = Duration::from_millis(20);

/// How long curl's user waits before the next try, unless told otherwise.
const CURL_PAUSE: Duration = Duration::from_millis(300);

/// Events between two disturbances, so that each is survived before the next.
const CALM: u64 = 60;

/// nchan's ids are a second and a number within it, and its memory ends with it: restarted within
/// the same second it would give the same ids again, and skip what it then takes for known. No reader
/// could notice, with ssecar or without.
const NCHAN_AWAY: Duration = Duration::from_millis(1_200);

type Shared = Arc<Mutex<Transcript>>;

struct Reader {
    name: &'static str,
    transcript: Shared,
    /// Ends with the reader.
    process: Option<Process>,
    reading: JoinHandle<()>,
}

impl Reader {
    fn scripted(name: &'static str, mut command: Command) -> Self {
        let (process, mut lines) = Process::with_lines(&mut command);
        let transcript = Shared::default();
        let writing = Arc::clone(&transcript);
        let reading = tokio::spawn(async move {
            while let Some(line) = lines.next_line().await.unwrap() {
                writing.lock().unwrap().push(Line::from_json(&line));
            }
        });
        Self { name, transcript, process: Some(process), reading }
    }

    fn curl(url: String) -> Self {
        let transcript = Shared::default();
        let reading = tokio::spawn(curl_again_and_again(url, Arc::clone(&transcript)));
        Self { name: "curl -N", transcript, process: None, reading }
    }

    fn newest(&self) -> u64 {
        self.transcript.lock().unwrap().newest()
    }

    fn connections(&self) -> usize {
        self.transcript.lock().unwrap().connections()
    }
}

/// What a user's shell loop does: `curl -N` with the last id seen, again and again.
async fn curl_again_and_again(url: String, transcript: Shared) {
    let mut last_id = String::new();
    let mut pause = CURL_PAUSE;
    loop {
        let mut command = Command::new("curl");
        command.args(["--silent", "-N", "-H", "Accept: text/event-stream", &url]);
        if !last_id.is_empty() {
            command.args(["-H", &format!("Last-Event-ID: {last_id}")]);
        }
        let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        transcript.lock().unwrap().push(Line::Open);
        let (mut id, mut kind, mut data) = (None, String::new(), None);
        while let Ok(Some(line)) = lines.next_line().await {
            let (field, value) = line.split_once(": ").unwrap_or((&line, ""));
            match field {
                "id" => id = Some(value.to_owned()),
                "event" => kind = value.to_owned(),
                "data" => data = Some(value.to_owned()),
                "retry" => pause = Duration::from_millis(value.parse().unwrap()),
                "" => {
                    if let Some(id) = id.take() {
                        last_id = id;
                    }
                    if let Some(data) = data.take() {
                        transcript.lock().unwrap().push(if kind == "ssecar-gap" {
                            Line::Gap(serde_json::from_str(&data).unwrap())
                        } else {
                            Line::Event(data.parse().unwrap())
                        });
                    }
                    kind.clear();
                }
                _ => {}
            }
        }
        child.wait().await.unwrap();
        tokio::time::sleep(pause).await;
    }
}

/// Publishes 1, 2, 3, … over HTTP, each until the service has taken it.
struct Publisher {
    published: Arc<AtomicU64>,
    publishing: JoinHandle<()>,
}

impl Publisher {
    fn start(port: u16) -> Self {
        let published = Arc::new(AtomicU64::new(0));
        let counting = Arc::clone(&published);
        let publishing = tokio::spawn(async move {
            let url = format!("http://127.0.0.1:{port}/publish/1");
            for number in 1.. {
                let data = number.to_string();
                while !is_taken(&url, &data).await {
                    tokio::time::sleep(PACE).await;
                }
                counting.store(number, Ordering::SeqCst);
                tokio::time::sleep(PACE).await;
            }
        });
        Self { published, publishing }
    }

    fn count(&self) -> u64 {
        self.published.load(Ordering::SeqCst)
    }

    /// Lets so many more events pass.
    async fn pass(&self, events: u64) {
        let goal = self.count() + events;
        until("events to be published", || async move { self.count() >= goal }).await;
    }
}

async fn is_taken(url: &str, data: &str) -> bool {
    let curl = Command::new("curl")
        .args(["--silent", "--output", "/dev/null", "--write-out", "%{http_code}", "--data", data, url])
        .output()
        .await;
    // 201: somebody got it; 202: kept for whoever comes.
    matches!(&curl.unwrap().stdout[..], b"201" | b"202")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_client_gets_every_event_once_through_cuts_and_restarts() {
    assert!(
        std::path::Path::new("/usr/bin/chromium").exists(),
        "Chromium is missing: run scripts/setup-peers"
    );
    let mut nginx = Nginx::start().await;
    let flags = ["--backoff-initial=200ms", "--backoff-max=1s", "--client-retry=300ms", "--drain=2s"];
    let mut ssecar = Ssecar::start(nginx.port, &flags).await;
    let relay = Relay::to(ssecar.port).await;
    let url = format!("http://127.0.0.1:{}{PATH}", relay.port);
    let page = format!("http://127.0.0.1:{}/page.html", relay.port);
    let profile = format!("{}/chromium-{}", env!("CARGO_TARGET_TMPDIR"), relay.port);
    let with = |script, args: &[&str]| {
        let mut command = node(script);
        command.args(args);
        command
    };
    let readers = [
        Reader::curl(url.clone()),
        Reader::scripted("npm eventsource", with("eventsource.mjs", &[&url])),
        Reader::scripted("npm eventsource-parser", with("parser.mjs", &[&url])),
        Reader::scripted("Chromium EventSource", with("chromium.mjs", &[&page, PATH, &profile])),
    ];
    until("all clients to read", || async {
        ssecar.state().await["clients"].as_u64() == Some(readers.len() as u64)
    })
    .await;
    assert_eq!(ssecar.state().await["session_count"], 1, "they share one session");
    let publisher = Publisher::start(nginx.port);
    let settled = |goal: u64| until_all_read(&readers, goal);
    publisher.pass(CALM).await;

    for _ in 0..3 {
        let before: Vec<_> = readers.iter().map(Reader::connections).collect();
        relay.cut();
        publisher.pass(CALM).await;
        settled(publisher.count()).await;
        let all_came_back =
            readers.iter().zip(&before).all(|(reader, before)| reader.connections() > *before);
        assert!(all_came_back, "each client was cut off and came back");
    }
    for signal in ["TERM", "KILL", "TERM"] {
        ssecar.restart(signal).await;
        publisher.pass(CALM).await;
        settled(publisher.count()).await;
    }
    for away in [NCHAN_AWAY, 2 * NCHAN_AWAY] {
        nginx.restart(away).await;
        publisher.pass(CALM).await;
        settled(publisher.count()).await;
    }
    // Two at once. Not ssecar and nginx: what nginx takes while nobody subscribes dies with it.
    relay.cut();
    ssecar.restart("TERM").await;
    publisher.pass(CALM).await;
    settled(publisher.count()).await;
    relay.cut();
    nginx.restart(NCHAN_AWAY).await;
    publisher.pass(CALM).await;
    publisher.publishing.abort();
    settled(publisher.count()).await;
    until("one reader at the service", || async { nginx.readers().await == 1 }).await;

    println!("{} events published, {} connections through the relay", publisher.count(), relay.taken());
    let mut failed = Vec::new();
    for reader in readers {
        let verdict = reader.transcript.lock().unwrap().judge();
        println!(
            "{:24} {:4} events, {:2} connections, {} gap notices, {} lost, {} doubled",
            reader.name,
            verdict.events,
            verdict.connections,
            verdict.gaps,
            verdict.lost.len(),
            verdict.doubled.len()
        );
        if !verdict.lost.is_empty() || !verdict.doubled.is_empty() {
            failed.push((reader.name, verdict));
        }
        reader.reading.abort();
        if let Some(process) = reader.process {
            process.stop().await;
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}

async fn until_all_read(readers: &[Reader], goal: u64) {
    until(&format!("all clients to have event {goal}"), || async move {
        readers.iter().all(|reader| reader.newest() >= goal)
    })
    .await;
}
