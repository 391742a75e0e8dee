//! Logins through sshd alone, without an approval: the baseline.

use kbmfa_tests::builder::Root;
use kbmfa_tests::chat::Chat;
use kbmfa_tests::machine::Machine;
use kbmfa_tests::recipe::{FREE, Phase};

use crate::login::Way;
use crate::sshd;
use kbmfa_tests::group::Group;

/// A machine that lets in everybody who has a key.
pub(crate) struct Plain {
    machine: Machine,
    on_machine: Group,
}

impl Plain {
    pub(crate) fn start() -> Self {
        let machine = Machine::stand_in(Root::Debian12, Phase::Account, FREE);
        let on_machine = Group::new("plain-machine");
        machine.processes().into_iter().for_each(|pid| on_machine.adopt(pid));
        Self { machine, on_machine }
    }

    /// Milliseconds that sshd takes from the account phase, where our module would run, to the shell.
    pub(crate) fn account_to_shell(&self) -> Vec<f64> {
        sshd::account_to_shell(&self.machine)
    }
}

impl Way for Plain {
    fn machine(&self) -> &Machine {
        &self.machine
    }

    fn chat(&self) -> Option<(&Chat, &'static str)> {
        None
    }

    fn settle(&self, _: u64) {}

    fn machine_ms(&self) -> f64 {
        self.on_machine.cpu_ms()
    }

    fn server_ms(&self) -> f64 {
        0.0
    }

    fn clients_ms(&self) -> f64 {
        0.0
    }

    fn double_ms(&self) -> f64 {
        0.0
    }

    fn http_requests(&self) -> u64 {
        0
    }

    fn learned_us(&self) -> Option<i64> {
        None
    }
}
