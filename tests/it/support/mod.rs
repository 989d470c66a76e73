//! The harness: [`Upstream`] is scripted, [`Proxy`] runs in this process, [`Client`] reads raw bytes.
//! Every wait has the same upper bound, which only a failing test reaches.

mod client;
mod proxy;
mod upstream;

use std::future::Future;
use std::time::Duration;

pub use client::{Client, Event, Response};
pub use proxy::Proxy;
pub use upstream::{Exchange, Upstream};

/// The longest that anything may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for what must happen.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {PATIENCE:?} in vain for {what}"),
    }
}

/// Waits until a condition holds, looking again and again.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    soon(what, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// Nothing happens for a moment: only where the absence itself is the rule.
pub async fn never<T: std::fmt::Debug>(what: &str, future: impl Future<Output = T>) {
    if let Ok(value) = tokio::time::timeout(Duration::from_millis(150), future).await {
        panic!("{what}: {value:?}");
    }
}
