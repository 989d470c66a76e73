//! The lane: clients of a session over cleartext HTTP/1.1, written to without hyper (spec 7).
//!
//! hyper reads the request. Once it is answered by a session, and everything that hyper wrote before is in the
//! kernel, hyper is dropped with its buffers, the connection's task ends, and the socket goes to one of a few *loops*:
//! tasks that each serve thousands of clients. What is left of a client there is a socket and a place in the log.
//! A loop writes the log's own bytes, which are framed as HTTP/1.1 chunks already. Clients of one session that
//! are up to date are a [pack](crate::session::Pack): what comes next is looked up once, and written to one after the
//! other. Whoever can't take it all reads on by itself until it has caught up.
//!
//! The stream is the last response of its connection, and the head says so.

mod bell;
mod client;
mod group;
mod head;
mod inbox;
mod offer;
mod poller;
mod round;
#[cfg(test)]
mod testing;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc;

use crate::shutdown::Shutdown;

pub(super) use client::Client;
pub(super) use offer::{HandOver, Offered};
use round::Round;

/// Loops at most; one for each core up to that.
const LOOPS_MAX: usize = 64;

/// Clients on their way to one loop. More wait in the tasks of their connections.
const ARRIVALS_MAX: usize = 1024;

/// The way to the loops. Cheap to clone; the loops end when all ways are gone and their last client is.
#[derive(Debug, Clone)]
pub(super) struct Lanes {
    loops: Arc<[mpsc::Sender<Client>]>,
    next: Arc<AtomicUsize>,
}

impl Lanes {
    /// As many loops as there are cores, each to be run as a task.
    ///
    /// # Errors
    /// The system gives no epoll instance: out of descriptors or memory.
    pub(super) fn new(
        shutdown: &Shutdown,
    ) -> io::Result<(Self, Vec<impl Future<Output = ()> + Send + use<>>)> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let (mut loops, mut running) = (Vec::new(), Vec::new());
        for _ in 0..cores.min(LOOPS_MAX) {
            let (sender, arrivals) = mpsc::channel(ARRIVALS_MAX);
            loops.push(sender);
            running.push(Round::new(arrivals, shutdown.clone())?.run());
        }
        Ok((Self { loops: loops.into(), next: Arc::default() }, running))
    }

    /// Gives the client to a loop, in turn.
    pub(super) async fn take(&self, client: Client) {
        let index = self.next.fetch_add(1, Ordering::Relaxed) % self.loops.len();
        if self.loops[index].send(client).await.is_err() {
            // Only when the program stops at once.
            tracing::debug!("client closed: its loop has ended");
        }
    }
}
