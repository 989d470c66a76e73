//! Clients that are there and events that flow: at a rate, as fast as it goes, and few of them.

use anyhow::Result;

use crate::accounting::Cpu;
use crate::clock::{MILLISECOND, SECOND};
use crate::load::Pace;
use crate::peers::Stage;

use super::{Figures, Outcome, Windows, blemish, events};

/// Events under way at once in a closed loop: far below what ssecar lets a client lag behind. With many clients fewer,
/// or a server that sends to all before it reads again takes longer for one window than is measured.
const WINDOW: u64 = 256;
const DELIVERIES_UNDER_WAY: u64 = 256_000;
/// Windows that each client must have seen, or else the count is of the herd's buffers; and the longest wait for that.
const WINDOWS_SEEN: u64 = 2;
const SEEN_PATIENCE: u64 = 6 * SECOND;
/// Time for what is under way when nothing moves any more.
const STALLED_REST: u64 = SECOND;
/// Light load.
const FEW_CLIENTS: usize = 10;
const FEW_EVENTS_EVERY: u64 = 50 * MILLISECOND;

pub(super) fn rate(stage: &mut Stage, clients: usize, per_second: u64, windows: Windows) -> Result<Outcome> {
    stage.load.gather(clients, events)?;
    stage.load.prime()?;
    stage.load.pace(Pace::Every(SECOND / per_second));
    stage.load.run_for(windows.warm_up)?;
    let mut figures = measure(stage, windows.rate, 0)?;
    stage.load.pace(Pace::Silent);
    stage.load.settle()?;
    let tally = stage.load.herd()?.tally();
    figures.push(("latency p50 (µs)", tally.latency.value_at_quantile(0.5) as f64 / 1e3));
    figures.push(("latency p99 (µs)", tally.latency.value_at_quantile(0.99) as f64 / 1e3));
    Ok(Outcome { figures, blemish: blemish(tally) })
}

pub(super) fn saturation(stage: &mut Stage, clients: usize, windows: Windows) -> Result<Outcome> {
    stage.load.gather(clients, events)?;
    stage.load.prime()?;
    let window = WINDOW.min(DELIVERIES_UNDER_WAY / clients as u64);
    stage.load.pace(Pace::Window(window));
    stage.load.run_for(windows.warm_up)?;
    let goal = stage.load.herd()?.seen_by_all().map(|seen| seen + WINDOWS_SEEN * window);
    let figures = measure(stage, windows.saturation, WINDOWS_SEEN * window)?;
    stage.load.pace(Pace::Silent);
    let is_stalled = stage.load.herd()?.seen_by_all() < goal;
    if is_stalled {
        // A lost event stops the loop, and shows only when another follows it.
        stage.load.run_for(STALLED_REST)?;
        let path = stage.load.path().to_owned();
        stage.load.send(&path, 1)?;
        stage.load.run_for(STALLED_REST)?;
    }
    let blemish = blemish(stage.load.herd()?.tally());
    let stalled = || Some("too slow: not all clients saw two windows of events".to_owned());
    Ok(Outcome { figures, blemish: blemish.or_else(|| is_stalled.then(stalled).flatten()) })
}

pub(super) fn latency(stage: &mut Stage, windows: Windows) -> Result<Outcome> {
    stage.load.gather(FEW_CLIENTS, events)?;
    stage.load.prime()?;
    stage.load.pace(Pace::Around(FEW_EVENTS_EVERY));
    stage.load.run_for(windows.warm_up)?;
    stage.load.herd()?.reset()?;
    stage.load.run_for(windows.latency)?;
    stage.load.pace(Pace::Silent);
    stage.load.settle()?;
    let tally = stage.load.herd()?.tally();
    let at = |quantile| tally.latency.value_at_quantile(quantile) as f64 / 1e3;
    let figures = vec![
        ("p50 (µs)", at(0.5)),
        ("p99 (µs)", at(0.99)),
        ("p99.9 (µs)", at(0.999)),
        ("deliveries", tally.deliveries as f64),
    ];
    Ok(Outcome { figures, blemish: blemish(tally) })
}

/// Counts for so long, and, with patience, until all clients have seen so many events.
fn measure(stage: &mut Stage, window: u64, events: u64) -> Result<Figures> {
    let (server, load) = (stage.processes(), [std::process::id()]);
    stage.load.herd()?.reset()?;
    let (server_before, load_before) = (Cpu::of(&server)?, Cpu::of(&load)?);
    let goal = stage.load.herd()?.seen_by_all().map(|seen| seen + events);
    stage.load.run_for(window)?;
    stage.load.run_until_seen(goal, SEEN_PATIENCE)?;
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
