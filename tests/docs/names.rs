//! Flags and metrics that the documents name exist.

use std::collections::BTreeSet;

use crate::file;
use crate::flags::flags;
use crate::markdown::documents;
use crate::support::{Ssecar, curl, free_port};

/// Documents that speak of no other program's flags.
const OF_SSECAR_ONLY: [&str; 9] = [
    "README.md",
    "docs/admin.md",
    "docs/behaviour.md",
    "docs/clients.md",
    "docs/faults.md",
    "docs/flags.md",
    "docs/runbook.md",
    "docs/state.md",
    "docs/what-it-does-not-do.md",
];

/// Flags of the commands beside the proxy, and of other programs in commands.
const OTHER_FLAGS: [&str; 13] = [
    "help",
    "nocapture",
    "release",
    "rounds",
    "seed",
    "seeds",
    "speed-limit",
    "speed-time",
    "test",
    "ulimit",
    "version",
    "write-out",
    "max-time",
];

/// The words of a text that begin so.
fn words<'a>(
    text: &'a str,
    start: &'a str,
    is_of_name: impl Fn(char) -> bool,
) -> impl Iterator<Item = &'a str> {
    text.match_indices(start).filter_map(move |(at, _)| {
        let is_inside = text[..at].chars().next_back().is_some_and(&is_of_name);
        let behind = &text[at..];
        let end = behind.find(|letter| !is_of_name(letter)).unwrap_or(behind.len());
        (!is_inside && end > start.len()).then(|| &behind[..end])
    })
}

#[test]
fn every_flag_that_is_named_exists() {
    let known: BTreeSet<String> = flags().into_iter().map(|flag| flag.name).collect();
    let mut count = 0;
    for path in OF_SSECAR_ONLY {
        let text = std::fs::read_to_string(file(path)).unwrap();
        for name in words(&text, "--", |letter| letter.is_ascii_lowercase() || letter == '-') {
            let is_comment = name == "---" || name == "-->";
            let is_other = OTHER_FLAGS.iter().any(|other| name == format!("--{other}"));
            assert!(is_comment || is_other || known.contains(name), "{path}: {name}");
            count += 1;
        }
    }
    assert!(count > 100, "the flags were not found");
}

#[tokio::test]
async fn every_metric_that_is_named_is_served_and_every_one_is_explained() {
    let ssecar = Ssecar::start(free_port(), &[]).await;
    let scrape = curl(&[&ssecar.admin_url("/metrics")]).await;
    let names =
        scrape.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split(['{', ' ']).next());
    let mut served: BTreeSet<&str> = names.collect();
    // A histogram is named by itself as well.
    served.extend(served.clone().iter().filter_map(|name| name.strip_suffix("_bucket")));
    let mut count = 0;
    for document in documents() {
        let text = std::fs::read_to_string(file("").join(&document.path)).unwrap();
        for name in words(&text, "ssecar_", |letter| letter.is_ascii_lowercase() || letter == '_') {
            assert!(served.contains(name), "{}: {name}", document.path.display());
            count += 1;
        }
    }
    assert!(count > 40, "the metrics were not found");
    let explained = std::fs::read_to_string(file("docs/admin.md")).unwrap();
    for name in served.iter().filter(|name| name.starts_with("ssecar_")) {
        let is_part = |end| name.strip_suffix(end).is_some_and(|histogram| served.contains(histogram));
        let is_of_histogram = ["_bucket", "_count", "_sum"].into_iter().any(is_part);
        assert!(
            is_of_histogram || explained.contains(&format!("`{name}")),
            "docs/admin.md does not explain {name}"
        );
    }
}
