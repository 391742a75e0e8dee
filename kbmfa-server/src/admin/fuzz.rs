//! Fuzz entry point for CSV files.
//!
//! The unit tests run the corpus, too.
#![expect(clippy::missing_panics_doc, reason = "a fuzz target fails by a loud panic")]

use kbmfa_proto::key::PublicKey;

use super::sheet::{self, Line};
use crate::employees::Email;

const COLUMNS: &[&str] = &["email", "name", "pools", "uid", "key"];

/// A file of which each line is read or has a fault, with its own line, once.
pub fn csv(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let read = |line: &Line<'_>| {
        assert!(COLUMNS.iter().all(|column| !line.field(column).contains('\n')), "a field of two lines");
        assert_eq!(line.field("colour"), "", "a column that the file cannot have");
        let _ = PublicKey::parse(line.field("key"));
        line.field("email").parse::<Email>().map_err(|error| error.to_string())
    };
    let (found, faults) = sheet::parse(text, COLUMNS, 1, read);
    let mut lines: Vec<u64> =
        found.iter().map(|(line, _)| *line).chain(faults.iter().map(|fault| fault.line)).collect();
    lines.sort_unstable();
    let count = lines.len();
    lines.dedup();
    assert_eq!(lines.len(), count, "a line twice: {lines:?}");
    let last = u64::try_from(text.lines().count().max(1)).unwrap_or(u64::MAX);
    assert!(lines.iter().all(|line| (1..=last).contains(line)), "{lines:?} of {last}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    #[test]
    fn the_corpus_passes_in_the_sheets() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus/csv");
        let files: Vec<_> = fs::read_dir(corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(!files.is_empty());
        for file in files {
            csv(&fs::read(file).unwrap());
        }
    }
}
