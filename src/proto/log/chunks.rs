//! What a cursor finds, as the chunks in which it is stored: nothing is copied, and the cursor stays until they are
//! on their way.

use std::time::Instant;

use bytes::Bytes;

use super::{Cursor, EndReason, Log};

/// What a cursor finds, beside the chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// There are chunks.
    News,
    /// Nothing new.
    UpToDate,
    /// What came next is gone: the client fell too far behind.
    Lost,
    /// Nothing new, and nothing will come.
    Ended(EndReason),
}

/// One entry, framed as an HTTP/1.1 chunk.
#[derive(Debug)]
pub struct Chunk {
    /// As it is sent.
    pub bytes: Bytes,
    /// Of the text within.
    pub text_len: usize,
    /// Whether it is an event.
    pub is_event: bool,
    /// When it came from the upstream, unless the client asked for it by a replay.
    pub arrived: Option<Instant>,
    /// The cursor's place behind it.
    pub behind: Cursor,
}

/// Chunks, oldest first.
///
/// The first has a place of its own, since a client that is up to date gets one: that needs no allocation.
#[derive(Debug, Default)]
pub struct Chunks {
    first: Option<Chunk>,
    more: Vec<Chunk>,
}

impl Chunks {
    /// The most that are shown at once: each is one buffer of a vectored write.
    pub const LEN_MAX: usize = 256;

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.more.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// The chunk, if there is exactly one.
    #[must_use]
    pub fn only(&self) -> Option<&Chunk> {
        self.first.as_ref().filter(|_| self.more.is_empty())
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Chunk> {
        self.first.as_slice().iter().chain(&self.more)
    }

    /// How much text they hold, in bytes.
    #[must_use]
    pub fn text_len(&self) -> usize {
        self.iter().map(|chunk| chunk.text_len).sum()
    }

    /// How many are events.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.iter().map(|chunk| u64::from(chunk.is_event)).sum()
    }

    /// When the first that was not asked for by a replay came from the upstream.
    #[must_use]
    pub fn arrived(&self) -> Option<Instant> {
        self.iter().find_map(|chunk| chunk.arrived)
    }

    /// After so many bytes of them: how many chunks were begun, and what is left of the last of those.
    #[must_use]
    pub fn split(&self, mut bytes: usize) -> (usize, Bytes) {
        let mut begun = 0;
        for chunk in self.iter() {
            if bytes == 0 {
                break;
            }
            begun += 1;
            if bytes < chunk.bytes.len() {
                return (begun, chunk.bytes.slice(bytes..));
            }
            bytes -= chunk.bytes.len();
        }
        (begun, Bytes::new())
    }

    fn push(&mut self, chunk: Chunk) {
        match self.first {
            None => self.first = Some(chunk),
            Some(_) => self.more.push(chunk),
        }
    }

    fn last_mut(&mut self) -> Option<&mut Chunk> {
        self.more.last_mut().or(self.first.as_mut())
    }
}

