//! What valgrind and AddressSanitizer see of the module during logins through a real sshd, which ends well and badly.

use kbmfa_tests::machine::Machine;
use kbmfa_tests::recipe::Phase;
use kbmfa_tests::watcher::Watcher;
use kbmfa_tests::world::World;

const PHASES: [Phase; 2] = [Phase::Account, Phase::Auth];

/// One login is approved and one denied; all processes of both have ended.
fn two_logins(world: &World, machine: &Machine) {
    let approved = machine.ssh("alice", &["echo", "in"]);
    world.admin.approve(&world.admin.pending());
    assert_eq!(approved.wait().stdout, "in\n");
    let denied = machine.ssh("bob", &["echo", "in"]);
    world.admin.deny(&world.admin.pending());
    assert_eq!(denied.wait().code, 255);
    machine.assert_nothing_left();
}

fn sees_nothing(watcher: Watcher) {
    let world = World::new();
    for phase in PHASES {
        let machine = world.machine().phase(phase).watched_by(watcher).start();
        two_logins(&world, &machine);
        let reports = machine.reports_of_module();
        assert!(reports.is_empty(), "{phase:?}:\n{}", reports.join("\n\n"));
    }
}

/// A module that reads one byte too far, so that the watcher would be heard if it saw anything.
fn sees(watcher: Watcher, report: &str) {
    let world = World::new();
    for phase in PHASES {
        let machine = world
            .machine()
            .phase(phase)
            .faulty_module()
            .pam_args("fault=overread")
            .watched_by(watcher)
            .start();
        let login = machine.ssh("alice", &["echo", "in"]);
        if watcher == Watcher::Valgrind {
            // It only looks on.
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
fn valgrind_sees_nothing_wrong_with_the_module() {
    sees_nothing(Watcher::Valgrind);
}

#[test]
#[ignore = "make sanitize"]
fn valgrind_would_see_a_byte_read_too_far() {
    sees(Watcher::Valgrind, "Invalid read of size 1");
}

#[test]
#[ignore = "make sanitize"]
fn address_sanitizer_sees_nothing_wrong_with_the_module() {
    sees_nothing(Watcher::AddressSanitizer);
}

#[test]
#[ignore = "make sanitize"]
fn address_sanitizer_would_see_a_byte_read_too_far() {
    sees(Watcher::AddressSanitizer, "heap-buffer-overflow");
}
