//! The framing of requests: cuts never matter, and what is taken, another parser reads as the same heads.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ssecar::message::framing::Framing;

/// Lengths of the heads that httparse finds at the places where ours end; a head that it refuses ends the comparison.
fn theirs(head: &[u8]) -> Option<usize> {
    let mut fields = [httparse::EMPTY_HEADER; 200];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(head) {
        Ok(httparse::Status::Complete(length)) => Some(length),
        Ok(httparse::Status::Partial) | Err(_) => None,
    }
}

fuzz_target!(|input: (u8, Vec<u8>)| {
    let (cut, bytes) = input;
    let whole = Framing::new(4096).scan(&bytes);
    let mut pieces = Framing::new(4096);
    let (mut heads, mut fault) = (0, None);
    for chunk in bytes.chunks(usize::from(cut).max(1)) {
        let scanned = pieces.scan(chunk);
        heads += scanned.heads;
        fault = scanned.fault;
        if fault.is_some() {
            break;
        }
    }
    assert_eq!(heads, whole.heads, "the cuts matter");
    assert_eq!(fault.map(|(_, fault)| fault), whole.fault.map(|(_, fault)| fault), "the cuts matter");

    // Where our first head ends, the other parser must see one end as well: no sooner, no later.
    if whole.heads > 0 {
        let mut first = Framing::new(4096);
        let end = (1..=bytes.len()).find(|end| first.scan(&bytes[end - 1..*end]).heads > 0).unwrap();
        let length = theirs(&bytes).unwrap_or_else(|| panic!("another parser refuses what is taken here"));
        assert_eq!(length, end, "another parser reads another head");
    }
});
