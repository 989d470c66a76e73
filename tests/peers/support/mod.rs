//! Starts and stops the peers. All are children of the test, on loopback, and end with it.

mod nginx;
mod process;
mod relay;
mod rooms;
mod ssecar;
mod transcript;

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) use nginx::Nginx;
pub(crate) use process::{Process, node, python};
pub(crate) use relay::Relay;
pub(crate) use rooms::{Readers, Rooms};
pub(crate) use ssecar::Ssecar;
pub(crate) use transcript::{Line, Transcript};

/// The longest that anything may take before the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at a condition.
const LOOK: Duration = Duration::from_millis(10);

/// Waits until a condition holds.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(LOOK).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "waited {PATIENCE:?} in vain for {what}");
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits until somebody listens there.
pub(crate) async fn listening(port: u16) {
    until(&format!("port {port}"), || async move {
        tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()
    })
    .await;
}

/// A file of this test binary.
fn file(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/peers").join(path)
}

/// Asks with curl, as a user would: the body.
pub(crate) async fn curl(args: &[&str]) -> String {
    let output = tokio::process::Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "120"])
        .args(args)
        .output()
        .await
        .expect("curl is missing: run scripts/setup-peers");
    assert!(output.status.success(), "curl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
