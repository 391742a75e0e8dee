//! What goes wrong on a machine or at the server, and what is done and told then.

use kbmfa_tests::delivery::{
    self, HELPER, KEYS, Sudo, deliver, dora, gets_in, is_refused, sh, status, until_row, until_state,
};
use kbmfa_tests::files::put;
use kbmfa_tests::machine::Machine;
use kbmfa_tests::wait::PATIENCE;
use kbmfa_tests::world::World;
use serde_json::Value;

/// A second key of dora's, made on the machine; returns its fingerprint and its line.
fn second_key(world: &World, machine: &Machine) -> (String, String) {
    let line = sh(machine, "ssh-keygen -q -t ed25519 -N '' -C '' -f /root/second; cat /root/second.pub");
    let line = line.trim().to_owned();
    let file = world.server.config.with_file_name("second.pub");
    put(&file, 0o644, format!("{line}\n"));
    let file = file.display().to_string();
    let added = world.admin.json(&["key", "add", "dora@example.com", &file, "--device", "desktop"]);
    (added["fingerprint"].as_str().unwrap().to_owned(), line)
}

fn left_of(row: &Value) -> String {
    row["left"].to_string()
}

/// Begins a conversation that hangs, waits until it holds the lock, and shows that the next one gets the machine.
const HANGING: &str = r#"
cd /root
mkfifo silent full
exec 5<>silent 6<>full
for shell in dash bash; do
  rm -f said
  case $1 in
    silent) $shell program <&5 >said & ;;
    unread) dd if=/dev/zero of=full bs=4096 count=64 oflag=nonblock 2>/dev/null || :
            $shell program <&5 >&6 & ;;
    waiting) { exec 7>/run/kbmfa-provision.lock && flock 7 && exec sleep 600; } & holder=$!
            $shell program <&5 >said & ;;
  esac
  first=$!
  sleep 1
  # The first one's own end, which its caller waits for.
  timeout 15 tail --pid=$first -f /dev/null
  [ "$1" != waiting ] || { kill $holder; wait $holder || :; }
  echo bye | timeout 15 $shell program
  ls -d /run/kbmfa.* 2>/dev/null || :
  # What was killed just now may be there for a moment.
  for moment in 1 2 3 4 5 6 7 8 9 10; do
    left=$(grep -slzx "progra[m]" /proc/[0-9]*/cmdline)
    [ -n "$left" ] || break
    sleep 0.5
  done
  [ -z "$left" ] || echo "left: $left"
done
"#;

#[test]
fn a_server_that_hangs_holds_a_machine_no_longer_than_the_bound() {
    let world = World::new();
    let machine = delivery::machine(&world, Sudo::Free, KEYS);
    let program = sh(&machine, &format!("cat {HELPER}"));
    let bounded = program.replace("\nlongest=100\n", "\nlongest=3\n");
    assert_ne!(bounded, program);
    put(&machine.path("/root/program"), 0o755, bounded);
    for way in ["silent", "unread", "waiting"] {
        sh(&machine, "rm -f /root/silent /root/full");
        let said = machine.exec(&["bash", "-c", HANGING, "bash", way]);
        assert_eq!(said, "ready 1\nbye\n".repeat(2), "{way}");
    }
}

#[test]
fn a_full_disk_keeps_no_revoked_key() {
    let world = World::new();
    let machine = delivery::machine(&world, Sudo::Free, KEYS);
    let first = dora(&world, &[&machine]);
    let (_, second) = second_key(&world, &machine);
    sh(&machine, "mount -t tmpfs -o size=32k,mode=755 small /etc/ssh/kbmfa/keys");
    deliver(&world, &[&machine], "system");
    gets_in(&machine);
    sh(&machine, "cat /dev/zero >/etc/ssh/kbmfa/keys/full 2>/dev/null || :");
    world.admin.run(&["key", "revoke", &first, "--lost", "--yes"]);
    let row = until_row(&world, "web1", PATIENCE, "told", |row| row["failure"] == "disk");
    assert!(row["detail"].as_str().unwrap().contains("the whole key file was removed"), "{row}");
    assert!(!machine.path("/etc/ssh/kbmfa/keys/dora").exists());
    is_refused(&machine);

    sh(&machine, "rm /etc/ssh/kbmfa/keys/full");
    until_state(&world, "web1", "confirmed");
    let keys = sh(&machine, "cat /etc/ssh/kbmfa/keys/dora");
    assert!(keys.contains(&second) && keys.lines().count() == 2, "{keys}");
}

