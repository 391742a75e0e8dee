//! Faults between the server and Keybase. In no case is there an answer that nobody gave, or a second ask.

use kbmfa_tests::chat::{BOT, ChatWorld, ROOM};
use kbmfa_tests::wait::{PATIENCE, pass, until};
use keybase_double::{FaultKind, Role};
use std::time::Duration;

use super::{Asked, let_in, verdict};

/// alice logs in while `method` has this fault, and bob approves. There must be one ask.
fn asked_once_in_spite_of(kind: FaultKind, method: &str) {
    let world = ChatWorld::new();
    let machine = world.machine().start();
    world.chat.fault_times(kind, Some(method), 1).unwrap();
    let asked = Asked::new(&world, &machine);
    asked.answer("bob", "Approve");
    assert!(let_in(&asked.login.wait()), "{kind:?} {method}");
    let seen = verdict(&world, "approved");
    assert_eq!(seen.matches("Login").count(), 1, "{kind:?} {method}: {seen}");
    assert_eq!(seen.matches("sshbot]").count(), 2, "{kind:?} {method}: {seen}");
    machine.assert_nothing_left();
}

#[test]
fn a_post_whose_reply_is_lost_is_found_and_not_repeated() {
    for kind in
        [FaultKind::ReplyDies, FaultKind::ReplyGarbage, FaultKind::ReplyWrongId, FaultKind::ReplyHangs]
    {
        asked_once_in_spite_of(kind, "send");
    }
}

#[test]
fn a_post_that_never_arrived_is_repeated() {
    for kind in [FaultKind::RequestDies, FaultKind::UnknownError] {
        asked_once_in_spite_of(kind, "send");
    }
}

#[test]
fn a_reaction_whose_reply_is_lost_is_not_taken_back() {
    for kind in [FaultKind::ReplyDies, FaultKind::RequestDies] {
        asked_once_in_spite_of(kind, "reaction");
    }
}

#[test]
fn a_read_or_an_edit_that_fails_is_tried_again() {
    for method in ["get", "edit", "list-team-memberships"] {
        asked_once_in_spite_of(FaultKind::ReplyDies, method);
    }
}

/// bob answers while the listener has this fault. The answer must count.
fn heard_in_spite_of(kind: FaultKind) {
    let world = ChatWorld::new();
    let machine = world.machine().start();
    let asked = Asked::new(&world, &machine);
    world.chat.fault_times(kind, None, 1).unwrap();
    asked.answer("bob", "Approve");
    assert!(let_in(&asked.login.wait()), "{kind:?}");
    machine.assert_nothing_left();
}

#[test]
fn an_answer_is_found_with_every_fault_of_the_listener() {
    for kind in [
        FaultKind::ListenerDies,
        FaultKind::ListenerError,
        FaultKind::ListenerGarbage,
        FaultKind::ListenerDuplicate,
        FaultKind::ListenerHuge,
    ] {
        heard_in_spite_of(kind);
    }
}

#[test]
fn an_answer_without_an_event_is_found() {
    heard_in_spite_of(FaultKind::ListenerDrop);
}

#[test]
fn a_server_that_was_killed_after_posting_does_not_post_again() {
    let world = ChatWorld::new();
    let machine = world.machine().start();
    world.chat.fault_times(FaultKind::ReplyHeld, Some("send"), 1).unwrap();
    let login = machine.ssh("alice", &["echo", "in"]);
    world.chat.wait_held(PATIENCE).unwrap();
    world.server.kill();
    world.chat.release().unwrap();
    world.server.start();
    let id = world.admin.pending();
    world.chat.answer("bob", world.chat.ask(&id), "Approve");
    assert!(let_in(&login.wait()));
    let seen = verdict(&world, "approved");
    assert_eq!(seen.matches("Login").count(), 1, "{seen}");
    machine.assert_nothing_left();
}

#[test]
fn an_answer_that_was_given_while_the_server_was_down_counts() {
    let world = ChatWorld::new();
    let machine = world.machine().start();
    let asked = Asked::new(&world, &machine);
    world.server.stop();
    asked.answer("bob", "Approve");
    world.server.start();
    assert!(let_in(&asked.login.wait()));
    machine.assert_nothing_left();
}

#[test]
fn a_service_that_crashes_or_is_logged_out_comes_back_and_asks() {
    let world = ChatWorld::new();
    let machine = world.machine().start();
    for break_it in [kbmfa_tests::chat::Chat::crash_service, kbmfa_tests::chat::Chat::log_service_out] {
        let asked = Asked::new(&world, &machine);
        break_it(&world.chat);
        asked.answer("bob", "Approve");
        assert!(let_in(&asked.login.wait()));
        until("the relay to be up", || {
            world.server.status("/readyz").filter(|answer| answer.contains("200")).map(drop)
        });
    }
    machine.assert_nothing_left();
}

