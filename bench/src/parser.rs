//! What a client understands of its response: the head, chunked framing, and the lines of an event stream. Takes bytes
//! cut anywhere; copies only what is cut off, and allocates nothing per event.

use std::fmt;

use memchr::memchr;
use memchr::memmem;

use crate::event::Stamp;

/// The longest head, and the longest line. More is an error: nothing that is measured sends so much.
const HELD_BYTES_MAX: usize = 64 * 1024;

/// Where events go.
pub(crate) trait Sink {
    /// An event that the source made.
    fn event(&mut self, stamp: Stamp);
    /// An event that says that others are missing.
    fn gap(&mut self);
}

/// Why a response can't be read on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// Another status than 200.
    Status(String),
    /// A chunk's size line that is none.
    ChunkSize,
    /// A head or a line without end.
    TooLong,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(line) => write!(formatter, "answered {line:?}"),
            Self::ChunkSize => formatter.write_str("a chunk without a size"),
            Self::TooLong => formatter.write_str("a head or a line without end"),
        }
    }
}

impl std::error::Error for Unreadable {}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Head,
    /// A body without framing: until the connection ends.
    Plain,
    /// The size line of a chunk; `is_extension` behind the digits.
    ChunkSize {
        size: u64,
        is_extension: bool,
    },
    /// So many bytes of a chunk are still to come.
    ChunkData(u64),
    /// The CRLF behind a chunk's data.
    ChunkEnd,
    /// The last chunk was seen.
    Ended,
}

/// One response.
#[derive(Debug)]
pub(crate) struct Parser {
    phase: Phase,
    /// The head so far, or the beginning of a line whose end has yet to come.
    held: Vec<u8>,
    stamp: Option<Stamp>,
    is_gap: bool,
    /// The id of the present block, and of the last event.
    id: Vec<u8>,
    last_id: Vec<u8>,
}

impl Parser {
    /// Before the first byte of a response. A client that comes back keeps the id of its last event.
    pub(crate) fn new(last_id: Vec<u8>) -> Self {
        Self { phase: Phase::Head, held: Vec::new(), stamp: None, is_gap: false, id: Vec::new(), last_id }
    }

    /// Whether the head is complete.
    pub(crate) fn has_head(&self) -> bool {
        self.phase != Phase::Head
    }

    /// Whether the body has come to its proper end.
    pub(crate) fn has_ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    /// The id of the last event.
    pub(crate) fn last_id(&self) -> &[u8] {
        &self.last_id
    }

    /// Takes what came.
    pub(crate) fn feed(&mut self, mut input: &[u8], sink: &mut impl Sink) -> Result<(), Unreadable> {
        while !input.is_empty() {
            match self.phase {
                Phase::Head => input = self.read_head(input)?,
                Phase::Plain => {
                    self.read_text(input, sink)?;
                    input = &[];
                }
                Phase::ChunkSize { size, is_extension } => {
                    let byte = input[0];
                    input = &input[1..];
                    self.phase = read_size(size, is_extension, byte)?;
                }
                Phase::ChunkData(left) => {
                    let taken = input.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    self.read_text(&input[..taken], sink)?;
                    input = &input[taken..];
                    let left = left - taken as u64;
                    self.phase = if left == 0 { Phase::ChunkEnd } else { Phase::ChunkData(left) };
                }
                Phase::ChunkEnd => {
                    if input[0] == b'\n' {
                        self.phase = Phase::ChunkSize { size: 0, is_extension: false };
                    }
                    input = &input[1..];
                }
                Phase::Ended => return Ok(()),
            }
        }
        Ok(())
    }

    /// Takes a part of the head and answers what follows it.
    fn read_head<'a>(&mut self, input: &'a [u8]) -> Result<&'a [u8], Unreadable> {
        let before = self.held.len();
        self.hold(input)?;
        let Some(end) = memmem::find(&self.held, b"\r\n\r\n") else { return Ok(&[]) };
        let head = String::from_utf8_lossy(&self.held[..end]).to_ascii_lowercase();
        let status_line = head.lines().next().unwrap_or_default();
        if status_line.split(' ').nth(1) != Some("200") {
            return Err(Unreadable::Status(status_line.to_owned()));
        }
        let is_chunked = head.lines().any(|line| {
            line.split_once(':')
                .is_some_and(|(name, value)| name == "transfer-encoding" && value.contains("chunked"))
        });
        self.phase =
            if is_chunked { Phase::ChunkSize { size: 0, is_extension: false } } else { Phase::Plain };
        // An idle client should cost the herd little.
        self.held = Vec::new();
        Ok(&input[end + 4 - before..])
    }

    fn hold(&mut self, part: &[u8]) -> Result<(), Unreadable> {
        if self.held.len() + part.len() > HELD_BYTES_MAX {
            return Err(Unreadable::TooLong);
        }
        self.held.extend_from_slice(part);
        Ok(())
    }

    /// Takes a part of the body's text.
    fn read_text(&mut self, mut text: &[u8], sink: &mut impl Sink) -> Result<(), Unreadable> {
        while let Some(end) = memchr(b'\n', text) {
            if self.held.is_empty() {
                self.read_line(&text[..end], sink);
            } else {
                self.hold(&text[..end])?;
                let mut line = std::mem::take(&mut self.held);
                self.read_line(&line, sink);
                line.clear();
                self.held = line;
            }
            text = &text[end + 1..];
        }
        self.hold(text)
    }

    fn read_line(&mut self, line: &[u8], sink: &mut impl Sink) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            self.dispatch(sink);
        } else if let Some(data) = line.strip_prefix(b"data:") {
            self.stamp = Stamp::parse(data.strip_prefix(b" ").unwrap_or(data)).or(self.stamp);
        } else if let Some(id) = line.strip_prefix(b"id:") {
            self.id.clear();
            self.id.extend_from_slice(id.strip_prefix(b" ").unwrap_or(id));
        } else if let Some(name) = line.strip_prefix(b"event:") {
            self.is_gap = name.ends_with(b"ssecar-gap");
        }
    }

    fn dispatch(&mut self, sink: &mut impl Sink) {
        if !self.id.is_empty() {
            std::mem::swap(&mut self.id, &mut self.last_id);
            self.id.clear();
        }
        if std::mem::take(&mut self.is_gap) {
            sink.gap();
        }
        if let Some(stamp) = self.stamp.take() {
            sink.event(stamp);
        }
    }
}

