//! Spans as OTLP's JSON (`ExportTraceServiceRequest`), and the answer to it. Bytes in, bytes out.
//!
//! The mapping of OTLP: ids are hexadecimal, enumerations are numbers, and 64-bit numbers are decimal text.

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value as Json, json};

use super::span::{Kind, Span, Value};

/// What `flags` says beside the trace's own: whether a remote parent is known, and whether it is one.
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// Who sends: said once a request.
#[derive(Debug, Clone)]
pub(super) struct Resource(Json);

/// The resource with this service's name and further attributes.
pub(super) fn resource(service_name: &str, attributes: &[(String, String)]) -> Resource {
    let own = [("service.name", service_name), ("service.version", env!("CARGO_PKG_VERSION"))];
    let given = attributes.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let all: Vec<_> =
        own.into_iter().chain(given).map(|(name, value)| attribute(name, text(value))).collect();
    Resource(json!({ "attributes": all }))
}

/// The body of a request.
pub(super) fn request(resource: &Resource, spans: &[Span]) -> Vec<u8> {
    let spans: Vec<_> = spans.iter().map(span).collect();
    let scope = json!({ "name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION") });
    let request = json!({
        "resourceSpans": [{ "resource": resource.0, "scopeSpans": [{ "scope": scope, "spans": spans }] }]
    });
    request.to_string().into_bytes()
}

fn span(span: &Span) -> Json {
    let kind = match span.kind {
        Kind::Server => 2,
        Kind::Client => 3,
    };
    let is_remote = span.parent.is_some_and(|parent| parent.is_remote);
    let flags = u32::from(span.context.flags()) | HAS_IS_REMOTE | if is_remote { IS_REMOTE } else { 0 };
    let started = span.started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let attributes: Vec<_> = span
        .attributes
        .iter()
        .map(|(name, value)| match value {
            Value::Text(value) => attribute(name, text(value)),
            Value::Number(value) => attribute(name, json!({ "intValue": value.to_string() })),
        })
        .collect();
    let mut fields = Map::new();
    let mut set = |name: &str, value: Json| fields.insert(name.to_owned(), value);
    set("traceId", span.context.trace_id().to_string().into());
    set("spanId", span.context.span_id().to_string().into());
    if let Some(parent) = &span.parent {
        set("parentSpanId", parent.context.span_id().to_string().into());
    }
    set("flags", flags.into());
    set("name", span.name.into());
    set("kind", kind.into());
    set("startTimeUnixNano", nanos(started).into());
    set("endTimeUnixNano", nanos(started + span.took).into());
    set("attributes", attributes.into());
    if span.is_error {
        set("status", json!({ "code": 2 }));
    }
    Json::Object(fields)
}

fn attribute(name: &str, value: Json) -> Json {
    json!({ "key": name, "value": value })
}

fn text(value: &str) -> Json {
    json!({ "stringValue": value })
}

fn nanos(since: Duration) -> String {
    since.as_nanos().to_string()
}

/// Spans that a collector did not want, of those that it was sent, and why.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Partial {
    pub(super) rejected: u64,
    pub(super) message: String,
}

/// What a success says. An answer that can't be read says nothing: a success it is all the same.
pub(super) fn partial(body: &[u8]) -> Partial {
    let Ok(Json::Object(answer)) = serde_json::from_slice(body) else { return Partial::default() };
    let Some(Json::Object(partial)) = answer.get("partialSuccess") else { return Partial::default() };
    let rejected = match partial.get("rejectedSpans") {
        Some(Json::String(number)) => number.parse().ok(),
        Some(number) => number.as_u64(),
        None => None,
    };
    let message = partial.get("errorMessage").and_then(Json::as_str).unwrap_or_default();
    let message = message.chars().filter(|letter| !letter.is_control()).take(MESSAGE_LETTERS_MAX).collect();
    Partial { rejected: rejected.unwrap_or(0), message }
}

