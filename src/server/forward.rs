//! Passing a request on, and its answer back: heads made fit for the other side, bodies streamed as
//! they come (spec 3.1, 3.2, 3.4, 3.6).
//!
//! Two steps, so that the caller can step in between: [`outgoing`] makes the upstream's request of
//! the client's, and [`relay`] the client's answer of the upstream's.

use std::error::Error;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_LENGTH, COOKIE, HOST, TE, UPGRADE};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use super::body::Body;
use super::upgrade::Wanted;
use crate::message::forwarding::{Forwarding, Hop};
use crate::message::problem::Problem;
use crate::message::{hop_by_hop, negotiation};
use crate::upstream::AnswerGuard;

/// Where a request came from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    /// The other end of the connection.
    pub(super) peer: IpAddr,
    /// `http` or `https`.
    pub(super) scheme: &'static str,
}

/// What is the same for all requests.
#[derive(Debug, Clone, Default)]
pub(super) struct Rules {
    /// Whose forwarding headers are believed.
    pub(super) forwarding: Forwarding,
    /// Headers that hold credentials, beside the well-known: `Connection` can't take them away.
    pub(super) credentials: Vec<HeaderName>,
}

/// A request that is not passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// `CONNECT`: ssecar is no forward proxy.
    Connect,
    /// `Connection` names a field that must reach the upstream.
    ConnectionOption(hop_by_hop::ForbiddenConnectionOption),
    /// The target and `Host` name different hosts, or the host is none (RFC 9112, 3.2; RFC 9113, 8.3.1).
    Host,
}

/// Makes the upstream's request head of a client's, in place. The URI becomes a path and query, or
/// `*`. Gives back what the client wants to switch to, for when the upstream answers 101.
///
/// # Errors
///
/// A [`Refusal`], which is the client's fault.
pub(super) fn outgoing(head: &mut Parts, arrival: Arrival, rules: &Rules) -> Result<Option<Wanted>, Refusal> {
    if head.method == Method::CONNECT {
        return Err(Refusal::Connect);
    }
    adopt_host(head)?;
    // HTTP/2 has no upgrades; there `Connection` can't even come.
    let protocols =
        (head.version == Version::HTTP_11).then(|| hop_by_hop::upgrade_of(&head.headers)).flatten();
    hop_by_hop::strip_guarding(&mut head.headers, &rules.credentials).map_err(Refusal::ConnectionOption)?;
    if head.version == Version::HTTP_2 {
        join_cookies(&mut head.headers);
    }
    let host = head.headers.get(HOST).cloned();
    let hop = Hop { peer: arrival.peer, scheme: arrival.scheme, host: host.as_ref(), version: head.version };
    rules.forwarding.apply(&hop, &mut head.headers);

    head.uri = origin_form(&head.uri);
    head.version = Version::HTTP_11;
    let wanted = head
        .extensions
        .remove::<OnUpgrade>()
        .zip(protocols)
        .map(|(client, protocols)| Wanted { protocols, client });
    // The rest of them belongs to the connection with the client.
    head.extensions.clear();
    name_connection_options(&mut head.headers, wanted.as_ref());
    Ok(wanted)
}

/// Makes the client's answer of the upstream's. A 101 is for [`super::upgrade::Tunnels::switch`].
///
/// An event stream gets a comment line after each `heartbeat` of silence, if it can: nothing may be
/// added to one that is encoded, or whose length is told.
#[must_use]
pub(super) fn relay(response: Response<Incoming>, heartbeat: Duration) -> Response<Body> {
    let (mut head, stream) = response.into_parts();
    strip_response(&mut head.headers);
    // The upstream's version is between it and us; hyper answers in the client's.
    head.version = Version::HTTP_11;
    let takes_heartbeats = head.status.is_success()
        && head.status != StatusCode::PARTIAL_CONTENT
        && negotiation::is_event_stream(&head.headers)
        && negotiation::is_identity(&head.headers)
        && !head.headers.contains_key(CONTENT_LENGTH)
        && !stream.is_end_stream();
    let guard = head.extensions.remove::<AnswerGuard>();
    let body = if takes_heartbeats {
        Body::events(stream, heartbeat, guard)
    } else {
        Body::Forwarded(stream, guard)
    };
    Response::from_parts(head, body)
}

