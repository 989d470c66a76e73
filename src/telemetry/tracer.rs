//! Who begins spans, whether they are recorded, and what is said of them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use http::header::HOST;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, Request, Response, StatusCode, Uri, Version};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::span::{Kind, Parent, Span, method_name};
use crate::config::{Transport, UpstreamTarget};
use crate::message::negotiation;
use crate::message::query::split_target;
use crate::message::session_key::KeyRules;
use crate::message::trace_context::{TRACESTATE, TraceContext};
use crate::metrics::{Metrics, SpanLoss};
use crate::upstream::subscription::SubscriptionRequest;
use crate::upstream::{UpstreamClient, UpstreamError};

/// What a span says came of a request that was dropped before it had an answer.
const ABANDONED: &str = "abandoned";

/// Begins spans. Cheap to clone. The default one is off: it begins none, and touches no header.
#[derive(Debug, Clone, Default)]
pub struct Tracer {
    shared: Option<Arc<Shared>>,
}

#[derive(Debug)]
struct Shared {
    queue: mpsc::Sender<Span>,
    sampler: Sampler,
    upstream: Upstream,
    rules: Arc<KeyRules>,
    metrics: Arc<Metrics>,
}

/// How the upstream is named in spans.
#[derive(Debug)]
struct Upstream {
    base_url: String,
    address: String,
    port: Option<u16>,
}

/// Why ssecar asks the upstream for an event stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A session's subscription. The first attempt is made for the client that opened it, the later ones for none.
    Subscribe {
        /// 1, 2, 3, … in the life of the session.
        attempt: u64,
    },
    /// One client fetches what is no longer kept (spec 6.7).
    CatchUp,
    /// One client fetches a greeting (`late-join=fresh`).
    Greet,
    /// The upstream is asked whether one client may join (`share=authorized`).
    Admit,
}

impl Purpose {
    fn name(self) -> &'static str {
        match self {
            Self::Subscribe { .. } => "subscribe",
            Self::CatchUp => "catch-up",
            Self::Greet => "greeting",
            Self::Admit => "admission",
        }
    }

    /// Whether a client's request waits for it.
    fn is_for_a_client(self) -> bool {
        match self {
            Self::Subscribe { attempt } => attempt <= 1,
            Self::CatchUp | Self::Greet | Self::Admit => true,
        }
    }
}

/// Decides by a trace's id, so that all who decide by the same rule decide alike.
#[derive(Debug, Clone, Copy)]
struct Sampler {
    /// Of 2^56, the range of the id's last seven bytes.
    recorded: u64,
}

impl Sampler {
    fn new(ratio: f64) -> Self {
        // A float turned into an integer is cut to its range.
        Self { recorded: (ratio * (1_u64 << 56) as f64) as u64 }
    }

    fn records(self, trace_id: [u8; 16]) -> bool {
        let [.., a, b, c, d, e, f, g] = trace_id;
        u64::from_be_bytes([0, a, b, c, d, e, f, g]) < self.recorded
    }
}

impl Tracer {
    pub(super) fn new(
        queue: mpsc::Sender<Span>,
        sample: f64,
        target: &UpstreamTarget,
        rules: Arc<KeyRules>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let sampler = Sampler::new(sample);
        let upstream = Upstream::of(target);
        Self { shared: Some(Arc::new(Shared { queue, sampler, upstream, rules, metrics })) }
    }

