//! Many clients at once: those that come, and those that come back.

use anyhow::Result;

use crate::clock::{MILLISECOND, SECOND, now};
use crate::load::Pace;
use crate::peers::Stage;

use super::{Outcome, blemish, events};

/// Events while clients join.
const EVENT_EVERY: u64 = SECOND / 20;
/// Events that were sent while clients were away: fewer than any ring holds.
const MISSED: u64 = 20;

pub(super) fn join(stage: &mut Stage, clients: usize) -> Result<Outcome> {
    let before = stage.load.source.subscriptions();
    stage.load.pace(Pace::Every(EVENT_EVERY));
    stage.load.storm(clients, events)?;
    stage.load.run_while("all clients' first event", |load| {
        let herd = load.herd()?;
        Ok(herd.with_event() + (herd.tally().closed as usize) < clients)
    })?;
    stage.load.pace(Pace::Silent);
    let subscriptions = stage.load.source.subscriptions() - before;
    let times = stage.load.herd()?.join_times()?;
    let milliseconds = |time: u64| time as f64 / MILLISECOND as f64;
    let figures = vec![
        ("all have an event (ms)", milliseconds(times.max())),
        ("half have an event (ms)", milliseconds(times.value_at_quantile(0.5))),
        ("requests to the source", subscriptions as f64),
    ];
    Ok(Outcome { figures, blemish: blemish(stage.load.herd()?.tally()) })
}

pub(super) fn reconnect(stage: &mut Stage, clients: usize) -> Result<Outcome> {
    stage.load.gather(clients, events)?;
    stage.load.prime()?;
    let before = stage.load.source.subscriptions();
    let gone = stage.load.drop_connections()?;
    let path = stage.load.path().to_owned();
    stage.load.send(&path, MISSED)?;
    let start = now();
    stage.load.come_back(gone)?;
    stage.load.settle()?;
    let all = now() - start;
    let subscriptions = stage.load.source.subscriptions() - before;
    let times = stage.load.herd()?.join_times()?;
    let figures = vec![
        ("all are up to date (ms)", all as f64 / MILLISECOND as f64),
        ("half have an event (ms)", times.value_at_quantile(0.5) as f64 / MILLISECOND as f64),
        ("requests to the source", subscriptions as f64),
    ];
    Ok(Outcome { figures, blemish: blemish(stage.load.herd()?.tally()) })
}
