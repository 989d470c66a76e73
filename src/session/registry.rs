//! Finds the session of a request, or makes it; ends it exactly once (spec 4.4, 4.5).
//!
//! Who lives is the roster's to say; here a session is made, and a client given its place in it.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
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
use super::catching_up::{Asker, CatchingUp};
use super::greeting::Greeting;
use super::joining::Joining;
use super::keeping::Keeper;
use super::permit::{ClientLimits, ClientPermit, Clients, Full};
use super::reader::{Prelude, Reader};
use super::roster::{Member, Roster, Shard};
use super::shared::{ORDERS_MAX, Phase, Session};
use super::task::{First, SessionTask};
use crate::config::{RouteSettings, SessionsConfig};
use crate::message::session_key::{KeyHasher, KeyRules, SessionKey, SharingAdvisor};
use crate::metrics::{Limit, Metrics};
use crate::proto::event_id::{Epoch, LastEventId};
use crate::proto::log::{EndReason, Joined, LateJoin, Log, LogSettings, Missing};
use crate::proto::random::Random;
use crate::store::Opened;
use crate::telemetry::{Purpose, Tracer};
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
    roster: Roster<Session>,
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
    pub(super) metrics: Arc<Metrics>,
    pub(super) tracer: Tracer,
    tasks: TaskTracker,
    /// Cancelled: the store is written for the last time elsewhere.
    keeping: CancellationToken,
    random: Mutex<Random>,
    seed: u64,
    created: AtomicU64,
    started: Instant,
}

/// What sessions and forwarded requests have in common.
#[derive(Debug, Clone)]
pub struct Parts {
    /// For credentials in keys.
    pub hasher: KeyHasher,
    /// What tells sessions apart.
    pub key_rules: Arc<KeyRules>,
    /// The one upstream.
    pub upstream: UpstreamClient,
    /// Whether it is there.
    pub health: Arc<Health>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Begins spans.
    pub tracer: Tracer,
}

/// A client that wants to read a session.
#[derive(Debug)]
pub struct JoinRequest<'a> {
    /// Which session.
    pub key: &'a SessionKey,
    /// The settings of its path.
    pub settings: &'a Arc<RouteSettings>,
    /// What it saw last.
    pub last_event_id: Option<&'a LastEventId>,
    /// What to ask the upstream for, if nobody did yet.
    pub subscription: &'a SubscriptionRequest,
    /// What the client itself would ask for, with its own credentials: what `Vary` names is compared
    /// with it, and what is fetched for this client alone is asked by it.
    pub own: &'a Arc<SubscriptionRequest>,
    /// Whether the session may subscribe by it as well, as the upstream said yes to it (spec 8.7).
    pub vouches: bool,
    /// Where the client is (`--max-clients-per-ip`).
    pub ip: IpAddr,
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
    /// `--max-clients-per-ip` is reached.
    TooManyClientsOfIp,
    /// `--max-sessions` is reached.
    TooManySessions,
    /// ssecar is stopping.
    Draining,
}

