//! The socket under hyper, and the watch for clients that leave (spec 7.6).
//!
//! hyper stops reading an HTTP/1.1 connection once it holds bytes that came behind a request, until the response
//! is complete. A client that sent one stray byte and then leaves would be noticed only by a failing write, which
//! for a quiet stream may be never. So while a stream is being sent, its body holds an [`Armed`] guard, and the task
//! that drives the connection reads the socket itself: what comes is kept for hyper up to [`STRAY_BYTES_MAX`],
//! the end of the connection ends the task.
//!
//! Reading needs no second owner of the socket: [`ClientStream`] and the driver share it, and since both live in
//! one task, the one waker that tokio keeps for each direction always is the right one.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker, ready};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

use super::stream;
use crate::metrics::Entered;
use crate::session::{DismissReason, Dismissal};

/// Bytes that a client may send while it is being sent an event stream: enough for a pipelined request or two.
/// Who sends more loses the connection, since neither hyper nor we would ever read it.
pub const STRAY_BYTES_MAX: usize = 1024;

/// Read at once while watching; one more than the limit, so that one read shows that it was passed.
pub(super) const STRAY_READ_BYTES: usize = STRAY_BYTES_MAX + 1;

/// Tells the connection of a request that a stream is being sent on it. A cheap handle in each request's
/// extensions; it does not keep the socket open.
#[derive(Debug, Clone)]
pub struct ClientWatch(Option<Arc<Watch>>);

impl ClientWatch {
    /// A watch for connections that need none: HTTP/2 tells each stream when its reader left.
    pub fn unwatched() -> Self {
        Self(None)
    }

    /// Watches for the client's leaving until the guard is dropped; the guard belongs into the response's body (or
    /// beside a future that holds a response back). To be called after the request's body was read or dropped:
    /// what is left of it counts as stray input.
    #[must_use]
    pub fn arm(&self) -> Armed {
        if let Some(watch) = &self.0 {
            watch.change_guards(|guards| guards + 1);
        }
        Armed(self.0.clone())
    }

    /// Lets this dismissal end what the client is sent: the connection, or the HTTP/2 stream whose task asks.
    pub fn heed(&self, dismissal: Arc<Dismissal>) {
        match &self.0 {
            Some(watch) => watch.heed(dismissal),
            None => stream::heed(dismissal),
        }
    }
}

/// While it lives, the client's leaving ends the connection at once.
#[derive(Debug)]
pub struct Armed(Option<Arc<Watch>>);

impl Drop for Armed {
    fn drop(&mut self) {
        if let Some(watch) = &self.0 {
            watch.change_guards(|guards| guards - 1);
        }
    }
}

/// Why the watch ends a connection.
#[derive(Debug)]
pub(super) enum Gone {
    /// The client closed its side.
    Closed,
    /// More than [`STRAY_BYTES_MAX`] came.
    TooMuchInput,
    /// Its session dismissed it.
    Dismissed(DismissReason),
    /// The connection broke: a reset, or a time-out of the kernel.
    Broken(io::Error),
}

impl Gone {
    pub(super) fn log(&self, peer: SocketAddr) {
        match self {
            Self::Dismissed(reason) => {
                tracing::info!(%peer, reason = reason.as_str(), "client dismissed");
            }
            Self::Closed | Self::TooMuchInput | Self::Broken(_) => {
                tracing::debug!(%peer, gone = ?self, "client left its event stream");
            }
        }
    }
}

/// What the socket, its driver and the guards share.
#[derive(Debug, Default)]
pub(super) struct Watch {
    state: Mutex<WatchState>,
    /// hyper may hold bytes that it could not write yet. Only the connection's task asks.
    is_unflushed: AtomicBool,
}

#[derive(Debug, Default)]
struct WatchState {
    guards: usize,
    /// Input that hyper has not seen yet; it comes before what the socket holds.
    stash: Vec<u8>,
    /// Ends the stream that is being sent.
    dismissal: Option<Arc<Dismissal>>,
    /// The driver, to be polled again when the guards change: from then on somebody else reads the socket.
    driver: Option<Waker>,
}

impl Watch {
    /// A watch whose first bytes for hyper are those that were read before it: they told the protocol.
    pub(super) fn starting_with(head: Vec<u8>) -> Arc<Self> {
        let state = WatchState { stash: head, ..WatchState::default() };
        Arc::new(Self { state: Mutex::new(state), is_unflushed: AtomicBool::new(false) })
    }

    /// The handle for requests.
    pub(super) fn handle(self: &Arc<Self>) -> ClientWatch {
        ClientWatch(Some(Arc::clone(self)))
    }

    /// For the driver, after it polled hyper: ready when a client that is sent a stream has left.
    pub(super) fn poll_gone(&self, socket: &TcpStream, cx: &mut Context<'_>) -> Poll<Gone> {
        let mut state = self.state.lock();
        if !state.driver.as_ref().is_some_and(|driver| driver.will_wake(cx.waker())) {
            state.driver = Some(cx.waker().clone());
        }
        if state.guards == 0 {
            return Poll::Pending;
        }
        if let Some(dismissal) = &state.dismissal
            && let Poll::Ready(reason) = dismissal.poll_dismissed(cx)
        {
            return Poll::Ready(Gone::Dismissed(reason));
        }
        state.poll_stray(socket, cx)
    }

    /// Whether everything that hyper wrote is in the kernel. It flushes us once it holds nothing more itself.
    pub(super) fn is_flushed(&self) -> bool {
        !self.is_unflushed.load(Ordering::Relaxed)
    }

