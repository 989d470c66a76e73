//! Request heads as they are on the wire, before any parser has made sense of them (RFC 9112).
//!
//! Parsers forgive: bare line feeds, two `Host` fields, `Content-Length` beside `Transfer-Encoding`. Two that forgive
//! differently see different requests in the same bytes, which is what request smuggling lives on. So a head is taken
//! only if it can be read in one way (spec 9.2). Knows no sockets: [`super::framing`] cuts the stream into heads.

use std::fmt;

/// How the body that follows a head is framed (RFC 9112, 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFraming {
    /// There is none.
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A line that ends with a bare LF, or a CR or NUL in the midst of one.
    LineEnd,
    /// Not `METHOD SP TARGET SP HTTP/1.0` or `HTTP/1.1`.
    RequestLine,
    /// A `#`, a space or a control character in the target.
    Target,
    /// A field line without name, with a space before its colon, or one that continues the line before.
    Field,
    /// A control character in a field's value.
    Value,
    /// HTTP/1.1 without `Host`, or more than one.
    Host,
    /// More than one `Content-Length`, or one that is no plain number.
    ContentLength,
    /// `Content-Length` and `Transfer-Encoding` at once.
    BothLengths,
    /// A `Transfer-Encoding` that does not end with one `chunked`, or comes with HTTP/1.0.
    TransferEncoding,
    /// A transfer coding beside `chunked`, which ssecar does not speak: to be answered 501.
    UnknownCoding,
    /// A chunk whose size, extension, data or trailer does not follow the grammar.
    Chunk,
}

/// Reads a head line by line, each without its line end.
#[derive(Debug, Clone, Default)]
pub struct HeadReader {
    is_1_0: bool,
    has_request_line: bool,
    hosts: u8,
    length: Option<u64>,
    coding: Coding,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Coding {
    #[default]
    None,
    /// `chunked` came, and nothing after it.
    Chunked,
    /// Another one came, and `chunked` may still follow.
    Other,
    /// Another one came, then `chunked`.
    OtherThenChunked,
}

impl HeadReader {
    /// Takes the next line; the empty one ends the head and says what follows it.
    ///
    /// # Errors
    /// A [`Fault`]: nothing after it may be read.
    pub fn line(&mut self, line: &[u8]) -> Result<Option<BodyFraming>, Fault> {
        if !self.has_request_line {
            // Empty lines before a request are to be ignored (RFC 9112, 2.2).
            if !line.is_empty() {
                self.request_line(line)?;
            }
            return Ok(None);
        }
        if line.is_empty() {
            return self.end().map(Some);
        }
        self.field(line)?;
        Ok(None)
    }

    /// Whether nothing of a request has come yet.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        !self.has_request_line
    }

