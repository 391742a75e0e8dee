//! The whole story: invited, enrolled, in everywhere with an approval, and out again everywhere.

use kbmfa_tests::builder::Root;
use kbmfa_tests::delivery::{
    self, KEYS, REVOKED, Sudo, deliver, dora, gets_in, is_refused, name, until_state,
};
use kbmfa_tests::files::put;
use kbmfa_tests::laptop::Laptop;
use kbmfa_tests::login::Login;
use kbmfa_tests::machine::Machine;
use kbmfa_tests::recipe::{FREE, Phase};
use kbmfa_tests::wait::until;
use kbmfa_tests::world::World;
use std::path::Path;

const EMAIL: &str = "dora@example.com";

/// The server's own login is let in without a human, from the server alone.
const EXEMPT: &str =
    "[[policy.rule]]\nusers = [\"ssh-admin\"]\npools = [\"web\"]\nfrom = [\"127.0.0.1\"]\nexempt = true\n";

/// Enrols a new key with the real program. Returns the file and the fingerprint.
fn enrolled(world: &World, laptop: &Laptop, device: &str, more: &[&str]) -> (std::path::PathBuf, String) {
    let invite = world.admin.json(&["employee", "invite", EMAIL])["invite"].as_str().unwrap().to_owned();
    put(&laptop.path("invite"), 0o600, invite);
    let (invite, file) = (laptop.path("invite"), laptop.path(device));
    let usual = ["--email", EMAIL, "--yes", "--no-passphrase", "--device", device];
    let files = ["--invite-file", invite.to_str().unwrap(), "--key", file.to_str().unwrap()];
    laptop.json(&[&laptop.server()[..], &usual, &files, more].concat());
    (file, laptop.fingerprint(device))
}

/// Logs in with this key.
fn ssh(machine: &Machine, key: &Path, command: &str) -> Login {
    machine.ssh_with("dora", &["-i", key.to_str().unwrap()], &[command])
}

fn no_way_in(machine: &Machine, key: &Path) {
    let finished = ssh(machine, key, "id -un").wait();
    assert!(finished.code == 255 && finished.stdout.is_empty(), "{finished:?}");
}

#[test]
fn invited_and_enrolled_they_get_into_every_machine_of_the_pool_and_out_of_all_when_they_leave() {
    let world = World::down(None);
    world.server.append(EXEMPT);
    world.server.start();
    let lines = format!("{KEYS}{REVOKED}");
    let machines = [Phase::Account, Phase::Auth, Phase::Session].map(|phase| {
        delivery::machine_from(&world, world.machine().phase(phase).sshd_lines(&lines), Sudo::Free)
    });
    let names = machines.each_ref().map(name);
    let members = names.iter().flat_map(|name| ["--machine", name]);
    world.admin.run(&["employee", "add", EMAIL, "--name", "Dora", "--unix-name", "dora"]);
    let words = ["pool", "add", "web", "--employee", EMAIL];
    world.admin.run(&words.into_iter().chain(members).collect::<Vec<_>>());
    deliver(&world, &machines.each_ref(), "system");

    let laptop = Laptop::of(&world);
    let (lost, fingerprint) = enrolled(&world, &laptop, "lost", &[]);
    let (kept, _) = enrolled(&world, &laptop, "kept", &["--another"]);
    for name in &names {
        until_state(&world, name, "confirmed");
    }
    // In, but only with an approval each.
    let sessions = machines.each_ref().map(|machine| ssh(machine, &kept, "echo in; exec sleep 600"));
    for (id, user) in world.admin.pending_logins(machines.len()) {
        assert_eq!(user, "dora");
        world.admin.approve(&id);
    }
    for session in &sessions {
        until("the session", || session.stdout().contains("in\n").then_some(()));
    }

    world.admin.run(&["key", "revoke", &fingerprint, "--lost", "--yes"]);
    for (machine, name) in machines.iter().zip(&names) {
        until_state(&world, name, "confirmed");
        no_way_in(machine, &lost);
    }
    world.admin.run(&["employee", "remove", EMAIL, "--yes"]);
    for (machine, name) in machines.iter().zip(&names) {
        until_state(&world, name, "confirmed");
        no_way_in(machine, &kept);
        assert!(machine.path("/home/dora").is_dir(), "the home of {name} is gone");
    }
    for session in sessions {
        assert_ne!(session.wait().code, 0, "a session goes on");
    }
    world.admin.audit_verify();
}

/// A machine of this Debian gets a key, keeps it, and loses it.
fn gets_keeps_and_loses_a_key(root: Root) {
    let world = World::new();
    let builder = world.machine().root(root).pam_stack(FREE).sshd_lines(&format!("{KEYS}{REVOKED}"));
    let machine = delivery::machine_from(&world, builder, Sudo::Free);
    let key = dora(&world, &[&machine]);
    deliver(&world, &[&machine], "system");
    gets_in(&machine);
    let checked = world.admin.run(&["machine", "check", "web1"]);
    assert!(checked.contains("web1: as it should be") && !checked.contains("FAIL"), "{checked}");
    let ran = world.admin.run(&["provision", "run", "web1"]);
    assert!(ran.contains("web1: had everything already"), "{ran}");
    world.admin.run(&["key", "revoke", &key, "--lost", "--yes"]);
    until_state(&world, "web1", "confirmed");
    is_refused(&machine);
    world.admin.run(&["provision", "disable", "web1", "--yes"]);
    until("the machine to be forgotten", || delivery::status(&world, "web1").is_null().then_some(()));
}

mod versions {
    use super::*;

    #[test]
    fn openssh_10_0_gets_keeps_and_loses_a_key() {
        gets_keeps_and_loses_a_key(Root::Debian13);
    }

    #[test]
    #[ignore = "make test-matrix"]
    fn openssh_10_3_or_newer_gets_keeps_and_loses_a_key() {
        gets_keeps_and_loses_a_key(Root::Debian14);
    }
}
