//! The container, and what `deploy/` gives to operators, held against the tools that read it. `scripts/setup-deploy`
//! installs them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on fails")]

mod dashboard;
mod files;
mod image;
mod kubernetes;
mod proxies;
mod scraped;
mod service;

#[path = "../peers/support/mod.rs"]
#[allow(dead_code, reason = "the peers' harness, of which this needs a part")]
#[allow(unused_imports, reason = "the peers' harness, of which this needs a part")]
mod support;
