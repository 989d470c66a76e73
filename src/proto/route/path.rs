//! A path as the upstream would read it; the rules stand in the module above.

/// The segments that are left of a path when its dot segments are resolved, each as it was written.
#[derive(Debug)]
pub(super) struct ResolvedPath<'a> {
    /// Between slashes; empty ones too, so that the text can be put together again.
    segments: Vec<&'a str>,
    climbs: bool,
}

impl<'a> ResolvedPath<'a> {
    /// Reads a path, up to its query if it has one. `None` for what is no path, such as the `*` of
    /// `OPTIONS *`.
    pub(super) fn new(path: &'a str) -> Option<Self> {
        let path = path.split_once('?').map_or(path, |(path, _query)| path);
        let mut segments = Vec::new();
        let mut climbs = false;
        let mut depth = 0_usize;
        let mut ends_with_dots = false;
        for segment in path.strip_prefix('/')?.split('/') {
            ends_with_dots = true;
            if is_text(segment, b"..") {
                segments.pop();
                climbs |= depth == 0;
                depth = depth.saturating_sub(1);
            } else if !is_text(segment, b".") {
                segments.push(segment);
                // Some servers drop empty segments before they resolve dots, so that `/a//..` is `/`
                // to them and `/a/` to the RFC. Counting as they do finds every path that climbs for
                // either of them.
                depth += usize::from(!segment.is_empty());
                ends_with_dots = false;
            }
        }
        if ends_with_dots {
            segments.push(""); // `/a/..` is `/`, and `/a/.` is `/a/` (RFC 3986, 5.2.4, 2B and 2C).
        }
        Some(Self { segments, climbs })
    }

    /// Whether the path tries to climb above its root, where `..` has no effect: with a prefix
    /// before it, it would have one.
    pub(super) fn climbs(&self) -> bool {
        self.climbs
    }

    /// The segments that count, as they were written.
    pub(super) fn names(&self) -> impl Iterator<Item = &'a str> {
        self.segments.iter().copied().filter(|segment| !segment.is_empty())
    }

    /// The path without dot segments, otherwise as it was written.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for segment in &self.segments {
            text.push('/');
            text.push_str(segment);
        }
        text
    }
}

/// Whether a segment says exactly this when its percent-encoding is undone.
pub(super) fn is_text(segment: &str, text: &[u8]) -> bool {
    // An encoded byte takes three; most comparisons end here.
    segment.len() >= text.len() && decoded(segment).eq(text.iter().copied())
}

/// The bytes of a segment without its percent-encoding. What is no valid `%XX` stands for itself.
pub(super) fn decoded(segment: &str) -> impl Iterator<Item = u8> {
    let mut rest = segment.as_bytes();
    std::iter::from_fn(move || {
        let (&first, after) = rest.split_first()?;
        if let [high, low, after @ ..] = after
            && first == b'%'
            && let (Some(high), Some(low)) = (hex_digit(*high), hex_digit(*low))
        {
            rest = after;
            return Some(high << 4 | low);
        }
        rest = after;
        Some(first)
    })
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(path: &str) -> String {
        ResolvedPath::new(path).unwrap().text()
    }

    #[test]
    fn dot_segments_are_resolved_as_the_rfc_says() {
        for (path, resolved) in [
            ("/a/b/c/./../../g", "/a/g"), // The example of RFC 3986, 5.2.4.
            ("/", "/"),
            ("/.", "/"),
            ("/..", "/"),
            ("/../../a", "/a"),
            ("/a/..", "/"),
            ("/a/b/.", "/a/b/"),
            ("/a/b/..", "/a/"),
            ("/a/...", "/a/..."),
            ("/a/.b/..c", "/a/.b/..c"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/.%2e/b", "/b"),
            ("/a/%2e/b", "/a/b"),
            ("/a/%252e%252e/b", "/a/%252e%252e/b"),
            ("/a/%2f../b", "/a/%2f../b"),
            ("/a//../b", "/a/b"),
            ("//a", "//a"),
            ("/a/../b?c=/../d", "/b"),
        ] {
            assert_eq!(resolve(path), resolved, "{path}");
        }
    }

    #[test]
    fn what_is_no_path_has_no_segments() {
        for text in ["", "*", "a/b", "?a=/b"] {
            assert!(ResolvedPath::new(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_broken_encoding_stands_for_itself() {
        for (text, bytes) in
            [("%", "%"), ("%4", "%4"), ("%zz", "%zz"), ("%%41", "%A"), ("a%41%4", "aA%4"), ("%C3%A9", "é")]
        {
            assert_eq!(decoded(text).collect::<Vec<_>>(), bytes.as_bytes(), "{text}");
        }
    }

    #[test]
    fn only_a_path_that_leaves_its_root_climbs() {
        for (path, climbs) in [
            ("/a/../b", false),
            ("/a/./../b", false),
            ("/../a", true),
            ("/a/../../b", true),
            ("/a/%2e%2e/%2e%2e/b", true),
            ("/a//../../b", true), // For a server that drops empty segments first.
        ] {
            assert_eq!(ResolvedPath::new(path).unwrap().climbs(), climbs, "{path}");
        }
    }
}
