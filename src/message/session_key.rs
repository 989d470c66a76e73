//! The session key: what tells event streams apart (spec 4.2).
//!
//! Two requests have one key only if the upstream would answer them alike. So everything counts that
//! isn't known to be harmless, and what is not known is not shared. Credentials go into the key as
//! they are, but the key is a keyed hash, and nothing that can be read keeps any of them.

mod advisor;
mod harmless;
mod hasher;
mod vary;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue};

pub use advisor::{Advice, SessionHead, SharingAdvisor};
pub use harmless::is_harmless;
pub use hasher::KeyHasher;
pub use vary::VaryRule;

use super::query::{decoded, is_last_event_id, name_and_value, split_target};
use crate::config::Share;
use hasher::Domain;

/// The longest [`SessionKey::display`], in bytes; more is cut off.
pub const DISPLAY_BYTES_MAX: usize = 512;

/// Query parameters that commonly hold credentials. Whether configured or not, they are never shown.
/// In the key they are what every parameter is.
const WELL_KNOWN_SECRETS: [&str; 21] = [
    "access_token",
    "api-key",
    "api_key",
    "apikey",
    "auth",
    "authorization",
    "client_secret",
    "code",
    "id_token",
    "jwt",
    "key",
    "passwd",
    "password",
    "refresh_token",
    "secret",
    "session",
    "sid",
    "sig",
    "signature",
    "ticket",
    "token",
];

/// What counts in a key, beside the rules that always hold.
#[derive(Debug, Clone, Default)]
pub struct KeyRules {
    /// Headers that never matter to the upstream (`--ignore-header`). A header that holds credentials
    /// counts nevertheless: see [`KeyRules::contradictions`].
    pub ignored: Vec<HeaderName>,
    /// Headers that do matter (`--key-header`), whatever the other lists say.
    pub key: Vec<HeaderName>,
    /// Headers that hold credentials, beside `Authorization` and `Cookie` (`--credential-header`).
    pub credential_headers: Vec<HeaderName>,
    /// Query parameters that hold credentials (`--credential-query`); upper and lower case are alike.
    pub credential_query: Vec<String>,
}

/// Names one session. Equal keys, equal fingerprints; holds nothing secret.
#[derive(Clone)]
pub struct SessionKey {
    fingerprint: u128,
    display: Arc<str>,
}

/// What a header is to the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Credential,
    Significant,
    Harmless,
}

impl KeyRules {
    /// The key of a request: its target after legacy rewriting, and its head.
    ///
    /// The head should be as the upstream will get it, or at least without the hop-by-hop fields that
    /// `Connection` names and without the forwarding headers of strangers: else these count, and
    /// requests share less than they could.
    ///
    /// Where credentials are shared across (spec 4.3), they don't count: neither those headers nor
    /// those parameters that were named.
    #[must_use]
    pub fn session_key(
        &self,
        hasher: &KeyHasher,
        path_and_query: &str,
        headers: &HeaderMap,
        share: Share,
    ) -> SessionKey {
        let (path, query) = split_target(path_and_query);
        let keeps_credentials = share == Share::SameCredentials;
        let mut digest = hasher.digest(Domain::Session);
        digest.field(path.as_bytes());
        for parameter in significant_parameters(query) {
            if keeps_credentials || !self.is_credential_parameter(parameter) {
                digest.field(parameter.as_bytes());
            }
        }
        digest.end_of_list();
        for (name, value, role) in self.significant_headers(headers) {
            if role == Role::Credential && !keeps_credentials {
                continue;
            }
            digest.field(name.as_str().as_bytes());
            digest.field(value.as_bytes());
        }
        digest.end_of_list();
        SessionKey { fingerprint: digest.finish(), display: self.display(path, query).into() }
    }

    /// What [`SharingAdvisor`] needs to know about a request that created a session.
    #[must_use]
    pub fn session_head(&self, hasher: &KeyHasher, path_and_query: &str, headers: &HeaderMap) -> SessionHead {
        let (path, query) = split_target(path_and_query);
        let mut group = hasher.digest(Domain::Group);
        group.field(path.as_bytes());
        for parameter in significant_parameters(query) {
            group.field(parameter.as_bytes());
        }
        group.end_of_list();
        let mut hashes: Vec<(HeaderName, u128)> = Vec::new();
        for (name, value, role) in self.significant_headers(headers) {
            if role == Role::Credential {
                group.field(name.as_str().as_bytes());
                group.field(value.as_bytes());
                continue;
            }
            let mut digest = hasher.digest(Domain::Header);
            match hashes.last_mut() {
                Some((last, before)) if last == name => {
                    digest.field(&before.to_le_bytes());
                    digest.field(value.as_bytes());
                    *before = digest.finish();
                }
                Some(_) | None => {
                    digest.field(value.as_bytes());
                    hashes.push((name.clone(), digest.finish()));
                }
            }
        }
        SessionHead { path: self.display(path, None), group: group.finish(), headers: hashes }
    }

