//! What a head says about content: whether a stream of events is wanted or given, from which event
//! on, and when to come again.

use std::time::{Duration, SystemTime};

use http::header::{
    ACCEPT, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    IF_RANGE, IF_UNMODIFIED_SINCE, RANGE, RETRY_AFTER, TRANSFER_ENCODING,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::list::{elements, parameter, split_unquoted};
use super::query::{decoded, is_last_event_id, name_and_value};

/// The name of the header by which a client resumes (WHATWG HTML, 9.2.4).
pub const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The longest last event id that is looked at, in bytes.
pub const LAST_EVENT_ID_BYTES_MAX: usize = 16 * 1024;

/// The longest wait that an upstream's `Retry-After` can ask for.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(60 * 60);

const EVENT_STREAM: &[u8] = b"text/event-stream";

/// Whether `Accept` names `text/event-stream` (spec 4.1). `*/*` and `text/*` don't count, since every
/// request says that; neither does a weight of zero.
#[must_use]
pub fn accepts_event_stream(headers: &HeaderMap) -> bool {
    elements(headers, &ACCEPT).any(|range| {
        let mut parts = split_unquoted(range, b';');
        parts.next().is_some_and(|media_type| media_type.eq_ignore_ascii_case(EVENT_STREAM))
            && !parts
                .filter_map(parameter)
                .any(|(name, value)| name.eq_ignore_ascii_case(b"q") && is_zero(value))
    })
}

/// Whether `Content-Type` is `text/event-stream`, with parameters or without. Where a response has
/// several such headers all must say so: clients differ in which one they believe.
#[must_use]
pub fn is_event_stream(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(CONTENT_TYPE).iter().peekable();
    types.peek().is_some()
        && types.all(|value| {
            split_unquoted(value.as_bytes(), b';')
                .next()
                .is_some_and(|media_type| media_type.eq_ignore_ascii_case(EVENT_STREAM))
        })
}

/// Whether the answer depends on a precondition (RFC 9110, 13.1) or is to be a part (14.2), so that it is for
/// this client alone.
#[must_use]
pub fn is_conditional(headers: &HeaderMap) -> bool {
    [IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_MATCH, IF_UNMODIFIED_SINCE, IF_RANGE, RANGE]
        .iter()
        .any(|name| headers.contains_key(name))
}

/// Whether the head announces a body: a length other than zero, or a transfer coding. (An HTTP/2
/// request may have a body without saying so; its stream's end tells.)
#[must_use]
pub fn has_body(headers: &HeaderMap) -> bool {
    headers.contains_key(TRANSFER_ENCODING)
        || headers.get_all(CONTENT_LENGTH).iter().any(|length| !is_zero(length.as_bytes()))
}

/// Whether the content is not compressed or otherwise encoded.
#[must_use]
pub fn is_identity(headers: &HeaderMap) -> bool {
    elements(headers, &CONTENT_ENCODING).all(|coding| coding.eq_ignore_ascii_case(b"identity"))
}

/// From which event on a client wants to resume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LastEventId {
    /// After the event with this id, which is not empty. Free of NUL, CR and LF.
    After(Vec<u8>),
    /// After an event that can't exist: the id holds NUL, CR or LF, which no id can, or is longer than
    /// [`LAST_EVENT_ID_BYTES_MAX`]. It is kept nowhere and never sent on; its client has lost its place
    /// and gets a gap notice (spec 6.3).
    Impossible,
}

impl LastEventId {
    /// The id; `None` for one that can't exist.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::After(id) => Some(id),
            Self::Impossible => None,
        }
    }

    /// The id as a header's value; `None` where no header can carry it.
    #[must_use]
    pub fn header_value(&self) -> Option<HeaderValue> {
        // Other control characters may stand in an id, but not in a header.
        self.as_bytes().and_then(|id| HeaderValue::from_bytes(id).ok())
    }

    fn new(id: &[u8]) -> Option<Self> {
        if id.is_empty() {
            return None;
        }
        let is_possible = id.len() <= LAST_EVENT_ID_BYTES_MAX
            && !id.iter().any(|byte| matches!(byte, b'\0' | b'\r' | b'\n'));
        Some(if is_possible { Self::After(id.to_vec()) } else { Self::Impossible })
    }
}

/// From which event on a client wants to resume, if it does: the header, else the query parameters
/// `lastEventId` or `last-event-id` (spec 6.1). The first that is not empty counts.
#[must_use]
pub fn last_event_id(headers: &HeaderMap, query: Option<&str>) -> Option<LastEventId> {
    let in_headers =
        headers.get_all(LAST_EVENT_ID).iter().find_map(|value| LastEventId::new(value.as_bytes()));
    in_headers.or_else(|| {
        query?
            .split('&')
            .filter(|parameter| is_last_event_id(parameter))
            .find_map(|parameter| LastEventId::new(&decoded(name_and_value(parameter).1)))
    })
}

