//! Measures ssecar beside its peers: see `docs/benchmarks.md`.

mod accounting;
mod clock;
mod event;
mod herd;
mod load;
mod parser;
mod peers;
mod poll;
mod process;
mod publisher;
mod raw;
mod scenarios;
mod source;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Result;
use clap::{Parser, Subcommand};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::clock::{MILLISECOND, SECOND};
use crate::peers::{Peer, Programs};
use crate::scenarios::{Windows, Work};

#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The raw server.
    Raw {
        #[arg(long)]
        listen: SocketAddr,
        #[arg(long)]
        upstream: SocketAddr,
    },
    /// One scenario, printed as it goes.
    Try {
        /// rate, saturation or memory
        scenario: String,
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
    },
}

fn main() -> Result<()> {
    let interrupt = Arc::new(AtomicBool::new(false));
    match Arguments::parse().command {
        Command::Raw { listen, upstream } => raw::serve(listen, upstream),
        Command::Try { scenario, clients, per_second, sessions, peers, rounds, window } => {
            for signal in [SIGHUP, SIGINT, SIGTERM] {
                signal_hook::flag::register(signal, interrupt.clone())?;
            }
            let this = std::env::current_exe()?;
            let home = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
            let ssecar = std::env::var_os("SSECAR_BIN")
                .map_or_else(|| home.join("../target/release/ssecar"), PathBuf::from);
            let programs = Programs { ssecar, this, peers: home.join("peers") };
            process::prepare()?;
            let work = match scenario.as_str() {
                "rate" => Work::Rate { clients, per_second },
                "saturation" => Work::Saturation { clients },
                "memory" => Work::Memory { clients, sessions },
                other => anyhow::bail!("no scenario {other}"),
            };
            let windows = Windows { rate: window * MILLISECOND, saturation: window * MILLISECOND };
            for round in 0..rounds {
                for &peer in &peers {
                    let start = clock::now();
                    match scenarios::run(work, peer, windows, &programs, &interrupt) {
                        Ok(outcome) => {
                            println!(
                                "round {round} {:<8} {:.1} s",
                                peer.name(),
                                (clock::now() - start) as f64 / SECOND as f64
                            );
                            for (name, value) in outcome.figures {
                                println!("    {name:<36} {value:>12.3}");
                            }
                            if let Some(blemish) = outcome.blemish {
                                println!("    NOT CLEAN: {blemish}");
                            }
                        }
                        Err(error) => println!("round {round} {} FAILED: {error:#}", peer.name()),
                    }
                }
            }
            Ok(())
        }
    }
}