#[test]
fn a_channel_that_is_renamed_while_an_ask_stands_goes_on() {
    let world = ChatWorld::new();
    let machine = world.machine().start();
    let asked = Asked::new(&world, &machine);
    world.chat.rename_channel(ROOM, "doors").unwrap();
    world.chat.react("bob", "acme#doors", asked.message, "Approve").unwrap();
    assert!(let_in(&asked.login.wait()));
}

#[test]
fn a_deleted_ask_approves_nothing_and_the_decision_is_posted() {
    let world = ChatWorld::with(&super::SHORT_WINDOW, "");
    let machine = world.machine().start();
    let asked = Asked::new(&world, &machine);
    world.chat.delete("alice", ROOM, asked.message).unwrap();
    assert_eq!(asked.login.wait().code, 255);
    verdict(&world, "expired");
}

/// Keybase allows to rename a subteam.
#[test]
fn a_team_that_is_renamed_while_an_ask_stands_goes_on_and_outlives_its_service() {
    let world = ChatWorld::down("team = \"acme.ops\"\n", "");
    world.chat.add_team("acme.ops", "alice").unwrap();
    for (user, role) in [("bob", Role::Writer), (BOT, Role::Bot)] {
        world.chat.set_member("acme.ops", user, role).unwrap();
    }
    world.server.start();
    let machine = world.machine().start();
    let login = machine.ssh("alice", &["echo", "in"]);
    let id = world.admin.pending();
    let mark = format!("Login `{}`", &id[..8]);
    let ask = world.chat.wait_message("acme.ops", &mark, PATIENCE).unwrap();
    world.chat.wait_reaction("acme.ops", ask, "Deny", PATIENCE).unwrap();
    world.chat.rename_team("acme.ops", "acme.sre").unwrap();
    world.chat.set_member("acme.sre", "mallory", Role::Reader).unwrap();
    world.chat.react("mallory", "acme.sre", ask, "Approve").unwrap();
    world.chat.wait_message("acme.sre", "`mallory`: this approve does not count now", PATIENCE).unwrap();
    world.chat.crash_service();
    world.chat.react("bob", "acme.sre", ask, "Approve").unwrap();
    assert!(let_in(&login.wait()));
    machine.assert_nothing_left();
}

#[test]
fn long_reactions_by_the_dozen_do_not_keep_an_answer_from_being_read() {
    let world = ChatWorld::new();
    let machine = world.machine().start();
    let asked = Asked::new(&world, &machine);
    for n in 0..24 {
        asked.answer("carol", &format!("{n}{}", "<".repeat(9_000)));
    }
    asked.approve();
}

#[test]
fn an_ask_that_cannot_be_posted_blocks_no_other() {
    let rule = "[[policy.rule]]\nusers = [\"bob\"]\ndestination = \"ops\"\n";
    let world = ChatWorld::down("team = \"acme\"\nchannel = \"sudo\"\n", rule);
    world.chat.add_channel("acme", "ops").unwrap();
    world.server.start();
    let machine = world.machine().start();
    world.chat.fault_error("send", "no").unwrap();
    let stuck = machine.ssh("bob", &["echo", "in"]);
    world.server.wait_for_log("keybase: no");
    world.chat.clear_faults().unwrap();
    stuck.kill();
    Asked::new(&world, &machine).approve();
}

#[test]
fn the_server_that_is_left_goes_on_with_keybase_and_posts_nothing_twice() {
    let world = ChatWorld::new();
    let second = world.server.twin();
    second.start();
    let machine = world.machine().start();
    let url = |port: u16| format!("\"https://127.0.0.1:{port}\"");
    machine.set("servers", &format!("[{}, {}]", url(world.server.port), url(second.port)));
    let asked = Asked::new(&world, &machine);
    world.server.kill();
    asked.answer("bob", "Approve");
    assert!(let_in(&asked.login.wait()));
    let seen = verdict(&world, "approved");
    assert_eq!(seen.matches("Login").count(), 1, "{seen}");
    machine.assert_nothing_left();
}

/// Long enough for several failed health checks and several failed starts of the service.
const LASTING: Duration = Duration::from_secs(20);

#[test]
fn a_lasting_outage_of_keybase_is_not_logged_at_each_attempt() {
    let world = ChatWorld::new();
    for method in ["get", "send", "edit"] {
        world.chat.fault_always(FaultKind::UnknownError, method).unwrap();
    }
    world.server.wait_for_log("keybase is down");
    pass(LASTING);
    let log = world.server.log();
    for what in ["keybase is down: ", "keybase: health check: ", "keybase: list of members: "] {
        // After ten seconds another cause may be logged. At first there is one attempt a second.
        assert!(log.matches(what).count() <= 3, "{what}: {log}");
    }
    world.chat.clear_faults().unwrap();
    world.server.wait_for_log("keybase is down: works again");
    assert_eq!(world.server.log().matches("keybase is down: works again").count(), 1);
    let machine = world.machine().start();
    Asked::new(&world, &machine).approve();
}
