//! From the upstream's bytes to the session's log: what is an event, what only passes, what is
//! repeated, and where continuity is lost (spec 5, 6.5).
//!
//! Lives as long as its session, over many upstream connections. Knows no socket and no client.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use super::decoder::{DecodedEvent, Decoder, Frame};
use super::encoder;
use super::end_event::EndEvent;
use super::event_id::Epoch;
use super::log::{GapReason, Log};

/// Events whose ids are remembered, to recognise what the upstream repeats (spec 6.5). An upstream
/// that repeats more than this, although it was told the last id, is believed to mean it.
const REMEMBERED_MAX: usize = 1024;

/// How a session's events are recorded.
#[derive(Debug, Clone)]
pub struct RecorderSettings {
    /// The largest event, in bytes as sent (spec 5.5).
    pub event_bytes_max: usize,
    /// Event types that pass (spec 5.4).
    pub ephemeral: Vec<String>,
    /// Whether events without an id pass where others have one (spec 5.4).
    pub ephemeral_without_id: bool,
    /// Whether comments are dropped.
    pub drop_comments: bool,
    /// Whether the upstream's `retry` is kept from clients, since they are told another.
    pub hides_retry: bool,
    /// Events after which a clean end is final (spec 8.1).
    pub end_events: Vec<EndEvent>,
    /// The first silence of this length ends the opening (spec 4.8).
    pub opening_pause: Duration,
}

/// What a piece of the upstream's stream held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Events appended to the ring.
    pub events: u64,
    /// Events that passed.
    pub passing: u64,
    /// Events recognised as repeated, and dropped.
    pub repeated: u64,
    /// Events skipped because they were too large.
    pub skipped: u64,
    /// The largest of these, in bytes.
    pub skipped_bytes: u64,
    /// The upstream began its ids anew.
    pub was_reset: bool,
    /// Whether anything was appended at all: there is a reason to wake clients.
    pub has_news: bool,
}

/// Records one session.
#[derive(Debug)]
pub struct Recorder {
    settings: RecorderSettings,
    decoder: Decoder,
    ids: UpstreamIds,
    retry: Option<Duration>,
    /// The last moment at which bytes came on this connection, or its beginning, until its first pause.
    opening_since: Option<Instant>,
    /// Events on this connection, repeated ones included.
    events_here: u64,
    first_event_early: bool,
    is_resumed: bool,
    has_ended: bool,
}

impl Recorder {
    /// Before the first connection. `start` is the upstream id that it will be opened from.
    #[must_use]
    pub fn new(settings: RecorderSettings, start: Option<&[u8]>) -> Self {
        Self {
            decoder: Decoder::new(settings.event_bytes_max),
            settings,
            ids: UpstreamIds::new(start),
            retry: None,
            opening_since: None,
            events_here: 0,
            first_event_early: false,
            is_resumed: false,
            has_ended: false,
        }
    }

    /// Remembers what a restored log holds, so that an upstream which sends it again is understood.
    pub fn recall(&mut self, log: &Log) {
        for (id, text) in log.ring_texts() {
            let mut decoder = Decoder::new(text.len());
            let mut input = &text[..];
            while let Some(frame) = decoder.next_frame(&mut input) {
                if let Frame::Event(event) = frame {
                    self.ids.remember(Some(id), event.event_type, event.data);
                }
            }
        }
    }

    /// A connection begins; what the last one left half-sent is dropped. `epoch` names the new
    /// numbering if continuity is lost by the interruption, which is answered.
    pub fn begin(&mut self, is_first: bool, epoch: Epoch, now: Instant, log: &mut Log) -> bool {
        self.decoder = Decoder::new(self.settings.event_bytes_max);
        self.opening_since = Some(now);
        self.events_here = 0;
        self.first_event_early = false;
        self.has_ended = false;
        // With ids the upstream was asked to go on behind the last one.
        self.is_resumed = self.ids.begin(log.upstream_id().map(|id| &id[..]));
        let is_interrupted = !is_first && !self.is_resumed;
        if is_interrupted {
            self.ids.forget();
            log.append_gap(GapReason::UpstreamInterrupted, None);
            log.begin_epoch(epoch);
        }
        log.begin_opening();
        is_interrupted
    }

