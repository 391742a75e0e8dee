//! A temporary machine: its own root file system, with sshd as its first process.
//!
//! All mounts are in the machine's own namespace and vanish with its last process, so nothing has to be
//! undone.

use std::cell::Cell;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output};
use std::thread;
use tempfile::TempDir;

use crate::builder::{Enrolment, MachineBuilder, Root};
use crate::clock;
use crate::files::{self, put};
use crate::leftovers::{self, Baseline};
use crate::ports::Port;
use crate::process::{brief, run};
use crate::recipe::Phase;
use crate::syslog::Syslog;
use crate::wait::{until, until_within};
use crate::world::World;

/// A machine with a running sshd.
#[derive(Debug)]
pub struct Machine {
    /// `unshare`, which ends when sshd ends.
    pub(crate) child: Child,
    /// sshd's process id outside the machine; inside it is 1.
    pub(crate) pid: u32,
    pub(crate) baseline: Baseline,
    /// The module's phase.
    pub phase: Phase,
    /// Where sshd listens, on 127.0.0.1.
    pub port: Port,
    pub(crate) server_port: Option<u16>,
    /// What its programs logged.
    pub syslog: Syslog,
    pub(crate) logins: Cell<u32>,
    pub(crate) dir: TempDir,
}

impl Machine {
    /// A machine whose PAM stack has no kbmfa, for tests of the harness itself.
    pub fn stand_in(root: Root, phase: Phase, stack: &str) -> Self {
        MachineBuilder::new("standin").root(root).phase(phase).pam_stack(stack).start()
    }

    /// Runs a program on the machine, and returns its output. Panics if it fails.
    pub fn exec(&self, arguments: &[&str]) -> String {
        run(&mut self.inside(arguments))
    }

    /// Runs a program on the machine that may fail.
    pub fn try_exec(&self, arguments: &[&str]) -> Output {
        self.inside(arguments).output().unwrap()
    }

    fn inside(&self, arguments: &[&str]) -> Command {
        let mut command = brief("nsenter");
        let pid = self.pid.to_string();
        command
            .args(["--target", &pid, "--mount", "--pid", "--uts", "--ipc", "--root", "--"])
            .args(arguments);
        command
    }

    /// The path, on the host, of a file of the machine.
    pub fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{inside}", self.pid))
    }

    /// Changes a key of `/etc/kbmfa/pam.toml`; the next login reads it.
    pub fn set(&self, key: &str, value: &str) {
        files::set_key(&self.path("/etc/kbmfa/pam.toml"), "", key, value);
    }

    /// Sets its clock, made by [`MachineBuilder::own_clock`], this many seconds ahead of the real time;
    /// behind it, if negative.
    pub fn set_clock(&self, seconds: i64) {
        clock::set(&self.path("/etc/clock.offset"), seconds);
    }

    /// How sshd introduces itself, such as `SSH-2.0-OpenSSH_9.2p1 Debian-2`.
    pub fn banner(&self) -> String {
        let mut line = String::new();
        let stream = TcpStream::connect(("127.0.0.1", self.port.number)).unwrap();
        BufReader::new(stream).read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// What sshd has logged.
    pub fn sshd_log(&self) -> String {
        fs::read_to_string(self.dir.path().join("sshd.log")).unwrap_or_default()
    }

    /// Waits until nothing is left of any login: no process, no descriptor in sshd, no connection. Call it
    /// when no other machine of the world is busy, because connections to the server are counted for all
    /// machines.
    pub fn assert_nothing_left(&self) {
        let clean = until_within(leftovers::PATIENCE, || self.leftovers().is_empty().then_some(()));
        let patience = leftovers::PATIENCE;
        assert!(clean.is_some(), "left behind after {patience:?}:\n{}", self.leftovers().join("\n"));
    }

    /// What logins have left at this moment, one line each.
    pub fn leftovers(&self) -> Vec<String> {
        let ports: Vec<u16> = [self.port.number].into_iter().chain(self.server_port).collect();
        leftovers::of(self.pid, &self.baseline, &ports)
    }

    /// The ids of all its processes, as the host sees them. The first one is sshd.
    pub fn processes(&self) -> Vec<u32> {
        [self.pid].into_iter().chain(leftovers::processes_beside(self.pid)).collect()
    }

    /// Waits until the module waits for its server. Returns the id of the process in which it does.
    pub fn asking(&self) -> u32 {
        let port = self.server_port.expect("a machine that has joined");
        let asking = || leftovers::connected_to(port, self.processes());
        until("one process that asks", || <[u32; 1]>::try_from(asking()).ok().map(|[pid]| pid))
    }

    pub(crate) fn wait_for_sshd(&mut self) {
        until("sshd to listen", || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the machine ended with {status}\n{}", self.sshd_log());
            }
            self.sshd_log().contains("Server listening on").then_some(())
        });
        self.pid = leftovers::only_child_of(self.child.id());
        self.baseline = until("sshd to be idle", || Baseline::of_idle(self.pid));
    }

    /// Joins this world's server again, with this token.
    pub fn join_again(&self, world: &World, token: &str) {
        let server = format!("https://127.0.0.1:{}", world.server.port);
        let (pin, port) = (world.server.pin.clone(), world.server.port);
        self.join(&Enrolment { token: token.to_owned(), server, pin, port });
    }

    pub(crate) fn join(&self, enrolment: &Enrolment) {
        put(&self.path("/run/token"), 0o600, &enrolment.token);
        let server = ["--server", &enrolment.server, "--pin", &enrolment.pin];
        self.exec(&[&["kbmfa-host", "join"], &server[..], &["--token-file", "/run/token"]].concat());
        assert!(!self.path("/run/token").exists(), "a used token stays");
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("---- sshd log\n{}", self.sshd_log());
            for line in self.syslog.lines() {
                eprintln!("---- syslog {}.{} {}", line.facility, line.severity, line.text);
            }
        }
        // When the first process of the pid namespace ends, the kernel first ends all others, and only then
        // reports the end of the first.
        leftovers::kill(self.pid);
        if self.pid == 0 {
            self.child.kill().ok();
        }
        self.child.wait().ok();
    }
}
