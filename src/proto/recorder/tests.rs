use super::*;
use crate::proto::event_id::{EventIds, LastEventId};
use crate::proto::log::{Batch, LateJoin, LogSettings, Read, ReplayLimits};

/// A session over several connections, and a client that reads everything.
struct Story {
    recorder: Recorder,
    log: Log,
    cursor: crate::proto::log::Cursor,
    now: Instant,
    connections: u64,
}

fn settings() -> RecorderSettings {
    RecorderSettings {
        event_bytes_max: 1_000,
        ephemeral: vec!["ping".into()],
        ephemeral_without_id: true,
        drop_comments: false,
        hides_retry: false,
        end_events: vec![EndEvent::Data("[DONE]".into())],
        opening_pause: Duration::from_millis(250),
    }
}

impl Story {
    fn new(settings: RecorderSettings, start: Option<&'static str>) -> Self {
        let log_settings = LogSettings {
            replay: ReplayLimits { events: 50, bytes: 1 << 20 },
            client_lag_max: 1 << 20,
            event_ids: EventIds::Own,
            gap_event: Some("gap".into()),
            late_join: LateJoin::Opening,
        };
        let start = start.map(|id| bytes::Bytes::from_static(id.as_bytes()));
        let log = Log::new(log_settings, Epoch::from_random(0), start.clone());
        #[expect(
            clippy::disallowed_methods,
            reason = "an instant can't be made from nothing; only differences matter"
        )]
        let now = Instant::now();
        Self {
            recorder: Recorder::new(settings, start.as_deref()),
            cursor: log.join(LateJoin::Live).cursor,
            log,
            now,
            connections: 0,
        }
    }

    fn connect(&mut self) -> bool {
        self.connections += 1;
        let epoch = Epoch::from_random(self.connections);
        self.recorder.begin(self.connections == 1, epoch, self.now, &mut self.log)
    }

    fn send(&mut self, text: &str) -> Recorded {
        let epoch = Epoch::from_random(100 + self.connections);
        self.recorder.record(text.as_bytes(), epoch, self.now, &mut self.log)
    }

    /// What the client got since the last look: data, `gap:REASON`, or the line itself.
    fn seen(&mut self) -> Vec<String> {
        let mut text = String::new();
        while let Read::Batch(Batch { text: bytes, .. }) = self.log.read(&mut self.cursor, 1 << 16) {
            text.push_str(std::str::from_utf8(&bytes).unwrap());
        }
        text.split("\n\n").filter(|block| !block.is_empty()).map(|block| summary(block).to_owned()).collect()
    }
}

fn summary(block: &str) -> &str {
    let data = block.lines().find_map(|line| line.strip_prefix("data: ")).unwrap_or(block);
    if block.starts_with("event: gap") {
        return data.split('"').nth(data.split('"').position(|part| part == "reason").unwrap() + 2).unwrap();
    }
    data
}

fn events(ids: impl IntoIterator<Item = u32>) -> String {
    ids.into_iter().map(|id| format!("id: {id}\ndata: n{id}\n\n")).collect()
}

#[test]
fn an_upstream_without_ids_loses_continuity_by_an_interruption() {
    let mut story = Story::new(settings(), None);
    assert!(!story.connect());
    story.send("data: a\n\ndata: half");
    assert!(story.connect(), "interrupted");
    story.send("data: b\n\n");
    assert_eq!(story.seen(), ["a", "upstream-interrupted", "b"], "and the half block is dropped");
    assert_eq!(story.log.epoch(), (Epoch::from_random(2), 1));
}

#[test]
fn an_upstream_with_ids_goes_on_and_what_it_repeats_is_dropped() {
    let mut story = Story::new(settings(), None);
    story.connect();
    story.send(&events(1..=3));
    assert!(!story.connect());
    let recorded = story.send(&events(2..=5));
    assert_eq!((recorded.repeated, recorded.events), (2, 2));
    assert_eq!(story.seen(), ["n1", "n2", "n3", "n4", "n5"]);
    assert_eq!(story.log.epoch(), (Epoch::from_random(0), 5), "one numbering");
}

#[test]
fn the_id_that_a_session_was_opened_from_may_later_be_another_events() {
    let mut story = Story::new(settings(), Some("2"));
    story.connect();
    // The upstream forgot everything since, and numbers anew.
    story.send(&events([1]));
    story.connect();
    let recorded = story.send(&events([2]));
    assert_eq!((recorded.repeated, recorded.events), (0, 1), "an id alone does not make a repetition");
}

#[test]
fn a_repetition_from_before_the_ring_is_recognised_too() {
    let mut story = Story::new(settings(), None);
    story.connect();
    story.send(&events(1..=500));
    story.connect();
    assert_eq!(story.send(&events(1..=501)).repeated, 500);
}

#[test]
fn ids_begun_anew_are_told_not_mistaken_for_repetitions() {
    let mut story = Story::new(settings(), None);
    story.connect();
    story.send(&events(1..=3));
    story.connect();
    let recorded = story.send("id: 1\ndata: other\n\nid: 2\ndata: n2\n\n");
    assert!(recorded.was_reset);
    assert_eq!(story.seen(), ["n1", "n2", "n3", "upstream-reset", "other", "n2"]);
}

#[test]
fn an_equal_event_later_on_the_same_connection_is_no_repetition() {
    let mut story = Story::new(settings(), None);
    story.connect();
    story.send(&events([1, 2]));
    story.connect();
    story.send(&events([3, 2, 3]));
    assert_eq!(story.seen(), ["n1", "n2", "n3", "n2", "n3"]);
}