impl Log {
    /// Shows what the cursor has not read yet, up to `bytes_max` (but at least one entry), in `chunks`, which must be
    /// empty. The cursor passes only what is not for it.
    pub fn chunks(&self, cursor: &mut Cursor, bytes_max: usize, chunks: &mut Chunks) -> Found {
        let Some(unread) = self.unread(*cursor) else { return Found::Lost };
        let mut total = 0;
        for entry in unread {
            let bytes = entry.encoded.chunk();
            total += bytes.len();
            if !chunks.is_empty() && (total > bytes_max || chunks.len() == Chunks::LEN_MAX) {
                return Found::News;
            }
            chunks.push(Chunk {
                bytes: bytes.clone(),
                text_len: entry.encoded.payload_len(),
                is_event: entry.is_event,
                arrived: entry.arrived_for(cursor),
                behind: Cursor { next: entry.position + 1, ..*cursor },
            });
        }
        match chunks.last_mut() {
            Some(last) => last.behind.next = self.head,
            None => {
                cursor.next = self.head;
                return self.ended.map_or(Found::UpToDate, Found::Ended);
            }
        }
        Found::News
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::super::{LateJoin, LogSettings, Read, ReplayLimits};
    use super::*;
    use crate::proto::encoder;
    use crate::proto::event_id::{Epoch, EventIds};

    const HUGE: usize = 1 << 30;

    fn log(client_lag_max: usize) -> Log {
        let settings = LogSettings {
            replay: ReplayLimits { events: 3, bytes: 1 << 20 },
            client_lag_max,
            event_ids: EventIds::Own,
            gap_event: Some("ssecar-gap".into()),
            late_join: LateJoin::Live,
        };
        Log::new(settings, Epoch::from_random(1), None)
    }

    fn event(log: &mut Log, data: &str) {
        log.append_event(None, b"", data.as_bytes());
    }

    /// Takes everything, so many bytes at once.
    fn taken(log: &Log, cursor: &mut Cursor, bytes_max: usize) -> (Vec<u8>, Found) {
        let mut text = Vec::new();
        loop {
            let mut chunks = Chunks::default();
            match log.chunks(cursor, bytes_max, &mut chunks) {
                Found::News => {}
                end @ (Found::UpToDate | Found::Lost | Found::Ended(_)) => return (text, end),
            }
            for Chunk { bytes, text_len, behind, .. } in chunks.iter() {
                let start = bytes.len() - 2 - text_len;
                assert_eq!(bytes[..start], *format!("{text_len:X}\r\n").as_bytes());
                text.extend_from_slice(&bytes[start..start + text_len]);
                *cursor = *behind;
            }
        }
    }

    #[test]
    fn the_cursor_stays_until_it_is_told_to_move() {
        let mut log = log(HUGE);
        let mut cursor = log.join(LateJoin::Live).cursor;
        event(&mut log, "a");
        event(&mut log, "b");
        for _ in 0..2 {
            let mut chunks = Chunks::default();
            assert_eq!(log.chunks(&mut cursor, HUGE, &mut chunks), Found::News);
            assert_eq!((chunks.len(), chunks.is_empty(), chunks.only().is_none()), (2, false, true));
        }
        let mut chunks = Chunks::default();
        assert_eq!(log.chunks(&mut cursor, 1, &mut chunks), Found::News, "at least one");
        cursor = chunks.only().unwrap().behind;
        assert!(taken(&log, &mut cursor, HUGE).0.ends_with(b"data: b\n\n"));
        log.end(EndReason::Finished);
        assert_eq!(taken(&log, &mut cursor, HUGE), (Vec::new(), Found::Ended(EndReason::Finished)));
    }

    #[test]
    fn not_more_are_shown_at_once_than_a_write_takes() {
        let mut log = log(HUGE);
        let mut cursor = log.join(LateJoin::Live).cursor;
        (0..=Chunks::LEN_MAX).for_each(|_| event(&mut log, ""));
        let mut chunks = Chunks::default();
        assert_eq!(log.chunks(&mut cursor, HUGE, &mut chunks), Found::News);
        assert_eq!((chunks.len(), chunks.iter().count()), (Chunks::LEN_MAX, Chunks::LEN_MAX));
    }

    #[test]
    fn a_split_tells_what_was_begun_and_what_is_left_of_it() {
        let mut log = log(HUGE);
        let mut cursor = log.join(LateJoin::Live).cursor;
        event(&mut log, "a");
        log.append_passing(encoder::comment(b"passing"));
        event(&mut log, "b");
        let mut chunks = Chunks::default();
        assert_eq!(log.chunks(&mut cursor, HUGE, &mut chunks), Found::News);
        assert_eq!((chunks.len(), chunks.events(), chunks.arrived()), (3, 2, None));
        let all: Vec<u8> = chunks.iter().flat_map(|chunk| chunk.bytes.to_vec()).collect();
        let mut ends = vec![0];
        chunks.iter().for_each(|chunk| ends.push(ends.last().unwrap() + chunk.bytes.len()));
        for bytes in 0..=all.len() {
            let (begun, rest) = chunks.split(bytes);
            assert_eq!(begun, ends.iter().filter(|end| **end < bytes).count(), "after {bytes} bytes");
            assert_eq!(rest, &all[bytes..ends[begun]], "after {bytes} bytes");
        }
    }

    #[test]
    fn a_client_that_is_too_far_behind_is_told() {
        let mut log = log(1_000);
        let mut cursor = log.join(LateJoin::Live).cursor;
        (0..100).for_each(|_| event(&mut log, "far too much"));
        assert_eq!(taken(&log, &mut cursor, HUGE), (Vec::new(), Found::Lost));
    }

    proptest! {
        #[test]
        fn both_ways_to_read_give_the_same(
            kinds in vec(0..3, 0..40), joins_at in 0..40_usize, replays: bool, bytes_max in 1..400_usize,
        ) {
            let mut log = log(HUGE);
            let mut start = None;
            for (index, kind) in kinds.iter().enumerate() {
                if index == joins_at {
                    start = Some(log.join(if replays { LateJoin::Ring } else { LateJoin::Live }).cursor);
                }
                match kind {
                    0 => event(&mut log, &"x".repeat(index)),
                    1 => log.append_passing(encoder::comment(b"passing")),
                    _ => log.trim(start.map_or_else(|| log.head(), |cursor| cursor.next())),
                }
            }
            let start = start.unwrap_or_else(|| log.join(LateJoin::Live).cursor);
            let (mut cursor, mut expected) = (start, Vec::new());
            while let Read::Batch(batch) = log.read(&mut cursor, bytes_max) {
                expected.extend_from_slice(&batch.text);
            }
            let mut other = start;
            prop_assert_eq!(taken(&log, &mut other, bytes_max), (expected, Found::UpToDate));
            prop_assert_eq!(other, cursor);
        }
    }
}
