//! One client's catching up (spec 6.7): the text of a private upstream stream, opened from the
//! client's own last upstream id, until an event is met that the shared log holds.
//!
//! Knows no socket. The log is given for each piece, so that the place found in it is still there
//! when the client takes it, under the same lock.

use bytes::{Bytes, BytesMut};

use super::decoder::{DecodedEvent, Decoder, Frame};
use super::encoder;
use super::end_event::EndEvent;
use super::event_id::{EventId, EventIds};
use super::log::{Cursor, Gap, GapReason, Log};

/// How private events are given to the client: as those of the shared stream.
#[derive(Debug, Clone)]
pub struct CatchUpSettings {
    /// The largest event, in bytes as sent (spec 5.5).
    pub event_bytes_max: usize,
    /// Whose ids the client sees.
    pub event_ids: EventIds,
    /// Event types that pass without an id (spec 5.4).
    pub ephemeral: Vec<String>,
    /// Whether comments are dropped.
    pub drop_comments: bool,
    /// Whether the upstream's `retry` is kept from the client.
    pub hides_retry: bool,
    /// The type of gap notices; `None`: no notices.
    pub gap_event: Option<String>,
    /// Events after which a clean end is final (spec 8.1).
    pub end_events: Vec<EndEvent>,
}

/// What a piece of the private stream came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The shared log holds none of it: more is needed.
    Apart,
    /// The next event is the one at this place of the shared log.
    Met(Cursor),
    /// The upstream gives no ids, so the two streams could never be found to meet.
    NeverMeets,
}

/// A private stream.
#[derive(Debug)]
pub struct CatchUp {
    settings: CatchUpSettings,
    decoder: Decoder,
    /// The last upstream id that the client was given, or came with.
    last: Bytes,
    /// The event that bore this id, if the client was given it here.
    given: Option<Given>,
    /// The beginning of a connection, held back.
    held: Option<Held>,
    has_moved: bool,
    has_ended: bool,
}

/// What came first on a connection. An upstream may repeat events from before the one it was asked
/// from; if that one comes, all before it is dropped.
#[derive(Debug)]
struct Held {
    /// The id that was asked from.
    asked: Bytes,
    text: BytesMut,
    last: Option<(Bytes, Option<Given>)>,
}

/// Held text beyond so many bytes is given out: an upstream that repeats more is believed to mean it.
const HELD_MAX: usize = 256 * 1024;

#[derive(Debug)]
struct Given {
    event_type: Bytes,
    data: Bytes,
}

impl CatchUp {
    /// From behind the event with the upstream id `last`.
    #[must_use]
    pub fn new(settings: CatchUpSettings, last: Bytes) -> Self {
        Self {
            decoder: Decoder::new(settings.event_bytes_max),
            settings,
            last,
            given: None,
            held: None,
            has_moved: false,
            has_ended: false,
        }
    }

    /// From where a connection has to go on.
    #[must_use]
    pub fn last(&self) -> &Bytes {
        &self.last
    }

    /// Whether the upstream announced that its stream is over (spec 8.1).
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// The place behind the last event given here, if the shared log has come to hold it meanwhile.
    #[must_use]
    pub fn overtaken_at(&self, log: &Log) -> Option<Cursor> {
        let Given { event_type, data } = self.given.as_ref()?;
        log.behind_event(&self.last, event_type, data)
    }

    /// Whether the client was given anything that moved its place.
    #[must_use]
    pub fn has_moved(&self) -> bool {
        self.has_moved
    }

    /// A connection begins; what the last one left half-sent is dropped.
    pub fn begin(&mut self) {
        self.decoder = Decoder::new(self.settings.event_bytes_max);
        self.has_ended = false;
        self.held = Some(Held { asked: self.last.clone(), text: BytesMut::new(), last: None });
    }

    /// Whether the beginning of the connection is still held back.
    #[must_use]
    pub fn is_holding(&self) -> bool {
        self.held.is_some()
    }

    /// Gives out what was held back: nothing more is to be expected of repetitions.
    pub fn release(&mut self) -> Bytes {
        let Some(Held { text, last, .. }) = self.held.take() else { return Bytes::new() };
        if let Some((last, given)) = last {
            self.moved(last);
            self.given = given;
        }
        text.freeze()
    }

