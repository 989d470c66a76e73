//! A real Prometheus scrapes a real ssecar, by the configuration that operators are given: every panel finds something, and
//! every alert can be evaluated.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::Command;

use crate::dashboard::{dashboard, expressions, filled_in};
use crate::files::file;
use crate::service::Service;
use crate::support::{Process, Ssecar, curl, free_port, listening, until};

/// What rates are taken over: long enough for everything to be seen at once, with two scrapes a second.
const WINDOW: &str = "1m";

/// Expressions that find their series, but nothing above zero here, with the reason.
const MAY_BE_ZERO: [(&str, &str); 1] =
    [("ssecar_state_write_failures_total", "there is no --state-dir, so that no write to it fails")];

/// Larger than `--max-event-size` below.
const TOO_LARGE: usize = 300 << 10;

/// As much as a client may fall behind, and some socket buffers, several times over.
const FLOOD: usize = 120;

struct Prometheus {
    port: u16,
    folder: PathBuf,
    _process: Process,
}

impl Prometheus {
    async fn start(ssecar: &Ssecar) -> Self {
        let port = free_port();
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("prometheus-{port}"));
        std::fs::create_dir_all(&folder).unwrap();
        let token = folder.join("token");
        std::fs::write(&token, "no-token-is-asked-for-on-loopback").unwrap();
        std::fs::copy(file("deploy/prometheus/alerts.yml"), folder.join("alerts.yml")).unwrap();
        let mut text = std::fs::read_to_string(file("deploy/prometheus/prometheus.yml")).unwrap();
        for (word, other) in [
            ("15s", "500ms".to_owned()),
            ("/run/secrets/ssecar-token", token.display().to_string()),
            ("ssecar:9180", format!("127.0.0.1:{}", ssecar.admin)),
        ] {
            assert!(text.contains(word), "prometheus.yml does not say {word} any more");
            text = text.replace(word, &other);
        }
        let configuration = folder.join("prometheus.yml");
        std::fs::write(&configuration, text).unwrap();
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", configuration.display()));
        command.arg(format!("--storage.tsdb.path={}", folder.join("data").display()));
        command.args([&format!("--web.listen-address=127.0.0.1:{port}"), "--log.level=error"]);
        let prometheus = Self { port, folder, _process: Process::start(&mut command) };
        listening(port).await;
        let ready = format!("http://127.0.0.1:{port}/-/ready");
        let status = ["--output", "/dev/null", "--write-out", "%{http_code}", &ready];
        until("Prometheus to be ready", || async { curl(&status).await == "200" }).await;
        until("a scrape", || async { prometheus.values("up{job=\"ssecar\"}").await == [1.0] }).await;
        prometheus
    }

    async fn api(&self, path: &str, args: &[&str]) -> Value {
        let url = format!("http://127.0.0.1:{}/api/v1/{path}", self.port);
        let answer: Value = serde_json::from_str(&curl(&[args, &[&url]].concat()).await).unwrap();
        assert_eq!(answer["status"], "success", "{args:?}: {answer}");
        answer["data"].clone()
    }

    /// What an expression gives at this moment.
    async fn values(&self, expression: &str) -> Vec<f64> {
        let query = format!("query={expression}");
        let data = self.api("query", &["--data-urlencode", &query]).await;
        let series = data["result"].as_array().unwrap();
        series.iter().map(|series| series["value"][1].as_str().unwrap().parse().unwrap()).collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // A folder that stays behind is no reason to fail.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[derive(PartialEq, Eq)]
enum Reads {
    All,
    Nothing,
}

/// Asks for a stream, and gives its connection.
async fn subscribe(port: u16, path: &str, fields: &str, reads: Reads) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    if reads == Reads::Nothing {
        // To be behind soon.
        socket.set_recv_buffer_size(4096).unwrap();
    }
    let mut stream = socket.connect(([127, 0, 0, 1], port).into()).await.unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n{fields}\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

/// A client that reads, until its stream ends.
async fn reader(port: u16, path: &str, fields: &str) -> tokio::task::JoinHandle<()> {
    let mut stream = subscribe(port, path, fields, Reads::All).await;
    tokio::spawn(async move {
        let mut bytes = vec![0; 1 << 16];
        while stream.read(&mut bytes).await.is_ok_and(|count| count > 0) {}
    })
}

async fn metric(ssecar: &Ssecar, name: &str) -> f64 {
    let text = curl(&[&ssecar.admin_url("/metrics")]).await;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("{name} is not served")).parse().unwrap()
}

async fn reaches(ssecar: &Ssecar, name: &str, least: f64) {
    until(&format!("{name} to reach {least}"), || async { metric(ssecar, name).await >= least }).await;
}

