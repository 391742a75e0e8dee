//! The fault matrix: a test for each row of docs/threat-model.md, grouped by the place of the fault.

use kbmfa_tests::login::Login;
use kbmfa_tests::machine::Machine;
use kbmfa_tests::wait::timed;
use std::time::Duration;

mod machine;
mod module;
mod server;
mod wire;

/// Time that ssh and sshd need in addition to the module, on a slow and busy computer.
pub(crate) const SSHD: Duration = Duration::from_secs(5);

/// The text that the person reads if the server answers wrongly.
pub(crate) const DOES_NOT_WORK: &str = "the approval server does not work properly.";

/// The text that the person reads if the machine's deadline has passed.
pub(crate) const NOT_IN_TIME: &str = "Nobody approved your login in time.";

/// The expected refusal of a login in the account phase.
pub(crate) struct Refusal<'a> {
    /// What the person reads.
    pub(crate) prompt: &'a str,
    /// What the system log says.
    pub(crate) log: &'a str,
    /// Longest time that the module may take.
    pub(crate) within: Duration,
}

impl Refusal<'_> {
    /// alice tries to log in, and is refused in this way. Nothing of the login may be left.
    pub(crate) fn meets(&self, machine: &Machine) {
        self.meets_login(machine, || machine.ssh("alice", &["echo", "in"]));
    }

    /// As [`Self::meets`], with another kind of login.
    pub(crate) fn meets_login(&self, machine: &Machine, login: impl FnOnce() -> Login) {
        let (finished, took) = timed(|| login().wait());
        assert_eq!((finished.stdout.as_str(), finished.code), ("", 255), "{}", finished.stderr);
        assert!(finished.stderr.contains(self.prompt), "{:?} in\n{}", self.prompt, finished.stderr);
        assert!(took <= self.within + SSHD, "it took {took:?}, which is more than {:?}", self.within);
        machine.syslog.lines_with(self.log);
        machine.assert_nothing_left();
    }
}
