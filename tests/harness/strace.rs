//! System calls that fail on purpose, and the record of those that a process made: strace.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;
use tempfile::TempDir;

use crate::files::set_mode;

/// Kinds of system calls, each with the first and the last of them: they are counted from 1 in each process.
pub type Calls = BTreeMap<String, RangeInclusive<u32>>;

/// A system call that does not do its work.
#[derive(Clone, Debug)]
pub struct Injection {
    /// Which kind, such as `openat`.
    pub call: String,
    /// What happens instead, in strace's words, such as `error=EIO`.
    pub fault: String,
    /// Which of them: `7`, or from there on: `7+`.
    pub when: String,
}

/// A directory for what strace writes.
#[derive(Debug)]
pub struct Trace(TempDir);

impl Trace {
    /// Anybody may write into it.
    #[expect(clippy::new_without_default, reason = "it makes a directory")]
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("kbmfa-strace-").tempdir().unwrap();
        set_mode(dir.path(), 0o777);
        Self(dir)
    }

    /// strace itself, to be put before a program.
    pub fn strace(&self, injection: Option<&Injection>) -> Vec<String> {
        let stem = self.0.path().join("trace").display().to_string();
        let mut words = vec!["strace".to_owned(), "-qq".into(), "-ff".into(), "-o".into(), stem];
        if let Some(injection) = injection {
            words.extend(["--seccomp-bpf".into(), "-e".into(), format!("trace={}", injection.call)]);
            words.extend(["-e".into(), injection.to_string()]);
        }
        words
    }

    /// The records of all processes, in no order.
    pub fn records(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap().flatten();
        entries.filter_map(|entry| fs::read_to_string(entry.path()).ok()).collect()
    }

    /// Whether the injection took place.
    pub fn injected(&self) -> bool {
        self.records().iter().any(|record| record.contains("(INJECTED)"))
    }
}

impl fmt::Display for Injection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "inject={}:{}:when={}", self.call, self.fault, self.when)
    }
}

/// The calls of one process since it loaded a library, as strace recorded them.
pub fn calls_since(record: &str, library: &Path) -> Calls {
    let loads = format!("{}\"", library.display());
    let (mut counts, mut calls) = (BTreeMap::<&str, u32>::new(), Calls::new());
    let mut loaded = false;
    for line in record.lines() {
        let Some((call, arguments)) = line.split_once('(') else { continue };
        let count = counts.entry(call).or_default();
        *count += 1;
        if loaded {
            let first = calls.get(call).map_or(*count, |range| *range.start());
            calls.insert(call.to_owned(), first..=*count);
        }
        loaded |= call == "openat" && arguments.contains(&loads);
    }
    calls
}
