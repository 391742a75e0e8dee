//! Nobody asks: sshd alone, so that one sees what a login costs anyway.

use kbmfa_tests::builder::Root;
use kbmfa_tests::chat::Chat;
use kbmfa_tests::files::put;
use kbmfa_tests::machine::Machine;
use kbmfa_tests::recipe::Phase;
use std::fs;

use crate::group::Group;
use crate::login::{Client, Way, ms, wall_us};

const STACK: &str = "auth required pam_deny.so\naccount required pam_unix.so\nsession required pam_unix.so\n";

/// A line for the account phase, and its script, which writes down when that was.
const TELLING: &str = "account required pam_exec.so /usr/bin/tell\n";
const TELL: &str = "#!/bin/bash\necho $EPOCHREALTIME >/run/told\n";

/// Logins of which the middle one counts.
const ROUNDS: usize = 20;

/// A machine that lets in whoever has a key.
pub(crate) struct Plain {
    machine: Machine,
    on_machine: Group,
}

impl Plain {
    pub(crate) fn start() -> Self {
        let machine = Machine::stand_in(Root::Debian12, Phase::Account, STACK);
        let on_machine = Group::new("plain-machine");
        machine.processes().into_iter().for_each(|pid| on_machine.adopt(pid));
        Self { machine, on_machine }
    }

    /// How long sshd takes from the account phase, where our module stands, to the shell.
    pub(crate) fn account_to_shell(&self) -> Vec<f64> {
        let stack = self.machine.path("/etc/pam.d/sshd");
        put(&self.machine.path("/usr/bin/tell"), 0o755, TELL);
        put(&stack, 0o644, format!("{STACK}{TELLING}"));
        let login = |_| {
            let mut client = Client::start(&self.machine);
            client.read_shell();
            let shell = wall_us();
            client.end();
            let told = fs::read_to_string(self.machine.path("/run/told")).unwrap();
            ms(told.trim().replace('.', "").parse().unwrap(), shell)
        };
        let times = (0..ROUNDS).map(login).collect();
        put(&stack, 0o644, STACK);
        times
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
