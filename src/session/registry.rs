//! Finds the session of a request, or makes it; ends it exactly once (spec 4.4, 4.5).
//!
//! Creating, joining and ending a session are decided under one lock, the shard's: a newcomer
//! finds either a session that lives or none. A session that was removed is never joined again.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use http::Response;
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::advice::{Advice, Advices};
use super::budget::Budget;
use super::catching_up::CatchingUp;
use super::greeting::Greeting;
use super::joining::Joining;
use super::keeping::Keeper;
use super::permit::{ClientPermit, Clients};
use super::reader::{Prelude, Reader};
use super::shared::{ORDERS_MAX, Phase, Session};
use super::task::{First, SessionTask};
use crate::config::{RouteSettings, SessionsConfig};
use crate::message::session_key::{KeyHasher, KeyRules, SessionKey, SharingAdvisor};
use crate::proto::event_id::{Epoch, LastEventId};
use crate::proto::log::{EndReason, Joined, LateJoin, Log, LogSettings, Missing};
use crate::proto::random::Random;
use crate::store::Opened;
use crate::upstream::UpstreamClient;
use crate::upstream::health::Health;
use crate::upstream::subscription::SubscriptionRequest;

/// Locks that the sessions are spread over.
const SHARDS: usize = 64;

/// All sessions. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Registry {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    shards: Box<[Mutex<Sessions>]>,
    sessions: AtomicUsize,
    sessions_max: usize,
    clients: Clients,
    pub(super) budget: Budget,
    pub(super) next_reclaim: AtomicU64,
    /// For clients that catch up.
    catch_ups: Arc<Semaphore>,
    has_catch_ups: bool,
    hasher: KeyHasher,
    key_rules: Arc<KeyRules>,
    advisor: Mutex<SharingAdvisor>,
    pub(super) advices: Advices,
    keeper: OnceLock<Arc<Keeper>>,
    pub(super) upstream: UpstreamClient,
    pub(super) health: Arc<Health>,
    tasks: TaskTracker,
    /// Cancelled: the store is written for the last time elsewhere.
    keeping: CancellationToken,
    random: Mutex<Random>,
    started: Instant,
    is_draining: AtomicBool,
}

/// Several sessions share a key only where `Vary` tells them apart.
type Sessions = HashMap<SessionKey, Vec<Arc<Session>>>;

/// A client that wants to read a session.
#[derive(Debug)]
pub struct JoinRequest<'a> {
    /// Which session.
    pub key: &'a SessionKey,
    /// The settings of its path.
    pub settings: &'a Arc<RouteSettings>,
    /// What it saw last.
    pub last_event_id: Option<&'a LastEventId>,
    /// What to ask the upstream for, if nobody did yet; what `Vary` names is compared with it.
    pub subscription: &'a SubscriptionRequest,
}

/// What to do if there is no such session.
#[derive(Debug)]
pub enum IfAbsent {
    /// Nothing: the client is no subscriber by the looks of it.
    Refuse,
    /// Ask the upstream.
    Open,
    /// Make it from this answer, which the upstream already gave.
    Adopt(Box<Response<Incoming>>),
}

/// Why a client can't join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such session.
    Absent,
    /// `--max-clients` is reached.
    TooManyClients,
    /// `--max-sessions` is reached.
    TooManySessions,
    /// ssecar is stopping.
    Draining,
}

