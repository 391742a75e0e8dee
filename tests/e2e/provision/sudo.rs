//! How the server becomes root on a machine.

use kbmfa_tests::delivery::{self, HELPER, KEYS, SIGNERS, Sudo, dora, gets_in, sh, status, until_state};
use kbmfa_tests::files::put;
use kbmfa_tests::login::Finished;
use kbmfa_tests::machine::Machine;
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

/// A thief of the server's key runs a command as ssh-admin.
fn stolen(world: &World, machine: &Machine, command: &str) -> Finished {
    let key = world.server.state_dir.join("ssh_admin_key").display().to_string();
    machine.ssh_with("ssh-admin", &["-i", &key], &[command]).wait()
}

#[test]
fn with_the_helper_alone_a_stolen_key_runs_nothing_else_and_reaches_no_account_that_is_not_ours() {
    let world = World::new();
    let machine = delivery::machine(&world, Sudo::HelperOnly, KEYS);
    dora(&world, &[&machine]);
    world.admin.run(&["provision", "enable", "web1", "--keys", "system"]);
    assert_eq!(until_state(&world, "web1", "failing")["failure"], "sudo");
    world.admin.run(&["provision", "disable", "web1", "--keep", "--yes"]);
    world.admin.run(&["provision", "enable", "web1", "--keys", "system", "--by-helper"]);
    until_state(&world, "web1", "confirmed");
    gets_in(&machine);

    let helper = HELPER;
    let can = stolen(&world, &machine, &format!("echo bye | sudo -n {helper}"));
    assert!(can.stdout.contains("ready 1") && can.code == 0, "{can:?}");
    let others = [
        "sudo -n id".to_owned(),
        "sudo -n sh -c id".to_owned(),
        "sudo -n -s".to_owned(),
        "sudo -n -u alice id".to_owned(),
        format!("sudo -n {helper} look"),
        format!("sudo -n {helper} ''"),
        format!("sudo -n -u alice {helper}"),
        format!("sudo -n LD_PRELOAD=/tmp/x.so {helper} </dev/null"),
        format!("ln -s {helper} /tmp/h; sudo -n sh {helper}"),
        "sudoedit -n /etc/shadow".to_owned(),
    ];
    for command in &others {
        let refused = stolen(&world, &machine, command);
        assert!(refused.code != 0 && refused.stdout.is_empty(), "{command}: {refused:?}");
    }

    // The helper finds its programs by itself.
    let trap = "for p in mktemp head sha256sum flock; do printf '#!/bin/sh\\ntouch /pwned\\n' >/tmp/$p; chmod 755 /tmp/$p; done";
    let tricked = stolen(&world, &machine, &format!("{trap}; echo bye | sudo -n PATH=/tmp {helper}"));
    assert!(!machine.path("/pwned").exists(), "{tricked:?}");

    // What the helper is asked by hand, where it does not even ask for a signature: it does nothing to accounts that
    // are not ours, and nothing to system accounts.
    let seen = || {
        let files =
            "find /etc/sudoers.d /etc/ssh/kbmfa/keys /root -maxdepth 1 | sort; cat /etc/ssh/kbmfa/keys/*";
        sh(&machine, &format!("mkdir -p /etc/sudoers.d; cat /etc/passwd /etc/shadow /etc/group; {files}"))
    };
    let before = seen();
    let line = sh(&machine, "base64 -w0 /home/ssh-admin/.ssh/authorized_keys");
    let steps = [
        (format!("keys alice {line}"), "not-ours"),
        (format!("keys root {line}"), "not-ours"),
        (format!("keys ../../x {line}"), "malformed"),
        (format!("home alice - {line}"), "not-ours"),
        ("create mallory 0 /bin/sh".to_owned(), "malformed"),
        ("create mallory 0999 /bin/sh".to_owned(), "malformed"),
        ("create sudo 3000 /bin/sh".to_owned(), "group"),
        ("disable root".to_owned(), "not-ours"),
        ("disable ssh-admin".to_owned(), "not-ours"),
        ("enable alice /bin/sh".to_owned(), "not-ours"),
        ("sudo dora all QUxMPShBTEwpIE5PUEFTU1dEOiBBTEwK".to_owned(), "forbidden"),
        ("$(id) `id` ;id".to_owned(), "unknown"),
    ];
    sh(&machine, &format!("groupadd sudo; rm {SIGNERS}"));
    let steps: (Vec<_>, Vec<_>) = steps.into_iter().unzip();
    let request = steps.0.join("\n");
    let ask = format!(
        "body=$(mktemp); read -r i e c </etc/ssh/kbmfa/state; {{ echo \"for $i $e $((c + 1)) $(cat /etc/machine-id) $(($(date +%s) + 300))\"; echo 'admin ssh-admin'; cat; }} >$body <<'E'\n{request}\nE\n\
         {{ echo \"apply $(stat -c %s $body) $(sha256sum <$body | cut -d' ' -f1)\"; cat $body; echo bye; }} | sudo -n {helper}"
    );
    let told = stolen(&world, &machine, &ask);
    let results: Vec<_> = told.stdout.lines().filter(|line| line.starts_with("step ")).collect();
    assert_eq!(results.len(), steps.1.len(), "{told:?}");
    for (result, why) in results.iter().zip(steps.1) {
        assert!(result.contains(&format!(" failed {why}")), "{result}, not {why}");
    }
    sh(&machine, "groupdel sudo");
    assert_eq!(seen(), before);
}
