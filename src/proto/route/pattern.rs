//! Path patterns.

use std::error::Error;
use std::fmt;
use std::str::FromStr;

use super::path::{ResolvedPath, decoded, is_text};

/// A path pattern, parsed once: `/sessions/{id}/events`, `/events`, `/live/**`.
///
/// A segment is literal text, or `{name}` or `*` for exactly one segment of any text; `**` as the last
/// segment stands for any number of segments, none included. Literal text may be percent-encoded; so
/// `%2A` is a literal star and `%7B` a literal brace. A slash at the end means nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern {
    text: String,
    segments: Vec<Segment>,
    /// Whether further segments may follow.
    open_ended: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Any,
    /// Without percent-encoding.
    Literal(Box<[u8]>),
}

/// Why a text is no pattern; shows what is accepted instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidPattern(&'static str);

impl PathPattern {
    /// Whether the path matches, as the upstream would read it. A query is not looked at.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        ResolvedPath::new(path).is_some_and(|path| self.matches_resolved(&path))
    }

    pub(super) fn matches_resolved(&self, path: &ResolvedPath<'_>) -> bool {
        let mut names = path.names();
        let begins_so = self.segments.iter().all(|segment| {
            names.next().is_some_and(|name| match segment {
                Segment::Any => true,
                Segment::Literal(text) => is_text(name, text),
            })
        });
        begins_so && (self.open_ended || names.next().is_none())
    }

    /// `/sessions/{id}/events`
    pub(super) fn session_events() -> Self {
        let literal = |text: &str| Segment::Literal(text.as_bytes().into());
        Self {
            text: "/sessions/{id}/events".to_owned(),
            segments: vec![literal("sessions"), Segment::Any, literal("events")],
            open_ended: false,
        }
    }
}

impl FromStr for PathPattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let path = text.strip_prefix('/').ok_or(InvalidPattern("a path that starts with `/`"))?;
        if path.contains(|c: char| c == '?' || c == '#' || c.is_whitespace() || c.is_control()) {
            return Err(InvalidPattern("a path without query, fragment, spaces and control characters"));
        }
        let path = path.strip_suffix('/').unwrap_or(path);
        let (path, open_ended) = match path.strip_suffix("**") {
            Some("") => ("", true),
            Some(before) if before.ends_with('/') => (&before[..before.len() - 1], true),
            Some(_) | None => (path, false),
        };
        // Only the root has no segments; `/**` after an empty one is caught below.
        let is_root = path.is_empty() && !text.starts_with("//");
        let segments = if is_root { Ok(Vec::new()) } else { path.split('/').map(Segment::parse).collect() };
        Ok(Self { text: text.to_owned(), segments: segments?, open_ended })
    }
}

impl Segment {
    fn parse(text: &str) -> Result<Self, InvalidPattern> {
        let name = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        match (text, name) {
            ("*", _) => Ok(Self::Any),
            ("**", _) => Err(InvalidPattern("`**` as the last segment only")),
            ("", _) => Err(InvalidPattern("a path without empty segments")),
            (_, Some(name)) if !name.is_empty() && !name.contains(['{', '}', '*']) => Ok(Self::Any),
            _ if text.contains(['{', '}', '*']) => {
                Err(InvalidPattern("`{name}` or `*` for a whole segment, `**` as the last segment"))
            }
            _ if is_text(text, b".") || is_text(text, b"..") => {
                Err(InvalidPattern("a path without `.` and `..` segments"))
            }
            _ => Ok(Self::Literal(decoded(text).collect())),
        }
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for InvalidPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}", self.0)
    }
}

