//! What one client saw, and the judge of it: every event once and in order, or a gap notice says
//! what is missing.

use serde_json::Value;

/// One line of a client's transcript.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Line {
    /// It connected.
    Open,
    /// The event with this number.
    Event(u64),
    /// A gap notice.
    Gap(Value),
    /// It gave up for good.
    Dead(String),
}

impl Line {
    /// From what the clients of `tests/peers/node` print.
    pub(crate) fn from_json(text: &str) -> Self {
        let value: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        if let Some(data) = value["data"].as_str() {
            return Self::Event(data.parse().unwrap());
        }
        if value["open"] == true {
            return Self::Open;
        }
        match value["dead"].as_str() {
            Some(why) => Self::Dead(why.to_owned()),
            None => Self::Gap(value["gap"].clone()),
        }
    }
}

/// All of one client.
#[derive(Debug, Clone, Default)]
pub(crate) struct Transcript {
    lines: Vec<Line>,
}

/// The judgement.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) events: usize,
    pub(crate) connections: usize,
    pub(crate) gaps: usize,
    /// Events that are missing, and no notice stood in their place.
    pub(crate) lost: Vec<u64>,
    /// Events that came again, or too late.
    pub(crate) doubled: Vec<u64>,
}

impl Transcript {
    pub(crate) fn push(&mut self, line: Line) {
        assert!(!matches!(line, Line::Dead(_)), "a client gave up: {line:?}");
        self.lines.push(line);
    }

    /// The newest event.
    pub(crate) fn newest(&self) -> u64 {
        let numbers = self.lines.iter().rev().filter_map(|line| match line {
            Line::Event(number) => Some(*number),
            Line::Open | Line::Gap(_) | Line::Dead(_) => None,
        });
        numbers.max().unwrap_or(0)
    }

    pub(crate) fn connections(&self) -> usize {
        self.lines.iter().filter(|line| **line == Line::Open).count()
    }

    pub(crate) fn judge(&self) -> Verdict {
        let mut verdict = Verdict { connections: self.connections(), ..Verdict::default() };
        let mut last = None;
        let mut is_gap_told = false;
        for line in &self.lines {
            match line {
                Line::Open | Line::Dead(_) => {}
                Line::Gap(_) => {
                    verdict.gaps += 1;
                    is_gap_told = true;
                }
                Line::Event(number) => {
                    verdict.events += 1;
                    match last {
                        Some(last) if *number <= last => verdict.doubled.push(*number),
                        Some(last) if *number > last + 1 && !is_gap_told => {
                            verdict.lost.extend(last + 1..*number);
                        }
                        Some(_) | None => {}
                    }
                    last = last.max(Some(*number));
                    is_gap_told = false;
                }
            }
        }
        verdict
    }
}

#[test]
fn the_judge_tells_what_is_lost_and_what_came_twice() {
    let of = |lines: &[Line]| Transcript { lines: lines.to_vec() }.judge();
    let events = |numbers: &[u64]| numbers.iter().copied().map(Line::Event).collect::<Vec<_>>();
    let clean = of(&events(&[5, 6, 7]));
    assert_eq!((clean.events, clean.lost, clean.doubled), (3, vec![], vec![]));
    assert_eq!(of(&events(&[5, 8])).lost, [6, 7]);
    assert_eq!(of(&events(&[5, 6, 5, 6, 7])).doubled, [5, 6]);
    let told = of(&[Line::Event(5), Line::Gap(Value::Null), Line::Event(8), Line::Event(10)]);
    assert_eq!((told.gaps, told.lost), (1, vec![9]), "a notice covers its own place only");
}
