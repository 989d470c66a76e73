//! The harness: [`Upstream`] is scripted, [`Proxy`] runs in this process, [`Client`] reads raw bytes.
//! Every wait has the same upper bound, which only a failing test reaches.

mod client;
mod collector;
mod proxy;
pub(crate) mod schema;
mod upstream;

use std::future::Future;
use std::time::Duration;

pub(crate) use client::{Client, Response};
pub(crate) use collector::Collector;
pub(crate) use proxy::Proxy;
pub(crate) use upstream::{Exchange, Upstream};

/// The longest that anything may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for what must happen.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {PATIENCE:?} in vain for {what}"),
    }
}

/// Nothing happens for a moment: only where the absence itself is the rule.
pub(crate) async fn never<T: std::fmt::Debug>(what: &str, future: impl Future<Output = T>) {
    if let Ok(value) = tokio::time::timeout(Duration::from_millis(150), future).await {
        panic!("{what}: {value:?}");
    }
}
