//! Instructions per event, by callgrind: what the pure core of ssecar does, without noise.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::scenarios::{Figures, Outcome};

/// Events under callgrind, and twice as many: the difference has no start and no end in it.
const COUNTED_EVENTS: u64 = 20_000;
/// Events by the clock: a second of work or so.
const TIMED_EVENTS: u64 = 4_000_000;
/// Runs by the clock; the best is the one that was disturbed least.
const TIMED_RUNS: usize = 3;

/// What is done so many times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Micro {
    /// A stream is cut into events.
    Decoder,
    /// Events are decoded, numbered, encoded and stored.
    Record,
    /// Stored events are read by a client that is up to date.
    Read,
}

impl Micro {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Decoder, Self::Record, Self::Read];

    /// What it is, for tables.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Decoder => "decoder: a stream is cut into events",
            Self::Record => "decoder, encoder and log: all that is done once per event",
            Self::Read => "log: an event is read by one client that is up to date",
        }
    }

    fn argument(self) -> &'static str {
        match self {
            Self::Decoder => "decoder",
            Self::Record => "record",
            Self::Read => "read",
        }
    }

    /// Counts instructions and time.
    pub(crate) fn run(self, program: &Path, has_valgrind: bool) -> Result<Outcome> {
        let mut figures: Figures = Vec::new();
        if has_valgrind {
            let mut per_event = per_event(program, self.argument())?;
            if self == Self::Read {
                per_event -= self::per_event(program, "fill")?;
            }
            figures.push(("instructions per event", per_event));
        }
        let mut best = (f64::INFINITY, 0.0);
        for _ in 0..TIMED_RUNS {
            let (nanoseconds, bytes) = time(program, self.argument())?;
            if nanoseconds < best.0 {
                best = (nanoseconds, bytes);
            }
        }
        figures.push(("nanoseconds per event", best.0 / TIMED_EVENTS as f64));
        figures.push(("GB/s", best.1 / best.0));
        Ok(Outcome { figures, blemish: None })
    }
}

/// Runs by the clock: nanoseconds and bytes.
fn time(program: &Path, work: &str) -> Result<(f64, f64)> {
    let output = Command::new(program).args([work, &TIMED_EVENTS.to_string()]).output();
    let output = output.with_context(|| program.display().to_string())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let numbers = text.split_whitespace().map(str::parse).collect::<Result<Vec<f64>, _>>();
    match numbers.as_deref() {
        Ok(&[nanoseconds, bytes]) => Ok((nanoseconds, bytes)),
        _ => {
            anyhow::bail!("{} wrote {text:?} {}", program.display(), String::from_utf8_lossy(&output.stderr))
        }
    }
}

/// What one more event costs.
fn per_event(program: &Path, work: &str) -> Result<f64> {
    let once = instructions(program, work, COUNTED_EVENTS)?;
    let twice = instructions(program, work, 2 * COUNTED_EVENTS)?;
    Ok((twice as f64 - once as f64) / COUNTED_EVENTS as f64)
}

/// Runs under callgrind and reads the total from its report.
fn instructions(program: &Path, work: &str, events: u64) -> Result<u64> {
    let profile: PathBuf =
        std::env::temp_dir().join(format!("ssecar-bench-callgrind-{}", std::process::id()));
    let output = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(program)
        .args([work, &events.to_string()])
        .output()
        .context("valgrind")?;
    std::fs::remove_file(&profile).context("callgrind wrote no profile")?;
    let report = String::from_utf8_lossy(&output.stderr).into_owned();
    total(&report).with_context(|| format!("callgrind wrote {report:?}"))
}

fn total(report: &str) -> Option<u64> {
    let line = report.lines().find_map(|line| line.split_once("Collected : "))?;
    line.1.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_found_in_the_report() {
        assert_eq!(total("==7== Events    : Ir\n==7== Collected : 123456\n==7==\n"), Some(123_456));
        assert_eq!(total("==7== \n"), None);
    }
}
