//! Only root can read the machine's credential. No part of it is in the processes that sshd leaves to the
//! person who logged in.

use kbmfa_tests::builder::Root;
use kbmfa_tests::leftovers;
use kbmfa_tests::machine::Machine;
use kbmfa_tests::memory::holds;
use kbmfa_tests::recipe::Phase;
use kbmfa_tests::wait::until;
use kbmfa_tests::world::World;
use std::fs;

/// The processes of one open login. The sshd that listens is not one of them.
fn processes(machine: &Machine) -> Vec<u32> {
    until("the person's program", || {
        let all = machine.processes();
        let of_login = all.get(1..)?.to_vec();
        of_login.iter().any(|pid| name(*pid).starts_with("sleep")).then_some(of_login)
    })
}

fn name(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default()
}

/// Logs in, and searches the memory of every process of that login.
fn nothing_is_left(root: Root, phase: Phase) {
    let world = World::new();
    let machine = world.machine().root(root).phase(phase).reporting().start();
    let credential = fs::read_to_string(machine.path("/etc/kbmfa/credential")).unwrap();
    let credential = credential.trim();
    assert!(holds(std::process::id(), credential), "whoever looks finds it where it is");
    let login = machine.ssh("alice", &["sleep", "600"]);
    world.admin.approve(&world.admin.pending());
    let processes = processes(&machine);
    let sshds: Vec<u32> = processes.iter().copied().filter(|pid| name(*pid).starts_with("sshd")).collect();
    assert!(sshds.len() >= 2, "the monitor, and the child that runs as alice: {processes:?}");
    for pid in sshds {
        assert!(holds(pid, "alice"), "the memory of {pid} can be read");
        assert!(!holds(pid, credential), "{phase:?} on {root:?}: the credential is in the memory of {pid}");
    }
    assert!(!processes.iter().any(|pid| holds(*pid, credential)));
    processes.into_iter().filter(|pid| name(*pid).starts_with("sleep")).for_each(leftovers::kill);
    login.wait();
    machine.assert_nothing_left();
}

#[test]
fn nothing_of_the_credential_is_left_in_the_memory_of_a_login_in_the_account_phase() {
    nothing_is_left(Root::Debian12, Phase::Account);
    nothing_is_left(Root::Debian13, Phase::Account);
}

#[test]
fn nothing_of_the_credential_is_left_in_the_memory_of_a_login_in_the_session_phase() {
    nothing_is_left(Root::Debian12, Phase::Session);
    nothing_is_left(Root::Debian13, Phase::Session);
}

#[test]
fn nothing_of_the_credential_is_left_in_the_memory_of_a_login_in_the_auth_phase() {
    nothing_is_left(Root::Debian12, Phase::Auth);
}
