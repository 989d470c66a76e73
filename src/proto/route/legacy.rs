//! Legacy paths and their twins.

use std::error::Error;
use std::fmt;

use super::path::{ResolvedPath, decoded, is_text};
use super::pattern::PathPattern;

/// The prefix of the twins where `--api-prefix` names no other.
pub const DEFAULT_PREFIX: &str = "/v1";

/// The legacy patterns and the prefix of their twins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegacyRoutes {
    patterns: Vec<PathPattern>,
    /// As it is put before a path: with a slash at its start, none at its end.
    prefix: String,
    /// Its segments, without percent-encoding.
    prefix_segments: Vec<Box<[u8]>>,
}

/// Why a text is no prefix; shows what is accepted instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidPrefix;

impl LegacyRoutes {
    /// Paths that match one of the patterns have a twin under the prefix. The prefix is a path such as
    /// `/v1` or `/api/v1`; a slash at its end is dropped.
    ///
    /// # Errors
    ///
    /// When the prefix is no path, is `/`, or contains a query, an empty or a dot segment, or a
    /// character that may not stand in a request target.
    pub fn new(patterns: Vec<PathPattern>, prefix: &str) -> Result<Self, InvalidPrefix> {
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        let segments = prefix.strip_prefix('/').ok_or(InvalidPrefix)?.split('/');
        let prefix_segments = segments.map(prefix_segment).collect::<Result<_, _>>()?;
        Ok(Self { patterns, prefix: prefix.to_owned(), prefix_segments })
    }

    /// No legacy routes: no path has a twin.
    #[must_use]
    pub fn none() -> Self {
        Self { patterns: Vec::new(), prefix: String::new(), prefix_segments: Vec::new() }
    }

    /// The patterns that hold before any is configured: `/sessions/{id}/events`.
    #[must_use]
    pub fn default_patterns() -> Vec<PathPattern> {
        vec![PathPattern::session_events()]
    }

    /// The twin of a legacy path, query included; `None` where the path is no legacy one.
    ///
    /// The twin is the prefix and then what the client wrote, byte for byte. One form is different: a
    /// path that climbs above its root (`/../sessions/1/events`) would climb out of the prefix; its
    /// twin is the prefix and the path without its dot segments, still as it was encoded.
    /// A path under the prefix, however it is written, has no twin.
    #[must_use]
    pub fn twin(&self, path_and_query: &str) -> Option<String> {
        if self.patterns.is_empty() {
            return None;
        }
        let resolved = ResolvedPath::new(path_and_query)?;
        if self.is_under_prefix(&resolved)
            || !self.patterns.iter().any(|pattern| pattern.matches_resolved(&resolved))
        {
            return None;
        }
        if !resolved.climbs() {
            return Some(format!("{}{path_and_query}", self.prefix));
        }
        let query = path_and_query.find('?').map_or("", |start| &path_and_query[start..]);
        Some(format!("{}{}{query}", self.prefix, resolved.text()))
    }

    fn is_under_prefix(&self, path: &ResolvedPath<'_>) -> bool {
        let mut names = path.names();
        self.prefix_segments.iter().all(|text| names.next().is_some_and(|name| is_text(name, text)))
    }
}

fn prefix_segment(segment: &str) -> Result<Box<[u8]>, InvalidPrefix> {
    // The unreserved characters and sub-delims of RFC 3986, `:`, `@`, and encoded bytes.
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@%".contains(&byte);
    if segment.is_empty()
        || !segment.bytes().all(is_allowed)
        || is_text(segment, b".")
        || is_text(segment, b"..")
    {
        return Err(InvalidPrefix);
    }
    Ok(decoded(segment).collect())
}

impl fmt::Display for InvalidPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected a path such as /v1 or /api/v1, without query, empty and dot segments")
    }
}

impl Error for InvalidPrefix {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn defaults() -> LegacyRoutes {
        LegacyRoutes::new(LegacyRoutes::default_patterns(), DEFAULT_PREFIX).unwrap()
    }

    fn routes(pattern: &str, prefix: &str) -> LegacyRoutes {
        LegacyRoutes::new(vec![pattern.parse().unwrap()], prefix).unwrap()
    }

