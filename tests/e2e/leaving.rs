//! People who leave while they wait at sudo or su, where no ssh client's socket shows it. A later approval
//! must run nothing.

use kbmfa_tests::files::put;
use kbmfa_tests::login::Login;
use kbmfa_tests::machine::Machine;
use kbmfa_tests::recipe::{FREE, PASSWORD_OF_BOB, SUDOERS};
use kbmfa_tests::wait::{timed, until};
use kbmfa_tests::world::World;
use std::time::Duration;

use crate::story::CANCELLED;

/// The recipe for su.
const SU: &str = "auth requisite pam_unix.so\nauth required pam_kbmfa.so first_factor=stack\n\
    account required pam_unix.so\nsession required pam_permit.so\n";

/// Longest time until the ask ends. The module notices within a second; the rest is for a busy computer. It
/// is far below the server's `poll_grace`, in which the server would notice by itself.
const SOON: Duration = Duration::from_secs(8);

/// A command that leaves a trace if it runs.
const SUDO: &str = "sudo -p Password: touch /tmp/ran";
const SU_TO_BOB: &str = "su bob -c 'touch /tmp/ran'";

/// The same without a terminal: the password comes through a pipe, and a parent waits for the program.
const PIPED_SUDO: &str = "printf 'open sesame\\n' | sudo -S -p '' touch /tmp/ran; true";
const PIPED_SU: &str = "printf 'open sesame\\n' | su bob -c 'touch /tmp/ran'; true";

fn machine(world: &World) -> Machine {
    with_su(world.machine().pam_stack(FREE).sudo(SUDOERS).start())
}

fn with_su(machine: Machine) -> Machine {
    put(&machine.path("/etc/pam.d/su"), 0o644, SU);
    machine
}

