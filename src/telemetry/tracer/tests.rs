use http::HeaderValue;

use super::*;
use crate::message::trace_context::TRACEPARENT;
use crate::telemetry::span::Value;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

struct Rig {
    tracer: Tracer,
    spans: mpsc::Receiver<Span>,
    metrics: Arc<Metrics>,
}

fn rig(sample: f64, queued_max: usize) -> Rig {
    let (queue, spans) = mpsc::channel(queued_max);
    let target = UpstreamTarget {
        transport: Transport::Tcp { host: "app".into(), port: 9000 },
        authority: "app:9000".parse().unwrap(),
        base_path: "/base".into(),
    };
    let rules = KeyRules { credential_query: vec!["who".into()], ..KeyRules::default() };
    let metrics = Arc::new(Metrics::default());
    let tracer = Tracer::new(queue, sample, &target, Arc::new(rules), Arc::clone(&metrics));
    Rig { tracer, spans, metrics }
}

fn get(uri: &str, headers: &[(&'static str, &str)]) -> Request<()> {
    let mut request = Request::new(());
    *request.uri_mut() = uri.parse().unwrap();
    for (name, value) in headers {
        request.headers_mut().append(*name, HeaderValue::from_str(value).unwrap());
    }
    request
}

fn text<'a>(span: &'a Span, name: &str) -> Option<&'a str> {
    span.attributes.iter().find(|(known, _)| *known == name).map(|(_, value)| match value {
        Value::Text(text) => text.as_str(),
        Value::Number(_) => panic!("{name} is a number"),
    })
}

#[test]
fn a_tracer_that_is_off_begins_nothing() {
    let tracer = Tracer::default();
    assert!(tracer.request(&get("/a", &[("traceparent", PARENT)]), "http").is_none());
    let request = SubscriptionRequest::new("/a".parse().unwrap(), HeaderMap::new());
    let (same, span) = tracer.attempt(request.clone(), Purpose::CatchUp);
    assert!(span.is_none() && same == request && !tracer.is_on());
}

#[test]
fn a_span_tells_what_was_asked_without_its_secrets() {
    let mut rig = rig(1.0, 4);
    let headers = [("host", "me:hunter2@shop.example:8443"), ("authorization", "Bearer hunter2")];
    let request = get("/a/b?page=1&token=hunter2&WHO=hunter2&x-amz-signature=hunter2", &headers);
    rig.tracer.request(&request, "https").unwrap().answered(StatusCode::OK, "forwarded", None);
    let span = rig.spans.try_recv().unwrap();
    assert_eq!((span.name, span.kind, span.is_error), ("GET", Kind::Server, false));
    assert_eq!(text(&span, "url.path"), Some("/a/b"));
    assert_eq!(text(&span, "url.query"), Some("page=1&token=***&WHO=***&x-amz-signature=***"));
    assert_eq!(text(&span, "server.address"), Some("shop.example"));
    assert_eq!(text(&span, "ssecar.outcome"), Some("forwarded"));
    assert!(!format!("{span:?}").contains("hunter2"), "{span:?}");
    let subscription =
        SubscriptionRequest::new("/a?token=hunter2&b=1".parse().unwrap(), request.headers().clone());
    drop(rig.tracer.attempt(subscription, Purpose::Greet));
    let span = rig.spans.try_recv().unwrap();
    assert_eq!(text(&span, "url.full"), Some("http://app:9000/base/a?token=***&b=1"));
    assert!(!format!("{span:?}").contains("hunter2"), "{span:?}");
}

#[test]
fn a_valid_parent_decides_and_its_state_stays() {
    for (parent, sample, is_recorded) in [(PARENT, 0.0, true), (&PARENT.replace("-01", "-00"), 1.0, false)] {
        let mut rig = rig(sample, 4);
        let request = get("/a", &[("traceparent", parent), ("tracestate", "a=1"), ("tracestate", "b=2")]);
        let span = rig.tracer.request(&request, "http").unwrap();
        let mut headers = request.headers().clone();
        span.inject(&mut headers);
        let sent = TraceContext::of(&headers).unwrap();
        assert_eq!(sent.trace_id().to_string(), &parent[3..35]);
        assert_ne!(sent.span_id().to_string(), &parent[36..52]);
        assert_eq!(sent.is_sampled(), is_recorded);
        assert_eq!(headers.get_all(TRACESTATE).iter().count(), 2);
        span.answered(StatusCode::OK, "forwarded", None);
        assert_eq!(rig.spans.try_recv().is_ok(), is_recorded);
    }
}

