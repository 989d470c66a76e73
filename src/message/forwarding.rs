//! `X-Forwarded-*` and `Via`: what the upstream is told about the client (spec 3.2).

use std::net::IpAddr;

use http::header::{FORWARDED, HOST, VIA};
use http::{HeaderMap, HeaderName, HeaderValue, Version};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// What only a trusted peer may say.
const FROM_TRUSTED: [HeaderName; 7] = [
    FORWARDED,
    X_FORWARDED_FOR,
    X_FORWARDED_HOST,
    X_FORWARDED_PORT,
    X_FORWARDED_PREFIX,
    X_FORWARDED_PROTO,
    X_REAL_IP,
];

/// Sets the forwarding fields of a request that came from `peer` in `version`.
pub fn forward(headers: &mut HeaderMap, peer: IpAddr, version: Version, trusted: &[IpNet]) {
    let peer = peer.to_canonical();
    if !is_trusted(peer, trusted) {
        for name in FROM_TRUSTED {
            headers.remove(name);
        }
    }
    append_to_list(headers, &X_FORWARDED_FOR, &peer.to_string());
    if !headers.contains_key(X_FORWARDED_PROTO) {
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
    }
    if !headers.contains_key(X_FORWARDED_HOST)
        && let Some(host) = headers.get(HOST).cloned()
    {
        headers.insert(X_FORWARDED_HOST, host);
    }
    let received = match version {
        Version::HTTP_10 => "1.0 ssecar",
        Version::HTTP_2 => "2 ssecar",
        _ => "1.1 ssecar",
    };
    append_to_list(headers, &VIA, received);
}

/// Whether the peer is one whose word is taken.
#[must_use]
pub fn is_trusted(peer: IpAddr, trusted: &[IpNet]) -> bool {
    let peer = peer.to_canonical();
    trusted.iter().any(|net| net.contains(&peer))
}

/// The field's values and one more, as one line.
fn append_to_list(headers: &mut HeaderMap, name: &HeaderName, item: &str) {
    let mut line = Vec::new();
    for value in headers.get_all(name) {
        line.extend_from_slice(value.as_bytes());
        line.extend_from_slice(b", ");
    }
    line.extend_from_slice(item.as_bytes());
    // Made of valid values, a comma and an address.
    if let Ok(value) = HeaderValue::from_bytes(&line) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forwarded(fields: &[(&'static str, &'static str)], trusted: &[&str]) -> HeaderMap {
        let mut headers: HeaderMap = fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        let trusted: Vec<IpNet> = trusted.iter().map(|net| net.parse().unwrap()).collect();
        forward(&mut headers, "::ffff:10.1.2.3".parse().unwrap(), Version::HTTP_11, &trusted);
        headers
    }

    #[test]
    fn the_upstream_learns_who_came_by_which_way() {
        let headers = forwarded(&[("host", "app.example"), ("via", "1.0 edge")], &[]);
        assert_eq!(headers["x-forwarded-for"], "10.1.2.3");
        assert_eq!(headers["x-forwarded-host"], "app.example");
        assert_eq!(headers["x-forwarded-proto"], "http");
        assert_eq!(headers["via"], "1.0 edge, 1.1 ssecar");
    }

    #[test]
    fn a_stranger_is_not_believed() {
        let claims = [
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-proto", "https"),
            ("forwarded", "for=1.1.1.1"),
            ("x-real-ip", "1.1.1.1"),
        ];
        let headers = forwarded(&claims, &["192.168.0.0/16"]);
        assert_eq!(headers["x-forwarded-for"], "10.1.2.3");
        assert_eq!(headers["x-forwarded-proto"], "http");
        assert!(!headers.contains_key("forwarded") && !headers.contains_key("x-real-ip"));
    }

    #[test]
    fn a_trusted_proxy_is() {
        let claims =
            [("x-forwarded-for", "1.1.1.1"), ("x-forwarded-proto", "https"), ("x-forwarded-host", "outer")];
        let headers = forwarded(&claims, &["10.0.0.0/8"]);
        assert_eq!(headers["x-forwarded-for"], "1.1.1.1, 10.1.2.3");
        assert_eq!(headers["x-forwarded-proto"], "https");
        assert_eq!(headers["x-forwarded-host"], "outer");
    }
}