/// Removes what was for the connection with the upstream only.
pub(super) fn strip_response(headers: &mut HeaderMap) {
    if let Err(error) = hop_by_hop::strip(headers) {
        // The upstream is ours; the client shall not lose the answer for its odd taste.
        tracing::debug!(%error, "the upstream's Connection header is not obeyed");
        headers.remove(CONNECTION);
        // Can't fail again: nothing names a field any more.
        let _nothing_named = hop_by_hop::strip(headers);
    }
    // TE is for requests; `strip` keeps it where it says `trailers`.
    headers.remove(TE);
}

/// Makes `Host` say what the target says, where it names a host: always in HTTP/2, and in HTTP/1.1
/// where a client takes us for a forward proxy. Two names that differ are an attempt at something.
fn adopt_host(head: &mut Parts) -> Result<(), Refusal> {
    let mut hosts = head.headers.get_all(HOST).iter();
    let (given, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return Err(Refusal::Host);
    }
    // A host has no user (RFC 9110, 7.2); what some reader takes for the host of such a thing may be another.
    if given.is_some_and(|host| host.as_bytes().iter().any(|byte| b"@/\\?#".contains(byte))) {
        return Err(Refusal::Host);
    }
    let Some(authority) = head.uri.authority() else { return Ok(()) };
    if has_userinfo(authority)
        || given.is_some_and(|host| !host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()))
    {
        return Err(Refusal::Host);
    }
    let host = HeaderValue::from_str(authority.as_str()).map_err(|_| Refusal::Host)?;
    head.headers.insert(HOST, host);
    Ok(())
}

fn has_userinfo(authority: &Authority) -> bool {
    authority.as_str().contains('@')
}

/// HTTP/2 may send a cookie in crumbs (RFC 9113, 8.2.3), which HTTP/1.1 doesn't know.
fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1
        && let Ok(mut whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        whole.set_sensitive(true);
        headers.insert(COOKIE, whole);
    }
}

/// The path and query, byte for byte, or `*`. Which host an absolute target names is of no account
/// (spec 3.3).
fn origin_form(uri: &Uri) -> Uri {
    let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    if path.starts_with('/') || path == "*" {
        return uri.path_and_query().cloned().map_or_else(Uri::default, Uri::from);
    }
    // `http://host?query`: valid behind a slash, as it was without.
    PathAndQuery::try_from(format!("/{path}")).map_or_else(|_| Uri::default(), Uri::from)
}

/// `Connection` for the upstream: it must name `TE` (RFC 9110, 10.1.4) and `Upgrade`.
fn name_connection_options(headers: &mut HeaderMap, wanted: Option<&Wanted>) {
    let with_te = headers.contains_key(TE);
    let options = match (with_te, wanted) {
        (false, None) => return,
        (true, None) => "TE",
        (false, Some(_)) => "Upgrade",
        (true, Some(_)) => "TE, Upgrade",
    };
    headers.insert(CONNECTION, HeaderValue::from_static(options));
    if let Some(wanted) = wanted {
        headers.insert(UPGRADE, wanted.protocols.clone());
    }
}

impl Refusal {
    /// The answer.
    #[must_use]
    pub(super) fn problem(&self) -> Problem {
        match self {
            Self::Connect => Problem::ConnectNotAllowed,
            Self::ConnectionOption(_) | Self::Host => Problem::BadRequest { detail: format!("{self}.") },
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => f.write_str("CONNECT is not supported"),
            Self::ConnectionOption(error) => error.fmt(f),
            Self::Host => f.write_str("the request doesn't name one host"),
        }
    }
}

impl Error for Refusal {}
