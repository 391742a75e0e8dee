//! How the server becomes root on a machine.

use kbmfa_tests::delivery::{self, KEYS, Sudo, dora, gets_in, status, until_state};
use kbmfa_tests::files::put;
use kbmfa_tests::world::World;
use serde_json::Value;

#[test]
fn sudo_with_a_password_gets_it_only_from_a_machine_that_is_recognised() {
    let world = World::new();
    let machine = delivery::machine(&world, Sudo::WithPassword, KEYS);
    dora(&world, &[&machine]);
    machine.exec(&["sh", "-c", "echo 'ssh-admin:correct horse' | chpasswd"]);
    world.admin.run(&["provision", "enable", "web1", "--keys", "system"]);
    let failing = until_state(&world, "web1", "failing");
    assert_eq!(failing["failure"], "sudo", "{failing}");
    let file = world.server.config.with_file_name("password");
    put(&file, 0o600, "wrong\n");
    let path = file.display().to_string();
    world.admin.run(&["provision", "sudo-password", "web1", "--file", &path]);
    let refused = world.admin.try_run(&["provision", "run", "web1"]).unwrap_err();
    assert!(refused.contains("1 machines failed"), "{refused}");
    put(&file, 0o600, "correct horse\n");
    world.admin.run(&["provision", "sudo-password", "web1", "--file", &path]);
    world.admin.run(&["provision", "run", "web1"]);
    gets_in(&machine);
    let everything = world.admin.run(&["audit", "search", "--limit", "1000", "--json"]);
    assert!(!everything.contains("correct horse"));

    // Another machine at the same address: nothing is sent to it.
    let key = "/etc/ssh/ssh_host_ed25519_key";
    machine.exec(&["sh", "-c", &format!("rm {key} {key}.pub; ssh-keygen -q -t ed25519 -N '' -f {key}")]);
    let refused = world.admin.json(&["provision", "status"]);
    assert_eq!(refused["machines"][0]["failure"], Value::Null);
    world.admin.try_run(&["provision", "run", "web1"]).unwrap_err();
    assert_eq!(status(&world, "web1")["failure"], "host-key");
    let log = machine.sshd_log();
    assert!(
        !log.lines().rev().take(3).any(|line| line.contains("Accepted publickey for ssh-admin")),
        "{log}"
    );
}