    /// Whether it begins any.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.shared.is_some()
    }

    /// Begins the span of a client's request, as it came; `None`: it is off. `scheme` is `http` or `https`.
    #[must_use]
    pub fn request<B>(&self, request: &Request<B>, scheme: &str) -> Option<OpenSpan> {
        let shared = self.shared.as_ref()?;
        let parent = TraceContext::of(request.headers()).map(|context| Parent { context, is_remote: true });
        shared.begin(parent, |context| {
            let method = method_name(request.method());
            let mut span =
                blank(context, parent, Kind::Server, if method == "_OTHER" { "HTTP" } else { method });
            span.set("http.request.method", method);
            let target = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
            let target = shared.rules.shown(target);
            let (path, query) = split_target(&target);
            span.set("url.scheme", scheme);
            span.set("url.path", path);
            if let Some(query) = query {
                span.set("url.query", query);
            }
            if let Some(authority) = authority(request.uri(), request.headers()) {
                span.set("server.address", bare(authority.host()));
                if let Some(port) = authority.port_u16() {
                    span.set("server.port", port);
                }
            }
            span.set(
                "network.protocol.version",
                if request.version() == Version::HTTP_2 { "2" } else { "1.1" },
            );
            span
        })
    }

    /// Begins the span of a request of ssecar's own, and puts its place into the request; `None`: it is off.
    #[must_use]
    pub fn attempt(
        &self,
        request: SubscriptionRequest,
        purpose: Purpose,
    ) -> (SubscriptionRequest, Option<OpenSpan>) {
        let Some(shared) = &self.shared else { return (request, None) };
        let cause = request.cause().filter(|_| purpose.is_for_a_client());
        let parent = cause.map(|context| Parent { context, is_remote: false });
        let span = shared.begin(parent, |context| {
            let mut span = blank(context, parent, Kind::Client, purpose.name());
            let shown = shared.rules.shown(request.target());
            span.set("http.request.method", "GET");
            span.set("url.full", &*format!("{}{shown}", shared.upstream.base_url));
            span.set("server.address", &*shared.upstream.address);
            if let Some(port) = shared.upstream.port {
                span.set("server.port", port);
            }
            if let Purpose::Subscribe { attempt } = purpose {
                span.set("ssecar.attempt", u16::try_from(attempt).unwrap_or(u16::MAX));
            }
            span
        });
        match span {
            Some(span) => (request.in_trace(&span.context, parent.is_some()), Some(span)),
            None => (request, None),
        }
    }

    /// Asks the upstream for one client's sake, within a span.
    ///
    /// # Errors
    /// As [`SubscriptionRequest::send`].
    pub async fn ask(
        self,
        request: SubscriptionRequest,
        purpose: Purpose,
        client: UpstreamClient,
        last_event_id: Option<bytes::Bytes>,
    ) -> Result<Response<hyper::body::Incoming>, UpstreamError> {
        let (request, span) = self.attempt(request, purpose);
        let answer = request.send(client, last_event_id).await;
        if let Some(span) = span {
            span.attempted(&answer);
        }
        answer
    }
}

impl Shared {
    /// `None`: the system gives no random numbers, and the request goes its way without a span.
    fn begin(
        self: &Arc<Self>,
        parent: Option<Parent>,
        describe: impl FnOnce(TraceContext) -> Span,
    ) -> Option<OpenSpan> {
        let mut ids = [0; 24];
        getrandom::fill(&mut ids).ok()?;
        let (trace_id, span_id) = ids.split_first_chunk::<16>()?;
        let span_id = *span_id.first_chunk::<8>()?;
        let context = match parent {
            Some(parent) => parent.context.child(span_id)?,
            None => TraceContext::root(*trace_id, span_id, self.sampler.records(*trace_id))?,
        };
        let recording = context.is_sampled().then(|| {
            Box::new(Recording { span: describe(context), started: Instant::now(), shared: Arc::clone(self) })
        });
        Some(OpenSpan { context, has_parent: parent.is_some(), recording })
    }
}

fn blank(context: TraceContext, parent: Option<Parent>, kind: Kind, name: &'static str) -> Span {
    let started = SystemTime::now();
    let took = std::time::Duration::ZERO;
    Span { context, parent, kind, name, started, took, attributes: Vec::new(), is_error: false }
}

