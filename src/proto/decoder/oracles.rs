//! The decoder against three others: a naive parser of the whole stream, a parser by someone else,
//! and itself with the stream cut elsewhere.

use eventsource_stream::EventStream;
use futures_util::{FutureExt, StreamExt, stream};
use proptest::{collection::vec, prelude::*, sample::select};

use super::tests::{Seen, decode};
use super::*;

/// A stream's lines with the length of their ends; what no line end follows is no line.
fn lines(mut rest: &[u8]) -> Vec<(&[u8], usize)> {
    let mut lines = Vec::new();
    while let Some(end) = rest.iter().position(|byte| b"\r\n".contains(byte)) {
        let end_len = if rest[end..].starts_with(b"\r\n") { 2 } else { 1 };
        lines.push((&rest[..end], end_len));
        rest = &rest[end + end_len..];
    }
    lines
}

/// Reads a whole stream straight by the text of the standard, and by what the limit is defined as.
fn naive(bytes_max: usize, stream: &[u8]) -> Vec<Seen> {
    let mut seen = Vec::new();
    let (mut data, mut event_type, mut id, mut bytes) = (Vec::new(), Vec::new(), None::<Vec<u8>>, 0);
    for (line, end_len) in lines(stream.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(stream)) {
        if line.is_empty() {
            if bytes > bytes_max {
                seen.push(Seen::Skipped { bytes: bytes as u64, id });
            } else if data.pop().is_some() {
                seen.push(Seen::Event { id, event_type, data });
            } else if let Some(id) = id {
                seen.push(Seen::Id(id));
            }
            (data, event_type, id, bytes) = (Vec::new(), Vec::new(), None, 0);
            continue;
        }
        if let Some(text) = line.strip_prefix(b":") {
            if line.len() <= bytes_max {
                seen.push(Seen::Comment(text.to_vec()));
            }
            continue;
        }
        let is_within = bytes + line.len() < bytes_max;
        bytes += line.len() + end_len;
        if !is_within {
            continue;
        }
        let mut halves = line.splitn(2, |&byte| byte == b':');
        let name = halves.next().unwrap();
        let value = halves.next().unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"event" => event_type = value.to_vec(),
            b"data" => data.extend([value, b"\n"].concat()),
            b"id" if !value.contains(&0) => id = Some(value.to_vec()),
            b"retry" if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
                let millis = std::str::from_utf8(value).unwrap().parse().unwrap_or(u64::MAX);
                seen.push(Seen::Retry(Duration::from_millis(millis)));
            }
            _ => {}
        }
    }
    seen
}

/// Type, data and last event id of each event, as `eventsource-stream` reads them.
fn by_another_hand(stream: &str) -> Vec<(String, String, String)> {
    let chunks = stream::iter([Ok::<_, ()>(stream)]);
    let events = EventStream::new(chunks).collect::<Vec<_>>().now_or_never().unwrap();
    events.into_iter().map(|event| event.unwrap()).map(|event| (event.event, event.data, event.id)).collect()
}

/// The same of what the decoder saw.
fn as_dispatched(seen: Vec<Seen>) -> Vec<(String, String, String)> {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let mut last_id = String::new();
    let mut events = Vec::new();
    for frame in seen {
        match frame {
            Seen::Event { id, event_type, data } => {
                last_id = id.map_or(last_id, text);
                let event_type = if event_type.is_empty() { "message".into() } else { text(event_type) };
                events.push((event_type, text(data), last_id.clone()));
            }
            Seen::Id(id) => last_id = text(id),
            Seen::Comment(_) | Seen::Retry(_) => {}
            Seen::Skipped { .. } => panic!("nothing is over the limit here"),
        }
    }
    events
}

/// What streams are made of, in pieces that meet by chance.
const PIECES: &[&str] = &[
    "\n",
    "\n\n",
    "\r",
    "\r\r",
    "\r\n",
    "\r\n\r\n",
    ":",
    " ",
    ": hm\n",
    "data",
    "data:",
    "data: ",
    "data: x\n",
    "event",
    "event: e\n",
    "id",
    "id: 1\n",
    "id:2\r\n",
    "id: \0\r",
    "retry",
    "retry: 10\n",
    "retry: 5x\n",
    "0",
    "99999999999999999999",
    "\u{FEFF}",
    "\u{E9}",
    "\0",
    "x",
    "note: y\n",
    "dat",
    "a long text without any line end",
];

fn text_stream() -> impl Strategy<Value = String> {
    vec(select(PIECES), 0..40).prop_map(|pieces| pieces.concat())
}

/// Also bytes that are no UTF-8, and halves of a byte order mark.
fn byte_stream() -> impl Strategy<Value = Vec<u8>> {
    let stray = select(vec![&b"\xEF"[..], b"\xEF\xBB", b"\xBF", b"\xFF", b"\xC3\x28"]);
    let piece = prop_oneof![8 => select(PIECES).prop_map(str::as_bytes), 1 => stray];
    vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// Cuts a stream into chunks of these lengths, again and again; some may be empty.
fn cut<'s>(mut stream: &'s [u8], lengths: &[usize]) -> Vec<&'s [u8]> {
    let mut chunks = Vec::new();
    for length in lengths.iter().cycle().take(10_000) {
        let (chunk, rest) = stream.split_at((*length).min(stream.len()));
        chunks.push(chunk);
        stream = rest;
        if stream.is_empty() {
            break;
        }
    }
    chunks.push(stream);
    chunks
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn it_reads_what_a_naive_parser_reads(stream in byte_stream(), bytes_max in 0_usize..100) {
        prop_assert_eq!(decode(bytes_max, [&stream[..]]), naive(bytes_max, &stream));
        prop_assert_eq!(decode(usize::MAX, [&stream[..]]), naive(usize::MAX, &stream));
    }

    #[test]
    fn it_dispatches_what_another_crate_dispatches(stream in text_stream()) {
        // That crate waits for the byte behind a CR, and panics at a byte order mark (0.2.3).
        let stream = stream.trim_start_matches('\u{FEFF}').to_owned() + ":";
        prop_assert_eq!(as_dispatched(decode(usize::MAX, [stream.as_bytes()])), by_another_hand(&stream));
    }

    #[test]
    fn the_cuts_between_chunks_never_matter(
        stream in byte_stream(), lengths in vec(0_usize..9, 1..20), bytes_max in 0_usize..100,
    ) {
        let chunks = cut(&stream, &lengths);
        prop_assert_eq!(decode(bytes_max, chunks), decode(bytes_max, [&stream[..]]));
        prop_assert_eq!(decode(bytes_max, stream.chunks(1)), decode(bytes_max, [&stream[..]]));
    }
}
