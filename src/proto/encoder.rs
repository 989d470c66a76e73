//! One event, comment or notice as the bytes that clients get (spec 5.2).

use std::time::Duration;

use bytes::Bytes;
use memchr::{memchr_iter, memchr2, memchr3};

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

    /// Its bytes.
    #[must_use]
    pub fn payload_len(&self) -> usize {
        self.chunk.len() - usize::from(self.payload_start) - CRLF_LEN
    }

    /// The text as one HTTP/1.1 chunk, with its size line and its CRLF.
    #[must_use]
    pub fn chunk(&self) -> &Bytes {
        &self.chunk
    }

    /// Frames event-stream text that was encoded before.
    #[must_use]
    pub fn from_payload(payload: &[u8]) -> Self {
        Self::write(payload.len(), |chunk| chunk.extend_from_slice(payload))
    }

    /// Writes a chunk of exactly `payload_len` bytes into one allocation of the right size.
    fn write(payload_len: usize, write_payload: impl FnOnce(&mut Vec<u8>)) -> Self {
        let digits = hex_digits(payload_len);
        let payload_start = usize::from(digits) + CRLF_LEN;
        let mut chunk = Vec::with_capacity(payload_start + payload_len + CRLF_LEN);
        for place in (0..digits).rev() {
            chunk.push(b"0123456789ABCDEF"[(payload_len >> (4 * place)) & 0xF]);
        }
        chunk.extend_from_slice(b"\r\n");
        write_payload(&mut chunk);
        chunk.extend_from_slice(b"\r\n");
        debug_assert_eq!(chunk.len(), chunk.capacity(), "a size line that lies breaks the connection");
        Self { chunk: Bytes::from(chunk), payload_start: digits + CRLF_LEN as u8 }
    }
}

/// An event: `id` (if any), `event` (if not the default), its `data` lines, and an empty line.
///
/// `data` holds lines joined by LF, and no CR. `id` must be free of LF, CR and NUL, `event_type` of
/// LF and CR: the decoder gives nothing else.
#[must_use]
pub fn event(id: Option<&[u8]>, event_type: &[u8], data: &[u8]) -> Encoded {
    debug_assert!(id.is_none_or(|id| memchr3(b'\n', b'\r', 0, id).is_none()), "an id of one line");
    debug_assert!(memchr2(b'\n', b'\r', event_type).is_none(), "a type of one line");
    debug_assert!(!data.contains(&b'\r'), "lines joined by LF");
    let id_len = id.map_or(0, |id| field_len("id", id));
    let type_len = if event_type.is_empty() { 0 } else { field_len("event", event_type) };
    // Each LF within becomes a line end and the next line's name.
    let data_len = field_len("data", data) + memchr_iter(b'\n', data).count() * "data: ".len();
    Encoded::write(id_len + type_len + data_len + 1, |out| {
        if let Some(id) = id {
            put_field(out, "id", id);
        }
        if !event_type.is_empty() {
            put_field(out, "event", event_type);
        }
        let mut start = 0;
        for end in memchr_iter(b'\n', data).chain([data.len()]) {
            put_field(out, "data", &data[start..end]);
            start = end + 1;
        }
        out.push(b'\n');
    })
}

/// A comment block: `:text`, and an empty line. `text` must be free of LF and CR.
#[must_use]
pub fn comment(text: &[u8]) -> Encoded {
    debug_assert!(memchr2(b'\n', b'\r', text).is_none(), "a comment of one line");
    Encoded::write(text.len() + ":\n\n".len(), |out| {
        out.push(b':');
        out.extend_from_slice(text);
        out.extend_from_slice(b"\n\n");
    })
}

/// A block of a `retry` field alone, in whole milliseconds (a fraction is dropped), and an empty
/// line.
#[must_use]
pub fn retry(after: Duration) -> Encoded {
    let millis = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
    lone_field("retry", millis.to_string().as_bytes())
}

/// A block of an `id` field alone, and an empty line: moves the point from which a client resumes,
/// dispatches nothing. `id` must be free of LF, CR and NUL.
#[must_use]
pub fn id(id: &[u8]) -> Encoded {
    debug_assert!(memchr3(b'\n', b'\r', 0, id).is_none(), "an id of one line");
    lone_field("id", id)
}

fn lone_field(name: &str, value: &[u8]) -> Encoded {
    Encoded::write(field_len(name, value) + 1, |out| {
        put_field(out, name, value);
        out.push(b'\n');
    })
}

fn field_len(name: &str, value: &[u8]) -> usize {
    name.len() + ": ".len() + value.len() + 1
}

