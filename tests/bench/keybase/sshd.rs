//! The time that sshd alone takes from the account phase, where our module would run, to the shell.

use kbmfa_tests::files::put;
use kbmfa_tests::machine::Machine;
use kbmfa_tests::recipe::FREE;
use std::fs;

use crate::client::{Client, ms, wall_us};

/// A line for the account phase, and its script, which writes down when that was.
const TELLING: &str = "account required pam_exec.so /usr/bin/tell\n";
const TELL: &str = "#!/bin/bash\necho $EPOCHREALTIME >/run/told\n";

/// Logins of which the middle one counts.
const ROUNDS: usize = 20;

/// Milliseconds of each of some logins at a machine with [`FREE`], which it has again afterwards.
pub(crate) fn account_to_shell(machine: &Machine) -> Vec<f64> {
    let stack = machine.path("/etc/pam.d/sshd");
    put(&machine.path("/usr/bin/tell"), 0o755, TELL);
    put(&stack, 0o644, format!("{FREE}{TELLING}"));
    let login = |_| {
        let mut client = Client::start(machine);
        client.read_shell();
        let shell = wall_us();
        client.end();
        let told = fs::read_to_string(machine.path("/run/told")).unwrap();
        ms(told.trim().replace('.', "").parse().unwrap(), shell)
    };
    let times = (0..ROUNDS).map(login).collect();
    put(&stack, 0o644, FREE);
    times
}
