//! Measures the time that sshd itself takes from the account phase, where our module would run, to the shell.

use kbmfa_tests::files::put;
use kbmfa_tests::machine::Machine;
use kbmfa_tests::recipe::FREE;
use std::fs;

use crate::client::{Client, ms, wall_us};

/// A line for the account phase. Its script writes the time to a file.
const TELLING: &str = "account required pam_exec.so /usr/bin/tell\n";
const TELL: &str = "#!/bin/bash\necho $EPOCHREALTIME >/run/told\n";

/// Number of logins, of which the median counts.
const ROUNDS: usize = 20;

/// The time of each of some logins, in milliseconds. The machine must have the stack [`FREE`], and has it
/// again afterwards.
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
