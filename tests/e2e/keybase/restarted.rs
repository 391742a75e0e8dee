//! Logins right after a start of the server, and what a killed server leaves behind.

use kbmfa_tests::chat::ChatWorld;
use kbmfa_tests::machine::Machine;
use kbmfa_tests::wait::until;
use keybase_double::FaultKind;

use super::{Asked, let_in};

/// A machine that has joined, and a server that has not asked in Keybase yet.
fn about_to_start() -> (ChatWorld, Machine) {
    let world = ChatWorld::down("team = \"acme\"\nchannel = \"sudo\"\n", "");
    world.server.set("relay", "kind", "\"console\"");
    world.server.start();
    let machine = world.machine().start();
    world.server.stop();
    world.server.set("relay", "kind", "\"keybase\"");
    (world, machine)
}

#[test]
fn a_login_right_after_the_start_waits_and_is_asked_about_as_soon_as_keybase_is_up() {
    let (world, machine) = about_to_start();
    world.chat.fault_times(FaultKind::OneshotHangs, None, 1).unwrap();
    world.server.start_until("HTTP/1.1 503");
    let login = machine.ssh("alice", &["echo", "in"]);
    let id = world.admin.only_login();
    assert_eq!(world.admin.state(&id), "pending", "nobody knows yet whether people are reached");
    world.chat.release().unwrap();
    world.chat.answer("bob", world.chat.ask(&id), "Approve");
    assert!(let_in(&login.wait()));
    machine.assert_nothing_left();
}

#[test]
fn a_login_right_after_the_start_is_refused_once_keybase_turns_out_to_be_down() {
    let (world, machine) = about_to_start();
    world.chat.fault(FaultKind::Offline).unwrap();
    world.server.start_until("HTTP/1.1 503");
    let login = machine.ssh("alice", &["echo", "in"]);
    let id = world.admin.only_login();
    assert_eq!(world.admin.state(&id), "pending");
    assert_eq!(login.wait().code, 255);
    let login = world.admin.login(&id);
    assert_eq!((&login["state"], &login["reason"]), (&"denied".into(), &"relay-down".into()));
    world.chat.clear_faults().unwrap();
    machine.assert_nothing_left();
}

#[test]
fn a_service_that_a_killed_server_left_behind_is_ended_and_not_waited_for() {
    let world = ChatWorld::new();
    let machine = world.machine().start();
    world.server.kill();
    let left = world.chat.services().unwrap();
    assert_eq!(left.len(), 1, "the service outlives a server that is killed");
    // The service cannot be reached by its socket any more, but it holds the lock of its home.
    let socket = world.server.state_dir.join("keybase/.config/keybase/keybased.sock");
    std::fs::remove_file(socket).unwrap();
    world.server.start();
    Asked::new(&world, &machine).approve();
    until("one service", || (world.chat.services().unwrap().len() == 1).then_some(()));
    assert_ne!(world.chat.services().unwrap()[0].pid, left[0].pid);
}
