//! Rules for HTTP message heads, as pure functions over the `http` crate's types.
//!
//! Knows no socket, no session and no body.

pub mod forwarding;
pub mod framing;
pub mod hop_by_hop;
mod list;
pub mod negotiation;
pub mod problem;
pub mod query;
pub mod raw_head;
pub mod session_key;
pub mod trace_context;
