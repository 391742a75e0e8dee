//! The module's own deadline, of which it tells the server; and sshd's grace time in the phases in which it
//! does not apply. `faults/machine/sshd.rs` tests the phase in which it applies.

use crate::story::CANCELLED;
use kbmfa_tests::recipe::Phase;
use kbmfa_tests::world::World;

#[test]
fn a_deadline_shorter_than_the_window_ends_the_login_and_the_ask() {
    let world = World::new();
    let machine = world.machine().start();
    machine.set("deadline", "\"6s\"");
    let login = machine.ssh("alice", &["echo", "in"]);
    let id = world.admin.pending();
    let finished = login.wait();
    assert_eq!((finished.stdout.as_str(), finished.code), ("", 255));
    assert!(finished.stderr.contains("Nobody approved your login in time."), "{}", finished.stderr);
    world.admin.assert_story(&id, &CANCELLED);
    machine.assert_nothing_left();
}

#[test]
fn the_session_phase_outlives_the_grace_time() {
    let world = World::new();
    let machine = world.machine().phase(Phase::Session).sshd_lines("LoginGraceTime 2").start();
    let mut login = machine.ssh("alice", &["echo", "in"]);
    let id = world.admin.pending();
    kbmfa_tests::wait::pass(std::time::Duration::from_secs(3));
    assert!(login.running());
    world.admin.approve(&id);
    assert_eq!(login.wait().stdout, "in\n");
    machine.assert_nothing_left();
}
