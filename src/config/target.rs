//! `--upstream`: where the service is.

use std::fmt;
use std::path::PathBuf;

use http::Uri;
use http::uri::Authority;

use super::{Transport, UpstreamTarget};

impl fmt::Display for UpstreamTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.transport {
            Transport::Tcp { .. } => write!(f, "http://{}{}", self.authority, self.base_path),
            Transport::Tls { .. } => write!(f, "https://{}{}", self.authority, self.base_path),
            Transport::Unix { path } => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Parses `http://HOST[:PORT][/base]`, `https://…` or `unix:/path/to/socket`.
///
/// # Errors
/// What is accepted instead.
pub(super) fn parse(text: &str) -> Result<UpstreamTarget, String> {
    let expected = "expected http://HOST:PORT, https://HOST:PORT or unix:/path/to/socket";
    if let Some(path) = text.strip_prefix("unix:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        if !path.starts_with('/') {
            return Err("expected unix: and the absolute path of a socket".into());
        }
        let transport = Transport::Unix { path: PathBuf::from(path) };
        let authority = Authority::from_static("localhost");
        return Ok(UpstreamTarget { transport, authority, base_path: String::new() });
    }
    let uri: Uri = text.parse().map_err(|_| expected.to_owned())?;
    let authority = uri.authority().cloned().ok_or_else(|| expected.to_owned())?;
    if authority.as_str().contains('@') {
        return Err("expected no user name or password in the address".into());
    }
    if uri.query().is_some() || text.contains('#') {
        return Err("expected no query and no fragment in the address".into());
    }
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    let after_host = &authority.as_str()[authority.host().len()..];
    if host.is_empty() || (!after_host.is_empty() && authority.port_u16().is_none()) {
        return Err(expected.to_owned());
    }
    let port = authority.port_u16();
    let transport = match uri.scheme_str() {
        Some("http") => Transport::Tcp { host, port: port.unwrap_or(80) },
        Some("https") => Transport::Tls { host, port: port.unwrap_or(443) },
        Some(_) | None => return Err(expected.to_owned()),
    };
    let base_path = uri.path().trim_end_matches('/').to_owned();
    Ok(UpstreamTarget { transport, authority, base_path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ways_to_reach_a_service() {
        let tcp = |host: &str, port| Transport::Tcp { host: host.into(), port };
        assert_eq!(parse("http://127.0.0.1:9000").unwrap().transport, tcp("127.0.0.1", 9000));
        assert_eq!(parse("http://app").unwrap().transport, tcp("app", 80));
        let ipv6 = parse("http://[::1]:9000/api/").unwrap();
        assert_eq!(ipv6.transport, tcp("::1", 9000));
        assert_eq!((ipv6.authority.as_str(), ipv6.base_path.as_str()), ("[::1]:9000", "/api"));
        assert_eq!(parse("https://app").unwrap().transport, Transport::Tls { host: "app".into(), port: 443 });
        let unix = Transport::Unix { path: "/run/app.sock".into() };
        assert_eq!(parse("unix:/run/app.sock").unwrap().transport, unix);
        assert_eq!(parse("unix:///run/app.sock").unwrap().transport, unix);
    }

    #[test]
    fn what_is_no_address_or_says_too_much_is_refused() {
        for text in [
            "",
            "app",
            "app:9000",
            "127.0.0.1:9000",
            "ftp://app",
            "http://",
            "http://app:x",
            "http://app:99999",
            "http://me:secret@app",
            "http://app?x=1",
            "http://app/#x",
            "unix:relative",
            "unix:",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
