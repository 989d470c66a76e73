//! What went wrong with a request for the upstream, and whose fault it is.

use std::error::Error;
use std::fmt;
use std::io;

use http::StatusCode;
use tokio_rustls::rustls;

use super::body::ClientBodyError;
use super::connector::ConnectError;
use super::progress::Waits;
use crate::message::problem::Problem;

/// Causes beyond this depth are not looked at: a chain that long is no chain but a loop.
const CAUSES_MAX: usize = 16;

/// A request that got no response head from the upstream.
#[derive(Debug)]
pub struct UpstreamError {
    fault: Fault,
    cause: Option<Box<dyn Error + Send + Sync>>,
}

/// What failed, and so who did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The upstream's name has no address, or couldn't be looked up.
    Dns,
    /// Nobody listens there.
    Refused,
    /// No way leads there: the network, or no such unix socket.
    Unreachable,
    /// No connection within the connect timeout.
    ConnectTimeout,
    /// The upstream's certificate is not to be trusted.
    TlsCertificate,
    /// The TLS handshake failed otherwise.
    TlsProtocol,
    /// The connection was reset or broke.
    Reset,
    /// The upstream closed the connection before its response head was complete.
    Closed,
    /// No response head within the response timeout.
    ResponseTimeout,
    /// What the upstream sent is not HTTP/1.1.
    Protocol,
    /// The upstream's response head is larger than is taken.
    HeadTooLarge,
    /// The client's request body broke off.
    ClientGone,
    /// The client's request body stopped moving, while the upstream would have taken more.
    ClientStalled,
    /// The request can't be sent as HTTP/1.1.
    BadRequest,
    /// ssecar's own credential can't be read.
    NoCredential,
}

impl UpstreamError {
    /// What failed.
    #[must_use]
    pub fn fault(&self) -> Fault {
        self.fault
    }

    /// Whether this counts for the breaker before the upstream (spec 8.5): see [`Fault::is_upstream_down`].
    #[must_use]
    pub fn is_upstream_down(&self) -> bool {
        self.fault.is_upstream_down()
    }

    /// Whether the client is to blame, and the upstream is not.
    #[must_use]
    pub fn is_client_fault(&self) -> bool {
        self.fault.is_client_fault()
    }

    /// What the client is told.
    #[must_use]
    pub fn problem(&self) -> Problem {
        let detail = self.fault.detail().to_owned();
        match self.fault {
            Fault::ClientStalled => Problem::RequestStalled,
            Fault::ClientGone | Fault::BadRequest => Problem::BadRequest { detail },
            Fault::Dns
            | Fault::Refused
            | Fault::Unreachable
            | Fault::ConnectTimeout
            | Fault::TlsCertificate
            | Fault::TlsProtocol
            | Fault::Reset
            | Fault::Closed
            | Fault::ResponseTimeout
            | Fault::Protocol
            | Fault::HeadTooLarge
            | Fault::NoCredential => {
                Problem::Upstream { status: self.fault.status(), token: self.fault.token(), detail }
            }
        }
    }

    pub(super) fn stalled(waits: Waits) -> Self {
        let fault = match waits {
            Waits::Upstream => Fault::ResponseTimeout,
            Waits::Client => Fault::ClientStalled,
            Waits::Nobody => Fault::ClientGone,
        };
        Self { fault, cause: None }
    }

    pub(super) fn bad_request(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { fault: Fault::BadRequest, cause: Some(cause.into()) }
    }

    pub(super) fn no_credential(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { fault: Fault::NoCredential, cause: Some(cause.into()) }
    }

    /// A 101 that nobody asked for, or to something that may not be tunnelled.
    pub(super) fn unasked_switch() -> Self {
        Self { fault: Fault::Protocol, cause: Some("it switched protocols unasked".into()) }
    }

    pub(super) fn from_client(error: hyper_util::client::legacy::Error, waits: Waits) -> Self {
        // A body that broke off explains whatever follows from it.
        let fault = if waits == Waits::Nobody { Fault::ClientGone } else { Fault::of(&error) };
        Self { fault, cause: Some(error.into()) }
    }
}

