//! A span as it is recorded. Names are those of OpenTelemetry's semantic conventions for HTTP where they have one.

use std::time::{Duration, SystemTime};

use http::Method;

use crate::message::trace_context::TraceContext;

/// The longest value of an attribute, in bytes; more is cut off.
pub(super) const VALUE_BYTES_MAX: usize = 512;

/// Something that took time, and ended.
#[derive(Debug, Clone)]
pub(super) struct Span {
    pub(super) context: TraceContext,
    /// What it is part of; `None`: it is the first of its trace.
    pub(super) parent: Option<Parent>,
    pub(super) kind: Kind,
    pub(super) name: &'static str,
    pub(super) started: SystemTime,
    pub(super) took: Duration,
    pub(super) attributes: Vec<(&'static str, Value)>,
    pub(super) is_error: bool,
}

/// The span that caused another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parent {
    pub(super) context: TraceContext,
    /// Whether it is another program's.
    pub(super) is_remote: bool,
}

/// On which side of a request ssecar is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Server,
    Client,
}

/// What an attribute says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Number(i64),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text[..text.floor_char_boundary(VALUE_BYTES_MAX)].to_owned())
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}

impl Span {
    /// Says something of it.
    pub(super) fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        self.attributes.push((name, value.into()));
    }
}

/// A method's name in a span: those that exist, and `_OTHER`, so that no client can make names up.
pub(super) fn method_name(method: &Method) -> &'static str {
    const KNOWN: [&str; 10] =
        ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("_OTHER")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_cut_at_a_letter() {
        let long = format!("{}éé", "x".repeat(VALUE_BYTES_MAX - 1));
        let Value::Text(text) = Value::from(&*long) else { panic!("a text") };
        assert_eq!(text, "x".repeat(VALUE_BYTES_MAX - 1));
    }

    #[test]
    fn nobody_makes_up_names() {
        assert_eq!(method_name(&Method::PATCH), "PATCH");
        assert_eq!(method_name(&Method::from_bytes(b"get").unwrap()), "_OTHER");
        assert_eq!(method_name(&Method::from_bytes(b"X-SECRET").unwrap()), "_OTHER");
    }
}
