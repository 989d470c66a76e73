//! Which requests share a session (spec 4.2): those that the upstream would answer alike.
//!
//! The key is the path, the query and every header that could matter. Nothing of it can be read
//! back: values, credentials among them, only go into a keyed hash.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use http::header::{
    ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH,
    COOKIE, FORWARDED, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, PRAGMA,
    PROXY_AUTHORIZATION, REFERER, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, UPGRADE_INSECURE_REQUESTS,
    USER_AGENT, VARY, VIA,
};
use http::{HeaderMap, HeaderName};
use siphasher::sip128::{Hasher128, SipHasher24};

use super::negotiation::{decoded, is_last_event_id_parameter, parameters};

/// Headers that say nothing about what the upstream answers, by name.
const HARMLESS: [HeaderName; 25] = [
    ACCEPT,
    ACCEPT_ENCODING,
    ACCEPT_LANGUAGE,
    CACHE_CONTROL,
    CONNECTION,
    CONTENT_LENGTH,
    FORWARDED,
    IF_MATCH,
    IF_MODIFIED_SINCE,
    IF_NONE_MATCH,
    IF_RANGE,
    IF_UNMODIFIED_SINCE,
    PRAGMA,
    PROXY_AUTHORIZATION,
    REFERER,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    UPGRADE_INSECURE_REQUESTS,
    USER_AGENT,
    VIA,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("last-event-id"),
];

/// The same, for which `http` has no name: tracing, request ids, forwarding and hints.
const HARMLESS_OTHERS: [&str; 42] = [
    "b3",
    "baggage",
    "cdn-loop",
    "cf-connecting-ip",
    "cf-ew-via",
    "cf-ipcountry",
    "cf-ray",
    "cf-visitor",
    "device-memory",
    "dnt",
    "downlink",
    "dpr",
    "ect",
    "fastly-client-ip",
    "fly-client-ip",
    "fly-request-id",
    "newrelic",
    "priority",
    "rtt",
    "save-data",
    "sentry-trace",
    "traceparent",
    "tracestate",
    "true-client-ip",
    "viewport-width",
    "x-amzn-trace-id",
    "x-client-trace-id",
    "x-cloud-trace-context",
    "x-correlation-id",
    "x-envoy-attempt-count",
    "x-envoy-expected-rq-timeout-ms",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-forwarded-scheme",
    "x-forwarded-server",
    "x-ot-span-context",
    "x-real-ip",
    "x-request-id",
    "x-request-start",
];

/// The same, by how the name begins.
///
/// Not `x-forwarded-`: authenticating proxies put identities there (`X-Forwarded-User`).
const HARMLESS_PREFIXES: [&str; 3] = ["sec-", "x-b3-", "x-datadog-"];

/// Which headers and parameters matter, beside what is built in.
#[derive(Debug, Clone, Default)]
pub struct KeyRules {
    /// Never matter. A header that is also named as a credential stays one.
    pub ignored: Vec<HeaderName>,
    /// Matter, although the built-in list says that they don't.
    pub key: Vec<HeaderName>,
    /// Hold credentials, beside `Authorization` and `Cookie`.
    pub credential_headers: Vec<HeaderName>,
    /// Query parameters that hold credentials.
    pub credential_query: Vec<String>,
}

impl KeyRules {
    /// Whether a header's value is a secret.
    #[must_use]
    pub fn is_credential(&self, name: &HeaderName) -> bool {
        *name == AUTHORIZATION || *name == COOKIE || self.credential_headers.contains(name)
    }

    fn matters(&self, name: &HeaderName) -> bool {
        if self.is_credential(name) || self.key.contains(name) {
            return true;
        }
        let text = name.as_str();
        let is_harmless = HARMLESS.contains(name)
            || HARMLESS_OTHERS.binary_search(&text).is_ok()
            || HARMLESS_PREFIXES.iter().any(|prefix| text.starts_with(prefix));
        !is_harmless && !self.ignored.contains(name)
    }
}

