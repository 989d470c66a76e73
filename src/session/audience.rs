//! The clients of one session, as places and wakers.
//!
//! Sharded, so that clients on several workers don't wait for each other. The one race (an entry
//! appended between a client's last look and its going to sleep) is closed by the shard's lock:
//! see [`Audience::park`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use std::time::Duration;

use parking_lot::Mutex;
use slab::Slab;

use super::dismissal::{DismissReason, Dismissal};
use super::visit::Visit;
use crate::proto::log::Position;

/// Clients are dealt out to so many lists at most.
const SHARDS_MAX: usize = 8;

/// Clients woken before the task lets others run: accepts, heartbeats, the upstream.
const WAKE_SLICE: usize = 256;

/// One client's place in the audience.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seat {
    shard: usize,
    index: usize,
}

#[derive(Debug)]
struct Occupant {
    id: u64,
    /// The oldest entry that it may still need.
    needed: Position,
    waker: Option<Waker>,
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
    /// Who sleeps, in no order.
    waiting: Vec<usize>,
}

/// All clients of one session.
#[derive(Debug)]
pub(super) struct Audience {
    shards: Box<[Mutex<Shard>]>,
    /// Names the next client, and deals it out.
    next: AtomicU64,
}

impl Audience {
    pub(super) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let shards = (0..cores.min(SHARDS_MAX)).map(|_| Mutex::default()).collect();
        Self { shards, next: AtomicU64::new(0) }
    }

    /// A client sits down; from now on nothing from `needed` on is trimmed.
    pub(super) fn sit(&self, needed: Position, visit: Arc<Visit>) -> (Seat, Arc<Dismissal>) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let shard = (id % self.shards.len() as u64) as usize;
        let dismissal = Arc::new(Dismissal::default());
        let (waker, farewell) = (None, None);
        let occupant = Occupant { id, needed, waker, dismissal: Arc::clone(&dismissal), visit, farewell };
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
            // Still in the list from an earlier look.
            Some(known) => known.clone_from(waker),
            None => {
                occupant.waker = Some(waker.clone());
                waiting.push(seat.index);
            }
        }
        Parked::Asleep
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
        let woken = {
            let mut shard = self.shards[seat.shard].lock();
            let Shard { occupants, waiting } = &mut *shard;
            let Some(occupant) = occupants.get_mut(seat.index) else { return };
            occupant.farewell = Some(retry);
            let waker = occupant.waker.take();
            if waker.is_some() {
                waiting.retain(|&index| index != seat.index);
            }
            waker
        };
        if let Some(waker) = woken {
            waker.wake();
        }
    }

    /// The client leaves.
    pub(super) fn leave(&self, seat: Seat) {
        let mut shard = self.shards[seat.shard].lock();
        let was_waiting = shard.occupants.try_remove(seat.index).is_some_and(|left| left.waker.is_some());
        if was_waiting {
            shard.waiting.retain(|&index| index != seat.index);
        }
    }

    /// Wakes all who sleep. News must be visible before.
    pub(super) async fn wake(&self) {
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
        for shard in &self.shards {
            let woken = shard.lock().take_waiting();
            woken.into_iter().for_each(Waker::wake);
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
        let of = |shard: &Mutex<Shard>| {
            let shard = shard.lock();
            let guests = shard.occupants.iter().map(|(_, occupant)| Guest {
                id: occupant.id,
                needed: occupant.needed,
                visit: Arc::clone(&occupant.visit),
            });
            guests.collect::<Vec<_>>()
        };
        self.shards.iter().flat_map(of).collect()
    }

    /// The oldest entry that any client may still need.
    pub(super) fn needed(&self) -> Option<Position> {
        let oldest = |shard: &Mutex<Shard>| shard.lock().occupants.iter().map(|(_, seat)| seat.needed).min();
        self.shards.iter().filter_map(oldest).min()
    }
}

