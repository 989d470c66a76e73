//! The rules of the format one by one, each with its stream cut at every byte.

use super::*;

/// Large enough for every stream here that is not about the limit.
const ROOMY: usize = 1 << 20;

/// A frame that owns its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    Event { id: Option<Vec<u8>>, event_type: Vec<u8>, data: Vec<u8> },
    Id(Vec<u8>),
    Comment(Vec<u8>),
    Retry(Duration),
    Skipped { bytes: u64, id: Option<Vec<u8>> },
}

impl From<Frame<'_>> for Seen {
    fn from(frame: Frame<'_>) -> Self {
        match frame {
            Frame::Event(DecodedEvent { id, event_type, data }) => Self::Event {
                id: id.map(<[u8]>::to_vec),
                event_type: event_type.to_vec(),
                data: data.to_vec(),
            },
            Frame::Id(id) => Self::Id(id.to_vec()),
            Frame::Comment(text) => Self::Comment(text.to_vec()),
            Frame::Retry(after) => Self::Retry(after),
            Frame::Skipped { bytes, id } => Self::Skipped { bytes, id: id.map(<[u8]>::to_vec) },
        }
    }
}

/// All frames of a stream that comes in these chunks.
pub(super) fn decode<'c>(bytes_max: usize, chunks: impl IntoIterator<Item = &'c [u8]>) -> Vec<Seen> {
    let mut decoder = Decoder::new(bytes_max);
    let mut seen = Vec::new();
    for chunk in chunks {
        feed(&mut decoder, chunk, |frame| seen.push(Seen::from(frame)));
    }
    seen
}

