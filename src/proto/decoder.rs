//! Server-Sent Events framing: bytes cut anywhere in, frames out (WHATWG HTML, "Server-sent
//! events", 9.2.5 and 9.2.6; spec 5.1, 5.5).

use std::time::Duration;

/// What the decoder found. Slices point into the decoder and live until its next call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A block that a client would dispatch: it has at least one `data` line.
    Event(DecodedEvent<'a>),
    /// A block without `data` that sets the last event id (empty: clears it).
    Id(&'a [u8]),
    /// One comment line, without its colon and line end.
    Comment(&'a [u8]),
    /// A valid `retry` field, reported where it stands, in a block with data or not.
    Retry(Duration),
    /// A block that was larger than the limit and skipped whole.
    Skipped {
        /// Bytes of the block as the upstream sent it.
        bytes: u64,
        /// Its id, where it came before the limit was reached.
        id: Option<&'a [u8]>,
    },
}

/// An event as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodedEvent<'a> {
    /// The id of this very block; `None` where it has no `id` field, empty where that is empty.
    pub id: Option<&'a [u8]>,
    /// The type; empty for the default, `message`.
    pub event_type: &'a [u8],
    /// The data lines, joined by LF, without one at the end.
    pub data: &'a [u8],
}

/// Decodes one stream. Memory stays within about twice the limit, whatever comes.
#[derive(Debug)]
pub struct Decoder {}

impl Decoder {
    /// At the start of a stream. `event_bytes_max` bounds one block, in bytes as sent.
    #[must_use]
    pub fn new(_event_bytes_max: usize) -> Self {
        Self {}
    }

    /// Takes bytes from the front of `input` until a frame is complete; `None` when all are taken.
    pub fn next_frame(&mut self, _input: &mut &[u8]) -> Option<Frame<'_>> {
        None
    }
}
