//! Who may answer and who may log in depends on the membership in the team at that moment.

use insta::assert_snapshot;
use kbmfa_tests::chat::{BOT, ChatWorld};
use keybase_double::Role;

use super::{Asked, let_in, verdict};

#[test]
fn answers_of_readers_strangers_and_keyless_people_do_not_count_and_they_are_told_why_once() {
    let world = ChatWorld::new();
    let machine = world.machine().start();
    let asked = Asked::new(&world, &machine);
    world.chat.fault_times(keybase_double::FaultKind::ListenerDrop, None, 1).unwrap();
    asked.answer("dave", ":+1:");
    world.chat.set_member_status("acme", "dave", Role::Writer, 0, true).unwrap();
    for reaction in [":tada:", "Approve"] {
        asked.answer("carol", reaction);
    }
    world.chat.message("`carol`: this approve");
    world.chat.message("`dave`: this approve");
    asked.answer("carol", "Approve");
    asked.answer("carol", "Approve");
    asked.assert_waits();
    asked.approve();
    assert_snapshot!(verdict(&world, "approved"), @r"
    sshbot: Head of the audit log: `<head>` (`kbmfa-server audit verify --head` checks against it) `<mark>`
    sshbot (edited): Login `<id>` was *approved* by `keybase:bob` after <seconds> s: `alice` wanted to enter `web1` by `sshd` from `127.0.0.1`. Audit log `<head>` `<mark>`
      [Approve sshbot]
      [Deny sshbot]
      [:+1: dave]
      [:tada: carol]
      [Approve carol]
      [Approve bob]
    sshbot: `dave`: this approve does not count now: `this account was reset, or has no keys yet` `<mark>`
    sshbot: `carol`: this approve does not count now: `a reader may not answer here; the role writer is required` `<mark>`
    ");
    assert_eq!(world.admin.count(["answer.rejected", "answer.given"]), [2, 1]);
    machine.assert_nothing_left();
}

#[test]
fn the_bot_itself_approves_nothing() {
    let world = ChatWorld::new();
    let machine = world.machine().start();
    let asked = Asked::new(&world, &machine);
    world.chat.answer(BOT, asked.message, ":+1:");
    asked.answer("carol", "Deny");
    world.chat.message("`carol`: this deny");
    asked.assert_waits();
    asked.approve();
    machine.assert_nothing_left();
}

#[test]
fn a_member_removed_a_second_before_does_not_count_and_counts_when_back() {
    let world = ChatWorld::new();
    let machine = world.machine().start();
    let asked = Asked::new(&world, &machine);
    // The event of the reaction is dropped, so the server reads the reaction only after its author was
    // removed.
    world.chat.fault_times(keybase_double::FaultKind::ListenerDrop, None, 1).unwrap();
    asked.answer("bob", "Approve");
    world.chat.remove_member("acme", "bob").unwrap();
    asked.answer("carol", ":tada:");
    world.chat.message("`bob`: this approve does not count now: `only members of the team may answer`");
    asked.assert_waits();
    world.chat.set_member("acme", "bob", Role::Writer).unwrap();
    asked.answer("bob", ":+1:");
    assert!(let_in(&asked.login.wait()));
}

#[test]
fn a_removed_reaction_is_not_an_answer() {
    let world = ChatWorld::new();
    let machine = world.machine().start();
    let asked = Asked::new(&world, &machine);
    world.chat.set_member("acme", "bob", Role::Reader).unwrap();
    asked.answer("bob", "Approve");
    world.chat.message("`bob`: this approve");
    world.chat.unreact("bob", kbmfa_tests::chat::ROOM, asked.message, "Approve").unwrap();
    world.chat.set_member("acme", "bob", Role::Writer).unwrap();
    asked.answer("carol", "Approve");
    world.chat.message("`carol`: this approve");
    asked.assert_waits();
    asked.answer("dave", "Deny");
    assert_eq!(asked.login.wait().code, 255);
}

#[test]
fn a_team_that_is_opened_while_an_ask_stands_is_not_trusted_any_more() {
    let world = ChatWorld::new();
    let machine = world.machine().start();
    let asked = Asked::new(&world, &machine);
    world.chat.set_open("acme", true).unwrap();
    world.chat.set_member("acme", "mallory", Role::Writer).unwrap();
    asked.answer("mallory", "Approve");
    world.server.wait_for_log("team acme is open");
    asked.assert_waits();
    world.chat.set_open("acme", false).unwrap();
    world.chat.remove_member("acme", "mallory").unwrap();
    asked.approve();
}

#[test]
fn a_rule_sends_its_asks_to_another_channel_and_names_its_approvers() {
    let rule =
        "[[policy.rule]]\nusers = [\"alice\"]\ndestination = \"general\"\napprovers = [\"keybase:dave\"]\n";
    let world = ChatWorld::with(&[], rule);
    let machine = world.machine().start();
    let login = machine.ssh("alice", &["echo", "in"]);
    let id = world.admin.pending();
    let general = "acme#general";
    let patience = kbmfa_tests::wait::PATIENCE;
    let ask = world.chat.wait_message(general, &format!("Login `{}`", &id[..8]), patience).unwrap();
    world.chat.wait_reaction(general, ask, "Deny", patience).unwrap();
    world.chat.react("bob", general, ask, "Approve").unwrap();
    world.chat.wait_message(general, "`bob`: this approve does not count now", patience).unwrap();
    world.chat.react("dave", general, ask, "Approve").unwrap();
    assert!(let_in(&login.wait()));
}

#[test]
fn under_not_self_an_employee_cannot_approve_their_own_login_in_chat() {
    let world = ChatWorld::with(&[("policy", "approvers", "\"not-self\"")], "");
    world.admin.run(&[
        "employee",
        "add",
        "bob@example.com",
        "--name",
        "Bob",
        "--unix-name",
        "bob",
        "--keybase-name",
        "bob",
    ]);
    let machine = world.machine().start();
    let login = machine.ssh("bob", &["echo", "in"]);
    let message = world.chat.ask(&world.admin.pending());
    world.chat.answer("bob", message, "Approve");
    world.chat.message("`bob`: this approve does not count now");
    world.chat.answer("dave", message, "Approve");
    assert!(let_in(&login.wait()));
}

#[test]
fn a_person_who_leaves_the_team_can_neither_approve_nor_log_in() {
    let world = ChatWorld::with(&[("policy", "require_member", "true")], "");
    for (user, name) in [("alice", "alice"), ("bob", "bob")] {
        let email = format!("{user}@example.com");
        world.admin.run(&[
            "employee",
            "add",
            &email,
            "--name",
            name,
            "--unix-name",
            user,
            "--keybase-name",
            user,
        ]);
    }
    let machine = world.machine().start();
    Asked::new(&world, &machine).approve();
    let login = machine.ssh("bob", &["echo", "in"]);
    let message = world.chat.ask(&world.admin.pending());
    world.chat.remove_member("acme", "bob").unwrap();
    world.chat.answer("dave", message, "Approve");
    world.chat.message("`dave`: this approve does not count now");
    login.kill();
    until_refused(&world, &machine);
    let carol = machine.ssh("carol", &["echo", "in"]).wait();
    assert_eq!(carol.code, 255, "carol is no employee");
    machine.assert_nothing_left();
}

/// Waits until bob's logins are refused at once, because the server has seen the list of members without him.
fn until_refused(world: &ChatWorld, machine: &kbmfa_tests::machine::Machine) {
    let refused = machine.ssh("bob", &["echo", "in"]).wait();
    assert_eq!(refused.code, 255);
    let logins = world.admin.json(&["login", "list"]);
    let reason = logins.as_array().unwrap()[0]["reason"].clone();
    assert_eq!(reason, "not-a-member");
}

#[test]
fn a_private_chat_asks_that_one_user() {
    let world = ChatWorld::down("type = \"private\"\nuser = \"alice\"\n", "");
    world.server.start();
    let machine = world.machine().start();
    let login = machine.ssh("alice", &["echo", "in"]);
    let id = world.admin.pending();
    let (room, patience) = ("alice,sshbot", kbmfa_tests::wait::PATIENCE);
    let ask = world.chat.wait_message(room, &format!("Login `{}`", &id[..8]), patience).unwrap();
    world.chat.wait_reaction(room, ask, "Deny", patience).unwrap();
    world.chat.react("alice", room, ask, "Approve").unwrap();
    assert!(let_in(&login.wait()));
    assert_eq!(world.admin.login(&id)["decided_by"], "keybase:alice");
}
