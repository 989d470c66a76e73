//! A log as records, to be kept over a restart: a head, and one record for each entry of the ring.
//!
//! The form is ours, versioned, and read with suspicion: what does not fit is refused whole.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{Entry, EpochSpan, Evicted, Kind, Log, LogSettings, Position};
use crate::proto::encoder::Encoded;
use crate::proto::event_id::{Epoch, EventIds};

/// The form of the records. Others are refused: a store of another version is no ring at all.
const VERSION: u8 = 1;

/// What there is to write since the last time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// Replaces the last head.
    pub head: Vec<u8>,
    /// Entries, new or changed, by their place.
    pub entries: Vec<(Position, Vec<u8>)>,
    /// Entries before this place are no longer of the ring.
    pub ring_start: Position,
    /// Where the next changes begin.
    pub next: Position,
}

/// A record that is not of a log's making, or of another version or setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadRecord;

impl std::fmt::Display for BadRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a stored ring can't be read")
    }
}

impl std::error::Error for BadRecord {}

impl Log {
    /// What changed from the place `written` on; 0: everything.
    #[must_use]
    pub fn changes(&self, written: Position) -> Changes {
        // The newest event may have changed since it was written: a block without data moved its id.
        let newest = self.entries.iter().rev().find(|entry| matches!(entry.kind, Kind::Event { .. }));
        let from = written.min(newest.map_or(written, |entry| entry.position)).max(self.ring_start);
        let entries = self.entries.range(self.index_of(from)..);
        Changes {
            head: self.head_record(),
            entries: entries.filter_map(|entry| Some((entry.position, entry_record(entry)?))).collect(),
            ring_start: self.ring_start,
            next: self.head,
        }
    }

    /// The log that was. `torn` names the numbering to go on with where the store may be older than
    /// what clients have seen: no number that one of them may know is given again.
    ///
    /// # Errors
    /// [`BadRecord`].
    pub fn restore(
        settings: LogSettings,
        head: &[u8],
        entries: &[(Position, Vec<u8>)],
        torn: Option<Epoch>,
    ) -> Result<Self, BadRecord> {
        let mut input = Input(head);
        if input.byte()? != VERSION || input.byte()? != event_ids_code(settings.event_ids) {
            return Err(BadRecord);
        }
        let mut epochs = VecDeque::new();
        for _ in 0..input.byte()? {
            let (epoch, last_seq, end) = (input.epoch()?, input.number()?, input.number()?);
            epochs.push_back(EpochSpan { epoch, last_seq, end, is_torn: input.flag()? });
        }
        let newest = epochs.back_mut().ok_or(BadRecord)?;
        newest.is_torn |= torn.is_some();
        let mut log = Self::new(settings, newest.epoch, input.optional()?);
        log.epochs = epochs;
        log.upstream = input.optional()?;
        let (end, ring_start, evicted_before) = (input.number()?, input.number()?, input.number()?);
        log.last_evicted = match input.flag()? {
            false => None,
            true => {
                Some(Evicted { epoch: input.epoch()?, seq: input.number()?, upstream: input.optional()? })
            }
        };
        input.end()?;
        for (position, record) in entries.iter().filter(|(position, _)| *position >= ring_start) {
            if *position < log.head || *position >= end {
                return Err(BadRecord);
            }
            log.head = *position;
            let (kind, encoded) = entry(record)?;
            log.push(kind, encoded);
        }
        // The places of entries that only passed are not given again either.
        log.head = end;
        log.ring_start = ring_start;
        log.evicted_before = evicted_before;
        log.lost_before = ring_start;
        log.gone_before = ring_start;
        log.is_restored = true;
        if let Some(epoch) = torn {
            log.begin_epoch(epoch);
        }
        log.shrink_ring();
        Ok(log)
    }

    /// Whether it was made from records.
    #[must_use]
    pub fn is_restored(&self) -> bool {
        self.is_restored
    }

    /// The ring's events as event-stream text, oldest first, each with the upstream's own id for it.
    pub fn ring_texts(&self) -> impl Iterator<Item = (&Bytes, Bytes)> {
        self.entries.iter().filter_map(|entry| match &entry.kind {
            Kind::Event { upstream: Some(id), is_its_own: true, .. } => Some((id, entry.encoded.payload())),
            Kind::Event { .. } | Kind::Gap | Kind::Passing => None,
        })
    }

