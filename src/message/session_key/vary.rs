//! What the upstream's `Vary` adds to the key (RFC 9110, 12.5.5; spec 4.2).

use http::header::{ACCEPT_ENCODING, VARY};
use http::{HeaderMap, HeaderName};

use super::hasher::Domain;
use super::{KeyHasher, KeyRules, Role};
use crate::message::list::elements;
use crate::message::negotiation::LAST_EVENT_ID;

/// The most names that a rule holds. An upstream that names more varies by everything.
const VARY_NAMES_MAX: usize = 32;

/// By what an answer differs, beyond what the key holds already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VaryRule {
    /// By nothing more.
    None,
    /// By things that no head shows (`*`): nobody may share it.
    Any,
    /// By these headers; sorted, each once.
    Names(Vec<HeaderName>),
}

impl VaryRule {
    /// Reads all `Vary` headers of the upstream's response.
    ///
    /// `Accept-Encoding` is left out, since ssecar always asks for plain content, and `Last-Event-ID`,
    /// since resuming is ssecar's own task. What is no header name names nothing.
    #[must_use]
    pub fn of_response(response_headers: &HeaderMap, rules: &KeyRules) -> Self {
        let mut names = Vec::new();
        for element in elements(response_headers, &VARY) {
            if element == b"*" {
                return Self::Any;
            }
            let Ok(name) = HeaderName::from_bytes(element) else { continue };
            let is_news = rules.role(&name) == Role::Harmless && !names.contains(&name);
            if !is_news || name == ACCEPT_ENCODING || name == LAST_EVENT_ID {
                continue;
            }
            if names.len() == VARY_NAMES_MAX {
                return Self::Any;
            }
            names.push(name);
        }
        if names.is_empty() {
            return Self::None;
        }
        names.sort_by(|left, right| left.as_str().cmp(right.as_str()));
        Self::Names(names)
    }

    /// What this rule sees in a request: two requests with equal keys may share the answer only if
    /// these are equal as well. `None` under [`VaryRule::Any`]: no request is like another.
    #[must_use]
    pub fn fingerprint(&self, hasher: &KeyHasher, headers: &HeaderMap) -> Option<u128> {
        let names = match self {
            Self::None => &[][..],
            Self::Any => return None,
            Self::Names(names) => names,
        };
        let mut digest = hasher.digest(Domain::Vary);
        for name in names {
            digest.field(name.as_str().as_bytes());
            for value in headers.get_all(name) {
                digest.field(value.as_bytes());
            }
            digest.end_of_list();
        }
        Some(digest.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(lines: &[&str]) -> VaryRule {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(VARY, line.parse().unwrap());
        }
        let rules = KeyRules { ignored: vec![HeaderName::from_static("x-noise")], ..KeyRules::default() };
        VaryRule::of_response(&headers, &rules)
    }

    fn names(names: &[&'static str]) -> VaryRule {
        VaryRule::Names(names.iter().map(|name| HeaderName::from_static(name)).collect())
    }

    #[test]
    fn only_what_the_key_lacks_is_news() {
        assert_eq!(rule(&[]), VaryRule::None);
        assert_eq!(rule(&["Accept-Encoding, Last-Event-ID"]), VaryRule::None);
        assert_eq!(rule(&["Origin, Cookie, Authorization, X-Tenant"]), VaryRule::None, "in the key already");
        assert_eq!(
            rule(&["User-Agent", "Accept, user-agent, X-Noise"]),
            names(&["accept", "user-agent", "x-noise"])
        );
        assert_eq!(rule(&["a b, accept,, "]), names(&["accept"]));
    }

    #[test]
    fn a_star_anywhere_means_nobody_shares() {
        assert_eq!(rule(&["Accept", "Origin, *"]), VaryRule::Any);
        let many: Vec<String> = (0..=VARY_NAMES_MAX).map(|i| format!("sec-{i}")).collect();
        assert_eq!(rule(&[&many.join(",")]), VaryRule::Any);
        assert_eq!(VaryRule::Any.fingerprint(&KeyHasher::new([1; 16]), &HeaderMap::new()), None);
    }

    #[test]
    fn requests_are_alike_if_the_named_headers_are() {
        let hasher = KeyHasher::new([1; 16]);
        let rule = names(&["accept-language", "user-agent"]);
        let seen = |lines: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(*name, value.parse().unwrap());
            }
            rule.fingerprint(&hasher, &headers).unwrap()
        };
        let german = seen(&[("accept-language", "de"), ("user-agent", "a")]);
        assert_eq!(german, seen(&[("user-agent", "a"), ("referer", "x"), ("accept-language", "de")]));
        for other in [
            &[("accept-language", "en"), ("user-agent", "a")][..],
            &[("accept-language", "de")],
            &[("accept-language", "de"), ("user-agent", "")],
            &[("accept-language", "a"), ("user-agent", "de")],
            &[("accept-language", "de"), ("accept-language", ""), ("user-agent", "a")],
        ] {
            assert_ne!(german, seen(other), "{other:?}");
        }
    }
}