/// What of a collector's message goes into the log.
const MESSAGE_LETTERS_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::trace_context::TraceContext;
    use crate::telemetry::span::Parent;

    fn example() -> Span {
        let parent = TraceContext::root([0xab; 16], [1; 8], true).unwrap();
        Span {
            context: parent.child([2; 8]).unwrap(),
            parent: Some(Parent { context: parent, is_remote: true }),
            kind: Kind::Server,
            name: "GET",
            started: SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 5),
            took: Duration::from_nanos(10),
            attributes: vec![
                ("url.path", Value::from("/\"\u{1}é")),
                ("http.response.status_code", 200.into()),
            ],
            is_error: false,
        }
    }

    #[test]
    fn a_span_is_written_as_the_mapping_says() {
        let resource = resource("shop", &[("deployment.environment.name".into(), "prod".into())]);
        let written: Json = serde_json::from_slice(&request(&resource, &[example()])).unwrap();
        let text = |text: &str| json!({ "stringValue": text });
        assert_eq!(
            written,
            json!({ "resourceSpans": [{
                "resource": { "attributes": [
                    { "key": "service.name", "value": text("shop") },
                    { "key": "service.version", "value": text(env!("CARGO_PKG_VERSION")) },
                    { "key": "deployment.environment.name", "value": text("prod") },
                ] },
                "scopeSpans": [{
                    "scope": { "name": "ssecar", "version": env!("CARGO_PKG_VERSION") },
                    "spans": [{
                        "traceId": "abababababababababababababababab",
                        "spanId": "0202020202020202",
                        "parentSpanId": "0101010101010101",
                        "flags": 0x301,
                        "name": "GET",
                        "kind": 2,
                        "startTimeUnixNano": "1700000000000000005",
                        "endTimeUnixNano": "1700000000000000015",
                        "attributes": [
                            { "key": "url.path", "value": text("/\"\u{1}é") },
                            { "key": "http.response.status_code", "value": { "intValue": "200" } },
                        ],
                    }],
                }],
            }] })
        );
    }

    #[test]
    fn the_first_span_of_a_trace_has_no_parent_and_an_error_is_said() {
        let span = Span { parent: None, kind: Kind::Client, is_error: true, ..example() };
        let written = super::span(&span);
        assert_eq!(written.get("parentSpanId"), None);
        assert_eq!((&written["kind"], &written["flags"]), (&json!(3), &json!(0x101)));
        assert_eq!(written["status"], json!({ "code": 2 }));
    }

    #[test]
    fn a_clock_before_1970_is_1970() {
        let span = Span { started: SystemTime::UNIX_EPOCH - Duration::from_secs(1), ..example() };
        assert_eq!(super::span(&span)["startTimeUnixNano"], "0");
    }

    #[test]
    fn a_collector_says_what_it_rejected() {
        let said = |rejected, message: &str| Partial { rejected, message: message.into() };
        for (body, expected) in [
            (r#"{"partialSuccess":{"rejectedSpans":"3","errorMessage":"too\nold"}}"#, said(3, "tooold")),
            (r#"{"partialSuccess":{"rejectedSpans":2}}"#, said(2, "")),
            (r#"{"partialSuccess":{"errorMessage":"a warning"}}"#, said(0, "a warning")),
            (r#"{"partialSuccess":{"rejectedSpans":"-1"}}"#, said(0, "")),
            (r#"{"partialSuccess":[]}"#, said(0, "")),
            (r"{}", said(0, "")),
            ("", said(0, "")),
            ("[", said(0, "")),
        ] {
            assert_eq!(partial(body.as_bytes()), expected, "{body}");
        }
        let long = json!({ "partialSuccess": { "errorMessage": "x".repeat(9_999) } }).to_string();
        assert_eq!(partial(long.as_bytes()).message.len(), MESSAGE_LETTERS_MAX);
    }
}
