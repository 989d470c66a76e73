//! Event ids: whatever a client sends is taken for something, and what ssecar writes comes back as what it was.
#![no_main]

use http::HeaderValue;
use libfuzzer_sys::fuzz_target;
use ssecar::proto::event_id::{EventId, LastEventId};

fuzz_target!(|value: &[u8]| {
    let last = LastEventId::parse(value);
    // What is taken for ours is written as it was, so that no two texts stand for one place.
    assert_eq!(last.to_bytes(), value);
    if let LastEventId::Own(EventId { epoch, seq, upstream }) = last {
        assert!(HeaderValue::from_bytes(value).is_ok(), "an id of ours can stand in a header");
        let again = EventId { epoch, seq, upstream }.to_bytes();
        assert_eq!(again, value);
    }
    // An upstream's id comes back whole, if it is not too long; these bytes no event stream can give it.
    let value: Vec<u8> = value.iter().copied().filter(|byte| !matches!(byte, 0 | b'\r' | b'\n')).collect();
    let LastEventId::Own(EventId { epoch, .. }) = LastEventId::parse(b"00000000.1") else {
        panic!("not ours")
    };
    let id = EventId { epoch, seq: 7, upstream: Some(value.clone().into()) };
    let text = id.to_bytes();
    assert!(text.iter().all(|byte| (b'!'..=b'~').contains(byte)), "not visible ASCII");
    match LastEventId::parse(&text) {
        LastEventId::Own(again) if again.upstream.is_some() => assert_eq!(again, id),
        LastEventId::Own(again) => assert!(again.seq == 7 && value.len() > 1000, "the upstream's id is lost"),
        LastEventId::Foreign(_) => panic!("not ours"),
    }
});