impl Error for InvalidPattern {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        pattern.parse::<PathPattern>().unwrap().matches(path)
    }

    #[test]
    fn a_wildcard_is_exactly_one_segment() {
        for pattern in ["/sessions/{id}/events", "/sessions/*/events"] {
            assert!(matches(pattern, "/sessions/9/events"));
            assert!(matches(pattern, "/sessions/a%2Fb/events"), "an encoded slash is no border");
            for path in ["/sessions/events", "/sessions//events", "/sessions/9/8/events", "/sessions/9"] {
                assert!(!matches(pattern, path), "{path}");
            }
        }
    }

    #[test]
    fn two_stars_are_the_rest_or_nothing() {
        for path in ["/live", "/live/", "/live/a", "/live/a/b"] {
            assert!(matches("/live/**", path), "{path}");
        }
        assert!(!matches("/live/**", "/lively"));
        assert!(matches("/**", "/"));
        assert!(matches("/**", "/any/thing"));
    }

    #[test]
    fn literals_are_compared_as_the_upstream_reads_them() {
        for path in [
            "/sessions/9/events/",
            "//sessions///9/events",
            "/%73essions/9/%65vents",
            "/./sessions/9/x/../events",
            "/x/%2e%2E/sessions/9/events",
            "/../../sessions/9/events",
            "/sessions/9/events?from=/other",
        ] {
            assert!(matches("/sessions/{id}/events", path), "{path}");
        }
        for path in [
            "/Sessions/9/events",
            "/sessions/9%2Fevents",
            "/%2573essions/9/events",
            "/sessions\\9\\events",
            "sessions/9/events",
            "*",
            "",
        ] {
            assert!(!matches("/sessions/{id}/events", path), "{path}");
        }
    }

    #[test]
    fn a_pattern_may_be_written_encoded() {
        assert!(matches("/caf%C3%A9", "/caf%c3%a9"));
        assert!(matches("/café", "/caf%C3%A9"));
        assert!(matches("/%2A", "/*"));
        assert!(!matches("/%2A", "/x"));
        assert!(matches("/", "/"));
        assert!(!matches("/", "/x"));
        assert!(matches("/events/", "/events"));
    }

    #[test]
    fn what_can_never_match_or_is_unclear_is_refused() {
        for (text, accepted) in [
            ("", "starts with `/`"),
            ("events", "starts with `/`"),
            ("//", "empty segments"),
            ("//**", "empty segments"),
            ("/a//b", "empty segments"),
            ("/a?b", "without query"),
            ("/a b", "spaces"),
            ("/a/../b", "`.` and `..`"),
            ("/%2e", "`.` and `..`"),
            ("/**/a", "last segment only"),
            ("/a*", "whole segment"),
            ("/a**", "whole segment"),
            ("/{id}.json", "whole segment"),
            ("/{}", "whole segment"),
            ("/{a}{b}", "whole segment"),
        ] {
            let error = text.parse::<PathPattern>().unwrap_err().to_string();
            assert!(error.contains(accepted), "{text}: {error}");
        }
    }

    #[test]
    fn a_pattern_shows_as_it_was_written() {
        for text in ["/", "/a/{id}/*/**", "/%41/"] {
            assert_eq!(text.parse::<PathPattern>().unwrap().to_string(), text);
        }
        let built_in = PathPattern::session_events();
        assert_eq!(built_in.to_string().parse::<PathPattern>().unwrap(), built_in);
    }

    /// Segments, and one way to write each: letter by letter plain or encoded, detours around it.
    fn spelled_path() -> impl Strategy<Value = (Vec<String>, String)> {
        let letter = ("[a-zA-Z0-9_~.-]", 0..3_u8).prop_map(|(letter, how)| {
            let code = letter.as_bytes()[0];
            let spelled = match how {
                0 => letter.clone(),
                1 => format!("%{code:02x}"),
                _ => format!("%{code:02X}"),
            };
            (letter, spelled)
        });
        let segment = prop::collection::vec(letter, 1..6)
            .prop_map(|letters| letters.into_iter().unzip::<String, String, String, String>())
            .prop_filter("a name, no dot segment", |(name, _)| name != "." && name != "..");
        let detour = prop::sample::select(vec!["", "/.", "/%2e", "/x/..", "/y/z/.%2E/%2e%2e", "/"]);
        // A `..` takes away an empty segment before it, so detours with `..` begin with a name.
        prop::collection::vec((segment, detour), 1..6).prop_map(|parts| {
            let names = parts.iter().map(|((name, _), _)| name.clone()).collect();
            let path = parts.iter().map(|((_, spelled), detour)| format!("{detour}/{spelled}")).collect();
            (names, path)
        })
    }

    proptest! {
        #[test]
        fn every_spelling_of_a_path_matches_as_the_plain_one(
            (names, spelled) in spelled_path(),
            (others, _) in spelled_path(),
        ) {
            let plain = format!("/{}", names.join("/"));
            prop_assert!(matches(&plain, &spelled), "{} against {}", plain, spelled);
            let other = format!("/{}", others.join("/"));
            prop_assert_eq!(matches(&other, &spelled), matches(&other, &plain));
            let tree = format!("/{}/**", names[0]);
            prop_assert!(matches(&tree, &spelled));
        }

        #[test]
        fn no_text_makes_the_parser_or_the_matcher_panic(text in "\\PC{0,40}", path in "[/.%2eEa?*]{0,40}") {
            if let Ok(pattern) = text.parse::<PathPattern>() {
                let _ = pattern.matches(&path);
            }
            let _ = path.parse::<PathPattern>();
            matches("/**", &path);
        }
    }
}
