//! Which sessions live: the one place where a session is found, made and removed (spec 4.4, 4.5).
//!
//! Finding, making and removing are decided under one lock, the shard's, and so is a client's coming:
//! it raises the session's count there. So a session that is found alone under the lock is alone, and
//! one that was removed is never entered again. A client's leaving needs no lock: it only lowers the
//! count. `tests/concurrency` proves this over every interleaving.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;

use super::sync::{Arc, AtomicBool, AtomicUsize, Mutex, MutexGuard, Ordering};

/// What a roster holds.
pub(super) trait Member {
    /// Names it; several members share a key where more than it tells them apart.
    type Key: Eq + Hash + Clone;

    /// Its name.
    fn key(&self) -> &Self::Key;

    /// Its clients: raised by [`Shard::enter`] alone, lowered by each when it leaves.
    fn clients(&self) -> &AtomicUsize;
}

/// All members.
pub(super) struct Roster<M: Member> {
    shards: Box<[Mutex<Members<M>>]>,
    count: AtomicUsize,
    max: usize,
    is_closed: AtomicBool,
}

type Members<M> = HashMap<<M as Member>::Key, Vec<Arc<M>>>;

/// One part of it, locked.
pub(super) struct Shard<'a, M: Member> {
    members: MutexGuard<'a, Members<M>>,
    roster: &'a Roster<M>,
}

impl<M: Member> Roster<M> {
    /// Empty; never more than `max` members.
    pub(super) fn new(shards: usize, max: usize) -> Self {
        Self {
            shards: (0..shards).map(|_| Mutex::new(HashMap::new())).collect(),
            count: AtomicUsize::new(0),
            max,
            is_closed: AtomicBool::new(false),
        }
    }

    /// Locks the part in which a key is; `spread` must be the same for equal keys. `None`: closed.
    pub(super) fn lock(&self, spread: usize) -> Option<Shard<'_, M>> {
        let members = self.shards[spread % self.shards.len()].lock();
        // Under the lock: whoever closes and then looks at all parts finds all who came before.
        (!self.is_closed.load(Ordering::Relaxed)).then_some(Shard { members, roster: self })
    }

    /// Lets nobody in any more; who is there can be seen by [`Self::all`].
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Everyone, in no order.
    pub(super) fn all(&self) -> Vec<Arc<M>> {
        self.shards
            .iter()
            .flat_map(|shard| shard.lock().values().flatten().cloned().collect::<Vec<_>>())
            .collect()
    }

    /// Removes a member if it has no client; `false`: somebody came.
    pub(super) fn remove_if_alone(&self, spread: usize, member: &Arc<M>) -> bool {
        let mut members = self.shards[spread % self.shards.len()].lock();
        // Acquire: what the last client did before it left has happened.
        let is_alone = member.clients().load(Ordering::Acquire) == 0;
        if is_alone {
            self.remove_from(&mut members, member);
        }
        is_alone
    }

    /// Removes a member whoever is there: the next who comes finds a fresh one.
    pub(super) fn remove(&self, spread: usize, member: &Arc<M>) {
        let mut members = self.shards[spread % self.shards.len()].lock();
        self.remove_from(&mut members, member);
    }

    fn remove_from(&self, members: &mut Members<M>, member: &Arc<M>) {
        let Entry::Occupied(mut entry) = members.entry(member.key().clone()) else { return };
        let before = entry.get().len();
        // By identity: a fresh member of the same key is another one.
        entry.get_mut().retain(|known| !Arc::ptr_eq(known, member));
        self.count.fetch_sub(before - entry.get().len(), Ordering::Relaxed);
        if entry.get().is_empty() {
            entry.remove();
        }
    }
}

impl<M: Member> Shard<'_, M> {
    /// A living member of this key that is for the asker.
    pub(super) fn find(&self, key: &M::Key, is_for: impl Fn(&M) -> bool) -> Option<Arc<M>> {
        self.members.get(key)?.iter().find(|member| is_for(member)).cloned()
    }

    /// Whether one more may be added.
    pub(super) fn has_room(&self) -> bool {
        self.roster.count.load(Ordering::Relaxed) < self.roster.max
    }

    /// Adds a member. Whoever adds it enters it before this part is unlocked.
    pub(super) fn add(&mut self, member: &Arc<M>) {
        self.members.entry(member.key().clone()).or_default().push(Arc::clone(member));
        self.roster.count.fetch_add(1, Ordering::Relaxed);
    }

    /// A client comes to a member that was found or added here; how many were there before.
    pub(super) fn enter(&self, member: &M) -> usize {
        member.clients().fetch_add(1, Ordering::AcqRel)
    }
}

impl<M: Member> std::fmt::Debug for Roster<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Roster").field("count", &self.count).field("max", &self.max).finish_non_exhaustive()
    }
}
