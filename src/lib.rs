//! ssecar: a sidecar reverse proxy that makes any service's Server-Sent Events robust.
//!
//! The map, in reading order; dependencies point downwards only:
//!
//! | module | owns |
//! |---|---|
//! | [`commands`] | what the command line asks for: the proxy, the demo, the health check, the manual |
//! | [`app`] | wiring: build every part from [`config::Config`], bind, run until told to stop |
//! | [`server`] | accept, one request: join a session, forward, or refuse; delivery; drain |
//! | [`admin`] | the second listener: health, state, the page |
//! | [`session`] | the registry, the task of a session, joining and waking clients |
//! | [`telemetry`] | spans for OpenTelemetry: begun, queued, sent to the collector |
//! | [`store`] | rings that outlive the process, as records on disk |
//! | [`upstream`] | connections to the upstream, pooled; one open stream |
//! | [`message`] | rules for HTTP heads: hop-by-hop fields, forwarding headers, session keys, traces, problems |
//! | [`metrics`] | what is counted, and its text for Prometheus |
//! | [`config`] | flags as typed, and what is made of them |
//! | [`proto`] | the pure core: no I/O, no clock, no tasks |

pub mod admin;
pub mod app;
pub mod commands;
pub mod config;
pub mod message;
pub mod metrics;
pub mod proto;
pub mod server;
pub mod session;
pub mod shutdown;
pub mod store;
pub mod telemetry;
pub mod upstream;