    /// Bytes that came behind the request.
    pub(super) fn stray_bytes(&self) -> usize {
        self.state.lock().stash.len()
    }

    fn heed(&self, dismissal: Arc<Dismissal>) {
        let driver = {
            let mut state = self.state.lock();
            state.dismissal = Some(dismissal);
            state.driver.clone()
        };
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    fn change_guards(&self, change: impl FnOnce(usize) -> usize) {
        let driver = {
            let mut state = self.state.lock();
            let was_armed = state.guards > 0;
            state.guards = change(state.guards);
            if state.guards == 0 {
                state.dismissal = None;
            }
            if was_armed == (state.guards > 0) { None } else { state.driver.clone() }
        };
        if let Some(driver) = driver {
            driver.wake();
        }
    }
}

impl WatchState {
    /// Stashes what the socket has, until it has no more or the client turns out to be gone.
    fn poll_stray(&mut self, socket: &TcpStream, cx: &mut Context<'_>) -> Poll<Gone> {
        let mut chunk = [0; STRAY_READ_BYTES];
        loop {
            if let Err(error) = ready!(socket.poll_read_ready(cx)) {
                self.broke(&error);
                return Poll::Ready(Gone::Broken(error));
            }
            match socket.try_read(&mut chunk) {
                Ok(0) => return Poll::Ready(Gone::Closed),
                Ok(count) if self.stash.len() + count > STRAY_BYTES_MAX => {
                    return Poll::Ready(Gone::TooMuchInput);
                }
                Ok(count) => self.stash.extend_from_slice(&chunk[..count]),
                // The readiness was stale; it is cleared now, so that asking again registers us.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    self.broke(&error);
                    return Poll::Ready(Gone::Broken(error));
                }
            }
        }
    }

    /// The kernel gives up a client that acknowledges nothing: it did not leave of its own accord.
    fn broke(&self, error: &io::Error) {
        if error.kind() == io::ErrorKind::TimedOut
            && let Some(dismissal) = &self.dismissal
        {
            dismissal.reap();
        }
    }

    /// Gives stashed bytes to hyper; false if there were none.
    fn unstash(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        if self.stash.is_empty() {
            return false;
        }
        let count = self.stash.len().min(buf.remaining());
        buf.put_slice(&self.stash[..count]);
        self.stash.drain(..count);
        if self.stash.is_empty() {
            self.stash = Vec::new(); // An idle connection should not hold on to memory.
        }
        true
    }
}

/// A client's socket and its place among the permitted connections: the place is free when the socket is closed,
/// be it by its connection or, after an upgrade, by its tunnel.
///
/// The runtime watches a [`TcpStream`]; whoever has the one of `std` watches it itself.
#[derive(Debug)]
pub(super) struct Socket<S = TcpStream> {
    pub(super) stream: S,
    pub(super) _place: OwnedSemaphorePermit,
    pub(super) _open: Entered,
}

impl Socket {
    /// Takes it from the runtime. It still does not block.
    pub(super) fn into_std(self) -> io::Result<Socket<std::net::TcpStream>> {
        let Self { stream, _place, _open } = self;
        Ok(Socket { stream: stream.into_std()?, _place, _open })
    }
}

impl Socket<std::net::TcpStream> {
    /// Gives it to the runtime. It must not block.
    pub(super) fn into_tokio(self) -> io::Result<Socket> {
        let Self { stream, _place, _open } = self;
        Ok(Socket { stream: TcpStream::from_std(stream)?, _place, _open })
    }
}

/// What hyper reads and writes (through `hyper_util::rt::TokioIo`), and what an upgrade hands over.
#[derive(Debug)]
pub struct ClientStream {
    socket: Arc<Socket>,
    watch: Arc<Watch>,
}

impl ClientStream {
    pub(super) fn new(socket: Arc<Socket>, watch: Arc<Watch>) -> Self {
        Self { socket, watch }
    }

    fn poll_write_with(
        &self,
        cx: &mut Context<'_>,
        mut write: impl FnMut(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        self.watch.is_unflushed.store(true, Ordering::Relaxed);
        loop {
            ready!(self.socket.stream.poll_write_ready(cx))?;
            match write(&self.socket.stream) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => {
                    if let Err(error) = &result {
                        self.watch.state.lock().broke(error);
                    }
                    return Poll::Ready(result);
                }
            }
        }
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(())); // Else it would look like the end of the stream.
        }
        let stream = &self.socket.stream;
        {
            let mut state = self.watch.state.lock();
            if state.guards > 0 {
                return state.poll_stray(stream, cx).map(|gone| match gone {
                    Gone::Closed => Ok(()),
                    Gone::TooMuchInput | Gone::Dismissed(_) => {
                        Err(io::Error::other("input beside an event stream"))
                    }
                    Gone::Broken(error) => Err(error),
                });
            }
            if state.unstash(buf) {
                return Poll::Ready(Ok(()));
            }
        }
        loop {
            ready!(stream.poll_read_ready(cx))?;
            match stream.try_read_buf(buf) {
                Ok(_) => return Poll::Ready(Ok(())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, |stream| stream.try_write(buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, |stream| stream.try_write_vectored(bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.watch.is_unflushed.store(false, Ordering::Relaxed);
        Poll::Ready(Ok(())) // The kernel sends at once: TCP_NODELAY.
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match socket2::SockRef::from(&self.socket.stream).shutdown(Shutdown::Write) {
            // The client was faster.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            result => Poll::Ready(result),
        }
    }
}