    /// Takes a piece of the stream, cut anywhere: the text for the client, and how far it is.
    pub fn take(&mut self, chunk: &[u8], log: &Log) -> (Bytes, Progress) {
        let mut text = BytesMut::new();
        let mut input = chunk;
        let mut decoder = std::mem::replace(&mut self.decoder, Decoder::new(0));
        let mut progress = Progress::Apart;
        while progress == Progress::Apart
            && let Some(frame) = decoder.next_frame(&mut input)
        {
            match frame {
                Frame::Event(event) => progress = self.event(&event, log, &mut text),
                Frame::Id(id) => {
                    self.pass(id, None);
                    text.extend_from_slice(&encoder::id(&self.id(log, id)).payload());
                }
                Frame::Comment(comment) if !self.settings.drop_comments => {
                    text.extend_from_slice(&encoder::comment(comment).payload());
                }
                Frame::Retry(after) if !self.settings.hides_retry => {
                    text.extend_from_slice(&encoder::retry(after).payload());
                }
                Frame::Comment(_) | Frame::Retry(_) => {}
                Frame::Skipped { id, .. } => {
                    if let Some(name) = &self.settings.gap_event {
                        let requested = Some(&self.last[..]);
                        let reason = GapReason::EventTooLarge;
                        let gap = Gap { reason, requested, oldest: None, missed: Some(1) };
                        text.extend_from_slice(&gap.encode(name).payload());
                    }
                    if let Some(id) = id {
                        self.pass(id, None);
                    }
                }
            }
            if let Some(held) = &mut self.held {
                held.text.unsplit(text.split());
            }
        }
        self.decoder = decoder;
        if self.held.as_ref().is_some_and(|held| held.text.len() > HELD_MAX) {
            text = BytesMut::from(&self.release()[..]);
        }
        (text.freeze(), progress)
    }

    fn event(&mut self, event: &DecodedEvent<'_>, log: &Log, text: &mut BytesMut) -> Progress {
        let DecodedEvent { id, event_type, data } = *event;
        let own_id = id.filter(|id| !id.is_empty());
        if let Some(id) = own_id {
            match &self.held {
                Some(held) if held.asked == id => {
                    // All until here was repeated.
                    self.held = None;
                    return Progress::Apart;
                }
                Some(_) => {}
                None => {
                    if let Some(cursor) = log.at_event(id, event_type, data) {
                        return Progress::Met(cursor);
                    }
                }
            }
        } else if log.upstream_id().is_none() {
            return Progress::NeverMeets;
        }
        self.has_ended |= self.settings.end_events.iter().any(|end| end.describes(event_type, data));
        if let Some(id) = id {
            let copy = Bytes::copy_from_slice;
            self.pass(id, own_id.map(|_| Given { event_type: copy(event_type), data: copy(data) }));
        }
        let name: &[u8] = if event_type.is_empty() { b"message" } else { event_type };
        let is_ephemeral = self.settings.ephemeral.iter().any(|ephemeral| ephemeral.as_bytes() == name);
        // Without an id of its own an event leaves the client's place where it was.
        let shown = own_id.filter(|_| !is_ephemeral).map(|id| self.id(log, id));
        text.extend_from_slice(&encoder::event(shown.as_deref(), event_type, data).payload());
        Progress::Apart
    }

    /// The stream moved to this id: so does the client, once it has the text.
    fn pass(&mut self, id: &[u8], given: Option<Given>) {
        let id = Bytes::copy_from_slice(id);
        match &mut self.held {
            Some(held) => held.last = Some((id, given)),
            None => {
                self.moved(id);
                self.given = given;
            }
        }
    }

    fn moved(&mut self, id: Bytes) {
        self.last = id;
        self.given = None;
        self.has_moved = true;
    }

