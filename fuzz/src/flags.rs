//! The command line: whatever is typed is a checked configuration, or one line that says what is wrong.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ssecar::config::{Command, ConfigError};

fuzz_target!(|text: &str| {
    let args = ["ssecar", "--upstream=http://127.0.0.1:9"].into_iter().chain(text.split('\u{1f}'));
    if let Err(ConfigError::Wrong(line)) = Command::from_args(args) {
        assert!(!line.trim().is_empty(), "nothing is said");
    }
});
