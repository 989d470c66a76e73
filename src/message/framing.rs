//! Cuts what a client sends on an HTTP/1.1 connection into requests, strictly: where one ends and the next begins must
//! be beyond doubt (RFC 9112, 6 and 7; spec 9.2).
//!
//! It reads beside the parser that serves the requests, not instead of it: each head that it takes is counted, and
//! a request that it did not take must not be served. Knows no sockets.

use super::raw_head::{BodyFraming, Fault, HeadReader};

/// Hexadecimal digits of a chunk's size: 64 bits.
const SIZE_DIGITS_MAX: u8 = 16;

/// Bytes of one chunk's extension, or of all trailers of a message.
const EXTRAS_BYTES_MAX: usize = 4096;

/// What a piece of input came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scanned {
    /// Heads that ended in it, and can be read in one way.
    pub heads: usize,
    /// Where in it, and why, nothing more may be read.
    pub fault: Option<(usize, Fault)>,
}

/// The place in one connection's input.
#[derive(Debug)]
pub struct Framing {
    state: State,
    /// The line that is being read, without its end. Bounded by `line_bytes_max`.
    line: Vec<u8>,
    line_bytes_max: usize,
}

#[derive(Debug)]
enum State {
    Head(Box<HeadReader>),
    /// So many bytes of a body.
    Body(u64),
    Chunk(Chunk),
    /// Behind a fault, nothing is read any more.
    Failed(Fault),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chunk {
    Size {
        size: u64,
        digits: u8,
    },
    Extension {
        size: u64,
        bytes: usize,
    },
    /// The LF that must follow the size line's CR.
    SizeEnd {
        size: u64,
    },
    Data {
        left: u64,
    },
    /// The CR, then the LF, behind the data.
    DataCr,
    DataLf,
    /// Lines after the last chunk; an empty one ends the body.
    Trailer {
        bytes: usize,
        is_line_empty: bool,
    },
    TrailerLf {
        bytes: usize,
        is_line_empty: bool,
    },
}

impl Framing {
    /// Before the first request. A line of a head holds at most `line_bytes_max` bytes: what is longer is for the
    /// parser to refuse, whose limit is the same or lower.
    #[must_use]
    pub fn new(line_bytes_max: usize) -> Self {
        Self { state: State::Head(Box::default()), line: Vec::new(), line_bytes_max }
    }

    /// Reads the next piece, cut anywhere.
    pub fn scan(&mut self, input: &[u8]) -> Scanned {
        let mut heads = 0;
        let mut at = 0;
        while at < input.len() {
            let step = match &mut self.state {
                State::Failed(fault) => Err((0, *fault)),
                State::Head(reader) => head(reader, &mut self.line, self.line_bytes_max, &input[at..]),
                State::Body(left) => {
                    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len() - at);
                    *left -= taken as u64;
                    let next = (*left == 0).then(|| State::Head(Box::default()));
                    Ok((taken, next))
                }
                State::Chunk(chunk) => chunk.step(&input[at..]),
            };
            match step {
                Ok((taken, next)) => {
                    at += taken;
                    if let Some(next) = next {
                        heads += usize::from(matches!(self.state, State::Head(_)));
                        self.state = next;
                    }
                }
                Err((taken, fault)) => {
                    self.state = State::Failed(fault);
                    self.line = Vec::new();
                    return Scanned { heads, fault: Some((at + taken, fault)) };
                }
            }
        }
        Scanned { heads, fault: None }
    }
}

/// Bytes taken, and the next state if there is another; or the place of a fault.
type Step = Result<(usize, Option<State>), (usize, Fault)>;

