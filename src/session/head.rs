//! The response head that all clients of a session get (spec 4.7).

use http::header::{
    ACCEPT_RANGES, AGE, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, DATE,
    ETAG, LAST_MODIFIED, SET_COOKIE,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, response};
use parking_lot::Mutex;

/// Tells nginx and its kin not to buffer.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Fields that describe one body, or one moment, not the stream.
const OF_ONE_BODY: [HeaderName; 9] = [
    ACCEPT_RANGES,
    AGE,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    CONTENT_TYPE,
    DATE,
    ETAG,
    LAST_MODIFIED,
];

/// A session's response head, made of the subscription's.
#[derive(Debug)]
pub struct Head {
    status: StatusCode,
    headers: HeaderMap,
    /// Only for the client whose request fetched them.
    cookies: Mutex<Vec<HeaderValue>>,
}

impl Head {
    /// From the upstream's head, hop-by-hop fields already removed.
    #[must_use]
    pub fn new(status: StatusCode, mut headers: HeaderMap) -> Self {
        let cookies = headers.get_all(SET_COOKIE).iter().cloned().collect();
        headers.remove(SET_COOKIE);
        for name in OF_ONE_BODY {
            headers.remove(name);
        }
        // `private` or `max-age` alone would let a browser or proxy keep the stream's beginning.
        let forbids_storing = |value: &HeaderValue| {
            value
                .to_str()
                .is_ok_and(|text| text.split(',').any(|part| matches!(part.trim(), "no-cache" | "no-store")))
        };
        if !headers.get_all(CACHE_CONTROL).iter().any(forbids_storing) {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
        Self { status, headers, cookies: Mutex::new(cookies) }
    }

    /// For a client that is held while the upstream is away (spec 8.6).
    #[must_use]
    pub fn held() -> Self {
        Self::new(StatusCode::OK, HeaderMap::new())
    }

    /// One client's copy. The first who asks as the opener gets the cookies.
    #[must_use]
    pub fn for_client(&self, is_opener: bool) -> response::Parts {
        let (mut parts, ()) = response::Response::new(()).into_parts();
        parts.status = self.status;
        parts.headers = self.headers.clone();
        if is_opener {
            for cookie in std::mem::take(&mut *self.cookies.lock()) {
                parts.headers.append(SET_COOKIE, cookie);
            }
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(fields: &[(&'static str, &'static str)]) -> Head {
        let fields = fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        Head::new(StatusCode::OK, fields.collect())
    }

    #[test]
    fn cookies_go_to_the_opener_alone() {
        let head = head(&[("set-cookie", "a=1"), ("x-app", "yes")]);
        assert!(!head.for_client(false).headers.contains_key("set-cookie"));
        let opener = head.for_client(true);
        assert_eq!(opener.headers["set-cookie"], "a=1");
        assert_eq!(opener.headers["x-app"], "yes");
        assert!(!head.for_client(true).headers.contains_key("set-cookie"), "once");
    }

    #[test]
    fn the_stream_is_never_cached_nor_buffered() {
        for (given, expected) in [
            (None, "no-cache"),
            (Some("max-age=60"), "no-cache"),
            (Some("private, no-store"), "private, no-store"),
            (Some("no-cache, no-transform"), "no-cache, no-transform"),
        ] {
            let fields: Vec<_> = given.map(|value| ("cache-control", value)).into_iter().collect();
            let parts = head(&fields).for_client(false);
            assert_eq!(parts.headers["cache-control"], expected);
            assert_eq!(parts.headers["content-type"], "text/event-stream");
            assert_eq!(parts.headers["x-accel-buffering"], "no");
        }
    }

    #[test]
    fn what_describes_one_body_is_not_the_streams() {
        let parts = head(&[("content-length", "5"), ("etag", "x"), ("date", "then")]).for_client(false);
        assert_eq!(parts.headers.len(), 3, "{:?}", parts.headers);
    }
}