#[test]
fn an_id_that_always_comes_again_is_no_name() {
    let mut story = Story::new(settings(), None);
    story.connect();
    story.send("id: x\ndata: tick\n\nid: x\ndata: tick\n\n");
    assert!(story.connect(), "nothing to resume by: a possible gap");
    story.send("id: x\ndata: tick\n\n");
    assert_eq!(story.seen(), ["tick", "tick", "upstream-interrupted", "tick"]);
}

#[test]
fn an_id_shared_by_a_batch_still_tells_repetitions() {
    let mut story = Story::new(settings(), None);
    story.connect();
    story.send("id: x\ndata: a\n\nid: x\ndata: b\n\n");
    assert!(!story.connect());
    story.send("id: x\ndata: b\n\nid: x\ndata: c\n\n");
    assert_eq!(story.seen(), ["a", "b", "c"]);
}

#[test]
fn a_cold_session_drops_the_event_it_was_opened_from() {
    let mut story = Story::new(settings(), Some("7"));
    assert!(!story.connect());
    story.send(&events([7, 8]));
    assert_eq!(story.seen(), ["n8"]);
    let last = LastEventId::Foreign(bytes::Bytes::from_static(b"7"));
    assert!(story.log.resume(&last).is_ok());
}

#[test]
fn events_without_an_id_pass_once_others_have_one() {
    let mut story = Story::new(settings(), None);
    story.connect();
    story.send("data: hello\n\n");
    assert_eq!(story.log.ring_events(), 1, "no id was seen yet");
    let recorded = story.send("id: 1\ndata: n1\n\ndata: beat\n\nevent: ping\nid: 9\ndata: p\n\n");
    assert_eq!((recorded.events, recorded.passing), (1, 2));
    assert_eq!(story.seen(), ["hello", "n1", "beat", "id: 00000000.2.9", "p"]);
    assert_eq!(story.log.ring_events(), 2);
    assert_eq!(story.log.upstream_id().unwrap().as_ref(), b"9", "its id is resumed from all the same");

    let mut kept = Story::new(RecorderSettings { ephemeral_without_id: false, ..settings() }, None);
    kept.connect();
    kept.send("id: 1\ndata: n1\n\ndata: beat\n\n");
    assert_eq!(kept.log.ring_events(), 2);
}

#[test]
fn a_type_without_name_is_message() {
    let mut story = Story::new(RecorderSettings { ephemeral: vec!["message".into()], ..settings() }, None);
    story.connect();
    assert_eq!(story.send("data: x\n\nevent: message\ndata: y\n\nevent: other\ndata: z\n\n").passing, 2);
}

#[test]
fn comments_and_retry_pass_or_are_kept_back() {
    let mut story = Story::new(settings(), None);
    story.connect();
    story.send(":hi\nretry: 5000\ndata: a\n\n");
    assert_eq!(story.seen(), [":hi", "retry: 5000", "a"]);
    assert_eq!(story.recorder.retry(), Some(Duration::from_secs(5)));

    let quiet = RecorderSettings { drop_comments: true, hides_retry: true, ..settings() };
    let mut story = Story::new(quiet, None);
    story.connect();
    story.send(":hi\nretry: 5000\ndata: a\n\n");
    assert_eq!(story.seen(), ["a"]);
    assert_eq!(story.recorder.retry(), Some(Duration::from_secs(5)), "still minded for reconnecting");
}

#[test]
fn an_event_too_large_is_a_gap_and_the_stream_goes_on() {
    let mut story = Story::new(settings(), None);
    story.connect();
    let recorded = story.send(&format!("data: a\n\nid: 5\ndata: {}\n\ndata: b\n\n", "x".repeat(2_000)));
    assert_eq!((recorded.skipped, recorded.events), (1, 1));
    assert!(recorded.skipped_bytes >= 2_000);
    assert_eq!(story.log.upstream_id().unwrap().as_ref(), b"5", "it is not asked for again");
    assert_eq!(story.seen(), ["a", "id: 00000000.1.5", "event-too-large", "b"]);
}

#[test]
fn the_opening_ends_with_the_first_pause() {
    let mut story = Story::new(settings(), None);
    story.connect();
    story.send("data: hello\n\n");
    story.now += Duration::from_millis(249);
    story.send("data: snapshot\n\n");
    story.now += Duration::from_millis(250);
    story.send("data: news\n\n");
    assert_eq!(story.log.join(LateJoin::Opening).first.len(), 2);
    assert!(story.recorder.was_greeted());
    story.connect();
    story.now += Duration::from_millis(250);
    story.send("data: late\n\n");
    assert!(story.log.join(LateJoin::Opening).first.is_empty());
    assert!(!story.recorder.was_greeted());
}

#[test]
fn an_end_event_counts_on_its_own_connection() {
    let mut story = Story::new(settings(), None);
    story.connect();
    story.send("data: [DONE]\n\n");
    assert!(story.recorder.has_ended());
    story.connect();
    assert!(!story.recorder.has_ended());
}

#[test]
fn cuts_never_matter() {
    let stream = "\u{feff}:c\r\nid: 1\r\ndata: a\r\n\r\ndata: beat\n\nretry: 10\nid: 2\nevent: t\ndata: b\ndata: c\n\n";
    let whole = {
        let mut story = Story::new(settings(), None);
        story.connect();
        story.send(stream);
        story.seen()
    };
    for cut in 0..stream.len() {
        let mut story = Story::new(settings(), None);
        story.connect();
        let (left, right) = stream.as_bytes().split_at(cut);
        let epoch = Epoch::from_random(5);
        let now = story.now;
        story.recorder.record(left, epoch, now, &mut story.log);
        story.recorder.record(right, epoch, now, &mut story.log);
        assert_eq!(story.seen(), whole, "cut at byte {cut}");
    }
}
