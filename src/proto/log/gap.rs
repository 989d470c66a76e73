//! Gap notices: what a client is told where events can't be given any more (spec 6.3).

use serde_json::json;

use crate::proto::encoder::{self, Encoded};

/// The longest `requested` or `oldest` in a notice, in bytes: an id is a client's or the
/// upstream's to choose, and the notice must stay small.
const ID_SHOWN_MAX: usize = 256;

/// Why events are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GapReason {
    /// The ring no longer holds what followed the client's id.
    TooOld,
    /// The id is of an epoch that this session does not know: before a restart, or of another session.
    OtherEpoch,
    /// The id was never given in this session, or can't be found any more.
    UnknownId,
    /// The subscription was interrupted, and the upstream gives no ids to resume by (spec 6.5).
    UpstreamInterrupted,
    /// The upstream began its ids anew: the same id came with other content.
    UpstreamReset,
    /// An event was larger than allowed (spec 5.5).
    EventTooLarge,
    /// The greeting of `late-join=fresh` could not be fetched (spec 4.8).
    GreetingFailed,
}

impl GapReason {
    /// Every reason, for metrics.
    pub const ALL: [Self; 7] = [
        Self::TooOld,
        Self::OtherEpoch,
        Self::UnknownId,
        Self::UpstreamInterrupted,
        Self::UpstreamReset,
        Self::EventTooLarge,
        Self::GreetingFailed,
    ];

    /// The name in the notice.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooOld => "too-old",
            Self::OtherEpoch => "other-epoch",
            Self::UnknownId => "unknown-id",
            Self::UpstreamInterrupted => "upstream-interrupted",
            Self::UpstreamReset => "upstream-reset",
            Self::EventTooLarge => "event-too-large",
            Self::GreetingFailed => "greeting-failed",
        }
    }
}

/// What a notice says.
#[derive(Debug, Clone, Copy)]
pub struct Gap<'a> {
    /// Why.
    pub reason: GapReason,
    /// The last id before the gap: the one that the client asked for, or the newest one sent.
    pub requested: Option<&'a [u8]>,
    /// The id of the oldest event behind the gap.
    pub oldest: Option<&'a [u8]>,
    /// How many events are missing, where that is known.
    pub missed: Option<u64>,
}

impl Gap<'_> {
    /// The notice as an event of type `name`. It carries no id: the client's place stays where it
    /// was, so that a reconnect in this moment asks from there again.
    #[must_use]
    pub fn encode(&self, name: &str) -> Encoded {
        let shown = |id: Option<&[u8]>| {
            id.map(|id| String::from_utf8_lossy(&id[..id.len().min(ID_SHOWN_MAX)]).into_owned())
        };
        let mut data = json!({
            "reason": self.reason.as_str(),
            "requested": shown(self.requested),
            "oldest": shown(self.oldest),
        });
        if let Some(missed) = self.missed {
            data["missed"] = missed.into();
        }
        encoder::event(None, name.as_bytes(), data.to_string().as_bytes())
    }
}
