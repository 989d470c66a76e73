//! The pure core of ssecar, so many times: `ssecar-micro decoder|record|read|fill EVENTS`. Prints the nanoseconds that the
//! work itself took and the bytes of event text that it read. Under callgrind, the difference between two counts is what
//! an event costs; that is exact, and the same on every run.

use std::hint::black_box;
use std::time::{Duration, Instant};

use ssecar::proto::decoder::{Decoder, Frame};
use ssecar::proto::event_id::{Epoch, EventIds};
use ssecar::proto::log::{Chunks, Cursor, LateJoin, Log, LogSettings, ReplayLimits};
use ssecar::proto::recorder::{Recorder, RecorderSettings};

/// What the proxy reads from its upstream at once.
const CHUNK_BYTES: usize = 16 * 1024;
/// The bytes of an event with its empty line.
const EVENT_BYTES: usize = 200;
const EVENT_BYTES_MAX: usize = 1 << 20;
/// Events in the text that is read over and over: more than a first-level cache holds.
const TEXT_EVENTS: usize = 1_000;
/// Events between two looks at what clients still need, as the session's task takes them.
const TRIM_EVERY: usize = 64;

fn main() -> Result<(), String> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [work, events] = &arguments[..] else {
        return Err("give the work and the number of events".to_owned());
    };
    let events: usize = events.parse().map_err(|_| format!("{events} is no number"))?;
    let (nanoseconds, bytes) = match work.as_str() {
        "decoder" => decode(events),
        "record" => record(events),
        "read" => read(events, true),
        "fill" => read(events, false),
        other => return Err(format!("no work {other}")),
    };
    println!("{nanoseconds} {bytes}");
    Ok(())
}

/// An event of [`EVENT_BYTES`], with an id, as services send it.
fn event(number: usize) -> String {
    let head = format!("id: {number:012}\ndata: ");
    let data = "x".repeat(EVENT_BYTES - head.len() - 2);
    format!("{head}{data}\n\n")
}

/// Pieces of a stream: the text again and again, until there were so many events.
fn pieces(text: &[u8], events: usize) -> impl Iterator<Item = &[u8]> {
    (0..events.div_ceil(TEXT_EVENTS)).flat_map(move |round| {
        let left = (events - round * TEXT_EVENTS).min(TEXT_EVENTS);
        text[..left * EVENT_BYTES].chunks(CHUNK_BYTES)
    })
}

fn text() -> Vec<u8> {
    (0..TEXT_EVENTS).map(event).collect::<String>().into_bytes()
}

/// Cuts a stream into events.
fn decode(events: usize) -> (u128, usize) {
    let text = text();
    let mut decoder = Decoder::new(EVENT_BYTES_MAX);
    let mut bytes = 0;
    let start = Instant::now();
    for piece in pieces(&text, events) {
        bytes += piece.len();
        let mut input = black_box(piece);
        while let Some(frame) = decoder.next_frame(&mut input) {
            if let Frame::Event(event) = black_box(frame) {
                black_box(event.data);
            }
        }
    }
    (start.elapsed().as_nanos(), bytes)
}

fn log() -> Log {
    let settings = LogSettings {
        replay: ReplayLimits { events: 50, bytes: 1 << 20 },
        client_lag_max: 1 << 20,
        event_ids: EventIds::Own,
        gap_event: Some("ssecar-gap".to_owned()),
        late_join: LateJoin::Live,
    };
    Log::new(settings, Epoch::from_random(7), None)
}

/// Decodes, numbers, encodes and stores: all that is done once for each event, however many clients there are.
/// The upstream gives no ids here, since a text that comes again and again would be taken for repetitions.
fn record(events: usize) -> (u128, usize) {
    let head = "event: tick\ndata: ";
    let event = format!("{head}{}\n\n", "x".repeat(EVENT_BYTES - head.len() - 2));
    let text = event.repeat(TEXT_EVENTS).into_bytes();
    let mut log = log();
    let settings = RecorderSettings {
        event_bytes_max: EVENT_BYTES_MAX,
        ephemeral: Vec::new(),
        ephemeral_without_id: true,
        drop_comments: false,
        hides_retry: false,
        end_events: Vec::new(),
        opening_pause: Duration::from_millis(250),
    };
    let epoch = Epoch::from_random(7);
    let mut recorder = Recorder::new(settings, None);
    let start = Instant::now();
    recorder.begin(true, epoch, start, &mut log);
    let mut bytes = 0;
    for piece in pieces(&text, events) {
        bytes += piece.len();
        black_box(recorder.record(black_box(piece), epoch, start, &mut log));
        if log.wants_trim() {
            log.trim(log.head());
        }
    }
    (start.elapsed().as_nanos(), bytes)
}

/// Reads each event from the log as a client that is up to date does: one chunk at a time, without copying.
/// The log is filled as it is read. Filling is left out of the time; `fill` does nothing else, and is taken off what
/// callgrind counts.
fn read(events: usize, is_read: bool) -> (u128, usize) {
    let mut log = log();
    let mut cursor: Cursor = log.join(LateJoin::Live).cursor;
    let data = "x".repeat(EVENT_BYTES - "data: \n\n".len());
    let (mut nanoseconds, mut bytes) = (0, 0);
    for round in 0..events.div_ceil(TRIM_EVERY) {
        let count = (events - round * TRIM_EVERY).min(TRIM_EVERY);
        let mut places = Vec::with_capacity(count);
        for _ in 0..count {
            places.push(log.join(LateJoin::Live).cursor);
            log.append_event(None, b"", data.as_bytes());
        }
        let start = Instant::now();
        for place in places.iter_mut().filter(|_| is_read) {
            let mut chunks = Chunks::default();
            // Room for one: the client is behind by one event.
            black_box(log.chunks(place, 1, &mut chunks));
            for chunk in chunks.iter() {
                bytes += chunk.text_len;
                cursor = chunk.behind;
            }
            black_box(&chunks);
        }
        nanoseconds += start.elapsed().as_nanos();
        if !is_read {
            cursor = log.join(LateJoin::Live).cursor;
        }
        log.trim(cursor.next());
    }
    (nanoseconds, bytes)
}
