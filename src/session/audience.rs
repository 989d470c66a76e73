//! The clients of one session, as places and wakers.
//!
//! Sharded, so that clients on several workers don't wait for each other. The one race (an entry
//! appended between a client's last look and its going to sleep) is closed by the shard's lock:
//! see [`Audience::park`].
//!
//! Clients that stand at one place, and are written to by one loop, can be a *pack*: it is woken and moves on as one,
//! and stands for what its members need.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use std::time::Duration;

use parking_lot::Mutex;
use slab::Slab;
use tokio::sync::Notify;

use super::dismissal::{DismissReason, Dismissal};
use super::visit::Visit;
use crate::proto::log::Position;

/// Clients are dealt out to so many lists at most.
const SHARDS_MAX: usize = 8;

/// Clients woken before the task lets others run: accepts, heartbeats, the upstream.
const WAKE_SLICE: usize = 256;

/// Needed by nobody: the place of a client that reads something else, or that a pack stands for.
pub(super) const NOTHING_NEEDED: Position = Position::MAX;

/// One client's place in the audience.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seat {
    shard: usize,
    index: usize,
}

/// One pack's place in the audience.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PackSeat(usize);

#[derive(Debug)]
struct Occupant {
    id: u64,
    /// The oldest entry that it may still need.
    needed: Position,
    /// Who stands for it.
    pack: Option<PackSeat>,
    waker: Option<Waker>,
    /// It is in the list of those who wait, where it may have stayed from before.
    is_listed: bool,
    dismissal: Arc<Dismissal>,
    visit: Arc<Visit>,
    /// The `retry` with which it is to leave, once it has read everything.
    farewell: Option<Duration>,
}

/// One client, as operators see it.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) id: u64,
    pub(super) needed: Position,
    pub(super) visit: Arc<Visit>,
}

/// What became of a client that found nothing to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parked {
    /// It sleeps until it is woken.
    Asleep,
    /// Something came meanwhile.
    News,
    /// It is to leave, and to come back after this time.
    Farewell(Duration),
}

#[derive(Debug, Default)]
struct Shard {
    occupants: Slab<Occupant>,
    /// Who sleeps, in no order. Whoever has no waker any more is passed over.
    waiting: Vec<usize>,
}

#[derive(Debug)]
struct Pack {
    /// The oldest entry that a member may still need.
    needed: Position,
    waker: Option<Waker>,
}

/// All clients of one session.
#[derive(Debug)]
pub(super) struct Audience {
    shards: Box<[Mutex<Shard>]>,
    /// At most one for each loop that writes.
    packs: Mutex<Slab<Pack>>,
    packs_moved: Notify,
    /// Names the next client, and deals it out.
    next: AtomicU64,
}

