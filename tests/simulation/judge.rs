//! Reads each client's transcript against what the upstream published.

use std::sync::atomic::Ordering;

use crate::world::{Line, World};

/// `--opening-pause`: so long the beginning of a private stream is held back, to see what it repeats.
const OPENING_PAUSE_MS: u64 = 250;

/// A judgement that found no fault, in numbers.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) published: u64,
    pub(crate) delivered: u64,
    pub(crate) connections: u64,
    pub(crate) gap_notices: u64,
    /// Missing, and told.
    pub(crate) missed_told: u64,
    /// Missing because the upstream itself forgot them, or skipped them for ids that it gave twice.
    pub(crate) forgotten_upstream: u64,
    /// Given once more because the upstream repeated what came before the present numbering.
    pub(crate) repeated_upstream: u64,
    /// Given once more behind a notice that tells of a lost place (spec 6.3).
    pub(crate) again_told: u64,
}

impl Verdict {
    pub(crate) fn add(&mut self, other: &Self) {
        self.published += other.published;
        self.delivered += other.delivered;
        self.connections += other.connections;
        self.gap_notices += other.gap_notices;
        self.missed_told += other.missed_told;
        self.forgotten_upstream += other.forgotten_upstream;
        self.repeated_upstream += other.repeated_upstream;
        self.again_told += other.again_told;
    }
}

pub(crate) fn all(world: &World) -> Result<Verdict, String> {
    let mut verdict = Verdict { published: world.newest(), ..Verdict::default() };
    for (client, transcript) in world.transcripts.iter().enumerate() {
        let lines = transcript.lock().unwrap();
        one(world, lines.iter().map(|(_, line)| line), &mut verdict)
            .map_err(|error| format!("client {client}: {error}"))?;
    }
    Ok(verdict)
}

fn one<'a>(
    world: &World,
    lines: impl Iterator<Item = &'a Line>,
    verdict: &mut Verdict,
) -> Result<(), String> {
    let mut last: Option<u64> = None;
    let mut gap: Option<&str> = None;
    for line in lines {
        match line {
            Line::Ended => {}
            Line::Connected => verdict.connections += 1,
            Line::Gap { reason } => {
                verdict.gap_notices += 1;
                gap = Some(reason);
            }
            Line::Event { number, id } => {
                verdict.delivered += 1;
                let seq: u64 = id.split('.').nth(1).and_then(|seq| seq.parse().ok()).unwrap_or(0);
                let told = gap.take();
                let Some(before) = last.replace(*number) else { continue };
                if *number <= before {
                    // What an upstream repeats from before the beginning of a numbering can't be known.
                    // Nor, for a client that catches up, where the network takes longer than its stream is held.
                    let is_known = seq > world.scenario.repeats
                        || (seq == 0 && world.scenario.latency_max < OPENING_PAUSE_MS);
                    if before - number < world.scenario.repeats && !is_known {
                        verdict.repeated_upstream += before - number + 1;
                        continue;
                    }
                    // Only where the client's place was lost is the whole ring given.
                    if !matches!(told, Some("too-old" | "other-epoch" | "unknown-id")) {
                        return Err(format!("{number} came again after {before}, behind {told:?}"));
                    }
                    verdict.again_told += before - number + 1;
                } else if *number > before + 1 {
                    let missing = number - before - 1;
                    let forgot = world.event(*number).generation != world.event(before).generation;
                    match told {
                        Some(_) => verdict.missed_told += missing,
                        None if forgot => verdict.forgotten_upstream += missing,
                        None => return Err(format!("{} to {} are missing, untold", before + 1, number - 1)),
                    }
                }
            }
        }
    }
    let goal = world.goal.load(Ordering::Relaxed);
    if last.is_none_or(|last| last < goal) {
        return Err(format!("it ended at {last:?}, before {goal}"));
    }
    Ok(())
}