/// Makes fingerprints that only this process can make: `SipHash-2-4` of 128 bits, keyed.
#[derive(Clone)]
pub struct KeyHasher(SipHasher24);

impl KeyHasher {
    /// With a key that must be random and kept.
    #[must_use]
    pub fn new(key: &[u8; 16]) -> Self {
        Self(SipHasher24::new_with_key(key))
    }

    fn fingerprint(&self, write: impl FnOnce(&mut SipHasher24)) -> u128 {
        let mut hasher = self.0;
        write(&mut hasher);
        hasher.finish128().as_u128()
    }
}

impl fmt::Debug for KeyHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHasher(..)")
    }
}

/// Names one session.
#[derive(Debug, Clone)]
pub struct SessionKey {
    fingerprint: u128,
    display: Arc<str>,
}

impl SessionKey {
    /// The key of a request for `path` (after legacy rewriting) with this query and these headers
    /// as the client sent them.
    #[must_use]
    pub fn new(
        rules: &KeyRules,
        hasher: &KeyHasher,
        path: &str,
        query: Option<&str>,
        headers: &HeaderMap,
    ) -> Self {
        let mut names: Vec<&HeaderName> = headers.keys().filter(|name| rules.matters(name)).collect();
        names.sort_unstable_by_key(|name| name.as_str());
        let fingerprint = hasher.fingerprint(|hasher| {
            write_part(hasher, path.as_bytes());
            let shared = query.map(|query| shared_parameters(query).collect::<Vec<_>>()).unwrap_or_default();
            hasher.write_usize(shared.len());
            shared.iter().for_each(|parameter| write_part(hasher, parameter.as_bytes()));
            for name in names {
                write_part(hasher, name.as_str().as_bytes());
                let values = headers.get_all(name);
                hasher.write_usize(values.iter().count());
                values.iter().for_each(|value| write_part(hasher, value.as_bytes()));
            }
        });
        Self { fingerprint, display: display(rules, path, query).into() }
    }

    /// The whole key, as a hash that only this process can make.
    #[must_use]
    pub fn fingerprint(&self) -> u128 {
        self.fingerprint
    }

    /// Path and query for people, without secrets.
    #[must_use]
    pub fn display(&self) -> &str {
        &self.display
    }
}

impl PartialEq for SessionKey {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for SessionKey {}

impl Hash for SessionKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.fingerprint.hash(state);
    }
}

/// The query without what is one client's own, for the upstream and for the key; `None`: empty.
#[must_use]
pub fn shared_query(query: &str) -> Option<String> {
    let shared: Vec<&str> = shared_parameters(query).collect();
    (!shared.is_empty()).then(|| shared.join("&"))
}

fn shared_parameters(query: &str) -> impl Iterator<Item = &str> {
    query.split('&').filter(|parameter| {
        let name = parameter.split_once('=').map_or(*parameter, |(name, _)| name);
        !is_last_event_id_parameter(name)
    })
}

/// Length first: no two different lists of parts are the same bytes.
fn write_part(hasher: &mut SipHasher24, part: &[u8]) {
    hasher.write_usize(part.len());
    hasher.write(part);
}

fn display(rules: &KeyRules, path: &str, query: Option<&str>) -> String {
    let Some(query) = query.and_then(shared_query) else { return path.to_owned() };
    let is_secret = |name: &str| {
        let name = decoded(name);
        rules.credential_query.iter().any(|known| known.as_bytes() == name)
    };
    let shown: Vec<String> = parameters(&query)
        .map(|(name, value)| match (is_secret(name), value) {
            (true, _) => format!("{name}=[hidden]"),
            (false, "") => name.to_owned(),
            (false, value) => format!("{name}={value}"),
        })
        .collect();
    format!("{path}?{}", shown.join("&"))
}

