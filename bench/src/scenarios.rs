//! What is measured.

use anyhow::Result;

use crate::accounting::{Cpu, Memory};
use crate::clock::{MILLISECOND, SECOND};
use crate::herd::{Request, Tally};
use crate::load::{Interrupt, Pace};
use crate::peers::{Peer, Programs, Stage};

/// Events under way at once in a closed loop: far below what ssecar lets a client lag behind.
pub(crate) const WINDOW: u64 = 256;
const WARM_UP: u64 = SECOND;

/// One thing to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// Processor time per delivery at a fixed rate.
    Rate { clients: usize, per_second: u64 },
    /// Deliveries per second, as fast as it goes.
    Saturation { clients: usize },
    /// Memory of clients that get nothing.
    Memory { clients: usize, sessions: usize },
}

/// A figure with its name.
pub(crate) type Figures = Vec<(&'static str, f64)>;

/// What a run gave.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) figures: Figures,
    /// Why the run does not count in full: loss, a closed connection.
    pub(crate) blemish: Option<String>,
}

/// How long windows are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Windows {
    /// At a fixed rate.
    pub(crate) rate: u64,
    /// At saturation.
    pub(crate) saturation: u64,
}

/// Runs one thing once with a fresh server.
pub(crate) fn run(
    work: Work,
    peer: Peer,
    windows: Windows,
    programs: &Programs,
    interrupt: &Interrupt,
) -> Result<Outcome> {
    let mut stage = Stage::open(peer, programs, interrupt)?;
    let outcome = match work {
        Work::Rate { clients, per_second } => rate(&mut stage, clients, per_second, windows.rate),
        Work::Saturation { clients } => saturation(&mut stage, clients, windows.saturation),
        Work::Memory { clients, sessions } => memory(&mut stage, clients, sessions),
    };
    outcome.map_err(|error| error.context(format!("the server wrote: {}", stage.output())))
}

fn events(_: usize) -> Request {
    Request { path: "/events".to_owned(), headers: String::new() }
}

fn rate(stage: &mut Stage, clients: usize, per_second: u64, window: u64) -> Result<Outcome> {
    stage.load.gather(clients, events)?;
    stage.load.prime()?;
    stage.load.pace(Pace::Every(SECOND / per_second));
    stage.load.run_for(WARM_UP)?;
    let mut figures = measure(stage, window)?;
    stage.load.pace(Pace::Silent);
    stage.load.settle()?;
    let tally = stage.load.herd()?.tally();
    figures.push(("latency p50 (µs)", tally.latency.value_at_quantile(0.5) as f64 / 1e3));
    figures.push(("latency p99 (µs)", tally.latency.value_at_quantile(0.99) as f64 / 1e3));
    Ok(Outcome { figures, blemish: blemish(tally) })
}

fn saturation(stage: &mut Stage, clients: usize, window: u64) -> Result<Outcome> {
    stage.load.gather(clients, events)?;
    stage.load.prime()?;
    stage.load.pace(Pace::Window(WINDOW));
    stage.load.run_for(WARM_UP)?;
    let figures = measure(stage, window)?;
    Ok(Outcome { figures, blemish: blemish(stage.load.herd()?.tally()) })
}

/// Counts for so long.
fn measure(stage: &mut Stage, window: u64) -> Result<Figures> {
    let (server, load) = (stage.processes(), [std::process::id()]);
    stage.load.herd()?.reset()?;
    let (server_before, load_before) = (Cpu::of(&server)?, Cpu::of(&load)?);
    stage.load.run_for(window)?;
    let server = Cpu::of(&server)?.since(server_before);
    let load = Cpu::of(&load)?.since(load_before);
    let tally = stage.load.herd()?.tally();
    let deliveries = tally.deliveries.max(1) as f64;
    let ticked = (server.user + server.system).max(1) as f64;
    let per_delivery = server.total as f64 / 1e3 / deliveries;
    Ok(vec![
        ("CPU per delivery (µs)", per_delivery),
        ("user (µs)", per_delivery * server.user as f64 / ticked),
        ("system (µs)", per_delivery * server.system as f64 / ticked),
        ("deliveries per second", tally.deliveries as f64 / (server.at as f64 / SECOND as f64)),
        ("server's share of its core", server.share()),
        ("load's share of its core", load.share()),
        ("ticks against scheduler", ticked / server.total.max(1) as f64),
        ("deliveries per read", deliveries / tally.reads.max(1) as f64),
    ])
}

fn memory(stage: &mut Stage, clients: usize, sessions: usize) -> Result<Outcome> {
    // Sockets of the run before are given back with a delay.
    stage.load.run_for(SECOND / 2)?;
    let before = Memory::of(&stage.processes())?;
    let request =
        |index: usize| Request { path: format!("/idle/{}", index % sessions), headers: String::new() };
    stage.load.gather(clients, request)?;
    stage.load.run_for(500 * MILLISECOND)?;
    let used = Memory::of(&stage.processes())?.since(before);
    let figures = vec![
        ("process per client (KiB)", used.process as f64 / clients as f64),
        ("kernel per client, both ends (KiB)", used.kernel as f64 / clients as f64),
        ("process with no client (KiB)", before.process as f64),
    ];
    Ok(Outcome { figures, blemish: blemish(stage.load.herd()?.tally()) })
}

fn blemish(tally: &Tally) -> Option<String> {
    if tally.is_complete() {
        return None;
    }
    Some(format!(
        "{} lost, {} repeated, {} gap notices, {} clients closed ({})",
        tally.lost,
        tally.repeated,
        tally.gaps,
        tally.closed,
        tally.first_error.as_deref().unwrap_or("no error")
    ))
}
