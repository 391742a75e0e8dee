//! Child processes that never outlive the test: the kernel kills them when the thread that started them ends.

use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsStr;
use std::process::{Child, Command, Stdio};

/// Longest time for a program that is run to its end, in seconds.
const RUN_SECONDS: &str = "60";

/// A program with a clean environment and without a terminal. It is killed when the thread of the test ends.
pub fn program(path: impl AsRef<OsStr>) -> Command {
    started_by(&["setsid"], path)
}

/// The same, but the terminal that is its standard input is its own: `/dev/tty`.
pub fn interactive(path: impl AsRef<OsStr>) -> Command {
    started_by(&["setsid", "--ctty"], path)
}

fn started_by(setsid: &[&str], path: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    // If a shell runs the tests in the background, they ignore SIGINT, and so would their children.
    command.args(["--pdeathsig", "KILL", "env", "--default-signal=INT"]).args(setsid).arg(path);
    command.env_clear().env("LC_ALL", "C.UTF-8").env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.stdin(Stdio::null());
    command
}

/// A program that must end by itself, and is killed if it takes too long.
pub fn brief(path: impl AsRef<OsStr>) -> Command {
    let mut command = program("timeout");
    command.args(["--signal", "KILL", RUN_SECONDS]).arg(path);
    command
}

/// Runs a command to its end, and returns its output. Panics with the output if it failed.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{stdout}\n{stderr}", output.status);
    stdout
}

/// Sends a signal to a child process that was not waited for yet.
pub fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_child(child);
    kill_process(pid, signal).unwrap_or_else(|error| panic!("signal {signal:?} to {pid:?}: {error}"));
}

/// A process that is stopped until this is dropped.
#[derive(Debug)]
pub struct Stopped(Pid);

impl Stopped {
    /// Stops the process with this id, which must exist.
    pub fn stop(pid: u32) -> Self {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("the number of a process");
        kill_process(pid, Signal::STOP).unwrap_or_else(|error| panic!("SIGSTOP to {pid:?}: {error}"));
        Self(pid)
    }

    /// Continues it, if it still exists.
    pub fn go_on(self) {}
}

impl Drop for Stopped {
    fn drop(&mut self) {
        kill_process(self.0, Signal::CONT).ok();
    }
}
