//! Fuzz entry point for people's public keys.
//!
//! The unit tests run the corpus, too.

#![expect(clippy::missing_panics_doc, reason = "a fuzz target fails by a loud panic")]

use super::PublicKey;

/// Reads the bytes as a key. One that is accepted is one line of two words that reads as the same key.
pub fn key(bytes: &[u8]) {
    let Ok(key) = PublicKey::parse(&String::from_utf8_lossy(bytes)) else { return };
    assert!(key.line().bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '), "{key:?}");
    assert_eq!(key.line().split(' ').count(), 2, "{key:?}");
    assert!(key.comment().bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '), "{key:?}");
    let again = PublicKey::parse(key.line());
    assert!(again.is_ok_and(|again| again.line() == key.line() && again.fingerprint() == key.fingerprint()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    #[test]
    fn the_corpus_passes_in_the_parser_of_keys() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus/key");
        let mut accepted = 0;
        for file in fs::read_dir(corpus).unwrap() {
            let bytes = fs::read(file.unwrap().path()).unwrap();
            key(&bytes);
            accepted += usize::from(PublicKey::parse(&String::from_utf8_lossy(&bytes)).is_ok());
        }
        assert!(accepted > 2, "the corpus leads nowhere");
    }
}