    fn request_line(&mut self, line: &[u8]) -> Result<(), Fault> {
        let mut parts = line.split(|&byte| byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Fault::RequestLine);
        };
        if method.is_empty() || !method.iter().all(|&byte| is_token(byte)) {
            return Err(Fault::RequestLine);
        }
        if target.is_empty() || target.iter().any(|&byte| byte == b'#' || byte < b' ' || byte == 0x7f) {
            return Err(Fault::Target);
        }
        self.is_1_0 = match version {
            b"HTTP/1.1" => false,
            b"HTTP/1.0" => true,
            _ => return Err(Fault::RequestLine),
        };
        self.has_request_line = true;
        Ok(())
    }

    fn field(&mut self, line: &[u8]) -> Result<(), Fault> {
        let colon = line.iter().position(|&byte| byte == b':').ok_or(Fault::Field)?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        // A space before the colon and a line that begins with one are caught here as well.
        if name.is_empty() || !name.iter().all(|&byte| is_token(byte)) {
            return Err(Fault::Field);
        }
        if value.iter().any(|&byte| (byte < b' ' && byte != b'\t') || byte == 0x7f) {
            return Err(Fault::Value);
        }
        if name.eq_ignore_ascii_case(b"host") {
            self.hosts = self.hosts.saturating_add(1);
        } else if name.eq_ignore_ascii_case(b"content-length") {
            if self.length.is_some() {
                return Err(Fault::ContentLength);
            }
            self.length = Some(number(value).ok_or(Fault::ContentLength)?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.codings(value)?;
        }
        Ok(())
    }

    fn codings(&mut self, value: &[u8]) -> Result<(), Fault> {
        for coding in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            let is_chunked = coding.eq_ignore_ascii_case(b"chunked");
            self.coding = match (self.coding, is_chunked) {
                // An empty element is a disguise, and nothing comes after the last.
                _ if coding.is_empty() => return Err(Fault::TransferEncoding),
                (Coding::None, true) => Coding::Chunked,
                (Coding::None | Coding::Other, false) => Coding::Other,
                (Coding::Other, true) => Coding::OtherThenChunked,
                (Coding::Chunked | Coding::OtherThenChunked, _) => return Err(Fault::TransferEncoding),
            };
        }
        Ok(())
    }

    fn end(&self) -> Result<BodyFraming, Fault> {
        if self.hosts > 1 || (self.hosts == 0 && !self.is_1_0) {
            return Err(Fault::Host);
        }
        if self.length.is_some() && self.coding != Coding::None {
            return Err(Fault::BothLengths);
        }
        if self.is_1_0 && self.coding != Coding::None {
            return Err(Fault::TransferEncoding);
        }
        match self.coding {
            Coding::None => {
                Ok(self.length.filter(|&length| length > 0).map_or(BodyFraming::None, BodyFraming::Length))
            }
            Coding::Chunked => Ok(BodyFraming::Chunked),
            Coding::OtherThenChunked => Err(Fault::UnknownCoding),
            Coding::Other => Err(Fault::TransferEncoding),
        }
    }
}

impl Fault {
    /// One line for the client.
    #[must_use]
    pub fn detail(self) -> &'static str {
        match self {
            Self::LineEnd => "A line of the request does not end with CRLF.",
            Self::RequestLine => "The request line is malformed.",
            Self::Target => "The request target holds a character that can't stand there.",
            Self::Field => "A header field line is malformed.",
            Self::Value => "A header field's value holds a control character.",
            Self::Host => "The request must have exactly one Host.",
            Self::ContentLength => "The request must have at most one Content-Length, a plain number.",
            Self::BothLengths => "The request has both Content-Length and Transfer-Encoding.",
            Self::TransferEncoding => "The request's Transfer-Encoding is not chunked, once and last.",
            Self::UnknownCoding => "The request has a transfer coding other than chunked.",
            Self::Chunk => "The request's chunked body is malformed.",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.detail())
    }
}

impl std::error::Error for Fault {}

