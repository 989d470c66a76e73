//! Event ids: epoch, sequence and upstream id; their text form; what a `Last-Event-ID` means
//! (spec 5.3, 6.4, 6.6).
//!
//! Knows no log: whether an id can still be served is the log's to say.

use std::fmt;

use bytes::Bytes;

/// Letters of an epoch's name.
const EPOCH_LEN: usize = 8;

/// Crockford's base 32: no letter is mistaken for a digit when an id is read aloud.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// The longest upstream id, as encoded, that is carried inside ours. A client sends the id back in
/// a header line, and common servers refuse lines beyond 8 KiB. A longer one is left out: the event
/// can still be found by its epoch and sequence, only not across a restart of ssecar.
pub const UPSTREAM_ID_ENCODED_MAX: usize = 4096;

/// Whose event ids clients see (spec 5.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventIds {
    /// ssecar's own: `EPOCH.SEQ` or `EPOCH.SEQ.UPSTREAM-ID`.
    Own,
    /// The upstream's, untouched.
    Upstream,
}

/// The name of one unbroken numbering of a session's events.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch([u8; EPOCH_LEN]);

impl Epoch {
    /// A name made of the lower 40 bits of a random number.
    #[must_use]
    pub fn from_random(random: u64) -> Self {
        let mut name = [0; EPOCH_LEN];
        for (place, letter) in name.iter_mut().enumerate() {
            *letter = ALPHABET[(random >> (5 * place)) as usize & 31];
        }
        Self(name)
    }

    /// Letters of a name.
    pub(super) const LETTERS: usize = EPOCH_LEN;

    /// The name.
    pub(super) fn letters(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let name: [u8; EPOCH_LEN] = text.try_into().ok()?;
        name.iter().all(|letter| ALPHABET.contains(letter)).then_some(Self(name))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|&letter| fmt::Write::write_char(f, char::from(letter)))
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Epoch({self})")
    }
}

/// An event's place in its session, and the upstream's own name for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventId {
    /// The numbering that `seq` belongs to.
    pub epoch: Epoch,
    /// 1, 2, 3, … within the epoch; 0 is the place before its first event.
    pub seq: u64,
    /// The last id that the upstream gave up to this event, as it gave it.
    pub upstream: Option<Bytes>,
}

impl EventId {
    /// The text for an `id` line: visible ASCII only, so that it comes back in a header unchanged.
    ///
    /// Whatever is no visible ASCII in the upstream's id is percent-encoded: header values lose
    /// their outer spaces on the way, and browsers' `fetch` refuses letters beyond Latin-1.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(EPOCH_LEN + 12 + self.upstream.as_ref().map_or(0, Bytes::len));
        text.extend_from_slice(&self.epoch.0);
        text.push(b'.');
        text.extend_from_slice(self.seq.to_string().as_bytes());
        if let Some(upstream) = &self.upstream {
            let bare_len = text.len();
            text.push(b'.');
            encode_upstream(upstream, &mut text);
            if text.len() - bare_len - 1 > UPSTREAM_ID_ENCODED_MAX {
                text.truncate(bare_len);
            }
        }
        text
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let epoch = Epoch::parse(text.get(..EPOCH_LEN)?)?;
        let rest = text[EPOCH_LEN..].strip_prefix(b".")?;
        let (digits, upstream) = match rest.iter().position(|&byte| byte == b'.') {
            Some(dot) => (&rest[..dot], Some(decode_upstream(&rest[dot + 1..])?)),
            None => (rest, None),
        };
        // `from_str_radix` would take a sign; ours never has one, nor a leading zero.
        let is_plain = digits.iter().all(u8::is_ascii_digit) && (digits == b"0" || !digits.starts_with(b"0"));
        let seq = std::str::from_utf8(digits).ok().filter(|_| is_plain)?.parse().ok()?;
        Some(Self { epoch, seq, upstream: upstream.map(Bytes::from) })
    }
}

/// What a client says it saw last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LastEventId {
    /// An id of ssecar's making, perhaps of another session or an earlier process.
    Own(EventId),
    /// Anything else: taken as an id of the upstream's (spec 6.4).
    Foreign(Bytes),
}

