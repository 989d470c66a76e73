//! Server-Sent Events framing: bytes cut anywhere in, frames out (WHATWG HTML, "Server-sent
//! events", 9.2.5 and 9.2.6; spec 5.1, 5.5).
//!
//! Puts lines together; what the lines of one block amount to is the block's affair. What a byte
//! does depends on the bytes before it alone, never on where the chunks were cut.

mod block;
#[cfg(test)]
mod oracles;
#[cfg(test)]
mod tests;

use std::time::Duration;

use block::{Block, FieldEffect, append, release};
use memchr::memchr2;

use super::bom::LeadingBom;

/// What the decoder found. Slices point into the decoder and live until its next call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A block that a client would dispatch: it has at least one `data` line.
    Event(DecodedEvent<'a>),
    /// A block without `data` that sets the last event id (empty: clears it).
    Id(&'a [u8]),
    /// One comment line, without its colon and line end. A line longer than the limit is dropped.
    Comment(&'a [u8]),
    /// A valid `retry` field, reported where it stands, in a block with data or not. A number of
    /// milliseconds beyond `u64` counts as the largest.
    Retry(Duration),
    /// A block that was larger than the limit and skipped whole, reported at its empty line.
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

/// Decodes one stream. Memory stays within two and a half times the limit and some KiB, whatever
/// comes: a block (its buffers grow by doubling) and a comment line that stands within it.
///
/// To end a stream is to drop its decoder: a block that was cut off goes with it, as the standard
/// asks.
#[derive(Debug)]
pub struct Decoder {
    bom: LeadingBom,
    block: Block,
    /// The beginning of the present line, from chunks before; the whole line, while a comment is
    /// lent out.
    line: Vec<u8>,
    /// What becomes of the present line.
    fate: LineFate,
    /// The last line was ended by CR: a LF that comes next belongs to it.
    after_cr: bool,
    /// The last line was a field, so that all of its line end counts as the block's.
    after_field: bool,
    /// The frame that the caller has; its memory is freed when the next one is asked for.
    lent: Option<Found>,
}

/// What becomes of a line that isn't complete yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LineFate {
    Kept,
    /// A comment over the limit: its rest is no one's.
    DroppedComment,
    /// A field of a block over the limit: its rest is counted only.
    SkippedField,
}

/// A frame without the slices, which are in the decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Event,
    Id,
    Comment,
    Retry(Duration),
    Skipped,
}

impl Decoder {
    /// At the start of a stream. `event_bytes_max` bounds one block: its field lines with their
    /// line ends, in bytes as sent, without comments and without the empty line. It bounds one
    /// comment line as well, without the line end.
    #[must_use]
    pub fn new(event_bytes_max: usize) -> Self {
        Self {
            bom: LeadingBom::new(),
            block: Block::new(event_bytes_max),
            line: Vec::new(),
            fate: LineFate::Kept,
            after_cr: false,
            after_field: false,
            lent: None,
        }
    }

    /// Takes bytes from the front of `input` until a frame is complete; `None` when all are taken.
    pub fn next_frame(&mut self, input: &mut &[u8]) -> Option<Frame<'_>> {
        self.take_back();
        let held = self.bom.strip(input)?;
        self.keep(held);
        let found = loop {
            self.join_line_feed(input);
            let Some(end) = memchr2(b'\n', b'\r', input) else {
                self.keep(input);
                *input = &[];
                return None;
            };
            let last_part = &input[..end];
            self.after_cr = input[end] == b'\r';
            *input = &input[end + 1..];
            if let Some(found) = self.end_line(last_part) {
                break found;
            }
        };
        self.lent = Some(found);
        Some(match found {
            Found::Event => Frame::Event(self.block.event()),
            Found::Id => Frame::Id(self.block.id().unwrap_or_default()),
            Found::Comment => Frame::Comment(self.line.get(1..).unwrap_or_default()),
            Found::Retry(after) => Frame::Retry(after),
            Found::Skipped => Frame::Skipped { bytes: self.block.bytes_sent(), id: self.block.id() },
        })
    }

    /// Frees what the last frame was made of.
    fn take_back(&mut self) {
        match self.lent.take() {
            Some(Found::Event | Found::Id | Found::Skipped) => self.block.clear(),
            Some(Found::Comment) => release(&mut self.line),
            Some(Found::Retry(_)) | None => {}
        }
    }

    /// Takes the LF of a CRLF. The CR alone has ended the line, without waiting for it.
    fn join_line_feed(&mut self, input: &mut &[u8]) {
        if !self.after_cr {
            return;
        }
        let Some((&first, rest)) = input.split_first() else { return };
        self.after_cr = false;
        if first == b'\n' {
            *input = rest;
            if self.after_field {
                self.block.count(1);
            }
        }
    }

    /// Keeps a part of a line whose end has yet to come, as far as it is needed.
    fn keep(&mut self, part: &[u8]) {
        let Some(&first) = self.line.first().or_else(|| part.first()) else { return };
        let length = self.line.len() + part.len();
        match self.fate {
            LineFate::DroppedComment => {}
            LineFate::SkippedField => self.block.count(part.len()),
            LineFate::Kept if first == b':' => {
                if length > self.block.bytes_max() {
                    self.fate = LineFate::DroppedComment;
                    release(&mut self.line);
                } else {
                    append(&mut self.line, part, self.block.bytes_max());
                }
            }
            LineFate::Kept => {
                if self.block.has_room_for(length) {
                    append(&mut self.line, part, self.block.bytes_max());
                } else {
                    self.block.count(length);
                    self.fate = LineFate::SkippedField;
                    release(&mut self.line);
                }
            }
        }
    }

    /// Ends the present line with its last part.
    fn end_line(&mut self, last_part: &[u8]) -> Option<Found> {
        if self.line.is_empty() && self.fate == LineFate::Kept {
            let found = self.read(last_part);
            if found == Some(Found::Comment) {
                append(&mut self.line, last_part, self.block.bytes_max());
            }
            return found;
        }
        self.keep(last_part);
        match std::mem::replace(&mut self.fate, LineFate::Kept) {
            LineFate::DroppedComment => {
                self.after_field = false;
                None
            }
            LineFate::SkippedField => {
                self.after_field = true;
                self.block.count(1);
                None
            }
            LineFate::Kept => {
                let mut line = std::mem::take(&mut self.line);
                let found = self.read(&line);
                if found != Some(Found::Comment) {
                    release(&mut line);
                }
                self.line = line;
                found
            }
        }
    }

    /// Reads a complete line.
    fn read(&mut self, line: &[u8]) -> Option<Found> {
        self.after_field = false;
        match line.first() {
            None => self.end_block(),
            Some(b':') => (line.len() <= self.block.bytes_max()).then_some(Found::Comment),
            Some(_) => {
                self.after_field = true;
                match self.block.read_field(line) {
                    FieldEffect::Retry(after) => Some(Found::Retry(after)),
                    FieldEffect::Within => None,
                }
            }
        }
    }

    /// An empty line: the block is complete, if there is one.
    fn end_block(&mut self) -> Option<Found> {
        if self.block.is_skipped() {
            Some(Found::Skipped)
        } else if self.block.has_data() {
            Some(Found::Event)
        } else if self.block.id().is_some() {
            Some(Found::Id)
        } else {
            self.block.clear();
            None
        }
    }

    /// Bytes of memory that the buffers hold.
    #[cfg(test)]
    fn bytes_held(&self) -> usize {
        self.line.capacity() + self.block.bytes_held()
    }
}