    fn resolve(path: &str) -> String {
        ResolvedPath::new(path).unwrap().text()
    }

    #[test]
    fn a_twin_is_the_prefix_and_what_the_client_wrote() {
        for path in [
            "/sessions/9/events",
            "/sessions/9/events?x=1&y=%20/../z",
            "/sessions/9/events?",
            "/%73essions/a%2Fb/events",
            "/a/../sessions/1/events",
            "//sessions/1/./events/",
        ] {
            assert_eq!(defaults().twin(path), Some(format!("/v1{path}")));
        }
    }

    #[test]
    fn a_path_that_climbs_stays_under_the_prefix() {
        for (path, twin) in [
            ("/../sessions/1/events?a=..", "/v1/sessions/1/events?a=.."),
            ("/%2e%2e/%73essions/1/events", "/v1/%73essions/1/events"),
            ("/a/../../sessions/1/events/", "/v1/sessions/1/events/"),
            ("/a//../../sessions/1/events", "/v1/sessions/1/events"),
        ] {
            assert_eq!(defaults().twin(path).as_deref(), Some(twin), "{path}");
        }
    }

    #[test]
    fn a_path_under_the_prefix_has_no_twin_however_it_is_written() {
        let all = routes("/**", "/api/v1");
        for path in [
            "/api/v1",
            "/api/v1/sessions/9/events",
            "/%61pi/v%31/x",
            "/a/../api//v1/x",
            "/../api/v1/x",
            "/%2e/api/v1",
        ] {
            assert_eq!(all.twin(path), None, "{path}");
        }
        assert_eq!(all.twin("/api/v10").as_deref(), Some("/api/v1/api/v10"));
        assert_eq!(all.twin("/api").as_deref(), Some("/api/v1/api"));
        assert_eq!(all.twin("/api/v1/../x").as_deref(), Some("/api/v1/api/v1/../x"));
    }

    #[test]
    fn only_legacy_paths_have_twins() {
        for path in ["/", "/sessions", "/sessions/9/events/1", "/v2/sessions/9/events", "*", ""] {
            assert_eq!(defaults().twin(path), None, "{path}");
        }
        assert_eq!(LegacyRoutes::none().twin("/sessions/9/events"), None);
        let tree = routes("/sessions/**", "/v1/");
        assert_eq!(tree.twin("/sessions?a").as_deref(), Some("/v1/sessions?a"));
        assert_eq!(tree.twin("/sessions/9/x/y").as_deref(), Some("/v1/sessions/9/x/y"));
    }

    #[test]
    fn a_prefix_is_a_plain_path() {
        for prefix in ["", "/", "//", "v1", "/v1//x", "/v1/..", "/v1/%2e", "/v 1", "/v1?x", "/é", "/a\\b"] {
            assert!(LegacyRoutes::new(Vec::new(), prefix).is_err(), "{prefix}");
        }
        assert!(LegacyRoutes::new(Vec::new(), "/api/v1/").is_ok());
    }

    proptest! {
        #[test]
        fn a_twin_resolves_to_the_prefix_and_the_resolved_path(
            path in "(/(sessions|%73essions|events|a|\\.|\\.\\.|%2e%2E|\\.%2e|9)?){1,9}",
            query in "(\\?[a/.=&%2e]{0,9})?",
        ) {
            let routes = routes("/**", "/v1/api");
            let resolved = ResolvedPath::new(&path).unwrap();
            let target = format!("{path}{query}");
            match routes.twin(&target) {
                None => prop_assert!(routes.is_under_prefix(&resolved)),
                Some(twin) => {
                    prop_assert_eq!(resolve(&twin), format!("/v1/api{}", resolved.text()));
                    prop_assert!(twin.ends_with(&query));
                    prop_assert_eq!(routes.twin(&twin), None, "a twin is never rewritten again");
                    // A server that drops empty segments first stays under the prefix as well.
                    let mut collapsed = twin;
                    while collapsed.contains("//") {
                        collapsed = collapsed.replace("//", "/");
                    }
                    prop_assert!(resolve(&collapsed).starts_with("/v1/api"));
                }
            }
        }
    }
}
