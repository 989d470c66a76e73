//! The container, and what `deploy/` gives to operators, held against the tools that read it. `scripts/setup-deploy`
//! installs them.
//!
//! | module | stories |
//! |---|---|
//! | `dashboard` | the Grafana dashboard against Grafana's model; its layout; its queries can be read |
//! | `files` | alerts and runbook, the systemd unit, the compose file |
//! | `image` | the container: built, looked at, run read-only and without rights |
//! | `kubernetes` | manifests built by kubectl, against schemas |
//! | `proxies` | nginx, HAProxy, Caddy and Envoy before ssecar, nginx behind it |
//! | `scraped` | a real Prometheus finds everything that the dashboard asks for, and evaluates the alerts |

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
