//! Fuzz entry point for signatures by people's keys.
//!
//! The unit tests run the corpus, too.

#![expect(clippy::missing_panics_doc, reason = "a fuzz target fails by a loud panic")]

use super::verify;

const NAMESPACE: &str = "fuzz";
const MESSAGE: &[u8] = b"message";

/// Reads the first line as a key, and the rest as its signature. One that counts is of no use for anything else.
pub fn signature(bytes: &[u8]) {
    if is_accepted(bytes, NAMESPACE, MESSAGE) {
        assert!(!is_accepted(bytes, NAMESPACE, b"another message"), "it fits two messages");
        assert!(!is_accepted(bytes, "other", MESSAGE), "it fits two purposes");
    }
}

fn is_accepted(bytes: &[u8], namespace: &str, message: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let (line, signature) = text.split_once('\n').unwrap_or((&text, ""));
    verify(line, namespace, message, signature).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    #[test]
    fn the_corpus_passes_in_the_check_of_signatures() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus/sshsig");
        let mut accepted = 0;
        for file in fs::read_dir(corpus).unwrap() {
            let bytes = fs::read(file.unwrap().path()).unwrap();
            signature(&bytes);
            accepted += usize::from(is_accepted(&bytes, NAMESPACE, MESSAGE));
        }
        assert!(accepted > 2, "the corpus leads nowhere");
    }
}
