use proptest::prelude::*;

use super::*;
use crate::proto::event_id::LastEventId;

fn epoch(number: u64) -> Epoch {
    Epoch::from_random(number)
}

fn settings() -> LogSettings {
    LogSettings {
        replay: ReplayLimits { events: 3, bytes: 1 << 20 },
        client_lag_max: 1 << 20,
        event_ids: EventIds::Own,
        gap_event: Some("ssecar-gap".into()),
        late_join: LateJoin::Live,
    }
}

fn log_with(change: impl FnOnce(&mut LogSettings)) -> Log {
    let mut settings = settings();
    change(&mut settings);
    Log::new(settings, epoch(1), None)
}

fn append(log: &mut Log, texts: impl IntoIterator<Item = u32>) {
    for text in texts {
        log.append_event(None, b"", text.to_string().as_bytes());
    }
}

fn all(log: &Log, cursor: &mut Cursor) -> String {
    let mut text = String::new();
    while let Read::Batch(Batch { text: bytes, .. }) = log.read(cursor, 100) {
        text.push_str(std::str::from_utf8(&bytes).unwrap());
    }
    text
}

/// The data of all events that the cursor reads, gaps as `gap:REASON`.
fn seen(log: &Log, joined: Joined) -> Vec<String> {
    let mut text: String =
        joined.first.iter().map(|encoded| String::from_utf8(encoded.payload().to_vec()).unwrap()).collect();
    let mut cursor = joined.cursor;
    text.push_str(&all(log, &mut cursor));
    text.split("\n\n").filter(|block| !block.is_empty()).map(summary).collect()
}

fn summary(block: &str) -> String {
    let data = block.lines().find_map(|line| line.strip_prefix("data: ")).unwrap_or(block);
    if block.contains("event: ssecar-gap") {
        let notice: serde_json::Value = serde_json::from_str(data).unwrap();
        return format!("gap:{}", notice["reason"].as_str().unwrap());
    }
    data.to_owned()
}

fn own(epoch_number: u64, seq: u64) -> LastEventId {
    LastEventId::Own(EventId { epoch: epoch(epoch_number), seq, upstream: None })
}

fn resumed(log: &Log, last: &LastEventId) -> Vec<String> {
    let joined = match log.resume(last) {
        Ok(cursor) => Joined { first: Vec::new(), cursor },
        Err(missing) => log.join_after_gap(last, missing),
    };
    seen(log, joined)
}

#[test]
fn a_late_client_gets_what_comes_or_the_whole_ring() {
    let mut log = log_with(|_| ());
    append(&mut log, 1..=5);
    let live = log.join(LateJoin::Live);
    let ring = log.join(LateJoin::Ring);
    append(&mut log, [6]);
    assert_eq!(seen(&log, live), ["6"]);
    assert_eq!(seen(&log, ring), ["3", "4", "5", "6"], "the ring of 3, then live");
}

#[test]
fn a_client_resumes_behind_its_last_event_as_long_as_the_ring_reaches() {
    let mut log = log_with(|_| ());
    append(&mut log, 1..=5);
    assert_eq!(resumed(&log, &own(1, 5)), Vec::<String>::new());
    assert_eq!(resumed(&log, &own(1, 4)), ["5"]);
    assert_eq!(resumed(&log, &own(1, 2)), ["3", "4", "5"], "the last event before the ring");
    assert_eq!(resumed(&log, &own(1, 1)), ["gap:too-old", "3", "4", "5"], "one event is missing");
    assert_eq!(log.resume(&own(1, 1)).unwrap_err().missed, Some(1));
    assert_eq!(resumed(&log, &own(1, 6)), ["gap:unknown-id", "3", "4", "5"], "never given");
    assert_eq!(resumed(&log, &own(1, 0)), ["gap:unknown-id", "3", "4", "5"]);
    assert_eq!(resumed(&log, &own(9, 4)), ["gap:other-epoch", "3", "4", "5"]);
    let foreign = LastEventId::Foreign(Bytes::from_static(b"x"));
    assert_eq!(resumed(&log, &foreign), ["gap:unknown-id", "3", "4", "5"]);
}

