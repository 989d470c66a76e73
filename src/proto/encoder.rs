//! One event, comment or notice as the bytes that clients get (spec 5.2).

use bytes::Bytes;

/// A block of event-stream text, already framed as one HTTP/1.1 chunk (RFC 9112, 7.1), so that it
/// can be written to a socket as it stands; [`Encoded::payload`] is the part within.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    chunk: Bytes,
    payload_start: u8,
}

/// Line ends around a chunk's data.
const CRLF_LEN: usize = 2;

impl Encoded {
    /// The event-stream text.
    #[must_use]
    pub fn payload(&self) -> Bytes {
        self.chunk.slice(usize::from(self.payload_start)..self.chunk.len() - CRLF_LEN)
    }

    /// The text as one HTTP/1.1 chunk, with its size line and its CRLF.
    #[must_use]
    pub fn chunk(&self) -> &Bytes {
        &self.chunk
    }
}

/// An event: `id` (if any), `event` (if not the default), its `data` lines, and an empty line.
///
/// `data` holds lines joined by LF. `id` must be free of LF, CR and NUL, `event_type` of LF and CR:
/// the decoder gives nothing else.
#[must_use]
pub fn event(_id: Option<&[u8]>, _event_type: &[u8], _data: &[u8]) -> Encoded {
    Encoded { chunk: Bytes::new(), payload_start: 0 }
}

/// A comment block: `:text`, and an empty line.
#[must_use]
pub fn comment(_text: &[u8]) -> Encoded {
    Encoded { chunk: Bytes::new(), payload_start: 0 }
}

/// A block of a `retry` field alone, in whole milliseconds, and an empty line.
#[must_use]
pub fn retry(_after: std::time::Duration) -> Encoded {
    Encoded { chunk: Bytes::new(), payload_start: 0 }
}

/// A block of an `id` field alone, and an empty line: moves the point from which a client resumes,
/// dispatches nothing.
#[must_use]
pub fn id(_id: &[u8]) -> Encoded {
    Encoded { chunk: Bytes::new(), payload_start: 0 }
}
