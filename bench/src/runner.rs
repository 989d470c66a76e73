//! The order of a run: case by case, round by round, server by server, so that a machine that drifts meets all alike.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering;

use anyhow::{Context, Result};

use crate::clock::{SECOND, now};
use crate::load::Interrupt;
use crate::peers::{Peer, Programs};
use crate::plan::{Case, Scenario, Task, cases};
use crate::process;
use crate::report;
use crate::results::{Results, Run};
use crate::scenarios::{self, Windows};

/// Rounds of cases that only show how a figure grows.
const GROWTH_ROUNDS_MAX: usize = 2;

/// What a run is to do.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) scenarios: Vec<Scenario>,
    pub(crate) peers: Vec<Peer>,
    pub(crate) rounds: usize,
    pub(crate) is_quick: bool,
    /// After so many nanoseconds nothing more is begun.
    pub(crate) time_max: u64,
    /// Whether the document of the project is to hold the figures.
    pub(crate) writes_docs: bool,
}

/// Runs all of it, and writes what was found after each case.
pub(crate) fn run(
    settings: &Settings,
    programs: &Programs,
    home: &Path,
    interrupt: &Interrupt,
) -> Result<()> {
    let micro = if settings.scenarios.contains(&Scenario::Micro) { Some(build_micro(home)?) } else { None };
    process::prepare()?;
    let mut results = Results {
        cases: cases(&settings.scenarios, settings.is_quick),
        runs: Vec::new(),
        versions: Vec::new(),
        machine: machine(settings),
        omissions: Vec::new(),
    };
    let mut peers = Vec::new();
    for &peer in &settings.peers {
        match peer.version(programs) {
            Ok(version) => {
                results.versions.push((peer, version));
                peers.push(peer);
            }
            Err(error) => results.omissions.push(format!("{}: {error:#}", peer.name())),
        }
    }
    results.versions.sort_by_key(|(peer, _)| peer.place());
    let folder = home.join("results");
    std::fs::create_dir_all(&folder)?;
    let until = now() + settings.time_max;
    for at in 0..results.cases.len() {
        let case = results.cases[at].clone();
        if now() >= until {
            results.omissions.push(format!("{}, {}: no time was left", case.scenario.title(), case.name));
            continue;
        }
        match case.task {
            Task::Core(work) => {
                progress(&case, "…");
                let micro = micro.as_deref().context("the micro-benchmark was not built")?;
                let outcome = work.run(micro, has_valgrind())?;
                told(&outcome.figures, outcome.blemish.as_deref(), case.scenario);
                let (figures, blemish) = (outcome.figures, outcome.blemish);
                results.runs.push(Run { case: at, peer: Peer::Ssecar, round: 0, figures, blemish });
            }
            Task::Server(_) => rounds(settings, &peers, at, until, programs, interrupt, &mut results)?,
        }
        results.save(&folder.join("results.json"))?;
    }
    let (charts, link) = (folder.join("charts"), "charts");
    let table = report::write(&results, &charts, link)?;
    std::fs::write(folder.join("table.md"), table)?;
    println!("wrote {}", folder.join("table.md").display());
    if settings.writes_docs {
        let docs = home.join("../docs");
        let text = report::write(&results, &docs.join("benchmarks"), "benchmarks")?;
        report::insert(&docs.join("benchmarks.md"), &text)?;
        println!("wrote {}", docs.join("benchmarks.md").display());
    }
    Ok(())
}

/// All rounds of one case. Each round begins with another server.
fn rounds(
    settings: &Settings,
    peers: &[Peer],
    at: usize,
    until: u64,
    programs: &Programs,
    interrupt: &Interrupt,
    results: &mut Results,
) -> Result<()> {
    let case = &results.cases[at].clone();
    let Task::Server(work) = case.task else { return Ok(()) };
    let rounds = if case.is_growth { settings.rounds.min(GROWTH_ROUNDS_MAX) } else { settings.rounds };
    let mut windows = if settings.is_quick { Windows::QUICK } else { Windows::FULL };
    if case.is_growth {
        windows.rate = windows.growth;
    }
    let mut able = Vec::new();
    for &peer in peers {
        match work.obstacle(peer, process::files_max()) {
            None => able.push(peer),
            Some(why) if why.starts_with("needs") => {
                results.omissions.push(format!(
                    "{}, {}, {}: {why}",
                    case.scenario.title(),
                    case.name,
                    peer.name()
                ));
            }
            Some(_) => {} // Said in the text.
        }
    }
    for round in 0..rounds {
        if now() >= until {
            let (title, name) = (case.scenario.title(), &case.name);
            results
                .omissions
                .push(format!("{title}, {name}: rounds from {} on; no time was left", round + 1));
            break;
        }
        for place in 0..able.len() {
            let peer = able[(place + round) % able.len()];
            progress(case, &format!("round {}, {:<9}", round + 1, peer.name()));
            let (figures, blemish) = match scenarios::run(work, peer, windows, programs, interrupt) {
                Ok(outcome) => (outcome.figures, outcome.blemish),
                Err(error) if interrupt.load(Ordering::Relaxed) => return Err(error),
                Err(error) => (Vec::new(), Some(format!("{error:#}"))),
            };
            told(&figures, blemish.as_deref(), case.scenario);
            results.runs.push(Run { case: at, peer, round, figures, blemish });
        }
    }
    Ok(())
}

fn progress(case: &Case, what: &str) {
    print!("{:>5} s  {:<10} {:<32} {what} ", now() / SECOND, case.scenario.name(), case.name);
    // Only the look of the progress depends on it.
    let _ = std::io::stdout().flush();
}

fn told(figures: &scenarios::Figures, blemish: Option<&str>, scenario: Scenario) {
    let shown = scenario.columns().iter().take(2).filter_map(|name| {
        let (name, value) = figures.iter().find(|(figure, _)| figure == name)?;
        Some(format!("{} {name}", crate::svg::number(*value)))
    });
    let shown: Vec<String> = shown.collect();
    println!(
        "{}{}",
        shown.join(", "),
        blemish.map(|blemish| format!("  NOT CLEAN: {blemish}")).unwrap_or_default()
    );
}

fn has_valgrind() -> bool {
    Command::new("valgrind").arg("--version").output().is_ok()
}

/// Builds what runs under callgrind. Only here: it needs the whole proxy as a library.
fn build_micro(home: &Path) -> Result<PathBuf> {
    let status = Command::new("cargo")
        .args(["build", "--release", "--locked", "--package", "ssecar-micro"])
        .current_dir(home)
        .status()
        .context("cargo")?;
    anyhow::ensure!(status.success(), "the micro-benchmark does not build");
    let target = std::env::current_exe()?;
    let folder = target.parent().context("no folder")?;
    Ok(folder.join("ssecar-micro"))
}

fn machine(settings: &Settings) -> Vec<(&'static str, String)> {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown");
    let cores = info.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let pinned = if process::has_two_cores() {
        "the server on core 0; source and clients on core 1"
    } else {
        "all on one core: figures hold only beside each other"
    };
    let length =
        if settings.is_quick { "a quick run: to see that all works, not to be told" } else { "a full run" };
    vec![
        ("processor", format!("{}, {cores} cores", model.trim_start_matches([' ', '\t', ':']))),
        ("kernel", format!("Linux {}", kernel.trim())),
        ("pinning", pinned.to_owned()),
        ("run", format!("{length}; rounds: {}", settings.rounds)),
    ]
}
