//! Machines that lie, hang or talk without end, and users who set traps: they harm nobody else, and not the server.

use kbmfa_tests::delivery::{
    self, HELPER, KEYS, REVOKED, Sudo, deliver, dora, gets_in, is_refused, run_now, sh, status, until_row,
    until_state,
};
use kbmfa_tests::files::put;
use kbmfa_tests::machine::Machine;
use kbmfa_tests::process::{brief, run};
use kbmfa_tests::recipe::FREE;
use kbmfa_tests::settings::is_thorough;
use kbmfa_tests::tap::{Loiterer, Tap};
use kbmfa_tests::wait::{timed, until};
use kbmfa_tests::world::World;
use std::time::Duration;

/// Longest time to a confirmed revocation on a machine that answers, while others hang: a turn of 5 s and a pass.
const SOON: Duration = Duration::from_secs(15);

/// Longest time of a pass over a machine that answers, whatever it answers.
const ANSWERED: Duration = Duration::from_secs(25);

/// Longest time until a pass over a machine that says nothing has failed: 30 s of silence.
const AFTER_SILENCE: Duration = Duration::from_secs(60);

/// Longest time until a pass has ended, whatever the machine does: 120 s.
const AFTER_A_PASS: Duration = Duration::from_secs(180);

/// The bytes that a client has sent encrypted, after its `SSH_MSG_NEWKEYS`.
fn encrypted(sent: &[u8]) -> usize {
    let mut at = sent.windows(2).position(|pair| pair == b"\r\n").expect("a banner") + 2;
    loop {
        let Some(head) = sent.get(at..at + 6) else { return 0 };
        let length = u32::from_be_bytes(head[..4].try_into().unwrap());
        at += 4 + usize::try_from(length).unwrap();
        if head[5] == 21 {
            return sent.len().saturating_sub(at);
        }
    }
}

#[test]
fn a_machine_that_shows_another_host_key_is_sent_nothing_of_a_login() {
    let world = World::new();
    let lines = format!("LogLevel DEBUG2\n{KEYS}");
    let machine = delivery::machine(&world, Sudo::WithPassword, &lines);
    let tap = Tap::to(machine.port.number);
    world.admin.run(&["machine", "set", "web1", "--port", &tap.port().to_string()]);
    dora(&world, &[&machine]);
    sh(&machine, "echo 'ssh-admin:correct horse' | chpasswd");
    world.admin.run(&["provision", "enable", "web1", "--keys", "system"]);
    until_state(&world, "web1", "failing");
    let file = world.dir().join("password");
    put(&file, 0o600, "correct horse\n");
    world.admin.run(&["provision", "sudo-password", "web1", "--file", file.to_str().unwrap()]);
    run_now(&world, "web1").unwrap();
    // What a whole pass sends, and the request for a login in sshd's log: this would be seen.
    let right = tap.take_sent();
    assert!(right.iter().all(|sent| encrypted(sent) > 1000), "{right:?}");
    assert!(machine.sshd_log().contains("userauth-request for user ssh-admin"));

    let key = "/etc/ssh/ssh_host_ed25519_key";
    sh(&machine, &format!("rm {key} {key}.pub; ssh-keygen -q -t ed25519 -N '' -f {key}"));
    let before = machine.sshd_log().len();
    run_now(&world, "web1").unwrap_err();
    assert_eq!(status(&world, "web1")["failure"], "host-key");
    let sent = tap.take_sent();
    // No more than the name of the service that every client asks for before it says who it is.
    assert!(!sent.is_empty() && sent.iter().all(|sent| encrypted(sent) <= 128), "{sent:?}");
    let log = machine.sshd_log()[before..].to_owned();
    assert!(log.contains("SSH2_MSG_NEWKEYS received") && !log.contains("userauth-request"), "{log}");
}

/// The program that the machine runs in the place of the helper: the real one, and what is done to its output.
fn forged(filter: &str) -> String {
    format!("sh /root/real | sed -u '{filter}'")
}