impl Registry {
    /// No session yet. `seed` must be random where ids shall not repeat after a restart.
    #[must_use]
    pub fn new(
        config: &SessionsConfig,
        clients_max: usize,
        hasher: KeyHasher,
        key_rules: Arc<KeyRules>,
        upstream: UpstreamClient,
        health: Arc<Health>,
        seed: u64,
    ) -> Self {
        let inner = Inner {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            sessions: AtomicUsize::new(0),
            sessions_max: config.sessions_max,
            clients: Clients::new(clients_max),
            budget: Budget::new(config.memory_budget),
            next_reclaim: AtomicU64::new(0),
            catch_ups: Arc::new(Semaphore::new(config.catch_ups_max)),
            has_catch_ups: config.catch_ups_max > 0,
            hasher,
            key_rules,
            advisor: Mutex::new(SharingAdvisor::new()),
            advices: Advices::default(),
            keeper: OnceLock::new(),
            upstream,
            health,
            tasks: TaskTracker::new(),
            keeping: CancellationToken::new(),
            random: Mutex::new(Random::new(seed)),
            started: tokio::time::Instant::now().into_std(),
            is_draining: AtomicBool::new(false),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Takes a place in the session, which is made if need be.
    ///
    /// # Errors
    /// [`Refusal`]: there is none, or a limit is reached.
    pub fn join(&self, request: &JoinRequest<'_>, if_absent: IfAbsent) -> Result<Joining, Refusal> {
        let inner = &self.inner;
        if inner.is_draining.load(Ordering::Acquire) {
            return Err(Refusal::Draining);
        }
        let mut shard = inner.shard(request.key).lock();
        if let Some(session) = inner.matching(&shard, request) {
            let permit = inner.permit()?;
            let reader = inner.sit(&session, request, false, permit);
            return Ok(Joining { reader, handed_over: None });
        }
        let first = match if_absent {
            IfAbsent::Refuse => return Err(Refusal::Absent),
            IfAbsent::Open => First::Ask,
            IfAbsent::Adopt(response) => First::Adopted(response),
        };
        let permit = inner.permit()?;
        if inner.sessions.load(Ordering::Relaxed) >= inner.sessions_max {
            return Err(Refusal::TooManySessions);
        }
        let (session, task, handed_over) = self.create(request, first);
        shard.entry(request.key.clone()).or_default().push(Arc::clone(&session));
        inner.sessions.fetch_add(1, Ordering::Relaxed);
        let reader = inner.sit(&session, request, true, permit);
        inner.tasks.spawn(task.run());
        drop(shard);
        inner.consider_advice(request);
        Ok(Joining { reader, handed_over: Some(handed_over) })
    }

    fn create(
        &self,
        request: &JoinRequest<'_>,
        first: First,
    ) -> (Arc<Session>, SessionTask, oneshot::Receiver<Response<Incoming>>) {
        let mut random = self.inner.fork_random();
        let start =
            request.last_event_id.and_then(|last| last.upstream()).filter(|id| !id.is_empty()).cloned();
        let settings = request.settings;
        let log_settings = LogSettings {
            replay: settings.replay,
            client_lag_max: settings.client_lag_max,
            event_ids: settings.event_ids,
            gap_event: settings.gap_event.clone(),
            late_join: settings.late_join,
        };
        let epoch = Epoch::from_random(random.draw());
        let kept = self
            .inner
            .keeper()
            .and_then(|keeper| keeper.take(request.key.fingerprint(), &log_settings, epoch));
        let log = kept.unwrap_or_else(|| Log::new(log_settings, epoch, start));
        let (orders, inbox) = mpsc::channel(ORDERS_MAX);
        let session = Arc::new(Session::new(request.key.clone(), Arc::clone(settings), log, orders));
        let (hand_over, handed_over) = oneshot::channel();
        let task = SessionTask::new(
            Arc::clone(&session),
            Arc::clone(&self.inner),
            request.subscription.clone(),
            first,
            hand_over,
            inbox,
            random,
        );
        (session, task, handed_over)
    }

    /// Keeps rings in this store from now on, and gives out those that it held; a ring that nobody
    /// comes for within `linger` is dropped. To be called before the first client comes.
    pub fn keep(&self, opened: Opened, linger: Duration) {
        let keeper = Arc::new(Keeper::new(opened));
        if self.inner.keeper.set(Arc::clone(&keeper)).is_ok() {
            let stop = self.inner.keeping.clone();
            self.inner.tasks.spawn(async move {
                tokio::select! {
                    () = Arc::clone(&keeper).run(linger) => {}
                    () = stop.cancelled() => {}
                }
            });
        }
    }

    /// Writes to the store that failed; `None`: there is no store.
    #[must_use]
    pub fn store_failures(&self) -> Option<u64> {
        self.inner.keeper().map(|keeper| keeper.failures())
    }

    /// What operators should know.
    #[must_use]
    pub fn advices(&self) -> Vec<Advice> {
        self.inner.advices.all()
    }

    /// The sessions there are, in no order.
    #[must_use]
    pub fn sessions(&self) -> Vec<Arc<Session>> {
        self.inner.all()
    }

    /// Clients there are, those included that wait for a head.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.inner.clients.count()
    }

    /// Bytes that all logs hold.
    #[must_use]
    pub fn log_bytes(&self) -> usize {
        self.inner.budget.held()
    }

    /// Lets no new session be made, and says farewell to all clients over `window`: each is told a
    /// `retry` of its own and closed at its turn, so that they don't all come back at once (spec 11).
    pub async fn drain(&self, window: Duration) {
        self.inner.is_draining.store(true, Ordering::Release);
        // Whoever looked before the line above holds a shard's lock until its session is in the map.
        let mut leaving: Vec<_> = self
            .inner
            .all()
            .into_iter()
            .flat_map(|session| {
                let seats = session.audience.seats();
                seats.into_iter().map(move |seat| (Arc::clone(&session), seat)).collect::<Vec<_>>()
            })
            .collect();
        let mut random = self.inner.fork_random();
        for last in (1..leaving.len()).rev() {
            let other = usize::try_from(random.draw() % (last as u64 + 1)).unwrap_or(0);
            leaving.swap(last, other);
        }
        let started = tokio::time::Instant::now();
        let count = u32::try_from(leaving.len()).unwrap_or(u32::MAX).max(1);
        for (turn, (session, seat)) in (1u32..).zip(leaving) {
            let at = window.mul_f64(f64::from(turn) / f64::from(count));
            tokio::time::sleep_until(started + at).await;
            // Whoever leaves early comes back late: all differ, and none before half the window.
            let retry = window - at / 2;
            session.audience.say_farewell(seat, retry);
        }
    }

    /// Ends all sessions; returns when their tasks have ended.
    pub async fn stop(&self) {
        self.inner.is_draining.store(true, Ordering::Release);
        for session in self.inner.all() {
            session.end(EndReason::Draining);
        }
        self.inner.keeping.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
        if let Some(keeper) = self.inner.keeper() {
            Arc::clone(keeper).close().await;
        }
    }
}

impl Inner {
    fn shard(&self, key: &SessionKey) -> &Mutex<Sessions> {
        // The fingerprint is a keyed hash: any bits of it are evenly spread.
        let index = usize::try_from(key.fingerprint() % SHARDS as u128).unwrap_or(0);
        &self.shards[index]
    }

