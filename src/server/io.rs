//! A client's socket, shared between hyper and the watch for the client's leaving (spec 7.6).
//!
//! hyper stops reading while a response is on its way and bytes of a next request wait in its
//! buffer; then it sees no FIN. So, while an event stream is sent, input is read here, whether
//! hyper asks for it or not: stray bytes are set aside, an end is noticed at once.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// What a client may send while it is sent an event stream, in bytes. More is no pipelined request
/// worth keeping, and closes the connection.
const STASH_MAX: usize = 1024;

/// Bytes looked at in one read while watching.
const WATCH_READ: usize = 256;

#[derive(Debug)]
struct Shared {
    stream: TcpStream,
    /// Input that hyper has not got yet.
    stash: Vec<u8>,
}

/// One end of a client's connection.
#[derive(Debug, Clone)]
pub(super) struct Socket {
    shared: Arc<Mutex<Shared>>,
    watch: ClientWatch,
}

/// Turns watching on and off. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct ClientWatch {
    is_on: Arc<AtomicBool>,
}

/// Watching goes on until this is dropped.
#[derive(Debug)]
pub(super) struct Watching(ClientWatch);

impl ClientWatch {
    /// Watches for the client's leaving.
    pub(super) fn start(&self) -> Watching {
        self.is_on.store(true, Ordering::Release);
        Watching(self.clone())
    }

    fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Acquire)
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.is_on.store(false, Ordering::Release);
    }
}

impl Socket {
    /// `begun` was read from the stream already.
    pub(super) fn new(stream: TcpStream, begun: Vec<u8>) -> Self {
        let shared = Arc::new(Mutex::new(Shared { stream, stash: begun }));
        Self { shared, watch: ClientWatch::default() }
    }

    pub(super) fn watch(&self) -> &ClientWatch {
        &self.watch
    }

    /// Ready when the client has left, or misbehaves, while it is watched. Must be polled by the
    /// task that polls hyper's connection: a socket wakes one reader only.
    pub(super) fn poll_left(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.watch.is_on() { self.shared.lock().poll_end(cx) } else { Poll::Pending }
    }
}

impl Shared {
    /// Sets input aside until the end of it.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut bytes = [0; WATCH_READ];
            let mut buf = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf))?;
            let read = buf.filled();
            if read.is_empty() {
                return Poll::Ready(Ok(()));
            }
            if self.stash.len() + read.len() > STASH_MAX {
                let error = "the client keeps sending while it is sent an event stream";
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
            }
            self.stash.extend_from_slice(read);
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut shared = self.shared.lock();
        if self.watch.is_on() {
            // An end is passed on to hyper as such.
            return shared.poll_end(cx);
        }
        if shared.stash.is_empty() {
            return Pin::new(&mut shared.stream).poll_read(cx, buf);
        }
        let taken = shared.stash.len().min(buf.remaining());
        buf.put_slice(&shared.stash[..taken]);
        shared.stash.drain(..taken);
        if shared.stash.is_empty() {
            shared.stash = Vec::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.shared.lock().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.shared.lock().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.shared.lock().stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.shared.lock().stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}
