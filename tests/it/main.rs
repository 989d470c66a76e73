//! The proxy as a whole, over real sockets: a scripted upstream, the proxy on a free port, raw clients.
//!
//! | module | stories |
//! |---|---|
//! | `fan_out` | one subscription for all, joining, leaving, lingering, heartbeats, slow clients |
//! | `replay` | own ids, `Last-Event-ID`, gaps, restarts of the upstream and of ssecar |
//! | `catch_up` | fetching what is no longer kept |
//! | `late_join` | what a client that comes late gets first |
//! | `keys` | who shares a session and who doesn't |
//! | `forwarding` | everything that is no session |
//! | `uploads` | request bodies: whole, in time, only when they are wanted |
//! | `lane` | the bytes that clients of HTTP/1.1 get without hyper |
//! | `legacy` | legacy routes |
//! | `bad_upstream` | answers that are no stream, broken ones, endless ones |
//! | `command_line` | exit codes, the health check, the demo |
//! | `reaping` | clients that take nothing, half-sent requests, idle connections |
//! | `state` | rings kept over restarts and crashes |
//! | `manual` | the manual page and completions, used by the programs that they are for |
//! | `metrics` | what is counted |
//! | `admin` | the API, who may use it, what it never tells |
//! | `orders` | what operators can do by it |
//! | `stopping` | draining |
//! | `tracing` | log lines; spans, and where they go |

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on fails")]

mod abuse;
mod admin;
mod bad_upstream;
mod catch_up;
mod command_line;
mod fan_out;
mod forwarding;
mod keys;
mod lane;
mod late_join;
mod legacy;
mod manual;
mod metrics;
mod orders;
mod reaping;
mod replay;
mod sharing;
mod smuggling;
mod state;
mod stopping;
mod support;
mod tls;
mod tracing;
mod uploads;
