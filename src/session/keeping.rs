//! Rings that outlive the process: what changed is written to the store by a task of its own, in the
//! background, so that a slow or full disk never delays an event (`--state-dir`).
//!
//! Sessions are marked, not copied: a session that changes a thousand times between two writes is
//! written once. After a restart, rings wait here for the session's first client, as long as a
//! session without clients would have lived on.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::shared::Session;
use crate::proto::event_id::Epoch;
use crate::proto::log::{Log, LogSettings, Position};
use crate::store::{Batch, Opened, RingChange, Store, StoreError, StoredRing};

/// Between a change and its being written: what a crash can lose, and the longest that one write
/// can gather.
const WRITE_DELAY: Duration = Duration::from_millis(100);

/// After a failed write.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Ended sessions still to be removed from the store. Of more, what is left there is dropped after
/// the next start, when nobody comes for it.
const FORGOTTEN_MAX: usize = 100_000;

/// Writes what changed, and gives out what was kept.
#[derive(Debug)]
pub(super) struct Keeper {
    store: Mutex<Option<Store>>,
    marked: Mutex<Vec<Arc<Session>>>,
    forgotten: Mutex<Vec<u128>>,
    /// Rings of the last process that nobody came for yet.
    waiting: Mutex<HashMap<u128, StoredRing>>,
    was_clean: bool,
    failures: AtomicU64,
    /// The last write failed, and the log says so.
    is_failing: AtomicBool,
    changed: Notify,
}

/// What a session knows of its being kept.
#[derive(Debug, Default)]
pub(super) struct Kept {
    is_marked: AtomicBool,
    /// It is not kept, or no longer.
    is_off: AtomicBool,
    /// Up to where it was written; `None`: nothing was.
    written: Mutex<Option<Position>>,
}

impl Keeper {
    pub(super) fn new(opened: Opened) -> Self {
        let Opened { store, was_clean, rings, key: _ } = opened;
        if !rings.is_empty() {
            tracing::info!(
                rings = rings.len(),
                was_clean,
                "rings of the last process are kept for their clients"
            );
        }
        Self {
            store: Mutex::new(Some(store)),
            marked: Mutex::default(),
            forgotten: Mutex::default(),
            waiting: Mutex::new(rings),
            was_clean,
            failures: AtomicU64::new(0),
            is_failing: AtomicBool::new(false),
            changed: Notify::new(),
        }
    }

    /// The ring that was kept for this session. `epoch` names its new numbering, if it needs one.
    pub(super) fn take(&self, session: u128, settings: &LogSettings, epoch: Epoch) -> Option<Log> {
        let StoredRing { head, entries } = self.waiting.lock().remove(&session)?;
        let torn = (!self.was_clean).then_some(epoch);
        match Log::restore(settings.clone(), &head, &entries, torn) {
            Ok(log) => Some(log),
            Err(error) => {
                tracing::warn!(%error, "a session starts with an empty ring");
                None
            }
        }
    }

    /// The session's ring changed.
    pub(super) fn mark(&self, session: &Arc<Session>) {
        if session.kept.is_off.load(Ordering::Relaxed) {
            return;
        }
        if !session.kept.is_marked.swap(true, Ordering::AcqRel) {
            self.marked.lock().push(Arc::clone(session));
            self.changed.notify_one();
        }
    }

    /// The session is not kept any more.
    pub(super) fn forget(&self, session: &Session) {
        if !session.kept.is_off.swap(true, Ordering::AcqRel) {
            self.forget_all([session.key.fingerprint()]);
        }
    }

    fn forget_all(&self, sessions: impl IntoIterator<Item = u128>) {
        let mut forgotten = self.forgotten.lock();
        let room = FORGOTTEN_MAX.saturating_sub(forgotten.len());
        forgotten.extend(sessions.into_iter().take(room));
        drop(forgotten);
        self.changed.notify_one();
    }

    /// Writes that failed, for operators.
    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Writes changes as they come; rings that nobody came for within `linger` are dropped. Never
    /// ends: it is to be aborted.
    pub(super) async fn run(self: Arc<Self>, linger: Duration) {
        let deadline = Instant::now() + linger;
        let mut is_waited_for = true;
        loop {
            tokio::select! {
                () = self.changed.notified() => {}
                () = tokio::time::sleep_until(deadline), if is_waited_for => {
                    is_waited_for = false;
                    let left = std::mem::take(&mut *self.waiting.lock());
                    self.forget_all(left.into_keys());
                    continue;
                }
            }
            tokio::time::sleep(WRITE_DELAY).await;
            if !self.write().await {
                tokio::time::sleep(RETRY_DELAY).await;
                self.changed.notify_one();
            }
        }
    }

    /// Writes the rest, and closes the store.
    pub(super) async fn close(self: Arc<Self>) {
        // What is not written makes the store unclean, and that is what it is.
        if self.write().await {
            let store = self.store.lock().take();
            let closing = tokio::task::spawn_blocking(|| store.map_or(Ok(()), Store::close));
            if let Ok(Err(error)) = closing.await {
                tracing::warn!(%error, "the state could not be closed");
            }
        }
    }

    async fn write(self: &Arc<Self>) -> bool {
        let keeper = Arc::clone(self);
        match tokio::task::spawn_blocking(move || keeper.write_now()).await {
            Ok(Ok(())) => {
                if self.is_failing.swap(false, Ordering::Relaxed) {
                    tracing::info!("the state is written again");
                }
                true
            }
            Ok(Err(error)) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                if !self.is_failing.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "the state can't be written; a restart would lose what is newer");
                }
                false
            }
            // It panicked or the runtime ends: there is nobody to write.
            Err(_) => false,
        }
    }

    fn write_now(&self) -> Result<(), StoreError> {
        let mut store = self.store.lock();
        let Some(store) = &mut *store else { return Ok(()) };
        let forget = std::mem::take(&mut *self.forgotten.lock());
        let marked = std::mem::take(&mut *self.marked.lock());
        let rings: Vec<_> = marked.iter().filter_map(|session| session.kept.change(session)).collect();
        if forget.is_empty() && rings.is_empty() {
            return Ok(());
        }
        let batch = Batch { forget, rings };
        let written = store.write(&batch, SystemTime::now());
        if written.is_err() {
            self.forget_all(batch.forget);
            for session in marked {
                // Whole, next time.
                *session.kept.written.lock() = None;
                self.mark(&session);
            }
        }
        written
    }
}

impl Kept {
    /// The log came from the store, and is written up to here.
    pub(super) fn written_to(position: Position) -> Self {
        Self { written: Mutex::new(Some(position)), ..Self::default() }
    }

    fn change(&self, session: &Session) -> Option<RingChange> {
        // First: what changes from now on is marked anew.
        self.is_marked.store(false, Ordering::Release);
        if self.is_off.load(Ordering::Acquire) {
            return None;
        }
        let mut written = self.written.lock();
        let changes = session.log.read().changes(written.unwrap_or(0));
        let is_new = written.replace(changes.next).is_none();
        Some(RingChange {
            session: session.key.fingerprint(),
            is_new,
            head: changes.head,
            entries: changes.entries,
            ring_start: changes.ring_start,
        })
    }
}