fn head(reader: &mut HeadReader, line: &mut Vec<u8>, line_bytes_max: usize, input: &[u8]) -> Step {
    let Some(end) = memchr::memchr(b'\n', input) else {
        // CR may only be the last: the LF may still come.
        check_line(input, line)?;
        if line.len() + input.len() > line_bytes_max {
            return Err((0, Fault::Field));
        }
        line.extend_from_slice(input);
        return Ok((input.len(), None));
    };
    check_line(&input[..end], line)?;
    // Mostly the whole line is there, and nothing is copied.
    let whole = if line.is_empty() {
        &input[..end]
    } else {
        line.extend_from_slice(&input[..end]);
        &line[..]
    };
    let Some(text) = whole.strip_suffix(b"\r") else { return Err((end, Fault::LineEnd)) };
    let next = reader.line(text).map_err(|fault| (end + 1, fault))?;
    if !line.is_empty() {
        *line = Vec::new();
    }
    Ok((
        end + 1,
        next.map(|framing| match framing {
            BodyFraming::None => State::Head(Box::default()),
            BodyFraming::Length(length) => State::Body(length),
            BodyFraming::Chunked => State::Chunk(Chunk::Size { size: 0, digits: 0 }),
        }),
    ))
}

/// No NUL, and no CR but as the last byte before the LF.
fn check_line(piece: &[u8], before: &[u8]) -> Result<(), (usize, Fault)> {
    if before.last() == Some(&b'\r') && !piece.is_empty() {
        return Err((0, Fault::LineEnd));
    }
    match memchr::memchr2(b'\r', 0, piece) {
        Some(at) if piece[at] == 0 || at + 1 < piece.len() => Err((at, Fault::LineEnd)),
        Some(_) | None => Ok(()),
    }
}

