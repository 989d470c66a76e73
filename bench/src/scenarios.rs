//! What is measured: each scenario is run with a fresh server, and answers named figures.

mod joining;
mod quiet;
mod steady;

use anyhow::Result;

use crate::clock::SECOND;
use crate::herd::{Request, Tally};
use crate::load::Interrupt;
use crate::peers::{Peer, Programs, Stage};

/// One thing to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// Processor time per delivery at a fixed rate.
    Rate { clients: usize, per_second: u64 },
    /// Deliveries per second, as fast as it goes.
    Saturation { clients: usize },
    /// From sending to reading, with few clients and few events.
    Latency,
    /// Memory of clients that get nothing.
    Memory { clients: usize, sessions: usize },
    /// All clients connect at once.
    Join { clients: usize },
    /// All clients come back at once, from an event of some time ago.
    Reconnect { clients: usize },
    /// Events that nobody reads.
    Ingest,
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

/// How long windows are, in nanoseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Windows {
    pub(crate) warm_up: u64,
    /// At a fixed rate, where that is what counts.
    pub(crate) rate: u64,
    /// Where it shows only how a figure grows.
    pub(crate) growth: u64,
    pub(crate) saturation: u64,
    pub(crate) latency: u64,
}

impl Windows {
    /// For figures that are to be told.
    pub(crate) const FULL: Self = Self {
        warm_up: SECOND,
        rate: 5 * SECOND,
        growth: 2 * SECOND,
        saturation: 3 * SECOND,
        latency: 5 * SECOND,
    };
    /// To see that all works.
    pub(crate) const QUICK: Self =
        Self { warm_up: SECOND / 2, rate: SECOND, growth: SECOND / 2, saturation: SECOND, latency: SECOND };
    /// For a test.
    #[cfg(test)]
    pub(crate) const SHORTEST: Self = Self {
        warm_up: SECOND / 5,
        rate: SECOND / 2,
        growth: SECOND / 2,
        saturation: SECOND / 2,
        latency: SECOND / 2,
    };
}

impl Work {
    /// Whether this server can do it here; if not, why.
    pub(crate) fn obstacle(self, peer: Peer, files_max: u64) -> Option<String> {
        let clients = match self {
            Self::Rate { clients, .. } | Self::Saturation { clients } => clients,
            Self::Memory { clients, .. } | Self::Join { clients } | Self::Reconnect { clients } => clients,
            Self::Latency | Self::Ingest => 0,
        };
        if peer == Peer::Direct && self != Self::Latency {
            return Some("not a server".to_owned());
        }
        if matches!(self, Self::Reconnect { .. }) && !peer.can_replay() {
            return Some("it does not replay".to_owned());
        }
        if self == Self::Ingest && peer != Peer::Ssecar {
            return Some("it has no count of what it took".to_owned());
        }
        let files = clients as u64 * if peer.is_plain_proxy() { 2 } else { 1 } + FILES_BESIDE;
        (files > files_max).then(|| format!("needs {files} open files, {files_max} are allowed"))
    }
}

/// Files that are open beside connections.
const FILES_BESIDE: u64 = 100;

/// Runs one thing once with a fresh server. `window` is for a fixed rate.
pub(crate) fn run(
    work: Work,
    peer: Peer,
    windows: Windows,
    programs: &Programs,
    interrupt: &Interrupt,
) -> Result<Outcome> {
    let mut stage = Stage::open(peer, programs, interrupt, work == Work::Ingest)?;
    let outcome = match work {
        Work::Rate { clients, per_second } => steady::rate(&mut stage, clients, per_second, windows),
        Work::Saturation { clients } => steady::saturation(&mut stage, clients, windows),
        Work::Latency => steady::latency(&mut stage, windows),
        Work::Memory { clients, sessions } => quiet::memory(&mut stage, clients, sessions),
        Work::Join { clients } => joining::join(&mut stage, clients),
        Work::Reconnect { clients } => joining::reconnect(&mut stage, clients),
        Work::Ingest => quiet::ingest(&mut stage, windows),
    };
    outcome.map_err(|error| error.context(format!("the server wrote: {}", stage.output())))
}

/// What a client of the one session asks for.
fn events(_: usize) -> Request {
    Request { path: "/events".to_owned() }
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
