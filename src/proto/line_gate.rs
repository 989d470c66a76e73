//! Where a heartbeat may be slipped into an event stream that is forwarded byte for byte (spec
//! 3.6), such as the answer to a POST.
//!
//! Reads no events: it only knows line ends. The stream must be plain text; in one that carries a
//! `Content-Encoding` there is no place for a heartbeat.

use bytes::{Bytes, BytesMut};

use super::bom::LeadingBom;

/// A comment line, and no empty line after it: that one would end a block which is only half sent.
const HEARTBEAT: &[u8] = b":\n";

/// Watches one forwarded stream. Every chunk goes through [`LineGate::pass`], every heartbeat comes
/// from [`LineGate::heartbeat`], and the client gets both in the order of the calls.
#[derive(Debug, Clone)]
pub struct LineGate {
    state: State,
}

#[derive(Debug, Clone)]
enum State {
    /// The client has nothing yet.
    Fresh,
    /// The client has heartbeats only. A byte order mark would no longer lead the stream, and
    /// would spoil the first field's name, so it must not get through.
    Opened(LeadingBom),
    /// The client has bytes of the stream, the last of them LF or not.
    Flowing { after_line_feed: bool },
}

impl LineGate {
    /// At the start of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self { state: State::Fresh }
    }

    /// What the client must get of the next chunk: all of it, but for a byte order mark behind a
    /// heartbeat. What may be the beginning of such a mark, two bytes at most, is held back until
    /// the next chunk or [`LineGate::finish`]; the answer may be empty.
    #[must_use]
    pub fn pass(&mut self, chunk: Bytes) -> Bytes {
        let (passed, was_after_line_feed) = match &mut self.state {
            State::Fresh if chunk.is_empty() => return chunk,
            State::Fresh => (chunk, false),
            State::Flowing { after_line_feed } => (chunk, *after_line_feed),
            State::Opened(bom) => {
                let mut rest = &chunk[..];
                let Some(held) = bom.strip(&mut rest) else { return Bytes::new() };
                (join(held, chunk.slice_ref(rest)), true)
            }
        };
        let after_line_feed = passed.last().map_or(was_after_line_feed, |&last| last == b'\n');
        self.state = State::Flowing { after_line_feed };
        passed
    }

    /// A heartbeat to send now, if one can stand here without changing how the stream is read: at
    /// its very start, or right after a LF. After a CR the LF of the same line end may yet come, so
    /// a stream whose lines end in CR alone gets none.
    #[must_use]
    pub fn heartbeat(&mut self) -> Option<&'static [u8]> {
        match self.state {
            State::Fresh => {
                self.state = State::Opened(LeadingBom::new());
                Some(HEARTBEAT)
            }
            // Bytes that are held back don't count: for the client, a heartbeat's LF was the last.
            State::Opened(_) => Some(HEARTBEAT),
            State::Flowing { after_line_feed } => after_line_feed.then_some(HEARTBEAT),
        }
    }

    /// What is still held back when the stream ends: it was no byte order mark after all.
    #[must_use]
    pub fn finish(self) -> &'static [u8] {
        match self.state {
            State::Opened(bom) => bom.held(),
            State::Fresh | State::Flowing { .. } => b"",
        }
    }
}

impl Default for LineGate {
    fn default() -> Self {
        Self::new()
    }
}

