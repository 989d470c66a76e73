//! Route patterns and legacy rewriting: no encoding of a path slips past a rule, and nothing is rewritten twice.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ssecar::proto::route::{LegacyRoutes, PathPattern};

/// Encodes every second letter or digit, which means the same path.
fn encoded(path: &str) -> String {
    path.bytes()
        .enumerate()
        .map(|(at, byte)| match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' if at % 2 == 0 => format!("%{byte:02x}"),
            _ => char::from(byte).to_string(),
        })
        .collect()
}

fuzz_target!(|input: (&str, &str)| {
    let (pattern, path) = input;
    if !path.starts_with('/') || !path.bytes().all(|byte| (b'!'..=b'~').contains(&byte)) {
        return;
    }
    let bare = path.split_once('?').map_or(path, |(path, _)| path);
    let routes = LegacyRoutes::new(LegacyRoutes::default_patterns(), "/v1").unwrap();
    if let Some(twin) = routes.twin(path) {
        assert!(twin.starts_with("/v1/"), "{path} -> {twin}");
        assert_eq!(routes.twin(&twin), None, "{path} is rewritten twice");
        let query = path.find('?').map(|at| &path[at..]);
        assert_eq!(twin.find('?').map(|at| &twin[at..]), query, "the query has changed");
    }
    let Ok(pattern) = pattern.parse::<PathPattern>() else { return };
    let matches = pattern.matches(bare);
    // Only where no escape is torn apart.
    if !bare.contains('%') {
        assert_eq!(pattern.matches(&encoded(bare)), matches, "{bare} matches by its spelling");
        let dotted = format!("/x/../.{bare}");
        assert_eq!(pattern.matches(&dotted), matches, "{dotted} slips past");
    }
});