#[test]
fn a_gap_notice_names_reason_request_oldest_and_number() {
    let mut log = log_with(|_| ());
    append(&mut log, 1..=9);
    let last = own(1, 2);
    let joined = log.join_after_gap(&last, log.resume(&last).unwrap_err());
    let text = String::from_utf8(joined.first[0].payload().to_vec()).unwrap();
    let data = text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
    let notice: serde_json::Value = serde_json::from_str(data).unwrap();
    assert_eq!(
        notice,
        serde_json::json!({"reason": "too-old", "requested": "10000000.2", "oldest": "10000000.7", "missed": 4})
    );
    assert!(!text.contains("id:"), "the client's place does not move: {text}");
}

#[test]
fn a_burst_larger_than_the_ring_loses_nothing_for_a_connected_client() {
    let mut log = log_with(|_| ());
    let mut cursor = log.join(LateJoin::Live).cursor;
    append(&mut log, 1..=500);
    log.trim(cursor.next());
    let text = all(&log, &mut cursor);
    assert_eq!(text.matches("data: ").count(), 500);
    log.trim(cursor.next());
    assert_eq!(log.entries.len(), 3, "only the ring is left");
    assert!(log.entries.capacity() < 200, "and its memory is given back");
}

#[test]
fn a_client_further_behind_than_allowed_is_lost_and_the_log_stays_bounded() {
    let mut log = log_with(|settings| settings.client_lag_max = 10_000);
    let mut slow = log.join(LateJoin::Live).cursor;
    for number in 0..10_000 {
        append(&mut log, [number]);
        assert!(log.cost() < 14_000, "{}", log.cost());
    }
    let mut current = log.join(LateJoin::Live).cursor;
    append(&mut log, [7]);
    assert_eq!(log.read(&mut slow, 100), Read::Lost);
    assert!(all(&log, &mut current).contains("data: 7"));
}

#[test]
fn passing_entries_reach_connected_clients_in_place_and_no_one_else() {
    let mut log = log_with(|_| ());
    let live = log.join(LateJoin::Live);
    append(&mut log, [1]);
    log.append_passing_event(b"ping", b"p");
    append(&mut log, [2]);
    let late = log.join(LateJoin::Ring);
    let again = log.resume(&own(1, 1)).unwrap();
    log.append_passing_event(b"ping", b"q");
    append(&mut log, [3]);
    assert_eq!(seen(&log, live), ["1", "p", "2", "q", "3"]);
    assert_eq!(seen(&log, late), ["1", "2", "q", "3"]);
    assert_eq!(seen(&log, Joined { first: vec![], cursor: again }), ["2", "q", "3"]);
    for _ in 0..10_000 {
        log.append_passing_event(b"ping", b"p");
        if log.wants_trim() {
            log.trim(log.head());
        }
    }
    assert!(log.entries.len() < 3 + 2 * retention::TRIM_SLACK, "a flood of them takes no memory");
    assert_eq!(seen(&log, log.join(LateJoin::Ring)), ["1", "2", "3"], "nor the ring's places");
}

#[test]
fn a_flood_of_passing_entries_is_bounded_even_when_a_client_reads_nothing() {
    let mut log = log_with(|settings| settings.client_lag_max = 10_000);
    append(&mut log, [1]);
    let mut stuck = log.join(LateJoin::Live).cursor;
    for _ in 0..5_000 {
        log.append_passing_event(b"ping", b"p");
        assert!(log.cost() < 14_000, "{}", log.cost());
    }
    assert_eq!(log.read(&mut stuck, 100), Read::Lost);
    assert_eq!(seen(&log, log.join(LateJoin::Ring)), ["1"]);
}

#[test]
fn the_ring_is_bounded_in_bytes_too() {
    let mut log = log_with(|settings| settings.replay.bytes = 80);
    append(&mut log, 1..=3);
    assert_eq!(seen(&log, log.join(LateJoin::Ring)).len(), 2, "each event takes some 30 bytes");
    log.append_event(None, b"", &[b'x'; 200]);
    assert_eq!(log.ring_events(), 0, "one event larger than the ring");
    assert_eq!(log.resume(&own(1, 4)).map(|_| ()), Ok(()), "whoever saw it is up to date");
    assert_eq!(log.resume(&own(1, 3)).unwrap_err().missed, Some(1));
}

