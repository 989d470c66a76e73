//! The place of a request in a distributed trace: `traceparent` (W3C Trace Context, 3.2).
//!
//! Read strictly, as the recommendation asks: what is not exactly right counts as absent, and then `tracestate`
//! means nothing either. `tracestate` itself is opaque here, and goes where its `traceparent` goes.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

/// Which request this one was made for.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What tracing systems add to it, each in its own words.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// `00-` and 32, 16 and 2 hexadecimal digits, separated by dashes.
const TRACEPARENT_BYTES: usize = 55;

/// The trace is recorded.
const SAMPLED: u8 = 0b01;
/// The trace's id is random in its lower half (level 2): told on as it came.
const RANDOM: u8 = 0b10;

/// One span's place in its trace. Neither id is ever all zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    flags: u8,
}

impl TraceContext {
    /// The first span of a trace; `None`: an id is all zero, which stands for none.
    #[must_use]
    pub fn root(trace_id: [u8; 16], span_id: [u8; 8], is_sampled: bool) -> Option<Self> {
        let are_ids = trace_id != [0; 16] && span_id != [0; 8];
        are_ids.then_some(Self { trace_id, span_id, flags: if is_sampled { SAMPLED } else { 0 } })
    }

    /// Another span of the same trace; `None`: its id is all zero.
    #[must_use]
    pub fn child(&self, span_id: [u8; 8]) -> Option<Self> {
        (span_id != [0; 8]).then_some(Self { span_id, ..*self })
    }

    /// What a request says; `None`: nothing, nothing valid, or more than one thing.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let (first, second) = (values.next()?, values.next());
        if second.is_some() { None } else { Self::parse(first.as_bytes()) }
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let (known, rest) = text.split_at_checked(TRACEPARENT_BYTES)?;
        let [version] = hex(&known[..2])?;
        // A later version may have more to say, behind a further dash.
        let may_follow = version > 0 && rest.first() == Some(&b'-');
        let has_dashes = [2, 35, 52].into_iter().all(|place| known[place] == b'-');
        if version == 0xff || !has_dashes || !(rest.is_empty() || may_follow) {
            return None;
        }
        let trace_id = hex(&known[3..35])?;
        let span_id = hex(&known[36..52])?;
        let [flags] = hex(&known[53..])?;
        let context = Self::root(trace_id, span_id, false)?;
        Some(Self { flags: flags & (SAMPLED | RANDOM), ..context })
    }

    /// Puts it into a request in place of what is there. `tracestate` stays.
    pub fn inject(&self, headers: &mut HeaderMap) {
        // Digits and dashes are always a header's value.
        if let Ok(value) = HeaderValue::from_str(&self.to_string()) {
            headers.insert(TRACEPARENT, value);
        }
    }

    /// Whether the trace is recorded.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// Whether it is recorded, and what else is known, in bits as `traceparent` has them.
    #[must_use]
    pub fn flags(&self) -> u8 {
        self.flags
    }

    /// Names the trace.
    #[must_use]
    pub fn trace_id(&self) -> Hex<'_> {
        Hex(&self.trace_id)
    }

    /// Names the span within the trace.
    #[must_use]
    pub fn span_id(&self) -> Hex<'_> {
        Hex(&self.span_id)
    }
}

impl fmt::Display for TraceContext {
    /// As `traceparent` has it, version 00.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.trace_id(), self.span_id(), self.flags)
    }
}

/// Bytes as lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy)]
pub struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Exactly so many bytes from lower-case hexadecimal digits.
fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if digits.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

fn digit(letter: u8) -> Option<u8> {
    match letter {
        b'0'..=b'9' => Some(letter - b'0'),
        b'a'..=b'f' => Some(letter - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn parsed(text: &str) -> Option<TraceContext> {
        TraceContext::parse(text.as_bytes())
    }

    #[test]
    fn a_traceparent_is_read_and_written_as_the_recommendation_says() {
        let context = parsed(EXAMPLE).unwrap();
        assert!(context.is_sampled());
        assert_eq!(context.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(context.span_id().to_string(), "00f067aa0ba902b7");
        assert_eq!(context.to_string(), EXAMPLE);
        let child = context.child([0, 0, 0, 0, 0, 0, 0, 0xab]).unwrap();
        assert_eq!(child.to_string(), "00-4bf92f3577b34da6a3ce929d0e0e4736-00000000000000ab-01");
    }

    #[test]
    fn flags_that_are_not_known_are_cleared_and_later_versions_are_read_as_the_first() {
        for (text, written) in [
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", "00"),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff", "03"),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-fc", "00"),
            ("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "01"),
            ("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-comes", "01"),
        ] {
            let context = parsed(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(&context.to_string()[53..], written, "{text}");
            assert!(context.to_string().starts_with("00-"));
        }
    }

    #[test]
    fn what_is_not_exactly_right_is_none() {
        for text in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-011",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "0g-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00F067AA0BA902B7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
            " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0é",
        ] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }

    #[test]
    fn two_headers_are_none() {
        let mut headers = HeaderMap::new();
        assert_eq!(TraceContext::of(&headers), None);
        headers.append(TRACEPARENT, HeaderValue::from_static(EXAMPLE));
        assert!(TraceContext::of(&headers).is_some());
        headers.append(TRACEPARENT, HeaderValue::from_static(EXAMPLE));
        assert_eq!(TraceContext::of(&headers), None);
        TraceContext::root([1; 16], [2; 8], true).unwrap().inject(&mut headers);
        assert_eq!(TraceContext::of(&headers).unwrap().span_id().to_string(), "0202020202020202");
    }

    #[test]
    fn ids_of_zeros_are_none() {
        assert_eq!(TraceContext::root([0; 16], [1; 8], true), None);
        assert_eq!(TraceContext::root([1; 16], [0; 8], true), None);
        assert_eq!(parsed(EXAMPLE).unwrap().child([0; 8]), None);
    }

    proptest! {
        #[test]
        fn whatever_is_read_is_read_again_the_same(text in "[0-9a-f-]{50,60}", bytes: Vec<u8>) {
            TraceContext::parse(&bytes);
            if let Some(context) = parsed(&text) {
                prop_assert_eq!(parsed(&context.to_string()), Some(context));
            }
        }

        #[test]
        fn whatever_is_written_is_read(trace_id: [u8; 16], span_id: [u8; 8], is_sampled: bool) {
            if let Some(context) = TraceContext::root(trace_id, span_id, is_sampled) {
                prop_assert_eq!(parsed(&context.to_string()), Some(context));
            }
        }
    }
}