impl Shard {
    fn take_waiting(&mut self) -> Vec<Waker> {
        let Self { occupants, waiting } = self;
        waiting.drain(..).filter_map(|index| occupants.get_mut(index)?.waker.take()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::{Context, Poll, Wake};

    use super::*;

    #[derive(Default)]
    struct Counter(AtomicUsize);

    impl Wake for Counter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn sit(audience: &Audience, needed: Position) -> (Seat, Arc<Dismissal>) {
        audience.sit(needed, Arc::new(Visit::new()))
    }

    impl Counter {
        fn count(&self) -> usize {
            self.0.load(Ordering::SeqCst)
        }
    }

    #[tokio::test]
    async fn everyone_who_sleeps_is_woken_once() {
        let audience = Audience::new();
        let counter = Arc::new(Counter::default());
        let waker = Waker::from(Arc::clone(&counter));
        let seats: Vec<Seat> = (0..1_000).map(|_| sit(&audience, 0).0).collect();
        for seat in &seats {
            assert_eq!(audience.park(*seat, 1, &waker, || false), Parked::Asleep);
            assert_eq!(
                audience.park(*seat, 1, &waker, || false),
                Parked::Asleep,
                "looking twice counts once"
            );
        }
        audience.leave(seats[7]);
        audience.wake().await;
        assert_eq!(counter.count(), 999);
        audience.wake().await;
        assert_eq!(counter.count(), 999, "no one sleeps now");
    }

    #[test]
    fn whoever_sees_news_does_not_sleep() {
        let audience = Audience::new();
        let counter = Arc::new(Counter::default());
        let waker = Waker::from(Arc::clone(&counter));
        let (seat, _) = sit(&audience, 0);
        assert_eq!(audience.park(seat, 0, &waker, || true), Parked::News);
        audience.wake_now();
        assert_eq!(counter.count(), 0);
    }

    #[test]
    fn a_farewell_wakes_one_client_and_waits_until_it_has_read_everything() {
        let audience = Audience::new();
        let counter = Arc::new(Counter::default());
        let waker = Waker::from(Arc::clone(&counter));
        let seats = [sit(&audience, 0).0, sit(&audience, 0).0];
        for seat in seats {
            audience.park(seat, 0, &waker, || false);
        }
        audience.say_farewell(seats[0], Duration::from_secs(3));
        assert_eq!(counter.count(), 1);
        assert_eq!(audience.park(seats[0], 0, &waker, || true), Parked::News, "first the news");
        assert_eq!(audience.park(seats[0], 1, &waker, || false), Parked::Farewell(Duration::from_secs(3)));
        assert_eq!(audience.seats().len(), 2);
    }

    #[test]
    fn the_slowest_says_what_is_needed() {
        let audience = Audience::new();
        assert_eq!(audience.needed(), None);
        let (slow, quick) = (sit(&audience, 3).0, sit(&audience, 3).0);
        audience.moved(quick, 9);
        assert_eq!(audience.needed(), Some(3));
        audience.leave(slow);
        assert_eq!(audience.needed(), Some(9));
        let (again, _) = sit(&audience, 20);
        audience.moved(again, 21);
        assert_eq!(audience.needed(), Some(9), "a seat given anew is a new one");
    }

    #[test]
    fn whoever_needs_what_is_gone_is_dismissed() {
        let audience = Audience::new();
        let counter = Arc::new(Counter::default());
        let waker = Waker::from(Arc::clone(&counter));
        let cx = Context::from_waker(&waker);
        let (slow, quick) = (sit(&audience, 3).1, sit(&audience, 9).1);
        assert_eq!(slow.poll_dismissed(&cx), Poll::Pending);
        audience.dismiss_behind(3);
        assert_eq!(counter.count(), 0, "what is at the floor is still there");
        audience.dismiss_behind(4);
        assert_eq!(counter.count(), 1);
        assert_eq!(slow.poll_dismissed(&cx), Poll::Ready(DismissReason::Slow));
        assert_eq!(quick.poll_dismissed(&cx), Poll::Pending);
    }

    #[test]
    fn an_operator_sees_each_client_and_can_dismiss_one() {
        let audience = Audience::new();
        let counter = Arc::new(Counter::default());
        let waker = Waker::from(Arc::clone(&counter));
        let cx = Context::from_waker(&waker);
        let clients = [sit(&audience, 3), sit(&audience, 9)];
        let mut guests = audience.guests();
        guests.sort_by_key(|guest| guest.needed);
        assert!(audience.dismiss(guests[1].id, DismissReason::Operator));
        assert_eq!(clients[0].1.poll_dismissed(&cx), Poll::Pending);
        assert_eq!(clients[1].1.poll_dismissed(&cx), Poll::Ready(DismissReason::Operator));
        audience.leave(clients[1].0);
        assert!(!audience.dismiss(guests[1].id, DismissReason::Operator), "it is gone");
    }
}
