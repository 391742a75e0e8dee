//! Notices when a person leaves who waits at sudo, su or login without an ssh connection.
//!
//! There is no ssh client's socket to watch. Instead, everything that ends when the person leaves is watched:
//! their terminal, the process that started this one, the leader of their session and its parent (sshd, for
//! ssh without a terminal), both output streams, and the signals that interrupt a program. What is missing
//! when the wait begins is not watched.

use kbmfa_proto::client::Presence;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Pid, PidfdFlags, getpid, getppid, pidfd_open};
use std::ffi::c_int;
use std::io::IsTerminal;
use std::os::fd::OwnedFd;

use crate::procfs::Proc;
use crate::sys::{self, HeldSignals};

/// Watches the person at a terminal of this machine, or the processes that started this one.
#[derive(Debug)]
pub(crate) struct Local {
    /// Descriptors to watch: terminals for a hang-up, processes for their end.
    watched: Vec<(OwnedFd, PollFlags)>,
    parent: Option<Pid>,
    /// Standard output and standard error.
    outputs: Vec<OwnedFd>,
    signals: Vec<c_int>,
}

impl Local {
    pub(crate) fn find(proc: &Proc, signals: &HeldSignals) -> Self {
        let parent = getppid();
        let watched = terminals().into_iter().map(|terminal| (terminal, PollFlags::empty()));
        let processes = processes(proc, parent).into_iter().map(|process| (process, PollFlags::IN));
        let outputs = read([1, 2].into_iter().filter_map(|fd| sys::duplicate(fd).ok()).collect());
        Self { watched: watched.chain(processes).collect(), parent, outputs, signals: signals.list() }
    }
}

impl Presence for Local {
    fn descriptors(&self) -> &[(OwnedFd, PollFlags)] {
        &self.watched
    }

    fn has_left(&self) -> bool {
        getppid() != self.parent || sys::is_pending(&self.signals) || nobody_reads(&self.outputs)
    }
}

/// The controlling terminal, and standard input if that is another terminal.
fn terminals() -> Vec<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let controlling = open("/dev/tty", flags, Mode::empty()).ok();
    let input = sys::duplicate(0).ok().filter(IsTerminal::is_terminal);
    controlling.into_iter().chain(input).collect()
}

/// The parent, the session's leader, and the leader's parent. Not included are this process, process 1, which
/// adopts orphans, and processes outside this pid namespace. The leader is read from `/proc`, because for one
/// outside the namespace `getsid(2)` returns 0, which `Pid` cannot hold.
fn processes(proc: &Proc, parent: Option<Pid>) -> Vec<OwnedFd> {
    let own = getpid();
    let leader = proc.process(number(own)).ok().and_then(|process| pid(process.session));
    let of_leader = leader.and_then(|leader| pid(proc.process(number(leader)).ok()?.parent));
    let others =
        [parent, leader, of_leader].into_iter().flatten().filter(|pid| *pid != own && *pid != Pid::INIT);
    others.filter_map(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()).collect()
}

fn number(pid: Pid) -> u32 {
    pid.as_raw_nonzero().get().unsigned_abs()
}

fn pid(number: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(number).ok()?)
}

/// Standard output and error. None if both are closed already at the start, because some programs are started
/// that way.
fn read(outputs: Vec<OwnedFd>) -> Vec<OwnedFd> {
    if nobody_reads(&outputs) { Vec::new() } else { outputs }
}

/// True if both outputs are pipes or sockets whose other ends are closed. If only one is closed, the person
/// may still be there: `sudo cmd | true`.
fn nobody_reads(outputs: &[OwnedFd]) -> bool {
    let mut polled: Vec<PollFd<'_>> = outputs.iter().map(|fd| PollFd::new(fd, PollFlags::empty())).collect();
    let closed = PollFlags::HUP | PollFlags::ERR;
    polled.len() == 2
        && poll(&mut polled, Some(&Timespec::default())).is_ok()
        && polled.iter().all(|fd| fd.revents().intersects(closed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn only_two_closed_outputs_mean_that_nobody_reads() {
        let (near, far) = UnixStream::pair().unwrap();
        let (pipe_out, pipe_in) = std::io::pipe().unwrap();
        let outputs = [near.into(), pipe_in.into()];
        assert!(!nobody_reads(&outputs));
        drop(pipe_out);
        assert!(!nobody_reads(&outputs), "one of them is still read");
        drop(far);
        assert!(nobody_reads(&outputs));
        assert!(!nobody_reads(&outputs[..1]) && !nobody_reads(&[]));
    }

    #[test]
    fn outputs_that_nobody_read_from_the_start_are_not_missed() {
        let ends = [std::io::pipe().unwrap(), std::io::pipe().unwrap()];
        let (readers, writers): (Vec<_>, Vec<_>) = ends.into_iter().unzip();
        let outputs = || writers.iter().map(|writer| writer.try_clone().unwrap().into()).collect();
        assert_eq!(read(outputs()).len(), 2);
        drop(readers);
        assert!(read(outputs()).is_empty());
    }

    #[test]
    fn whoever_runs_the_tests_is_still_there() {
        let held = HeldSignals::hold();
        let local = Local::find(&Proc::default(), &held);
        assert_eq!(local.parent, getppid(), "another parent");
        assert!(!sys::is_pending(&local.signals), "a signal came");
        assert!(!nobody_reads(&local.outputs), "nobody reads");
        assert!(!local.has_left());
        drop(held);
    }
}
