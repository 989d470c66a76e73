//! The client side: connections, requests, and bytes to clients.
//!
//! Reading order: [`accept`] takes connections, `connection` speaks HTTP on each, [`gateway`]
//! decides what becomes of a request, `lane` and `delivery` write a session's events, `forward` and `upgrade`
//! pass on everything else. Knows no bytes of the upstream's streams.

pub mod accept;
mod authorized;
mod body;
pub mod connection;
mod delivery;
mod events;
mod forward;
#[cfg(test)]
mod forward_tests;
pub mod gateway;
pub mod head_guard;
mod held;
pub mod io;
mod lane;
mod legacy;
mod proxy_protocol;
mod stream;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod tls;
mod upgrade;
#[cfg(test)]
mod upgrade_tests;

pub use body::Body;
