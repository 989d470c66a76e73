//! Header fields for one connection only, which a proxy never passes on (RFC 9110, 7.6.1; spec 3.2).

use std::error::Error;
use std::fmt;

use http::header::{CONNECTION, TE, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::list::elements;

/// Removed whether or not `Connection` names them.
///
/// `Proxy-Authenticate`, `-Authentication-Info` and `-Authorization` are between a client and the
/// next proxy alone (RFC 9110, 11.7), and ssecar asks for no such credentials. `HTTP2-Settings`
/// belongs to an upgrade that is obsolete (RFC 9113, 3.1). `Trailer` isn't here: it announces trailers
/// to the recipient of the content, and hyper sends only the trailers that it announces.
const SINGLE_HOP: [&str; 10] = [
    "connection",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// Fields that `Connection` must not name: they are meant for the far end, decide where or as whom a
/// message is taken, or how long it is. An attacker who gets one removed behind the back of the party
/// that checked it has changed the request (CVE-2026-105299 is of this family).
const FAR_END: [&str; 24] = [
    "accept",
    "authorization",
    "cache-control",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "expect",
    "forwarded",
    "host",
    "last-event-id",
    "location",
    "mcp-session-id",
    "origin",
    "range",
    "retry-after",
    "set-cookie",
    "vary",
    "via",
    "www-authenticate",
    "x-accel-buffering",
    "x-real-ip",
];

/// Families of such fields.
const FAR_END_PREFIXES: [&str; 2] = ["if-", "x-forwarded-"];

/// `Connection` names a field that must reach the far end. In a request it is answered 400.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForbiddenConnectionOption {
    /// The option, in lower case. It is a field's name, never a value.
    pub name: String,
}

/// Removes the fields that are for one connection only, from a request's or a response's head.
///
/// `TE: trailers` stays where it was asked for: it says that trailers would be understood. (Over
/// HTTP/1.1 who sends it on must add `Connection: TE`, RFC 9110, 10.1.4.)
///
/// # Errors
///
/// When `Connection` names a field that must reach the far end; then nothing was removed.
pub fn strip(headers: &mut HeaderMap) -> Result<(), ForbiddenConnectionOption> {
    strip_guarding(headers, &[])
}

/// As [`strip`], and `Connection` must not name these fields either: those that hold credentials.
///
/// # Errors
///
/// As [`strip`].
pub fn strip_guarding(
    headers: &mut HeaderMap,
    credentials: &[HeaderName],
) -> Result<(), ForbiddenConnectionOption> {
    let mut named = Vec::new();
    for option in elements(headers, &CONNECTION) {
        let name = String::from_utf8_lossy(option).to_ascii_lowercase();
        if is_for_the_far_end(&name) || credentials.iter().any(|guarded| guarded.as_str() == name) {
            return Err(ForbiddenConnectionOption { name });
        }
        // What is no field name can't name a field: nothing to remove.
        named.extend(HeaderName::from_bytes(name.as_bytes()));
    }
    let understands_trailers = elements(headers, &TE).any(|coding| coding.eq_ignore_ascii_case(b"trailers"));
    for name in named {
        headers.remove(name);
    }
    for name in SINGLE_HOP {
        headers.remove(name);
    }
    if understands_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    Ok(())
}

/// The protocols that a request wants to switch to, or that a response switched to; to be read
/// before [`strip`], and sent with `Connection: upgrade`. `None` where `Connection` doesn't name
/// `Upgrade`, since the field is then not meant.
///
/// `h2c`, other HTTP versions and TLS are left out: such a tunnel would only hide further requests
/// from every rule of the proxy.
#[must_use]
pub fn upgrade_of(headers: &HeaderMap) -> Option<HeaderValue> {
    if !elements(headers, &CONNECTION).any(|option| option.eq_ignore_ascii_case(b"upgrade")) {
        return None;
    }
    let protocols: Vec<&[u8]> =
        elements(headers, &UPGRADE).filter(|protocol| !hides_requests(protocol)).collect();
    if protocols.is_empty() {
        return None;
    }
    HeaderValue::from_bytes(&protocols.join(&b", "[..])).ok()
}

fn is_for_the_far_end(name: &str) -> bool {
    name.starts_with(':')
        || FAR_END.contains(&name)
        || FAR_END_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

fn hides_requests(protocol: &[u8]) -> bool {
    let name = protocol.split(|&byte| byte == b'/').next().unwrap_or(protocol).trim_ascii();
    [&b"h2c"[..], b"h2", b"http", b"tls"].iter().any(|hidden| name.eq_ignore_ascii_case(hidden))
}

impl fmt::Display for ForbiddenConnectionOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the Connection header names {:?}, which must reach the far end", self.name)
    }
}

