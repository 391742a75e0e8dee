//! One command sets a machine up: a real sshd, a real sudo and a real account, from nothing.

mod broken;
mod interrupted;
mod many;

use kbmfa_tests::builder::MachineBuilder;
use kbmfa_tests::delivery::{dora, gets_in, sh, status, until_state};
use kbmfa_tests::files::put;
use kbmfa_tests::machine::Machine;
use kbmfa_tests::process::{program, run};
use kbmfa_tests::wait::until;
use kbmfa_tests::world::World;
use serde_json::Value;
use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

const STACK: &str = "auth required pam_unix.so\naccount required pam_unix.so\nsession required pam_unix.so\n";
const SUDO_STACK: &str =
    "auth required pam_unix.so\naccount required pam_unix.so\nsession required pam_permit.so\n";
const INCLUDE: &str = "Include /etc/ssh/sshd_config.d/*.conf\n";
const DROP_IN: &str = "/etc/ssh/sshd_config.d/00-kbmfa-keys.conf";

/// A machine of which the server knows nothing: root with the test's key, and sudo. Nothing can be executed in its /tmp.
fn fresh(name: &str, sshd_lines: &str) -> Machine {
    let lines =
        format!("{sshd_lines}PermitRootLogin yes\nPasswordAuthentication yes\nAuthenticationMethods any\n");
    let ready = "umask 022; mount -o remount,noexec /tmp; mkdir -p /etc/ssh/sshd_config.d /etc/sudoers.d; \
                 rm -f /etc/machine-id /etc/ssh/sshd_config.d/*; \
                 cat /proc/sys/kernel/random/uuid | tr -d - >/etc/machine-id";
    let machine = MachineBuilder::new(name).pam_stack(STACK).sudo("").sshd_lines(&lines);
    let machine = machine.before_sshd(ready).start();
    put(&machine.path("/etc/pam.d/sudo"), 0o644, SUDO_STACK);
    put(&machine.path("/etc/sudoers"), 0o440, "bob ALL=(ALL) ALL\n@includedir /etc/sudoers.d\n");
    sh(&machine, "install -d -m 700 /root/.ssh");
    let key = fs::read(machine.local_file("id_ed25519.pub")).unwrap();
    put(&machine.path("/root/.ssh/authorized_keys"), 0o600, key);
    machine
}

fn fingerprint(machine: &Machine) -> String {
    let shown = machine.exec(&["ssh-keygen", "-l", "-f", "/etc/ssh/ssh_host_ed25519_key.pub"]);
    shown.split(' ').nth(1).unwrap().to_owned()
}

/// The words of the verb, with where the machine is and its host key.
fn words(machine: &Machine, more: &[&str]) -> Vec<String> {
    let (port, key) = (machine.port.number.to_string(), fingerprint(machine));
    let place = ["--address", "127.0.0.1", "--port", &port, "--host-key", &key];
    let words = ["machine", "bootstrap", "fresh"].into_iter().chain(place).chain(more.iter().copied());
    words.map(str::to_owned).collect()
}

/// The same from root's key.
fn from_key(machine: &Machine, more: &[&str]) -> Vec<String> {
    let identity = machine.local_file("id_ed25519").display().to_string();
    words(machine, &[&["--identity", &identity][..], more].concat())
}

/// Runs the verb with this standard input: its exit code, and all that it printed.
fn bootstrap(world: &World, words: &[String], input: &str) -> (Option<i32>, String) {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    ended(world.admin.verb(&words), input)
}