impl Registry {
    /// No session yet. `seed` must be random where ids shall not repeat after a restart.
    #[must_use]
    pub fn new(config: &SessionsConfig, clients: ClientLimits, parts: Parts, seed: u64) -> Self {
        let Parts { hasher, key_rules, upstream, health, metrics, tracer } = parts;
        let inner = Inner {
            roster: Roster::new(SHARDS, config.sessions_max),
            clients: Clients::new(clients),
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
            metrics,
            tracer,
            tasks: TaskTracker::new(),
            keeping: CancellationToken::new(),
            random: Mutex::new(Random::new(seed)),
            seed,
            created: AtomicU64::new(0),
            started: tokio::time::Instant::now().into_std(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Takes a place in the session, which is made if need be.
    ///
    /// # Errors
    /// [`Refusal`]: there is none, or a limit is reached.
    pub fn join(&self, request: &JoinRequest<'_>, if_absent: IfAbsent) -> Result<Joining, Refusal> {
        let inner = &self.inner;
        let shard = inner.roster.lock(spread(request.key));
        let mut shard = shard.ok_or_else(|| inner.refuse(Limit::Draining, Refusal::Draining))?;
        let is_for = |session: &Session| match session.variant.get() {
            // Its first answer will tell.
            None => true,
            Some(variant) => inner.matches_variant(variant, request.own),
        };
        if let Some(session) = shard.find(request.key, is_for) {
            let permit = inner.permit(request.ip)?;
            let reader = inner.sit(&shard, &session, request, false, permit);
            return Ok(Joining { reader, handed_over: None });
        }
        let first = match if_absent {
            IfAbsent::Refuse => return Err(Refusal::Absent),
            IfAbsent::Open => First::Ask,
            IfAbsent::Adopt(response) => First::Adopted(response),
        };
        let permit = inner.permit(request.ip)?;
        if !shard.has_room() {
            return Err(inner.refuse(Limit::Sessions, Refusal::TooManySessions));
        }
        let (session, task, handed_over) = self.create(request, first);
        inner.metrics.sessions_created.add(1);
        shard.add(&session);
        let reader = inner.sit(&shard, &session, request, true, permit);
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
        let session = Arc::new(Session::new(
            self.inner.next_id(),
            request.key.clone(),
            Arc::clone(settings),
            log,
            orders,
            Arc::clone(&self.inner.metrics),
        ));
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

    /// A place for a client that has no session yet.
    ///
    /// # Errors
    /// [`Refusal`]: a limit is reached.
    pub fn permit(&self, ip: IpAddr) -> Result<ClientPermit, Refusal> {
        self.inner.permit(ip)
    }

    /// A random number.
    #[must_use]
    pub fn random(&self) -> u64 {
        self.inner.fork_random().draw()
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

    /// How many there may be: `--max-clients`.
    #[must_use]
    pub fn clients_max(&self) -> usize {
        self.inner.clients.max()
    }

    /// Bytes that all logs hold.
    #[must_use]
    pub fn log_bytes(&self) -> usize {
        self.inner.budget.held()
    }

    /// The session of this id.
    #[must_use]
    pub fn session(&self, id: u64) -> Option<Arc<Session>> {
        self.sessions().into_iter().find(|session| session.id() == id)
    }

    /// How many sessions there are.
    #[must_use]
    pub fn session_count(&self) -> usize {
        self.inner.roster.len()
    }

    /// Bytes that all logs may hold: `--memory-budget`.
    #[must_use]
    pub fn memory_budget(&self) -> usize {
        self.inner.budget.bytes_max()
    }

    /// Lets no new session be made, and says farewell to all clients over `window`: each is told a
    /// `retry` of its own and closed at its turn, so that they don't all come back at once (spec 11).
    pub async fn drain(&self, window: Duration) {
        self.inner.roster.close();
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
        // From nought: the first, who may be the only one, need not wait.
        for (turn, (session, seat)) in (0u32..).zip(leaving) {
            let at = window.mul_f64(f64::from(turn) / f64::from(count));
            tokio::time::sleep_until(started + at).await;
            // Whoever leaves early comes back late: all differ, and none before half the window.
            let retry = window - at / 2;
            session.audience.say_farewell(seat, retry);
        }
    }

    /// Ends all sessions; returns when their tasks have ended.
    pub async fn stop(&self) {
        self.inner.roster.close();
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

    fn permit(&self, ip: IpAddr) -> Result<ClientPermit, Refusal> {
        self.clients.permit(ip).map_err(|full| match full {
            Full::All => self.refuse(Limit::Clients, Refusal::TooManyClients),
            Full::Ip => self.refuse(Limit::ClientsPerIp, Refusal::TooManyClientsOfIp),
        })
    }

    fn refuse(&self, limit: Limit, refusal: Refusal) -> Refusal {
        self.metrics.refused(limit);
        refusal
    }

    /// Gives a client its place in a session that was found or added in this shard.
    fn sit(
        &self,
        shard: &Shard<'_, Session>,
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
                let is_late = matches!(session.phase.get(), Phase::Open(_));
                let greeting = (late_join == LateJoin::Fresh && is_late).then(|| {
                    let request = SubscriptionRequest::clone(request.own);
                    let asking =
                        self.tracer.clone().ask(request, Purpose::Greet, self.upstream.clone(), None);
                    Box::new(Greeting::new(asking, session))
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
                    self.sit_apart(session, &log, request.own, last, missing, may_catch_up)
                }
            },
        };
        self.metrics.clients_joined.add(1);
        if shard.enter(session) == 0 {
            session.alone_since.store(0, Ordering::Relaxed);
        }
        session.clients_changed.notify_one();
        let voucher = request.vouches.then(|| Arc::clone(request.own));
        if let Some(voucher) = &voucher {
            session.vouchers.add(voucher);
        }
        Reader::join(Arc::clone(session), &log, joined, prelude, permit, voucher)
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
            .then(|| {
                let asker = Asker {
                    permits: Arc::clone(&self.catch_ups),
                    upstream: self.upstream.clone(),
                    tracer: self.tracer.clone(),
                };
                CatchingUp::new(session, asker, subscription, last, missing)
            })
            .flatten();
        if let Some(catching_up) = catching_up {
            let prelude = Prelude::CatchingUp(Box::new(catching_up));
            return (log.join(LateJoin::Live), Some(prelude));
        }
        self.metrics.gaps.add(missing.reason, 1);
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
        self.roster.remove_if_alone(spread(&session.key), session)
    }

    /// Removes the session whoever is there: the next who comes finds a fresh one.
    pub(super) fn remove(&self, session: &Arc<Session>) {
        self.roster.remove(spread(&session.key), session);
    }

    pub(super) fn all(&self) -> Vec<Arc<Session>> {
        self.roster.all()
    }

    /// Names the next session. Not in order, so that what was noted before a restart names nothing after it.
    fn next_id(&self) -> u64 {
        let count = self.created.fetch_add(1, Ordering::Relaxed);
        Random::new((!self.seed).wrapping_add(count)).draw()
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

/// A key's fingerprint is a keyed hash: any bits of it are evenly spread.
fn spread(key: &SessionKey) -> usize {
    key.fingerprint() as usize
}

impl Member for Session {
    type Key = SessionKey;

    fn key(&self) -> &SessionKey {
        &self.key
    }

    fn clients(&self) -> &AtomicUsize {
        &self.clients
    }
}
