//! The values that labels can have: closed sets.

use http::StatusCode;

use crate::proto::log::{EndReason, GapReason};

/// A label with a known set of values.
pub trait Label: Copy + 'static {
    /// All of them.
    const ALL: &'static [Self];

    /// The value as text; tells it from the others.
    fn as_str(self) -> &'static str;
}

/// What turned a client or a request away (spec 9.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// `--max-clients`
    Clients,
    /// `--max-clients-per-ip`
    ClientsPerIp,
    /// `--max-sessions`
    Sessions,
    /// Upgraded connections.
    Tunnels,
    /// A request head too large, with too many fields, or too late.
    Head,
    /// Ambiguous framing (spec 9.2).
    Framing,
    /// ssecar is stopping (spec 11).
    Draining,
}

impl Label for Limit {
    const ALL: &'static [Self] = &[
        Self::Clients,
        Self::ClientsPerIp,
        Self::Sessions,
        Self::Tunnels,
        Self::Head,
        Self::Framing,
        Self::Draining,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Clients => "clients",
            Self::ClientsPerIp => "clients_per_ip",
            Self::Sessions => "sessions",
            Self::Tunnels => "tunnels",
            Self::Head => "head",
            Self::Framing => "framing",
            Self::Draining => "draining",
        }
    }
}

/// Why a client's stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// The client left, or its connection broke.
    Left,
    /// It fell too far behind (spec 7.2).
    Slow,
    /// Nothing could be delivered for too long (spec 7.5).
    Reaped,
    /// An operator closed it.
    Operator,
    /// Its session ended.
    Session(EndReason),
}

impl Label for Closed {
    const ALL: &'static [Self] = &[
        Self::Left,
        Self::Slow,
        Self::Reaped,
        Self::Operator,
        Self::Session(EndReason::Finished),
        Self::Session(EndReason::Refused(0)),
        Self::Session(EndReason::GivenUp),
        Self::Session(EndReason::Lingered),
        Self::Session(EndReason::Draining),
        Self::Session(EndReason::Closed),
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Slow => "slow",
            Self::Reaped => "reaped",
            Self::Operator => "operator",
            Self::Session(reason) => reason.as_str(),
        }
    }
}

/// What a subscription attempt came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// An event stream.
    Stream,
    /// Another answer.
    OtherAnswer,
    /// The answer 502, 503 or 504.
    Unavailable,
    /// No connection: no address, refused, no route, no answer in time.
    Unreachable,
    /// The TLS handshake failed.
    Tls,
    /// The connection broke before an answer.
    Broken,
    /// No answer in time.
    TimedOut,
    /// The answer is not valid HTTP.
    Protocol,
    /// It was dropped before its outcome was known, since nobody wanted it any more.
    Abandoned,
}

impl Label for Attempt {
    const ALL: &'static [Self] = &[
        Self::Stream,
        Self::OtherAnswer,
        Self::Unavailable,
        Self::Unreachable,
        Self::Tls,
        Self::Broken,
        Self::TimedOut,
        Self::Protocol,
        Self::Abandoned,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::OtherAnswer => "other-answer",
            Self::Unavailable => "unavailable",
            Self::Unreachable => "unreachable",
            Self::Tls => "tls",
            Self::Broken => "broken",
            Self::TimedOut => "timed-out",
            Self::Protocol => "protocol",
            Self::Abandoned => "abandoned",
        }
    }
}

/// Why a span never came to be stored by the collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanLoss {
    /// Too many waited for the collector.
    QueueFull,
    /// The collector could not be reached, or refused the batch.
    NotTaken,
    /// The collector took the batch, but not this span.
    Rejected,
}

impl Label for SpanLoss {
    const ALL: &'static [Self] = &[Self::QueueFull, Self::NotTaken, Self::Rejected];

    fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue-full",
            Self::NotTaken => "not-taken",
            Self::Rejected => "rejected",
        }
    }
}

/// The first digit of a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusClass {
    /// 101: an upgrade.
    Informational,
    /// 2xx
    Success,
    /// 3xx
    Redirection,
    /// 4xx
    ClientError,
    /// 5xx, or no status that is known.
    ServerError,
}

impl From<StatusCode> for StatusClass {
    fn from(status: StatusCode) -> Self {
        match status.as_u16() / 100 {
            1 => Self::Informational,
            2 => Self::Success,
            3 => Self::Redirection,
            4 => Self::ClientError,
            _ => Self::ServerError,
        }
    }
}

impl Label for StatusClass {
    const ALL: &'static [Self] =
        &[Self::Informational, Self::Success, Self::Redirection, Self::ClientError, Self::ServerError];

    fn as_str(self) -> &'static str {
        match self {
            Self::Informational => "1xx",
            Self::Success => "2xx",
            Self::Redirection => "3xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
        }
    }
}

impl Label for EndReason {
    const ALL: &'static [Self] =
        &[Self::Finished, Self::Refused(0), Self::GivenUp, Self::Lingered, Self::Draining, Self::Closed];

    fn as_str(self) -> &'static str {
        self.as_str()
    }
}

impl Label for GapReason {
    const ALL: &'static [Self] = &Self::ALL;

    fn as_str(self) -> &'static str {
        self.as_str()
    }
}
