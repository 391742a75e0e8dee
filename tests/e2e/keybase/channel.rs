//! Messages to people in the channel: how to answer, that a reaction does not count, that an ask was deleted.

use kbmfa_tests::chat::{ChatWorld, ROOM};

use super::{Asked, let_in, verdict};

#[test]
fn an_ask_says_how_to_answer_and_the_consoles_command_where_the_console_counts() {
    let world = ChatWorld::new();
    let machine = world.machine().start();
    let asked = Asked::new(&world, &machine);
    let seen = world.chat.seen();
    assert!(seen.contains(": click Approve or Deny below, or react with :+1: or :-1:. `<mark>`"), "{seen}");
    asked.approve();
    world.server.set("policy", "channels", "[\"keybase\", \"console\"]");
    world.server.reload();
    world.server.wait_for_log("configuration and certificate read again");
    let asked = Asked::new(&world, &machine);
    let command = format!("On the server: `kbmfa-server login approve {} --reason TEXT`", &asked.id[..8]);
    world.chat.message(&command);
    asked.answer("bob", "Deny");
    assert_eq!(asked.login.wait().code, 255);
}

#[test]
fn a_reaction_that_means_no_denies() {
    let world = ChatWorld::with(&[("login", "cool_down", "\"0s\"")], "");
    let machine = world.machine().start();
    for reaction in [":x:", ":no_entry:", ":thumbsdown::skin-tone-3:"] {
        let asked = Asked::new(&world, &machine);
        asked.answer("bob", reaction);
        assert_eq!(asked.login.wait().code, 255, "{reaction}");
        assert_eq!(world.admin.login(&asked.id)["decided_by"], "keybase:bob");
    }
    machine.assert_nothing_left();
}

#[test]
fn a_reaction_that_looks_like_a_yes_gets_one_reply_with_what_counts() {
    let world = ChatWorld::new();
    let machine = world.machine().start();
    let asked = Asked::new(&world, &machine);
    for reaction in [":thumbsup:", "yes", ":ok_hand:"] {
        asked.answer("bob", reaction);
    }
    // Neither other reactions nor those of a reader get a reply.
    asked.answer("carol", ":thumbsup:");
    asked.answer("dave", ":eyes:");
    world.chat.message("`bob`: that reaction decides nothing. To answer, click Approve or Deny below");
    asked.answer("dave", "yes");
    world.chat.message("`dave`: that reaction decides nothing");
    asked.assert_waits();
    asked.approve();
    let seen = verdict(&world, "approved");
    assert_eq!(seen.matches("that reaction decides nothing").count(), 2, "{seen}");
    machine.assert_nothing_left();
}

#[test]
fn a_deleted_ask_is_announced_in_the_channel_and_in_the_audit_log() {
    let world = ChatWorld::with(&[("policy", "channels", "[\"keybase\", \"console\"]")], "");
    let machine = world.machine().start();
    let asked = Asked::new(&world, &machine);
    world.chat.delete("alice", ROOM, asked.message).unwrap();
    let told =
        format!("The message that asked about login `{}` (`alice` to `web1`) was deleted", &asked.id[..8]);
    world.chat.message(&told);
    asked.assert_waits();
    world.admin.run(&["login", "approve", &asked.id, "--reason", "the ask is gone"]);
    assert!(let_in(&asked.login.wait()));
    assert_eq!(world.admin.count(["ask.deleted"]), [1]);
    assert!(world.admin.story(&asked.id).contains(&"ask.deleted".to_owned()));
    verdict(&world, "approved");
    let seen = world.chat.seen();
    assert_eq!(seen.matches("was deleted").count(), 1, "{seen}");
    machine.assert_nothing_left();
}

#[test]
fn an_ask_mentions_the_configured_people_and_its_decision_mentions_nobody() {
    let mut world = ChatWorld::with(&[("relay.keybase", "mention", "\"here\"")], "");
    // The model complains about each notification, but here one is wanted.
    world.chat = world.chat.unjudged();
    let machine = world.machine().start();
    let asked = Asked::new(&world, &machine);
    let seen = world.chat.seen();
    assert!(seen.contains("or react with :+1: or :-1:. @here `<mark>`"), "{seen}");
    asked.approve();
    let seen = verdict(&world, "approved");
    assert!(!seen.contains("@here"), "{seen}");
    let notified = world.chat.complaints().unwrap();
    assert!(notified.len() == 1 && notified[0].starts_with("a text notifies here: "), "{notified:?}");
}
