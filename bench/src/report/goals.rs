//! The goals, held against the figures of the same run.

use std::fmt::Write;

use crate::peers::Peer;
use crate::plan::Scenario;
use crate::results::Results;
use crate::svg::number;

/// One goal and what was found: a text, and whether it is reached.
type Finding = Option<(String, bool)>;

/// Writes the table of those goals for which there are figures.
pub(super) fn write(results: &Results, text: &mut String) {
    let findings: [(&str, Finding); 8] = [
        (
            "CPU per delivery at a fixed rate ≤ 1.1 × raw",
            against_raw(results, Scenario::Rate, |ratio| ratio <= 1.1),
        ),
        ("… and below every peer", beside_peers(results, Scenario::Rate, |own, peer| own < peer)),
        (
            "deliveries per second at saturation, 1 000 clients, ≥ 1.5 × raw",
            against_raw(results, Scenario::Saturation, |ratio| ratio >= 1.5),
        ),
        ("… and above every peer", beside_peers(results, Scenario::Saturation, |own, peer| own > peer)),
        ("process memory per idle client ≤ 2 KiB, below every peer", memory(results)),
        ("latency p99 at light load ≤ 1.2 × nginx", latency(results)),
        (
            "5 000 clients join: below every peer's time",
            beside_peers(results, Scenario::Join, |own, peer| own < peer),
        ),
        ("upstream connections of these 5 000 clients: 1", connections(results)),
    ];
    let decoder = ("decoder ≥ 1 GB/s of 200-byte events", decoder(results));
    let rows: Vec<String> = findings
        .into_iter()
        .chain([decoder])
        .filter_map(|(goal, finding)| {
            let (found, is_reached) = finding?;
            Some(format!("| {goal} | {found} | {} |", if is_reached { "yes" } else { "**no**" }))
        })
        .collect();
    if !rows.is_empty() {
        let _ =
            write!(text, "\n## Goals\n\n| goal | found | reached |\n|---|---|---|\n{}\n", rows.join("\n"));
    }
}

fn main_case(results: &Results, scenario: Scenario) -> Option<usize> {
    results.cases.iter().position(|case| case.scenario == scenario)
}

fn against_raw(results: &Results, scenario: Scenario, is_reached: impl Fn(f64) -> bool) -> Finding {
    let case = main_case(results, scenario)?;
    let ratio = results.ratio(case, Peer::Ssecar, Peer::Raw, scenario.columns()[0])?.median;
    Some((format!("{} × raw", number(ratio)), is_reached(ratio)))
}

/// Against the best of the others, raw apart: it is the floor, not a peer.
fn beside_peers(results: &Results, scenario: Scenario, is_better: impl Fn(f64, f64) -> bool) -> Finding {
    let case = main_case(results, scenario)?;
    let median = |peer| results.spread(case, peer, scenario.columns()[0]).map(|spread| spread.median);
    let own = median(Peer::Ssecar)?;
    let others = results
        .peers(case)
        .into_iter()
        .filter(|peer| !matches!(peer, Peer::Raw | Peer::Ssecar | Peer::Direct));
    let mut best: Option<(Peer, f64)> = None;
    for peer in others {
        let Some(value) = median(peer) else { continue };
        if best.is_none_or(|(_, best)| is_better(value, best)) {
            best = Some((peer, value));
        }
    }
    let (peer, value) = best?;
    Some((format!("{}; best peer: {}, {}", number(own), peer.name(), number(value)), is_better(own, value)))
}

fn memory(results: &Results) -> Finding {
    let (found, is_best) = beside_peers(results, Scenario::Memory, |own, peer| own < peer)?;
    let case = main_case(results, Scenario::Memory)?;
    let own = results.spread(case, Peer::Ssecar, Scenario::Memory.columns()[0])?.median;
    Some((format!("{found} KiB"), is_best && own <= 2.0))
}

fn latency(results: &Results) -> Finding {
    let case = main_case(results, Scenario::Latency)?;
    let ratio = results.ratio(case, Peer::Ssecar, Peer::Nginx, "p99 (µs)")?.median;
    Some((format!("{} × nginx", number(ratio)), ratio <= 1.2))
}

fn connections(results: &Results) -> Finding {
    let case = main_case(results, Scenario::Join)?;
    let most = results.spread(case, Peer::Ssecar, "requests to the source")?.most;
    Some((number(most), most == 1.0))
}

fn decoder(results: &Results) -> Finding {
    let case = main_case(results, Scenario::Micro)?;
    let speed = results.spread(case, Peer::Ssecar, "GB/s")?.median;
    Some((format!("{} GB/s", number(speed)), speed >= 1.0))
}
