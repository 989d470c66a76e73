//! The lane: clients of a session over cleartext HTTP/1.1, written to without hyper (spec 7).
//!
//! hyper reads the request. Once it is answered by a session, and everything that hyper wrote before is in the
//! kernel, hyper is dropped with its buffers, and the connection's task becomes a [`Lane`]: a socket and a place in
//! the log. It writes the log's own bytes, which are framed as HTTP/1.1 chunks already: nothing is copied or
//! allocated for a client that is up to date, and nothing is held for one that sleeps.
//!
//! The stream is the last response of its connection, and the head says so.

mod head;
mod offer;

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use http::response;

use super::connection::linger;
use super::io::{Gone, STRAY_BYTES_MAX, STRAY_READ_BYTES, Socket};
use crate::proto::log::Chunks;
use crate::session::{NextFramed, Reader};
use crate::shutdown::Shutdown;

pub(super) use offer::{HandOver, Offered};

/// Writes before other tasks get their turn.
const WRITES_PER_TURN: usize = 16;

/// Bytes that wait for the socket before more are asked for.
const REST_BYTES_MAX: usize = 64 * 1024;

/// The chunk that ends a body (RFC 9112, 7.1).
const LAST_CHUNK: Bytes = Bytes::from_static(b"0\r\n\r\n");

/// One client's connection, from its response head on.
#[derive(Debug)]
pub(super) struct Lane {
    socket: Socket,
    peer: SocketAddr,
    reader: Reader,
    /// What goes out before anything else: the head, text for this client alone, an event that is half sent.
    rest: Bytes,
    is_blocked: bool,
    /// Nothing follows [`Self::rest`].
    is_ending: bool,
    stray_bytes: usize,
}

/// How it came to its end.
#[derive(Debug)]
enum Ended {
    /// The session's stream ended, and the client has it all.
    Finished,
    /// The client fell too far behind.
    Slow,
    /// The client left, or was dismissed.
    Gone(Gone),
}

impl Lane {
    /// `stray_bytes` came behind the request.
    pub(super) fn new(
        socket: Socket,
        peer: SocketAddr,
        head: &response::Parts,
        reader: Reader,
        stray_bytes: usize,
    ) -> Self {
        let rest = head::encode(head);
        Self { socket, peer, reader, rest, is_blocked: false, is_ending: false, stray_bytes }
    }