#[test]
fn an_invalid_parent_begins_a_new_trace_without_its_state() {
    let rig = rig(1.0, 4);
    let request = get("/a", &[("traceparent", "00-zz-01"), ("tracestate", "a=1")]);
    let span = rig.tracer.request(&request, "http").unwrap();
    let mut headers = request.headers().clone();
    span.inject(&mut headers);
    assert!(TraceContext::of(&headers).unwrap().is_sampled());
    assert_eq!(headers.get_all(TRACEPARENT).iter().count(), 1);
    assert!(!headers.contains_key(TRACESTATE));
}

#[test]
fn a_subscription_belongs_to_its_first_client_and_retries_to_nobody() {
    let mut rig = rig(1.0, 8);
    let headers = get("/a", &[("traceparent", PARENT), ("tracestate", "a=1")]).headers().clone();
    let request = SubscriptionRequest::new("/a".parse().unwrap(), headers).traced();
    assert!(!request.headers().contains_key(TRACEPARENT), "no two requests would be the same");
    for (purpose, is_child) in [
        (Purpose::Subscribe { attempt: 1 }, true),
        (Purpose::Subscribe { attempt: 2 }, false),
        (Purpose::CatchUp, true),
        (Purpose::Admit, true),
    ] {
        let (sent, span) = rig.tracer.attempt(request.clone(), purpose);
        let context = TraceContext::of(sent.headers()).unwrap();
        assert_eq!(context.trace_id().to_string() == PARENT[3..35], is_child, "{purpose:?}");
        assert_eq!(sent.headers().contains_key(TRACESTATE), is_child, "{purpose:?}");
        drop(span);
        let span = rig.spans.try_recv().unwrap();
        assert_eq!(span.context, context);
        assert_eq!(span.parent.is_some(), is_child);
        assert_eq!(text(&span, "error.type"), Some("abandoned"));
    }
}

#[test]
fn a_full_queue_drops_and_counts() {
    let rig = rig(1.0, 1);
    for _ in 0..3 {
        let span = rig.tracer.request(&get("/a", &[]), "http").unwrap();
        span.answered(StatusCode::BAD_GATEWAY, "answered", Some("upstream-unreachable"));
    }
    assert_eq!(rig.metrics.spans_dropped.get(SpanLoss::QueueFull), 2);
    drop(rig.spans);
    drop(rig.tracer.request(&get("/a", &[]), "http"));
    assert_eq!(rig.metrics.spans_dropped.get(SpanLoss::NotTaken), 1);
}

#[test]
fn a_share_of_new_traces_is_recorded() {
    let id = |tail: u64| {
        let mut id = [0xff; 16];
        id[8..].copy_from_slice(&(0xff << 56 | tail).to_be_bytes());
        id
    };
    for (ratio, tail, is_recorded) in
        [(0.0, 0, false), (0.25, (1 << 54) - 1, true), (0.25, 1 << 54, false), (1.0, (1 << 56) - 1, true)]
    {
        assert_eq!(Sampler::new(ratio).records(id(tail)), is_recorded, "{ratio} {tail}");
    }
    let mut rig = rig(0.0, 4);
    let span = rig.tracer.request(&get("/a", &[]), "http").unwrap();
    let mut headers = HeaderMap::new();
    span.inject(&mut headers);
    assert!(headers[TRACEPARENT].to_str().unwrap().ends_with("-00"), "the upstream is told so");
    drop(span);
    assert!(rig.spans.try_recv().is_err());
}

#[test]
fn hosts_are_told_from_ports_and_users() {
    let named = |host: &str| {
        let request = get("/a", &[("host", host)]);
        let authority = authority(request.uri(), request.headers())?;
        Some((bare(authority.host()).to_owned(), authority.port_u16()))
    };
    assert_eq!(named("a.example"), Some(("a.example".into(), None)));
    assert_eq!(named("[::1]:80"), Some(("::1".into(), Some(80))));
    assert_eq!(named("u:p@a"), Some(("a".into(), None)));
    assert_eq!(named("a b"), None);
}
