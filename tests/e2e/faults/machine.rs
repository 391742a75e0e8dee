//! Faults on the machine: around the module, and in the programs that call it.

mod callers;
mod files;
mod limits;
mod locales;
mod names;
mod signals;
mod sshd;
mod stopped;
mod surroundings;

use crate::story::{CANCELLED, SHORT_GRACE};
use kbmfa_tests::builder::MachineBuilder;
use kbmfa_tests::files::put;
use kbmfa_tests::login::Login;
use kbmfa_tests::machine::Machine;
use kbmfa_tests::recipe::{self, FREE, PASSWORD_OF_BOB};

/// The text that the person reads if a fault of the machine prevents the ask.
const NOT_SET_UP: &str = "Your login needs an approval, and this machine is not set up to ask for it.";

/// A machine whose sshd asks nobody, and on which su to bob needs bob's password and an approval.
fn with_su(machine: MachineBuilder) -> Machine {
    let machine = machine.pam_stack(FREE).sshd_lines("MaxStartups 100").start();
    put(&machine.path("/etc/pam.d/su"), 0o644, recipe::SUDO);
    put(&machine.path("/tmp/right"), 0o644, format!("{PASSWORD_OF_BOB}\n"));
    put(&machine.path("/tmp/wrong"), 0o644, "guess\n");
    machine
}

/// alice becomes bob by su, in a shell that first runs the command `before`.
fn su(machine: &Machine, before: &str) -> Login {
    machine.ssh("alice", &[&format!("{before}\nexec su bob -c 'id -un' < /tmp/right")])
}
