//! Passing on what is no session: heads made fit for the other side, bodies streamed as they come
//! (spec 3.1, 3.2, 3.4, 3.6).

use std::time::Duration;

use http::header::{CONTENT_LENGTH, COOKIE, HOST};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Response, Uri, Version, request};
use hyper::body::Incoming;
use ipnet::IpNet;

use super::body::{Body, ForwardedEvents};
use super::connection::Connection;
use crate::message::problem::Problem;
use crate::message::{forwarding, hop_by_hop, negotiation};

/// A client's request head as the upstream gets it: target, method and headers.
#[derive(Debug, Clone)]
pub(super) struct Outgoing {
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
}

/// Makes a client's head fit for the upstream. `target` is the path and query under its present name.
///
/// # Errors
/// [`Problem::BadRequest`]: the head is ambiguous.
pub(super) fn outgoing(
    head: &request::Parts,
    target: PathAndQuery,
    client: &Connection,
    trusted: &[IpNet],
) -> Result<Outgoing, Problem> {
    let mut headers = head.headers.clone();
    hop_by_hop::strip(&mut headers).map_err(|error| Problem::BadRequest { detail: format!("{error}.") })?;
    if head.version == Version::HTTP_2 {
        // HTTP/2 names the host in the target, and may send a cookie in crumbs (RFC 9113, 8.2.3).
        if let Some(authority) = head.uri.authority()
            && let Ok(host) = HeaderValue::from_str(authority.as_str())
        {
            headers.insert(HOST, host);
        }
        join_cookies(&mut headers);
    }
    forwarding::forward(&mut headers, client.peer.ip(), head.version, trusted);
    Ok(Outgoing { uri: Uri::from(target), headers })
}

fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1
        && let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        headers.insert(COOKIE, whole);
    }
}

/// Makes the upstream's answer the client's. An event stream that is not shared gets heartbeats.
pub(super) fn relay(response: Response<Incoming>, heartbeat: Duration) -> Response<Body> {
    let (mut parts, incoming) = response.into_parts();
    strip_response(&mut parts.headers);
    parts.version = Version::HTTP_11;
    parts.extensions.clear();
    // A stream whose length or coding is fixed can't be added to.
    let is_open_stream = negotiation::is_event_stream(&parts.headers)
        && negotiation::is_identity(&parts.headers)
        && !parts.headers.contains_key(CONTENT_LENGTH)
        && !http_body::Body::is_end_stream(&incoming);
    let body = if is_open_stream {
        Body::ForwardedEvents(Box::new(ForwardedEvents::new(incoming, heartbeat)))
    } else {
        Body::Forwarded(incoming)
    };
    Response::from_parts(parts, body)
}

/// Removes what was for the connection with the upstream only.
pub(super) fn strip_response(headers: &mut HeaderMap) {
    if let Err(error) = hop_by_hop::strip(headers) {
        tracing::warn!(%error, "odd Connection header of the upstream");
        headers.remove(http::header::CONNECTION);
        headers.remove(http::header::TRANSFER_ENCODING);
    }
}
