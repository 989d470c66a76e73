//! One client in a loop: its socket, its place in the session, and what is half sent.

use std::io::{self, IoSlice, Read as _, Write as _};
use std::net::SocketAddr;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes, BytesMut};
use http::response;
use tokio::net::TcpStream;

use super::head;
use crate::proto::log::Chunks;
use crate::server::io::{Gone, STRAY_BYTES_MAX, STRAY_READ_BYTES, Socket};
use crate::session::{NextFramed, Reader};

/// Writes before others get their turn.
const WRITES_PER_TURN: usize = 16;

/// Bytes that wait for the socket before more are asked for.
const REST_BYTES_MAX: usize = 64 * 1024;

/// The chunk that ends a body (RFC 9112, 7.1).
const LAST_CHUNK: Bytes = Bytes::from_static(b"0\r\n\r\n");

/// One client's connection, from its response head on.
#[derive(Debug)]
pub(in crate::server) struct Client {
    pub(super) socket: Socket<std::net::TcpStream>,
    pub(super) peer: SocketAddr,
    pub(super) reader: Reader,
    /// What goes out before anything else: the head, text for this client alone, an event that is half sent.
    pub(super) rest: Bytes,
    /// The socket took less than there was; it tells when it takes more.
    pub(super) is_blocked: bool,
    /// Nothing follows [`Self::rest`].
    is_ending: bool,
    stray_bytes: usize,
}

/// How far a client came.
#[derive(Debug)]
pub(super) enum Advanced {
    /// It has everything that there is.
    UpToDate,
    /// The socket, or what it reads for itself alone, wakes it.
    Waits,
    /// There may be more; others first.
    More,
    /// It is over.
    Ended(Ended),
}

/// How it came to its end.
#[derive(Debug)]
pub(super) enum Ended {
    /// The session's stream ended, and the client has it all.
    Finished,
    /// The client fell too far behind.
    Slow,
    /// The client left, or was dismissed.
    Gone(Gone),
}

impl Client {
    /// `stray_bytes` came behind the request.
    ///
    /// # Errors
    /// The runtime does not let go of the socket.
    pub(in crate::server) fn new(
        socket: Socket<TcpStream>,
        peer: SocketAddr,
        head: &response::Parts,
        reader: Reader,
        stray_bytes: usize,
    ) -> io::Result<Self> {
        let (rest, socket) = (head::encode(head), socket.into_std()?);
        Ok(Self { socket, peer, reader, rest, is_blocked: false, is_ending: false, stray_bytes })
    }

    /// Whether nothing but what is shared remains to be given to it.
    pub(super) fn is_idle(&self) -> bool {
        self.rest.is_empty() && !self.is_blocked && !self.is_ending
    }

    /// Reads and writes until there is nothing more, or the socket takes no more.
    pub(super) fn advance(&mut self, cx: &mut Context<'_>) -> Advanced {
        for _ in 0..WRITES_PER_TURN {
            if self.is_blocked {
                return Advanced::Waits;
            }
            let mut chunks = Chunks::default();
            let mut is_up_to_date = false;
            while !self.is_ending && self.rest.len() < REST_BYTES_MAX {
                match self.reader.poll_framed(cx, &mut chunks) {
                    Poll::Pending | Poll::Ready(NextFramed::Shared) => break,
                    Poll::Ready(NextFramed::UpToDate) => {
                        is_up_to_date = true;
                        break;
                    }
                    Poll::Ready(NextFramed::Own(chunk)) => self.append(chunk),
                    Poll::Ready(NextFramed::Ended(reason)) => self.end(reason.as_str()),
                    Poll::Ready(NextFramed::Slow) => return Advanced::Ended(Ended::Slow),
                }
            }
            if self.rest.is_empty() && chunks.is_empty() {
                return if is_up_to_date { Advanced::UpToDate } else { Advanced::Waits };
            }
            match self.write(&chunks) {
                Ok(()) if self.is_ending && self.rest.is_empty() => return Advanced::Ended(Ended::Finished),
                Ok(()) => {}
                Err(error) => match self.failed(error) {
                    None => self.reader.tell_place(),
                    Some(gone) => return Advanced::Ended(Ended::Gone(gone)),
                },
            }
        }
        Advanced::More
    }

    /// Lets a client that is up to date sleep until there are news; `false`: there is more to do.
    pub(super) fn rests(&mut self, cx: &Context<'_>) -> bool {
        match self.reader.poll_rest(cx) {
            Poll::Pending => return true,
            Poll::Ready(NextFramed::Own(chunk)) => self.append(chunk),
            Poll::Ready(NextFramed::Ended(reason)) => self.end(reason.as_str()),
            // To be looked for, as it comes.
            Poll::Ready(NextFramed::UpToDate | NextFramed::Shared | NextFramed::Slow) => {}
        }
        false
    }

    /// Reads what the client sends although nobody asked, until there is no more; answers whether it is gone.
    pub(super) fn read_stray(&mut self) -> Option<Gone> {
        loop {
            match self.socket.stream.read(&mut [0; STRAY_READ_BYTES]) {
                Ok(0) => return Some(Gone::Closed),
                Ok(count) => self.stray_bytes += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Some(self.broke(error)),
            }
            if self.stray_bytes > STRAY_BYTES_MAX {
                return Some(Gone::TooMuchInput);
            }
        }
    }

    /// What a failed write means: the socket is full (`None`), or the client is gone.
    pub(super) fn failed(&mut self, error: io::Error) -> Option<Gone> {
        match error.kind() {
            io::ErrorKind::WouldBlock => {
                self.is_blocked = true;
                None
            }
            io::ErrorKind::Interrupted => None,
            _ => Some(self.broke(error)),
        }
    }

    fn broke(&self, error: io::Error) -> Gone {
        // The kernel gives up a client that acknowledges nothing: it did not leave of its own accord.
        if error.kind() == io::ErrorKind::TimedOut {
            self.reader.dismissal().reap();
        }
        Gone::Broken(error)
    }

    fn end(&mut self, reason: &'static str) {
        let session = self.reader.session().name();
        tracing::debug!(session, reason, "client's stream ended");
        self.is_ending = true;
        self.append(LAST_CHUNK);
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
        let mut stream = &self.socket.stream;
        let written = match (chunks.only(), self.rest.is_empty()) {
            (Some(chunk), true) => stream.write(&chunk.bytes)?,
            (None, _) if chunks.is_empty() => stream.write(&self.rest)?,
            (Some(_) | None, _) => {
                let mut slices = [IoSlice::new(&[]); Chunks::LEN_MAX + 1];
                let parts = std::iter::once(&self.rest).chain(chunks.iter().map(|chunk| &chunk.bytes));
                for (slice, part) in slices.iter_mut().zip(parts) {
                    *slice = IoSlice::new(part);
                }
                stream.write_vectored(&slices[..=chunks.len()])?
            }
        };
        let of_rest = written.min(self.rest.len());
        self.rest.advance(of_rest);
        if self.rest.is_empty() {
            let (begun, rest) = chunks.split(written - of_rest);
            // A new one in any case: the old may have been the last to hold what it was cut from.
            self.rest = rest;
            self.reader.sent(chunks, begun);
        }
        Ok(())
    }
}
