//! What all simulated hosts share.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use ssecar::proto::random::Random;
use ssecar::session::Registry;

pub(crate) const UPSTREAM: &str = "upstream";
pub(crate) const PROXY: &str = "proxy";
pub(crate) const PORT: u16 = 80;
pub(crate) const PATH: &str = "/v1/sessions/1/events";

/// The storm goes on.
pub(crate) const NO_GOAL: u64 = u64::MAX;

/// What is the same for a whole run.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) clients: usize,
    /// The upstream gives ids, and replays from them.
    pub(crate) has_ids: bool,
    /// The upstream forgets everything in a crash, and gives the same ids again.
    pub(crate) forgets: bool,
    /// Events that the upstream sends again before what it was asked for.
    pub(crate) repeats: u64,
    pub(crate) catch_up: bool,
    pub(crate) replay_events: u64,
    pub(crate) payload_max: u64,
    /// Milliseconds.
    pub(crate) latency_max: u64,
    /// The mean time between two events, in milliseconds.
    pub(crate) pace: u64,
}

impl Scenario {
    pub(crate) fn of_seed(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x5eed);
        let mut one_of = |choices: &[u64]| choices[(random.draw() % choices.len() as u64) as usize];
        let has_ids = one_of(&[0, 1, 1]) == 1;
        Self {
            clients: one_of(&[1, 3, 6]) as usize,
            has_ids,
            forgets: has_ids && one_of(&[0, 0, 1]) == 1,
            repeats: one_of(&[0, 0, 1, 5]),
            catch_up: one_of(&[0, 1]) == 1,
            replay_events: one_of(&[3, 50]),
            payload_max: one_of(&[1, 200, 5_000]),
            latency_max: one_of(&[5, 50, 300]),
            pace: one_of(&[20, 100, 500]),
        }
    }
}

/// One published event.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Event {
    /// Counts all events of the run.
    pub(crate) number: u64,
    /// Counts the upstream's memories: a new one begins when it forgets.
    pub(crate) generation: u64,
}

/// What a client saw.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Line {
    Connected,
    Event { number: u64, id: String },
    Gap { reason: String },
    Ended,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) scenario: Scenario,
    is_told: bool,
    /// Every event ever.
    events: Mutex<Vec<Event>>,
    /// Where the upstream's present memory begins.
    memory: AtomicUsize,
    generation: AtomicU64,
    pub(crate) is_stalled: AtomicBool,
    /// Raised: each of the upstream's streams is cut off in the middle of an event.
    pub(crate) cuts: AtomicU64,
    /// Raised for a client: it cuts its own connection.
    pub(crate) client_cuts: Vec<AtomicU64>,
    /// The first event after the last fault, once there was that: everyone is to get as far.
    pub(crate) goal: AtomicU64,
    pub(crate) transcripts: Vec<Mutex<Vec<(Duration, Line)>>>,
    pub(crate) done: AtomicUsize,
    pub(crate) registry: Mutex<Option<Registry>>,
    connections: AtomicUsize,
    connections_most: AtomicUsize,
    pub(crate) proxy_starts: AtomicU64,
}

impl World {
    pub(crate) fn new(scenario: Scenario, is_told: bool) -> Self {
        let clients = scenario.clients;
        Self {
            scenario,
            is_told,
            events: Mutex::default(),
            memory: AtomicUsize::new(0),
            generation: AtomicU64::new(1),
            is_stalled: AtomicBool::new(false),
            cuts: AtomicU64::new(0),
            client_cuts: (0..clients).map(|_| AtomicU64::new(0)).collect(),
            goal: AtomicU64::new(NO_GOAL),
            transcripts: (0..clients).map(|_| Mutex::default()).collect(),
            done: AtomicUsize::new(0),
            registry: Mutex::default(),
            connections: AtomicUsize::new(0),
            connections_most: AtomicUsize::new(0),
            proxy_starts: AtomicU64::new(0),
        }
    }

    pub(crate) fn is_calm(&self) -> bool {
        self.goal.load(Ordering::Relaxed) != NO_GOAL
    }

    pub(crate) fn tell(&self, at: Duration, what: &str) {
        if self.is_told {
            println!("{:8.3} {what}", at.as_secs_f64());
        }
    }

    pub(crate) fn publish(&self, at: Duration) {
        let mut events = self.events.lock().unwrap();
        let number = events.len() as u64 + 1;
        events.push(Event { number, generation: self.generation.load(Ordering::Relaxed) });
        drop(events);
        self.tell(at, &format!("published {number}"));
    }

    pub(crate) fn newest(&self) -> u64 {
        self.events.lock().unwrap().len() as u64
    }

    pub(crate) fn event(&self, number: u64) -> Event {
        self.events.lock().unwrap()[number as usize - 1]
    }

    /// Events that the upstream remembers, from behind this place of its memory (0: all of it).
    pub(crate) fn remembered(&self, behind: u64) -> Vec<Event> {
        let events = self.events.lock().unwrap();
        let memory = self.memory.load(Ordering::Relaxed);
        events.get(memory + behind as usize..).unwrap_or_default().to_vec()
    }

    /// How many events the upstream remembers.
    pub(crate) fn memory_len(&self) -> u64 {
        self.newest() - self.memory.load(Ordering::Relaxed) as u64
    }

    /// The upstream's own id for an event: its place in the present memory.
    pub(crate) fn id_of(&self, event: Event) -> u64 {
        event.number - self.memory.load(Ordering::Relaxed) as u64
    }

    pub(crate) fn forget(&self) {
        self.memory.store(self.newest() as usize, Ordering::Relaxed);
        self.generation.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn note(&self, client: usize, at: Duration, line: Line) {
        self.tell(at, &format!("client {client}: {line:?}"));
        self.transcripts[client].lock().unwrap().push((at, line));
    }

    pub(crate) fn trace(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for transcript in &self.transcripts {
            transcript.lock().unwrap().hash(&mut hasher);
        }
        hasher.finish()
    }

    pub(crate) fn connected(&self) {
        let now = self.connections.fetch_add(1, Ordering::Relaxed) + 1;
        self.connections_most.fetch_max(now, Ordering::Relaxed);
    }

    pub(crate) fn disconnected(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn upstream_connections_most(&self) -> usize {
        self.connections_most.load(Ordering::Relaxed)
    }
}

/// What an event says: its number, and bytes that follow from it.
pub(crate) fn payload(number: u64, len_max: u64) -> String {
    let len = Random::new(number).draw() % len_max;
    format!("{number} {}", "abcdefghij".repeat(len as usize / 10 + 1).split_at(len as usize).0)
}
