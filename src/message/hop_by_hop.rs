//! Fields that belong to one connection and are not forwarded (RFC 9110, 7.6.1; spec 3.2).

use std::fmt;

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, FORWARDED, HOST, PROXY_AUTHORIZATION,
    TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Always removed. `Trailer` stays: it only announces what comes, and without it hyper sends none.
const ALWAYS: [HeaderName; 7] =
    [CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE];

/// Never to be removed because `Connection` names them: a client could strip who it is, or what
/// another hop has found out about it (CVE-2026-105299 and its kin).
const NEVER_NAMED: [HeaderName; 7] =
    [AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, FORWARDED, HOST, LAST_EVENT_ID];

/// A `Connection` header names a field that it may not remove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForbiddenOption(String);

impl fmt::Display for ForbiddenOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the Connection header names {}, which is for the whole way", self.0)
    }
}

impl std::error::Error for ForbiddenOption {}

/// Removes the fields that are for this connection only, those included that `Connection` names.
/// `TE: trailers` stays, since ssecar forwards trailers.
///
/// # Errors
/// [`ForbiddenOption`] where `Connection` names an end-to-end field that others rely on.
pub fn strip(headers: &mut HeaderMap) -> Result<(), ForbiddenOption> {
    let named = named_options(headers);
    for name in &named {
        let text = name.as_str();
        if NEVER_NAMED.contains(name) || text.starts_with("x-forwarded-") || text == "x-real-ip" {
            return Err(ForbiddenOption(text.to_owned()));
        }
    }
    let takes_trailers = list(headers, &TE).any(|token| token.eq_ignore_ascii_case("trailers"));
    for name in ALWAYS.iter().chain(&named) {
        headers.remove(name);
    }
    if takes_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    Ok(())
}

/// What the message asks to upgrade to, if it does: `Upgrade`, where `Connection` names it.
#[must_use]
pub fn upgrade_of(headers: &HeaderMap) -> Option<HeaderValue> {
    let is_named = list(headers, &CONNECTION).any(|option| option.eq_ignore_ascii_case("upgrade"));
    headers.get(UPGRADE).filter(|_| is_named).cloned()
}

fn named_options(headers: &HeaderMap) -> Vec<HeaderName> {
    // What is no field name can't be a field either.
    list(headers, &CONNECTION).filter_map(|option| option.parse().ok()).collect()
}

fn list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|item| !item.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn fields_of_one_connection_go_and_all_others_stay() {
        let mut map = headers(&[
            ("connection", "close, X-Hop"),
            ("connection", "x-other"),
            ("x-hop", "1"),
            ("x-other", "2"),
            ("keep-alive", "timeout=5"),
            ("te", "gzip"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("proxy-authorization", "secret"),
            ("x-app", "stays"),
            ("trailer", "x-sum"),
        ]);
        strip(&mut map).unwrap();
        assert_eq!(map, headers(&[("x-app", "stays"), ("trailer", "x-sum")]));
    }

    #[test]
    fn the_wish_for_trailers_is_passed_on() {
        let mut map = headers(&[("te", "gzip, Trailers"), ("connection", "te")]);
        strip(&mut map).unwrap();
        assert_eq!(map, headers(&[("te", "trailers")]));
    }

    #[test]
    fn connection_may_not_strip_who_the_client_is() {
        for name in ["Host", "authorization", "cookie", "last-event-id", "x-forwarded-for", "content-length"]
        {
            let mut map = HeaderMap::new();
            map.insert(CONNECTION, HeaderValue::from_str(&format!("close, {name}")).unwrap());
            assert!(strip(&mut map).is_err(), "{name}");
        }
    }

    #[test]
    fn an_upgrade_is_one_only_if_connection_says_so() {
        assert_eq!(upgrade_of(&headers(&[("upgrade", "websocket")])), None);
        let map = headers(&[("upgrade", "websocket"), ("connection", "keep-alive, Upgrade")]);
        assert_eq!(upgrade_of(&map).unwrap(), "websocket");
    }
}
