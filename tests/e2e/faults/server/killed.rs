//! The server is killed at a known point of a login. Random points are in `kills.rs`.

use kbmfa_tests::between::{Between, Order, Stage};
use kbmfa_tests::wait::pass;
use kbmfa_tests::world::World;
use std::time::Duration;

use super::{is_opened_once, lock};
use crate::faults::Refusal;
use crate::story::{LET_IN, SHORT_GRACE};

/// The shortest grace that the server allows.
const GRACE: Duration = Duration::from_secs(6);

/// For tests that need no preparation before the login.
fn nothing(_: &World) {}

fn kill_and_start(world: &World) {
    world.server.kill();
    world.server.start();
}

#[test]
fn before_it_has_the_request() {
    is_opened_once(Stage::Asked, nothing, |world, ()| {
        kill_and_start(world);
        Order::Reset
    });
}

#[test]
fn with_the_request_before_the_commit() {
    is_opened_once(Stage::Passed, lock, |world, lock| {
        world.server.kill();
        drop(lock);
        assert!(world.admin.logins(&[]).is_empty());
        world.server.start();
        Order::Reset
    });
}

#[test]
fn after_the_commit_before_the_answer_arrives() {
    is_opened_once(Stage::Answered, nothing, |world, ()| {
        assert_eq!(world.admin.logins(&[]).len(), 1);
        kill_and_start(world);
        Order::Reset
    });
}

/// Longest first poll. After an opening the server expects the machine for this time and the grace.
const FIRST_POLL: Duration = Duration::from_secs(30);

#[test]
fn for_good_with_the_request_refuses_at_once_and_the_ask_is_withdrawn() {
    let world = World::with(&SHORT_GRACE);
    let machine = world.machine().start();
    machine.set("on_unreachable", "\"allow\"");
    let between = Between::stopping(&world, &machine, "PUT", Stage::Answered);
    let refusal = Refusal {
        prompt: "the approval server does not work properly.",
        log: "refused, no decision (",
        within: Duration::from_secs(1),
    };
    refusal.meets_login(&machine, || {
        let login = machine.ssh("alice", &["echo", "in"]);
        between.reached();
        world.server.kill();
        drop(between);
        login
    });
    world.server.start();
    let id = world.admin.only_login();
    pass(FIRST_POLL);
    world.admin.wait_for_state(&id, "cancelled");
    assert_eq!(world.admin.login(&id)["reason"], "machine-gone");
    assert!(!world.admin.story(&id).contains(&"login.collected".to_owned()));
    world.admin.audit_verify();
}

#[test]
fn between_the_decision_and_its_collection() {
    let world = World::new();
    let machine = world.machine().start();
    let login = machine.ssh("alice", &["echo", "in"]);
    let id = world.admin.pending();
    world.server.kill();
    world.admin.approve(&id);
    assert_eq!(world.admin.state(&id), "approved");
    world.server.start();
    assert_eq!(login.wait().transcript(), "in\nexit 0\n");
    world.admin.assert_story(&id, &LET_IN);
    machine.assert_nothing_left();
}

/// A poll was answered, so the approval counts as collected. Then something happens, and the connection is
/// reset. Returns what the person saw.
fn collected_and_not_heard(world: &World, happens: impl FnOnce()) -> String {
    let machine = world.machine().start();
    let between = Between::stopping(world, &machine, "GET", Stage::Answered);
    let login = machine.ssh("alice", &["echo", "in"]);
    let id = world.admin.pending();
    world.admin.approve(&id);
    between.reached();
    world.admin.assert_story(&id, &LET_IN);
    happens();
    between.order(Order::Reset);
    let seen = login.wait().transcript();
    world.admin.assert_story(&id, &LET_IN);
    drop(between);
    machine.assert_nothing_left();
    seen
}

#[test]
fn between_the_collection_and_its_arrival() {
    let world = World::new();
    assert_eq!(collected_and_not_heard(&world, || kill_and_start(&world)), "in\nexit 0\n");
}

#[test]
fn an_approval_that_arrives_after_the_grace_has_expired() {
    let world = World::with(&SHORT_GRACE);
    let seen = collected_and_not_heard(&world, || pass(GRACE));
    assert!(
        seen.starts_with("Login <id> was approved, but this machine collected the approval too late."),
        "{seen}"
    );
    assert!(seen.ends_with("exit 255\n"), "{seen}");
}
