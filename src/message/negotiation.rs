//! What a head says about the stream behind it (spec 4.1, 6.1).

use std::time::{Duration, SystemTime};

use http::header::{
    ACCEPT, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    IF_RANGE, IF_UNMODIFIED_SINCE, RANGE, RETRY_AFTER, TRANSFER_ENCODING,
};
use http::{HeaderMap, HeaderName};
use percent_encoding::percent_decode_str;

use crate::proto::event_id::LastEventId;

const EVENT_STREAM: &str = "text/event-stream";

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Query parameters that say what a client saw last, for clients that can't set a header.
const LAST_EVENT_ID_PARAMETERS: [&str; 2] = ["lastEventId", "last-event-id"];

/// The longest `Last-Event-ID` that is looked at, in bytes; a longer one can't be found anywhere.
pub const LAST_EVENT_ID_MAX: usize = 16 * 1024;

/// Whether `Accept` names event streams. `*/*` does not count: everything says that.
#[must_use]
pub fn accepts_event_stream(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|range| {
            let mut parts = range.split(';').map(str::trim);
            let is_named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(EVENT_STREAM));
            is_named && !parts.any(is_zero_weight)
        })
}

fn is_zero_weight(parameter: &str) -> bool {
    let Some((name, weight)) = parameter.split_once('=') else { return false };
    name.trim().eq_ignore_ascii_case("q") && weight.trim().parse::<f32>().is_ok_and(|weight| weight == 0.0)
}

/// Whether the body is an event stream by its type.
#[must_use]
pub fn is_event_stream(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|name| name.trim().eq_ignore_ascii_case(EVENT_STREAM))
}

/// Whether the body is not encoded (gzip, br, …).
#[must_use]
pub fn is_identity(headers: &HeaderMap) -> bool {
    headers.get_all(CONTENT_ENCODING).iter().all(|value| {
        value
            .to_str()
            .is_ok_and(|value| value.trim().is_empty() || value.trim().eq_ignore_ascii_case("identity"))
    })
}

/// Whether the answer depends on what this client has already: such a request is never shared.
#[must_use]
pub fn is_conditional(headers: &HeaderMap) -> bool {
    [IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE]
        .iter()
        .any(|name| headers.contains_key(name))
}

/// Whether the request has a body.
#[must_use]
pub fn has_body(headers: &HeaderMap) -> bool {
    headers.contains_key(TRANSFER_ENCODING)
        || headers.get(CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0")
}

/// What the client saw last: the header, else a query parameter. An empty value is none, as the
/// standard has it; one that is too long, or holds what no event id can, is an id that can't be found.
#[must_use]
pub fn last_event_id(headers: &HeaderMap, query: Option<&str>) -> Option<LastEventId> {
    let from_header = headers.get(LAST_EVENT_ID).map(|value| value.as_bytes().to_vec());
    let value = from_header.or_else(|| last_event_id_in(query?)).filter(|value| !value.is_empty())?;
    let is_possible = value.len() <= LAST_EVENT_ID_MAX
        && !value.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n'))
        // A header value keeps no other control characters either, and so could not be sent on.
        && http::HeaderValue::from_bytes(&value).is_ok();
    Some(if is_possible { LastEventId::parse(&value) } else { LastEventId::Foreign(bytes::Bytes::new()) })
}

fn last_event_id_in(query: &str) -> Option<Vec<u8>> {
    parameters(query).find(|(name, _)| is_last_event_id_parameter(name)).map(|(_, value)| decoded(value))
}

/// The name and value of each parameter of a query, as written.
pub fn parameters(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').map(|parameter| parameter.split_once('=').unwrap_or((parameter, "")))
}

/// Whether a parameter, by its name as written, is one client's own place in the stream.
#[must_use]
pub fn is_last_event_id_parameter(name: &str) -> bool {
    let name = decoded(name);
    LAST_EVENT_ID_PARAMETERS.iter().any(|known| known.as_bytes() == name)
}

/// A parameter's name or value with its encoding undone, as forms are written: `+` is a space.
#[must_use]
pub fn decoded(text: &str) -> Vec<u8> {
    percent_decode_str(&text.replace('+', " ")).collect()
}

/// How long the answer asks to wait: seconds, or a date (RFC 9110, 10.2.3).
#[must_use]
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    httpdate::parse_http_date(text).ok()?.duration_since(now).ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn with(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        headers
    }

    #[test]
    fn only_a_client_that_names_event_streams_accepts_them() {
        for (accept, expected) in [
            ("text/event-stream", true),
            ("application/json, Text/Event-Stream; charset=utf-8", true),
            ("text/event-stream;q=0.1", true),
            ("text/event-stream; q=0", false),
            ("text/event-stream; Q=0.000", false),
            ("*/*", false),
            ("text/*", false),
            ("text/event-streams", false),
            ("", false),
        ] {
            assert_eq!(accepts_event_stream(&with("accept", accept)), expected, "{accept}");
        }
    }

    #[test]
    fn the_content_type_decides_what_a_stream_is() {
        assert!(is_event_stream(&with("content-type", "Text/event-stream; charset=utf-8")));
        assert!(!is_event_stream(&with("content-type", "text/event-stream-x")));
        assert!(!is_event_stream(&HeaderMap::new()));
        assert!(is_identity(&HeaderMap::new()) && is_identity(&with("content-encoding", "Identity")));
        assert!(!is_identity(&with("content-encoding", "gzip")));
    }

    #[test]
    fn the_last_event_id_comes_by_header_or_query() {
        let none = HeaderMap::new();
        let foreign = |text: &str| Some(LastEventId::Foreign(bytes::Bytes::copy_from_slice(text.as_bytes())));
        assert_eq!(last_event_id(&none, None), None);
        assert_eq!(last_event_id(&with("last-event-id", "a"), Some("lastEventId=b")), foreign("a"));
        assert_eq!(last_event_id(&none, Some("x=1&lastEventId=a%20b+c")), foreign("a b c"));
        assert_eq!(last_event_id(&none, Some("last%2Devent-id=7")), foreign("7"));
        assert_eq!(last_event_id(&none, Some("lastEventId=")), None, "empty is none");
        assert_eq!(last_event_id(&with("last-event-id", ""), None), None);
    }

    #[test]
    fn an_impossible_id_is_an_unknown_one_never_a_header_line() {
        let none = HeaderMap::new();
        let unknown = Some(LastEventId::Foreign(bytes::Bytes::new()));
        for text in ["lastEventId=a%0d%0aX-Evil:%201", "lastEventId=%00", "lastEventId=a%0ab"] {
            assert_eq!(last_event_id(&none, Some(text)), unknown, "{text}");
        }
        let huge = "x".repeat(LAST_EVENT_ID_MAX + 1);
        assert_eq!(last_event_id(&with("last-event-id", &huge), None), unknown);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Mon, 23 Nov 2026 12:00:00 GMT").unwrap();
        assert_eq!(retry_after(&with("retry-after", "120"), now), Some(Duration::from_secs(120)));
        let date = with("retry-after", "Mon, 23 Nov 2026 12:00:30 GMT");
        assert_eq!(retry_after(&date, now), Some(Duration::from_secs(30)));
        assert_eq!(retry_after(&date, now + Duration::from_secs(60)), None, "it is past");
        assert_eq!(retry_after(&with("retry-after", "soon"), now), None);
    }
}