/// RFC 9110, 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Digits only, within 64 bits: no sign, no list, no spaces.
fn number(text: &[u8]) -> Option<u64> {
    let is_plain = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| is_plain)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Result<BodyFraming, Fault> {
        let mut reader = HeadReader::default();
        for line in lines.iter().chain(&[""]) {
            if let Some(framing) = reader.line(line.as_bytes())? {
                return Ok(framing);
            }
        }
        panic!("no end: {lines:?}")
    }

    fn with(fields: &[&str]) -> Result<BodyFraming, Fault> {
        let mut lines = vec!["POST /a HTTP/1.1", "Host: h"];
        lines.extend(fields);
        read(&lines)
    }

    #[test]
    fn a_head_that_can_be_read_in_one_way_says_what_follows() {
        assert_eq!(with(&[]), Ok(BodyFraming::None));
        assert_eq!(with(&["Content-Length: 0"]), Ok(BodyFraming::None));
        assert_eq!(with(&["content-length:\t12 "]), Ok(BodyFraming::Length(12)));
        assert_eq!(with(&["Transfer-Encoding: Chunked"]), Ok(BodyFraming::Chunked));
        assert_eq!(with(&["X-A:", "X-B: \u{fc} \t x"]), Ok(BodyFraming::None));
        assert_eq!(read(&["", "", "GET / HTTP/1.0"]), Ok(BodyFraming::None), "HTTP/1.0 needs no host");
        assert_eq!(read(&["OPTIONS * HTTP/1.1", "Host:"]), Ok(BodyFraming::None));
    }

    #[test]
    fn every_disguise_of_a_length_is_refused() {
        for (fields, fault) in [
            (&["Content-Length: 4", "Content-Length: 4"][..], Fault::ContentLength),
            (&["Content-Length: 4, 4"], Fault::ContentLength),
            (&["Content-Length: +4"], Fault::ContentLength),
            (&["Content-Length: 0x4"], Fault::ContentLength),
            (&["Content-Length: 4 4"], Fault::ContentLength),
            (&["Content-Length:"], Fault::ContentLength),
            (&["Content-Length: 18446744073709551616"], Fault::ContentLength),
            (&["Content-Length: 4", "Transfer-Encoding: chunked"], Fault::BothLengths),
            (&["Transfer-Encoding: chunked", "Content-Length: 0"], Fault::BothLengths),
            (&["Transfer-Encoding: xchunked"], Fault::TransferEncoding),
            (&["Transfer-Encoding: chunked, identity"], Fault::TransferEncoding),
            (&["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"], Fault::TransferEncoding),
            (&["Transfer-Encoding: chunked,"], Fault::TransferEncoding),
            (&["Transfer-Encoding: identity"], Fault::TransferEncoding),
            (&["Transfer-Encoding:"], Fault::TransferEncoding),
            (&["Transfer-Encoding: \"chunked\""], Fault::TransferEncoding),
            (&["Transfer-Encoding: gzip, chunked"], Fault::UnknownCoding),
            (&["Transfer-Encoding: gzip", "Transfer-Encoding: chunked"], Fault::UnknownCoding),
            (&["Transfer-Encoding : chunked"], Fault::Field),
            (&[" Transfer-Encoding: chunked"], Fault::Field),
            (&["Transfer-Encoding\u{b}: chunked"], Fault::Field),
            (&["Transfer-Encoding: \u{b}chunked"], Fault::Value),
        ] {
            assert_eq!(with(fields), Err(fault), "{fields:?}");
        }
        assert_eq!(read(&["POST / HTTP/1.0", "Transfer-Encoding: chunked"]), Err(Fault::TransferEncoding));
    }

    #[test]
    fn a_request_names_one_host_and_one_target() {
        for (lines, fault) in [
            (&["GET / HTTP/1.1"][..], Fault::Host),
            (&["GET / HTTP/1.1", "Host: a", "host: a"], Fault::Host),
            (&["GET / HTTP/1.0", "Host: a", "Host: b"], Fault::Host),
            (&["GET /#a HTTP/1.1", "Host: a"], Fault::Target),
            (&["GET /\t HTTP/1.1", "Host: a"], Fault::Target),
            (&["GET  / HTTP/1.1", "Host: a"], Fault::RequestLine),
            (&["GET / HTTP/1.1 ", "Host: a"], Fault::RequestLine),
            (&["GET / HTTP/1.2", "Host: a"], Fault::RequestLine),
            (&["GET / http/1.1", "Host: a"], Fault::RequestLine),
            (&["GET /", "Host: a"], Fault::RequestLine),
            (&["G(T / HTTP/1.1", "Host: a"], Fault::RequestLine),
            (&["GET / HTTP/1.1", "Host: a", "no colon"], Fault::Field),
            (&["GET / HTTP/1.1", "Host: a", "\tfolded: b"], Fault::Field),
            (&["GET / HTTP/1.1", "Host: a", ": b"], Fault::Field),
            (&["GET / HTTP/1.1", "Host: a", "X: a\u{1}"], Fault::Value),
        ] {
            assert_eq!(read(lines), Err(fault), "{lines:?}");
        }
    }
}
