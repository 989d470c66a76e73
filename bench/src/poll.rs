//! One epoll set and whose sockets are in it.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::Result;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

use crate::clock::SECOND;

/// Events taken from the kernel at once.
const BATCH: usize = 1_024;
/// Every socket is watched for everything, told of changes only: no call per event beside reading and writing.
const INTEREST: epoll::EventFlags = epoll::EventFlags::IN
    .union(epoll::EventFlags::OUT)
    .union(epoll::EventFlags::RDHUP)
    .union(epoll::EventFlags::ET);

/// Whose a socket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The listener of the source, or of the raw server.
    Listener,
    /// A connection to the source, or to the raw server.
    Server(usize),
    /// A client of the herd, or a subscription of the raw server.
    Client(usize),
    /// A connection over which events are published.
    Publisher(usize),
}

impl Owner {
    const TAG_BITS: u32 = 2;

    fn pack(self) -> u64 {
        let (tag, index) = match self {
            Self::Listener => (0, 0),
            Self::Server(index) => (1, index),
            Self::Client(index) => (2, index),
            Self::Publisher(index) => (3, index),
        };
        (index as u64) << Self::TAG_BITS | tag
    }

    fn unpack(packed: u64) -> Self {
        let index = (packed >> Self::TAG_BITS) as usize;
        match packed & 3 {
            0 => Self::Listener,
            1 => Self::Server(index),
            2 => Self::Client(index),
            _ => Self::Publisher(index),
        }
    }
}

/// What happened to a socket.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ready {
    pub(crate) owner: Owner,
    pub(crate) is_readable: bool,
    pub(crate) is_writable: bool,
}

/// The set.
pub(crate) struct Poll {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

impl fmt::Debug for Poll {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Poll").field(&self.epoll).finish()
    }
}

impl Poll {
    /// An empty set.
    pub(crate) fn new() -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self { epoll, events: Vec::with_capacity(BATCH) })
    }

    /// Watches a socket until it is closed.
    pub(crate) fn add(&self, socket: impl AsFd, owner: Owner) -> Result<()> {
        epoll::add(&self.epoll, socket, epoll::EventData::new_u64(owner.pack()), INTEREST)?;
        Ok(())
    }

    /// Waits for so many nanoseconds at most, and adds to `ready` what happened. A signal ends the wait, too.
    pub(crate) fn wait(&mut self, nanoseconds: u64, ready: &mut Vec<Ready>) -> Result<()> {
        let timeout =
            Timespec { tv_sec: (nanoseconds / SECOND) as i64, tv_nsec: (nanoseconds % SECOND) as i64 };
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let readable = epoll::EventFlags::IN
            | epoll::EventFlags::RDHUP
            | epoll::EventFlags::HUP
            | epoll::EventFlags::ERR;
        ready.extend(self.events.iter().map(|event| {
            let flags = event.flags;
            Ready {
                owner: Owner::unpack(event.data.u64()),
                is_readable: flags.intersects(readable),
                is_writable: flags.intersects(epoll::EventFlags::OUT),
            }
        }));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_survives_its_packing() {
        for owner in [Owner::Listener, Owner::Server(0), Owner::Client(9_999), Owner::Publisher(3)] {
            assert_eq!(Owner::unpack(owner.pack()), owner);
        }
    }
}
