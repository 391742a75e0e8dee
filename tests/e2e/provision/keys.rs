//! Keys get to machines, are kept as they should be, and go: where root alone writes, and in homes.

use kbmfa_tests::delivery::{
    self, KEYS, REVOKED, Sudo, deliver, dora, gets_in, is_refused, status, until_state,
};
use kbmfa_tests::wait::until;
use kbmfa_tests::world::World;
use std::fs;
use std::os::unix::fs::MetadataExt as _;

#[test]
fn a_key_gets_to_its_machines_and_a_revoked_one_is_refused_there_and_its_session_ended() {
    let world = World::new();
    let machine = delivery::machine(&world, Sudo::Free, &format!("{KEYS}{REVOKED}"));
    let key = dora(&world, &[&machine]);
    deliver(&world, &[&machine], "system");
    gets_in(&machine);
    let checked = world.admin.run(&["machine", "check", "web1"]);
    assert!(checked.contains("web1: as it should be") && !checked.contains("FAIL"), "{checked}");

    let session = machine.ssh("dora", &["echo in; exec sleep 600"]);
    until("the session", || (session.stdout() == "in\n").then_some(()));
    world.admin.run(&["employee", "suspend", "dora@example.com"]);
    until_state(&world, "web1", "confirmed");
    assert!(session.wait().code != 0, "the session goes on");
    is_refused(&machine);
    let entry = machine.exec(&["getent", "shadow", "dora"]);
    assert!(entry.starts_with("dora:!") && entry.trim_end().split(':').nth(7) == Some("1"), "{entry}");

    world.admin.run(&["employee", "resume", "dora@example.com"]);
    until_state(&world, "web1", "confirmed");
    gets_in(&machine);

    world.admin.run(&["key", "revoke", &key, "--lost", "--yes"]);
    until_state(&world, "web1", "confirmed");
    is_refused(&machine);
    // The key is refused from everybody, also where somebody else would accept it.
    let refused = machine.ssh("alice", &["id", "-un"]).wait();
    assert!(refused.code != 0 && refused.stdout.is_empty(), "{refused:?}");
    world.admin.audit_verify();
}

#[test]
fn a_pass_with_nothing_to_do_writes_nothing_and_drift_is_repaired() {
    let world = World::new();
    let machine = delivery::machine(&world, Sudo::Free, KEYS);
    dora(&world, &[&machine]);
    deliver(&world, &[&machine], "system");
    let files =
        ["/etc/ssh/kbmfa/keys/dora", "/etc/ssh/kbmfa/state", "/etc/shadow", "/etc/passwd", "/etc/group"];
    let inodes = || {
        files.map(|file| {
            let found = fs::metadata(machine.path(file)).unwrap();
            (found.ino(), found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec())
        })
    };
    let before = inodes();
    let ran = world.admin.run(&["provision", "run", "web1"]);
    assert!(ran.contains("web1: had everything already"), "{ran}");
    assert_eq!(inodes(), before);

    machine.exec(&[
        "sh",
        "-c",
        "echo 'ssh-ed25519 AAAA intruder' >>/etc/ssh/kbmfa/keys/dora; echo x >/etc/ssh/kbmfa/keys/root",
    ]);
    let plan = world.admin.dry_run(&["provision", "plan", "--all"]);
    assert!(plan.contains("write the keys of dora") && plan.contains("a stray file \"root\""), "{plan}");
    world.admin.run(&["provision", "run", "web1"]);
    let keys = machine.exec(&["cat", "/etc/ssh/kbmfa/keys/dora"]);
    assert!(!keys.contains("intruder"), "{keys}");
    let told = (world.server.status("/metrics").unwrap(), world.server.status("/readyz").unwrap());
    assert!(told.0.contains("kbmfa_deliveries_drifts_total 1\n"), "{}", told.0);
    assert!(told.1.contains("changes on machines that were put right: 1, the last on web1"), "{}", told.1);
    // The file of an account that is not ours is named, and left to the operator.
    assert!(status(&world, "web1")["left"].to_string().contains("stray file"));
    assert!(machine.path("/etc/ssh/kbmfa/keys/root").exists());
    gets_in(&machine);
}

#[test]
fn a_home_keeps_the_lines_of_others_and_its_own_links_hurt_nobody() {
    let world = World::new();
    let machine = delivery::machine(&world, Sudo::Free, "");
    dora(&world, &[&machine]);
    deliver(&world, &[&machine], "home");
    gets_in(&machine);
    let file = "/home/dora/.ssh/authorized_keys";
    assert_eq!(machine.exec(&["stat", "-c", "%U %a", file]).trim(), "dora 600");
    machine.exec(&["sh", "-c", &format!("printf 'ssh-ed25519 AAAA foreign' >>{file}")]);
    world.admin.run(&["grant", "remove", "dora@example.com", "web", "--yes"]);
    until_state(&world, "web1", "confirmed");
    is_refused(&machine);
    assert_eq!(machine.exec(&["cat", file]), "ssh-ed25519 AAAA foreign");

    world.admin.run(&["grant", "add", "dora@example.com", "web"]);
    until_state(&world, "web1", "confirmed");
    gets_in(&machine);
    // A link to a file of root's is neither read nor written.
    machine.exec(&[
        "sh",
        "-c",
        &format!("echo secret >/etc/secret; chmod 600 /etc/secret; ln -sf /etc/secret {file}"),
    ]);
    world.admin.try_run(&["provision", "run", "web1"]).unwrap();
    assert_eq!(machine.exec(&["cat", "/etc/secret"]), "secret\n");
    let left = until("the finding", || {
        let left = status(&world, "web1")["left"].to_string();
        left.contains("is a link or no file").then_some(left)
    });
    assert!(!left.contains("secret"), "{left}");
}