    fn matching(&self, sessions: &Sessions, request: &JoinRequest<'_>) -> Option<Arc<Session>> {
        let is_for = |session: &&Arc<Session>| match session.variant.get() {
            // Its first answer will tell.
            None => true,
            Some(variant) => self.matches_variant(variant, request.subscription),
        };
        sessions.get(request.key)?.iter().find(is_for).cloned()
    }

    pub(super) fn matches_variant(
        &self,
        variant: &super::shared::Variant,
        subscription: &SubscriptionRequest,
    ) -> bool {
        variant.fingerprint.is_some()
            && variant.rule.fingerprint(&self.hasher, subscription.headers()) == variant.fingerprint
    }

    pub(super) fn keeper(&self) -> Option<&Arc<Keeper>> {
        self.keeper.get()
    }

    pub(super) fn hasher(&self) -> &KeyHasher {
        &self.hasher
    }

    pub(super) fn key_rules(&self) -> &KeyRules {
        &self.key_rules
    }

    /// A session was made: perhaps one too many of its kind (spec 4.2).
    fn consider_advice(&self, request: &JoinRequest<'_>) {
        let subscription = request.subscription;
        let head = self.key_rules.session_head(&self.hasher, subscription.target(), subscription.headers());
        if let Some(advice) = self.advisor.lock().observe(head) {
            self.advices.give(Advice::NeverShared { path: advice.path, header: advice.header });
        }
    }

    fn permit(&self) -> Result<ClientPermit, Refusal> {
        self.clients.permit().ok_or(Refusal::TooManyClients)
    }