#[test]
fn a_home_without_room_keeps_no_revoked_key_and_what_else_was_in_the_file() {
    let world = World::new();
    let machine = delivery::machine(&world, Sudo::Free, "");
    let first = dora(&world, &[&machine]);
    let (_, second) = second_key(&world, &machine);
    deliver(&world, &[&machine], "home");
    sh(
        &machine,
        "mount -t tmpfs -o size=32k,mode=755,uid=$(id -u dora),gid=$(id -g dora) small /home/dora
         rm -f /root/second",
    );
    world.admin.run(&["provision", "run", "web1"]);
    gets_in(&machine);
    sh(
        &machine,
        "echo '# my own line' >>/home/dora/.ssh/authorized_keys; cat /dev/zero >/home/dora/full || :",
    );
    world.admin.run(&["key", "revoke", &first, "--lost", "--yes"]);
    let row = until_row(&world, "web1", PATIENCE, "told", |row| left_of(row).contains("set-aside"));
    // One user's disk fails nobody else.
    assert_eq!(row["failure"], Value::Null, "{row}");
    is_refused(&machine);
    assert!(sh(&machine, "cat /home/dora/.ssh/authorized_keys.kbmfa").contains("# my own line"));
    sh(&machine, "rm /home/dora/full");
    world.admin.run(&["provision", "run", "web1"]);
    assert!(sh(&machine, "cat /home/dora/.ssh/authorized_keys").contains(&second));
    assert_eq!(status(&world, "web1")["state"], "confirmed");
}

#[test]
fn a_revoked_key_in_a_home_is_taken_out_wherever_it_stands_or_counts_as_not_confirmed() {
    let world = World::new();
    let machine = delivery::machine(&world, Sudo::Free, "");
    let first = dora(&world, &[&machine]);
    let (fingerprint, second) = second_key(&world, &machine);
    deliver(&world, &[&machine], "home");
    let file = "/home/dora/.ssh/authorized_keys";
    sh(&machine, &format!("printf '# my own\\nrestrict,pty {second} again\\n' >>{file}"));
    world.admin.run(&["key", "revoke", &fingerprint, "--lost", "--yes"]);
    until_state(&world, "web1", "confirmed");
    let keys = sh(&machine, &format!("cat {file}"));
    assert!(keys.ends_with("# my own\n") && !keys.contains(&second), "{keys}");
    gets_in(&machine);

    // Where the file is not read, the key may be there still.
    for (way, told) in [
        ("mv FILE /home/dora/mine; ln -s /home/dora/mine FILE", "is a link or no file"),
        ("rm FILE; mv /home/dora/mine FILE; head -c 262145 /dev/zero >>FILE", "is too large"),
    ] {
        sh(&machine, &way.replace("FILE", file));
        if told.contains("link") {
            world.admin.run(&["key", "revoke", &first, "--lost", "--yes"]);
        } else {
            world.admin.run(&["provision", "run", "web1"]);
        }
        let row = until_row(&world, "web1", PATIENCE, told, |row| left_of(row).contains(told));
        assert_eq!((&row["state"], &row["failure"]), (&"hindered".into(), &Value::Null), "{row}");
        assert_eq!(row["revocation_unconfirmed"], true, "{row}");
    }
    sh(&machine, &format!("sed -i 's/\\x00//g' {file}"));
    world.admin.run(&["provision", "run", "web1"]);
    assert_eq!(status(&world, "web1")["state"], "confirmed");
    is_refused(&machine);
}

#[test]
fn a_sudo_profile_that_the_machine_allows_no_longer_or_by_a_file_open_to_others_is_taken_away() {
    let profiles = r#"[{ name = "ops", rules = ["ALL=(ALL) NOPASSWD: /bin/true"] }]"#;
    let world = World::with(&[("provision", "sudo", profiles)]);
    let machine = delivery::machine(&world, Sudo::Free, KEYS);
    dora(&world, &[&machine]);
    world.admin.run(&["grant", "remove", "dora@example.com", "web", "--yes"]);
    world.admin.run(&["grant", "add", "dora@example.com", "web", "--sudo", "ops"]);
    sh(
        &machine,
        "mkdir -p -m 755 /etc/sudoers.d; printf 'ALL=(ALL) NOPASSWD: /bin/true\\n' | sha256sum | sed 's/^/sudo ops /; s/ *-$//' >/etc/ssh/kbmfa/policy",
    );
    deliver(&world, &[&machine], "system");
    let file = machine.path("/etc/sudoers.d/kbmfa+dora+ops");
    assert!(file.exists(), "{}", status(&world, "web1"));
    for (change, allows) in [("chmod 666", false), ("chmod 644", true), (": >", false)] {
        sh(&machine, &format!("{change} /etc/ssh/kbmfa/policy"));
        world.admin.run(&["provision", "run", "web1"]);
        assert_eq!(file.exists(), allows, "{change}");
    }
    let row = status(&world, "web1");
    assert!(row["state"] == "confirmed" && left_of(&row).contains("does not allow it"), "{row}");
    gets_in(&machine);
}
