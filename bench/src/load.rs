//! Source and herd in one loop on one core, so that they disturb the server as little, and as evenly, as can be.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

use crate::clock::{MILLISECOND, SECOND, now};
use crate::herd::{Herd, Request};
use crate::poll::{Owner, Poll, Ready};
use crate::publisher::Publisher;
use crate::source::{Answers, Source};

/// Clients that wait for their response head at once, where joining is not what is measured: fewer than any backlog.
const JOINING_AT_ONCE: usize = 50;
/// How often conditions are looked at while nothing happens.
const LOOK_EVERY: u64 = 5 * MILLISECOND;
/// The pause between two requests to a server that is not ready.
const LOOK_AGAIN: u64 = 100 * MILLISECOND;
/// The longest wait for clients to join, or to get what was sent.
const PATIENCE: u64 = 60 * SECOND;
/// The pause between events that only show whether each client is reached.
const PRIME_EVERY: u64 = 200 * MILLISECOND;

/// When events are sent.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    /// Not at all.
    Silent,
    /// One each so many nanoseconds; what was late is caught up on.
    Every(u64),
    /// One after a pause drawn evenly from zero to twice so many nanoseconds.
    Around(u64),
    /// So many, as long as the slowest client has not seen them.
    Window(u64),
    /// As many as the subscriber takes.
    Flood,
}

/// Sends between two looks at the herd: it must not wait for a source that has thousands of subscribers.
const SENDS_AT_ONCE: u64 = 64;
/// Events added at once while the subscriber takes all: enough to keep its socket full.
const FLOOD_BATCH: u64 = 512;

/// How events reach the server.
#[derive(Debug)]
pub(crate) enum Way {
    /// It subscribes to the source.
    Subscribe,
    /// They are published to it.
    Publish(Publisher),
}

/// Set by a signal: everything is to end.
pub(crate) type Interrupt = Arc<AtomicBool>;

/// Source, herd, and the loop.
#[derive(Debug)]
pub(crate) struct Load {
    poll: Poll,
    ready: Vec<Ready>,
    pub(crate) source: Source,
    herd: Option<Herd>,
    way: Way,
    pace: Pace,
    due: u64,
    random: u64,
    /// The session to which events go.
    path: String,
    interrupt: Interrupt,
}

impl Load {
    /// A source that listens. The herd comes when the server is there.
    pub(crate) fn new(answers: Answers, interrupt: Interrupt) -> Result<Self> {
        let poll = Poll::new()?;
        let source = Source::listen(answers, &poll)?;
        Ok(Self {
            poll,
            ready: Vec::new(),
            source,
            herd: None,
            way: Way::Subscribe,
            pace: Pace::Silent,
            due: 0,
            random: 0x9E37_79B9_7F4A_7C15,
            path: "/events".to_owned(),
            interrupt,
        })
    }

    /// Asks the server until it answers well: some listen before they can.
    pub(crate) fn wait_for_answer(&mut self, server: SocketAddr) -> Result<()> {
        let until = now() + PATIENCE;
        loop {
            self.face(server, "/events")?;
            self.storm(1, |_| Request { path: "/events".to_owned() })?;
            self.run_while("an answer", |load| {
                let herd = load.herd()?;
                Ok(herd.ready() == 0 && herd.tally().closed == 0)
            })?;
            if self.herd()?.tally().closed == 0 {
                return Ok(());
            }
            self.check(until, "a good answer")?;
            self.run_for(LOOK_AGAIN)?;
        }
    }

    /// Names the server.
    pub(crate) fn face(&mut self, server: SocketAddr, path: &str) -> Result<()> {
        self.herd = Some(Herd::new(server)?);
        self.path = path.to_owned();
        Ok(())
    }

    /// Publishes events instead of waiting for a subscription.
    pub(crate) fn publish_by(&mut self, publisher: Publisher) -> Result<()> {
        publisher.watch(&self.poll)?;
        self.way = Way::Publish(publisher);
        Ok(())
    }

    /// The session to which events go.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The clients.
    pub(crate) fn herd(&mut self) -> Result<&mut Herd> {
        self.herd.as_mut().context("no server was named")
    }

    /// Changes the pace.
    pub(crate) fn pace(&mut self, pace: Pace) {
        self.pace = pace;
        self.due = now();
    }

    /// Sends so many events to a session.
    pub(crate) fn send(&mut self, path: &str, count: u64) -> Result<()> {
        match &mut self.way {
            Way::Subscribe => self.source.send(path, count),
            Way::Publish(publisher) => {
                for _ in 0..count {
                    publisher.publish(self.source.next_stamp(path));
                }
                publisher.flush()
            }
        }
    }

    /// Connects clients until there are so many, and waits until all have their response head.
    /// `request` says what the n-th asks for.
    pub(crate) fn gather(&mut self, clients: usize, request: impl Fn(usize) -> Request) -> Result<()> {
        let until = now() + PATIENCE;
        loop {
            let herd = self.herd.as_mut().context("no server was named")?;
            while herd.len() < clients && herd.len() - herd.ready() < JOINING_AT_ONCE {
                herd.add(request(herd.len()), &self.poll)?;
            }
            if herd.ready() >= clients {
                return Ok(());
            }
            if let Some(error) = &herd.tally().first_error {
                anyhow::bail!("a client was not served: {error}");
            }
            self.check(until, "the clients' response heads")?;
            self.turn(LOOK_EVERY)?;
        }
    }

