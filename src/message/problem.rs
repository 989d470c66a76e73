//! The errors that ssecar itself answers: `application/problem+json` (RFC 9457) with
//! `Proxy-Status` (RFC 9209), each saying which limit or fault it was (spec 3.4).

use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use serde_json::json;

use super::raw_head::Fault;

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// Every error that ssecar itself makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// The request is ambiguous or malformed.
    BadRequest {
        /// What is wrong with it.
        detail: String,
    },
    /// The request can be read in more than one way: the connection is closed (spec 9.2).
    Ambiguous(Fault),
    /// The request's body did not go on in time.
    RequestStalled,
    /// `CONNECT`, which a reverse proxy does not serve.
    ConnectNotAllowed,
    /// A legacy route that was turned off (spec 3).
    LegacyGone {
        /// Where it is served now.
        successor: String,
    },
    /// The upstream gave no usable answer.
    Upstream {
        /// 502 or 504.
        status: StatusCode,
        /// An error type of RFC 9209, 2.3.
        token: &'static str,
        /// What happened, without secrets.
        detail: String,
    },
    /// The upstream is away and `--on-upstream-down reject` is set (spec 8.6).
    UpstreamDown {
        /// When to come again.
        retry_after: Duration,
    },
    /// `--max-clients` is reached.
    TooManyClients,
    /// `--max-clients-per-ip` is reached.
    TooManyClientsOfIp,
    /// `--max-sessions` is reached.
    TooManySessions,
    /// The limit of upgraded connections is reached.
    TooManyTunnels,
    /// ssecar is stopping.
    Draining,
    /// A session ended before it had anything to answer.
    SessionEnded,
}

/// When a client that met a limit may come again.
const LIMIT_RETRY_AFTER: Duration = Duration::from_secs(5);

/// When a client that met a stopping ssecar may come again: another should be there by then.
const DRAINING_RETRY_AFTER: Duration = Duration::from_secs(1);