    /// Sends until the end, and ends the connection.
    pub(super) async fn run(mut self, shutdown: &Shutdown) {
        match std::future::poll_fn(|cx| self.poll(cx)).await {
            Ended::Finished => {
                drop(self.reader); // It leaves its session now.
                // Boxed, since every sleeping client would have the room for it.
                Box::pin(linger(&self.socket.stream, shutdown)).await;
            }
            Ended::Slow => {
                let session = self.reader.session().name();
                tracing::info!(session, reason = "slow", "client closed: too far behind");
            }
            Ended::Gone(gone) => gone.log(self.peer),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        if let Poll::Ready(gone) = self.poll_gone(cx) {
            return Poll::Ready(Ended::Gone(gone));
        }
        for _ in 0..WRITES_PER_TURN {
            if self.is_blocked {
                if let Err(error) = ready!(self.socket.stream.poll_write_ready(cx)) {
                    return Poll::Ready(Ended::Gone(self.broke(error)));
                }
                self.is_blocked = false;
            }
            let mut chunks = Chunks::default();
            if self.gather(cx, &mut chunks).is_err() {
                return Poll::Ready(Ended::Slow);
            }
            if self.rest.is_empty() && chunks.is_empty() {
                return Poll::Pending; // The reader wakes this task.
            }
            match self.write(&chunks) {
                Ok(()) if self.is_ending && self.rest.is_empty() => return Poll::Ready(Ended::Finished),
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.is_blocked = true;
                    self.reader.tell_place();
                }
                Err(error) => return Poll::Ready(Ended::Gone(self.broke(error))),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Notices, without an event, that the client must go or has left.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Gone> {
        if let Poll::Ready(reason) = self.reader.dismissal().poll_dismissed(cx) {
            return Poll::Ready(Gone::Dismissed(reason));
        }
        let stream = &self.socket.stream;
        loop {
            if let Err(error) = ready!(stream.poll_read_ready(cx)) {
                return Poll::Ready(self.broke(error));
            }
            match stream.try_read(&mut [0; STRAY_READ_BYTES]) {
                Ok(0) => return Poll::Ready(Gone::Closed),
                Ok(count) => self.stray_bytes += count,
                // The readiness was stale; it is cleared now, so that asking again registers us.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(self.broke(error)),
            }
            if self.stray_bytes > STRAY_BYTES_MAX {
                return Poll::Ready(Gone::TooMuchInput);
            }
        }
    }

    fn broke(&self, error: io::Error) -> Gone {
        // The kernel gives up a client that acknowledges nothing: it did not leave of its own accord.
        if error.kind() == io::ErrorKind::TimedOut {
            self.reader.dismissal().reap();
        }
        Gone::Broken(error)
    }

    /// Asks for what comes next, as far as it fits into one write. Nothing is there after it: the reader has
    /// nothing now.
    fn gather(&mut self, cx: &mut Context<'_>, chunks: &mut Chunks) -> Result<(), Slow> {
        while !self.is_ending && self.rest.len() < REST_BYTES_MAX {
            match self.reader.poll_framed(cx, chunks) {
                Poll::Pending | Poll::Ready(NextFramed::Shared) => break,
                Poll::Ready(NextFramed::Own(chunk)) => self.append(chunk),
                Poll::Ready(NextFramed::Ended(reason)) => {
                    let session = self.reader.session().name();
                    tracing::debug!(session, reason = reason.as_str(), "client's stream ended");
                    self.is_ending = true;
                    self.append(LAST_CHUNK);
                }
                Poll::Ready(NextFramed::Slow) => return Err(Slow),
            }
        }
        Ok(())
    }

    fn append(&mut self, bytes: Bytes) {
        if self.rest.is_empty() {
            self.rest = bytes;
        } else {
            let mut joined = BytesMut::with_capacity(self.rest.len() + bytes.len());
            joined.extend_from_slice(&self.rest);
            joined.extend_from_slice(&bytes);
            self.rest = joined.freeze();
        }
    }

    /// One write of the rest and these chunks. What the socket takes of them is passed; a chunk that it takes in
    /// part becomes the rest.
    fn write(&mut self, chunks: &Chunks) -> io::Result<()> {
        let stream = &self.socket.stream;
        let mut written = match (chunks.only(), self.rest.is_empty()) {
            (Some(chunk), true) => stream.try_write(&chunk.bytes)?,
            (None, _) if chunks.is_empty() => stream.try_write(&self.rest)?,
            (Some(_) | None, _) => {
                let mut slices = [IoSlice::new(&[]); Chunks::LEN_MAX + 1];
                let parts = std::iter::once(&self.rest).chain(chunks.iter().map(|chunk| &chunk.bytes));
                for (slice, part) in slices.iter_mut().zip(parts) {
                    *slice = IoSlice::new(part);
                }
                stream.try_write_vectored(&slices[..=chunks.len()])?
            }
        };
        let of_rest = written.min(self.rest.len());
        self.rest.advance(of_rest);
        written -= of_rest;
        if self.rest.is_empty() {
            self.rest = Bytes::new(); // It may have been the last to hold what it was cut from.
        }
        let mut begun = 0;
        for chunk in chunks.iter() {
            if written == 0 {
                break;
            }
            begun += 1;
            if written < chunk.bytes.len() {
                self.rest = chunk.bytes.slice(written..);
                break;
            }
            written -= chunk.bytes.len();
        }
        self.reader.sent(chunks, begun);
        Ok(())
    }
}

/// What came next for the client is gone.
struct Slow;
