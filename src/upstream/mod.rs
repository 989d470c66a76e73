//! Connections to the one upstream: how they are made, kept, used, and what may go wrong with them.
//!
//! `connector` opens them, by `--upstream` alone (spec 3.3); [`client`] pools them and sends one request;
//! [`error`] says who failed; [`health`] is the breaker before all; [`subscription`] is what a session
//! asks for. Knows nothing of clients and fan-out.

pub mod authorization;
mod body;
pub mod client;
mod connector;
pub mod error;
mod expect;
pub mod health;
mod progress;
mod stream;
pub mod subscription;
mod tls;

pub use body::{AnswerGuard, RequestBody};
pub use client::UpstreamClient;
pub use connector::Dial;
pub use error::{Fault, UpstreamError};
pub use stream::Duplex;
pub use tls::SetupError;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
