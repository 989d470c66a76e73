//! How fast the decoder reads events of about 200 bytes, as a stream brings them. Prints GB/s on
//! one core: `cargo bench --bench decoder`. Without `--bench`, one short round shows that it runs.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]

use std::{hint::black_box, time::Instant};

use ssecar::proto::decoder::{Decoder, Frame};

const EVENT_BYTES_MAX: usize = 1 << 20;
const EVENTS: usize = 10_000;

fn main() {
    let rounds = if std::env::args().any(|arg| arg == "--bench") { 500 } else { 1 };
    let data = "x".repeat(190);
    let token = "x".repeat(60);
    let lines = format!("data: {}\n", "x".repeat(44)).repeat(4);
    for (name, event) in [
        ("one data line, LF", format!("data: {data}\n\n")),
        ("one data line, CRLF", format!("data: {data}\r\n\r\n")),
        ("four data lines", format!("{lines}\n")),
        ("id, event, data", format!("id: 1234567890\nevent: update\ndata: {}\n\n", &data[..160])),
        ("60 bytes (tokens)", format!("data: {token}\n\n")),
        ("64 KiB", format!("data: {}\n\n", "x".repeat(1 << 16))),
    ] {
        let stream = event.repeat(EVENTS.min((1 << 24) / event.len()));
        for chunk_bytes in [16 * 1024, 1_400] {
            let speed = measure(stream.as_bytes(), chunk_bytes, rounds);
            println!("{name:<20} in chunks of {chunk_bytes:>5}: {speed:.2} GB/s");
        }
    }
}

/// Decodes the stream so many times and answers GB/s.
fn measure(stream: &[u8], chunk_bytes: usize, rounds: usize) -> f64 {
    let mut decoder = Decoder::new(EVENT_BYTES_MAX);
    let mut data_bytes = 0;
    let start = Instant::now();
    for _ in 0..rounds {
        for chunk in stream.chunks(chunk_bytes) {
            let mut input = black_box(chunk);
            while let Some(frame) = decoder.next_frame(&mut input) {
                if let Frame::Event(event) = black_box(frame) {
                    data_bytes += event.data.len();
                }
            }
        }
    }
    let elapsed = start.elapsed();
    assert!(data_bytes > stream.len() / 2 * rounds, "the events were read");
    (stream.len() * rounds) as f64 / elapsed.as_secs_f64() / 1e9
}
