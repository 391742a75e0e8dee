//! Accounts and keys on machines: a real sshd, a real sudo, and real accounts.

use kbmfa_tests::files::put;
use kbmfa_tests::machine::Machine;
use kbmfa_tests::recipe::FREE;
use kbmfa_tests::wait::until;
use kbmfa_tests::world::World;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::MetadataExt as _;

const NOPASSWD: &str = "ssh-admin ALL=(ALL) NOPASSWD: ALL";
const PASSWD: &str = "ssh-admin ALL=(ALL) ALL";
const SUDO_STACK: &str =
    "auth required pam_unix.so\naccount required pam_unix.so\nsession required pam_permit.so\n";
const KEYS: &str = "AuthorizedKeysFile /etc/ssh/kbmfa/keys/%u .ssh/authorized_keys\n";
const REVOKED: &str = "RevokedKeys /etc/ssh/kbmfa/revoked\n";

/// A machine that is ready: ssh-admin with the server's key, and sudo by these lines.
fn machine(world: &World, sudoers: &str, sshd_lines: &str) -> Machine {
    let machine = world.machine().pam_stack(FREE).sudo("").sshd_lines(sshd_lines);
    let ready = "mkdir -p /etc/ssh/kbmfa/keys; : >/etc/ssh/kbmfa/revoked; rm -f /etc/machine-id; \
                 cat /proc/sys/kernel/random/uuid | tr -d - >/etc/machine-id; umask 022";
    let machine = machine.before_sshd(ready).start();
    put(&machine.path("/etc/pam.d/sudo"), 0o644, SUDO_STACK);
    put(&machine.path("/etc/sudoers"), 0o440, format!("{sudoers}\n"));
    machine.exec(&["useradd", "-m", "-s", "/bin/sh", "ssh-admin"]);
    let line = world.admin.run(&["provision", "key"]);
    let lines = format!(
        "install -d -m 700 -o ssh-admin -g ssh-admin /home/ssh-admin/.ssh; cat >/home/ssh-admin/.ssh/authorized_keys <<'E'\n{line}E\nchown ssh-admin /home/ssh-admin/.ssh/authorized_keys"
    );
    machine.exec(&["sh", "-c", &lines]);
    let port = machine.port.number.to_string();
    world.admin.run(&["machine", "set", &name(&machine), "--address", "127.0.0.1", "--port", &port]);
    machine
}

fn name(machine: &Machine) -> String {
    machine.exec(&["hostname"]).trim().to_owned()
}

/// dora, with the test's key and a grant to the pool of these machines. Returns the key's fingerprint.
fn dora(world: &World, machines: &[&Machine]) -> String {
    world.admin.run(&["employee", "add", "dora@example.com", "--name", "Dora", "--unix-name", "dora"]);
    let file = world.server.config.with_file_name("dora.pub");
    put(&file, 0o644, fs::read(machines[0].local_file("id_ed25519.pub")).unwrap());
    let file = file.display().to_string();
    let added = world.admin.json(&["key", "add", "dora@example.com", &file, "--device", "laptop"]);
    let names: Vec<_> = machines.iter().map(|machine| name(machine)).collect();
    let members = names.iter().flat_map(|name| ["--machine", name]);
    let words = ["pool", "add", "web", "--employee", "dora@example.com"];
    world.admin.run(&words.into_iter().chain(members).collect::<Vec<_>>());
    added["fingerprint"].as_str().unwrap().to_owned()
}

fn status(world: &World, name: &str) -> Value {
    let status = world.admin.json(&["provision", "status"]);
    let machines = status["machines"].as_array().unwrap();
    machines.iter().find(|machine| machine["machine"] == name).cloned().unwrap_or_default()
}

/// Waits until the machine is in this state, and returns its row.
fn until_state(world: &World, name: &str, state: &str) -> Value {
    let mut last = Value::Null;
    let found = kbmfa_tests::wait::until_within(kbmfa_tests::wait::PATIENCE, || {
        last = status(world, name);
        (last["state"] == state).then(|| last.clone())
    });
    found.unwrap_or_else(|| panic!("{name} is not {state}: {last}"))
}

fn gets_in(machine: &Machine) {
    let finished = machine.ssh("dora", &["id", "-un"]).wait();
    assert_eq!((finished.stdout.as_str(), finished.code), ("dora\n", 0), "{}", finished.stderr);
}