/// What the upstream's `Vary` adds to the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VaryRule {
    /// `Vary: *`: no two requests are alike.
    Any,
    /// These fields, in order; often none.
    Names(Vec<HeaderName>),
}

impl VaryRule {
    /// From an answer's head. A name that can't be read counts as `*`.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let mut names = Vec::new();
        for value in headers.get_all(VARY) {
            let Ok(value) = value.to_str() else { return Self::Any };
            for item in value.split(',').map(str::trim).filter(|item| !item.is_empty()) {
                match item.parse::<HeaderName>() {
                    Ok(name) if item != "*" => names.push(name),
                    Ok(_) | Err(_) => return Self::Any,
                }
            }
        }
        names.sort_unstable_by(|left, right| left.as_str().cmp(right.as_str()));
        names.dedup();
        Self::Names(names)
    }

    /// Whether nobody can share.
    #[must_use]
    pub fn is_any(&self) -> bool {
        matches!(self, Self::Any)
    }

    /// What a request says in the fields that count.
    #[must_use]
    pub fn fingerprint(&self, hasher: &KeyHasher, headers: &HeaderMap) -> u128 {
        let Self::Names(names) = self else { return 0 };
        hasher.fingerprint(|hasher| {
            for name in names {
                let values = headers.get_all(name);
                hasher.write_usize(values.iter().count());
                values.iter().for_each(|value| write_part(hasher, value.as_bytes()));
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn hasher() -> KeyHasher {
        KeyHasher::new(b"a key of 16 byte")
    }

    fn headers(fields: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
        }
        map
    }

    fn key(rules: &KeyRules, path: &str, query: Option<&str>, fields: &[(&str, &str)]) -> SessionKey {
        SessionKey::new(rules, &hasher(), path, query, &headers(fields))
    }

    #[test]
    fn the_list_of_harmless_names_is_sorted() {
        assert!(HARMLESS_OTHERS.is_sorted());
    }

    #[test]
    fn what_a_browser_sends_on_its_own_does_not_matter() {
        let rules = KeyRules::default();
        let plain = key(&rules, "/e", None, &[("host", "a")]);
        let browser = key(
            &rules,
            "/e",
            None,
            &[
                ("host", "a"),
                ("accept", "text/event-stream"),
                ("accept-language", "de"),
                ("user-agent", "x"),
                ("sec-fetch-mode", "cors"),
                ("sec-ch-ua", "y"),
                ("cache-control", "no-cache"),
                ("referer", "/page"),
                ("traceparent", "00-1"),
                ("x-forwarded-for", "1.2.3.4"),
                ("x-request-id", "77"),
                ("last-event-id", "5"),
                ("priority", "u=1"),
            ],
        );
        assert_eq!(plain, browser);
    }

    #[test]
    fn whatever_could_tell_clients_apart_does() {
        let rules = KeyRules::default();
        let plain = key(&rules, "/e", Some("a=1"), &[("host", "a")]);
        for (path, query, fields) in [
            ("/f", Some("a=1"), vec![("host", "a")]),
            ("/e", Some("a=2"), vec![("host", "a")]),
            ("/e", None, vec![("host", "a")]),
            ("/e", Some("a=1"), vec![("host", "b")]),
            ("/e", Some("a=1"), vec![("host", "a"), ("authorization", "Bearer 1")]),
            ("/e", Some("a=1"), vec![("host", "a"), ("cookie", "s=1")]),
            ("/e", Some("a=1"), vec![("host", "a"), ("mcp-session-id", "1")]),
            ("/e", Some("a=1"), vec![("host", "a"), ("x-tenant", "1")]),
            ("/e", Some("a=1"), vec![("host", "a"), ("origin", "http://x")]),
            ("/e", Some("a=1"), vec![("host", "a"), ("x-forwarded-user", "eve")]),
            ("/e", Some("a=1"), vec![("host", "a"), ("cf-access-jwt-assertion", "x")]),
        ] {
            assert_ne!(plain, key(&rules, path, query, &fields), "{path} {query:?} {fields:?}");
        }
    }

    #[test]
    fn values_are_never_run_together() {
        let rules = KeyRules::default();
        let one = key(&rules, "/e", None, &[("x-a", "1"), ("x-a", "2")]);
        assert_ne!(one, key(&rules, "/e", None, &[("x-a", "12")]));
        assert_ne!(one, key(&rules, "/e", None, &[("x-a", "2"), ("x-a", "1")]));
        assert_ne!(key(&rules, "/e", Some("a&b"), &[]), key(&rules, "/e", Some("ab"), &[]));
    }

    #[test]
    fn a_clients_own_place_is_not_part_of_the_key() {
        let rules = KeyRules::default();
        assert_eq!(key(&rules, "/e", Some("lastEventId=5"), &[]), key(&rules, "/e", None, &[]));
        assert_eq!(
            key(&rules, "/e", Some("a=1&last%2Devent-id=5&b"), &[]),
            key(&rules, "/e", Some("a=1&b"), &[])
        );
        assert_eq!(shared_query("lastEventId=5"), None);
        assert_eq!(shared_query("a=%41&lastEventId=5&b").as_deref(), Some("a=%41&b"));
    }

    #[test]
    fn flags_widen_and_narrow_the_list_but_credentials_stay() {
        let rules = KeyRules {
            ignored: vec![HeaderName::from_static("x-build"), COOKIE],
            key: vec![ACCEPT_LANGUAGE],
            ..KeyRules::default()
        };
        let plain = key(&rules, "/e", None, &[]);
        assert_eq!(plain, key(&rules, "/e", None, &[("x-build", "7")]));
        assert_ne!(plain, key(&rules, "/e", None, &[("accept-language", "de")]));
        assert_ne!(plain, key(&rules, "/e", None, &[("cookie", "s=1")]), "a credential is never ignored");
    }

    #[test]
    fn no_secret_is_shown() {
        let rules = KeyRules { credential_query: vec!["token".into()], ..KeyRules::default() };
        let key =
            key(&rules, "/e", Some("token=hunter2&tok%65n=hunter2&a=1"), &[("authorization", "hunter2")]);
        assert_eq!(key.display(), "/e?token=[hidden]&tok%65n=[hidden]&a=1");
        assert!(!format!("{key:?} {:?}", hasher()).contains("hunter2"));
    }

    #[test]
    fn vary_tells_requests_apart_by_the_fields_it_names() {
        let rule =
            VaryRule::from_headers(&headers(&[("vary", "Accept-Language, origin"), ("vary", "Origin")]));
        let print = |fields: &[(&str, &str)]| rule.fingerprint(&hasher(), &headers(fields));
        assert_ne!(print(&[("accept-language", "de")]), print(&[("accept-language", "en")]));
        assert_ne!(print(&[("accept-language", "de")]), print(&[("origin", "de")]));
        assert_eq!(print(&[("accept-language", "de"), ("x", "1")]), print(&[("accept-language", "de")]));
        assert!(VaryRule::from_headers(&headers(&[("vary", "accept, *")])).is_any());
        assert_eq!(VaryRule::from_headers(&HeaderMap::new()), VaryRule::Names(vec![]));
    }

    proptest! {
        #[test]
        fn any_difference_in_what_matters_makes_another_session(
            one in "[ -~]{0,20}", other in "[ -~]{0,20}", name in "x-[a-z]{1,8}",
        ) {
            prop_assume!(!HARMLESS_OTHERS.contains(&name.as_str()));
            let rules = KeyRules::default();
            let left = key(&rules, "/e", None, &[(&name, &one)]);
            let right = key(&rules, "/e", None, &[(&name, &other)]);
            prop_assert_eq!(left == right, one == other);
        }
    }
}
