//! A wall clock that a test sets, for a server and its console or for a machine. The host's clock is not
//! changed, nor is the monotonic one.

use std::fs;
use std::path::{Path, PathBuf};

use crate::files::{put, set_mode};
use crate::process::{brief, run};

const SOURCE: &str = include_str!("clock.c");

/// A clock, as a test sets it.
#[derive(Clone, Debug)]
pub struct FakeClock {
    /// The library that must be loaded before the programs' own.
    pub library: PathBuf,
    offset: PathBuf,
}

impl FakeClock {
    /// A clock in `dir`, which its programs see at `seen_at`. It shows the real time at first.
    pub fn make(dir: &Path, seen_at: &Path) -> Self {
        let (source, library, offset) = (dir.join("clock.c"), dir.join("clock.so"), dir.join("clock.offset"));
        put(&source, 0o644, SOURCE);
        let place = format!("-DOFFSET={:?}", seen_at.join("clock.offset").display().to_string());
        let mut compiler = brief("gcc");
        run(compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(place).arg(&source));
        set_mode(&library, 0o755);
        let clock = Self { library, offset };
        clock.set(0);
        clock
    }

    /// Sets the clock this many seconds ahead of the real time; behind it, if negative.
    pub fn set(&self, seconds: i64) {
        set(&self.offset, seconds);
    }
}

/// Sets a clock by the path of its file.
pub(crate) fn set(offset: &Path, seconds: i64) {
    let draft = offset.with_extension("draft");
    put(&draft, 0o644, seconds.to_string());
    fs::rename(draft, offset).unwrap();
}