    /// Headers that are to be ignored although they hold credentials. They count all the same, since
    /// a session that mixes credentials is a leak, and a start with such settings should be refused:
    /// sharing across credentials is asked for by its own name (spec 4.3).
    pub fn contradictions(&self) -> impl Iterator<Item = &HeaderName> {
        self.ignored.iter().filter(|name| self.is_credential(name))
    }

    /// Headers that count, sorted by name, the values of one name in their order.
    fn significant_headers<'a>(
        &self,
        headers: &'a HeaderMap,
    ) -> Vec<(&'a HeaderName, &'a HeaderValue, Role)> {
        let mut significant: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name, value, self.role(name)))
            .filter(|(_, _, role)| *role != Role::Harmless)
            .collect();
        significant.sort_by_key(|(name, _, _)| name.as_str()); // Stable: values stay in order.
        significant
    }

    fn role(&self, name: &HeaderName) -> Role {
        if self.is_credential(name) {
            Role::Credential
        } else if !self.key.contains(name) && (self.ignored.contains(name) || is_harmless(name)) {
            Role::Harmless
        } else {
            Role::Significant
        }
    }

    /// A request target without the parameters that hold credentials.
    #[must_use]
    pub fn without_credentials(&self, path_and_query: &str) -> String {
        let (path, query) = split_target(path_and_query);
        let kept = query.into_iter().flat_map(|query| query.split('&'));
        let kept: Vec<&str> = kept.filter(|parameter| !self.is_credential_parameter(parameter)).collect();
        if kept.is_empty() { path.to_owned() } else { format!("{path}?{}", kept.join("&")) }
    }

    /// A request target for people and machines that may not know secrets: the values of parameters that hold
    /// credentials are blotted out, and it has at most [`DISPLAY_BYTES_MAX`] bytes.
    #[must_use]
    pub fn shown(&self, path_and_query: &str) -> String {
        let (path, query) = split_target(path_and_query);
        self.display(path, query)
    }

    /// Whether a header holds a credential.
    #[must_use]
    pub fn is_credential(&self, name: &HeaderName) -> bool {
        *name == AUTHORIZATION || *name == COOKIE || self.credential_headers.contains(name)
    }

    fn is_credential_parameter(&self, parameter: &str) -> bool {
        let name = decoded(name_and_value(parameter).0);
        self.credential_query.iter().any(|named| name.eq_ignore_ascii_case(named.as_bytes()))
    }

    fn is_secret_parameter(&self, name: &[u8]) -> bool {
        let is_named = |secret: &str| name.eq_ignore_ascii_case(secret.as_bytes());
        self.credential_query.iter().any(|secret| is_named(secret))
            || WELL_KNOWN_SECRETS.into_iter().any(is_named)
            || [&b"x-amz-"[..], b"x-goog-"] // Signed URLs.
                .iter()
                .any(|prefix| {
                    name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
                })
    }

    /// The target for people, secrets blotted out.
    fn display(&self, path: &str, query: Option<&str>) -> String {
        let mut text = path.to_owned();
        let mut separator = '?';
        for parameter in significant_parameters(query) {
            let (name, _value) = name_and_value(parameter);
            text.push(separator);
            if self.is_secret_parameter(&decoded(name)) {
                text.push_str(name);
                text.push_str("=***");
            } else {
                text.push_str(parameter);
            }
            separator = '&';
        }
        if text.contains(char::is_control) {
            text = text.replace(char::is_control, "?"); // One log line stays one line.
        }
        if text.len() > DISPLAY_BYTES_MAX {
            text.truncate(text.floor_char_boundary(DISPLAY_BYTES_MAX - '…'.len_utf8()));
            text.push('…');
        }
        text
    }
}

/// Parameters as they are written, without last event ids. An empty query is none at all: nobody
/// serves another stream at `/a?` than at `/a`.
fn significant_parameters(query: Option<&str>) -> impl Iterator<Item = &str> {
    query
        .filter(|query| !query.is_empty())
        .into_iter()
        .flat_map(|query| query.split('&'))
        .filter(|parameter| !is_last_event_id(parameter))
}

impl SessionKey {
    /// The hash of all that tells this session from others. Means nothing outside this process.
    #[must_use]
    pub fn fingerprint(&self) -> u128 {
        self.fingerprint
    }

    /// Path and query for people, at most [`DISPLAY_BYTES_MAX`] bytes. Values of credential parameters
    /// are `***`. Sessions that differ by their headers alone look alike.
    #[must_use]
    pub fn display(&self) -> &Arc<str> {
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
        state.write_u128(self.fingerprint);
    }
}

impl fmt::Display for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.display)
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionKey({} {:032x})", self.display, self.fingerprint)
    }
}

#[cfg(test)]
mod tests;
