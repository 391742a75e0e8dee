//! The ssh client of a measured login, and the clocks that time it.

use kbmfa_tests::machine::Machine;
use rustix::time::{ClockId, clock_gettime};
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Stdio};

/// The ssh client of alice. Its shell prints a word.
pub(crate) struct Client {
    child: Child,
    shell: BufReader<ChildStdout>,
}

impl Client {
    pub(crate) fn start(machine: &Machine) -> Self {
        let mut ssh = machine.ssh_unstarted("alice", &["echo", "in"]);
        let mut child = ssh.stdout(Stdio::piped()).spawn().unwrap();
        let shell = BufReader::new(child.stdout.take().unwrap());
        Self { child, shell }
    }

    /// Waits until the shell has printed the word.
    pub(crate) fn read_shell(&mut self) {
        let mut line = String::new();
        self.shell.read_line(&mut line).unwrap();
        assert_eq!(line, "in\n", "the login failed");
    }

    pub(crate) fn end(mut self) {
        assert!(self.child.wait().unwrap().success(), "the login failed in the end");
    }
}

/// Microseconds since 1970.
pub(crate) fn wall_us() -> i64 {
    micros(ClockId::Realtime)
}

/// The time of a clock, in microseconds.
pub(crate) fn micros(clock: ClockId) -> i64 {
    let time = clock_gettime(clock);
    time.tv_sec * 1_000_000 + time.tv_nsec / 1000
}

/// Milliseconds between two moments.
pub(crate) fn ms(from_us: i64, to_us: i64) -> f64 {
    f64::from(i32::try_from(to_us - from_us).expect("moments of one login")) / 1e3
}