#[test]
fn whatever_a_machine_answers_is_a_named_failure_that_shows_no_control_character() {
    let world = World::new();
    let machine = delivery::machine(&world, Sudo::HelperOnly, KEYS);
    sh(&machine, &format!("cp {HELPER} /root/real"));
    dora(&world, &[&machine]);
    world.admin.run(&["provision", "enable", "web1", "--keys", "system", "--by-helper"]);
    until_state(&world, "web1", "confirmed");
    let hash = "0".repeat(64);
    let root = format!("account root 0 0 L3Jvb3Q= L2Jpbi9zaA== 0 - 1\\nkeys root {hash}");
    let cases = [
        ("yes".to_owned(), "sudo"),
        ("cat /dev/zero".to_owned(), "sudo"),
        (r"printf '\033[2J\033]0;owned\007\n'; exit 3".to_owned(), "sudo"),
        (r"printf 'failed \033[2J\n'; exit 3".to_owned(), "script"),
        ("echo ready 1; read x; exec yes".to_owned(), "script"),
        ("echo ready 1; read x; exec cat /dev/zero".to_owned(), "script"),
        (r"echo ready 1; read x; printf 'failed \033[31m\007\r\n'".to_owned(), "script"),
        ("echo ready 1; read x; exit 0".to_owned(), "unreachable"),
        ("echo ready 1; read x; echo end apply; echo end look".to_owned(), "script"),
        ("echo ready 1; read x; echo end look".to_owned(), "host-key"),
        (forged(r"s/^account dora.*/account dora -1 0 \x1b[31m/"), "script"),
        (forged("s/^host [0-9a-f]*/host 0123456789abcdef0123456789abcdef/"), "host-key"),
        (forged(r"s/^host \([0-9a-f]*\) \([0-9a-f]*\) .*/host \1 \2 999 999/"), "generation"),
        (forged(r"s/^host \([0-9a-f]*\) \([0-9a-f]*\) .*/host \1 abcd 1 1/"), "generation"),
        (forged(r"s/^host \([0-9a-f]*\) \([0-9a-f]*\) .*/host \1 \2 99999999999999999999 1/"), "generation"),
        // It says that steps were done which were not, and more of them than there were.
        (forged(r"s/^keys dora .*/keys dora -/; s/^step 1 .*/step 1 changed/"), "script"),
        (forged("s/^keys dora .*/keys dora -/; s/^step 1 .*/step 2 changed/"), "script"),
    ];
    for (program, kind) in cases {
        put(&machine.path(HELPER), 0o755, format!("#!/bin/sh\n{program}\n"));
        let (refused, took) = timed(|| run_now(&world, "web1"));
        let refused = refused.expect_err(&program);
        assert!(took < ANSWERED, "{program}: {took:?}");
        let row = status(&world, "web1");
        assert_eq!(row["failure"], kind, "{program}: {row}");
        let shown = world.admin.run(&["provision", "status"]) + &refused + &world.server.log();
        let control = shown.chars().find(|one| one.is_control() && *one != '\n');
        assert_eq!(control, None, "{program}: {shown:?}");
    }
    // It says that root is one of our accounts. The machine's own program refuses to touch root.
    let program = forged(&format!("/^end look/i {root}"));
    put(&machine.path(HELPER), 0o755, format!("#!/bin/sh\n{program}\n"));
    run_now(&world, "web1").unwrap();
    let row = status(&world, "web1");
    assert!(row["state"] == "hindered" && row["left"].to_string().contains("not-ours"), "{row}");
    let entry = machine.exec(&["getent", "shadow", "root"]);
    assert!(entry.starts_with("root:*:20000:"), "{entry}");
    // Whoever it was: when the right program is back, so is the machine.
    sh(&machine, &format!("cp /root/real {HELPER}"));
    run_now(&world, "web1").unwrap();
    until_state(&world, "web1", "confirmed");
    gets_in(&machine);
    world.admin.audit_verify();
}