fn feed(decoder: &mut Decoder, mut chunk: &[u8], mut see: impl FnMut(Frame<'_>)) {
    while let Some(frame) = decoder.next_frame(&mut chunk) {
        see(frame);
    }
    assert!(chunk.is_empty(), "all is taken");
}

/// Asserts the frames of a stream: whole, byte by byte, and cut in two at every byte.
fn assert_frames_within(bytes_max: usize, stream: &[u8], expected: &[Seen]) {
    assert_eq!(decode(bytes_max, [stream]), expected, "whole");
    assert_eq!(decode(bytes_max, stream.chunks(1)), expected, "byte by byte");
    for cut in 0..=stream.len() {
        let (left, right) = stream.split_at(cut);
        assert_eq!(decode(bytes_max, [left, b"", right]), expected, "cut at byte {cut}");
    }
}

fn assert_frames(stream: impl AsRef<[u8]>, expected: &[Seen]) {
    assert_frames_within(ROOMY, stream.as_ref(), expected);
}

fn message(data: &str) -> Seen {
    Seen::Event { id: None, event_type: Vec::new(), data: data.into() }
}

fn message_with_id(id: &str, data: &str) -> Seen {
    Seen::Event { id: Some(id.into()), event_type: Vec::new(), data: data.into() }
}

fn typed(event_type: &str, data: &str) -> Seen {
    Seen::Event { id: None, event_type: event_type.into(), data: data.into() }
}

fn id(id: &str) -> Seen {
    Seen::Id(id.into())
}

fn comment(text: &str) -> Seen {
    Seen::Comment(text.into())
}

fn retry(millis: u64) -> Seen {
    Seen::Retry(Duration::from_millis(millis))
}

fn skipped(bytes: u64, id: Option<&str>) -> Seen {
    Seen::Skipped { bytes, id: id.map(Into::into) }
}

#[test]
fn lines_end_in_lf_cr_or_crlf_in_any_mixture() {
    let lines = "id: 1\ndata: a\ndata: b\n\n: hm\n\ndata: c\n\n";
    let expected = [message_with_id("1", "a\nb"), comment(" hm"), message("c")];
    for line_end in ["\n", "\r", "\r\n"] {
        assert_frames(lines.replace('\n', line_end), &expected);
    }
    assert_frames(
        "data: a\r\ndata: b\rdata: c\n\r\ndata: d\n\rdata: e\r\r",
        &[message("a\nb\nc"), message("d"), message("e")],
    );
}

#[test]
fn an_empty_line_ended_by_cr_dispatches_without_waiting_for_a_line_feed() {
    assert_frames("data: a\r\n\r", &[message("a")]);
    assert_frames("data: a\r\r", &[message("a")]);
    assert_frames("data: a\r\n\r\n\ndata: b\r\r\n", &[message("a"), message("b")]);
}

#[test]
fn one_byte_order_mark_is_dropped_at_the_very_start_only() {
    assert_frames(b"\xEF\xBB\xBFdata: a\n\n", &[message("a")]);
    assert_frames(b"\xEF\xBB\xBF\n\xEF\xBB\xBFdata: a\n\ndata: b\n\n", &[message("b")]);
    assert_frames(b"\xEF\xBB\xBF\xEF\xBB\xBFdata: a\n\n", &[]);
    assert_frames(b"\xEF\xBBdata: a\ndata: b\n\n", &[message("b")]);
    assert_frames(b"\xEF\n\xEFdata: a\ndata: b\n\n", &[message("b")]);
}

#[test]
fn data_lines_are_joined_and_empty_ones_count() {
    assert_frames("data: a\ndata:\ndata\ndata: b\n\n", &[message("a\n\n\nb")]);
    assert_frames("data\n\n", &[message("")]);
    assert_frames("data:\ndata: \n\n", &[message("\n")]);
}

#[test]
fn one_space_after_the_colon_is_stripped_and_no_more() {
    assert_frames("data:a\n\n", &[message("a")]);
    assert_frames("data:  a \n\n", &[message(" a ")]);
    assert_frames("data:\ta\n\n", &[message("\ta")]);
    assert_frames(
        "event:  e\nid:  7\ndata: a: b:c\n\n",
        &[Seen::Event { id: Some(b" 7".to_vec()), event_type: b" e".to_vec(), data: b"a: b:c".to_vec() }],
    );
}

#[test]
fn unknown_fields_are_ignored() {
    assert_frames("note: x\ndata : x\n data: x\nDATA: x\ndatax\ndat\nno colon\ndata: a\n\n", &[message("a")]);
    assert_frames("note: x\n\nevent: e\n\ndata: a\n\n", &[message("a")]);
}

#[test]
fn comments_are_told_line_by_line_wherever_they_stand() {
    assert_frames(
        ":\n: a\n\ndata: x\n::b\ndata: y\n\n",
        &[comment(""), comment(" a"), comment(":b"), message("x\ny")],
    );
}

#[test]
fn the_last_type_wins_and_ends_with_its_block() {
    assert_frames("event: a\nevent: b\ndata: x\n\ndata: y\n\n", &[typed("b", "x"), message("y")]);
    assert_frames("event: a\nevent\ndata: x\n\n", &[message("x")]);
    assert_frames("data: x\nevent: a\n\n", &[typed("a", "x")]);
}

#[test]
fn the_last_valid_id_wins() {
    assert_frames("id: 1\nid: 2\ndata: x\n\ndata: y\n\n", &[message_with_id("2", "x"), message("y")]);
    assert_frames("id: 1\nid: 2\0\ndata: x\n\n", &[message_with_id("1", "x")]);
    assert_frames("id: \0\ndata: x\n\n", &[message("x")]);
    assert_frames("id: 1\nid\ndata: x\n\n", &[message_with_id("", "x")]);
}

#[test]
fn a_block_without_data_dispatches_nothing_but_may_set_the_id() {
    assert_frames("id: 1\nevent: e\n\nid\n\nid: 2\0\n\nevent: e\n\n\n", &[id("1"), id("")]);
}

#[test]
fn retry_is_digits_only_and_told_where_it_stands() {
    assert_frames(
        "retry: 10\nid: 1\nretry:020\ndata: x\n\nretry: 0\n\n",
        &[retry(10), retry(20), message_with_id("1", "x"), retry(0)],
    );
    for no_number in ["", "+5", "-5", "5 ", " 5", "5.0", "1e3", "0x5", "5s", "\u{0665}"] {
        assert_frames(format!("retry: {no_number}\n\n"), &[]);
    }
    assert_frames("retry\n\n", &[]);
}

#[test]
fn a_huge_retry_counts_as_the_largest() {
    assert_frames("retry: 18446744073709551615\n\n", &[retry(u64::MAX)]);
    assert_frames("retry: 18446744073709551616\n\n", &[retry(u64::MAX)]);
    assert_frames(format!("retry: {}\n\n", "9".repeat(300)), &[retry(u64::MAX)]);
    assert_frames(format!("retry: {}7\n\n", "0".repeat(300)), &[retry(7)]);
}

#[test]
fn what_the_end_of_the_stream_cuts_off_is_never_told() {
    assert_frames("data: a\n\ndata: b\n", &[message("a")]);
    assert_frames("data: a\n\ndata: b", &[message("a")]);
    assert_frames("data: a\n\nretry: 5", &[message("a")]);
    assert_frames("data: a\n\n: hm", &[message("a")]);
    assert_frames("data: a\n\nid: 7\n", &[message("a")]);
    assert_frames("", &[]);
}

#[test]
fn bytes_that_are_no_utf8_pass_untouched() {
    let data = [0xFF, 0x00, 0xC3, 0x28, 0xE2, 0x82, 0xFE, 0x85];
    let stream = [b"id: \xC3\nevent: \xFF\ndata: ", &data[..], b"\n: \xF0\x9F\n\n"].concat();
    assert_frames(
        stream,
        &[
            Seen::Comment(b" \xF0\x9F".to_vec()),
            Seen::Event { id: Some(vec![0xC3]), event_type: vec![0xFF], data: data.to_vec() },
        ],
    );
}

/// The examples of WHATWG HTML, 9.2.6.
#[test]
fn the_examples_of_the_standard_read_as_it_says() {
    assert_frames("data: YHOO\ndata: +2\ndata: 10\n\n", &[message("YHOO\n+2\n10")]);
    assert_frames(
        ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
        &[
            comment(" test stream"),
            message_with_id("1", "first event"),
            message_with_id("", "second event"),
            message(" third event"),
        ],
    );
    assert_frames("data\n\ndata\ndata\n\ndata:", &[message(""), message("\n")]);
    assert_frames("data:test\n\ndata: test\n\n", &[message("test"), message("test")]);
    assert_frames(
        "event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\n",
        &[typed("add", "73857293"), typed("remove", "2153")],
    );
}

#[test]
fn a_block_of_exactly_the_limit_is_delivered_and_one_byte_more_skipped() {
    let bytes = "id: 1\ndata: abc\n".len();
    let stream = b"id: 1\ndata: abc\n\ndata: x\n\n";
    let delivered = [message_with_id("1", "abc"), message("x")];
    assert_frames_within(bytes, stream, &delivered);
    let told = [skipped(bytes as u64, Some("1")), message("x")];
    assert_frames_within(bytes - 1, stream, &told);

    let with_crlf = b"id: 1\r\ndata: abc\r\n\r\ndata: x\r\n\r\n";
    assert_frames_within(bytes + 2, with_crlf, &delivered);
    let told = [skipped(bytes as u64 + 2, Some("1")), message("x")];
    assert_frames_within(bytes + 1, with_crlf, &told);
}

#[test]
fn a_skipped_block_is_told_once_with_all_its_bytes() {
    let block = "data: 0123456789\ndata: 0123456789\nevent: e\n";
    let stream = format!("data: a\n\n{block}\ndata: b\n\n{block}\n");
    let told = skipped(block.len() as u64, None);
    assert_frames_within(20, stream.as_bytes(), &[message("a"), told.clone(), message("b"), told]);
}

#[test]
fn fields_past_the_limit_take_no_effect() {
    let late = "data: 0123456789abcdef\nid: 7\nretry: 5\nevent: e\n";
    let stream = format!("id: 6\nretry: 4\n{late}\ndata: x\n\n");
    let bytes = ("id: 6\nretry: 4\n".len() + late.len()) as u64;
    assert_frames_within(20, stream.as_bytes(), &[retry(4), skipped(bytes, Some("6")), message("x")]);
}

#[test]
fn a_long_line_is_skipped_whatever_its_field() {
    let long = "x".repeat(40);
    for line in
        [format!("data: {long}\n"), format!("{long}\n"), format!("id: {long}\n"), format!("retry: {long}\n")]
    {
        let stream = format!("{line}\ndata: a\n\n");
        assert_frames_within(30, stream.as_bytes(), &[skipped(line.len() as u64, None), message("a")]);
    }
}

#[test]
fn comments_are_no_part_of_a_block_and_never_skip_it() {
    let long = "x".repeat(40);
    let stream = format!("data: a\n:{long}\r\n: hm\r\ndata: b\n\ndata: {long}\n: still\ndata\n\n:{long}\n");
    assert_frames_within(
        20,
        stream.as_bytes(),
        &[comment(" hm"), message("a\nb"), comment(" still"), skipped(52, None)],
    );
    assert_frames_within(4, b":123\n:1234\n:12\n", &[comment("123"), comment("12")]);
}

#[test]
fn an_endless_line_holds_no_memory() {
    const LIMIT: usize = 1 << 20;
    let chunk = vec![b'x'; 1 << 20];
    for start in [&b"data: "[..], b": ", b"", b"id: "] {
        let mut decoder = Decoder::new(LIMIT);
        feed(&mut decoder, start, |frame| panic!("{frame:?}"));
        for _ in 0..200 {
            feed(&mut decoder, &chunk, |frame| panic!("{frame:?}"));
            assert!(decoder.bytes_held() <= 2 * LIMIT, "{} bytes", decoder.bytes_held());
        }
        assert!(decoder.bytes_held() < LIMIT / 10, "what is dropped is freed");
    }
}

#[test]
fn an_event_of_a_gibibyte_is_skipped_and_the_stream_goes_on() {
    const LIMIT: usize = 1 << 20;
    let lines = [&b"data: "[..], &[b'x'; (1 << 18) - 7], b"\n"].concat().repeat(16);
    let mut decoder = Decoder::new(LIMIT);
    let mut held_max = 0;
    for _ in 0..(1 << 30) / lines.len() {
        feed(&mut decoder, &lines, |frame| panic!("{frame:?}"));
        held_max = held_max.max(decoder.bytes_held());
    }
    assert!(held_max <= 2 * LIMIT, "{held_max} bytes");
    assert!(decoder.bytes_held() < LIMIT / 10, "what came before the limit is freed at once");
    let mut seen = Vec::new();
    feed(&mut decoder, b"id: 9\n\ndata: a\n\n", |frame| seen.push(Seen::from(frame)));
    assert_eq!(seen, [skipped((1 << 30) + 6, None), message("a")]);
    assert!(decoder.bytes_held() < LIMIT / 10);
}

#[test]
fn a_block_and_a_comment_within_it_are_the_most_that_is_held() {
    const LIMIT: usize = 100_000;
    let mut stream = [b"id: ", &[b'i'; 20_000][..], b"\nevent: ", &[b'e'; 10_000], b"\n"].concat();
    while stream.len() + 7_007 < LIMIT {
        stream.extend_from_slice(b"data: ");
        stream.extend_from_slice(&[b'd'; 7_000]);
        stream.push(b'\n');
    }
    stream.push(b':');
    stream.extend_from_slice(&[b'c'; LIMIT - 1]);
    stream.extend_from_slice(b"\n\n");
    let mut decoder = Decoder::new(LIMIT);
    let mut held_max = 0;
    let mut frames = 0;
    for chunk in stream.chunks(700) {
        feed(&mut decoder, chunk, |_| frames += 1);
        held_max = held_max.max(decoder.bytes_held());
    }
    assert_eq!(frames, 2, "the comment and the event");
    assert!(held_max <= 2 * LIMIT + LIMIT / 2, "{held_max} bytes");
    assert!(decoder.bytes_held() <= 4 * 8 * 1024, "a huge event leaves nothing behind");
}
