use std::time::SystemTime;

use serde_json::Value as Json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::task::JoinHandle;

use super::*;
use crate::message::trace_context::TraceContext;
use crate::telemetry::otlp;
use crate::telemetry::span::Kind;
use crate::upstream::testing::tcp;
use crate::upstream::{Dial, Duplex, UpstreamClient};

/// More than any batch.
const PIPE_BYTES: usize = 1 << 20;

/// An exporter before a collector that the test plays, over pipes in memory.
struct Rig {
    spans: mpsc::Sender<Span>,
    connections: mpsc::Receiver<DuplexStream>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    running: JoinHandle<()>,
    started: Instant,
}

fn span(number: u64) -> Span {
    Span {
        context: TraceContext::root([1; 16], number.to_be_bytes(), true).unwrap(),
        parent: None,
        kind: Kind::Client,
        name: "subscribe",
        started: SystemTime::UNIX_EPOCH,
        took: Duration::ZERO,
        attributes: Vec::new(),
        is_error: false,
    }
}

impl Rig {
    fn start() -> Self {
        let (accept, connections) = mpsc::channel(1);
        let dial: Dial = Arc::new(move || {
            let accept = accept.clone();
            Box::pin(async move {
                let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
                accept.send(theirs).await.map_err(|_| std::io::ErrorKind::ConnectionRefused)?;
                Ok(Box::new(ours) as Box<dyn Duplex>)
            })
        });
        let client = UpstreamClient::dialling(&tcp(([127, 0, 0, 1], 4318).into()), dial).unwrap();
        let collector = Collector::new(client, None, otlp::resource("test", &[]));
        let (queue, spans) = mpsc::channel(SPANS_QUEUED_MAX);
        let metrics = Arc::new(Metrics::default());
        let exporter = Exporter::new(spans, collector, "http://collector".into(), Arc::clone(&metrics));
        let stop = CancellationToken::new();
        let running = tokio::spawn(exporter.run(stop.clone()));
        Self { spans: queue, connections, metrics, stop, running, started: Instant::now() }
    }

    fn send(&self, count: u64) {
        for number in 1..=count {
            self.spans.try_send(span(number)).unwrap();
        }
    }

    /// Takes one request, and answers it; how many spans it has, and when it came.
    async fn answer(&mut self, answer: &str) -> (usize, Duration) {
        let mut connection = self.connections.recv().await.unwrap();
        let came = self.started.elapsed();
        let mut request = Vec::new();
        let body = loop {
            connection.read_buf(&mut request).await.unwrap();
            let text = String::from_utf8_lossy(&request).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                if body.len() == length.unwrap().parse::<usize>().unwrap() {
                    assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
                    assert!(head.contains("content-type: application/json\r\n"), "{head}");
                    break body.to_owned();
                }
            }
        };
        connection.write_all(answer.as_bytes()).await.unwrap();
        let body: Json = serde_json::from_str(&body).unwrap();
        (body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().len(), came)
    }

    fn dropped(&self, why: SpanLoss) -> u64 {
        self.metrics.spans_dropped.get(why)
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";

#[tokio::test(start_paused = true)]
async fn spans_wait_for_each_other_but_not_long_and_batches_are_bounded() {
    let mut rig = Rig::start();
    rig.send(BATCH_SPANS_MAX as u64 + 3);
    let (count, came) = rig.answer(OK).await;
    assert_eq!((count, came), (BATCH_SPANS_MAX, Duration::ZERO));
    let (count, came) = rig.answer(OK).await;
    assert_eq!(count, 3);
    assert!((BATCH_WAIT..BATCH_WAIT * 2).contains(&came), "{came:?}");
    rig.stop.cancel();
    rig.running.await.unwrap();
    assert_eq!(rig.metrics.spans_exported.get(), BATCH_SPANS_MAX as u64 + 3);
    assert_eq!(rig.metrics.spans_dropped.total(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_collector_that_is_busy_is_asked_again_when_it_wants() {
    let mut rig = Rig::start();
    rig.send(1);
    let busy = "HTTP/1.1 503 X\r\nRetry-After: 7\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let (_, first) = rig.answer(busy).await;
    let (_, second) = rig.answer(OK).await;
    assert!(second - first >= Duration::from_secs(7), "{first:?} {second:?}");
    rig.stop.cancel();
    rig.running.await.unwrap();
    assert_eq!((rig.metrics.spans_exported.get(), rig.metrics.spans_dropped.total()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn what_a_collector_refuses_is_not_sent_again() {
    let mut rig = Rig::start();
    rig.send(2);
    rig.answer("HTTP/1.1 400 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
    rig.stop.cancel();
    rig.running.await.unwrap();
    assert_eq!(rig.metrics.spans_dropped.get(SpanLoss::NotTaken), 2);
    assert!(rig.connections.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn spans_that_a_collector_rejects_are_counted() {
    let mut rig = Rig::start();
    rig.send(3);
    let body = r#"{"partialSuccess":{"rejectedSpans":"2","errorMessage":"old"}}"#;
    let length = body.len();
    rig.answer(&format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"))
        .await;
    rig.stop.cancel();
    let metrics = Arc::clone(&rig.metrics);
    rig.running.await.unwrap();
    assert_eq!((metrics.spans_exported.get(), metrics.spans_dropped.get(SpanLoss::Rejected)), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_nobody_takes_is_dropped_after_some_tries_and_the_queue_stays_bounded() {
    let mut rig = Rig::start();
    rig.send(1);
    // It takes connections, and never answers: for minutes.
    let mut held = Vec::new();
    for _ in 0..TRIES_MAX {
        held.push(rig.connections.recv().await.unwrap());
    }
    while rig.dropped(SpanLoss::NotTaken) == 0 {
        sleep(Duration::from_secs(1)).await;
    }
    let took = rig.started.elapsed();
    assert!(took > RESPONSE_PATIENCE * TRIES_MAX, "{took:?}");
    assert_eq!(rig.dropped(SpanLoss::NotTaken), 1);
    rig.send(SPANS_QUEUED_MAX as u64);
    assert!(rig.spans.try_send(span(1)).is_err());
}

/// What the client of the tests waits for an answer.
const RESPONSE_PATIENCE: Duration = crate::upstream::testing::PATIENCE;

#[tokio::test(start_paused = true)]
async fn stopping_sends_what_is_left_at_once() {
    let mut rig = Rig::start();
    rig.send(BATCH_SPANS_MAX as u64 + 1);
    rig.stop.cancel();
    assert_eq!(rig.answer(OK).await.0, BATCH_SPANS_MAX);
    assert_eq!(rig.answer(OK).await.0, 1);
    rig.running.await.unwrap();
    assert!(rig.started.elapsed() < BATCH_WAIT);
}

#[tokio::test(start_paused = true)]
async fn stopping_does_not_wait_long_for_a_collector_that_is_dead() {
    let mut rig = Rig::start();
    rig.send(BATCH_SPANS_MAX as u64 + 1);
    let _silent = rig.connections.recv().await.unwrap();
    let stopped = Instant::now();
    rig.stop.cancel();
    rig.running.await.unwrap();
    assert!(stopped.elapsed() <= FLUSH_TIMEOUT + Duration::from_millis(2));
    assert_eq!(rig.metrics.spans_dropped.get(SpanLoss::NotTaken), BATCH_SPANS_MAX as u64 + 1);
}