#[test]
fn a_new_epoch_tells_the_gap_in_its_place() {
    let mut log = log_with(|settings| settings.replay.events = 10);
    append(&mut log, 1..=3);
    let connected = log.join(LateJoin::Live);
    log.append_gap(GapReason::UpstreamInterrupted, None);
    log.begin_epoch(epoch(2));
    append(&mut log, 4..=5);
    assert_eq!(seen(&log, connected), ["gap:upstream-interrupted", "4", "5"]);
    assert_eq!(resumed(&log, &own(1, 2)), ["3", "gap:upstream-interrupted", "4", "5"]);
    assert_eq!(resumed(&log, &own(1, 3)), ["gap:upstream-interrupted", "4", "5"]);
    assert_eq!(resumed(&log, &own(2, 1)), ["5"]);
    append(&mut log, 6..=15);
    assert_eq!(resumed(&log, &own(1, 3))[0], "gap:too-old", "the gap itself fell out of the ring");
}

#[test]
fn a_skipped_event_takes_its_number_with_it() {
    let mut log = log_with(|_| ());
    append(&mut log, [1]);
    log.append_gap(GapReason::EventTooLarge, Some(1));
    append(&mut log, [3]);
    assert_eq!(resumed(&log, &own(1, 1)), ["gap:event-too-large", "3"]);
    assert_eq!(log.epoch(), (epoch(1), 3));
}

#[test]
fn an_upstream_id_finds_its_place_in_any_epoch() {
    let mut log = Log::new(settings(), epoch(1), Some(Bytes::from_static(b"u0")));
    let foreign = |id: &'static str| LastEventId::Foreign(Bytes::from_static(id.as_bytes()));
    assert_eq!(resumed(&log, &foreign("u0")), Vec::<String>::new(), "where the log begins");
    for number in 1..=3 {
        log.append_event(Some(format!("u{number}").as_bytes()), b"", number.to_string().as_bytes());
    }
    assert_eq!(resumed(&log, &foreign("u0")), ["1", "2", "3"]);
    assert_eq!(resumed(&log, &foreign("u2")), ["3"]);
    let other = LastEventId::parse(b"90000000.77.u1");
    assert_eq!(resumed(&log, &other), ["2", "3"], "an id from before a restart");
    log.append_event(Some(b"u4"), b"", b"4");
    assert_eq!(resumed(&log, &foreign("u0"))[0], "gap:unknown-id", "fell out");
    assert_eq!(resumed(&log, &foreign("u1")), ["2", "3", "4"], "fell out last: what followed is all there");
    log.trim(log.head());
    assert_eq!(resumed(&log, &foreign("u1")), ["2", "3", "4"], "also when its bytes are gone");
}

#[test]
fn a_place_told_by_the_upstreams_id_alone_is_the_upstreams_to_find() {
    let mut log = Log::new(settings(), epoch(1), Some(Bytes::from_static(b"u0")));
    log.append_event(Some(b"u1"), b"", b"1");
    let at = |upstream: &'static [u8]| {
        log.resume(&LastEventId::Own(EventId {
            epoch: epoch(1),
            seq: 0,
            upstream: Some(Bytes::from_static(upstream)),
        }))
    };
    assert!(at(b"u1").is_err(), "it may be another event with the same id");
    assert_eq!(at(b"u0"), Ok(log.join(LateJoin::Ring).cursor), "the log began with what follows it");
}

#[test]
fn a_block_without_data_moves_the_place_to_resume_from() {
    let mut log = log_with(|_| ());
    log.append_event(Some(b"u1"), b"", b"1");
    let connected = log.join(LateJoin::Live);
    log.move_upstream_id(b"u7");
    assert_eq!(log.upstream_id().unwrap().as_ref(), b"u7");
    let mut cursor = connected.cursor;
    assert_eq!(all(&log, &mut cursor), "id: 10000000.1.u7\n\n");
    log.append_event(Some(b"u8"), b"", b"8");
    let moved = LastEventId::Foreign(Bytes::from_static(b"u7"));
    assert_eq!(resumed(&log, &moved), ["8"]);
}

#[test]
fn with_the_upstreams_ids_nothing_is_added() {
    let mut log = log_with(|settings| settings.event_ids = EventIds::Upstream);
    let mut cursor = log.join(LateJoin::Live).cursor;
    log.append_event(Some(b"a b"), b"t", b"1");
    log.append_event(None, b"", b"2");
    assert_eq!(all(&log, &mut cursor), "id: a b\nevent: t\ndata: 1\n\ndata: 2\n\n");
    let last = LastEventId::parse(b"a b");
    assert_eq!(resumed(&log, &last).last().unwrap(), "2");
}