    /// Must be called under the shard's lock: it raises the count that keeps the session alive.
    fn sit(
        &self,
        session: &Arc<Session>,
        request: &JoinRequest<'_>,
        is_opener: bool,
        permit: ClientPermit,
    ) -> Reader {
        let log = session.log.read();
        let (joined, prelude) = match request.last_event_id {
            None => {
                let late_join = session.settings.late_join;
                // Once the stream is open, its greeting may have passed.
                let is_late = matches!(*session.phase.borrow(), Phase::Open(_));
                let greeting = (late_join == LateJoin::Fresh && is_late).then(|| {
                    let request = request.subscription.clone();
                    Box::new(Greeting::new(self.upstream.clone(), request, &session.settings))
                });
                (log.join(late_join), greeting.map(Prelude::Greeting))
            }
            Some(last) => match log.resume(last) {
                Ok(cursor) => (Joined { first: Vec::new(), cursor }, None),
                Err(missing) => {
                    // Where events came without ids, there is nothing to ask the upstream from.
                    let has_ids = log.upstream_id().is_some() || log.epoch().1 == 0;
                    let is_allowed = session.settings.catch_up && self.has_catch_ups;
                    let may_catch_up = is_allowed && has_ids && (!is_opener || log.is_restored());
                    self.sit_apart(session, &log, request.subscription, last, missing, may_catch_up)
                }
            },
        };
        if session.clients.fetch_add(1, Ordering::AcqRel) == 0 {
            session.alone_since.store(0, Ordering::Relaxed);
        }
        session.clients_changed.notify_one();
        Reader::join(Arc::clone(session), &log, joined, prelude, permit)
    }

    /// A client whose place is gone catches up where it can, else it is told of a gap.
    fn sit_apart(
        &self,
        session: &Arc<Session>,
        log: &Log,
        subscription: &SubscriptionRequest,
        last: &LastEventId,
        missing: Missing,
        may_catch_up: bool,
    ) -> (Joined, Option<Prelude>) {
        let catching_up = may_catch_up
            .then(|| CatchingUp::new(session, &self.catch_ups, &self.upstream, subscription, last, missing))
            .flatten();
        if let Some(catching_up) = catching_up {
            let prelude = Prelude::CatchingUp(Box::new(catching_up));
            return (log.join(LateJoin::Live), Some(prelude));
        }
        tracing::debug!(
            session = session.name(),
            reason = missing.reason.as_str(),
            missed = missing.missed,
            "a client's place is gone: it is told of a gap"
        );
        (log.join_after_gap(last, missing), None)
    }

    /// Removes the session if it has no client; `false`: somebody came.
    pub(super) fn remove_if_alone(&self, session: &Arc<Session>) -> bool {
        let mut shard = self.shard(&session.key).lock();
        let is_alone = session.clients() == 0;
        if is_alone {
            self.remove_from(&mut shard, session);
        }
        is_alone
    }

    /// Removes the session whoever is there: the next who comes finds a fresh one.
    pub(super) fn remove(&self, session: &Arc<Session>) {
        let mut shard = self.shard(&session.key).lock();
        self.remove_from(&mut shard, session);
    }

    fn remove_from(&self, sessions: &mut Sessions, session: &Arc<Session>) {
        let Entry::Occupied(mut entry) = sessions.entry(session.key.clone()) else { return };
        let before = entry.get().len();
        // By identity: a fresh session of the same key is another one's.
        entry.get_mut().retain(|known| !Arc::ptr_eq(known, session));
        self.sessions.fetch_sub(before - entry.get().len(), Ordering::Relaxed);
        if entry.get().is_empty() {
            entry.remove();
        }
    }

    pub(super) fn all(&self) -> Vec<Arc<Session>> {
        self.shards
            .iter()
            .flat_map(|shard| shard.lock().values().flatten().cloned().collect::<Vec<_>>())
            .collect()
    }

    fn fork_random(&self) -> Random {
        Random::new(self.random.lock().draw())
    }

    /// Milliseconds of this registry's life, never 0.
    pub(super) fn millis(&self, now: Instant) -> u64 {
        let millis = now.saturating_duration_since(self.started).as_millis();
        u64::try_from(millis).unwrap_or(u64::MAX).saturating_add(1)
    }
}