    fn head_record(&self) -> Vec<u8> {
        let mut out = vec![VERSION, event_ids_code(self.settings.event_ids)];
        // At most EPOCHS_MAX.
        out.push(u8::try_from(self.epochs.len()).unwrap_or(u8::MAX));
        for span in &self.epochs {
            out.extend_from_slice(span.epoch.letters());
            put_number(&mut out, span.last_seq);
            put_number(&mut out, span.end);
            out.push(u8::from(span.is_torn));
        }
        put_optional(&mut out, self.start.as_ref());
        put_optional(&mut out, self.upstream.as_ref());
        put_number(&mut out, self.head);
        put_number(&mut out, self.ring_start);
        put_number(&mut out, self.evicted_before);
        out.push(u8::from(self.last_evicted.is_some()));
        if let Some(Evicted { epoch, seq, upstream }) = &self.last_evicted {
            out.extend_from_slice(epoch.letters());
            put_number(&mut out, *seq);
            put_optional(&mut out, upstream.as_ref());
        }
        out
    }
}

const GAP: u8 = 0;
const EVENT: u8 = 1;

/// `None`: it only passes.
fn entry_record(entry: &Entry) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(entry.cost());
    match &entry.kind {
        Kind::Passing => return None,
        Kind::Gap => out.push(GAP),
        Kind::Event { epoch, seq, upstream, is_its_own, moved_to } => {
            out.push(EVENT);
            out.extend_from_slice(epoch.letters());
            put_number(&mut out, *seq);
            put_optional(&mut out, upstream.as_ref());
            out.push(u8::from(*is_its_own));
            put_optional(&mut out, moved_to.as_ref());
        }
    }
    out.extend_from_slice(&entry.encoded.payload());
    Some(out)
}

fn entry(record: &[u8]) -> Result<(Kind, Encoded), BadRecord> {
    let mut input = Input(record);
    let kind = match input.byte()? {
        GAP => Kind::Gap,
        EVENT => Kind::Event {
            epoch: input.epoch()?,
            seq: input.number()?,
            upstream: input.optional()?,
            is_its_own: input.flag()?,
            moved_to: input.optional()?,
        },
        _ => return Err(BadRecord),
    };
    // Whatever else it holds, it must leave the stream at the beginning of a block.
    if !input.0.ends_with(b"\n\n") {
        return Err(BadRecord);
    }
    Ok((kind, Encoded::from_payload(input.0)))
}

fn event_ids_code(event_ids: EventIds) -> u8 {
    match event_ids {
        EventIds::Own => 0,
        EventIds::Upstream => 1,
    }
}