    /// Takes a piece of the stream, cut anywhere. `epoch` names the new numbering if the upstream
    /// turns out to have begun its ids anew.
    pub fn record(&mut self, chunk: &[u8], epoch: Epoch, now: Instant, log: &mut Log) -> Recorded {
        self.note_pause(now, log);
        log.arriving(Some(now));
        let mut recorded = Recorded::default();
        let head = log.head();
        let mut input = chunk;
        // The decoder is put aside so that its frames may be read while `self` changes.
        let mut decoder = std::mem::replace(&mut self.decoder, Decoder::new(0));
        while let Some(frame) = decoder.next_frame(&mut input) {
            match frame {
                Frame::Event(event) => self.event(&event, epoch, log, &mut recorded),
                Frame::Id(id) => {
                    self.ids.moved(id);
                    log.move_upstream_id(id);
                }
                Frame::Comment(text) if !self.settings.drop_comments => {
                    log.append_passing(encoder::comment(text));
                }
                Frame::Comment(_) => {}
                Frame::Retry(after) => {
                    self.retry = Some(after);
                    if !self.settings.hides_retry {
                        log.append_passing(encoder::retry(after));
                    }
                }
                Frame::Skipped { bytes, id } => {
                    recorded.skipped += 1;
                    recorded.skipped_bytes = recorded.skipped_bytes.max(bytes);
                    if let Some(id) = id {
                        self.ids.moved(id);
                        log.move_upstream_id(id);
                    }
                    log.append_gap(GapReason::EventTooLarge, Some(1));
                }
            }
        }
        self.decoder = decoder;
        log.arriving(None);
        recorded.has_news = log.head() != head;
        recorded
    }

    /// The `retry` that the upstream last asked for.
    #[must_use]
    pub fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// Whether this connection sent an event after which a clean end is final.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Whether this connection sent an event of its own accord before its first pause: a greeting
    /// or a snapshot, by the looks of it (spec 4.8).
    #[must_use]
    pub fn was_greeted(&self) -> bool {
        self.first_event_early
    }

    fn note_pause(&mut self, now: Instant, log: &mut Log) {
        if let Some(since) = self.opening_since {
            if now.saturating_duration_since(since) >= self.settings.opening_pause {
                self.opening_since = None;
                log.end_opening();
            } else {
                self.opening_since = Some(now);
            }
        }
    }

    fn event(&mut self, event: &DecodedEvent<'_>, epoch: Epoch, log: &mut Log, recorded: &mut Recorded) {
        let DecodedEvent { id, event_type, data } = *event;
        self.events_here += 1;
        if self.settings.end_events.iter().any(|end| end.describes(event_type, data)) {
            self.has_ended = true;
        }
        match self.ids.judge(id, event_type, data) {
            Judgement::Repeated => {
                recorded.repeated += 1;
                return;
            }
            Judgement::Reset => {
                recorded.was_reset = true;
                self.ids.forget();
                log.append_gap(GapReason::UpstreamReset, None);
                log.begin_epoch(epoch);
            }
            Judgement::New => {}
        }
        if self.events_here == 1 && self.opening_since.is_some() {
            // What a resumed stream repeats or catches up bears ids; a greeting usually doesn't.
            self.first_event_early = !self.is_resumed || id.is_none();
        }
        self.ids.remember(id, event_type, data);
        if self.is_passing(id, event_type) {
            recorded.passing += 1;
            if let Some(id) = id {
                log.move_upstream_id(id);
            }
            log.append_passing_event(event_type, data);
        } else {
            recorded.events += 1;
            log.append_event(id, event_type, data);
        }
    }

