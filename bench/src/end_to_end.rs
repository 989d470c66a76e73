//! A short run of everything that needs no peer, against the raw server and ssecar: the figures are there, and nothing
//! is lost. Needs built programs, which `bench/check` names in `SSECAR_BIN` and `BENCH_BIN`; without them it is left out.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::peers::{Peer, Programs};
use crate::scenarios::{Outcome, Windows, Work, run};

fn measure(work: Work, peer: Peer) -> Outcome {
    let [ssecar, this] =
        ["SSECAR_BIN", "BENCH_BIN"].map(|name| PathBuf::from(std::env::var_os(name).unwrap()));
    let programs = Programs { ssecar, this, peers: crate::home().join("peers") };
    let outcome = run(work, peer, Windows::SHORTEST, &programs, &Arc::new(AtomicBool::new(false))).unwrap();
    assert_eq!(outcome.blemish, None, "{work:?} {peer:?}");
    outcome
}

fn figure(outcome: &Outcome, name: &str) -> f64 {
    outcome.figures.iter().find(|(figure, _)| *figure == name).unwrap_or_else(|| panic!("no {name}")).1
}

#[test]
#[ignore = "needs built programs: bench/check runs it"]
fn twenty_clients_lose_nothing_and_every_figure_is_there() {
    const CLIENTS: usize = 20;
    for peer in [Peer::Raw, Peer::Ssecar] {
        let rate = measure(Work::Rate { clients: CLIENTS, per_second: 50 }, peer);
        let per_second = figure(&rate, "deliveries per second");
        assert!((500.0..1_500.0).contains(&per_second), "20 clients, 50 events each: {per_second}");
        assert!(figure(&rate, "CPU per delivery (µs)") > 0.5, "a send costs more than that");
        let saturation = measure(Work::Saturation { clients: CLIENTS }, peer);
        assert!(figure(&saturation, "deliveries per second") > 2.0 * per_second);
        let latency = measure(Work::Latency, peer);
        assert!(figure(&latency, "p50 (µs)") > 1.0);
        measure(Work::Memory { clients: CLIENTS, sessions: 2 }, peer);
        let join = measure(Work::Join { clients: CLIENTS }, peer);
        assert_eq!(figure(&join, "requests to the source"), 1.0, "one subscription for all");
    }
    let reconnect = measure(Work::Reconnect { clients: CLIENTS }, Peer::Ssecar);
    assert!(figure(&reconnect, "all are up to date (ms)") > 0.0);
    assert!(figure(&measure(Work::Ingest, Peer::Ssecar), "events per second") > 1_000.0);
}