/// Takes one byte of a chunk's size line.
fn read_size(size: u64, is_extension: bool, byte: u8) -> Result<Phase, Unreadable> {
    if byte == b'\n' {
        return Ok(if size == 0 { Phase::Ended } else { Phase::ChunkData(size) });
    }
    if is_extension || matches!(byte, b'\r' | b';' | b' ') {
        return Ok(Phase::ChunkSize { size, is_extension: true });
    }
    let digit = char::from(byte).to_digit(16).ok_or(Unreadable::ChunkSize)?;
    let size = size.checked_mul(16).and_then(|size| size.checked_add(u64::from(digit)));
    Ok(Phase::ChunkSize { size: size.ok_or(Unreadable::ChunkSize)?, is_extension: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default, Debug, PartialEq, Eq)]
    struct Seen {
        sequences: Vec<u64>,
        gaps: usize,
    }

    impl Sink for Seen {
        fn event(&mut self, stamp: Stamp) {
            assert_eq!(stamp.sent_at, stamp.sequence * 1_000);
            self.sequences.push(stamp.sequence);
        }

        fn gap(&mut self) {
            self.gaps += 1;
        }
    }

    fn text() -> Vec<u8> {
        let mut text = b": hi\n\n".to_vec();
        for sequence in [7, 8] {
            Stamp { sequence, sent_at: sequence * 1_000 }.write_event(&mut text);
        }
        text.extend_from_slice(b"event: ssecar-gap\ndata: {}\n\nid: last\r\ndata:");
        Stamp { sequence: 9, sent_at: 9_000 }.write_data(&mut text);
        text.extend_from_slice(b"\r\n\r\n");
        text
    }

    /// The same text in chunks of several sizes, so that events are cut by their framing, too.
    fn chunked() -> Vec<u8> {
        let mut wire = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        let text = text();
        let (mut rest, mut size) = (&text[..], 1);
        while !rest.is_empty() {
            let (part, after) = rest.split_at(size.min(rest.len()));
            wire.extend_from_slice(format!("{:x};some=thing\r\n", part.len()).as_bytes());
            wire.extend_from_slice(part);
            wire.extend_from_slice(b"\r\n");
            (rest, size) = (after, size * 2);
        }
        wire.extend_from_slice(b"0\r\n\r\n");
        wire
    }

    fn plain() -> Vec<u8> {
        [&b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"[..], &text()].concat()
    }

    #[test]
    fn a_response_cut_at_any_byte_gives_the_same_events() {
        for wire in [chunked(), plain()] {
            for cut in 0..=wire.len() {
                let mut seen = Seen::default();
                let mut parser = Parser::new(Vec::new());
                parser.feed(&wire[..cut], &mut seen).unwrap();
                parser.feed(&wire[cut..], &mut seen).unwrap();
                assert_eq!(seen, Seen { sequences: vec![7, 8, 9], gaps: 1 }, "cut at byte {cut}");
                assert_eq!(parser.last_id(), b"last");
            }
        }
    }

    #[test]
    fn a_response_read_byte_by_byte_gives_the_same_events() {
        let mut seen = Seen::default();
        let mut parser = Parser::new(b"before".to_vec());
        let wire = chunked();
        let last_chunk = wire.len() - b"0\r\n\r\n".len();
        for (at, byte) in wire.into_iter().enumerate() {
            assert!(at > last_chunk || !parser.has_ended(), "ended at byte {at}");
            parser.feed(&[byte], &mut seen).unwrap();
        }
        assert_eq!(seen.sequences, [7, 8, 9]);
        assert!(parser.has_ended());
    }

    #[test]
    fn the_id_of_an_event_counts_only_when_the_event_is_complete() {
        let mut parser = Parser::new(b"old".to_vec());
        parser.feed(b"HTTP/1.1 200 OK\r\n\r\nid: new\ndata: x\n", &mut Seen::default()).unwrap();
        assert_eq!(parser.last_id(), b"old");
        parser.feed(b"\n", &mut Seen::default()).unwrap();
        assert_eq!(parser.last_id(), b"new");
    }

    #[test]
    fn what_is_no_stream_is_told() {
        let refused = Parser::new(Vec::new()).feed(b"HTTP/1.1 503 Busy\r\n\r\n", &mut Seen::default());
        assert_eq!(refused, Err(Unreadable::Status("http/1.1 503 busy".into())));
        let broken = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n";
        assert_eq!(Parser::new(Vec::new()).feed(broken, &mut Seen::default()), Err(Unreadable::ChunkSize));
        let endless = vec![b'x'; HELD_BYTES_MAX + 1];
        assert_eq!(Parser::new(Vec::new()).feed(&endless, &mut Seen::default()), Err(Unreadable::TooLong));
    }
}
