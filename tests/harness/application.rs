//! A small PAM application in place of sshd, run as user nobody. Tests run it many times a second, under
//! strace, or with allocations that fail.

use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::Duration;
use tempfile::TempDir;

use crate::pamtester::{Unprivileged, as_nobody};
use crate::process::{brief, run};
use crate::wait::timed;

/// The program, and the directory with the files that it needs.
#[derive(Debug)]
pub struct Application {
    bed: Unprivileged,
    program: PathBuf,
    _dir: TempDir,
}

/// One run of it.
#[derive(Debug)]
pub struct Ran {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
}

impl Application {
    /// Compiles the application. From now on the machine has the shortest deadline and a spool of its own.
    pub fn new(bed: Unprivileged) -> Self {
        let dir = tempfile::Builder::new().prefix("kbmfa-application-").tempdir().unwrap();
        crate::files::set_mode(dir.path(), 0o755);
        let program = dir.path().join("application");
        let source = crate::built::workspace().join("tests/harness/application.c");
        run(brief("gcc").args(["-O1", "-Wall", "-Werror", "-o"]).arg(&program).arg(source).arg("-lpam"));
        bed.set("deadline", "\"6s\"");
        bed.set("spool", &format!("\"{}\"", bed.file("kbmfa/spool").display()));
        Self { bed, program, _dir: dir }
    }

    /// Changes a key of its `pam.toml`.
    pub fn set(&self, key: &str, value: &str) {
        self.bed.set(key, value);
    }

    /// Runs `phase` for a user this many times. It succeeds if PAM granted each.
    pub fn run(&self, user: &str, phase: &str, rounds: u32) -> Ran {
        finish(&mut self.command(&[], user, phase, rounds))
    }

    /// Runs one round in which this allocation fails; they are counted from libpam's first one.
    pub fn run_without_memory(&self, user: &str, phase: &str, at: u32) -> Ran {
        finish(self.command(&[], user, phase, 1).arg(at.to_string()))
    }

    /// Runs one round under a program that starts others, such as `prlimit`.
    pub fn run_under(&self, under: &[&str], user: &str, phase: &str) -> Ran {
        finish(&mut self.command(under, user, phase, 1))
    }

    fn command(&self, under: &[&str], user: &str, phase: &str, rounds: u32) -> Command {
        let mut command = as_nobody();
        command.args(under).arg(&self.program).arg(self.bed.file("pam.d")).args([user, phase]);
        command.arg(rounds.to_string());
        command
    }
}

impl Ran {
    /// Whether PAM granted the request.
    pub fn granted(&self) -> bool {
        self.status.success()
    }

    /// The numbers after a word, in the last line that begins with this word.
    pub fn numbers(&self, word: &str) -> Vec<u32> {
        let line = self.stdout.lines().rfind(|line| line.starts_with(word));
        let line = line.unwrap_or_else(|| panic!("no {word:?} in {self:?}"));
        line.split(' ').skip(1).map(|number| number.parse().unwrap()).collect()
    }
}

fn finish(command: &mut Command) -> Ran {
    let (output, took) = timed(|| command.output().unwrap());
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ran { status: output.status, stdout: text(output.stdout), stderr: text(output.stderr), took }
}
