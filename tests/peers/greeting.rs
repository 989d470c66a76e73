//! sse-starlette greets each connection with a snapshot: what a late client gets (spec 4.8).

use std::time::Duration;

use tokio::io::{BufReader, Lines};
use tokio::process::{ChildStdout, Command};

use crate::support::{Process, Ssecar, curl, free_port, listening, python, until};

/// Longer than the pause of 250 ms with which an opening ends.
const OPENING_IS_OVER: Duration = Duration::from_millis(400);

/// The service: it greets with the number of the newest change, then sends each change's number.
struct Greeter {
    port: u16,
    process: Process,
}

impl Greeter {
    async fn start() -> Self {
        let port = free_port();
        Self { port, process: Self::run(port, 0).await }
    }

    async fn run(port: u16, changes: u32) -> Process {
        let process = Process::start(python("greeter.py").args([port.to_string(), changes.to_string()]));
        listening(port).await;
        process
    }

    /// Killed, and back with the changes that were made meanwhile.
    async fn restart(&mut self, changes: u32) {
        self.process.signal("KILL");
        self.process.ended().await;
        self.process = Self::run(self.port, changes).await;
    }

    async fn change(&self) {
        curl(&["--request", "POST", &format!("http://127.0.0.1:{}/change", self.port)]).await;
    }

    /// Connections so far, and those that read now.
    async fn readers(&self) -> (u64, u64) {
        let text = curl(&[&format!("http://127.0.0.1:{}/state", self.port)]).await;
        let state: serde_json::Value = serde_json::from_str(&text).unwrap();
        (state["connections"].as_u64().unwrap(), state["readers"].as_u64().unwrap())
    }
}

/// curl, and what it prints.
struct Reader {
    process: Process,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Reader {
    fn start(ssecar: &Ssecar) -> Self {
        let mut command = Command::new("curl");
        command.args(["--silent", "-N", "-H", "Accept: text/event-stream", &ssecar.url("/v1/events")]);
        let (process, lines) = Process::with_lines(&mut command);
        Self { process, lines }
    }

    /// The events up to this one: data, after the type where there is one; of a gap the reason.
    async fn until(&mut self, last: &str) -> Vec<String> {
        let (mut seen, mut kind) = (Vec::new(), String::new());
        while seen.last().is_none_or(|event| event != last) {
            let line = self.lines.next_line().await.unwrap().expect("the stream goes on");
            if let Some(value) = line.strip_prefix("event: ") {
                kind = format!("{value} ");
            } else if let Some(data) = line.strip_prefix("data: ") {
                seen.push(match kind.as_str() {
                    "ssecar-gap " => {
                        let gap: serde_json::Value = serde_json::from_str(data).unwrap();
                        format!("gap {}", gap["reason"].as_str().unwrap())
                    }
                    _ => format!("{kind}{data}"),
                });
            } else if line.is_empty() {
                kind.clear();
            }
        }
        seen
    }

    async fn leave(mut self) {
        self.process.signal("KILL");
        self.process.ended().await;
    }
}

/// A service that made two changes since it greeted the subscription, and a client that saw all.
struct Stage {
    greeter: Greeter,
    ssecar: Ssecar,
    first: Reader,
}

impl Stage {
    async fn set(flags: &[&str]) -> Self {
        let greeter = Greeter::start().await;
        let ssecar = Ssecar::start(greeter.port, flags).await;
        let mut first = Reader::start(&ssecar);
        assert_eq!(first.until("snapshot 0").await, ["snapshot 0"]);
        tokio::time::sleep(OPENING_IS_OVER).await;
        greeter.change().await;
        greeter.change().await;
        assert_eq!(first.until("2").await, ["1", "2"]);
        Self { greeter, ssecar, first }
    }

    /// A client that comes now, once it has its place among the session's clients.
    async fn late_client(&self) -> Reader {
        let late = Reader::start(&self.ssecar);
        until("the late client", || async { self.ssecar.state().await["sessions"][0]["clients"] == 2 }).await;
        late
    }

    /// All that a late client sees up to the second change after it came.
    async fn seen_late(&mut self) -> Vec<String> {
        let mut late = self.late_client().await;
        // A greeting fetched for it is there, and its connection closed.
        let is_fresh = self.ssecar.has_flag("--late-join=fresh");
        let connections = if is_fresh { 2 } else { 1 };
        until("one subscription", || async { self.greeter.readers().await == (connections, 1) }).await;
        self.greeter.change().await;
        self.greeter.change().await;
        let seen = late.until("4").await;
        late.leave().await;
        assert_eq!(self.first.until("4").await, ["3", "4"], "who was there saw nothing of it");
        assert_eq!(self.greeter.readers().await, (connections, 1), "connections of the service");
        println!("a late client saw {seen:?}");
        seen
    }
}

#[tokio::test]
async fn live_gives_what_comes_from_now_on() {
    assert_eq!(Stage::set(&["--late-join=live"]).await.seen_late().await, ["3", "4"]);
}

#[tokio::test]
async fn ring_gives_what_is_kept() {
    let mut stage = Stage::set(&["--late-join=ring", "--replay-events=2"]).await;
    assert_eq!(stage.seen_late().await, ["1", "2", "3", "4"]);
}

#[tokio::test]
async fn opening_gives_the_greeting_and_then_all_that_followed() {
    let mut stage = Stage::set(&["--late-join=opening", "--replay-events=2"]).await;
    assert_eq!(stage.seen_late().await, ["snapshot 0", "1", "2", "3", "4"]);
}

#[tokio::test]
async fn opening_tells_of_what_the_ring_has_lost_since() {
    let mut stage = Stage::set(&["--late-join=opening", "--replay-events=1"]).await;
    assert_eq!(stage.seen_late().await, ["snapshot 0", "gap too-old", "2", "3", "4"]);
}

#[tokio::test]
async fn opening_is_that_of_the_present_connection() {
    let mut stage = Stage::set(&["--late-join=opening", "--backoff-initial=100ms"]).await;
    stage.greeter.restart(10).await;
    let across = stage.first.until("snapshot 10").await;
    assert_eq!(across, ["gap upstream-interrupted", "snapshot 10"], "the service gives no ids");
    tokio::time::sleep(OPENING_IS_OVER).await;
    stage.greeter.change().await;
    stage.first.until("11").await;
    let mut late = stage.late_client().await;
    assert_eq!(late.until("11").await, ["snapshot 10", "11"]);
}

#[tokio::test]
async fn fresh_fetches_a_greeting_for_this_client_alone() {
    assert_eq!(Stage::set(&["--late-join=fresh"]).await.seen_late().await, ["snapshot 2", "3", "4"]);
}

#[tokio::test]
async fn live_is_advised_against_where_every_connection_is_greeted() {
    let mut stage = Stage::set(&["--late-join=live", "--backoff-initial=100ms"]).await;
    assert_eq!(stage.ssecar.state().await["advices"], serde_json::json!([]), "once may be chance");
    for changes in [10, 20, 30] {
        stage.greeter.restart(changes).await;
        stage.first.until(&format!("snapshot {changes}")).await;
    }
    let advices = stage.ssecar.state().await["advices"].clone();
    assert_eq!(advices.as_array().unwrap().len(), 1, "{advices}");
    assert!(advices[0].as_str().unwrap().contains("/v1/events"), "{advices}");
    println!("the operator is told: {}", advices[0]);
}
