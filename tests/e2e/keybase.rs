//! Asked and answered in Keybase, with a real sshd at the one end and a model of Keybase at the other.

use insta::assert_snapshot;
use kbmfa_tests::chat::{ChatWorld, ROOM};

use crate::story::{LET_IN, TURNED_AWAY};

#[test]
fn an_approval_in_the_channel_lets_in() {
    let world = ChatWorld::new();
    let machine = world.machine().start();
    let login = machine.ssh("alice", &["echo", "in"]);
    let id = world.admin.pending();
    let ask = world.chat.ask(&id);
    world.chat.answer("bob", ask, ":+1:");
    assert_eq!(login.wait().transcript(), "in\nexit 0\n");
    world.admin.assert_story(&id, &LET_IN);
    assert_eq!(world.admin.login(&id)["decided_by"], "keybase:bob");
    world.chat.message("was *approved*");
    assert_snapshot!(world.chat.view(ROOM).unwrap(), @"");
    machine.assert_nothing_left();
}

#[test]
fn a_denial_in_the_channel_turns_away() {
    let world = ChatWorld::new();
    let machine = world.machine().start();
    let login = machine.ssh("alice", &["echo", "in"]);
    let id = world.admin.pending();
    world.chat.answer("bob", world.chat.ask(&id), "Deny");
    assert_eq!(login.wait().code, 255);
    world.admin.assert_story(&id, &TURNED_AWAY);
    world.chat.message("was *denied*");
    machine.assert_nothing_left();
}
