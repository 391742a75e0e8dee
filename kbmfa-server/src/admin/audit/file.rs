//! Reads exports and archives line by line.

use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;

use super::super::Failure;
use crate::audit::chain::{Head, Link, Seal, Walk, Witness};
use crate::audit::export::{LINE_MAX, from_line};
use crate::random::to_hex;

/// Opens a file to be verified. Call it before root is given up, because only root may be able to read it.
pub(super) fn open(path: &Path) -> Result<File, Failure> {
    File::open(path).map_err(|e| Failure::new(format!("cannot read {}: {e}", path.display())))
}

/// The contents of a file, if its chain is intact.
pub(super) struct Contents {
    /// The head before its first event.
    pub(super) start: Head,
    /// The head after its last event.
    pub(super) last: Head,
    /// SHA-256 of its bytes, in hex.
    pub(super) sha256: String,
}

/// Verifies the chain in a file, from `before` on, or from its beginning.
pub(super) fn verify(
    file: File,
    path: &Path,
    before: Option<Head>,
    witness: Option<&Witness>,
) -> Result<Contents, Failure> {
    let name = path.display();
    let mut lines = Lines { reader: BufReader::new(file), sum: Sha256::new(), number: 0 };
    let mut walk: Option<Walk> = before.map(|before| Walk::from(before, witness.cloned()));
    let mut start = before;
    while let Some(link) = lines.next().map_err(|error| Failure::new(format!("{name}: {error}")))? {
        let walk = walk.get_or_insert_with(|| {
            let head = before_first(&link);
            start = Some(head);
            Walk::from(head, witness.cloned())
        });
        walk.follow(&link).map_err(|broken| Failure::new(format!("{name} is broken: {broken}")))?;
    }
    match (start, walk) {
        (Some(start), Some(walk)) => {
            let sha256 = to_hex(&lines.sum.finalize());
            Ok(Contents { start, last: walk.head, sha256 })
        }
        _ => Err(Failure::new(format!("{name} holds no events"))),
    }
}

/// The head that a first line claims to follow. Event 1 follows the empty head.
fn before_first(link: &Link) -> Head {
    match Seal::from_bytes(&link.prev) {
        Some(seal) if link.seq > 1 => Head { seq: link.seq - 1, seal },
        _ => Head::EMPTY,
    }
}

struct Lines {
    reader: BufReader<File>,
    sum: Sha256,
    number: u64,
}

impl Lines {
    fn next(&mut self) -> Result<Option<Link>, String> {
        let mut line = String::new();
        self.number += 1;
        let read = (&mut self.reader).take(LINE_MAX).read_line(&mut line);
        if read.map_err(|e| format!("line {}: {e}", self.number))? == 0 {
            return Ok(None);
        }
        self.sum.update(line.as_bytes());
        let whole = line.strip_suffix('\n').ok_or_else(|| format!("line {} is cut off", self.number))?;
        from_line(whole).map(Some).ok_or_else(|| format!("line {} is no event of an export", self.number))
    }
}

/// A writer that hashes everything that is written.
pub(super) struct Summed<W> {
    inner: W,
    sum: Sha256,
}

impl<W: Write> Summed<W> {
    pub(super) fn new(inner: W) -> Self {
        Self { inner, sum: Sha256::new() }
    }

    /// SHA-256 of all that was written, in hex.
    pub(super) fn sha256(self) -> String {
        to_hex(&self.sum.finalize())
    }
}

impl<W: Write> Write for Summed<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.sum.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}