    /// The id as the client knows it: no number of the shared log's belongs to it.
    fn id(&self, log: &Log, id: &[u8]) -> Vec<u8> {
        match self.settings.event_ids {
            EventIds::Upstream => id.to_vec(),
            EventIds::Own => {
                let upstream = (!id.is_empty()).then(|| Bytes::copy_from_slice(id));
                EventId { epoch: log.epoch().0, seq: 0, upstream }.to_bytes()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::event_id::Epoch;
    use super::super::log::{Batch, LateJoin, LogSettings, Read, ReplayLimits};
    use super::*;

    fn log(events: &[(&str, &str)]) -> Log {
        let settings = LogSettings {
            replay: ReplayLimits { events: 3, bytes: 1 << 20 },
            client_lag_max: 1 << 20,
            event_ids: EventIds::Own,
            gap_event: Some("ssecar-gap".into()),
            late_join: LateJoin::Live,
        };
        let mut log = Log::new(settings, Epoch::from_random(1), None);
        for (id, data) in events {
            log.append_event(Some(id.as_bytes()), b"", data.as_bytes());
        }
        log
    }

    fn catch_up(change: impl FnOnce(&mut CatchUpSettings)) -> CatchUp {
        let mut settings = CatchUpSettings {
            event_bytes_max: 100,
            event_ids: EventIds::Own,
            ephemeral: vec!["tick".into()],
            drop_comments: false,
            hides_retry: false,
            gap_event: Some("ssecar-gap".into()),
            end_events: Vec::new(),
        };
        change(&mut settings);
        CatchUp::new(settings, Bytes::from_static(b"u1"))
    }

    fn read(log: &Log, mut cursor: Cursor) -> String {
        match log.read(&mut cursor, 1 << 20) {
            Read::Batch(Batch { text: bytes, .. }) => String::from_utf8(bytes.to_vec()).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn private_events_lead_to_the_first_one_that_is_shared() {
        let log = log(&[("u4", "4"), ("u5", "5")]);
        let stream = b"id: u2\ndata: 2\n\nevent: tick\ndata: t\n\nid: u3\ndata: 3\n\nid: u4\ndata: 4\n\nid: u5\ndata: 5\n\n";
        for cut in 0..stream.len() {
            let mut catch_up = catch_up(|_| ());
            let (mut text, mut progress) = catch_up.take(&stream[..cut], &log);
            if progress == Progress::Apart {
                let (rest, last) = catch_up.take(&stream[cut..], &log);
                text = [text, rest].concat().into();
                progress = last;
            }
            let expected =
                "id: 10000000.0.u2\ndata: 2\n\nevent: tick\ndata: t\n\nid: 10000000.0.u3\ndata: 3\n\n";
            assert_eq!(std::str::from_utf8(&text).unwrap(), expected, "cut at {cut}");
            let Progress::Met(cursor) = progress else { panic!("cut at {cut}: {progress:?}") };
            assert!(read(&log, cursor).starts_with("id: 10000000.1.u4\ndata: 4\n"), "cut at {cut}");
        }
    }

    #[test]
    fn an_equal_id_with_other_content_is_no_meeting() {
        let log = log(&[("2", "shared")]);
        let mut catch_up = catch_up(|_| ());
        let (text, progress) = catch_up.take(b"id: 2\ndata: private\n\n", &log);
        assert_eq!((&text[..], progress), (&b"id: 10000000.0.2\ndata: private\n\n"[..], Progress::Apart));
    }

    #[test]
    fn what_the_upstream_repeats_is_dropped_and_what_it_does_not_is_only_late() {
        let log = log(&[("u9", "9")]);
        let mut repeated = catch_up(|_| ());
        repeated.begin();
        let before = b"id: u0\ndata: 0\n\n";
        assert_eq!(repeated.take(before, &log), (Bytes::new(), Progress::Apart), "held back");
        let (text, _) = repeated.take(b"id: u1\ndata: 1\n\nid: u2\ndata: 2\n\n", &log);
        assert_eq!(&text[..], b"id: 10000000.0.u2\ndata: 2\n\n");

        let mut plain = catch_up(|_| ());
        plain.begin();
        assert_eq!(plain.take(b"id: u2\ndata: 2\n\n", &log), (Bytes::new(), Progress::Apart));
        assert_eq!(&plain.last()[..], b"u1", "the client does not have it yet");
        assert_eq!(&plain.release()[..], b"id: 10000000.0.u2\ndata: 2\n\n");
        assert_eq!((&plain.last()[..], plain.is_holding()), (&b"u2"[..], false));
    }

    #[test]
    fn a_shared_log_that_overtakes_is_joined_behind_the_last_event_given() {
        let mut log = log(&[]);
        let mut catch_up = catch_up(|_| ());
        assert_eq!(catch_up.take(b"id: u2\ndata: 2\n\n", &log).1, Progress::Apart);
        assert_eq!(catch_up.overtaken_at(&log), None);
        for (id, data) in [("u2", "2"), ("u3", "3")] {
            log.append_event(Some(id.as_bytes()), b"", data.as_bytes());
        }
        let cursor = catch_up.overtaken_at(&log).unwrap();
        assert_eq!(read(&log, cursor), "id: 10000000.2.u3\ndata: 3\n\n");
    }

    #[test]
    fn an_event_that_left_the_ring_is_no_place_to_join() {
        let log = log(&[("u2", "2"), ("u3", "3"), ("u4", "4"), ("u5", "5")]);
        let mut catch_up = catch_up(|_| ());
        let (text, progress) = catch_up.take(b"id: u2\ndata: 2\n\nid: u3\ndata: 3\n\n", &log);
        assert_eq!(&text[..], b"id: 10000000.0.u2\ndata: 2\n\n");
        assert!(matches!(progress, Progress::Met(_)));
    }

    #[test]
    fn an_upstream_without_ids_can_not_be_caught_up_with() {
        let empty = log(&[]);
        assert_eq!(catch_up(|_| ()).take(b"data: x\n\n", &empty), (Bytes::new(), Progress::NeverMeets));
        let known = log(&[("u9", "9")]);
        let (text, progress) = catch_up(|_| ()).take(b"data: greeting\n\n", &known);
        assert_eq!((&text[..], progress), (&b"data: greeting\n\n"[..], Progress::Apart), "a greeting");
    }

    #[test]
    fn what_is_too_large_is_told_and_what_is_the_clients_own_is_kept() {
        let log = log(&[]);
        let mut catch_up = catch_up(|settings| settings.event_ids = EventIds::Upstream);
        let stream = format!("retry: 5\n: hi\nid: u2\ndata: {}\n\nid: u3\ndata: 3\n\n", "x".repeat(200));
        let (text, progress) = catch_up.take(stream.as_bytes(), &log);
        let text = std::str::from_utf8(&text).unwrap();
        assert!(text.contains("event-too-large"), "{text}");
        assert!(text.ends_with("id: u3\ndata: 3\n\n"), "{text}");
        assert_eq!((progress, &catch_up.last()[..]), (Progress::Apart, &b"u3"[..]));
    }
}
