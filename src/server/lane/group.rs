//! The clients of one session in one loop: the pack, and those apart from it.

use std::task::Waker;

use super::inbox::Slot;
use crate::session::Pack;

#[derive(Debug)]
pub(super) struct Group {
    pub(super) generation: u32,
    pub(super) pack: Pack,
    /// Wakes the loop for the pack.
    pub(super) waker: Waker,
    pub(super) is_passing: bool,
    /// Members of the pack. During a pass those before `left` may not have been given it yet.
    pub(super) members: Vec<u32>,
    pub(super) left: usize,
    /// Clients that read by themselves.
    pub(super) apart: Vec<u32>,
}

/// Which of its group's lists a client is in, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Apart(u32),
    Member(u32),
}

impl Group {
    pub(super) fn new(pack: Pack, waker: Waker, slot: Slot) -> Self {
        let generation = slot.generation;
        Self { generation, pack, waker, is_passing: false, members: Vec::new(), left: 0, apart: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty() && self.apart.is_empty()
    }

    /// Lists the client; answers where.
    pub(super) fn add_apart(&mut self, client: u32) -> Standing {
        self.apart.push(client);
        Standing::Apart((self.apart.len() - 1) as u32)
    }

    /// Lists the client, which its pack took in; answers where.
    pub(super) fn add_member(&mut self, client: u32) -> Standing {
        self.members.push(client);
        Standing::Member((self.members.len() - 1) as u32)
    }

    /// Takes a client from its list; answers who stands there now in its place, if anybody does.
    ///
    /// The last of the list comes to its place. In a pass that goes from the back to the front, nobody is passed over by
    /// that; who comes from the back to the front has the pass already, as its place in the log shows.
    pub(super) fn remove(&mut self, standing: Standing) -> Option<u32> {
        let (list, at) = match standing {
            Standing::Apart(at) => (&mut self.apart, at as usize),
            Standing::Member(at) => (&mut self.members, at as usize),
        };
        list.swap_remove(at);
        let instead = list.get(at).copied();
        self.left = self.left.min(self.members.len());
        instead
    }
}
