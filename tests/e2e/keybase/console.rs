//! Answers at the console while a chat is used, too.

use kbmfa_tests::chat::ChatWorld;
use kbmfa_tests::machine::Machine;
use keybase_double::FaultKind;

use super::{Asked, let_in, verdict};

#[test]
fn the_console_counts_only_if_a_rule_says_so_and_says_why() {
    let world = ChatWorld::new();
    let machine = world.machine().start();
    let asked = Asked::new(&world, &machine);
    let without = world.admin.try_run(&["login", "approve", &asked.id]).unwrap_err();
    assert!(without.contains("hint: add --reason TEXT"), "{without}");
    let refused = world.admin.try_run(&["login", "approve", &asked.id, "--reason", "it is me"]).unwrap_err();
    assert!(refused.contains("is not among the approvers"), "{refused}");
    asked.assert_waits();
    world.server.set("policy", "channels", "[\"keybase\", \"console\"]");
    world.server.reload();
    world.admin.run(&["login", "approve", &asked.id, "--reason", "it is me"]);
    assert!(let_in(&asked.login.wait()));
    machine.assert_nothing_left();
}

#[test]
fn while_keybase_is_down_logins_are_refused_at_once_with_the_reason_everywhere() {
    let world = ChatWorld::new();
    let machine = world.machine().start();
    world.chat.fault(FaultKind::Offline).unwrap();
    world.server.wait_for_status("/readyz", "the relay keybase does not reach people");
    let finished = machine.ssh("alice", &["echo", "in"]).wait();
    assert_eq!(finished.code, 255);
    assert_eq!(world.admin.json(&["login", "list"])[0]["reason"], "relay-down");
    assert!(world.server.status("/metrics").unwrap().contains("kbmfa_relay_up 0"));
    world.chat.clear_faults().unwrap();
    world.server.wait_for_status("/readyz", "HTTP/1.1 200");
    Asked::new(&world, &machine).approve();
    assert_eq!(world.admin.count(["relay.down"]), [1]);
    machine.assert_nothing_left();
}

fn is_approved_at_the_console_while_keybase_is_down(world: &ChatWorld, machine: &Machine) {
    world.chat.fault(FaultKind::Offline).unwrap();
    world.server.wait_for_status("/readyz", "the relay keybase does not reach people");
    let login = machine.ssh("alice", &["echo", "in"]);
    let id = world.admin.only_login();
    world.admin.run(&["login", "approve", &id, "--reason", "Keybase is down"]);
    assert!(let_in(&login.wait()));
}

#[test]
fn or_they_wait_for_the_console_if_that_is_configured() {
    let world = ChatWorld::with(&[("policy", "channels_when_down", "[\"console\"]")], "");
    let machine = world.machine().start();
    is_approved_at_the_console_while_keybase_is_down(&world, &machine);
    machine.assert_nothing_left();
}

#[test]
fn with_the_console_as_a_second_channel_an_outage_of_keybase_refuses_nobody() {
    let world = ChatWorld::with(&[("policy", "channels", "[\"keybase\", \"console\"]")], "");
    let machine = world.machine().start();
    is_approved_at_the_console_while_keybase_is_down(&world, &machine);
    world.chat.clear_faults().unwrap();
    world.server.wait_for_status("/readyz", "HTTP/1.1 200");
    let asked = Asked::new(&world, &machine);
    assert_eq!(
        world.admin.story(&asked.id)[..3],
        ["login.opened", "ask.posted", "ask.posted"],
        "in each channel"
    );
    asked.approve();
    machine.assert_nothing_left();
}

#[test]
fn a_denial_in_one_channel_ends_the_login_for_the_other() {
    let world = ChatWorld::with(&[("policy", "channels", "[\"keybase\", \"console\"]")], "");
    let machine = world.machine().start();
    let asked = Asked::new(&world, &machine);
    world.admin.run(&["login", "deny", &asked.id, "--reason", "not now"]);
    asked.answer("bob", "Approve");
    let seen = verdict(&world, "denied");
    assert!(seen.contains("by `console:"), "{seen}");
    assert_eq!(world.admin.login(&asked.id)["state"], "denied");
    assert_eq!(asked.login.wait().code, 255);
    machine.assert_nothing_left();
}
