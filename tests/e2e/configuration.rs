//! A machine's configuration decides what happens without a server. A mistake in it lets nobody in.

use insta::assert_snapshot;
use kbmfa_tests::impostor::{Babbler, Stranger};
use kbmfa_tests::syslog::{AUTHPRIV, severity};
use kbmfa_tests::world::World;

const NOT_SET_UP: &str = "this machine is not set up to ask for it";

#[test]
fn on_unreachable_allow_lets_in_when_no_server_can_be_reached_and_raises_an_alarm() {
    let world = World::new();
    let machine = world.machine().start();
    machine.set("on_unreachable", "\"allow\"");
    world.server.stop();
    assert_eq!(machine.ssh("alice", &["echo", "in"]).wait().stdout, "in\n");
    let lines = machine.syslog.lines_with("LET IN WITHOUT APPROVAL");
    assert_eq!((lines.len(), lines[0].facility, lines[0].severity), (1, AUTHPRIV, severity::ALERT));
    machine.assert_nothing_left();
}

#[test]
fn on_unreachable_allow_does_not_help_a_server_that_cannot_be_trusted() {
    let world = World::new();
    let machine = world.machine().start();
    machine.set("on_unreachable", "\"allow\"");
    world.server.stop();
    let stranger = Stranger::in_place_of(&world);
    assert_eq!(machine.ssh("alice", &["echo", "in"]).wait().code, 255);
    drop(stranger);
    let _babbler = Babbler::in_place_of(&world, "approved\r\n");
    assert_eq!(machine.ssh("alice", &["echo", "in"]).wait().code, 255);
    machine.assert_nothing_left();
}

#[test]
fn log_only_lets_in_at_once_says_so_in_the_log_and_asks_nobody() {
    let world = World::new();
    let machine = world.machine().pam_args("log_only").start();
    assert_eq!(machine.ssh("alice", &["echo", "in"]).wait().stdout, "in\n");
    let lines = machine.syslog.lines_with("log_only: would have asked for user alice");
    assert_eq!((lines.len(), lines[0].severity), (1, severity::NOTICE));
    assert!(world.admin.logins(&[]).is_empty());
    machine.assert_nothing_left();
}

#[test]
fn a_misspelt_argument_lets_nobody_in() {
    let world = World::new();
    let machine = world.machine().pam_args("log-only").start();
    assert_snapshot!(machine.ssh("alice", &["echo", "in"]).wait().transcript(), @r"
    Your login needs an approval, and this machine is not set up to ask for it.
    Connection closed by 127.0.0.1 port <port>
    exit 255
    ");
    assert_eq!(machine.syslog.lines_with("log-only")[0].severity, severity::ERR);
    machine.assert_nothing_left();
}

#[test]
fn a_configuration_that_cannot_be_used_lets_nobody_in() {
    let world = World::new();
    let machine = world.machine().start();
    machine.set("on_unreachable", "\"perhaps\"");
    let finished = machine.ssh("alice", &["echo", "in"]).wait();
    assert_eq!((finished.stdout.as_str(), finished.code), ("", 255));
    assert!(finished.stderr.contains(NOT_SET_UP), "{}", finished.stderr);
    assert_eq!(machine.syslog.lines_with("on_unreachable")[0].severity, severity::ALERT);
    machine.assert_nothing_left();
}

#[test]
fn a_credential_that_others_can_read_lets_nobody_in() {
    let world = World::new();
    let machine = world.machine().start();
    machine.exec(&["chmod", "644", "/etc/kbmfa/credential"]);
    let finished = machine.ssh("alice", &["echo", "in"]).wait();
    assert!(finished.stderr.contains(NOT_SET_UP), "{}", finished.stderr);
    machine.exec(&["chmod", "600", "/etc/kbmfa/credential"]);
    let login = machine.ssh("alice", &["echo", "in"]);
    world.admin.approve(&world.admin.pending());
    assert_eq!(login.wait().stdout, "in\n");
}