impl Fault {
    /// The status of the answer to the client (RFC 9209, 2.3, recommends these).
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::Dns
            | Self::Refused
            | Self::Unreachable
            | Self::TlsCertificate
            | Self::TlsProtocol
            | Self::Reset
            | Self::Closed
            | Self::Protocol
            | Self::HeadTooLarge
            | Self::NoCredential => StatusCode::BAD_GATEWAY,
            Self::ConnectTimeout | Self::ResponseTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::ClientStalled => StatusCode::REQUEST_TIMEOUT,
            Self::ClientGone | Self::BadRequest => StatusCode::BAD_REQUEST,
        }
    }

    /// The error type for `Proxy-Status` (RFC 9209, 2.3).
    #[must_use]
    pub fn token(self) -> &'static str {
        match self {
            Self::Dns => "dns_error",
            Self::Refused => "connection_refused",
            Self::Unreachable => "destination_unavailable",
            Self::ConnectTimeout => "connection_timeout",
            Self::TlsCertificate => "tls_certificate_error",
            Self::TlsProtocol => "tls_protocol_error",
            Self::Reset => "connection_terminated",
            Self::Closed => "http_response_incomplete",
            Self::ResponseTimeout => "http_response_timeout",
            Self::Protocol => "http_protocol_error",
            Self::HeadTooLarge => "http_response_header_section_size",
            Self::ClientGone | Self::ClientStalled | Self::BadRequest => "http_request_error",
            Self::NoCredential => "proxy_configuration_error",
        }
    }

    /// One line for the client. It holds no address, name or value.
    #[must_use]
    pub fn detail(self) -> &'static str {
        match self {
            Self::Dns => "The upstream's name could not be resolved.",
            Self::Refused => "The upstream refused the connection.",
            Self::Unreachable => "The upstream could not be reached.",
            Self::ConnectTimeout => "The upstream took no connection in time.",
            Self::TlsCertificate => "The upstream's certificate is not trusted.",
            Self::TlsProtocol => "The TLS handshake with the upstream failed.",
            Self::Reset => "The connection to the upstream broke before it answered.",
            Self::Closed => "The upstream closed the connection before it answered.",
            Self::ResponseTimeout => "The upstream did not answer in time.",
            Self::Protocol => "The upstream's answer is not valid HTTP/1.1.",
            Self::HeadTooLarge => "The upstream's response head is too large.",
            Self::ClientGone => "The request body broke off.",
            Self::ClientStalled => "The request body did not go on in time.",
            Self::NoCredential => "The proxy has no credential for the upstream.",
            Self::BadRequest => "The request cannot be sent to the upstream.",
        }
    }

    /// Whether the upstream as a whole seems to be down: it can't be reached, is silent, or breaks
    /// connections. An answer that makes no sense is an answer, and what the client did is its own.
    #[must_use]
    pub fn is_upstream_down(self) -> bool {
        match self {
            Self::Dns
            | Self::Refused
            | Self::Unreachable
            | Self::ConnectTimeout
            | Self::TlsCertificate
            | Self::TlsProtocol
            | Self::Reset
            | Self::Closed
            | Self::ResponseTimeout => true,
            Self::Protocol
            | Self::HeadTooLarge
            | Self::ClientGone
            | Self::ClientStalled
            | Self::BadRequest
            | Self::NoCredential => false,
        }
    }

    /// Whether the client is to blame, and the upstream is not.
    #[must_use]
    pub fn is_client_fault(self) -> bool {
        matches!(self, Self::ClientGone | Self::ClientStalled | Self::BadRequest)
    }

    /// Whether a connection ended before a response came, as one that was idle too long does.
    pub(super) fn is_lost_connection(self) -> bool {
        matches!(self, Self::Reset | Self::Closed)
    }

    fn of(error: &(dyn Error + 'static)) -> Self {
        causes(error).find_map(Self::named_by).unwrap_or(Self::Protocol)
    }

    /// What one link of a chain of causes says, if it says enough.
    fn named_by(error: &(dyn Error + 'static)) -> Option<Self> {
        if error.is::<ClientBodyError>() {
            return Some(Self::ClientGone);
        }
        if let Some(error) = error.downcast_ref::<ConnectError>() {
            return Some(match error {
                ConnectError::TimedOut => Self::ConnectTimeout,
                ConnectError::Dns(_) => Self::Dns,
                ConnectError::Transport(error) => Self::of_connecting(error),
                ConnectError::Tls(error) => Self::of_handshake(error),
            });
        }
        if let Some(error) = error.downcast_ref::<hyper::Error>() {
            return Self::of_hyper(error);
        }
        error.downcast_ref::<io::Error>().map(Self::of_io)
    }

    fn of_connecting(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::ConnectionReset => Self::Reset,
            io::ErrorKind::TimedOut => Self::ConnectTimeout,
            _ => Self::Unreachable,
        }
    }

    fn of_handshake(error: &io::Error) -> Self {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match tls {
            Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
                Self::TlsCertificate
            }
            Some(_) => Self::TlsProtocol,
            None if error.kind() == io::ErrorKind::ConnectionReset => Self::Reset,
            None => Self::TlsProtocol,
        }
    }

    /// `None`: the cause below says more.
    fn of_hyper(error: &hyper::Error) -> Option<Self> {
        if error.is_parse_too_large() {
            Some(Self::HeadTooLarge)
        } else if error.is_parse() {
            Some(Self::Protocol)
        } else if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
            // A request that hyper gave back unsent had its connection closed under it; the cause, if
            // there is one, may know that it was reset.
            match error.source().map(Self::of) {
                Some(Self::Reset) => Some(Self::Reset),
                _ => Some(Self::Closed),
            }
        } else {
            None
        }
    }

    fn of_io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Closed,
            // tokio-rustls wraps what breaks the protocol after the handshake.
            io::ErrorKind::InvalidData => Self::TlsProtocol,
            // Whatever else ends an open connection: reset, broken pipe, timed out by keepalive.
            _ => Self::Reset,
        }
    }
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source()).take(CAUSES_MAX)
}

impl fmt::Display for UpstreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.fault.detail())?;
        // hyper says only what it was doing; the last cause is the one an operator can act on.
        let last = self.cause.as_deref().and_then(|cause| causes(cause).last());
        last.map_or(Ok(()), |cause| write!(f, " ({cause})"))
    }
}

impl Error for UpstreamError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as &(dyn Error + 'static))
    }
}