/// A span that has begun. One that is dropped says that its request was abandoned.
#[derive(Debug)]
pub struct OpenSpan {
    context: TraceContext,
    has_parent: bool,
    /// `None`: its trace is not recorded. It has its place in it all the same.
    recording: Option<Box<Recording>>,
}

#[derive(Debug)]
struct Recording {
    span: Span,
    started: Instant,
    shared: Arc<Shared>,
}

impl OpenSpan {
    /// Makes a request that is passed on a part of this span. A `tracestate` without a valid `traceparent` goes.
    pub fn inject(&self, headers: &mut HeaderMap) {
        self.context.inject(headers);
        if !self.has_parent {
            headers.remove(TRACESTATE);
        }
    }

    /// The client's request has its answer's head. `outcome` says what became of it, `problem` which error ssecar
    /// itself answered.
    pub fn answered(mut self, status: StatusCode, outcome: &'static str, problem: Option<&'static str>) {
        let Some(mut recording) = self.recording.take() else { return };
        recording.span.is_error = status.is_server_error();
        recording.span.set("http.response.status_code", status.as_u16());
        if let Some(problem) = problem {
            recording.span.set("error.type", problem);
        } else if status.is_server_error() {
            recording.span.set("error.type", status.as_str());
        }
        recording.end(outcome);
    }

    /// A request of ssecar's own was answered, or failed.
    pub fn attempted<B>(mut self, answer: &Result<Response<B>, UpstreamError>) {
        let Some(mut recording) = self.recording.take() else { return };
        let outcome = match answer {
            Ok(response) => {
                let status = response.status();
                recording.span.set("http.response.status_code", status.as_u16());
                if status.is_client_error() || status.is_server_error() {
                    recording.span.is_error = true;
                    recording.span.set("error.type", status.as_str());
                }
                let is_stream = status == StatusCode::OK
                    && negotiation::is_event_stream(response.headers())
                    && negotiation::is_identity(response.headers());
                if is_stream { "stream" } else { "other-answer" }
            }
            Err(error) => {
                recording.span.is_error = true;
                recording.span.set("error.type", error.fault().token());
                "no-answer"
            }
        };
        recording.end(outcome);
    }
}

impl Drop for OpenSpan {
    fn drop(&mut self) {
        if let Some(mut recording) = self.recording.take() {
            recording.span.set("error.type", ABANDONED);
            recording.end(ABANDONED);
        }
    }
}

impl Recording {
    fn end(self, outcome: &'static str) {
        let Self { mut span, started, shared } = self;
        span.took = started.elapsed();
        span.set("ssecar.outcome", outcome);
        match shared.queue.try_send(span) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                shared.metrics.spans_dropped.add(SpanLoss::QueueFull, 1);
            }
            Err(mpsc::error::TrySendError::Closed(_)) => {
                shared.metrics.spans_dropped.add(SpanLoss::NotTaken, 1);
            }
        }
    }
}

impl Upstream {
    fn of(target: &UpstreamTarget) -> Self {
        let (scheme, address, port) = match &target.transport {
            Transport::Tcp { host, port } => ("http", host.clone(), Some(*port)),
            Transport::Tls { host, port } => ("https", host.clone(), Some(*port)),
            Transport::Unix { path } => ("http", path.display().to_string(), None),
        };
        let base_url = format!("{scheme}://{}{}", target.authority, target.base_path);
        Self { base_url, address, port }
    }
}

/// The host that a request names; without the user that some try to put there.
fn authority(uri: &Uri, headers: &HeaderMap) -> Option<Authority> {
    let named = headers.get(HOST).and_then(|host| host.to_str().ok()).and_then(|host| host.parse().ok());
    uri.authority().cloned().or(named)
}

/// An IPv6 address without its brackets.
fn bare(host: &str) -> &str {
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    inner.filter(|inner| inner.parse::<IpAddr>().is_ok()).unwrap_or(host)
}

#[cfg(test)]
mod tests;