fn put_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_optional(out: &mut Vec<u8>, bytes: Option<&Bytes>) {
    // One more than the length; 0: none.
    put_number(out, bytes.map_or(0, |bytes| bytes.len() as u64 + 1));
    out.extend_from_slice(bytes.map_or(&[][..], |bytes| bytes));
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], BadRecord> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(BadRecord)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, BadRecord> {
        Ok(self.take(1)?[0])
    }

    fn flag(&mut self) -> Result<bool, BadRecord> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(BadRecord),
        }
    }

    fn number(&mut self) -> Result<u64, BadRecord> {
        let bytes = self.take(8)?.try_into().map_err(|_| BadRecord)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn epoch(&mut self) -> Result<Epoch, BadRecord> {
        Epoch::parse(self.take(Epoch::LETTERS)?).ok_or(BadRecord)
    }

    fn optional(&mut self) -> Result<Option<Bytes>, BadRecord> {
        let Some(len) = self.number()?.checked_sub(1) else { return Ok(None) };
        let len = usize::try_from(len).map_err(|_| BadRecord)?;
        Ok(Some(Bytes::copy_from_slice(self.take(len)?)))
    }

    fn end(&self) -> Result<(), BadRecord> {
        if self.0.is_empty() { Ok(()) } else { Err(BadRecord) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Batch, GapReason, LateJoin, Read, ReplayLimits};
    use super::*;
    use crate::proto::event_id::LastEventId;

    fn settings() -> LogSettings {
        LogSettings {
            replay: ReplayLimits { events: 3, bytes: 1 << 20 },
            client_lag_max: 1 << 20,
            event_ids: EventIds::Own,
            gap_event: Some("ssecar-gap".into()),
            late_join: LateJoin::Live,
        }
    }

    fn log(events: std::ops::RangeInclusive<u32>, has_ids: bool) -> Log {
        let mut log = Log::new(settings(), Epoch::from_random(1), None);
        for number in events {
            let id = format!("u{number}");
            log.append_event(has_ids.then_some(id.as_bytes()), b"t", number.to_string().as_bytes());
        }
        log
    }

    fn restored(log: &Log, torn: Option<Epoch>) -> Log {
        let changes = log.changes(0);
        Log::restore(settings(), &changes.head, &changes.entries, torn).unwrap()
    }

    fn read(log: &Log, mut cursor: super::super::Cursor) -> String {
        match log.read(&mut cursor, 1 << 20) {
            Read::Batch(Batch { text: bytes, .. }) => String::from_utf8(bytes.to_vec()).unwrap(),
            Read::UpToDate => String::new(),
            other => panic!("{other:?}"),
        }
    }

    fn last(seq: u64, upstream: Option<&str>) -> LastEventId {
        let upstream = upstream.map(|id| format!(".{id}")).unwrap_or_default();
        LastEventId::parse(format!("10000000.{seq}{upstream}").as_bytes())
    }

    #[test]
    fn a_restored_log_answers_every_id_as_the_old_one_did() {
        let mut log = log(1..=5, true);
        log.append_gap(GapReason::EventTooLarge, Some(1));
        log.append_passing_event(b"", b"passing");
        log.append_event(Some(b"u7"), b"", b"7");
        log.move_upstream_id(b"u8");
        let again = restored(&log, None);
        assert_eq!(
            (again.epoch(), again.upstream_id(), again.head()),
            (log.epoch(), log.upstream_id(), log.head())
        );
        for seq in 0..=9 {
            let (old, new) = (log.resume(&last(seq, None)), again.resume(&last(seq, None)));
            match (old, new) {
                (Ok(old), Ok(new)) => assert_eq!(read(&log, old), read(&again, new), "{seq}"),
                (old, new) => assert_eq!(old.err(), new.err(), "{seq}"),
            }
        }
        assert!(again.is_restored() && !log.is_restored());
    }

    #[test]
    fn it_goes_on_with_the_next_number_or_after_a_crash_with_a_new_numbering() {
        let mut again = restored(&log(1..=5, true), None);
        again.append_event(Some(b"u6"), b"", b"6");
        assert_eq!(again.epoch(), (Epoch::from_random(1), 6));

        let mut torn = restored(&log(1..=5, true), Some(Epoch::from_random(2)));
        torn.append_event(Some(b"u6"), b"", b"6");
        assert_eq!(torn.epoch(), (Epoch::from_random(2), 1));
        let cursor = torn.resume(&last(4, None)).unwrap();
        let text = read(&torn, cursor);
        assert!(text.contains("data: 5") && text.contains("data: 6"), "{text}");
    }

    #[test]
    fn a_client_that_saw_more_than_the_store_gets_no_event_again() {
        // With ids its place is found by the upstream's own, once that came again.
        let mut torn = restored(&log(1..=5, true), Some(Epoch::from_random(2)));
        assert!(torn.resume(&last(7, Some("u7"))).is_err(), "to be caught up");
        for id in ["u6", "u7", "u8"] {
            torn.append_event(Some(id.as_bytes()), b"", id.as_bytes());
        }
        let cursor = torn.resume(&last(7, Some("u7"))).unwrap();
        assert_eq!(read(&torn, cursor), "id: 20000000.3.u8\ndata: u8\n\n");

        // Without, what was missed is told by the gap that follows, and nothing older is given.
        let mut torn = restored(&log(1..=5, false), Some(Epoch::from_random(2)));
        torn.append_gap(GapReason::UpstreamInterrupted, None);
        torn.append_event(None, b"", b"new");
        let cursor = torn.resume(&last(7, None)).unwrap();
        let text = read(&torn, cursor);
        assert!(text.starts_with("event: ssecar-gap\n") && text.ends_with("data: new\n\n"), "{text}");
    }

    #[test]
    fn changes_are_what_is_new_and_the_newest_event_again() {
        let mut log = log(1..=2, true);
        let first = log.changes(0);
        log.move_upstream_id(b"u2b");
        log.append_event(Some(b"u3"), b"", b"3");
        let second = log.changes(first.next);
        let places = |changes: &Changes| changes.entries.iter().map(|(place, _)| *place).collect::<Vec<_>>();
        assert_eq!((places(&first), places(&second)), (vec![0, 1], vec![3]));
        log.move_upstream_id(b"u3b");
        assert_eq!(places(&log.changes(second.next)), [3], "its id moved on");
    }

    #[test]
    fn a_record_cut_or_changed_anywhere_is_refused_or_read_but_harms_nothing() {
        let mut log = log(1..=5, true);
        log.move_upstream_id(b"u6");
        let changes = log.changes(0);
        for cut in 0..changes.head.len() {
            let error = Log::restore(settings(), &changes.head[..cut], &changes.entries, None).err();
            assert_eq!(error, Some(BadRecord), "cut at {cut}");
        }
        for place in 0..changes.head.len() {
            for bit in 0..8 {
                let mut head = changes.head.clone();
                head[place] ^= 1 << bit;
                if let Ok(log) = Log::restore(settings(), &head, &changes.entries, None) {
                    let _ = log.resume(&last(3, None));
                    let _ = log.changes(0);
                }
            }
        }
        for (index, (_, record)) in changes.entries.iter().enumerate() {
            for cut in 0..record.len() {
                let mut entries = changes.entries.clone();
                entries[index].1.truncate(cut);
                let error = Log::restore(settings(), &changes.head, &entries, None).err();
                assert_eq!(error, Some(BadRecord), "entry {index} cut at {cut}");
            }
        }
    }
}
