//! What happens on a loop's sockets: an epoll instance of its own, watched as one by the runtime.
//!
//! A socket costs a place in the kernel's list and nothing here. Edge-triggered, so that whoever is told reads or
//! writes until the socket blocks.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::task::{Context, Poll, ready};

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::time::Timespec;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::inbox::Slot;

/// Taken from the kernel at once.
const EVENTS_MAX: usize = 256;

const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// What happened on one socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Happened {
    pub(super) slot: Slot,
    /// There is input, or the peer closed, or the connection broke.
    pub(super) is_readable: bool,
    /// There is room again, or writing would tell the error.
    pub(super) is_writable: bool,
}

#[derive(Debug)]
pub(super) struct Poller {
    epoll: AsyncFd<OwnedFd>,
}

impl Poller {
    pub(super) fn new() -> io::Result<Self> {
        #[allow(
            deprecated,
            reason = "its successor is unsafe for the sake of types that change their descriptor; an OwnedFd keeps its own"
        )]
        let epoll = AsyncFd::with_interest(epoll::create(CreateFlags::CLOEXEC)?, Interest::READABLE)?;
        Ok(Self { epoll })
    }

    /// From now on what happens on the socket is told with its slot; until it is closed.
    pub(super) fn watch(&self, socket: impl AsFd, slot: Slot) -> io::Result<()> {
        let events = EventFlags::IN | EventFlags::RDHUP | EventFlags::OUT | EventFlags::ET;
        Ok(epoll::add(self.epoll.get_ref(), socket, EventData::new_u64(slot.to_bits()), events)?)
    }

    /// Puts what happened, up to [`EVENTS_MAX`], in place of what is in `happened`; pending: nothing did.
    pub(super) fn poll_happened(
        &self,
        cx: &mut Context<'_>,
        happened: &mut Vec<Happened>,
    ) -> Poll<io::Result<()>> {
        happened.clear();
        loop {
            let mut guard = ready!(self.epoll.poll_read_ready(cx))?;
            let mut events = [const { MaybeUninit::<Event>::uninit() }; EVENTS_MAX];
            let (events, _) = match epoll::wait(guard.get_inner(), &mut events, Some(&AT_ONCE)) {
                Ok(taken) => taken,
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Poll::Ready(Err(error.into())),
            };
            if events.len() < EVENTS_MAX {
                guard.clear_ready();
            }
            if !events.is_empty() {
                happened.extend(events.iter().map(told));
                return Poll::Ready(Ok(()));
            }
        }
    }
}

fn told(event: &Event) -> Happened {
    // Copied, since the fields of a packed struct can't be borrowed.
    let (flags, data) = (event.flags, event.data);
    let is_broken = flags.intersects(EventFlags::ERR | EventFlags::HUP);
    Happened {
        slot: Slot::from_bits(data.u64()),
        is_readable: is_broken || flags.intersects(EventFlags::IN | EventFlags::RDHUP),
        is_writable: is_broken || flags.contains(EventFlags::OUT),
    }
}
