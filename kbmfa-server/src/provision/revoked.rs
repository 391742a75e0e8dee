//! The keys that were ever revoked.

use std::collections::{BTreeMap, BTreeSet};

/// Revoked keys: `algorithm base64` of each, with its fingerprint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revoked {
    lines: BTreeMap<String, String>,
    fingerprints: BTreeSet<String>,
}

impl Revoked {
    /// Each `algorithm base64`, sorted.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.keys().map(String::as_str)
    }

    /// True if this `algorithm base64` is that of a revoked key.
    pub fn has_line(&self, line: &str) -> bool {
        self.lines.contains_key(line)
    }

    /// True if this is the fingerprint of a revoked key.
    pub fn has(&self, fingerprint: &str) -> bool {
        self.fingerprints.contains(fingerprint)
    }

    /// The `algorithm base64` of those with these fingerprints.
    pub fn lines_of<'a>(&'a self, fingerprints: &'a BTreeSet<String>) -> impl Iterator<Item = &'a str> {
        self.lines
            .iter()
            .filter(|(_, fingerprint)| fingerprints.contains(*fingerprint))
            .map(|(line, _)| line.as_str())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
}

impl FromIterator<(String, String)> for Revoked {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(keys: T) -> Self {
        let lines: BTreeMap<_, _> = keys.into_iter().collect();
        let fingerprints = lines.values().cloned().collect();
        Self { lines, fingerprints }
    }
}
