//! The keyed hash behind fingerprints.

use std::fmt;
use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher24};

/// Makes fingerprints: SipHash-2-4 with 128 bits of result, under a key that only this process knows.
///
/// Without the key nobody can build two heads with one fingerprint, nor guess a credential from one.
#[derive(Clone)]
pub struct KeyHasher {
    key: [u8; 16],
}

/// What is hashed, so that a hash of one kind never equals one of another.
#[derive(Debug, Clone, Copy)]
pub(super) enum Domain {
    Session = 1,
    Vary = 2,
    Group = 3,
    Header = 4,
}

/// A hash in the making. Fields have their length before them: where one ends is part of the hash.
pub(super) struct Digest(SipHasher24);

impl KeyHasher {
    /// `key` must be random, and drawn anew by each process.
    #[must_use]
    pub fn new(key: [u8; 16]) -> Self {
        Self { key }
    }

    pub(super) fn digest(&self, domain: Domain) -> Digest {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        hasher.write(&[domain as u8]);
        Digest(hasher)
    }
}

impl Digest {
    pub(super) fn field(&mut self, bytes: &[u8]) {
        // A length is at most 2^63, so its first byte is never that of `end_of_list`.
        self.0.write(&(bytes.len() as u64).to_be_bytes());
        self.0.write(bytes);
    }

    /// Ends a run of fields: what follows belongs to another one.
    pub(super) fn end_of_list(&mut self) {
        self.0.write(&[u8::MAX]);
    }

    pub(super) fn finish(self) -> u128 {
        self.0.finish128().as_u128()
    }
}

impl fmt::Debug for KeyHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHasher(..)") // The key is a secret.
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(key: u8, lists: &[&[&str]]) -> u128 {
        let mut digest = KeyHasher::new([key; 16]).digest(Domain::Session);
        for list in lists {
            for field in *list {
                digest.field(field.as_bytes());
            }
            digest.end_of_list();
        }
        digest.finish()
    }

    #[test]
    fn no_two_lists_of_fields_are_one_by_concatenation() {
        let lists: [&[&[&str]]; 8] = [
            &[&["ab"]],
            &[&["a", "b"]],
            &[&["a"], &["b"]],
            &[&["", "ab"]],
            &[&["ab", ""]],
            &[&[], &["ab"]],
            &[&["ab"], &[]],
            &[],
        ];
        for (i, left) in lists.iter().enumerate() {
            for (j, right) in lists.iter().enumerate() {
                assert_eq!(digest(7, left) == digest(7, right), i == j, "{left:?} {right:?}");
            }
        }
    }

    #[test]
    fn the_key_counts_and_is_not_shown() {
        assert_ne!(digest(7, &[&["a"]]), digest(8, &[&["a"]]));
        assert!(!format!("{:?}", KeyHasher::new([7; 16])).contains('7'));
    }
}