fn put_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    // The space is written always: a client strips one, and would else strip one of the value's.
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// Hexadecimal digits of a number; one for zero, sixteen at most.
fn hex_digits(number: usize) -> u8 {
    let mut digits = 1;
    let mut rest = number >> 4;
    while rest > 0 {
        digits += 1;
        rest >>= 4;
    }
    digits
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, option, prelude::*};

    use super::*;
    use crate::proto::decoder::{DecodedEvent, Decoder, Frame};

    const HUGE: usize = 1 << 30;

    fn text(encoded: &Encoded) -> String {
        String::from_utf8(encoded.payload().to_vec()).unwrap()
    }

    /// Asserts that the block, read by a client, is this frame and nothing else.
    fn assert_reads_as(encoded: &Encoded, frame: &Frame<'_>) {
        let payload = encoded.payload();
        let mut input = &payload[..];
        let mut decoder = Decoder::new(HUGE);
        assert_eq!(decoder.next_frame(&mut input).as_ref(), Some(frame));
        assert_eq!(decoder.next_frame(&mut input), None);
    }

    #[test]
    fn an_event_is_its_fields_and_an_empty_line() {
        let whole = event(Some(b"k3.7"), b"tick", b"first\n\nthird");
        assert_eq!(text(&whole), "id: k3.7\nevent: tick\ndata: first\ndata: \ndata: third\n\n");
        assert_eq!(text(&event(None, b"", b"x")), "data: x\n\n");
        assert_eq!(text(&event(None, b"", b"")), "data: \n\n", "an event without text is one all the same");
        assert_eq!(text(&event(Some(b""), b"", b"x")), "id: \ndata: x\n\n", "an empty id clears the last");
    }

    #[test]
    fn comments_retries_and_ids_are_blocks_of_their_own() {
        assert_eq!(text(&comment(b"")), ":\n\n");
        assert_eq!(text(&comment(b" still here")), ": still here\n\n");
        assert_eq!(text(&retry(Duration::from_micros(2_500_900))), "retry: 2500\n\n");
        assert_eq!(text(&retry(Duration::ZERO)), "retry: 0\n\n");
        assert_eq!(text(&retry(Duration::MAX)), format!("retry: {}\n\n", u64::MAX));
        assert_eq!(text(&id(b"k3.8")), "id: k3.8\n\n");
        assert_eq!(text(&id(b"")), "id: \n\n");
    }

    #[test]
    fn the_chunk_tells_its_size_in_hexadecimal() {
        assert_eq!(comment(b"").chunk(), &b"3\r\n:\n\n\r\n"[..]);
        let data = [b'x'; 0x3A5 - 8];
        let encoded = event(None, b"", &data);
        assert!(encoded.chunk().starts_with(b"3A5\r\ndata: xx"));
        assert!(encoded.chunk().ends_with(b"xx\n\n\r\n"));
        assert_eq!(encoded.payload().len(), 0x3A5);
        for (length, size) in [(15, "F"), (16, "10"), (255, "FF"), (256, "100"), (0x1_0000, "10000")] {
            let encoded = comment(&vec![b'x'; length - 3]);
            assert!(encoded.chunk().starts_with(format!("{size}\r\n:").as_bytes()), "{length} bytes");
        }
    }

    /// Values of one line, with what a parser could stumble over.
    fn line() -> impl Strategy<Value = Vec<u8>> {
        vec(prop_oneof![Just(b' '), Just(b':'), 0x01_u8..=0x09, 0x0E_u8..=0xFF], 0..20)
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_what_a_client_reads(
            id in option::of(line()), event_type in line(), lines in vec(line(), 1..5),
        ) {
            let data = lines.join(&b'\n');
            let encoded = event(id.as_deref(), &event_type, &data);
            let same = DecodedEvent { id: id.as_deref(), event_type: &event_type, data: &data };
            assert_reads_as(&encoded, &Frame::Event(same));
        }

        #[test]
        fn a_chunk_is_its_size_its_payload_and_nothing_more(data in vec(0x20_u8..=0x7F, 0..5_000)) {
            let encoded = event(None, b"", &data);
            let payload = encoded.payload();
            let mut chunk = format!("{:X}\r\n", payload.len()).into_bytes();
            chunk.extend_from_slice(&payload);
            chunk.extend_from_slice(b"\r\n");
            prop_assert_eq!(encoded.chunk(), &chunk);
        }

        #[test]
        fn ids_comments_and_retries_read_back(value in line(), millis: u64) {
            assert_reads_as(&id(&value), &Frame::Id(&value));
            assert_reads_as(&comment(&value), &Frame::Comment(&value));
            let after = Duration::from_millis(millis);
            assert_reads_as(&retry(after), &Frame::Retry(after));
        }
    }
}