    fn is_passing(&self, id: Option<&[u8]>, event_type: &[u8]) -> bool {
        let is_without_id = id.is_none() && self.ids.are_given && self.settings.ephemeral_without_id;
        let name: &[u8] = if event_type.is_empty() { b"message" } else { event_type };
        is_without_id || self.settings.ephemeral.iter().any(|ephemeral| ephemeral.as_bytes() == name)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Judgement {
    New,
    Repeated,
    Reset,
}

/// What is known of the ids that the upstream gives.
#[derive(Debug)]
struct UpstreamIds {
    /// Some event had an id.
    are_given: bool,
    /// The same id came twice on one connection, with other content: it names no single event.
    are_shared: bool,
    /// The same id came twice on one connection, with the same content: it names nothing.
    are_useless: bool,
    /// Whether what comes now may be a repetition.
    is_watching: bool,
    /// Ids and contents of the newest events, as fingerprints, oldest first.
    remembered: VecDeque<Fingerprint>,
    /// Fingerprints that are of this connection: the newest so many.
    of_this_connection: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fingerprint {
    id: u64,
    /// `None`: the content is not known, since the event came before this process.
    content: Option<u64>,
}

impl UpstreamIds {
    fn new(start: Option<&[u8]>) -> Self {
        let remembered = start.map(|id| Fingerprint { id: hash(id), content: None }).into_iter().collect();
        Self {
            are_given: false,
            are_shared: false,
            are_useless: false,
            is_watching: false,
            remembered,
            of_this_connection: 0,
        }
    }

    /// A connection begins, asked from `last`; answers whether the upstream can have gone on behind it.
    fn begin(&mut self, last: Option<&[u8]>) -> bool {
        self.of_this_connection = 0;
        let is_resumable = last.is_some() && !self.are_useless;
        // An event of unknown content is recognised by its id alone: only while it is the one that the
        // upstream is asked from. Later the id may be another event's, after the upstream forgot.
        let asked = last.map(hash);
        self.remembered.retain(|known| known.content.is_some() || Some(known.id) == asked);
        self.is_watching = is_resumable;
        is_resumable
    }

    fn forget(&mut self) {
        self.remembered.clear();
        self.of_this_connection = 0;
        self.is_watching = false;
    }

    fn moved(&mut self, id: &[u8]) {
        self.are_given |= !id.is_empty();
    }

    /// Only what comes on a resumed connection before its first new event can be a repetition:
    /// later, an equal event is simply equal.
    fn judge(&mut self, id: Option<&[u8]>, event_type: &[u8], data: &[u8]) -> Judgement {
        let Some(id) = id.filter(|id| !id.is_empty() && self.is_watching) else { return Judgement::New };
        let id_hash = hash(id);
        let content = hash(&(event_type, data));
        let mut has_same_id = false;
        for known in self.remembered.iter().filter(|known| known.id == id_hash) {
            if known.content.is_none_or(|known| known == content) {
                return Judgement::Repeated;
            }
            has_same_id = true;
        }
        self.is_watching = false;
        if has_same_id && !self.are_shared { Judgement::Reset } else { Judgement::New }
    }

    fn remember(&mut self, id: Option<&[u8]>, event_type: &[u8], data: &[u8]) {
        let Some(id) = id.filter(|id| !id.is_empty()) else { return };
        self.are_given = true;
        let id_hash = hash(id);
        let content = hash(&(event_type, data));
        // An id that comes again on the same connection comes soon after: the newest tells.
        if self.of_this_connection > 0
            && let Some(last) = self.remembered.back().filter(|last| last.id == id_hash)
        {
            self.are_shared = true;
            self.are_useless |= last.content == Some(content);
        }
        if self.remembered.len() >= REMEMBERED_MAX {
            self.remembered.pop_front();
        }
        self.remembered.push_back(Fingerprint { id: id_hash, content: Some(content) });
        self.of_this_connection = (self.of_this_connection + 1).min(self.remembered.len());
    }
}

/// Not keyed: the upstream could only fool itself.
fn hash<T: Hash + ?Sized>(value: &T) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