#[test]
fn machines_that_hang_or_dribble_hold_up_no_revocation_elsewhere() {
    let world = World::with(&[("provision", "workers", "2")]);
    let machine = delivery::machine(&world, Sudo::Free, KEYS);
    let hanging = delivery::machine(&world, Sudo::HelperOnly, KEYS);
    put(&hanging.path(HELPER), 0o755, "#!/bin/sh\necho ready 1\nexec sleep 1000\n");
    let key = dora(&world, &[&machine]);
    deliver(&world, &[&machine], "system");
    // More of them than machines that are worked on at once.
    let dribbling = [Loiterer::dribbling("SSH-2.0-x"), Loiterer::dribbling("hello\r\n")];
    let (pouring, silent) = (Loiterer::pouring("hello\r\n"), Loiterer::silent());
    let loiterers = [&dribbling[0], &dribbling[1], &pouring, &silent];
    for (number, loiterer) in loiterers.iter().enumerate() {
        let (name, port) = (format!("slow{number}"), loiterer.port().to_string());
        let pin = format!("SHA256:{}{}", "A".repeat(41), ["A0", "B0", "C0", "D0"][number].replace('0', "A"));
        world.admin.run(&[
            "machine",
            "add",
            &name,
            "--address",
            "127.0.0.1",
            "--port",
            &port,
            "--host-key",
            &pin,
        ]);
        world.admin.run(&["provision", "enable", &name, "--keys", "system"]);
    }
    world.admin.run(&["provision", "enable", "web2", "--keys", "system", "--by-helper"]);
    until("somebody to hang", || (dribbling.iter().all(|one| one.met() > 0)).then_some(()));
    world.admin.run(&["key", "revoke", &key, "--lost", "--yes"]);
    until_row(&world, "web1", SOON, "confirmed", |row| row["state"] == "confirmed");
    is_refused(&machine);
    // Each is told by itself, and the loop goes on.
    for name in ["slow3", "web2"] {
        until_row(&world, name, AFTER_SILENCE, "unreachable", |row| row["failure"] == "unreachable");
    }
    for name in ["slow0", "slow1", "slow2"].into_iter().filter(|_| is_thorough()) {
        until_row(&world, name, AFTER_A_PASS, "unreachable", |row| row["failure"] == "unreachable");
    }
}

/// Makes a key with this comment in a file of this name. Returns the path of its public half.
fn new_key(world: &World, name: &str, comment: &str) -> String {
    let path = world.dir().join(name);
    run(brief("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", comment, "-f"]).arg(&path));
    path.with_extension("pub").display().to_string()
}

/// Lines of shell that swap dora's `.ssh`, and what is in it, for links to what only root may read and write.
const RACER: &str = "cd; while :; do
  rm -rf .ssh; ln -s /etc/trap .ssh; rm -f .ssh
  mkdir -m 700 .ssh; ln -s /etc/trap/authorized_keys .ssh/authorized_keys; rm -rf .ssh
  ln -s /root/.ssh .ssh; rm -f .ssh; mkdir -m 700 .ssh; mv .ssh .away; ln -s . .ssh; rm -f .ssh; mv .away .ssh
  ln -s /etc/shadow .ssh/authorized_keys; rm -f .ssh/authorized_keys; ln .kept .ssh/authorized_keys; rm -rf .ssh
done";

