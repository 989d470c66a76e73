//! The byte order mark that may lead an event stream and is no part of it (WHATWG HTML, 9.2.6),
//! recognised also where its three bytes come apart.

/// U+FEFF in UTF-8.
const BOM: &[u8] = b"\xEF\xBB\xBF";

/// Watches for a byte order mark at the front of one stream.
#[derive(Debug, Clone)]
pub(super) enum LeadingBom {
    /// So many of its bytes have come, and nothing else.
    Matching(usize),
    /// The stream is past the place where one can stand.
    Passed,
}

impl LeadingBom {
    /// At the start of a stream.
    pub(super) fn new() -> Self {
        Self::Matching(0)
    }

    /// Takes from the front of `input` what may belong to a mark.
    ///
    /// `None`: not decided yet, and `input` is empty. Otherwise a mark is gone, and what is
    /// answered are the bytes that were taken for a part of one, wrongly: they belong before
    /// `input`.
    pub(super) fn strip(&mut self, input: &mut &[u8]) -> Option<&'static [u8]> {
        let Self::Matching(mut matched) = *self else { return Some(b"") };
        while let Some((&first, rest)) = input.split_first() {
            if BOM.get(matched) != Some(&first) {
                *self = Self::Passed;
                return Some(&BOM[..matched]);
            }
            *input = rest;
            matched += 1;
            if matched == BOM.len() {
                *self = Self::Passed;
                return Some(b"");
            }
        }
        *self = Self::Matching(matched);
        None
    }

    /// The bytes that are held back, when no more will come to decide about them.
    pub(super) fn held(&self) -> &'static [u8] {
        match *self {
            Self::Matching(matched) => &BOM[..matched],
            Self::Passed => b"",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left of a stream that comes in these chunks.
    fn stripped(chunks: &[&[u8]]) -> Vec<u8> {
        let mut bom = LeadingBom::new();
        let mut left = Vec::new();
        for mut chunk in chunks.iter().copied() {
            if let Some(held) = bom.strip(&mut chunk) {
                left.extend_from_slice(held);
            }
            left.extend_from_slice(chunk);
        }
        left.extend_from_slice(bom.held());
        left
    }

    #[test]
    fn one_mark_at_the_very_front_goes_however_it_is_cut() {
        let stream = b"\xEF\xBB\xBF\xEF\xBB\xBFdata";
        for cut in 0..=stream.len() {
            let (left, right) = stream.split_at(cut);
            assert_eq!(stripped(&[left, b"", right]), b"\xEF\xBB\xBFdata", "cut at byte {cut}");
        }
        assert_eq!(stripped(&[b"\xEF", b"\xBB", b"\xBF", b"d"]), b"d");
    }

    #[test]
    fn what_only_begins_like_a_mark_stays() {
        for stream in
            [&b"\xEF"[..], b"\xEF\xBB", b"\xEFd", b"\xEF\xBBd", b"\xEF\xEF\xBB\xBF", b"d\xEF\xBB\xBF"]
        {
            for cut in 0..=stream.len() {
                let (left, right) = stream.split_at(cut);
                assert_eq!(stripped(&[left, right]), stream, "cut at byte {cut}");
            }
        }
    }
}
