//! Finds the one header that keeps the clients of a path apart (spec 4.2).
//!
//! A header whose value is new on every request, a request id under an unusual name, gives each
//! client a session of its own: all is correct, and nothing is gained. This notices it, once a path.

use std::collections::{HashMap, HashSet, VecDeque};

use http::HeaderName;

/// How many paths (with their query, for one set of credentials) are watched at once; the one that
/// was seen first gives way.
const PATHS_MAX: usize = 256;

/// How many heads of one path are remembered; the oldest give way.
const HEADS_PER_PATH: usize = 16;

/// How many sessions must differ by one header alone, before that is more than chance.
const SESSIONS_NEEDED: usize = 8;

/// A head with more headers in the key is not looked at.
const HEADERS_PER_HEAD: usize = 32;

/// How many paths get advice before all has been said that a log needs.
const ADVICE_MAX: usize = 256;

/// What a session's first request looked like; made by
/// [`KeyRules::session_head`](super::KeyRules::session_head). Holds no values, only hashes.
#[derive(Debug, Clone)]
pub struct SessionHead {
    /// For people; without query.
    pub(super) path: String,
    /// Path, query and credentials: only sessions that are alike in these could ever be one.
    pub(super) group: u128,
    /// Every other header in the key, sorted by name, each name once.
    pub(super) headers: Vec<(HeaderName, u128)>,
}

/// Sessions of this path would be one if it weren't for this header. Said to the user with the flag
/// that helps: `--ignore-header`, if the upstream doesn't answer by this header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// The path, without query.
    pub path: String,
    /// The header whose value was always new.
    pub header: HeaderName,
}

/// Watches new sessions. Memory is bounded: about 8 MiB at the very most, usually some KiB.
#[derive(Debug, Default)]
pub struct SharingAdvisor {
    heads: HashMap<u128, VecDeque<Head>>,
    /// The keys of `heads`, the one that was seen first in front.
    in_order: VecDeque<u128>,
    advised: HashSet<String>,
}

/// [`SessionHead::headers`].
type Head = Vec<(HeaderName, u128)>;

impl SharingAdvisor {
    /// Nothing seen yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes note of a session that was just created. Answers once for a path, when enough of its
    /// sessions differ by the value of one header alone, and no value came twice.
    pub fn observe(&mut self, head: SessionHead) -> Option<Advice> {
        if self.advised.len() >= ADVICE_MAX
            || head.headers.len() > HEADERS_PER_HEAD
            || self.advised.contains(&head.path)
        {
            return None;
        }
        let heads = self.heads_of(head.group);
        let culprit = culprit(&head.headers, heads);
        if heads.len() == HEADS_PER_PATH {
            heads.pop_front();
        }
        heads.push_back(head.headers);
        let header = culprit?;
        self.heads.remove(&head.group);
        self.in_order.retain(|group| *group != head.group);
        self.advised.insert(head.path.clone());
        Some(Advice { path: head.path, header })
    }

    fn heads_of(&mut self, group: u128) -> &mut VecDeque<Head> {
        if !self.heads.contains_key(&group) {
            if self.in_order.len() == PATHS_MAX
                && let Some(oldest) = self.in_order.pop_front()
            {
                self.heads.remove(&oldest);
            }
            self.in_order.push_back(group);
        }
        self.heads.entry(group).or_default()
    }
}