impl Error for ForbiddenConnectionOption {}

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

    fn stripped(lines: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut headers = head(lines);
        strip(&mut headers).unwrap();
        let mut left: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();
        left.sort();
        left
    }

    #[test]
    fn fields_for_one_connection_go_and_the_others_stay() {
        let left = stripped(&[
            ("connection", "close, X-Hop"),
            ("connection", ",,\tKEEP-ALIVE"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic eA=="),
            ("proxy-authenticate", "Basic"),
            ("te", "gzip"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("http2-settings", "AAMA"),
            ("x-hop", "1"),
            ("x-hop", "2"),
            ("x-end", "3"),
            ("trailer", "digest"),
        ]);
        assert_eq!(left, [("trailer".into(), "digest".into()), ("x-end".into(), "3".into())]);
    }

    #[test]
    fn trailers_stay_understood() {
        assert_eq!(
            stripped(&[("connection", "TE"), ("te", "gzip;q=0.5, Trailers")]),
            [("te".into(), "trailers".into())]
        );
        assert!(stripped(&[("te", "trailers;x")]).is_empty());
    }

    #[test]
    fn connection_cannot_take_away_what_the_far_end_needs() {
        for name in [
            "Host",
            "authorization",
            "COOKIE",
            "Last-Event-ID",
            "content-length",
            ":authority",
            ":path",
            "Forwarded",
            "X-Forwarded-For",
            "x-forwarded-anything",
            "if-none-match",
            "cache-control",
        ] {
            let mut headers = head(&[("connection", &format!("keep-alive, {name}")), ("keep-alive", "1")]);
            let before = headers.clone();
            let error = strip(&mut headers).unwrap_err();
            assert_eq!(error.name, name.to_ascii_lowercase());
            assert_eq!(headers, before, "nothing was removed for {name}");
        }
    }

    #[test]
    fn configured_credentials_are_guarded_as_well() {
        let mut headers = head(&[("connection", "X-Api-Key"), ("x-api-key", "k")]);
        let guarded = [HeaderName::from_static("x-api-key")];
        assert!(strip_guarding(&mut headers, &guarded).is_err());
        assert!(headers.contains_key("x-api-key"));
        assert!(strip(&mut headers).is_ok());
        assert!(headers.is_empty());
    }

    #[test]
    fn options_that_are_no_names_are_passed_over() {
        assert!(stripped(&[("connection", "\"a b\", keep alive, =, é")]).is_empty());
    }

    #[test]
    fn an_upgrade_is_wanted_only_if_connection_says_so() {
        let wanted =
            |lines: &[(&str, &str)]| upgrade_of(&head(lines)).map(|v| v.to_str().unwrap().to_owned());
        assert_eq!(wanted(&[("upgrade", "websocket")]), None);
        assert_eq!(wanted(&[("connection", "upgrade")]), None);
        assert_eq!(
            wanted(&[("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")]).as_deref(),
            Some("WebSocket")
        );
        assert_eq!(
            wanted(&[("connection", "upgrade"), ("upgrade", "a/1, h2c"), ("upgrade", "b")]).as_deref(),
            Some("a/1, b")
        );
    }

    #[test]
    fn an_upgrade_that_would_hide_requests_is_not_passed_on() {
        for protocol in ["h2c", "H2C", "h2", "HTTP/2.0", "TLS/1.0", "tls"] {
            assert_eq!(upgrade_of(&head(&[("connection", "upgrade"), ("upgrade", protocol)])), None);
        }
    }
}
