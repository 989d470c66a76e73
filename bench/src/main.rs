//! Measures ssecar beside its peers: see `docs/benchmarks.md`.

mod accounting;
mod clock;
mod event;
mod herd;
mod load;
mod micro;
mod parser;
mod peers;
mod plan;
mod poll;
mod process;
mod publisher;
mod raw;
mod report;
mod results;
mod runner;
mod scenarios;
mod source;
mod svg;

#[cfg(test)]
mod end_to_end;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Result;
use clap::{Args, Parser, Subcommand, ValueEnum};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::clock::{MILLISECOND, SECOND, now};
use crate::load::Interrupt;
use crate::peers::{Peer, Programs};
use crate::plan::Scenario;
use crate::runner::Settings;
use crate::scenarios::{Windows, Work};

/// Measures ssecar beside its peers.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run scenarios and write what was found
    Run(RunArguments),
    /// Run one case with settings of your own, and print all its figures
    Try(TryArguments),
    /// The raw server, by itself
    Raw {
        #[arg(long)]
        listen: SocketAddr,
        #[arg(long)]
        upstream: SocketAddr,
    },
}

#[derive(Debug, Args)]
struct RunArguments {
    /// Short windows, one round, and no cases that show only growth: under three minutes
    #[arg(long)]
    quick: bool,
    /// Only these scenarios
    #[arg(long, value_enum, num_args = 1.., value_delimiter = ',')]
    only: Vec<Scenario>,
    /// Only these servers
    #[arg(long, value_enum, num_args = 1.., value_delimiter = ',')]
    peers: Vec<Peer>,
    /// Rounds of each case [default: 3, or 1 with --quick]
    #[arg(long)]
    rounds: Option<usize>,
    /// Minutes after which no further case is begun
    #[arg(long, default_value_t = 25)]
    minutes: u64,
    /// Write docs/benchmarks.md, as a full run of everything does
    #[arg(long)]
    docs: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum TryScenario {
    Rate,
    Saturation,
    Latency,
    Memory,
    Join,
    Reconnect,
    Ingest,
}

#[derive(Debug, Args)]
struct TryArguments {
    scenario: TryScenario,
    #[arg(long, default_value_t = 1_000)]
    clients: usize,
    #[arg(long, default_value_t = 50)]
    per_second: u64,
    #[arg(long, default_value_t = 1)]
    sessions: usize,
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Peer::Raw, Peer::Ssecar])]
    peers: Vec<Peer>,
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Milliseconds
    #[arg(long, default_value_t = 3_000)]
    window: u64,
}

fn main() -> ExitCode {
    match act(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ssecar-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn act(command: Command) -> Result<()> {
    match command {
        Command::Raw { listen, upstream } => raw::serve(listen, upstream),
        Command::Run(arguments) => {
            let (programs, interrupt) = (programs()?, interrupt()?);
            let is_partial = arguments.quick || !arguments.only.is_empty() || !arguments.peers.is_empty();
            let or_all = |only: Vec<Scenario>| if only.is_empty() { Scenario::ALL.to_vec() } else { only };
            let settings = Settings {
                scenarios: or_all(arguments.only),
                peers: if arguments.peers.is_empty() { Peer::ALL.to_vec() } else { arguments.peers },
                rounds: arguments.rounds.unwrap_or(if arguments.quick { 1 } else { 3 }),
                is_quick: arguments.quick,
                time_max: arguments.minutes * 60 * SECOND,
                writes_docs: arguments.docs || !is_partial,
            };
            runner::run(&settings, &programs, home(), &interrupt)
        }
        Command::Try(arguments) => try_one(&arguments),
    }
}

fn home() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `SSECAR_BIN` names another ssecar than the one beside.
fn programs() -> Result<Programs> {
    let ssecar = std::env::var_os("SSECAR_BIN")
        .map_or_else(|| home().join("../target/release/ssecar"), PathBuf::from)
        .canonicalize()?;
    Ok(Programs { ssecar, this: std::env::current_exe()?, peers: home().join("peers") })
}

/// Set by signals: servers are ended before this process is.
fn interrupt() -> Result<Interrupt> {
    let interrupt = Arc::new(AtomicBool::new(false));
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, interrupt.clone())?;
    }
    Ok(interrupt)
}

fn try_one(arguments: &TryArguments) -> Result<()> {
    let (programs, interrupt) = (programs()?, interrupt()?);
    process::prepare()?;
    let &TryArguments { clients, per_second, sessions, .. } = arguments;
    let work = match arguments.scenario {
        TryScenario::Rate => Work::Rate { clients, per_second },
        TryScenario::Saturation => Work::Saturation { clients },
        TryScenario::Latency => Work::Latency,
        TryScenario::Memory => Work::Memory { clients, sessions },
        TryScenario::Join => Work::Join { clients },
        TryScenario::Reconnect => Work::Reconnect { clients },
        TryScenario::Ingest => Work::Ingest,
    };
    let window = arguments.window * MILLISECOND;
    let windows =
        Windows { warm_up: SECOND, rate: window, growth: window, saturation: window, latency: window };
    for round in 0..arguments.rounds {
        for &peer in &arguments.peers {
            let start = now();
            let outcome = scenarios::run(work, peer, windows, &programs, &interrupt)?;
            println!("round {round} {:<9} {:.1} s", peer.name(), (now() - start) as f64 / SECOND as f64);
            for (name, value) in outcome.figures {
                println!("    {name:<36} {value:>12.3}");
            }
            if let Some(blemish) = outcome.blemish {
                println!("    NOT CLEAN: {blemish}");
            }
        }
    }
    Ok(())
}
