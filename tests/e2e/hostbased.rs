//! Real host-based authentication: ssh-keysign vouches, with the host's key, for a user of its host, which
//! here is the machine itself. Nothing proves who the person is.

use kbmfa_tests::files::put;
use kbmfa_tests::login::Login;
use kbmfa_tests::machine::Machine;
use kbmfa_tests::recipe::Phase;
use kbmfa_tests::world::World;
use std::fs;

use crate::doctor::doctor;
use crate::story::LET_IN;

const SSHD: &str = "HostbasedAuthentication yes\nHostbasedUsesNameFromPacketOnly yes\nIgnoreRhosts yes";

/// A machine with the module in this phase. Its sshd accepts these methods, and trusts the users of its own
/// host.
fn machine(world: &World, phase: Phase, methods: &str) -> Machine {
    let lines = format!("{SSHD}\nAuthenticationMethods {methods}\nMaxStartups 100:30:300");
    let machine = world.machine().phase(phase).sshd_lines(&lines).start();
    let key = fs::read_to_string(machine.path("/etc/ssh/ssh_host_ed25519_key.pub")).unwrap();
    put(&machine.path("/etc/ssh/ssh_known_hosts"), 0o644, format!("localhost,[127.0.0.1]:* {key}"));
    put(&machine.path("/etc/ssh/shosts.equiv"), 0o644, "localhost\n");
    put(&machine.path("/etc/ssh/ssh_config"), 0o644, "HostbasedAuthentication yes\nEnableSSHKeysign yes\n");
    machine
}

/// alice is on the machine, and logs in there once more without a key of her own.
fn ssh(machine: &Machine) -> Login {
    let methods = "PreferredAuthentications=hostbased,keyboard-interactive";
    let (port, options) =
        (machine.port.number.to_string(), ["-o", methods, "-o", "StrictHostKeyChecking=yes"]);
    let to = ["-p", &port, "alice@127.0.0.1", "echo", "in"];
    machine.entered("alice", &[&["ssh"], &options[..], &to[..]].concat())
}

#[test]
fn in_the_account_phase_a_host_based_login_is_asked_about_and_shows_no_key() {
    let world = World::new();
    let machine = machine(&world, Phase::Account, "hostbased");
    let login = ssh(&machine);
    let id = world.admin.pending();
    assert_eq!(world.admin.login(&id)["key"], serde_json::Value::Null);
    world.admin.approve(&id);
    assert_eq!(login.wait().transcript(), "in\nexit 0\n");
    assert!(machine.sshd_log().contains("Accepted hostbased for alice"), "{}", machine.sshd_log());
    world.admin.assert_story(&id, &LET_IN);

    let refused = ssh(&machine);
    world.admin.deny(&world.admin.pending());
    let finished = refused.wait();
    assert_eq!((finished.stdout.as_str(), finished.code), ("", 255), "{}", finished.stderr);
    machine.assert_nothing_left();
}

#[test]
fn in_the_auth_phase_a_host_based_login_is_refused_and_told_why_and_doctor_names_it() {
    let world = World::new();
    let machine = machine(&world, Phase::Auth, "hostbased,keyboard-interactive:pam");
    let finished = ssh(&machine).wait();
    assert_eq!((finished.stdout.as_str(), finished.code), ("", 255), "{}", finished.stderr);
    let told = "host-based authentication proves the computer that you";
    assert!(finished.stderr.contains(told), "{}", finished.stderr);
    machine.syslog.lines_with("host-based authentication proves a host, not a person");
    assert!(world.admin.logins(&[]).is_empty(), "somebody was asked");
    let report = doctor(&machine, &["--user", "alice"]);
    report.has("weak", "a login that begins without a key is refused");
    machine.assert_nothing_left();
}

#[test]
fn host_based_authentication_alone_avoids_the_auth_line_and_doctor_reports_a_fault() {
    let world = World::new();
    let machine = machine(&world, Phase::Auth, "hostbased publickey,keyboard-interactive:pam");
    let finished = ssh(&machine).wait();
    assert_eq!(finished.transcript(), "in\nexit 0\n", "this story is about what lets in unasked");
    assert!(world.admin.logins(&[]).is_empty());
    doctor(&machine, &["--user", "alice"]).has("fault", "hostbased alone avoids the auth line");
}