    /// Connects so many clients at once and does not wait.
    pub(crate) fn storm(&mut self, clients: usize, request: impl Fn(usize) -> Request) -> Result<()> {
        let herd = self.herd.as_mut().context("no server was named")?;
        for index in 0..clients {
            herd.add(request(index), &self.poll)?;
        }
        Ok(())
    }

    /// Drops all connections.
    pub(crate) fn drop_connections(&mut self) -> Result<Vec<(Request, Vec<u8>)>> {
        Ok(self.herd()?.drop_connections())
    }

    /// Connects dropped clients again, at once.
    pub(crate) fn come_back(&mut self, gone: Vec<(Request, Vec<u8>)>) -> Result<()> {
        let herd = self.herd.as_mut().context("no server was named")?;
        herd.come_back(gone, &self.poll)
    }

    /// Sends events until each client has got one, and all are up to date: from here on nothing may be missing.
    pub(crate) fn prime(&mut self) -> Result<()> {
        self.pace(Pace::Every(PRIME_EVERY));
        self.run_while("each client's first event", |load| Ok(load.herd()?.seen_by_all().is_none()))?;
        self.pace(Pace::Silent);
        self.settle()
    }

    /// Waits until all clients have all that was sent.
    pub(crate) fn settle(&mut self) -> Result<()> {
        self.run_while("all events to arrive", |load| {
            let sent = load.sent();
            Ok(load.herd()?.seen_by_all() != Some(sent) && load.herd()?.tally().closed == 0)
        })
    }

    /// The last event's number.
    pub(crate) fn sent(&mut self) -> u64 {
        self.source.sequence(&self.path)
    }

    /// Goes on for so many nanoseconds.
    pub(crate) fn run_for(&mut self, nanoseconds: u64) -> Result<()> {
        let until = now() + nanoseconds;
        while now() < until {
            self.check(u64::MAX, "")?;
            self.turn(until.saturating_sub(now()).min(LOOK_EVERY))?;
        }
        Ok(())
    }

    /// Goes on until all clients have seen an event, or so many nanoseconds are over.
    pub(crate) fn run_until_seen(&mut self, goal: Option<u64>, nanoseconds: u64) -> Result<()> {
        let until = now() + nanoseconds;
        while now() < until && self.herd()?.seen_by_all() < goal {
            self.check(u64::MAX, "")?;
            self.turn(LOOK_EVERY)?;
        }
        Ok(())
    }

    /// Goes on while something holds, [`PATIENCE`] at most.
    pub(crate) fn run_while(
        &mut self,
        what: &str,
        mut holds: impl FnMut(&mut Self) -> Result<bool>,
    ) -> Result<()> {
        let until = now() + PATIENCE;
        while holds(self)? {
            self.check(until, what)?;
            self.turn(LOOK_EVERY)?;
        }
        Ok(())
    }

    fn check(&self, until: u64, what: &str) -> Result<()> {
        anyhow::ensure!(!self.interrupt.load(Ordering::Relaxed), "interrupted");
        if now() < until {
            return Ok(());
        }
        let (ready, error) =
            self.herd.as_ref().map_or((0, None), |herd| (herd.ready(), herd.tally().first_error.clone()));
        anyhow::bail!("waited in vain for {what}; {ready} clients have a response; first error: {error:?}")
    }

    /// Sends what is due, waits so long at most, and takes what comes.
    fn turn(&mut self, wait_max: u64) -> Result<()> {
        let next = self.keep_pace()?;
        self.poll.wait(wait_max.min(next.saturating_sub(now())), &mut self.ready)?;
        let mut batch = std::mem::take(&mut self.ready);
        for ready in batch.drain(..) {
            match ready.owner {
                Owner::Listener => self.source.accept(&self.poll)?,
                Owner::Server(index) => self.source.handle(index, ready),
                Owner::Client(index) => {
                    if let Some(herd) = &mut self.herd {
                        herd.handle(index, ready.is_readable);
                    }
                }
                Owner::Publisher(_) => {
                    if let Way::Publish(publisher) = &mut self.way {
                        publisher.handle(ready)?;
                    }
                }
            }
        }
        self.ready = batch;
        Ok(())
    }

    /// Sends what is due and answers when to look again.
    fn keep_pace(&mut self) -> Result<u64> {
        let path = self.path.clone();
        match self.pace {
            Pace::Silent => Ok(u64::MAX),
            Pace::Every(pause) => {
                for _ in 0..self.events_at_once() {
                    if self.due > now() {
                        break;
                    }
                    self.send(&path, 1)?;
                    self.due += pause;
                }
                Ok(self.due)
            }
            Pace::Around(pause) => {
                if self.due <= now() {
                    self.send(&path, 1)?;
                    self.due += self.draw() % (2 * pause);
                }
                Ok(self.due)
            }
            Pace::Window(window) => {
                let sent = self.source.sequence(&path);
                let seen = self.herd()?.seen_by_all().unwrap_or(sent);
                let free = window.saturating_sub(sent.saturating_sub(seen));
                let at_once = self.events_at_once();
                if free > 0 {
                    self.send(&path, free.min(at_once))?;
                }
                Ok(if free > at_once { 0 } else { u64::MAX })
            }
            Pace::Flood => {
                if self.source.subscribers() == 0 || self.source.is_held_up() {
                    return Ok(u64::MAX);
                }
                self.send(&path, FLOOD_BATCH)?;
                Ok(0)
            }
        }
    }

    /// Events that may be sent before the herd is looked at again.
    fn events_at_once(&self) -> u64 {
        (SENDS_AT_ONCE / self.source.subscribers().max(1) as u64).max(1)
    }

    /// The next number of a xorshift sequence: the same pauses for every server.
    fn draw(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}