fn join(held: &'static [u8], rest: Bytes) -> Bytes {
    if held.is_empty() {
        return rest;
    }
    let mut joined = BytesMut::with_capacity(held.len() + rest.len());
    joined.extend_from_slice(held);
    joined.extend_from_slice(&rest);
    joined.freeze()
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;
    use crate::proto::decoder::{Decoder, Frame};

    const BYTES_MAX: usize = 64;

    /// What a client gets that is sent a heartbeat before, between and after all chunks, wherever
    /// the gate allows one.
    fn sent_with_heartbeats(chunks: &[&[u8]]) -> Vec<u8> {
        let mut gate = LineGate::new();
        let mut sent = Vec::new();
        for chunk in chunks {
            sent.extend_from_slice(gate.heartbeat().unwrap_or_default());
            sent.extend_from_slice(&gate.pass(Bytes::copy_from_slice(chunk)));
        }
        sent.extend_from_slice(gate.heartbeat().unwrap_or_default());
        sent.extend_from_slice(gate.finish());
        sent
    }

    /// The frames of a stream, but for empty comments.
    fn read(stream: &[u8]) -> Vec<String> {
        let mut decoder = Decoder::new(BYTES_MAX);
        let mut input = stream;
        let mut frames = Vec::new();
        while let Some(frame) = decoder.next_frame(&mut input) {
            if frame != Frame::Comment(b"") {
                frames.push(format!("{frame:?}"));
            }
        }
        frames
    }

    #[test]
    fn a_heartbeat_stands_at_the_start_and_after_a_line_feed_only() {
        let mut gate = LineGate::new();
        assert_eq!(gate.pass(Bytes::new()), "");
        assert_eq!(gate.heartbeat(), Some(&b":\n"[..]), "before the first byte");
        for (chunk, allowed) in [
            ("data: x", false),
            ("\n", true),
            ("", true),
            ("data: y\r", false),
            ("", false),
            ("\n", true),
            (":", false),
            ("\r\n", true),
            ("\n", true),
            ("data: z\r\r", false),
        ] {
            assert_eq!(gate.pass(Bytes::from(chunk)), chunk);
            assert_eq!(gate.heartbeat().is_some(), allowed, "after {chunk:?}");
        }
    }

    #[test]
    fn without_a_heartbeat_the_stream_passes_as_it_is() {
        let stream = b"\xEF\xBB\xBFdata: x\r\n\r\n";
        for cut in 0..=stream.len() {
            let mut gate = LineGate::new();
            assert_eq!(gate.pass(Bytes::new()), "");
            assert_eq!(gate.pass(Bytes::from_static(&stream[..cut])), &stream[..cut]);
            assert_eq!(gate.pass(Bytes::from_static(&stream[cut..])), &stream[cut..]);
            assert_eq!(gate.finish(), b"");
        }
    }

    #[test]
    fn a_byte_order_mark_behind_a_heartbeat_is_dropped() {
        let stream = b"\xEF\xBB\xBFdata: x\n\n";
        for cut in 0..=stream.len() {
            let sent = sent_with_heartbeats(&[&stream[..cut], &stream[cut..]]);
            assert!(sent.starts_with(b":\n"));
            assert!(!sent.contains(&0xEF), "cut at byte {cut}");
            assert_eq!(read(&sent), read(stream), "cut at byte {cut}");
        }
        let mut gate = LineGate::new();
        assert!(gate.heartbeat().is_some());
        assert_eq!(gate.pass(Bytes::from_static(b"\xEF\xBB\xBF")), "");
        assert!(gate.heartbeat().is_some(), "the client still has heartbeats only");
    }

    #[test]
    fn what_only_begins_like_a_mark_comes_late_but_whole() {
        let mut gate = LineGate::new();
        assert!(gate.heartbeat().is_some());
        assert_eq!(gate.pass(Bytes::from_static(b"\xEF")), "");
        assert!(gate.heartbeat().is_some(), "what is held back is not sent");
        assert_eq!(gate.pass(Bytes::from_static(b"\xBB")), "");
        assert_eq!(gate.clone().finish(), b"\xEF\xBB", "the stream may end here");
        assert_eq!(gate.pass(Bytes::from_static(b"x")), &b"\xEF\xBBx"[..]);
        assert!(gate.heartbeat().is_none());
        assert_eq!(gate.finish(), b"");
    }

    proptest! {
        #[test]
        fn heartbeats_never_change_what_a_client_reads(
            parts in vec(select(vec![
                &b"\xEF"[..], b"\xBB", b"\xBF", b"\xEF\xBB\xBF", b"\n", b"\r", b"\r\n", b":", b" ", b"data",
                b"data: x\n", b"id: 7\r\n", b"event: e\r", b"retry: 5\n", b"\n\n", b"note: long enough to be skipped",
            ]), 0..30),
        ) {
            let sent = sent_with_heartbeats(&parts);
            let stream = parts.concat();
            prop_assert_eq!(read(&sent), read(&stream));
        }
    }
}