/// The header by which alone the newest head differs from enough others, all values being different.
fn culprit(newest: &Head, others: &VecDeque<Head>) -> Option<HeaderName> {
    for (index, (name, value)) in newest.iter().enumerate() {
        let is_like = |head: &Head| {
            head.len() == newest.len()
                && head
                    .iter()
                    .zip(newest)
                    .enumerate()
                    .all(|(i, (left, right))| left.0 == right.0 && (i == index || left.1 == right.1))
        };
        let mut values: HashSet<u128> = HashSet::from([*value]);
        // A value that comes again is no running number: the same client came back, say.
        let are_all_new = others.iter().filter(|head| is_like(head)).all(|head| values.insert(head[index].1));
        if are_all_new && values.len() >= SESSIONS_NEEDED {
            return Some(name.clone());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::super::{KeyHasher, KeyRules};
    use super::*;

    fn head(path: &str, lines: &[(&'static str, &str)]) -> SessionHead {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        KeyRules::default().session_head(&KeyHasher::new([3; 16]), path, &headers)
    }

    fn advices(heads: impl IntoIterator<Item = SessionHead>) -> Vec<Advice> {
        let mut advisor = SharingAdvisor::new();
        heads.into_iter().filter_map(|head| advisor.observe(head)).collect()
    }

    #[test]
    fn a_header_that_is_always_new_is_named_once() {
        let requests = (0..100).map(|i| {
            head("/a?b=1", &[("x-nonce", &i.to_string()), ("origin", "o"), ("accept", &i.to_string())])
        });
        assert_eq!(
            advices(requests),
            [Advice { path: "/a".into(), header: HeaderName::from_static("x-nonce") }]
        );
    }

    #[test]
    fn it_takes_enough_sessions_to_be_sure() {
        let mut advisor = SharingAdvisor::new();
        for i in 1..SESSIONS_NEEDED {
            assert_eq!(advisor.observe(head("/a", &[("x-nonce", &i.to_string())])), None, "session {i}");
        }
        assert!(advisor.observe(head("/a", &[("x-nonce", "last")])).is_some());
    }

    #[test]
    fn two_headers_that_differ_are_no_case_for_advice() {
        let both = (0..100).map(|i| head("/a", &[("x-nonce", &i.to_string()), ("x-tenant", &i.to_string())]));
        assert_eq!(advices(both), []);
    }

    #[test]
    fn a_value_that_comes_again_is_not_always_new() {
        let tenants = (0..100).map(|i| head("/a", &[("x-tenant", &(i % 7).to_string())]));
        assert_eq!(advices(tenants), []);
    }

    #[test]
    fn a_header_that_some_requests_lack_is_not_always_new() {
        let requests = (0..14).map(|i| {
            let nonce = i.to_string();
            let lines = [("x-nonce", nonce.as_str())];
            head("/a", if i % 2 == 0 { &lines } else { &[] })
        });
        assert_eq!(advices(requests), []);
    }

    #[test]
    fn other_clients_in_between_don_t_hide_it() {
        let requests = (0..40).map(|i| {
            let origin = if i % 2 == 0 { "a" } else { "b" };
            head("/a", &[("origin", origin), ("x-nonce", &i.to_string())])
        });
        assert_eq!(advices(requests).len(), 1);
    }

    #[test]
    fn credentials_are_never_the_culprit() {
        for name in ["authorization", "cookie"] {
            let requests = (0..100).map(|i| head("/a", &[(name, &i.to_string())]));
            assert_eq!(advices(requests), [], "{name}");
        }
        let strangers =
            (0..100).map(|i| head("/a", &[("cookie", &i.to_string()), ("x-nonce", &i.to_string())]));
        assert_eq!(advices(strangers), [], "they could not share anyway");
    }

    #[test]
    fn several_values_of_one_header_count_together() {
        let requests = (0..40).map(|i| head("/a", &[("x-n", "same"), ("x-n", &i.to_string())]));
        assert_eq!(advices(requests).len(), 1);
    }

    #[test]
    fn memory_is_bounded_however_many_paths_come() {
        let mut advisor = SharingAdvisor::new();
        for i in 0..3 * PATHS_MAX {
            for nonce in 0..3 {
                advisor.observe(head(&format!("/{i}"), &[("x-nonce", &nonce.to_string())]));
            }
        }
        assert_eq!((advisor.heads.len(), advisor.in_order.len()), (PATHS_MAX, PATHS_MAX));
        let mut said = 0;
        for i in 0..2 * ADVICE_MAX {
            for nonce in 0..20 {
                said += usize::from(
                    advisor.observe(head(&format!("/p{i}"), &[("x-nonce", &nonce.to_string())])).is_some(),
                );
            }
        }
        assert_eq!((said, advisor.advised.len()), (ADVICE_MAX, ADVICE_MAX));
        let mut alike = SharingAdvisor::new();
        for _ in 0..3 * HEADS_PER_PATH {
            assert_eq!(alike.observe(head("/a", &[])), None);
        }
        assert!(alike.heads.values().all(|heads| heads.len() == HEADS_PER_PATH));
    }
}