#[test]
fn a_user_who_swaps_links_in_a_home_during_passes_reaches_no_file_of_roots() {
    let world = World::new();
    let machine = delivery::machine(&world, Sudo::Free, "");
    dora(&world, &[&machine]);
    deliver(&world, &[&machine], "home");
    let traps = "for d in /etc/trap /root/.ssh; do mkdir -p $d; echo secret >$d/authorized_keys; chmod 600 $d/authorized_keys; \
                 touch -d '2020-01-01' $d/authorized_keys $d; done";
    sh(&machine, traps);
    let seen = || {
        sh(
            &machine,
            "for d in /etc/trap /root/.ssh; do stat -c '%n %i %U %a %Y' $d $d/*; ls -a $d; cat $d/*; done; \
             stat -c '%i %U %a' /etc/shadow; find /home/dora ! -user dora",
        )
    };
    let before = seen();
    let racer = machine.ssh("dora", &[&format!("touch .kept; echo racing; {RACER}")]);
    until("the race", || racer.stdout().contains("racing").then_some(()));
    let rounds = if is_thorough() { 200 } else { 12 };
    for _ in 0..rounds {
        // It may succeed or fail, as the race goes. What counts is what it touches.
        let _ = run_now(&world, "web1");
    }
    assert_eq!(seen(), before);
    let shown = status(&world, "web1").to_string();
    assert!(!shown.contains("secret"), "{shown}");
    racer.kill();
    sh(&machine, "pkill -KILL -u dora; sleep 0.2; rm -rf /home/dora/.ssh /home/dora/.away");
    run_now(&world, "web1").unwrap();
    gets_in(&machine);
}

#[test]
fn what_stands_in_the_place_of_a_file_is_named_or_replaced_and_nothing_waits_for_it() {
    let world = World::new();
    let homes = delivery::machine(&world, Sudo::Free, "");
    let system = delivery::machine(&world, Sudo::Free, KEYS);
    dora(&world, &[&homes, &system]);
    deliver(&world, &[&homes], "home");
    deliver(&world, &[&system], "system");
    let prepared = |machine: &Machine, name: &str, lines: &str| {
        sh(machine, &format!("cd /home/dora; rm -rf .ssh; {lines}; chown -hR dora: .ssh"));
        let (ran, took) = timed(|| run_now(&world, name));
        assert!(took < ANSWERED, "{lines}: {took:?}");
        ran
    };
    for lines in [
        "mkdir .ssh; mkfifo .ssh/authorized_keys",
        "mkdir -p .ssh/authorized_keys",
        "mkdir .ssh; ln -s /dev/zero .ssh/authorized_keys",
        "mkdir .ssh; ln -s nowhere .ssh/authorized_keys",
        "mkdir .ssh; echo x >.ssh/authorized_keys; chmod 0 .ssh/authorized_keys",
        "ln -s /root .ssh",
        "ln -s nowhere .ssh",
    ] {
        prepared(&homes, "web1", lines).expect(lines);
        let left = status(&world, "web1")["left"].to_string();
        assert!(left.contains("is a link or no file"), "{lines}: {left}");
    }
    // A long line of somebody else's is kept.
    let long = "mkdir .ssh; { printf 'ssh-rsa '; head -c 50000 /dev/zero | tr '\\0' A; echo; } >.ssh/authorized_keys";
    prepared(&homes, "web1", long).unwrap();
    gets_in(&homes);
    assert_eq!(sh(&homes, "head -n1 /home/dora/.ssh/authorized_keys | wc -c").trim(), "50009");

    let keys = "/etc/ssh/kbmfa/keys/dora";
    for lines in [format!("rm {keys}; mkfifo {keys}"), format!("rm {keys}; ln -s /etc/shadow {keys}")] {
        let before = sh(&system, &format!("{lines}; sha256sum /etc/shadow"));
        run_now(&world, "web2").unwrap();
        assert_eq!(sh(&system, "sha256sum /etc/shadow"), before);
        gets_in(&system);
    }
    sh(&system, &format!("rm {keys}; mkdir {keys}"));
    run_now(&world, "web2").unwrap_err();
    let row = status(&world, "web2");
    assert!(row["detail"].to_string().contains("could not write the keys of dora"), "{row}");
    sh(&system, &format!("rmdir {keys}"));
    run_now(&world, "web2").unwrap();
    gets_in(&system);
}

