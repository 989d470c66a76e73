//! Looks at each request's raw head below hyper, which forgives what must not be forgiven (spec 9.2).
//!
//! The guard counts heads that can be read in one way; a request is served only if its head was one of them. Behind
//! the first that is not, hyper gets no more input, so that nothing that was smuggled is ever read.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::message::framing::Framing;
use crate::message::raw_head::Fault;

/// Ends a head that was cut off at a fault, so that hyper answers at once instead of waiting for the rest.
const HEAD_END: &[u8] = b"\r\n\r\n";

/// What the guard found, for whoever serves the requests.
#[derive(Debug, Clone)]
pub struct Heads(Option<Arc<Mutex<Found>>>);

#[derive(Debug)]
struct Found {
    framing: Framing,
    /// Heads that no request was served for yet.
    waiting: usize,
    fault: Option<Fault>,
    /// The connection speaks another protocol now.
    has_switched: bool,
}

impl Heads {
    /// For connections that need no guard: HTTP/2 frames its messages beyond doubt.
    #[must_use]
    pub fn unguarded() -> Self {
        Self(None)
    }

    /// To be called once for each request, in their order.
    ///
    /// # Errors
    /// The request must be refused, and the connection closed.
    pub fn next(&self) -> Result<(), Fault> {
        let Some(found) = &self.0 else { return Ok(()) };
        let mut found = found.lock();
        if found.waiting == 0 {
            // Without a fault only if hyper saw an end where the guard saw none.
            return Err(found.fault.unwrap_or(Fault::Field));
        }
        found.waiting -= 1;
        Ok(())
    }

    /// From now on what comes is not HTTP.
    ///
    /// # Errors
    /// What came behind the request already was refused.
    pub fn switch(&self) -> Result<(), Fault> {
        let Some(found) = &self.0 else { return Ok(()) };
        let mut found = found.lock();
        found.has_switched = true;
        found.fault.map_or(Ok(()), Err)
    }
}

/// What hyper reads and writes on an HTTP/1.1 connection.
#[derive(Debug)]
pub(super) struct HeadGuard<S> {
    inner: S,
    found: Arc<Mutex<Found>>,
    /// What hyper still gets after a fault.
    ending: Option<&'static [u8]>,
}

impl<S> HeadGuard<S> {
    pub(super) fn new(inner: S, line_bytes_max: usize) -> (Self, Heads) {
        let framing = Framing::new(line_bytes_max);
        let found = Found { framing, waiting: 0, fault: None, has_switched: false };
        let found = Arc::new(Mutex::new(found));
        (Self { inner, found: Arc::clone(&found), ending: None }, Heads(Some(found)))
    }

    fn poll_ending(&mut self, buf: &mut ReadBuf<'_>) -> Option<Poll<io::Result<()>>> {
        let ending = self.ending.as_mut()?;
        if ending.is_empty() {
            // The answer closes the connection. An end of the input could be taken for the client's leaving.
            return Some(Poll::Pending);
        }
        let count = ending.len().min(buf.remaining());
        buf.put_slice(&ending[..count]);
        *ending = &ending[count..];
        Some(Poll::Ready(Ok(())))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for HeadGuard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(poll) = self.poll_ending(buf) {
            return poll;
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        let fault = {
            let mut found = self.found.lock();
            if found.has_switched || buf.filled().len() == before {
                return Poll::Ready(Ok(()));
            }
            let scanned = found.framing.scan(&buf.filled()[before..]);
            found.waiting += scanned.heads;
            found.fault = scanned.fault.map(|(_, fault)| fault);
            scanned.fault
        };
        match fault {
            None => Poll::Ready(Ok(())),
            // A body can't be ended by a head's end: it breaks off.
            Some((_, Fault::Chunk)) => {
                Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, Fault::Chunk)))
            }
            Some((at, _)) => {
                buf.set_filled(before + at);
                self.ending = Some(HEAD_END);
                if at > 0 {
                    return Poll::Ready(Ok(()));
                }
                // Nothing at all would look like the end of the input.
                self.poll_ending(buf).unwrap_or(Poll::Pending)
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for HeadGuard<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