impl LastEventId {
    /// Reads the value of a `Last-Event-ID`. Nothing is refused: what is not ours is foreign.
    #[must_use]
    pub fn parse(value: &[u8]) -> Self {
        EventId::parse(value).map_or_else(|| Self::Foreign(Bytes::copy_from_slice(value)), Self::Own)
    }

    /// The upstream's id within, by which the upstream can be asked to go on.
    #[must_use]
    pub fn upstream(&self) -> Option<&Bytes> {
        match self {
            Self::Own(id) => id.upstream.as_ref(),
            Self::Foreign(id) => Some(id),
        }
    }

    /// The value as the client sent it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Own(id) => id.to_bytes(),
            Self::Foreign(id) => id.to_vec(),
        }
    }
}

fn encode_upstream(id: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in id {
        if byte.is_ascii_graphic() && byte != b'%' {
            out.push(byte);
        } else {
            out.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
}

/// The reverse; `None` for what the encoder never writes, so that each id has one text only.
fn decode_upstream(text: &[u8]) -> Option<Vec<u8>> {
    if text.len() > UPSTREAM_ID_ENCODED_MAX {
        return None;
    }
    let nibble = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    };
    let mut id = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        if first == b'%' {
            let byte = nibble(*after.first()?)? << 4 | nibble(*after.get(1)?)?;
            // A line end or NUL in an id can't have come from an event stream, and must never get
            // into a header or a line of ours.
            let needs_no_encoding = byte.is_ascii_graphic() && byte != b'%';
            if needs_no_encoding || matches!(byte, 0 | b'\r' | b'\n') {
                return None;
            }
            id.push(byte);
            rest = &after[2..];
        } else if first.is_ascii_graphic() {
            id.push(first);
            rest = after;
        } else {
            return None;
        }
    }
    Some(id)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(seq: u64, upstream: Option<&[u8]>) -> EventId {
        EventId { epoch: Epoch::from_random(7), seq, upstream: upstream.map(Bytes::copy_from_slice) }
    }

    #[test]
    fn an_id_names_epoch_sequence_and_the_upstreams_id() {
        assert_eq!(id(1, None).to_bytes(), b"70000000.1");
        assert_eq!(id(42, Some(b"1700:0")).to_bytes(), b"70000000.42.1700:0");
        assert_eq!(id(3, Some("a b.ü%".as_bytes())).to_bytes(), b"70000000.3.a%20b.%C3%BC%25");
    }

    #[test]
    fn an_upstream_id_too_long_for_a_header_is_left_out() {
        let longest = vec![b'x'; UPSTREAM_ID_ENCODED_MAX];
        assert!(id(1, Some(&longest)).to_bytes().ends_with(b"x"));
        let longer = vec![b'x'; UPSTREAM_ID_ENCODED_MAX + 1];
        assert_eq!(id(1, Some(&longer)).to_bytes(), b"70000000.1");
    }

    #[test]
    fn what_ssecar_never_wrote_is_foreign() {
        for text in [
            "",
            "42",
            "70000000",
            "70000000.",
            "70000000.x",
            "70000000.+1",
            "70000000.01",
            "7000000.1",
            "7000000u.1",
            "70000000.1.%0A",
            "70000000.1.%00",
            "70000000.1.%2",
            "70000000.1.%zz",
            "70000000.1.%21",
            "70000000.1.a b",
            "70000000.99999999999999999999",
            "70000000..5",
        ] {
            let parsed = LastEventId::parse(text.as_bytes());
            assert_eq!(parsed, LastEventId::Foreign(Bytes::copy_from_slice(text.as_bytes())), "{text}");
        }
    }

    proptest! {
        #[test]
        fn an_id_comes_back_as_it_was(random: u64, seq: u64, upstream: Option<Vec<u8>>) {
            let upstream = upstream
                .map(|id| id.into_iter().filter(|byte| !matches!(byte, 0 | b'\r' | b'\n')).collect::<Vec<_>>());
            let id = EventId { epoch: Epoch::from_random(random), seq, upstream: upstream.map(Bytes::from) };
            let text = id.to_bytes();
            prop_assert!(text.iter().all(u8::is_ascii_graphic));
            prop_assert_eq!(LastEventId::parse(&text), LastEventId::Own(id));
        }

        #[test]
        fn any_value_is_read_and_given_back_unchanged(value: Vec<u8>) {
            prop_assert_eq!(LastEventId::parse(&value).to_bytes(), value);
        }
    }
}
