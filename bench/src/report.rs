//! The results for people: tables in Markdown, charts beside them.

mod goals;

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};

use crate::peers::Peer;
use crate::plan::Scenario;
use crate::results::{Results, Spread};
use crate::svg::{Bar, Chart, Group, number};

/// Between these lines of a document the figures stand; the rest is written by hand.
const BEGIN: &str = "<!-- figures: begin (written by bench/run) -->";
const END: &str = "<!-- figures: end -->";

/// Writes the charts into `charts`, and answers the text; `link` is how it names that folder.
pub(crate) fn write(results: &Results, charts: &Path, link: &str) -> Result<String> {
    std::fs::create_dir_all(charts)?;
    let mut text = String::new();
    about(results, &mut text);
    goals::write(results, &mut text);
    for scenario in Scenario::ALL {
        let cases: Vec<usize> =
            (0..results.cases.len()).filter(|&case| results.cases[case].scenario == scenario).collect();
        let Some(&first) = cases.first() else { continue };
        if cases.iter().all(|&case| results.peers(case).is_empty()) {
            continue;
        }
        let _ = write!(text, "\n## {}\n\n{}\n\n", scenario.title(), scenario.note());
        if scenario == Scenario::Micro {
            micro_table(results, &cases, &mut text);
            continue;
        }
        if results.peers(first).len() > 1 {
            let file = format!("{}.svg", scenario.name());
            std::fs::write(charts.join(&file), chart(results, scenario, &cases).to_svg())?;
            let _ = write!(text, "![{}]({link}/{file})\n\n", scenario.title());
        }
        table(results, first, &mut text);
        if cases.len() > 1 {
            growth_table(results, &cases, &mut text);
        }
        blemishes(results, &cases, &mut text);
    }
    Ok(text)
}

/// Puts the text into a document, between its two lines.
pub(crate) fn insert(document: &Path, text: &str) -> Result<()> {
    let old = std::fs::read_to_string(document).with_context(|| document.display().to_string())?;
    let (before, rest) = old.split_once(BEGIN).context("the document has no place for figures")?;
    let (_, after) = rest.split_once(END).context("the place for figures has no end")?;
    std::fs::write(document, format!("{before}{BEGIN}\n\n{}\n{END}{after}", text.trim()))?;
    Ok(())
}

fn about(results: &Results, text: &mut String) {
    text.push_str("## Machine and versions\n\n| | |\n|---|---|\n");
    for (name, value) in &results.machine {
        let _ = writeln!(text, "| {name} | {value} |");
    }
    for (peer, version) in &results.versions {
        let _ = writeln!(text, "| {} ({}) | {version} |", peer.name(), peer.kind());
    }
    if !results.omissions.is_empty() {
        let _ = writeln!(text, "\nLeft out:\n");
    }
    for omission in &results.omissions {
        let _ = writeln!(text, "- {omission}");
    }
}

fn with_spread(spread: Spread) -> String {
    if spread.least == spread.most {
        return number(spread.median);
    }
    format!("{} ({}–{})", number(spread.median), number(spread.least), number(spread.most))
}

/// All figures of one case.
fn table(results: &Results, case: usize, text: &mut String) {
    let about = &results.cases[case];
    let columns = about.scenario.columns();
    let peers = results.peers(case);
    let has_raw = peers.contains(&Peer::Raw) && peers.len() > 1;
    let _ = writeln!(text, "{}, median (least–most):\n", about.name);
    let mut head = format!("| | {} |", columns.join(" | "));
    let mut rule = "|---|".to_owned() + &"---:|".repeat(columns.len());
    if has_raw {
        let _ = write!(head, " {}, × raw |", columns[0]);
        rule.push_str("---:|");
    }
    let _ = writeln!(text, "{head}\n{rule}");
    for peer in peers {
        let cells = columns
            .iter()
            .map(|figure| results.spread(case, peer, figure).map_or_else(|| "–".to_owned(), with_spread));
        let _ = write!(text, "| {} | {} |", mark(results, case, peer), cells.collect::<Vec<_>>().join(" | "));
        if has_raw {
            let ratio = results.ratio(case, peer, Peer::Raw, columns[0]);
            let _ = write!(text, " {} |", ratio.map_or_else(|| "–".to_owned(), with_spread));
        }
        text.push('\n');
    }
}

