//! What a proxy tells the next one about the client: `X-Forwarded-For`, `-Proto`, `-Host` and `Via`,
//! and which of it may be believed (spec 3.2).

use std::net::{IpAddr, SocketAddr};

use http::header::{FORWARDED, HeaderName, VIA};
use http::{HeaderMap, HeaderValue, Version};
use ipnet::{IpNet, Ipv4Net};

use super::list::{elements, parameter, split_unquoted};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// ssecar's name in `Via`.
const PSEUDONYM: &str = "ssecar";

/// The rules for forwarding headers: whom to believe.
#[derive(Debug, Clone, Default)]
pub struct Forwarding {
    /// No network of IPv4-mapped addresses among them.
    trusted: Vec<IpNet>,
}

/// How a request came in.
#[derive(Debug, Clone, Copy)]
pub struct Hop<'a> {
    /// The address at the other end of the connection.
    pub peer: IpAddr,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The `Host` (or `:authority`) as the client wrote it.
    pub host: Option<&'a HeaderValue>,
    /// The version that the client spoke.
    pub version: Version,
}

impl Forwarding {
    /// Believes peers in these networks, and nobody else. IPv4-mapped networks mean IPv4.
    #[must_use]
    pub fn new(trusted: &[IpNet]) -> Self {
        Self { trusted: trusted.iter().copied().map(unmapped).collect() }
    }

    /// Whether what this address says about others is believed. An IPv4-mapped address is IPv4.
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.trusted.iter().any(|network| network.contains(&address))
    }

    /// Sets the forwarding headers of a request for the upstream.
    ///
    /// All `X-Forwarded-*` headers, `Forwarded` and `X-Real-IP` of a peer that is not trusted are
    /// removed. From a trusted peer they are kept, and its address is added to `X-Forwarded-For`.
    /// `Via` is never believed, so it is kept from anyone. Each list stays on one line: many services
    /// read only the first.
    pub fn apply(&self, hop: &Hop<'_>, headers: &mut HeaderMap) {
        if !self.trusts(hop.peer) {
            remove_claims(headers);
        }
        append_to_list(headers, X_FORWARDED_FOR, &hop.peer.to_canonical().to_string());
        headers.entry(X_FORWARDED_PROTO).or_insert(HeaderValue::from_static(hop.scheme));
        if let Some(host) = hop.host {
            headers.entry(X_FORWARDED_HOST).or_insert_with(|| host.clone());
        }
        append_to_list(headers, VIA, &format!("{} {PSEUDONYM}", version_name(hop.version)));
    }

    /// The address of the client: `peer`, or, as far as each link is trusted, whom it came from.
    ///
    /// Reads `X-Forwarded-For` or, where there is none, `Forwarded` (RFC 7239) from the right, and
    /// stops at the first address that is not trusted. An entry that is no address (`unknown`, `_id`,
    /// garbage) ends the walk at the trusted one that reported it.
    #[must_use]
    pub fn client_ip(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        for entry in reported(headers).into_iter().rev() {
            if !self.trusts(client) {
                break;
            }
            let Some(address) = node_address(entry) else { break };
            client = address.to_canonical();
        }
        client
    }
}

fn remove_claims(headers: &mut HeaderMap) {
    let claims: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("x-forwarded-")).cloned().collect();
    for name in claims {
        headers.remove(name);
    }
    headers.remove(FORWARDED);
    headers.remove(X_REAL_IP);
}