/// One of everything that the dashboard shows, the service's end excepted.
async fn traffic(service: &Service, ssecar: &Ssecar) {
    const STREAM: &str = "/v1/rooms/1/events";
    let port = ssecar.port;
    let mut readers = vec![reader(port, STREAM, "").await];
    reaches(ssecar, "ssecar_upstream_subscriptions", 1.0).await;
    for number in 0..10 {
        service.publish(&format!("event {number}"));
        reaches(ssecar, "ssecar_events_received_total", f64::from(number + 1)).await;
    }
    service.publish("passing\nevent: ping");
    service.publish(&"x".repeat(TOO_LARGE));
    // One that catches up by the service's ids, one whose id nobody knows, one that stays for a moment.
    readers.push(reader(port, STREAM, "Last-Event-ID: aaaaaaaa.1.1\r\n").await);
    reaches(ssecar, "ssecar_catch_ups_total", 1.0).await;
    readers.push(reader(port, STREAM, "Last-Event-ID: aaaaaaaa.1\r\n").await);
    let moment = subscribe(port, "/v1/short/1", "", Reads::All).await;
    reaches(ssecar, "ssecar_clients_joined_total", 4.0).await;
    drop(moment);
    reaches(ssecar, "ssecar_sessions_ended_total{reason=\"lingered\"}", 1.0).await;
    // One that reads nothing of many events.
    let _slow = subscribe(port, STREAM, "", Reads::Nothing).await;
    reaches(ssecar, "ssecar_clients_joined_total", 5.0).await;
    let piece = "x".repeat(TOO_LARGE / 2);
    let mut published = 0;
    until("the slow client to be closed", || {
        // Some at a time, up to what must be too much.
        if published < FLOOD {
            service.publish(&piece);
            published += 1;
        }
        async { metric(ssecar, "ssecar_clients_closed_total{reason=\"slow\"}").await >= 1.0 }
    })
    .await;
    assert_eq!(curl(&[&ssecar.url("/page")]).await, "page\n");
    let mut ambiguous = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n";
    ambiguous.write_all(head.as_bytes()).await.unwrap();
    reaches(ssecar, "ssecar_refused_total{limit=\"framing\"}", 1.0).await;
    // The subscription breaks; the next one repeats an event.
    service.cut();
    reaches(ssecar, "ssecar_events_repeated_total", 1.0).await;
    // They live on with their tasks.
    drop(readers);
}

/// Takes out what finds something now.
async fn look(prometheus: &Prometheus, missing: &mut BTreeMap<String, String>) {
    for expression in missing.keys().cloned().collect::<Vec<_>>() {
        let may_be_zero = MAY_BE_ZERO.iter().any(|(part, _)| expression.contains(part));
        let values = prometheus.values(&filled_in(&expression, WINDOW)).await;
        if values.iter().any(|value| value.is_finite() && (*value > 0.0 || may_be_zero)) {
            missing.remove(&expression);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_panel_finds_what_happened() {
    let service = Service::start().await;
    let flags = [
        "--max-event-size=256KiB",
        "--client-lag=512KiB",
        "--replay-events=4",
        "--ephemeral=ping",
        "--backoff-initial=100ms",
        "--backoff-max=200ms",
        "--route=/v1/short/** linger=100ms",
    ];
    let mut ssecar = Ssecar::start(service.port, &flags).await;
    let prometheus = Prometheus::start(&ssecar).await;
    // A restart is shown too.
    ssecar.restart("TERM").await;
    traffic(&service, &ssecar).await;
    let mut missing: BTreeMap<_, _> = expressions(&dashboard()).into_iter().map(|(a, b)| (b, a)).collect();
    until("the last of it to be scraped", || async {
        prometheus.values("ssecar_events_repeated_total > 0").await == [1.0]
    })
    .await;
    look(&prometheus, &mut missing).await;
    // And then the service is gone: the breaker opens.
    drop(service);
    until("the breaker to open", || async {
        metric(&ssecar, "ssecar_breaker_state{state=\"closed\"}").await == 0.0
    })
    .await;

    let looking = async {
        while !missing.is_empty() {
            look(&prometheus, &mut missing).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    // What is still missing then is shown.
    let _ = tokio::time::timeout(Duration::from_secs(30), looking).await;
    assert!(missing.is_empty(), "nothing is found by {missing:#?}");

    let rules = prometheus.api("rules", &[]).await;
    let rules = rules["groups"][0]["rules"].as_array().unwrap();
    assert!(rules.len() > 10, "{rules:?}");
    for rule in rules {
        assert_eq!(rule["health"], "ok", "{rule}");
    }
}