impl Problem {
    /// The status code.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            // RFC 9112, 6.1: a coding that is not spoken.
            Self::Ambiguous(Fault::UnknownCoding) => StatusCode::NOT_IMPLEMENTED,
            Self::BadRequest { .. } | Self::Ambiguous(_) => StatusCode::BAD_REQUEST,
            Self::RequestStalled => StatusCode::REQUEST_TIMEOUT,
            Self::ConnectNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::LegacyGone { .. } => StatusCode::GONE,
            Self::Upstream { status, .. } => *status,
            Self::UpstreamDown { .. }
            | Self::TooManyClients
            | Self::TooManySessions
            | Self::TooManyTunnels
            | Self::Draining => StatusCode::SERVICE_UNAVAILABLE,
            Self::TooManyClientsOfIp => StatusCode::TOO_MANY_REQUESTS,
            Self::SessionEnded => StatusCode::BAD_GATEWAY,
        }
    }

    /// The stable name at the end of the problem's type.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::BadRequest { .. } => "bad-request",
            Self::Ambiguous(_) => "ambiguous-request",
            Self::RequestStalled => "request-stalled",
            Self::ConnectNotAllowed => "connect-not-allowed",
            Self::LegacyGone { .. } => "legacy-route-gone",
            Self::Upstream { status, .. } if *status == StatusCode::GATEWAY_TIMEOUT => "upstream-timeout",
            Self::Upstream { .. } => "upstream-unreachable",
            Self::UpstreamDown { .. } => "upstream-down",
            Self::TooManyClients => "too-many-clients",
            Self::TooManyClientsOfIp => "too-many-clients-of-one-address",
            Self::TooManySessions => "too-many-sessions",
            Self::TooManyTunnels => "too-many-tunnels",
            Self::Draining => "draining",
            Self::SessionEnded => "session-ended",
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::BadRequest { detail } | Self::Upstream { detail, .. } => detail.clone(),
            Self::Ambiguous(fault) => fault.detail().into(),
            Self::RequestStalled => "The request body did not go on in time.".into(),
            Self::ConnectNotAllowed => "This is a reverse proxy: CONNECT is not served.".into(),
            Self::LegacyGone { successor } => format!("This route is gone; it is served as {successor}."),
            Self::UpstreamDown { .. } => "The upstream is down; it is being tried again.".into(),
            Self::TooManyClients => "The limit of --max-clients is reached.".into(),
            Self::TooManyClientsOfIp => "The limit of --max-clients-per-ip is reached.".into(),
            Self::TooManySessions => "The limit of --max-sessions is reached.".into(),
            Self::TooManyTunnels => "The limit of upgraded connections is reached.".into(),
            Self::Draining => "This instance is stopping.".into(),
            Self::SessionEnded => "The event stream ended before it began.".into(),
        }
    }

    /// The error type of RFC 9209 for `Proxy-Status`.
    fn token(&self) -> &'static str {
        match self {
            Self::BadRequest { .. } | Self::Ambiguous(_) | Self::RequestStalled => "http_request_error",
            Self::ConnectNotAllowed | Self::LegacyGone { .. } => "http_request_denied",
            Self::Upstream { token, .. } => token,
            Self::UpstreamDown { .. } => "destination_unavailable",
            Self::TooManyClients
            | Self::TooManyClientsOfIp
            | Self::TooManySessions
            | Self::TooManyTunnels => "connection_limit_reached",
            Self::Draining => "proxy_internal_response",
            Self::SessionEnded => "http_response_incomplete",
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::UpstreamDown { retry_after } => Some(*retry_after),
            Self::TooManyClients
            | Self::TooManyClientsOfIp
            | Self::TooManySessions
            | Self::TooManyTunnels => Some(LIMIT_RETRY_AFTER),
            Self::Draining => Some(DRAINING_RETRY_AFTER),
            Self::BadRequest { .. }
            | Self::Ambiguous(_)
            | Self::RequestStalled
            | Self::ConnectNotAllowed
            | Self::LegacyGone { .. }
            | Self::Upstream { .. }
            | Self::SessionEnded => None,
        }
    }

    /// The whole answer.
    #[must_use]
    pub fn response(&self) -> Response<Bytes> {
        let status = self.status();
        let detail = self.detail();
        let body = json!({
            "type": format!("urn:ssecar:problem:{}", self.name()),
            "title": status.canonical_reason(),
            "status": status.as_u16(),
            "detail": detail,
        });
        let mut response = Response::new(Bytes::from(body.to_string()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let proxy_status = format!("ssecar; error={}; details=\"{}\"", self.token(), quotable(&detail));
        if let Ok(value) = HeaderValue::from_str(&proxy_status) {
            headers.insert(PROXY_STATUS, value);
        }
        if let Some(after) = self.retry_after() {
            // Rounded up: a client that comes too soon only meets the same again.
            headers.insert(RETRY_AFTER, HeaderValue::from(after.as_millis().div_ceil(1000).max(1) as u64));
        }
        // Whatever else comes on that connection is not to be trusted either.
        if let Self::Ambiguous(_) | Self::BadRequest { .. } = self {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if let Self::ConnectNotAllowed = self {
            headers.insert(
                http::header::ALLOW,
                HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH"),
            );
        }
        response
    }
}

/// Text for a quoted string of RFC 8941: visible ASCII and spaces, without quotes and backslashes.
fn quotable(text: &str) -> String {
    let is_plain = |letter: &char| matches!(letter, ' '..='~') && !matches!(letter, '"' | '\\');
    text.chars().filter(is_plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Problem> {
        vec![
            Problem::BadRequest { detail: "two \"lengths\"".into() },
            Problem::Ambiguous(Fault::BothLengths),
            Problem::Ambiguous(Fault::UnknownCoding),
            Problem::RequestStalled,
            Problem::ConnectNotAllowed,
            Problem::LegacyGone { successor: "/v1/x".into() },
            Problem::Upstream {
                status: StatusCode::GATEWAY_TIMEOUT,
                token: "http_response_timeout",
                detail: "no head within 60s".into(),
            },
            Problem::UpstreamDown { retry_after: Duration::from_millis(1_200) },
            Problem::TooManyClients,
            Problem::TooManyClientsOfIp,
            Problem::TooManySessions,
            Problem::TooManyTunnels,
            Problem::Draining,
            Problem::SessionEnded,
        ]
    }

    #[test]
    fn every_problem_says_what_it_is_in_both_forms() {
        for problem in all() {
            let response = problem.response();
            let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
            assert_eq!(body["status"], problem.status().as_u16());
            assert!(body["type"].as_str().unwrap().starts_with("urn:ssecar:problem:"));
            assert!(!body["detail"].as_str().unwrap().is_empty());
            assert_eq!(response.headers()["content-type"], "application/problem+json");
            let proxy_status = response.headers()["proxy-status"].to_str().unwrap();
            assert!(proxy_status.starts_with("ssecar; error="), "{proxy_status}");
            assert_eq!(proxy_status.matches('"').count(), 2, "{proxy_status}");
        }
    }

    #[test]
    fn whoever_may_come_again_is_told_when() {
        let response = Problem::UpstreamDown { retry_after: Duration::from_millis(1_200) }.response();
        assert_eq!(response.headers()["retry-after"], "2");
        let may_come_again = |problem: &&Problem| {
            [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS].contains(&problem.status())
        };
        for problem in all().iter().filter(may_come_again) {
            assert!(problem.response().headers().contains_key("retry-after"), "{problem:?}");
        }
    }
}
