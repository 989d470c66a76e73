//! Why the upstream gave no answer: who failed, what the client is told, whether it counts
//! against the upstream (spec 3.4, 8.5).

use std::error::Error;
use std::{fmt, io};

use http::StatusCode;
use tokio_rustls::rustls;

use crate::message::problem::Problem;

/// Why a request to the upstream failed.
#[derive(Debug)]
pub struct UpstreamError {
    kind: Kind,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// What failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nobody listens there.
    Refused,
    /// No connection in time.
    ConnectTimeout,
    /// The name could not be resolved.
    Resolve,
    /// No way there, or the socket does not exist.
    Unreachable,
    /// The certificate is not what it must be.
    Certificate,
    /// TLS failed otherwise.
    Tls,
    /// No response head in time.
    ResponseTimeout,
    /// The connection ended before a response head.
    Incomplete,
    /// What came is no HTTP response.
    Garbage,
    /// The client's own request body broke off.
    ClientBody,
}

impl UpstreamError {
    pub(super) fn new(kind: Kind, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind, source: Some(source.into()) }
    }

    pub(super) fn timed_out() -> Self {
        Self { kind: Kind::ResponseTimeout, source: None }
    }

    /// Finds out what failed from an error of the client library and its causes.
    pub(super) fn from_client(error: hyper_util::client::legacy::Error) -> Self {
        let kind = kind_of(&error);
        Self { kind, source: Some(error.into()) }
    }

    /// What failed.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether the upstream as a whole seems to be away; the client's own failures don't count.
    #[must_use]
    pub fn is_upstream_down(&self) -> bool {
        self.kind != Kind::ClientBody
    }

    /// What a client is told.
    #[must_use]
    pub fn problem(&self) -> Problem {
        // Error types of RFC 9209, 2.3.
        let (status, token) = match self.kind {
            Kind::Refused => (StatusCode::BAD_GATEWAY, "connection_refused"),
            Kind::ConnectTimeout => (StatusCode::GATEWAY_TIMEOUT, "connection_timeout"),
            Kind::Resolve => (StatusCode::BAD_GATEWAY, "dns_error"),
            Kind::Unreachable => (StatusCode::BAD_GATEWAY, "destination_ip_unroutable"),
            Kind::Certificate => (StatusCode::BAD_GATEWAY, "tls_certificate_error"),
            Kind::Tls => (StatusCode::BAD_GATEWAY, "tls_protocol_error"),
            Kind::ResponseTimeout => (StatusCode::GATEWAY_TIMEOUT, "http_response_timeout"),
            Kind::Incomplete => (StatusCode::BAD_GATEWAY, "http_response_incomplete"),
            Kind::Garbage => (StatusCode::BAD_GATEWAY, "http_protocol_error"),
            Kind::ClientBody => {
                return Problem::BadRequest {
                    detail: "The request body ended before it was complete.".into(),
                };
            }
        };
        Problem::Upstream { status, token, detail: format!("{}.", self.kind) }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "the upstream refused the connection",
            Self::ConnectTimeout => "no connection to the upstream within --upstream-connect-timeout",
            Self::Resolve => "the upstream's name could not be resolved",
            Self::Unreachable => "the upstream can't be reached",
            Self::Certificate => "the upstream's certificate is not trusted",
            Self::Tls => "TLS with the upstream failed",
            Self::ResponseTimeout => "no response head from the upstream within --upstream-response-timeout",
            Self::Incomplete => "the upstream closed the connection before a response head",
            Self::Garbage => "what the upstream sent is no HTTP response",
            Self::ClientBody => "the client's request body broke off",
        })
    }
}

impl fmt::Display for UpstreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        let mut cause = self.source.as_deref().map(|source| source as &dyn Error);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl Error for UpstreamError {}

/// The first cause in the chain that says what happened decides.
fn kind_of(error: &(dyn Error + 'static)) -> Kind {
    let mut cause = Some(error);
    let mut is_incomplete = false;
    while let Some(error) = cause {
        if let Some(inner) = error.downcast_ref::<UpstreamError>() {
            return inner.kind;
        }
        if error.is::<BrokenClientBody>() {
            return Kind::ClientBody;
        }
        if let Some(error) = error.downcast_ref::<hyper::Error>() {
            if error.is_parse() || error.is_parse_too_large() {
                return Kind::Garbage;
            }
            is_incomplete |= error.is_incomplete_message() || error.is_canceled() || error.is_closed();
        }
        if let Some(error) = error.downcast_ref::<io::Error>()
            && let Some(kind) = kind_of_io(error)
        {
            return kind;
        }
        cause = error.source();
    }
    if is_incomplete { Kind::Incomplete } else { Kind::Unreachable }
}

/// What an I/O error says by itself; `None`: its causes must tell.
pub(super) fn kind_of_io(error: &io::Error) -> Option<Kind> {
    let inner = error.get_ref().map(|inner| inner as &(dyn Error + 'static));
    if let Some(tls) = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return Some(match tls {
            rustls::Error::InvalidCertificate(_) => Kind::Certificate,
            _ => Kind::Tls,
        });
    }
    if inner.is_some() {
        return None;
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Some(Kind::Refused),
        io::ErrorKind::TimedOut => Some(Kind::ConnectTimeout),
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof
        | io::ErrorKind::NotConnected => Some(Kind::Incomplete),
        _ => Some(Kind::Unreachable),
    }
}

/// Marks an error of the client's own body on its way through the client library.
#[derive(Debug)]
pub(super) struct BrokenClientBody(pub(super) hyper::Error);

impl fmt::Display for BrokenClientBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the client's body: {}", self.0)
    }
}

impl Error for BrokenClientBody {}
