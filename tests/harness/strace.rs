//! Runs strace: makes system calls fail on purpose, and records the calls of a process.

use rustix::process::Signal;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::ops::RangeInclusive;
use std::process::Child;
use tempfile::TempDir;

use crate::files::set_mode;
use crate::machine::Machine;
use crate::process::{program, signal};
use crate::wait::until;

/// Each kind of system call with its first and last number. Calls of a kind are counted from 1 in each
/// process.
pub type Calls = BTreeMap<String, RangeInclusive<u32>>;

/// Number of characters of each text that are recorded: enough for the beginning of a log line.
const TEXT_MAX: &str = "200";

/// A system call that fails.
#[derive(Clone, Debug)]
pub struct Injection {
    /// The kind of call, such as `openat`.
    pub call: String,
    /// The injection in strace's syntax, such as `error=EIO` or `delay_enter=1000`.
    pub fault: String,
    /// Which calls of that kind: `7` for one, `7+` for that and all later ones.
    pub when: String,
}

impl Injection {
    /// Whether all later calls of its kind fail, too.
    pub fn is_for_good(&self) -> bool {
        self.when.ends_with('+')
    }
}

/// A directory for the records of strace.
#[derive(Debug)]
pub struct Trace(TempDir);

impl Trace {
    /// A directory into which anybody may write.
    #[expect(clippy::new_without_default, reason = "it makes a directory")]
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("kbmfa-strace-").tempdir().unwrap();
        set_mode(dir.path(), 0o777);
        Self(dir)
    }

    /// The words of strace's command line. The program follows them.
    pub fn strace(&self, injection: Option<&Injection>) -> Vec<String> {
        let stem = self.0.path().join("trace").display().to_string();
        let mut words = vec!["strace".to_owned(), "-qq".into(), "-ff".into(), "-o".into(), stem];
        words.extend(["-s".into(), TEXT_MAX.into()]);
        if let Some(injection) = injection {
            words.extend(["--seccomp-bpf".into(), "-e".into(), format!("trace=openat,{}", injection.call)]);
            words.extend(["-e".into(), injection.to_string()]);
        }
        words
    }

    /// Attaches strace to a machine's sshd and everything that it starts, until the result is dropped.
    pub fn attach(&self, machine: &Machine, injection: Option<&Injection>) -> Attached {
        let mut words = self.strace(injection);
        // This option works only for programs that strace starts itself.
        words.retain(|word| word != "--seccomp-bpf");
        let mut strace = program(&words[0]);
        let attached =
            Attached(strace.args(&words[1..]).args(["-p", &machine.pid.to_string()]).spawn().unwrap());
        until("strace to hold sshd", || {
            let status = fs::read_to_string(format!("/proc/{}/status", machine.pid)).unwrap();
            (!status.contains("TracerPid:\t0\n")).then_some(())
        });
        attached
    }

    /// The records of all processes, in no order.
    pub fn records(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap().flatten();
        entries.filter_map(|entry| fs::read_to_string(entry.path()).ok()).collect()
    }

    /// The record of the process that opened this file.
    pub fn record_with(&self, file: &str) -> Option<String> {
        let opens = format!("{file}\"");
        self.records().into_iter().find(|record| record.contains(&opens))
    }

    /// Whether the injection happened in the process that opened this file.
    pub fn injected_into(&self, file: &str) -> bool {
        let marks = ["(INJECTED)", "(DELAYED)"];
        self.record_with(file).is_some_and(|record| marks.iter().any(|mark| record.contains(mark)))
    }
}

/// An attached strace. When it is dropped, the processes continue without it.
#[derive(Debug)]
pub struct Attached(Child);

impl Drop for Attached {
    fn drop(&mut self) {
        signal(&self.0, Signal::TERM);
        self.0.wait().ok();
    }
}

impl fmt::Display for Injection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "inject={}:{}:when={}", self.call, self.fault, self.when)
    }
}

/// The calls of one process from opening `file` up to the first call that mentions one of `ends`, as strace
/// recorded them.
pub fn calls_between(record: &str, file: &str, ends: &[&str]) -> Calls {
    let opens = format!("{file}\"");
    let (mut counts, mut calls) = (BTreeMap::<&str, u32>::new(), Calls::new());
    let mut begun = false;
    for line in record.lines() {
        let Some((call, arguments)) = line.split_once('(') else { continue };
        let count = counts.entry(call).or_default();
        *count += 1;
        begun |= call == "openat" && arguments.contains(&opens);
        if begun {
            let first = calls.get(call).map_or(*count, |range| *range.start());
            calls.insert(call.to_owned(), first..=*count);
        }
        if begun && ends.iter().any(|end| arguments.contains(end)) {
            break;
        }
    }
    calls
}
