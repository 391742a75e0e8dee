//! Employees' keys on the command line, and what they mean for a real login.

mod thief;

use kbmfa_tests::files::put;
use kbmfa_tests::machine::Machine;
use kbmfa_tests::recipe::Phase;
use kbmfa_tests::world::World;
use std::fs;

const ALICE: [&str; 7] =
    ["employee", "add", "alice@example.com", "--name", "Alice Liddell", "--unix-name", "alice"];

#[test]
fn a_revoked_key_is_refused_where_sshd_reports_the_key() {
    for phase in [Phase::Auth, Phase::Session] {
        let world = World::new();
        let machine = world.machine().phase(phase).start();
        world.admin.run(&ALICE);
        let file = world.server.config.with_file_name("alice.pub");
        put(&file, 0o644, fs::read(machine.local_file("id_ed25519.pub")).unwrap());
        let file = file.display().to_string();
        let added = world.admin.json(&["key", "add", "alice@example.com", &file, "--device", "laptop"]);
        let fingerprint = added["fingerprint"].as_str().unwrap();
        let login = machine.ssh("alice", &["echo", "in"]);
        world.admin.approve(&world.admin.pending());
        assert_eq!(login.wait().stdout, "in\n", "{phase:?}");

        let waiting = machine.ssh("alice", &["echo", "in"]);
        let id = world.admin.pending();
        assert!(world.admin.try_run(&["key", "revoke", &fingerprint[..12], "--lost"]).is_err(), "a preview");
        assert_eq!(world.admin.state(&id), "pending");
        world.admin.run(&["key", "revoke", &fingerprint[..12], "--lost", "--yes"]);
        assert_eq!(world.admin.login(&id)["reason"], "revoked-key");
        assert_eq!(waiting.wait().stdout, "", "{phase:?}");
        assert_eq!(machine.ssh("alice", &["echo", "in"]).wait().stdout, "", "{phase:?}");
        assert_eq!(world.admin.count(["key.added", "key.revoked", "login.collected"]), [1, 1, 1]);

        let again = world.admin.try_run(&["key", "add", "alice@example.com", &file, "--device", "new"]);
        assert!(again.unwrap_err().contains("was revoked (lost) and is never accepted again"));
        assert_eq!(world.admin.json(&["key", "list"]).as_array().unwrap().len(), 0);
        assert_eq!(world.admin.json(&["key", "list", "--revoked"])[0]["reason"], "lost");
        machine.assert_nothing_left();
    }
}

#[test]
fn a_file_of_keys_is_imported_as_a_whole_and_each_fault_has_its_line() {
    let world = World::new();
    world.admin.run(&ALICE);
    let file = world.server.config.with_file_name("keys.csv");
    let name = file.display().to_string();
    let good = "alice@example.com,laptop,ssh-ed25519 \
                AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS alice@laptop";
    put(
        &file,
        0o644,
        format!("email,device,key\n{good}\nbob@example.com,desk,{}\nx@y.z,a,ssh-dss AAAA\n", &good[25..]),
    );
    let refused = world.admin.try_run(&["key", "import", &name]).unwrap_err();
    assert!(refused.contains("keys.csv:4: "), "{refused}");
    assert_eq!(world.admin.json(&["key", "list", "--all"]).as_array().unwrap().len(), 0);
    put(&file, 0o644, format!("email,device,key\n{good}\n"));
    assert!(world.admin.try_run(&["key", "import", &name, "--dry-run"]).is_err(), "would change");
    world.admin.run(&["key", "import", &name]);
    let key = &world.admin.json(&["key", "list", "--employee", "alice@example.com"])[0];
    assert_eq!((key["device"].as_str(), key["state"].as_str()), (Some("laptop"), Some("active")));
    let line = key["line"].as_str().unwrap();
    assert!(good.contains(line) && !line.contains("alice"), "{line}");
}

/// Records the key of the machine's ssh client as that of this person.
fn give_key(world: &World, machine: &Machine, email: &str, device: &str) -> String {
    let file = world.dir().join(format!("{device}.pub"));
    put(&file, 0o644, fs::read(machine.local_file("id_ed25519.pub")).unwrap());
    let added = world.admin.json(&["key", "add", email, &file.display().to_string(), "--device", device]);
    added["fingerprint"].as_str().unwrap().to_owned()
}

#[test]
fn a_grant_of_the_accounts_owner_lets_nobody_elses_key_in() {
    let world = World::with(&[("policy", "require_grant", "true")]);
    let machine = world.machine().phase(Phase::Auth).start();
    world.admin.run(&ALICE);
    world.admin.run(&["employee", "add", "bob@example.com", "--name", "Bob", "--unix-name", "bob"]);
    world.admin.run(&["pool", "add", "web", "--machine", "web1", "--employee", "alice@example.com"]);
    give_key(&world, &machine, "bob@example.com", "laptop");
    assert_eq!(machine.ssh("alice", &["echo", "in"]).wait().stdout, "");
    let id = world.admin.only_login();
    assert_eq!(world.admin.login(&id)["reason"], "no-grant");
    world.admin.run(&["grant", "add", "bob@example.com", "web"]);
    let login = machine.ssh("alice", &["echo", "in"]);
    world.admin.approve(&world.admin.pending());
    assert_eq!(login.wait().stdout, "in\n");
    machine.assert_nothing_left();
}