fn is_refused(machine: &Machine) {
    let finished = machine.ssh("dora", &["id", "-un"]).wait();
    assert!(finished.stdout.is_empty() && finished.code == 255, "{finished:?}");
}

#[test]
fn a_key_gets_to_its_machines_and_a_revoked_one_is_refused_there_and_its_session_ended() {
    let world = World::new();
    let machine = machine(&world, NOPASSWD, &format!("{KEYS}{REVOKED}"));
    let key = dora(&world, &[&machine]);
    world.admin.run(&["provision", "enable", "web1", "--keys", "system"]);
    until_state(&world, "web1", "confirmed");
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
    let machine = machine(&world, NOPASSWD, KEYS);
    dora(&world, &[&machine]);
    world.admin.run(&["provision", "enable", "web1", "--keys", "system"]);
    until_state(&world, "web1", "confirmed");
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
    // The file of an account that is not ours is named, and left to the operator.
    assert!(status(&world, "web1")["left"].to_string().contains("stray file"));
    assert!(machine.path("/etc/ssh/kbmfa/keys/root").exists());
    gets_in(&machine);
}

#[test]
fn a_home_keeps_the_lines_of_others_and_its_own_links_hurt_nobody() {
    let world = World::new();
    let machine = machine(&world, NOPASSWD, "");
    dora(&world, &[&machine]);
    world.admin.run(&["provision", "enable", "web1", "--keys", "home"]);
    until_state(&world, "web1", "confirmed");
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

#[test]
fn sudo_with_a_password_gets_it_only_from_a_machine_that_is_recognised() {
    let world = World::new();
    let machine = machine(&world, PASSWD, KEYS);
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

#[test]
fn a_machine_that_is_down_during_a_revocation_loses_the_key_when_it_is_back() {
    let world = World::new();
    let (one, other) = (machine(&world, NOPASSWD, KEYS), machine(&world, NOPASSWD, KEYS));
    let key = dora(&world, &[&one, &other]);
    for name in ["web1", "web2"] {
        world.admin.run(&["provision", "enable", name, "--keys", "system"]);
    }
    until_state(&world, "web1", "confirmed");
    until_state(&world, "web2", "confirmed");
    gets_in(&one);
    // SIGSTOP: the port accepts, and nobody answers.
    let sshd = one.processes()[0].to_string();
    kbmfa_tests::process::run(kbmfa_tests::process::program("kill").args(["-STOP", &sshd]));
    world.admin.run(&["key", "revoke", &key, "--lost", "--yes"]);
    until_state(&world, "web2", "confirmed");
    let row = status(&world, "web1");
    assert_eq!(row["revocation_unconfirmed"], true, "{row}");
    let shown = world.admin.run(&["provision", "status"]);
    assert!(shown.contains("1 of 2 machines have not confirmed a revocation"), "{shown}");
    kbmfa_tests::process::run(kbmfa_tests::process::program("kill").args(["-CONT", &sshd]));
    let mut last = Value::Null;
    let confirmed = kbmfa_tests::wait::until_within(std::time::Duration::from_secs(120), || {
        last = status(&world, "web1");
        (last["state"] == "confirmed" && last["revocation_unconfirmed"] == false).then_some(())
    });
    assert!(confirmed.is_some(), "{last}");
    is_refused(&one);
}

#[test]
fn a_machine_that_leaves_is_cleaned_before_it_is_forgotten() {
    let world = World::new();
    let machine = machine(&world, NOPASSWD, KEYS);
    dora(&world, &[&machine]);
    world.admin.run(&["provision", "enable", "web1", "--keys", "system"]);
    until_state(&world, "web1", "confirmed");
    let preview = world.admin.dry_run(&["provision", "disable", "web1"]);
    assert!(preview.contains("take the keys away: dora"), "{preview}");
    world.admin.run(&["provision", "disable", "web1", "--yes"]);
    until("the machine to be forgotten", || status(&world, "web1").is_null().then_some(()));
    assert!(!machine.path("/etc/ssh/kbmfa/keys/dora").exists());
    is_refused(&machine);
    assert_eq!(world.admin.count(["delivery.enabled", "delivery.disabled", "delivery.ended"]), [1, 1, 1]);
}
