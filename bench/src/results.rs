//! What was measured, and what can be said of it: medians with their spread, ratios within rounds.

use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use crate::peers::Peer;
use crate::plan::Case;
use crate::scenarios::Figures;

/// One run of one case.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    /// The place of the case.
    pub(crate) case: usize,
    pub(crate) peer: Peer,
    pub(crate) round: usize,
    pub(crate) figures: Figures,
    /// Why it does not count in full, or why there are no figures.
    pub(crate) blemish: Option<String>,
}

/// A median with its spread.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    /// Of some values; `None` where there are none.
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (&least, &most) = (values.first()?, values.last()?);
        let middle = values.len() / 2;
        let median = if values.len().is_multiple_of(2) {
            f64::midpoint(values[middle - 1], values[middle])
        } else {
            values[middle]
        };
        Some(Self { median, least, most })
    }
}

/// All runs, and on what they ran.
#[derive(Debug)]
pub(crate) struct Results {
    pub(crate) cases: Vec<Case>,
    pub(crate) runs: Vec<Run>,
    /// Servers and their versions.
    pub(crate) versions: Vec<(Peer, String)>,
    /// What machine it was, in words.
    pub(crate) machine: Vec<(&'static str, String)>,
    /// What was left out, and why.
    pub(crate) omissions: Vec<String>,
}

impl Results {
    fn runs(&self, case: usize, peer: Peer) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(move |run| run.case == case && run.peer == peer)
    }

    /// Servers that ran this case, in the order of the tables.
    pub(crate) fn peers(&self, case: usize) -> Vec<Peer> {
        Peer::ALL.into_iter().filter(|&peer| self.runs(case, peer).next().is_some()).collect()
    }

    /// A figure over all rounds.
    pub(crate) fn spread(&self, case: usize, peer: Peer, figure: &str) -> Option<Spread> {
        Spread::of(self.runs(case, peer).filter_map(|run| value(run, figure)).collect())
    }

    /// A figure as a multiple of another server's in the same round.
    pub(crate) fn ratio(&self, case: usize, peer: Peer, base: Peer, figure: &str) -> Option<Spread> {
        let ratios = self.runs(case, peer).filter_map(|run| {
            let other = self.runs(case, base).find(|other| other.round == run.round)?;
            let (value, base) = (value(run, figure)?, value(other, figure)?);
            (base > 0.0).then_some(value / base)
        });
        Spread::of(ratios.collect())
    }

    /// What was wrong with runs of a server in this case.
    pub(crate) fn blemishes(&self, case: usize, peer: Peer) -> Vec<&str> {
        self.runs(case, peer).filter_map(|run| run.blemish.as_deref()).collect()
    }

    /// All of it.
    pub(crate) fn to_json(&self) -> Value {
        let runs: Vec<Value> = self.runs.iter().map(|run| self.run_json(run)).collect();
        let mut medians = Vec::new();
        for (case, about) in self.cases.iter().enumerate() {
            for peer in self.peers(case) {
                for figure in about.scenario.columns() {
                    let Some(spread) = self.spread(case, peer, figure) else { continue };
                    let ratio = self.ratio(case, peer, Peer::Raw, figure).map(spread_json);
                    medians.push(json!({
                        "scenario": about.scenario.name(), "case": about.name, "server": peer.name(), "figure": figure,
                        "value": spread_json(spread), "times raw": ratio,
                    }));
                }
            }
        }
        let versions: serde_json::Map<String, Value> =
            self.versions.iter().map(|(peer, version)| (peer.name().to_owned(), json!(version))).collect();
        let machine: serde_json::Map<String, Value> =
            self.machine.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        json!({"machine": machine, "versions": versions, "left out": self.omissions, "medians": medians, "runs": runs})
    }

    fn run_json(&self, run: &Run) -> Value {
        let about = &self.cases[run.case];
        let figures: serde_json::Map<String, Value> =
            run.figures.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        json!({
            "scenario": about.scenario.name(), "case": about.name, "server": run.peer.name(), "round": run.round,
            "figures": figures, "blemish": run.blemish,
        })
    }

    /// Writes all of it.
    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        std::fs::write(path, serde_json::to_string_pretty(&self.to_json())? + "\n")?;
        Ok(())
    }
}

fn value(run: &Run, figure: &str) -> Option<f64> {
    run.figures.iter().find(|(name, _)| *name == figure).map(|&(_, value)| value)
}

fn spread_json(spread: Spread) -> Value {
    json!({"median": spread.median, "least": spread.least, "most": spread.most})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Scenario, cases};

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        assert_eq!(Spread::of(vec![3.0, 1.0, 2.0]), Some(Spread { median: 2.0, least: 1.0, most: 3.0 }));
        assert_eq!(Spread::of(vec![4.0, 1.0]), Some(Spread { median: 2.5, least: 1.0, most: 4.0 }));
        assert_eq!(Spread::of(Vec::new()), None);
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let run = |peer, round, value| Run {
            case: 0,
            peer,
            round,
            figures: vec![("CPU per delivery (µs)", value)],
            blemish: None,
        };
        let results = Results {
            cases: cases(&[Scenario::Rate], true),
            // The machine was slow in the second round; the ratio does not notice. The third has no partner.
            runs: vec![
                run(Peer::Raw, 0, 5.0),
                run(Peer::Ssecar, 0, 6.0),
                run(Peer::Raw, 1, 50.0),
                run(Peer::Ssecar, 1, 60.0),
                run(Peer::Ssecar, 2, 1.0),
            ],
            versions: Vec::new(),
            machine: Vec::new(),
            omissions: Vec::new(),
        };
        let ratio = results.ratio(0, Peer::Ssecar, Peer::Raw, "CPU per delivery (µs)").unwrap();
        assert_eq!((ratio.least, ratio.most), (1.2, 1.2));
        assert_eq!(results.spread(0, Peer::Ssecar, "CPU per delivery (µs)").unwrap().median, 6.0);
        assert_eq!(results.peers(0), [Peer::Raw, Peer::Ssecar]);
        assert_eq!(results.to_json()["medians"][0]["times raw"]["median"], 1.0);
    }
}