/// Joins all lines of a list field and one more element into one line.
fn append_to_list(headers: &mut HeaderMap, name: HeaderName, element: &str) {
    let mut list = Vec::new();
    for value in headers.get_all(&name) {
        list.extend_from_slice(value.as_bytes());
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(element.as_bytes());
    // Made of valid values and plain ASCII, so it is a valid value.
    if let Ok(list) = HeaderValue::from_bytes(&list) {
        headers.insert(name, list);
    }
}

/// What proxies reported about their senders, in their order; empty where one reported nothing.
fn reported(headers: &HeaderMap) -> Vec<&[u8]> {
    if headers.contains_key(X_FORWARDED_FOR) {
        return elements(headers, &X_FORWARDED_FOR).collect();
    }
    elements(headers, &FORWARDED).map(forwarded_for).collect()
}

/// The `for` of one element of `Forwarded`; empty, which is no address, where it has none.
fn forwarded_for(element: &[u8]) -> &[u8] {
    split_unquoted(element, b';')
        .filter_map(parameter)
        .find(|(name, _)| name.eq_ignore_ascii_case(b"for"))
        .map_or(b"", |(_, node)| node)
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn node_address(node: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(node).ok()?;
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    match (bare.parse::<IpAddr>(), text.parse::<SocketAddr>()) {
        (Ok(IpAddr::V4(_)), _) if bare.len() != text.len() => None, // `[192.0.2.1]`
        (Ok(address), _) => Some(address),
        (Err(_), Ok(with_port)) => Some(with_port.ip()),
        (Err(_), Err(_)) => None,
    }
}

/// `::ffff:10.0.0.0/104` as `10.0.0.0/8`: addresses are compared in their IPv4 form.
fn unmapped(network: IpNet) -> IpNet {
    const MAPPED_PREFIX_LEN: u8 = 96;
    let IpNet::V6(v6) = network else { return network };
    let mapped = v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(MAPPED_PREFIX_LEN));
    mapped.and_then(|(address, len)| Ipv4Net::new(address, len).ok()).map_or(network, IpNet::V4)
}

fn version_name(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "0.9",
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => "1.1", // `Version` is no enum; this is the one that is left.
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTSIDE: &str = "198.51.100.7";
    const PROXY: &str = "10.0.0.1";

    fn rules() -> Forwarding {
        let trusted = ["10.0.0.0/8", "fd00::/8", "::ffff:192.168.0.0/120"];
        Forwarding::new(&trusted.map(|network| network.parse().unwrap()))
    }

    fn head(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        headers
    }

    fn applied(peer: &str, lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = head(lines);
        let host = HeaderValue::from_static("events.example:8080");
        let hop =
            Hop { peer: peer.parse().unwrap(), scheme: "http", host: Some(&host), version: Version::HTTP_11 };
        rules().apply(&hop, &mut headers);
        headers
    }

    fn client(peer: &str, lines: &[(&str, &str)]) -> String {
        rules().client_ip(peer.parse().unwrap(), &head(lines)).to_string()
    }

    #[test]
    fn the_upstream_learns_who_asked_and_how() {
        let headers = applied(OUTSIDE, &[]);
        assert_eq!(headers["x-forwarded-for"], OUTSIDE);
        assert_eq!(headers["x-forwarded-proto"], "http");
        assert_eq!(headers["x-forwarded-host"], "events.example:8080");
        assert_eq!(headers["via"], "1.1 ssecar");
    }

    #[test]
    fn a_stranger_claims_nothing() {
        let headers = applied(
            OUTSIDE,
            &[
                ("x-forwarded-for", "1.1.1.1"),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-host", "bank.example"),
                ("x-forwarded-user", "root"),
                ("forwarded", "for=1.1.1.1"),
                ("x-real-ip", "1.1.1.1"),
                ("x-other", "kept"),
            ],
        );
        assert_eq!(headers["x-forwarded-for"], OUTSIDE);
        assert_eq!(headers["x-forwarded-proto"], "http");
        assert_eq!(headers["x-forwarded-host"], "events.example:8080");
        assert_eq!(headers["x-other"], "kept");
        for gone in ["x-forwarded-user", "forwarded", "x-real-ip"] {
            assert!(!headers.contains_key(gone), "{gone}");
        }
    }

    #[test]
    fn a_trusted_proxy_is_believed_and_added_to_the_list() {
        let headers = applied(
            "::ffff:10.0.0.1",
            &[
                ("x-forwarded-for", "1.1.1.1"),
                ("x-forwarded-for", "2.2.2.2, 3.3.3.3"),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-host", "public.example"),
                ("x-forwarded-port", "443"),
                ("forwarded", "for=1.1.1.1"),
                ("via", "2 edge"),
                ("via", "1.1 cache"),
            ],
        );
        assert_eq!(headers["x-forwarded-for"], "1.1.1.1, 2.2.2.2, 3.3.3.3, 10.0.0.1");
        assert_eq!(headers.get_all("x-forwarded-for").iter().count(), 1);
        assert_eq!(headers["x-forwarded-proto"], "https");
        assert_eq!(headers["x-forwarded-host"], "public.example");
        assert_eq!(headers["x-forwarded-port"], "443");
        assert_eq!(headers["forwarded"], "for=1.1.1.1");
        assert_eq!(headers["via"], "2 edge, 1.1 cache, 1.1 ssecar");
    }

    #[test]
    fn the_client_is_the_first_untrusted_address_from_the_right() {
        let list = |value| [("x-forwarded-for", value)];
        assert_eq!(client(OUTSIDE, &list("1.1.1.1")), OUTSIDE, "a stranger's word counts for nothing");
        assert_eq!(client(PROXY, &[]), PROXY);
        assert_eq!(client(PROXY, &list("6.6.6.6, 1.1.1.1, 10.9.9.9")), "1.1.1.1");
        assert_eq!(client(PROXY, &list("10.3.3.3,10.2.2.2")), "10.3.3.3", "all are trusted");
        assert_eq!(
            client(PROXY, &[("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "1.1.1.1, fd00::2")]),
            "1.1.1.1",
            "lines are one list"
        );
        assert_eq!(client("::ffff:192.168.4.4", &list("1.1.1.1")), "192.168.4.4", "beyond the /24");
        assert_eq!(client("::ffff:192.168.0.4", &list("1.1.1.1")), "1.1.1.1");
    }

    #[test]
    fn an_entry_may_have_brackets_and_a_port() {
        for (entry, address) in [
            ("1.1.1.1:4711", "1.1.1.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:4711", "2001:db8::1"),
            ("::ffff:1.1.1.1", "1.1.1.1"),
        ] {
            assert_eq!(client(PROXY, &[("x-forwarded-for", entry)]), address, "{entry}");
        }
    }

    #[test]
    fn garbage_ends_the_walk_at_the_one_who_reported_it() {
        for garbage in
            ["unknown", "_hidden", "1.1.1", "1.1.1.1:99999", "[1.1.1.1]", "fe80::1%eth0", "\"", "[::1"]
        {
            let list = format!("6.6.6.6, {garbage}, 10.2.2.2");
            assert_eq!(client(PROXY, &[("x-forwarded-for", &list)]), "10.2.2.2", "{garbage}");
        }
    }

    #[test]
    fn the_standard_header_is_read_where_the_common_one_is_missing() {
        let forwarded = |value| client(PROXY, &[("forwarded", value)]);
        assert_eq!(
            forwarded("for=6.6.6.6, For=\"[2001:db8::1]:80\";proto=https, for=10.2.2.2"),
            "2001:db8::1"
        );
        assert_eq!(forwarded("proto=http;host=\"a,for=6.6.6.6\";for=1.1.1.1"), "1.1.1.1");
        assert_eq!(forwarded("for=6.6.6.6, proto=https"), PROXY, "an element that names nobody");
        assert_eq!(forwarded("for=6.6.6.6, for=_secret"), PROXY);
        assert_eq!(forwarded("for=\", for=1.1.1.1"), "1.1.1.1", "a lone quote hides nothing");
        assert_eq!(forwarded("for=\", for=\"[2001:db8::1]\""), "2001:db8::1");
        let both = [("forwarded", "for=6.6.6.6"), ("x-forwarded-for", "1.1.1.1")];
        assert_eq!(client(PROXY, &both), "1.1.1.1");
    }
}
