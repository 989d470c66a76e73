//! Field values that are lists (RFC 9110, 5.6.1), their parameters and quoted strings.

use http::{HeaderMap, HeaderName};

/// The elements of a list field, over all its lines and in their order; empty ones are left out.
pub(super) fn elements<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    headers
        .get_all(name)
        .iter()
        .flat_map(|value| split_unquoted(value.as_bytes(), b','))
        .filter(|element| !element.is_empty())
}

/// Parts between separators that stand outside quoted strings, without the white space around them.
///
/// Where a quote is never closed, no quote counts: else a client that sends a lone quote could hide
/// what a proxy appends to the list.
pub(super) fn split_unquoted(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let has_quotes = Quotes::default().all_closed_by(text);
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let mut quotes = Quotes::default();
        let end = text.iter().position(|&byte| !(has_quotes && quotes.hold(byte)) && byte == separator);
        rest = end.map(|end| &text[end + 1..]);
        Some(text[..end.unwrap_or(text.len())].trim_ascii())
    })
}

/// Where we are among quoted strings (RFC 9110, 5.6.4).
#[derive(Default)]
struct Quotes {
    is_open: bool,
    is_escaped: bool,
}

impl Quotes {
    /// Takes the next byte, and tells whether it belongs to a quoted string.
    fn hold(&mut self, byte: u8) -> bool {
        let was_open = self.is_open;
        if self.is_escaped {
            self.is_escaped = false;
        } else if byte == b'"' {
            self.is_open = !self.is_open;
        } else {
            self.is_escaped = self.is_open && byte == b'\\';
        }
        was_open || self.is_open
    }

    fn all_closed_by(mut self, text: &[u8]) -> bool {
        for &byte in text {
            self.hold(byte);
        }
        !self.is_open
    }
}

/// A parameter's name and value, `q` and `0.5` of `q=0.5`, the value without quotes.
///
/// Escapes within quotes are left as they are: no value that is looked for here has one.
pub(super) fn parameter(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let equals = text.iter().position(|&byte| byte == b'=')?;
    let (name, value) = (text[..equals].trim_ascii(), text[equals + 1..].trim_ascii());
    let unquoted = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    Some((name, unquoted.unwrap_or(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_separator_within_quotes_is_text() {
        let parts: Vec<_> = split_unquoted(br#"a , b="c,\",d" ,, e"#, b',').collect();
        assert_eq!(parts, [&b"a"[..], br#"b="c,\",d""#, b"", b"e"]);
        let open: Vec<_> = split_unquoted(br#"a,"b,c"#, b',').collect();
        assert_eq!(open, [&b"a"[..], br#""b"#, b"c"], "a lone quote hides nothing");
    }

    #[test]
    fn several_lines_are_one_list() {
        let mut headers = HeaderMap::new();
        for value in ["a, ,b", "", "c"] {
            headers.append(http::header::ACCEPT, value.parse().unwrap());
        }
        let all: Vec<_> = elements(&headers, &http::header::ACCEPT).collect();
        assert_eq!(all, [b"a", b"b", b"c"]);
    }

    #[test]
    fn a_parameter_is_read_with_and_without_quotes() {
        assert_eq!(parameter(b"q=0.5"), Some((&b"q"[..], &b"0.5"[..])));
        assert_eq!(parameter(b"For = \"[::1]:80\""), Some((&b"For"[..], &b"[::1]:80"[..])));
        assert_eq!(parameter(b"q"), None);
    }
}
