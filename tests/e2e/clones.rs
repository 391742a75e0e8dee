//! A machine that was cloned together with its credential.

use kbmfa_tests::files::put;
use kbmfa_tests::machine::Machine;
use kbmfa_tests::world::World;
use std::fs;

use crate::credentials::gets_in;

/// A machine that has this machine id from the start.
fn machine(world: &World, machine_id: &str) -> Machine {
    world.machine().before_sshd(&format!("echo {machine_id} > /etc/machine-id")).start()
}

#[test]
fn a_cloned_machine_is_told_to_people_named_and_gone_when_one_of_the_two_joins_anew() {
    let world = World::with(&[("login", "asks_per_user", "100")]);
    let (first, clone) = (machine(&world, &"a".repeat(32)), machine(&world, &"b".repeat(32)));
    gets_in(&world, &first);
    gets_in(&world, &clone);
    let seen_twice = || world.admin.json(&["machine", "show", "web1"])["seen_twice"].clone();
    assert!(seen_twice().is_null());

    let credential = fs::read(first.path("/etc/kbmfa/credential")).unwrap();
    put(&clone.path("/etc/kbmfa/credential"), 0o600, credential);
    gets_in(&world, &clone);
    assert_eq!(seen_twice(), "two-machine-ids", "nobody is refused for it, and people are told");
    gets_in(&world, &first);
    clone.exec(&["kbmfa-host", "refresh"]);
    assert_eq!(world.admin.count(["machine.seen-twice"]), [1], "told once a day");
    let log = world.server.log();
    assert!(log.contains("machine web1: its credential is used on two computers"), "{log}");
    let doctor = world.admin.doctor();
    assert!(doctor.contains("web1 was cloned") && doctor.contains("machine rotate web1"), "{doctor}");
    let list = world.admin.run(&["machine", "list"]);
    assert!(list.contains(" twice, quarantined "), "the clone has host keys of its own: {list}");

    let token = world.admin.run(&["machine", "rotate", "web1"]);
    first.join_again(&world, token.trim());
    gets_in(&world, &first);
    assert_eq!(clone.ssh("alice", &["true"]).wait().code, 255, "its credential has retired");
    assert!(seen_twice().is_null());
    world.admin.audit_verify();
}

#[test]
fn a_machine_without_a_machine_id_logs_in_as_before() {
    let world = World::new();
    let machine = machine(&world, "uninitialized");
    gets_in(&world, &machine);
    assert_eq!(world.admin.count(["machine.seen-twice"]), [0]);
}
