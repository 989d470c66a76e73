//! The query of a request target, parameter by parameter, as forms and browsers write it
//! (WHATWG URL, 5.1: `&` between parameters, `+` for a space).

use std::borrow::Cow;

use percent_encoding::percent_decode;

/// The path and the query of a request target; the query without its `?`.
#[must_use]
pub fn split_target(path_and_query: &str) -> (&str, Option<&str>) {
    match path_and_query.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (path_and_query, None),
    }
}

/// The request target without the parameters that hold a last event id, every other byte as it was:
/// the target of the session that this client wants to resume (spec 4.2, 6.1).
#[must_use]
pub fn without_last_event_id(path_and_query: &str) -> Cow<'_, str> {
    let (path, Some(query)) = split_target(path_and_query) else { return Cow::Borrowed(path_and_query) };
    if !query.split('&').any(is_last_event_id) {
        return Cow::Borrowed(path_and_query);
    }
    let kept: Vec<&str> = query.split('&').filter(|parameter| !is_last_event_id(parameter)).collect();
    if kept.is_empty() { Cow::Borrowed(path) } else { Cow::Owned(format!("{path}?{}", kept.join("&"))) }
}

/// Whether a parameter is `lastEventId` or `last-event-id`, however it is encoded.
pub(super) fn is_last_event_id(parameter: &str) -> bool {
    let name = decoded(name_and_value(parameter).0);
    *name == *b"lastEventId" || *name == *b"last-event-id"
}

/// A parameter's two sides, still encoded; one without `=` has an empty value.
pub(super) fn name_and_value(parameter: &str) -> (&str, &str) {
    parameter.split_once('=').unwrap_or((parameter, ""))
}

/// Without percent-encoding, and with spaces for plus signs.
pub(super) fn decoded(text: &str) -> Cow<'_, [u8]> {
    if text.contains('+') {
        // Encoded plus signs are not touched by this: they are still `%2B`.
        let spaced = text.replace('+', " ");
        return Cow::Owned(percent_decode(spaced.as_bytes()).collect());
    }
    percent_decode(text.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_event_ids_leave_the_target_and_nothing_else_does() {
        for (target, left) in [
            ("/a", "/a"),
            ("/a?", "/a?"),
            ("/a?b=1&&c=%20+", "/a?b=1&&c=%20+"),
            ("/a?lastEventId=7", "/a"),
            ("/a?b=1&last-event-id=7&c=2&lastEventId=8", "/a?b=1&c=2"),
            ("/a?last%45ventId=7&b", "/a?b"),
            ("/a?lastEventId", "/a"),
            ("/a?lasteventid=7", "/a?lasteventid=7"),
            ("/lastEventId=7?b=lastEventId", "/lastEventId=7?b=lastEventId"),
        ] {
            assert_eq!(without_last_event_id(target), left, "{target}");
        }
    }

    #[test]
    fn plus_is_a_space_and_an_encoded_plus_is_a_plus() {
        assert_eq!(*decoded("a+b%2Bc%20d%zz"), *b"a b+c d%zz");
    }
}