/// The people and their commands: bob becomes root by sudo, alice becomes bob by su. Both type bob's
/// password.
fn people() -> [(&'static str, &'static str, &'static str); 2] {
    [("bob", "sudo", SUDO), ("alice", "su", SU_TO_BOB)]
}

fn types_the_password(login: &mut Login) {
    until("a question for the password", || login.stdout().contains("assword:").then_some(()));
    login.types(&format!("{PASSWORD_OF_BOB}\n"));
}

/// The person who waits leaves in some way. The ask must end soon, and a later answer must have no effect.
fn leaves(world: &World, machine: &Machine, leave: impl FnOnce()) {
    let id = world.admin.pending();
    let ((), took) = timed(|| {
        leave();
        world.admin.wait_for_state(&id, "cancelled");
    });
    assert!(took < SOON, "noticed after {took:?}");
    world.admin.assert_story(&id, &CANCELLED);
    assert_eq!(world.admin.login(&id)["reason"], "hung-up");
    assert!(world.admin.try_run(&["login", "approve", &id]).is_err(), "approved after all");
    machine.assert_nothing_left();
    assert!(!machine.path("/tmp/ran").exists(), "it ran");
}

#[test]
fn an_approval_makes_it_run_at_a_terminal() {
    let world = World::new();
    let machine = machine(&world);
    for (user, program, command) in people() {
        let mut login = machine.ssh_at_terminal(user, &[command]);
        types_the_password(&mut login);
        world.admin.approve(&world.admin.pending());
        assert_eq!(login.wait().code, 0, "{program}");
        machine.exec(&["rm", "/tmp/ran"]);
    }
    machine.assert_nothing_left();
}

#[test]
fn ctrl_c_at_sudo_or_su_ends_the_ask_and_a_later_approval_runs_nothing() {
    let world = World::new();
    let machine = machine(&world);
    for (user, program, command) in people() {
        let mut login = machine.ssh_at_terminal(user, &[command]);
        types_the_password(&mut login);
        leaves(&world, &machine, || login.types("\u{3}"));
        assert_ne!(login.wait().code, 0, "{program}");
    }
}

#[test]
fn a_killed_ssh_client_ends_the_ask_of_sudo_or_su_and_a_later_approval_runs_nothing() {
    let world = World::new();
    let machine = machine(&world);
    for (user, _, command) in people() {
        let mut login = machine.ssh_at_terminal(user, &[command]);
        types_the_password(&mut login);
        leaves(&world, &machine, || login.kill());
    }
    for (user, command) in [("bob", PIPED_SUDO), ("alice", PIPED_SU)] {
        let login = machine.ssh(user, &[command]);
        leaves(&world, &machine, || login.kill());
    }
}

#[test]
fn a_closed_terminal_ends_the_ask_of_sudo_or_su_and_a_later_approval_runs_nothing() {
    let world = World::new();
    let machine = machine(&world);
    for (user, _, command) in people() {
        let mut login = machine.console(user, command);
        types_the_password(&mut login);
        leaves(&world, &machine, || drop(machine.exec(&["pkill", "-KILL", "-x", "script"])));
    }
}

#[test]
fn a_killed_parent_ends_the_ask_of_sudo_or_su_and_a_later_approval_runs_nothing() {
    let world = World::new();
    let machine = machine(&world);
    for (user, program, command) in [("bob", "sudo", PIPED_SUDO), ("alice", "su", PIPED_SU)] {
        let _login = machine.ssh(user, &[command]);
        leaves(&world, &machine, || {
            machine.exec(&["sh", "-c", &format!("kill -KILL $(ps -o ppid= -C {program})")]);
        });
    }
}

#[test]
fn a_signal_to_sudo_or_su_ends_the_ask_and_a_later_approval_runs_nothing() {
    let world = World::new();
    let machine = machine(&world);
    for signal in ["-TERM", "-HUP"] {
        for (user, program, command) in [("bob", "sudo", PIPED_SUDO), ("alice", "su", PIPED_SU)] {
            let _login = machine.ssh(user, &[command]);
            leaves(&world, &machine, || drop(machine.exec(&["pkill", signal, "-x", program])));
        }
    }
}

/// If the input pipe is closed or the reader of the output has left, the person may still be there.
#[test]
fn a_command_whose_output_nobody_reads_still_waits_for_its_approval() {
    let world = World::new();
    let machine = machine(&world);
    let login = machine.ssh("bob", &["printf 'open sesame\\n' | sudo -S -p '' touch /tmp/ran | true"]);
    world.admin.approve(&world.admin.pending());
    assert_eq!(login.wait().code, 0);
    assert!(machine.path("/tmp/ran").exists());
    machine.assert_nothing_left();
}

/// nohup ignores the hang-up, so the hang-up does not end the wait.
#[test]
fn a_signal_that_is_ignored_does_not_end_the_ask() {
    let world = World::new();
    let machine = machine(&world);
    let login = machine.ssh("bob", &["printf 'open sesame\\n' | nohup sudo -S -p '' touch /tmp/ran"]);
    let id = world.admin.pending();
    machine.exec(&["pkill", "-HUP", "-x", "sudo"]);
    world.admin.approve(&id);
    assert_eq!(login.wait().code, 0);
    assert!(machine.path("/tmp/ran").exists());
    machine.assert_nothing_left();
}

/// The leader of its session is in another pid namespace, where the module cannot watch it.
#[test]
fn a_command_that_was_started_inside_a_container_from_outside_is_held_and_runs_once_approved() {
    let world = World::new();
    // A test build, in which the standard library and rustix check for undefined behaviour.
    let machine = with_su(world.machine().pam_stack(FREE).faulty_module().start());
    let login = machine.entered("alice", &["sh", "-c", PIPED_SU]);
    let id = world.admin.pending();
    let leaders = machine.exec(&["ps", "-o", "sid=", "-C", "su"]);
    assert_eq!(leaders.trim(), "0", "the leader is inside");
    assert!(!machine.path("/tmp/ran").exists(), "it ran before");
    world.admin.approve(&id);
    assert_eq!(login.wait().code, 0);
    assert!(machine.path("/tmp/ran").exists());
    machine.assert_nothing_left();
}
