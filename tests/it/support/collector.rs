//! An OpenTelemetry collector: takes OTLP's JSON over HTTP, and remembers all spans.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::soon;

pub(crate) struct Collector {
    address: SocketAddr,
    taken: Arc<Taken>,
}

#[derive(Default)]
struct Taken {
    requests: Mutex<Vec<Request>>,
    came: Notify,
}

/// One batch, as it came.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) head: String,
    pub(crate) body: String,
}

/// What one span says.
#[derive(Clone, Debug)]
pub(crate) struct Span(Value);

impl Collector {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let taken = Arc::new(Taken::default());
        let shared = Arc::clone(&taken);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self { address, taken }
    }

    /// The flag that points a proxy here.
    pub(crate) fn flag(&self) -> String {
        format!("--otlp-endpoint=http://{}/otlp", self.address)
    }

    /// All batches so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.taken.requests.lock().unwrap().clone()
    }

    /// All spans so far.
    pub(crate) fn spans(&self) -> Vec<Span> {
        self.requests().iter().flat_map(Request::spans).collect()
    }

    /// The first span of this name, however long it takes to come.
    pub(crate) async fn span(&self, name: &str) -> Span {
        self.find(name, |_| true).await
    }

    /// The first span of this name that fulfils a condition.
    pub(crate) async fn find(&self, name: &str, is_it: impl Fn(&Span) -> bool) -> Span {
        soon(&format!("a span {name}"), async {
            loop {
                let came = self.taken.came.notified();
                if let Some(span) = self.spans().into_iter().find(|span| span.name() == name && is_it(span)) {
                    return span;
                }
                came.await;
            }
        })
        .await
    }
}

async fn serve(mut stream: TcpStream, taken: Arc<Taken>) {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let request = text.split_once("\r\n\r\n").filter(|(head, body)| {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            length.is_none_or(|length| body.len() >= length.parse().unwrap())
        });
        if let Some((head, body)) = request {
            taken.requests.lock().unwrap().push(Request { head: head.into(), body: body.into() });
            taken.came.notify_waiters();
            bytes.clear();
            let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
        if !stream.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
            return;
        }
    }
}

impl Request {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    fn spans(&self) -> Vec<Span> {
        let json = self.json();
        let spans = json["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap();
        spans.iter().cloned().map(Span).collect()
    }
}

impl Span {
    pub(crate) fn name(&self) -> &str {
        self.0["name"].as_str().unwrap()
    }

    pub(crate) fn trace(&self) -> &str {
        self.0["traceId"].as_str().unwrap()
    }

    pub(crate) fn id(&self) -> &str {
        self.0["spanId"].as_str().unwrap()
    }

    /// The id of the span that it is part of.
    pub(crate) fn parent(&self) -> Option<&str> {
        self.0.get("parentSpanId").map(|parent| parent.as_str().unwrap())
    }

    pub(crate) fn is_error(&self) -> bool {
        self.0.pointer("/status/code").is_some_and(|code| *code == 2)
    }

    /// 2: server, 3: client.
    pub(crate) fn kind(&self) -> u64 {
        self.0["kind"].as_u64().unwrap()
    }

    /// An attribute, as text; none that is not there.
    pub(crate) fn attribute(&self, name: &str) -> Option<String> {
        let attributes = self.0["attributes"].as_array().unwrap();
        let attribute = attributes.iter().find(|attribute| attribute["key"] == name)?;
        let value = attribute["value"].as_object().unwrap().values().next().unwrap();
        Some(value.as_str().unwrap().to_owned())
    }
}