#[test]
fn a_late_client_gets_the_opening_then_the_rings_newer_events() {
    let mut log = log_with(|settings| settings.late_join = LateJoin::Opening);
    log.begin_opening();
    log.append_event(None, b"", b"hello");
    log.append_passing_event(b"state", b"snapshot");
    log.end_opening();
    append(&mut log, 1..=2);
    assert_eq!(seen(&log, log.join(LateJoin::Opening)), ["hello", "snapshot", "1", "2"]);
    append(&mut log, 3..=3);
    assert_eq!(seen(&log, log.join(LateJoin::Opening)), ["hello", "snapshot", "1", "2", "3"]);
    append(&mut log, 4..=4);
    assert_eq!(
        seen(&log, log.join(LateJoin::Opening)),
        ["hello", "snapshot", "gap:too-old", "2", "3", "4"],
        "1 is gone, and it is said"
    );
    log.begin_opening();
    log.append_event(None, b"", b"hello again");
    assert_eq!(seen(&log, log.join(LateJoin::Opening)), ["hello again"], "the present connection's");
}

#[test]
fn an_opening_beyond_the_rings_limits_is_cut_and_the_cut_is_said() {
    let mut log = log_with(|settings| settings.late_join = LateJoin::Opening);
    log.begin_opening();
    append(&mut log, 1..=5);
    log.end_opening();
    assert_eq!(seen(&log, log.join(LateJoin::Opening)), ["1", "2", "3", "4", "5"], "still in the ring");
    append(&mut log, 6..=8);
    assert_eq!(seen(&log, log.join(LateJoin::Opening)), ["1", "2", "3", "gap:too-old", "6", "7", "8"]);
}

#[test]
fn shedding_gives_up_the_oldest_and_says_so_to_whoever_comes_back() {
    let mut log = log_with(|settings| settings.replay.events = 50);
    append(&mut log, 1..=50);
    log.shed(ENTRY_OVERHEAD * 4);
    assert!(log.cost() <= ENTRY_OVERHEAD * 4);
    assert_eq!(resumed(&log, &own(1, 10))[0], "gap:too-old");
    log.shed(0);
    assert_eq!(log.cost(), 0);
    assert_eq!(resumed(&log, &own(1, 49)), ["gap:too-old"]);
    assert_eq!(resumed(&log, &own(1, 50)), Vec::<String>::new());
    append(&mut log, [51]);
    assert_eq!(resumed(&log, &own(1, 50)), ["51"]);
}

#[test]
fn the_end_comes_after_everything_was_read() {
    let mut log = log_with(|_| ());
    let mut cursor = log.join(LateJoin::Live).cursor;
    append(&mut log, [1]);
    log.end(EndReason::Finished);
    log.end(EndReason::Closed);
    assert!(matches!(log.read(&mut cursor, 100), Read::Batch(_)));
    assert_eq!(log.read(&mut cursor, 100), Read::Ended(EndReason::Finished), "the first reason stays");
}

/// What happens to a log and its clients in the model test.
#[derive(Debug, Clone)]
enum Step {
    Event(u16),
    Passing,
    Gap,
    Epoch,
    Read { client: usize },
    Reconnect { client: usize },
    Trim,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u16..600).prop_map(Step::Event),
        1 => Just(Step::Passing),
        1 => Just(Step::Gap),
        1 => Just(Step::Epoch),
        3 => (0usize..3).prop_map(|client| Step::Read { client }),
        1 => (0usize..3).prop_map(|client| Step::Reconnect { client }),
        1 => Just(Step::Trim),
    ]
}

/// One client of the model: what it was given, event by event.
struct Client {
    cursor: Cursor,
    last: Option<LastEventId>,
    /// The number of the event that it must see next, unless a gap is told.
    next: u64,
    may_jump: bool,
}

