//! Values that must not be printed, and their hashes, which may be stored in the database.

use sha2::{Digest, Sha256};
use std::fmt;

/// A secret text. Its `Debug` prints nothing of it.
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The secret itself. Call it only where the secret is used.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The hash, which may be stored.
    pub fn hash(&self) -> SecretHash {
        SecretHash::of(&self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// SHA-256 of a secret with at least 128 random bits. Such a secret cannot be guessed from its hash, so the
/// hash needs neither salt nor stretching, and the duration of a look-up by it reveals nothing useful.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SecretHash(Vec<u8>);

impl SecretHash {
    /// The hash of this text.
    pub fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret).to_vec())
    }

    /// Reads 64 lower-case hex digits; `None` if it is anything else.
    pub fn from_hex(text: &str) -> Option<Self> {
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if pairs.len() != 32 || !rest.is_empty() {
            return None;
        }
        let digit = |c: u8| match c {
            b'0'..=b'9' => Some(c - b'0'),
            b'a'..=b'f' => Some(c - b'a' + 10),
            _ => None,
        };
        pairs
            .iter()
            .map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?))
            .collect::<Option<_>>()
            .map(Self)
    }

    /// The hash from its stored bytes.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_print() {
        assert_eq!(format!("{:?}", Secret::new("hunter2".into())), "Secret(..)");
    }

    #[test]
    fn a_hash_reads_back_from_hex_and_from_nothing_else() {
        let hash = SecretHash::of("x");
        assert_eq!(SecretHash::from_hex(&crate::random::to_hex(hash.as_bytes())), Some(hash));
        for text in ["", "zz", &"A".repeat(64), &"a".repeat(63)] {
            assert_eq!(SecretHash::from_hex(text), None);
        }
    }
}
