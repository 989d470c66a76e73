//! Deterministic simulation: the proxy's own code on [turmoil]'s network and clock, with an upstream and
//! clients that fail in every way they can. One seed decides all: the same seed is the same run.
//!
//! Real here: gateway, sessions, log, delivery, hyper on both sides, the upstream client and its pool.
//! Not here: sockets and the listener (see `tests/it` and `tests/faults`).
//!
//! `scripts/simulate --seeds 10000` runs the long campaign, `scripts/simulate --seed N` one seed with its
//! story told.
//!
//! | module | what it is |
//! |---|---|
//! | `world` | what all hosts share: what was published, which faults are on |
//! | `upstream` | the service: replays, repeats, forgets, stalls, cuts off in the middle of an event |
//! | `proxy` | ssecar |
//! | `client` | a reader that comes back, and what it saw |
//! | `judge` | reads a client's transcript against what was published |
//! | `faults` | which fault when |
//!
//! [turmoil]: https://docs.rs/turmoil

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on fails")]

mod client;
mod faults;
mod judge;
mod proxy;
mod upstream;
mod world;

use std::sync::Arc;
use std::time::Duration;

use judge::Verdict;
use world::{Scenario, World};

/// Seeds in the ordinary test run.
const SEEDS_SHORT: u64 = 40;

/// The first seed, unless told otherwise.
const SEED_FIRST: u64 = 1;

/// Simulated time after which a run that has not ended is a failure: faults stop at half of it.
const TIME_MAX: Duration = Duration::from_secs(240);

/// What one run came to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    verdict: Verdict,
    /// Of all transcripts, with the simulated time of each line.
    trace: u64,
    upstream_connections_most: usize,
    faults: usize,
}

fn run(seed: u64, is_told: bool) -> Result<Outcome, String> {
    let scenario = Scenario::of_seed(seed);
    if is_told {
        println!("seed {seed}: {scenario:?}");
    }
    let world = Arc::new(World::new(scenario, is_told));
    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .simulation_duration(TIME_MAX)
        .tick_duration(Duration::from_millis(5))
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(world.scenario.latency_max))
        .tcp_capacity(1 << 16)
        .build();
    upstream::start(&mut sim, &world);
    proxy::start(&mut sim, &world);
    client::start(&mut sim, &world);
    let mut faults = faults::Faults::new(seed);
    loop {
        let has_ended = sim.step().map_err(|error| format!("it does not end well: {error}"))?;
        if has_ended {
            break;
        }
        faults.step(&mut sim, &world);
    }
    let verdict = judge::all(&world)?;
    let most = world.upstream_connections_most();
    if !world.scenario.catch_up && most > 1 {
        return Err(format!("{most} upstream connections at once for one session"));
    }
    Ok(Outcome { verdict, trace: world.trace(), upstream_connections_most: most, faults: faults.count() })
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn nothing_is_lost_or_doubled_untold_whatever_fails() {
    if let Some(seed) = number("SSECAR_SIMULATION_SEED") {
        let outcome = run(seed, true);
        println!("seed {seed}: {outcome:#?}");
        outcome.unwrap();
        return;
    }
    let seeds = number("SSECAR_SIMULATION_SEEDS").unwrap_or(SEEDS_SHORT);
    let mut total = Outcome::default();
    let mut failed = Vec::new();
    for seed in SEED_FIRST..SEED_FIRST + seeds {
        match run(seed, false) {
            Ok(outcome) => {
                total.verdict.add(&outcome.verdict);
                total.faults += outcome.faults;
                total.upstream_connections_most =
                    total.upstream_connections_most.max(outcome.upstream_connections_most);
            }
            Err(error) => {
                println!(
                    "seed {seed} failed: {error}\n  again, with its story: scripts/simulate --seed {seed}"
                );
                failed.push(seed);
            }
        }
        if seed % 500 == 0 {
            println!("{seed} seeds, {} failed", failed.len());
        }
    }
    println!("{seeds} seeds, {} faults: {:?}", total.faults, total.verdict);
    assert!(failed.is_empty(), "failing seeds: {failed:?}");
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in [3, 17] {
        assert_eq!(run(seed, false).unwrap(), run(seed, false).unwrap(), "seed {seed}");
    }
}