#[test]
fn on_a_full_disk_or_a_read_only_one_no_file_is_lost_and_a_key_is_still_taken_away() {
    let world = World::new();
    let machine = delivery::machine(&world, Sudo::Free, &format!("{KEYS}{REVOKED}"));
    let place = "/etc/ssh/kbmfa";
    sh(
        &machine,
        &format!("mount -t tmpfs -o mode=755,size=64k x {place}; mkdir {place}/keys; : >{place}/revoked"),
    );
    let key = dora(&world, &[&machine]);
    deliver(&world, &[&machine], "system");
    for (device, spoil, repair) in [
        ("second", format!("cat /dev/zero >{place}/filler || true"), format!("rm {place}/filler")),
        ("third", format!("mount -o remount,ro {place}"), format!("mount -o remount,rw {place}")),
    ] {
        sh(&machine, &spoil);
        let before = sh(&machine, &format!("cat {place}/keys/dora"));
        let public = new_key(&world, device, "");
        world.admin.run(&["key", "add", "dora@example.com", &public, "--device", device]);
        let row = until_row(&world, "web1", SOON, "failing", |row| row["failure"] == "disk");
        assert!(row["fix"].as_str().unwrap().contains("free space"), "{row}");
        assert_eq!(sh(&machine, &format!("cat {place}/keys/dora")), before);
        gets_in(&machine);
        sh(&machine, &repair);
        run_now(&world, "web1").unwrap();
        assert_ne!(sh(&machine, &format!("cat {place}/keys/dora")), before);
    }
    // A full disk keeps no revoked key.
    sh(&machine, &format!("cat /dev/zero >{place}/filler || true"));
    world.admin.run(&["key", "revoke", &key, "--lost", "--yes"]);
    until("the key to be gone", || (!machine.path(&format!("{place}/keys/dora")).exists()).then_some(()));
    is_refused(&machine);
    assert_eq!(
        until_row(&world, "web1", SOON, "failing", |row| row["failure"] == "disk")["state"],
        "failing"
    );
    sh(&machine, &format!("rm {place}/filler"));
    run_now(&world, "web1").unwrap();
    assert!(!sh(&machine, &format!("cat {place}/revoked")).is_empty());
}

#[test]
fn a_lost_key_that_its_owner_kept_twice_opens_nothing_and_no_comment_is_ever_run() {
    let world = World::new();
    let lines = format!("{KEYS}{REVOKED}");
    let builder = world.machine().pam_stack(FREE).sshd_lines(&lines);
    let machine = delivery::machine_from(&world, builder, Sudo::Free);
    let key = dora(&world, &[&machine]);
    // A comment with everything that a shell or a file of keys could take for its own.
    let comment = "$(touch /pwned) `touch /pwned`;touch /pwned' \" \\ # ,command=\"x\" %0a";
    let public = new_key(&world, "second", comment);
    world.admin.run(&["key", "add", "dora@example.com", &public, "--device", "$(touch /pwned)"]);
    deliver(&world, &[&machine], "system");
    let keys = sh(&machine, "cat /etc/ssh/kbmfa/keys/dora");
    assert_eq!(keys.matches("ssh-ed25519 ").count(), 2, "{keys}");
    assert!(!keys.contains("pwned") && !keys.contains("command"), "{keys}");
    assert!(!machine.path("/pwned").exists() && !std::path::Path::new("/pwned").exists());
    // The owner has copies of the key in a file of their own, twice.
    let own = "d=/home/dora/.ssh; mkdir -m 700 $d; grep -h ssh- /etc/ssh/kbmfa/keys/dora >$d/authorized_keys; \
               cat $d/authorized_keys $d/authorized_keys >$d/x; mv $d/x $d/authorized_keys; chown -R dora: $d";
    sh(&machine, own);
    world.admin.run(&["key", "revoke", &key, "--lost", "--yes"]);
    until_state(&world, "web1", "confirmed");
    is_refused(&machine);
    let other =
        machine.ssh_with("dora", &["-i", public.strip_suffix(".pub").unwrap()], &["id", "-un"]).wait();
    assert_eq!(other.stdout, "dora\n", "{other:?}");
}