/// The first figure of all cases side by side.
fn growth_table(results: &Results, cases: &[usize], text: &mut String) {
    let figure = results.cases[cases[0]].scenario.columns()[0];
    let names: Vec<&str> = cases.iter().map(|&case| results.cases[case].name.as_str()).collect();
    let _ = writeln!(text, "\nHow it grows: {figure}, and × raw.\n\n| | {} |", names.join(" | "));
    let _ = writeln!(text, "|---|{}", "---:|".repeat(cases.len()));
    for peer in Peer::ALL {
        if !cases.iter().any(|&case| results.peers(case).contains(&peer)) {
            continue;
        }
        let cells = cases.iter().map(|&case| {
            let Some(spread) = results.spread(case, peer, figure) else { return "–".to_owned() };
            match results.ratio(case, peer, Peer::Raw, figure) {
                Some(ratio) if peer != Peer::Raw => {
                    format!("{}, ×{}", number(spread.median), number(ratio.median))
                }
                Some(_) | None => number(spread.median),
            }
        });
        let _ = writeln!(text, "| {} | {} |", peer.name(), cells.collect::<Vec<_>>().join(" | "));
    }
}

fn micro_table(results: &Results, cases: &[usize], text: &mut String) {
    let columns = Scenario::Micro.columns();
    let _ = writeln!(text, "| | {} |\n|---|{}", columns.join(" | "), "---:|".repeat(columns.len()));
    for &case in cases {
        let cells = columns.iter().map(|figure| {
            results
                .spread(case, Peer::Ssecar, figure)
                .map_or_else(|| "–".to_owned(), |spread| number(spread.median))
        });
        let _ =
            writeln!(text, "| {} | {} |", results.cases[case].name, cells.collect::<Vec<_>>().join(" | "));
    }
}

/// A server's name, with a sign where something was wrong with it.
fn mark(results: &Results, case: usize, peer: Peer) -> String {
    let sign = if results.blemishes(case, peer).is_empty() { "" } else { " †" };
    format!("{}{sign}", peer.name())
}

fn blemishes(results: &Results, cases: &[usize], text: &mut String) {
    for &case in cases {
        for peer in results.peers(case) {
            if let Some(first) = results.blemishes(case, peer).first() {
                let (name, count) = (&results.cases[case].name, results.blemishes(case, peer).len());
                let _ = writeln!(
                    text,
                    "\n† {}, {name}: not clean in {count} of its runs; the first: {first}.",
                    peer.name()
                );
            }
        }
    }
}

fn chart(results: &Results, scenario: Scenario, cases: &[usize]) -> Chart {
    let figure = scenario.columns()[0];
    // More than three series can't be told apart.
    let cases = &cases[..cases.len().min(3)];
    let groups = Peer::ALL.into_iter().map(|peer| {
        let bars = cases.iter().enumerate().filter_map(|(series, &case)| {
            let Spread { median, least, most } = results.spread(case, peer, figure)?;
            Some(Bar { series, value: median, least, most })
        });
        Group { name: peer.name().to_owned(), is_own: peer == Peer::Ssecar, bars: bars.collect() }
    });
    Chart {
        title: scenario.title().to_owned(),
        figure: figure.to_owned(),
        series: cases.iter().map(|&case| results.cases[case].name.clone()).collect(),
        is_logarithmic: scenario.is_logarithmic(),
        groups: groups.filter(|group| !group.bars.is_empty()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::cases;
    use crate::results::Run;

    #[test]
    fn a_report_has_its_tables_its_charts_and_what_went_wrong() {
        let run = |peer, value, blemish: Option<&str>| Run {
            case: 0,
            peer,
            round: 0,
            figures: vec![("CPU per delivery (µs)", value)],
            blemish: blemish.map(str::to_owned),
        };
        let results = Results {
            cases: cases(&[Scenario::Rate], true),
            runs: vec![run(Peer::Raw, 5.0, None), run(Peer::Ssecar, 5.25, Some("7 lost"))],
            versions: vec![(Peer::Ssecar, "ssecar 0.1.0".to_owned())],
            machine: vec![("cores", "2".to_owned())],
            omissions: Vec::new(),
        };
        let folder = std::env::temp_dir().join(format!("ssecar-bench-report-{}", std::process::id()));
        let text = write(&results, &folder, "charts").unwrap();
        assert!(text.contains("| ssecar † | 5.25 | – | – | – | – | 1.05 |"), "{text}");
        assert!(text.contains("not clean in 1 of its runs; the first: 7 lost"), "{text}");
        assert!(text.contains("(charts/rate.svg)") && folder.join("rate.svg").exists());
        let document = folder.join("document.md");
        std::fs::write(&document, format!("before\n{BEGIN}\nstale figures\n{END}\nafter\n")).unwrap();
        insert(&document, &text).unwrap();
        insert(&document, &text).unwrap();
        let document = std::fs::read_to_string(document).unwrap();
        assert!(
            document.starts_with("before\n")
                && document.ends_with("after\n")
                && !document.contains("stale figures")
        );
        assert_eq!(document.matches("## Machine").count(), 1, "twice is as once");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
