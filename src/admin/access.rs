//! Who may ask: bearers of the token, or, on loopback without one, whoever is on this host; never a
//! page of another site (spec 9.3).

use std::fmt;
use std::io;
use std::path::Path;

use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::{HeaderMap, HeaderName, uri};
use subtle::ConstantTimeEq as _;

/// The shortest token, in characters: it can be asked for as often as the network allows.
const TOKEN_LEN_MIN: usize = 16;

/// The longest file that is taken for a token, in bytes.
const FILE_BYTES_MAX: usize = 4096;

/// Says where a request came from, in the words of the browser that sent it.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// A bearer token (RFC 6750). Compared in constant time, never shown.
#[derive(Clone)]
pub struct Token(Box<[u8]>);

/// Why a file holds no token.
#[derive(Debug)]
pub enum BadToken {
    /// It can't be read.
    Io(io::Error),
    /// Its first line is too short, or can't stand in a header.
    Form,
}

impl fmt::Display for BadToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Form => {
                write!(f, "expected a line of at least {TOKEN_LEN_MIN} visible ASCII characters")
            }
        }
    }
}

impl std::error::Error for BadToken {}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

impl Token {
    /// The first line of a file.
    ///
    /// # Errors
    /// [`BadToken`].
    pub fn read(file: &Path) -> Result<Self, BadToken> {
        let bytes = std::fs::read(file).map_err(BadToken::Io)?;
        Self::parse(&bytes).ok_or(BadToken::Form)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let line = bytes.split(|byte| *byte == b'\n').next()?.trim_ascii();
        let is_good = line.len() >= TOKEN_LEN_MIN
            && bytes.len() <= FILE_BYTES_MAX
            && line.iter().all(u8::is_ascii_graphic);
        is_good.then(|| Self(line.into()))
    }

    fn is_borne_by(&self, headers: &HeaderMap) -> bool {
        let Some(value) = headers.get(AUTHORIZATION) else { return false };
        let Some((scheme, token)) = value.as_bytes().split_at_checked("bearer ".len()) else { return false };
        scheme.eq_ignore_ascii_case(b"bearer ") && bool::from(self.0.ct_eq(token.trim_ascii()))
    }
}

/// The rules of one listener.
#[derive(Debug)]
pub(super) struct Access {
    token: Option<Token>,
    is_loopback: bool,
}

/// Why a request is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Denied {
    /// It comes from a page of another site.
    Foreign,
    /// It bears no token, or a wrong one.
    NoToken,
}

impl Access {
    pub(super) fn new(token: Option<Token>, is_loopback: bool) -> Self {
        Self { token, is_loopback }
    }

    /// Whether a request may be answered at all. `needs_token`: whether its answer tells something.
    ///
    /// # Errors
    /// [`Denied`].
    pub(super) fn check(&self, headers: &HeaderMap, needs_token: bool) -> Result<(), Denied> {
        // A page of another site can point its own name at this address (DNS rebinding). It can't on a
        // listener that has a token, which it does not know; there, names are the operator's to choose.
        let has_good_name = self.token.is_some() && !self.is_loopback || names_this_host(headers);
        if !has_good_name || !is_of_this_site(headers) {
            return Err(Denied::Foreign);
        }
        match &self.token {
            Some(token) if needs_token && !token.is_borne_by(headers) => Err(Denied::NoToken),
            Some(_) | None => Ok(()),
        }
    }
}

fn names_this_host(headers: &HeaderMap) -> bool {
    let Some(authority) = host(headers) else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok()
}

/// A browser says which site a request comes from; other programs say nothing.
fn is_of_this_site(headers: &HeaderMap) -> bool {
    let is_fetched_here = match headers.get(SEC_FETCH_SITE).map(http::HeaderValue::as_bytes) {
        None | Some(b"same-origin" | b"none") => true,
        Some(_) => false,
    };
    let is_asked_here = match headers.get(ORIGIN) {
        None => true,
        Some(origin) => {
            let origin = origin.to_str().ok().and_then(|origin| origin.parse::<http::Uri>().ok());
            let origin = origin.as_ref().and_then(http::Uri::authority);
            origin.is_some() && origin == host(headers).as_ref()
        }
    };
    is_fetched_here && is_asked_here
}

fn host(headers: &HeaderMap) -> Option<uri::Authority> {
    headers.get(HOST)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef";

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let fields = fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), http::HeaderValue::from_static(value)));
        fields.collect()
    }

    fn with_token(is_loopback: bool) -> Access {
        Access::new(Token::parse(SECRET.as_bytes()), is_loopback)
    }

    #[test]
    fn a_token_is_a_line_of_some_length() {
        assert!(Token::parse(b"0123456789abcdef\r\nmore").is_some());
        for bad in [&b""[..], b"\n0123456789abcdef", b"0123456789abcde", b"0123456789 abcdef", &[b'x'; 5000]]
        {
            assert!(Token::parse(bad).is_none(), "{bad:?}");
        }
        assert_eq!(format!("{:?}", with_token(true).token), "Some(Token)");
    }

    #[test]
    fn only_bearers_are_told_anything_where_there_is_a_token() {
        let access = with_token(false);
        for (value, expected) in [
            ("Bearer 0123456789abcdef", Ok(())),
            ("bearer  0123456789abcdef", Ok(())),
            ("Bearer 0123456789abcdeg", Err(Denied::NoToken)),
            ("Bearer 0123456789abcdef0", Err(Denied::NoToken)),
            ("Bearer", Err(Denied::NoToken)),
            ("Basic 0123456789abcdef", Err(Denied::NoToken)),
            ("0123456789abcdef", Err(Denied::NoToken)),
        ] {
            let asked = headers(&[("host", "ssecar.prod.svc:9180"), ("authorization", value)]);
            assert_eq!(access.check(&asked, true), expected, "{value}");
        }
        let anonymous = headers(&[("host", "ssecar.prod.svc:9180")]);
        assert_eq!(access.check(&anonymous, true), Err(Denied::NoToken));
        assert_eq!(access.check(&anonymous, false), Ok(()));
    }

    #[test]
    fn a_page_of_another_site_is_told_nothing() {
        for access in [Access::new(None, true), with_token(true)] {
            for (fields, expected) in [
                (&[("host", "127.0.0.1:9180")][..], Ok(())),
                (&[("host", "localhost:9180"), ("origin", "http://localhost:9180")], Ok(())),
                (&[("host", "[::1]:9180"), ("sec-fetch-site", "same-origin")], Ok(())),
                (&[("host", "127.0.0.1:9180"), ("sec-fetch-site", "none")], Ok(())),
                (&[], Err(Denied::Foreign)),
                (&[("host", "rebound.example:9180")], Err(Denied::Foreign)),
                (&[("host", "127.0.0.1:9180"), ("origin", "http://evil.example")], Err(Denied::Foreign)),
                (&[("host", "127.0.0.1:9180"), ("origin", "http://127.0.0.1:80")], Err(Denied::Foreign)),
                (&[("host", "127.0.0.1:9180"), ("origin", "null")], Err(Denied::Foreign)),
                (&[("host", "127.0.0.1:9180"), ("sec-fetch-site", "cross-site")], Err(Denied::Foreign)),
                (&[("host", "127.0.0.1:9180"), ("sec-fetch-site", "same-site")], Err(Denied::Foreign)),
            ] {
                assert_eq!(access.check(&headers(fields), false), expected, "{fields:?}");
            }
        }
    }
}
