//! SIGTERM and SIGINT: the first drains, the second stops at once (spec 11).

use std::future::Future;
use std::io;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

/// Two futures: the first signal, and the one after it.
///
/// # Errors
/// Signals can't be heard.
pub(super) fn listen() -> io::Result<(impl Future<Output = ()>, impl Future<Output = ()>)> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (first, second) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let notified = (Arc::clone(&first), Arc::clone(&second));
    tokio::spawn(async move {
        next(&mut terminate, &mut interrupt).await;
        first.notify_one();
        next(&mut terminate, &mut interrupt).await;
        second.notify_one();
    });
    let (first, second) = notified;
    Ok((async move { first.notified().await }, async move { second.notified().await }))
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
