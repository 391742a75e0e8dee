//! Logins through a real sshd, allowed and refused, with the module under valgrind and AddressSanitizer.

use kbmfa_tests::builder::MachineBuilder;
use kbmfa_tests::machine::Machine;
use kbmfa_tests::recipe::Phase;
use kbmfa_tests::watcher::Watcher;
use kbmfa_tests::world::World;

const PHASES: [Phase; 2] = [Phase::Account, Phase::Auth];

/// Has one login approved and one denied, and waits until all processes of both have ended.
fn two_logins(world: &World, machine: &Machine) {
    let approved = machine.ssh("alice", &["echo", "in"]);
    world.admin.approve(&world.admin.pending());
    assert_eq!(approved.wait().stdout, "in\n");
    let denied = machine.ssh("bob", &["echo", "in"]);
    world.admin.deny(&world.admin.pending());
    assert_eq!(denied.wait().code, 255);
    machine.assert_nothing_left();
}

fn sees_nothing(watcher: Watcher, build: fn(MachineBuilder) -> MachineBuilder) {
    let world = World::new();
    for phase in PHASES {
        let machine = build(world.machine()).phase(phase).watched_by(watcher).start();
        two_logins(&world, &machine);
        let reports = machine.reports_of_module();
        assert!(reports.is_empty(), "{phase:?}:\n{}", reports.join("\n\n"));
    }
}

/// Runs a module with this fault, and checks that the checker reports it. valgrind does not end the process.
fn sees(watcher: Watcher, fault: &str, report: &str) {
    let world = World::new();
    for phase in PHASES {
        let machine = world.machine().phase(phase).faulty_module().pam_args(fault);
        let machine = machine.watched_by(watcher).start();
        let login = machine.ssh("alice", &["echo", "in"]);
        if watcher == Watcher::Valgrind {
            world.admin.approve(&world.admin.pending());
            assert_eq!(login.wait().stdout, "in\n");
        } else {
            assert_eq!(login.wait().code, 255);
        }
        machine.assert_nothing_left();
        let reports = machine.reports_of_module();
        assert!(reports.iter().any(|text| text.contains(report)), "{phase:?}: {reports:?}");
    }
}

#[test]
#[ignore = "make sanitize"]
fn valgrind_finds_no_fault_in_the_shipped_module() {
    sees_nothing(Watcher::Valgrind, |machine| machine);
}

/// Also checks for uninitialised memory: this build has the symbol names by which our code differs from the
/// TLS library's.
#[test]
#[ignore = "make sanitize"]
fn valgrind_finds_no_fault_in_the_test_build_of_the_module() {
    sees_nothing(Watcher::Valgrind, MachineBuilder::faulty_module);
}

#[test]
#[ignore = "make sanitize"]
fn valgrind_finds_an_injected_out_of_bounds_read_and_a_leak() {
    sees(Watcher::Valgrind, "fault=overread", "Invalid read of size 1");
    sees(Watcher::Valgrind, "fault=leak", "16 bytes in 1 blocks are definitely lost");
}

#[test]
#[ignore = "make sanitize"]
fn address_sanitizer_finds_no_fault_in_the_module() {
    sees_nothing(Watcher::AddressSanitizer, MachineBuilder::faulty_module);
}

#[test]
#[ignore = "make sanitize"]
fn address_sanitizer_finds_an_injected_out_of_bounds_read() {
    sees(Watcher::AddressSanitizer, "fault=overread", "heap-buffer-overflow");
}
