//! Settings that may differ by path: `--route 'PATTERN key=value …'` over the global flags.

use std::sync::Arc;
use std::time::Duration;

use crate::proto::backoff::BackoffLimits;
use crate::proto::end_event::EndEvent;
pub use crate::proto::event_id::EventIds;
pub use crate::proto::log::LateJoin;
use crate::proto::log::ReplayLimits;
use crate::proto::route::PathPattern;

/// The settings of every path: the first matching pattern wins, else the defaults.
#[derive(Debug, Clone)]
pub struct RouteTable {
    /// Patterns in the order given, each with the defaults already filled in.
    pub routes: Vec<(PathPattern, Arc<RouteSettings>)>,
    /// What the global flags say.
    pub defaults: Arc<RouteSettings>,
}

impl RouteTable {
    /// The settings for a path as it is sent upstream (after legacy rewriting, without query).
    #[must_use]
    pub fn settings(&self, path: &str) -> &Arc<RouteSettings> {
        self.routes
            .iter()
            .find(|(pattern, _)| pattern.matches(path))
            .map_or(&self.defaults, |(_, settings)| settings)
    }
}

/// Everything about a session's stream that can be set for one path.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteSettings {
    /// Who shares a session (spec 4.3).
    pub share: Share,
    /// What a client without `Last-Event-ID` gets first (spec 4.8).
    pub late_join: LateJoin,
    /// The first silence of this length ends the upstream's opening.
    pub opening_pause: Duration,
    /// Whose event ids clients see (spec 5.3).
    pub event_ids: EventIds,
    /// The ring (spec 6.2).
    pub replay: ReplayLimits,
    /// Bytes that a connected client may fall behind (spec 7.2).
    pub client_lag_max: usize,
    /// The largest event, in bytes as the upstream sent it (spec 5.5).
    pub event_bytes_max: usize,
    /// Event types that pass without id and ring (spec 5.4).
    pub ephemeral: Vec<String>,
    /// Whether events without an upstream id pass so too, where others have one (spec 5.4).
    pub ephemeral_without_id: bool,
    /// Whether upstream comments are dropped instead of forwarded.
    pub drop_comments: bool,
    /// The `retry` that clients are told, instead of the upstream's.
    pub client_retry: Option<Duration>,
    /// Whether a client whose place is gone fetches what it missed from the upstream (spec 6.7).
    pub catch_up: bool,
    /// The type of gap notices; `None`: no notices (spec 6.3).
    pub gap_event: Option<String>,
    /// The type of status events; `None`: no such events (spec 8.3).
    pub status_event: Option<String>,
    /// The silence after which a heartbeat comment is sent (spec 7.4).
    pub heartbeat: Duration,
    /// How long a session lives on after its last client (spec 4.6).
    pub linger: Duration,
    /// Waiting times between subscription attempts (spec 8.1).
    pub backoff: BackoffLimits,
    /// How long failing attempts go on before the session is given up (spec 8.4).
    pub give_up: Duration,
    /// Whether a clean end of the upstream's stream ends the session (spec 8.1).
    pub on_end_close: bool,
    /// Events after which a clean end ends the session (spec 8.1).
    pub end_events: Vec<EndEvent>,
    /// How long a client of an unreachable upstream waits for a response head (spec 8.6).
    pub hold_head: Duration,
    /// Whether such a client is held or answered 503 (spec 8.6).
    pub on_upstream_down: OnUpstreamDown,
    /// The silence after which a subscription counts as dead (spec 8.8).
    pub upstream_idle_timeout: Option<Duration>,
}

/// Who shares a session (spec 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// Clients that the upstream could not tell apart, their credentials among the rest.
    SameCredentials,
    /// All whom the upstream lets in: each client's own request is sent to it first.
    Authorized,
    /// Everyone: the stream is the same for all.
    Public,
}

/// What becomes of a client that comes while the upstream is down (spec 8.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnUpstreamDown {
    /// Held with 200 and heartbeats.
    Hold,
    /// Answered 503 with `Retry-After`.
    Reject,
}
