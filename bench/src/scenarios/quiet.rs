//! Clients without events, and events without clients.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::accounting::{Cpu, Memory};
use crate::clock::SECOND;
use crate::event::EVENT_BYTES;
use crate::herd::Request;
use crate::load::Pace;
use crate::peers::Stage;
use crate::source::Writes;

use super::{Outcome, Windows, blemish, events};

/// Time for what comes late: sockets of an earlier run that are given back, buffers that are freed.
const REST: u64 = SECOND / 2;
/// The longest wait for the metrics.
const METRICS_PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn memory(stage: &mut Stage, clients: usize, sessions: usize) -> Result<Outcome> {
    stage.load.run_for(REST)?;
    let before = Memory::of(&stage.processes())?;
    stage.load.gather(clients, |index| Request { path: format!("/idle/{}", index % sessions) })?;
    stage.load.run_for(REST)?;
    let used = Memory::of(&stage.processes())?.since(before);
    let figures = vec![
        ("process per client (KiB)", used.process as f64 / clients as f64),
        ("kernel per client, both ends (KiB)", used.kernel as f64 / clients as f64),
        ("process with no client (KiB)", before.process as f64),
    ];
    Ok(Outcome { figures, blemish: blemish(stage.load.herd()?.tally()) })
}

/// The session lives on for a while after its only client has left: it records.
pub(super) fn ingest(stage: &mut Stage, windows: Windows) -> Result<Outcome> {
    let admin = stage.admin.context("no admin listener")?;
    stage.load.gather(1, events)?;
    stage.load.prime()?;
    stage.load.drop_connections()?;
    stage.load.source.write(Writes::Together);
    stage.load.pace(Pace::Flood);
    stage.load.run_for(windows.warm_up)?;
    let server = stage.processes();
    let (taken, before) = (received(admin)?, Cpu::of(&server)?);
    stage.load.run_for(windows.saturation)?;
    let (taken, used) = (received(admin)? - taken, Cpu::of(&server)?.since(before));
    let per_second = taken / (used.at as f64 / SECOND as f64);
    let figures = vec![
        ("events per second", per_second),
        ("CPU per event (ns)", used.total as f64 / taken.max(1.0)),
        ("GB/s", per_second * EVENT_BYTES as f64 / 1e9),
        ("server's share of its core", used.share()),
    ];
    Ok(Outcome { figures, blemish: None })
}

/// Events that ssecar says it has received.
fn received(admin: SocketAddr) -> Result<f64> {
    let mut socket = TcpStream::connect(admin).context("the admin listener")?;
    socket.set_read_timeout(Some(METRICS_PATIENCE))?;
    socket.write_all(
        format!("GET /metrics HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut text = String::new();
    socket.read_to_string(&mut text).context("the metrics")?;
    let samples = text.lines().filter(|line| line.starts_with("ssecar_events_received_total"));
    let values: Vec<f64> = samples.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
    anyhow::ensure!(!values.is_empty(), "the metrics count no events");
    Ok(values.iter().sum())
}
