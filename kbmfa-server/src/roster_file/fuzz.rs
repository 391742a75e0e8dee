//! Fuzz entry points for the roster file and the old tool's files. Each checks the invariants that the other
//! code relies on.
//!
//! The unit tests run the corpus, too.
#![expect(clippy::missing_panics_doc, reason = "a fuzz target fails by a loud panic")]

use super::{Part, read, ssh_handler, write};

/// A roster file. One that is accepted is written to a text that reads as the same roster, and each fault of a
/// rejected one names its line.
pub fn roster(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let file = match read::parse(text) {
        Ok(file) => file,
        Err(faults) => {
            let lines = 1 + text.matches('\n').count();
            let is_placed = |(line, what): &(usize, String)| (1..=lines).contains(line) && !what.is_empty();
            return assert!(!faults.is_empty() && faults.iter().all(is_placed), "{faults:?}");
        }
    };
    assert!(!file.manages.is_empty(), "the whole of nothing");
    let entries: usize = Part::ALL.iter().map(|part| file.roster.count(*part)).sum();
    assert_eq!(entries, file.lines.len(), "an entry without a line, or twice");
    let server = file.server.clone().unwrap_or_default();
    let again = read::parse(&write::text(&server, &file.manages, &file.roster));
    let is_same = again.is_ok_and(|again| (again.roster, again.manages) == (file.roster, file.manages));
    assert!(is_same, "{text}");
}

/// The old tool's `data.json`, and after a NUL its `pools.json`. What is accepted can be written as a roster
/// file. No fault tells the value of a password.
pub fn ssh_handler(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (data, pools) = text.split_once('\0').unwrap_or((&text, "{}"));
    match ssh_handler::parse(data, pools) {
        Ok(taken) => {
            let text = write::text("fuzz", &Part::ALL, &taken.roster);
            assert!(read::parse(&text).is_ok_and(|file| file.roster == taken.roster), "{text}");
            assert!(taken.roster.ids().iter().all(|id| taken.places.contains_key(id)), "without a place");
        }
        Err(faults) => {
            let is_placed =
                |fault: &String| fault.starts_with("data.json: ") || fault.starts_with("pools.json: ");
            assert!(!faults.is_empty() && faults.iter().all(is_placed), "{faults:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    #[track_caller]
    fn replay(target: &str, read: fn(&[u8])) {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus").join(target);
        let files: Vec<_> = fs::read_dir(&corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(!files.is_empty(), "nothing in {}", corpus.display());
        for file in files {
            read(&fs::read(file).unwrap());
        }
    }

    #[test]
    fn the_corpus_passes_in_the_roster_file() {
        replay("roster", roster);
        replay("ssh_handler", ssh_handler);
    }
}
