//! One block of an event stream while its lines come in: what its fields say, and whether it is
//! still within the limit (WHATWG HTML, 9.2.6; spec 5.5).

use std::time::Duration;

use memchr::memchr;

use super::DecodedEvent;

/// The capacity that a buffer keeps from one event to the next, so that usual events cost no
/// allocation and a huge one leaves nothing behind, not even in ten thousand idle streams.
const KEPT_BYTES_MAX: usize = 8 * 1024;

/// The fields of one block.
#[derive(Debug)]
pub(super) struct Block {
    bytes_max: usize,
    /// Bytes of its field lines so far, as they were sent. A skipped block has no end in sight.
    bytes_sent: u64,
    data: Vec<u8>,
    has_data: bool,
    event_type: Vec<u8>,
    id: Vec<u8>,
    has_id: bool,
}

/// What a field asks for at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FieldEffect {
    /// Nothing: it matters when the block ends, or never.
    Within,
    Retry(Duration),
}

impl Block {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            bytes_sent: 0,
            data: Vec::new(),
            has_data: false,
            event_type: Vec::new(),
            id: Vec::new(),
            has_id: false,
        }
    }

    pub(super) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    pub(super) fn bytes_sent(&self) -> u64 {
        self.bytes_sent
    }

    pub(super) fn has_room_for(&self, bytes: usize) -> bool {
        self.bytes_sent.saturating_add(bytes as u64) <= self.bytes_max as u64
    }

    /// Whether more came than the limit allows.
    pub(super) fn is_skipped(&self) -> bool {
        !self.has_room_for(0)
    }

    /// Counts bytes as sent. Past the limit only the count and the id are of use.
    pub(super) fn count(&mut self, bytes: usize) {
        let was_skipped = self.is_skipped();
        self.bytes_sent = self.bytes_sent.saturating_add(bytes as u64);
        if self.is_skipped() && !was_skipped {
            release(&mut self.data);
            release(&mut self.event_type);
        }
    }

    /// Reads a field line and counts it with one byte of its line end. The field takes effect only
    /// if the block is within the limit even so: else an id would be known or not by how CR and LF
    /// were cut.
    pub(super) fn read_field(&mut self, line: &[u8]) -> FieldEffect {
        self.count(line.len() + 1);
        if self.is_skipped() {
            return FieldEffect::Within;
        }
        let (name, value) = match memchr(b':', line) {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &b""[..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" => self.add_data(value),
            b"event" => replace(&mut self.event_type, value),
            b"id" if memchr(0, value).is_none() => {
                replace(&mut self.id, value);
                self.has_id = true;
            }
            b"retry" => return parse_retry(value).map_or(FieldEffect::Within, FieldEffect::Retry),
            // The standard ignores fields that it doesn't know, and an id with a NUL in it.
            _ => {}
        }
        FieldEffect::Within
    }

    pub(super) fn has_data(&self) -> bool {
        self.has_data
    }

    pub(super) fn id(&self) -> Option<&[u8]> {
        self.has_id.then_some(self.id.as_slice())
    }

    pub(super) fn event(&self) -> DecodedEvent<'_> {
        DecodedEvent { id: self.id(), event_type: &self.event_type, data: &self.data }
    }

    /// Makes ready for the next block.
    pub(super) fn clear(&mut self) {
        self.bytes_sent = 0;
        self.has_data = false;
        self.has_id = false;
        release(&mut self.data);
        release(&mut self.event_type);
        release(&mut self.id);
    }

    fn add_data(&mut self, line: &[u8]) {
        if self.has_data {
            append(&mut self.data, b"\n", self.bytes_max);
        }
        self.has_data = true;
        append(&mut self.data, line, self.bytes_max);
    }

    #[cfg(test)]
    pub(super) fn bytes_held(&self) -> usize {
        self.data.capacity() + self.event_type.capacity() + self.id.capacity()
    }
}

/// Appends to a buffer that will hold `bytes_max` at most: it grows by doubling, but not beyond.
pub(super) fn append(buffer: &mut Vec<u8>, part: &[u8], bytes_max: usize) {
    let length = buffer.len() + part.len();
    if length > buffer.capacity() {
        let capacity = buffer.capacity().saturating_mul(2).min(bytes_max).max(length);
        buffer.reserve_exact(capacity - buffer.len());
    }
    buffer.extend_from_slice(part);
}

/// Empties a buffer, and gives its memory back if it is much.
pub(super) fn release(buffer: &mut Vec<u8>) {
    buffer.clear();
    if buffer.capacity() > KEPT_BYTES_MAX {
        *buffer = Vec::new();
    }
}

fn replace(buffer: &mut Vec<u8>, value: &[u8]) {
    buffer.clear();
    append(buffer, value, value.len());
}

/// ASCII digits, at least one: what else an integer could be in Rust's eyes (`+5`) is none here.
fn parse_retry(value: &[u8]) -> Option<Duration> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let millis = value
        .iter()
        .fold(0_u64, |millis, digit| millis.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
    Some(Duration::from_millis(millis))
}
