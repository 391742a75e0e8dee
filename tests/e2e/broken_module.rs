//! If the module panics or crashes during a login, nobody is let in, and sshd keeps running. The tests use a
//! build of the module with injected faults.

use kbmfa_tests::recipe::Phase;
use kbmfa_tests::world::World;

fn lets_nobody_in(fault: &str) {
    let world = World::new();
    for (phase, code) in [(Phase::Account, 255), (Phase::Auth, 255), (Phase::Session, 254)] {
        let arguments = format!("fault={fault}");
        let machine = world.machine().phase(phase).faulty_module().pam_args(&arguments).start();
        // Two times: the second login shows that sshd still listens.
        for _ in 0..2 {
            let finished = machine.ssh("alice", &["echo", "in"]).wait();
            assert_eq!(finished.stdout, "", "{phase:?}");
            assert!([code, 255].contains(&finished.code), "{phase:?}: {} {}", finished.code, finished.stderr);
        }
        assert!(world.admin.logins(&[]).is_empty());
        // sshd lets the person in before the session phase, and then ends the session.
        let accepted = machine.sshd_log().matches("Accepted publickey for").count();
        assert!(accepted == 0 || phase == Phase::Session, "{phase:?}");
        machine.assert_nothing_left();
    }
}

#[test]
fn a_panic_lets_nobody_in() {
    lets_nobody_in("panic");
}

#[test]
fn a_stack_overflow_lets_nobody_in() {
    lets_nobody_in("overflow");
}

#[test]
fn an_exit_lets_nobody_in() {
    lets_nobody_in("exit");
}

#[test]
fn an_abort_lets_nobody_in() {
    lets_nobody_in("abort");
}

#[test]
fn the_same_build_without_a_fault_lets_in_who_is_approved() {
    let world = World::new();
    let machine = world.machine().faulty_module().start();
    let login = machine.ssh("alice", &["echo", "in"]);
    world.admin.approve(&world.admin.pending());
    assert_eq!(login.wait().stdout, "in\n");
}
