//! Connections to the one upstream: how they are made, pooled and judged.
//!
//! Knows no client and no fan-out. Nothing in a request chooses where ssecar connects (spec 3.3).

pub mod client;
mod connector;
pub mod error;
pub mod health;
pub mod subscription;
