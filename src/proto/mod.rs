//! The pure core: Server-Sent Events framing, ids, the log, backoff and breaker, routes.
//!
//! Uses nothing else of ssecar's, no tokio, no hyper, no clock and no log line: time is an argument,
//! and what deserves a log line is returned as a value.

pub mod backoff;
mod bom;
pub mod breaker;
pub mod catch_up;
pub mod decoder;
pub mod encoder;
pub mod end_event;
pub mod event_id;
pub mod line_gate;
pub mod log;
pub mod random;
pub mod recorder;
pub mod route;
pub mod session;