impl Client {
    fn take(&mut self, text: &str) {
        for block in text.split("\n\n").filter(|block| !block.is_empty()) {
            if block.contains("event: ssecar-gap") {
                self.may_jump = true;
            } else if let Some(id) = block.lines().find_map(|line| line.strip_prefix("id: ")) {
                let number: u64 = block
                    .lines()
                    .find_map(|line| line.strip_prefix("data: "))
                    .and_then(|data| data.split(' ').next())
                    .unwrap()
                    .parse()
                    .unwrap();
                assert!(
                    number == self.next || (self.may_jump && number > self.next),
                    "{number}: {}",
                    self.next
                );
                self.next = number + 1;
                self.may_jump = false;
                self.last = Some(LastEventId::parse(id.as_bytes()));
            }
        }
    }
}

proptest! {
    /// Whatever happens, a client sees each event once and in order, or is told of a gap before.
    #[test]
    fn nothing_is_lost_in_silence(
        steps in proptest::collection::vec(step(), 1..300),
        ring in 0usize..6,
        lag in prop_oneof![Just(2_000usize), Just(1_000_000)],
    ) {
        let mut log = log_with(|settings| {
            settings.replay.events = ring;
            settings.client_lag_max = lag;
        });
        let mut clients: Vec<Client> = (0..3)
            .map(|_| Client { cursor: log.join(LateJoin::Live).cursor, last: None, next: 1, may_jump: false })
            .collect();
        let mut number = 0u64;
        let mut epochs = 1;
        for step in steps {
            match step {
                Step::Event(size) => {
                    number += 1;
                    let data = format!("{number} {}", "x".repeat(usize::from(size)));
                    log.append_event(None, b"", data.as_bytes());
                }
                Step::Passing => log.append_passing_event(b"ping", b"p"),
                Step::Gap => log.append_gap(GapReason::EventTooLarge, Some(1)),
                Step::Epoch => {
                    log.append_gap(GapReason::UpstreamInterrupted, None);
                    epochs += 1;
                    log.begin_epoch(epoch(epochs));
                }
                Step::Read { client } => {
                    let client = &mut clients[client];
                    match log.read(&mut client.cursor, 500) {
                        Read::Batch(Batch { text: bytes, .. }) => client.take(std::str::from_utf8(&bytes).unwrap()),
                        Read::UpToDate => prop_assert!(client.next == number + 1 || client.may_jump),
                        Read::Lost => reconnect(&log, client, number),
                        Read::Ended(reason) => prop_assert!(false, "{:?}", reason),
                    }
                }
                Step::Reconnect { client } => reconnect(&log, &mut clients[client], number),
                Step::Trim => {
                    let needed = clients.iter().map(|client| client.cursor.next()).min().unwrap();
                    log.trim(needed);
                }
            }
            let held: usize = log.entries.iter().map(Entry::cost).sum();
            prop_assert_eq!(held, log.cost());
            prop_assert!(log.ring_events() <= ring);
        }
        for client in &mut clients {
            while let Read::Batch(Batch { text: bytes, .. }) = log.read(&mut client.cursor, 500) {
                client.take(std::str::from_utf8(&bytes).unwrap());
            }
        }
    }
}

fn reconnect(log: &Log, client: &mut Client, newest: u64) {
    let Some(last) = &client.last else {
        // It saw nothing yet, so it comes as a new client: what was before is not for it.
        client.cursor = log.join(LateJoin::Live).cursor;
        client.next = newest + 1;
        return;
    };
    match log.resume(last) {
        Ok(cursor) => client.cursor = cursor,
        Err(missing) => {
            let joined = log.join_after_gap(last, missing);
            client.cursor = joined.cursor;
            // The whole ring comes again after the notice (spec 6.3).
            client.may_jump = true;
            client.next = 0;
        }
    }
}

#[test]
fn a_cursor_behind_entries_that_only_passed_and_are_gone_is_up_to_date() {
    let mut log = log_with(|_| ());
    append(&mut log, 1..=2);
    for _ in 0..100 {
        log.append_passing(encoder::comment(b""));
    }
    log.trim(log.head());
    let mut cursor = log.resume(&own(1, 2)).unwrap();
    assert_eq!(log.read(&mut cursor, 100), Read::UpToDate);
    assert_eq!(cursor.next(), log.head(), "a client that asks whether there is news must hear no");
    append(&mut log, [3]);
    assert!(matches!(log.read(&mut cursor, 100), Read::Batch(_)));
}
