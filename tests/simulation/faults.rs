//! Which fault when: one generator, by the seed, beside the network's own.

use std::sync::atomic::Ordering;
use std::time::Duration;

use ssecar::proto::random::Random;
use turmoil::Sim;

use crate::world::{PROXY, UPSTREAM, World};

/// Faults go on for so long; then everyone must become current.
const STORM: Duration = Duration::from_secs(40);

/// Between two faults, at most.
const QUIET_MAX_MS: u64 = 4_000;

/// How long a fault lasts, at most.
const LASTS_MAX_MS: u64 = 6_000;

/// Between two events after the last fault.
const CALM_PACE: Duration = Duration::from_secs(2);

/// So that the run begins with everyone in place, and the judge has something to judge.
const BEGINNING: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    UpstreamCrash,
    UpstreamStall,
    UpstreamHold,
    UpstreamPartition,
    UpstreamCut,
    ProxyCrash,
    ClientCut(usize),
    ClientHold(usize),
    ClientPartition(usize),
}

pub(crate) struct Faults {
    random: Random,
    next: Duration,
    next_event: Duration,
    active: Vec<(Duration, Fault)>,
    count: usize,
}

impl Faults {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            next: BEGINNING,
            next_event: BEGINNING,
            active: Vec::new(),
            count: 0,
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    fn millis(&mut self, max: u64) -> Duration {
        Duration::from_millis(1 + self.random.draw() % max)
    }

    /// Looks what is due at this moment of simulated time.
    pub(crate) fn step(&mut self, sim: &mut Sim<'_>, world: &World) {
        let now = sim.elapsed();
        if world.is_calm() {
            // Without ids, what comes while a subscription is opened anew is missed: it goes on.
            if now >= self.next_event && world.done.load(Ordering::Relaxed) < world.scenario.clients {
                world.publish(now);
                self.next_event = now + CALM_PACE;
            }
            return;
        }
        if now >= STORM {
            for (_, fault) in std::mem::take(&mut self.active) {
                end(fault, sim, world, now);
            }
            world.publish(now);
            world.goal.store(world.newest(), Ordering::Relaxed);
            self.next_event = now + CALM_PACE;
            world.tell(now, "calm");
            return;
        }
        if now >= self.next_event {
            // A service that is down publishes nothing.
            if sim.is_host_running(UPSTREAM) {
                world.publish(now);
            }
            self.next_event = now + self.millis(2 * world.scenario.pace);
        }
        let (over, active) = std::mem::take(&mut self.active).into_iter().partition(|(end, _)| *end <= now);
        self.active = active;
        for (_, fault) in over {
            end(fault, sim, world, now);
        }
        if now >= self.next {
            self.next = now + self.millis(QUIET_MAX_MS);
            let fault = self.draw(world.scenario.clients);
            // The same thing does not fail twice at once.
            if self.active.iter().all(|(_, other)| !is_of_one_thing(*other, fault)) {
                self.count += 1;
                begin(fault, sim, world, now);
                let lasts = self.millis(LASTS_MAX_MS);
                self.active.push((now + lasts, fault));
            }
        }
    }

    fn draw(&mut self, clients: usize) -> Fault {
        let client = (self.random.draw() % clients as u64) as usize;
        match self.random.draw() % 9 {
            0 => Fault::UpstreamCrash,
            1 => Fault::UpstreamStall,
            2 => Fault::UpstreamHold,
            3 => Fault::UpstreamPartition,
            4 => Fault::UpstreamCut,
            5 => Fault::ProxyCrash,
            6 => Fault::ClientCut(client),
            7 => Fault::ClientHold(client),
            _ => Fault::ClientPartition(client),
        }
    }
}

/// Whether two faults would be of one host or one link.
fn is_of_one_thing(one: Fault, other: Fault) -> bool {
    let thing = |fault| match fault {
        Fault::UpstreamCrash | Fault::UpstreamHold | Fault::UpstreamPartition => 0,
        Fault::UpstreamStall | Fault::UpstreamCut => 1,
        Fault::ProxyCrash => 2,
        Fault::ClientCut(client) | Fault::ClientHold(client) | Fault::ClientPartition(client) => 3 + client,
    };
    thing(one) == thing(other)
}

fn client(index: usize) -> String {
    format!("client{index}")
}

fn begin(fault: Fault, sim: &mut Sim<'_>, world: &World, now: Duration) {
    world.tell(now, &format!("begins: {fault:?}"));
    match fault {
        Fault::UpstreamCrash => {
            sim.crash(UPSTREAM);
            if world.scenario.forgets {
                world.forget();
            }
        }
        Fault::UpstreamStall => world.is_stalled.store(true, Ordering::Relaxed),
        Fault::UpstreamHold => sim.hold(UPSTREAM, PROXY),
        Fault::UpstreamPartition => sim.partition(UPSTREAM, PROXY),
        Fault::UpstreamCut => {
            world.cuts.fetch_add(1, Ordering::Relaxed);
        }
        Fault::ProxyCrash => sim.crash(PROXY),
        Fault::ClientCut(index) => {
            world.client_cuts[index].fetch_add(1, Ordering::Relaxed);
        }
        Fault::ClientHold(index) => sim.hold(client(index), PROXY),
        Fault::ClientPartition(index) => sim.partition(client(index), PROXY),
    }
}

fn end(fault: Fault, sim: &mut Sim<'_>, world: &World, now: Duration) {
    world.tell(now, &format!("ends: {fault:?}"));
    match fault {
        Fault::UpstreamCrash => sim.bounce(UPSTREAM),
        Fault::UpstreamStall => world.is_stalled.store(false, Ordering::Relaxed),
        Fault::UpstreamHold => sim.release(UPSTREAM, PROXY),
        Fault::UpstreamPartition => sim.repair(UPSTREAM, PROXY),
        Fault::UpstreamCut | Fault::ClientCut(_) => {}
        Fault::ProxyCrash => sim.bounce(PROXY),
        Fault::ClientHold(index) => sim.release(client(index), PROXY),
        Fault::ClientPartition(index) => sim.repair(client(index), PROXY),
    }
}