/// How long an upstream asks to be left alone (RFC 9110, 10.2.3): seconds or a date, at most
/// [`RETRY_AFTER_MAX`]. A date that has passed asks for no wait; what is neither asks for nothing.
#[must_use]
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let is_seconds = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let wait = if is_seconds {
        // Only too many digits can fail here, and those ask for more than the limit.
        text.parse().map_or(RETRY_AFTER_MAX, Duration::from_secs)
    } else {
        httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or(Duration::ZERO)
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

/// `0`, `000`, `0.0`.
fn is_zero(number: &[u8]) -> bool {
    number.first() == Some(&b'0') && number.iter().all(|byte| matches!(byte, b'0' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn an_event_stream_is_wanted_only_by_its_name() {
        let accepts = |value| accepts_event_stream(&head(&[("accept", value)]));
        for value in [
            "text/event-stream",
            "Text/Event-Stream",
            "application/json, text/event-stream",
            "text/event-stream;q=0.1",
            "text/event-stream; charset=utf-8 ; q=1",
            "a/b;x=\",\", text/event-stream",
            "text/event-stream;q=0, text/event-stream",
        ] {
            assert!(accepts(value), "{value}");
        }
        for value in [
            "",
            "*/*",
            "text/*",
            "text/event-streams",
            "text/event-stream;q=0",
            "text/event-stream ; Q=0.000",
            "a/b;x=\", text/event-stream\"",
        ] {
            assert!(!accepts(value), "{value}");
        }
        assert!(accepts_event_stream(&head(&[("accept", "text/html"), ("accept", "text/event-stream")])));
        assert!(!accepts_event_stream(&HeaderMap::new()));
    }

    #[test]
    fn a_response_is_an_event_stream_by_its_exact_type() {
        let is_stream = |value| is_event_stream(&head(&[("content-type", value)]));
        for value in [
            "text/event-stream",
            "TEXT/event-Stream",
            "text/event-stream; charset=utf-8",
            "text/event-stream ;",
        ] {
            assert!(is_stream(value), "{value}");
        }
        for value in
            ["", "text/plain", "text/event-stream2", "text/event-stream, text/html", "x;text/event-stream"]
        {
            assert!(!is_stream(value), "{value}");
        }
        assert!(!is_event_stream(&HeaderMap::new()));
        assert!(!is_event_stream(&head(&[
            ("content-type", "text/event-stream"),
            ("content-type", "text/html")
        ])));
    }

    #[test]
    fn preconditions_bodies_and_codings_are_seen() {
        for name in ["if-none-match", "if-modified-since", "if-match", "if-unmodified-since", "if-range"] {
            assert!(is_conditional(&head(&[(name, "x")])), "{name}");
        }
        assert!(is_conditional(&head(&[("range", "bytes=0-")])));
        assert!(has_body(&head(&[("content-length", "5")])));
        assert!(has_body(&head(&[("content-length", "x")])));
        assert!(has_body(&head(&[("transfer-encoding", "chunked")])));
        assert!(!has_body(&head(&[("content-length", "0")])));
        assert!(!has_body(&HeaderMap::new()));
        assert!(is_identity(&HeaderMap::new()));
        assert!(is_identity(&head(&[("content-encoding", "Identity"), ("content-encoding", "")])));
        assert!(!is_identity(&head(&[("content-encoding", "identity, gzip")])));
    }

    #[test]
    fn the_header_comes_before_the_query_and_empty_is_none() {
        let id = |header: Option<&str>, query| {
            let lines: Vec<_> = header.iter().map(|value| ("last-event-id", *value)).collect();
            last_event_id(&head(&lines), query).map(|id| id.as_bytes().unwrap().to_vec())
        };
        assert_eq!(id(Some("7"), Some("lastEventId=8")).unwrap(), b"7");
        assert_eq!(id(Some(""), Some("a=1&lastEventId=8")).unwrap(), b"8");
        assert_eq!(id(None, Some("last-event-id=a+b%2Bc%C3%A9")).unwrap(), "a b+cé".as_bytes());
        assert_eq!(id(None, Some("lastEventId=&last-event-id=9")).unwrap(), b"9");
        assert_eq!(id(None, Some("lastEventId&lastEventIds=3")), None);
        assert_eq!(id(Some(""), None), None);
    }

    #[test]
    fn an_id_that_cannot_be_is_never_sent_on() {
        for bad in ["%0d%0aX-Evil:%201", "a%00", "%0A"] {
            let id = last_event_id(&HeaderMap::new(), Some(&format!("lastEventId={bad}"))).unwrap();
            assert_eq!(id, LastEventId::Impossible, "{bad}");
            assert_eq!((id.as_bytes(), id.header_value()), (None, None));
        }
        let sized = |len| {
            let query = format!("lastEventId={}", "a".repeat(len));
            last_event_id(&HeaderMap::new(), Some(&query)).unwrap()
        };
        assert!(sized(LAST_EVENT_ID_BYTES_MAX).header_value().is_some());
        assert_eq!(sized(LAST_EVENT_ID_BYTES_MAX + 1), LastEventId::Impossible);
        let odd = last_event_id(&HeaderMap::new(), Some("lastEventId=%01")).unwrap();
        assert_eq!((odd.as_bytes(), odd.header_value()), (Some(&b"\x01"[..]), None));
    }

    #[test]
    fn a_wait_is_seconds_or_a_date_and_has_a_limit() {
        let now = httpdate::parse_http_date("Mon, 23 Nov 2026 10:00:00 GMT").unwrap();
        let wait = |value| retry_after(&head(&[("retry-after", value)]), now).map(|wait| wait.as_secs());
        assert_eq!(wait("120"), Some(120));
        assert_eq!(wait("0"), Some(0));
        assert_eq!(wait("3601"), Some(3_600));
        assert_eq!(wait("99999999999999999999999999"), Some(3_600));
        assert_eq!(wait("Mon, 23 Nov 2026 10:00:30 GMT"), Some(30));
        assert_eq!(wait("Mon, 23 Nov 2026 09:00:00 GMT"), Some(0));
        assert_eq!(wait("Mon, 23 Nov 2099 09:00:00 GMT"), Some(3_600));
        for neither in ["", "-1", "+1", "1.5", "soon"] {
            assert_eq!(wait(neither), None, "{neither}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
