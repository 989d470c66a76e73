//! The decoder of event streams: whatever comes, wherever it is cut, it reads what another crate's parser reads, within its
//! bounds; and what the encoder writes of it reads as the same again.
#![no_main]

use eventsource_stream::EventStream;
use futures_util::{FutureExt, StreamExt, stream};
use libfuzzer_sys::fuzz_target;
use ssecar::proto::decoder::{Decoder, Frame};
use ssecar::proto::encoder;

/// An event: id of its block, type, data.
type Event = (Option<Vec<u8>>, Vec<u8>, Vec<u8>);

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Event(Event),
    Id(Vec<u8>),
    Comment(Vec<u8>),
    Retry(u128),
    Skipped(u64),
}

fn decode<'a>(bytes_max: usize, chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Seen> {
    let mut decoder = Decoder::new(bytes_max);
    let mut seen = Vec::new();
    for mut chunk in chunks {
        while let Some(frame) = decoder.next_frame(&mut chunk) {
            seen.push(match frame {
                Frame::Event(event) => Seen::Event((
                    event.id.map(<[u8]>::to_vec),
                    event.event_type.to_vec(),
                    event.data.to_vec(),
                )),
                Frame::Id(id) => Seen::Id(id.to_vec()),
                Frame::Comment(comment) => Seen::Comment(comment.to_vec()),
                Frame::Retry(after) => Seen::Retry(after.as_millis()),
                Frame::Skipped { bytes, .. } => Seen::Skipped(bytes),
            });
        }
        assert!(chunk.is_empty(), "not all was read");
    }
    seen
}

/// Type, data and last event id, as a client would dispatch them.
fn dispatched(seen: &[Seen]) -> Vec<(String, String, String)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut last = String::new();
    let mut events = Vec::new();
    for frame in seen {
        match frame {
            Seen::Event((id, event_type, data)) => {
                if let Some(id) = id {
                    last = text(id);
                }
                let event_type = if event_type.is_empty() { "message".into() } else { text(event_type) };
                events.push((event_type, text(data), last.clone()));
            }
            Seen::Id(id) => last = text(id),
            Seen::Comment(_) | Seen::Retry(_) => {}
            Seen::Skipped(_) => panic!("nothing is over the limit here"),
        }
    }
    events
}

fuzz_target!(|input: (u8, Vec<u8>)| {
    let (cut, bytes) = input;
    let whole = decode(usize::MAX, [&bytes[..]]);
    let chunks = bytes.chunks(usize::from(cut).max(1));
    assert_eq!(decode(usize::MAX, chunks.clone()), whole, "the cuts matter");
    let bounded = decode(64, chunks);
    for seen in &bounded {
        if let Seen::Event((_, event_type, data)) = seen {
            assert!(event_type.len() + data.len() <= 64, "over the limit");
        }
    }
    // That crate waits for the byte behind a CR, and panics at a byte order mark (0.2.3).
    if let Ok(text) = std::str::from_utf8(&bytes) {
        let text = text.trim_start_matches('\u{feff}').to_owned() + ":";
        let events =
            EventStream::new(stream::iter([Ok::<_, ()>(&text)])).collect::<Vec<_>>().now_or_never().unwrap();
        let theirs: Vec<_> = events
            .into_iter()
            .map(|event| event.unwrap())
            .map(|event| (event.event, event.data, event.id))
            .collect();
        assert_eq!(dispatched(&decode(usize::MAX, [text.as_bytes()])), theirs, "another parser disagrees");
    }
    for seen in whole {
        let Seen::Event((id, event_type, data)) = seen else { continue };
        let encoded = encoder::event(id.as_deref(), &event_type, &data).payload();
        assert_eq!(
            decode(usize::MAX, [&encoded[..]]),
            [Seen::Event((id, event_type, data))],
            "not the same again"
        );
    }
});
