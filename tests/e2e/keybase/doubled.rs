//! An ask whose post was never confirmed. The server searches for it without a limit on its age. If the first
//! post appears after a second one was made, one of the two messages is the ask, the other one says so, and
//! answers to both count.

use kbmfa_tests::chat::{ChatWorld, ROOM};
use kbmfa_tests::login::Login;
use kbmfa_tests::machine::Machine;
use kbmfa_tests::wait::{PATIENCE, pass, until};
use keybase_double::FaultKind;
use std::time::Duration;

use super::{SHORT_WINDOW, let_in};

/// Longer than any test.
const HOUR: Duration = Duration::from_secs(3600);

/// The text of the message that is not the ask.
const COPY: &str = "was asked about twice by accident";

/// The numbers of the messages about this login, oldest first.
fn messages(world: &ChatWorld, id: &str) -> Vec<u64> {
    let about = format!("Login `{}`", &id[..8]);
    let all = world.chat.messages(ROOM).unwrap();
    all.iter().filter(|found| found.body.contains(&about)).map(|found| found.id).collect()
}

/// A login of alice that was posted a second time while the first post was still on its way.
fn posted_again(world: &ChatWorld, machine: &Machine, meanwhile: impl FnOnce()) -> (Login, String, u64) {
    world.chat.message("Head of the audit log");
    world.chat.slow_times(FaultKind::RequestSlow, Some("send"), 1, HOUR).unwrap();
    let before = world.chat.stats().unwrap().requests["send"];
    let login = machine.ssh("alice", &["echo", "in"]);
    world.chat.wait_requests("send", before + 1, PATIENCE).unwrap();
    meanwhile();
    let id = world.admin.pending();
    let message = world.chat.ask(&id);
    (login, id, message)
}

/// Lets the first post arrive. It becomes the newer message of the two.
fn late_copy(world: &ChatWorld, id: &str, ask: u64) -> u64 {
    world.chat.release().unwrap();
    let messages = until("the late post", || Some(messages(world, id)).filter(|found| found.len() == 2));
    assert_eq!(messages[0], ask);
    messages[1]
}

fn until_both_say(world: &ChatWorld, id: &str, what: &str) {
    until(&format!("both messages to say {what:?}"), || {
        let all = world.chat.messages(ROOM).unwrap();
        let about = format!("Login `{}`", &id[..8]);
        (all.iter().filter(|found| found.body.contains(&about) && found.body.contains(what)).count() == 2)
            .then_some(())
    });
}

#[test]
fn an_answer_on_a_message_that_arrived_late_counts_for_the_same_ask() {
    for (reaction, state) in [("Approve", "approved"), ("Deny", "denied")] {
        let world = ChatWorld::new();
        let machine = world.machine().start();
        let (login, id, ask) = posted_again(&world, &machine, || {});
        let copy = late_copy(&world, &id, ask);
        world.chat.answer("bob", copy, reaction);
        assert_eq!(let_in(&login.wait()), state == "approved");
        assert_eq!(world.admin.state(&id), state);
        assert_eq!(world.admin.count(["ask.posted", "ask.doubled"]), [1, 1]);
        until_both_say(&world, &id, &format!("was *{state}*"));
        machine.assert_nothing_left();
    }
}

#[test]
fn a_denial_on_the_one_message_outweighs_an_approval_on_the_other() {
    let world = ChatWorld::new();
    let machine = world.machine().start();
    let (login, id, ask) = posted_again(&world, &machine, || {});
    let copy = late_copy(&world, &id, ask);
    world.chat.fault_times(FaultKind::ListenerDrop, Some("reaction"), 1).unwrap();
    world.chat.answer("dave", copy, "Deny");
    world.chat.answer("bob", ask, "Approve");
    assert_eq!(login.wait().code, 255);
    assert_eq!(world.admin.login(&id)["decided_by"], "keybase:dave");
    machine.assert_nothing_left();
}

#[test]
fn a_server_killed_while_it_posts_and_started_at_once_waits_and_then_tells_people_where_the_ask_is() {
    let world = ChatWorld::new();
    let machine = world.machine().start();
    let (login, id, ask) = posted_again(&world, &machine, || {
        world.server.kill();
        world.server.start();
    });
    let copy = late_copy(&world, &id, ask);
    world.chat.message(COPY);
    assert!(
        world.chat.messages(ROOM).unwrap().iter().any(|found| found.id == copy && found.body.contains(COPY))
    );
    world.chat.answer("bob", copy, "Approve");
    assert!(let_in(&login.wait()));
    until_both_say(&world, &id, "was *approved*");
    machine.assert_nothing_left();
}

#[test]
fn a_message_that_arrives_after_its_login_ended_becomes_the_verdict() {
    let world = ChatWorld::with(&SHORT_WINDOW, "");
    let machine = world.machine().start();
    world.chat.message("Head of the audit log");
    world.chat.slow_times(FaultKind::RequestSlow, Some("send"), 1, HOUR).unwrap();
    let login = machine.ssh("alice", &["echo", "in"]);
    let id = world.admin.only_login();
    assert_eq!(login.wait().code, 255);
    // The server searches for the message as long as it may arrive, and then stops.
    pass(Duration::from_secs(20));
    world.chat.release().unwrap();
    let copy = world.chat.message(&format!("Login `{}`", &id[..8]));
    world.chat.answer("bob", copy, "Approve");
    world.chat.message("was *expired*");
    assert_eq!(world.admin.state(&id), "expired");
}

#[test]
fn a_post_whose_reply_is_lost_is_found_under_600_other_messages() {
    let world = ChatWorld::new();
    let machine = world.machine().start();
    world.chat.message("Head of the audit log");
    world.chat.fault_times(FaultKind::ReplyHeld, Some("send"), 1).unwrap();
    let login = machine.ssh("alice", &["echo", "in"]);
    world.chat.wait_held(PATIENCE).unwrap();
    for n in 0..600 {
        world.chat.post("carol", ROOM, &format!("message {n}")).unwrap();
    }
    let id = world.admin.pending();
    let message = world.chat.ask(&id);
    world.chat.answer("bob", message, "Approve");
    assert!(let_in(&login.wait()));
    assert_eq!(messages(&world, &id), [message]);
    machine.assert_nothing_left();
}

#[test]
fn a_post_that_cannot_be_looked_for_is_not_repeated() {
    let world = ChatWorld::with(&SHORT_WINDOW, "");
    let machine = world.machine().start();
    world.chat.message("Head of the audit log");
    world.chat.fault_times(FaultKind::ReplyDies, Some("send"), 1).unwrap();
    world.chat.fault_always(FaultKind::UnknownError, "read").unwrap();
    let login = machine.ssh("alice", &["echo", "in"]);
    let id = world.admin.only_login();
    assert_eq!(login.wait().code, 255);
    assert_eq!(messages(&world, &id).len(), 1);
    assert_eq!(world.admin.state(&id), "expired");
    world.chat.clear_faults().unwrap();
    world.chat.message("was *expired*");
}