impl Chunk {
    fn step(&mut self, input: &[u8]) -> Step {
        let byte = input[0];
        let fault = Err((0, Fault::Chunk));
        *self = match *self {
            Self::Data { left } => {
                let taken = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                let left = left - taken as u64;
                *self = if left == 0 { Self::DataCr } else { Self::Data { left } };
                return Ok((taken, None));
            }
            Self::Size { size, digits } => match (char::from(byte).to_digit(16), byte) {
                (Some(_), _) if digits == SIZE_DIGITS_MAX => return fault,
                (Some(digit), _) => Self::Size { size: (size << 4) | u64::from(digit), digits: digits + 1 },
                (None, _) if digits == 0 => return fault,
                (None, b'\r') => Self::SizeEnd { size },
                (None, b';') => Self::Extension { size, bytes: 0 },
                (None, _) => return fault,
            },
            Self::Extension { size, .. } if byte == b'\r' => Self::SizeEnd { size },
            Self::Extension { size, bytes } => {
                if (byte < b' ' && byte != b'\t') || byte == 0x7f || bytes == EXTRAS_BYTES_MAX {
                    return fault;
                }
                Self::Extension { size, bytes: bytes + 1 }
            }
            Self::SizeEnd { .. } if byte != b'\n' => return fault,
            Self::SizeEnd { size: 0 } => Self::Trailer { bytes: 0, is_line_empty: true },
            Self::SizeEnd { size } => Self::Data { left: size },
            Self::DataCr if byte == b'\r' => Self::DataLf,
            Self::DataLf if byte == b'\n' => Self::Size { size: 0, digits: 0 },
            Self::DataCr | Self::DataLf => return fault,
            Self::Trailer { bytes, is_line_empty } if byte == b'\r' => {
                Self::TrailerLf { bytes, is_line_empty }
            }
            Self::Trailer { bytes, .. } => {
                if (byte < b' ' && byte != b'\t') || byte == 0x7f || bytes == EXTRAS_BYTES_MAX {
                    return fault;
                }
                Self::Trailer { bytes: bytes + 1, is_line_empty: false }
            }
            Self::TrailerLf { .. } if byte != b'\n' => return fault,
            Self::TrailerLf { is_line_empty: true, .. } => {
                return Ok((1, Some(State::Head(Box::default()))));
            }
            Self::TrailerLf { bytes, .. } => Self::Trailer { bytes, is_line_empty: true },
        };
        Ok((1, None))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

    /// The same, whatever the cuts: heads, and the fault with its place.
    fn scan(input: &[u8]) -> (usize, Option<(usize, Fault)>) {
        let whole = Framing::new(1000).scan(input);
        let whole = (whole.heads, whole.fault);
        for cut in 0..input.len() {
            let mut framing = Framing::new(1000);
            let first = framing.scan(&input[..cut]);
            let mut seen = (first.heads, first.fault);
            if seen.1.is_none() {
                let second = framing.scan(&input[cut..]);
                seen = (seen.0 + second.heads, second.fault.map(|(at, fault)| (cut + at, fault)));
            }
            assert_eq!(
                (seen.0, seen.1.map(|(_, fault)| fault)),
                (whole.0, whole.1.map(|(_, fault)| fault)),
                "cut at {cut}"
            );
        }
        whole
    }

    fn faults(input: &str) -> (usize, Option<Fault>) {
        let (heads, fault) = scan(input.as_bytes());
        (heads, fault.map(|(_, fault)| fault))
    }

    #[test]
    fn requests_follow_each_other_whatever_their_bodies() {
        let post = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nGET /";
        let chunked = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\
                       5;name=\"x\"\r\nGET /\r\n0A\r\n0123456789\r\n000\r\nTrailer: x\r\n\r\n";
        assert_eq!(faults(&format!("{GET}{post}\r\n{chunked}{GET}")), (4, None));
    }

    #[test]
    fn a_request_behind_a_doubtful_one_is_not_read() {
        for doubtful in [
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET / HTTP/1.1\nHost: h\n\n",
            "GET / HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n",
        ] {
            let (heads, fault) = faults(&format!("{GET}{doubtful}{GET}"));
            assert_eq!(heads, 1, "{doubtful:?}");
            assert!(fault.is_some(), "{doubtful:?}");
        }
    }

    #[test]
    fn every_disguise_of_a_chunk_is_refused() {
        let head = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
        for body in [
            "\r\n",
            "g\r\n",
            "+1\r\n",
            "0x1\r\n",
            "1 \r\n",
            "1\n",
            "1\r\r\n",
            "11111111111111111\r\n",
            "1;a\nb\r\n",
            "1;a\0\r\n",
            "1\r\nab\r\n",
            "1\r\na\n",
            "1\r\na\r0\r\n",
            "0\r\nTrailer: x\n\r\n",
            "0\r\n\rx",
        ] {
            assert_eq!(faults(&format!("{head}{body}")), (1, Some(Fault::Chunk)), "{body:?}");
        }
        let long = format!("{head}1;{}", "x".repeat(EXTRAS_BYTES_MAX + 1));
        assert_eq!(Framing::new(1000).scan(long.as_bytes()).fault.unwrap().1, Fault::Chunk);
    }

    #[test]
    fn a_line_without_end_is_not_kept_without_bound() {
        let mut framing = Framing::new(100);
        for _ in 0..10 {
            framing.scan(&[b'a'; 30]);
            assert!(framing.line.len() <= 100);
        }
        assert!(matches!(framing.state, State::Failed(Fault::Field)));
    }

    proptest! {
        #[test]
        fn requests_of_every_kind_are_counted_wherever_the_stream_is_cut(
            requests in prop::collection::vec((0..3u8, "[a-z]{0,8}", 0..20usize), 1..5),
        ) {
            let mut wire = Vec::new();
            for (kind, path, length) in &requests {
                let body = "x".repeat(*length);
                match kind {
                    0 => wire.extend_from_slice(format!("GET /{path} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()),
                    1 => wire.extend_from_slice(
                        format!("PUT /{path} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n{body}").as_bytes(),
                    ),
                    _ => {
                        let chunk = if *length > 0 { format!("{length:x}\r\n{body}\r\n") } else { String::new() };
                        let head = format!("PUT /{path} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
                        wire.extend_from_slice(format!("{head}{chunk}0\r\n\r\n").as_bytes());
                    }
                }
            }
            prop_assert_eq!(scan(&wire), (requests.len(), None));
        }
    }
}