impl Audience {
    pub(super) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let shards = (0..cores.min(SHARDS_MAX)).map(|_| Mutex::default()).collect();
        Self { shards, packs: Mutex::default(), packs_moved: Notify::new(), next: AtomicU64::new(0) }
    }

    /// A client sits down; from now on nothing from `needed` on is trimmed.
    pub(super) fn sit(&self, needed: Position, visit: Arc<Visit>) -> (Seat, Arc<Dismissal>) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let shard = (id % self.shards.len() as u64) as usize;
        let dismissal = Arc::new(Dismissal::default());
        let occupant = Occupant {
            id,
            needed,
            pack: None,
            waker: None,
            is_listed: false,
            dismissal: Arc::clone(&dismissal),
            visit,
            farewell: None,
        };
        let index = self.shards[shard].lock().occupants.insert(occupant);
        (Seat { shard, index }, dismissal)
    }

    /// The client has read up to `needed`.
    pub(super) fn moved(&self, seat: Seat, needed: Position) {
        if let Some(occupant) = self.shards[seat.shard].lock().occupants.get_mut(seat.index) {
            occupant.needed = needed;
        }
    }

    /// The client found nothing at `needed` and goes to sleep, unless `has_news` says, under the
    /// shard's lock, that something came meanwhile. A writer makes its news visible before it takes
    /// this lock to wake: so either `has_news` sees them, or the writer sees the waker.
    ///
    /// A client that is to leave does so here: it has read everything.
    pub(super) fn park(
        &self,
        seat: Seat,
        needed: Position,
        waker: &Waker,
        has_news: impl FnOnce() -> bool,
    ) -> Parked {
        let mut shard = self.shards[seat.shard].lock();
        let Shard { occupants, waiting } = &mut *shard;
        // A seat lives as long as the reader that asks.
        let Some(occupant) = occupants.get_mut(seat.index) else { return Parked::News };
        occupant.needed = needed;
        if has_news() {
            return Parked::News;
        }
        if let Some(retry) = occupant.farewell {
            return Parked::Farewell(retry);
        }
        match &mut occupant.waker {
            Some(known) => known.clone_from(waker),
            None => occupant.waker = Some(waker.clone()),
        }
        if !std::mem::replace(&mut occupant.is_listed, true) {
            waiting.push(seat.index);
        }
        Parked::Asleep
    }

    /// A pack sits down; until it moves it needs nothing.
    pub(super) fn sit_as_pack(&self) -> PackSeat {
        PackSeat(self.packs.lock().insert(Pack { needed: NOTHING_NEEDED, waker: None }))
    }

    /// The pack's members have read up to `needed`.
    pub(super) fn pack_moved(&self, seat: PackSeat, needed: Position) {
        if let Some(pack) = self.packs.lock().get_mut(seat.0) {
            pack.needed = needed;
        }
        self.packs_moved.notify_one();
    }

    /// [`Self::park`] for a pack; `false`: something came meanwhile.
    pub(super) fn park_pack(
        &self,
        seat: PackSeat,
        needed: Position,
        waker: &Waker,
        has_news: impl FnOnce() -> bool,
    ) -> bool {
        let mut packs = self.packs.lock();
        // A seat lives as long as the pack that asks.
        let Some(pack) = packs.get_mut(seat.0) else { return false };
        pack.needed = needed;
        if has_news() {
            return false;
        }
        match &mut pack.waker {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
        true
    }

    /// The pack, which has no members, is no more.
    pub(super) fn leave_as_pack(&self, seat: PackSeat) {
        self.packs.lock().try_remove(seat.0);
        self.packs_moved.notify_one();
    }

    /// From now on the pack stands for the client, which has read up to `needed`; `false`: it is to leave.
    pub(super) fn enter_pack(&self, seat: Seat, pack: PackSeat, needed: Position) -> bool {
        // Both locks, in the order of `Self::needed`: nobody sees the client stand for itself no more and the pack
        // not yet for it.
        let mut packs = self.packs.lock();
        let Some(Pack { needed: needed_by_pack, .. }) = packs.get_mut(pack.0) else { return false };
        let mut shard = self.shards[seat.shard].lock();
        let Some(occupant) = shard.occupants.get_mut(seat.index) else { return false };
        if occupant.farewell.is_some() {
            return false;
        }
        occupant.needed = NOTHING_NEEDED;
        occupant.pack = Some(pack);
        occupant.waker = None;
        *needed_by_pack = needed.min(*needed_by_pack);
        true
    }

    /// The client, which has read up to `needed`, stands for itself again. To be told before its pack moves on.
    pub(super) fn leave_pack(&self, seat: Seat, needed: Position) {
        if let Some(occupant) = self.shards[seat.shard].lock().occupants.get_mut(seat.index) {
            occupant.needed = needed;
            occupant.pack = None;
        }
    }

    /// The oldest entry that a pack may still need.
    pub(super) fn needed_by_packs(&self) -> Option<Position> {
        oldest(&self.packs.lock())
    }

    /// Waits for a pack to move, or to have moved since the last call.
    pub(super) async fn pack_moves(&self) {
        self.packs_moved.notified().await;
    }

    /// All who are here.
    pub(super) fn seats(&self) -> Vec<Seat> {
        let of = |(shard, list): (usize, &Mutex<Shard>)| {
            let indices: Vec<usize> = list.lock().occupants.iter().map(|(index, _)| index).collect();
            indices.into_iter().map(move |index| Seat { shard, index })
        };
        self.shards.iter().enumerate().flat_map(of).collect()
    }

    /// Lets one client leave when it has read everything, with a `retry` of its own.
    pub(super) fn say_farewell(&self, seat: Seat, retry: Duration) {
        let (woken, member) = {
            let mut shard = self.shards[seat.shard].lock();
            let Some(occupant) = shard.occupants.get_mut(seat.index) else { return };
            occupant.farewell = Some(retry);
            let member = occupant.pack.map(|_| Arc::clone(&occupant.dismissal));
            (occupant.waker.take(), member)
        };
        if let Some(waker) = woken {
            waker.wake();
        }
        // The news wake only its pack; it has to leave that by itself.
        if let Some(member) = member {
            member.nudge();
        }
    }

    /// Whether it was told [farewell](Self::say_farewell).
    pub(super) fn is_to_leave(&self, seat: Seat) -> bool {
        let shard = self.shards[seat.shard].lock();
        shard.occupants.get(seat.index).is_some_and(|occupant| occupant.farewell.is_some())
    }

    /// The client leaves.
    pub(super) fn leave(&self, seat: Seat) {
        let mut shard = self.shards[seat.shard].lock();
        let was_listed = shard.occupants.try_remove(seat.index).is_some_and(|left| left.is_listed);
        if was_listed {
            shard.waiting.retain(|&index| index != seat.index);
        }
    }

    /// Wakes all who sleep. News must be visible before.
    pub(super) async fn wake(&self) {
        self.wake_packs();
        for shard in &self.shards {
            let woken = shard.lock().take_waiting();
            let mut woken = woken.into_iter();
            while woken.len() > 0 {
                woken.by_ref().take(WAKE_SLICE).for_each(Waker::wake);
                if woken.len() > 0 {
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    /// The same at once, for the very end of a session.
    pub(super) fn wake_now(&self) {
        self.wake_packs();
        for shard in &self.shards {
            let woken = shard.lock().take_waiting();
            woken.into_iter().for_each(Waker::wake);
        }
    }

    fn wake_packs(&self) {
        // Under the lock: they only note that they were woken.
        for (_, pack) in self.packs.lock().iter_mut() {
            if let Some(waker) = pack.waker.take() {
                waker.wake();
            }
        }
    }

    /// Dismisses those whose next entry lies before `floor`: it is gone.
    pub(super) fn dismiss_behind(&self, floor: Position) {
        for shard in &self.shards {
            let is_behind = |occupant: &Occupant| occupant.needed < floor;
            let shard = shard.lock();
            for (_, occupant) in shard.occupants.iter().filter(|(_, occupant)| is_behind(occupant)) {
                occupant.dismissal.dismiss(DismissReason::Slow);
            }
        }
    }

    /// Dismisses one client; `false`: there is none of this id.
    pub(super) fn dismiss(&self, id: u64, reason: DismissReason) -> bool {
        let dismissal = self.shards.iter().find_map(|shard| {
            let shard = shard.lock();
            let found = shard.occupants.iter().find(|(_, occupant)| occupant.id == id);
            found.map(|(_, occupant)| Arc::clone(&occupant.dismissal))
        });
        dismissal.is_some_and(|dismissal| {
            dismissal.dismiss(reason);
            true
        })
    }

    /// All who are here, as operators see them.
    pub(super) fn guests(&self) -> Vec<Guest> {
        let packs: HashMap<usize, Position> =
            self.packs.lock().iter().map(|(index, pack)| (index, pack.needed)).collect();
        let of = |shard: &Mutex<Shard>| {
            let shard = shard.lock();
            let guests = shard.occupants.iter().map(|(_, occupant)| Guest {
                id: occupant.id,
                needed: match occupant.pack {
                    Some(PackSeat(index)) => packs.get(&index).copied().unwrap_or(NOTHING_NEEDED),
                    None => occupant.needed,
                },
                visit: Arc::clone(&occupant.visit),
            });
            guests.collect::<Vec<_>>()
        };
        self.shards.iter().flat_map(of).collect()
    }

    /// The oldest entry that any client may still need.
    pub(super) fn needed(&self) -> Option<Position> {
        // Held meanwhile, so that no pack moves: a client that leaves one in this moment says so before that.
        let packs = self.packs.lock();
        let of = |shard: &Mutex<Shard>| shard.lock().occupants.iter().map(|(_, seat)| seat.needed).min();
        self.shards.iter().filter_map(of).chain(oldest(&packs)).min()
    }
}

fn oldest(packs: &Slab<Pack>) -> Option<Position> {
    packs.iter().map(|(_, pack)| pack.needed).filter(|&needed| needed != NOTHING_NEEDED).min()
}

impl Shard {
    fn take_waiting(&mut self) -> Vec<Waker> {
        let Self { occupants, waiting } = self;
        let taken = waiting.drain(..).filter_map(|index| {
            let occupant = occupants.get_mut(index)?;
            occupant.is_listed = false;
            occupant.waker.take()
        });
        taken.collect()
    }
}

#[cfg(test)]
mod tests;
