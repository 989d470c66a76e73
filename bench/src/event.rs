//! The event that is sent everywhere: 200 bytes that carry a sequence number and the moment of sending.
//!
//! ```text
//! id: 000000000042\n
//! data: 000000000042 000000001234567890 xxxx…\n
//! \n
//! ```

/// The bytes of an event with its empty line.
pub(crate) const EVENT_BYTES: usize = 200;
/// An event as one HTTP/1.1 chunk.
pub(crate) const CHUNK_BYTES: usize = EVENT_BYTES + CHUNK_HEAD.len() + 2;

const CHUNK_HEAD: &[u8] = b"C8\r\n";
const SEQUENCE_DIGITS: usize = 12;
const TIME_DIGITS: usize = 18;
const DATA_BYTES: usize = EVENT_BYTES - "id: \n".len() - SEQUENCE_DIGITS - "data: \n\n".len();

/// What an event says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Its place in the stream: 1, 2, 3, …
    pub(crate) sequence: u64,
    /// When it was sent, by [`crate::clock::now`].
    pub(crate) sent_at: u64,
}

impl Stamp {
    /// Reads the data of an event; `None` where it is none of ours.
    pub(crate) fn parse(data: &[u8]) -> Option<Self> {
        let sequence = number(data.get(..SEQUENCE_DIGITS)?)?;
        let sent_at = number(data.get(SEQUENCE_DIGITS + 1..SEQUENCE_DIGITS + 1 + TIME_DIGITS)?)?;
        Some(Self { sequence, sent_at })
    }

    /// The data of the event, without a line end.
    pub(crate) fn write_data(self, out: &mut Vec<u8>) {
        write_number(out, self.sequence, SEQUENCE_DIGITS);
        out.push(b' ');
        write_number(out, self.sent_at, TIME_DIGITS);
        out.push(b' ');
        out.resize(out.len() + DATA_BYTES - SEQUENCE_DIGITS - TIME_DIGITS - 2, b'x');
    }

    /// The whole event, with its empty line.
    pub(crate) fn write_event(self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"id: ");
        write_number(out, self.sequence, SEQUENCE_DIGITS);
        out.extend_from_slice(b"\ndata: ");
        self.write_data(out);
        out.extend_from_slice(b"\n\n");
    }

    /// The whole event as one HTTP/1.1 chunk.
    pub(crate) fn write_chunk(self, out: &mut Vec<u8>) {
        out.extend_from_slice(CHUNK_HEAD);
        self.write_event(out);
        out.extend_from_slice(b"\r\n");
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0_u64, |number, digit| {
        digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0'))
    })
}

fn write_number(out: &mut Vec<u8>, mut number: u64, digits: usize) {
    let start = out.len();
    out.resize(start + digits, b'0');
    for place in out[start..].iter_mut().rev() {
        *place = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_its_size_and_says_what_it_is() {
        let stamp = Stamp { sequence: 42, sent_at: 1_234_567_890 };
        let mut event = Vec::new();
        stamp.write_event(&mut event);
        assert_eq!(event.len(), EVENT_BYTES);
        assert!(event.starts_with(b"id: 000000000042\ndata: 000000000042 000000001234567890 xxx"));
        assert!(event.ends_with(b"x\n\n"));
        let mut data = Vec::new();
        stamp.write_data(&mut data);
        assert_eq!(Stamp::parse(&data), Some(stamp));
    }

    #[test]
    fn a_chunk_says_how_long_its_event_is() {
        let mut chunk = Vec::new();
        Stamp { sequence: 1, sent_at: 2 }.write_chunk(&mut chunk);
        assert_eq!(chunk.len(), CHUNK_BYTES);
        let size = usize::from_str_radix(std::str::from_utf8(&chunk[..2]).unwrap(), 16).unwrap();
        assert_eq!(size, EVENT_BYTES);
    }

    #[test]
    fn other_data_is_no_stamp() {
        assert_eq!(Stamp::parse(b"hello"), None);
        assert_eq!(Stamp::parse(b"00000000004x 000000001234567890 "), None);
    }
}