fn ended(mut command: Command, input: &str) -> (Option<i32>, String) {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

/// Runs the verb, which must succeed.
fn set_up(world: &World, words: &[String], input: &str) -> String {
    let (code, printed) = bootstrap(world, words, input);
    assert_eq!(code, Some(0), "{printed}");
    printed
}

/// dora gets an account and a key, and gets in.
fn delivers(world: &World, machine: &Machine) {
    dora(world, &[machine]);
    until_state(world, "fresh", "confirmed");
    gets_in(machine);
    let checked = world.admin.run(&["machine", "check", "fresh"]);
    assert!(checked.contains("fresh: as it should be") && !checked.contains("FAIL"), "{checked}");
}

#[test]
fn one_command_sets_a_machine_up_and_a_dry_run_shows_all_of_it_and_a_second_run_changes_nothing() {
    let world = World::new();
    let machine = fresh("fresh", INCLUDE);
    let (code, dry) = bootstrap(&world, &from_key(&machine, &["--dry-run"]), "");
    assert_eq!(code, Some(2), "{dry}");
    assert!(!machine.path("/etc/ssh/kbmfa").exists() && !machine.path(DROP_IN).exists(), "{dry}");
    assert!(world.admin.json(&["machine", "list"]).as_array().unwrap().is_empty(), "a dry run adds nothing");
    for text in [
        "RevokedKeys /etc/ssh/kbmfa/revoked",
        "AuthorizedKeysFile /etc/ssh/kbmfa/keys/%u .ssh/authorized_keys",
        "ssh-admin ALL=(root) NOPASSWD: /usr/local/libexec/kbmfa-helper \"\"",
        "restrict ssh-ed25519",
        "kbmfa-roster",
    ] {
        assert!(dry.contains(text), "{text} is not in\n{dry}");
    }

    let printed = set_up(&world, &from_key(&machine, &["--yes", "--only-from", "127.0.0.1"]), "");
    for step in dry.lines().filter_map(|line| line.trim_start().split_once(". ")) {
        assert!(printed.contains(step.1.trim_end_matches(':')), "{} is not in\n{printed}", step.1);
    }
    let key = machine.exec(&["cat", "/etc/ssh/kbmfa/keys/ssh-admin"]);
    assert!(key.starts_with("from=\"127.0.0.1\",restrict ssh-ed25519 "), "{key}");
    assert_eq!(machine.exec(&["getent", "shadow", "ssh-admin"]).split(':').nth(1), Some("*"));
    delivers(&world, &machine);

    let files = ["/etc/ssh/kbmfa/installed", DROP_IN, "/etc/sudoers.d/zz-kbmfa", "/etc/shadow"];
    let before = files.map(|file| fs::metadata(machine.path(file)).unwrap().modified().unwrap());
    let mut again = from_key(&machine, &["--yes", "--only-from", "127.0.0.1"]);
    again.push("--json".to_owned());
    let printed: Value = serde_json::from_str(&set_up(&world, &again, "")).unwrap();
    assert_eq!(printed["changed"].as_array().map(Vec::len), Some(0), "{printed}");
    assert_eq!(files.map(|file| fs::metadata(machine.path(file)).unwrap().modified().unwrap()), before);
    let events = world.admin.json(&["audit", "search", "--kind", "machine.set-up"]);
    let event = &events.as_array().unwrap()[1]["detail"];
    assert_eq!((&event["account"], &event["source"]), (&"root".into(), &"127.0.0.1".into()), "{events}");
    assert_eq!(event["host-key"], fingerprint(&machine).as_str());
    world.admin.audit_verify();
}

#[test]
fn a_machine_is_set_up_by_roots_password_and_keeps_keys_in_homes() {
    let world = World::new();
    let machine = fresh("fresh", INCLUDE);
    sh(&machine, "echo 'root:correct horse' | chpasswd");
    let options = ["--ask-password", "--yes", "--keys", "home", "--sudo-level", "nopasswd"];
    let (code, printed) = bootstrap(&world, &words(&machine, &options), "wrong\n");
    assert!(code == Some(1) && printed.contains("root is refused"), "{printed}");
    assert!(!machine.path("/etc/ssh/kbmfa").exists());
    set_up(&world, &words(&machine, &options), "correct horse\n");
    let keys = machine.exec(&["cat", "/home/ssh-admin/.ssh/authorized_keys"]);
    assert!(keys.starts_with("restrict ssh-ed25519 ") && keys.lines().count() == 1, "{keys}");
    assert!(!machine.exec(&["cat", DROP_IN]).contains("AuthorizedKeysFile"));
    delivers(&world, &machine);
}

#[test]
fn a_machine_is_set_up_with_a_key_of_the_operators_agent() {
    let world = World::new();
    let machine = fresh("fresh", INCLUDE);
    let socket = machine.local_file("agent");
    let mut agent =
        program("ssh-agent").arg("-D").arg("-a").arg(&socket).stdout(Stdio::null()).spawn().unwrap();
    until("the agent", || socket.exists().then_some(()));
    let add = |key: &str| {
        run(program("ssh-add").arg("-q").arg(machine.local_file(key)).env("SSH_AUTH_SOCK", &socket));
    };
    let words = words(&machine, &["--agent", "--yes"]);
    let bootstrap = |more: &[&str]| {
        let words: Vec<&str> = words.iter().map(String::as_str).chain(more.iter().copied()).collect();
        let mut verb = world.admin.verb(&words);
        verb.env("SSH_AUTH_SOCK", &socket);
        ended(verb, "")
    };
    // With several keys one is named, because each try would count as a failed login.
    add("id_ed25519");
    run(program("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(machine.local_file("other")));
    add("other");
    let (code, printed) = bootstrap(&[]);
    assert!(code == Some(1) && printed.contains("2 keys"), "{printed}");
    let shown = run(program("ssh-keygen").arg("-lf").arg(machine.local_file("id_ed25519.pub")));
    let (code, printed) = bootstrap(&["--agent-key", shown.split(' ').nth(1).unwrap()]);
    assert_eq!(code, Some(0), "{printed}");
    agent.kill().unwrap();
    agent.wait().unwrap();
    delivers(&world, &machine);
}

#[test]
fn the_old_tools_machine_is_taken_over_with_the_password_of_ssh_admin() {
    let world = World::new();
    let machine = fresh("fresh", INCLUDE);
    sh(&machine, "useradd -m -s /bin/bash ssh-admin; echo 'ssh-admin:correct horse' | chpasswd");
    sh(&machine, "echo 'ssh-admin ALL=(ALL) ALL' >/etc/sudoers.d/old; chmod 440 /etc/sudoers.d/old");
    let as_admin = ["--user", "ssh-admin", "--ask-password", "--yes"];
    let keeps = words(&machine, &[&as_admin[..], &["--sudo-level", "password"]].concat());
    set_up(&world, &keeps, "correct horse\n");
    delivers(&world, &machine);
    let everything = world.admin.run(&["audit", "search", "--limit", "1000", "--json"]);
    assert!(!everything.contains("correct horse"));
    // From there to the helper alone; the old rule is named.
    let helper = words(&machine, &[&as_admin[..], &["--sudo-level", "helper"]].concat());
    let printed = set_up(&world, &helper, "correct horse\n");
    assert!(printed.contains("/etc/sudoers.d/old: that is left as it is"), "{printed}");
    // The server's own loop may be at work on the machine.
    until("a pass by the helper", || world.admin.try_run(&["provision", "run", "fresh"]).ok());
    assert_eq!(status(&world, "fresh")["state"], "confirmed");
}

#[test]
fn sudo_with_a_password_is_given_it_and_a_new_account_gets_one_that_the_server_keeps() {
    let world = World::new();
    let machine = fresh("fresh", INCLUDE);
    let identity = machine.local_file("id_ed25519").display().to_string();
    let options = ["--user", "bob", "--identity", &identity, "--yes", "--sudo-level", "password"];
    let (code, printed) = bootstrap(&world, &words(&machine, &options), "");
    assert!(code == Some(1) && printed.contains("--ask-password"), "{printed}");
    let options = [&options[..], &["--ask-password"]].concat();
    set_up(&world, &words(&machine, &options), &format!("{}\n", kbmfa_tests::recipe::PASSWORD_OF_BOB));
    delivers(&world, &machine);
}

#[test]
fn nothing_is_sent_to_a_machine_with_another_host_key_and_an_unknown_one_is_confirmed_by_a_person() {
    let world = World::new();
    let machine = fresh("fresh", INCLUDE);
    let (key, port) =
        (machine.local_file("id_ed25519").display().to_string(), machine.port.number.to_string());
    let base =
        ["machine", "bootstrap", "fresh", "--address", "127.0.0.1", "--port", &port, "--identity", &key];
    let wrong = format!("SHA256:{}", "A".repeat(43));
    let refused = world.admin.try_run(&[&base[..], &["--yes", "--host-key", &wrong]].concat()).unwrap_err();
    assert!(refused.contains("shows the host key") && refused.contains(&fingerprint(&machine)), "{refused}");
    let refused = world.admin.try_run(&[&base[..], &["--yes"]].concat()).unwrap_err();
    assert!(refused.contains("no host key is pinned"), "{refused}");
    let log = machine.sshd_log();
    assert!(!log.contains("Accepted") && !log.contains("Failed"), "{log}");
    assert!(world.admin.json(&["machine", "list"]).as_array().unwrap().is_empty());

    let mut terminal = world.admin.at_terminal(&base);
    terminal.until(&fingerprint(&machine));
    terminal.answer("Is that the key at the machine's console? [yes/no]", "no");
    assert_eq!(terminal.end().0, Some(1));
    assert!(!machine.sshd_log().contains("Accepted"));
    let mut terminal = world.admin.at_terminal(&base);
    terminal.answer("Is that the key at the machine's console? [yes/no]", "yes");
    terminal.answer("Do this? [yes/no]", "yes");
    let (code, screen) = terminal.end();
    assert_eq!(code, Some(0), "{screen}");
    let shown = world.admin.run(&["machine", "show", "fresh"]);
    assert!(shown.contains(&fingerprint(&machine)), "{shown}");
    delivers(&world, &machine);
}

#[test]
fn a_machine_accepts_the_sudo_profiles_that_it_was_set_up_with() {
    let world = World::with(&[]);
    world
        .server
        .append("\n[[provision.sudo]]\nname = \"db\"\nrules = [\"ALL=(ALL) NOPASSWD: /usr/bin/id\"]\n");
    world.server.reload();
    let machine = fresh("fresh", INCLUDE);
    let (code, printed) = bootstrap(&world, &from_key(&machine, &["--yes", "--allow-sudo", "other"]), "");
    assert!(code == Some(1) && printed.contains("no sudo profile other"), "{printed}");
    set_up(&world, &from_key(&machine, &["--yes", "--allow-sudo", "db"]), "");
    let policy = machine.exec(&["cat", "/etc/ssh/kbmfa/policy"]);
    assert!(policy.starts_with("sudo db ") && policy.lines().count() == 1, "{policy}");
}
