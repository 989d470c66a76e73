//! What the documents say is held against the program: every command is run, every client program reads a stream, every
//! link leads somewhere, and the table of flags is that of `--help`. `scripts/setup-docs` installs what this needs.
//!
//! | module | what is held to what |
//! |---|---|
//! | `commands` | each `sh` block of each Markdown file runs, in a world of its own, as a reader would run it |
//! | `clients` | the programs of `docs/clients.md` miss nothing while they are cut off |
//! | `flags` | `docs/flags.md` is what `--help` says |
//! | `links` | links and anchors |
//! | `names` | flags and metrics that are named exist |
//!
//! For writers: shell commands stand in ```` ```sh ````, anything else in another language or `text`. All blocks under one heading
//! are run in order, with an empty home, in one empty folder (with a copy of `deploy/`), or in the repository if they use `cargo` or `scripts/`. There
//! `ssecar` is on the path, a service is at 127.0.0.1:9000, and ssecar before it at 8080, unless a block of that heading starts
//! one of its own: that one goes on running for the blocks behind it, as in the reader's other terminal. `curl -N` is stopped once
//! it has shown an event. What a block prints is compared with the block behind it that is marked `<!-- prints -->` (`…` stands
//! for anything). A block that can't run is marked `<!-- not run: the reason -->`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on fails")]

mod clients;
mod commands;
mod flags;
mod links;
mod markdown;
mod names;
mod shell;
mod world;

#[path = "../peers/support/mod.rs"]
#[allow(dead_code, reason = "the peers' harness, of which this needs a part")]
#[allow(unused_imports, reason = "the peers' harness, of which this needs a part")]
mod support;

use std::path::{Path, PathBuf};

/// A file of the repository.
fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
